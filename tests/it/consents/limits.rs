//! Every limit of the contract: what just fits is taken, one more is refused with its field.

use consentgate::grpc::proto::*;
use tonic::Status;

use super::acts::*;
use crate::harness::{Backend, TestServer};

/// A text of so many characters, of two bytes each: lengths count characters.
fn text(length: usize) -> String {
    "ä".repeat(length)
}

/// A name of so many characters.
fn name(length: usize) -> String {
    "a".repeat(length)
}

fn evidence(request: &mut RecordConsentRequest) -> &mut Evidence {
    request.evidence.get_or_insert_default()
}

fn attachment(kind: usize, sha256: usize, uri: usize) -> Attachment {
    Attachment {
        kind: text(kind),
        sha256: vec![7; sha256],
        uri: text(uri),
    }
}

/// A field, the most it takes, what happens at that length, and how it is set to a length.
type Limit<R> = (&'static str, usize, Fits, fn(&mut R, usize));

/// What comes of a value that just fits.
enum Fits {
    Taken,
    /// It is looked up, and there is none.
    Unknown(&'static str),
}

/// Asserts that the field is refused, and it alone.
#[track_caller]
fn too_long<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    refused(answer, "FIELD_INVALID", &[field]);
}

#[track_caller]
fn fits<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str, fits: &Fits) {
    match (answer, fits) {
        (Ok(_), Fits::Taken) => {}
        (Err(status), Fits::Unknown(reason)) if reason_of(&status) == *reason => {}
        (answer, _) => panic!("{field} at its limit: {answer:?}"),
    }
}

fn limits_of_evidence() -> Vec<Limit<RecordConsentRequest>> {
    use Fits::Taken;
    vec![
        ("evidence.source_url", 2_048, Taken, |r, n| {
            evidence(r).source_url = text(n);
        }),
        ("evidence.form_id", 256, Taken, |r, n| {
            evidence(r).form_id = text(n);
        }),
        ("evidence.message_id", 256, Taken, |r, n| {
            evidence(r).message_id = text(n);
        }),
        ("evidence.user_agent", 1_024, Taken, |r, n| {
            evidence(r).user_agent = text(n);
        }),
        ("evidence.signup_id", 256, Taken, |r, n| {
            evidence(r).signup_id = text(n);
        }),
        ("evidence.call_id", 256, Taken, |r, n| {
            evidence(r).call_id = text(n);
        }),
        ("evidence.statement", 4_000, Taken, |r, n| {
            evidence(r).statement = text(n);
        }),
        ("evidence.attachments", 16, Taken, |r, n| {
            evidence(r).attachments = vec![attachment(1, 32, 1); n];
        }),
        ("evidence.attachments[0].kind", 64, Taken, |r, n| {
            evidence(r).attachments = vec![attachment(n, 32, 0)];
        }),
        ("evidence.attachments[0].sha256", 32, Taken, |r, n| {
            evidence(r).attachments = vec![attachment(1, n, 0)];
        }),
        ("evidence.attachments[0].uri", 2_048, Taken, |r, n| {
            evidence(r).attachments = vec![attachment(1, 32, n)];
        }),
    ]
}

