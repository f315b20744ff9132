//! Input that no well-meaning client sends: refused with the field at fault, never allowed, never stored.

use consentgate::grpc::proto::*;
use tonic::{Code, Status};

use super::acts::*;
use crate::harness::{Backend, TestServer};

/// Names the field, and says nothing of the address in the message.
#[track_caller]
fn blames_the_recipient<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str, text: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{text:?}: {status}");
    assert_eq!(fields_of(&status), [field], "{text:?}: {status}");
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let told = format!("{} {:?}", status.message(), status.details());
    let secret = digits.len() >= 6 && told.contains(&digits);
    assert!(!secret, "{text:?} is told: {told}");
}

/// Texts that are no phone number.
const PHONES: &[&str] = &[
    "",
    "+",
    "4917098765432",
    "0170 98765432",
    "0049 170 98765432",
    "+49 170 98765432",
    "+49-170-98765432",
    "+49(0)17098765432",
    "tel:+4917098765432",
    " +4917098765432",
    "+4917098765432\n",
    "+4917098765432\0",
    "+49\u{200b}17098765432",
    "+４９１７０９８７６５４３２",
    "+٤٩١٥١١٢٣٤٥٦٧٨",
    "++4917098765432",
    "+0017098765432",
    "+491709",
    "+4917098765432901",
    "+1e10000000",
    "-4917098765432",
    "hello",
];

/// Texts that are no WhatsApp id.
const WA_IDS: &[&str] = &[
    "",
    "+4917098765432",
    "4917098765432@s.whatsapp.net",
    "49 170 98765432",
    "0170987654",
    "491709",
    "4917098765432901",
    "4917098765432\0",
];

/// Texts that are no user id.
const USER_IDS: &[&str] = &[
    "",
    "US",
    "US.",
    "us.27182818284590452353",
    "USA.27182818284590452353",
    "27182818284590452353",
    "US.2718281828 4590452353",
    "US.ENT.",
    "US.27182818284590452353\0",
    "US.\u{1f512}",
];

