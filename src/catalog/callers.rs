//! The callers' tokens as the system partition leaves them, and how they are made and revoked.
//!
//! They are changes of the system partition like all others, so a token that was made or revoked holds on
//! every instance once that is acknowledged. Nothing is removed: a revoked token stays, so that its name
//! is never given again, and so that a ledger which once held a token is never open to everybody.
//! Who may do what is `crate::auth`'s business.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::constant_time;
use zeroize::Zeroizing;

use super::fold::{Change, Snapshot};
use super::validate::Fault;
use super::{Catalog, Done, Error, missing, refuse};
use crate::domain::caller::{Businesses, Caller, Token, TokenHash, TokenPrefix};
use crate::keys::LedgerKeys;

/// A token, and by what it is recognised.
#[derive(Debug)]
pub struct Known {
    pub token: Token,
    /// The text that led to the stored hash. The keyed hash costs more than all else that is done to learn
    /// who calls, so it is made once; the text itself is in the connection's memory anyway, for as long as
    /// the connection lasts. Never printed.
    recognised: OnceLock<Recognised>,
}

struct Recognised(Zeroizing<Box<[u8]>>);

impl std::fmt::Debug for Recognised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recognised(…)")
    }
}

impl Known {
    fn new(token: Token) -> Self {
        Self {
            token,
            recognised: OnceLock::new(),
        }
    }

    /// Whether this is the token's text. Whether the token is still good is another question.
    pub fn is(&self, text: &[u8], keys: &LedgerKeys) -> bool {
        if let Some(Recognised(known)) = self.recognised.get() {
            return constant_time::verify_slices_are_equal(known, text).is_ok();
        }
        let hash = keys.credential_hash(text);
        let same = constant_time::verify_slices_are_equal(&hash, &self.token.hash.0).is_ok();
        if same {
            let text = Recognised(Zeroizing::new(text.into()));
            self.recognised.get_or_init(|| text);
        }
        same
    }
}

/// Every token that there ever was, by its prefix.
#[derive(Debug, Clone, Default)]
pub struct Callers(HashMap<TokenPrefix, Arc<Known>, foldhash::fast::RandomState>);

impl Callers {
    /// Whether there never was a token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn find(&self, prefix: &TokenPrefix) -> Option<&Arc<Known>> {
        self.0.get(prefix)
    }

    pub(super) fn put(&mut self, token: Token) {
        self.0.insert(token.prefix, Arc::new(Known::new(token)));
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<_> = self.0.values().map(|known| known.token.clone()).collect();
        tokens.sort_by_key(|token| (token.create_time, token.prefix));
        tokens
    }
}

/// A token that is to be made; its text is known to whoever asks for it, and to nobody else.
#[derive(Debug, Clone)]
pub struct NewToken {
    pub prefix: TokenPrefix,
    pub hash: TokenHash,
    pub caller: Caller,
    /// For how long it is good; `None`: without end.
    pub lifetime: Option<Duration>,
}

impl Catalog {
    /// Looks at the tokens that are in memory.
    pub fn with_callers<T>(&self, look: impl FnOnce(&Callers) -> T) -> T {
        look(self.snapshot.load().callers())
    }

    /// Every token that there ever was, the oldest first.
    pub fn tokens(&self) -> Vec<Token> {
        self.with_callers(Callers::tokens)
    }

    /// Makes a token. It is taken by every instance once this returns.
    pub async fn create_token(&self, new: &NewToken) -> Result<Token, Error> {
        self.change(|snapshot, now| {
            refuse(unsound(new, snapshot))?;
            if snapshot.callers().find(&new.prefix).is_some() {
                let what = format!("token `{}`", new.prefix);
                return Err(Error::AlreadyExists { what });
            }
            let token = Token {
                prefix: new.prefix,
                hash: new.hash,
                caller: new.caller.clone(),
                create_time: now,
                expire_time: new.lifetime.map(|lifetime| now.plus(lifetime)),
                revoke_time: None,
            };
            Ok((Some(Change::Token(token.clone())), token))
        })
        .await
    }

    /// Revokes a token. No instance takes it once this returns.
    pub async fn revoke_token(&self, prefix: &TokenPrefix) -> Result<(Token, Done), Error> {
        self.change(|snapshot, now| {
            let known = snapshot.callers().find(prefix);
            let known = &known.ok_or_else(|| missing("token", prefix))?.token;
            if known.revoke_time.is_some() {
                return Ok((None, (known.clone(), Done::Unchanged)));
            }
            let revoked = Token {
                revoke_time: Some(now),
                ..known.clone()
            };
            Ok((
                Some(Change::Token(revoked.clone())),
                (revoked, Done::Updated),
            ))
        })
        .await
    }
}

