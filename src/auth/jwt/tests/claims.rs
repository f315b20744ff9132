//! What a JWT says that is not good: claims, times, and JSON that can be read in two ways.

use super::Fault::{Audience, Early, Expired, Grant, Issuer, Life, Subject, Unreadable};
use super::*;

#[test]
fn claims_that_are_missing_are_refused() {
    for field in ["iss", "aud", "sub", "iat", "exp", "consentgate"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(field);
        let found = fault(&issued(&header(), &claims));
        assert_eq!(found, Some(Unreadable), "{field}");
    }
}

/// Each value instead of the right one.
fn refused(values: Vec<(&str, Value, Fault)>) {
    for (field, value, expected) in values {
        let mut claims = claims();
        claims[field] = value.clone();
        let found = fault(&issued(&header(), &claims));
        assert_eq!(found, Some(expected), "{field}: {value}");
    }
}

#[test]
fn claims_that_are_wrong_or_of_another_kind_are_refused() {
    refused(vec![
        ("iss", json!("https://issuer.example"), Issuer),
        ("iss", json!("https://ISSUER.example/"), Issuer),
        ("iss", json!(["https://issuer.example/"]), Unreadable),
        ("aud", json!("other"), Audience),
        ("aud", json!("consentgate "), Audience),
        ("aud", json!([]), Audience),
        ("aud", json!(["a", "b"]), Audience),
        ("aud", json!(null), Unreadable),
        ("aud", json!([["consentgate"]]), Unreadable),
        ("exp", json!(NOW - 31), Expired),
        ("exp", json!((NOW + 600).to_string()), Unreadable),
        ("exp", json!(1.5e9), Unreadable),
        ("exp", json!(-1), Unreadable),
        ("exp", json!(u64::MAX), Unreadable),
        ("exp", json!(NOW - 60), Life),
        ("exp", json!(NOW + 3_600), Life),
        ("iat", json!(NOW + 31), Early),
        ("iat", json!(0), Life),
        ("iat", json!(null), Unreadable),
        ("nbf", json!(NOW + 31), Early),
        ("nbf", json!(NOW + 10_000), Early),
        ("nbf", json!(u64::MAX), Unreadable),
        ("nbf", json!(null), Unreadable),
        ("nbf", json!("0"), Unreadable),
        ("sub", json!(""), Subject),
        ("sub", json!("CRM"), Subject),
        ("sub", json!("a:b"), Subject),
        ("sub", json!("jwt:a"), Subject),
        ("sub", json!("anna@example.com"), Subject),
        ("sub", json!("a\nb"), Subject),
        ("sub", json!("a".repeat(61)), Subject),
        ("sub", json!(7), Unreadable),
    ]);
}

#[test]
fn what_does_not_grant_what_there_is_to_whom_there_may_be_grants_nothing() {
    refused(vec![
        ("consentgate", json!(null), Unreadable),
        (
            "consentgate",
            json!([["acme"], null, ["check"]]),
            Unreadable,
        ),
        ("consentgate", json!({"permissions": ["check"]}), Grant),
        ("consentgate", json!({"businesses": ["acme"]}), Unreadable),
        (
            "consentgate",
            json!({"businesses": [], "permissions": ["check"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": []}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": ["chekc"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": ["check", "*"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": ["CHECK"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": "check"}),
            Unreadable,
        ),
        (
            "consentgate",
            json!({"businesses": "acme", "permissions": ["check"]}),
            Unreadable,
        ),
        (
            "consentgate",
            json!({"businesses": ["*"], "permissions": ["check"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme", 7], "permissions": ["check"]}),
            Unreadable,
        ),
        (
            "consentgate",
            json!({"businesses": null, "permissions": ["check"]}),
            Unreadable,
        ),
        (
            "consentgate",
            json!({"all_businesses": false, "permissions": ["check"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"all_businesses": "true", "permissions": ["check"]}),
            Unreadable,
        ),
        (
            "consentgate",
            json!({"all_businesses": true, "businesses": ["acme"], "permissions": ["check"]}),
            Grant,
        ),
        (
            "consentgate",
            json!({"businesses": ["acme"], "permissions": ["check"], "role": "admin"}),
            Unreadable,
        ),
    ]);
}

#[test]
fn a_jwt_counts_from_its_begin_to_its_end_with_the_tolerance_of_clocks_also_when_it_is_known() {
    let mut claims = claims();
    claims["nbf"] = json!(NOW - 10);
    let text = issued(&header(), &claims);
    let parts = Parts::of(text.as_bytes()).unwrap();
    let (begin, end) = (at(NOW - 10 - 30), at(NOW + 600 + 30));
    let tick = Duration::from_micros(1);
    let fresh = || callers().0.unwrap();
    let known = fresh();
    known.find(parts, at(NOW)).unwrap();
    for (now, expected) in [
        (begin.minus(tick), Some(Fault::Early)),
        (begin, None),
        (end.minus(tick), None),
        (end, Some(Fault::Expired)),
        (Timestamp::MAX, Some(Fault::Expired)),
        (Timestamp::EPOCH, Some(Fault::Early)),
    ] {
        assert_eq!(fresh().find(parts, now).err(), expected, "{now:?}");
        assert_eq!(known.find(parts, now).err(), expected, "known, {now:?}");
    }
    claims["exp"] = json!(NOW - 60 + 3_600);
    assert_eq!(fault(&issued(&header(), &claims)), None, "the longest life");
}

#[test]
fn json_that_two_readers_would_read_differently_is_refused() {
    let (head, body) = (header().to_string(), claims().to_string());
    let sign = |head: &str, body: &str| ISSUER.jwt(Algorithm::Es256, head, body);
    assert_eq!(fault(&sign(&head, &body)), None);
    let twice = |text: &str, field: &str| text.replacen('{', &format!("{{{field},"), 1);
    for (head, body) in [
        (twice(&head, r#""alg":"none""#), body.clone()),
        (twice(&head, r#""alg":"ES256""#), body.clone()),
        (twice(&head, r#""kid":"ec""#), body.clone()),
        (head.clone(), twice(&body, r#""sub":"crm-sync""#)),
        (head.clone(), twice(&body, r#""exp":1"#)),
        (head.clone(), twice(&body, r#""consentgate":{}"#)),
        (
            head.clone(),
            body.replace(
                r#""permissions""#,
                r#""permissions":["check"],"permissions""#,
            ),
        ),
        (head.clone(), format!("{body}{body}")),
        (head.clone(), format!("{body},")),
        (head.clone(), format!("[{body}]")),
        (r#"["ES256","ec","JWT"]"#.into(), body.clone()),
        (head.clone(), format!("\u{feff}{body}")),
        (String::new(), body.clone()),
        (head.clone(), String::new()),
        (head.clone(), "null".into()),
        (head.clone(), "[".repeat(4_000)),
    ] {
        let text = sign(&head, &body);
        assert_eq!(fault(&text), Some(Fault::Unreadable), "{head} {body}");
    }
}
