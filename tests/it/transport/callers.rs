//! Client certificates as callers: whom the file lets in, whom it does not, and from when on it changed.

use std::time::Duration;

use consentgate::grpc::proto::{CheckConsentRequest, WithdrawRequest};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::authority::{Authority, Good, Pair, dial, dns, uri};
use super::tls::{CLIENT_CA, CLIENT_CRL, prepared, serve};
use crate::process::Place;
use crate::process::gate::{self, Client, Gate, LIMIT};
use crate::process::people::{person, question};
use crate::wait::eventually;

const SENDER: &str = "spiffe://acme.example/sender";
const CALLERS: &str = r#"
[[caller]]
name = "sender"
certificate_names = ["spiffe://acme.example/sender"]
businesses = ["acme"]
permissions = ["check"]

[[caller]]
name = "webhook"
certificate_names = ["webhook.acme.example"]
all_businesses = true
permissions = ["withdraw"]
"#;
const NOW: &str = "a file changed: the new one holds";

/// A gate that knows callers by certificates, and whoever signs for whom.
struct World {
    place: Place,
    servers: Authority,
    clients: Authority,
    sender: Pair,
    webhook: Pair,
    stranger: Pair,
}

impl World {
    fn new() -> Self {
        let (place, servers) = prepared();
        let clients = Authority::new("clients");
        let world = Self {
            sender: clients.client(&[uri(SENDER)], Good::Now),
            webhook: clients.client(&[dns("webhook.acme.example")], Good::Now),
            stranger: clients.client(&[uri("spiffe://acme.example/other")], Good::Now),
            place,
            servers,
            clients,
        };
        world.place.write("clients.crt", &world.clients.pem());
        world.revoke(&[]);
        world.place.write("callers.toml", CALLERS);
        world
    }

    fn revoke(&self, pairs: &[&Pair]) {
        let list = self.clients.revoked(pairs, Good::Now);
        self.place.write("clients.crl", &list);
    }

    async fn gate(&self) -> Gate {
        let callers = ["--tls-callers", "callers.toml"];
        let command = serve(&self.place, &[&CLIENT_CA, &CLIENT_CRL, &callers]);
        Gate::start_by(command, |place| {
            dial(place, &self.servers, Some(&self.sender))
        })
        .await
    }

    async fn channel(&self, gate: &Gate, pair: &Pair) -> Channel {
        let endpoint = dial(&gate.address().to_string(), &self.servers, Some(pair));
        endpoint.connect().await.unwrap()
    }
}

async fn checked(channel: &Channel, business: &str, tokens: &[&str]) -> Result<(), Status> {
    let mut request = Request::new(CheckConsentRequest {
        business_id: business.to_owned(),
        ..question(&person(1))
    });
    for token in tokens {
        let value = AsciiMetadataValue::try_from(*token).unwrap();
        request.metadata_mut().append("authorization", value);
    }
    let mut client = Client::new(channel.clone());
    client.check_consent(request).await.map(drop)
}

async fn code(channel: &Channel, business: &str) -> Code {
    let answer = checked(channel, business, &[]).await;
    answer.map_or_else(|status| status.code(), |()| Code::Ok)
}

