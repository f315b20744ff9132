//! What an explanation says of each rule: the sentences that somebody who complained gets to read.

mod limits;

use super::*;
use crate::domain::activity::{MOST_SENDS, Sent};
use crate::domain::catalog::Notice;
use crate::domain::decide::explain::{Explanation, Outcome, Rule, Step, explain};
use crate::domain::event::{Asked, Failure, Lift, NoticeShown, RegistryCheck};
use crate::domain::hours::{SendingHours, Span, Zone};
use crate::domain::id::{Language, NoticeRef, RegistryName};
use crate::domain::policy::tests::{code, entry};
use crate::domain::policy::{FrequencyCap, PlatformRule, RegistryKind, RegistryRule, Requirements};
use crate::domain::vocabulary::{EvidenceField, FailureKind, RegistryResult};

/// A question with all that is known beside the facts.
struct Told<'a> {
    ask: Ask<'a>,
    place: Place,
    sends: Vec<Sent>,
}

impl Default for Told<'_> {
    fn default() -> Self {
        Self {
            ask: Ask::default(),
            place: NOWHERE.clone(),
            sends: Vec::new(),
        }
    }
}

fn told(events: &[Event], rules: &Rules, about: &Told<'_>) -> (Verdict, Explanation) {
    let ask = &about.ask;
    let purpose = &rules.catalog.purposes[ask.key];
    let sender = ask.sender.map(sender);
    let question = Question {
        place: &about.place,
        purpose,
        class: ask.class.unwrap_or(purpose.message_class),
        sender: sender.as_ref(),
        spelling: ask.spelling,
    };
    let activity = Activity {
        sends: about.sends.clone(),
        last_inbound: ask.inbound.map(at),
    };
    let facts = Facts::fold(events);
    let verdict = decide(&facts, &activity, rules, &question, at(ask.at));
    let told = explain(&facts, &activity, rules, &question, at(ask.at), &verdict);
    (verdict, told)
}

fn explained(events: &[Event], rules: &Rules, ask: Ask<'_>) -> Explanation {
    let about = Told {
        ask,
        ..Told::default()
    };
    told(events, rules, &about).1
}

fn failed(explanation: &Explanation) -> Vec<&Step> {
    let steps = explanation.steps.iter();
    steps
        .filter(|step| step.outcome == Outcome::Failed)
        .collect()
}

/// The one step of a rule.
#[track_caller]
fn step(explanation: &Explanation, rule: Rule) -> &Step {
    let mut steps = explanation.steps.iter().filter(|step| step.rule == rule);
    let step = steps.next().expect("every rule has a step");
    assert!(steps.next().is_none(), "{rule:?} has several");
    step
}

/// Asserts that one rule alone failed, and what it says.
#[track_caller]
fn only(explanation: &Explanation, rule: Rule, detail: &str, remedy: &str) {
    let failed = failed(explanation);
    let said: Vec<_> = failed
        .iter()
        .map(|step| (step.rule, step.detail.as_str(), step.remedy.as_str()))
        .collect();
    assert_eq!(said, [(rule, detail, remedy)]);
}

fn under(change: impl FnOnce(&mut Requirements)) -> Rules {
    let mut requirements = lenient();
    change(&mut requirements);
    rules_with(catalog(), policy(&[("ZZ", requirements)]))
}

const ZZ: &str = "ZZ (house rule): a test";

#[test]
fn an_allow_tells_the_consent_and_has_nothing_that_failed() {
    let grant = with(1, 100, |t| {
        t.jurisdiction = Some(code("FR"));
        t.consent_type = ConsentType::Expressed;
    });
    let told = explained(std::slice::from_ref(&grant), &rules(), Ask::default());
    assert_eq!(failed(&told), Vec::<&Step>::new());
    let consent = step(&told, Rule::Consent);
    assert_eq!(
        (consent.reason, consent.event, consent.detail.as_str()),
        (
            Some(Reason::ConsentGiven),
            Some(grant.event_id),
            "The person consented to `offers` on 1970-01-01 00:01:40 UTC (EXPRESSED), from every \
             sender. By the record the person lives in FR."
        )
    );
    assert_eq!(consent.sources, [ZZ]);
    assert_eq!(told.jurisdictions, [code("ZZ")]);
    assert_eq!(
        step(&told, Rule::Policy).detail,
        "Where the person is cannot be told from the address. Entries of the policy that apply \
         there: ZZ. The consent is judged by where its own record says the person lives: FR."
    );
    assert_eq!(
        step(&told, Rule::SenderHeld).outcome,
        Outcome::NotApplicable,
        "no sender is named"
    );
    assert_eq!(
        step(&told, Rule::Suppression).detail,
        "No suppression is on record."
    );
}

