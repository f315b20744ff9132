//! TLS of the listener: which clients get a connection, and what happens when its files change.

use std::error::Error as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use consentgate::grpc::proto::Decision;
use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};
use tonic::transport::Endpoint;

use super::authority::{Authority, Good, HOST, Pair, dial, dns};
use crate::process::Place;
use crate::process::gate::{self, Gate, LIMIT};
use crate::process::people::{person, question};
use crate::wait::eventually;

const FILES: [&str; 4] = ["--tls-certificate", "server.crt", "--tls-key", "server.key"];
pub const CLIENT_CA: [&str; 2] = ["--tls-client-ca", "clients.crt"];
pub const CLIENT_CRL: [&str; 2] = ["--tls-client-crl", "clients.crl"];

fn write(place: &Place, pair: &Pair) {
    place.write("server.crt", &pair.certificate);
    place.write("server.key", &pair.key);
    place.chmod("server.key", 0o600);
}

/// A place with a server's certificate, and who signed it.
pub fn prepared() -> (Place, Authority) {
    let (place, authority) = (Place::sqlite(), Authority::new("servers"));
    write(&place, &authority.server());
    (place, authority)
}

pub fn serve(place: &Place, more: &[&[&str]]) -> Command {
    place.serve(&[&FILES, more.concat().as_slice()].concat())
}

/// Whether a call gets through: a client of TLS 1.3 hears only then that its certificate is refused.
async fn reached(endpoint: &Endpoint) -> bool {
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let mut client = ConsentServiceClient::new(channel);
    match client.check_consent(question(&person(1))).await {
        Ok(_) => true,
        Err(status) => {
            // What the service itself says has no cause.
            assert!(status.source().is_some(), "{status:?}");
            false
        }
    }
}

/// A handshake as a client makes it that speaks these versions and asks for these protocols.
async fn handshake(
    gate: &Gate,
    trusted: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap();
    roots.add(trusted).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    let stream = TcpStream::connect(gate.address()).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn calls_are_encrypted_by_tls_12_or_13_and_nothing_else_is_answered() {
    let (place, authority) = prepared();
    // On every address: with TLS that needs no `--insecure`, and no warning.
    let open = ["--authentication", "off", "--catalog", "catalog.toml"];
    let command = place.serve_on("0.0.0.0:0", &[&FILES[..], &open].concat());
    let local = |place: &str| place.replace("0.0.0.0", "127.0.0.1");
    let gate = Gate::start_by(command, |place| dial(&local(place), &authority, None)).await;
    gate.agree(&person(1), "a").await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);

    for (speaks, protocol) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let stream = handshake(&gate, &authority, &[speaks], &["h2"])
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(protocol));
        assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
    }
    let http1 = handshake(&gate, &authority, &[&version::TLS13], &["http/1.1"]).await;
    let refused = http1.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    // The head of a client that speaks TLS 1.1 at most: an alert, and the end.
    let mut old = TcpStream::connect(gate.address()).await.unwrap();
    old.write_all(&old_hello()).await.unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).await.ok();
    // An alert (21) that is fatal (2): protocol_version (70).
    assert_eq!(
        (answer[0], &answer[5..]),
        (21, [2, 70].as_slice()),
        "{answer:?}"
    );
    // And who speaks in the clear gets nothing but an alert.
    assert!(gate.refuses_connections().await || !plainly_answered(&gate).await);
    let log = gate.stop().await;
    assert!(!log.contains("without encryption"), "{log}");
    assert!(log.contains("a TLS handshake failed"), "{log}");
}

/// A ClientHello of TLS 1.1 with one cipher suite and nothing amiss but its version.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xC0, 0x2B, 1, 0]);
    // The only extension: signatures by ECDSA on P-256 with SHA-256.
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(hello);
    record
}

async fn plainly_answered(gate: &Gate) -> bool {
    let plain = Endpoint::from_shared(format!("http://{}", gate.address())).unwrap();
    reached(&plain).await
}

