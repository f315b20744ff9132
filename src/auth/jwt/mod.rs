//! JWTs: whether one is good, and who shows it.
//!
//! Everything that a JWT says of itself is looked at before its signature, which costs most, and nothing of it
//! is believed before that has been verified. What is asked of its claims is in [`claims`], by which keys it may be
//! signed in [`keys`]; how the file of keys is read is the server's business. The cryptography is
//! `jsonwebtoken`'s; its validation is not used, since it reads the system's clock and forgives what is missing.

mod claims;
mod keys;
mod verified;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::crypto;

pub use keys::{Algorithm, BadKeys, JwtKeys};

use crate::domain::caller::Caller;
use crate::domain::time::Timestamp;
use claims::{Claims, Header};
use verified::{Verified, VerifiedJwts};

/// The longest text that is taken for a JWT. Those of well-known issuers have one or two thousand bytes.
const LONGEST: usize = 8 << 10;

/// What is asked of every JWT.
#[derive(Debug, Clone)]
pub struct JwtRules {
    /// The whole of `iss`.
    pub issuer: String,
    /// One of `aud`.
    pub audience: String,
    pub algorithms: Vec<Algorithm>,
    /// Longest time from `iat` to `exp`.
    pub max_life: Duration,
    /// How far the issuer's clock and ours may be apart.
    pub clock_skew: Duration,
}

/// Why a JWT is refused: for the log, and never for whoever showed it. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is larger than any JWT")]
    Large,
    #[error(
        "its header or its claims are not the base64url of a JSON object with what is asked for"
    )]
    Unreadable,
    #[error("its type is not that of a JWT or an access token")]
    Type,
    #[error(
        "its header asks for something that is not done here: `crit`, `b64`, `enc`, `zip` or `cty`"
    )]
    Extension,
    #[error("its algorithm is not among `jwt_algorithms`")]
    Algorithm,
    #[error("no key of the file has its `kid`")]
    UnknownKey,
    #[error("the key of its `kid` is not for its algorithm")]
    WrongKey,
    #[error("its `iss` is not `jwt_issuer`")]
    Issuer,
    #[error("its `aud` does not name `jwt_audience`")]
    Audience,
    #[error("it is good for longer than `jwt_max_life`, or for no time at all")]
    Life,
    #[error("it is not good yet")]
    Early,
    #[error("it has expired")]
    Expired,
    #[error("its `sub` is no name of a caller")]
    Subject,
    #[error("its claim `consentgate` does not give businesses and permissions as it must")]
    Grant,
    #[error("its signature is wrong")]
    Signature,
}

/// The three parts of a text that may be a JWT.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    /// All of it.
    whole: &'a [u8],
    /// Header and claims: what is signed.
    signed: &'a [u8],
    header: &'a [u8],
    claims: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    /// By its form alone: two dots. A token of ours has none.
    pub(super) fn of(text: &'a [u8]) -> Option<Self> {
        let mut dots = (0..text.len()).filter(|at| text.get(*at) == Some(&b'.'));
        let (first, second) = (dots.next()?, dots.next()?);
        if dots.next().is_some() {
            return None;
        }
        Some(Self {
            whole: text,
            signed: text.get(..second)?,
            header: text.get(..first)?,
            claims: text.get(first + 1..second)?,
            signature: text.get(second + 1..)?,
        })
    }
}

/// Whether a text reads like a JWT, for whoever is to send one. Whether it is one only its issuer's keys tell.
pub fn reads_like_jwt(text: &str) -> bool {
    let sound = |part: &[u8]| !part.is_empty() && BASE64URL_NOPAD.decode(part).is_ok();
    Parts::of(text.as_bytes()).is_some_and(|parts| {
        [parts.header, parts.claims, parts.signature]
            .into_iter()
            .all(sound)
    })
}

/// Who is known by a JWT. A handle: cheap to clone. By default nobody is.
#[derive(Clone, Default)]
pub struct JwtCallers(Option<Arc<Inner>>);

struct Inner {
    rules: JwtRules,
    current: ArcSwap<Current>,
    missed: AtomicBool,
}

