//! The data of `policy/prefixes` in the form in which they are looked up.
//!
//! Prefixes nest, so that the numbers of up to 15 digits fall into consecutive ranges, each with a
//! longest prefix: a look-up is one binary search over where they begin.

use std::collections::HashMap;

use super::Place;
use crate::domain::address::MAX_DIGITS;
use crate::domain::hours::Zone;
use crate::domain::id::JurisdictionCode;

#[derive(Debug)]
pub(super) struct Table {
    /// Every distinct place; the first is that of which nothing is known.
    places: Vec<Place>,
    /// The first stands for no prefix at all, and around all others.
    prefixes: Vec<Prefix>,
    /// Where each range of numbers begins, as numbers of 15 digits, and the index of its longest
    /// prefix. Sorted; the first begins at 0.
    ranges: Vec<(u64, usize)>,
    /// Countries, and parts of countries, with the place of somebody of whom no more is known. Sorted.
    jurisdictions: Vec<(JurisdictionCode, Place)>,
}

#[derive(Debug)]
struct Prefix {
    /// How many digits it has.
    digits: usize,
    /// Index of its place.
    place: usize,
    /// Index of the longest prefix that it begins with.
    around: usize,
    /// The first number after it, as a number of 15 digits.
    after: u64,
}

impl Table {
    /// Reads the two files. They are part of the binary and tests read them, so a mistake in them is
    /// one of this crate.
    pub(super) fn read(places: &str, zones: &str) -> Self {
        let mut table = Self {
            places: vec![Place::default()],
            prefixes: vec![Prefix {
                digits: 0,
                place: 0,
                around: 0,
                after: u64::MAX,
            }],
            ranges: vec![(0, 0)],
            jurisdictions: read_jurisdictions(zones),
        };
        let mut known: HashMap<(&str, &str), usize> = HashMap::new();
        let mut around = 0;
        for [prefix, jurisdictions, zones] in rows::<3>(places) {
            let place = *known.entry((jurisdictions, zones)).or_insert_with(|| {
                table.places.push(Place {
                    jurisdictions: words(jurisdictions).map(code).collect(),
                    zones: words(zones).map(zone).collect(),
                });
                table.places.len() - 1
            });
            let (from, after) = numbers_of(prefix);
            around = table.leave(around, from);
            table.prefixes.push(Prefix {
                digits: prefix.len(),
                place,
                around,
                after,
            });
            around = table.prefixes.len() - 1;
            table.begin_range(from, around);
        }
        table.leave(around, u64::MAX - 1);
        table
    }

    /// Ends `prefix`, and those around it, that are over at `number`: what follows each belongs to
    /// the one around it. Answers the one that is left.
    fn leave(&mut self, mut prefix: usize, number: u64) -> usize {
        while self.prefixes[prefix].after <= number {
            let Prefix { after, around, .. } = self.prefixes[prefix];
            self.begin_range(after, around);
            prefix = around;
        }
        prefix
    }

    fn begin_range(&mut self, from: u64, prefix: usize) {
        self.ranges.pop_if(|(begun, _)| *begun == from);
        self.ranges.push((from, prefix));
    }

    /// The place of a number, calling code first.
    pub(super) fn of_number(&self, number: u64) -> &Place {
        let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
        let padded = number.saturating_mul(power(MAX_DIGITS.saturating_sub(digits)));
        let after = self.ranges.partition_point(|(from, _)| *from <= padded);
        let (_, longest) = self.ranges[after.saturating_sub(1)];
        let mut prefix = &self.prefixes[longest];
        // A number that ends within a prefix does not begin with it.
        while prefix.digits > digits {
            prefix = &self.prefixes[prefix.around];
        }
        &self.places[prefix.place]
    }

    /// The place of somebody of whom at most the country is known.
    pub(super) fn of_country(&self, code: Option<JurisdictionCode>) -> &Place {
        let place = code.and_then(|code| self.jurisdiction(code));
        place.unwrap_or(&self.places[0])
    }

    pub(super) fn zones_of(&self, code: JurisdictionCode) -> &[Zone] {
        let place = self.jurisdiction(code);
        &place
            .unwrap_or_else(|| self.of_country(Some(code.country())))
            .zones
    }

    fn jurisdiction(&self, code: JurisdictionCode) -> Option<&Place> {
        let found = self
            .jurisdictions
            .binary_search_by_key(&code, |(known, _)| *known);
        Some(&self.jurisdictions[found.ok()?].1)
    }
}

fn read_jurisdictions(text: &str) -> Vec<(JurisdictionCode, Place)> {
    let rows: Vec<(JurisdictionCode, &str)> = rows::<2>(text)
        .map(|[name, zones]| (code(name), zones))
        .collect();
    let with_parts = |whole: &JurisdictionCode| {
        let within = |other: &&JurisdictionCode| *other == whole || other.country() == *whole;
        let codes = rows.iter().map(|(code, _)| code);
        codes.filter(within).cloned().collect()
    };
    rows.iter()
        .map(|(code, zones)| {
            let place = Place {
                jurisdictions: with_parts(code),
                zones: words(zones).map(zone).collect(),
            };
            (*code, place)
        })
        .collect()
}

/// The rows of a file, without its comments, cut at their tabs.
pub(super) fn rows<const COLUMNS: usize>(text: &str) -> impl Iterator<Item = [&str; COLUMNS]> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            columns.try_into().expect("each row has all columns")
        })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ')
}

fn code(text: &str) -> JurisdictionCode {
    JurisdictionCode::parse(text).expect("the file has codes of ISO 3166")
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("the file has zones of the bundled tz database")
}

/// The first number that begins with a prefix and the first after those that do, as numbers of 15
/// digits.
fn numbers_of(prefix: &str) -> (u64, u64) {
    let number: u64 = prefix.parse().expect("a prefix is digits");
    let power = power(MAX_DIGITS.saturating_sub(prefix.len()));
    (number * power, (number + 1) * power)
}

fn power(zeros: usize) -> u64 {
    10_u64.pow(u32::try_from(zeros).unwrap_or_default())
}
