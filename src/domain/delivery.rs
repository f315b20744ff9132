//! What a failed delivery means, by the code that the platform or a provider gave it.
//!
//! Only WhatsApp's word that the person stopped marketing is an opt-out, and a provider's equal of
//! it: whoever took other failures for opt-outs unsubscribed people in an outage (glific#2822). All
//! else says something of the address, which passes, of the sender, or of the call. What is done
//! about it is not decided here. A code that is not in these tables means nothing.
//!
//! Sources: Meta's pages of error codes for the Cloud API and the on-premises API, Twilio's table of
//! its codes against WhatsApp's, Gupshup's and MessageBird's pages of error codes.

use super::vocabulary::FailureKind;

/// Whose code it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    WhatsApp,
    Dialog360,
    Twilio,
    Gupshup,
    Vonage,
    Bird,
    Wati,
    YCloud,
    /// Somebody whose own codes are not known.
    Other,
}

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The person stopped marketing messages.
    OptOut(Said),
    /// Something of the address, which passes.
    Failed(FailureKind),
    /// WhatsApp holds the sender back: its operator must act, the recipient has no part in it.
    SenderRestricted,
    /// The call was at fault, or came too early: the recipient has no part in it.
    Caller,
}

/// Who says that a person opted out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    ByWhatsApp,
    /// A provider's own code, which may be wrong in an outage.
    ByProvider,
}

/// A code that is known, as these tables spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub code: &'static str,
    pub class: Class,
}

impl Provider {
    pub const ALL: [Self; 9] = [
        Self::WhatsApp,
        Self::Dialog360,
        Self::Twilio,
        Self::Gupshup,
        Self::Vonage,
        Self::Bird,
        Self::Wati,
        Self::YCloud,
        Self::Other,
    ];

    /// Who is meant by a name, in capitals or not. No name is WhatsApp itself.
    pub fn named(name: &str) -> Self {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "whatsapp" | "meta" => Self::WhatsApp,
            "360dialog" => Self::Dialog360,
            "twilio" => Self::Twilio,
            "gupshup" => Self::Gupshup,
            "vonage" | "nexmo" => Self::Vonage,
            "bird" | "messagebird" => Self::Bird,
            "wati" => Self::Wati,
            "ycloud" => Self::YCloud,
            _ => Self::Other,
        }
    }

    /// The name as it is stored and counted.
    pub const fn word(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
            Self::Dialog360 => "360dialog",
            Self::Twilio => "twilio",
            Self::Gupshup => "gupshup",
            Self::Vonage => "vonage",
            Self::Bird => "bird",
            Self::Wati => "wati",
            Self::YCloud => "ycloud",
            Self::Other => "other",
        }
    }

    /// The provider's own codes.
    const fn codes(self) -> Codes {
        match self {
            Self::Twilio => TWILIO,
            Self::Gupshup => GUPSHUP,
            Self::Bird => MESSAGEBIRD,
            Self::WhatsApp
            | Self::Dialog360
            | Self::Vonage
            | Self::Wati
            | Self::YCloud
            | Self::Other => &[],
        }
    }

    /// Whether a short number that is none of its own is one of the on-premises API's: these hand
    /// WhatsApp's codes on as they are. Elsewhere it may be anybody's.
    const fn hands_on_short_codes(self) -> bool {
        match self {
            Self::WhatsApp | Self::Dialog360 | Self::Gupshup | Self::YCloud => true,
            Self::Twilio | Self::Vonage | Self::Bird | Self::Wati | Self::Other => false,
        }
    }
}

/// What a code of this provider means; `None`: nothing that is known.
pub fn meaning(provider: Provider, code: &str) -> Option<Known> {
    let code = code.trim();
    let on_premises = if provider.hands_on_short_codes() {
        ON_PREMISES
    } else {
        &[]
    };
    let tables = [provider.codes(), CLOUD, on_premises];
    let rows = tables.into_iter().flatten();
    let (code, class) = *rows.into_iter().find(|(known, _)| *known == code)?;
    // Somebody whom we do not know says that WhatsApp said it.
    let class = match (class, provider) {
        (Class::OptOut(_), Provider::Other) => Class::OptOut(Said::ByProvider),
        (class, _) => class,
    };
    Some(Known { code, class })
}

