//! Who calls, and whether this caller may: asked first by every call, and answered from memory.
//!
//! A credential is a token or a JWT in `authorization: Bearer`, or the certificate of the connection. All lead to
//! a [`Caller`], in [`Gate::identify`]; nothing after it asks how somebody was known.
//!
//! A revocation that was acknowledged holds on every instance, by the protocol that a withdrawal holds by:
//! the lease is looked at before the tokens in memory are (C1). Nothing here knows the wire, nor what a
//! refused caller is told.

mod certificate;
mod jwt;
mod token;

use std::sync::Arc;

pub use certificate::{BadCallers, Certificate, CertificateCallers, Name, ReadCallers};
pub use jwt::{Algorithm, BadKeys, JwtCallers, JwtKeys, JwtRules, reads_like_jwt};
pub use token::{Malformed, TokenText};

use crate::cache::FactsCache;
use crate::catalog::callers::{Callers, Known};
use crate::catalog::{self, Catalog};
use crate::clock::Clock;
use crate::domain::caller::{Caller, Permission, Standing};
use crate::domain::id::CallerName;
use crate::keys::LedgerKeys;

/// Why a call is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no credential, or it is not a good one: which, the caller is not told.
    #[error("no valid credential")]
    Unauthenticated,
    /// Known, and may not do this for this business, whether there is such a business or not.
    #[error("not permitted")]
    Forbidden,
    /// From memory it cannot be told who may call.
    #[error("the lease is lost: who may call cannot be told from memory")]
    NoLease,
    /// Nor from the ledger.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}

/// What the gate is made of.
#[derive(Debug)]
pub struct Parts {
    pub catalog: Arc<Catalog>,
    /// Holds the lease.
    pub cache: Arc<FactsCache>,
    pub clock: Arc<dyn Clock>,
    pub keys: Arc<LedgerKeys>,
    pub certificates: CertificateCallers,
    pub jwts: JwtCallers,
    /// Whether a credential is needed also while the ledger holds no token.
    pub always: bool,
}

/// Tells who may do what. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Parts>);

/// What a caller shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// What came as `authorization`; empty if it cannot be read.
    pub bearer: Option<&'a [u8]>,
    pub certificate: Option<&'a Certificate>,
}

/// What a caller wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub permission: Permission,
    /// As the request names it, which need not be anybody's; `None`: it names none, or none yet.
    pub business: Option<&'a str>,
}

/// Somebody who may do what was asked.
#[derive(Debug, Clone)]
pub struct Admitted(Option<Who>);

/// Who it is, by what they showed.
#[derive(Debug, Clone)]
enum Who {
    Token(Arc<Known>),
    /// By a JWT or a certificate.
    Other(Arc<Caller>),
}

impl Who {
    fn caller(&self) -> &Caller {
        match self {
            Self::Token(known) => &known.token.caller,
            Self::Other(caller) => caller,
        }
    }
}

/// As [`Who`], before anybody needs to keep it.
enum Found<'a> {
    Token(&'a Arc<Known>),
    Other(Arc<Caller>),
}

impl Found<'_> {
    fn caller(&self) -> &Caller {
        match self {
            Self::Token(known) => &known.token.caller,
            Self::Other(caller) => caller,
        }
    }

    fn keep(self) -> Who {
        match self {
            Self::Token(known) => Who::Token(Arc::clone(known)),
            Self::Other(caller) => Who::Other(caller),
        }
    }
}

impl Admitted {
    /// Who it is; `None`: nobody had to say.
    pub fn name(&self) -> Option<&CallerName> {
        self.0.as_ref().map(|who| &who.caller().name)
    }

    /// Whether this caller may know of a business.
    pub fn sees(&self, business: &str) -> bool {
        match &self.0 {
            None => true,
            Some(who) => who.caller().businesses.include(business),
        }
    }
}

impl Gate {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Whether callers need a credential. Once there was a token, they do for ever.
    pub fn is_closed(&self) -> bool {
        self.0.always || !self.0.catalog.with_callers(Callers::is_empty)
    }

    /// Whether whoever shows this may do this, as far as memory tells. Waits for nobody and allocates
    /// nothing: it is part of every check.
    pub fn admit(&self, shown: Shown<'_>, wish: Wish<'_>) -> Result<(), Refusal> {
        self.require_lease()?;
        self.judge(shown, wish, |_| ())
    }

    /// As [`Gate::admit`], and who it is.
    pub fn admit_known(&self, shown: Shown<'_>, wish: Wish<'_>) -> Result<Admitted, Refusal> {
        self.require_lease()?;
        self.judge(shown, wish, |found| Admitted(found.map(Found::keep)))
    }

