//! Consistency tokens: "at least as fresh as this", opaque to callers.
//!
//! base64url of: version, ledger id, positions, MAC. The MAC keeps callers from building on the
//! inside and tells a token of another ledger from one of ours; it guards nothing secret.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use data_encoding::BASE64URL_NOPAD;

use crate::keys::{LedgerKeys, SUBJECT_PARTITIONS};
use crate::ledger::{Offset, Partition, Position};

const VERSION: u8 = 1;
const MAC: usize = 16;
/// One position: partition and offset.
const POSITION: usize = 2 + 8;
/// No token of ours is longer: 65 partitions.
const MAX_TEXT: usize = 2_048;

/// Makes and reads tokens of one ledger.
#[derive(Debug)]
pub struct Tokens {
    keys: Arc<LedgerKeys>,
    ledger_id: String,
    /// Of each partition the token that was made last: most checks of a partition want the same.
    latest: Box<[ArcSwapOption<Made>]>,
}

#[derive(Debug)]
struct Made {
    positions: [Position; 2],
    token: String,
}

/// The text is no token of this ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a consistency token of this service")]
pub struct Foreign;

impl Tokens {
    pub fn new(keys: Arc<LedgerKeys>, ledger_id: String) -> Self {
        let partitions = 0..=SUBJECT_PARTITIONS;
        Self {
            keys,
            ledger_id,
            latest: partitions.map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// A token for one subject's partition and the system's, as a check wants it.
    pub fn of_check(&self, subject: Position, system: Position) -> String {
        let positions = [system, subject];
        let Some(latest) = self.latest.get(usize::from(subject.partition.0)) else {
            return self.make(&positions);
        };
        if let Some(made) = latest.load().as_ref()
            && made.positions == positions
        {
            return made.token.clone();
        }
        let token = self.make(&positions);
        latest.store(Some(Arc::new(Made {
            positions,
            token: token.clone(),
        })));
        token
    }

    /// A token that proves these positions.
    pub fn make(&self, positions: &[Position]) -> String {
        let mut bytes = Vec::with_capacity(1 + positions.len() * POSITION + MAC);
        bytes.push(VERSION);
        for position in positions {
            bytes.extend_from_slice(&position.partition.0.to_be_bytes());
            bytes.extend_from_slice(&position.offset.0.to_be_bytes());
        }
        let mac = self.keys.token_mac(&self.authenticated(&bytes));
        bytes.extend_from_slice(&mac);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// The positions that a token proves.
    pub fn read(&self, text: &str) -> Result<Vec<Position>, Foreign> {
        if text.len() > MAX_TEXT {
            return Err(Foreign);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| Foreign)?;
        let (content, mac) = bytes.split_last_chunk::<MAC>().ok_or(Foreign)?;
        if !self.keys.token_matches(&self.authenticated(content), mac) {
            return Err(Foreign);
        }
        match content.split_first() {
            Some((&VERSION, positions)) if positions.len().is_multiple_of(POSITION) => {
                Ok(positions
                    .chunks_exact(POSITION)
                    .filter_map(read_position)
                    .collect())
            }
            _ => Err(Foreign),
        }
    }

    /// The ledger's id is authenticated without being carried.
    fn authenticated(&self, content: &[u8]) -> Vec<u8> {
        [b"consistency\0", self.ledger_id.as_bytes(), b"\0", content].concat()
    }
}

fn read_position(bytes: &[u8]) -> Option<Position> {
    let (partition, offset) = bytes.split_first_chunk::<2>()?;
    Some(Position {
        partition: Partition(u16::from_be_bytes(*partition)),
        offset: Offset(i64::from_be_bytes(offset.try_into().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keyring;

    fn position(partition: u16, offset: i64) -> Position {
        Position {
            partition: Partition(partition),
            offset: Offset(offset),
        }
    }

    #[test]
    fn a_check_s_token_proves_its_own_positions_whatever_was_asked_before() {
        let keyring = Keyring::generate();
        let tokens = Tokens::new(Arc::new(keyring.ledger_keys()), "a".into());
        for (offset, system) in [(7, 1), (7, 1), (8, 1), (8, 2), (7, 1)] {
            for partition in [1, 64] {
                let (subject, system) = (position(partition, offset), position(0, system));
                let token = tokens.of_check(subject, system);
                assert_eq!(token, tokens.make(&[system, subject]));
                assert_eq!(tokens.read(&token), Ok(vec![system, subject]));
            }
        }
    }

    #[test]
    fn a_token_reads_back_and_a_changed_or_foreign_one_does_not() {
        let keyring = Keyring::generate();
        let tokens = Tokens::new(Arc::new(keyring.ledger_keys()), "a".into());
        let proved = [position(0, 7), position(64, i64::MAX)];
        let token = tokens.make(&proved);
        assert_eq!(tokens.read(&token), Ok(proved.to_vec()));
        assert_eq!(tokens.read(&tokens.make(&[])), Ok(Vec::new()));

        let other_ledger = Tokens::new(Arc::new(keyring.ledger_keys()), "b".into());
        let other_key = Tokens::new(Arc::new(Keyring::generate().ledger_keys()), "a".into());
        assert_eq!(other_ledger.read(&token), Err(Foreign));
        assert_eq!(other_key.read(&token), Err(Foreign));
        for text in [
            "",
            "A",
            "not a token",
            &token[1..],
            &format!("{token}A"),
            &"A".repeat(5_000),
        ] {
            assert_eq!(tokens.read(text), Err(Foreign), "{text}");
        }
    }
}
