//! Every error to a status and a log line: one place.
//!
//! A caller learns what it can do about it, never what is inside. What is our fault is logged here,
//! once, with an id that the message repeats.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};
use uuid::Uuid;

use crate::catalog;
use crate::consents::error::reason;
use crate::consents::{Error, Violation};

const DOMAIN: &str = "consentgate";

/// gRPC keeps details in a header: more violations than this would not fit with the message.
const MAX_VIOLATIONS: usize = 32;
/// Bytes of the header for violations as they are encoded; clients take as little as 8 KiB in all.
const VIOLATIONS_ROOM: usize = 6_000;
/// The most characters of a field's name or of what is wrong with it.
const MAX_TEXT: usize = 200;

const RETRY_SOON: Duration = Duration::from_millis(50);
const RETRY_LATER: Duration = Duration::from_secs(1);

/// Whoever is refused for load is told one of so many delays.
pub(super) const DELAYS: u32 = 16;

/// The status of a use case's error.
pub fn of(error: &Error) -> Status {
    match error {
        Error::Invalid { violations } => invalid(violations),
        Error::Precondition { subject, message } => {
            let violation = PreconditionViolation::new("STATE", *subject, message.clone());
            let mut details = ErrorDetails::with_precondition_failure(vec![violation]);
            details.set_error_info("PRECONDITION_FAILED", DOMAIN, []);
            Status::with_error_details(Code::FailedPrecondition, message.clone(), details)
        }
        Error::NotFound { what } => not_found(format!("{what} does not exist")),
        Error::KeyReused => already_exists(
            "IDEMPOTENCY_KEY_REUSED",
            "the idempotency key was used for other content; use a new key",
        ),
        Error::Contended => retry(
            Code::Aborted,
            "CONTENDED",
            "others wrote the same entry all the time; repeat with the same idempotency key",
            RETRY_SOON,
        ),
        Error::LeaseLost => retry(
            Code::Unavailable,
            "LEASE_LOST",
            "this instance cannot tell whether its facts are current; do not send",
            RETRY_LATER,
        ),
        Error::Unconfirmed(_) => retry(
            Code::Unavailable,
            "NOT_CONFIRMED",
            "it is committed, and whether every instance has applied it is not known yet: repeat it \
             with the same idempotency key",
            RETRY_SOON,
        ),
        Error::NotYetFresh => retry(
            Code::Unavailable,
            "NOT_YET_FRESH",
            "the ledger has not yet what the consistency token proves; do not send",
            RETRY_LATER,
        ),
        Error::Unavailable { source } => unreachable_ledger(
            source,
            "the ledger cannot be reached; nothing was decided, and the outcome of a write is \
             unknown: repeat it with the same idempotency key",
        ),
        Error::Crowded => crowded(),
        Error::Internal(source) => internal(source.as_ref()),
    }
}

/// The status of an error of the catalogue, its faults named as fields of `resource`. Its calls have
/// no idempotency key: who does not know how one ended reads the resource back.
pub fn of_catalog(error: catalog::Error, resource: &str) -> Status {
    match error {
        catalog::Error::Invalid { faults } => {
            let violations = faults.into_iter().map(|fault| {
                let field = format!("{resource}.{}", fault.field);
                Violation::new(field, reason::FIELD_INVALID, fault.message)
            });
            invalid(&violations.collect::<Vec<_>>())
        }
        catalog::Error::AlreadyExists { .. } => already_exists("ALREADY_EXISTS", error.to_string()),
        catalog::Error::NotFound { .. } => not_found(error.to_string()),
        catalog::Error::Contended => retry(
            Code::Aborted,
            "CONTENDED",
            "others changed the catalogue all the time, and this change was not made: repeat it",
            RETRY_SOON,
        ),
        catalog::Error::Unconfirmed => retry(
            Code::Unavailable,
            "NOT_CONFIRMED",
            "the change is committed, and whether every instance has applied it is not known yet: \
             repeat it",
            RETRY_SOON,
        ),
        catalog::Error::Ledger(_) | catalog::Error::Policy(_) | catalog::Error::Keys(_) => {
            match error.into() {
                Error::Unavailable { source } => unreachable_ledger(
                    &source,
                    "the ledger cannot be reached; the outcome of a change is unknown: read the \
                 resource back before repeating it",
                ),
                other => of(&other),
            }
        }
    }
}

fn unreachable_ledger(source: &dyn std::fmt::Display, message: &str) -> Status {
    tracing::warn!(error = %source, "the ledger cannot be reached");
    retry(
        Code::Unavailable,
        "LEDGER_UNAVAILABLE",
        message,
        RETRY_LATER,
    )
}

