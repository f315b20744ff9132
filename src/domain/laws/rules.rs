//! Rules at random: catalogues and policies under which every step of the decision can fail.
//!
//! Most columns ask for nothing most of the time: under all at once almost nothing would be allowed.

use std::time::Duration;

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::cases::signup;
use super::histories::{Pace, instant};
use super::reports::registry;
use crate::domain::catalog::{BusinessCatalog, Notice, OptOutScope, Purpose};
use crate::domain::event::tests::purpose;
use crate::domain::hours::{SendingHours, Span};
use crate::domain::policy::tests::{code, entry, lenient, of_entries};
use crate::domain::policy::{
    self, Asking, Entry, FrequencyCap, PlatformRule, RegistryKind, RegistryRule, Requirements,
};
use crate::domain::rules::Rules;
use crate::domain::rules::tests::{catalog, purpose_of, rules_with};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, EvidenceField, MessageClass};

const DAY: u64 = 86_400;

/// Seconds on the scales of all paces, and one beyond the horizon of a deferral.
fn length() -> impl Strategy<Value = u64> {
    select(vec![200_u64, 300, 1_000, DAY, 10 * DAY, 40 * DAY])
}

fn span() -> impl Strategy<Value = Span> {
    // Around midnight in UTC, Berlin, New York and Kolkata, where the quick histories lie; and days.
    let spans: Vec<(u16, u16)> = vec![
        (0, 10),
        (5, 20),
        (15, 1_440),
        (60, 75),
        (1_140, 1_155),
        (330, 345),
        (480, 1_260),
        (0, 720),
    ];
    select(spans).prop_map(|(from, to)| Span { from, to })
}

fn hours() -> impl Strategy<Value = SendingHours> {
    // 1970-01-01 was a Thursday: the fourth.
    let days = select(vec![0..7, 0..5, 3..4, 4..5, 0..0]);
    (span(), option::weighted(0.3, span()), days).prop_map(|(one, other, days)| {
        let mut spans = vec![one];
        spans.extend(other.filter(|other| other.from >= one.to || other.to <= one.from));
        spans.sort();
        let mut weekdays: [Vec<Span>; 7] = Default::default();
        for day in days {
            weekdays[day].clone_from(&spans);
        }
        SendingHours {
            weekdays,
            holidays: Vec::new(),
        }
    })
}

fn cap() -> impl Strategy<Value = FrequencyCap> {
    let messages = prop_oneof![1 => Just(0), 6 => Just(1), 3 => Just(2)];
    (messages, length()).prop_map(|(messages, per_seconds)| FrequencyCap {
        messages,
        per_seconds,
    })
}

fn look_up() -> impl Strategy<Value = RegistryRule> {
    let unless = option::of(select(ConsentType::ALL));
    (any::<bool>(), length(), unless).prop_map(|(dnc, max_age, unless_consent)| RegistryRule {
        registry: registry(if dnc { "dnc" } else { "rnd" }),
        kind: if dnc {
            RegistryKind::DoNotContact
        } else {
            RegistryKind::ReassignedNumbers
        },
        max_age: Duration::from_secs(max_age),
        unless_consent,
    })
}

fn asking() -> impl Strategy<Value = Asking> {
    (0..4_u32, length(), prop::bool::weighted(0.3)).prop_map(|(max_total, cooldown, commercial)| {
        Asking {
            max_total,
            cooldown: Duration::from_secs(cooldown),
            is_commercial: commercial,
        }
    })
}

/// What one place asks for.
pub(super) fn requirements() -> BoxedStrategy<Requirements> {
    let flags = prop::array::uniform2(prop::bool::weighted(0.25));
    let validity = prop_oneof![3 => Just(None), 1 => length().prop_map(Some)];
    let look_ups = option::weighted(0.2, look_up());
    let caps = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(cap(), 1..3)];
    (
        flags,
        validity,
        option::weighted(0.25, hours()),
        caps,
        look_ups,
        asking(),
    )
        .prop_map(
            |([confirms, form], validity, sending_hours, frequency_caps, look_up, asking)| {
                let mut required = Requirements {
                    validity: validity.map(Duration::from_secs),
                    sending_hours,
                    frequency_caps,
                    registries: look_up.into_iter().collect(),
                    asking,
                    ..lenient()
                };
                if confirms {
                    required.confirmation = policy::Confirmation::Required;
                }
                if form {
                    required.evidence = required.evidence.with(EvidenceField::FormId);
                }
                required
            },
        )
        .boxed()
}

/// The rules of a place, and others from some instant on, if it has others.
fn periods(changes: f64) -> impl Strategy<Value = Vec<(Timestamp, Requirements)>> {
    let later = option::weighted(changes, (instant(), requirements()));
    (requirements(), later).prop_map(|(first, later)| {
        let mut periods = vec![(Timestamp::EPOCH, first)];
        periods.extend(later.filter(|(from, _)| *from > Timestamp::EPOCH));
        periods
    })
}

