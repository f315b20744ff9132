//! Resources of the catalogue from the wire.
//!
//! A resource is judged by `catalog::validate`, as one of a file is. So that a caller learns of
//! everything at once, a field that does not read is noted and a sound value stands in for it while
//! the others are judged; [`Fields::finish`] sees to it that such a value goes no further.
//! Output-only fields are not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::{Fields, enums, proto};
use crate::catalog::validate::{self, ACCEPTED_CONSENT_TYPES, Fault, notice_sha256};
use crate::domain::catalog::{Business, BusinessCatalog, Notice, OptOutScope, Purpose, Sender};
use crate::domain::id::{
    BusinessId, InvalidName, JurisdictionCode, Language, NoticeId, NoticeRef, PurposeKey, SenderId,
};
use crate::domain::policy::FrequencyCap;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass};

pub(super) fn required(fields: &mut Fields, resource: &str, given: bool) {
    if !given {
        fields.refuse(resource, "is required");
    }
}

impl Fields {
    /// Notes what is wrong with a resource, unless its field is noted already: then a value that
    /// nobody gave was judged.
    fn judge(&mut self, resource: &str, faults: Vec<Fault>) {
        let noted: BTreeSet<String> = self.0.iter().map(|noted| noted.field.clone()).collect();
        for Fault { field, message } in faults {
            let field = format!("{resource}.{field}");
            if !noted.contains(&field) {
                self.refuse(field, message);
            }
        }
    }

    /// A text whose length is judged with the resource.
    fn judged_text(&mut self, field: &str, text: String) -> String {
        self.text(field, text, usize::MAX).unwrap_or_default()
    }
}

