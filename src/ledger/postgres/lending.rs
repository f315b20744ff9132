//! Lending connections, and taking them back within a limit.
//!
//! The pool tests a connection before it takes it back, which also waits for the end of a statement
//! that its caller gave up. It sets no limit to that: a connection that says nothing any more would
//! keep its place until TCP gives up, a quarter of an hour later, and a few of them would keep
//! everybody out. Nor does sqlx give a way to the socket, to let TCP give up earlier.
//!
//! That test costs a round trip after every statement. Whoever has read its statement's answer to the
//! end says so ([`Lent::settled`]), and its connection is lent again without the test and without the
//! pool, for a while.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Limits;

/// How much longer than the database's own limit of a statement its end is waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// For so long a connection is taken for alive that nobody has used. After an outage of the database
/// all are dead, and each would fail one call.
const TRUSTED: Duration = Duration::from_millis(500);

/// How long such a connection may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a connection is lent past the pool before it goes back there, which ends it at its age.
const KEPT: Duration = Duration::from_secs(60);

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Lender {
    pool: PgPool,
    kept: Arc<Kept>,
    acquire: Duration,
    limit: Duration,
}

/// Connections that were settled and wait for the next call, and how many may be lent.
#[derive(Debug)]
struct Kept {
    places: Arc<Semaphore>,
    /// The latest in front: it is the least likely to have died, and the others may rest. `None`: the
    /// end has come.
    idle: Mutex<Option<VecDeque<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: PoolConnection<Postgres>,
    /// When the pool lent it.
    since: Instant,
    idle_since: Instant,
}

impl Lender {
    /// Connects once, so that a database which cannot be reached is found out here.
    pub(super) async fn open(
        options: PgConnectOptions,
        limits: Limits,
    ) -> Result<Self, sqlx::Error> {
        // No least number of connections: the pool would make up for one for up to five minutes, and
        // keep its place meanwhile. Looking for commits keeps one open anyway.
        let pool = PgPoolOptions::new()
            .max_connections(limits.max_connections)
            .acquire_timeout(limits.acquire_timeout)
            // Tested below, and only what may have died unnoticed.
            .test_before_acquire(false)
            .before_acquire(|connection, known| {
                Box::pin(async move { Ok(is_alive(connection, known.idle_for).await) })
            })
            .connect_with(options)
            .await?;
        let places = usize::try_from(limits.max_connections).unwrap_or(Semaphore::MAX_PERMITS);
        let kept = Kept {
            places: Arc::new(Semaphore::new(places)),
            idle: Mutex::new(Some(VecDeque::new())),
        };
        Ok(Self {
            pool,
            kept: Arc::new(kept),
            acquire: limits.acquire_timeout,
            limit: limits.statement_timeout + MARGIN,
        })
    }

    /// A connection for one statement or transaction.
    pub(super) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        // Whoever has no place has no connection of the pool's either, so that the pool has one for
        // whoever has, and who comes first is served first.
        tokio::time::timeout(self.acquire, self.lend_one())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    async fn lend_one(&self) -> Result<Lent, sqlx::Error> {
        let places = Arc::clone(&self.kept.places);
        let place = places.acquire_owned().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        while let Some(mut idle) = self.kept.take() {
            if is_alive(&mut idle.connection, idle.idle_since.elapsed()).await {
                return Ok(self.lent(idle.connection, idle.since, place));
            }
            idle.connection.close_on_drop();
        }
        let connection = self.pool.acquire().await?;
        Ok(self.lent(connection, Instant::now(), place))
    }

    fn lent(
        &self,
        connection: PoolConnection<Postgres>,
        since: Instant,
        place: OwnedSemaphorePermit,
    ) -> Lent {
        Lent {
            connection: Some(connection),
            place: Some(place),
            since,
            kept: Arc::clone(&self.kept),
            limit: self.limit,
            distrusted: false,
        }
    }

    /// Ends all connections, and waits for those that are lent.
    pub(super) async fn close(&self) {
        self.kept.places.close();
        let idle = self.kept.idle().take();
        for idle in idle.into_iter().flatten() {
            // It ends whether it says farewell or not.
            let _ = idle.connection.close().await;
        }
        self.pool.close().await;
    }
}

/// Whether a connection can be lent that nobody has used for so long.
async fn is_alive(connection: &mut PgConnection, idle_for: Duration) -> bool {
    if idle_for < TRUSTED {
        return true;
    }
    let answered = tokio::time::timeout(PATIENCE, connection.ping()).await;
    matches!(answered, Ok(Ok(())))
}

impl Kept {
    fn idle(&self) -> std::sync::MutexGuard<'_, Option<VecDeque<Idle>>> {
        self.idle.lock().expect("no holder of this lock panics")
    }

    fn take(&self) -> Option<Idle> {
        self.idle().as_mut()?.pop_front()
    }

    /// Keeps a connection, unless the end has come or it is time to hand it to the pool: then gives
    /// that one back. The longest idle one goes there as well, once nobody has needed it for long.
    fn keep(&self, idle: Idle) -> Vec<Idle> {
        let mut kept = self.idle();
        let Some(kept) = kept.as_mut() else {
            return vec![idle];
        };
        if idle.since.elapsed() >= KEPT {
            return vec![idle];
        }
        kept.push_front(idle);
        let rested = kept
            .back()
            .is_some_and(|last| last.idle_since.elapsed() >= KEPT);
        kept.pop_back_if(|_| rested).into_iter().collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Given to the pool they would need a runtime, which may have ended.
        for idle in self.idle().take().into_iter().flatten() {
            drop(idle.connection.detach());
        }
    }
}

impl Lent {
    /// It is closed instead of going back.
    pub(super) fn distrust(&mut self) {
        self.distrusted = true;
    }

    /// The answers to all its statements were read to the end, and no transaction is open: it may be
    /// lent again as it is.
    pub(super) fn settled(mut self) {
        if self.distrusted {
            return;
        }
        let Some(connection) = self.connection.take() else {
            return;
        };
        let idle = Idle {
            connection,
            since: self.since,
            idle_since: Instant::now(),
        };
        // What is not kept goes back as if it had not been settled.
        for idle in self.kept.keep(idle) {
            return_within(idle.connection, self.limit, None);
        }
        // Its place is free from here on: the connection had to be there first.
    }
}

/// A connection that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    /// `None`: it has gone back.
    connection: Option<PoolConnection<Postgres>>,
    place: Option<OwnedSemaphorePermit>,
    since: Instant,
    kept: Arc<Kept>,
    limit: Duration,
    distrusted: bool,
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(LENT)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(LENT)
    }
}

const LENT: &str = "it goes back only when it is given up";

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if self.distrusted {
            connection.close_on_drop();
            return;
        }
        return_within(connection, self.limit, self.place.take());
    }
}

/// Gives a connection back to the pool, and its place free afterwards.
fn return_within(
    mut connection: PoolConnection<Postgres>,
    limit: Duration,
    place: Option<OwnedSemaphorePermit>,
) {
    let returned = connection.return_to_pool();
    tokio::spawn(async move {
        // Given up, it closes the connection and frees its place.
        if tokio::time::timeout(limit, returned).await.is_err() {
            tracing::warn!(?limit, "a connection to the database says nothing: closed");
        }
        drop(place);
    });
}
