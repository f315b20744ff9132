//! What can go wrong with a use case, by what the caller can do about it.

use crate::cache::confirm::Unconfirmed;
use crate::{cache, catalog, ledger};

/// One fault of a request: which field, the machine-readable reason, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: String,
    pub reason: &'static str,
    pub message: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason,
            message: message.into(),
        }
    }
}

/// Reasons that are not in the contract's list of refused evidence.
pub mod reason {
    /// A field is malformed, missing, too long or contradicts another.
    pub const FIELD_INVALID: &str = "FIELD_INVALID";
    pub const BUSINESS_UNKNOWN: &str = "BUSINESS_UNKNOWN";
    pub const PURPOSE_UNKNOWN: &str = "PURPOSE_UNKNOWN";
    pub const SENDER_UNKNOWN: &str = "SENDER_UNKNOWN";
    pub const REGISTRY_UNKNOWN: &str = "REGISTRY_UNKNOWN";
    pub const NOTICE_UNKNOWN: &str = "NOTICE_UNKNOWN";
    pub const EVENT_TIME_IN_FUTURE: &str = "EVENT_TIME_IN_FUTURE";
    pub const TOKEN_INVALID: &str = "TOKEN_INVALID";
    pub const NOT_ENABLED: &str = "NOT_ENABLED";
}

/// Why a use case gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Send something else.
    #[error("{}", violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>().join("; "))]
    Invalid { violations: Vec<Violation> },
    /// The state does not allow it.
    #[error("{message}")]
    Precondition {
        subject: &'static str,
        message: String,
    },
    /// What the call names does not exist for this caller.
    #[error("{what} does not exist")]
    NotFound { what: &'static str },
    /// The idempotency key belongs to other content.
    #[error("the idempotency key was used for other content")]
    KeyReused,
    /// Try again: others wrote the same subject all the time.
    #[error("others wrote to the same person all the time")]
    Contended,
    /// Try again: facts in memory may not be used.
    #[error("the lease is lost: whether facts are current cannot be told")]
    LeaseLost,
    /// Repeat with the same idempotency key: it is committed, and may not hold everywhere yet.
    #[error("{0}")]
    Unconfirmed(#[from] Unconfirmed),
    /// Try again: what was asked for is fresher than what this ledger has.
    #[error("the ledger has not yet what the consistency token proves")]
    NotYetFresh,
    /// Try again; after a write the outcome is unknown, so with the same idempotency key.
    #[error("the ledger cannot be reached")]
    Unavailable { source: ledger::Error },
    /// Try again later: more is to be read than the database gives in time.
    #[error("too many wait for the database")]
    Crowded,
    /// Nothing the caller can do. The source says what, for the log alone.
    #[error("internal error: {0}")]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub fn invalid(
        field: impl Into<String>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            violations: vec![Violation::new(field, reason, message)],
        }
    }

    /// The same, its fields named as parts of a message: `purpose` becomes `question.purpose`.
    pub fn within(self, message: &str) -> Self {
        match self {
            Self::Invalid { violations } => Self::Invalid {
                violations: violations
                    .into_iter()
                    .map(|violation| Violation {
                        field: match violation.field.as_str() {
                            "" => message.to_owned(),
                            field => format!("{message}.{field}"),
                        },
                        ..violation
                    })
                    .collect(),
            },
            other => other,
        }
    }

    pub(super) fn internal(fault: impl std::fmt::Display) -> Self {
        Self::Internal(fault.to_string().into())
    }
}

impl From<ledger::Error> for Error {
    fn from(error: ledger::Error) -> Self {
        match error {
            ledger::Error::Unavailable(_) => Self::Unavailable { source: error },
            ledger::Error::Corrupt { .. } | ledger::Error::Rejected(_) => {
                Self::Internal(Box::new(error))
            }
        }
    }
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        match error {
            cache::Error::LeaseLost => Self::LeaseLost,
            cache::Error::Outrun => Self::Contended,
            cache::Error::Crowded => Self::Crowded,
            cache::Error::Ledger(error) => error.into(),
        }
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        match error {
            catalog::Error::Ledger(error) => error.into(),
            catalog::Error::Contended => Self::Contended,
            catalog::Error::Unconfirmed => Self::Unconfirmed(Unconfirmed),
            other => Self::Internal(Box::new(other)),
        }
    }
}
