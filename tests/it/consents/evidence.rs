//! Evidence that is refused: each rule with its reason and the field at fault, so that a form's developer sees at once
//! what is wrong; and nothing is stored.

use consentgate::domain::vocabulary::EvidenceField;
use consentgate::grpc::proto::*;
use tonic_types::StatusExt;

use super::acts::*;
use crate::harness::{Backend, TestServer};

fn declare(request: &mut RecordConsentRequest) -> &mut Declarations {
    request.declarations.get_or_insert_default()
}

pub async fn each_rule_refuses_with_its_own_reason_and_field(on: Backend) {
    let server = TestServer::start(on).await;
    let table: [(&str, &[&str], Change<RecordConsentRequest>); 12] = [
        ("PRE_TICKED_BOX", &["declarations.default_unticked"], |r| {
            declare(r).default_unticked = Some(false);
        }),
        (
            "BUNDLED_WITH_TERMS",
            &["declarations.separate_from_terms"],
            |r| declare(r).separate_from_terms = Some(false),
        ),
        (
            "SOURCE_PROHIBITED",
            &["declarations.number_entered_by_subject"],
            |r| declare(r).number_entered_by_subject = Some(false),
        ),
        (
            "OTHER_CHANNEL_CONSENT",
            &["declarations.whatsapp_named"],
            |r| declare(r).whatsapp_named = Some(false),
        ),
        ("NOTICE_REQUIRED", &["notice"], |r| r.notice = None),
        ("NOTICE_UNKNOWN", &["notice"], |r| {
            r.notice.as_mut().unwrap().version = 7;
        }),
        ("NOTICE_UNKNOWN", &["notice"], |r| {
            r.notice.as_mut().unwrap().language = "de".into();
        }),
        (
            "NOTICE_DOES_NOT_COVER_PURPOSE",
            &["purposes[0]", "purposes[2]"],
            |r| {
                r.notice.as_mut().unwrap().notice_id = "delivery".into();
                r.purposes = keys(&["offers", "orders", "news"]);
            },
        ),
        ("EVENT_TIME_IN_FUTURE", &["event_time"], |r| {
            r.event_time.as_mut().unwrap().seconds += 301;
        }),
        ("PHONE_NUMBER_INVALID", &["recipient.phone_number"], |r| {
            r.recipient = Some(phone("0151 12345678"));
        }),
        ("PURPOSE_UNKNOWN", &["purposes[1]"], |r| {
            r.purposes = keys(&["offers", "zumba", "news"]);
        }),
        ("SENDER_UNKNOWN", &["sender_id"], |r| {
            r.sender_id = "4711".into();
        }),
    ];
    let ann = person(1);
    for (reason, fields, change) in table {
        let mut grant = server.grant(&ann, &["offers"]);
        change(&mut grant);
        refused(server.try_record(grant).await, reason, fields);
    }
    assert_eq!(server.events(&ann).await, []);
    // What is declared true, or not declared at all, is no evidence against it.
    let mut declared = server.grant(&ann, &["offers"]);
    declared.declarations = Some(Declarations {
        default_unticked: Some(true),
        separate_from_terms: Some(true),
        whatsapp_named: Some(true),
        number_entered_by_subject: None,
    });
    server.try_record(declared).await.unwrap();
}

pub async fn a_number_that_no_country_has_is_refused_in_a_grant_alone(on: Backend) {
    let server = TestServer::start(on).await;
    for number in ["+15555555555", "+491111111", "+9991234567", "15555555556"] {
        let (nobody, wanted) = match number.starts_with('+') {
            true => (phone(number), "recipient.phone_number"),
            false => (wa_id(number), "recipient.wa_id"),
        };
        let status = server.try_record(server.grant(&nobody, &["offers"])).await;
        let status = status.unwrap_err();
        assert_eq!(reason_of(&status), "PHONE_NUMBER_INVALID", "{status}");
        assert_eq!(fields_of(&status), [wanted], "{number}");
        // A numbering plan may be wrong or old: whoever writes STOP from there is heard.
        server.withdraws(&nobody, everything()).await;
        let denied = deny(&[Reason::Withdrawn, Reason::NoConsent]);
        assert_eq!(server.verdict(&nobody, "offers").await, denied);
    }
}

