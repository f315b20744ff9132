//! The columns of one `[[jurisdiction]]` table: what is asked of a consent, and where that is said.
//!
//! When and how often may be written is read in `hours` and `limits`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::consent_types;
use super::document::{Place, Table, find};
use super::periods::{at_least, at_most};
use super::{hours, limits};
use crate::domain::id::RegistryName;
use crate::domain::policy::{Basis, Confidence, Confirmation, RegistryKind, Requirements, Source};
use crate::domain::vocabulary::{ConsentType, EvidenceField, EvidenceFields, ImpliedBasis};

/// What a table asks for.
pub(super) struct Columns {
    pub requirements: Requirements,
    pub source: Source,
    pub withdrawal_deadline: Option<Duration>,
    pub proof_retention: Option<Duration>,
}

/// A registry that a table names, and where.
pub(super) type Named = (RegistryName, RegistryKind, Place);

/// Reads the columns; `None` where one is missing or does not read, which is reported. The registries
/// are for a look at the file as a whole.
pub(super) fn read(table: &mut Table<'_, '_>) -> (Option<Columns>, Vec<Named>) {
    let (requirements, registries) = requirements(table);
    let bases = [Basis::Law, Basis::House].map(|basis| (basis.word(), basis));
    let basis = table.required("basis", |t, key| t.word(key, &bases));
    let source = source(table, basis);
    let withdrawal_deadline = table.parsed("withdrawal_deadline", at_most);
    let proof_retention = table.parsed("proof_retention", at_least);
    let columns = requirements
        .zip(source)
        .map(|(requirements, source)| Columns {
            requirements,
            source,
            withdrawal_deadline,
            proof_retention,
        });
    (columns, registries)
}

fn requirements(table: &mut Table<'_, '_>) -> (Option<Requirements>, Vec<Named>) {
    let consent_type = table.required("consent_type", |t, key| t.word(key, &consent_types()));
    let confirmations = Confirmation::ALL.map(|one| (one.word(), one));
    let confirmation = table.required("confirmation", |t, key| t.word(key, &confirmations));
    let evidence = table.required("evidence_required", evidence_fields);
    let validity = table.parsed("validity", at_most);
    let implied_validity = implied_validity(table, consent_type);
    let confirmation_within =
        table.required("confirmation_within", |t, key| t.parsed(key, at_most));
    let sending_hours = hours::sending_hours(table);
    let frequency_caps = limits::frequency_caps(table);
    let (registries, places): (Vec<_>, Vec<_>) =
        limits::registries(table, consent_type).into_iter().unzip();
    let asking = limits::asking(table);
    let named = registries
        .iter()
        .zip(places)
        .map(|(rule, place)| (rule.registry.clone(), rule.kind, place))
        .collect();
    let requirements = || {
        Some(Requirements {
            consent_type: consent_type?,
            confirmation: confirmation?,
            evidence: evidence?,
            validity,
            implied_validity,
            confirmation_within: confirmation_within?,
            sending_hours,
            frequency_caps,
            registries,
            asking,
        })
    };
    (requirements(), named)
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

/// The columns that say where a rule comes from. Its basis is the caller's to read.
pub(super) fn source(table: &mut Table<'_, '_>, basis: Option<Basis>) -> Option<Source> {
    let citation = table.required("source", |t, key| t.parsed(key, not_blank));
    let confidences = Confidence::ALL.map(|one| (one.word(), one));
    let confidence = table.required("confidence", |t, key| t.word(key, &confidences));
    let reviewed_on = table.required("reviewed_on", Table::date);
    Some(Source {
        citation: citation?,
        basis: basis?,
        confidence: confidence?,
        reviewed_on: reviewed_on?,
    })
}

fn not_blank(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        Err("must not be empty")
    } else {
        Ok(text.to_owned())
    }
}
