//! Questions: CheckConsent, BatchCheckConsent, StreamCheckConsent, ExplainConsent, GetConsent,
//! ListConsentEvents.

use super::{Fields, enums, page_size, proto, read_recipient, take_turns};
use crate::consents::check::{Asked, Consistency};
use crate::consents::error::reason;
use crate::consents::explain::ExplainRequest;
use crate::consents::history::GetRequest;
use crate::consents::{Error, Recipient, Violation};
use crate::domain::address::Address;
use crate::domain::id::{BusinessId, PurposeKey};
use crate::domain::vocabulary::MessageClass;

/// The most recipients of one batch, and of one chunk of a stream.
pub const MAX_RECIPIENTS: usize = 10_000;
/// The field in which a stream's first message carries its question.
pub const QUESTION: &str = "question";
/// The field in which a batch carries its recipients.
pub const RECIPIENTS: &str = "recipients";
/// The field in which a message of a stream does.
pub const CHUNK: &str = "recipients.recipients";
const NO_PERMITS: &str =
    "must not be OPT_OUT_CONFIRMATION: allowing it uses a permit up, so ask one by one";
/// Far beyond any audience, and far from where counting on would overflow.
const MAX_FIRST_INDEX: i64 = 1_000_000_000_000_000;
const TEMPLATE: usize = 512;
const REQUEST_ID: usize = 128;
const NOTHING_WEAKER: &str = "must not be false: there is nothing weaker to mean";

/// The fields that a single question and a batch share.
struct Common {
    business_id: String,
    purpose: String,
    message_class: i32,
    sender_id: String,
    template: String,
    consistency: Option<proto::Consistency>,
}

/// One question about one person.
pub fn check(request: proto::CheckConsentRequest) -> Result<(Asked, Recipient), Error> {
    let mut fields = Fields::default();
    let recipient = fields.recipient(request.recipient);
    let confirms = request.message_class == i32::from(proto::MessageClass::OptOutConfirmation);
    if confirms && request.request_id.is_empty() {
        fields.refuse("request_id", "is required with OPT_OUT_CONFIRMATION");
    }
    let request_id = match confirms && !request.request_id.is_empty() {
        true => fields.identifier("request_id", request.request_id, REQUEST_ID),
        false => None,
    };
    if confirms && request.sender_id.is_empty() {
        fields.refuse("sender_id", "is required with OPT_OUT_CONFIRMATION");
    }
    let asked = asked(
        &mut fields,
        Common {
            business_id: request.business_id,
            purpose: request.purpose,
            message_class: request.message_class,
            sender_id: request.sender_id,
            template: request.template,
            consistency: request.consistency,
        },
    );
    let asked = asked.map(|asked| Asked {
        request_id,
        ..asked
    });
    fields.finish(asked.zip(recipient))
}

/// One question about one person, to be explained.
pub fn explain(request: proto::ExplainConsentRequest) -> Result<ExplainRequest, Error> {
    let mut fields = Fields::default();
    let recipient = fields.recipient(request.recipient);
    let confirms = request.message_class == i32::from(proto::MessageClass::OptOutConfirmation);
    // Optional here: no permit is used up.
    let request_id = match confirms && !request.request_id.is_empty() {
        true => fields.identifier("request_id", request.request_id, REQUEST_ID),
        false => None,
    };
    if confirms && request.sender_id.is_empty() {
        fields.refuse("sender_id", "is required with OPT_OUT_CONFIRMATION");
    }
    let at = fields.optional_time("at", request.at);
    let asked = asked(
        &mut fields,
        Common {
            business_id: request.business_id,
            purpose: request.purpose,
            message_class: request.message_class,
            sender_id: request.sender_id,
            template: request.template,
            consistency: request.consistency,
        },
    );
    let parsed = (|| {
        Some(ExplainRequest {
            asked: Asked {
                request_id,
                ..asked?
            },
            recipient: recipient?,
            at: at?,
        })
    })();
    fields.finish(parsed)
}

/// One question about many people, who are read by [`people`].
#[derive(Debug)]
pub struct Batch {
    pub asked: Asked,
    pub recipients: Vec<proto::Recipient>,
}

pub fn batch(request: proto::BatchCheckConsentRequest) -> Result<Batch, Error> {
    let mut fields = Fields::default();
    count(&mut fields, RECIPIENTS, request.recipients.len());
    no_permits(&mut fields, request.message_class);
    let asked = asked(
        &mut fields,
        Common {
            business_id: request.business_id,
            purpose: request.purpose,
            message_class: request.message_class,
            sender_id: request.sender_id,
            template: request.template,
            consistency: request.consistency,
        },
    );
    let asked = fields.finish(asked)?;
    let recipients = request.recipients;
    Ok(Batch { asked, recipients })
}

/// What a stream asks, and where in its audience it begins.
#[derive(Debug)]
pub struct StreamQuestion {
    pub asked: Asked,
    pub first_index: i64,
}

/// The first message of a stream. `None`: there was none.
pub fn stream_question(
    message: Option<proto::StreamCheckConsentRequest>,
) -> Result<StreamQuestion, Error> {
    use proto::stream_check_consent_request::Payload;
    let question = match message.and_then(|message| message.payload) {
        Some(Payload::Question(question)) => question,
        Some(Payload::Recipients(_)) | None => {
            let message = "is required in the first message";
            return Err(Error::invalid(QUESTION, reason::FIELD_INVALID, message));
        }
    };
    let mut fields = Fields::default();
    no_permits(&mut fields, question.message_class);
    let first_index = question.first_index;
    if !(0..=MAX_FIRST_INDEX).contains(&first_index) {
        fields.refuse("first_index", "must be from 0 to 1,000,000,000,000,000");
    }
    let asked = asked(
        &mut fields,
        Common {
            business_id: question.business_id,
            purpose: question.purpose,
            message_class: question.message_class,
            sender_id: question.sender_id,
            template: question.template,
            consistency: question.consistency,
        },
    );
    let asked = fields.finish(asked).map_err(|e| e.within(QUESTION))?;
    Ok(StreamQuestion { asked, first_index })
}

