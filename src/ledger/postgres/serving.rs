//! The right to serve a database, until instances keep each other's caches coherent: one at a time.

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::{Error, OpenError, sort_error};
use super::{Limits, connect_options};

/// Key of the advisory lock that a serving instance holds ("consentg" in ASCII).
const SERVING_LOCK: i64 = 0x636f_6e73_656e_7467;

/// After how long a silence the server takes the lock from its holder. One that was cut off without
/// a word would keep it, also from itself, for as long as the server believes in the connection,
/// which may be hours.
const SILENCE: &str = "5s";

/// The right to serve a database, held by an advisory lock on a connection of its own.
///
/// The lock is gone when the connection is, so its holder must ask for it again and again and stop
/// answering from memory when it cannot. Who leaves without a word (killed, cut off) may believe in
/// its right for a moment longer: see [`Predecessor`].
#[derive(Debug)]
pub struct ServingLock {
    connection: PgConnection,
}

/// Who held the right to serve before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predecessor {
    /// Nobody, or one who gave it up: nothing is answered from memory any more.
    Released,
    /// This instance itself, and nobody since.
    Own,
    /// Another one, which did not give it up: wait until it must have noticed.
    Vanished,
}

impl ServingLock {
    /// Takes the right for `instance`, or says that somebody else has it.
    pub async fn take(
        url: &str,
        limits: Limits,
        instance: Uuid,
    ) -> Result<(Self, Predecessor), OpenError> {
        let options = connect_options(url, limits)?;
        let mut connection = PgConnection::connect_with(&options)
            .await
            .map_err(OpenError::Open)?;
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SERVING_LOCK)
            .fetch_one(&mut connection)
            .await
            .map_err(OpenError::Open)?;
        if !taken {
            return Err(OpenError::Locked(
                "another instance serves this PostgreSQL database".into(),
            ));
        }
        let before: Option<String> =
            sqlx::query_scalar("SELECT value FROM ledger_meta WHERE name = 'serving'")
                .fetch_optional(&mut connection)
                .await
                .map_err(OpenError::Open)?;
        let predecessor = match before {
            None => Predecessor::Released,
            Some(before) if before == instance.to_string() => Predecessor::Own,
            Some(_) => Predecessor::Vanished,
        };
        Ok((Self { connection }, predecessor))
    }

    /// Notes who holds the right now. Only after a vanished predecessor was waited out: whoever is
    /// cut off while it waits still owes the wait. From here on the holder must ask for its lock
    /// within [`SILENCE`] again and again.
    pub async fn claim(&mut self, instance: Uuid) -> Result<(), Error> {
        // PostgreSQL 14 and later.
        sqlx::query(
            "SELECT set_config('idle_session_timeout', $1, false)
             WHERE current_setting('server_version_num')::integer >= 140000",
        )
        .bind(SILENCE)
        .execute(&mut self.connection)
        .await
        .map_err(sort_error)?;
        sqlx::query(
            "INSERT INTO ledger_meta (name, value) VALUES ('serving', $1)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(instance.to_string())
        .execute(&mut self.connection)
        .await
        .map_err(sort_error)?;
        Ok(())
    }

    /// Whether the lock is still held. Any error means that it must be taken for lost.
    pub async fn holds(&mut self) -> Result<bool, Error> {
        let (high, low) = (SERVING_LOCK >> 32, SERVING_LOCK & 0xffff_ffff);
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted
               AND pid = pg_backend_pid() AND classid = $1::bigint::oid AND objid = $2::bigint::oid)",
        )
        .bind(high)
        .bind(low)
        .fetch_one(&mut self.connection)
        .await
        .map_err(sort_error)
    }

    /// Gives the right up, so that the next one need not wait.
    pub async fn release(mut self) -> Result<(), Error> {
        sqlx::query("DELETE FROM ledger_meta WHERE name = 'serving'")
            .execute(&mut self.connection)
            .await
            .map_err(sort_error)?;
        self.connection.close().await.map_err(sort_error)
    }
}
