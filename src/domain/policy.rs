//! The policy: what each jurisdiction asks of a consent, as dated data.
//!
//! The file is read in `crate::policy`; here are its values and the one question they answer: what
//! holds for a record of this jurisdiction at this instant. Where several jurisdictions could hold,
//! their columns are merged one by one to the strictest.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hours::SendingHours;
use super::id::{JurisdictionCode, RegistryName};
use super::time::Timestamp;
use super::vocabulary::{ConsentType, EvidenceFields, ImpliedBasis, MessageClass};

/// Code of the strict default, from the range that ISO 3166 leaves to users.
pub const DEFAULT: &str = "ZZ";

/// Every jurisdiction's rules through time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Entries of one jurisdiction do not overlap; sorted by `effective_from`.
    pub jurisdictions: BTreeMap<JurisdictionCode, Vec<Entry>>,
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
    pub requirements: Requirements,
    pub source: Source,
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
    /// Registries that must have been consulted before MARKETING. By name, once each.
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

/// How often a person may be asked for consent, beyond a confirmation that the person began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// How often in all; 0: never.
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

/// Where an entry comes from and how sure it is. Shown to people, not decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub citation: String,
    /// Law, or our own recommendation where the law is silent.
    pub basis: Basis,
    pub confidence: Confidence,
    pub reviewed_on: String,
    /// How soon the law wants an opt-out to hold. An alarm only: ours holds at once.
    pub withdrawal_deadline: Option<Duration>,
    /// For how long proof is kept after a consent has ended.
    pub proof_retention: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Law,
    House,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confidence {
    High,
    Medium,
    Low,
}

impl Policy {
    /// What holds in `code` at `at`: the part of a country (`US-TX`), else the country, else the
    /// strict default. A country without an entry for that time falls to the default as well, and
    /// `None` means that even the default has none: nothing can be allowed.
    pub fn requirements(
        &self,
        code: Option<&JurisdictionCode>,
        at: Timestamp,
    ) -> Option<&Requirements> {
        self.entry(code, at).map(|(_, entry)| &entry.requirements)
    }

    /// The first instant after `at` at which another entry might answer for `code`.
    pub fn next_change(&self, code: Option<&JurisdictionCode>, at: Timestamp) -> Option<Timestamp> {
        chain(code)
            .filter_map(|name| self.jurisdictions.get(name))
            .flatten()
            .flat_map(|entry| [Some(entry.effective_from), entry.effective_to])
            .flatten()
            .filter(|boundary| *boundary > at)
            .min()
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
        chain(code).find_map(|name| {
            let (code, entries) = self.jurisdictions.get_key_value(name)?;
            let entry = entries.iter().find(|entry| entry.holds(at))?;
            Some((code, entry))
        })
    }
}

/// Where to look for an entry: the part of a country, the country, the strict default.
fn chain(code: Option<&JurisdictionCode>) -> impl Iterator<Item = &str> {
    let own = code.map(JurisdictionCode::as_str);
    let country = code.map(JurisdictionCode::country);
    [own, country, Some(DEFAULT)].into_iter().flatten()
}

impl Entry {
    pub fn holds(&self, at: Timestamp) -> bool {
        self.effective_from <= at && self.effective_to.is_none_or(|end| at < end)
    }
}

impl Requirements {
    /// Column by column the stricter of two, for a person who may live in either place.
    #[must_use]
    pub fn strictest(&self, other: &Self) -> Self {
        let implied = self
            .implied_validity
            .iter()
            .filter_map(|(basis, mine)| {
                Some((*basis, (*mine).min(*other.implied_validity.get(basis)?)))
            })
            .collect();
        Self {
            consent_type: self.consent_type.max(other.consent_type),
            confirmation: self.confirmation.max(other.confirmation),
            evidence: self.evidence.and(other.evidence),
            validity: shorter(self.validity, other.validity),
            implied_validity: implied,
            confirmation_within: self.confirmation_within.min(other.confirmation_within),
            sending_hours: stricter_hours(
                self.sending_hours.as_ref(),
                other.sending_hours.as_ref(),
            ),
            frequency_caps: united(&self.frequency_caps, &other.frequency_caps),
            registries: united_registries(&self.registries, &other.registries),
            asking: Asking {
                max_total: self.asking.max_total.min(other.asking.max_total),
                cooldown: self.asking.cooldown.max(other.asking.cooldown),
                is_commercial: self.asking.is_commercial || other.asking.is_commercial,
            },
        }
    }
}