#[test]
fn a_held_sender_is_released_by_its_operator() {
    let mut catalog = catalog();
    let held = catalog.senders.get_mut("1001").unwrap();
    held.held = true;
    held.held_reason = "number moved".into();
    let rules = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let asked = Ask {
        sender: Some("1001"),
        ..Ask::default()
    };
    only(
        &explained(&[given(1, 100, "offers")], &rules, asked),
        Rule::SenderHeld,
        "The operator holds sender 1001. The reason on record: \"number moved\".",
        "The operator releases the sender (UpdateSender).",
    );
}

#[test]
fn each_suppression_is_a_step_with_who_can_lift_it() {
    let mut complaint = suppression(SuppressionBasis::Complaint, 200, None);
    complaint.event_id = EventId(uuid::Uuid::from_u128(5));
    let court = suppression(SuppressionBasis::CourtOrder, 300, Some(2 * DAY));
    let told = explained(
        &[given(1, 100, "offers"), complaint.clone(), court.clone()],
        &rules(),
        Ask::default(),
    );
    let said: Vec<_> = failed(&told)
        .into_iter()
        .map(|step| {
            (
                step.reason.unwrap(),
                step.event.unwrap(),
                step.detail.as_str(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (
                Reason::Suppressed,
                complaint.event_id,
                "The person complained on 1970-01-01 00:03:20 UTC: suppressed for all marketing, \
                 from every sender."
            ),
            (
                Reason::Suppressed,
                court.event_id,
                "A court or authority ordered it on 1970-01-01 00:05:00 UTC: suppressed for all \
                 marketing, from every sender."
            ),
        ]
    );
    let remedies: Vec<_> = failed(&told).iter().map(|s| s.remedy.clone()).collect();
    assert_eq!(
        remedies,
        [
            "Only the person can lift it: by an explicit act later than 1970-01-01 00:03:20 UTC (by \
             more than 5 minutes if another clock times it), which LiftSuppression records with \
             what proves it. Lifting is no consent.",
            "The order is lifted, and LiftSuppression records it. It ends by itself on 1970-01-03 \
             00:00:00 UTC.",
        ]
    );
}

#[test]
fn each_basis_of_a_suppression_says_who_or_what_ends_it() {
    for (basis, says) in [
        (
            SuppressionBasis::Objection,
            "Only the person can lift it: by an explicit act",
        ),
        (
            SuppressionBasis::PlatformStop,
            "by resuming the business's messages in WhatsApp",
        ),
        (
            SuppressionBasis::NationalRegistry,
            "The registry no longer lists the number",
        ),
        (
            SuppressionBasis::ReassignedNumber,
            "by whoever has the number now",
        ),
        (
            SuppressionBasis::Complaint,
            "Only the person can lift it: by an explicit act",
        ),
        (SuppressionBasis::CourtOrder, "The order is lifted"),
        (
            SuppressionBasis::WrongNumber,
            "by whoever has the number now",
        ),
        (
            SuppressionBasis::PossibleRevocation,
            "A human reads the message.",
        ),
    ] {
        let events = [given(1, 100, "offers"), suppression(basis, 200, None)];
        let told = explained(&events, &rules(), Ask::default());
        let [step] = failed(&told)[..] else {
            panic!("{basis}: {told:?}")
        };
        assert!(step.remedy.contains(says), "{basis}: {}", step.remedy);
    }
}

#[test]
fn a_suppression_that_does_not_bar_says_why() {
    let lifted = |seconds| {
        event(
            9,
            at(seconds),
            Act::SuppressionLifted(Lift {
                basis: SuppressionBasis::Objection,
                scope: Scope::AllMarketing,
                sender_id: None,
                lifts: None,
                indication_method: None,
            }),
        )
    };
    let objection = suppression(SuppressionBasis::Objection, 200, None);
    let ended = suppression(SuppressionBasis::Objection, 200, Some(300));
    let wrong = suppression(SuppressionBasis::WrongNumber, 200, None);
    for (mut events, says) in [
        (
            vec![objection.clone(), lifted(400)],
            "lifted on 1970-01-01 00:06:40 UTC.",
        ),
        (vec![ended], "ended on 1970-01-01 00:05:00 UTC."),
        (vec![wrong], "settled by a later consent."),
    ] {
        events.push(given(1, 1_000, "offers"));
        let told = explained(&events, &rules(), Ask::default());
        let step = step(&told, Rule::Suppression);
        assert_eq!(step.outcome, Outcome::Passed);
        assert!(step.detail.ends_with(says), "{}", step.detail);
    }
    let orders = Ask {
        key: "orders",
        ..Ask::default()
    };
    let told = explained(&[given(1, 100, "orders"), objection], &rules(), orders);
    let detail = &step(&told, Rule::Suppression).detail;
    assert!(
        detail.ends_with("does not concern this message."),
        "{detail}"
    );
}

#[test]
fn a_withdrawal_says_what_came_after_it_in_vain_and_what_would_count() {
    let import = with(2, 300, |t| t.indication_method = IndicationMethod::Import);
    let implied = with(3, 400, |t| {
        t.consent_type = ConsentType::Implied;
        t.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(DAY),
        });
    });
    let events = [
        given(1, 100, "offers"),
        stop(9, 200, Scope::AllMarketing),
        import,
        implied,
    ];
    let told = explained(&events, &rules(), Ask::default());
    only(
        &told,
        Rule::Restriction,
        "The person withdrew consent on 1970-01-01 00:03:20 UTC: all marketing, from every sender. \
         What is on record after it does not give consent again: a consent of 1970-01-01 00:06:40 \
         UTC that is implied only and an import of 1970-01-01 00:05:00 UTC.",
        "A new consent to `offers` by the person, later than 1970-01-01 00:03:20 UTC (by more than 5 \
         minutes if another clock times it), neither imported nor implied. Nobody else can give it.",
    );
    assert_eq!(told.events.len(), 4, "all four acts bear on it");
}

