//! Explanations: they say what a check says, by which rule and with which events, and what would have to change.

use std::collections::BTreeSet;
use std::time::Duration;

use consentgate::grpc::proto::*;

use super::acts::*;
use super::evidence::full_evidence;
use super::identity::{bsuid, links};
use super::suppressing::{suppress, suppression};
use crate::harness::{ACME, Backend, TestServer};

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn why(person: &Recipient, purpose: &str) -> ExplainConsentRequest {
    ExplainConsentRequest {
        business_id: ACME.into(),
        recipient: Some(person.clone()),
        purpose: purpose.into(),
        ..ExplainConsentRequest::default()
    }
}

/// The explanation, once it agrees with the check that asks the same, and with itself.
async fn explained(server: &TestServer, request: ExplainConsentRequest) -> ExplainConsentResponse {
    let asked = request.clone();
    let check = CheckConsentRequest {
        business_id: asked.business_id,
        recipient: asked.recipient,
        purpose: asked.purpose,
        message_class: asked.message_class,
        sender_id: asked.sender_id,
        template: asked.template,
        request_id: "7".into(),
        consistency: asked.consistency,
    };
    assert_eq!(asked.at, None, "a check asks about now");
    let checked = server.try_check(check).await.unwrap();
    let told = server.try_explain(request).await.unwrap();
    assert_eq!(
        (
            told.decision(),
            &told.reasons,
            told.not_before,
            &told.consent_event_id,
            &told.policy_version
        ),
        (
            checked.decision(),
            &checked.reasons,
            checked.not_before,
            &checked.consent_event_id,
            &checked.policy_version
        )
    );
    assert_eq!(told.at, Some(wire(server.now())));
    consistent(&told);
    told
}

/// What failed is what the decision names, and every event that is named is shown.
fn consistent(told: &ExplainConsentResponse) {
    let rules: BTreeSet<&str> = told.steps.iter().map(|step| step.rule.as_str()).collect();
    assert_eq!(rules.len(), 19);
    let failed = failed(told);
    let reasons: BTreeSet<i32> = failed.iter().map(|step| step.reason).collect();
    match told.decision() {
        Decision::Allow => assert_eq!(failed, Vec::<&ExplainStep>::new()),
        Decision::Deny | Decision::Defer | Decision::Unspecified => {
            assert_eq!(failed[0].reason, told.reasons[0]);
            assert_eq!(reasons, told.reasons.iter().copied().collect());
        }
    }
    for step in &told.steps {
        assert_eq!(step.remedy.is_empty(), step.passed, "{step:?}");
        assert!(step.applies || step.passed, "{step:?}");
        assert!(step.detail.ends_with('.'), "{step:?}");
    }
    let shown: Vec<&str> = told.events.iter().map(|e| e.event_id.as_str()).collect();
    let named = told.steps.iter().map(|step| step.event_id.as_str());
    for id in named.filter(|id| !id.is_empty()) {
        assert!(shown.contains(&id), "{id} is not shown");
    }
}

fn failed(told: &ExplainConsentResponse) -> Vec<&ExplainStep> {
    told.steps.iter().filter(|step| !step.passed).collect()
}

fn step<'a>(told: &'a ExplainConsentResponse, rule: &str) -> &'a ExplainStep {
    told.steps.iter().find(|step| step.rule == rule).unwrap()
}

fn ids(told: &ExplainConsentResponse) -> Vec<String> {
    told.events
        .iter()
        .map(|event| event.event_id.clone())
        .collect()
}

