//! Addresses of people, and the match key under which all spellings of one number fall together.
//!
//! Opt-outs match by the match key, grants by the exact spelling and its twins: a STOP must hold
//! for every way the same number may arrive, a consent only for the number that gave it.
//! The four rule sets are pure digit rules, version [`MATCH_RULES`], and must never change: another
//! rule would orphan what is stored under the old key. Whether a number exists is not judged here
//! (see [`super::phone`]): what WhatsApp sends may be invalid E.164, and dropping it drops a STOP.
//!
//! Sources: how WhatsApp ids of Mexico, Brazil, Argentina and Russia differ from E.164 is collected
//! from the issue trackers of public WhatsApp clients (chatwoot 14174, 14255, 14277, 14657;
//! nyaruka/courier 433; devlikeapro/waha 1516, 1974, 1976) and from libphonenumber's metadata.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::vocabulary::AddressKind;

/// Version of the match key rules, kept in the database and compared at start.
pub const MATCH_RULES: u32 = 1;

/// The fewest digits of an international number (E.164 sets no minimum; none in use is shorter).
pub const MIN_DIGITS: usize = 7;
/// The most digits of an international number (ITU-T E.164, 6.2.1).
pub const MAX_DIGITS: usize = 15;
/// The most characters of a business-scoped user id.
pub const MAX_USER_ID: usize = 160;

/// Why an address was refused. Messages never repeat the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("must not be empty")]
    Empty,
    #[error(
        "must start with `+` and the country code, as in `+4915112345678`; a national number cannot be told from another country's"
    )]
    NoPlus,
    #[error("may hold only digits{after}; remove spaces and punctuation", after = if *.plus { " after the `+`" } else { "" })]
    NotDigits { plus: bool },
    #[error("must have {MIN_DIGITS} to {MAX_DIGITS} digits")]
    Length,
    #[error("must not start with 0: no country code does")]
    LeadingZero,
    #[error(
        "must be a country code, a dot and an id, as in `US.13491208655302741918`, of visible ASCII and at most {MAX_USER_ID} characters"
    )]
    UserId,
}

/// An address as a caller gave it, with what it is compared by.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    key: MatchKey,
    spelling: Spelling,
}

/// The digits (or the user id) under which all plausible spellings of an address fall together.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum MatchKey {
    /// Digits of the canonical spelling, country code first.
    Phone(u64),
    /// A business-scoped user id, verbatim.
    UserId(Box<str>),
}

/// Which of the spellings of a match key an address was in. Kept in the clear: it says no more
/// than "with" or "without" a digit that many numbers of a country share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Spelling {
    /// The only spelling there is.
    Verbatim,
    /// Mexico, 52 and ten digits: what is dialled since 2019.
    Mexico52,
    /// Mexico, 521 and ten digits: WhatsApp ids made before that.
    Mexico521,
    /// A Brazilian mobile without the ninth digit: WhatsApp ids of most area codes from 31 up.
    Brazil8,
    /// A Brazilian mobile with the ninth digit.
    Brazil9,
    /// Argentina, 54 and ten digits: also how a landline of somebody else is written.
    Argentina54,
    /// Argentina, 549 and ten digits: a mobile.
    Argentina549,
    /// Russia, 7 and a mobile number.
    Russia7,
    /// Russia, typed with the trunk prefix 8.
    Russia8,
}

impl Spelling {
    /// Every spelling, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Verbatim,
        Self::Mexico52,
        Self::Mexico521,
        Self::Brazil8,
        Self::Brazil9,
        Self::Argentina54,
        Self::Argentina549,
        Self::Russia7,
        Self::Russia8,
    ];

    /// Whether a grant given under this spelling allows a message to `asked`, of the same match key.
    ///
    /// True for the spelling itself and its twin: 52 and 521 are one subscriber, and so is a
    /// Brazilian mobile with and without its ninth digit. Argentina's 54 and 549 are not: without
    /// the 9 it may be a landline of somebody else (chatwoot's argentina_phone_normalizer).
    pub const fn grants(self, asked: Self) -> bool {
        use Spelling::{
            Argentina54, Argentina549, Brazil8, Brazil9, Mexico52, Mexico521, Russia7, Russia8,
            Verbatim,
        };
        match (self, asked) {
            (Verbatim, Verbatim)
            | (Mexico52 | Mexico521, Mexico52 | Mexico521)
            | (Brazil8 | Brazil9, Brazil8 | Brazil9)
            | (Argentina54, Argentina54)
            | (Argentina549, Argentina549)
            | (Russia7, Russia7)
            | (Russia8, Russia8) => true,
            (
                Verbatim | Mexico52 | Mexico521 | Brazil8 | Brazil9 | Argentina54 | Argentina549
                | Russia7 | Russia8,
                _,
            ) => false,
        }
    }
}

