//! Every kind of JWT that is not good, beside those that are.
//!
//! They are signed with the cryptography itself, not with the library that verifies them.

mod claims;
mod keys;

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

use super::*;
use crate::domain::caller::Permission;

/// 2026-06-01T12:00:00Z.
const NOW: u64 = 1_780_315_200;

const ALL: [Algorithm; 9] = [
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::EdDsa,
];

/// The issuer's keys.
struct Issuer {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer {
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
    ed: Ed25519KeyPair::generate().unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
});

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

fn point(key: &EcdsaKeyPair) -> (String, String) {
    let bytes = &key.public_key().as_ref()[1..];
    let (x, y) = bytes.split_at(bytes.len() / 2);
    (b64(x), b64(y))
}

impl Issuer {
    /// `ec`, `ec3`, `ed`, `rsa`, by their `kid`.
    fn jwk(&self, kid: &str) -> Value {
        match kid {
            "ec" => {
                let (x, y) = point(&self.p256);
                json!({"kty": "EC", "kid": kid, "use": "sig", "crv": "P-256", "x": x, "y": y})
            }
            "ec3" => {
                let (x, y) = point(&self.p384);
                json!({"kty": "EC", "kid": kid, "key_ops": ["verify"], "crv": "P-384", "x": x, "y": y})
            }
            "ed" => {
                let x = b64(self.ed.public_key());
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": x, "alg": "EdDSA"})
            }
            "rsa" => {
                let public: RsaPublicKeyComponents<Vec<u8>> = self.rsa.public_key().into();
                json!({"kty": "RSA", "kid": kid, "n": b64(public.n), "e": b64(public.e)})
            }
            kid => panic!("{kid}"),
        }
    }

    fn set(&self, kids: &[&str]) -> JwtKeys {
        let keys: Vec<_> = kids.iter().map(|kid| self.jwk(kid)).collect();
        JwtKeys::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn sign(&self, algorithm: Algorithm, text: &str) -> Vec<u8> {
        let (text, random) = (text.as_bytes(), SystemRandom::new());
        let ec = |key: &EcdsaKeyPair| key.sign(&random, text).unwrap().as_ref().to_vec();
        let rsa = |padding: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(padding, &random, text, &mut signature)
                .unwrap();
            signature
        };
        match algorithm {
            Algorithm::Rs256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::Ps256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::Ps384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::Ps512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::Es256 => ec(&self.p256),
            Algorithm::Es384 => ec(&self.p384),
            Algorithm::EdDsa => self.ed.sign(text).as_ref().to_vec(),
        }
    }

    fn jwt(&self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(algorithm, &text);
        format!("{text}.{}", b64(signature))
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "ec", "typ": "JWT"})
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example/",
        "aud": "consentgate",
        "sub": "crm-sync",
        "iat": NOW - 60,
        "exp": NOW + 600,
        "consentgate": {"businesses": ["acme"], "permissions": ["check", "withdraw"]},
    })
}

fn issued(header: &Value, claims: &Value) -> String {
    ISSUER.jwt(Algorithm::Es256, &header.to_string(), &claims.to_string())
}

fn good() -> String {
    issued(&header(), &claims())
}

fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://issuer.example/".into(),
        audience: "consentgate".into(),
        algorithms: ALL.to_vec(),
        max_life: Duration::from_hours(1),
        clock_skew: Duration::from_secs(30),
    }
}

fn callers() -> JwtCallers {
    JwtCallers::new(rules(), ISSUER.set(&["ec", "ec3", "ed", "rsa"]))
}

fn at(seconds: u64) -> Timestamp {
    second(seconds)
}

fn second(seconds: u64) -> Timestamp {
    Timestamp::from_micros(i64::try_from(seconds).unwrap() * 1_000_000)
}

/// What comes of a JWT that is shown now, to callers that have seen none.
fn judged(callers: &JwtCallers, text: &str) -> Result<Arc<Caller>, Fault> {
    let parts = Parts::of(text.as_bytes()).ok_or(Fault::Unreadable)?;
    callers.0.as_ref().unwrap().find(parts, at(NOW))
}

