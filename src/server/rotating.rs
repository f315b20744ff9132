//! Rotating the keys of a ledger: everything that lies under an earlier number of the keyring is brought under the
//! newest one, while others serve.
//!
//! Whoever runs it is an instance for as long as it does. It may end at any moment and be begun again: where it
//! was is where the rows are. Passes are made until one finds nothing, so a rotation is finished only after a look
//! at every row.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::followed::{Followed, beside};
use crate::catalog::{self, Catalog, keys};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::keys::SUBJECT_PARTITIONS;
use crate::keys::wrapping::Numbers;
use crate::ledger::Partition;
use crate::ledger::rotation::{Column, Place, Resealed, Rotation, Table};
use crate::telemetry::Metrics;

/// How many people's facts are moved in one transaction. Whoever writes to their partition waits for it.
const PEOPLE: u32 = 500;
/// The same of people with activity, who may have hundreds of rows each.
const ACTIVE: u32 = 50;
/// How many sealed values are looked at in one statement.
const VALUES: u32 = 500;
/// How often those who write activity are waited for, two seconds each.
const SETTLING: u32 = 10;
/// How long instances with another keyring are waited for beyond a lease: those that were killed are forgotten then.
const GONE: Duration = Duration::from_secs(2);
/// How long until it is looked again whether they are gone.
const AGAIN: Duration = Duration::from_millis(500);

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number that everything is brought under.
    pub to: u16,
    /// What is worked on.
    pub what: &'static str,
    /// Of how many parts how many are through; `None` where that cannot be told.
    pub parts: Option<(u16, u16)>,
    /// Rows and values brought under it by this run.
    pub moved: u64,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotated {
    /// The number that everything lies under now.
    pub number: u16,
    /// Rows under keys of people that this run moved.
    pub rows: u64,
    /// Sealed values that it sealed anew.
    pub values: u64,
}

/// Brings everything under the newest key of the keyring: beside those who serve (PostgreSQL), or while nobody does
/// (SQLite, which is locked).
pub async fn rotate(
    config: &Config,
    report: impl FnMut(Progress) + Send,
) -> Result<Rotated, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let followed = beside(config, &clock, &Metrics::disabled()).await?;
    let patience = config.lease * 2 + GONE;
    let done = Work {
        catalog: &followed.catalog,
        ledger: followed.rotation.as_ref(),
        patience,
        report,
        rotated: Rotated::default(),
    };
    let done = Box::pin(done.carry_out()).await;
    let Followed {
        following, ledger, ..
    } = followed;
    following.leave(ledger.as_ref()).await;
    Ok(done?)
}

struct Work<'a, F> {
    catalog: &'a Catalog,
    ledger: &'a dyn Rotation,
    patience: Duration,
    report: F,
    rotated: Rotated,
}

impl<F: FnMut(Progress) + Send> Work<'_, F> {
    async fn carry_out(mut self) -> Result<Rotated, catalog::Error> {
        loop {
            let numbers = self.begin().await?;
            self.rotated.number = numbers.current;
            if numbers.leaving.is_none() {
                return Ok(self.rotated);
            }
            self.settle().await?;
            for table in Table::ALL {
                while self.move_all(table).await? > 0 {}
            }
            for column in Column::ALL {
                while self.seal_all(column).await? > 0 {}
            }
            let to = numbers.current;
            self.catalog.finish_rotation(self.ledger, to).await?;
        }
    }

    /// An instance that was killed leaves its row for a while.
    async fn begin(&self) -> Result<Numbers, catalog::Error> {
        let begun = tokio::time::Instant::now();
        loop {
            match self.catalog.begin_rotation(self.ledger).await {
                Err(catalog::Error::Keys(keys::Error::OtherKeyrings { .. }))
                    if begun.elapsed() < self.patience =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }

    async fn settle(&self) -> Result<(), catalog::Error> {
        for _ in 1..SETTLING {
            if self.ledger.settle().await.is_ok() {
                return Ok(());
            }
        }
        Ok(self.ledger.settle().await?)
    }

    /// One pass over a table; says how many rows it moved.
    async fn move_all(&mut self, table: Table) -> Result<u64, catalog::Error> {
        let (limit, what) = match table {
            Table::Subjects => (PEOPLE, "people"),
            Table::Windows => (ACTIVE, "service windows"),
            Table::Sends => (ACTIVE, "messages sent"),
        };
        let mut rows = 0;
        for number in 1..=SUBJECT_PARTITIONS {
            let mut after = None;
            loop {
                let partition = Partition(number);
                let moved = self
                    .ledger
                    .move_rows(table, partition, after, limit)
                    .await?;
                rows += moved.rows;
                self.rotated.rows += moved.rows;
                after = moved.next;
                if after.is_none() {
                    break;
                }
                self.tell(what, Some(number - 1));
            }
            self.tell(what, Some(number));
        }
        Ok(rows)
    }

    /// One pass over a column; says how many values it sealed anew.
    async fn seal_all(&mut self, column: Column) -> Result<u64, catalog::Error> {
        let what = match column {
            Column::Address => "addresses",
            Column::Payload => "evidence",
        };
        let number = self.rotated.number;
        let (mut after, mut values) = (Place::FIRST, 0);
        loop {
            let page = self
                .ledger
                .sealed_before(column, number, after, VALUES)
                .await?;
            let resealed: Vec<Resealed> = page
                .old
                .into_iter()
                .map(|old| self.catalog.resealed(column, old))
                .collect::<Result<_, _>>()?;
            let sealed = match resealed.is_empty() {
                true => 0,
                false => self.ledger.reseal(column, &resealed).await?,
            };
            values += sealed;
            self.rotated.values += sealed;
            // Ids do not lie in parts of one size: how far it is only the values say.
            self.tell(what, None);
            match page.next {
                Some(next) => after = next,
                None => return Ok(values),
            }
        }
    }

    fn tell(&mut self, what: &'static str, through: Option<u16>) {
        let progress = Progress {
            to: self.rotated.number,
            what,
            parts: through.map(|through| (through, SUBJECT_PARTITIONS)),
            moved: self.rotated.rows + self.rotated.values,
        };
        (self.report)(progress);
    }
}