impl Address {
    /// An E.164 number: a plus and 7 to 15 digits, nothing else.
    pub fn from_phone_number(text: &str) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        let digits = text.strip_prefix('+').ok_or(InvalidAddress::NoPlus)?;
        Ok(Self::from_digits(parse_digits(digits, true)?, Prefix::Plus))
    }

    /// A WhatsApp id of a person: digits without a plus.
    pub fn from_wa_id(text: &str) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        Ok(Self::from_digits(parse_digits(text, false)?, Prefix::None))
    }

    /// A business-scoped user id, kept verbatim: `CC.` and an id, or a parent's `CC.ENT.` and an id.
    ///
    /// Only the frame is checked, because a user id whose inner form WhatsApp changes must not make
    /// us drop an opt-out.
    pub fn from_user_id(text: &str) -> Result<Self, InvalidAddress> {
        if text.is_empty() {
            return Err(InvalidAddress::Empty);
        }
        let (country, id) = text.split_once('.').ok_or(InvalidAddress::UserId)?;
        let ok = text.len() <= MAX_USER_ID
            && country.len() == 2
            && country.bytes().all(|b| b.is_ascii_uppercase())
            && !id.is_empty()
            && id != "ENT."
            && id.bytes().all(|b| b.is_ascii_graphic());
        if !ok {
            return Err(InvalidAddress::UserId);
        }
        Ok(Self {
            key: MatchKey::UserId(text.into()),
            spelling: Spelling::Verbatim,
        })
    }

    fn from_digits(number: u64, prefix: Prefix) -> Self {
        let (key, spelling) = match_rules_v1(number, prefix);
        Self {
            key: MatchKey::Phone(key),
            spelling,
        }
    }

    pub const fn key(&self) -> &MatchKey {
        &self.key
    }

    /// Which of the kinds of address this is.
    pub fn kind(&self) -> AddressKind {
        match &self.key {
            MatchKey::Phone(_) => AddressKind::PhoneNumber,
            // `CC.ENT.…`, behind the two letters of the country and their dot.
            MatchKey::UserId(id) => match id.get(3..).is_some_and(|id| id.starts_with("ENT.")) {
                true => AddressKind::ParentUserId,
                false => AddressKind::UserId,
            },
        }
    }

    pub const fn spelling(&self) -> Spelling {
        self.spelling
    }

    /// Every way in which the number behind this address may be written, its own way first.
    /// A user id has none.
    pub fn plausible_numbers(&self) -> Vec<u64> {
        let MatchKey::Phone(key) = self.key else {
            return Vec::new();
        };
        let mut numbers: Vec<u64> = vec![spell(key, self.spelling)];
        for spelling in Spelling::ALL {
            let number = spell(key, spelling);
            if match_rules_v1(number, Prefix::None) == (key, spelling) && !numbers.contains(&number)
            {
                numbers.push(number);
            }
        }
        numbers
    }
}

/// A person's address never reaches a log: only its kind does.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            MatchKey::Phone(_) => write!(f, "Phone(…, {:?})", self.spelling),
            MatchKey::UserId(_) => f.write_str("UserId(…)"),
        }
    }
}

impl fmt::Debug for MatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(_) => f.write_str("Phone(…)"),
            Self::UserId(_) => f.write_str("UserId(…)"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Plus,
    None,
}

fn parse_digits(digits: &str, plus: bool) -> Result<u64, InvalidAddress> {
    if digits.is_empty() {
        return Err(InvalidAddress::Length);
    }
    let mut number: u64 = 0;
    for byte in digits.bytes() {
        if !byte.is_ascii_digit() {
            return Err(InvalidAddress::NotDigits { plus });
        }
        number = number
            .saturating_mul(10)
            .saturating_add(u64::from(byte - b'0'));
    }
    if digits.starts_with('0') {
        return Err(InvalidAddress::LeadingZero);
    }
    if !(MIN_DIGITS..=MAX_DIGITS).contains(&digits.len()) {
        return Err(InvalidAddress::Length);
    }
    Ok(number)
}

const TEN_TO_8: u64 = 100_000_000;
const TEN_TO_9: u64 = 1_000_000_000;
const TEN_TO_10: u64 = 10_000_000_000;
const TEN_TO_11: u64 = 100_000_000_000;

/// The frozen rules: from the digits of a number to its match key and spelling.
///
/// Digits are compared from the left: `521` and ten digits is a number between
/// 5 210 000 000 000 and 5 219 999 999 999, and so on.
fn match_rules_v1(number: u64, prefix: Prefix) -> (u64, Spelling) {
    mexico(number)
        .or_else(|| brazil(number))
        .or_else(|| argentina(number))
        .or_else(|| russia(number, prefix))
        .unwrap_or((number, Spelling::Verbatim))
}

