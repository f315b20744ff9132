//! What a JWT says: its header and its claims, read strictly, and what follows from them.
//!
//! Of what is not asked for nothing is read: a key or the address of one in the header (`jwk`, `jku`, `x5c`)
//! is worth nothing. Whether any of it is true the signature shows.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Fault, JwtRules};
use crate::domain::caller::{Businesses, Caller, Permission, Permissions};
use crate::domain::id::{BusinessId, CallerName};
use crate::domain::time::Timestamp;

/// The last second that [`Timestamp`] knows.
const LAST_SECOND: u64 = 253_402_300_799;

/// A JSON object and nothing else: serde would take a list for a struct, too. A field that is there twice
/// is a fault, since readers differ in which one they take.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// A field that is there, whatever it holds.
pub(super) fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A field that may be missing, and may not be `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: String,
    #[serde(default, deserialize_with = "given")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
    #[serde(default, deserialize_with = "is_there")]
    b64: bool,
    #[serde(default, deserialize_with = "is_there")]
    enc: bool,
    #[serde(default, deserialize_with = "is_there")]
    zip: bool,
    #[serde(default, deserialize_with = "is_there")]
    cty: bool,
}

impl Header {
    pub(super) fn read(json: &[u8]) -> Result<Self, Fault> {
        let Object(header): Object<Self> =
            serde_json::from_slice(json).map_err(|_| Fault::Unreadable)?;
        if header.crit || header.b64 || header.enc || header.zip || header.cty {
            return Err(Fault::Extension);
        }
        // What was issued for another end, as a logout or a proof of possession, has another type (RFC 8725, 3.11).
        let known = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];
        match &header.typ {
            Some(typ) if !known.iter().any(|one| typ.eq_ignore_ascii_case(one)) => Err(Fault::Type),
            Some(_) | None => Ok(header),
        }
    }
}

/// Times are whole seconds: a fraction is refused, though RFC 7519 knows it.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    iat: u64,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<u64>,
    consentgate: Object<Grant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// What the caller may do: the claim that is ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    #[serde(default, deserialize_with = "given")]
    businesses: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    all_businesses: Option<bool>,
    permissions: Vec<String>,
}

impl Grant {
    fn businesses(&self) -> Option<Businesses> {
        match (&self.businesses, self.all_businesses) {
            (None, Some(true)) => Some(Businesses::All),
            (Some(named), None | Some(false)) if !named.is_empty() => {
                let read = named.iter().map(|one| BusinessId::parse(one).ok());
                let read: Option<BTreeSet<_>> = read.collect();
                read.map(Businesses::Only)
            }
            (Some(_), _) | (None, Some(false) | None) => None,
        }
    }

    fn permissions(&self) -> Option<Permissions> {
        let mut permissions = Permissions::default();
        for word in &self.permissions {
            permissions = permissions.with(Permission::from_word(word)?);
        }
        (!permissions.is_empty()).then_some(permissions)
    }
}

/// When a JWT is good, the tolerance for another clock included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    from: Timestamp,
    /// The first instant at which it no longer is.
    until: Timestamp,
}

impl Term {
    pub(super) fn holds_at(self, now: Timestamp) -> Result<(), Fault> {
        match (now < self.from, now < self.until) {
            (true, _) => Err(Fault::Early),
            (false, false) => Err(Fault::Expired),
            (false, true) => Ok(()),
        }
    }
}

impl Claims {
    pub(super) fn read(json: &[u8]) -> Result<Self, Fault> {
        let read = serde_json::from_slice(json);
        read.map(|Object(claims)| claims)
            .map_err(|_| Fault::Unreadable)
    }

    /// Who it is, and when the JWT is good.
    pub(super) fn judged(&self, rules: &JwtRules) -> Result<(Caller, Term), Fault> {
        if self.iss != rules.issuer {
            return Err(Fault::Issuer);
        }
        if !self.aud.names(&rules.audience) {
            return Err(Fault::Audience);
        }
        let term = self.term(rules)?;
        let Object(grant) = &self.consentgate;
        let caller = Caller {
            name: CallerName::of_jwt(&self.sub).map_err(|_| Fault::Subject)?,
            businesses: grant.businesses().ok_or(Fault::Grant)?,
            permissions: grant.permissions().ok_or(Fault::Grant)?,
        };
        Ok((caller, term))
    }

    fn term(&self, rules: &JwtRules) -> Result<Term, Fault> {
        let begin = self.nbf.unwrap_or(self.iat).max(self.iat);
        let (issued, begin, end) = (second(self.iat)?, second(begin)?, second(self.exp)?);
        if issued >= end || end.since(issued) > rules.max_life {
            return Err(Fault::Life);
        }
        Ok(Term {
            from: begin.minus(rules.clock_skew),
            until: end.plus(rules.clock_skew),
        })
    }
}

fn second(seconds: u64) -> Result<Timestamp, Fault> {
    if seconds > LAST_SECOND {
        return Err(Fault::Unreadable);
    }
    let micros = i64::try_from(seconds * 1_000_000).map_err(|_| Fault::Unreadable)?;
    Ok(Timestamp::from_micros(micros))
}