fn stricter_hours(a: Option<&SendingHours>, b: Option<&SendingHours>) -> Option<SendingHours> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.common(b)),
        (one, None) | (None, one) => one.cloned(),
    }
}

fn united(a: &[FrequencyCap], b: &[FrequencyCap]) -> Vec<FrequencyCap> {
    let caps: BTreeSet<FrequencyCap> = a.iter().chain(b).copied().collect();
    caps.into_iter().collect()
}

/// Of one registry the shorter age and the fewer exceptions.
fn united_registries(a: &[RegistryRule], b: &[RegistryRule]) -> Vec<RegistryRule> {
    let mut rules: BTreeMap<RegistryName, RegistryRule> = BTreeMap::new();
    for rule in a.iter().chain(b) {
        match rules.entry(rule.registry.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(rule.clone());
            }
            Slot::Occupied(mut slot) => {
                let known = slot.get_mut();
                known.kind = known.kind.max(rule.kind);
                known.max_age = known.max_age.min(rule.max_age);
                // `None` is the strictest: nothing makes the look-up needless.
                known.unless_consent = known
                    .unless_consent
                    .zip(rule.unless_consent)
                    .map(|(a, b)| a.max(b));
            }
        }
    }
    rules.into_values().collect()
}

/// The shorter of two terms, where `None` has no end.
pub fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::event::tests::at;
    use crate::domain::vocabulary::EvidenceField;

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
            requirements,
            source: Source {
                citation: "a test".into(),
                basis: Basis::House,
                confidence: Confidence::High,
                reviewed_on: "2026-11-22".into(),
                withdrawal_deadline: None,
                proof_retention: None,
            },
        }
    }

    pub(crate) fn policy(entries: &[(&str, Requirements)]) -> Policy {
        let jurisdictions = entries
            .iter()
            .map(|(name, r)| (code(name), vec![entry(r.clone())]))
            .collect();
        Policy {
            jurisdictions,
            platform: Vec::new(),
            sha256: "test".into(),
        }
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
        let policy = Policy {
            jurisdictions: BTreeMap::from([(code("ZZ"), vec![early.clone(), late.clone()])]),
            platform: Vec::new(),
            sha256: String::new(),
        };
        let before = Timestamp::from_micros(at(100).as_micros() - 1);
        assert_eq!(policy.requirements(None, before), Some(&early.requirements));
        assert_eq!(policy.requirements(None, at(100)), Some(&late.requirements));
    }

    #[test]
    fn without_an_entry_for_the_time_there_are_no_requirements_to_meet_and_nothing_to_allow() {
        let mut later = entry(lenient());
        later.effective_from = at(100);
        let policy = Policy {
            jurisdictions: BTreeMap::from([(code("ZZ"), vec![later])]),
            platform: Vec::new(),
            sha256: String::new(),
        };
        assert_eq!(policy.requirements(Some(&code("DE")), at(1)), None);
    }

    #[test]
    fn candidates_merge_column_by_column_to_the_strictest() {
        let mut other = lenient();
        other.consent_type = ConsentType::ExplicitlyExpressed;
        other.evidence = EvidenceFields::default().with(EvidenceField::Notice);
        other.implied_validity = BTreeMap::new();
        other.validity = Some(Duration::from_secs(9));
        let merged = lenient().strictest(&other);
        assert_eq!(merged.consent_type, ConsentType::ExplicitlyExpressed);
        assert!(merged.evidence.has(EvidenceField::Notice));
        assert!(merged.implied_validity.is_empty());
        assert_eq!(merged.validity, Some(Duration::from_secs(9)));
    }
}
