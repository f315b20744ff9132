//! The catalogue file: from TOML to businesses with their senders, purposes and notices, or to
//! everything that is wrong with it.
//!
//! A file describes each of its businesses whole: a notice may name only purposes that stand in the same
//! file. Fields are named as in `catalog_service.proto`, enum values without their prefix, durations
//! as `365d`. Nothing is applied here, and times of creation are left at the epoch for whoever does.

use std::collections::BTreeMap;
use std::convert::Infallible;

use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

use super::validate::{self, ACCEPTED_CONSENT_TYPES, CLASSES, Fault, notice_sha256};
use crate::domain::catalog::{Business, BusinessCatalog, Notice, OptOutScope, Purpose, Sender};
use crate::domain::id::{
    BusinessId, JurisdictionCode, Language, NoticeId, NoticeRef, PurposeKey, SenderId,
};
use crate::domain::policy::FrequencyCap;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass};
use crate::policy::document::{self, Document, Places, Table, find};

/// Everything that is wrong with a catalogue file.
pub use crate::policy::document::Mistakes as Errors;

/// What a catalogue file says, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogFile {
    pub businesses: Vec<BusinessDraft>,
}

/// One business and all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusinessDraft {
    pub business: Drafted<Business>,
    pub senders: Vec<Drafted<SenderDraft>>,
    pub purposes: Vec<Drafted<Purpose>>,
    pub notices: Vec<Drafted<Notice>>,
}

/// A resource as the file has it, and the line on which its table begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drafted<T> {
    pub line: usize,
    pub value: T,
}

/// A sender as the file has it. What the file does not say of holding it and of its aliases stays as it
/// is stored: both are changed on a running server too, and applying a file again must not release a
/// sender that somebody stopped, nor orphan a name that a provider uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderDraft {
    pub sender: Sender,
    pub says_held: bool,
    pub says_aliases: bool,
}

impl SenderDraft {
    /// The sender that this asks for where `stored` is.
    pub fn over(&self, stored: &Sender) -> Sender {
        let mut sender = self.sender.clone();
        if !self.says_held {
            sender.held = stored.held;
            sender.held_reason.clone_from(&stored.held_reason);
        }
        if !self.says_aliases {
            sender.aliases.clone_from(&stored.aliases);
        }
        sender
    }
}

impl BusinessDraft {
    /// The catalogue that this describes.
    pub fn catalog(&self) -> BusinessCatalog {
        let mut catalog = BusinessCatalog::new(self.business.value.clone());
        for Drafted { value, .. } in &self.senders {
            let sender = value.sender.clone();
            catalog.senders.insert(sender.sender_id.clone(), sender);
        }
        for Drafted { value, .. } in &self.purposes {
            catalog.purposes.insert(value.key.clone(), value.clone());
        }
        for Drafted { value, .. } in &self.notices {
            catalog.notices.insert(value.name.clone(), value.clone());
        }
        catalog
    }
}

/// Reads a catalogue file.
pub fn parse(text: &str) -> Result<CatalogFile, Errors> {
    document::read(text, |document, mut root| {
        let mut read = Vec::new();
        for table in root.tables("business") {
            read.extend(business(document, table));
        }
        root.finish();
        refuse_duplicates(document, &read, "business_id", |draft| {
            vec![draft.business.value.business_id.to_string()]
        });
        CatalogFile {
            businesses: read.into_iter().map(|(draft, _)| draft).collect(),
        }
    })
}

/// A value and where its fields stand, until the whole document has been judged.
type Placed<T> = (T, Places);

fn business(document: &Document<'_>, mut table: Table<'_, '_>) -> Option<Placed<BusinessDraft>> {
    let (senders, _) = read_each(&mut table, "sender", sender);
    let (purposes, all_purposes) = read_each(&mut table, "purpose", purpose);
    let (notices, _) = read_each(&mut table, "notice", notice);
    let business = business_fields(&mut table);
    let places = table.finish();

    for (draft, places) in &senders {
        report(document, places, validate::sender(&draft.sender));
    }
    for (purpose, places) in &purposes {
        report(document, places, validate::purpose(purpose));
    }
    refuse_duplicates(document, &senders, "sender_id", |draft| {
        std::iter::once(&draft.sender.sender_id)
            .chain(&draft.sender.aliases)
            .map(ToString::to_string)
            .collect()
    });
    refuse_duplicates(document, &purposes, "key", |purpose| {
        vec![purpose.key.to_string()]
    });
    refuse_duplicates(document, &notices, "notice_id", |notice| {
        vec![notice.name.to_string()]
    });
    let business = business?;
    report(document, &places, validate::business(&business));

    let draft = BusinessDraft {
        business: Drafted {
            line: document.line(places.table()),
            value: business,
        },
        senders: drafted(document, &senders),
        purposes: drafted(document, &purposes),
        notices: drafted(document, &notices),
    };
    // A notice is judged by its purposes: where one cannot be read, it would be blamed for that.
    if all_purposes {
        let catalog = draft.catalog();
        for (notice, places) in &notices {
            report(document, places, validate::notice(notice, &catalog));
        }
    }
    Some((draft, places))
}

