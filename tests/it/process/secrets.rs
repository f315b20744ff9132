//! What belongs to one person, and every form in which it would be in the clear.

use consentgate::grpc::proto::recipient::Address;
use consentgate::grpc::proto::{Attachment, Evidence, Recipient};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Somebody's American number: a consent from it holds at once.
pub const NUMBER: &str = "+14155559871";
/// Somebody's German number: a consent from it waits for a confirmation.
pub const GERMAN: &str = "+4915209876543";
pub const USER_ID: &str = "US.13491208655302741918";
/// As WhatsApp makes them, with the number inside, encoded.
pub const WAMID: &str = "wamid.HBgLMTQxNTU1NTk4NzEVAgASGBQzQTdCRDhE";
pub const IP_ADDRESS: &str = "203.0.113.77";
pub const KEY: &str = "order-7Qx2-of-somebody";
pub const LABEL: (&str, &str) = ("colour-of-shoes", "prefers-red-ones");
pub const ACTOR: &str = "agent.smith@shop.example";
pub const STATEMENT: &str = "please write after six";
pub const USER_AGENT: &str = "Browser-of-somebody/7";
pub const SOURCE_URL: &str = "https://shop.example/join/somebody";
pub const SCAN: &str = "file:scan-of-somebody.png";
pub const CALL: &str = "call-with-somebody";
pub const FORM: &str = "form-of-somebody";

/// Everything that may stand nowhere. Of numbers the last nine digits, so that no prefix hides them.
pub const ALL: &[&str] = &[
    "155559871",
    "209876543",
    "13491208655302741918",
    "HBgLMTQxNTU1NTk4NzEVAgASGBQzQTdCRDhE",
    IP_ADDRESS,
    KEY,
    LABEL.0,
    LABEL.1,
    ACTOR,
    STATEMENT,
    USER_AGENT,
    SOURCE_URL,
    SCAN,
    CALL,
    FORM,
];

pub fn recipient(address: Address) -> Option<Recipient> {
    Some(Recipient {
        address: Some(address),
    })
}

pub fn number() -> Option<Recipient> {
    recipient(Address::PhoneNumber(NUMBER.into()))
}

/// Evidence with everything in it.
pub fn evidence() -> Option<Evidence> {
    Some(Evidence {
        source_url: SOURCE_URL.into(),
        form_id: FORM.into(),
        message_id: WAMID.into(),
        ip_address: IP_ADDRESS.into(),
        user_agent: USER_AGENT.into(),
        signup_id: String::new(),
        call_id: CALL.into(),
        attachments: vec![Attachment {
            kind: "scan".into(),
            sha256: vec![7; 32],
            uri: SCAN.into(),
        }],
        statement: STATEMENT.into(),
    })
}

/// The secrets that stand in these bytes, each with its form and what stands around it.
pub fn found_in(bytes: &[u8]) -> Vec<String> {
    found_of(ALL, bytes)
}

/// As [`found_in`], of these secrets.
pub fn found_of(secrets: &[&str], bytes: &[u8]) -> Vec<String> {
    // Bytes that are no text part what stands around them, and no secret has any.
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for secret in secrets {
        for (form, disguise) in forms(secret) {
            if let Some(at) = text.find(&disguise) {
                let before: String = text[..at].chars().rev().take(300).collect();
                let before: String = before.chars().rev().collect();
                let after: String = text[at..].chars().take(200).collect();
                found.push(format!("`{secret}` as {form}: …{before}{after}…"));
            }
        }
    }
    found
}

fn forms(text: &str) -> Vec<(String, String)> {
    let bytes = text.as_bytes();
    let mut forms = vec![
        ("text".to_owned(), text.to_owned()),
        ("hex".to_owned(), HEXLOWER.encode(bytes)),
        ("hex in capitals".to_owned(), HEXUPPER.encode(bytes)),
        ("bytes in a list".to_owned(), listed(bytes)),
    ];
    // By where in the encoded value the text begins; what its neighbours decide is cut off.
    for (before, first) in [(0, 0), (1, 2), (2, 3)] {
        let shifted = [&[0; 2][..before], bytes].concat();
        let end = (before + bytes.len()) * 8 / 6;
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            let part = encoding.encode(&shifted)[first..end].to_owned();
            if forms.iter().all(|(_, known)| *known != part) {
                forms.push((format!("base64, {before}"), part));
            }
        }
    }
    forms
}

/// As `Debug` prints them.
fn listed(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

#[test]
fn a_secret_is_found_in_every_form_and_at_every_place() {
    for (before, after) in [("", ""), ("x", "yz"), ("xy", "z"), ("+1", "\n")] {
        for secret in ALL {
            let around = format!("{before}{secret}{after}").into_bytes();
            for told in [
                around.clone(),
                HEXLOWER.encode(&around).into_bytes(),
                HEXUPPER.encode(&around).into_bytes(),
                BASE64_NOPAD.encode(&around).into_bytes(),
                BASE64URL_NOPAD.encode(&around).into_bytes(),
                format!("{around:?}").into_bytes(),
            ] {
                assert!(!found_in(&told).is_empty(), "{secret} in {told:?}");
            }
        }
    }
    assert_eq!(found_in(b"nothing of anybody"), Vec::<String>::new());
}
