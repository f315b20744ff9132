//! `[[platform]]`: what WhatsApp itself does not deliver, by its own rules and not by a law.
//!
//! Whether a message is one of these is asked of `crate::domain::policy::Policy::prohibition`.

use super::columns;
use super::document::{Document, Places, Table, find};
use super::{Dates, dates};
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{Basis, PlatformRule};
use crate::domain::vocabulary::MessageClass;

/// Reads the rules; what is wrong with one is reported, and it is left out.
pub(super) fn read(document: &Document<'_>, tables: Vec<Table<'_, '_>>) -> Vec<PlatformRule> {
    let mut rules: Vec<(PlatformRule, Places)> =
        tables.into_iter().filter_map(read_table).collect();
    rules.sort_by_key(|(rule, _)| rule.effective_from);
    for (index, (later, place)) in rules.iter().enumerate() {
        let overlapped = rules[..index]
            .iter()
            .find(|(earlier, _)| says_the_same(earlier, later));
        if let Some((_, earlier)) = overlapped {
            let line = document.line(earlier.table());
            let message =
                format!("one of these classes has a rule for these dates already, on line {line}");
            document.mistake(place.table(), message);
        }
    }
    rules.into_iter().map(|(rule, _)| rule).collect()
}

/// Of two rules in the order of their dates.
fn says_the_same(earlier: &PlatformRule, later: &PlatformRule) -> bool {
    earlier.country == later.country
        && earlier
            .classes
            .iter()
            .any(|class| later.classes.contains(class))
        && earlier
            .effective_to
            .is_none_or(|end| later.effective_from < end)
}

fn read_table(mut table: Table<'_, '_>) -> Option<(PlatformRule, Places)> {
    let country = table.required("country", |t, key| t.parsed(key, country));
    let classes = table.required("classes", classes);
    let Dates { from, to } = dates(&mut table);
    let source = columns::source(&mut table, Some(Basis::Platform));
    let places = table.finish();
    let rule = PlatformRule {
        country: country?,
        classes: classes?,
        effective_from: from?,
        effective_to: to,
        source: source?,
    };
    Some((rule, places))
}

/// Numbers tell the country, rarely more.
pub(super) fn country(text: &str) -> Result<JurisdictionCode, String> {
    let code = JurisdictionCode::parse(text).map_err(|error| error.to_string())?;
    if code.is_country() {
        Ok(code)
    } else {
        Err("must be a country, not a part of one".to_owned())
    }
}

fn classes(table: &mut Table<'_, '_>, key: &str) -> Option<Vec<MessageClass>> {
    let words: Vec<_> = MessageClass::ALL
        .iter()
        .map(|class| (class.word(), *class))
        .collect();
    let classes = table.list(key, |text| find(&words, text))?;
    if classes.is_empty() && table.is_good() {
        table.mistake(key, "names no class");
    }
    for (index, class) in classes.iter().enumerate() {
        if classes[..index].contains(class) {
            table.mistake(key, format!("names `{class}` twice"));
        }
    }
    Some(classes)
}