/// Reads the tables `[[business.key]]`. Those that cannot be read are left out, and it says so.
fn read_each<T>(
    table: &mut Table<'_, '_>,
    key: &str,
    read: impl Fn(&mut Table<'_, '_>) -> Option<T>,
) -> (Vec<Placed<T>>, bool) {
    let mut values = Vec::new();
    let mut all = true;
    for mut inner in table.tables(key) {
        let value = read(&mut inner);
        let places = inner.finish();
        all &= value.is_some();
        values.extend(value.map(|value| (value, places)));
    }
    (values, all)
}

fn drafted<T: Clone>(document: &Document<'_>, values: &[Placed<T>]) -> Vec<Drafted<T>> {
    let draft = |(value, places): &Placed<T>| Drafted {
        line: document.line(places.table()),
        value: value.clone(),
    };
    values.iter().map(draft).collect()
}

fn report(document: &Document<'_>, places: &Places, faults: Vec<Fault>) {
    for Fault { field, message } in faults {
        document.mistake(&places.of(&field), message);
    }
}

/// Refuses a name that an earlier table has too; `names` gives all that a value answers to.
fn refuse_duplicates<T>(
    document: &Document<'_>,
    values: &[Placed<T>],
    key: &str,
    names: impl Fn(&T) -> Vec<String>,
) {
    let mut seen: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (index, (value, places)) in values.iter().enumerate() {
        for (position, name) in names(value).into_iter().enumerate() {
            let line = document.line(places.table());
            match seen.get(&name) {
                // A name that one table has twice is a fault of that table alone.
                Some((other, first)) if *other != index => {
                    let field = if position == 0 { key } else { "aliases" };
                    let message = format!("`{name}` is taken already, on line {first}");
                    document.mistake(&places.of(field), message);
                }
                Some(_) => {}
                None => {
                    seen.insert(name, (index, line));
                }
            }
        }
    }
}

fn business_fields(table: &mut Table<'_, '_>) -> Option<Business> {
    let business_id = table.required("business_id", |t, key| t.parsed(key, BusinessId::parse));
    let display_name = table.required("display_name", Table::text);
    let default_jurisdiction = table.parsed("default_jurisdiction", JurisdictionCode::parse);
    let whatsapp_must_be_named = table.flag("whatsapp_must_be_named").unwrap_or(true);
    let opt_out_scope = table
        .word("opt_out_scope", OPT_OUT_SCOPES)
        .unwrap_or_default();
    let classes = classes();
    let template_classes = table
        .names("template_classes", as_is, |class| find(&classes, class))
        .unwrap_or_default();
    Some(Business {
        business_id: business_id?,
        display_name: display_name?,
        default_jurisdiction,
        whatsapp_must_be_named,
        opt_out_scope,
        template_classes: template_classes.into_iter().collect(),
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    })
}

fn sender(table: &mut Table<'_, '_>) -> Option<SenderDraft> {
    let sender_id = table.required("sender_id", |t, key| t.parsed(key, SenderId::parse));
    let display_name = table.text("display_name").unwrap_or_default();
    let phone_number = table.text("phone_number").unwrap_or_default();
    let held = table.flag("held");
    let held_reason = table.text("held_reason");
    let aliases = table.list("aliases", SenderId::parse);
    Some(SenderDraft {
        says_held: held.is_some() || held_reason.is_some(),
        says_aliases: aliases.is_some(),
        sender: Sender {
            sender_id: sender_id?,
            display_name,
            phone_number,
            held: held.unwrap_or(false),
            held_reason: held_reason.unwrap_or_default(),
            aliases: aliases.unwrap_or_default(),
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        },
    })
}

