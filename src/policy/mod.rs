//! The policy file: from text to [`Policy`], or to everything that is wrong with it.
//!
//! What the columns mean is said in `crate::domain::policy` and, with the reason for every value, in
//! `policy/default.toml`, which is part of the binary. A column that no rule honours is refused, so
//! that nobody believes it holds. Nothing is decided here.
//!
//! A column that is new must be one that may be left out: the ledger holds the policies of earlier
//! versions, and their texts are read again.

mod columns;
pub mod document;
mod hours;
mod limits;
mod periods;
mod platform;
pub mod review;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use self::columns::{Columns, Named};
use self::document::{Document, Places, Table};
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{DEFAULT, Entry, Policy};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::ConsentType;

pub use self::hours::WEEKDAYS;

/// Everything that is wrong with a policy file.
pub use self::document::Mistakes as Error;

/// The text of the policy file that the binary carries.
pub const EMBEDDED: &str = include_str!("../../policy/default.toml");

/// Columns that the research has and no rule reads yet.
const NOT_HONOURED: &[&str] = &["refresh", "min_log_retention", "suppression_review"];

/// Reads a policy file.
pub fn load(text: &str) -> Result<Policy, Error> {
    let (jurisdictions, platform) = document::read(text, |document, mut root| {
        let tables = root.tables("jurisdiction");
        let rules = root.tables("platform");
        root.finish();
        (
            jurisdictions(document, tables),
            platform::read(document, rules),
        )
    })?;
    let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    Ok(Policy::new(jurisdictions, platform, sha256))
}

/// The policy that is part of the binary.
pub fn embedded() -> Policy {
    load(EMBEDDED).expect("the embedded policy has no mistake: a test loads it")
}

/// One `[[jurisdiction]]` table: when it holds, and its columns unless they have a mistake.
struct Dated {
    code: JurisdictionCode,
    from: Timestamp,
    to: Option<Timestamp>,
    members: Vec<JurisdictionCode>,
    columns: Option<Columns>,
    registries: Vec<Named>,
    places: Places,
}

impl Dated {
    /// Whether some instant is in both.
    fn meets(&self, other: &Self) -> bool {
        self.to.is_none_or(|end| other.from < end) && other.to.is_none_or(|end| self.from < end)
    }
}

fn jurisdictions(
    document: &Document<'_>,
    tables: Vec<Table<'_, '_>>,
) -> BTreeMap<JurisdictionCode, Vec<Entry>> {
    let given = tables.len();
    let mut dated: Vec<Dated> = tables.into_iter().filter_map(read_table).collect();
    dated.sort_by(|a, b| (&a.code, a.from).cmp(&(&b.code, b.from)));
    refuse_overlaps(document, &dated);
    refuse_two_groups(document, &dated);
    refuse_two_kinds(document, &dated);
    // A table whose code or dates cannot be read may be the one that is missed.
    if dated.len() == given {
        check_default(document, &dated);
    }
    let mut entries: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for one in dated {
        if let Some(columns) = one.columns {
            let entry = Entry {
                effective_from: one.from,
                effective_to: one.to,
                members: one.members.into_iter().collect(),
                requirements: Arc::new(columns.requirements),
                source: columns.source,
                withdrawal_deadline: columns.withdrawal_deadline,
                proof_retention: columns.proof_retention,
            };
            entries.entry(one.code).or_default().push(entry);
        }
    }
    entries
}

fn read_table(mut table: Table<'_, '_>) -> Option<Dated> {
    let code = table.required("code", |t, key| t.parsed(key, JurisdictionCode::parse));
    let Dates { from, to } = dates(&mut table);
    let members = members(&mut table, code.as_ref());
    let (columns, registries) = columns::read(&mut table);
    for key in NOT_HONOURED {
        table.refuse(
            key,
            "no rule honours this column yet, so it must not be written as if it held",
        );
    }
    let places = table.finish();
    Some(Dated {
        code: code?,
        from: from?,
        to,
        members,
        columns,
        registries,
        places,
    })
}

/// When a rule holds.
struct Dates {
    from: Option<Timestamp>,
    /// The first instant at which it no longer holds.
    to: Option<Timestamp>,
}

fn dates(table: &mut Table<'_, '_>) -> Dates {
    let from = table.required("effective_from", Table::date).map(midnight);
    let to = table.date("effective_to").map(midnight);
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        table.mistake(
            "effective_to",
            "must be later than `effective_from`: it is the first day without",
        );
    }
    Dates { from, to }
}

