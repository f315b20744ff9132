//! Callers: who asks this service, what each may do and for which businesses, and the tokens they show.
//!
//! These are the values and what follows from them at an instant. How a token reads, how it is recognised
//! and what a refused caller is told is `crate::auth`'s business; how tokens are kept is `crate::catalog`'s.

use std::collections::BTreeSet;
use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::id::{BusinessId, CallerName, InvalidName};
use super::time::Timestamp;

/// One kind of thing that a caller may do. None of them holds another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// Ask whether a message may be sent.
    Check,
    /// Record what can allow a message: consents, confirmations, registry answers, the end of a
    /// suppression.
    Record,
    /// Record what can only forbid one: opt-outs and suppressions.
    Withdraw,
    /// Hand over what was received, sent and not delivered.
    Report,
    /// Read a person's consents, their history and why an answer is what it is.
    ReadHistory,
    /// Read and change businesses, senders, purposes and notices.
    Catalogue,
    /// Read the ledger itself and what proves it.
    Audit,
    /// Do what an operator or a data protection officer does: erase a person's data.
    Operate,
}

impl Permission {
    pub const ALL: [Self; 8] = [
        Self::Check,
        Self::Record,
        Self::Withdraw,
        Self::Report,
        Self::ReadHistory,
        Self::Catalogue,
        Self::Audit,
        Self::Operate,
    ];

    /// As people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Record => "record",
            Self::Withdraw => "withdraw",
            Self::Report => "report",
            Self::ReadHistory => "read-history",
            Self::Catalogue => "catalogue",
            Self::Audit => "audit",
            Self::Operate => "operate",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// Whether an opt-out may come by it. Such a call is heard also while this instance cannot tell from
    /// memory who may call: an opt-out that is turned away may be lost.
    pub const fn brings_opt_outs(self) -> bool {
        match self {
            Self::Withdraw | Self::Report => true,
            Self::Check
            | Self::Record
            | Self::ReadHistory
            | Self::Catalogue
            | Self::Audit
            | Self::Operate => false,
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of [`Permission`]s.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Permissions(u8);

impl Permissions {
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | (1 << permission as u8))
    }

    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Permission> {
        let all = Permission::ALL.into_iter();
        all.filter(move |permission| self.has(*permission))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl From<Vec<Permission>> for Permissions {
    fn from(permissions: Vec<Permission>) -> Self {
        permissions.into_iter().fold(Self::default(), Self::with)
    }
}

impl From<Permissions> for Vec<Permission> {
    fn from(permissions: Permissions) -> Self {
        permissions.iter().collect()
    }
}

/// For which businesses a caller speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Businesses {
    /// For each, also for those that are yet to be created: the operator's own callers.
    All,
    Only(BTreeSet<BusinessId>),
}

impl Businesses {
    /// Whether this is one of them, by the name in a request, which need not be anybody's.
    pub fn include(&self, business: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(businesses) => businesses.contains(business),
        }
    }
}

/// Who calls: what any kind of credential leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// The program or team that calls. Several tokens may have the same: while one follows the other.
    pub name: CallerName,
    pub businesses: Businesses,
    pub permissions: Permissions,
}

impl Caller {
    /// Whether it may do this for this business.
    pub fn may(&self, permission: Permission, business: &str) -> bool {
        self.permissions.has(permission) && self.businesses.include(business)
    }
}

/// The public part of a token, by which it is found and named: eight of `a`–`z` and `2`–`7`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenPrefix([u8; Self::LENGTH]);

impl TokenPrefix {
    pub const LENGTH: usize = 8;

    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        const ALLOWED: &str = "eight of the characters `a` to `z` and `2` to `7`";
        let allowed = |bytes: [u8; Self::LENGTH]| Self::from_bytes(bytes);
        let bytes = text.as_bytes().try_into().ok();
        bytes
            .and_then(allowed)
            .ok_or(InvalidName::Character { allowed: ALLOWED })
    }

    /// As [`TokenPrefix::parse`], without a reason.
    pub fn from_bytes(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let sound = |byte: &u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        bytes.iter().all(sound).then_some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII letters and digits are taken")
    }
}

impl TryFrom<String> for TokenPrefix {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<TokenPrefix> for String {
    fn from(prefix: TokenPrefix) -> Self {
        prefix.as_str().to_owned()
    }
}

impl fmt::Display for TokenPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The keyed hash of a token's whole text, which is all that is kept of its secret.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash(pub [u8; 32]);

impl TryFrom<String> for TokenHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Self)
            .ok_or("a token's hash is 64 hexadecimal digits")
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        HEXLOWER.encode(&hash.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A token as it is kept. Only its revocation ever changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub prefix: TokenPrefix,
    pub hash: TokenHash,
    pub caller: Caller,
    pub create_time: Timestamp,
    /// From when on it is no longer good; `None`: it has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_time: Option<Timestamp>,
}

