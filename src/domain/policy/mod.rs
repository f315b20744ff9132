//! The policy: what each jurisdiction asks of a consent and of a message, as dated data.
//!
//! The file is read in `crate::policy`; here are its values and the one question they answer: what
//! holds for a record of this jurisdiction at this instant. Where several jurisdictions could hold,
//! their columns are merged one by one to the strictest (`merge`).

mod merge;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::hours::SendingHours;
use super::id::{JurisdictionCode, RegistryName};
use super::time::Timestamp;
use super::vocabulary::{ConsentType, EvidenceFields, ImpliedBasis, MessageClass};
use timeline::Timelines;

pub use self::merge::shorter;

/// Code of the strict default.
pub const DEFAULT: JurisdictionCode = JurisdictionCode::ZZ;

/// The most asks that [`Asking::max_total`] may permit: facts remember the last eight.
pub const MOST_ASKS: u32 = 8;

/// The entries of each jurisdiction: they do not overlap, and are sorted by `effective_from`.
pub type Jurisdictions = BTreeMap<JurisdictionCode, Vec<Entry>>;

/// Every jurisdiction's rules through time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    jurisdictions: Jurisdictions,
    /// What follows from the entries; they do not change.
    timelines: Timelines,
    /// What WhatsApp itself does not deliver. Sorted by `effective_from`.
    pub platform: Vec<PlatformRule>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// Messages that WhatsApp does not deliver to the numbers of a country, by WhatsApp's own rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformRule {
    /// Of the number, not of the person's residence.
    pub country: JurisdictionCode,
    pub classes: Vec<MessageClass>,
    pub effective_from: Timestamp,
    /// The first instant at which it no longer holds.
    pub effective_to: Option<Timestamp>,
    pub source: Source,
}

/// What one jurisdiction asks for during one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub effective_from: Timestamp,
    /// The first instant at which it no longer holds.
    pub effective_to: Option<Timestamp>,
    /// Countries for which it holds as well, unless they have an entry of their own for the time.
    /// Entries of different codes that hold at one time have none in common.
    pub members: BTreeSet<JurisdictionCode>,
    pub requirements: Arc<Requirements>,
    pub source: Source,
    /// How soon the law wants an opt-out to hold. An alarm only: ours holds at once.
    pub withdrawal_deadline: Option<Duration>,
    /// For how long proof is kept after a consent has ended.
    pub proof_retention: Option<Duration>,
}

/// The columns that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The weakest type of consent that suffices for MARKETING.
    pub consent_type: ConsentType,
    /// Whether a consent needs a confirmation from the same address (double opt-in).
    pub confirmation: Confirmation,
    pub evidence: EvidenceFields,
    /// For how long an expressed consent holds; `None` without end.
    pub validity: Option<Duration>,
    /// For how long an implied consent holds after what it follows from; a basis that is not named
    /// implies nothing.
    pub implied_validity: BTreeMap<ImpliedBasis, Duration>,
    /// For how long a confirmation may be waited for.
    pub confirmation_within: Duration,
    /// When MARKETING and CONSENT_REQUEST may be sent; `None`: at any time.
    pub sending_hours: Option<SendingHours>,
    /// How often MARKETING and CONSENT_REQUEST may be sent. All of them hold.
    pub frequency_caps: Vec<FrequencyCap>,
    /// Registries that must have been consulted before MARKETING. By name and kind, once each; a
    /// policy file gives one name one kind.
    pub registries: Vec<RegistryRule>,
    pub asking: Asking,
}

/// At most so many messages in so long a time, sliding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrequencyCap {
    /// From 1.
    pub messages: u32,
    /// In seconds.
    pub per_seconds: u64,
}

impl FrequencyCap {
    pub const fn per(&self) -> Duration {
        Duration::from_secs(self.per_seconds)
    }
}

/// What is asked of a do-not-contact registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRule {
    pub registry: RegistryName,
    pub kind: RegistryKind,
    /// How old its answer may be.
    pub max_age: Duration,
    /// A consent at least this firm makes the look-up needless. A listing counts all the same.
    pub unless_consent: Option<ConsentType>,
}

