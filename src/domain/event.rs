//! Consent events: what the ledger appends, one per act of a person, an operator or an authority.
//!
//! The core of an event holds no personal data: the number, evidence and free text lie encrypted
//! beside it and can be erased without touching it. Its canonical bytes are JSON with the fields in
//! the order below, stored verbatim and never written again, so that an auditor can read them and
//! a hash over them stays true. Field names are those of ISO/IEC TS 27560 where it has one.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::address::Spelling;
use super::facts::{Ask, Consulted, Grant, Mark, Restricted, Suppressed};
use super::id::{
    BusinessId, CallerName, EventId, ImportBatchId, JurisdictionCode, NoticeRef, PurposeKey,
    RegistryName, SenderId, SubjectId,
};
use super::json;
pub use super::retention::Erasure;
use super::time::Timestamp;
use super::vocabulary::{
    AddressKind, ConsentType, EvidenceFields, FailureKind, ImpliedBasis, IndicationMethod,
    RegistryResult, RestrictionKind, SuppressionBasis, TimeSource, WithdrawalMethod,
};

/// Version of the stored form. A reader refuses a version that it does not know.
pub const SCHEMA: u16 = 1;

/// One act, as it is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub schema: u16,
    pub event_id: EventId,
    pub subject_id: SubjectId,
    pub business_id: BusinessId,
    /// When the act happened, as its reporter says.
    pub event_time: Timestamp,
    /// When the ledger took it, by our clock.
    pub recorded_at: Timestamp,
    pub time_source: TimeSource,
    /// In which spelling of the address it came.
    pub spelling: Spelling,
    pub act: Act,
    /// The linked address at which the act was done, if it was done there: this is a copy, under the
    /// same event id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<SubjectId>,
    /// SHA-256 (hex) of the sealed payload's salted plain text; proves the evidence while it
    /// exists, and says nothing once it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_commitment: Option<String>,
    /// Which caller had it recorded; `None`: callers were not authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_by: Option<CallerName>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Act {
    /// The person consented. Where a confirmation is required it waits for one.
    ConsentGiven(Terms),
    /// The person confirmed an earlier request from the same address (double opt-in). Carries the
    /// request's terms, so that its effect does not depend on which of the two arrives first.
    ConsentConfirmed(Confirmation),
    /// The person was asked.
    ConsentRequested(Asked),
    /// The notice was dismissed without a decision.
    ConsentRequestDeferred(Asked),
    /// The person said no, or somebody ended a consent.
    Restricted(Restriction),
    /// The person must not be written to, whatever they consented to.
    Suppressed(Suppression),
    /// A suppression ended.
    SuppressionLifted(Lift),
    /// A do-not-contact registry was consulted.
    RegistryChecked(RegistryCheck),
    /// WhatsApp named this address and another one together as one person's.
    Linked(Link),
    /// WhatsApp announced that this person has another address now.
    IdentityChanged(IdentityChange),
    /// A message could not be delivered.
    DeliveryFailed(Failure),
    /// The address answered after deliveries had failed.
    Reached(Reached),
    /// The person's data were erased: no earlier consent counts any more, and every restriction does.
    Erased(Erasure),
}

/// What was consented to, and what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Sorted, without duplicates.
    pub purposes: Vec<PurposeKey>,
    /// Narrows the grant to one sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    pub consent_type: ConsentType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implied: Option<Implied>,
    pub indication_method: IndicationMethod,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<NoticeShown>,
    #[serde(default)]
    pub declarations: Declarations,
    /// Which fields of evidence came with it; their contents are in the sealed payload.
    pub evidence: EvidenceFields,
    /// Where the person lives: as stated by the record, else by the number's country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jurisdiction: Option<JurisdictionCode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_batch_id: Option<ImportBatchId>,
    /// Which rules were in force when it was recorded.
    pub policy_version: String,
    /// Which numbering plan metadata judged the number.
    pub phone_metadata: String,
}

impl Terms {
    /// An import never weakens an opt-out, so it is told apart from an act of the person.
    pub fn is_import(&self) -> bool {
        self.indication_method == IndicationMethod::Import || self.import_batch_id.is_some()
    }
}

