//! An audience of any size, chunk by chunk: in order, each chunk on what holds when it comes, never more of it in memory
//! than is being worked on, and to be gone on with elsewhere.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use consentgate::grpc::proto::stream_check_consent_request::Payload;
use consentgate::grpc::proto::*;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{ACME, Backend, TestServer};
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn asking(purpose: &str) -> StreamCheckQuestion {
    StreamCheckQuestion {
        business_id: ACME.into(),
        purpose: purpose.into(),
        ..StreamCheckQuestion::default()
    }
}

fn first(question: StreamCheckQuestion) -> StreamCheckConsentRequest {
    let payload = Some(Payload::Question(question));
    StreamCheckConsentRequest { payload }
}

fn chunk(people: &[Recipient]) -> StreamCheckConsentRequest {
    let recipients = people.to_vec();
    let payload = Some(Payload::Recipients(StreamCheckRecipients { recipients }));
    StreamCheckConsentRequest { payload }
}

/// A stream that a test speaks and listens to.
struct Asking {
    says: mpsc::Sender<StreamCheckConsentRequest>,
    hears: Streaming<StreamCheckConsentResponse>,
}

impl Asking {
    async fn of(server: &TestServer, question: StreamCheckQuestion) -> Self {
        let opened = Self::open(server, None).await.unwrap();
        opened.say(first(question)).await;
        opened
    }

    async fn open(server: &TestServer, timeout: Option<Duration>) -> Result<Self, Status> {
        let (says, said) = mpsc::channel(1);
        let mut request = Request::new(ReceiverStream::new(said));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        // Before the question is asked: who waits for that it is heard is not left waiting.
        let answers = server.client().stream_check_consent(request).await?;
        let hears = answers.into_inner();
        Ok(Self { says, hears })
    }

    async fn say(&self, message: StreamCheckConsentRequest) {
        self.says.send(message).await.unwrap();
    }

    async fn answer(&mut self) -> StreamCheckConsentResponse {
        self.hears.message().await.unwrap().expect("an answer")
    }

    async fn ask(&mut self, people: &[Recipient]) -> StreamCheckConsentResponse {
        self.say(chunk(people)).await;
        self.answer().await
    }

    async fn end(&mut self) -> Status {
        match self.hears.message().await {
            Err(status) => status,
            Ok(answer) => panic!("no end: {answer:?}"),
        }
    }
}

/// The whole of a stream: its answers, and how it ended.
async fn whole(
    server: &TestServer,
    messages: Vec<StreamCheckConsentRequest>,
) -> (Vec<StreamCheckConsentResponse>, Result<(), Status>) {
    let mut client = server.client();
    let asked = client.stream_check_consent(tokio_stream::iter(messages));
    let mut hears = asked.await.unwrap().into_inner();
    let mut answers = Vec::new();
    loop {
        match hears.message().await {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return (answers, Ok(())),
            Err(end) => return (answers, Err(end)),
        }
    }
}

fn verdict_in(result: &BatchCheckResult) -> Verdict {
    assert_eq!(result.error, None);
    (result.decision(), result.reasons().collect())
}

pub async fn answers_stand_in_the_order_of_the_audience(on: Backend) {
    let mut server = TestServer::start(on).await;
    let people: Vec<_> = (1..=40).map(person).collect();
    for agreed in people.iter().step_by(3) {
        server.gives(agreed, &["offers"]).await;
    }
    server.withdraws(&people[9], everything()).await;
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let sizes = [1, 35, 4];
        let mut rest = people.as_slice();
        let mut messages = vec![first(asking("offers"))];
        for size in sizes {
            let (some, others) = rest.split_at(size);
            messages.push(chunk(some));
            rest = others;
        }
        let (answers, end) = whole(&server, messages).await;
        end.unwrap();
        let places: Vec<_> = answers.iter().map(|one| one.first_index).collect();
        assert_eq!(places, [0, 1, 36]);
        let counts: Vec<_> = answers.iter().map(|one| one.results.len()).collect();
        assert_eq!(counts, sizes);
        let results = answers.iter().flat_map(|answer| &answer.results);
        for (person, result) in people.iter().zip(results) {
            let single = server.check(person, "offers").await;
            assert_eq!(verdict_in(result), verdict_of(&single), "{person:?}");
            assert_eq!(result.consent_event_id, single.consent_event_id);
        }
        let ids: HashSet<_> = answers.iter().map(|one| &one.decision_id).collect();
        assert_eq!(ids.len(), answers.len());
        for answer in &answers {
            let span = Duration::try_from(answer.valid_for.unwrap()).unwrap();
            assert_eq!(time(answer.valid_until), server.now().plus(span));
        }
    }
}