#[test]
fn a_withdrawal_that_a_later_consent_outweighs_is_told_with_that_consent() {
    let again = given(3, 300, "offers");
    let events = [
        given(1, 100, "offers"),
        stop(2, 200, Scope::Everything),
        again.clone(),
    ];
    let told = explained(&events, &rules(), Ask::default());
    let step = step(&told, Rule::Restriction);
    assert_eq!(step.event, Some(again.event_id));
    assert_eq!(
        step.detail,
        "The person withdrew consent on 1970-01-01 00:03:20 UTC: everything, from every sender. \
         The person consented again on 1970-01-01 00:05:00 UTC."
    );
    let elsewhere = [
        given(1, 100, "offers"),
        stop(2, 200, Scope::Purposes(vec![purpose("news")])),
    ];
    let told = explained(&elsewhere, &rules(), Ask::default());
    assert_eq!(
        super::explained::step(&told, Rule::Restriction).detail,
        "1 opt-out on record, none in the way of this message. The person withdrew consent on \
         1970-01-01 00:03:20 UTC: `news`, from every sender."
    );
}

#[test]
fn a_doubt_whose_the_address_is_ends_with_a_new_consent_from_it() {
    let mismatch = event(
        2,
        at(200),
        Act::DeliveryFailed(Failure {
            kind: FailureKind::IdentityMismatch,
            sender_id: sender("1001"),
            code: "137000".into(),
            provider: String::new(),
        }),
    );
    let events = [given(1, 100, "offers"), mismatch.clone()];
    let told = explained(&events, &rules(), Ask::default());
    let [step] = failed(&told)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (step.rule, step.event),
        (Rule::Identity, Some(mismatch.event_id))
    );
    assert!(
        step.remedy
            .starts_with("A new consent from this address, later than")
    );
    let settled = [given(1, 100, "offers"), mismatch, given(3, 300, "offers")];
    let told = explained(&settled, &rules(), Ask::default());
    assert!(
        super::explained::step(&told, Rule::Identity)
            .detail
            .ends_with("a later consent settles it.")
    );
}

#[test]
fn where_no_consent_counts_what_comes_close_is_named() {
    let narrowed = with(1, 100, |t| t.sender_id = Some(sender("1002")));
    let asked = event(
        2,
        at(150),
        Act::ConsentRequested(Asked {
            purposes: vec![purpose("offers")],
            sender_id: None,
            notice: None,
        }),
    );
    let told = explained(
        &[narrowed, asked, given(3, 200, "orders")],
        &rules(),
        Ask {
            sender: Some("1001"),
            ..Ask::default()
        },
    );
    only(
        &told,
        Rule::Consent,
        "Up to 1970-01-02 00:00:00 UTC no consent to `offers` is on record that counts for this \
         sender and this spelling of the address. The person consented to `offers` on 1970-01-01 00:01:40 UTC \
         (EXPLICITLY_EXPRESSED), from sender 1002 alone. But that is not this sender. The person \
         was asked on 1970-01-01 00:02:30 UTC and has not agreed since. There is a consent on \
         record to `orders`.",
        "The person consents to `offers` (IMPLIED at least) for all senders or for 1001, and \
         RecordConsent records it with what proves it.",
    );
    let mut landline = given(1, 100, "offers");
    landline.spelling = Spelling::Argentina54;
    let mobile = Ask {
        spelling: Spelling::Argentina549,
        ..Ask::default()
    };
    let confirmed = under(|r| r.confirmation = Confirmation::Required);
    let told = explained(&[landline], &confirmed, mobile);
    let step = step(&told, Rule::Consent);
    assert!(
        step.detail
            .ends_with("But that was for another spelling of the number.")
    );
    assert!(step.remedy.ends_with("confirms it from the same address."));
}

