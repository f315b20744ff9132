//! The policy file: from text to [`Policy`], or to everything that is wrong with it.
//!
//! What the columns mean is said in `crate::domain::policy` and, with the reason for every value, in
//! `policy/default.toml`, which is part of the binary. A column that no rule honours is refused, so
//! that nobody believes it holds. Nothing is decided here.

pub mod document;
pub mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::civil::Date;
use jiff::fmt::temporal::SpanParser;
use jiff::tz::TimeZone;

use self::document::{Document, Place, Table, find};
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{
    Asking, Basis, Confidence, Confirmation, DEFAULT, Entry, Policy, Requirements, Source,
};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, EvidenceField, EvidenceFields, ImpliedBasis};

/// Everything that is wrong with a policy file.
pub use self::document::Mistakes as Error;

/// The text of the policy file that the binary carries.
pub const EMBEDDED: &str = include_str!("../../policy/default.toml");

/// Columns that the research has and no rule reads yet.
const NOT_HONOURED: &[&str] = &[
    "refresh",
    "quiet_hours",
    "holidays",
    "frequency_cap",
    "registries",
    "reask",
    "min_log_retention",
    "suppression_review",
];

/// Reads a policy file.
pub fn load(text: &str) -> Result<Policy, Error> {
    let jurisdictions = document::read(text, |document, mut root| {
        let tables = root.tables("jurisdiction");
        root.finish();
        jurisdictions(document, tables)
    })?;
    let sha256 = HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    Ok(Policy {
        jurisdictions,
        platform: Vec::new(),
        sha256,
    })
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
    columns: Option<(Requirements, Source)>,
    place: Place,
}

fn jurisdictions(
    document: &Document<'_>,
    tables: Vec<Table<'_, '_>>,
) -> BTreeMap<JurisdictionCode, Vec<Entry>> {
    let given = tables.len();
    let mut dated: Vec<Dated> = tables.into_iter().filter_map(read_table).collect();
    dated.sort_by(|a, b| (&a.code, a.from).cmp(&(&b.code, b.from)));
    refuse_overlaps(document, &dated);
    // A table whose code or dates cannot be read may be the one that is missed.
    if dated.len() == given {
        check_default(document, &dated);
    }
    let mut entries: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for Dated {
        code,
        from,
        to,
        columns,
        ..
    } in dated
    {
        if let Some((requirements, source)) = columns {
            let entry = Entry {
                effective_from: from,
                effective_to: to,
                requirements,
                source,
            };
            entries.entry(code).or_default().push(entry);
        }
    }
    entries
}

fn read_table(mut table: Table<'_, '_>) -> Option<Dated> {
    let code = table.required("code", |t, key| t.parsed(key, JurisdictionCode::parse));
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
    let requirements = requirements(&mut table);
    let source = source(&mut table);
    for key in NOT_HONOURED {
        table.refuse(
            key,
            "no rule honours this column yet, so it must not be written as if it held",
        );
    }
    let columns = requirements.zip(source);
    let place = table.finish().table().clone();
    Some(Dated {
        code: code?,
        from: from?,
        to,
        columns,
        place,
    })
}

fn requirements(table: &mut Table<'_, '_>) -> Option<Requirements> {
    let consent_type = table.required("consent_type", |t, key| t.word(key, &consent_types()));
    let confirmation = table.required("confirmation", |t, key| {
        t.word(
            key,
            &[
                ("required", Confirmation::Required),
                ("optional", Confirmation::Optional),
            ],
        )
    });
    let evidence = table.required("evidence_required", evidence_fields);
    let validity = table.parsed("validity", at_most);
    let implied_validity = implied_validity(table, consent_type);
    let confirmation_within =
        table.required("confirmation_within", |t, key| t.parsed(key, at_most));
    Some(Requirements {
        consent_type: consent_type?,
        confirmation: confirmation?,
        evidence: evidence?,
        validity,
        implied_validity,
        confirmation_within: confirmation_within?,
        sending_hours: None,
        frequency_caps: Vec::new(),
        registries: Vec::new(),
        asking: Asking {
            max_total: 0,
            cooldown: Duration::ZERO,
            is_commercial: false,
        },
    })
}

fn evidence_fields(table: &mut Table<'_, '_>, key: &str) -> Option<EvidenceFields> {
    let words: Vec<_> = EvidenceField::ALL
        .iter()
        .map(|field| (field.word(), *field))
        .collect();
    let mut fields = EvidenceFields::default();
    for field in table.list(key, |text| find(&words, text))? {
        if fields.has(field) {
            table.mistake(key, format!("names `{field}` twice"));
        }
        fields = fields.with(field);
    }
    Some(fields)
}

