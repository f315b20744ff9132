//! The policy that is shipped, as golden tables: what holds where and when, written down a second time.
//!
//! `tests/corpus/policy/default.tsv` has a line per place and day. A place of several candidates (`CA+US`) is judged
//! by all of them. A value of `policy/default.toml` that changes must change there too, and that is a decision: the
//! decisions of the gate follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use consentgate::domain::hours::{SendingHours, Span};
use consentgate::domain::id::JurisdictionCode;
use consentgate::domain::policy::{Policy, Requirements};
use consentgate::domain::time::Timestamp;
use consentgate::domain::vocabulary::MessageClass;
use consentgate::policy::{WEEKDAYS, embedded};
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// A line of the table, by column.
type Row = BTreeMap<String, String>;

fn golden() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/policy/default.tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t'));
    let columns: Vec<&str> = lines.next().unwrap().collect();
    let rows: Vec<Row> = lines
        .map(|cells| {
            let cells: Vec<&str> = cells.collect();
            assert_eq!(cells.len(), columns.len(), "{cells:?}");
            columns
                .iter()
                .zip(cells)
                .map(|(column, cell)| ((*column).to_owned(), cell.to_owned()))
                .collect()
        })
        .collect();
    assert!(rows.len() > 40, "{}", rows.len());
    rows
}

fn midnight(day: &str) -> Timestamp {
    let day: Date = day.parse().unwrap();
    let start = day.to_zoned(TimeZone::UTC).unwrap().timestamp();
    Timestamp::from_micros(start.as_microsecond())
}

fn codes(place: &str) -> Vec<JurisdictionCode> {
    place
        .split('+')
        .map(|code| JurisdictionCode::parse(code).unwrap())
        .collect()
}

/// What the policy says of a place on a day, in the words of the table.
fn said(policy: &Policy, place: &str, day: &str) -> Row {
    let (codes, at) = (codes(place), midnight(day));
    let required = policy.strictest(&codes, at).unwrap();
    let by = match &codes[..] {
        [code] => {
            assert_eq!(
                policy.requirements(Some(code), at),
                Some(&*required),
                "one candidate is no merging"
            );
            policy.entry(Some(code), at).unwrap().0.to_string()
        }
        _ => "-".to_owned(),
    };
    let prohibited = |class: &&MessageClass| {
        let mut codes = codes.iter();
        codes.any(|code| policy.prohibition(code, **class, at).is_some())
    };
    let platform = MessageClass::ALL.iter().filter(prohibited);
    let mut row = columns(&required);
    row.extend([
        ("place".to_owned(), place.to_owned()),
        ("day".to_owned(), day.to_owned()),
        ("by".to_owned(), by),
        (
            "platform".to_owned(),
            listed(platform.map(|class| class.word().to_owned())),
        ),
    ]);
    row
}

fn columns(required: &Requirements) -> Row {
    let implied = required
        .implied_validity
        .iter()
        .map(|(basis, term)| format!("{basis}={}", days(*term)));
    let caps = required
        .frequency_caps
        .iter()
        .map(|cap| format!("{}/{}", cap.messages, days(cap.per())));
    let registries = required.registries.iter().map(|rule| {
        let unless = rule.unless_consent.map(|firm| format!(":{firm}"));
        format!(
            "{}:{}:{}{}",
            rule.registry,
            rule.kind.word(),
            days(rule.max_age),
            unless.unwrap_or_default()
        )
    });
    let asking = [
        Some(required.asking.max_total.to_string()),
        (!required.asking.cooldown.is_zero()).then(|| days(required.asking.cooldown)),
        required
            .asking
            .is_commercial
            .then(|| "commercial".to_owned()),
    ];
    let evidence = required
        .evidence
        .iter()
        .map(|field| field.word().to_owned());
    let mut row: Row = [
        ("consent", required.consent_type.word().to_owned()),
        ("confirmation", required.confirmation.word().to_owned()),
        ("within", days(required.confirmation_within)),
        (
            "valid",
            required.validity.map_or_else(|| "-".to_owned(), days),
        ),
        ("implied", listed(implied)),
        ("caps", listed(caps)),
        ("registries", listed(registries)),
        (
            "asking",
            asking.into_iter().flatten().collect::<Vec<_>>().join("/"),
        ),
        ("evidence", listed(evidence)),
    ]
    .into_iter()
    .map(|(column, cell)| (column.to_owned(), cell))
    .collect();
    row.extend(hours(required.sending_hours.as_ref().unwrap()));
    row
}

fn hours(hours: &SendingHours) -> Row {
    let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let span = |span: &Span| format!("{}-{}", time(span.from), time(span.to));
    let mut row: Row = WEEKDAYS
        .iter()
        .zip(&hours.weekdays)
        .map(|(day, spans)| {
            let cell = match &spans[..] {
                [] => "none".to_owned(),
                spans => listed(spans.iter().map(span)),
            };
            ((*day).to_owned(), cell)
        })
        .collect();
    let holidays = hours.holidays.iter().flat_map(|calendar| {
        assert!(calendar.spans.is_empty(), "nothing is sent on a holiday");
        let fixed = calendar
            .fixed
            .iter()
            .map(|(month, day)| format!("{month:02}-{day:02}"));
        let moves = calendar.sunday_moves_to_monday.then(|| "moves".to_owned());
        let easter = calendar.easter.iter().map(|days| format!("easter{days:+}"));
        let dates = calendar.dates.iter().map(ToString::to_string);
        fixed
            .chain(moves)
            .chain(easter)
            .chain(dates)
            .collect::<Vec<_>>()
    });
    row.insert("holidays".to_owned(), listed(holidays));
    row
}

/// Whole days: the shipped policy has no other lengths.
fn days(length: Duration) -> String {
    let seconds = length.as_secs();
    assert_eq!(seconds % 86_400, 0, "{length:?}");
    format!("{}d", seconds / 86_400)
}

fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(" ")
    }
}

#[test]
fn what_holds_where_and_when_is_what_the_table_says() {
    let policy = embedded();
    let mut differences = Vec::new();
    for expected in golden() {
        let (place, day) = (&expected["place"], &expected["day"]);
        let said = said(&policy, place, day);
        assert!(said.keys().eq(expected.keys()), "{:?}", said.keys());
        for (column, cell) in &expected {
            if said[column] != *cell {
                differences.push(format!(
                    "{place} {day}: {column} is {}, the table has {cell}",
                    said[column]
                ));
            }
        }
    }
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

#[test]
fn every_entry_and_every_group_has_a_line_in_the_table() {
    let policy = embedded();
    let mut seen = BTreeSet::new();
    for row in golden() {
        if let [code] = &codes(&row["place"])[..] {
            let (by, entry) = policy.entry(Some(code), midnight(&row["day"])).unwrap();
            seen.insert((*by, entry.effective_from));
        }
    }
    let all: BTreeSet<_> = policy
        .jurisdictions()
        .iter()
        .flat_map(|(code, entries)| {
            entries
                .iter()
                .map(move |entry| (*code, entry.effective_from))
        })
        .collect();
    assert_eq!(seen, all);
}

#[test]
fn the_order_in_which_candidates_are_named_changes_nothing() {
    let policy = embedded();
    for row in golden() {
        let mut places: Vec<&str> = row["place"].split('+').collect();
        places.reverse();
        let mut said = said(&policy, &places.join("+"), &row["day"]);
        said.insert("place".to_owned(), row["place"].clone());
        assert_eq!(said, row);
    }
}
