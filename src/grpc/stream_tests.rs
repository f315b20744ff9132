//! The order, the room and the end of a stream, without a transport. What the answers say is for the
//! tests over the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::*;
use crate::domain::decide::{Finding, Verdict};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, Reason};
use proto::stream_check_consent_request::Payload;
use proto::{Recipient, StreamCheckConsentRequest, StreamCheckQuestion, StreamCheckRecipients};

/// Denies everybody, one chunk for each permit.
#[derive(Debug)]
struct Gate {
    permits: Semaphore,
    decided: AtomicUsize,
}

impl Gate {
    fn with(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(permits),
            decided: AtomicUsize::new(0),
        })
    }
}

impl Decides for Arc<Gate> {
    type Place = ();

    fn place(&self, _: usize) -> Result<(), Status> {
        Ok(())
    }

    async fn resolves(&self, _: &Asked) -> Result<(), Error> {
        Ok(())
    }

    async fn decide(&self, _: &Asked, addresses: &[Address]) -> Result<BatchChecked, Error> {
        self.permits.acquire().await.unwrap().forget();
        self.decided.fetch_add(1, Ordering::Relaxed);
        let denied = Verdict {
            decision: Decision::Deny,
            findings: vec![Finding {
                reason: Reason::NoConsent,
                event: None,
            }],
            not_before: None,
            rests_on: None,
            holds_until: None,
            clocks: None,
        };
        Ok(BatchChecked {
            verdicts: vec![denied; addresses.len()],
            valid_until: Timestamp::from_micros(0),
            valid_for: Duration::ZERO,
            policy_version: "p".into(),
            token: String::new(),
            decision_id: Uuid::nil(),
        })
    }
}

fn message(payload: Payload) -> Result<StreamCheckConsentRequest, Status> {
    let payload = Some(payload);
    Ok(StreamCheckConsentRequest { payload })
}

fn question() -> StreamCheckQuestion {
    StreamCheckQuestion {
        business_id: "acme".into(),
        purpose: "offers".into(),
        ..StreamCheckQuestion::default()
    }
}

fn asks() -> Result<StreamCheckConsentRequest, Status> {
    message(Payload::Question(question()))
}

fn chunk(people: usize) -> Result<StreamCheckConsentRequest, Status> {
    let ann = proto::recipient::Address::PhoneNumber("+4915112345678".into());
    let ann = Recipient { address: Some(ann) };
    let recipients = vec![ann; people];
    message(Payload::Recipients(StreamCheckRecipients { recipients }))
}

type Requests = Vec<Result<StreamCheckConsentRequest, Status>>;

/// A stream without a deadline, of a server that does not end.
fn begun<R>(gate: Arc<Gate>, requests: R) -> Answers
where
    R: Stream<Item = Result<StreamCheckConsentRequest, Status>> + Send + Unpin + 'static,
{
    answers(
        gate,
        requests,
        Deadline::default(),
        CancellationToken::new(),
    )
}

fn of(requests: Requests) -> Answers {
    let requests = tokio_stream::iter(requests);
    begun(Gate::with(100), requests)
}

/// A question and chunks without end, and how many of them were read.
fn endless() -> (
    impl Stream<Item = Result<StreamCheckConsentRequest, Status>> + Send + Unpin,
    Arc<AtomicUsize>,
) {
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let chunks = std::iter::once(asks()).chain(std::iter::repeat_with(|| chunk(1)));
    let counted = chunks.inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    (tokio_stream::iter(counted), read)
}

/// Returns when nobody has anything to do any more: only then does paused time move.
async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn each_chunk_has_one_answer_in_order_and_its_place_in_the_audience() {
    let later = StreamCheckQuestion {
        first_index: 40,
        ..question()
    };
    let later = message(Payload::Question(later));
    let answers = of(vec![later, chunk(2), chunk(1), chunk(3)]);
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    let places: Vec<_> = answers
        .iter()
        .map(|answer| (answer.first_index, answer.results.len()))
        .collect();
    assert_eq!(places, [(40, 2), (42, 1), (43, 3)]);
}

#[tokio::test]
async fn an_audience_of_nobody_is_answered_by_nothing() {
    let answers: Vec<_> = of(vec![asks()]).collect().await;
    assert!(answers.is_empty());
}

