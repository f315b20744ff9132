//! Alarms over failed deliveries: whether so many fail that the fault is hardly the recipients'.
//!
//! In an outage a provider may say of everybody that they are not on WhatsApp, or opted out. Such a
//! burst is a reason to call somebody, and none to believe that the people changed their minds
//! (glific#2822). It is counted by provider and class, over the businesses, in windows that slide.
//! Only memory: after a start the count begins anew. What is done about it is in
//! [`super::delivery`]; here is neither a log nor a clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::delivery::Provider;
use crate::domain::id::{BusinessId, SenderId};

/// More failures than this within a day are a burst. Glific's figure, chosen after its outage.
const MOST_IN_A_DAY: u64 = 200;

/// More than this within an hour are one, too, so that half a day need not pass first: half of what
/// a day may have.
const MOST_IN_AN_HOUR: u64 = 100;

/// Where sends are reported, a burst must also be more than one in so many of them: a large sender
/// always has more failures than the figures above, but in an outage nearly everything fails. House
/// rule; a tenth is a bad list of numbers.
const ONE_IN: u64 = 5;

/// How often the same alarm is told while it goes on.
const TELL_AGAIN_AFTER: Duration = Duration::from_hours(1);

/// How many restricted senders are remembered as told: more than one operator has.
const SENDERS_TOLD: usize = 256;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// What is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Series {
    Undeliverable,
    Limited,
    /// Opt-outs that a provider tells of its own. Those in WhatsApp's words are not doubted.
    OptOut,
}

impl Series {
    const COUNT: usize = 3;
}

/// What one more failure makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// Whether it may be held against its recipient.
    pub believed: bool,
    /// Whether the alarm begins with this one.
    pub begins: bool,
    /// What somebody should be told now.
    pub tell: Option<Burst>,
}

/// A burst, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Burst {
    pub last_hour: u64,
    pub last_day: u64,
    /// Of how many messages reported as sent.
    pub sent_last_day: u64,
}

/// Counts what was reported lately. Times are of the steady clock.
#[derive(Debug, Default)]
pub struct Alarms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sent: Lately,
    failed: [[Failures; Series::COUNT]; Provider::ALL.len()],
    /// When it was last told that a sender is restricted.
    restricted: BTreeMap<(BusinessId, SenderId), Duration>,
}

#[derive(Debug, Default)]
struct Failures {
    lately: Lately,
    rings: bool,
    told: Option<Duration>,
}

/// How many within the last hour and the last day.
#[derive(Debug, Default)]
struct Lately {
    hour: Sliding<12>,
    day: Sliding<24>,
}

/// How many fell into the last `N` buckets, the one that fills now among them.
#[derive(Debug)]
struct Sliding<const N: usize> {
    counts: [u64; N],
    /// Number of the bucket that fills, counted from the clock's start.
    newest: u64,
}

impl Alarms {
    /// Counts a message that was sent.
    pub(super) fn sent(&self, now: Duration) {
        self.lock().sent.add(now);
    }

    /// Counts a failure, and judges it with those before it.
    pub(super) fn failed(&self, provider: Provider, series: Series, now: Duration) -> Counted {
        let mut state = self.lock();
        let state = &mut *state;
        let sent = state.sent.totals(now);
        let of_provider = &mut state.failed[provider as usize];
        let own = &mut of_provider[series as usize];
        own.lately.add(now);
        let (last_hour, last_day) = own.lately.totals(now);
        let rings = is_burst(own.lately.totals(now), sent);
        let begins = rings && !own.rings;
        own.rings = rings;
        let due = own.told.is_none_or(|told| now >= told + TELL_AGAIN_AFTER);
        let tell = (rings && due).then_some(Burst {
            last_hour,
            last_day,
            sent_last_day: sent.1,
        });
        if tell.is_some() {
            own.told = Some(now);
        }
        // An outage looks like people who are not on WhatsApp; what a provider says of opt-outs
        // meanwhile is worth no more.
        let outage = match series {
            Series::OptOut => {
                let undeliverable = &mut of_provider[Series::Undeliverable as usize];
                is_burst(undeliverable.lately.totals(now), sent)
            }
            Series::Undeliverable | Series::Limited => false,
        };
        Counted {
            believed: !rings && !outage,
            begins,
            tell,
        }
    }

