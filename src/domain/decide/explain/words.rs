//! Instants, spans of time, scopes, hours and counts in words. Nothing here decides.

use std::time::Duration;

use jiff::civil::DateTime;

use crate::domain::facts::{Coverage, Grant};
use crate::domain::hours::{SendingHours, Span, Zone};
use crate::domain::id::SenderId;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, RestrictionKind, SuppressionBasis};

const SECOND: i64 = 1_000_000;
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// When something happened, to the second: `2026-03-01 14:22:07 UTC`.
pub(super) fn at(time: Timestamp) -> String {
    match jiff::Timestamp::from_microsecond(time.as_micros()) {
        Ok(instant) => instant.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => time.to_string(),
    }
}

/// When something ends, to the second after it, so that nobody who waits comes too early.
pub(super) fn until(time: Timestamp) -> String {
    let micros = time.as_micros();
    let up = micros.saturating_add(SECOND - 1).div_euclid(SECOND) * SECOND;
    at(Timestamp::from_micros(up))
}

/// `7 days`, in the largest unit that divides it.
pub(super) fn lasting(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let unit = units
        .iter()
        .find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    let (length, name) = unit.unwrap_or(&(1, "second"));
    counted(seconds / length, name)
}

/// `last 7 days`, `last hour`.
pub(super) fn last(span: Duration) -> String {
    let span = lasting(span);
    format!("last {}", span.strip_prefix("1 ").unwrap_or(&span))
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: impl TryInto<u64>, what: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(parts: impl IntoIterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.into_iter().collect();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => String::new(),
        (Some(only), true) => only,
        (Some(last), false) => format!("{} and {last}", parts.join(", ")),
    }
}

pub(super) fn coverage(coverage: &Coverage) -> String {
    match coverage {
        Coverage::Purpose(key) => format!("`{key}`"),
        Coverage::AllMarketing => "all marketing".to_owned(),
        Coverage::Everything => "everything".to_owned(),
    }
}

pub(super) fn from_sender(sender: Option<&SenderId>) -> String {
    match sender {
        Some(sender) => format!("from sender {sender} alone"),
        None => "from every sender".to_owned(),
    }
}

/// Who ended a consent, as the beginning of a sentence.
pub(super) const fn ended(kind: RestrictionKind) -> &'static str {
    match kind {
        RestrictionKind::Refused => "The person was asked and declined",
        RestrictionKind::Withdrawn => "The person withdrew consent",
        RestrictionKind::Revoked => "The consent was ended by somebody other than the person",
        RestrictionKind::Invalidated => "A court or authority declared the consent invalid",
    }
}

/// Why somebody is suppressed, as the beginning of a sentence.
pub(super) const fn suppressed(basis: SuppressionBasis) -> &'static str {
    match basis {
        SuppressionBasis::Objection => "The person objected",
        SuppressionBasis::PlatformStop => "The person stopped this business in WhatsApp",
        SuppressionBasis::NationalRegistry => "A national registry lists the number",
        SuppressionBasis::ReassignedNumber => "The number was given to somebody else",
        SuppressionBasis::Complaint => "The person complained",
        SuppressionBasis::CourtOrder => "A court or authority ordered it",
        SuppressionBasis::WrongNumber => "The number is not that of the person who was meant",
        SuppressionBasis::PossibleRevocation => "The person wrote what may be an opt-out",
    }
}

