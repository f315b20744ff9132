//! Unix domain sockets: who may open one, what is left of it, and what is never taken away.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::process::Command;

use consentgate::grpc::proto::Decision;
use tonic::transport::Endpoint;

use crate::process::Place;
use crate::process::gate::{self, Gate};
use crate::process::people::person;

const LISTEN: &str = "unix:gate.sock";

fn serve(place: &Place) -> Command {
    place.serve_on(LISTEN, &["--catalog", "catalog.toml"])
}

async fn start(place: &Place, command: Command) -> Gate {
    let path = place.path("gate.sock").display().to_string();
    Gate::start_by(command, |said| {
        assert_eq!(said, LISTEN);
        Endpoint::from_shared(format!("unix:{path}")).unwrap()
    })
    .await
}

#[tokio::test]
async fn a_socket_is_its_owners_alone_and_gone_after_the_end() {
    let place = Place::sqlite();
    let gate = start(&place, serve(&place)).await;
    let found = fs::metadata(place.path("gate.sock")).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    gate.agree(&person(1), "a").await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);

    let show = ["show", "+4915112345678", "--business", "acme"];
    let mut by_socket = place.command(&show);
    by_socket.args(["--server", "unix:gate.sock"]);
    let (ended, _) = gate::run(by_socket).await;
    assert_eq!(ended.code(), 0, "{ended}");

    let log = gate.stop().await;
    assert!(!log.contains("without encryption"), "{log}");
    assert!(!place.path("gate.sock").exists());
}

#[tokio::test]
async fn what_a_killed_process_left_is_replaced_and_a_served_socket_is_not() {
    let place = Place::sqlite();
    let gate = start(&place, serve(&place)).await;
    // On a database of its own: the socket's lock keeps it out, not the ledger's.
    let arguments = ["serve", "--listen", LISTEN, "--database", "sqlite:other.db"];
    let refused = Gate::refused(place.command(&arguments)).await;
    refused.refused_with(&["cannot listen on unix:gate.sock", "another process serves"]);
    gate.agree(&person(1), "a").await;

    gate.kill().await;
    assert!(place.path("gate.sock").exists());
    let gate = start(&place, serve(&place)).await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
    gate.stop().await;
}

#[tokio::test]
async fn what_is_not_ours_is_never_taken_away() {
    let place = Place::sqlite();
    place.write("gate.sock", "a file");
    let refused = Gate::refused(serve(&place)).await;
    refused.refused_with(&["cannot listen on unix:gate.sock", "which is no socket"]);
    assert_eq!(
        fs::read_to_string(place.path("gate.sock")).unwrap(),
        "a file"
    );
    fs::remove_file(place.path("gate.sock")).unwrap();

    let others = UnixListener::bind(place.path("gate.sock")).unwrap();
    let refused = Gate::refused(serve(&place)).await;
    refused.refused_with(&["another program serves on this socket"]);
    assert!(place.path("gate.sock").exists());
    drop(others);
}
