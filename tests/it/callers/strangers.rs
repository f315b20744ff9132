//! Who asks about people of whom nothing is known: told by name in the log and in a metric, with no number of anybody.

use consentgate::clock::{Clock, SystemClock};
use consentgate::domain::caller::Permission::Check;
use consentgate::grpc::proto::stream_check_consent_request::Payload;
use consentgate::grpc::proto::{
    BatchCheckConsentRequest, CheckConsentRequest, Recipient, StreamCheckConsentRequest,
    StreamCheckQuestion, StreamCheckRecipients,
};
use tonic::Request;
use tonic::transport::Channel;

use super::issuer::{Issuer, claims, set};
use super::jwts::arguments;
use crate::process::Place;
use crate::process::collector::Collector;
use crate::process::gate::{Client, Gate};
use crate::process::people::{person, question};

const TOLD: &str = "a caller asks about unusually many people of whom no consent is known";

fn people(range: std::ops::Range<u32>) -> Vec<Recipient> {
    let asked = range.map(person);
    asked.collect()
}

/// A message with who asks.
fn from<T>(message: T, jwt: &str) -> Request<T> {
    let mut request = Request::new(message);
    let shown = format!("Bearer {jwt}").parse().unwrap();
    request.metadata_mut().insert("authorization", shown);
    request
}

async fn batch(channel: &Channel, jwt: &str, people: Vec<Recipient>) {
    let CheckConsentRequest {
        business_id,
        purpose,
        message_class,
        ..
    } = question(&person(1));
    let asked = BatchCheckConsentRequest {
        business_id,
        purpose,
        message_class,
        recipients: people,
        ..BatchCheckConsentRequest::default()
    };
    let mut client = Client::new(channel.clone());
    client.batch_check_consent(from(asked, jwt)).await.unwrap();
}

async fn stream(channel: &Channel, jwt: &str, people: Vec<Recipient>) {
    let one = question(&person(1));
    let asked = StreamCheckQuestion {
        business_id: one.business_id,
        purpose: one.purpose,
        message_class: one.message_class,
        ..StreamCheckQuestion::default()
    };
    let chunk = StreamCheckRecipients { recipients: people };
    let messages = [Payload::Question(asked), Payload::Recipients(chunk)];
    let messages = messages.map(|payload| StreamCheckConsentRequest {
        payload: Some(payload),
    });
    let requests = tokio_stream::iter(messages);
    let mut client = Client::new(channel.clone());
    let answers = client.stream_check_consent(from(requests, jwt)).await;
    let mut answers = answers.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_asked_about_in_any_way_are_told_of_once_with_the_name_of_who_asked() {
    let (place, collector) = (Place::sqlite(), Collector::start().await);
    let issuer = Issuer::new("one");
    place.write("jwks.json", &set(&[&issuer]));
    let endpoint = collector.endpoint();
    let telling = ["--otlp-endpoint", &endpoint, "--metrics-interval", "100ms"];
    let gate = Gate::start(place.serve(&arguments(&telling))).await;
    let channel = gate.channel();
    let by = |subject| issuer.jwt(&claims(subject, "acme", &[Check], SystemClock.now()));
    let (prober, other) = (by("prober"), by("other"));

    batch(&channel, &other, people(0..900)).await;
    batch(&channel, &prober, people(0..998)).await;
    let mut client = Client::new(channel.clone());
    let single = from(question(&person(998)), &prober);
    client.check_consent(single).await.unwrap();
    assert!(!gate.log().contains(TOLD), "{}", gate.log());
    // The thousandth.
    stream(&channel, &prober, people(999..1_000)).await;
    batch(&channel, &prober, people(0..1_000)).await;
    let log = gate.stop().await;
    let told: Vec<_> = log.lines().filter(|line| line.contains(TOLD)).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(r#""caller":"jwt:prober""#), "{}", told[0]);
    assert!(!log.contains("1415200"), "a number is in it");
    let metrics = String::from_utf8_lossy(&collector.metrics()).into_owned();
    for part in ["consentgate.checks.unknown", "jwt:prober", "jwt:other"] {
        assert!(metrics.contains(part), "{part}");
    }
}
