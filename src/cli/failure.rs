//! How a failure is told: on standard error, with everything that helps to put it right.
//!
//! Of a gRPC status that is its code, message, every field at fault and the reason for programs.
//! A failure never reads as a decision.

use std::error::Error as _;
use std::fmt::{self, Write as _};
use std::io;

use anyhow::Context as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::client::Unreachable;
use super::output::say;

/// Attached to a failed write: how to repeat it so that it is not done twice.
#[derive(Debug)]
pub(super) struct Repeatable(pub(super) String);

impl fmt::Display for Repeatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the write failed")
    }
}

/// Prints why a command failed.
pub(super) fn report(error: &anyhow::Error, server: &str) {
    // Nobody reads on: that is what the pipe said, and there is nothing to add.
    let closed = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(closed) {
        return;
    }
    say(text(error, server).trim_end());
}

fn text(error: &anyhow::Error, server: &str) -> String {
    let mut text = String::new();
    if let Some(status) = error.downcast_ref::<Status>() {
        let outermost = error.to_string();
        if outermost != status.to_string() && error.downcast_ref::<Repeatable>().is_none() {
            let _ = write!(text, "{outermost}: ");
        }
        status_text(status, server, &mut text);
    } else if error.downcast_ref::<Unreachable>().is_some() {
        let _ = writeln!(text, "{error}");
        start_hint(&mut text);
    } else {
        let _ = writeln!(text, "{}", causes(error));
    }
    if let Some(Repeatable(how)) = error.downcast_ref() {
        let _ = writeln!(
            text,
            "  it may have been done all the same: repeat it with {how}"
        );
    }
    format!("error: {text}")
}

/// The error and what caused it. Some errors repeat their cause in their own words: once is enough.
fn causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .fold(error.to_string(), |told, cause| {
            let cause = cause.to_string();
            if told.contains(&cause) {
                told
            } else {
                format!("{told}: {cause}")
            }
        })
}

fn status_text(status: &Status, server: &str, text: &mut String) {
    if status.code() == Code::Cancelled && status.message() == "Timeout expired" {
        // Our own clock, which stands in for a server that does not answer.
        let _ = writeln!(
            text,
            "DEADLINE_EXCEEDED: no answer from `{server}` in time (see --timeout)"
        );
        return;
    }
    let details = status.get_error_details();
    let violations = violations(&details);
    let code = code_name(status.code());
    // A message that only lists the fields at fault would say everything twice.
    let repeats = |(_, what): &(String, String)| status.message().contains(what.as_str());
    if !violations.is_empty() && violations.iter().all(repeats) {
        let _ = writeln!(text, "{code}");
    } else {
        let _ = writeln!(text, "{code}: {}", status.message());
    }
    for (field, what) in &violations {
        let _ = writeln!(text, "  {field}: {what}");
    }
    if let Some(info) = details.error_info() {
        let _ = writeln!(text, "  reason: {}", info.reason);
        let told = |(key, value): &(&String, &String)| {
            *key == "field" && violations.iter().any(|(field, _)| field == *value)
        };
        let mut metadata: Vec<_> = info.metadata.iter().filter(|pair| !told(pair)).collect();
        metadata.sort();
        for (key, value) in metadata {
            let _ = writeln!(text, "  {key}: {value}");
        }
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        let _ = writeln!(text, "  try again in {delay:?}");
    }
    if status.code() == Code::Unauthenticated {
        let _ = writeln!(
            text,
            "  see --token-file, --certificate-file, and `consentgate token create`"
        );
    }
    if status.code() == Code::Unavailable && status.source().is_some() {
        let _ = writeln!(text, "  the connection to `{server}` was lost");
        start_hint(text);
    }
}

