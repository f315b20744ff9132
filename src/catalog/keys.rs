//! Rotating the ledger's keys, as far as all instances must know of it: a rotation begins and ends with an entry of
//! the system partition, which commits with the change itself and is waited for as a revoked token is. And sealing
//! anew, since every business has keys of its own.
//!
//! Moving rows is [`crate::ledger::rotation`]'s, in which order all is done `server`'s.

use super::fold::{Change, Rotating};
use super::{ATTEMPTS, Catalog};
use crate::keys::wrapping::Numbers;
use crate::keys::{KeyError, Place};
use crate::ledger::rotation::{self, Begun, Column, Other, Resealed, Rotation, Sealed};

/// Why keys are not rotated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", others_text(newest, others))]
    OtherKeyrings {
        /// The newest number of the keyring that was to be rotated to.
        newest: u16,
        others: Vec<Other>,
    },
    #[error(
        "key {0} was in use with another secret: use the keyring of that rotation, or add a key with \
         the next number"
    )]
    OtherKey(u16),
    #[error("a sealed value of {column} does not open: {source}")]
    Sealed {
        column: &'static str,
        source: KeyError,
    },
    #[error("a sealed value belongs to business `{0}`, which does not exist")]
    NoBusiness(String),
}

fn others_text(newest: &u16, others: &[Other]) -> String {
    let each = others.iter().map(|other| {
        let (instance, key) = (other.instance, other.newest);
        match key == *newest {
            true => format!("instance {instance} has another key {key}, or is of an older version"),
            false => format!("instance {instance} has a keyring that ends with key {key}"),
        }
    });
    let each: Vec<String> = each.collect();
    format!(
        "not every instance has the keyring that ends with key {newest}: {}. Start each with it, one after the \
         other, and rotate then",
        each.join("; ")
    )
}

impl Catalog {
    /// Begins bringing everything under the newest number of the keyring, unless a rotation is under way or
    /// nothing is to be done. Returns what holds, once every instance knows of it.
    pub async fn begin_rotation(&self, ledger: &dyn Rotation) -> Result<Numbers, super::Error> {
        let following = self.following.lock().await;
        let epoch = self.ledger.followed().current();
        self.follow().await?;
        let to = self.keyring.newest();
        let check = self.keyring.check_value(to).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let numbers = ledger.numbers().await?;
            let applied = self.applied();
            if numbers.leaving.is_some() || numbers.current >= to {
                // Who began it may have been killed before every instance knew.
                drop(following);
                self.confirmed(epoch, applied).await?;
                return Ok(numbers);
            }
            let body = Change::Keys {
                number: to,
                rotation: Rotating::Begun,
            };
            let change = rotation::Change {
                to,
                expected: applied,
                recorded_at: self.clock.now(),
                body: &body.to_json(),
            };
            let begun = ledger.begin(change, &check).await?;
            self.follow().await?;
            match begun {
                Begun::At(offset) => {
                    drop(following);
                    self.confirmed(epoch, offset).await?;
                    return Ok(ledger.numbers().await?);
                }
                Begun::Overtaken => {}
                Begun::Others(others) => {
                    let newest = to;
                    return Err(Error::OtherKeyrings { newest, others }.into());
                }
                Begun::OtherKey => return Err(Error::OtherKey(to).into()),
            }
        }
        Err(super::Error::Contended)
    }

    /// Notes that nothing lies under an earlier number any more. Nobody need be waited for: who does not know
    /// yet looks in one place too many.
    pub async fn finish_rotation(
        &self,
        ledger: &dyn Rotation,
        to: u16,
    ) -> Result<(), super::Error> {
        let _following = self.following.lock().await;
        self.follow().await?;
        for _ in 0..ATTEMPTS {
            let numbers = ledger.numbers().await?;
            if numbers.leaving.is_none() || numbers.current != to {
                return Ok(());
            }
            let body = Change::Keys {
                number: to,
                rotation: Rotating::Finished,
            };
            let change = rotation::Change {
                to,
                expected: self.applied(),
                recorded_at: self.clock.now(),
                body: &body.to_json(),
            };
            let finished = ledger.finish(change).await?;
            self.follow().await?;
            if finished.is_some() {
                return Ok(());
            }
        }
        Err(super::Error::Contended)
    }

    /// A sealed value under the number in use.
    pub fn resealed(&self, column: Column, old: Sealed) -> Result<Resealed, super::Error> {
        let business = self.known(&old.business);
        let business = business.ok_or_else(|| Error::NoBusiness(old.business.to_string()))?;
        let place = Place {
            column: column.name(),
            row: old.place.row(column).as_bytes(),
        };
        let opened = business.keys.open(place, &old.value);
        let opened = opened.map_err(|source| Error::Sealed {
            column: column.name(),
            source,
        })?;
        Ok(Resealed {
            place: old.place,
            new: business.keys.seal(place, &opened),
            old: old.value,
        })
    }
}