pub async fn a_business_may_let_consents_count_that_did_not_name_whatsapp(on: Backend) {
    let server = TestServer::start(on).await;
    let mut grant = server.grant(&person(1), &["offers"]);
    declare(&mut grant).whatsapp_named = Some(false);
    grant.business_id = "rival".into();
    server.try_record(grant).await.unwrap();
}

pub async fn implied_consent_is_refused_where_purpose_or_jurisdiction_do_not_know_it(on: Backend) {
    let server = TestServer::start(on).await;
    let implied = |person: &Recipient, purpose: &str| RecordConsentRequest {
        consent_type: ConsentType::Implied.into(),
        implied_basis: ImpliedBasis::Purchase.into(),
        basis_time: Some(wire(server.now())),
        notice: None,
        ..server.grant(person, &[purpose])
    };
    let canadian = phone("+14165550123");
    server
        .try_record(implied(&canadian, "deals"))
        .await
        .unwrap();
    let reason = "IMPLIED_NOT_ACCEPTED";
    let by_the_purpose = server.try_record(implied(&canadian, "offers")).await;
    refused(by_the_purpose, reason, &["consent_type"]);
    let by_the_country = server.try_record(implied(&person(1), "deals")).await;
    refused(by_the_country, reason, &["consent_type", "implied_basis"]);
    let by_the_basis = RecordConsentRequest {
        implied_basis: ImpliedBasis::Donation.into(),
        ..implied(&canadian, "deals")
    };
    refused(
        server.try_record(by_the_basis).await,
        reason,
        &["implied_basis"],
    );
    // What is stated of the person beats what the number says.
    let moved = RecordConsentRequest {
        jurisdiction: "US".into(),
        ..implied(&canadian, "deals")
    };
    assert_eq!(
        reason_of(&server.try_record(moved).await.unwrap_err()),
        reason
    );
    let moved = RecordConsentRequest {
        jurisdiction: "CA-ON".into(),
        ..implied(&person(1), "deals")
    };
    server.try_record(moved).await.unwrap();
}

pub async fn missing_evidence_names_its_field(on: Backend) {
    let server = TestServer::start(on).await;
    let british = phone("+447400123456");
    let status = server.try_record(server.grant(&british, &["offers"])).await;
    let status = status.unwrap_err();
    assert_eq!(reason_of(&status), "EVIDENCE_MISSING");
    let fields = fields_of(&status);
    assert_eq!(
        fields,
        [
            "evidence.source_url",
            "evidence.form_id",
            "declarations.default_unticked"
        ]
    );
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["field"], fields[0]);

    let mut complete = server.grant(&british, &["offers"]);
    declare(&mut complete).default_unticked = Some(true);
    complete.evidence = Some(Evidence {
        source_url: "https://acme.example/signup".into(),
        form_id: "7".into(),
        ..Evidence::default()
    });
    server.try_record(complete).await.unwrap();
    let allowed = allow(Reason::ConsentGiven);
    assert_eq!(server.verdict(&british, "offers").await, allowed);
}

/// Whatever field a policy may ask for is found in a request that has it, under the name that the refusal says.
pub async fn every_field_that_can_be_required_can_be_given(on: Backend) {
    let server = TestServer::with(on, |config| {
        let file = config.policy.as_ref().unwrap();
        let policy = std::fs::read_to_string(file).unwrap();
        let all: Vec<_> = EvidenceField::ALL
            .iter()
            .map(|f| format!("\"{f}\""))
            .collect();
        let demanding = policy.replace(
            r#"["event_time", "indication_method", "notice"]"#,
            &format!("[{}]", all.join(", ")),
        );
        assert_ne!(policy, demanding);
        std::fs::write(file, demanding).unwrap();
    })
    .await;
    let ann = person(1);
    let bare = server.try_record(server.grant(&ann, &["offers"])).await;
    let mut missing = fields_of(&bare.unwrap_err());
    missing.sort();
    let mut required: Vec<_> = [
        "source_url",
        "form_id",
        "message_id",
        "ip_address",
        "user_agent",
        "signup_id",
        "call_id",
        "attachments",
        "statement",
    ]
    .map(|field| format!("evidence.{field}"))
    .into_iter()
    .chain(
        [
            "default_unticked",
            "separate_from_terms",
            "whatsapp_named",
            "number_entered_by_subject",
        ]
        .map(|field| format!("declarations.{field}")),
    )
    .collect();
    required.sort();
    assert_eq!(missing, required);

    let full = RecordConsentRequest {
        evidence: Some(full_evidence()),
        declarations: Some(Declarations {
            default_unticked: Some(true),
            separate_from_terms: Some(true),
            whatsapp_named: Some(true),
            number_entered_by_subject: Some(true),
        }),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(full).await.unwrap();
}

pub fn full_evidence() -> Evidence {
    Evidence {
        source_url: "https://acme.example/signup?id=7".into(),
        form_id: "7".into(),
        message_id: "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFjNFQjA".into(),
        ip_address: "2001:db8::7".into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64)".into(),
        signup_id: "summer".into(),
        call_id: "call-7".into(),
        attachments: vec![Attachment {
            kind: "screenshot".into(),
            sha256: vec![7; 32],
            uri: "https://acme.example/proof/7".into(),
        }],
        statement: "Ja, gerne! 👍\nMit Zeilenumbruch.".into(),
    }
}