/// Violated fields, as many as a header takes, and the first one's reason.
fn invalid(violations: &[Violation]) -> Status {
    let mut room = VIOLATIONS_ROOM;
    let (mut fields, mut message) = (Vec::new(), Vec::new());
    for violation in violations.iter().take(MAX_VIOLATIONS) {
        let (field, what) = (shortened(&violation.field), shortened(&violation.message));
        let line = match field.as_str() {
            "" => format!("{what} ({})", violation.reason),
            field => format!("{field}: {what} ({})", violation.reason),
        };
        // The message is percent-encoded, the details are base64.
        let encoded = line.bytes().map(|byte| {
            if byte.is_ascii_graphic() || byte == b' ' {
                1
            } else {
                3
            }
        });
        let size = encoded.sum::<usize>() + (field.len() + what.len()) * 4 / 3;
        if size > room && !fields.is_empty() {
            break;
        }
        room = room.saturating_sub(size);
        fields.push(FieldViolation::new(field, what));
        message.push(line);
    }
    let more = violations.len() - fields.len();
    if more > 0 {
        message.push(format!("and {more} more"));
    }
    let first = fields
        .first()
        .map(|first| ("field".to_owned(), first.field.clone()));
    let word = violations
        .first()
        .map_or(reason::FIELD_INVALID, |v| v.reason);
    let mut details = ErrorDetails::with_bad_request(fields);
    details.set_error_info(
        word,
        DOMAIN,
        first
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    Status::with_error_details(Code::InvalidArgument, message.join("; "), details)
}

/// A text that a caller may have made long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// The bytes of a request are no message. `field`: where that shows, empty where it does not.
pub fn unreadable(field: &str, fault: &str) -> Status {
    let fault = format!("the message cannot be read: {fault}");
    invalid(&[Violation::new(field, reason::FIELD_INVALID, fault)])
}

/// A list has more entries than any may have.
pub fn too_long(field: &str, count: usize) -> Status {
    let fault = format!("has {count}, the most is 10,000");
    invalid(&[Violation::new(field, reason::FIELD_INVALID, fault)])
}

/// Something of this name exists with other content.
pub fn already_exists(word: &str, message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(word, DOMAIN, []);
    Status::with_error_details(Code::AlreadyExists, message, details)
}

/// What was asked for does not exist for this caller.
pub fn not_found(message: impl Into<String>) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("NOT_FOUND", DOMAIN, []);
    Status::with_error_details(Code::NotFound, message, details)
}

/// Nobody may know more: whether there is a credential, whose it was, what became of it.
pub fn unauthenticated() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("UNAUTHENTICATED", DOMAIN, []);
    let message = "this call needs a valid credential: a token or a JWT in the metadata \
                   `authorization: Bearer …`, or a client certificate";
    Status::with_error_details(Code::Unauthenticated, message, details)
}

/// Of a business that is not the caller's, and of one that does not exist, in the same words.
pub fn permission_denied() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("PERMISSION_DENIED", DOMAIN, []);
    let message = "this credential does not permit this call for this business";
    Status::with_error_details(Code::PermissionDenied, message, details)
}

/// The caller's deadline passed; a write goes on without it.
pub fn deadline_exceeded(what: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("DEADLINE_EXCEEDED", DOMAIN, []);
    Status::with_error_details(Code::DeadlineExceeded, what, details)
}

/// The headers that refuse a message of more than `limit` bytes. Without a `RetryInfo`, which would
/// have it repeated.
pub fn too_large(limit: u64) -> HeaderMap {
    let mut details = ErrorDetails::new();
    let metadata = [("max_message_size".to_owned(), limit.to_string())];
    details.set_error_info("MESSAGE_TOO_LARGE", DOMAIN, metadata);
    let message = format!("the message has more than {limit} bytes: send less at once");
    headers(&Status::with_error_details(
        Code::ResourceExhausted,
        message,
        details,
    ))
}

/// The server has more to do than it can do in time.
pub fn crowded() -> Status {
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    crowded_until(delay(REFUSED.fetch_add(7, Ordering::Relaxed) % DELAYS))
}

/// The same as headers, with one of the [`DELAYS`].
pub(super) fn crowded_headers(number: u32) -> HeaderMap {
    headers(&crowded_until(delay(number)))
}

/// This caller has used more than it may.
pub fn too_fast(wait: Duration) -> Status {
    retry(
        Code::ResourceExhausted,
        "RATE_LIMITED",
        "this caller asks for more than it may in a second; nothing was decided or written",
        wait,
    )
}

fn crowded_until(delay: Duration) -> Status {
    retry(
        Code::ResourceExhausted,
        "OVERLOADED",
        "this instance has more to do than it can do in time; nothing was decided or written",
        delay,
    )
}

/// Half a second to a second and a half, so that those who were refused together do not come back
/// together.
pub(super) fn delay(number: u32) -> Duration {
    Duration::from_millis(500) + number * Duration::from_secs(1) / DELAYS
}