fn entries(periods: Vec<(Timestamp, Requirements)>, pace: Pace) -> Vec<Entry> {
    let starts: Vec<Timestamp> = periods.iter().map(|(from, _)| pace.of(*from)).collect();
    let each = periods.into_iter().enumerate();
    each.map(|(index, (_, requirements))| Entry {
        effective_from: starts[index],
        effective_to: starts.get(index + 1).copied(),
        ..entry(requirements)
    })
    .collect()
}

/// Whether it is about America, or Germany; about MARKETING alone, or all; from when to when.
type Prohibition = (bool, bool, Timestamp, Option<Timestamp>);

fn prohibitions() -> impl Strategy<Value = Vec<Prohibition>> {
    let rule = (
        any::<bool>(),
        any::<bool>(),
        instant(),
        option::of(instant()),
    );
    prop::collection::vec(rule, 0..2)
}

/// Rules before it is known how far apart the instants of their case lie.
#[derive(Debug, Clone)]
pub(super) struct Drawn {
    catalog: BusinessCatalog,
    places: [(&'static str, Vec<(Timestamp, Requirements)>); 3],
    prohibitions: Vec<Prohibition>,
}

impl Drawn {
    pub(super) fn at(self, pace: Pace) -> Rules {
        let places = self.places.into_iter();
        let mut policy = of_entries(places.map(|(name, periods)| (name, entries(periods, pace))));
        let rule = |(american, alone, from, to): Prohibition| PlatformRule {
            country: code(if american { "US" } else { "DE" }),
            classes: match alone {
                true => vec![MessageClass::Marketing],
                false => MessageClass::ALL.to_vec(),
            },
            effective_from: pace.of(from),
            effective_to: to.map(|to| pace.of(to)),
            source: entry(lenient()).source,
        };
        policy.platform = self.prohibitions.into_iter().map(rule).collect();
        policy.platform.sort_by_key(|rule| rule.effective_from);
        rules_with(self.catalog, policy)
    }
}

/// Rules under which every step of the decision can fail for one purpose or another.
pub(super) fn rules() -> BoxedStrategy<Drawn> {
    let places = (periods(0.2), periods(0.2), periods(0.1));
    (catalogs(), places, prohibitions())
        .prop_map(
            |(catalog, (standard, mut german, canadian), prohibitions)| {
                for (_, required) in &mut german {
                    required.confirmation = policy::Confirmation::Required;
                    required.consent_type = ConsentType::Expressed;
                }
                Drawn {
                    catalog,
                    places: [("ZZ", standard), ("DE", german), ("CA", canadian)],
                    prohibitions,
                }
            },
        )
        .boxed()
}

/// A catalogue with two purposes of MARKETING and one of each other class.
pub(super) fn catalogs() -> BoxedStrategy<BusinessCatalog> {
    let flags = prop::array::uniform5(prop::bool::weighted(0.3));
    let validity = prop_oneof![
        2 => Just(None),
        1 => select(vec![300_u64, 600, 100_000]).prop_map(Some)
    ];
    let rest = (
        prop::bool::weighted(0.1),
        option::weighted(0.15, cap()),
        prop::bool::weighted(0.2),
        select(vec![
            OptOutScope::BusinessEverything,
            OptOutScope::SenderMarketing,
        ]),
    );
    (flags, validity, rest)
        .prop_map(|(flags, validity, (held, cap, from_germany, scope))| {
            let [confirms, orders_free, codes_free, requested, explicit] = flags;
            let mut catalog = catalog();
            catalog
                .purposes
                .insert(purpose("news"), purpose_of("news", MessageClass::Marketing));
            let mut change = |name: &str, change: &dyn Fn(&mut Purpose)| {
                change(catalog.purposes.get_mut(name).unwrap());
            };
            change("offers", &|offers| {
                offers.confirmation_required = confirms;
                offers.validity_seconds = validity;
                offers.frequency_cap = cap;
                if explicit {
                    offers.accepted_consent_types = vec![ConsentType::ExplicitlyExpressed];
                }
            });
            change("orders", &|orders| orders.consent_required = !orders_free);
            change("codes", &|codes| {
                codes.consent_required = !codes_free;
                codes.requested_by_recipient = requested;
            });
            let notice = Notice {
                name: signup(2),
                text: String::new(),
                purposes: vec![purpose("offers")],
                sha256: String::new(),
                privacy_notice_url: String::new(),
                opt_out_instructions: String::new(),
                processing_version: 2,
                signup_ids: Vec::new(),
                create_time: Timestamp::EPOCH,
            };
            catalog.notices.insert(notice.name.clone(), notice);
            catalog.senders.get_mut("1002").unwrap().held = held;
            catalog.business.opt_out_scope = scope;
            catalog.business.default_jurisdiction = from_germany.then(|| code("DE"));
            catalog
        })
        .boxed()
}
