//! What a business keeps in its catalogue: itself, its senders, purposes and notices.
//!
//! These are the values and their invariants. Who may change them, how they are stored and how they
//! are read from a file is `crate::catalog`'s business.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{
    BusinessId, JurisdictionCode, Language, NoticeId, NoticeRef, PurposeKey, SenderId,
};
use super::policy::FrequencyCap;
use super::time::Timestamp;
use super::vocabulary::{ConsentType, MessageClass};

/// Who asks for consent and sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Business {
    pub business_id: BusinessId,
    /// The legal identity that people are shown when they consent.
    pub display_name: String,
    /// Whose law holds where neither the record nor the number says; `None`: the strict default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_jurisdiction: Option<JurisdictionCode>,
    /// Whether a notice must name WhatsApp. Meta has not demanded it since November 2024; strict by
    /// default all the same.
    pub whatsapp_must_be_named: bool,
    pub opt_out_scope: OptOutScope,
    /// Classes of templates by name, where they are stricter than what a caller may say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_classes: BTreeMap<String, MessageClass>,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// What a bare STOP ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OptOutScope {
    SenderMarketing,
    SenderEverything,
    BusinessMarketing,
    /// The widest: what holds unless the business says otherwise.
    #[default]
    BusinessEverything,
}

impl OptOutScope {
    /// Whether it reaches every sender of the business, not only the one that was told.
    pub const fn is_business_wide(self) -> bool {
        match self {
            Self::BusinessMarketing | Self::BusinessEverything => true,
            Self::SenderMarketing | Self::SenderEverything => false,
        }
    }

    /// Whether it ends every kind of message, not only marketing.
    pub const fn is_everything(self) -> bool {
        match self {
            Self::SenderEverything | Self::BusinessEverything => true,
            Self::SenderMarketing | Self::BusinessMarketing => false,
        }
    }
}

/// A sending number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sender {
    pub sender_id: SenderId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// The business's own number, for people to read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phone_number: String,
    /// The operator stopped it: nothing is allowed through it.
    #[serde(default)]
    pub held: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub held_reason: String,
    /// Other names of it, for BSPs without a `phone_number_id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<SenderId>,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// Why a business writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    pub key: PurposeKey,
    /// As people are shown it.
    pub title: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub localized_titles: BTreeMap<Language, String>,
    /// The purpose in W3C DPV's words, for exports.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dpv_purpose: String,
    pub message_class: MessageClass,
    /// Not empty.
    pub accepted_consent_types: Vec<ConsentType>,
    /// For how long a consent holds, in seconds; `None`: as long as the law lets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_seconds: Option<u64>,
    #[serde(default)]
    pub confirmation_required: bool,
    /// False only for UTILITY and AUTHENTICATION.
    pub consent_required: bool,
    /// The recipient asks for each message, as with one-time codes: an opt-out of everything does
    /// not cover them.
    #[serde(default)]
    pub requested_by_recipient: bool,
    /// How often a person may be written to for this purpose, beside what the law says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_cap: Option<FrequencyCap>,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

impl Purpose {
    pub fn validity(&self) -> Option<Duration> {
        self.validity_seconds.map(Duration::from_secs)
    }

    /// The title as it stands in a notice of this language.
    pub fn title_in(&self, language: &Language) -> &str {
        self.localized_titles.get(language).unwrap_or(&self.title)
    }
}

/// What people are shown when they consent. Immutable: another wording is another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    pub name: NoticeRef,
    pub text: String,
    /// The purposes that it covers. Sorted.
    pub purposes: Vec<PurposeKey>,
    /// SHA-256 of the text's UTF-8 bytes, hex.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub privacy_notice_url: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub opt_out_instructions: String,
    /// Raised when the processing itself changed, which ends older consents; wording does not
    /// (EDPB 05/2020, 110).
    pub processing_version: i32,
    /// Meta in-app signups that show this notice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signup_ids: Vec<String>,
    pub create_time: Timestamp,
}

/// Everything of one business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BusinessCatalog {
    pub business: Business,
    pub senders: BTreeMap<SenderId, Sender>,
    pub purposes: BTreeMap<PurposeKey, Purpose>,
    /// Keyed by what names one text; a list in JSON, since the key is no string.
    #[serde(serialize_with = "values")]
    pub notices: BTreeMap<NoticeRef, Notice>,
}

fn values<S: serde::Serializer>(
    notices: &BTreeMap<NoticeRef, Notice>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(notices.values())
}

impl BusinessCatalog {
    pub fn new(business: Business) -> Self {
        Self {
            business,
            senders: BTreeMap::new(),
            purposes: BTreeMap::new(),
            notices: BTreeMap::new(),
        }
    }

    /// Finds a sender by its id or one of its aliases.
    pub fn sender(&self, name: &SenderId) -> Option<&Sender> {
        self.senders.get(name).or_else(|| {
            self.senders
                .values()
                .find(|sender| sender.aliases.contains(name))
        })
    }

    /// The newest processing version among the versions of a notice: an older consent is outdated.
    pub fn processing_version(&self, notice: &NoticeId) -> Option<i32> {
        self.notices
            .values()
            .filter(|known| known.name.notice_id == *notice)
            .map(|known| known.processing_version)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bare_stop_ends_is_two_questions() {
        use OptOutScope as S;
        for (scope, business_wide, everything) in [
            (S::SenderMarketing, false, false),
            (S::SenderEverything, false, true),
            (S::BusinessMarketing, true, false),
            (S::BusinessEverything, true, true),
        ] {
            let found = (scope.is_business_wide(), scope.is_everything());
            assert_eq!(found, (business_wide, everything), "{scope:?}");
        }
    }

    #[test]
    fn a_title_is_that_of_the_language_where_there_is_one() {
        use crate::domain::rules::tests::purpose_of;
        let [german, french] = ["de", "fr"].map(|code| Language::parse(code).unwrap());
        let mut purpose = purpose_of("offers", MessageClass::Marketing);
        let titles = &mut purpose.localized_titles;
        titles.insert(german.clone(), "Angebote".into());
        let found = (purpose.title_in(&german), purpose.title_in(&french));
        assert_eq!(found, ("Angebote", "offers"));
    }
}