/// Mexico: 521 and ten digits is 52 and ten digits.
fn mexico(number: u64) -> Option<(u64, Spelling)> {
    let national = number % TEN_TO_10;
    match number / TEN_TO_10 {
        521 => Some((52 * TEN_TO_10 + national, Spelling::Mexico521)),
        52 => Some((number, Spelling::Mexico52)),
        _ => None,
    }
}

/// Brazil: 55, an area code, and a mobile's eight digits, with or without a 9 before them.
/// Eight digits that start with 2 to 5 are a landline, which never takes the ninth digit.
fn brazil(number: u64) -> Option<(u64, Spelling)> {
    let local = number % TEN_TO_8;
    let is_landline = (2..=5).contains(&(local / 10_000_000));
    if is_landline {
        return None;
    }
    if number / TEN_TO_10 == 55 {
        return Some((number, Spelling::Brazil8));
    }
    let area = number / TEN_TO_9 % 100;
    let ninth = number / TEN_TO_8 % 10;
    if number / TEN_TO_11 == 55 && ninth == 9 {
        return Some((55 * TEN_TO_10 + area * TEN_TO_8 + local, Spelling::Brazil9));
    }
    None
}

/// Argentina: 549 and ten digits falls together with 54 and ten digits.
fn argentina(number: u64) -> Option<(u64, Spelling)> {
    let national = number % TEN_TO_10;
    match number / TEN_TO_10 {
        549 => Some((54 * TEN_TO_10 + national, Spelling::Argentina549)),
        54 => Some((number, Spelling::Argentina54)),
        _ => None,
    }
}

/// Russia: `89` and nine digits, typed without a plus, is `79` and nine digits. Other numbers that
/// start with 8 belong to other countries (852 Hong Kong, 84 Vietnam).
fn russia(number: u64, prefix: Prefix) -> Option<(u64, Spelling)> {
    match (number / TEN_TO_9, prefix) {
        (79, _) => Some((number, Spelling::Russia7)),
        (89, Prefix::None) => Some((number - TEN_TO_10, Spelling::Russia8)),
        _ => None,
    }
}

