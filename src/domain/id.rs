//! Names and ids: parsed once at the edge, trusted afterwards.
//!
//! Nothing here is personal data; addresses of people are in [`super::address`].

use std::borrow::Borrow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::short::Short;

/// Why a name was refused. The field's name is added where the field is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {max} characters, has {length}")]
    TooLong { max: usize, length: usize },
    #[error("may hold only {allowed}")]
    Character { allowed: &'static str },
}

const SLUG: &str =
    "lower-case letters, digits, `-`, `_` and `.`, and starts with a letter or digit";
const TOKEN: &str = "visible ASCII characters";

fn check_slug(text: &str, max: usize) -> Result<(), InvalidName> {
    check_length(text, max)?;
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let starts_well = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if starts_well && text.bytes().all(inner) {
        Ok(())
    } else {
        Err(InvalidName::Character { allowed: SLUG })
    }
}

fn check_token(text: &str, max: usize) -> Result<(), InvalidName> {
    check_length(text, max)?;
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(InvalidName::Character { allowed: TOKEN })
    }
}

fn check_decision(text: &str, max: usize) -> Result<(), InvalidName> {
    const FORM: &str = "a decision_id, in a batch with `/` and the number of the item";
    check_length(text, max)?;
    let (decision, item) = match text.split_once('/') {
        Some((decision, item)) => (decision, Some(item)),
        None => (text, None),
    };
    let is_number = |item: &str| {
        (1..=5).contains(&item.len()) && item.bytes().all(|digit| digit.is_ascii_digit())
    };
    // Of the forms that parse only the hyphenated one has this length.
    let is_id = decision.len() == 36 && Uuid::try_parse(decision).is_ok();
    if is_id && item.is_none_or(is_number) {
        Ok(())
    } else {
        Err(InvalidName::Character { allowed: FORM })
    }
}

fn check_length(text: &str, max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    let length = text.chars().count();
    if length > max {
        return Err(InvalidName::TooLong { max, length });
    }
    Ok(())
}

/// Reads text as it lies, without a copy: names are read with the facts of millions.
struct Text<F>(F);

impl<T, F: Fn(&str) -> Result<T, InvalidName>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:ident, $max:literal) => {
        name!($(#[$doc])* $name, $check, $max, kept $check);
    };
    ($(#[$doc:meta])* $name:ident, $check:ident, $max:literal, kept $kept:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Short);

        impl $name {
            /// The most characters that a name of this kind may have.
            pub const MAX: usize = $max;

            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                $check(text, $max)?;
                Ok(Self(Short::new(text)))
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Bytes that it takes beside its own struct. For a cache's bound.
            pub fn heap_bytes(&self) -> usize {
                self.0.heap_bytes()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(|text: &str| {
                    $kept(text, $max)?;
                    Ok(Self(Short::new(text)))
                }))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// Slug of a business: the one who asks for consent and sends.
    BusinessId, check_slug, 64
);
name!(
    /// A sending number as WhatsApp names it (`phone_number_id`), or a BSP's name for it.
    SenderId, check_token, 256
);
name!(
    /// Key of a purpose in a business's catalogue.
    PurposeKey, check_slug, 64
);
name!(
    /// Slug of a notice; with version and language it names one immutable text.
    NoticeId, check_slug, 64
);
name!(
    /// Language of a notice as a BCP 47 tag (`de`, `pt-BR`).
    Language, check_token, 35
);
name!(
    /// A do-not-contact registry, by the name that the policy file gives it.
    RegistryName, check_slug, 64
);
name!(
    /// Name of an import run, kept with every event that it brought.
    ImportBatchId, check_token, 256
);

name!(
    /// A program or a team that calls this service. Not a person's name: it stands in logs.
    CallerName, check_slug, 64, kept check_caller
);

/// What the name of a caller by JWT begins with: no name that an operator gives has a colon, so nobody who issues
/// JWTs can take the name of a token or a certificate.
const BY_JWT: &str = "jwt:";

impl CallerName {
    /// Of the caller whom a JWT names as its subject.
    pub fn of_jwt(subject: &str) -> Result<Self, InvalidName> {
        check_slug(subject, Self::MAX - BY_JWT.len())?;
        Ok(Self(Short::new(&format!("{BY_JWT}{subject}"))))
    }
}

fn check_caller(text: &str, max: usize) -> Result<(), InvalidName> {
    match text.strip_prefix(BY_JWT) {
        Some(subject) => check_slug(subject, max - BY_JWT.len()),
        None => check_slug(text, max),
    }
}

name!(
    /// Id of one decision; of an item of a batch, the batch's and the item's number.
    DecisionId, check_decision, 64
);

/// Id of one consent event. UUIDv7: made when the event is recorded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

/// Id of a subject: one (business, match key of an address). UUIDv7: made for its first event, so that what is new lies
/// together in every index, and random beyond that instant, which its event says as well. Says nothing else of the person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a person was shown: one immutable notice text of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeRef {
    pub notice_id: NoticeId,
    /// From 1.
    pub version: i32,
    pub language: Language,
}

impl fmt::Display for NoticeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} v{} ({})",
            self.notice_id, self.version, self.language
        )
    }
}

/// Where the person lives: ISO 3166-1 alpha-2 (`DE`) or 3166-2 (`US-TX`).
///
/// Its text, and zeros after it: every check looks up by it and compares it, many times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JurisdictionCode([u8; 6]);