#[tokio::test]
async fn a_client_needs_a_good_certificate_of_the_ca_once_there_is_one() {
    let (place, servers) = prepared();
    let (clients, strangers) = (Authority::new("clients"), Authority::new("strangers"));
    let named = [dns("sender.acme.example")];
    let (good, revoked) = (
        clients.client(&named, Good::Now),
        clients.client(&named, Good::Now),
    );
    let expired = clients.client(&named, Good::Once);
    let strange = strangers.client(&named, Good::Now);
    // A certificate of a server of the right CA is none of a client.
    let wrong_use = clients.server();
    place.write("clients.crt", &clients.pem());
    place.write("clients.crl", &clients.revoked(&[&revoked], Good::Now));
    let command = serve(&place, &[&CLIENT_CA, &CLIENT_CRL]);
    let gate = Gate::start_by(command, |place| dial(place, &servers, Some(&good))).await;
    let at = gate.address().to_string();
    assert!(reached(&dial(&at, &servers, Some(&good))).await);
    for (pair, said) in [
        (None, "peer sent no certificates"),
        (Some(&expired), "Expired"),
        (Some(&strange), "UnknownIssuer"),
        (Some(&revoked), "Revoked"),
        (Some(&wrong_use), "InvalidPurpose"),
    ] {
        assert!(!reached(&dial(&at, &servers, pair)).await, "{said}");
    }
    // Of many failures one line in ten seconds is enough.
    let log = gate.stop().await;
    assert_eq!(log.matches("a TLS handshake failed").count(), 1, "{log}");
    assert!(log.contains("peer sent no certificates"), "{log}");
}

#[tokio::test]
async fn a_ca_without_a_list_that_is_still_good_lets_nobody_in() {
    let (place, servers) = prepared();
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    let good = clients.client(&[dns("a.example")], Good::Now);
    let other = others.client(&[dns("a.example")], Good::Now);
    place.write("clients.crt", &[clients.pem(), others.pem()].concat());
    place.write("clients.crl", &clients.revoked(&[], Good::Now));
    let command = serve(&place, &[&CLIENT_CA, &CLIENT_CRL]);
    let gate = Gate::start_by(command, |place| dial(place, &servers, Some(&good))).await;
    let at = gate.address().to_string();
    assert!(
        !reached(&dial(&at, &servers, Some(&other))).await,
        "no list"
    );

    place.write("clients.crl", &clients.revoked(&[], Good::Once));
    let refused = async || (!reached(&dial(&at, &servers, Some(&good))).await).then_some(());
    eventually(LIMIT, "a list that expired lets nobody in", refused).await;
    gate.stop().await;
}

