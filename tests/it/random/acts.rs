//! What can happen in a random case, and to whom. Nothing here knows the wire or what follows from an act.

use std::time::Duration;

use consentgate::grpc::proto::{
    ConsentType, ImpliedBasis, MessageClass, RegistryResult, SuppressionBasis,
};

/// The first keeps to the widest reading of a STOP, the other to the narrowest.
pub const BUSINESSES: [&str; 2] = ["acme", "brim"];

/// One way to write to somebody.
#[derive(Debug)]
pub struct Address {
    /// Spellings of one number have the same.
    pub person: usize,
    pub spelling: Spelling,
    pub is_user_id: bool,
    pub country: &'static str,
    /// Two more digits follow, so that the people of each case are others.
    pub text: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    Only,
    Mexico52,
    Mexico521,
    Argentina54,
    Argentina549,
}

const fn number(
    person: usize,
    spelling: Spelling,
    country: &'static str,
    text: &'static str,
) -> Address {
    Address {
        person,
        spelling,
        is_user_id: false,
        country,
        text,
    }
}

const fn user_id(person: usize, country: &'static str, text: &'static str) -> Address {
    Address {
        person,
        spelling: Spelling::Only,
        is_user_id: true,
        country,
        text,
    }
}

/// Every address of these cases. The numbers of Mexico and Argentina have two spellings each.
pub const ADDRESSES: [Address; 10] = [
    number(0, Spelling::Mexico52, "MX", "5233123456"),
    number(0, Spelling::Mexico521, "MX", "52133123456"),
    number(1, Spelling::Argentina549, "AR", "54911234567"),
    number(1, Spelling::Argentina54, "AR", "5411234567"),
    number(2, Spelling::Only, "ZA", "278212345"),
    number(3, Spelling::Only, "AE", "9715012345"),
    number(4, Spelling::Only, "CA", "130623456"),
    user_id(5, "AR", "AR.1349120865530274001"),
    user_id(6, "ZA", "ZA.1349120865530274002"),
    user_id(7, "AR", "AR.1349120865530274003"),
];

/// How many people these are, until somebody is linked.
pub const PEOPLE: usize = 8;

/// Addresses that a case plays with together.
pub const CASTS: [&[usize]; 6] = [&[0, 1], &[2, 3, 7], &[2, 7, 9], &[4, 8], &[5], &[6]];

pub const PURPOSES: [&str; 8] = [
    "offers", "news", "deals", "orders", "receipts", "alarms", "codes", "support",
];

/// One command, as it is sent, with what happens before it.
#[derive(Debug, Clone)]
pub struct Command {
    /// Stays the same while others are taken out.
    pub id: usize,
    pub wait: Duration,
    pub business: usize,
    /// Which of [`ADDRESSES`].
    pub to: usize,
    pub act: Act,
    pub told: Told,
}

/// What a caller says of when it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Ago(Duration),
    /// The same, cut to the second.
    ToTheSecond(Duration),
    /// Two minutes from now.
    Ahead,
    Unset,
    /// What a repeated request said the first time, in microseconds.
    At(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Give(Give),
    /// RecordConsent with the state REQUESTED.
    WasAsked {
        purpose: &'static str,
    },
    /// RecordConsent with the state REFUSED.
    Refuse {
        purpose: &'static str,
        sender: &'static str,
    },
    Confirm {
        purposes: Vec<&'static str>,
        sender: &'static str,
    },
    Withdraw {
        scope: Scope,
        sender: &'static str,
        by: By,
        /// Whose idempotency key it has; `None`: it has none.
        key: Option<usize>,
    },
    Suppress {
        scope: Scope,
        sender: &'static str,
        basis: SuppressionBasis,
        days: Option<u32>,
    },
    /// Lifts what the command of this id made.
    Lift {
        made_by: usize,
        person: bool,
    },
    LookUp {
        registry: &'static str,
        result: RegistryResult,
    },
    Hear {
        sender: &'static str,
        what: Heard,
        /// The person's other address, in the same webhook.
        also: Option<usize>,
    },
    /// IDENTITY_CHANGED: the person was at the other address before.
    Move {
        from: usize,
    },
    Send {
        sender: &'static str,
        purpose: &'static str,
        class: Option<MessageClass>,
    },
    /// So many messages failed, a second apart, the last of them when it is told.
    Fail {
        sender: &'static str,
        code: &'static str,
        times: u8,
    },
    /// A check that uses a permit up.
    ConfirmOptOut {
        sender: &'static str,
        purpose: &'static str,
        request: &'static str,
    },
    /// The very request of an earlier command once more.
    Repeat {
        of: usize,
    },
    /// EraseSubject.
    Erase,
    /// The server ends and starts again, with one more key than before or with the same.
    Restart {
        longer: bool,
    },
    /// The rotation of the keys goes on by so many steps; where none is under way, one begins.
    Rotate {
        steps: usize,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Give {
    pub purposes: Vec<&'static str>,
    pub sender: &'static str,
    pub firm: ConsentType,
    /// What it is inferred from, and how many days ago that was.
    pub implied: Option<(ImpliedBasis, u32)>,
    pub import: bool,
    /// Where the person is said to live; empty: nothing is said.
    pub lives_in: &'static str,
    pub whatsapp_named: bool,
    /// Whether what was said comes with it.
    pub proven: bool,
    /// Whose idempotency key it has.
    pub key: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Purposes(Vec<&'static str>),
    Marketing,
    Everything,
}

/// Who ended a consent, and how it was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    PreferenceCenter,
    Operator,
    Authority,
    Import,
    Platform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Text(&'static str),
    /// The button that WhatsApp offers under marketing.
    StopPromotions,
    PlatformStop,
    PlatformResume,
    SignUp,
    Call,
}

/// A question about everybody in a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub business: usize,
    pub purpose: &'static str,
    pub class: Option<MessageClass>,
    pub sender: &'static str,
    /// Whether it is asked why, too.
    pub is_explained: bool,
}
