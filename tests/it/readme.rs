//! What the pages for newcomers say, against what is so: the settings, the RPCs, the links.
//!
//! Whether the commands work as written is tried elsewhere: `cli::live` and `python` go the same ways.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use consentgate::clock::SystemClock;
use consentgate::config::{self, Config, Database};
use consentgate::grpc;
use consentgate::server::Server;
use consentgate::telemetry::Metrics;
use tokio::sync::oneshot;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

const README: &str = include_str!("../../README.md");

/// What stands between `<!-- name -->` and `<!-- end of name -->`.
fn block(name: &str) -> &'static str {
    let (_, rest) = README
        .split_once(&format!("<!-- {name} -->\n"))
        .expect("README.md has the mark of the start");
    let (block, _) = rest
        .split_once(&format!("<!-- end of {name} -->"))
        .expect("README.md has the mark of the end");
    block
}

#[test]
fn the_settings_in_the_readme_are_those_that_there_are() {
    let reference = config::reference();
    assert!(
        block("settings") == reference,
        "the settings in README.md must read:\n{reference}"
    );
}

/// `cargo run` asks which program is meant if the packages that it takes have several, unless just one of those
/// packages says so.
#[test]
fn the_first_command_names_one_program_and_it_is_the_service() {
    assert!(README.contains("\ncargo run --release -- serve --example\n"));
    let told = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let taken = told["workspace_default_members"].as_array().unwrap();
    let packages = told["packages"].as_array().unwrap().iter();
    let programs: Vec<&str> = packages
        .filter(|package| taken.contains(&package["id"]))
        .filter_map(|package| package["default_run"].as_str())
        .collect();
    assert_eq!(programs, ["consentgate"]);
}

/// The RPCs of the README's table, and whether it says that they are built.
fn listed() -> BTreeMap<String, bool> {
    let mut listed = BTreeMap::new();
    for row in block("rpcs").lines().skip(2) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let ["", service, rpcs, _, state, ""] = cells[..] else {
            panic!("not a row of four cells: {row}")
        };
        let built = match state {
            "built" => true,
            "later" => false,
            other => panic!("`{other}` is neither `built` nor `later`: {row}"),
        };
        for rpc in rpcs.split(", ") {
            let name = format!(
                "consentgate.v1.{}/{}",
                service.trim_matches('`'),
                rpc.trim_matches('`')
            );
            assert_eq!(listed.insert(name, built), None, "listed twice: {row}");
        }
    }
    listed
}

#[test]
fn the_rpcs_in_the_readme_are_those_of_the_contract() {
    let mut contract = grpc::methods();
    contract.sort();
    assert_eq!(listed().into_keys().collect::<Vec<_>>(), contract);
}

#[tokio::test]
async fn the_readme_says_built_of_what_answers_and_later_of_what_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: Database::Sqlite(directory.path().join("ledger.db")),
        ..Config::default()
    };
    let server = Server::bind(&config, Arc::new(SystemClock), Metrics::disabled())
        .await
        .unwrap();
    let uri = format!("http://{}", server.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();

    for (rpc, built) in listed() {
        // An empty request is enough: what is built refuses or answers it.
        let mut client = Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = format!("/{rpc}").parse().unwrap();
        let codec = ProstCodec::<(), ()>::default();
        let answer = client.unary(Request::new(()), path, codec).await;
        let unimplemented = answer.is_err_and(|status| status.code() == Code::Unimplemented);
        assert_eq!(!unimplemented, built, "{rpc}");
    }

    drop(channel);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut followed = 0;
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "docs/security.md",
        "examples/acme/README.md",
        "examples/python/README.md",
    ] {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1) {
            let (target, _) = link.split_once(')').expect("a link ends");
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap_or_default();
            assert!(
                path.with_file_name(file).exists(),
                "{page}: there is no `{target}`"
            );
            followed += 1;
        }
    }
    assert!(followed > 8, "{followed}");
}
