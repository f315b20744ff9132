//! The contract's enum words without their prefix: `CONSENT_STATE_GIVEN` is `GIVEN`.
//!
//! One spelling everywhere: what a flag takes is what an answer prints. A number that this version
//! does not know is printed as one and never taken for a known word.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command};

use crate::grpc::proto;

/// An enum of the contract.
pub(super) trait Word:
    Copy + PartialEq + TryFrom<i32> + Into<i32> + Send + Sync + 'static
{
    /// What every value's name begins with.
    const PREFIX: &'static str;

    /// The name as in the .proto file.
    fn name(self) -> &'static str;

    /// The name without the prefix.
    fn word(self) -> &'static str {
        self.name()
            .strip_prefix(Self::PREFIX)
            .unwrap_or_else(|| self.name())
    }

    /// Every value but the unspecified one. The contract numbers them from 1 without gaps.
    fn every() -> Vec<Self> {
        (1..)
            .map_while(|number| Self::try_from(number).ok())
            .collect()
    }
}

macro_rules! words {
    ($($name:ident $prefix:literal,)+) => {
        $(impl Word for proto::$name {
            const PREFIX: &'static str = $prefix;

            fn name(self) -> &'static str {
                self.as_str_name()
            }
        })+

        #[cfg(test)]
        const PREFIXES: &[(&str, &str)] = &[$((stringify!($name), $prefix)),+];
    };
}

words! {
    ConsentState "CONSENT_STATE_",
    ConsentType "CONSENT_TYPE_",
    Decision "DECISION_",
    Effect "EFFECT_",
    ErasureBasis "ERASURE_BASIS_",
    EventKind "EVENT_KIND_",
    ImpliedBasis "IMPLIED_BASIS_",
    IndicationMethod "INDICATION_METHOD_",
    MessageClass "MESSAGE_CLASS_",
    OptOutScope "OPT_OUT_SCOPE_",
    Reason "REASON_",
    RegistryResult "REGISTRY_RESULT_",
    SuppressionBasis "SUPPRESSION_BASIS_",
    WithdrawalMethod "WITHDRAWAL_METHOD_",
}

/// The word of a number on the wire.
pub(super) fn word<E: Word>(number: i32) -> String {
    E::try_from(number).map_or_else(
        |_| format!("UNRECOGNIZED_{number}"),
        |known| known.word().to_owned(),
    )
}

/// The word of a number on the wire; nothing if it is unspecified.
pub(super) fn known<E: Word>(number: i32) -> Option<String> {
    (number != 0).then(|| word::<E>(number))
}

/// The number of an optional flag; unspecified if it was not given.
pub(super) fn number<E: Word>(flag: Option<E>) -> i32 {
    flag.map_or(0, Into::into)
}

/// Takes every word of an enum, in any case and with `-` for `_`.
pub(super) fn any_of<E: Word>() -> Words<E> {
    Words(E::every())
}

/// Takes these words of an enum.
pub(super) fn one_of<E: Word>(allowed: &[E]) -> Words<E> {
    Words(allowed.to_vec())
}

/// A flag's value that is a word of an enum.
#[derive(Debug, Clone)]
pub(super) struct Words<E>(Vec<E>);

impl<E: Word> TypedValueParser for Words<E> {
    type Value = E;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<E, clap::Error> {
        let typed = value
            .to_str()
            .unwrap_or_default()
            .to_ascii_uppercase()
            .replace('-', "_");
        if let Some(found) = self.0.iter().find(|allowed| allowed.word() == typed) {
            return Ok(*found);
        }
        let words = self.0.iter().map(|allowed| allowed.word());
        // It refuses what stands in no list, and says so as for any other flag.
        let refused = PossibleValuesParser::new(words).parse_ref(command, arg, value);
        Err(refused.expect_err("a word of the list was found above"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            self.0
                .iter()
                .map(|allowed| PossibleValue::new(allowed.word())),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{ConsentState, Decision, IndicationMethod};

    #[test]
    fn a_word_is_the_name_without_its_prefix() {
        assert_eq!(Decision::Allow.word(), "ALLOW");
        assert_eq!(word::<ConsentState>(6), "RENEWED_CONSENT_GIVEN");
        for (name, prefix) in PREFIXES {
            let letters = |text: &str| text.replace('_', "").to_ascii_lowercase();
            assert_eq!(letters(prefix), letters(name));
        }
        assert_eq!(known::<Decision>(0), None);
    }

    #[test]
    fn an_unknown_number_reads_as_no_known_word() {
        assert_eq!(word::<Decision>(17), "UNRECOGNIZED_17");
        assert_eq!(word::<Decision>(-1), "UNRECOGNIZED_-1");
        assert_eq!(word::<Decision>(0), "UNSPECIFIED");
    }

    #[test]
    fn every_value_of_the_contract_can_be_said() {
        assert_eq!(IndicationMethod::every().len(), 13);
        assert_eq!(proto::Reason::every().len(), 28);
    }

    #[test]
    fn a_word_is_taken_in_any_case_and_with_dashes() {
        let command = Command::new("x");
        let take =
            |text: &str| any_of::<IndicationMethod>().parse_ref(&command, None, OsStr::new(text));
        for text in [
            "UNTICKED_CHECKBOX",
            "unticked-checkbox",
            "Unticked_Checkbox",
        ] {
            assert_eq!(take(text).unwrap(), IndicationMethod::UntickedCheckbox);
        }
        for text in ["UNSPECIFIED", "", "TICKED", "INDICATION_METHOD_BUTTON"] {
            assert!(take(text).is_err(), "{text}");
        }
    }
}