async fn withdrawn(channel: &Channel) -> Code {
    let request = WithdrawRequest {
        business_id: "acme".into(),
        recipient: question(&person(1)).recipient,
        idempotency_key: "w".into(),
        ..WithdrawRequest::default()
    };
    let answer = Client::new(channel.clone()).withdraw(request).await;
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_certificate_may_do_what_the_file_gives_to_one_of_its_names() {
    let world = World::new();
    let gate = world.gate().await;
    let sender = gate.channel();
    assert_eq!(code(&sender, "acme").await, Code::Ok);
    assert_eq!(code(&sender, "rival").await, Code::PermissionDenied);
    assert_eq!(withdrawn(&sender).await, Code::PermissionDenied);
    let webhook = world.channel(&gate, &world.webhook).await;
    assert_eq!(code(&webhook, "acme").await, Code::PermissionDenied);
    assert_eq!(withdrawn(&webhook).await, Code::Ok);

    // A good certificate that nobody named is a stranger's like any other, whatever it asks.
    let stranger = world.channel(&gate, &world.stranger).await;
    for business in ["acme", "rival", ""] {
        assert_eq!(code(&stranger, business).await, Code::Unauthenticated);
    }
    assert_eq!(withdrawn(&stranger).await, Code::Unauthenticated);
    let log = gate.stop().await;
    assert!(log.contains("callers are authenticated"), "{log}");
}

#[tokio::test]
async fn who_shows_a_token_is_judged_by_it_alone() {
    let world = World::new();
    world.gate().await.stop().await;
    let create = [
        "token",
        "create",
        "ops",
        "--all-businesses",
        "--permission",
        "check",
    ];
    let (ended, text) = gate::run(world.place.maintain(&create)).await;
    assert_eq!(ended.code(), 0, "{ended}");
    let gate = world.gate().await;
    let good = format!("Bearer {}", text.trim());
    let bad = good.replace("cg_", "cg_a");

    let webhook = world.channel(&gate, &world.webhook).await;
    checked(&webhook, "acme", &[&good]).await.unwrap();
    let sender = gate.channel();
    for tokens in [&[bad.as_str()][..], &["Basic x"], &[""], &[&good, &good]] {
        let refused = checked(&sender, "acme", tokens).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{tokens:?}");
    }
    assert_eq!(code(&sender, "acme").await, Code::Ok);
    gate.stop().await;
}

#[tokio::test]
async fn a_change_of_the_file_holds_on_connections_that_are_open_and_a_bad_one_changes_nothing() {
    let world = World::new();
    let gate = world.gate().await;
    let sender = gate.channel();
    assert_eq!(code(&sender, "acme").await, Code::Ok);

    let misspelt = CALLERS.replace("\"check\"", "\"chekc\"");
    world.place.write("callers.toml", &misspelt);
    eventually(LIMIT, "it says what is wrong", async || {
        let said =
            "`tls_callers`: `callers.toml` is not usable: caller `sender`: there is no permission";
        gate.log().contains(said).then_some(())
    })
    .await;
    assert_eq!(code(&sender, "acme").await, Code::Ok);

    let narrower = CALLERS.replace("acme.example/sender", "acme.example/other");
    world.place.write("callers.toml", &narrower);
    eventually(LIMIT, "the sender is a stranger", async || {
        (code(&sender, "acme").await == Code::Unauthenticated).then_some(())
    })
    .await;
    let other = world.channel(&gate, &world.stranger).await;
    assert_eq!(code(&other, "acme").await, Code::Ok);
    assert!(gate.log().contains(NOW), "{}", gate.log());
    gate.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_revoked_is_refused_on_connections_that_are_open() {
    let world = World::new();
    let gate = world.gate().await;
    let sender = gate.channel();
    let webhook = world.channel(&gate, &world.webhook).await;
    assert_eq!(code(&sender, "acme").await, Code::Ok);
    world.revoke(&[&world.sender]);
    eventually(LIMIT, "the sender is revoked", async || {
        (code(&sender, "acme").await == Code::Unauthenticated).then_some(())
    })
    .await;
    assert_eq!(withdrawn(&webhook).await, Code::Ok, "nobody else is");
    gate.stop().await;
}

/// A connection made anew would be refused in its handshake, and its call with another code.
#[tokio::test]
async fn a_certificate_that_expires_is_refused_on_a_connection_that_stays_open() {
    let world = World::new();
    let gate = world.gate().await;
    let short = Good::For(Duration::from_secs(10));
    let short = world.clients.client(&[uri(SENDER)], short);
    let channel = world.channel(&gate, &short).await;
    assert_eq!(code(&channel, "acme").await, Code::Ok);
    eventually(LIMIT, "it has expired", async || {
        let refused = checked(&channel, "acme", &[]).await.err()?;
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert!(
            refused.message().contains("a client certificate"),
            "{refused}"
        );
        Some(())
    })
    .await;
    assert_eq!(
        code(&gate.channel(), "acme").await,
        Code::Ok,
        "nobody else's has"
    );
    gate.stop().await;
}

#[tokio::test]
async fn a_file_of_callers_that_is_wrong_stops_the_start() {
    let world = World::new();
    let callers = ["--tls-callers", "callers.toml"];
    world
        .place
        .write("callers.toml", "[[caller]]\nname = \"x\"\ncolour = 1\n");
    let command = serve(&world.place, &[&CLIENT_CA, &callers]);
    let refused = Gate::refused(command).await;
    refused.refused_with(&[
        "`tls_callers`: `callers.toml`",
        "line 3: unknown field `colour`",
    ]);
    let off = ["--authentication", "off"];
    let command = serve(&world.place, &[&CLIENT_CA, &callers, &off]);
    let refused = Gate::refused(command).await;
    refused.refused_with(&["`--authentication` is `off`", "`--tls-callers`"]);
    let command = serve(&world.place, &[&callers]);
    let refused = Gate::refused(command).await;
    refused.refused_with(&["`--tls-callers` is set, which needs `tls_client_ca`"]);
}
