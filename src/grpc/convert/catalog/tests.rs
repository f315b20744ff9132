//! Every field of the catalogue there and back, and every way in which one can be wrong.

use super::*;
use crate::catalog::validate::{ACCEPTED_CONSENT_TYPES, Fault, notice_sha256};
use crate::domain::catalog::OptOutScope;
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::FrequencyCap;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass};
use prost_types::Duration as WireDuration;

fn faults<T: std::fmt::Debug>(read: Result<T, Error>) -> Vec<String> {
    match read.unwrap_err() {
        Error::Invalid { violations } => violations.into_iter().map(|v| v.field).collect(),
        other => panic!("{other}"),
    }
}

fn message<T: std::fmt::Debug>(read: Result<T, Error>) -> String {
    read.unwrap_err().to_string()
}

fn key(text: &str) -> PurposeKey {
    PurposeKey::parse(text).unwrap()
}

fn language(text: &str) -> Language {
    Language::parse(text).unwrap()
}

fn acme() -> BusinessId {
    BusinessId::parse("acme").unwrap()
}

fn wire_business() -> proto::Business {
    proto::Business {
        business_id: "acme".into(),
        display_name: "Acme GmbH".into(),
        ..proto::Business::default()
    }
}

fn wire_purpose() -> proto::Purpose {
    proto::Purpose {
        key: "offers".into(),
        title: "Offers".into(),
        message_class: proto::MessageClass::Marketing.into(),
        ..proto::Purpose::default()
    }
}

fn wire_notice() -> proto::Notice {
    proto::Notice {
        notice_id: "signup".into(),
        version: 1,
        language: "en".into(),
        text: "Acme GmbH sends you offers by WhatsApp. Reply STOP to end it.".into(),
        purposes: vec!["offers".into()],
        ..proto::Notice::default()
    }
}