/// What is wrong with a token that is to be made.
fn unsound(new: &NewToken, snapshot: &Snapshot) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: String| {
        let field = field.to_owned();
        faults.push(Fault { field, message });
    };
    if new.caller.permissions.is_empty() {
        fault("permissions", "must name at least one".to_owned());
    }
    if let Businesses::Only(businesses) = &new.caller.businesses {
        if businesses.is_empty() {
            fault("businesses", "must name at least one".to_owned());
        }
        // A misspelt one would look like a token that does not work.
        for business in businesses {
            if snapshot.business(business).is_none() {
                let message = format!("names `{business}`, which does not exist");
                fault("businesses", message);
            }
        }
    }
    if new.lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
        fault("lifetime", "must be longer than nothing".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::{Permission, Permissions};
    use crate::domain::id::{BusinessId, CallerName};
    use crate::domain::time::Timestamp;
    use crate::keys::Keyring;
    use crate::ledger::{Offset, SystemRecord};

    fn token(prefix: &str, hash: [u8; 32]) -> Token {
        Token {
            prefix: TokenPrefix::parse(prefix).unwrap(),
            hash: TokenHash(hash),
            caller: Caller {
                name: CallerName::parse("crm").unwrap(),
                businesses: Businesses::All,
                permissions: Permissions::default().with(Permission::Check),
            },
            create_time: Timestamp::EPOCH,
            expire_time: None,
            revoke_time: None,
        }
    }

    #[test]
    fn a_token_is_known_by_its_text_the_first_time_and_every_other() {
        let keys = Keyring::generate().ledger_keys();
        let known = Known::new(token("aaaaaaaa", keys.credential_hash(b"right")));
        for _ in 0..2 {
            assert!(!known.is(b"wrong", &keys));
            assert!(!known.is(b"", &keys));
            assert!(known.is(b"right", &keys));
        }
        assert!(!format!("{known:?}").contains("right"));
        assert!(!format!("{known:?}").contains("114"), "{known:?}");
        let other_keyring = Known::new(known.token.clone());
        assert!(!other_keyring.is(b"right", &Keyring::generate().ledger_keys()));
    }

    #[test]
    fn the_last_change_of_a_token_is_the_token_and_one_that_does_not_read_stops_everything() {
        let mut snapshot = Snapshot::default();
        let mut apply = |offset: i64, body: &str| {
            snapshot.apply(&SystemRecord {
                offset: Offset(offset),
                recorded_at: Timestamp::EPOCH,
                body: body.to_owned(),
            })
        };
        let mut one = token("aaaaaaaa", [1; 32]);
        apply(1, &Change::Token(one.clone()).to_json()).unwrap();
        apply(2, &Change::Token(token("bbbbbbbb", [2; 32])).to_json()).unwrap();
        one.revoke_time = Some(Timestamp::from_micros(5));
        apply(3, &Change::Token(one.clone()).to_json()).unwrap();
        let wider = Change::Token(one.clone()).to_json();
        let wider = wider.replace("CHECK", "EVERYTHING");
        apply(4, &wider).unwrap_err();
        let tokens = snapshot.callers().tokens();
        assert_eq!(tokens, [one, token("bbbbbbbb", [2; 32])]);
    }

    #[test]
    fn a_token_that_could_do_nothing_is_not_made() {
        let sound = NewToken {
            prefix: TokenPrefix::parse("aaaaaaaa").unwrap(),
            hash: TokenHash([1; 32]),
            caller: token("aaaaaaaa", [1; 32]).caller,
            lifetime: Some(Duration::from_micros(1)),
        };
        let faults = |change: &dyn Fn(&mut NewToken)| {
            let mut new = sound.clone();
            change(&mut new);
            let faults = unsound(&new, &Snapshot::default());
            faults
                .into_iter()
                .map(|fault| fault.field)
                .collect::<Vec<_>>()
        };
        assert!(faults(&|_| {}).is_empty());
        let no_time = |new: &mut NewToken| new.lifetime = Some(Duration::ZERO);
        assert_eq!(faults(&no_time), ["lifetime"]);
        let no_permission = |new: &mut NewToken| new.caller.permissions = Permissions::default();
        assert_eq!(faults(&no_permission), ["permissions"]);
        for businesses in [vec![], vec!["nobody"]] {
            let only = businesses.iter().map(|id| BusinessId::parse(id).unwrap());
            let only = Businesses::Only(only.collect());
            assert_eq!(
                faults(&|new| new.caller.businesses = only.clone()),
                ["businesses"]
            );
        }
    }
}
