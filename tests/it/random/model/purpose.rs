//! What the catalogue of these cases says, and how classes, spellings and names compare.

use consentgate::grpc::proto::{ConsentType, MessageClass};

use crate::random::acts::{Scope, Spelling};

pub fn own_class(purpose: &str) -> MessageClass {
    match purpose {
        "offers" | "news" | "deals" => MessageClass::Marketing,
        "orders" | "receipts" => MessageClass::Utility,
        "alarms" | "codes" => MessageClass::Authentication,
        "support" => MessageClass::Service,
        other => panic!("no purpose {other}"),
    }
}

/// "Of the two the stricter counts; CONSENT_REQUEST and OPT_OUT_CONFIRMATION are taken as asked."
pub fn class_of(purpose: &str, asked: Option<MessageClass>) -> MessageClass {
    const STRICTEST_FIRST: [MessageClass; 4] = [
        MessageClass::Marketing,
        MessageClass::Utility,
        MessageClass::Authentication,
        MessageClass::Service,
    ];
    let own = own_class(purpose);
    match asked {
        None => own,
        Some(asked) if !STRICTEST_FIRST.contains(&asked) => asked,
        Some(asked) => {
            let stricter = STRICTEST_FIRST
                .iter()
                .find(|class| **class == own || **class == asked);
            *stricter.unwrap()
        }
    }
}

pub fn needs_no_consent(purpose: &str) -> bool {
    matches!(purpose, "receipts" | "alarms" | "codes")
}

pub fn is_requested_by_recipient(purpose: &str) -> bool {
    purpose == "codes"
}

pub fn accepts(purpose: &str, firm: ConsentType) -> bool {
    firm != ConsentType::Implied || purpose == "deals"
}

pub fn valid_days(purpose: &str) -> Option<i64> {
    (purpose == "news").then_some(30)
}

/// So many messages in so many days.
pub fn cap(purpose: &str) -> Option<(usize, i64)> {
    (purpose == "news").then_some((2, 3))
}

/// An alias is the sender that it names; a name that nobody has narrows nothing.
pub fn sender(name: &'static str) -> &'static str {
    match name {
        "alias-of-1001" => "1001",
        "9999" => "",
        name => name,
    }
}

/// "A grant allows another spelling only if it is a twin."
pub fn twins(one: Spelling, other: Spelling) -> bool {
    let mexican = |spelling| matches!(spelling, Spelling::Mexico52 | Spelling::Mexico521);
    one == other || (mexican(one) && mexican(other))
}

/// Whether a scope holds a message of this purpose and class.
pub fn covers(scope: &Scope, purpose: &str, class: MessageClass) -> bool {
    match (scope, class) {
        (Scope::Purposes(keys), _) => keys.contains(&purpose),
        (Scope::Marketing, MessageClass::ConsentRequest) => {
            own_class(purpose) == MessageClass::Marketing
        }
        (Scope::Marketing, class) => {
            matches!(
                class,
                MessageClass::Marketing | MessageClass::OptOutConfirmation
            )
        }
        (Scope::Everything, MessageClass::Authentication) => !is_requested_by_recipient(purpose),
        (Scope::Everything, _) => true,
    }
}