#[test]
fn a_business_comes_back_as_it_went() {
    let business = Business {
        business_id: acme(),
        display_name: "Acme GmbH".into(),
        default_jurisdiction: Some(JurisdictionCode::parse("US-TX").unwrap()),
        whatsapp_must_be_named: false,
        opt_out_scope: OptOutScope::SenderMarketing,
        template_classes: [("spring".to_owned(), MessageClass::Marketing)].into(),
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    assert_eq!(
        read_business(Some(write_business(&business))).unwrap(),
        business
    );
    for scope in [
        OptOutScope::SenderMarketing,
        OptOutScope::SenderEverything,
        OptOutScope::BusinessMarketing,
        OptOutScope::BusinessEverything,
    ] {
        let business = Business {
            opt_out_scope: scope,
            ..business.clone()
        };
        assert_eq!(
            read_business(Some(write_business(&business))).unwrap(),
            business
        );
    }
}

#[test]
fn a_sender_comes_back_as_it_went() {
    let sender = Sender {
        sender_id: SenderId::parse("1001").unwrap(),
        display_name: "Shop".into(),
        phone_number: "+4930123456".into(),
        held: true,
        held_reason: "blocked".into(),
        aliases: vec![SenderId::parse("shop-de").unwrap()],
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    let wire = write_sender(&acme(), &sender);
    assert_eq!(wire.business_id, "acme");
    assert_eq!(read_sender("acme", Some(wire)).unwrap(), (acme(), sender));
}

#[test]
fn a_purpose_comes_back_as_it_went() {
    let purpose = Purpose {
        frequency_cap: Some(FrequencyCap {
            messages: 5,
            per_seconds: 7 * 86_400,
        }),
        key: key("codes"),
        title: "Codes".into(),
        localized_titles: [(language("de"), "Kennwörter".to_owned())].into(),
        dpv_purpose: "IdentityAuthentication".into(),
        message_class: MessageClass::Authentication,
        accepted_consent_types: ConsentType::ALL.to_vec(),
        validity_seconds: Some(86_400),
        confirmation_required: true,
        consent_required: false,
        requested_by_recipient: true,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    let wire = write_purpose(&acme(), &purpose);
    assert_eq!(wire.business_id, "acme");
    assert_eq!(read_purpose("acme", Some(wire)).unwrap(), (acme(), purpose));
}

#[test]
fn a_notice_comes_back_as_it_went_with_its_digest_in_bytes() {
    let text = "Acme GmbH sends you offers by WhatsApp. Tap the bell to end it.";
    let notice = Notice {
        name: NoticeRef {
            notice_id: NoticeId::parse("signup").unwrap(),
            version: 3,
            language: language("pt-BR"),
        },
        text: text.into(),
        purposes: vec![key("offers"), key("orders")],
        sha256: notice_sha256(text),
        privacy_notice_url: "https://acme.example/privacy".into(),
        opt_out_instructions: "Tap the bell to end it.".into(),
        processing_version: 2,
        signup_ids: vec!["form 7".into()],
        create_time: Timestamp::EPOCH,
    };
    let wire = write_notice(&acme(), &notice);
    assert_eq!(wire.sha256.len(), 32);
    let read = read_notice("acme", Some(wire)).unwrap();
    assert_eq!((read.business, read.notice), (acme(), notice));
}

#[test]
fn what_is_left_out_takes_its_strict_default() {
    let business = read_business(Some(wire_business())).unwrap();
    assert!(business.whatsapp_must_be_named);
    assert_eq!(business.opt_out_scope, OptOutScope::BusinessEverything);
    assert_eq!(business.default_jurisdiction, None);

    let (_, purpose) = read_purpose("acme", Some(wire_purpose())).unwrap();
    assert_eq!(purpose.accepted_consent_types, ACCEPTED_CONSENT_TYPES);
    assert!(purpose.consent_required && !purpose.confirmation_required);
    assert_eq!(purpose.validity_seconds, None);

    let read = read_notice("acme", Some(wire_notice())).unwrap();
    assert_eq!(read.notice.processing_version, 1);
}

#[test]
fn what_is_output_only_is_not_looked_at() {
    let mut wire = wire_notice();
    wire.business_id = "No Slug".into();
    wire.sha256 = vec![7];
    wire.create_time = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: -1,
    });
    let read = read_notice("acme", Some(wire.clone())).unwrap();
    assert_eq!(read.notice.sha256, notice_sha256(&wire.text));
    assert_eq!(read.notice.create_time, Timestamp::EPOCH);
}

#[test]
fn a_missing_resource_is_named_besides_what_else_is_missing() {
    assert_eq!(faults(read_business(None)), ["business"]);
    assert_eq!(faults(read_sender("", None)), ["business_id", "sender"]);
    assert_eq!(faults(read_purpose("", None)), ["business_id", "purpose"]);
    assert_eq!(faults(read_notice("", None)), ["business_id", "notice"]);
}

#[test]
fn every_required_field_of_an_empty_resource_is_named() {
    assert_eq!(
        faults(read_business(Some(proto::Business::default()))),
        ["business.business_id", "business.display_name"]
    );
    assert_eq!(
        faults(read_sender("acme", Some(proto::Sender::default()))),
        ["sender.sender_id"]
    );
    assert_eq!(
        faults(read_purpose("acme", Some(proto::Purpose::default()))),
        ["purpose.key", "purpose.message_class", "purpose.title"]
    );
    assert_eq!(
        faults(read_notice("acme", Some(proto::Notice::default()))),
        [
            "notice.notice_id",
            "notice.language",
            "notice.version",
            "notice.text",
            "notice.purposes"
        ]
    );
}

#[test]
fn every_fault_of_a_business_is_named_at_once() {
    let mut bad = wire_business();
    bad.business_id = "Acme".into();
    bad.display_name = "x".repeat(257);
    bad.default_jurisdiction = "Germany".into();
    bad.opt_out_scope = 99;
    bad.template_classes = [
        ("ask".to_owned(), proto::MessageClass::ConsentRequest.into()),
        ("new".to_owned(), 99),
        ("none".to_owned(), 0),
        ("x".repeat(513), proto::MessageClass::Utility.into()),
    ]
    .into();
    assert_eq!(
        faults(read_business(Some(bad))),
        [
            "business.business_id",
            "business.default_jurisdiction",
            "business.opt_out_scope",
            "business.template_classes[new]",
            "business.template_classes[none]",
            "business.display_name",
            "business.template_classes[ask]",
            "business.template_classes"
        ]
    );
}

#[test]
fn every_fault_of_a_sender_is_named_at_once() {
    let bad = proto::Sender {
        sender_id: "a b".into(),
        display_name: "nul\0".into(),
        phone_number: "0151 2345678".into(),
        held_reason: "x".repeat(257),
        aliases: vec!["fine".into(), String::new(), "x".repeat(257)],
        ..proto::Sender::default()
    };
    assert_eq!(
        faults(read_sender("No Slug", Some(bad))),
        [
            "business_id",
            "sender.sender_id",
            "sender.display_name",
            "sender.aliases[1]",
            "sender.aliases[2]",
            "sender.phone_number",
            "sender.held_reason"
        ]
    );
}

#[test]
fn every_fault_of_a_purpose_is_named_at_once() {
    let mut bad = wire_purpose();
    bad.key = "Offers!".into();
    bad.localized_titles = [
        ("de".to_owned(), String::new()),
        ("x".repeat(36), "x".to_owned()),
    ]
    .into();
    bad.dpv_purpose = "x".repeat(2_049);
    bad.accepted_consent_types = vec![1, 99, 0];
    bad.validity = Some(WireDuration {
        seconds: -1,
        nanos: 0,
    });
    bad.consent_required = Some(false);
    bad.requested_by_recipient = true;
    bad.frequency_cap = Some(proto::FrequencyCap::default());
    assert_eq!(
        faults(read_purpose("acme", Some(bad))),
        [
            "purpose.key",
            "purpose.localized_titles",
            "purpose.accepted_consent_types[1]",
            "purpose.accepted_consent_types[2]",
            "purpose.validity",
            "purpose.localized_titles[de]",
            "purpose.dpv_purpose",
            "purpose.frequency_cap.messages",
            "purpose.frequency_cap.per",
            "purpose.consent_required",
            "purpose.requested_by_recipient"
        ]
    );
}

#[test]
fn a_field_is_not_blamed_for_another_that_does_not_read() {
    // Which class may go without consent cannot be told of an unknown class.
    let mut bad = wire_purpose();
    bad.message_class = 99;
    bad.consent_required = Some(false);
    bad.requested_by_recipient = true;
    assert_eq!(
        faults(read_purpose("acme", Some(bad))),
        ["purpose.message_class"]
    );
    // Nor which words end it, of an unknown language.
    let mut bad = wire_notice();
    bad.language = String::new();
    bad.text = "Acme GmbH, WhatsApp, offers. Responda SAIR.".into();
    assert_eq!(faults(read_notice("acme", Some(bad))), ["notice.language"]);
}

#[test]
fn every_fault_of_a_notice_that_needs_no_catalogue_is_named_at_once() {
    let bad = proto::Notice {
        notice_id: "Sign up".into(),
        version: -1,
        language: "english!".into(),
        text: "No way out.".into(),
        purposes: vec!["offers".into(), "NO".into()],
        privacy_notice_url: "acme.example".into(),
        opt_out_instructions: "x".repeat(4_097),
        processing_version: -1,
        signup_ids: vec![String::new()],
        ..proto::Notice::default()
    };
    assert_eq!(
        faults(read_notice("acme", Some(bad))),
        [
            "notice.notice_id",
            "notice.purposes[1]",
            "notice.version",
            "notice.language",
            "notice.privacy_notice_url",
            "notice.opt_out_instructions",
            "notice.processing_version",
            "notice.signup_ids[0]",
            "notice.text"
        ]
    );
    let twice = proto::Notice {
        purposes: vec!["offers".into(), "codes".into(), "offers".into()],
        ..wire_notice()
    };
    assert_eq!(
        faults(read_notice("acme", Some(twice))),
        ["notice.purposes[2]"]
    );
}

#[test]
fn a_validity_is_positive_and_of_whole_seconds() {
    for (seconds, nanos, ok) in [
        (1, 0, true),
        (315_576_000_000, 0, true),
        (0, 0, false),
        (0, 1, false),
        (1, 1, false),
        (-1, 0, false),
        (i64::MIN, 0, false),
        (i64::MAX, 0, false),
    ] {
        let validity = Some(WireDuration { seconds, nanos });
        let read = read_purpose(
            "acme",
            Some(proto::Purpose {
                validity,
                ..wire_purpose()
            }),
        );
        match ok {
            true => {
                let expected = u64::try_from(seconds).ok();
                assert_eq!(read.unwrap().1.validity_seconds, expected);
            }
            false => assert_eq!(faults(read), ["purpose.validity"], "{seconds} {nanos}"),
        }
    }
}

#[test]
fn a_cap_is_of_some_messages_in_whole_seconds_up_to_366_days() {
    const YEAR: i64 = 366 * 86_400;
    let (messages, per) = (
        "purpose.frequency_cap.messages",
        "purpose.frequency_cap.per",
    );
    for (cap, seconds, nanos, faulty) in [
        (1, 1, 0, vec![]),
        (i32::MAX, YEAR, 0, vec![]),
        (0, YEAR, 0, vec![messages]),
        (-1, 0, 0, vec![messages, per]),
        (1, YEAR + 1, 0, vec![per]),
        (1, -1, 0, vec![per]),
        (1, 0, 500_000_000, vec![per]),
        (1, 1, 1, vec![per]),
    ] {
        let capped = proto::Purpose {
            frequency_cap: Some(proto::FrequencyCap {
                messages: cap,
                per: Some(WireDuration { seconds, nanos }),
            }),
            ..wire_purpose()
        };
        let read = read_purpose("acme", Some(capped));
        match faulty.is_empty() {
            true => {
                let read = read.unwrap().1.frequency_cap.unwrap();
                assert_eq!(i64::from(read.messages), i64::from(cap));
                assert_eq!(i64::try_from(read.per_seconds).unwrap(), seconds);
            }
            false => assert_eq!(faults(read), faulty, "{cap} in {seconds} s {nanos} ns"),
        }
    }
}

#[test]
fn faults_of_sorted_purposes_are_named_as_they_were_given() {
    let purposes = ["orders", "codes", "offers"].map(str::to_owned).to_vec();
    let wire = proto::Notice {
        purposes,
        ..wire_notice()
    };
    let read = read_notice("acme", Some(wire)).unwrap();
    assert_eq!(
        read.notice.purposes,
        [key("codes"), key("offers"), key("orders")]
    );
    let fault = |field: &str| Fault {
        field: field.into(),
        message: "unknown".into(),
    };
    let sorted = catalog::Error::Invalid {
        faults: vec![
            fault("purposes[0]"),
            fault("purposes[1]"),
            fault("text"),
            fault("purposes"),
        ],
    };
    let catalog::Error::Invalid { faults } = read.as_given.restore(sorted) else {
        panic!("still invalid")
    };
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["purposes[1]", "purposes[2]", "text", "purposes"]);
}