impl JurisdictionCode {
    /// From the range that ISO 3166 leaves to its users.
    pub const ZZ: Self = Self(*b"ZZ\0\0\0\0");

    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        const ALLOWED: &str = "an ISO 3166-1 alpha-2 code (`DE`) or an ISO 3166-2 code (`US-TX`)";
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        let (country, subdivision) = match text.split_once('-') {
            None => (text, None),
            Some((country, subdivision)) => (country, Some(subdivision)),
        };
        let country_ok = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
        let subdivision_ok = subdivision.is_none_or(|s| {
            (1..=3).contains(&s.len())
                && s.bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        });
        if country_ok && subdivision_ok {
            let mut code = [0; 6];
            code[..text.len()].copy_from_slice(text.as_bytes());
            Ok(Self(code))
        } else {
            Err(InvalidName::Character { allowed: ALLOWED })
        }
    }

    pub fn as_str(&self) -> &str {
        let text = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(text).expect("it was text")
    }

    /// The country alone: `US` of `US-TX`.
    #[must_use]
    pub fn country(self) -> Self {
        let [first, second, ..] = self.0;
        Self([first, second, 0, 0, 0, 0])
    }

    /// Whether it is no part of a country.
    pub fn is_country(self) -> bool {
        self == self.country()
    }
}

impl Serialize for JurisdictionCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JurisdictionCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::parse))
    }
}

impl fmt::Display for JurisdictionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for JurisdictionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(kept: &str) -> serde_json::Result<T> {
        serde_json::from_value(kept.into())
    }

    #[test]
    fn a_caller_by_jwt_has_a_name_that_nobody_can_be_given() {
        let name = CallerName::of_jwt("crm-sync").unwrap();
        assert_eq!(name.as_str(), "jwt:crm-sync");
        assert!(CallerName::parse("jwt:crm-sync").is_err());
        // It reads back from where it was kept.
        assert_eq!(read::<CallerName>("jwt:crm-sync").unwrap(), name);
        for subject in ["", "CRM", "a:b", "jwt:a", "-a", "a@b", "ä", &"a".repeat(61)] {
            assert!(CallerName::of_jwt(subject).is_err(), "{subject}");
            let kept = format!("jwt:{subject}");
            assert!(read::<CallerName>(&kept).is_err(), "{subject}");
        }
        assert!(CallerName::of_jwt(&"a".repeat(60)).is_ok());
        for other in ["other:crm", "jwt:", ":crm"] {
            assert!(read::<CallerName>(other).is_err(), "{other}");
        }
    }

    #[test]
    fn a_slug_is_lower_case_and_bounded() {
        assert!(BusinessId::parse("acme").is_ok());
        assert!(BusinessId::parse("acme-2.de_x").is_ok());
        for bad in ["", "Acme", "acme shop", "-acme", "äcme", "a\0b"] {
            assert!(BusinessId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            BusinessId::parse(&"a".repeat(65)),
            Err(InvalidName::TooLong {
                max: 64,
                length: 65
            })
        );
    }

    #[test]
    fn a_token_is_visible_ascii_and_bounded() {
        let longest = "x".repeat(SenderId::MAX);
        for good in ["1", "1001-a/B~", &longest] {
            assert!(SenderId::parse(good).is_ok(), "{good:?}");
        }
        let longer = format!("{longest}x");
        for bad in ["", "10 01", "1001\n", "é", "a\0b", &longer] {
            assert!(SenderId::parse(bad).is_err(), "{bad:?}");
            assert!(read::<SenderId>(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_are_written_as_uuids() {
        const ID: &str = "01a201f7-0000-7000-8000-000000000000";
        let id = Uuid::parse_str(ID).unwrap();
        let (event, subject) = (EventId(id), SubjectId(id));
        assert_eq!(
            (event.to_string(), subject.to_string()),
            (ID.into(), ID.into())
        );
        assert_eq!(
            (format!("{event:?}"), format!("{subject:?}")),
            (ID.into(), ID.into())
        );
    }

    #[test]
    fn a_decision_id_is_a_uuid_and_in_a_batch_has_the_number_of_its_item() {
        const ID: &str = "01a201f7-0000-7000-8000-000000000000";
        assert!(DecisionId::parse(ID).is_ok());
        assert!(DecisionId::parse(&format!("{ID}/0")).is_ok());
        assert!(DecisionId::parse(&format!("{ID}/9999")).is_ok());
        for bad in ["", "/", "/x", "/-1", "/123456", "/1/2"] {
            let bad = format!("{ID}{bad}");
            assert_eq!(DecisionId::parse(&bad).is_ok(), bad == ID, "{bad}");
        }
        for bad in ["", "none", "+14155559871", &ID.replace('-', ""), &ID[1..]] {
            assert!(DecisionId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_jurisdiction_is_a_country_or_one_of_its_parts() {
        for good in ["DE", "US-TX", "GB-ENG", "FR-2A"] {
            assert!(JurisdictionCode::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "de", "DEU", "US-", "US-TEXAS", "U1", "US-tx"] {
            assert!(JurisdictionCode::parse(bad).is_err(), "{bad}");
        }
        let code = |text| JurisdictionCode::parse(text).unwrap();
        assert_eq!(code("US-TX").country(), code("US"));
        assert!(code("US").is_country() && !code("US-TX").is_country());
        for text in ["DE", "US-TX", "GB-ENG"] {
            assert_eq!(code(text).as_str(), text);
        }
    }

    #[test]
    fn jurisdictions_are_in_the_order_of_their_texts() {
        let texts = [
            "CA", "CA-QC", "GB", "GB-ENG", "US", "US-2", "US-T", "US-TX", "UY",
        ];
        let codes = texts.map(|text| JurisdictionCode::parse(text).unwrap());
        assert!(texts.is_sorted() && codes.is_sorted());
    }
}