pub async fn a_malformed_recipient_fails_its_own_item(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    let mut stream = Asking::of(&server, asking("offers")).await;
    let people = [
        ann.clone(),
        phone("0170 98765432"),
        Recipient { address: None },
        ann,
    ];
    for _ in 0..2 {
        let answer = stream.ask(&people).await;
        let fields: Vec<_> = answer
            .results
            .iter()
            .map(|result| result.error.as_ref().map(|error| error.field.as_str()))
            .collect();
        let faults = [
            None,
            Some("recipients.recipients[1].phone_number"),
            Some("recipients.recipients[2]"),
            None,
        ];
        assert_eq!(fields, faults);
        for sound in [0, 3] {
            let verdict = verdict_in(&answer.results[sound]);
            assert_eq!(verdict, allow(Reason::ConsentGiven));
        }
        assert_eq!(answer.results[1].decision(), Decision::Unspecified);
    }
    let nobody = stream.ask(&people[1..3]).await;
    assert!(nobody.results.iter().all(|result| result.error.is_some()));
}

/// Each chunk takes facts, rules and clock anew.
pub async fn an_opt_out_between_two_chunks_counts_for_the_second(on: Backend) {
    let server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&ann, &["offers", "summer"]).await;
    server.gives(&bob, &["offers", "summer"]).await;
    let both = [ann.clone(), bob.clone()];
    let allowed = allow(Reason::ConsentGiven);
    let mut stream = Asking::of(&server, asking("summer")).await;
    let before = stream.ask(&both).await;
    for result in &before.results {
        assert_eq!(verdict_in(result), allowed);
    }
    server.withdraws(&bob, everything()).await;
    let after = stream.ask(&both).await;
    assert_eq!(verdict_in(&after.results[0]), allowed);
    let denied = deny(&[Reason::Withdrawn]);
    assert_eq!(verdict_in(&after.results[1]), denied);
    // The consent of this purpose ends after 30 days.
    server.advance(Duration::from_hours(24 * 31));
    let later = stream.ask(&both).await;
    assert_eq!(verdict_in(&later.results[0]), deny(&[Reason::Expired]));
    assert_eq!(
        time(later.valid_until).max(server.now()),
        time(later.valid_until)
    );
}

pub async fn a_stream_goes_on_where_another_one_broke_off(on: Backend) {
    let server = TestServer::start(on).await;
    let people: Vec<_> = (1..=10).map(person).collect();
    for agreed in &people[..5] {
        server.gives(agreed, &["offers"]).await;
    }
    let mut broken = Asking::of(&server, asking("offers")).await;
    let answer = broken.ask(&people[..4]).await;
    // Sent and never answered, as far as the caller knows.
    broken.say(chunk(&people[4..8])).await;
    drop(broken);

    let answered = answer.first_index + i64::try_from(answer.results.len()).unwrap();
    let from = usize::try_from(answered).unwrap();
    let again = StreamCheckQuestion {
        first_index: answered,
        ..asking("offers")
    };
    let mut messages = vec![first(again)];
    messages.extend(people[from..].chunks(3).map(chunk));
    let (answers, end) = whole(&server, messages).await;
    end.unwrap();
    let places: Vec<_> = answers.iter().map(|one| one.first_index).collect();
    assert_eq!(places, [4, 7]);
    let decisions: Vec<_> = [&answer]
        .into_iter()
        .chain(&answers)
        .flat_map(|answer| &answer.results)
        .map(|result| result.decision() == Decision::Allow)
        .collect();
    assert_eq!(decisions, [[true; 5], [false; 5]].concat());
}