/// What a listing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegistryKind {
    /// The person wants no marketing.
    DoNotContact,
    /// The number belongs to somebody else now: earlier consents are void.
    ReassignedNumbers,
}

impl RegistryKind {
    pub const ALL: [Self; 2] = [Self::DoNotContact, Self::ReassignedNumbers];

    /// The word of the policy file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::DoNotContact => "do-not-contact",
            Self::ReassignedNumbers => "reassigned-numbers",
        }
    }
}

/// How often a person may be asked for consent, beyond a confirmation that the person began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// How often in all, at most [`MOST_ASKS`]; 0: never.
    pub max_total: u32,
    /// How long after one ask the next may follow.
    pub cooldown: Duration,
    /// Asking is itself a commercial message, which needs a consent, at least an implied one.
    pub is_commercial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    Optional,
    Required,
}

impl Confirmation {
    pub const ALL: [Self; 2] = [Self::Required, Self::Optional];

    /// The word of the policy file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }
}

/// Where a rule comes from and how sure it is. Shown to people, not decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub citation: String,
    pub basis: Basis,
    pub confidence: Confidence,
    pub reviewed_on: Date,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Law,
    /// Our own recommendation where the law is silent.
    House,
    /// WhatsApp's own rule.
    Platform,
}

impl Basis {
    /// The word of the policy file, where an entry has a choice.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Law => "law",
            Self::House => "house",
            Self::Platform => "platform",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    High,
    Medium,
    Low,
}

impl Confidence {
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// The word of the policy file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

impl Policy {
    /// A policy of these entries. `platform` is sorted by `effective_from`; `sha256` is that of the
    /// file, hex.
    pub fn new(jurisdictions: Jurisdictions, platform: Vec<PlatformRule>, sha256: String) -> Self {
        Self {
            timelines: Timelines::of(&jurisdictions),
            jurisdictions,
            platform,
            sha256,
        }
    }

    pub fn jurisdictions(&self) -> &Jurisdictions {
        &self.jurisdictions
    }

    /// What holds in `code` at `at`: what the part of a country (`US-TX`) has, else the country,
    /// else the entry that names the country as a member (`EU`), else the strict default. One
    /// without an entry for that time falls to the next as well, and `None` means that even the
    /// default has none: nothing can be allowed.
    pub fn requirements(
        &self,
        code: Option<&JurisdictionCode>,
        at: Timestamp,
    ) -> Option<&Requirements> {
        self.timelines.timeline(code).at(at)
    }

    /// What holds for somebody who may live in any of `codes`, column by column the strictest of
    /// them; where nothing is known of the place (no code), the strict default. `None` as soon as
    /// one of them has nothing that holds.
    pub fn strictest(&self, codes: &[JurisdictionCode], at: Timestamp) -> Option<Holding<'_>> {
        let Some((first, others)) = codes.split_first() else {
            return self.requirements(None, at).map(Holding::Entry);
        };
        let first = self.requirements(Some(first), at)?;
        let merged = Holding::Entry(first);
        others.iter().try_fold(merged, |merged, code| {
            let next = self.requirements(Some(code), at)?;
            // Fifty states with one entry are one candidate.
            Some(match std::ptr::eq(next, first) {
                true => merged,
                false => Holding::Merged(Box::new(merged.strictest(next))),
            })
        })
    }

    /// The first instant after `at` at which another entry might answer for `code`.
    pub fn next_change(&self, code: Option<&JurisdictionCode>, at: Timestamp) -> Option<Timestamp> {
        self.timelines.timeline(code).next_change(at)
    }

    /// What a listing in this registry says; the graver where entries differ, `None` if no entry names
    /// it.
    pub fn registry_kind(&self, registry: &RegistryName) -> Option<RegistryKind> {
        let entries = self.jurisdictions.values().flatten();
        let rules = entries.flat_map(|entry| &entry.requirements.registries);
        let named = rules.filter(|rule| rule.registry == *registry);
        named.map(|rule| rule.kind).min()
    }

