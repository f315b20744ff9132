//! No token anywhere: whatever callers show and however it is refused, a secret stands in no log, trace,
//! metric, file or row. Only what a token is named by does.

use std::fs;

use consentgate::auth::TokenText;

use super::call;
use super::jwts::{secrets_of, shown_to_a_gate};
use crate::process::Place;
use crate::process::collector::Collector;
use crate::process::gate::{self, Gate};
use crate::process::secrets::found_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_stands_in_what_a_gate_says_and_keeps() {
    let place = Place::sqlite();
    place.gate().await.stop().await;
    let collector = Collector::start().await;
    let mut tokens = Vec::new();
    for caller in ["good", "revoked"] {
        let create = [
            "token",
            "create",
            caller,
            "--business",
            "acme",
            "--permission",
            "check",
        ];
        // Its own log at its loudest goes nowhere but to standard error.
        let (ended, out) = gate::run(place.maintain(&create)).await;
        assert_eq!(ended.code(), 0, "{ended}");
        tokens.push(out.trim().to_owned());
    }
    let revoke = ["token", "revoke", &tokens[1][3..11]];
    assert_eq!(gate::run(place.maintain(&revoke)).await.0.code(), 0);
    tokens.push(TokenText::generate().expose().to_owned());
    // A known prefix, and another's secret.
    tokens.push(format!(
        "{}{}",
        &tokens[0][..12],
        &TokenText::generate().expose()[12..]
    ));

    let endpoint = collector.endpoint();
    let (jwts, known) = shown_to_a_gate(&place);
    let arguments = [
        "--log",
        "trace",
        "--log-format",
        "json",
        "--otlp-endpoint",
        &endpoint,
        "--metrics-interval",
        "100ms",
        "--trace-sample-ratio",
        "1",
    ];
    let arguments = [&arguments, known.as_slice()].concat();
    let gate = Gate::start(place.serve(&arguments)).await;
    everything_is_shown(&gate, &[tokens.as_slice(), &jwts].concat()).await;
    let line = "check +14155550100 --business acme --purpose offers --token-file good.token";
    place.write("good.token", &tokens[0]);
    let mut check = place.command(&line.split(' ').collect::<Vec<_>>());
    check.env("CONSENTGATE_SERVER", gate.address().to_string());
    let (ended, out) = gate::run(check).await;
    assert_eq!(ended.code(), 1, "{ended}");
    fs::remove_file(place.path("good.token")).unwrap();
    let log = gate.stop().await;
    assert!(
        log.contains("a token was shown that is no longer good"),
        "{log}"
    );
    assert!(log.contains("a JWT was shown that is not good"), "{log}");

    let tokens = tokens.iter().map(|token| &token[12..60]);
    let secrets: Vec<&str> = tokens
        .chain(jwts.iter().flat_map(|jwt| secrets_of(jwt)))
        .collect();
    let silent = |what: &str, bytes: &[u8]| {
        let found = found_of(&secrets, bytes);
        assert!(found.is_empty(), "{what}: {}", found.join("\n"));
    };
    silent("the log", log.as_bytes());
    silent("a command's answer", format!("{out}{ended}").as_bytes());
    silent("traces", &collector.traces());
    silent("metrics", &collector.metrics());
    assert!(!collector.traces().is_empty());
    let mut files = 0;
    for file in fs::read_dir(place.path("")).unwrap() {
        let path = file.unwrap().path();
        silent(&path.display().to_string(), &fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 3, "the database and its key are there");
}

/// In every call, sound or not, once and more than once.
async fn everything_is_shown(gate: &Gate, tokens: &[String]) {
    for rpc in consentgate::grpc::methods() {
        for token in tokens {
            for shown in [
                format!("Bearer {token}"),
                token.clone(),
                format!("Basic {token}"),
            ] {
                for message in [Vec::new(), vec![0xff; 5]] {
                    let _ = call(&gate.channel(), &rpc, message, &[&shown]).await;
                    let twice = [shown.as_str(), shown.as_str()];
                    let _ = call(&gate.channel(), &rpc, Vec::new(), &twice).await;
                }
            }
        }
    }
}