    /// As [`Gate::admit_known`], without a lease: what may not wait is judged by what the ledger says now.
    pub async fn admit_reading_through(
        &self,
        shown: Shown<'_>,
        wish: Wish<'_>,
    ) -> Result<Admitted, Refusal> {
        self.read_through(wish.permission).await?;
        self.judge(shown, wish, |found| Admitted(found.map(Found::keep)))
    }

    /// Before the tokens are looked at: an instance that was paused between the two, the other way round,
    /// could take a token that was revoked meanwhile.
    fn require_lease(&self) -> Result<(), Refusal> {
        match self.0.cache.has_lease() {
            true => Ok(()),
            false => Err(Refusal::NoLease),
        }
    }

    /// Without a lease a check is not answered, so there is nothing to find out for it. Of the others, those
    /// that may bring an opt-out are heard: the ledger itself says who may call. It may be the ledger of a
    /// deposed primary, which takes no write; what only reads would get its answer from it, so where there
    /// are credentials at all it is not answered.
    async fn read_through(&self, permission: Permission) -> Result<(), Refusal> {
        let heard = || permission.brings_opt_outs() || !self.is_closed();
        if permission == Permission::Check || !heard() {
            return Err(Refusal::NoLease);
        }
        self.0.catalog.catch_up().await?;
        if heard() {
            Ok(())
        } else {
            Err(Refusal::NoLease)
        }
    }

    /// Finds who calls, and judges. `admitted` is given nobody where nobody needs a credential.
    fn judge<T>(
        &self,
        shown: Shown<'_>,
        wish: Wish<'_>,
        admitted: impl FnOnce(Option<Found<'_>>) -> T,
    ) -> Result<T, Refusal> {
        self.0.catalog.with_callers(|callers| {
            if callers.is_empty() && !self.0.always {
                return Ok(admitted(None));
            }
            let found = self.identify(callers, shown);
            let found = found.ok_or(Refusal::Unauthenticated)?;
            let caller = found.caller();
            let may = match wish.business {
                Some(business) => caller.may(wish.permission, business),
                None => caller.permissions.has(wish.permission),
            };
            match may {
                true => Ok(admitted(Some(found))),
                false => Err(Refusal::Forbidden),
            }
        })
    }

    /// Whose credential this is, if it is a good one. Who shows a token or a JWT is judged by it, and a bad one
    /// is not made good by a certificate. The two are told apart by their form.
    fn identify<'a>(&self, callers: &'a Callers, shown: Shown<'_>) -> Option<Found<'a>> {
        let Some(bearer) = shown.bearer else {
            let caller = self.0.certificates.find(shown.certificate?);
            return caller.map(Found::Other);
        };
        match jwt::Parts::of(bearer) {
            Some(parts) => {
                let caller = self.0.jwts.find(parts, self.0.clock.now());
                caller.map(Found::Other)
            }
            None => self.known(callers, bearer).map(Found::Token),
        }
    }

    fn known<'a>(&self, callers: &'a Callers, shown: &[u8]) -> Option<&'a Arc<Known>> {
        let prefix = token::prefix_of(shown)?;
        let Some(known) = callers.find(&prefix) else {
            // As much work as for a known prefix, so that time does not tell which there are.
            let _ = self.0.keys.credential_hash(shown);
            return None;
        };
        if !known.is(shown, &self.0.keys) {
            return None;
        }
        match known.token.standing(self.0.clock.now()) {
            Standing::Good => Some(known),
            standing @ (Standing::Expired | Standing::Revoked) => {
                tracing::debug!(%prefix, ?standing, "a token was shown that is no longer good");
                None
            }
        }
    }
}

/// The credential in the values of the metadata `authorization`: of `Bearer CREDENTIAL` the second word.
/// Several values are none: which one would count is for nobody to guess.
pub fn bearer<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    const SCHEME: &[u8] = b"bearer";
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let credential = rest.trim_ascii_start();
    (scheme.eq_ignore_ascii_case(SCHEME) && credential.len() < rest.len()).then_some(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_the_second_word_of_the_only_value() {
        let of = |values: &[&'static str]| {
            let credential = bearer(values.iter().map(|value| value.as_bytes()));
            credential.map(|bytes| std::str::from_utf8(bytes).unwrap())
        };
        for (values, credential) in [
            (&["Bearer cg_x"][..], Some("cg_x")),
            (&["bearer cg_x"], Some("cg_x")),
            (&["BEARER   cg_x"], Some("cg_x")),
            (&["Bearer "], Some("")),
            (&["Bearercg_x"], None),
            (&["Basic cg_x"], None),
            (&["cg_x"], None),
            (&["Bearer"], None),
            (&[""], None),
            (&[], None),
            (&["Bearer cg_x", "Bearer cg_x"], None),
            (&["Bearer cg_x", ""], None),
        ] {
            assert_eq!(of(values), credential, "{values:?}");
        }
    }
}