/// What a grant says, as a sentence.
pub(super) fn consent(grant: &Grant) -> String {
    let given = at(grant.mark.at);
    let purpose = &grant.purpose;
    let said = match (grant.consent_type, grant.implied) {
        (ConsentType::Implied, Some(implied)) => format!(
            "Consent to `{purpose}` is implied by {} of {}, recorded as of {given}",
            implied.basis,
            at(implied.basis_time)
        ),
        (ConsentType::Implied, None) => {
            format!("Consent to `{purpose}` is implied as of {given}")
        }
        (ConsentType::Expressed | ConsentType::ExplicitlyExpressed, _) => format!(
            "The person consented to `{purpose}` on {given} ({})",
            grant.consent_type
        ),
    };
    let notice = grant.notice.as_ref();
    let parts = [
        Some(said),
        Some(from_sender(grant.sender.as_ref())),
        notice.map(|notice| format!("on notice {notice}")),
        grant.import.then(|| "as an import says".to_owned()),
        grant
            .via_link
            .map(|_| "at the person's linked address".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    parts.join(", ") + "."
}

/// Adds a sentence to others.
pub(super) fn add(said: &mut String, sentence: &str) {
    said.push(' ');
    said.push_str(sentence);
}

/// Hours by weekday: `Monday to Friday 08:00-21:00, Saturday 09:00-20:00, not on Sunday`.
pub(super) fn hours(hours: &SendingHours) -> String {
    let mut runs: Vec<(usize, usize, &[Span])> = Vec::new();
    for (day, spans) in hours.weekdays.iter().enumerate() {
        match runs.last_mut() {
            Some((_, last, same)) if *same == spans.as_slice() => *last = day,
            _ => runs.push((day, day, spans)),
        }
    }
    let run = |(first, last, spans): (usize, usize, &[Span])| {
        let days = match (DAYS.get(first), DAYS.get(last)) {
            (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
            (Some(day), _) => (*day).to_owned(),
            (None, _) => String::new(),
        };
        let spans: Vec<String> = spans.iter().map(|span| clock(*span)).collect();
        match spans.as_slice() {
            [] => format!("not on {days}"),
            spans => format!("{days} {}", spans.join(" and ")),
        }
    };
    let mut said = runs.into_iter().map(run).collect::<Vec<_>>().join(", ");
    if !hours.holidays.is_empty() {
        said += "; other hours or none on public holidays";
    }
    said
}

fn clock(span: Span) -> String {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{}-{}", time(span.from), time(span.to))
}

/// What time it is where a person may be, on the clocks of all zones.
pub(super) fn local_times(zones: &[Zone], time: Timestamp) -> String {
    let mut clocks: Vec<(DateTime, Zone)> = zones
        .iter()
        .filter_map(|zone| Some((zone.local(time)?, *zone)))
        .collect();
    clocks.sort_by_key(|(local, _)| *local);
    let said = |(local, zone): &(DateTime, Zone)| {
        format!("{} in {zone}", local.strftime("%A %Y-%m-%d %H:%M"))
    };
    match clocks.as_slice() {
        [] => "the local time is not known".to_owned(),
        clocks if clocks.len() <= 3 => format!("it is {}", listed(clocks.iter().map(said))),
        [first, .., last] => format!(
            "it is between {} and {} ({})",
            said(first),
            said(last),
            counted(zones.len(), "time zone")
        ),
        // INVARIANT: three and fewer are above.
        [only] => said(only),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_cut_to_the_second_and_an_end_rounded_up() {
        let time = Timestamp::from_micros(1_767_225_600_000_001);
        assert_eq!(at(time), "2026-01-01 00:00:00 UTC");
        assert_eq!(until(time), "2026-01-01 00:00:01 UTC");
        let whole = Timestamp::from_micros(1_767_225_600_000_000);
        assert_eq!(until(whole), at(whole));
        assert!(!until(Timestamp::MAX).is_empty(), "never a panic");
    }

    #[test]
    fn a_span_reads_in_its_largest_unit() {
        for (seconds, said) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (300, "5 minutes"),
            (3_601, "3601 seconds"),
            (86_400, "1 day"),
            (31_536_000, "365 days"),
        ] {
            assert_eq!(lasting(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn a_list_has_an_and_before_its_last() {
        let said = |parts: &[&str]| listed(parts.iter().map(ToString::to_string));
        assert_eq!(said(&[]), "");
        assert_eq!(said(&["a"]), "a");
        assert_eq!(said(&["a", "b"]), "a and b");
        assert_eq!(said(&["a", "b", "c"]), "a, b and c");
    }

    #[test]
    fn hours_read_by_runs_of_days() {
        let span = |from: u16, to: u16| Span {
            from: from * 60,
            to: to * 60,
        };
        let week = vec![span(8, 21)];
        let saturday = vec![span(9, 12), span(14, 20)];
        let mut weekdays: [Vec<Span>; 7] = std::array::from_fn(|_| week.clone());
        weekdays[5] = saturday;
        weekdays[6] = Vec::new();
        let hours = super::hours(&SendingHours {
            weekdays,
            holidays: Vec::new(),
        });
        assert_eq!(
            hours,
            "Monday to Friday 08:00-21:00, Saturday 09:00-12:00 and 14:00-20:00, not on Sunday"
        );
    }

    #[test]
    fn local_times_name_their_zones_and_of_many_the_ends() {
        let zones = |names: &[&str]| -> Vec<Zone> {
            names
                .iter()
                .map(|name| Zone::named(name).unwrap())
                .collect()
        };
        let noon = Timestamp::from_micros(1_780_315_200_000_000);
        assert_eq!(local_times(&[], noon), "the local time is not known");
        assert_eq!(
            local_times(&zones(&["Europe/Berlin"]), noon),
            "it is Monday 2026-06-01 14:00 in Europe/Berlin"
        );
        let american = [
            "America/New_York",
            "America/Chicago",
            "America/Denver",
            "America/Los_Angeles",
        ];
        assert_eq!(
            local_times(&zones(&american), noon),
            "it is between Monday 2026-06-01 05:00 in America/Los_Angeles and \
             Monday 2026-06-01 08:00 in America/New_York (4 time zones)"
        );
    }
}
