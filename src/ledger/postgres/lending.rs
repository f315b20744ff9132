//! Lending connections, and taking them back within a limit.
//!
//! The pool tests a connection before it takes it back, which also waits for the end of a statement
//! that its caller gave up. It sets no limit to that: a connection that says nothing any more would
//! keep its place until TCP gives up, a quarter of an hour later, and a few of them would keep
//! everybody out. Nor does sqlx give a way to the socket, to let TCP give up earlier.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};

use super::Limits;

/// How much longer than the database's own limit of a statement its end is waited for.
const MARGIN: Duration = Duration::from_secs(1);

/// For so long a connection is taken for alive that nobody has used. After an outage of the database
/// all are dead, and each would fail one call.
const TRUSTED: Duration = Duration::from_millis(500);

/// How long such a connection may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Lender {
    pool: PgPool,
    limit: Duration,
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
                Box::pin(async move {
                    if known.idle_for < TRUSTED {
                        return Ok(true);
                    }
                    let answered = tokio::time::timeout(PATIENCE, connection.ping()).await;
                    Ok(matches!(answered, Ok(Ok(()))))
                })
            })
            .connect_with(options)
            .await?;
        let limit = limits.statement_timeout + MARGIN;
        Ok(Self { pool, limit })
    }

    /// A connection for one statement or transaction.
    pub(super) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        Ok(Lent {
            connection: self.pool.acquire().await?,
            limit: self.limit,
            distrusted: false,
        })
    }

    /// How long a statement may take, until its connection is taken for one that says nothing any more.
    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    /// Ends all connections, and waits for those that are lent.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Lent {
    /// It is closed instead of going back.
    pub(super) fn distrust(&mut self) {
        self.distrusted = true;
    }
}

/// A connection that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    connection: PoolConnection<Postgres>,
    limit: Duration,
    distrusted: bool,
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.distrusted {
            self.connection.close_on_drop();
            return;
        }
        let limit = self.limit;
        let returned = self.connection.return_to_pool();
        tokio::spawn(async move {
            // Given up, it closes the connection and frees its place.
            if tokio::time::timeout(limit, returned).await.is_err() {
                tracing::warn!(?limit, "a connection to the database says nothing: closed");
            }
        });
    }
}