fn fault(text: &str) -> Option<Fault> {
    judged(&callers(), text).err()
}

#[test]
fn a_good_jwt_is_the_caller_of_its_subject_with_what_it_grants() {
    let caller = judged(&callers(), &good()).unwrap();
    assert_eq!(caller.name.as_str(), "jwt:crm-sync");
    assert!(caller.may(Permission::Check, "acme") && caller.may(Permission::Withdraw, "acme"));
    assert!(!caller.may(Permission::Record, "acme") && !caller.may(Permission::Check, "rival"));

    let mut wide = claims();
    wide["aud"] = json!(["other", "consentgate"]);
    wide["nbf"] = json!(NOW);
    wide["azp"] = json!({"anything": [1, 2]});
    wide["consentgate"] = json!({"all_businesses": true, "permissions": ["audit"]});
    let caller = judged(&callers(), &issued(&header(), &wide)).unwrap();
    assert!(caller.may(Permission::Audit, "whoever"));
}

#[test]
fn every_algorithm_is_taken_with_a_key_of_its_kind_and_with_no_other() {
    let kid = |algorithm: Algorithm| match algorithm {
        Algorithm::Es256 => "ec",
        Algorithm::Es384 => "ec3",
        Algorithm::EdDsa => "ed",
        _ => "rsa",
    };
    for algorithm in ALL {
        let word = format!("{algorithm:?}").to_ascii_uppercase();
        let word = if word == "EDDSA" {
            "EdDSA".to_owned()
        } else {
            word
        };
        for other in ["ec", "ec3", "ed", "rsa"] {
            let header = json!({"alg": word, "kid": other}).to_string();
            let text = ISSUER.jwt(algorithm, &header, &claims().to_string());
            let expected = (other != kid(algorithm)).then_some(Fault::WrongKey);
            assert_eq!(fault(&text), expected, "{word} with {other}");
        }
        // Not among the settings, it is no algorithm.
        let others = ALL.into_iter().filter(|one| *one != algorithm);
        let narrow = JwtRules {
            algorithms: others.collect(),
            ..rules()
        };
        let narrow = JwtCallers::new(narrow, ISSUER.set(&["ec", "ec3", "ed", "rsa"]));
        let header = json!({"alg": word, "kid": kid(algorithm)}).to_string();
        let text = ISSUER.jwt(algorithm, &header, &claims().to_string());
        assert_eq!(judged(&narrow, &text).err(), Some(Fault::Algorithm));
    }
}

#[test]
fn what_is_signed_by_nobody_or_with_what_is_public_is_refused() {
    let body = b64(claims().to_string());
    for alg in [
        "none", "None", "NONE", "", "HS256", "hs256", "ES512", "RSA-OAEP",
    ] {
        let head = b64(json!({"alg": alg, "kid": "ec"}).to_string());
        for signature in ["", "AA"] {
            let text = format!("{head}.{body}.{signature}");
            assert_eq!(fault(&text), Some(Fault::Algorithm), "{alg}");
        }
    }
    // The public key as the secret, in each form that a library may have it.
    let public: RsaPublicKeyComponents<Vec<u8>> = ISSUER.rsa.public_key().into();
    let secrets = [
        ISSUER.rsa.public_key().as_ref().to_vec(),
        public.n,
        ISSUER.jwk("rsa").to_string().into_bytes(),
        ISSUER.p256.public_key().as_ref().to_vec(),
    ];
    for secret in secrets {
        for kid in ["rsa", "ec"] {
            for alg in ["HS256", "RS256", "ES256"] {
                let head = b64(json!({"alg": alg, "kid": kid}).to_string());
                let text = format!("{head}.{body}");
                let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                let tag = hmac::sign(&key, text.as_bytes());
                let text = format!("{text}.{}", b64(tag));
                assert!(fault(&text).is_some(), "{alg} {kid}");
            }
        }
    }
}