    /// Whether somebody should be told, now, that WhatsApp restricts this sender.
    pub(super) fn restricted(
        &self,
        business: &BusinessId,
        sender: &SenderId,
        now: Duration,
    ) -> bool {
        let told = &mut self.lock().restricted;
        let name = (business.clone(), sender.clone());
        let due = told
            .get(&name)
            .is_none_or(|told| now >= *told + TELL_AGAIN_AFTER);
        if due {
            if told.len() >= SENDERS_TOLD {
                told.retain(|_, told| now < *told + TELL_AGAIN_AFTER);
            }
            if told.len() < SENDERS_TOLD {
                told.insert(name, now);
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters have no state that a panic leaves half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_burst(failed: (u64, u64), sent: (u64, u64)) -> bool {
    let windows = [
        (failed.0, sent.0, MOST_IN_AN_HOUR),
        (failed.1, sent.1, MOST_IN_A_DAY),
    ];
    windows
        .iter()
        .any(|(failed, sent, most)| failed > most && failed * ONE_IN > *sent)
}

impl Lately {
    const IN_AN_HOUR: Duration = MINUTE.saturating_mul(5);

    fn add(&mut self, now: Duration) {
        self.hour.add(now, Self::IN_AN_HOUR);
        self.day.add(now, HOUR);
    }

    fn totals(&mut self, now: Duration) -> (u64, u64) {
        let hour = self.hour.total(now, Self::IN_AN_HOUR);
        (hour, self.day.total(now, HOUR))
    }
}

impl<const N: usize> Default for Sliding<N> {
    fn default() -> Self {
        Self {
            counts: [0; N],
            newest: 0,
        }
    }
}

impl<const N: usize> Sliding<N> {
    fn add(&mut self, now: Duration, width: Duration) {
        *self.at(now, width) += 1;
    }

    fn total(&mut self, now: Duration, width: Duration) -> u64 {
        self.at(now, width);
        self.counts.iter().sum()
    }

    /// The bucket that fills now, after those were emptied that slid out of the window.
    fn at(&mut self, now: Duration, width: Duration) -> &mut u64 {
        let bucket = now.as_secs() / width.as_secs();
        let place = |bucket: u64| usize::try_from(bucket % N as u64).unwrap_or(0);
        let passed = bucket.saturating_sub(self.newest).min(N as u64);
        for number in 0..passed {
            self.counts[place(bucket - number)] = 0;
        }
        self.newest = self.newest.max(bucket);
        &mut self.counts[place(self.newest)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWILIO: Provider = Provider::Twilio;

    fn fails(alarms: &Alarms, series: Series, count: u64, now: Duration) -> Counted {
        for _ in 1..count {
            alarms.failed(TWILIO, series, now);
        }
        alarms.failed(TWILIO, series, now)
    }

    #[test]
    fn so_many_in_an_hour_are_believed_and_one_more_is_a_burst_that_is_told_once() {
        let alarms = Alarms::default();
        let now = HOUR * 100;
        let calm = Counted {
            believed: true,
            begins: false,
            tell: None,
        };
        let series = Series::Undeliverable;
        assert_eq!(fails(&alarms, series, MOST_IN_AN_HOUR, now), calm);
        let burst = Burst {
            last_hour: MOST_IN_AN_HOUR + 1,
            last_day: MOST_IN_AN_HOUR + 1,
            sent_last_day: 0,
        };
        let rings = Counted {
            believed: false,
            begins: true,
            tell: Some(burst),
        };
        assert_eq!(fails(&alarms, series, 1, now), rings);
        let goes_on = Counted {
            believed: false,
            begins: false,
            tell: None,
        };
        assert_eq!(fails(&alarms, series, 1, now), goes_on);
        let last = now + TELL_AGAIN_AFTER - Duration::from_secs(1);
        assert_eq!(fails(&alarms, series, 1, last).tell, None);
        let told = |_| fails(&alarms, series, 1, now + TELL_AGAIN_AFTER).tell;
        assert_eq!((0..100).filter_map(told).count(), 1);
    }

    #[test]
    fn a_burst_is_over_when_its_window_has_slid_past_it() {
        let alarms = Alarms::default();
        let start = HOUR * 7;
        let series = Series::Limited;
        assert!(!fails(&alarms, series, MOST_IN_AN_HOUR + 1, start).believed);
        assert!(!fails(&alarms, series, 1, start + MINUTE * 50).believed);
        assert!(fails(&alarms, series, 1, start + HOUR + MINUTE * 5).believed);
        // A day keeps more than an hour does.
        let rest = MOST_IN_A_DAY - MOST_IN_AN_HOUR - 3;
        let mut now = start + HOUR * 2;
        for _ in 0..rest {
            now += MINUTE * 6;
            assert!(fails(&alarms, series, 1, now).believed, "{now:?}");
        }
        let later = start + HOUR * 14;
        assert!(!fails(&alarms, series, 1, later).believed);
        assert!(fails(&alarms, series, 1, start + HOUR * 48).believed);
    }

    #[test]
    fn where_sends_are_reported_a_burst_is_a_share_of_them() {
        let alarms = Alarms::default();
        let now = HOUR * 30;
        let sent = 10_000;
        for _ in 0..sent {
            alarms.sent(now);
        }
        let series = Series::Undeliverable;
        assert!(fails(&alarms, series, sent / ONE_IN, now).believed);
        assert!(!fails(&alarms, series, 1, now).believed);
        // Yesterday's sends excuse no failures of today.
        let tomorrow = now + HOUR * 25;
        assert!(!fails(&alarms, series, MOST_IN_AN_HOUR + 1, tomorrow).believed);
    }

    #[test]
    fn providers_and_classes_are_judged_apart_but_an_outage_casts_doubt_on_opt_outs() {
        let alarms = Alarms::default();
        let now = HOUR;
        fails(&alarms, Series::Limited, 1_000, now);
        assert!(fails(&alarms, Series::Undeliverable, 1, now).believed);
        assert!(fails(&alarms, Series::OptOut, 1, now).believed);
        let other = |series| alarms.failed(Provider::Gupshup, series, now).believed;
        assert!(other(Series::Limited));

        fails(&alarms, Series::Undeliverable, 1_000, now);
        let opt_out = fails(&alarms, Series::OptOut, 1, now);
        assert!(!opt_out.believed);
        assert!(!opt_out.begins && opt_out.tell.is_none(), "{opt_out:?}");
        assert!(other(Series::OptOut));
        // A burst of opt-outs is one by itself.
        let calm = Alarms::default();
        assert!(!fails(&calm, Series::OptOut, MOST_IN_AN_HOUR + 1, now).believed);
    }

    #[test]
    fn a_restricted_sender_is_told_once_an_hour_and_every_sender_by_itself() {
        let alarms = Alarms::default();
        let business = BusinessId::parse("acme").unwrap();
        let tell = |sender: usize, now| {
            let sender = SenderId::parse(&sender.to_string()).unwrap();
            alarms.restricted(&business, &sender, now)
        };
        assert!(tell(1, HOUR));
        assert!(!tell(1, HOUR * 2 - MINUTE));
        assert!(tell(2, HOUR));
        assert!(tell(1, HOUR * 2));
        // What is told is bounded, and told rather once too often.
        assert!((0..2 * SENDERS_TOLD).all(|sender| tell(sender + 3, HOUR * 4)));
        assert!(alarms.lock().restricted.len() <= SENDERS_TOLD);
    }
}