/// Whether a token is good for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    Expired,
    /// Whatever its times say.
    Revoked,
}

impl Token {
    pub fn standing(&self, at: Timestamp) -> Standing {
        if self.revoke_time.is_some() {
            Standing::Revoked
        } else if self.expire_time.is_some_and(|end| end <= at) {
            Standing::Expired
        } else {
            Standing::Good
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme_alone() -> Businesses {
        Businesses::Only(BTreeSet::from([BusinessId::parse("acme").unwrap()]))
    }

    fn token() -> Token {
        Token {
            prefix: TokenPrefix::parse("abcdefg7").unwrap(),
            hash: TokenHash([0xA5; 32]),
            caller: Caller {
                name: CallerName::parse("crm-sync").unwrap(),
                businesses: acme_alone(),
                permissions: Permissions::default()
                    .with(Permission::Withdraw)
                    .with(Permission::Check),
            },
            create_time: Timestamp::from_micros(1),
            expire_time: None,
            revoke_time: None,
        }
    }

    #[test]
    fn every_permission_is_one_of_its_own_and_has_a_word() {
        for permission in Permission::ALL {
            let only = Permissions::default().with(permission);
            assert_eq!(only.iter().collect::<Vec<_>>(), [permission]);
            assert_eq!(Permission::from_word(permission.word()), Some(permission));
        }
        assert_eq!(Permission::from_word("admin"), None);
        assert!(Permissions::default().is_empty());
    }

    #[test]
    fn a_caller_may_do_what_it_was_given_for_the_businesses_it_was_given_it_for() {
        let caller = token().caller;
        for (permission, business, may) in [
            (Permission::Check, "acme", true),
            (Permission::Withdraw, "acme", true),
            (Permission::Record, "acme", false),
            (Permission::Check, "rival", false),
            (Permission::Check, "", false),
            (Permission::Check, "ACME", false),
        ] {
            assert_eq!(
                caller.may(permission, business),
                may,
                "{permission} {business}"
            );
        }
        assert!(Businesses::All.include("not-created-yet"));
    }

    #[test]
    fn a_token_ends_at_its_instant_and_by_its_revocation_for_ever() {
        let at = Timestamp::from_micros;
        let mut token = token();
        assert_eq!(token.standing(Timestamp::MAX), Standing::Good);
        token.expire_time = Some(at(10));
        assert_eq!(token.standing(at(9)), Standing::Good);
        assert_eq!(token.standing(at(10)), Standing::Expired);
        token.revoke_time = Some(at(20));
        for then in [9, 10, 30] {
            assert_eq!(token.standing(at(then)), Standing::Revoked);
        }
    }

    #[test]
    fn a_token_is_kept_as_json_that_reads_back_and_nothing_else_does() {
        let mut token = token();
        token.expire_time = Some(Timestamp::from_micros(7));
        let json = serde_json::to_string(&token).unwrap();
        assert_eq!(serde_json::from_str::<Token>(&json).unwrap(), token);
        assert!(
            json.contains(r#""permissions":["CHECK","WITHDRAW"]"#),
            "{json}"
        );
        assert!(json.contains(r#""businesses":{"ONLY":["acme"]}"#), "{json}");
        for broken in [
            json.replace("\"CHECK\"", "\"EVERYTHING\""),
            json.replace("abcdefg7", "abcdefg1"),
            json.replace("a5a5", "a5"),
            json.replace("create_time", "created"),
        ] {
            assert!(serde_json::from_str::<Token>(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_is_printed_of_a_token_is_not_what_recognises_it() {
        let shown = format!("{:?}", token());
        assert!(
            shown.contains("abcdefg7") && !shown.contains("165"),
            "{shown}"
        );
    }

    #[test]
    fn only_what_can_bring_an_opt_out_is_heard_without_a_lease() {
        let heard: Vec<_> = Permission::ALL
            .into_iter()
            .filter(|permission| permission.brings_opt_outs())
            .collect();
        assert_eq!(heard, [Permission::Withdraw, Permission::Report]);
    }

    #[test]
    fn who_had_it_recorded_is_kept_where_that_is_known() {
        use crate::domain::event::tests::{event, withdrawal};
        use crate::domain::event::{Event, Scope};
        let mut event = event(7, Timestamp::EPOCH, withdrawal(Scope::Everything));
        assert!(
            !String::from_utf8(event.canonical())
                .unwrap()
                .contains("recorded_by")
        );
        event.recorded_by = Some(CallerName::parse("crm-sync").unwrap());
        let text = String::from_utf8(event.canonical()).unwrap();
        assert!(text.ends_with(r#","recorded_by":"crm-sync"}"#), "{text}");
        assert_eq!(Event::read(text.as_bytes()).unwrap(), event);
    }
}
