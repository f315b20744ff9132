//! The policy: what each jurisdiction asks of a consent, as dated data.
//!
//! The file is read in `crate::policy`; here are its values and the one question they answer: what
//! holds for a record of this jurisdiction at this instant. Where several jurisdictions could hold,
//! their columns are merged one by one to the strictest.

use std::collections::BTreeMap;
use std::time::Duration;

use super::id::JurisdictionCode;
use super::time::Timestamp;
use super::vocabulary::{ConsentType, EvidenceFields, ImpliedBasis};

/// Code of the strict default, from the range that ISO 3166 leaves to users.
pub const DEFAULT: &str = "ZZ";

/// Every jurisdiction's rules through time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Entries of one jurisdiction do not overlap; sorted by `effective_from`.
    pub jurisdictions: BTreeMap<JurisdictionCode, Vec<Entry>>,
    /// SHA-256 of the file, hex.
    pub sha256: String,
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
        }
    }
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