pub async fn an_allow_is_explained_by_the_consent_that_carries_it(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let grant = RecordConsentRequest {
        evidence: Some(full_evidence()),
        actor: "form".into(),
        ..server.grant(&ann, &["offers"])
    };
    let given = server.try_record(grant).await.unwrap();
    let told = explained(&server, why(&ann, "offers")).await;
    let consent = step(&told, "consent");
    assert_eq!(consent.reason(), Reason::ConsentGiven);
    assert_eq!(consent.event_id, given.records[0].event_id);
    assert_eq!(
        consent.detail,
        "The person consented to `offers` on 2026-06-01 12:00:00 UTC (EXPLICITLY_EXPRESSED), from \
         every sender, on notice signup v1 (en). By the record the person lives in US-CA."
    );
    assert_eq!(consent.source, "US (house rule): a test");
    assert_eq!(told.message_class(), MessageClass::Marketing);
    assert_eq!(told.jurisdictions, ["US"]);
    // As the history shows it, evidence included.
    assert_eq!(told.events, server.events(&ann).await);
    let said = format!("{:?}", told.steps);
    for secret in ["2000001", "wamid", "2001:db8", "screenshot"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

/// Asserts that a question is denied by this rule first, for this reason.
async fn denied(
    server: &TestServer,
    request: ExplainConsentRequest,
    rule: &str,
    reason: Reason,
    remedy: &str,
) {
    let told = explained(server, request).await;
    let first = failed(&told)[0];
    assert_eq!(told.decision(), Decision::Deny);
    assert_eq!((first.rule.as_str(), first.reason()), (rule, reason));
    assert!(
        first.remedy.contains(remedy),
        "{reason:?}: {}",
        first.remedy
    );
}

async fn each_restriction(server: &TestServer) {
    for (number, method, rule, reason, remedy) in [
        (
            1,
            WithdrawalMethod::Keyword,
            "restriction",
            Reason::Withdrawn,
            "Nobody else can give it.",
        ),
        (
            2,
            WithdrawalMethod::Operator,
            "restriction",
            Reason::Revoked,
            "A new consent to `offers`",
        ),
        (
            3,
            WithdrawalMethod::Authority,
            "restriction",
            Reason::Invalidated,
            "A new consent",
        ),
        (
            4,
            WithdrawalMethod::PlatformPreference,
            "suppression",
            Reason::PlatformStopped,
            "by resuming the business's messages in WhatsApp",
        ),
    ] {
        let person = person(number);
        server.gives(&person, &["offers"]).await;
        let opt_out = WithdrawRequest {
            withdrawal_method: method.into(),
            ..server.opt_out(&person, all_marketing())
        };
        server.try_withdraw(opt_out).await.unwrap();
        denied(server, why(&person, "offers"), rule, reason, remedy).await;
    }
    let declined = person(5);
    let refusal = RecordConsentRequest {
        event_state: ConsentState::Refused.into(),
        consent_type: 0,
        ..server.grant(&declined, &["offers"])
    };
    server.try_record(refusal).await.unwrap();
    let remedy = "neither imported nor implied";
    denied(
        server,
        why(&declined, "offers"),
        "restriction",
        Reason::Refused,
        remedy,
    )
    .await;
    let complained = person(6);
    server.gives(&complained, &["offers"]).await;
    let request = suppression(
        server,
        &complained,
        SuppressionBasis::Complaint,
        everything(),
    );
    suppress(server, request).await.unwrap();
    let remedy = "Only the person can lift it";
    denied(
        server,
        why(&complained, "offers"),
        "suppression",
        Reason::Suppressed,
        remedy,
    )
    .await;
}

pub async fn each_denial_names_its_rule_and_what_would_have_to_change(on: Backend) {
    let server = TestServer::start(on).await;
    each_restriction(&server).await;
    let nobody = person(10);
    let consents = "The person consents to `offers` (EXPRESSED at least)";
    denied(
        &server,
        why(&nobody, "offers"),
        "consent",
        Reason::NoConsent,
        consents,
    )
    .await;
    let held = ExplainConsentRequest {
        sender_id: "1009".into(),
        ..why(&nobody, "offers")
    };
    denied(
        &server,
        held,
        "sender-held",
        Reason::SenderHeld,
        "releases the sender",
    )
    .await;
    let of_class = |purpose: &str, class: MessageClass| ExplainConsentRequest {
        sender_id: "1001".into(),
        message_class: class.into(),
        ..why(&nobody, purpose)
    };
    let agreed = person(11);
    server.gives(&agreed, &["support", "summer", "club"]).await;
    let reply = ExplainConsentRequest {
        recipient: Some(agreed.clone()),
        ..of_class("support", MessageClass::Service)
    };
    let writes = "The person writes to or calls this sender.";
    denied(
        &server,
        reply,
        "service-window",
        Reason::ServiceWindowClosed,
        writes,
    )
    .await;
    let ask = of_class("offers", MessageClass::ConsentRequest);
    denied(
        &server,
        ask,
        "asking",
        Reason::AskLimit,
        "The person begins",
    )
    .await;
    let confirm = of_class("offers", MessageClass::OptOutConfirmation);
    let once = "only an opt-out that the person writes";
    denied(
        &server,
        confirm,
        "opt-out-confirmation",
        Reason::NoConsent,
        once,
    )
    .await;

    each_end(&server, &agreed).await;
}

/// What waits for its confirmation, waited too long, and ended by itself.
async fn each_end(server: &TestServer, agreed: &Recipient) {
    let pending = "ConfirmConsent records it";
    denied(
        server,
        why(agreed, "club"),
        "confirmation",
        Reason::ConfirmationPending,
        pending,
    )
    .await;
    server.advance(8 * DAY);
    let anew = "consents anew and confirms it";
    denied(
        server,
        why(agreed, "club"),
        "confirmation",
        Reason::ConfirmationRequired,
        anew,
    )
    .await;
    server.advance(30 * DAY);
    let again = "A new consent by the person.";
    denied(
        server,
        why(agreed, "summer"),
        "expiry",
        Reason::Expired,
        again,
    )
    .await;
}

/// The policy of the tests with one more line for a jurisdiction.
fn with_line(policy: &str, code: &str, line: &str) -> String {
    let name = format!("code = \"{code}\"\n");
    assert!(policy.contains(&name), "{code}");
    policy.replace(&name, &format!("{name}{line}\n"))
}

pub async fn what_the_policy_asks_for_names_its_entry(on: Backend) {
    let mut server = TestServer::start(on).await;
    let (mexican, argentine, british) = (
        phone("+5215512345678"),
        phone("+5491123456789"),
        phone("+447400123456"),
    );
    for person in [&mexican, &argentine] {
        server.gives(person, &["offers"]).await;
    }
    let british_grant = RecordConsentRequest {
        jurisdiction: "US".into(),
        ..server.grant(&british, &["offers"])
    };
    server.try_record(british_grant).await.unwrap();
    let registries =
        r#"registries = [{ name = "mx-dnc", kind = "do-not-contact", max_age = "P30D" }]"#;
    let policy = with_line(&server.policy(), "MX", registries);
    let (before, us) = policy.split_once("code = \"US\"").unwrap();
    let us = us.replacen("\"notice\"]", "\"notice\", \"form_id\"]", 1);
    let platform = r#"
[[platform]]
country = "AR"
classes = ["MARKETING"]
effective_from = 2025-04-01
source = "told by WhatsApp"
confidence = "high"
reviewed_on = 2026-01-01
"#;
    let policy = format!("{before}code = \"US\"{us}{platform}");
    server.restart_with_policy(&policy).await;

    let cases = [
        (
            &mexican,
            "registry",
            Reason::RegistryStale,
            "MX (house rule): a test",
            "record the answer with RecordRegistryCheck",
        ),
        (
            &argentine,
            "platform",
            Reason::PlatformProhibited,
            "WhatsApp (MARKETING to numbers of AR, since 2025-04-01): told by WhatsApp",
            "WhatsApp delivers them again",
        ),
        // What the record says of where the person lives beats the number.
        (
            &british,
            "evidence",
            Reason::EvidenceIncomplete,
            "US (house rule): a test",
            "recorded with form_id",
        ),
    ];
    for (person, rule, reason, source, remedy) in cases {
        denied(&server, why(person, "offers"), rule, reason, remedy).await;
        let told = explained(&server, why(person, "offers")).await;
        assert_eq!(step(&told, rule).source, source, "{rule}");
    }
    let told = explained(&server, why(&british, "offers")).await;
    assert_eq!(told.jurisdictions, ["US"]);
    assert!(step(&told, "policy").source.starts_with("GB (house rule)"));
}

pub async fn a_deferral_names_the_hours_and_when_to_ask_again(on: Backend) {
    let mut server = TestServer::start(on).await;
    let german = phone("+4915112345678");
    server.gives(&german, &["offers"]).await;
    server.advance(MINUTE);
    server.confirms(&german).await;
    let hours = "sending_hours = { mon-fri = \"16:00-20:00\", sat-sun = \"none\" }";
    let policy = with_line(&server.policy(), "DE", hours);
    server.restart_with_policy(&policy).await;
    let told = explained(&server, why(&german, "offers")).await;
    assert_eq!(told.decision(), Decision::Defer);
    let [hours] = failed(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(hours.rule, "sending-hours");
    assert_eq!(
        hours.detail,
        "Where the person is, it is Monday 2026-06-01 14:01 in Europe/Berlin. Hours: Monday to \
         Friday 16:00-20:00, not on Saturday to Sunday. They open on 2026-06-01 14:00:00 UTC."
    );
    assert_eq!(hours.remedy, "Ask again on 2026-06-01 14:00:00 UTC.");
    assert_eq!(hours.source, "DE (house rule): a test");
    assert_eq!(told.time_zones, ["Europe/Berlin"]);
    // The request that was confirmed is shown with its confirmation.
    assert_eq!(told.events, server.events(&german).await);
    assert_eq!(told.events.len(), 2);
    // What is not advertising knows no hours.
    let told = explained(&server, why(&german, "orders")).await;
    assert!(!step(&told, "sending-hours").applies);
    assert_eq!(told.time_zones, Vec::<String>::new());
}

pub async fn an_instant_of_the_past_does_not_know_later_consents_but_every_restriction(
    on: Backend,
) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let start = server.now();
    let at = async |time| {
        let request = ExplainConsentRequest {
            at: Some(wire(time)),
            ..why(&ann, "offers")
        };
        let told = server.try_explain(request).await.unwrap();
        consistent(&told);
        assert_eq!(told.at, Some(wire(time)));
        told
    };
    server.advance(DAY);
    let first = server.gives(&ann, &["offers"]).await;
    server.advance(DAY);
    let second = server.gives(&ann, &["offers"]).await;
    let early = at(start).await;
    assert_eq!(early.reasons().collect::<Vec<_>>(), [Reason::NoConsent]);
    assert_eq!(early.events, Vec::new());
    let between = at(start.plus(DAY + MINUTE)).await;
    assert_eq!(between.decision(), Decision::Allow);
    assert_eq!(between.consent_event_id, first.records[0].event_id);
    let now = at(server.now()).await;
    assert_eq!(now.consent_event_id, second.records[0].event_id);
    assert_eq!(now.events.len(), 1, "the newer consent took its place");

    server.advance(DAY);
    let stopped = server.withdraws(&ann, all_marketing()).await;
    let between = at(start.plus(DAY + MINUTE)).await;
    assert_eq!(between.reasons().collect::<Vec<_>>(), [Reason::Withdrawn]);
    assert_eq!(between.consent_event_id, stopped.event_id);
    assert_eq!(
        ids(&between),
        [first.records[0].event_id.clone(), stopped.event_id]
    );
}

pub async fn an_instant_of_the_future_knows_what_ends_until_then(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["summer"]).await;
    let ends = server.now().plus(30 * DAY);
    for (at, expected) in [
        (before(ends, MINUTE), Reason::ConsentGiven),
        (ends, Reason::Expired),
    ] {
        let request = ExplainConsentRequest {
            at: Some(wire(at)),
            ..why(&ann, "summer")
        };
        let told = server.try_explain(request).await.unwrap();
        consistent(&told);
        assert_eq!(told.reasons().collect::<Vec<_>>(), [expected]);
        assert_eq!(
            step(&told, "expiry").source,
            "catalogue: purpose `summer`",
            "who set the term"
        );
    }
}

pub async fn only_the_events_that_bear_on_the_question_are_shown_with_their_evidence(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let offers = server.gives(&ann, &["offers"]).await;
    let orders = server.gives(&ann, &["orders"]).await;
    server.withdraws(&ann, of_purposes(&["news"])).await;
    let opt_out = WithdrawRequest {
        evidence: Some(full_evidence()),
        ..server.opt_out(&ann, all_marketing())
    };
    let stopped = server.try_withdraw(opt_out).await.unwrap();
    let everywhere = suppression(&server, &ann, SuppressionBasis::CourtOrder, everything());
    let barred = suppress(&server, everywhere).await.unwrap();

    let of = |answer: &RecordConsentResponse| answer.records[0].event_id.clone();
    let told = explained(&server, why(&ann, "offers")).await;
    assert_eq!(
        ids(&told),
        [
            of(&offers),
            stopped.event_id.clone(),
            barred.event_id.clone()
        ]
    );
    assert_eq!(told.events[1].evidence, Some(full_evidence()));
    let told = explained(&server, why(&ann, "orders")).await;
    assert_eq!(ids(&told), [of(&orders), barred.event_id]);
    let suppressed = failed(&told);
    assert_eq!(suppressed.len(), 1);
    assert!(
        suppressed[0]
            .detail
            .starts_with("A court or authority ordered it on 2026-06-01")
    );
}

pub async fn what_the_person_wrote_is_part_of_the_explanation(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    let reply = || ExplainConsentRequest {
        sender_id: "1001".into(),
        ..why(&ann, "support")
    };
    let before_all = server.now();
    server.advance(MINUTE);
    server.hears(&ann, "hello").await;
    let told = explained(&server, reply()).await;
    let window = step(&told, "service-window");
    assert_eq!(window.reason(), Reason::ServiceWindowOpen);
    assert_eq!(
        window.detail,
        "The person wrote to or called this sender on 2026-06-01 12:01:00 UTC; the window is open \
         until 2026-06-02 12:01:01 UTC."
    );
    assert!(!step(&told, "consent").applies);
    // Before the person wrote it was closed, and in two days it is.
    for at in [before_all, server.now().plus(2 * DAY)] {
        let request = ExplainConsentRequest {
            at: Some(wire(at)),
            ..reply()
        };
        let told = server.try_explain(request).await.unwrap();
        consistent(&told);
        assert_eq!(told.decision(), Decision::Deny);
        assert!(!step(&told, "service-window").passed);
    }
    let bob = person(2);
    server.gives(&bob, &["offers"]).await;
    server.advance(MINUTE);
    server.hears(&bob, "could you please stop this").await;
    let reads = "A human reads the message.";
    denied(
        &server,
        why(&bob, "offers"),
        "restriction",
        Reason::PossibleRevocation,
        reads,
    )
    .await;
}

pub async fn a_confirmation_of_an_opt_out_is_explained_without_using_its_permit_up(on: Backend) {
    let server = TestServer::start(on).await;
    let ann = person(1);
    server.gives(&ann, &["offers"]).await;
    server.advance(MINUTE);
    let heard = server.hears(&ann, "stop").await;
    let asked = |request: &str| ExplainConsentRequest {
        message_class: MessageClass::OptOutConfirmation.into(),
        sender_id: "1001".into(),
        request_id: request.into(),
        ..why(&ann, "offers")
    };
    for request in ["", "one", "two"] {
        let told = server.try_explain(asked(request)).await.unwrap();
        consistent(&told);
        assert_eq!(told.decision(), Decision::Allow, "{request}");
        assert_eq!(told.consent_event_id, heard.event_id);
    }
    let check = |request: &str| CheckConsentRequest {
        message_class: MessageClass::OptOutConfirmation.into(),
        sender_id: "1001".into(),
        request_id: request.into(),
        ..question(&ann, "offers")
    };
    let taken = server.try_check(check("one")).await.unwrap();
    assert_eq!(taken.decision(), Decision::Allow);
    for (request, decision) in [
        ("one", Decision::Allow),
        ("two", Decision::Deny),
        ("", Decision::Deny),
    ] {
        let told = server.try_explain(asked(request)).await.unwrap();
        consistent(&told);
        assert_eq!(told.decision(), decision, "{request}");
        if decision == Decision::Deny {
            let checked = server.try_check(check("two")).await.unwrap();
            assert_eq!(told.reasons, checked.reasons);
            let obstacle = failed(&told)[0];
            assert_eq!(obstacle.event_id, heard.event_id);
            let already = "Its one confirmation was allowed already, to another request.";
            assert!(obstacle.detail.ends_with(already), "{}", obstacle.detail);
        }
    }
}

pub async fn what_was_sent_and_what_failed_is_part_of_the_explanation(on: Backend) {
    let server = TestServer::start(on).await;
    server.caps("offers", 1, 7 * DAY).await;
    let (written_to, limited, away) = (person(1), person(2), person(3));
    for person in [&written_to, &limited, &away] {
        server.gives(person, &["offers"]).await;
    }
    let sent = server.now();
    server.sends(&written_to, "offers").await;
    server.advance(MINUTE);
    let told = explained(&server, why(&written_to, "offers")).await;
    assert_eq!(told.decision(), Decision::Defer);
    assert_eq!(told.not_before, Some(wire(sent.plus(7 * DAY))));
    let cap = failed(&told)[0];
    assert_eq!(
        (
            cap.detail.as_str(),
            cap.remedy.as_str(),
            cap.source.as_str()
        ),
        (
            "Within the last 7 days the person was sent 1 message of `offers`; 1 may be. That is \
             as many as may be sent.",
            "Ask again on 2026-06-08 12:00:01 UTC.",
            "catalogue: purpose `offers`"
        )
    );
    // Before it was sent there was room for it.
    let earlier = ExplainConsentRequest {
        at: Some(wire(before(sent, MINUTE))),
        ..why(&written_to, "offers")
    };
    let told = server.try_explain(earlier).await.unwrap();
    assert!(step(&told, "frequency-cap").passed, "{told:?}");

    server.fails(&limited, "131049").await;
    let told = explained(&server, why(&limited, "offers")).await;
    let limit = failed(&told)[0];
    assert_eq!(
        (limit.rule.as_str(), limit.reason()),
        ("platform-limit", Reason::PlatformLimited)
    );
    assert!(limit.source.starts_with("WhatsApp"), "{}", limit.source);
    assert_eq!(told.decision(), Decision::Defer);
    for _ in 0..3 {
        server.advance(MINUTE);
        server.fails(&away, "131026").await;
    }
    let waits = "or the person writes or calls.";
    denied(
        &server,
        why(&away, "offers"),
        "reachability",
        Reason::Unreachable,
        waits,
    )
    .await;
}

pub async fn linked_addresses_show_what_was_agreed_to_at_the_other_one(on: Backend) {
    let server = TestServer::start(on).await;
    let (phone, user, stranger) = (person(1), bsuid(1), bsuid(2));
    let given = server.gives(&phone, &["offers"]).await;
    server.advance(MINUTE);
    links(&server, &phone, &user).await;
    let told = explained(&server, why(&user, "offers")).await;
    assert_eq!(told.decision(), Decision::Allow);
    let consent = step(&told, "consent");
    assert_eq!(consent.event_id, given.records[0].event_id);
    assert!(consent.detail.contains("at the person's linked address"));
    // The link is of this address; the consent stands at the other one.
    let kinds: Vec<EventKind> = told.events.iter().map(ConsentEvent::kind).collect();
    assert_eq!(kinds, [EventKind::Linked, EventKind::Consent]);

    server.advance(MINUTE);
    links(&server, &phone, &stranger).await;
    let from_this = "A new consent from this address";
    denied(
        &server,
        why(&phone, "offers"),
        "identity",
        Reason::IdentityUnverified,
        from_this,
    )
    .await;
}

pub async fn explaining_changes_nothing_and_a_person_never_seen_has_no_events(on: Backend) {
    let server = TestServer::start(on).await;
    let nobody = person(99);
    for consistency in [
        None,
        Some(consistency::Requirement::Strict(true)),
        Some(consistency::Requirement::FullyConsistent(true)),
    ] {
        let request = ExplainConsentRequest {
            consistency: consistency.map(|requirement| Consistency {
                requirement: Some(requirement),
            }),
            ..why(&nobody, "offers")
        };
        let told = explained(&server, request).await;
        assert_eq!(told.events, Vec::new());
        assert_eq!(told.reasons().collect::<Vec<_>>(), [Reason::NoConsent]);
    }
    assert_eq!(server.events(&nobody).await, Vec::new());
    // As fresh as a write, which the answer's own token proves again.
    let given = server.gives(&nobody, &["offers"]).await;
    let fresh = |token: String| ExplainConsentRequest {
        consistency: Some(Consistency {
            requirement: Some(consistency::Requirement::AtLeastAsFresh(token)),
        }),
        ..why(&nobody, "offers")
    };
    let told = explained(&server, fresh(given.consistency_token)).await;
    assert_eq!(told.decision(), Decision::Allow);
    let again = explained(&server, fresh(told.consistency_token.clone())).await;
    assert_eq!(again, told);
}

pub async fn a_question_that_cannot_be_asked_is_refused(on: Backend) {
    let server = TestServer::start(on).await;
    let table: [(&str, &[&str], Change<ExplainConsentRequest>); 8] = [
        ("BUSINESS_UNKNOWN", &["business_id"], |r| {
            r.business_id = "nobody".into();
        }),
        ("PURPOSE_UNKNOWN", &["purpose"], |r| {
            r.purpose = "zumba".into();
        }),
        ("SENDER_UNKNOWN", &["sender_id"], |r| {
            r.sender_id = "4711".into();
        }),
        ("FIELD_INVALID", &["recipient"], |r| r.recipient = None),
        ("FIELD_INVALID", &["sender_id"], |r| {
            r.message_class = MessageClass::Service.into();
        }),
        ("FIELD_INVALID", &["sender_id"], |r| {
            r.message_class = MessageClass::OptOutConfirmation.into();
        }),
        ("FIELD_INVALID", &["at"], |r| {
            r.at = Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
        ("NOT_ENABLED", &["consistency.bounded_staleness"], |r| {
            r.consistency = Some(Consistency {
                requirement: Some(consistency::Requirement::BoundedStaleness(
                    prost_types::Duration::default(),
                )),
            });
        }),
    ];
    for (reason, fields, change) in table {
        let mut request = why(&person(1), "offers");
        change(&mut request);
        refused(server.try_explain(request).await, reason, fields);
    }
}
