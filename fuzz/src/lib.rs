//! The fuzz targets: each gives bytes to something that reads what somebody else wrote, and says what must hold of
//! whatever comes out. None may panic.
//!
//! Their corpora lie in `fuzz/corpus`. `make test` replays them, `make fuzz` goes on from them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use consentgate::auth::{Algorithm, JwtCallers, JwtKeys, JwtRules, TokenText, bearer};
use consentgate::catalog;
use consentgate::consents::token::Tokens;
use consentgate::domain::address::Address;
use consentgate::domain::event::Event;
use consentgate::domain::facts::Facts;
use consentgate::domain::keywords::{Message, Words};
use consentgate::domain::phone;
use consentgate::domain::place;
use consentgate::domain::time::Timestamp;
use consentgate::grpc::convert::{check, inbound, report, write};
use consentgate::keys::Keyring;
use consentgate::policy;

/// Something that reads bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Also the name of its corpus.
    pub name: &'static str,
    /// Fails by a panic.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

pub const TARGETS: &[Target] = &[
    target("request", request),
    target("address", address),
    target("keywords", keywords),
    target("policy", policy_file),
    target("catalogue", catalogue_file),
    target("tokens", tokens),
    target("event", event),
];

/// A message of the contract, by the first byte, as the service reads it: decoded, then field by field.
fn request(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else {
        return;
    };
    match which % 13 {
        0 => read(bytes, check::check),
        1 => read(bytes, check::batch),
        2 => read(bytes, check::explain),
        3 => read(bytes, check::get),
        4 => read(bytes, check::list_events),
        5 => read(bytes, write::record),
        6 => read(bytes, write::confirm),
        7 => read(bytes, write::withdraw),
        8 => read(bytes, write::suppress),
        9 => read(bytes, write::lift),
        10 => read(bytes, inbound::report),
        11 => read(bytes, report::send),
        _ => read(bytes, report::delivery),
    }
    read(bytes, report::registry_check);
}

fn read<M: prost::Message + Default + Clone, T, E>(bytes: &[u8], convert: fn(M) -> Result<T, E>) {
    if let Ok(message) = M::decode(bytes) {
        // What is decoded is a message again, and means the same.
        let again = M::decode(message.encode_to_vec().as_slice());
        let again = again.expect("what was encoded decodes");
        assert_eq!(convert(message).is_ok(), convert(again).is_ok());
    }
}

/// An address in each of the forms that callers give one in.
fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let parsed = [
        Address::from_phone_number(text),
        Address::from_wa_id(text),
        Address::from_user_id(text),
    ];
    for address in parsed.into_iter().flatten() {
        let _ = (phone::existence(&address), place::of(&address));
        let shown = format!("{address:?}");
        for number in address.plausible_numbers() {
            assert!(!shown.contains(&number.to_string()), "Debug shows a number");
            // Without a plus one of them is how Russians type a number at home, and with it that of no country (+89).
            let written = [
                Address::from_wa_id(&number.to_string()),
                Address::from_phone_number(&format!("+{number}")),
            ];
            let written = written.map(|one| one.expect("a plausible number is one"));
            let is_one = written.iter().any(|one| one.key() == address.key());
            assert!(is_one, "all spellings are one person");
        }
    }
}

static WORDS: LazyLock<Words> = LazyLock::new(policy::words::embedded);

/// A message that a person sent, typed or by a button.
fn keywords(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (payload, label) = text.split_once('\n').unwrap_or(("", &text));
    let _ = WORDS.classify(Message::Button {
        payload,
        text: label,
    });
    let _ = WORDS.veto(&text);
    let typed = format!("{:?}", WORDS.classify(Message::Text(&text)));
    // White space around it says nothing.
    let spaced = format!("  {text}\u{3000}\n");
    if text.chars().count() < 100 {
        assert_eq!(
            format!("{:?}", WORDS.classify(Message::Text(&spaced))),
            typed
        );
    }
}

/// A policy file, and a file of opt-out words.
fn policy_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(mistakes) = policy::load(text) {
        assert!(!mistakes.to_string().is_empty(), "a refusal says why");
    }
    if let Err(mistakes) = policy::words::load(text) {
        assert!(!mistakes.to_string().is_empty(), "a refusal says why");
    }
}

fn catalogue_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(mistakes) = catalog::file::parse(text) {
        assert!(!mistakes.to_string().is_empty(), "a refusal says why");
    }
}

static TOKENS: LazyLock<Tokens> = LazyLock::new(|| {
    let keys = Arc::new(Keyring::generate().ledger_keys());
    Tokens::new(keys, "a ledger".to_owned())
});

/// The public key of RFC 8037, appendix A.
const JWKS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

static JWTS: LazyLock<JwtCallers> = LazyLock::new(|| {
    let rules = JwtRules {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        algorithms: vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256],
        max_life: Duration::from_hours(1),
        clock_skew: Duration::from_secs(30),
    };
    JwtCallers::new(rules, JwtKeys::read(JWKS).expect("it is a set"))
});

/// A JWT that nobody signed, at 1000 seconds.
fn jwt(data: &[u8]) {
    let now = Timestamp::from_micros(1_000_000_000);
    assert!(JWTS.caller(data, now).is_none(), "a forged JWT is taken");
}

/// What callers and operators show: credentials, consistency tokens, keyrings, the keys of JWTs.
fn tokens(data: &[u8]) {
    if let Some(credential) = bearer(std::iter::once(data)) {
        assert!(data.ends_with(credential));
        jwt(credential);
    }
    jwt(data);
    match JwtKeys::read(data) {
        Ok(keys) => assert!(keys.count() <= data.len()),
        Err(mistake) => assert!(!mistake.to_string().is_empty(), "a refusal says why"),
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(token) = TokenText::parse(text) {
        assert_eq!(token.expose(), text.trim());
        let _ = token.prefix();
    }
    // Its key is made anew for each run: nobody can have made one.
    assert!(
        TOKENS.read(text).is_err(),
        "a forged consistency token is taken"
    );
    if let Ok(keyring) = Keyring::parse(text) {
        let again = Keyring::parse(&keyring.to_text()).expect("what was written reads");
        assert_eq!(again.check_values(), keyring.check_values());
        assert_eq!(format!("{keyring:?}"), format!("{again:?}"));
    }
}

/// What the database holds: an event, and facts.
fn event(data: &[u8]) {
    if let Ok(event) = Event::read(data) {
        let again = Event::read(&event.canonical()).expect("what was written reads");
        assert_eq!(again, event);
        assert_eq!(again.canonical(), event.canonical());
        let facts = Facts::fold([&event]);
        assert_eq!(facts, Facts::fold([&event, &event]), "twice is once");
        let stored = Facts::decode(&facts.encode()).expect("what was written reads");
        assert_eq!(stored, facts);
    }
    if let Ok(facts) = Facts::decode(data) {
        let again = Facts::decode(&facts.encode()).expect("what was written reads");
        assert_eq!(again, facts);
    }
}
