//! ReportInbound: what a webhook carried, from the wire to a report, and the answer back.
//!
//! Read like an opt-out, because it may be one: text that is too long is cut, and a second address
//! that cannot be read is left out rather than keeping a STOP from being heard.

use super::{Fields, enums, proto, read_recipient, wire_duration, wire_time};
use crate::consents::Error;
use crate::consents::inbound::{InboundAnswer, InboundReport};
use crate::domain::id::SenderId;
use crate::domain::vocabulary::InboundKind;

const TEXT: usize = 4_096;
const ID: usize = 256;

pub fn report(request: proto::ReportInboundRequest) -> Result<InboundReport, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let sender = fields.name("sender_id", &request.sender_id, SenderId::parse);
    let recipient = fields.recipient(request.recipient);
    let message_id = fields.text("message_id", request.message_id, ID);
    let received_at = fields.time("received_at", request.received_at);
    let kind = fields.required_enum("kind", request.kind, enums::read_inbound);
    let previous = match kind {
        Some(InboundKind::IdentityChanged) => fields
            .take(read_recipient("previous", request.previous))
            .map(Some),
        Some(_) | None => Some(None),
    };
    let signup_id = fields.text("signup_id", request.signup_id, ID);
    let also_known_as = request
        .also_known_as
        .and_then(|other| read_recipient("also_known_as", Some(other)).ok());
    let parsed = (|| {
        Some(InboundReport {
            business: business?,
            sender: sender?,
            recipient: recipient?,
            message_id: message_id?,
            received_at: received_at?,
            kind: kind?,
            text: cut(request.text),
            payload: cut(request.payload),
            also_known_as,
            previous: previous?,
            signup_id: signup_id?,
        })
    })();
    fields.finish(parsed)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(TEXT) {
        None => text,
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
    }
}

pub fn reported(answer: InboundAnswer) -> proto::ReportInboundResponse {
    proto::ReportInboundResponse {
        action: enums::write_action(answer.action).into(),
        matched_keyword: answer.matched_keyword,
        language: answer.language,
        service_window_until: answer.service_window_until.map(wire_time),
        event_id: answer.event_id.map(|id| id.to_string()).unwrap_or_default(),
        consistency_token: answer.token,
        instances_confirmed: i32::try_from(answer.instances_confirmed).unwrap_or(i32::MAX),
        waited: answer.waited.map(wire_duration),
    }
}
