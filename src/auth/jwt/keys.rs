//! The keys that JWTs are verified by: a JWK set (RFC 7517), read strictly.
//!
//! A set is the issuer's and holds what is for others, too: keys to encrypt with, kinds that came later. Those are
//! passed over. What could be used and is wrong refuses the whole set, and so does anything secret.

use std::collections::HashMap;
use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::claims::{Object, is_there};

/// What a JWT may be signed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "RS256" => Some(Self::Rs256),
            "RS384" => Some(Self::Rs384),
            "RS512" => Some(Self::Rs512),
            "PS256" => Some(Self::Ps256),
            "PS384" => Some(Self::Ps384),
            "PS512" => Some(Self::Ps512),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    pub(super) fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// Of which kind its key is.
    fn kind(self) -> Kind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                Kind::Rsa
            }
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::EdDsa => Kind::Ed25519,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// One key, and what it is for.
pub(super) struct Key {
    kind: Kind,
    /// If the set says so: for this one alone.
    algorithm: Option<Algorithm>,
    key: DecodingKey,
}

impl Key {
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits =
            algorithm.kind() == self.kind && self.algorithm.is_none_or(|named| named == algorithm);
        fits.then_some(&self.key)
    }
}

/// The keys of a set by which JWTs can be verified, by their `kid`.
#[derive(Default)]
pub struct JwtKeys(HashMap<String, Key>);

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is wrong with a set. Holds nothing of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKeys(String);

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<Object<WrittenKey>>,
}

#[derive(Deserialize)]
struct WrittenKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    /// Of a private key.
    #[serde(default, deserialize_with = "is_there")]
    d: bool,
    /// Of a secret that both sides share.
    #[serde(default, deserialize_with = "is_there")]
    k: bool,
}

impl JwtKeys {
    /// Reads the text of a set. It may hold no key at all: then nobody is known by a JWT.
    pub fn read(text: &[u8]) -> Result<Self, BadKeys> {
        let Object(set): Object<WrittenSet> = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let fault = "it is no JWK set: expected an object with the list `keys`, each an object with `kty`";
            BadKeys(format!("line {line}, column {column}: {fault}"))
        })?;
        let mut keys = HashMap::new();
        for (at, Object(written)) in set.keys.iter().enumerate() {
            let wrong = |fault: &str| BadKeys(format!("key {} of the set {fault}", at + 1));
            let Some(key) = written.read().map_err(wrong)? else {
                continue;
            };
            let kid = written.kid.clone().filter(|kid| !kid.is_empty());
            let kid = kid.ok_or_else(|| wrong("has no `kid`"))?;
            if keys.insert(kid, key).is_some() {
                return Err(wrong("has the `kid` of another one"));
            }
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

impl WrittenKey {
    /// `None`: it is for something else.
    fn read(&self) -> Result<Option<Key>, &'static str> {
        if self.k || self.kty == "oct" {
            return Err("is a secret: whoever can verify with it can sign with it");
        }
        if self.d {
            return Err("is a private key, which belongs to the issuer alone");
        }
        let is_other = |usage: &String| usage != "sig";
        let cannot = |operations: &Vec<String>| operations.iter().all(|one| one != "verify");
        if self.usage.as_ref().is_some_and(is_other) || self.key_ops.as_ref().is_some_and(cannot) {
            return Ok(None);
        }
        let algorithm = match self.alg.as_deref().map(Algorithm::from_word) {
            Some(None) => return Ok(None),
            Some(Some(algorithm)) => Some(algorithm),
            None => None,
        };
        let curve = self.crv.as_deref();
        let (kind, key) = match (self.kty.as_str(), curve) {
            ("RSA", _) => (Kind::Rsa, self.rsa()?),
            ("EC", Some("P-256")) => (Kind::P256, self.point(32)?),
            ("EC", Some("P-384")) => (Kind::P384, self.point(48)?),
            ("OKP", Some("Ed25519")) => (Kind::Ed25519, self.edwards()?),
            ("EC" | "OKP", None) => return Err("has no `crv`"),
            _ => return Ok(None),
        };
        if algorithm.is_some_and(|algorithm| algorithm.kind() != kind) {
            return Err("has an `alg` that is not for its kind");
        }
        Ok(Some(Key {
            kind,
            algorithm,
            key,
        }))
    }

    /// From 2048 to 8192 bits, as the library takes them, and with an exponent that is not small.
    fn rsa(&self) -> Result<DecodingKey, &'static str> {
        const FAULT: &str = "is no RSA key of 2048 to 8192 bits";
        let (modulus, exponent) = (bytes(self.n.as_ref()), bytes(self.e.as_ref()));
        let (modulus, exponent) = (modulus.ok_or(FAULT)?, exponent.ok_or(FAULT)?);
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        let high = modulus.first().copied().unwrap_or(0);
        let sound = (256..=1024).contains(&modulus.len())
            && (modulus.len() > 256 && high > 0 || high >= 0x80)
            && is_odd(&modulus)
            && (3..=4).contains(&exponent.len())
            && exponent.first().is_some_and(|first| *first > 0)
            && is_odd(&exponent);
        if !sound {
            return Err(FAULT);
        }
        Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
    }

    fn point(&self, size: usize) -> Result<DecodingKey, &'static str> {
        use aws_lc_rs::signature::{self, ParsedPublicKey};
        const FAULT: &str = "is no point of its curve";
        let (x, y) = (bytes(self.x.as_ref()), bytes(self.y.as_ref()));
        let (x, y) = (x.ok_or(FAULT)?, y.ok_or(FAULT)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let curve = match size {
            32 => &signature::ECDSA_P256_SHA256_FIXED,
            _ => &signature::ECDSA_P384_SHA384_FIXED,
        };
        if x.len() != size || y.len() != size || ParsedPublicKey::new(curve, &point).is_err() {
            return Err(FAULT);
        }
        Ok(DecodingKey::from_ec_der(&point))
    }

    fn edwards(&self) -> Result<DecodingKey, &'static str> {
        const FAULT: &str = "is no Ed25519 key";
        let x = bytes(self.x.as_ref()).ok_or(FAULT)?;
        if x.len() != 32 {
            return Err(FAULT);
        }
        Ok(DecodingKey::from_ed_der(&x))
    }
}

fn bytes(text: Option<&String>) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text?.as_bytes()).ok()
}