fn limits_of_the_rest() -> Vec<Limit<RecordConsentRequest>> {
    use Fits::{Taken, Unknown};
    vec![
        ("business_id", 64, Unknown("BUSINESS_UNKNOWN"), |r, n| {
            r.business_id = name(n);
        }),
        ("purposes[0]", 64, Unknown("PURPOSE_UNKNOWN"), |r, n| {
            r.purposes = vec![name(n)];
        }),
        ("purposes", 32, Unknown("PURPOSE_UNKNOWN"), |r, n| {
            r.purposes = (0..n).map(|n| format!("p{n}")).collect();
        }),
        ("sender_id", 256, Unknown("SENDER_UNKNOWN"), |r, n| {
            r.sender_id = name(n);
        }),
        ("notice.notice_id", 64, Unknown("NOTICE_UNKNOWN"), |r, n| {
            r.notice.as_mut().unwrap().notice_id = name(n);
        }),
        ("notice.language", 35, Unknown("NOTICE_UNKNOWN"), |r, n| {
            r.notice.as_mut().unwrap().language = name(n);
        }),
        ("labels", 32, Taken, |r, n| {
            r.labels = (0..n).map(|n| (n.to_string(), String::new())).collect();
        }),
        ("labels", 64, Taken, |r, n| {
            r.labels = [(text(n), String::new())].into();
        }),
        ("labels", 256, Taken, |r, n| {
            r.labels = [("key".into(), text(n))].into();
        }),
        ("actor", 256, Taken, |r, n| r.actor = text(n)),
        ("idempotency_key", 128, Taken, |r, n| {
            r.idempotency_key = text(n);
        }),
        ("import_batch_id", 256, Taken, |r, n| {
            r.import_batch_id = name(n);
        }),
        ("recipient.business_scoped_user_id", 160, Taken, |r, n| {
            r.recipient = Some(user_id(&format!("US.{}", name(n - 3))));
        }),
    ]
}

pub async fn a_record_takes_what_fits_and_refuses_one_more(on: Backend) {
    let server = TestServer::start(on).await;
    let limits = limits_of_evidence().into_iter().chain(limits_of_the_rest());
    for (number, (field, most, at_limit, set)) in (0..).zip(limits) {
        let mut grant = server.grant(&person(number), &["offers"]);
        set(&mut grant, most + 1);
        too_long(server.try_record(grant.clone()).await, field);
        set(&mut grant, most);
        fits(server.try_record(grant).await, field, &at_limit);
    }
    let mut short = server.grant(&person(1), &["offers"]);
    evidence(&mut short).attachments = vec![attachment(0, 31, 0)];
    refused(
        server.try_record(short).await,
        "FIELD_INVALID",
        &[
            "evidence.attachments[0].kind",
            "evidence.attachments[0].sha256",
        ],
    );
}

/// All at their limit at once: a message that passes, and is given back whole.
pub async fn the_largest_record_is_taken_and_listed_whole(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let largest = Evidence {
        source_url: text(2_048),
        form_id: text(256),
        message_id: text(256),
        ip_address: "2001:0db8:0000:0000:0000:ff00:0042:8329".into(),
        user_agent: text(1_024),
        signup_id: text(256),
        call_id: text(256),
        attachments: vec![attachment(64, 32, 2_048); 16],
        statement: "\u{1f512}".repeat(4_000),
    };
    let labels = (0..32).map(|n| (format!("{n:0>64}"), text(256)));
    let grant = RecordConsentRequest {
        evidence: Some(largest.clone()),
        labels: labels.clone().collect(),
        actor: text(256),
        ..server.grant(&ann, &["offers"])
    };
    server.try_record(grant.clone()).await.unwrap();
    server.try_record(grant).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(event.evidence, Some(largest));
    assert_eq!(event.labels, labels.collect());
    assert_eq!(event.actor, text(256));
}

pub async fn a_question_takes_what_fits_and_refuses_one_more(on: Backend) {
    use Fits::{Taken, Unknown};
    let server = TestServer::start(on).await;
    let limits: [Limit<CheckConsentRequest>; 5] = [
        ("business_id", 64, Unknown("BUSINESS_UNKNOWN"), |r, n| {
            r.business_id = name(n);
        }),
        ("purpose", 64, Unknown("PURPOSE_UNKNOWN"), |r, n| {
            r.purpose = name(n);
        }),
        ("sender_id", 256, Unknown("SENDER_UNKNOWN"), |r, n| {
            r.sender_id = name(n);
        }),
        ("template", 512, Taken, |r, n| r.template = text(n)),
        ("request_id", 128, Taken, |r, n| {
            r.message_class = MessageClass::OptOutConfirmation.into();
            r.sender_id = "1001".into();
            r.request_id = text(n);
        }),
    ];
    for (field, most, at_limit, set) in limits {
        let mut request = question(&person(1), "offers");
        set(&mut request, most + 1);
        too_long(server.try_check(request.clone()).await, field);
        set(&mut request, most);
        fits(server.try_check(request).await, field, &at_limit);
    }
    let ignored = CheckConsentRequest {
        request_id: text(10_000),
        ..question(&person(1), "offers")
    };
    server.try_check(ignored).await.unwrap();
}