#[test]
fn a_header_that_asks_for_more_or_for_other_keys_gets_nothing() {
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = point(&stranger);
    let own = json!({"kty": "EC", "kid": "ec", "crv": "P-256", "x": x, "y": y});
    let with = |field: &str, value: Value| {
        let mut header = header();
        header[field] = value;
        header
    };
    for (header, expected) in [
        (with("crit", json!(["exp"])), Some(Fault::Extension)),
        (with("crit", json!(null)), Some(Fault::Extension)),
        (with("b64", json!(false)), Some(Fault::Extension)),
        (with("zip", json!("DEF")), Some(Fault::Extension)),
        (with("enc", json!("A128GCM")), Some(Fault::Extension)),
        (with("cty", json!("JWT")), Some(Fault::Extension)),
        (with("typ", json!("logout+jwt")), Some(Fault::Type)),
        (with("typ", json!(null)), Some(Fault::Unreadable)),
        (with("typ", json!("at+JWT")), None),
        (with("kid", json!("nobody")), Some(Fault::UnknownKey)),
        (with("kid", json!("")), Some(Fault::UnknownKey)),
        (with("kid", json!("../../ec")), Some(Fault::UnknownKey)),
        (with("kid", json!(["ec"])), Some(Fault::Unreadable)),
        (with("alg", json!(null)), Some(Fault::Unreadable)),
        // A key that comes along is not looked at: what counts is the one of the file.
        (with("jwk", own.clone()), None),
    ] {
        let text = issued(&header, &claims());
        assert_eq!(fault(&text), expected, "{header}");
    }
    let head = with("jwk", own);
    let text = format!("{}.{}", b64(head.to_string()), b64(claims().to_string()));
    let signed = stranger
        .sign(&SystemRandom::new(), text.as_bytes())
        .unwrap();
    let text = format!("{text}.{}", b64(signed));
    assert_eq!(fault(&text), Some(Fault::Signature));
}

#[test]
fn no_byte_of_a_jwt_can_be_another() {
    let text = good();
    let refused = |other: &str| {
        assert!(fault(other).is_some(), "{other}");
    };
    for at in (0..text.len()).step_by(3) {
        let mut other = text.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        refused(&String::from_utf8(other).unwrap());
    }
    assert!(reads_like_jwt(&text) && !reads_like_jwt("a.b.c") && !reads_like_jwt("AA..AA"));
    let parts: Vec<&str> = text.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let mut wider = claims();
    wider["consentgate"]["permissions"] = json!(["operate"]);
    let wider = b64(wider.to_string());
    assert_eq!(
        fault(&format!("{head}.{wider}.{signature}")),
        Some(Fault::Signature)
    );
    // The same bytes in another base64, and what is no base64.
    let spelt = |text: &str| text.replace('-', "+").replace('_', "/");
    let last = signature.len() - 1;
    let loose: String = ["g", "h", "w", "x", "A", "B", "Q", "R"]
        .iter()
        .filter(|one| !signature.ends_with(*one))
        .map(|one| format!("{}{one}", &signature[..last]))
        .inspect(|other| refused(&format!("{head}.{body}.{other}")))
        .collect();
    assert!(!loose.is_empty());
    for other in [
        format!("{head}.{body}."),
        format!("{head}..{signature}"),
        format!(".{body}.{signature}"),
        "..".to_owned(),
        format!("{head}.{body}.{signature}="),
        format!("{head}.{body}.{signature}=="),
        format!("{head}=.{body}.{signature}"),
        format!("{head}.{body}==.{signature}"),
        format!("{head}.{body}.{signature} "),
        format!(" {head}.{body}.{signature}"),
        format!("{head}.{body}.{signature}\n"),
        format!("{head}\n.{body}.{signature}"),
        format!("{head}.{body}.{signature}A"),
        format!("{head}.{body}.{}", "A".repeat(signature.len())),
        format!("{head}.{body}.ä"),
    ] {
        refused(&other);
    }
    let plain = spelt(&text);
    if plain != text {
        refused(&plain);
    }
    assert!(Parts::of(format!("{text}.").as_bytes()).is_none());
    assert!(Parts::of(format!("{head}.{body}").as_bytes()).is_none());
    // An ECDSA signature in DER, as other protocols have it, and one of another text.
    let other = ISSUER.sign(Algorithm::Es256, "another text");
    refused(&format!("{head}.{body}.{}", b64(other)));
}