/// The keys, and what was verified with them: replaced together, so that nothing outlives its key.
struct Current {
    keys: JwtKeys,
    verified: VerifiedJwts,
}

impl Current {
    fn new(keys: JwtKeys) -> Self {
        Self {
            keys,
            verified: VerifiedJwts::default(),
        }
    }
}

impl fmt::Debug for JwtCallers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.as_ref().map(|inner| &inner.rules);
        f.debug_tuple("JwtCallers").field(&rules).finish()
    }
}

impl JwtCallers {
    pub fn new(rules: JwtRules, keys: JwtKeys) -> Self {
        Self(Some(Arc::new(Inner {
            rules,
            current: ArcSwap::from_pointee(Current::new(keys)),
            missed: AtomicBool::new(false),
        })))
    }

    /// Only what these keys have signed is good from now on.
    pub fn replace(&self, keys: JwtKeys) {
        if let Some(inner) = &self.0 {
            inner.current.store(Arc::new(Current::new(keys)));
        }
    }

    /// By how many keys JWTs are verified now.
    pub fn count(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |inner| inner.current.load().keys.count())
    }

    /// Whether, since this was asked last, a JWT named a key that there is not: there may be newer keys. Anybody can
    /// show such a JWT, so it is for whoever asks to ask seldom.
    pub fn missed_a_key(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|inner| inner.missed.swap(false, Ordering::Relaxed))
    }

    /// Whose text this is, if it is a JWT that is good now.
    pub fn caller(&self, text: &[u8], now: Timestamp) -> Option<Arc<Caller>> {
        self.find(Parts::of(text)?, now)
    }

    pub(super) fn find(&self, parts: Parts<'_>, now: Timestamp) -> Option<Arc<Caller>> {
        let inner = self.0.as_ref()?;
        match inner.find(parts, now) {
            Ok(caller) => Some(caller),
            Err(fault) => {
                if fault == Fault::UnknownKey {
                    inner.missed.store(true, Ordering::Relaxed);
                }
                tracing::debug!(%fault, "a JWT was shown that is not good");
                None
            }
        }
    }
}

impl Inner {
    fn find(&self, parts: Parts<'_>, now: Timestamp) -> Result<Arc<Caller>, Fault> {
        if parts.whole.len() > LONGEST {
            return Err(Fault::Large);
        }
        let hash = digest::digest(&digest::SHA256, parts.whole);
        let current = self.current.load();
        if let Some(known) = current.verified.find(hash.as_ref()) {
            known.good_at(now)?;
            return Ok(Arc::clone(&known.caller));
        }
        let (caller, term) = self.verify(&current.keys, parts, now)?;
        let known = Verified::new(hash.as_ref(), Arc::new(caller), term);
        let caller = Arc::clone(&known.caller);
        current.verified.keep(known, now);
        Ok(caller)
    }

    /// Everything that is asked of a JWT, the signature last.
    fn verify(
        &self,
        keys: &JwtKeys,
        parts: Parts<'_>,
        now: Timestamp,
    ) -> Result<(Caller, claims::Term), Fault> {
        let decoded = |part| BASE64URL_NOPAD.decode(part).map_err(|_| Fault::Unreadable);
        let header = Header::read(&decoded(parts.header)?)?;
        let algorithm = Algorithm::from_word(&header.alg).ok_or(Fault::Algorithm)?;
        if !self.rules.algorithms.contains(&algorithm) {
            return Err(Fault::Algorithm);
        }
        let key = keys.find(&header.kid).ok_or(Fault::UnknownKey)?;
        let key = key.for_algorithm(algorithm).ok_or(Fault::WrongKey)?;
        let (caller, term) = Claims::read(&decoded(parts.claims)?)?.judged(&self.rules)?;
        term.holds_at(now)?;
        let signature = std::str::from_utf8(parts.signature).map_err(|_| Fault::Signature)?;
        match crypto::verify(signature, parts.signed, key, algorithm.of_library()) {
            Ok(true) => Ok((caller, term)),
            // An error is a signature that is no base64url.
            Ok(false) | Err(_) => Err(Fault::Signature),
        }
    }
}

#[cfg(test)]
mod tests;