/// The countries for which an entry stands in.
fn members(table: &mut Table<'_, '_>, code: Option<&JurisdictionCode>) -> Vec<JurisdictionCode> {
    const KEY: &str = "members";
    let Some(members) = table.list(KEY, platform::country) else {
        return Vec::new();
    };
    if code.is_some_and(|code| *code == DEFAULT || !code.is_country()) {
        table.mistake(
            KEY,
            format!("have their place with a country or a group of countries, not with `{DEFAULT}` or a part of a country"),
        );
    }
    let mut seen = BTreeSet::new();
    for (index, member) in members.iter().enumerate() {
        let field = format!("{KEY}[{index}]");
        if Some(member) == code || *member == DEFAULT {
            table.mistake(&field, format!("`{member}` cannot be a member here"));
        }
        if !seen.insert(member) {
            table.mistake(&field, format!("names `{member}` twice"));
        }
    }
    members
}

/// `dated` is sorted by code and first day.
fn refuse_overlaps(document: &Document<'_>, dated: &[Dated]) {
    for (index, later) in dated.iter().enumerate() {
        let overlapped = dated[..index]
            .iter()
            .rev()
            .take_while(|earlier| earlier.code == later.code)
            .find(|earlier| earlier.to.is_none_or(|end| later.from < end));
        if let Some(earlier) = overlapped {
            let line = document.line(earlier.places.table());
            let message = format!(
                "`{}` has an entry for these dates already, on line {line}",
                later.code
            );
            document.mistake(later.places.table(), message);
        }
    }
}

/// A country is a member of one entry at a time: of two nobody could say which one holds.
fn refuse_two_groups(document: &Document<'_>, dated: &[Dated]) {
    for (index, later) in dated.iter().enumerate() {
        for earlier in &dated[..index] {
            if earlier.code == later.code || !earlier.meets(later) {
                continue;
            }
            for (at, member) in later.members.iter().enumerate() {
                if earlier.members.contains(member) {
                    let line = document.line(&earlier.places.of("members"));
                    let message = format!(
                        "`{member}` is a member of `{}` at that time, by line {line}",
                        earlier.code
                    );
                    document.mistake(&later.places.of(&format!("members[{at}]")), message);
                }
            }
        }
    }
}

/// A registry says one thing: an answer of it is read by what its listings mean.
fn refuse_two_kinds(document: &Document<'_>, dated: &[Dated]) {
    let mut known: BTreeMap<_, (_, usize)> = BTreeMap::new();
    let mut named: Vec<_> = dated.iter().flat_map(|one| &one.registries).collect();
    named.sort_by_key(|(_, _, place)| document.line(place));
    for (registry, kind, place) in named {
        let (first, line) = *known
            .entry(registry)
            .or_insert_with(|| (*kind, document.line(place)));
        if first != *kind {
            let message = format!("`{registry}` is of another kind on line {line}");
            document.mistake(place, message);
        }
    }
}

/// The default must hold from its first day for ever: what no entry answers, nothing allows.
fn check_default(document: &Document<'_>, dated: &[Dated]) {
    let entries: Vec<&Dated> = dated.iter().filter(|one| one.code == DEFAULT).collect();
    if entries.is_empty() {
        let message =
            format!("no entry for `{DEFAULT}`, the default that holds where no other does");
        document.mistake(&document.start(), message);
    }
    for (index, entry) in entries.iter().enumerate() {
        let Some(end) = entry.to else { continue };
        match entries.get(index + 1) {
            None => document.mistake(
                entry.places.table(),
                format!("the last entry of `{DEFAULT}` must have no end"),
            ),
            Some(next) if next.from > end => {
                let message =
                    format!("leaves a gap after the entry of `{DEFAULT}` that ends before it");
                document.mistake(next.places.table(), message);
            }
            Some(_) => {}
        }
    }
}

/// The first instant of a day in UTC: laws change at midnight somewhere, and the day is what the
/// file says.
fn midnight(day: Date) -> Timestamp {
    let start = day
        .to_zoned(TimeZone::UTC)
        .expect("every civil day of UTC has a first instant");
    Timestamp::from_micros(start.timestamp().as_microsecond())
}

fn consent_types() -> Vec<(&'static str, ConsentType)> {
    ConsentType::ALL
        .iter()
        .map(|kind| (kind.word(), *kind))
        .collect()
}

#[cfg(test)]
mod tests;