fn purpose(table: &mut Table<'_, '_>) -> Option<Purpose> {
    let key = table.required("key", |t, key| t.parsed(key, PurposeKey::parse));
    let title = table.required("title", Table::text);
    let localized_titles = table
        .names("localized_titles", Language::parse, as_is)
        .unwrap_or_default();
    let dpv_purpose = table.text("dpv_purpose").unwrap_or_default();
    let message_class = table.required("message_class", |t, key| t.word(key, &classes()));
    let types: Vec<_> = ConsentType::ALL
        .iter()
        .map(|kind| (kind.word(), *kind))
        .collect();
    let accepted = table.list("accepted_consent_types", |text| find(&types, text));
    let validity_seconds = table.parsed("validity", whole_seconds);
    let confirmation_required = table.flag("confirmation_required").unwrap_or(false);
    let consent_required = table.flag("consent_required").unwrap_or(true);
    let requested_by_recipient = table.flag("requested_by_recipient").unwrap_or(false);
    let frequency_cap = frequency_cap(table);
    Some(Purpose {
        key: key?,
        title: title?,
        localized_titles: localized_titles.into_iter().collect(),
        dpv_purpose,
        message_class: message_class?,
        accepted_consent_types: accepted
            .filter(|types| !types.is_empty())
            .unwrap_or_else(|| ACCEPTED_CONSENT_TYPES.to_vec()),
        validity_seconds,
        confirmation_required,
        consent_required,
        requested_by_recipient,
        frequency_cap,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    })
}

/// A cap that does not read is none: its mistake is told, and the file is not taken.
fn frequency_cap(table: &mut Table<'_, '_>) -> Option<FrequencyCap> {
    let mut cap = table.table("frequency_cap")?;
    let messages = cap.required("messages", Table::integer).map(|messages| {
        u32::try_from(messages).unwrap_or_else(|_| {
            cap.mistake("messages", "must be at least 1");
            1
        })
    });
    let per_seconds = cap.required("per", |t, key| t.parsed(key, whole_seconds));
    cap.finish();
    Some(FrequencyCap {
        messages: messages?,
        per_seconds: per_seconds?,
    })
}

fn notice(table: &mut Table<'_, '_>) -> Option<Notice> {
    let notice_id = table.required("notice_id", |t, key| t.parsed(key, NoticeId::parse));
    let version = table.required("version", Table::integer);
    let language = table.required("language", |t, key| t.parsed(key, Language::parse));
    let text = table.required("text", Table::text);
    let purposes = table.required("purposes", |t, key| t.list(key, PurposeKey::parse));
    let privacy_notice_url = table.text("privacy_notice_url").unwrap_or_default();
    let opt_out_instructions = table.text("opt_out_instructions").unwrap_or_default();
    let processing_version = table.integer("processing_version").unwrap_or(1);
    let signup_ids = table.list("signup_ids", as_is).unwrap_or_default();
    let text = text?;
    let mut purposes = purposes?;
    purposes.sort();
    Some(Notice {
        name: NoticeRef {
            notice_id: notice_id?,
            version: version?,
            language: language?,
        },
        sha256: notice_sha256(&text),
        text,
        purposes,
        privacy_notice_url,
        opt_out_instructions,
        processing_version,
        signup_ids,
        create_time: Timestamp::EPOCH,
    })
}

const OPT_OUT_SCOPES: &[(&str, OptOutScope)] = &[
    ("SENDER_MARKETING", OptOutScope::SenderMarketing),
    ("SENDER_EVERYTHING", OptOutScope::SenderEverything),
    ("BUSINESS_MARKETING", OptOutScope::BusinessMarketing),
    ("BUSINESS_EVERYTHING", OptOutScope::BusinessEverything),
];

fn classes() -> Vec<(&'static str, MessageClass)> {
    CLASSES.iter().map(|class| (class.word(), *class)).collect()
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "stands where other fields are parsed"
)]
fn as_is(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

/// A length of time in days and smaller units, which are always as long as each other.
fn whole_seconds(text: &str) -> Result<u64, &'static str> {
    const SHAPE: &str =
        "expected a duration of whole seconds and more than nothing, as in `365d` or `12h`";
    let span = SpanParser::new().parse_span(text).map_err(|_| SHAPE)?;
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| SHAPE)?;
    let seconds = u64::try_from(length.as_secs()).map_err(|_| SHAPE)?;
    if seconds == 0 || length.subsec_nanos() != 0 {
        Err(SHAPE)
    } else {
        Ok(seconds)
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "example_tests.rs"]
mod example_tests;
