//! Hints: one instance tells the others that there is something to look at.
//!
//! A hint is a notification (`NOTIFY`) in a statement of its own: within a writing transaction it would take a lock
//! of the whole cluster until the commit. Many at a time become one. One may be lost at any time, and
//! is, while a connection is made anew: instances look by themselves as well.
//!
//! A hint names who gives it, who hears it too and has nothing to look at: whoever restricts renews anyway. One that
//! names nobody is another binary's.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use tokio::sync::Notify;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::connecting;

const CHANNEL: &str = "consentgate_hint";
const AGAIN: Duration = Duration::from_secs(1);
/// A hint that takes longer is of no use.
const LIMIT: Duration = Duration::from_secs(1);

/// Gives a hint of `own` whenever `given` says so, without end.
pub async fn speak(url: Zeroizing<String>, given: Arc<Notify>, own: Uuid) {
    let own = own.to_string();
    let mut connection: Option<PgConnection> = None;
    loop {
        given.notified().await;
        let hint = async {
            let mut line = match connection.take() {
                Some(line) => line,
                None => PgConnection::connect_with(&connecting::secured(&url)?).await?,
            };
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(&own)
                .execute(&mut line)
                .await?;
            Ok::<_, sqlx::Error>(line)
        };
        match tokio::time::timeout(LIMIT, hint).await {
            Ok(Ok(line)) => connection = Some(line),
            Ok(Err(error)) => tracing::debug!(%error, "a hint could not be given"),
            Err(_) => tracing::debug!("a hint could not be given in time"),
        }
    }
}

/// Hears hints and passes those of others on, without end.
pub async fn listen(url: Zeroizing<String>, heard: Arc<Notify>, own: Uuid) {
    let own = own.to_string();
    loop {
        if let Err(error) = hear(&url, &heard, &own).await {
            tracing::debug!(%error, "hints cannot be heard");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear(url: &str, heard: &Notify, own: &str) -> Result<(), sqlx::Error> {
    let line = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(connecting::secured(url)?)
        .await?;
    let mut listener = PgListener::connect_with(&line).await?;
    listener.listen(CHANNEL).await?;
    // It connects anew by itself and then says nothing of what it missed.
    while let Some(hint) = listener.try_recv().await? {
        if hint.payload() != own {
            heard.notify_one();
        }
    }
    Ok(())
}
