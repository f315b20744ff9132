//! What the catalogue file accepts, and every mistake with its line.

use super::*;

const SOUND: &str = r#"[[business]]
business_id = "acme"
display_name = "Acme GmbH"

[[business.sender]]
sender_id = "1001"

[[business.purpose]]
key = "offers"
title = "offers"
message_class = "MARKETING"

[[business.notice]]
notice_id = "signup"
version = 1
language = "en"
text = "Acme GmbH sends offers by WhatsApp. Reply STOP to end it."
purposes = ["offers"]
"#;

/// Every field of every table.
const FULL: &str = r#"# A comment.
[[business]]
business_id = "acme"
display_name = "Acme GmbH"
default_jurisdiction = "US-TX"
whatsapp_must_be_named = false
opt_out_scope = "SENDER_MARKETING"
template_classes = { spring_sale = "MARKETING" }

[[business.sender]]
sender_id = "1001"
display_name = "Shop"
phone_number = "+4915112345678"
held = true
held_reason = "under review"
aliases = ["shop", "whatsapp:+4915112345678"]

[[business.purpose]]
key = "codes"
title = "codes"
localized_titles = { de = "Codes", pt-BR = "códigos" }
dpv_purpose = "IdentityAuthentication"
message_class = "AUTHENTICATION"
accepted_consent_types = ["IMPLIED"]
validity = "365d"
confirmation_required = true
consent_required = false
requested_by_recipient = true

[[business.notice]]
notice_id = "login"
version = 3
language = "de"
text = "Codes von Acme GmbH. Ende: Glocke antippen."
purposes = ["codes"]
privacy_notice_url = "https://acme.example/privacy"
opt_out_instructions = "Ende: Glocke antippen."
processing_version = 2
signup_ids = ["s-1"]
"#;

fn mistakes(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.as_slice().iter().map(ToString::to_string).collect(),
    }
}

/// The sound file with one line replaced; the others keep their numbers.
fn with(line: &str, replacement: &str) -> String {
    assert!(SOUND.contains(line), "{line}");
    SOUND.replace(line, replacement)
}

#[test]
fn the_example_is_sound_and_holds_two_businesses() {
    let file = parse(include_str!("../../examples/acme/catalog.toml")).unwrap();
    let ids: Vec<_> = file
        .businesses
        .iter()
        .map(|draft| draft.business.value.business_id.as_str())
        .collect();
    assert_eq!(ids, ["acme", "acme-travel"]);
    let acme = file.businesses[0].catalog();
    let keys: Vec<_> = acme.purposes.keys().map(PurposeKey::as_str).collect();
    assert_eq!(
        keys,
        ["offers", "one-time-codes", "order-updates", "support"]
    );
    let notices: Vec<_> = acme.notices.keys().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "signup v1 (de)",
            "signup v1 (en)",
            "signup v1 (es)",
            "signup v1 (pt-BR)",
            "signup v2 (en)"
        ]
    );
}

#[test]
fn what_is_left_out_takes_its_default() {
    let file = parse(SOUND).unwrap();
    let draft = &file.businesses[0];
    let business = &draft.business.value;
    assert_eq!(business.default_jurisdiction, None);
    assert!(business.whatsapp_must_be_named);
    assert_eq!(business.opt_out_scope, OptOutScope::BusinessEverything);
    assert!(!draft.senders[0].value.sender.held);
    let purpose = &draft.purposes[0].value;
    assert_eq!(
        purpose.accepted_consent_types,
        [ConsentType::ExplicitlyExpressed, ConsentType::Expressed]
    );
    assert!(purpose.consent_required && !purpose.confirmation_required);
    assert!(!purpose.requested_by_recipient);
    assert_eq!(purpose.validity_seconds, None);
    let notice = &draft.notices[0].value;
    assert_eq!(notice.processing_version, 1);
    assert_eq!(notice.sha256, notice_sha256(&notice.text));
    let empty = with(
        "message_class = \"MARKETING\"",
        "message_class = \"MARKETING\"\naccepted_consent_types = []",
    );
    let accepted = parse(&empty)
        .unwrap()
        .businesses
        .remove(0)
        .purposes
        .remove(0)
        .value
        .accepted_consent_types;
    assert_eq!(accepted, ACCEPTED_CONSENT_TYPES);
}