type Codes = &'static [(&'static str, Class)];

const UNDELIVERABLE: Class = Class::Failed(FailureKind::Undeliverable);
const LIMITED: Class = Class::Failed(FailureKind::Limited);

/// WhatsApp's codes of the Cloud API. So long a number is nobody else's, so they count whoever hands
/// them on.
const CLOUD: Codes = &[
    // The recipient stopped marketing messages from this business.
    ("131050", Class::OptOut(Said::ByWhatsApp)),
    // Not on WhatsApp, new terms not accepted, a client too old; some vendors add a block.
    ("131026", UNDELIVERABLE),
    // Not delivered "to maintain healthy ecosystem engagement": WhatsApp's cap per person, and its
    // pause of marketing to the United States.
    ("131049", LIMITED),
    // The recipient is part of an experiment of WhatsApp's.
    ("130472", LIMITED),
    // The recipient's identity key is not the one that was given: reinstalled, or somebody else.
    ("137000", Class::Failed(FailureKind::IdentityMismatch)),
    // The account is locked.
    ("131031", Class::SenderRestricted),
    // Too many of the sender's messages were blocked or flagged as spam.
    ("131048", Class::SenderRestricted),
    // Limited for templates of the wrong category.
    ("131064", Class::SenderRestricted),
    // The account may not write to this country.
    ("130497", Class::SenderRestricted),
    // The sender sends too fast.
    ("130429", Class::Caller),
    // Too many messages to this person in a short time.
    ("131056", Class::Caller),
    // No service window.
    ("131047", Class::Caller),
    // The business itself blocked the recipient.
    ("130403", Class::Caller),
    // The recipient is the sender.
    ("131021", Class::Caller),
    // The recipient is not on the list of a test account.
    ("131030", Class::Caller),
    // This message cannot be sent to a user id.
    ("131062", Class::Caller),
    // Marketing is switched off for the account on the API that was used.
    ("131063", Class::Caller),
    // The template is paused, or disabled.
    ("132015", Class::Caller),
    ("132016", Class::Caller),
];

/// WhatsApp's short codes: the Graph API's, and those of the on-premises API that went before it.
const ON_PREMISES: Codes = &[
    // As 131050.
    ("498", Class::OptOut(Said::ByWhatsApp)),
    // The recipient's client cannot receive it.
    ("1026", UNDELIVERABLE),
    // The recipient is no valid user.
    ("1013", UNDELIVERABLE),
    // As 130472.
    ("472", LIMITED),
    // Blocked for a time for violating policies.
    ("368", Class::SenderRestricted),
    // As 131048.
    ("471", Class::SenderRestricted),
    // As 131047.
    ("470", Class::Caller),
];

const TWILIO: Codes = &[
    // "Blocked by user action": the recipient blocked the sender, or opted out. Twilio does not say
    // which of the two. Taken as an opt-out: to write on to somebody who opted out is the graver
    // mistake, and whoever blocked the sender misses nothing.
    ("63014", Class::OptOut(Said::ByProvider)),
    // The recipient replied STOP to this number: Twilio's own list.
    ("21610", Class::OptOut(Said::ByProvider)),
    // 1026 and 1002: the recipient cannot receive it.
    ("63024", UNDELIVERABLE),
    // 1013: no such recipient.
    ("63003", UNDELIVERABLE),
    // 472.
    ("63032", LIMITED),
    // 131049.
    ("63049", LIMITED),
    // No service window.
    ("63016", Class::Caller),
    // 429 and 471 in one: whether the sender is restricted or too fast is not said.
    ("63018", Class::Caller),
];

const GUPSHUP: Codes = &[
    // "Number Opted Out", by Gupshup's own list.
    ("1012", Class::OptOut(Said::ByProvider)),
    // "Number does not exist on WhatsApp". It came for everybody in an outage (glific#2822), so it
    // takes three of them, and a burst of them counts for nothing.
    ("1002", UNDELIVERABLE),
    // Not opted in by Gupshup's own list, and no window. Nobody said that they opted out.
    ("1006", Class::Caller),
    ("1007", Class::Caller),
    ("1008", Class::Caller),
];

