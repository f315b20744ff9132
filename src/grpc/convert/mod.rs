//! From the wire to the use cases and back. The only place that knows field names.
//!
//! A request is read field by field into a [`Fields`], which keeps every violation, so that a
//! caller learns of all of them at once. Every text is bounded here. Enum numbers that are not
//! known are refused where they would decide something, and never read as a default.

pub mod answer;
pub mod catalog;
pub mod check;
pub mod enums;
pub mod erase;
pub mod explain;
pub mod inbound;
pub mod report;
pub mod write;

use prost_types::Duration as WireDuration;
/// An instant on the wire.
pub use prost_types::Timestamp as WireTimestamp;
use zeroize::Zeroizing;

use super::proto;
use crate::consents::error::reason;
use crate::consents::{Error, Recipient, Violation};
use crate::domain::address::{Address, InvalidAddress};
use crate::domain::evidence::RefusalReason;
use crate::domain::id::{
    BusinessId, InvalidName, Language, NoticeId, NoticeRef, PurposeKey, SenderId,
};
use crate::domain::time::Timestamp;

/// After how many items of a batch others get their turn. 10,000 took 0.6 ms to read and 1.3 ms to
/// write.
const TURN: usize = 500;

/// Lets others run, now and then, while the items of a batch are read or written: it holds up nobody.
async fn take_turns(index: usize) {
    if index % TURN == TURN - 1 {
        tokio::task::yield_now().await;
    }
}

/// The most purposes that one call may name.
pub const MAX_PURPOSES: usize = 32;

/// Violations met so far while a request is read.
#[derive(Debug, Default)]
pub struct Fields(Vec<Violation>);

impl Fields {
    /// The parsed request, if no field was at fault.
    pub fn finish<T>(self, request: Option<T>) -> Result<T, Error> {
        match (request, self.0.is_empty()) {
            (Some(request), true) => Ok(request),
            (_, false) => Err(Error::Invalid { violations: self.0 }),
            // INVARIANT: a field is `None` only after its violation was noted.
            (None, true) => Err(Error::invalid("", reason::FIELD_INVALID, "is malformed")),
        }
    }

    /// What was found so far.
    pub fn violations(self) -> Vec<Violation> {
        self.0
    }

    pub fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0
            .push(Violation::new(field, reason::FIELD_INVALID, message));
    }

    pub fn note(&mut self, violation: Violation) {
        self.0.push(violation);
    }

    /// Keeps a value, or notes why it is none.
    pub fn take<T>(&mut self, value: Result<T, Violation>) -> Option<T> {
        value.map_err(|violation| self.0.push(violation)).ok()
    }

    /// A name that must be given.
    pub fn name<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidName>,
    ) -> Option<T> {
        let parsed = parse(text);
        self.take(parsed.map_err(|error| {
            let message = match error {
                InvalidName::Empty => "is required".to_owned(),
                other => other.to_string(),
            };
            Violation::new(field, reason::FIELD_INVALID, message)
        }))
    }

    /// A name that may be left out. `Some(None)`: it was.
    pub fn optional_name<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidName>,
    ) -> Option<Option<T>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.name(field, text, parse).map(Some)
        }
    }

    pub fn business(&mut self, text: &str) -> Option<BusinessId> {
        self.name("business_id", text, BusinessId::parse)
    }

    pub fn purpose(&mut self, text: &str) -> Option<PurposeKey> {
        self.name("purpose", text, PurposeKey::parse)
    }

    pub fn sender(&mut self, field: &str, text: &str) -> Option<Option<SenderId>> {
        self.optional_name(field, text, SenderId::parse)
    }

    /// Keys of purposes, each with its index in the field's name.
    pub fn purposes(&mut self, field: &str, texts: &[String]) -> Option<Vec<PurposeKey>> {
        if texts.len() > MAX_PURPOSES {
            self.refuse(
                field,
                format!("has {} keys, the most is {MAX_PURPOSES}", texts.len()),
            );
            return None;
        }
        let mut purposes = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            purposes.extend(self.name(&format!("{field}[{index}]"), text, PurposeKey::parse));
        }
        (purposes.len() == texts.len()).then_some(purposes)
    }

    /// Free text of at most `max` characters.
    pub fn text(&mut self, field: &str, text: String, max: usize) -> Option<String> {
        let length = text.chars().count();
        if length > max {
            self.refuse(
                field,
                format!("must have at most {max} characters, has {length}"),
            );
            return None;
        }
        if text.contains('\0') {
            self.refuse(field, "must not contain a NUL character");
            return None;
        }
        Some(text)
    }

    /// As [`Fields::text`], of a single line: an id that somebody else made.
    pub fn identifier(&mut self, field: &str, text: String, max: usize) -> Option<String> {
        let text = self.text(field, text, max)?;
        if text.chars().any(char::is_control) {
            self.refuse(field, "must not contain control characters");
            return None;
        }
        Some(text)
    }

    /// As [`Fields::identifier`], which must be given.
    pub fn required_id(&mut self, field: &str, text: String, max: usize) -> Option<String> {
        if text.is_empty() {
            self.refuse(field, format!("is required: 1 to {max} characters"));
            return None;
        }
        self.identifier(field, text, max)
    }

    pub fn recipient(&mut self, recipient: Option<proto::Recipient>) -> Option<Recipient> {
        self.take(read_recipient("recipient", recipient))
    }

    /// An instant that must be given.
    pub fn time(&mut self, field: &str, time: Option<WireTimestamp>) -> Option<Timestamp> {
        match self.optional_time(field, time)? {
            Some(time) => Some(time),
            None => {
                self.refuse(field, "is required");
                None
            }
        }
    }

    pub fn optional_time(
        &mut self,
        field: &str,
        time: Option<WireTimestamp>,
    ) -> Option<Option<Timestamp>> {
        let Some(time) = time else { return Some(None) };
        let read = read_time(&time);
        if read.is_none() {
            self.refuse(
                field,
                "must be an instant of the years 1 to 9999, with nanos from 0 to 999999999",
            );
        }
        read.map(Some)
    }

    pub fn notice(&mut self, notice: Option<proto::NoticeRef>) -> Option<Option<NoticeRef>> {
        let Some(notice) = notice else {
            return Some(None);
        };
        let notice_id = self.name("notice.notice_id", &notice.notice_id, NoticeId::parse);
        let language = self.name("notice.language", &notice.language, Language::parse);
        if notice.version < 1 {
            self.refuse("notice.version", "must be at least 1");
            return None;
        }
        Some(Some(NoticeRef {
            notice_id: notice_id?,
            version: notice.version,
            language: language?,
        }))
    }
}