#[test]
fn what_a_file_does_not_say_of_a_sender_stays_as_it_is_stored() {
    let full = parse(FULL).unwrap();
    let stored = &full.businesses[0].senders[0].value.sender;
    assert!(stored.held && !stored.held_reason.is_empty() && !stored.aliases.is_empty());

    let silent = parse(SOUND).unwrap().businesses.remove(0).senders.remove(0);
    let over = silent.value.over(stored);
    assert_eq!(
        (over.held, &over.held_reason, &over.aliases),
        (true, &stored.held_reason, &stored.aliases)
    );
    assert_eq!(over.display_name, silent.value.sender.display_name);

    let line = "sender_id = \"1001\"";
    let outspoken = with(line, &format!("{line}\nheld = false\naliases = []"));
    let outspoken = parse(&outspoken).unwrap().businesses.remove(0);
    let over = outspoken.senders[0].value.over(stored);
    assert!(!over.held && over.held_reason.is_empty() && over.aliases.is_empty());
}

#[test]
fn every_field_is_read_and_every_table_knows_its_line() {
    let file = parse(FULL).unwrap();
    let draft = &file.businesses[0];
    let lines = [
        draft.business.line,
        draft.senders[0].line,
        draft.purposes[0].line,
        draft.notices[0].line,
    ];
    assert_eq!(lines, [2, 10, 18, 30]);
    let business = &draft.business.value;
    assert_eq!(
        business.default_jurisdiction.as_ref().unwrap().as_str(),
        "US-TX"
    );
    assert!(!business.whatsapp_must_be_named);
    assert_eq!(business.opt_out_scope, OptOutScope::SenderMarketing);
    assert_eq!(
        business.template_classes["spring_sale"],
        MessageClass::Marketing
    );
    let sender = &draft.senders[0].value.sender;
    assert_eq!(
        (
            sender.held,
            sender.held_reason.as_str(),
            sender.aliases.len()
        ),
        (true, "under review", 2)
    );
    assert_eq!(
        (sender.display_name.as_str(), sender.phone_number.as_str()),
        ("Shop", "+4915112345678")
    );
    let purpose = &draft.purposes[0].value;
    assert_eq!(
        purpose.title_in(&Language::parse("pt-BR").unwrap()),
        "códigos"
    );
    assert_eq!(purpose.dpv_purpose, "IdentityAuthentication");
    assert_eq!(purpose.accepted_consent_types, [ConsentType::Implied]);
    assert_eq!(purpose.validity_seconds, Some(365 * 86_400));
    assert!(
        purpose.confirmation_required
            && !purpose.consent_required
            && purpose.requested_by_recipient
    );
    let notice = &draft.notices[0].value;
    assert_eq!(notice.name.to_string(), "login v3 (de)");
    assert_eq!((notice.processing_version, notice.signup_ids.len()), (2, 1));
    assert_eq!(notice.privacy_notice_url, "https://acme.example/privacy");
    assert_eq!(notice.opt_out_instructions, "Ende: Glocke antippen.");
    assert_eq!(draft.catalog().business.create_time, Timestamp::EPOCH);
}

#[test]
fn unknown_keys_are_refused_with_their_line() {
    for (line, extra, expected) in [
        (
            "display_name = \"Acme GmbH\"",
            "name = 1",
            "line 4: business[0]: unknown key `name`",
        ),
        (
            "sender_id = \"1001\"",
            "sha256 = \"\"",
            "line 7: business[0].sender[0]: unknown key `sha256`",
        ),
        (
            "key = \"offers\"",
            "create_time = 1",
            "line 10: business[0].purpose[0]: unknown key `create_time`",
        ),
        (
            "version = 1",
            "sha256 = \"\"",
            "line 16: business[0].notice[0]: unknown key `sha256`",
        ),
    ] {
        assert_eq!(
            mistakes(&with(line, &format!("{line}\n{extra}"))),
            [expected]
        );
    }
    assert_eq!(
        mistakes("[[businesses]]\n"),
        ["line 1: unknown key `businesses`"]
    );
}

