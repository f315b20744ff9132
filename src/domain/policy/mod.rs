//! The policy: what each jurisdiction asks of a consent and of a message, as dated data.
//!
//! The file is read in `crate::policy`; here are its values and the one question they answer: what
//! holds for a record of this jurisdiction at this instant. Where several jurisdictions could hold,
//! their columns are merged one by one to the strictest (`merge`).

mod merge;
mod timeline;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
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

/// Code of the strict default, from the range that ISO 3166 leaves to users.
pub const DEFAULT: &str = "ZZ";

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
    pub fn strictest(
        &self,
        codes: &[JurisdictionCode],
        at: Timestamp,
    ) -> Option<Cow<'_, Requirements>> {
        let Some((first, others)) = codes.split_first() else {
            return self.requirements(None, at).map(Cow::Borrowed);
        };
        let first = self.requirements(Some(first), at)?;
        let merged = Cow::Borrowed(first);
        others.iter().try_fold(merged, |merged, code| {
            let next = self.requirements(Some(code), at)?;
            // Fifty states with one entry are one candidate.
            Some(match std::ptr::eq(next, first) {
                true => merged,
                false => Cow::Owned(merged.strictest(next)),
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
            .filter(|rule| rule.country.as_str() == number_of.country())
    }
}

/// The entry that holds in `code` at `at`, and under which code: see [`Policy::requirements`].
fn entry_of<'a>(
    jurisdictions: &'a Jurisdictions,
    code: Option<&JurisdictionCode>,
    at: Timestamp,
) -> Option<(&'a JurisdictionCode, &'a Entry)> {
    let own = |name: &str| {
        let (code, entries) = jurisdictions.get_key_value(name)?;
        let entry = entries.iter().find(|entry| entry.holds(at))?;
        Some((code, entry))
    };
    let joined = |country: &str| {
        jurisdictions.iter().find_map(|(code, entries)| {
            let entry = entries
                .iter()
                .find(|entry| entry.members.contains(country) && entry.holds(at))?;
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
    let country = code.map(JurisdictionCode::country);
    let named = own_names(code)
        .chain([DEFAULT])
        .filter_map(|name| jurisdictions.get(name))
        .flatten();
    let joined = jurisdictions
        .values()
        .flatten()
        .filter(move |entry| country.is_some_and(|country| entry.members.contains(country)));
    named.chain(joined)
}

/// Under which names a place may have an entry of its own: the part of a country, the country.
fn own_names(code: Option<&JurisdictionCode>) -> impl Iterator<Item = &str> {
    let part = code.map(JurisdictionCode::as_str);
    let country = code.map(JurisdictionCode::country);
    [part, country].into_iter().flatten()
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
pub(crate) mod tests {
    use super::*;
    use crate::domain::event::tests::at;

    pub(crate) fn code(text: &str) -> JurisdictionCode {
        JurisdictionCode::parse(text).unwrap()
    }

    pub(crate) fn lenient() -> Requirements {
        Requirements {
            consent_type: ConsentType::Implied,
            confirmation: Confirmation::Optional,
            evidence: EvidenceFields::default(),
            validity: None,
            implied_validity: BTreeMap::from([(
                ImpliedBasis::Purchase,
                Duration::from_secs(1_000),
            )]),
            confirmation_within: Duration::from_secs(100),
            sending_hours: None,
            frequency_caps: Vec::new(),
            registries: Vec::new(),
            asking: Asking {
                max_total: 0,
                cooldown: Duration::ZERO,
                is_commercial: false,
            },
        }
    }

    pub(crate) fn entry(requirements: Requirements) -> Entry {
        Entry {
            effective_from: Timestamp::EPOCH,
            effective_to: None,
            members: BTreeSet::new(),
            requirements: Arc::new(requirements),
            source: source(),
            withdrawal_deadline: None,
            proof_retention: None,
        }
    }

    pub(crate) fn source() -> Source {
        Source {
            citation: "a test".into(),
            basis: Basis::House,
            confidence: Confidence::High,
            reviewed_on: jiff::civil::date(2026, 11, 22),
        }
    }

    pub(crate) fn policy(entries: &[(&str, Requirements)]) -> Policy {
        of_entries(
            entries
                .iter()
                .map(|(name, r)| (*name, vec![entry(r.clone())])),
        )
    }

    pub(crate) fn of_entries<'n>(
        entries: impl IntoIterator<Item = (&'n str, Vec<Entry>)>,
    ) -> Policy {
        let entries = entries.into_iter();
        let jurisdictions = entries.map(|(name, entries)| (code(name), entries));
        Policy::new(jurisdictions.collect(), Vec::new(), "test".into())
    }

    #[test]
    fn a_part_of_a_country_falls_back_to_the_country_and_then_to_the_default() {
        let mut strict = lenient();
        strict.confirmation = Confirmation::Required;
        let mut us = lenient();
        us.validity = Some(Duration::from_secs(5));
        let policy = policy(&[("ZZ", strict.clone()), ("US", us.clone())]);
        let found = |name: &str| policy.requirements(Some(&code(name)), at(1)).cloned();
        assert_eq!(found("US-TX"), Some(us));
        assert_eq!(found("FR"), Some(strict.clone()));
        assert_eq!(policy.requirements(None, at(1)), Some(&strict));
    }

    #[test]
    fn an_entry_holds_from_its_first_to_before_its_last_instant() {
        let mut early = entry(lenient());
        early.effective_to = Some(at(100));
        let mut late = entry(Requirements {
            validity: Some(Duration::from_secs(1)),
            ..lenient()
        });
        late.effective_from = at(100);
        let entries = vec![early.clone(), late.clone()];
        let policy = of_entries([("ZZ", entries)]);
        let before = Timestamp::from_micros(at(100).as_micros() - 1);
        assert_eq!(
            policy.requirements(None, before),
            Some(&*early.requirements)
        );
        assert_eq!(
            policy.requirements(None, at(100)),
            Some(&*late.requirements)
        );
    }

    #[test]
    fn without_an_entry_for_the_time_there_are_no_requirements_to_meet_and_nothing_to_allow() {
        let mut later = entry(lenient());
        later.effective_from = at(100);
        let policy = of_entries([("ZZ", vec![later])]);
        assert_eq!(policy.requirements(Some(&code("DE")), at(1)), None);
    }

    fn with_members(requirements: Requirements, members: &[&str]) -> Entry {
        Entry {
            members: members.iter().map(|name| code(name)).collect(),
            ..entry(requirements)
        }
    }

    fn lasting(seconds: u64) -> Requirements {
        Requirements {
            validity: Some(Duration::from_secs(seconds)),
            ..lenient()
        }
    }

    #[test]
    fn a_country_without_an_entry_of_its_own_falls_to_the_group_that_names_it() {
        let group = with_members(lasting(4), &["AT", "DE", "FR"]);
        // France's own entry ends: the group's holds again.
        let mut france = entry(lasting(3));
        france.effective_to = Some(at(50));
        let policy = of_entries([
            ("ZZ", vec![entry(lasting(1))]),
            ("DE", vec![entry(lasting(2))]),
            ("FR", vec![france]),
            ("EU", vec![group]),
        ]);
        let answers = |name: &str, seconds: i64| {
            let (answering, _) = policy.entry(Some(&code(name)), at(seconds)).unwrap();
            answering.as_str().to_owned()
        };
        for (asked, seconds, answering) in [
            ("AT", 1, "EU"),
            ("AT-9", 1, "EU"),
            ("EU", 1, "EU"),
            ("DE", 1, "DE"),
            ("DE-BY", 1, "DE"),
            ("FR", 49, "FR"),
            ("FR", 50, "EU"),
            ("CH", 1, "ZZ"),
        ] {
            assert_eq!(answers(asked, seconds), answering, "{asked} at {seconds}");
        }
        let next = |name: &str| policy.next_change(Some(&code(name)), at(1));
        assert_eq!(next("FR"), Some(at(50)));
        assert_eq!(next("AT"), None);
    }

    #[test]
    fn a_member_is_told_when_its_group_changes() {
        let mut early = with_members(lasting(4), &["AT"]);
        early.effective_to = Some(at(100));
        let mut late = with_members(lasting(5), &["AT"]);
        late.effective_from = at(100);
        let group = vec![early, late.clone()];
        let policy = of_entries([("ZZ", vec![entry(lenient())]), ("EU", group)]);
        let austria = code("AT");
        assert_eq!(policy.next_change(Some(&austria), at(1)), Some(at(100)));
        assert_eq!(policy.next_change(Some(&code("CH")), at(1)), None);
        assert_eq!(
            policy.requirements(Some(&austria), at(100)),
            Some(&*late.requirements)
        );
    }

    #[test]
    fn several_candidates_are_judged_by_all_their_entries() {
        let policy = policy(&[("ZZ", lasting(1)), ("CA", lasting(9)), ("US", lasting(5))]);
        let strictest = |names: &[&str]| {
            let codes: Vec<_> = names.iter().map(|name| code(name)).collect();
            let merged = policy.strictest(&codes, at(1)).unwrap();
            merged.validity.unwrap().as_secs()
        };
        assert_eq!(strictest(&["CA"]), 9);
        assert_eq!(strictest(&["CA", "US-NY", "US-TX"]), 5);
        assert_eq!(strictest(&["CA", "BS"]), 1, "the default counts among them");
        assert_eq!(strictest(&[]), 1, "nothing known");
        let one = policy.strictest(&[code("US-NY"), code("US-TX")], at(1));
        assert!(matches!(one, Some(Cow::Borrowed(_))), "one entry, not two");
    }

    #[test]
    fn candidates_of_which_one_has_no_rule_have_none() {
        let mut later = entry(lenient());
        later.effective_from = at(100);
        let policy = of_entries([("ZZ", vec![later]), ("DE", vec![entry(lenient())])]);
        assert!(policy.strictest(&[code("DE")], at(1)).is_some());
        assert!(policy.strictest(&[code("DE"), code("FR")], at(1)).is_none());
        assert!(policy.strictest(&[], at(1)).is_none());
    }

    #[test]
    fn a_platform_rule_holds_for_its_country_its_classes_and_its_time() {
        let mut policy = policy(&[("ZZ", lenient())]);
        policy.platform.push(PlatformRule {
            country: code("US"),
            classes: vec![MessageClass::Marketing],
            effective_from: at(100),
            effective_to: Some(at(200)),
            source: source(),
        });
        let prohibited = |name: &str, class, seconds| {
            policy
                .prohibition(&code(name), class, at(seconds))
                .is_some()
        };
        assert!(prohibited("US", MessageClass::Marketing, 100));
        assert!(prohibited("US-TX", MessageClass::Marketing, 199));
        assert!(!prohibited("US", MessageClass::Marketing, 99));
        assert!(!prohibited("US", MessageClass::Marketing, 200));
        assert!(!prohibited("US", MessageClass::Utility, 100));
        assert!(!prohibited("CA", MessageClass::Marketing, 100));
        let next = |name: &str, seconds| policy.next_platform_change(&code(name), at(seconds));
        assert_eq!(next("US-TX", 1), Some(at(100)));
        assert_eq!(next("US", 100), Some(at(200)));
        assert_eq!((next("US", 200), next("CA", 1)), (None, None));
    }
}