#[tokio::test]
async fn new_files_hold_for_new_connections_and_bad_ones_change_nothing() {
    const CHANGED: &str = "a file changed: the new one holds";
    const UNUSABLE: &str = "a file changed and is not usable";
    let (place, first) = prepared();
    let second = Authority::new("second");
    let gate = Gate::start_by(serve(&place, &[]), |place| dial(place, &first, None)).await;
    let at = gate.address().to_string();
    let by = async |authority: &Authority| reached(&dial(&at, authority, None)).await;
    assert!(by(&first).await && !by(&second).await);

    place.write("server.crt", "-----BEGIN CERTIFICATE-----\nnothing\n");
    eventually(LIMIT, "it says what is wrong", async || {
        gate.log().contains(UNUSABLE).then_some(())
    })
    .await;
    let log = gate.log();
    let line = log.lines().find(|line| line.contains(UNUSABLE)).unwrap();
    assert!(line.contains("`tls_certificate`: `server.crt`"), "{line}");
    assert!(line.contains(r#""level":"ERROR""#), "{line}");
    assert!(by(&first).await, "the old one still serves");

    write(&place, &second.server());
    eventually(LIMIT, "the new one serves", async || {
        by(&second).await.then_some(())
    })
    .await;
    assert!(!by(&first).await);
    assert!(gate.log().contains(CHANGED), "{}", gate.log());
    // The connection from before goes on.
    gate.agree(&person(1), "a").await;
    gate.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_usable_stops_the_start_with_its_setting() {
    let (place, authority) = prepared();
    let refused = async |more: &[&[&str]], words: &[&str]| {
        Gate::refused(serve(&place, more)).await.refused_with(words);
    };
    place.chmod("server.key", 0o604);
    refused(&[], &["`tls_key`: `server.key`", "mode 604", "chmod o-rwx"]).await;
    place.chmod("server.key", 0o640);
    place.write("server.key", &authority.server().key);
    refused(&[], &["`tls_key`: `server.key`", "KeyMismatch"]).await;
    place.write("server.key", "no key");
    refused(&[], &["`tls_key`: `server.key`", "no private key in PEM"]).await;
    write(&place, &authority.server());
    place.write("empty", "");
    refused(
        &[&["--tls-client-ca", "empty"]],
        &["`tls_client_ca`: `empty`", "no certificate in PEM"],
    )
    .await;
    refused(
        &[&["--tls-client-ca", "lost"]],
        &["`tls_client_ca`: `lost`", "No such file"],
    )
    .await;
    place.write("clients.crt", &authority.pem());
    refused(
        &[&CLIENT_CA, &["--tls-client-crl", "empty"]],
        &["`tls_client_crl`: `empty`", "no revocation list in PEM"],
    )
    .await;
    let half = place.serve(&["--tls-certificate", "server.crt"]);
    let refused = Gate::refused(half).await;
    refused.refused_with(&["`--tls-certificate` is set, which needs `tls_key` as well"]);
    assert!(!place.path("gate.db").exists(), "before anything was made");
}

#[tokio::test]
async fn who_does_not_end_the_handshake_is_let_go_and_delays_nobody() {
    let (place, authority) = prepared();
    let command = serve(&place, &[]);
    let gate = Gate::start_by(command, |place| dial(place, &authority, None)).await;
    let mut slow = Vec::new();
    for said in [0, 1, 5, 40] {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        stream.write_all(&old_hello()[..said]).await.unwrap();
        slow.push(stream);
    }
    // Also one whose handshake is done and that says nothing then.
    let mut silent = handshake(&gate, &authority, &[&version::TLS13], &["h2"])
        .await
        .unwrap();
    gate.agree(&person(1), "a").await;
    let begun = tokio::time::Instant::now();
    for stream in &mut slow {
        let closed = tokio::time::timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await;
        drop(closed.expect("it is let go"));
    }
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(LIMIT, silent.read_to_end(&mut rest)).await;
    drop(closed.expect("it is let go"));
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    gate.stop().await;
}

#[tokio::test]
async fn the_command_line_speaks_tls_and_shows_a_certificate() {
    let (place, servers) = prepared();
    let clients = Authority::new("clients");
    let good = clients.client(&[dns("a.example")], Good::Now);
    place.write("clients.crt", &clients.pem());
    place.write("servers.crt", &servers.pem());
    place.write("me.crt", &good.certificate);
    place.write("me.key", &good.key);
    let command = serve(&place, &[&CLIENT_CA]);
    let gate = Gate::start_by(command, |place| dial(place, &servers, Some(&good))).await;
    let server = format!("https://{HOST}:{}", gate.address().port());
    let show = [
        "show",
        "+4915112345678",
        "--business",
        "acme",
        "--server",
        &server,
    ];
    let trusting = ["--ca-file", "servers.crt"];
    let shown = [
        "--certificate-file",
        "me.crt",
        "--certificate-key",
        "me.key",
    ];
    let (ended, _) = gate::run(place.command(&[&show[..], &trusting, &shown].concat())).await;
    assert_eq!(ended.code(), 0, "{ended}");
    let (ended, _) = gate::run(place.command(&[&show[..], &trusting].concat())).await;
    assert_eq!(ended.code(), 2, "{ended}");
    let (ended, _) = gate::run(place.command(&show)).await;
    assert!(
        ended.code() == 2 && ended.log.contains("`--ca-file`"),
        "{ended}"
    );
    gate.stop().await;
}