#[tokio::test]
async fn a_message_out_of_place_ends_the_stream_after_the_answers_before_it() {
    let nothing = || Ok(StreamCheckConsentRequest::default());
    let beyond = |first_index| {
        message(Payload::Question(StreamCheckQuestion {
            first_index,
            ..question()
        }))
    };
    let permit = message(Payload::Question(StreamCheckQuestion {
        message_class: proto::MessageClass::OptOutConfirmation.into(),
        ..question()
    }));
    for (requests, answered, field) in [
        (vec![], 0, "question"),
        (vec![chunk(1), asks()], 0, "question"),
        (vec![nothing()], 0, "question"),
        (vec![beyond(-1), chunk(1)], 0, "question.first_index"),
        (vec![beyond(MOST + 1), chunk(1)], 0, "question.first_index"),
        (vec![permit, chunk(1)], 0, "question.message_class"),
        (vec![asks(), chunk(1), asks(), chunk(1)], 1, "question"),
        (vec![asks(), nothing()], 0, "recipients"),
        (vec![asks(), chunk(0)], 0, "recipients.recipients"),
        (
            vec![asks(), chunk(10_000), chunk(10_001), chunk(1)],
            1,
            "recipients.recipients",
        ),
    ] {
        let mut answers: Vec<_> = of(requests).collect().await;
        let end = answers.pop().unwrap().unwrap_err();
        assert_eq!(end.code(), Code::InvalidArgument, "{end}");
        let details = end.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, field, "{end}");
        assert_eq!(answers.len(), answered, "{end}");
        assert!(answers.iter().all(Result::is_ok));
    }
    assert!(
        of(vec![beyond(MOST), chunk(1)])
            .all(|one| one.is_ok())
            .await
    );
}

const MOST: i64 = 1_000_000_000_000_000;

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_is_not_read_from() {
    let (requests, read) = endless();
    let gate = Gate::with(usize::MAX >> 4);
    let mut answers = begun(Arc::clone(&gate), requests);
    for taken in 0..5 {
        quiet().await;
        // The question, what was taken, and one whose answer waits.
        assert_eq!(read.load(Ordering::Relaxed), 1 + taken + 1);
        assert_eq!(gate.decided.load(Ordering::Relaxed), taken + 1);
        answers.next().await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_caller_leaves_the_chunk_in_work_is_given_up() {
    let (requests, _) = endless();
    let gate = Gate::with(0);
    let answers = begun(Arc::clone(&gate), requests);
    quiet().await;
    drop(answers);
    quiet().await;
    // The work held the other one.
    assert_eq!(Arc::strong_count(&gate), 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_servers_end_the_chunk_in_work_is_answered_and_no_other_is_begun() {
    let (requests, read) = endless();
    let gate = Gate::with(0);
    let stop = CancellationToken::new();
    let deadline = Deadline::default();
    let answers = answers(Arc::clone(&gate), requests, deadline, stop.clone());
    quiet().await;
    stop.cancel();
    quiet().await;
    gate.permits.add_permits(9);
    let mut answers: Vec<_> = answers.collect().await;
    let end = answers.pop().unwrap().unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
    let details = end.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "SERVER_LEAVING");
    assert!(details.retry_info().is_some());
    assert_eq!(answers.len(), 1);
    assert_eq!(read.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn at_its_deadline_a_stream_ends_also_for_somebody_who_does_not_read() {
    for permits in [0, 1, 9] {
        let (requests, _) = endless();
        let gate = Gate::with(permits);
        let at = Instant::now() + Duration::from_secs(1);
        let never = CancellationToken::new();
        let answers = answers(Arc::clone(&gate), requests, Deadline::at(at), never);
        tokio::time::sleep_until(at).await;
        quiet().await;
        // Nothing is held any more but what has been answered.
        assert_eq!(Arc::strong_count(&gate), 1, "{permits}");
        let mut answers: Vec<_> = answers.collect().await;
        let end = answers.pop().unwrap().unwrap_err();
        assert_eq!(end.code(), Code::DeadlineExceeded);
        assert!(end.message().contains("do not send"), "{end}");
        assert_eq!(answers.len(), permits.min(1));
    }
}

#[tokio::test]
async fn work_that_broke_off_is_no_whole_audience() {
    let gate = Gate::with(1);
    gate.permits.close();
    let requests = tokio_stream::iter(vec![asks(), chunk(1)]);
    let answers = begun(gate, requests);
    let answers: Vec<_> = answers.collect().await;
    let [Err(end)] = answers.as_slice() else {
        panic!("only an end: {answers:?}");
    };
    assert_eq!(end.code(), Code::Internal);
}