/// The digits of a match key in a spelling; the inverse of the rules for the spellings it has.
fn spell(key: u64, spelling: Spelling) -> u64 {
    let national = key % TEN_TO_10;
    match spelling {
        Spelling::Verbatim
        | Spelling::Mexico52
        | Spelling::Brazil8
        | Spelling::Argentina54
        | Spelling::Russia7 => key,
        Spelling::Mexico521 => 521 * TEN_TO_10 + national,
        Spelling::Argentina549 => 549 * TEN_TO_10 + national,
        Spelling::Brazil9 => {
            let area = key / TEN_TO_8 % 100;
            55 * TEN_TO_11 + area * TEN_TO_9 + 9 * TEN_TO_8 + key % TEN_TO_8
        }
        Spelling::Russia8 => key.saturating_add(TEN_TO_10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(text: &str) -> Address {
        Address::from_phone_number(text).unwrap()
    }

    fn wa(text: &str) -> Address {
        Address::from_wa_id(text).unwrap()
    }

    #[test]
    fn spellings_of_one_number_fall_together() {
        for (a, b) in [
            ("5215512345678", "525512345678"),
            ("5511987654321", "551187654321"),
            ("5541988887777", "554188887777"),
            ("5491123456789", "541123456789"),
            ("89161234567", "79161234567"),
        ] {
            assert!(wa(a).key() == wa(b).key(), "{a} {b}");
            assert_ne!(wa(a).spelling(), wa(b).spelling(), "{a} {b}");
        }
    }

    #[test]
    fn numbers_of_different_people_stay_apart() {
        for (a, b) in [
            // A landline of São Paulo and a mobile that ends in the same digits.
            ("551131234567", "5511931234567"),
            ("551151234567", "5511951234567"),
            // Too short or too long for the rule.
            ("52155123456", "5255123456"),
            ("52155123456789", "5255123456789"),
            ("54911234567", "5411234567"),
            // Hong Kong and Vietnam, not Russia.
            ("85291234567", "75291234567"),
            ("84912345678", "74912345678"),
            // Kazakhstan.
            ("87011234567", "77011234567"),
        ] {
            assert!(wa(a).key() != wa(b).key(), "{a} {b}");
        }
    }

    #[test]
    fn the_russian_trunk_prefix_counts_only_without_a_plus() {
        assert_eq!(wa("89161234567").spelling(), Spelling::Russia8);
        assert_eq!(phone("+89161234567").spelling(), Spelling::Verbatim);
        assert!(phone("+79161234567").key() == wa("89161234567").key());
        assert!(phone("+89161234567").key() != wa("89161234567").key());
    }

    #[test]
    fn every_spelling_is_known_and_its_number_is_found_again() {
        for (number, spelling) in [
            (525_512_345_678, Spelling::Mexico52),
            (5_215_512_345_678, Spelling::Mexico521),
            (551_187_654_321, Spelling::Brazil8),
            (5_511_987_654_321, Spelling::Brazil9),
            (541_123_456_789, Spelling::Argentina54),
            (5_491_123_456_789, Spelling::Argentina549),
            (79_161_234_567, Spelling::Russia7),
            (89_161_234_567, Spelling::Russia8),
            (4_915_112_345_678, Spelling::Verbatim),
        ] {
            let address = wa(&number.to_string());
            assert_eq!(address.spelling(), spelling, "{number}");
            let MatchKey::Phone(key) = address.key() else {
                unreachable!("a number")
            };
            assert_eq!(spell(*key, spelling), number, "{spelling:?}");
        }
    }

    #[test]
    fn a_grant_allows_itself_and_its_twin_only() {
        for a in Spelling::ALL {
            for b in Spelling::ALL {
                let twins = [
                    (Spelling::Mexico52, Spelling::Mexico521),
                    (Spelling::Brazil8, Spelling::Brazil9),
                ];
                let expected = a == b || twins.contains(&(a, b)) || twins.contains(&(b, a));
                assert_eq!(a.grants(b), expected, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_brazilian_mobile_keeps_its_area_code() {
        let with = phone("+5511987654321");
        let without = phone("+551187654321");
        assert_eq!(
            (with.spelling(), without.spelling()),
            (Spelling::Brazil9, Spelling::Brazil8)
        );
        assert_eq!(*with.key(), MatchKey::Phone(551_187_654_321));
        assert_eq!(phone("+5511931234567").spelling(), Spelling::Verbatim);
        assert_eq!(phone("+551131234567").spelling(), Spelling::Verbatim);
    }

    #[test]
    fn plausible_numbers_are_the_spellings_with_the_own_one_first() {
        assert_eq!(
            wa("554188887777").plausible_numbers(),
            [554_188_887_777, 5_541_988_887_777]
        );
        assert_eq!(
            wa("5215512345678").plausible_numbers(),
            [5_215_512_345_678, 525_512_345_678]
        );
        assert_eq!(
            wa("89161234567").plausible_numbers(),
            [89_161_234_567, 79_161_234_567]
        );
        assert_eq!(wa("4915112345678").plausible_numbers(), [4_915_112_345_678]);
        assert!(
            Address::from_user_id("US.1")
                .unwrap()
                .plausible_numbers()
                .is_empty()
        );
    }

    #[test]
    fn every_spelling_of_every_rule_leads_back_to_its_key() {
        for number in [
            525_512_345_678_u64,
            551_187_654_321,
            541_123_456_789,
            79_161_234_567,
        ] {
            let address = Address::from_digits(number, Prefix::None);
            for spelled in address.plausible_numbers() {
                assert!(
                    Address::from_digits(spelled, Prefix::None).key() == address.key(),
                    "{spelled}"
                );
            }
        }
    }

    #[test]
    fn malformed_numbers_are_refused_with_their_reason() {
        use InvalidAddress as E;
        for (text, error) in [
            ("", E::Empty),
            ("4915112345678", E::NoPlus),
            ("0151 1234567", E::NoPlus),
            ("+49 151 12345678", E::NotDigits { plus: true }),
            ("+49-151", E::NotDigits { plus: true }),
            ("+４９１５１１２３４５６７８", E::NotDigits { plus: true }),
            ("+", E::Length),
            ("+49151", E::Length),
            ("+4915112345678901", E::Length),
            ("+99999999999999999999999999", E::Length),
            ("+04915112345678", E::LeadingZero),
            ("+4915112345678\0", E::NotDigits { plus: true }),
        ] {
            assert_eq!(Address::from_phone_number(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Address::from_wa_id("+4915112345678"),
            Err(E::NotDigits { plus: false })
        );
    }

    #[test]
    fn user_ids_are_kept_verbatim() {
        let parent = Address::from_user_id("US.ENT.11815799212886844830").unwrap();
        assert_eq!(
            *parent.key(),
            MatchKey::UserId("US.ENT.11815799212886844830".into())
        );
        assert!(Address::from_user_id("BR.1502576394655843").is_ok());
        assert!(Address::from_user_id("BR.abcDEF123").is_ok());
        let too_long = format!("US.{}", "1".repeat(158));
        for bad in [
            "",
            "US",
            "US.",
            "us.1",
            "USA.1",
            "US.a b",
            "US.ENT.",
            "US.ä",
            too_long.as_str(),
        ] {
            assert!(Address::from_user_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_output_holds_no_digit_of_the_number() {
        let shown = format!(
            "{:?} {:?}",
            phone("+4915112345678"),
            phone("+4915112345678").key()
        );
        assert!(!shown.contains("4915112345678"), "{shown}");
    }
}
