//! Decisions made again from what is stored: the facts as bytes, the version of the rules, the question
//! and the instant. Nothing else decides, so the answer is the same years later.
//!
//! The rules are compiled anew from the system partition's own records, the text of a policy and a
//! catalogue. Random histories come from the laws of the domain; a database is not asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fold::{Change, Snapshot};
use crate::domain::activity::Activity;
use crate::domain::address::Address;
use crate::domain::catalog::BusinessCatalog;
use crate::domain::decide::{Question, Verdict, decide};
use crate::domain::facts::Facts;
use crate::domain::id::{PurposeKey, SenderId};
use crate::domain::laws::{Drawn, drawn_cases, drawn_catalogs};
use crate::domain::place;
use crate::domain::rules::{CLOCK_TOLERANCE, Rules};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, MessageClass};
use crate::keys::Keyring;
use crate::ledger::{Offset, SystemRecord};
use crate::policy;

/// How many histories are drawn; each is asked about several addresses.
const HISTORIES: usize = 1_250;

/// Of many places, of one that several share, and of none.
const ADDRESSES: [&str; 8] = [
    "+4915112345678",
    "+12125550123",
    "+14165550123",
    "+5215512345678",
    "+5511912345678",
    "+77012345678",
    "+61412345678",
    "US.13491208655302741918",
];

/// 2026-11-02, a Monday: the policy's entries hold.
const MONDAY: Timestamp = Timestamp::from_micros(1_793_577_600_000_000);

/// What is stored of a decision, and the answer that was given.
struct Stored {
    facts: Vec<u8>,
    policy_version: String,
    address: &'static str,
    purpose: String,
    class: MessageClass,
    sender: Option<String>,
    activity: Activity,
    at: Timestamp,
    verdict: Verdict,
}

/// What the system partition holds for one version of the rules, as text.
fn records(policy: &str, catalog: &BusinessCatalog) -> Vec<String> {
    let business_id = &catalog.business.business_id;
    let mut changes = vec![
        Change::Policy {
            text: policy.to_owned(),
        },
        Change::Business(catalog.business.clone()),
    ];
    changes.extend(catalog.senders.values().map(|sender| Change::Sender {
        business_id: business_id.clone(),
        sender: sender.clone(),
    }));
    changes.extend(catalog.purposes.values().map(|purpose| Change::Purpose {
        business_id: business_id.clone(),
        purpose: purpose.clone(),
    }));
    changes.extend(catalog.notices.values().map(|notice| Change::Notice {
        business_id: business_id.clone(),
        notice: notice.clone(),
    }));
    changes.iter().map(Change::to_json).collect()
}

fn compiled(records: &[String]) -> Rules {
    let mut snapshot = Snapshot::default();
    for (offset, body) in (1..).zip(records) {
        let record = SystemRecord {
            offset: Offset(offset),
            recorded_at: MONDAY,
            body: body.clone(),
        };
        snapshot.apply(&record).unwrap();
    }
    snapshot.compile(&Keyring::generate(), CLOCK_TOLERANCE);
    let mut businesses = snapshot.businesses();
    businesses.next().unwrap().rules.clone()
}

fn parsed(address: &str) -> Address {
    match address.starts_with('+') {
        true => Address::from_phone_number(address).unwrap(),
        false => Address::from_user_id(address).unwrap(),
    }
}

fn decided(facts: &Facts, rules: &Rules, stored: &Stored) -> Verdict {
    let address = parsed(stored.address);
    let key = PurposeKey::parse(&stored.purpose).unwrap();
    let sender = stored.sender.as_ref();
    let sender = sender.map(|sender| SenderId::parse(sender).unwrap());
    let question = Question {
        purpose: &rules.catalog.purposes[&key],
        class: stored.class,
        sender: sender.as_ref(),
        spelling: address.spelling(),
        place: place::of(&address),
    };
    decide(facts, &stored.activity, rules, &question, stored.at)
}

/// Asks about a history under rules, and writes down what came out.
fn first_time(drawn: &Drawn, address: &'static str, later: Duration, rules: &Rules) -> Stored {
    let spelling = parsed(address).spelling();
    let mut events = drawn.events.clone();
    for event in &mut events {
        event.spelling = spelling;
    }
    let facts = Facts::fold(&events);
    let mut stored = Stored {
        facts: facts.encode(),
        policy_version: rules.version().to_string(),
        address,
        purpose: drawn.purpose.to_string(),
        class: drawn.class,
        sender: drawn.sender.as_ref().map(ToString::to_string),
        activity: drawn.activity.clone(),
        at: drawn.at.plus(later),
        verdict: Verdict {
            decision: Decision::Deny,
            findings: Vec::new(),
            not_before: None,
            rests_on: None,
            holds_until: None,
            clocks: None,
        },
    };
    stored.verdict = decided(&facts, rules, &stored);
    stored
}

#[test]
fn ten_thousand_decisions_come_out_the_same_from_what_is_stored() {
    let policies = [
        policy::EMBEDDED.to_owned(),
        format!("{}\n# Another version of the same.\n", policy::EMBEDDED),
    ];
    let catalogs = drawn_catalogs(8);
    let versions: Vec<Vec<String>> = policies
        .iter()
        .flat_map(|policy| catalogs.iter().map(|catalog| records(policy, catalog)))
        .collect();
    let rules: Vec<Rules> = versions.iter().map(|records| compiled(records)).collect();

    let mut stored = Vec::new();
    for (index, drawn) in drawn_cases(HISTORIES, MONDAY).iter().enumerate() {
        for (which, address) in ADDRESSES.into_iter().enumerate() {
            let rules = &rules[(index + which) % rules.len()];
            let later = Duration::from_hours(3 * u64::try_from(which).unwrap());
            stored.push(first_time(drawn, address, later, rules));
        }
    }
    drop(rules);
    assert_eq!(stored.len(), 10_000);
    let count = |decision| {
        stored
            .iter()
            .filter(|s| s.verdict.decision == decision)
            .count()
    };
    let [allowed, denied] = [Decision::Allow, Decision::Deny].map(count);
    assert!(
        allowed > 500 && denied > 500,
        "{allowed} allowed, {denied} denied"
    );

    // A day later, in another process: there is nothing but what was stored.
    let by_version: BTreeMap<String, Rules> = versions
        .iter()
        .map(|records| compiled(records))
        .map(|rules| (rules.version().to_string(), rules))
        .collect();
    assert_eq!(by_version.len(), versions.len());
    for one in &stored {
        let facts = Facts::decode(&one.facts).unwrap();
        let again = decided(&facts, &by_version[&one.policy_version], one);
        assert_eq!(
            again, one.verdict,
            "{} {} at {}",
            one.class, one.address, one.at
        );
    }
}