pub async fn what_cannot_be_asked_ends_the_stream_after_the_answers_before_it(on: Backend) {
    let server = TestServer::start(on).await;
    let one = || chunk(&[person(1)]);
    let ask = || first(asking("offers"));
    let bent = |change: Change<StreamCheckQuestion>| {
        let mut question = asking("offers");
        change(&mut question);
        first(question)
    };
    let permit = bent(|question| {
        question.message_class = MessageClass::OptOutConfirmation.into();
        question.sender_id = "1001".into();
    });
    let sender = bent(|question| question.sender_id = "4711".into());
    let token = bent(|question| {
        let requirement = consistency::Requirement::AtLeastAsFresh("other".into());
        question.consistency = Some(Consistency {
            requirement: Some(requirement),
        });
    });
    let of = |field: &'static str| ("FIELD_INVALID", field);
    let service = "question.sender_id";
    for (messages, answered, (reason, field)) in [
        (vec![], 0, of("question")),
        (vec![one(), ask()], 0, of("question")),
        (vec![ask(), one(), ask()], 1, of("question")),
        (
            vec![ask(), chunk(&[]), one()],
            0,
            of("recipients.recipients"),
        ),
        (
            vec![ask(), one(), chunk(&vec![person(1); 10_001])],
            1,
            of("recipients.recipients"),
        ),
        (vec![permit, one()], 0, of("question.message_class")),
        // Known before anybody is asked about.
        (vec![bent(|q| q.purpose = "support".into())], 0, of(service)),
        (
            vec![bent(|q| q.purpose = "zumba".into())],
            0,
            ("PURPOSE_UNKNOWN", "question.purpose"),
        ),
        (
            vec![bent(|q| q.business_id = "nobody".into())],
            0,
            ("BUSINESS_UNKNOWN", "question.business_id"),
        ),
        (vec![sender], 0, ("SENDER_UNKNOWN", service)),
        (
            vec![token, one()],
            0,
            ("TOKEN_INVALID", "question.consistency.at_least_as_fresh"),
        ),
    ] {
        let (answers, end) = whole(&server, messages).await;
        refused(end, reason, &[field]);
        assert_eq!(answers.len(), answered, "{field}");
    }
    let (answers, end) = whole(&server, vec![ask()]).await;
    end.unwrap();
    assert!(answers.is_empty(), "nobody was asked about");
}

pub async fn the_largest_chunks_pass_a_default_client(on: Backend) {
    let server = TestServer::start(on).await;
    let strangers = |from: u32| (from..from + 10_000).map(person).collect::<Vec<_>>();
    let malformed = vec![user_id(&"é".repeat(160)); 10_000];
    let messages = vec![
        first(asking("offers")),
        chunk(&strangers(0)),
        chunk(&malformed),
        chunk(&strangers(5_000)),
    ];
    let (answers, end) = whole(&server, messages).await;
    end.unwrap();
    let never = deny(&[Reason::NoConsent]);
    for known in [0, 2] {
        let results = &answers[known].results;
        assert_eq!(results.len(), 10_000);
        assert!(results.iter().all(|one| verdict_in(one) == never));
    }
    assert!(answers[1].results.iter().all(|one| one.error.is_some()));
}

pub async fn a_message_over_the_limit_ends_the_stream_as_it_does_a_call(on: Backend) {
    let server = TestServer::with(on, |config| config.max_message_size.0 = 64 << 10).await;
    let long = user_id(&"é".repeat(160));
    let messages = vec![
        first(asking("offers")),
        chunk(&[person(1)]),
        chunk(&vec![long; 1_000]),
    ];
    let (answers, end) = whole(&server, messages).await;
    let end = end.unwrap_err();
    assert_eq!(end.code(), Code::ResourceExhausted, "{end}");
    assert_eq!(reason_of(&end), "MESSAGE_TOO_LARGE");
    assert_eq!(answers.len(), 1);
}