#[test]
fn a_field_with_a_wrong_value_is_refused_with_its_line_and_path() {
    for (line, wrong, expected) in [
        (
            "business_id = \"acme\"",
            "business_id = \"Acme\"",
            "line 2: business[0].business_id: may hold only lower-case",
        ),
        (
            "sender_id = \"1001\"",
            "sender_id = \"\"",
            "line 6: business[0].sender[0].sender_id: must not be empty",
        ),
        (
            "message_class = \"MARKETING\"",
            "message_class = \"MARKETNG\"",
            "line 11: business[0].purpose[0].message_class: unknown word `MARKETNG`, expected one of MARKETING, UTILITY, AUTHENTICATION, SERVICE",
        ),
        (
            "message_class = \"MARKETING\"",
            "message_class = \"CONSENT_REQUEST\"",
            "line 11: business[0].purpose[0].message_class: unknown word",
        ),
        (
            "version = 1",
            "version = \"1\"",
            "line 15: business[0].notice[0].version: expected a whole number, found string",
        ),
        (
            "version = 1",
            "version = 0",
            "line 15: business[0].notice[0].version: must be at least 1",
        ),
        (
            "language = \"en\"",
            "language = \"e\"",
            "line 16: business[0].notice[0].language: must be a BCP 47 tag",
        ),
        (
            "purposes = [\"offers\"]",
            "purposes = [\"offers\", \"gifts\"]",
            "line 18: business[0].notice[0].purposes[0]: the business has no purpose `gifts`",
        ),
    ] {
        let found = mistakes(&with(line, wrong));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(expected), "{found:#?}");
    }
}

#[test]
fn a_missing_field_is_reported_at_its_table() {
    for (line, expected) in [
        (
            "business_id = \"acme\"",
            "line 1: business[0]: `business_id` is missing",
        ),
        (
            "display_name = \"Acme GmbH\"",
            "line 1: business[0]: `display_name` is missing",
        ),
        (
            "sender_id = \"1001\"",
            "line 5: business[0].sender[0]: `sender_id` is missing",
        ),
        (
            "key = \"offers\"",
            "line 8: business[0].purpose[0]: `key` is missing",
        ),
        (
            "title = \"offers\"",
            "line 8: business[0].purpose[0]: `title` is missing",
        ),
        (
            "message_class = \"MARKETING\"",
            "line 8: business[0].purpose[0]: `message_class` is missing",
        ),
        (
            "notice_id = \"signup\"",
            "line 13: business[0].notice[0]: `notice_id` is missing",
        ),
        (
            "version = 1",
            "line 13: business[0].notice[0]: `version` is missing",
        ),
        (
            "language = \"en\"",
            "line 13: business[0].notice[0]: `language` is missing",
        ),
        (
            "purposes = [\"offers\"]",
            "line 13: business[0].notice[0]: `purposes` is missing",
        ),
    ] {
        assert_eq!(mistakes(&with(line, "")), [expected]);
    }
}

#[test]
fn a_frequency_cap_says_how_many_messages_in_how_long() {
    let capped = |cap: &str| {
        let line = format!("title = \"offers\"\nfrequency_cap = {cap}");
        with("title = \"offers\"", &line)
    };
    let read = parse(&capped("{ messages = 2, per = \"7d\" }")).unwrap();
    let cap = read.businesses[0].purposes[0].value.frequency_cap.unwrap();
    assert_eq!((cap.messages, cap.per_seconds), (2, 7 * 86_400));

    let place = "business[0].purpose[0].frequency_cap";
    for (cap, expected) in [
        (
            "{ messages = 2 }",
            vec![format!("{place}: `per` is missing")],
        ),
        (
            "{ messages = -2, per = \"7d\", pre = 1 }",
            vec![
                format!("{place}.messages: must be at least 1"),
                format!("{place}: unknown key `pre`"),
            ],
        ),
        (
            "{ messages = 0, per = \"367d\" }",
            vec![
                format!("{place}.messages: must be at least 1"),
                format!("{place}.per: must be at least a second and at most 366 days"),
            ],
        ),
        (
            "2",
            vec![format!(
                "{place}: expected a table, as in `{{ name = … }}`, found integer"
            )],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|e| format!("line 11: {e}")).collect();
        assert_eq!(mistakes(&capped(cap)), expected, "{cap}");
    }
}

#[test]
fn a_validity_is_a_positive_number_of_whole_seconds() {
    let line = "title = \"offers\"";
    for wrong in ["0d", "-1d", "12 months", "500ms", "P1D", "1"] {
        let found = mistakes(&with(line, &format!("{line}\nvalidity = \"{wrong}\"")));
        assert!(
            found[0].starts_with("line 11: business[0].purpose[0].validity: expected a duration"),
            "{wrong}"
        );
    }
    for (good, seconds) in [
        ("365d", 31_536_000),
        ("36h", 129_600),
        ("2w", 1_209_600),
        ("1d 30m", 88_200),
    ] {
        assert_eq!(whole_seconds(good), Ok(seconds), "{good}");
    }
}