/// The headers that answer a call whose deadline passed before anything was done for it.
pub fn given_up_headers() -> HeaderMap {
    headers(&deadline_exceeded(
        "the deadline passed before this was begun; nothing was decided or written: do not send",
    ))
}

/// A stream ends because the server does.
pub fn leaving() -> Status {
    retry(
        Code::Unavailable,
        "SERVER_LEAVING",
        "this instance is ending; ask another one",
        RETRY_LATER,
    )
}

/// The same as the trailers of a stream that somebody else fills.
pub fn leaving_trailers() -> HeaderMap {
    headers(&leaving())
}

/// A status as it stands in headers and trailers.
fn headers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let added = status.add_header(&mut headers);
    added.expect("a message is percent-encoded, details are base64");
    headers
}

fn retry(code: Code, word: &str, message: &str, after: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(after));
    details.set_error_info(word, DOMAIN, []);
    Status::with_error_details(code, message, details)
}

fn internal(source: &(dyn std::error::Error + Send + Sync)) -> Status {
    let id = Uuid::new_v4();
    tracing::error!(error = %source, error_id = %id, "a call failed by our fault");
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "INTERNAL",
        DOMAIN,
        [("error_id".to_owned(), id.to_string())],
    );
    Status::with_error_details(
        Code::Internal,
        format!("an internal error; the log names it by the id {id}"),
        details,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violated_field_is_named_and_the_first_reason_stands_out() {
        let violations = vec![
            Violation::new("recipient", "PHONE_NUMBER_INVALID", "is wrong"),
            Violation::new("notice", "NOTICE_REQUIRED", "is missing"),
        ];
        let status = of(&Error::Invalid { violations });
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let fields: Vec<_> = details
            .bad_request()
            .unwrap()
            .field_violations
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(fields, ["recipient", "notice"]);
        let info = details.error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("PHONE_NUMBER_INVALID", "consentgate")
        );
    }

    #[test]
    fn what_can_be_repeated_says_when() {
        for error in [Error::Contended, Error::LeaseLost, Error::NotYetFresh] {
            let status = of(&error);
            assert!(status.get_error_details().retry_info().is_some(), "{error}");
        }
        assert_eq!(of(&Error::LeaseLost).code(), Code::Unavailable);
        assert_eq!(of(&Error::Contended).code(), Code::Aborted);
    }

    #[test]
    fn a_caller_of_the_catalogue_is_told_to_read_back_and_of_no_idempotency_key() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for (error, code, advice) in [
            (catalog::Error::Contended, Code::Aborted, "repeat it"),
            (catalog::Error::Unconfirmed, Code::Unavailable, "repeat"),
            (
                catalog::Error::Ledger(crate::ledger::Error::Unavailable(lost.into())),
                Code::Unavailable,
                "read",
            ),
        ] {
            let status = of_catalog(error, "sender");
            let message = status.message();
            assert_eq!(status.code(), code, "{message}");
            assert!(message.contains(advice), "{message}");
            assert!(!message.contains("idempotency"), "{message}");
            assert!(status.get_error_details().retry_info().is_some());
        }
    }

    #[test]
    fn an_internal_error_hides_its_cause_and_names_an_id() {
        let status = of(&Error::Internal("row of +4915112345678 is broken".into()));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("4915112345678"));
        let details = status.get_error_details();
        let id = &details.error_info().unwrap().metadata["error_id"];
        assert!(status.message().contains(id.as_str()));
    }

    #[test]
    fn ten_thousand_violations_fit_into_a_header() {
        let violations = (0..10_000)
            .map(|n| Violation::new(format!("f[{n}]"), "X", "is wrong"))
            .collect();
        let status = of(&Error::Invalid { violations });
        assert!(status.message().len() + status.details().len() < 8_000);
        assert!(status.message().ends_with("and 9968 more"));
    }

    #[test]
    fn who_is_not_let_in_is_told_of_every_credential_that_there_is() {
        let nobody = unauthenticated();
        for kind in ["a token", "a JWT", "a client certificate"] {
            assert!(nobody.message().contains(kind), "{nobody}");
        }
        let denied = permission_denied();
        assert!(!denied.message().contains("token"), "{denied}");
    }

    #[test]
    fn who_is_refused_together_is_told_to_come_back_at_different_times() {
        let delays: std::collections::BTreeSet<_> = (0..DELAYS).map(delay).collect();
        assert_eq!(delays.len(), 16);
        assert!(
            delays
                .iter()
                .all(|one| (500..1_500).contains(&one.as_millis()))
        );
        let told = |status: Status| status.get_details_retry_info().unwrap().retry_delay;
        assert_ne!(told(crowded()), told(crowded()));
    }
}
