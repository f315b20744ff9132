//! What holds in a place at a time, and small policies for the tests of others.

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
        implied_validity: BTreeMap::from([(ImpliedBasis::Purchase, Duration::from_secs(1_000))]),
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

pub(crate) fn of_entries<'n>(entries: impl IntoIterator<Item = (&'n str, Vec<Entry>)>) -> Policy {
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
    assert!(matches!(one, Some(Holding::Entry(_))), "one entry, not two");
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