#[test]
fn what_the_lint_says_of_a_notice_stands_on_the_line_of_its_text() {
    let text = with(
        "Acme GmbH sends offers by WhatsApp. Reply STOP to end it.",
        "Tick here",
    );
    let found = mistakes(&text);
    assert_eq!(found.len(), 4, "{found:#?}");
    for one in found {
        assert!(
            one.starts_with("line 17: business[0].notice[0].text: must "),
            "{one}"
        );
    }
}

#[test]
fn consent_is_not_waived_for_marketing() {
    let text = with(
        "title = \"offers\"",
        "title = \"offers\"\nconsent_required = false",
    );
    assert_eq!(
        mistakes(&text),
        ["line 11: business[0].purpose[0].consent_required: must be true for the class MARKETING"]
    );
}

#[test]
fn what_is_there_twice_is_refused_at_the_second_one() {
    for (extra, expected) in [
        (
            "[[business]]\nbusiness_id = \"acme\"\ndisplay_name = \"A\"\n",
            "line 21: business[1].business_id: `acme` is taken already, on line 1",
        ),
        (
            "[[business.sender]]\nsender_id = \"1001\"\n",
            "line 21: business[0].sender[1].sender_id: `1001` is taken already, on line 5",
        ),
        (
            "[[business.sender]]\nsender_id = \"1002\"\naliases = [\"1001\"]\n",
            "line 22: business[0].sender[1].aliases: `1001` is taken already, on line 5",
        ),
        (
            "[[business.purpose]]\nkey = \"offers\"\ntitle = \"x\"\nmessage_class = \"UTILITY\"\n",
            "line 21: business[0].purpose[1].key: `offers` is taken already, on line 8",
        ),
        (
            "[[business.notice]]\nnotice_id = \"signup\"\nversion = 1\nlanguage = \"en\"\ntext = \"Acme GmbH, WhatsApp, offers, x, STOP\"\npurposes = [\"offers\"]\n",
            "line 21: business[0].notice[1].notice_id: `signup v1 (en)` is taken already, on line 13",
        ),
    ] {
        assert!(
            mistakes(&format!("{SOUND}\n{extra}")).contains(&expected.to_owned()),
            "{extra}\n{:#?}",
            mistakes(&format!("{SOUND}\n{extra}"))
        );
    }
}

#[test]
fn the_same_alias_on_two_senders_is_refused_and_twice_on_one_is_one_mistake() {
    let two = "[[business.sender]]\nsender_id = \"1002\"\naliases = [\"shop\"]\n[[business.sender]]\nsender_id = \"1003\"\naliases = [\"shop\"]\n";
    assert_eq!(
        mistakes(&format!("{SOUND}\n{two}")),
        ["line 25: business[0].sender[2].aliases: `shop` is taken already, on line 20"]
    );
    let one = "[[business.sender]]\nsender_id = \"1002\"\naliases = [\"shop\", \"shop\"]\n";
    assert_eq!(
        mistakes(&format!("{SOUND}\n{one}")),
        ["line 22: business[0].sender[1].aliases[1]: names `shop` again"]
    );
}

#[test]
fn the_same_names_in_two_businesses_are_no_duplicates() {
    let other = SOUND.replace("\"acme\"", "\"other\"");
    assert_eq!(
        parse(&format!("{SOUND}\n{other}"))
            .unwrap()
            .businesses
            .len(),
        2
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = SOUND
        .replace(
            "display_name = \"Acme GmbH\"",
            "display_nam = \"Acme GmbH\"",
        )
        .replace(
            "sender_id = \"1001\"",
            "sender_id = \"1001\"\nphone_number = \"0151\"",
        )
        .replace("title = \"offers\"", "title = \"\"")
        .replace("version = 1", "version = true");
    assert_eq!(
        mistakes(&text)
            .iter()
            .map(|one| one.split(':').next().unwrap())
            .collect::<Vec<_>>(),
        ["line 1", "line 3", "line 7", "line 11", "line 16"]
    );
}

#[test]
fn a_purpose_that_cannot_be_read_is_not_blamed_on_the_notice() {
    assert_eq!(
        mistakes(&with("key = \"offers\"", "key = \"Offers\"")).len(),
        1
    );
}