pub async fn an_address_that_is_none_is_refused_by_every_call(on: Backend) {
    let server = TestServer::start(on).await;
    let long = format!("US.{}", "1".repeat(158));
    let all = |texts: &[&'static str], kind: &'static str, of: fn(&str) -> Recipient| {
        let named = texts.iter().map(move |text| (of(text), kind, *text));
        named.collect::<Vec<_>>()
    };
    let mut recipients = all(PHONES, "phone_number", phone);
    recipients.extend(all(WA_IDS, "wa_id", wa_id));
    recipients.extend(all(USER_IDS, "business_scoped_user_id", user_id));
    recipients.push((user_id(&long), "business_scoped_user_id", ""));
    for (recipient, kind, text) in recipients {
        let field = format!("recipient.{kind}");
        let check = server.try_check(question(&recipient, "offers")).await;
        blames_the_recipient(check, &field, text);
        let record = server.try_record(server.grant(&recipient, &["offers"]));
        blames_the_recipient(record.await, &field, text);
        let confirm = server.try_confirm(server.confirmation(&recipient)).await;
        blames_the_recipient(confirm, &field, text);
        let withdraw = server.try_withdraw(server.opt_out(&recipient, everything()));
        blames_the_recipient(withdraw.await, &field, text);
        let get = server.try_get(standing_of(&recipient)).await;
        blames_the_recipient(get, &field, text);
        let list = server.try_events(history_of(&recipient)).await;
        blames_the_recipient(list, &field, text);
        let batch = server
            .try_batch(batch(&[recipient], "offers"))
            .await
            .unwrap();
        let [result] = batch.results.as_slice() else {
            panic!("one result: {batch:?}");
        };
        let error = result.error.as_ref().unwrap();
        assert_eq!(error.field, format!("recipients[0].{kind}"));
        assert_eq!(result.decision(), Decision::Unspecified);
    }
}

pub async fn a_recipient_that_is_missing_is_refused_by_every_call(on: Backend) {
    let server = TestServer::start(on).await;
    for recipient in [None, Some(Recipient { address: None })] {
        let whoever = person(1);
        let check = CheckConsentRequest {
            recipient: recipient.clone(),
            ..question(&whoever, "offers")
        };
        let record = RecordConsentRequest {
            recipient: recipient.clone(),
            ..server.grant(&whoever, &["offers"])
        };
        let confirm = ConfirmConsentRequest {
            recipient: recipient.clone(),
            ..server.confirmation(&whoever)
        };
        let withdraw = WithdrawRequest {
            recipient: recipient.clone(),
            ..server.opt_out(&whoever, everything())
        };
        let get = GetConsentRequest {
            recipient: recipient.clone(),
            ..standing_of(&whoever)
        };
        let list = ListConsentEventsRequest {
            recipient,
            ..history_of(&whoever)
        };
        let (reason, field) = ("FIELD_INVALID", ["recipient"]);
        refused(server.try_check(check).await, reason, &field);
        refused(server.try_record(record).await, reason, &field);
        refused(server.try_confirm(confirm).await, reason, &field);
        refused(server.try_withdraw(withdraw).await, reason, &field);
        refused(server.try_get(get).await, reason, &field);
        refused(server.try_events(list).await, reason, &field);
    }
}

pub async fn a_name_that_the_catalogue_does_not_have_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let table: [(&str, &str, Change<CheckConsentRequest>); 7] = [
        ("BUSINESS_UNKNOWN", "business_id", |r| {
            r.business_id = "nobody".into();
        }),
        ("FIELD_INVALID", "business_id", |r| r.business_id.clear()),
        ("FIELD_INVALID", "business_id", |r| {
            r.business_id = "ACME".into();
        }),
        ("PURPOSE_UNKNOWN", "purpose", |r| r.purpose = "zumba".into()),
        ("FIELD_INVALID", "purpose", |r| r.purpose.clear()),
        ("SENDER_UNKNOWN", "sender_id", |r| {
            r.sender_id = "4711".into();
        }),
        ("FIELD_INVALID", "sender_id", |r| r.sender_id = "a b".into()),
    ];
    for (reason, field, change) in table {
        let mut request = question(&ann, "offers");
        change(&mut request);
        refused(server.try_check(request).await, reason, &[field]);
    }
    let elsewhere = |business: &str| WithdrawRequest {
        business_id: business.into(),
        ..server.opt_out(&ann, everything())
    };
    let unknown = server.try_withdraw(elsewhere("nobody")).await;
    refused(unknown, "BUSINESS_UNKNOWN", &["business_id"]);
    let none = server.try_withdraw(elsewhere("")).await;
    refused(none, "FIELD_INVALID", &["business_id"]);
    let list = ListConsentEventsRequest {
        business_id: "nobody".into(),
        ..history_of(&ann)
    };
    let list = server.try_events(list).await;
    refused(list, "BUSINESS_UNKNOWN", &["business_id"]);
}

pub async fn a_check_lacking_what_its_class_needs_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let as_class = |class: MessageClass, sender: &str, request_id: &str| CheckConsentRequest {
        message_class: class.into(),
        sender_id: sender.into(),
        request_id: request_id.into(),
        ..question(&ann, "offers")
    };
    let confirmation = MessageClass::OptOutConfirmation;
    for (request, fields) in [
        (question(&ann, "support"), &["sender_id"][..]),
        (as_class(MessageClass::Service, "", ""), &["sender_id"]),
        (as_class(confirmation, "1001", ""), &["request_id"]),
        (as_class(confirmation, "", "7"), &["sender_id"]),
        (as_class(confirmation, "", ""), &["request_id", "sender_id"]),
    ] {
        refused(server.try_check(request).await, "FIELD_INVALID", fields);
    }
}

/// Puts a number into an enum field.
type Number = fn(&mut RecordConsentRequest, i32);