/// Reads one recipient.
pub fn read_recipient(
    field: &str,
    recipient: Option<proto::Recipient>,
) -> Result<Recipient, Violation> {
    use proto::recipient::Address as Wire;
    let Some(address) = recipient.and_then(|recipient| recipient.address) else {
        let message = "is required: phone_number, wa_id or business_scoped_user_id";
        return Err(Violation::new(field, reason::FIELD_INVALID, message));
    };
    let (name, text, parsed) = match address {
        Wire::PhoneNumber(text) => {
            let parsed = Address::from_phone_number(&text);
            ("phone_number", text, parsed)
        }
        Wire::WaId(text) => {
            let parsed = Address::from_wa_id(&text);
            ("wa_id", text, parsed)
        }
        Wire::BusinessScopedUserId(text) => {
            let parsed = Address::from_user_id(&text);
            ("business_scoped_user_id", text, parsed)
        }
    };
    let text = Zeroizing::new(text);
    match parsed {
        Ok(address) => Ok(Recipient { address, text }),
        Err(error) => {
            let reason = match error {
                InvalidAddress::UserId => reason::FIELD_INVALID,
                _ => RefusalReason::PhoneNumberInvalid.word(),
            };
            Err(Violation::new(
                format!("{field}.{name}"),
                reason,
                error.to_string(),
            ))
        }
    }
}

/// Microseconds of a wire instant; what is finer is cut off.
fn read_time(time: &WireTimestamp) -> Option<Timestamp> {
    const FIRST_SECOND: i64 = -62_135_596_800;
    const LAST_SECOND: i64 = 253_402_300_799;
    let in_range = (FIRST_SECOND..=LAST_SECOND).contains(&time.seconds);
    let nanos_ok = (0..1_000_000_000).contains(&time.nanos);
    (in_range && nanos_ok)
        .then(|| Timestamp::from_micros(time.seconds * 1_000_000 + i64::from(time.nanos / 1_000)))
}

pub fn wire_time(time: Timestamp) -> WireTimestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    WireTimestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos,
    }
}

pub fn wire_duration(duration: std::time::Duration) -> WireDuration {
    WireDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// How many of a list to give: 0 is 100, more than 1,000 is 1,000.
pub fn page_size(fields: &mut Fields, asked: i32) -> Option<u32> {
    match u32::try_from(asked) {
        Ok(0) => Some(100),
        Ok(size) => Some(size.min(1_000)),
        Err(_) => {
            fields.refuse("page_size", "must not be negative");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_wire_to_the_microsecond() {
        for micros in [0, 1, -1, 1_767_225_600_123_456, -62_135_596_800_000_000] {
            let time = Timestamp::from_micros(micros);
            assert_eq!(read_time(&wire_time(time)), Some(time), "{micros}");
        }
    }

    #[test]
    fn instants_outside_protobufs_range_are_refused() {
        for (seconds, nanos) in [
            (253_402_300_800, 0),
            (-62_135_596_801, 0),
            (i64::MAX, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            assert_eq!(
                read_time(&WireTimestamp { seconds, nanos }),
                None,
                "{seconds} {nanos}"
            );
        }
    }

    #[test]
    fn every_violation_of_a_request_is_kept() {
        let mut fields = Fields::default();
        assert!(fields.business("").is_none());
        assert!(fields.purpose("No Slug").is_none());
        assert!(fields.recipient(None).is_none());
        let Err(Error::Invalid { violations }) = fields.finish(Some(())) else {
            panic!("refused")
        };
        let names: Vec<_> = violations
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(names, ["business_id", "purpose", "recipient"]);
    }

    #[test]
    fn a_malformed_number_is_named_by_its_field_and_never_repeated() {
        let wire = proto::Recipient {
            address: Some(proto::recipient::Address::PhoneNumber(
                "0171 98765432".into(),
            )),
        };
        let violation = read_recipient("recipient", Some(wire)).unwrap_err();
        assert_eq!(violation.field, "recipient.phone_number");
        assert_eq!(violation.reason, "PHONE_NUMBER_INVALID");
        assert!(
            !violation.message.contains("98765432"),
            "{}",
            violation.message
        );
    }
}
