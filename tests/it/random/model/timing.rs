//! The steps 10 to 12: unreachable, too early, too often; and when that may be over.

use consentgate::grpc::proto::{MessageClass, Reason};

use super::answer::Now;
use super::law::{CONFIRMED_WITHIN, DAY, HOUR};
use super::purpose;
use super::story::Consent;

/// How far ahead a first allowed instant is promised.
const A_MONTH: i64 = 31 * DAY;

impl Now<'_> {
    /// Three failures in a row within 30 days, the last of them less than 30 days ago, and no answer.
    pub(super) fn unreachable(&self) -> Vec<Reason> {
        let mut times: Vec<i64> = self
            .story
            .failures
            .iter()
            .filter(|(code, _)| *code == "131026")
            .map(|(_, when)| when.at)
            .collect();
        times.sort_unstable();
        // Four are remembered.
        let times = &times[times.len().saturating_sub(4)..];
        let in_a_row = times.windows(3).any(|row| {
            row[2] - row[0] <= 30 * DAY
                && self.asked.at < row[2] + 30 * DAY
                && self.story.answers.iter().all(|answer| *answer < row[0])
        });
        let answers = matches!(
            self.asked.class,
            MessageClass::Service | MessageClass::OptOutConfirmation
        );
        match in_a_row && !answers {
            true => vec![Reason::Unreachable],
            false => Vec::new(),
        }
    }

    /// Steps 11 and 12.
    pub(super) fn deferred(&self, carrier: Option<&Consent>) -> Vec<Reason> {
        let timed = [MessageClass::Marketing, MessageClass::ConsentRequest];
        if !timed.contains(&self.asked.class) {
            return Vec::new();
        }
        let (law, at) = (self.law(carrier), self.asked.at);
        if !law.is_open(at) {
            return vec![Reason::QuietHours];
        }
        let mut deferred = Vec::new();
        let limited = self.limits().into_iter().any(|end| at < end);
        if limited && self.asked.class == MessageClass::Marketing {
            deferred.push(Reason::PlatformLimited);
        }
        let count = |days: i64, counts: &dyn Fn(&str, MessageClass) -> bool| {
            let sends = self.story.sends.iter();
            let counted = sends.filter(|(key, class, _)| counts(key, *class));
            counted
                .filter(|(_, _, sent)| at < sent + days * DAY)
                .count()
        };
        let own = purpose::cap(self.asked.purpose)
            .is_some_and(|(most, days)| count(days, &|key, _| key == self.asked.purpose) >= most);
        let by_law = law
            .caps
            .iter()
            .any(|(most, days)| count(*days, &|_, class| timed.contains(&class)) >= *most);
        if own || by_law {
            deferred.push(Reason::FrequencyCap);
        }
        deferred
    }

    fn limits(&self) -> Vec<i64> {
        let failures = self.story.failures.iter();
        let limited = failures.filter(|(code, _)| *code == "131049");
        limited.map(|(_, when)| when.at + DAY).collect()
    }

    /// Every instant of the coming month at which the answer may change by itself, in their order.
    pub(super) fn changes(&self) -> Vec<i64> {
        let at = self.asked.at;
        let hour = at.div_euclid(HOUR) * HOUR;
        let hours = (0..=31 * 24).map(|count| hour + count * HOUR);
        let days = [1, 3, 7];
        let sends = self.story.sends.iter();
        let sends = sends.flat_map(|(_, _, sent)| days.iter().map(move |days| sent + days * DAY));
        let windows = self.story.written.iter().map(|(_, written)| written + DAY);
        let asks = self.story.asks.iter().map(|(when, _)| when.at + 366 * DAY);
        let bars = self.story.bars.iter().filter_map(|bar| bar.until);
        let consents = self.story.consents.iter().flat_map(|consent| {
            let mut ends = self.ends(consent);
            ends.push(consent.when.at + CONFIRMED_WITHIN);
            ends
        });
        let look_ups = self.story.look_ups.iter();
        let look_ups = look_ups.flat_map(|found| [1, 30].map(|days| found.when.at + days * DAY));
        let failures = self
            .story
            .failures
            .iter()
            .map(|(_, when)| when.at + 30 * DAY);
        let mut all: Vec<i64> = hours
            .chain(sends)
            .chain(windows)
            .chain(asks)
            .chain(bars)
            .chain(consents)
            .chain(look_ups)
            .chain(failures)
            .chain(self.limits())
            .filter(|change| at < *change && *change <= at + A_MONTH)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