/// Explicit consent where nothing less will do.
pub async fn a_consent_that_is_too_weak_for_the_jurisdiction_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let german = phone("+4915112345678");
    let weak = RecordConsentRequest {
        consent_type: ConsentType::Expressed.into(),
        ..server.grant(&german, &["offers"])
    };
    let status = server.try_record(weak.clone()).await.unwrap_err();
    assert_eq!(reason_of(&status), "EVIDENCE_MISSING", "{status}");
    assert_eq!(fields_of(&status), ["consent_type"], "{status}");
    let elsewhere = RecordConsentRequest {
        recipient: Some(person(1)),
        ..weak
    };
    server.try_record(elsewhere).await.unwrap();
}

pub async fn everything_that_is_wrong_is_said_at_once(on: Backend) {
    let server = TestServer::start(on).await;
    // What no catalogue has to be asked for.
    let malformed = RecordConsentRequest {
        business_id: "No Slug".into(),
        recipient: None,
        purposes: keys(&["offers", "No Slug", ""]),
        sender_id: "a b".into(),
        event_time: None,
        event_state: ConsentState::Withdrawn.into(),
        indication_method: 99,
        consent_type: 99,
        implied_basis: ImpliedBasis::Purchase.into(),
        notice: Some(NoticeRef {
            notice_id: String::new(),
            version: 0,
            language: String::new(),
        }),
        evidence: Some(Evidence {
            ip_address: "localhost".into(),
            attachments: vec![Attachment::default()],
            ..Evidence::default()
        }),
        jurisdiction: "Germany".into(),
        labels: [(String::new(), "x".into())].into(),
        idempotency_key: String::new(),
        import_batch_id: "a b".into(),
        ..RecordConsentRequest::default()
    };
    refused(
        server.try_record(malformed).await,
        "FIELD_INVALID",
        &[
            "business_id",
            "recipient",
            "purposes[1]",
            "purposes[2]",
            "sender_id",
            "event_time",
            "event_state",
            "indication_method",
            "consent_type",
            "implied_basis",
            "notice.notice_id",
            "notice.language",
            "notice.version",
            "evidence.ip_address",
            "evidence.attachments[0].kind",
            "evidence.attachments[0].sha256",
            "jurisdiction",
            "labels",
            "idempotency_key",
            "import_batch_id",
        ],
    );

    // What the catalogue and the policy say of it.
    let mut unsound = server.grant(&phone("+15555555555"), &["zumba", "offers", "yoga"]);
    unsound.sender_id = "4711".into();
    unsound.notice.as_mut().unwrap().notice_id = "delivery".into();
    unsound.event_time.as_mut().unwrap().seconds += 301;
    declare(&mut unsound).default_unticked = Some(false);
    declare(&mut unsound).number_entered_by_subject = Some(false);
    refused(
        server.try_record(unsound).await,
        "PURPOSE_UNKNOWN",
        &[
            "purposes[0]",
            "purposes[2]",
            "sender_id",
            "event_time",
            "recipient.phone_number",
            "declarations.default_unticked",
            "declarations.number_entered_by_subject",
            "purposes[1]",
        ],
    );
}
