//! Where the person behind an address may be: jurisdictions and time zones by the number's prefix.
//!
//! A prefix is a guess with a source, good enough to be strict by: where it leaves several places,
//! all of them count. Whether a number exists is not judged here (see [`super::phone`]), and a
//! jurisdiction that somebody stated is better than any prefix. The data are text files under
//! `policy/prefixes`; `scripts/prefixes.py` makes them and says from what.

mod table;

use std::sync::LazyLock;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use self::table::Table;
use super::address::{Address, MatchKey};
use super::hours::Zone;
use super::id::JurisdictionCode;

const PLACES: &str = include_str!("../../../policy/prefixes/places.tsv");
const ZONES: &str = include_str!("../../../policy/prefixes/zones.tsv");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(PLACES, ZONES));

/// Where a person may be. Several of a kind: it cannot be told which, so all of them count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Sorted. Empty: nothing is known. A country stands here without its parts only where no part
    /// of it has data: a number that may be anywhere in the United States has all states beside `US`.
    pub jurisdictions: Vec<JurisdictionCode>,
    /// The widest first: the one that most prefixes of the place have. Of zones whose clocks agree
    /// one stands for all. Empty: nothing is known.
    pub zones: Vec<Zone>,
}

/// The place of an address: by the longest known prefix of a number's canonical spelling, by the two
/// letters of a user id. Neither allocates.
pub fn of(address: &Address) -> &'static Place {
    match address.key() {
        MatchKey::Phone(number) => TABLE.of_number(*number),
        MatchKey::UserId(id) => {
            let country = id.get(..2).map(JurisdictionCode::parse);
            TABLE.of_country(country.and_then(Result::ok))
        }
    }
}

/// The zones of a country or of a state, the widest first; of a part that is not known those of its
/// country. Empty: nothing is known.
pub fn zones_of(code: &JurisdictionCode) -> &'static [Zone] {
    TABLE.zones_of(*code)
}

/// SHA-256 over the data that places are found by, hex.
pub fn sha256() -> &'static str {
    static SHA256: LazyLock<String> = LazyLock::new(|| {
        let mut hash = digest::Context::new(&digest::SHA256);
        for file in [PLACES, ZONES] {
            hash.update(&file.len().to_be_bytes());
            hash.update(file.as_bytes());
        }
        HEXLOWER.encode(hash.finish().as_ref())
    });
    &SHA256
}

#[cfg(test)]
mod tests;