pub(super) fn business(fields: &mut Fields, wire: proto::Business) -> Business {
    let id = fields.name("business.business_id", &wire.business_id, BusinessId::parse);
    let display_name = fields.judged_text("business.display_name", wire.display_name);
    let default_jurisdiction = fields.optional_name(
        "business.default_jurisdiction",
        &wire.default_jurisdiction,
        JurisdictionCode::parse,
    );
    let scope = fields.optional_enum(
        "business.opt_out_scope",
        wire.opt_out_scope,
        read_opt_out_scope,
    );
    let business = Business {
        business_id: id.unwrap_or_else(|| stand_in(BusinessId::parse)),
        display_name,
        default_jurisdiction: default_jurisdiction.flatten(),
        whatsapp_must_be_named: wire.whatsapp_must_be_named.unwrap_or(true),
        opt_out_scope: scope.flatten().unwrap_or_default(),
        template_classes: template_classes(fields, wire.template_classes),
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    fields.judge("business", validate::business(&business));
    business
}

fn template_classes(
    fields: &mut Fields,
    wire: HashMap<String, i32>,
) -> BTreeMap<String, MessageClass> {
    const FIELD: &str = "business.template_classes";
    const SHOWN: usize = 512;
    let mut classes = BTreeMap::new();
    for (name, number) in in_order(wire) {
        // A name that is too long is refused for that, and not repeated.
        let field = match name.chars().nth(SHOWN) {
            None => format!("{FIELD}[{name}]"),
            Some(_) => FIELD.to_owned(),
        };
        let class = fields.required_enum(&field, number, enums::read_class);
        let name = fields.judged_text(FIELD, name);
        classes.insert(name, class.unwrap_or(MessageClass::Marketing));
    }
    classes
}

pub(super) fn sender(fields: &mut Fields, wire: proto::Sender) -> Sender {
    let id = fields.name("sender.sender_id", &wire.sender_id, SenderId::parse);
    let display_name = fields.judged_text("sender.display_name", wire.display_name);
    let held_reason = fields.judged_text("sender.held_reason", wire.held_reason);
    let aliases = names(fields, "sender.aliases", &wire.aliases, SenderId::parse);
    let sender = Sender {
        sender_id: id.unwrap_or_else(|| stand_in(SenderId::parse)),
        display_name,
        phone_number: wire.phone_number,
        held: wire.held,
        held_reason,
        aliases: aliases.unwrap_or_default(),
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    fields.judge("sender", validate::sender(&sender));
    sender
}

pub(super) fn purpose(fields: &mut Fields, wire: proto::Purpose) -> Purpose {
    let key = fields.name("purpose.key", &wire.key, PurposeKey::parse);
    let title = fields.judged_text("purpose.title", wire.title);
    let localized_titles = localized_titles(fields, wire.localized_titles);
    let dpv_purpose = fields.judged_text("purpose.dpv_purpose", wire.dpv_purpose);
    let class = fields.required_enum(
        "purpose.message_class",
        wire.message_class,
        enums::read_class,
    );
    let accepted_consent_types = consent_types(fields, &wire.accepted_consent_types);
    let validity_seconds = wire.validity.map(|validity| {
        let seconds = u64::try_from(validity.seconds).unwrap_or(0);
        if seconds == 0 || validity.nanos != 0 {
            let message = "must be more than nothing, and whole seconds";
            fields.refuse("purpose.validity", message);
        }
        seconds
    });
    let frequency_cap = wire.frequency_cap.map(|cap| frequency_cap(fields, cap));
    let purpose = Purpose {
        frequency_cap,
        key: key.unwrap_or_else(|| stand_in(PurposeKey::parse)),
        title,
        localized_titles,
        dpv_purpose,
        // The only class for which every other field may have any value.
        message_class: class.unwrap_or(MessageClass::Authentication),
        accepted_consent_types,
        validity_seconds,
        confirmation_required: wire.confirmation_required.unwrap_or(false),
        consent_required: wire.consent_required.unwrap_or(true),
        requested_by_recipient: wire.requested_by_recipient,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    fields.judge("purpose", validate::purpose(&purpose));
    purpose
}

/// What cannot be a number of messages or a time reads as none, and is refused as that.
fn frequency_cap(fields: &mut Fields, wire: proto::FrequencyCap) -> FrequencyCap {
    let per = wire.per.unwrap_or_default();
    let per_seconds = match per.nanos {
        0 => u64::try_from(per.seconds).unwrap_or(0),
        _ => {
            fields.refuse("purpose.frequency_cap.per", "must be of whole seconds");
            1
        }
    };
    FrequencyCap {
        messages: u32::try_from(wire.messages).unwrap_or(0),
        per_seconds,
    }
}

fn localized_titles(
    fields: &mut Fields,
    wire: HashMap<String, String>,
) -> BTreeMap<Language, String> {
    const FIELD: &str = "purpose.localized_titles";
    let mut titles = BTreeMap::new();
    for (tag, title) in in_order(wire) {
        match Language::parse(&tag) {
            Ok(language) => {
                let title = fields.judged_text(&format!("{FIELD}[{tag}]"), title);
                titles.insert(language, title);
            }
            Err(error) => fields.refuse(FIELD, format!("has a language tag that {error}")),
        }
    }
    titles
}

/// What a purpose accepts; where it does not say, what is accepted then.
fn consent_types(fields: &mut Fields, numbers: &[i32]) -> Vec<ConsentType> {
    const FIELD: &str = "purpose.accepted_consent_types";
    let most = ConsentType::ALL.len();
    if numbers.len() > most {
        let message = format!("must have at most {most} entries, has {}", numbers.len());
        fields.refuse(FIELD, message);
        return ACCEPTED_CONSENT_TYPES.to_vec();
    }
    let mut types = Vec::with_capacity(numbers.len());
    for (index, number) in numbers.iter().enumerate() {
        let field = format!("{FIELD}[{index}]");
        types.extend(fields.required_enum(&field, *number, enums::read_type));
    }
    if types.is_empty() || types.len() < numbers.len() {
        ACCEPTED_CONSENT_TYPES.to_vec()
    } else {
        types
    }
}

/// A notice, with its purposes as given. What it must say of the business and its purposes is
/// judged where they are known.
pub(super) fn notice(fields: &mut Fields, wire: proto::Notice) -> Notice {
    let notice_id = fields.name("notice.notice_id", &wire.notice_id, NoticeId::parse);
    let language = fields.name("notice.language", &wire.language, Language::parse);
    let text = fields.judged_text("notice.text", wire.text);
    let purposes = names(fields, "notice.purposes", &wire.purposes, PurposeKey::parse);
    let url = fields.judged_text("notice.privacy_notice_url", wire.privacy_notice_url);
    let opt_out = fields.judged_text("notice.opt_out_instructions", wire.opt_out_instructions);
    let known_language = language.is_some();
    let notice = Notice {
        name: NoticeRef {
            notice_id: notice_id.unwrap_or_else(|| stand_in(NoticeId::parse)),
            version: wire.version,
            language: language.unwrap_or_else(|| stand_in(Language::parse)),
        },
        sha256: notice_sha256(&text),
        text,
        purposes: purposes.unwrap_or_else(|| vec![stand_in(PurposeKey::parse)]),
        privacy_notice_url: url,
        opt_out_instructions: opt_out,
        processing_version: match wire.processing_version {
            0 => 1,
            given => given,
        },
        signup_ids: wire.signup_ids,
        create_time: Timestamp::EPOCH,
    };
    let mut faults = validate::notice(&notice, &undemanding(&notice));
    // Which words end it depends on the language.
    faults.retain(|fault| known_language || notice.text.is_empty() || fault.field != "text");
    fields.judge("notice", faults);
    notice
}

/// A catalogue that has the notice's purposes and asks for no name or title in its text.
fn undemanding(notice: &Notice) -> BusinessCatalog {
    let mut catalog = BusinessCatalog::new(Business {
        business_id: stand_in(BusinessId::parse),
        display_name: String::new(),
        default_jurisdiction: None,
        whatsapp_must_be_named: false,
        opt_out_scope: OptOutScope::default(),
        template_classes: BTreeMap::new(),
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    });
    for key in &notice.purposes {
        let purpose = Purpose {
            frequency_cap: None,
            key: key.clone(),
            title: String::new(),
            localized_titles: BTreeMap::new(),
            dpv_purpose: String::new(),
            message_class: MessageClass::Marketing,
            accepted_consent_types: ACCEPTED_CONSENT_TYPES.to_vec(),
            validity_seconds: None,
            confirmation_required: false,
            consent_required: true,
            requested_by_recipient: false,
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        };
        catalog.purposes.insert(key.clone(), purpose);
    }
    catalog
}

fn read_opt_out_scope(wire: proto::OptOutScope) -> Option<OptOutScope> {
    match wire {
        proto::OptOutScope::Unspecified => None,
        proto::OptOutScope::SenderMarketing => Some(OptOutScope::SenderMarketing),
        proto::OptOutScope::SenderEverything => Some(OptOutScope::SenderEverything),
        proto::OptOutScope::BusinessMarketing => Some(OptOutScope::BusinessMarketing),
        proto::OptOutScope::BusinessEverything => Some(OptOutScope::BusinessEverything),
    }
}

/// Names, each with its index in the field's name; `None` if one is at fault.
fn names<T>(
    fields: &mut Fields,
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, InvalidName>,
) -> Option<Vec<T>> {
    let parsed: Vec<T> = texts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| fields.name(&format!("{field}[{index}]"), text, &parse))
        .collect();
    (parsed.len() == texts.len()).then_some(parsed)
}

/// A map in the order of its keys, so that the same request always gets the same answer.
fn in_order<V>(map: HashMap<String, V>) -> BTreeMap<String, V> {
    map.into_iter().collect()
}

/// What is judged in place of a name that did not read.
fn stand_in<T, E: std::fmt::Debug>(parse: impl FnOnce(&str) -> Result<T, E>) -> T {
    parse("x").expect("a letter is a name")
}