/// A number that a newer client may send. What it means cannot be guessed, least of all as a yes.
pub async fn an_enum_number_that_is_not_known_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers", "club"]).await;
    for number in [29, 99, 1_000_000, i32::MAX, -1, i32::MIN] {
        let check = CheckConsentRequest {
            message_class: number,
            ..question(&ann, "offers")
        };
        let field = ["message_class"];
        refused(server.try_check(check).await, "FIELD_INVALID", &field);
        let many = BatchCheckConsentRequest {
            message_class: number,
            ..batch(std::slice::from_ref(&ann), "offers")
        };
        refused(server.try_batch(many).await, "FIELD_INVALID", &field);
        let record: [(&str, Number); 4] = [
            ("event_state", |r, n| r.event_state = n),
            ("indication_method", |r, n| r.indication_method = n),
            ("consent_type", |r, n| r.consent_type = n),
            ("implied_basis", |r, n| {
                r.consent_type = ConsentType::Implied.into();
                r.basis_time = r.event_time;
                r.implied_basis = n;
            }),
        ];
        for (field, set) in record {
            let mut request = server.grant(&ann, &["deals"]);
            set(&mut request, number);
            let answer = server.try_record(request).await;
            refused(answer, "FIELD_INVALID", &[field]);
        }
        let confirm = ConfirmConsentRequest {
            indication_method: number,
            ..server.confirmation(&ann)
        };
        let answer = server.try_confirm(confirm).await;
        refused(answer, "FIELD_INVALID", &["indication_method"]);
    }
    assert_eq!(server.events(&ann).await.len(), 1);
}

/// The one call that must not be lost over a detail.
pub async fn an_opt_out_is_taken_whatever_else_is_wrong_with_it(on: Backend) {
    let server = TestServer::start(on).await;
    let changes: [Change<WithdrawRequest>; 10] = [
        |r| r.withdrawal_method = 99,
        |r| r.withdrawal_method = -1,
        |r| r.event_time.as_mut().unwrap().nanos = -1,
        |r| r.event_time.as_mut().unwrap().nanos = i32::MAX,
        |r| r.event_time.as_mut().unwrap().seconds = i64::MAX,
        |r| r.event_time.as_mut().unwrap().seconds = i64::MIN,
        |r| r.event_time.as_mut().unwrap().seconds = 0,
        |r| r.scope = Some(of_purposes(&["", "\0", "No Slug", "ä"])),
        |r| r.actor = "\0\u{1}\u{1b}[31m".into(),
        |r| {
            r.evidence = Some(Evidence {
                ip_address: "nowhere".into(),
                statement: "\0".into(),
                attachments: vec![Attachment::default(); 3],
                ..Evidence::default()
            });
        },
    ];
    for (number, change) in (0..).zip(changes) {
        let person = person(number);
        server.gives(&person, &["offers"]).await;
        let mut opt_out = server.opt_out(&person, everything());
        change(&mut opt_out);
        let withdrawn = server.try_withdraw(opt_out).await.unwrap();
        assert_eq!(time(withdrawn.effective_at), server.now(), "{number}");
        let denied = deny(&[Reason::Withdrawn]);
        assert_eq!(server.verdict(&person, "offers").await, denied, "{number}");
        // It can be shown, too.
        assert_eq!(server.events(&person).await.len(), 2, "{number}");
    }
}

/// From WhatsApp's first year on: an instant before it is one that was never set, as 1970 is.
pub async fn an_instant_at_which_nobody_can_have_agreed_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let at = |seconds, nanos| prost_types::Timestamp { seconds, nanos };
    // The years 1, 2009 and 9999.
    let (first, whatsapp, last) = (-62_135_596_800, 1_230_768_000, 253_402_300_799);
    for (event_time, reason) in [
        (at(whatsapp, 0), None),
        (at(whatsapp - 1, 999_999_000), Some("FIELD_INVALID")),
        (at(0, 0), Some("FIELD_INVALID")),
        (at(first, 0), Some("FIELD_INVALID")),
        (at(first - 1, 999_999_999), Some("FIELD_INVALID")),
        (at(i64::MIN, 0), Some("FIELD_INVALID")),
        (at(0, -1), Some("FIELD_INVALID")),
        (at(0, 1_000_000_000), Some("FIELD_INVALID")),
        (at(last, 999_999_999), Some("EVENT_TIME_IN_FUTURE")),
        (at(last + 1, 0), Some("FIELD_INVALID")),
        (at(i64::MAX, i32::MAX), Some("FIELD_INVALID")),
    ] {
        let grant = RecordConsentRequest {
            event_time: Some(event_time),
            ..server.grant(&ann, &["offers"])
        };
        let answer = server.try_record(grant).await;
        match reason {
            None => {
                answer.unwrap();
                let event = server.events(&ann).await.pop().unwrap();
                assert_eq!(event.event_time, Some(event_time));
            }
            Some(reason) => refused(answer, reason, &["event_time"]),
        }
    }
    let get = GetConsentRequest {
        at: Some(at(0, -1)),
        ..standing_of(&ann)
    };
    refused(server.try_get(get).await, "FIELD_INVALID", &["at"]);
}

