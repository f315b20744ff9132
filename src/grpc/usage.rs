//! What each caller uses: no more in a second than it may, and told of where it seems to try out numbers.
//!
//! People are counted, not calls: a batch is as many as it asks about. What can restrict is never limited, nor
//! counted: see `consent_service`. Callers are told apart by their names, so several tokens of one caller share its
//! limit; all who need no credential are one caller, and so are those for whom there is no room while thousands
//! of others call. Limits are of one instance.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tonic::Status;

use super::status;
use crate::auth::Admitted;
use crate::config::Config;
use crate::domain::decide::Verdict;
use crate::domain::id::CallerName;
use crate::domain::vocabulary::Reason;
use crate::telemetry::{Metrics, Shed};

/// So much may be used at once by somebody who used nothing before.
const BURST: u64 = 1_000_000;

/// In a minute. Fewer people of whom nothing is known are nobody's attempt to find out who is.
const UNUSUAL: u64 = 1_000;

/// Callers that are told apart at a time. Names on tokens are few, but the subjects of JWTs are the issuer's to choose.
const MOST: usize = 4_096;

type Meters = HashMap<CallerName, Arc<Meter>, foldhash::fast::RandomState>;

/// Every caller's use. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub struct Usage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_rate: Option<u64>,
    anybody: Arc<Meter>,
    /// Read by every check, so without a lock; written when a caller is met first.
    callers: ArcSwap<Meters>,
    metrics: Metrics,
}

/// One caller's.
#[derive(Debug)]
pub(super) struct Meter {
    /// `None`: nobody had to say who it is.
    name: Option<CallerName>,
    /// People in a second; `None`: as many as it likes.
    max_rate: Option<u64>,
    began: Instant,
    /// When all that was used so far is paid for, in microseconds since `began`.
    paid: AtomicU64,
    /// Which minute since `began` is counted.
    minute: AtomicU64,
    asked: AtomicU64,
    unknown: AtomicU64,
    told: AtomicBool,
    metrics: Metrics,
}

impl Usage {
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let max_rate = config.max_rate.map(u64::from);
        Self(Arc::new(Inner {
            max_rate,
            anybody: Arc::new(Meter::new(None, max_rate, metrics)),
            callers: ArcSwap::default(),
            metrics: metrics.clone(),
        }))
    }

    pub(super) fn of(&self, admitted: &Admitted) -> Arc<Meter> {
        match admitted.name() {
            Some(name) => self.of_caller(name),
            None => Arc::clone(&self.0.anybody),
        }
    }

    fn of_caller(&self, name: &CallerName) -> Arc<Meter> {
        if let Some(meter) = self.0.callers.load().get(name) {
            return Arc::clone(meter);
        }
        let meter = Meter::new(Some(name.clone()), self.0.max_rate, &self.0.metrics);
        let mut meter = Arc::new(meter);
        self.0.callers.rcu(|known| {
            let mut callers = Meters::clone(known);
            if callers.len() >= MOST {
                callers.retain(|_, meter| !meter.is_idle());
            }
            if callers.len() >= MOST {
                meter = Arc::clone(&self.0.anybody);
                return callers;
            }
            // Somebody else may have met the caller at the same time.
            let kept = callers.entry(name.clone());
            meter = Arc::clone(kept.or_insert_with(|| Arc::clone(&meter)));
            callers
        });
        meter
    }
}

impl Meter {
    fn new(name: Option<CallerName>, max_rate: Option<u64>, metrics: &Metrics) -> Self {
        Self {
            name,
            max_rate,
            began: Instant::now(),
            paid: AtomicU64::new(0),
            minute: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            told: AtomicBool::new(false),
            metrics: metrics.clone(),
        }
    }

    /// Whether nothing is lost if it is forgotten: all is paid for, and the minute that was counted is over.
    fn is_idle(&self) -> bool {
        let since = self.began.elapsed();
        let is_paid = self.paid.load(Ordering::Relaxed) <= micros(since);
        is_paid && self.minute.load(Ordering::Relaxed) != since.as_secs() / 60
    }