#[test]
fn what_is_larger_than_any_jwt_is_not_read() {
    let mut claims = claims();
    claims["more"] = json!("x".repeat(LONGEST * 3 / 4 - 400));
    assert_eq!(fault(&issued(&header(), &claims)), None);
    claims["more"] = json!("x".repeat(LONGEST));
    assert_eq!(fault(&issued(&header(), &claims)), Some(Fault::Large));
}

#[test]
fn a_jwt_is_verified_once_and_forgotten_with_its_key() {
    let callers = callers();
    let inner = callers.0.as_ref().unwrap();
    let count = || inner.current.load().verified.count();
    let text = good();
    let first = judged(&callers, &text).unwrap();
    let again = judged(&callers, &text).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "it was verified anew");
    assert_eq!(count(), 1);
    assert!(judged(&callers, &format!("{text}A")).is_err());
    assert_eq!(count(), 1, "what is wrong is not kept");

    callers.replace(ISSUER.set(&["ec", "ed"]));
    assert_eq!(count(), 0);
    judged(&callers, &text).unwrap();
    callers.replace(ISSUER.set(&["ed"]));
    assert_eq!(judged(&callers, &text).err(), Some(Fault::UnknownKey));
    // Another key under the same name.
    let mut swapped = ISSUER.jwk("ec");
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (x, y) = point(&other);
    (swapped["x"], swapped["y"]) = (json!(x), json!(y));
    let swapped = json!({"keys": [swapped]}).to_string();
    callers.replace(JwtKeys::read(swapped.as_bytes()).unwrap());
    assert_eq!(judged(&callers, &text).err(), Some(Fault::Signature));
    callers.replace(JwtKeys::default());
    assert_eq!(judged(&callers, &text).err(), Some(Fault::UnknownKey));
}

#[test]
fn a_key_that_is_missed_is_told_of_once() {
    let callers = callers();
    let show = |text: &str| callers.find(Parts::of(text.as_bytes()).unwrap(), at(NOW));
    show(&good()).unwrap();
    assert!(!callers.missed_a_key());
    let unknown = issued(&json!({"alg": "ES256", "kid": "new"}), &claims());
    assert!(show(&unknown).is_none() && show(&unknown).is_none());
    assert!(callers.missed_a_key());
    assert!(!callers.missed_a_key());
    assert!(!JwtCallers::default().missed_a_key());
    assert!(
        JwtCallers::default()
            .find(Parts::of(b"a.b.c").unwrap(), at(NOW))
            .is_none()
    );
}

#[test]
fn only_so_many_are_kept_and_an_expired_one_makes_room_first() {
    use super::verified::{Verified, VerifiedJwts};
    let (caller, term) = {
        let claims = Claims::read(claims().to_string().as_bytes()).ok().unwrap();
        claims.judged(&rules()).unwrap()
    };
    let caller = Arc::new(caller);
    let kept = VerifiedJwts::default();
    // All of one set: the first two bytes are alike.
    let hash = |number: u8| {
        let mut hash = [7; 32];
        hash[31] = number;
        hash
    };
    let put = |number: u8, now| {
        let new = Verified::new(&hash(number), Arc::clone(&caller), term);
        kept.keep(new, now);
    };
    let there = |number: u8| kept.find(&hash(number)).is_some();
    (0..4).for_each(|number| put(number, at(NOW)));
    assert!((0..4).all(there));
    put(4, at(NOW));
    assert!(there(4));
    assert_eq!((0..5).filter(|number| there(*number)).count(), 4);
    put(5, Timestamp::MAX);
    assert!(there(5) && !there(0), "the first that has expired goes");
    for number in 0..=255 {
        put(number, at(NOW));
    }
    assert_eq!(kept.count(), 4);
}
