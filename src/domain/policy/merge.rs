//! Several jurisdictions at once: their columns merged one by one, so that the merged requirements
//! never allow what one of them denies.
//!
//! They may deny what each of them allows by itself: a registry that one asks for, and for which the
//! other takes a firm consent instead, is asked for in any case.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Asking, FrequencyCap, RegistryKind, RegistryRule, Requirements};
use crate::domain::hours::SendingHours;
use crate::domain::id::RegistryName;

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

/// Of one registry the shorter age and the fewer exceptions. What a listing says has no order: of two
/// kinds under one name both hold.
fn united_registries(a: &[RegistryRule], b: &[RegistryRule]) -> Vec<RegistryRule> {
    let mut rules: BTreeMap<(RegistryName, RegistryKind), RegistryRule> = BTreeMap::new();
    for rule in a.iter().chain(b) {
        match rules.entry((rule.registry.clone(), rule.kind)) {
            Slot::Vacant(slot) => {
                slot.insert(rule.clone());
            }
            Slot::Occupied(mut slot) => {
                let known = slot.get_mut();
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
mod tests {
    use proptest::collection::{btree_map, btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::domain::hours::{Holidays, Span};
    use crate::domain::policy::tests::lenient;
    use crate::domain::policy::{Confirmation, MOST_ASKS};
    use crate::domain::vocabulary::{ConsentType, EvidenceField, EvidenceFields, ImpliedBasis};

    /// Everything about a person, a consent and a message that a column can forbid. Lengths are in
    /// seconds before the question.
    #[derive(Debug, Clone)]
    struct Situation {
        consent: ConsentType,
        implied_by: ImpliedBasis,
        evidence: EvidenceFields,
        age: u64,
        /// How long after the consent it was confirmed.
        confirmed_after: Option<u64>,
        /// Monday is 0.
        weekday: usize,
        holiday: (i8, i8),
        minute: u16,
        sent: Vec<u64>,
        /// When each registry was last consulted.
        consulted: BTreeMap<RegistryName, u64>,
        asked: Vec<u64>,
    }

    fn seconds(length: u64) -> Duration {
        Duration::from_secs(length)
    }

    /// Whether a MARKETING message may be sent, as plainly as it can be said.
    fn may_send(required: &Requirements, now: &Situation) -> bool {
        let lasts = match now.consent {
            ConsentType::Implied => required
                .implied_validity
                .get(&now.implied_by)
                .is_some_and(|term| seconds(now.age) < *term),
            ConsentType::Expressed | ConsentType::ExplicitlyExpressed => {
                required.validity.is_none_or(|term| seconds(now.age) < term)
            }
        };
        let confirmed = now
            .confirmed_after
            .is_some_and(|wait| seconds(wait) < required.confirmation_within);
        let looked_up = |rule: &RegistryRule| {
            rule.unless_consent.is_some_and(|firm| now.consent >= firm)
                || now
                    .consulted
                    .get(&rule.registry)
                    .is_some_and(|age| seconds(*age) <= rule.max_age)
        };
        let within = |cap: &FrequencyCap| {
            let counted = now.sent.iter().filter(|age| seconds(**age) < cap.per());
            counted.count() < usize::try_from(cap.messages).unwrap()
        };
        lasts
            && now.consent >= required.consent_type
            && (confirmed || required.confirmation == Confirmation::Optional)
            && now.evidence.missing(required.evidence).is_empty()
            && required.registries.iter().all(looked_up)
            && required.frequency_caps.iter().all(within)
            && in_hours(required, now)
    }

    fn in_hours(required: &Requirements, now: &Situation) -> bool {
        let inside = |span: &Span| span.from <= now.minute && now.minute < span.to;
        required.sending_hours.as_ref().is_none_or(|hours| {
            hours.weekdays[now.weekday].iter().any(inside)
                && hours
                    .holidays
                    .iter()
                    .filter(|calendar| calendar.fixed.contains(&now.holiday))
                    .all(|calendar| calendar.spans.iter().any(inside))
        })
    }

    fn may_ask(required: &Requirements, now: &Situation) -> bool {
        let asking = &required.asking;
        now.asked.len() < usize::try_from(asking.max_total).unwrap()
            && now.asked.iter().all(|age| seconds(*age) >= asking.cooldown)
            && (!asking.is_commercial || may_send(required, now))
            && in_hours(required, now)
    }

    fn lengths() -> impl Strategy<Value = u64> {
        0..20_u64
    }

    fn consents() -> impl Strategy<Value = ConsentType> {
        select(ConsentType::ALL)
    }

    fn evidence() -> impl Strategy<Value = EvidenceFields> {
        let fields = [
            EvidenceField::Notice,
            EvidenceField::FormId,
            EvidenceField::Statement,
        ];
        vec(select(fields.to_vec()), 0..3).prop_map(EvidenceFields::from)
    }

    /// The 1st of January and of February stand for all holidays.
    fn holiday() -> impl Strategy<Value = (i8, i8)> {
        (1..=2_i8).prop_map(|month| (month, 1))
    }

    fn hours() -> impl Strategy<Value = SendingHours> {
        let span = (0..6_u16, 1..6_u16).prop_map(|(from, length)| Span {
            from: from * 200,
            to: (from + length).min(7) * 200,
        });
        let weekdays = vec(option::of(span), 7).prop_map(|days| {
            let days: Vec<Vec<Span>> = days
                .into_iter()
                .map(|day| day.into_iter().collect())
                .collect();
            <[Vec<Span>; 7]>::try_from(days).unwrap()
        });
        let holidays = btree_set(holiday(), 0..2).prop_map(|fixed| Holidays {
            fixed,
            easter: BTreeSet::new(),
            sunday_moves_to_monday: false,
            dates: BTreeSet::new(),
            // As the policy file has them: nothing is sent on a holiday.
            spans: Vec::new(),
        });
        (weekdays, vec(holidays, 0..2))
            .prop_map(|(weekdays, holidays)| SendingHours { weekdays, holidays })
    }

    fn registry() -> impl Strategy<Value = RegistryName> {
        select(vec!["one", "other"]).prop_map(|name| RegistryName::parse(name).unwrap())
    }

    fn registries() -> impl Strategy<Value = Vec<RegistryRule>> {
        let kinds = vec![RegistryKind::DoNotContact, RegistryKind::ReassignedNumbers];
        let terms = (lengths(), option::of(consents()));
        btree_map((registry(), select(kinds)), terms, 0..4).prop_map(|rules| {
            rules
                .into_iter()
                .map(|((registry, kind), (age, unless_consent))| RegistryRule {
                    registry,
                    kind,
                    max_age: seconds(age),
                    unless_consent,
                })
                .collect()
        })
    }

    fn requirements() -> impl Strategy<Value = Requirements> {
        let consent = (
            consents(),
            select(vec![Confirmation::Optional, Confirmation::Required]),
            evidence(),
            option::of(lengths()),
            btree_map(select(ImpliedBasis::ALL), lengths().prop_map(seconds), 0..3),
            lengths(),
        );
        let caps = vec(
            (1..4_u32, 1..20_u64).prop_map(|(messages, per_seconds)| FrequencyCap {
                messages,
                per_seconds,
            }),
            0..3,
        );
        let asking = (0..=MOST_ASKS, lengths(), any::<bool>());
        (consent, option::of(hours()), caps, registries(), asking).prop_map(
            |(consent, sending_hours, frequency_caps, registries, asking)| Requirements {
                consent_type: consent.0,
                confirmation: consent.1,
                evidence: consent.2,
                validity: consent.3.map(seconds),
                implied_validity: consent.4,
                confirmation_within: seconds(consent.5),
                sending_hours,
                frequency_caps,
                registries,
                asking: Asking {
                    max_total: asking.0,
                    cooldown: seconds(asking.1),
                    is_commercial: asking.2,
                },
            },
        )
    }

    fn situations() -> impl Strategy<Value = Situation> {
        let consent = (
            consents(),
            select(ImpliedBasis::ALL),
            evidence(),
            lengths(),
            option::of(lengths()),
        );
        let instant = (0..7_usize, holiday(), 0..1_440_u16);
        let past = (
            vec(lengths(), 0..4),
            btree_map(registry(), lengths(), 0..3),
            vec(lengths(), 0..4),
        );
        (consent, instant, past).prop_map(|(consent, instant, past)| Situation {
            consent: consent.0,
            implied_by: consent.1,
            evidence: consent.2,
            age: consent.3,
            confirmed_after: consent.4,
            weekday: instant.0,
            holiday: instant.1,
            minute: instant.2,
            sent: past.0,
            consulted: past.1,
            asked: past.2,
        })
    }

    /// Requirements of which most columns ask for nothing: under all at once almost nothing would be
    /// allowed, and nothing compared.
    fn mild() -> impl Strategy<Value = Requirements> {
        (requirements(), any::<u16>()).prop_map(|(drawn, kept)| {
            let keeps = |column: u16| kept & (1 << column) != 0 && kept & (1 << (column + 8)) != 0;
            let mut mild = lenient();
            mild.implied_validity = ImpliedBasis::ALL
                .iter()
                .map(|basis| (*basis, seconds(100)))
                .collect();
            mild.asking.max_total = MOST_ASKS;
            if keeps(0) {
                mild.consent_type = drawn.consent_type;
            }
            if keeps(1) {
                mild.confirmation = drawn.confirmation;
                mild.confirmation_within = drawn.confirmation_within;
            }
            if keeps(2) {
                mild.evidence = drawn.evidence;
            }
            if keeps(3) {
                mild.validity = drawn.validity;
                mild.implied_validity = drawn.implied_validity;
            }
            if keeps(4) {
                mild.sending_hours = drawn.sending_hours;
            }
            if keeps(5) {
                mild.frequency_caps = drawn.frequency_caps;
            }
            if keeps(6) {
                mild.registries = drawn.registries;
            }
            if keeps(7) {
                mild.asking = drawn.asking;
            }
            mild
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_one_of_two_denies_the_merged_one_denies(
            a in mild(), b in mild(), now in situations()
        ) {
            let merged = a.strictest(&b);
            if may_send(&merged, &now) {
                prop_assert!(may_send(&a, &now) && may_send(&b, &now), "{merged:?}");
            }
            if may_ask(&merged, &now) {
                prop_assert!(may_ask(&a, &now) && may_ask(&b, &now), "{merged:?}");
            }
        }

        #[test]
        fn merged_hours_caps_and_terms_are_no_stricter_than_both_together(
            a in mild(), b in mild(), now in situations()
        ) {
            // Registries and confirmations aside: of those the merged rule may be stricter than each.
            let (mut a, mut b) = (a, b);
            for one in [&mut a, &mut b] {
                one.registries.clear();
                one.confirmation = Confirmation::Optional;
            }
            let merged = a.strictest(&b);
            prop_assert_eq!(
                may_send(&merged, &now),
                may_send(&a, &now) && may_send(&b, &now)
            );
        }

        #[test]
        fn the_order_of_the_candidates_does_not_matter(
            a in requirements(), b in requirements(), c in requirements(), now in situations()
        ) {
            let one_way = a.strictest(&b).strictest(&c);
            let other_way = c.strictest(&a.strictest(&b).strictest(&a));
            prop_assert_eq!(may_send(&one_way, &now), may_send(&other_way, &now));
            prop_assert_eq!(may_ask(&one_way, &now), may_ask(&other_way, &now));
            prop_assert_eq!(&one_way.registries, &other_way.registries);
            prop_assert_eq!(one_way.asking, other_way.asking);
        }
    }

    fn rule(name: &str, days: u64, unless_consent: Option<ConsentType>) -> RegistryRule {
        RegistryRule {
            registry: RegistryName::parse(name).unwrap(),
            kind: RegistryKind::DoNotContact,
            max_age: Duration::from_hours(24 * days),
            unless_consent,
        }
    }

    #[test]
    fn candidates_merge_column_by_column_to_the_strictest() {
        let mut other = lenient();
        other.consent_type = ConsentType::ExplicitlyExpressed;
        other.evidence = EvidenceFields::default().with(EvidenceField::Notice);
        other.implied_validity = BTreeMap::new();
        other.validity = Some(seconds(9));
        let merged = lenient().strictest(&other);
        assert_eq!(merged.consent_type, ConsentType::ExplicitlyExpressed);
        assert!(merged.evidence.has(EvidenceField::Notice));
        assert!(merged.implied_validity.is_empty());
        assert_eq!(merged.validity, Some(seconds(9)));
    }

    #[test]
    fn a_look_up_that_one_asks_for_without_exception_has_none() {
        let with = |rules: &[RegistryRule]| Requirements {
            registries: rules.to_vec(),
            ..lenient()
        };
        let firm = Some(ConsentType::ExplicitlyExpressed);
        let a = with(&[rule("dnc", 21, firm), rule("rnd", 30, None)]);
        let b = with(&[rule("dnc", 30, None)]);
        assert_eq!(
            a.strictest(&b).registries,
            [rule("dnc", 21, None), rule("rnd", 30, None)]
        );
        let weaker = with(&[rule("dnc", 30, Some(ConsentType::Expressed))]);
        assert_eq!(a.strictest(&weaker).registries[0], rule("dnc", 21, firm));
        assert_eq!(
            a.strictest(&lenient()).registries,
            a.registries,
            "where the other asks for none, the exception stays"
        );
    }

    #[test]
    fn asks_merge_to_the_fewer_the_rarer_and_the_commercial() {
        let asking = |max_total, days: u64, is_commercial| Requirements {
            asking: Asking {
                max_total,
                cooldown: Duration::from_hours(24 * days),
                is_commercial,
            },
            ..lenient()
        };
        let merged = asking(1, 0, true).strictest(&asking(8, 90, false));
        assert_eq!(merged.asking, asking(1, 90, true).asking);
    }
}