/// Every field or precondition at fault, and what is wrong with it.
fn violations(details: &ErrorDetails) -> Vec<(String, String)> {
    let fields = details
        .bad_request()
        .into_iter()
        .flat_map(|request| &request.field_violations);
    let fields = fields.map(|fault| (fault.field.clone(), fault.description.clone()));
    let states = details
        .precondition_failure()
        .into_iter()
        .flat_map(|failure| &failure.violations);
    let states = states.map(|fault| (fault.subject.clone(), fault.description.clone()));
    fields.chain(states).collect()
}

fn start_hint(text: &mut String) {
    text.push_str(
        "  is it running? `consentgate serve --example` starts one; --server names another\n",
    );
}

/// The answer to a write, or its failure: if it may have been done, with the flags by which it can be
/// repeated.
pub(super) fn answered<T>(
    answer: Result<tonic::Response<T>, Status>,
    again: impl FnOnce() -> String,
) -> anyhow::Result<T> {
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if is_doubtful(&status) => Err(status).context(Repeatable(again())),
        Err(status) => Err(status.into()),
    }
}

/// Whether a write that failed like this may have been done.
fn is_doubtful(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => false,
    }
}

/// The code as the contract writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use anyhow::Context;

    const SERVER: &str = "http://127.0.0.1:1";

    fn invalid() -> Status {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("recipient.phone_number", "must start with `+`")
            .add_bad_request_violation("purpose", "there is no purpose `offer`")
            .set_error_info(
                "EVIDENCE_MISSING",
                "consentgate",
                HashMap::from([
                    ("field".to_owned(), "purpose".to_owned()),
                    ("limit".to_owned(), "5".to_owned()),
                ]),
            );
        Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details)
    }

    #[test]
    fn every_field_at_fault_is_told() {
        assert_eq!(
            text(&invalid().into(), SERVER),
            "error: INVALID_ARGUMENT: 2 fields are wrong\n  \
             recipient.phone_number: must start with `+`\n  \
             purpose: there is no purpose `offer`\n  \
             reason: EVIDENCE_MISSING\n  \
             limit: 5\n"
        );
    }

    #[test]
    fn a_message_that_lists_the_fields_is_not_told_twice() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("purpose", "is required");
        let message = "purpose: is required (FIELD_INVALID)";
        let status = Status::with_error_details(Code::InvalidArgument, message, details);
        assert_eq!(
            text(&status.into(), SERVER),
            "error: INVALID_ARGUMENT\n  purpose: is required\n"
        );
    }

    #[test]
    fn what_was_being_done_comes_first() {
        let error = Err::<(), _>(invalid()).context("catalog.toml:12: purpose acme/offers");
        let text = text(&error.unwrap_err(), SERVER);
        assert!(
            text.starts_with("error: catalog.toml:12: purpose acme/offers: INVALID_ARGUMENT: 2"),
            "{text}"
        );
    }

    #[test]
    fn a_delay_is_told() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let status = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert_eq!(
            text(&status.into(), SERVER),
            "error: RESOURCE_EXHAUSTED: busy\n  try again in 2s\n"
        );
    }

    #[test]
    fn a_failed_write_says_how_to_repeat_it() {
        let how = Repeatable("--idempotency-key 7".to_owned());
        let error = Err::<(), _>(Status::unavailable("gone"))
            .context(how)
            .unwrap_err();
        assert_eq!(
            text(&error, SERVER),
            "error: UNAVAILABLE: gone\n  it may have been done all the same: repeat it with --idempotency-key 7\n"
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = || io::Error::other("no such file");
        let both = anyhow::Error::new(cause()).context("cannot read `a`");
        assert_eq!(
            text(&both, SERVER),
            "error: cannot read `a`: no such file\n"
        );
        let repeated = anyhow::Error::new(cause()).context("cannot read `a`: no such file");
        assert_eq!(
            text(&repeated, SERVER),
            "error: cannot read `a`: no such file\n"
        );
    }

    #[test]
    fn our_own_time_out_reads_as_one() {
        let status = Status::cancelled("Timeout expired");
        assert!(text(&status.into(), SERVER).starts_with("error: DEADLINE_EXCEEDED: no answer"));
    }
}
