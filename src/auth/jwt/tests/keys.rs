//! Sets of keys: what is read of one, and what refuses it.

use super::*;

fn set(keys: Vec<Value>) -> Result<JwtKeys, BadKeys> {
    JwtKeys::read(json!({ "keys": keys }).to_string().as_bytes())
}

fn with(kid: &str, field: &str, value: Value) -> Value {
    let mut key = ISSUER.jwk(kid);
    key[field] = value;
    key
}

#[test]
fn a_set_is_read_for_what_can_verify() {
    let others = vec![
        with("ec", "use", json!("enc")),
        with("ec3", "key_ops", json!(["sign"])),
        with("ed", "crv", json!("X25519")),
        with("ec", "crv", json!("secp256k1")),
        with("rsa", "alg", json!("RSA-OAEP")),
        json!({"kty": "AKP", "kid": "pq", "pub": "AAAA"}),
    ];
    assert_eq!(set(others).unwrap().count(), 0);
    assert_eq!(set(vec![]).unwrap().count(), 0);
    assert_eq!(
        set(vec![ISSUER.jwk("ec"), ISSUER.jwk("rsa")])
            .unwrap()
            .count(),
        2
    );
    let keys = set(vec![with("ec", "alg", json!("ES256"))]).unwrap();
    assert!(
        keys.find("ec")
            .unwrap()
            .for_algorithm(Algorithm::Es256)
            .is_some()
    );
    assert!(
        keys.find("ec")
            .unwrap()
            .for_algorithm(Algorithm::Es384)
            .is_none()
    );
    let shown = format!("{keys:?} {:?}", callers());
    assert!(!shown.contains(point(&ISSUER.p256).0.as_str()), "{shown}");
}

#[test]
fn a_set_with_something_secret_or_wrong_is_refused_whole() {
    let (x, _) = point(&ISSUER.p384);
    for (keys, said) in [
        (
            vec![json!({"kty": "oct", "kid": "s", "k": "AAAA"})],
            "is a secret",
        ),
        (vec![with("ec", "k", json!("AAAA"))], "is a secret"),
        (
            vec![ISSUER.jwk("ed"), with("ec", "d", json!("AAAA"))],
            "key 2 of the set is a private key",
        ),
        (vec![with("ec", "kid", json!(null))], "has no `kid`"),
        (vec![with("ec", "kid", json!(""))], "has no `kid`"),
        (
            vec![ISSUER.jwk("ec"), with("ed", "kid", json!("ec"))],
            "has the `kid` of another",
        ),
        (
            vec![with("ec", "alg", json!("RS256"))],
            "is not for its kind",
        ),
        (
            vec![with("rsa", "alg", json!("EdDSA"))],
            "is not for its kind",
        ),
        (vec![with("ec", "crv", json!(null))], "has no `crv`"),
        (vec![with("ec", "x", json!(x))], "no point"),
        (vec![with("ec", "y", json!(b64([1; 32])))], "no point"),
        (vec![with("ec", "y", json!(null))], "no point"),
        (vec![with("ed", "x", json!(b64([1; 31])))], "no Ed25519 key"),
        (
            vec![with("rsa", "n", json!(b64([0xff; 128])))],
            "no RSA key",
        ),
        (vec![with("rsa", "n", json!(b64([0; 256])))], "no RSA key"),
        (vec![with("rsa", "e", json!("Aw"))], "no RSA key"),
        (vec![with("rsa", "e", json!("AQ"))], "no RSA key"),
        (vec![with("rsa", "n", json!("not base64!"))], "no RSA key"),
    ] {
        let error = set(keys).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"keys":{}}"#,
        r#"{"keys":[[]]}"#,
        r#"{"keys":[]} x"#,
    ] {
        let error = JwtKeys::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("no JWK set"), "{text}: {error}");
    }
}
