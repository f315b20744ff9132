//! How a token reads: `cg_PREFIX_SECRET`, of letters and digits alone.
//!
//! The prefix names it and is public. The secret is 256 random bits in base32 and ends in a checksum, by
//! which a mistyped token is told from a refused one without a server, and by which whoever searches
//! source code for secrets knows one: `cg_[a-z2-7]{8}_[a-z2-7]{60}`, where the last eight characters are
//! the base32 of the first five bytes of the SHA-256 of everything before them.

use std::fmt;

use aws_lc_rs::{digest, rand};
use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::domain::caller::TokenPrefix;

const HEAD: &str = "cg_";
/// Where the underscore between prefix and secret stands.
const SEPARATOR: usize = HEAD.len() + TokenPrefix::LENGTH;
/// Where the checksum begins: after 52 characters for 256 bits.
const CHECKSUM: usize = SEPARATOR + 1 + 52;
const LENGTH: usize = CHECKSUM + 8;

/// The text of a token, for whoever calls. Not kept, and not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Zeroizing<String>);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText(cg_{}_…)", self.prefix())
    }
}

/// Why a text is no token. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is no token of consentgate, which begins with `cg_` and has {LENGTH} characters")]
    Form,
    #[error("its checksum is wrong: a character of it is mistyped or missing")]
    Checksum,
}

impl TokenText {
    /// A new token.
    pub fn generate() -> Self {
        let mut random = Zeroizing::new([0; 5 + 32]);
        rand::fill(random.as_mut_slice()).expect("the system gives random numbers");
        let (prefix, secret) = random.split_at(5);
        let text = Zeroizing::new(format!("{HEAD}{}_{}", *base32(prefix), *base32(secret)));
        let sum = checksum(&text);
        Self(Zeroizing::new(format!("{}{sum}", *text)))
    }

    /// Reads what somebody pasted.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.trim();
        let sound = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        let secret = text.as_bytes().get(SEPARATOR + 1..).unwrap_or_default();
        if prefix_of(text.as_bytes()).is_none() || !secret.iter().all(|byte| sound(*byte)) {
            return Err(Malformed::Form);
        }
        // All of it is ASCII.
        let (start, sum) = text.split_at(CHECKSUM);
        if checksum(start) == sum {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(Malformed::Checksum)
        }
    }

    pub fn prefix(&self) -> TokenPrefix {
        prefix_of(self.0.as_bytes()).expect("both ways to make one look at the form")
    }

    /// The text itself: to be shown once, hashed, or sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The prefix of what a caller sent, if it has the form of a token. Whether it is one shows by its hash.
pub(super) fn prefix_of(text: &[u8]) -> Option<TokenPrefix> {
    let rest = text.strip_prefix(HEAD.as_bytes())?;
    let (prefix, rest) = rest.split_first_chunk()?;
    if text.len() == LENGTH && rest.first() == Some(&b'_') {
        TokenPrefix::from_bytes(*prefix)
    } else {
        None
    }
}

fn base32(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(BASE32_NOPAD.encode(bytes));
    text.make_ascii_lowercase();
    text
}

fn checksum(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let first = hash.as_ref().get(..5).unwrap_or_default();
    base32(first).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_the_form_that_is_written_down_and_no_two_are_alike() {
        let (one, other) = (TokenText::generate(), TokenText::generate());
        assert_ne!(one, other);
        assert_ne!(one.prefix(), other.prefix());
        let text = one.expose();
        assert_eq!(text.len(), 72);
        let parts: Vec<&str> = text.split('_').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [2, 8, 60]
        );
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        assert!(text.replace('_', "").bytes().all(plain), "{text}");
        assert_eq!(parts[1], one.prefix().as_str());
        assert_eq!(TokenText::parse(&format!(" {text}\n")), Ok(one.clone()));
    }

    #[test]
    fn the_checksum_is_the_one_that_is_written_down() {
        // By coreutils: printf %s TEXT | sha256sum | cut -c-10 | xxd -r -p | base32
        let text = format!("cg_abcdefg7_{}mdarzpth", "a".repeat(52));
        assert!(TokenText::parse(&text).is_ok());
    }

    #[test]
    fn a_mistyped_token_is_told_without_a_server() {
        let token = TokenText::generate();
        let text = token.expose();
        for at in 3..text.len() {
            let mut other = text.to_owned().into_bytes();
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let other = String::from_utf8(other).unwrap();
            assert!(TokenText::parse(&other).is_err(), "{at}");
        }
        let swapped = format!(
            "{}{}",
            &text[..70],
            text[70..].chars().rev().collect::<String>()
        );
        assert!(swapped == text || TokenText::parse(&swapped) == Err(Malformed::Checksum));
        for other in [
            "",
            "cg_",
            &text[..71],
            &format!("{text}a"),
            &text.to_uppercase(),
            &text.replace("cg_", "gh_"),
            &"ä".repeat(36),
        ] {
            assert_eq!(TokenText::parse(other), Err(Malformed::Form), "{other}");
        }
    }

    #[test]
    fn the_debug_form_has_the_prefix_alone() {
        let token = TokenText::generate();
        let shown = format!("{token:?}");
        assert_eq!(shown, format!("TokenText(cg_{}_…)", token.prefix()));
    }
}
