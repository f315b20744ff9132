//! Whoever issues JWTs: keys of a test's own, signed with by the cryptography itself.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use consentgate::config::Config;
use consentgate::domain::caller::Permission;
use consentgate::domain::time::Timestamp;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const ISSUER: &str = "https://issuer.example/";
pub const AUDIENCE: &str = "consentgate";

/// One key, with its name.
pub struct Issuer {
    kid: &'static str,
    key: EcdsaKeyPair,
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

impl Issuer {
    pub fn new(kid: &'static str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid, key }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "x": b64(x), "y": b64(y)})
    }

    /// With the header that is right.
    pub fn jwt(&self, claims: &Value) -> String {
        self.signed(&json!({"alg": "ES256", "kid": self.kid}), claims)
    }

    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes());
        format!("{text}.{}", b64(signature.unwrap()))
    }
}

/// The text of a file with these keys.
pub fn set(issuers: &[&Issuer]) -> String {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Claims that are right for ten minutes from now.
pub fn claims(subject: &str, business: &str, permissions: &[Permission], now: Timestamp) -> Value {
    let now = now.as_micros() / 1_000_000;
    let permissions: Vec<_> = permissions.iter().map(|one| one.word()).collect();
    json!({
        "iss": ISSUER,
        "aud": [AUDIENCE, "other"],
        "sub": subject,
        "iat": now,
        "exp": now + 600,
        "consentgate": {"businesses": [business], "permissions": permissions},
    })
}

/// Has a server know this issuer's JWTs, by a file in that directory.
pub fn known(config: &mut Config, directory: &TempDir, issuer: &Issuer) {
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, set(&[issuer])).unwrap();
    config.jwt_jwks_file = Some(path);
    config.jwt_issuer = Some(ISSUER.to_owned());
    config.jwt_audience = Some(AUDIENCE.to_owned());
}
