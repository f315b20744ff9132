//! Where the person behind an address may be: jurisdictions and time zones by the number's prefix.
//!
//! A prefix is a guess with a source, good enough to be strict by: where it leaves several places,
//! all of them count. Whether a number exists is not judged here (see [`super::phone`]).

use super::id::JurisdictionCode;

/// Where a person may be. Several of a kind: it cannot be told which, so all of them count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Sorted. Empty: nothing is known.
    pub jurisdictions: Vec<JurisdictionCode>,
    /// Names of the tz database, the widest first: the one that most prefixes of the place have.
    /// Empty: nothing is known.
    pub zones: Vec<&'static str>,
}