/// A later message of a stream: a chunk of recipients, who are read by [`people`].
pub fn stream_chunk(
    message: proto::StreamCheckConsentRequest,
) -> Result<Vec<proto::Recipient>, Error> {
    use proto::stream_check_consent_request::Payload;
    let refused = |field, message| Err(Error::invalid(field, reason::FIELD_INVALID, message));
    let recipients = match message.payload {
        Some(Payload::Recipients(chunk)) => chunk.recipients,
        Some(Payload::Question(_)) => {
            return refused(QUESTION, "stands in the first message alone");
        }
        None => return refused(RECIPIENTS, "is required in every message but the first"),
    };
    let mut fields = Fields::default();
    count(&mut fields, CHUNK, recipients.len());
    fields.finish(Some(recipients))
}

fn count(fields: &mut Fields, field: &str, recipients: usize) {
    match recipients {
        0 => fields.refuse(field, "is required: 1 to 10,000"),
        1..=MAX_RECIPIENTS => {}
        count => fields.refuse(field, format!("has {count}, the most is 10,000")),
    }
}

fn no_permits(fields: &mut Fields, class: i32) {
    if class == i32::from(proto::MessageClass::OptOutConfirmation) {
        fields.refuse("message_class", NO_PERMITS);
    }
}

/// The addresses that can be asked about, and of each recipient its fault, if it has one: who is
/// malformed fails alone. `field` is where the recipients stand.
pub async fn people(
    field: &str,
    recipients: Vec<proto::Recipient>,
) -> (Vec<Address>, Vec<Option<Violation>>) {
    let mut addresses = Vec::with_capacity(recipients.len());
    let mut faults = Vec::with_capacity(recipients.len());
    for (index, recipient) in recipients.into_iter().enumerate() {
        let read = read_recipient("", Some(recipient));
        faults.push(match read {
            Ok(recipient) => {
                addresses.push(recipient.address);
                None
            }
            Err(fault) => Some(Violation {
                field: format!("{field}[{index}]{}", fault.field),
                ..fault
            }),
        });
        take_turns(index).await;
    }
    (addresses, faults)
}

fn asked(fields: &mut Fields, common: Common) -> Option<Asked> {
    let business = fields.business(&common.business_id);
    let purpose = fields.purpose(&common.purpose);
    let class = fields.optional_enum("message_class", common.message_class, enums::read_class);
    let sender = fields.sender("sender_id", &common.sender_id);
    if class == Some(Some(MessageClass::Service)) && common.sender_id.is_empty() {
        fields.refuse(
            "sender_id",
            "is required for SERVICE: the service window belongs to one sender",
        );
    }
    let template = fields.text("template", common.template, TEMPLATE);
    let consistency = consistency(fields, common.consistency);
    Some(Asked {
        request_id: None,
        business: business?,
        purpose: purpose?,
        class: class?,
        sender: sender?,
        template: Some(template?).filter(|name| !name.is_empty()),
        consistency: consistency?,
    })
}

fn consistency(fields: &mut Fields, asked: Option<proto::Consistency>) -> Option<Consistency> {
    use proto::consistency::Requirement as R;
    let Some(requirement) = asked.and_then(|asked| asked.requirement) else {
        return Some(Consistency::Strict);
    };
    match requirement {
        R::Strict(true) => Some(Consistency::Strict),
        R::FullyConsistent(true) => Some(Consistency::FullyConsistent),
        R::AtLeastAsFresh(token) => Some(Consistency::AtLeastAsFresh(token)),
        R::Strict(false) => {
            fields.refuse("consistency.strict", NOTHING_WEAKER);
            None
        }
        R::FullyConsistent(false) => {
            fields.refuse("consistency.fully_consistent", NOTHING_WEAKER);
            None
        }
        R::BoundedStaleness(_) => {
            let message = "is not enabled: it would weaken what a withdrawal promises";
            fields.note(Violation::new(
                "consistency.bounded_staleness",
                reason::NOT_ENABLED,
                message,
            ));
            None
        }
    }
}

/// How a person stands.
pub fn get(request: proto::GetConsentRequest) -> Result<GetRequest, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let purpose = fields.optional_name("purpose", &request.purpose, PurposeKey::parse);
    let sender = fields.sender("sender_id", &request.sender_id);
    let at = fields.optional_time("at", request.at);
    let consistency = consistency(&mut fields, request.consistency);
    let parsed = (|| {
        Some(GetRequest {
            business: business?,
            recipient: recipient?,
            purpose: purpose?,
            sender: sender?,
            at: at?,
            consistency: consistency?,
        })
    })();
    fields.finish(parsed)
}

/// Which part of whose history.
#[derive(Debug)]
pub struct ListEvents {
    pub business: BusinessId,
    pub recipient: Recipient,
    pub page_size: u32,
    pub page_token: String,
}

pub fn list_events(request: proto::ListConsentEventsRequest) -> Result<ListEvents, Error> {
    let mut fields = Fields::default();
    let business = fields.business(&request.business_id);
    let recipient = fields.recipient(request.recipient);
    let page_size = page_size(&mut fields, request.page_size);
    let page_token = fields.text("page_token", request.page_token, 1_024);
    let parsed = (|| {
        Some(ListEvents {
            business: business?,
            recipient: recipient?,
            page_size: page_size?,
            page_token: page_token?,
        })
    })();
    fields.finish(parsed)
}