    /// Refuses while more was used than is paid for. What is larger than a second's worth is taken when nothing
    /// is owed, and owed for longer.
    pub(super) fn spend(&self, people: usize) -> Result<(), Status> {
        let Some(rate) = self.max_rate else {
            return Ok(());
        };
        let now = micros(self.began.elapsed());
        let cost = people_of(people).saturating_mul(1_000_000) / rate;
        // When it will have been paid for, from then on; what costs more than may be saved up never is.
        let free_at = |paid: u64| paid.saturating_add(cost.min(BURST)).saturating_sub(BURST);
        let spent = self
            .paid
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
                (free_at(paid.max(now)) <= now).then(|| paid.max(now).saturating_add(cost))
            });
        let Err(paid) = spent else { return Ok(()) };
        self.metrics.shed(Shed::Caller);
        let wait = free_at(paid) - now;
        Err(status::too_fast(Duration::from_micros(wait)))
    }

    /// Notes how many people were asked about, and of how many of them no consent is known. Callers that clean
    /// their lists ask about few of those; who tries out numbers, about hardly anybody else.
    pub(super) fn saw(&self, asked: usize, unknown: usize) {
        let minute = self.began.elapsed().as_secs() / 60;
        let is_another = self.minute.load(Ordering::Relaxed) != minute;
        if is_another && self.minute.swap(minute, Ordering::Relaxed) != minute {
            // What is counted twice or not at all at the turn of a minute makes no difference.
            self.asked.store(0, Ordering::Relaxed);
            self.unknown.store(0, Ordering::Relaxed);
            self.told.store(false, Ordering::Relaxed);
        }
        let asked_now = people_of(asked);
        let asked = asked_now + self.asked.fetch_add(asked_now, Ordering::Relaxed);
        if unknown == 0 {
            return;
        }
        let more = people_of(unknown);
        let unknown = more + self.unknown.fetch_add(more, Ordering::Relaxed);
        let caller = self.name.as_ref().map_or("anybody", CallerName::as_str);
        self.metrics.unknown_people(caller, more);
        let unusual = unknown >= UNUSUAL && unknown > asked / 2;
        if unusual && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                caller,
                asked,
                unknown,
                "a caller asks about unusually many people of whom no consent is known: is it trying out numbers?"
            );
        }
    }
}

/// Of how many of these people no consent is known.
pub(super) fn unknown<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> usize {
    let verdicts = verdicts.into_iter();
    let unknown = verdicts.filter(|verdict| verdict.reason() == Some(Reason::NoConsent));
    unknown.count()
}

fn people_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    fn meter(rate: u64) -> Meter {
        Meter::new(None, Some(rate), &Metrics::disabled())
    }

    /// How many of these single calls are let through at once.
    fn taken(meter: &Meter, calls: usize) -> usize {
        (0..calls).filter(|_| meter.spend(1).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_is_taken_at_once_and_then_as_much_as_time_pays_for() {
        let meter = meter(10);
        assert_eq!(taken(&meter, 50), 10);
        let refused = meter.spend(1).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let retry = refused.get_details_retry_info().unwrap().retry_delay;
        assert!(retry.unwrap() <= Duration::from_millis(101), "{retry:?}");
        tokio::time::advance(Duration::from_millis(301)).await;
        assert_eq!(taken(&meter, 50), 3);
        // Silence saves up no more than a second.
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(&meter, 50), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_taken_whole_and_paid_for_by_waiting() {
        let meter = meter(100);
        meter.spend(1_000).unwrap();
        let refused = meter.spend(1).unwrap_err();
        let retry = refused.get_details_retry_info().unwrap().retry_delay;
        assert!(retry.unwrap() > Duration::from_millis(8_900), "{retry:?}");
        tokio::time::advance(retry.unwrap()).await;
        meter.spend(1).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_is_refused() {
        let meter = Meter::new(None, None, &Metrics::disabled());
        for _ in 0..1_000 {
            meter.spend(10_000).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_names_there_are_so_many_are_kept_and_idle_ones_make_room() {
        let config = Config {
            max_rate: Some(1),
            ..Config::default()
        };
        let usage = Usage::new(&config, &Metrics::disabled());
        let name = |number: usize| CallerName::of_jwt(&format!("c{number}")).unwrap();
        let kept = || usage.0.callers.load().len();
        let first = usage.of_caller(&name(0));
        for number in 1..MOST + 50 {
            usage.of_caller(&name(number));
        }
        assert_eq!(kept(), MOST);
        let late = usage.of_caller(&name(MOST + 1));
        assert!(Arc::ptr_eq(&late, &usage.0.anybody), "one for all of them");
        // An hour is owed by the first; all others are idle.
        first.spend(3_600).unwrap();
        tokio::time::advance(Duration::from_mins(2)).await;
        let late = usage.of_caller(&name(MOST + 1));
        assert!(!Arc::ptr_eq(&late, &usage.0.anybody));
        assert_eq!(kept(), 2);
        let again = usage.of_caller(&name(0));
        assert!(Arc::ptr_eq(&again, &first) && again.spend(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_about_strangers_alone_is_told_of_and_who_cleans_a_list_is_not() {
        let told = |meter: &Meter| meter.told.load(Ordering::Relaxed);
        let (trying, cleaning) = (meter(1), meter(1));
        trying.saw(999, 999);
        cleaning.saw(10_000, 3_000);
        assert!(!told(&trying) && !told(&cleaning));
        trying.saw(1, 1);
        assert!(told(&trying));
        tokio::time::advance(Duration::from_mins(1)).await;
        trying.saw(10, 10);
        assert!(!told(&trying));
    }
}
