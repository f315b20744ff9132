//! Credentials for a gate that is counted in this process: a token, and a JWT of an issuer of the benchmark's own.
//! What is measured from outside makes its tokens by the command line: see `hosts::gate`.

use std::path::Path;

use anyhow::anyhow;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use consentgate::auth::TokenText;
use consentgate::catalog::callers::NewToken;
use consentgate::config::Config;
use consentgate::domain::caller::{Businesses, Caller, Permission, Permissions, TokenHash};
use consentgate::domain::id::CallerName;
use consentgate::domain::time::Timestamp;
use consentgate::server;
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "consentgate";

/// Makes a token that may check, while nobody serves the ledger; as it is sent.
pub async fn token(config: &Config) -> anyhow::Result<String> {
    let text = TokenText::generate();
    let name = CallerName::parse("bench").map_err(|fault| anyhow!("{fault:?}"))?;
    server::with_tokens(config, async |store| {
        let new = NewToken {
            prefix: text.prefix(),
            hash: TokenHash(store.keys.credential_hash(text.expose().as_bytes())),
            caller: Caller {
                name,
                businesses: Businesses::All,
                permissions: Permissions::from(vec![Permission::Check]),
            },
            lifetime: None,
        };
        store.catalog.create_token(&new).await
    })
    .await?;
    Ok(format!("Bearer {}", text.expose()))
}

/// Has the service know an issuer, by a file in this directory; and a JWT of it, as it is sent.
pub fn jwt(config: &mut Config, directory: &Path, now: Timestamp) -> anyhow::Result<String> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let point = key.public_key().as_ref();
    let (x, y) = (part(&point[1..33]), part(&point[33..]));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "bench", "x": x, "y": y});
    let path = directory.join("jwks.json");
    std::fs::write(&path, json!({ "keys": [jwk] }).to_string())?;
    config.jwt_jwks_file = Some(path);
    config.jwt_issuer = Some(ISSUER.to_owned());
    config.jwt_audience = Some(AUDIENCE.to_owned());

    let issued = now.as_micros() / 1_000_000;
    let header = json!({"alg": "ES256", "kid": "bench"}).to_string();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "iat": issued, "exp": issued + 600,
        "consentgate": {"all_businesses": true, "permissions": ["check"]},
    });
    let claims = claims.to_string();
    let signed = format!("{}.{}", part(header.as_bytes()), part(claims.as_bytes()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes())?;
    Ok(format!("Bearer {signed}.{}", part(signature.as_ref())))
}