#[test]
fn a_confirmation_is_waited_for_and_then_missing() {
    let rules = under(|r| r.confirmation = Confirmation::Required);
    let asked = |at| Ask {
        at,
        ..Ask::default()
    };
    let grant = [given(1, 100, "offers")];
    let pending = explained(&grant, &rules, asked(150));
    only(
        &pending,
        Rule::Confirmation,
        "The consent of 1970-01-01 00:01:40 UTC still awaits its confirmation, until 1970-01-01 \
         00:03:20 UTC.",
        "The person confirms it from the same address before 1970-01-01 00:03:20 UTC, and \
         ConfirmConsent records it.",
    );
    assert_eq!(step(&pending, Rule::Confirmation).sources, [ZZ]);
    only(
        &explained(&grant, &rules, asked(200)),
        Rule::Confirmation,
        "The consent of 1970-01-01 00:01:40 UTC was not confirmed within 100 seconds, by 1970-01-01 \
         00:03:20 UTC.",
        "The person consents anew and confirms it from the same address within 100 seconds.",
    );
}

#[test]
fn an_end_names_who_set_the_term() {
    let mut catalog = catalog();
    catalog.purposes.get_mut("offers").unwrap().validity_seconds = Some(3_600);
    let own = rules_with(catalog, policy(&[("ZZ", lenient())]));
    let law = under(|r| r.validity = Some(Duration::from_secs(3_600)));
    let grant = [given(1, 0, "offers")];
    for (rules, source) in [(own, "catalogue: purpose `offers`"), (law, ZZ)] {
        let told = explained(&grant, &rules, Ask::default());
        only(
            &told,
            Rule::Expiry,
            "The person consented to `offers` on 1970-01-01 00:00:00 UTC (EXPLICITLY_EXPRESSED), \
             from every sender. It ended on 1970-01-01 01:00:00 UTC.",
            "A new consent by the person.",
        );
        assert_eq!(step(&told, Rule::Expiry).sources, [source]);
    }
}

#[test]
fn changed_processing_and_missing_evidence_are_named() {
    let shown = |processing_version| NoticeShown {
        notice: NoticeRef {
            notice_id: NoticeId::parse("signup").unwrap(),
            version: 1,
            language: Language::parse("en").unwrap(),
        },
        sha256: String::new(),
        processing_version,
    };
    let mut catalog = catalog();
    let name = NoticeRef {
        version: 2,
        ..shown(2).notice
    };
    let notice = Notice {
        name: name.clone(),
        text: String::new(),
        purposes: vec![purpose("offers")],
        sha256: String::new(),
        privacy_notice_url: String::new(),
        opt_out_instructions: String::new(),
        processing_version: 2,
        signup_ids: Vec::new(),
        create_time: Timestamp::EPOCH,
    };
    catalog.notices.insert(name, notice);
    let mut strict = lenient();
    strict.consent_type = ConsentType::ExplicitlyExpressed;
    strict.evidence = strict.evidence.with(EvidenceField::FormId);
    let rules = rules_with(catalog, policy(&[("ZZ", strict)]));
    let grant = with(1, 100, |t| {
        t.notice = Some(shown(1));
        t.consent_type = ConsentType::Expressed;
    });
    let told = explained(&[grant], &rules, Ask::default());
    let said: Vec<_> = failed(&told)
        .into_iter()
        .map(|step| (step.rule, step.detail.as_str(), step.remedy.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (
                Rule::Notice,
                "Notice signup v1 (en) told of processing version 1; notice signup is at processing \
                 version 2, so what the person agreed to is no longer what is done.",
                "A new consent by the person, on a version of notice signup with processing version 2."
            ),
            (
                Rule::Evidence,
                "The consent is EXPRESSED; there EXPLICITLY_EXPRESSED is the least that counts. Not \
                 on record, though required: form_id.",
                "A new consent by the person, EXPLICITLY_EXPRESSED at least, recorded with form_id."
            ),
        ]
    );
}
