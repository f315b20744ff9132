//! EraseSubject: what is asked, and what is answered.

use super::write::{ACTOR, idempotency_key};
use super::{Fields, enums, proto, wire_duration, wire_time};
use crate::consents::Error;
use crate::consents::erase::{EraseAnswer, EraseRequest};

const NOTE: usize = 256;

/// So many digits in a row may be somebody's number.
const DIGITS: usize = 7;

pub fn erase(request: proto::EraseSubjectRequest) -> Result<EraseRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let basis = fields.required_enum("basis", request.basis, enums::read_erasure);
    let note = fields.identifier("reason", request.reason, NOTE);
    if note.as_deref().is_some_and(looks_personal) {
        let message =
            "is kept in the clear and never erased: it must have no `@`, nor seven digits in a row";
        fields.refuse("reason", message);
    }
    let actor = fields.text("actor", request.actor, ACTOR);
    let idempotency_key = idempotency_key(&mut fields, request.idempotency_key);
    let parsed = (|| {
        Some(EraseRequest {
            business: business?,
            recipient: recipient?,
            basis: basis?,
            note: note?,
            actor: actor?,
            idempotency_key: idempotency_key?,
        })
    })();
    fields.finish(parsed)
}

/// Whether a number or an address of mail may be in it. Numbers are written with marks between their
/// digits, words are not.
fn looks_personal(note: &str) -> bool {
    let mut row = 0;
    for letter in note.chars() {
        if letter.is_numeric() {
            row += 1;
        } else if letter.is_alphabetic() {
            row = 0;
        }
        if letter == '@' || row == DIGITS {
            return true;
        }
    }
    false
}

pub fn erased(answer: EraseAnswer) -> proto::EraseSubjectResponse {
    proto::EraseSubjectResponse {
        event_id: answer.event_id.to_string(),
        scheduled_for: answer.scheduled_for.map(wire_time),
        consistency_token: answer.token,
        instances_confirmed: i32::try_from(answer.instances_confirmed).unwrap_or(i32::MAX),
        waited: Some(wire_duration(answer.waited)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_may_name_somebody_is_refused() {
        for (note, refused) in [
            ("", false),
            ("asked by letter, case 4711", false),
            ("order 123456 of the court, 2 Bv 9/26", false),
            ("case 1234567", true),
            ("+49 (151) 12-34", true),
            ("\u{664}\u{661}\u{665}\u{661}\u{661}\u{662}\u{663}", true),
            ("jane@acme.example", true),
        ] {
            assert_eq!(looks_personal(note), refused, "{note}");
        }
    }
}