fn implied_validity(
    table: &mut Table<'_, '_>,
    consent_type: Option<ConsentType>,
) -> BTreeMap<ImpliedBasis, Duration> {
    const KEY: &str = "implied_validity";
    let bases: Vec<_> = ImpliedBasis::ALL
        .iter()
        .map(|basis| (basis.word(), *basis))
        .collect();
    let terms = table
        .names(KEY, |name| find(&bases, name), at_most)
        .unwrap_or_default();
    if let Some(required) = consent_type.filter(|required| *required > ConsentType::Implied)
        && !terms.is_empty()
    {
        table.mistake(
            KEY,
            format!("implies nothing where `consent_type` asks for {required}"),
        );
    }
    terms.into_iter().collect()
}

fn source(table: &mut Table<'_, '_>) -> Option<Source> {
    let citation = table.required("source", |t, key| t.parsed(key, not_blank));
    let basis = table.required("basis", |t, key| {
        t.word(key, &[("law", Basis::Law), ("house", Basis::House)])
    });
    let confidence = table.required("confidence", |t, key| {
        let words = [
            ("high", Confidence::High),
            ("medium", Confidence::Medium),
            ("low", Confidence::Low),
        ];
        t.word(key, &words)
    });
    let reviewed_on = table.required("reviewed_on", Table::date);
    let withdrawal_deadline = table.parsed("withdrawal_deadline", at_most);
    let proof_retention = table.parsed("proof_retention", at_least);
    Some(Source {
        citation: citation?,
        basis: basis?,
        confidence: confidence?,
        reviewed_on: reviewed_on?.to_string(),
        withdrawal_deadline,
        proof_retention,
    })
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
            let line = document.line(&earlier.place);
            let message = format!(
                "`{}` has an entry for these dates already, on line {line}",
                later.code
            );
            document.mistake(&later.place, message);
        }
    }
}

/// The default must hold from its first day for ever: what no entry answers, nothing allows.
fn check_default(document: &Document<'_>, dated: &[Dated]) {
    let entries: Vec<&Dated> = dated
        .iter()
        .filter(|one| one.code.as_str() == DEFAULT)
        .collect();
    if entries.is_empty() {
        let message =
            format!("no entry for `{DEFAULT}`, the default that holds where no other does");
        document.mistake(&document.start(), message);
    }
    for (index, entry) in entries.iter().enumerate() {
        let Some(end) = entry.to else { continue };
        match entries.get(index + 1) {
            None => document.mistake(
                &entry.place,
                format!("the last entry of `{DEFAULT}` must have no end"),
            ),
            Some(next) if next.from > end => {
                let message =
                    format!("leaves a gap after the entry of `{DEFAULT}` that ends before it");
                document.mistake(&next.place, message);
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

fn not_blank(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("must not be empty")
    } else {
        Ok(text.to_owned())
    }
}

/// The length of a period that permits something. Months and years differ in length, so it is the
/// shortest run of that many months: a permission never outlasts the calendar.
fn at_most(period: &str) -> Result<Duration, &'static str> {
    lengths(period)?.into_iter().min().ok_or(NOT_POSITIVE)
}

/// The length of a period that obliges to something: the longest run of that many months.
fn at_least(period: &str) -> Result<Duration, &'static str> {
    lengths(period)?.into_iter().max().ok_or(NOT_POSITIVE)
}

const NOT_POSITIVE: &str = "must be longer than nothing";

/// How long a period is when it starts in each month of four years, one of them a leap year.
fn lengths(period: &str) -> Result<Vec<Duration>, &'static str> {
    const SHAPE: &str = "expected an ISO 8601 period, as in `P24M`, `P30D` or `PT72H`";
    let span = SpanParser::new().parse_span(period).map_err(|_| SHAPE)?;
    if !span.is_positive() {
        return Err(NOT_POSITIVE);
    }
    let mut lengths = Vec::new();
    for year in 2001..=2004 {
        for month in 1..=12 {
            let start = jiff::civil::date(year, month, 1).at(0, 0, 0, 0);
            let end = start
                .checked_add(span)
                .map_err(|_| "is longer than the calendar")?;
            lengths.extend(Duration::try_from(start.duration_until(end)));
        }
    }
    Ok(lengths)
}

#[cfg(test)]
mod tests;
