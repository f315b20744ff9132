//! Hints: one instance tells the others that there is something to look at.
//!
//! A hint is a `NOTIFY` in a statement of its own: within a writing transaction it would take a lock
//! of the whole cluster until the commit. Many at a time become one. One may be lost at any time, and
//! is, while a connection is made anew: instances look by themselves as well.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::connecting;

const CHANNEL: &str = "consentgate_hint";
const AGAIN: Duration = Duration::from_secs(1);
/// A hint that takes longer is of no use.
const LIMIT: Duration = Duration::from_secs(1);

/// Gives a hint whenever `given` says so, without end.
pub async fn speak(url: Zeroizing<String>, given: Arc<Notify>) {
    let mut connection: Option<PgConnection> = None;
    loop {
        given.notified().await;
        let hint = async {
            let mut line = match connection.take() {
                Some(line) => line,
                None => PgConnection::connect_with(&connecting::secured(&url)?).await?,
            };
            line.execute("NOTIFY consentgate_hint").await?;
            Ok::<_, sqlx::Error>(line)
        };
        match tokio::time::timeout(LIMIT, hint).await {
            Ok(Ok(line)) => connection = Some(line),
            Ok(Err(error)) => tracing::debug!(%error, "a hint could not be given"),
            Err(_) => tracing::debug!("a hint could not be given in time"),
        }
    }
}

/// Hears hints and passes them on, without end.
pub async fn listen(url: Zeroizing<String>, heard: Arc<Notify>) {
    loop {
        if let Err(error) = hear(&url, &heard).await {
            tracing::debug!(%error, "hints cannot be heard");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear(url: &str, heard: &Notify) -> Result<(), sqlx::Error> {
    let line = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(connecting::secured(url)?)
        .await?;
    let mut listener = PgListener::connect_with(&line).await?;
    listener.listen(CHANNEL).await?;
    // It connects anew by itself and then says nothing of what it missed.
    while listener.try_recv().await?.is_some() {
        heard.notify_one();
    }
    Ok(())
}