/// The notice as it was when it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeShown {
    pub notice: NoticeRef,
    /// SHA-256 of the text, hex.
    pub sha256: String,
    pub processing_version: i32,
}

/// From what an implied consent follows, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Implied {
    pub basis: ImpliedBasis,
    pub basis_time: Timestamp,
}

/// What the recorder declares of how consent was asked. Unset is missing, not false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declarations {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_unticked: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separate_from_terms: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whatsapp_named: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_entered_by_subject: Option<bool>,
}

/// One act of confirming; it may confirm several requests that were pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// How it was expressed; the address it came from is the event's own.
    pub indication_method: IndicationMethod,
    /// Not empty.
    pub requests: Vec<ConfirmedRequest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmedRequest {
    /// The event that is confirmed.
    pub request: EventId,
    /// When that request took effect: what the consent is compared by (a confirmation of an older
    /// request does not beat a newer withdrawal).
    pub requested_at: Timestamp,
    pub requested_source: TimeSource,
    /// Which act the request was: confirmed twice, it is one consent.
    pub requested_digest: Digest,
    /// The request's terms, narrowed to the purposes that are confirmed.
    pub terms: Terms,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Sorted, without duplicates.
    pub purposes: Vec<PurposeKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<NoticeShown>,
}

/// What a restriction covers. A wider scope is a scope, not a list of purposes: it also covers
/// what is granted at the same time or was never named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Scope {
    /// Sorted, without duplicates.
    Purposes(Vec<PurposeKey>),
    AllMarketing,
    Everything,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restriction {
    pub kind: RestrictionKind,
    pub scope: Scope,
    /// Narrows it to one sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    /// How it reached the business; `None` if that was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal_method: Option<WithdrawalMethod>,
    /// How a refusal was expressed, and to what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indication_method: Option<IndicationMethod>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<NoticeShown>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_batch_id: Option<ImportBatchId>,
    /// The sender that the person wrote it to, if it came as a WhatsApp message: that one may
    /// confirm it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_by: Option<SenderId>,
}

impl Restriction {
    /// Taken over from another system: nobody wrote it to a sender, so nobody confirms it.
    pub fn is_import(&self) -> bool {
        self.import_batch_id.is_some() || self.withdrawal_method == Some(WithdrawalMethod::Import)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppression {
    pub basis: SuppressionBasis,
    pub scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    /// Ends by itself then; `None` holds until it is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal_method: Option<WithdrawalMethod>,
    /// As in [`Restriction`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_by: Option<SenderId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    pub basis: SuppressionBasis,
    pub scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    /// The suppression that was named; others of its basis, scope and sender end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifts: Option<EventId>,
    /// How the person asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indication_method: Option<IndicationMethod>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryCheck {
    pub registry: RegistryName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_version: Option<String>,
    pub result: RegistryResult,
}

/// A phone number and a user id that came together in one webhook of WhatsApp's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The subject of the other address.
    pub other: SubjectId,
    /// What the other address is.
    pub kind: AddressKind,
    /// The spelling of this address that was linked.
    pub here: Spelling,
    /// What held for the other address when the two were linked, and so holds for this one.
    #[serde(default)]
    pub inherited: Inherited,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum IdentityChange {
    /// This is the address that the person left: whoever has it next is a stranger.
    Former,
    /// This is the person's new address. What restricted the old one goes with the person.
    Successor { inherited: Inherited },
    /// The linked address `former` is no longer this person's.
    Unlinked {
        former: SubjectId,
        kind: AddressKind,
    },
}

/// Facts of one address that hold for another one from then on, as they stood.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inherited {
    /// Only between linked addresses; an identity change hands on no grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Ask>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restrictions: Vec<Restricted>,
    /// Those that were not lifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressions: Vec<Suppressed>,
    /// Only listings: an answer that a number is not listed is about that number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<Consulted>,
    /// When the person's data were erased, by each clock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub erasures: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    pub kind: FailureKind,
    pub sender_id: SenderId,
    /// The code as the platform or the provider gave it.
    pub code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    pub sender_id: SenderId,
}

/// Which act an event reports, whoever delivers it how often: a hash over its content. In text it
/// is hexadecimal, because readers of JSON elsewhere cut large numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{:016x}", self.0))
        } else {
            // Fixed in length: a hash has no small values that a variable one would save on.
            self.0.to_be_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 8]>::deserialize(deserializer)
                .map(|bytes| Self(u64::from_be_bytes(bytes)));
        }
        let text = String::deserialize(deserializer)?;
        let digest = u64::from_str_radix(&text, 16).map(Self);
        digest
            .ok()
            .filter(|digest| format!("{:016x}", digest.0) == text)
            .ok_or_else(|| serde::de::Error::custom("a digest is 16 hexadecimal digits"))
    }
}