    /// As [`Policy::requirements`], with the jurisdiction that answered and its source.
    pub fn entry(
        &self,
        code: Option<&JurisdictionCode>,
        at: Timestamp,
    ) -> Option<(&JurisdictionCode, &Entry)> {
        entry_of(&self.jurisdictions, code, at)
    }

    /// The rule by which WhatsApp does not deliver messages of `class` to numbers of this place.
    pub fn prohibition(
        &self,
        number_of: &JurisdictionCode,
        class: MessageClass,
        at: Timestamp,
    ) -> Option<&PlatformRule> {
        self.platform_rules(number_of)
            .find(|rule| rule.classes.contains(&class) && rule.holds(at))
    }

    /// The first instant after `at` at which [`Policy::prohibition`] might answer otherwise.
    pub fn next_platform_change(
        &self,
        number_of: &JurisdictionCode,
        at: Timestamp,
    ) -> Option<Timestamp> {
        self.platform_rules(number_of)
            .flat_map(|rule| [Some(rule.effective_from), rule.effective_to])
            .flatten()
            .filter(|boundary| *boundary > at)
            .min()
    }

    fn platform_rules(&self, number_of: &JurisdictionCode) -> impl Iterator<Item = &PlatformRule> {
        self.platform
            .iter()
            .filter(|rule| rule.country == number_of.country())
    }
}

/// What holds where a person may be, which every check asks for several times.
#[derive(Debug, Clone)]
pub enum Holding<'a> {
    /// What one entry says.
    Entry(&'a Requirements),
    /// The strictest of several.
    Merged(Box<Requirements>),
}

impl Deref for Holding<'_> {
    type Target = Requirements;

    fn deref(&self) -> &Requirements {
        match self {
            Self::Entry(requirements) => requirements,
            Self::Merged(requirements) => requirements,
        }
    }
}

/// The entry that holds in `code` at `at`, and under which code: see [`Policy::requirements`].
fn entry_of<'a>(
    jurisdictions: &'a Jurisdictions,
    code: Option<&JurisdictionCode>,
    at: Timestamp,
) -> Option<(&'a JurisdictionCode, &'a Entry)> {
    let own = |name| {
        let (code, entries) = jurisdictions.get_key_value(&name)?;
        let entry = entries.iter().find(|entry| entry.holds(at))?;
        Some((code, entry))
    };
    let joined = |country| {
        jurisdictions.iter().find_map(|(code, entries)| {
            let entry = entries
                .iter()
                .find(|entry| entry.members.contains(&country) && entry.holds(at))?;
            Some((code, entry))
        })
    };
    own_names(code)
        .find_map(own)
        .or_else(|| joined(code?.country()))
        .or_else(|| own(DEFAULT))
}

/// The entries that may hold in `code` at some time.
fn entries_about<'a>(
    jurisdictions: &'a Jurisdictions,
    code: Option<&'a JurisdictionCode>,
) -> impl Iterator<Item = &'a Entry> {
    let country = code.map(|code| code.country());
    let named = own_names(code)
        .chain([DEFAULT])
        .filter_map(|name| jurisdictions.get(&name))
        .flatten();
    let joined = jurisdictions
        .values()
        .flatten()
        .filter(move |entry| country.is_some_and(|country| entry.members.contains(&country)));
    named.chain(joined)
}

/// Under which names a place may have an entry of its own: the part of a country, the country.
fn own_names(code: Option<&JurisdictionCode>) -> impl Iterator<Item = JurisdictionCode> + use<> {
    let country = code.map(|code| code.country());
    [code.copied(), country].into_iter().flatten()
}

impl PlatformRule {
    pub fn holds(&self, at: Timestamp) -> bool {
        self.effective_from <= at && self.effective_to.is_none_or(|end| at < end)
    }
}

impl Entry {
    pub fn holds(&self, at: Timestamp) -> bool {
        self.effective_from <= at && self.effective_to.is_none_or(|end| at < end)
    }
}

#[cfg(test)]
pub(crate) mod tests;