#[test]
fn version_0_is_the_highest_of_the_language() {
    let mut catalog = BusinessCatalog::new(read_business(Some(wire_business())).unwrap());
    for (version, tag) in [(1, "en"), (2, "en"), (3, "de"), (10, "en")] {
        let wire = proto::Notice {
            version,
            language: tag.into(),
            ..wire_notice()
        };
        let notice = read_notice("acme", Some(wire)).unwrap().notice;
        catalog.notices.insert(notice.name.clone(), notice);
    }
    let asked = |version, language: &str| proto::GetNoticeRequest {
        business_id: "acme".into(),
        notice_id: "signup".into(),
        version,
        language: language.into(),
    };
    for (version, language, found) in [
        (0, "en", Some(10)),
        (2, "en", Some(2)),
        (0, "de", Some(3)),
        (3, "en", None),
        (0, "fr", None),
    ] {
        let (_, wanted) = get_notice(&asked(version, language)).unwrap();
        let notice = wanted.of(&catalog).map(|notice| notice.name.version);
        assert_eq!(notice, found, "{wanted}");
    }
    assert_eq!(faults(get_notice(&asked(-1, ""))), ["version", "language"]);
}

#[test]
fn one_of_no_name_is_required_and_a_malformed_one_is_explained() {
    let request = proto::GetSenderRequest {
        business_id: String::new(),
        sender_id: " ".into(),
    };
    assert_eq!(
        message(get_sender(&request)),
        "business_id: is required; sender_id: may hold only visible ASCII characters"
    );
    let request = proto::GetPurposeRequest {
        business_id: "acme".into(),
        key: "No".into(),
    };
    assert_eq!(faults(get_purpose(&request)), ["key"]);
    let request = proto::GetBusinessRequest::default();
    assert_eq!(faults(get_business(&request)), ["business_id"]);
}