/// Why stored bytes are no event.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("event schema {0} is newer than this binary knows ({SCHEMA})")]
    Schema(u16),
    #[error("not an event: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Event {
    /// The bytes that are stored and, later, hashed.
    pub fn canonical(&self) -> Vec<u8> {
        json::bytes(self)
    }

    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            schema: u16,
        }
        let Version { schema } = serde_json::from_slice(bytes)?;
        if schema != SCHEMA {
            return Err(Unreadable::Schema(schema));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// When the act counts from: a reporter's fast clock must not delay a restriction, nor prolong
    /// a consent, and a restriction known only to the second counts to that second's end.
    pub fn effective_at(&self) -> Timestamp {
        let restricts = self.act.restricts();
        let time = if restricts && self.event_time.is_whole_second() {
            self.event_time.end_of_second()
        } else {
            self.event_time
        };
        time.min(self.recorded_at)
    }

    /// The same act has the same digest, however often and in what order it is delivered, also as a
    /// copy at a linked address: ids, the spelling and the time of recording are left out. Breaks ties
    /// between acts of one instant.
    pub fn content_digest(&self) -> Digest {
        let content = (self.event_time, self.time_source, &self.act);
        let hash = digest::digest(&digest::SHA256, &json::bytes(&content));
        let number = hash.as_ref().iter().take(8);
        Digest(number.fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }
}

impl Act {
    /// Whether it can only take permission away.
    pub const fn restricts(&self) -> bool {
        match self {
            Self::Restricted(_) | Self::Suppressed(_) | Self::Erased(_) => true,
            // It may raise a doubt whose the address is.
            Self::Linked(_) | Self::IdentityChanged(_) => true,
            Self::RegistryChecked(check) => matches!(check.result, RegistryResult::Listed),
            Self::DeliveryFailed(failure) => {
                matches!(failure.kind, FailureKind::IdentityMismatch)
            }
            Self::ConsentGiven(_)
            | Self::ConsentConfirmed(_)
            | Self::ConsentRequested(_)
            | Self::ConsentRequestDeferred(_)
            | Self::SuppressionLifted(_)
            | Self::Reached(_) => false,
        }
    }
}

/// Puts purposes into the one order in which they are stored.
pub fn sorted(mut purposes: Vec<PurposeKey>) -> Vec<PurposeKey> {
    purposes.sort();
    purposes.dedup();
    purposes
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    pub(crate) fn purpose(key: &str) -> PurposeKey {
        PurposeKey::parse(key).unwrap()
    }

    pub(crate) fn terms(key: &str) -> Terms {
        Terms {
            purposes: vec![purpose(key)],
            sender_id: None,
            consent_type: ConsentType::ExplicitlyExpressed,
            implied: None,
            indication_method: IndicationMethod::UntickedCheckbox,
            notice: None,
            declarations: Declarations::default(),
            evidence: EvidenceFields::default(),
            jurisdiction: None,
            import_batch_id: None,
            policy_version: "test".into(),
            phone_metadata: "test".into(),
        }
    }

    pub(crate) fn event(id: u128, time: Timestamp, act: Act) -> Event {
        Event {
            schema: SCHEMA,
            event_id: EventId(Uuid::from_u128(id)),
            subject_id: SubjectId(Uuid::from_u128(1)),
            business_id: BusinessId::parse("acme").unwrap(),
            event_time: time,
            recorded_at: time.plus(std::time::Duration::from_hours(1)),
            time_source: TimeSource::Caller,
            spelling: Spelling::Verbatim,
            act,
            copied_from: None,
            payload_commitment: None,
            recorded_by: None,
        }
    }

    pub(crate) fn withdrawal(scope: Scope) -> Act {
        Act::Restricted(Restriction {
            received_by: None,
            kind: RestrictionKind::Withdrawn,
            scope,
            sender_id: None,
            withdrawal_method: Some(WithdrawalMethod::Keyword),
            indication_method: None,
            notice: None,
            import_batch_id: None,
        })
    }

    #[test]
    fn canonical_bytes_are_readable_and_stable() {
        let event = event(7, at(1_767_225_600), withdrawal(Scope::AllMarketing));
        let bytes = event.canonical();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            concat!(
                r#"{"schema":1,"event_id":"00000000-0000-0000-0000-000000000007","#,
                r#""subject_id":"00000000-0000-0000-0000-000000000001","business_id":"acme","#,
                r#""event_time":1767225600000000,"recorded_at":1767229200000000,"#,
                r#""time_source":"CALLER","spelling":"VERBATIM","act":{"RESTRICTED":{"#,
                r#""kind":"WITHDRAWN","scope":"ALL_MARKETING","withdrawal_method":"KEYWORD"}}}"#
            )
        );
        assert_eq!(Event::read(&bytes).unwrap(), event);
    }

    #[test]
    fn bytes_of_another_schema_or_with_unknown_fields_are_refused() {
        let event = event(7, at(0), withdrawal(Scope::Everything));
        let text = String::from_utf8(event.canonical()).unwrap();
        let newer = text.replace(r#""schema":1"#, r#""schema":2"#);
        assert!(matches!(
            Event::read(newer.as_bytes()),
            Err(Unreadable::Schema(2))
        ));
        for broken in [
            text.replace("WITHDRAWN", "PARDONED"),
            text.replace(r#""kind""#, r#""sort":1,"kind""#),
            text.replace("acme", ""),
            text.replace("acme", "Acme GmbH"),
            text[..text.len() - 1].to_string(),
        ] {
            assert!(
                matches!(
                    Event::read(broken.as_bytes()),
                    Err(Unreadable::Malformed(_))
                ),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_restriction_counts_to_the_end_of_its_second_and_never_after_it_was_recorded() {
        let mut stop = event(1, at(100), withdrawal(Scope::Everything));
        assert_eq!(stop.effective_at().as_micros(), 100_999_999);
        stop.recorded_at = Timestamp::from_micros(100_400_000);
        assert_eq!(stop.effective_at().as_micros(), 100_400_000);
        stop.event_time = at(500);
        assert_eq!(stop.effective_at().as_micros(), 100_400_000);

        let grant = event(2, at(100), Act::ConsentGiven(terms("offers")));
        assert_eq!(grant.effective_at(), at(100));
    }

    #[test]
    fn the_same_act_has_the_same_digest_whoever_records_it_when() {
        let a = event(1, at(100), withdrawal(Scope::Everything));
        let mut b = event(2, at(100), withdrawal(Scope::Everything));
        b.recorded_at = at(9_999);
        b.spelling = Spelling::Mexico521;
        b.recorded_by = Some(CallerName::parse("crm-sync").unwrap());
        b.copied_from = Some(SubjectId(Uuid::from_u128(2)));
        assert_eq!(a.content_digest(), b.content_digest());
        let c = event(1, at(101), withdrawal(Scope::Everything));
        assert_ne!(a.content_digest(), c.content_digest());
    }

    #[test]
    fn a_digest_is_the_beginning_of_a_sha_256_and_stays_what_it_was() {
        // It is stored in facts and confirmations: another way to it would tear them from their events.
        let given = event(1, at(100), Act::ConsentGiven(terms("offers")));
        let digest = serde_json::to_string(&given.content_digest()).unwrap();
        assert_eq!(digest, "\"6ca4b4cb9e11e415\"");
    }

    #[test]
    fn purposes_are_stored_in_one_order_and_once() {
        let [news, offers] = ["news", "offers"].map(purpose);
        let stored = sorted(vec![offers.clone(), news.clone(), offers.clone()]);
        assert_eq!(stored, [news, offers]);
    }
}