pub async fn a_confirmation_takes_what_fits_and_refuses_one_more(on: Backend) {
    use Fits::{Taken, Unknown};
    let server = TestServer::start(on).await;
    let limits: [Limit<ConfirmConsentRequest>; 4] = [
        ("purposes", 32, Unknown("PURPOSE_UNKNOWN"), |r, n| {
            r.purposes = (0..n).map(|n| format!("p{n}")).collect();
        }),
        ("actor", 256, Taken, |r, n| r.actor = text(n)),
        ("idempotency_key", 128, Taken, |r, n| {
            r.idempotency_key = text(n);
        }),
        ("evidence.statement", 4_000, Taken, |r, n| {
            r.evidence.get_or_insert_default().statement = text(n);
        }),
    ];
    for (number, (field, most, at_limit, set)) in (0..).zip(limits) {
        let ann = person(number);
        server.gives(&ann, &["club"]).await;
        server.advance(std::time::Duration::from_secs(1));
        let mut confirmation = server.confirmation(&ann);
        set(&mut confirmation, most + 1);
        too_long(server.try_confirm(confirmation.clone()).await, field);
        set(&mut confirmation, most);
        fits(server.try_confirm(confirmation).await, field, &at_limit);
    }
}

pub async fn numbers_have_from_7_to_15_digits(on: Backend) {
    let server = TestServer::start(on).await;
    let digits = |length: usize| "9".repeat(length);
    for (length, taken) in [(6, false), (7, true), (15, true), (16, false)] {
        for (recipient, field) in [
            (
                phone(&format!("+{}", digits(length))),
                "recipient.phone_number",
            ),
            (wa_id(&digits(length)), "recipient.wa_id"),
        ] {
            let check = server.try_check(question(&recipient, "offers")).await;
            let withdraw = server.try_withdraw(server.opt_out(&recipient, everything()));
            let withdraw = withdraw.await;
            if taken {
                check.unwrap();
                withdraw.unwrap();
            } else {
                refused(check, "PHONE_NUMBER_INVALID", &[field]);
                refused(withdraw, "PHONE_NUMBER_INVALID", &[field]);
            }
        }
    }
}

/// What exceeds a limit is cut, not refused.
pub async fn an_opt_out_is_cut_to_size(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let opt_out = WithdrawRequest {
        actor: text(300),
        evidence: Some(Evidence {
            source_url: text(3_000),
            form_id: text(300),
            message_id: text(300),
            ip_address: "2001:db8::7".into(),
            user_agent: text(2_000),
            signup_id: text(300),
            call_id: text(300),
            attachments: vec![attachment(100, 40, 3_000); 20],
            statement: text(5_000),
        }),
        ..server.opt_out(&ann, everything())
    };
    server.try_withdraw(opt_out).await.unwrap();
    let [event] = server.events(&ann).await.try_into().unwrap();
    assert_eq!(event.actor, text(256));
    let kept = Evidence {
        source_url: text(2_048),
        form_id: text(256),
        message_id: text(256),
        ip_address: "2001:db8::7".into(),
        user_agent: text(1_024),
        signup_id: text(256),
        call_id: text(256),
        attachments: vec![attachment(64, 32, 2_048); 16],
        statement: text(4_000),
    };
    assert_eq!(event.evidence, Some(kept));
}
