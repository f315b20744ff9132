//! `consentgate token` and the clients that show one, as an operator types them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::process::Place;
use crate::process::gate::{self, Gate};

async fn ran(command: Command, code: i32) -> (String, String) {
    let (ended, out) = gate::run(command).await;
    assert_eq!(ended.code(), code, "{out}{ended}");
    (out, ended.log)
}

fn asking(place: &Place, server: SocketAddr, line: &str) -> Command {
    let mut command = place.command(&line.split(' ').collect::<Vec<_>>());
    command.env("CONSENTGATE_SERVER", server.to_string());
    command
}

/// Every command that asks a server, and what it may do.
const ASKING: &[(&str, &str)] = &[
    (
        "check",
        "check +14155550100 --business acme --purpose offers",
    ),
    (
        "check",
        "batch numbers.txt --business acme --purpose offers",
    ),
    (
        "read-history",
        "explain +14155550100 --business acme --purpose offers",
    ),
    ("read-history", "show +14155550100 --business acme"),
    (
        "record",
        "record +14155550100 --business acme --purpose offers --event-state REFUSED",
    ),
    (
        "record",
        "confirm +14155550100 --business acme --method KEYWORD --evidence message_id=wamid.1",
    ),
    (
        "withdraw",
        "withdraw +14155550100 --business acme --everything --method PHONE",
    ),
    ("catalogue", "catalog show --business acme"),
    ("catalogue", "catalog apply catalog.toml"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_that_asks_a_server_shows_its_token() {
    let place = Place::migrated().await;
    place.write("numbers.txt", "+14155550100\n");
    let gate = place.gate().await;
    for (permission, line) in ASKING {
        // Without a token there is no answer from the second round on, when the ledger holds some.
        let create = [
            "token",
            "create",
            "ops",
            "--all-businesses",
            "--permission",
            permission,
        ];
        let (token, said) = ran(place.maintain(&create), 0).await;
        let token = token.trim();
        assert!(
            said.contains("not shown again") && !said.contains(token),
            "{said}"
        );
        let (_, said) = ran(asking(&place, gate.address(), line), 2).await;
        assert!(
            said.contains("UNAUTHENTICATED") && said.contains("--token-file"),
            "{line}: {said}"
        );

        place.write("gate.token", token);
        let by_file = format!("{line} --token-file gate.token");
        let mut by_variable = asking(&place, gate.address(), line);
        by_variable.env("CONSENTGATE_TOKEN", token);
        for command in [asking(&place, gate.address(), &by_file), by_variable] {
            let (ended, out) = gate::run(command).await;
            let told = format!("{out}{ended}");
            for refusal in ["UNAUTHENTICATED", "PERMISSION_DENIED"] {
                assert!(!told.contains(refusal), "{line}: {told}");
            }
            assert!(!told.contains(token), "{line}");
        }
    }
    gate.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_listed_and_revoked() {
    let place = Place::sqlite();
    let token = |line: &str| {
        let mut words = vec!["token"];
        words.extend(line.split(' '));
        place.maintain(&words)
    };
    // A misspelt path makes no database.
    let (_, said) = ran(token("list"), 2).await;
    assert!(
        said.contains("gate.db") && !place.path("gate.db").exists(),
        "{said}"
    );

    let gate = place.gate().await;
    let (_, said) = ran(token("list"), 2).await;
    assert!(
        said.contains("another consentgate uses this database"),
        "{said}"
    );
    let log = gate.stop().await;
    assert!(log.contains("callers are not authenticated"), "{log}");
    let (out, _) = ran(token("list"), 0).await;
    assert_eq!(out, "there never was a token\n");

    let sender = "create sender --business acme --permission check --permission report";
    let (out, _) = ran(token(&format!("{sender} --output json")), 0).await;
    let made: Value = serde_json::from_str(&out).unwrap();
    let (text, prefix) = (
        made["token"].as_str().unwrap(),
        made["prefix"].as_str().unwrap(),
    );
    assert_eq!(text[..12], format!("cg_{prefix}_"));
    assert_eq!(made["permissions"], serde_json::json!(["check", "report"]));
    assert_eq!(made["businesses"], serde_json::json!(["acme"]));
    assert!(made["expire_time"].is_string(), "{made}");

    let ops = "create ops --all-businesses --permission operate --expires-in never --out ops.token";
    let (out, said) = ran(token(ops), 0).await;
    let file = std::fs::read_to_string(place.path("ops.token")).unwrap();
    assert!(
        !format!("{out}{said}").contains(file.trim()) && file.starts_with("cg_"),
        "{out}{said}"
    );
    let mode = place
        .path("ops.token")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A file that is there is somebody's token.
    ran(token(ops), 2).await;
    assert_eq!(
        std::fs::read_to_string(place.path("ops.token")).unwrap(),
        file
    );

    let (out, _) = ran(token(&format!("revoke {prefix}")), 0).await;
    assert!(out.contains("is revoked"), "{out}");
    let (out, _) = ran(token(&format!("revoke {prefix}")), 0).await;
    assert!(out.contains("was revoked before"), "{out}");
    let (out, _) = ran(token("list --output json"), 0).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    let states = listed["tokens"].as_array().unwrap().iter();
    let states: Vec<_> = states
        .map(|one| (one["caller"].clone(), one["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [
            ("sender".into(), "revoked".into()),
            ("ops".into(), "good".into())
        ]
    );
    assert!(!out.contains(&text[12..]), "{out}");

    let log = place.gate().await.stop().await;
    assert!(
        log.contains("callers are authenticated: the ledger holds tokens"),
        "{log}"
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_meant_is_not_made() {
    let place = Place::sqlite();
    place.gate().await.stop().await;
    for (line, words) in [
        ("create a --permission check", "--business"),
        ("create a --business acme", "--permission"),
        (
            "create a --business acme --permission all",
            "expected one of check",
        ),
        ("create a --business acne --permission check", "acne"),
        ("create A --business acme --permission check", "lower-case"),
        (
            "create a --business acme --all-businesses --permission check",
            "--all-businesses",
        ),
        (
            "create a --business acme --permission check --expires-in 0d",
            "90d",
        ),
        (
            "create a --business acne --permission check --out a.token",
            "acne",
        ),
        ("revoke aaaaaaaa", "does not exist"),
        ("revoke nonsense!", "eight of the characters"),
    ] {
        let mut words_of = vec!["token"];
        words_of.extend(line.split(' '));
        let (_, said) = ran(place.maintain(&words_of), 2).await;
        assert!(said.contains(words), "{line}: {said}");
    }
    assert!(!place.path("a.token").exists(), "a token that was not made");
    let (out, _) = ran(place.maintain(&["token", "list"]), 0).await;
    assert_eq!(out, "there never was a token\n");
}

#[tokio::test]
async fn a_mistyped_token_is_told_before_anything_is_sent() {
    let place = Place::sqlite();
    // Nobody listens there.
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let line = "check +14155550100 --business acme --purpose offers";
    for (token, why) in [
        ("hunter2", "no token"),
        (&format!("cg_aaaaaaaa_{}", "a".repeat(60)), "checksum"),
    ] {
        let mut command = asking(&place, nowhere, line);
        command.env("CONSENTGATE_TOKEN", token);
        let (_, said) = ran(command, 2).await;
        assert!(said.contains(why) && !said.contains(token), "{said}");
    }
}

#[tokio::test]
async fn a_start_says_whether_callers_are_authenticated() {
    let place = Place::sqlite();
    let arguments = ["--authentication", "required"];
    let log = Gate::start(place.serve(&arguments)).await.stop().await;
    assert!(
        log.contains("callers are authenticated: as the settings have it"),
        "{log}"
    );
    let exposed = ["--listen", "0.0.0.0:0", "--insecure"];
    let mut open = place.command(&["serve", "--database", "sqlite:gate.db"]);
    open.args(exposed);
    let log = Gate::start(open).await.stop().await;
    let warned = log
        .lines()
        .any(|line| line.contains("WARN") && line.contains("anybody may call"));
    assert!(warned, "{log}");
}