pub async fn control_characters_are_refused_where_an_identifier_stands(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let fields: [(&str, Put<RecordConsentRequest>); 9] = [
        ("business_id", |r, text| r.business_id = text),
        ("purposes[0]", |r, text| r.purposes = vec![text]),
        ("sender_id", |r, text| r.sender_id = text),
        ("import_batch_id", |r, text| r.import_batch_id = text),
        ("idempotency_key", |r, text| r.idempotency_key = text),
        ("evidence.form_id", |r, text| {
            r.evidence.get_or_insert_default().form_id = text;
        }),
        ("evidence.message_id", |r, text| {
            r.evidence.get_or_insert_default().message_id = text;
        }),
        ("evidence.signup_id", |r, text| {
            r.evidence.get_or_insert_default().signup_id = text;
        }),
        ("evidence.call_id", |r, text| {
            r.evidence.get_or_insert_default().call_id = text;
        }),
    ];
    for control in ['\0', '\u{1}', '\n', '\u{1b}', '\u{7f}', '\u{85}'] {
        for (field, set) in fields {
            let mut grant = server.grant(&ann, &["offers"]);
            set(&mut grant, format!("a{control}b"));
            let answer = server.try_record(grant).await;
            refused(answer, "FIELD_INVALID", &[field]);
        }
    }
    // Nowhere is NUL a character.
    let texts: [(&str, Put<RecordConsentRequest>); 4] = [
        ("actor", |r, text| r.actor = text),
        ("evidence.statement", |r, text| {
            r.evidence.get_or_insert_default().statement = text;
        }),
        ("evidence.user_agent", |r, text| {
            r.evidence.get_or_insert_default().user_agent = text;
        }),
        ("labels", |r, text| r.labels = [("key".into(), text)].into()),
    ];
    for (field, set) in texts {
        let mut grant = server.grant(&ann, &["offers"]);
        set(&mut grant, "a\0b".into());
        let answer = server.try_record(grant).await;
        refused(answer, "FIELD_INVALID", &[field]);
    }
    assert_eq!(server.events(&ann).await, []);
}

/// What belongs to IMPLIED alone, and what an import must say.
pub async fn fields_that_contradict_each_other_are_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let table: [(&[&str], Change<RecordConsentRequest>); 7] = [
        (&["implied_basis"], |r| {
            r.implied_basis = ImpliedBasis::Purchase.into();
        }),
        (&["basis_time"], |r| r.basis_time = r.event_time),
        (&["implied_basis", "basis_time"], |r| {
            r.consent_type = ConsentType::Implied.into();
        }),
        (&["import_batch_id"], |r| {
            r.indication_method = IndicationMethod::Import.into();
        }),
        (&["indication_method"], |r| r.indication_method = 0),
        (&["consent_type"], |r| r.consent_type = 0),
        (&["event_state"], |r| {
            r.event_state = ConsentState::PendingConfirmation.into();
        }),
    ];
    for (fields, change) in table {
        let mut grant = server.grant(&ann, &["offers"]);
        change(&mut grant);
        refused(server.try_record(grant).await, "FIELD_INVALID", fields);
    }
}