const MESSAGEBIRD: Codes = &[
    // "The contact is not registered on WhatsApp."
    ("302", UNDELIVERABLE),
    // No service window.
    ("470", Class::Caller),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn class(provider: &str, code: &str) -> Option<Class> {
        meaning(Provider::named(provider), code).map(|known| known.class)
    }

    fn opt_outs(provider: Provider) -> Vec<(&'static str, Said)> {
        let tables = [provider.codes(), CLOUD, ON_PREMISES];
        let codes = tables.into_iter().flatten().map(|(code, _)| *code);
        codes
            .filter_map(|code| match meaning(provider, code)?.class {
                Class::OptOut(said) => Some((code, said)),
                Class::Failed(_) | Class::SenderRestricted | Class::Caller => None,
            })
            .collect()
    }

    #[test]
    fn only_these_codes_are_opt_outs() {
        use Said::{ByProvider, ByWhatsApp};
        for provider in Provider::ALL {
            let expected = match provider {
                Provider::WhatsApp | Provider::Dialog360 | Provider::YCloud => {
                    vec![("131050", ByWhatsApp), ("498", ByWhatsApp)]
                }
                Provider::Gupshup => vec![
                    ("1012", ByProvider),
                    ("131050", ByWhatsApp),
                    ("498", ByWhatsApp),
                ],
                Provider::Twilio => vec![
                    ("63014", ByProvider),
                    ("21610", ByProvider),
                    ("131050", ByWhatsApp),
                ],
                Provider::Vonage | Provider::Bird | Provider::Wati => {
                    vec![("131050", ByWhatsApp)]
                }
                Provider::Other => vec![("131050", ByProvider)],
            };
            assert_eq!(opt_outs(provider), expected, "{}", provider.word());
        }
    }

    #[test]
    fn each_code_means_what_its_maker_says() {
        let mismatch = Class::Failed(FailureKind::IdentityMismatch);
        for (provider, code, expected) in [
            ("whatsapp", "131026", Some(UNDELIVERABLE)),
            ("", "131049", Some(LIMITED)),
            ("", "130472", Some(LIMITED)),
            ("", "137000", Some(mismatch)),
            ("", "131031", Some(Class::SenderRestricted)),
            ("", "368", Some(Class::SenderRestricted)),
            ("", "131048", Some(Class::SenderRestricted)),
            ("", "131064", Some(Class::SenderRestricted)),
            ("", "131047", Some(Class::Caller)),
            ("", "132016", Some(Class::Caller)),
            ("WATI", "131026", Some(UNDELIVERABLE)),
            ("wati", "368", None),
            ("twilio", "63049", Some(LIMITED)),
            ("twilio", "63024", Some(UNDELIVERABLE)),
            ("twilio", "498", None),
            ("gupshup", "1002", Some(UNDELIVERABLE)),
            ("gupshup", "1008", Some(Class::Caller)),
            ("whatsapp", "1002", None),
            ("whatsapp", "1012", None),
            ("messagebird", "302", Some(UNDELIVERABLE)),
            ("360dialog", "471", Some(Class::SenderRestricted)),
            ("somebody", "131026", Some(UNDELIVERABLE)),
            ("somebody", "498", None),
            // Vonage's own for SMS, and what nobody documented.
            ("vonage", "9", None),
            ("", "131", None),
            ("", "1310500", None),
            ("", "none", None),
            ("", "", None),
        ] {
            assert_eq!(class(provider, code), expected, "{provider} {code}");
        }
    }

    #[test]
    fn spaces_and_capitals_hide_no_opt_out() {
        let expected = Some(Class::OptOut(Said::ByProvider));
        assert_eq!(class(" Twilio ", " 63014\n"), expected);
        assert_eq!(class("GUPSHUP", "1012"), expected);
    }

    #[test]
    fn no_table_has_a_code_twice_and_every_provider_has_its_own_name() {
        for table in [CLOUD, ON_PREMISES, TWILIO, GUPSHUP, MESSAGEBIRD] {
            for (index, (code, _)) in table.iter().enumerate() {
                let again = table[index + 1..].iter().any(|(other, _)| other == code);
                assert!(!again, "{code}");
            }
        }
        for provider in Provider::ALL {
            assert_eq!(Provider::named(provider.word()), provider);
        }
    }
}
