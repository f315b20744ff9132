//! People as they are typed: `+49 (151) 123-456 78`, `wa:5215512345678`, `user:CC.…`.
//!
//! What separates digits is taken out here, on the way from people to the contract, which refuses
//! it. Nothing is guessed: a number without its country code is refused, because a wrong guess asks
//! about somebody else. No message repeats an address, and no debug form shows one.

use std::fmt;
use std::str::FromStr;

use crate::domain::address::{Address, InvalidAddress};
use crate::grpc::proto::{self, recipient};

/// A person to ask about.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Recipient {
    address: Address,
    wire: recipient::Address,
}

/// Why a recipient was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistyped {
    #[error(
        "has no country code: write it as in `+4915112345678`, without the 0 before the area code"
    )]
    National,
    #[error("`00` is a prefix for dialling that not every country has: write `+` instead")]
    DialPrefix,
    #[error("`(0)` is dialled inside the country only: leave it out")]
    TrunkPrefix,
    #[error("expected a number as in `+4915112345678`, `wa:DIGITS` or `user:CC.ID`")]
    Unknown,
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

impl Recipient {
    /// What the contract calls it.
    pub(super) fn to_proto(&self) -> proto::Recipient {
        proto::Recipient {
            address: Some(self.wire.clone()),
        }
    }

    /// The address with all its spellings, to tell whether two are the same person.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl FromStr for Recipient {
    type Err = Mistyped;

    fn from_str(text: &str) -> Result<Self, Mistyped> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
        if let Some(digits) = text.strip_prefix("wa:") {
            let address = Address::from_wa_id(digits)?;
            return Ok(Self {
                address,
                wire: recipient::Address::WaId(digits.to_owned()),
            });
        }
        if let Some(id) = text.strip_prefix("user:") {
            let address = Address::from_user_id(id)?;
            let wire = recipient::Address::BusinessScopedUserId(id.to_owned());
            return Ok(Self { address, wire });
        }
        if text.starts_with('+') {
            let number = without_separators(text)?;
            let address = Address::from_phone_number(&number)?;
            return Ok(Self {
                address,
                wire: recipient::Address::PhoneNumber(number),
            });
        }
        Err(match text.trim_start_matches('(').as_bytes() {
            [b'0', b'0', ..] => Mistyped::DialPrefix,
            [first, ..] if first.is_ascii_digit() => Mistyped::National,
            _ => Mistyped::Unknown,
        })
    }
}

/// The number without what people put between digits.
fn without_separators(text: &str) -> Result<String, Mistyped> {
    let compact: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !is_invisible(*c))
        .collect();
    if compact.contains("(0)") {
        return Err(Mistyped::TrunkPrefix);
    }
    Ok(compact.chars().filter(|c| !is_separator(*c)).collect())
}

fn is_separator(c: char) -> bool {
    matches!(
        c,
        '-' | '.' | '(' | ')' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}'
    )
}

/// Marks that address books put around a number, which nobody sees.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Nothing of the address.
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Result<recipient::Address, Mistyped> {
        text.parse::<Recipient>().map(|recipient| recipient.wire)
    }

    #[test]
    fn a_number_may_be_typed_as_people_type_it() {
        for typed in [
            "+4915112345678",
            "+49 151 123 456 78",
            "+49 (151) 123-456-78",
            "+49.151.12345678",
            "+49 151/12345678",
            "  +49\u{a0}151\u{202f}123\u{2011}456\u{2013}78\t",
            "\u{202a}+49 151 12345678\u{202c}",
        ] {
            let expected = recipient::Address::PhoneNumber("+4915112345678".to_owned());
            assert_eq!(wire(typed), Ok(expected), "{typed:?}");
        }
    }

    #[test]
    fn whatsapp_ids_and_user_ids_are_taken_as_they_are() {
        assert_eq!(
            wire("wa:5215512345678"),
            Ok(recipient::Address::WaId("5215512345678".to_owned()))
        );
        assert_eq!(
            wire("user:US.13491208655302741918"),
            Ok(recipient::Address::BusinessScopedUserId(
                "US.13491208655302741918".to_owned()
            ))
        );
    }

    #[test]
    fn what_could_be_somebody_else_is_refused() {
        for (typed, refused) in [
            ("015112345678", Mistyped::National),
            ("(0151) 12345678", Mistyped::National),
            ("15112345678", Mistyped::National),
            ("004915112345678", Mistyped::DialPrefix),
            ("00 49 151 12345678", Mistyped::DialPrefix),
            ("+49 (0) 151 12345678", Mistyped::TrunkPrefix),
            ("+49(0)15112345678", Mistyped::TrunkPrefix),
            ("", Mistyped::Unknown),
            ("Anna", Mistyped::Unknown),
            (
                "wa: 5215512345678",
                InvalidAddress::NotDigits { plus: false }.into(),
            ),
            (
                "wa:+5215512345678",
                InvalidAddress::NotDigits { plus: false }.into(),
            ),
            ("wa:", InvalidAddress::Empty.into()),
            ("user:13491208655302741918", InvalidAddress::UserId.into()),
            ("+", InvalidAddress::Length.into()),
            (
                "+4915112345678, +4915112345679",
                InvalidAddress::NotDigits { plus: true }.into(),
            ),
            (
                "+49 151 12345678 x12",
                InvalidAddress::NotDigits { plus: true }.into(),
            ),
            (
                "+1-800-FLOWERS",
                InvalidAddress::NotDigits { plus: true }.into(),
            ),
            ("+0 151 12345678", InvalidAddress::LeadingZero.into()),
        ] {
            assert_eq!(wire(typed), Err(refused), "{typed:?}");
        }
    }

    #[test]
    fn no_message_and_no_debug_form_has_the_address() {
        let refused = wire("+49151123x45678").unwrap_err();
        assert!(!format!("{refused} {refused:?}").contains("151"));
        assert_eq!(
            format!("{:?}", "+4915112345678".parse::<Recipient>()),
            "Ok(Recipient)"
        );
    }
}
