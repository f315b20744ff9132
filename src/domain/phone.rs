//! What numbering plans say of a number: whether it can exist, and in which country.
//!
//! Used where consent is recorded, never on the way of a check or of an opt-out: numbering plans
//! change, and a number that they call invalid may still be a person who writes STOP.
//! The plans are libphonenumber's metadata, by the library `rlibphonenumber`.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, Region};

use super::address::{Address, MatchKey};
use super::id::JurisdictionCode;

/// Version of the library, and with it of the metadata; kept with every recorded consent.
pub const METADATA: &str = "rlibphonenumber 2.2.15";

/// What the numbering plans know of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existence {
    /// A valid number of this country (`None`: of no country, as +800).
    Valid(Option<JurisdictionCode>),
    /// No spelling of it is a valid number.
    Invalid,
    /// A user id, which no numbering plan knows.
    NotANumber,
}

/// Looks an address up under all its plausible spellings: WhatsApp's id of a Brazilian mobile
/// lacks a digit of the number that the plan knows.
pub fn existence(address: &Address) -> Existence {
    if matches!(address.key(), MatchKey::UserId(_)) {
        return Existence::NotANumber;
    }
    for number in address.plausible_numbers() {
        if let Some(parsed) = parse_valid(number) {
            return Existence::Valid(country(&parsed));
        }
    }
    Existence::Invalid
}

fn parse_valid(number: u64) -> Option<PhoneNumber> {
    let written = format!("+{number}");
    let parsed = PHONE_NUMBER_UTIL.parse(&written, None).ok()?;
    // The library forgives a trunk prefix after the country code (+44 07400 …). What it would read
    // is another number than the digits say, and a STOP from that one would not be found.
    let same = PHONE_NUMBER_UTIL.format(&parsed, PhoneNumberFormat::E164) == written;
    (same && PHONE_NUMBER_UTIL.is_valid_number(&parsed)).then_some(parsed)
}

fn country(number: &PhoneNumber) -> Option<JurisdictionCode> {
    let region: Region = PHONE_NUMBER_UTIL.get_region_for_number(number)?;
    // A region is represented by the two letters of its code; the world (+800) by 1.
    let [first, second] = (region as u16).to_be_bytes();
    let code = [first, second];
    JurisdictionCode::parse(std::str::from_utf8(&code).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country_of(text: &str) -> Existence {
        let address = match text.strip_prefix('+') {
            Some(_) => Address::from_phone_number(text).unwrap(),
            None => Address::from_wa_id(text).unwrap(),
        };
        existence(&address)
    }

    fn valid(code: &str) -> Existence {
        Existence::Valid(Some(JurisdictionCode::parse(code).unwrap()))
    }

    #[test]
    fn a_number_is_found_in_its_country() {
        for (number, code) in [
            ("+4915112345678", "DE"),
            ("+14155552671", "US"),
            ("+14165550123", "CA"),
            ("+5511987654321", "BR"),
            ("+447400123456", "GB"),
            ("+77011234567", "KZ"),
            ("+79161234567", "RU"),
            ("+525512345678", "MX"),
        ] {
            assert_eq!(country_of(number), valid(code), "{number}");
        }
    }

    #[test]
    fn a_whatsapp_id_that_is_no_valid_number_is_found_by_its_twin() {
        assert_eq!(country_of("554188887777"), valid("BR"));
        assert_eq!(country_of("5215512345678"), valid("MX"));
        assert_eq!(country_of("89161234567"), valid("RU"));
    }

    #[test]
    fn a_number_that_no_plan_knows_is_invalid() {
        for number in [
            "+12025550",
            "+9991234567",
            "+491111111",
            "+15555555555",
            "+4407400123412",
        ] {
            assert_eq!(country_of(number), Existence::Invalid, "{number}");
        }
        let user = Address::from_user_id("US.13491208655302741918").unwrap();
        assert_eq!(existence(&user), Existence::NotANumber);
    }

    #[test]
    fn a_number_of_no_country_is_valid_all_the_same() {
        assert_eq!(country_of("+80012345678"), Existence::Valid(None));
    }
}
