//! Frequency caps, where more was sent than is looked at.

use super::*;
use crate::domain::activity::{MOST_SENDS, Sent};
use crate::domain::policy::FrequencyCap;

const WEEK: Duration = Duration::from_hours(7 * 24);

/// Whether an offer may be sent at `now`, with so many order updates just before it.
fn after_updates(count: usize, now: i64) -> Verdict {
    let mut capped = catalog();
    capped.purposes.get_mut("offers").unwrap().frequency_cap = Some(FrequencyCap {
        messages: 2,
        per_seconds: WEEK.as_secs(),
    });
    let rules = rules_with(capped, policy(&[("ZZ", lenient())]));
    let update = |number: usize| Sent {
        purpose: purpose("orders"),
        class: MessageClass::Utility,
        at: at(DAY - i64::try_from(number).unwrap()),
    };
    let activity = Activity {
        last_inbound: None,
        sends: (0..count).map(update).collect(),
    };
    let question = Question {
        place: &NOWHERE,
        purpose: &rules.catalog.purposes["offers"],
        class: MessageClass::Marketing,
        sender: None,
        spelling: Spelling::Verbatim,
    };
    let facts = Facts::fold([&given(1, 0, "offers")]);
    decide(&facts, &activity, &rules, &question, at(now))
}

#[test]
fn a_cap_counts_as_reached_while_not_all_sends_are_known() {
    assert_eq!(after_updates(MOST_SENDS - 1, DAY).decision, Decision::Allow);
    let unknown = after_updates(MOST_SENDS, DAY);
    assert_eq!(unknown.reasons(), [Reason::FrequencyCap]);
    // Just after the oldest that is known has left the week.
    let oldest = at(DAY - i64::try_from(MOST_SENDS).unwrap() + 1);
    let all_known = oldest.plus(WEEK).plus(Duration::from_micros(1));
    assert_eq!(unknown.not_before, Some(all_known));
    let later = after_updates(MOST_SENDS, DAY * 8);
    assert_eq!(later.decision, Decision::Allow);
}