/// On its own a stream that is not read would take all that a caller sends, and stop all else on the same connection.
pub async fn whoever_does_not_read_is_not_read_from_and_stops_nobody_else(on: Backend) {
    const CHUNKS: usize = 200;
    let grace = Duration::from_millis(100);
    let mut server = TestServer::with(on, |config| config.shutdown_grace = grace).await;
    let ann = person(1);
    // Much to answer, little to send.
    let large = chunk(&vec![phone("1"); 10_000]);
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let chunks = std::iter::repeat_n(large, CHUNKS);
    let messages = std::iter::once(first(asking("offers")))
        .chain(chunks)
        .inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
    let messages = tokio_stream::iter(messages);
    let asked = server.client().stream_check_consent(messages).await;
    let mut hears = asked.unwrap().into_inner();
    let now = || taken.load(Ordering::Relaxed);
    let stands_still = async || {
        let before = now();
        for _ in 0..50 {
            server.check(&ann, "offers").await;
        }
        (before > 1 && now() == before).then_some(before)
    };
    let stalled = eventually(PATIENCE, "no more is taken", stands_still).await;
    assert!(stalled < CHUNKS / 2, "{stalled} of {CHUNKS} were taken");

    for _ in 0..20 {
        let answer = hears.next().await.unwrap().unwrap();
        assert_eq!(answer.results.len(), 10_000);
    }
    eventually(PATIENCE, "it goes on", async || {
        (now() > stalled).then_some(())
    })
    .await;

    // Nor does it keep a server that ends: what is not read within the grace is cut off.
    eventually(PATIENCE, "no more is taken", stands_still).await;
    server.stop().await;
    drop(hears);
}

pub async fn a_stream_ends_at_its_deadline(on: Backend) {
    let server = TestServer::start(on).await;
    for _ in 0..100 {
        // The client has a timer, too, for the head of the answer.
        let timeout = Duration::from_millis(300);
        let Ok(mut stream) = Asking::open(&server, Some(timeout)).await else {
            continue;
        };
        stream.say(first(asking("offers"))).await;
        let end = stream.end().await;
        assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
        assert_eq!(reason_of(&end), "DEADLINE_EXCEEDED");
        assert!(end.message().contains("do not send"), "{end}");
        return;
    }
    panic!("never did the server say that a stream was too late");
}

pub async fn at_the_servers_end_a_stream_ends_between_two_chunks_and_goes_on_elsewhere(
    on: Backend,
) {
    let mut server = TestServer::start(on).await;
    let (ann, bob) = (person(1), person(2));
    server.gives(&bob, &["offers"]).await;
    let mut stream = Asking::of(&server, asking("offers")).await;
    let answer = stream.ask(std::slice::from_ref(&ann)).await;
    assert_eq!(answer.results.len(), 1);
    let ((), end) = tokio::join!(server.stop(), stream.end());
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert_eq!(reason_of(&end), "SERVER_LEAVING");
    let details = end.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());

    server.resume();
    let again = StreamCheckQuestion {
        first_index: 1,
        ..asking("offers")
    };
    let answer = Asking::of(&server, again).await.ask(&[bob]).await;
    assert_eq!(answer.first_index, 1);
    assert_eq!(verdict_in(&answer.results[0]), allow(Reason::ConsentGiven));
}

pub async fn a_stream_that_nobody_reads_holds_the_end_up_no_longer_than_the_grace(on: Backend) {
    let grace = Duration::from_millis(100);
    let mut server = TestServer::with(on, |config| config.shutdown_grace = grace).await;
    let large = chunk(&vec![phone("1"); 10_000]);
    let messages = std::iter::once(first(asking("offers"))).chain(std::iter::repeat_n(large, 50));
    let mut client = server.client();
    let asked = client.stream_check_consent(tokio_stream::iter(messages));
    let mut unread = asked.await.unwrap().into_inner();
    drop(client);
    server.stop().await;
    // Cut off, not completed.
    let mut answers = 0;
    let end = loop {
        match unread.message().await {
            Ok(Some(_)) => answers += 1,
            Ok(None) => panic!("complete after {answers}"),
            Err(end) => break end,
        }
    };
    assert!(answers < 50, "{end}");
}
