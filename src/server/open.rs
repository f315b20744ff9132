//! Opening a ledger with its keys: which database, which keyring, and whether they belong together.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Error;
use super::followed::exists;
use crate::cache::lane::Lane;
use crate::cache::lease::{Lease, Term};
use crate::config::{Config, Database, KeySource as Wanted};
use crate::domain::address::MATCH_RULES;
use crate::keys::source::{self, KeySource, SourceError};
use crate::keys::wrapping::{FIRST, Wrapping};
use crate::keys::{Keyring, SUBJECT_PARTITIONS};
use crate::ledger::activity::ActivityStore;
use crate::ledger::postgres::following::Line;
use crate::ledger::postgres::{self, Limits, Postgres};
use crate::ledger::rotation::Rotation;
use crate::ledger::sqlite::{self, Migrate, Sqlite};
use crate::ledger::{Ledger, Meta};

/// A ledger that this process may serve.
pub(super) struct Opened {
    pub ledger: Arc<dyn Ledger>,
    pub activity: Arc<dyn ActivityStore>,
    pub rotation: Arc<dyn Rotation>,
    pub keyring: Keyring,
    /// What the ledger wraps keys with.
    pub wrapping: Arc<Wrapping>,
    pub meta: Meta,
    pub lease: Arc<Lease>,
    /// What batches and streams may use of the database.
    pub lane: Lane,
    /// Where the ledger is followed, if others may write to it as well.
    pub shared: Option<Zeroizing<String>>,
}

/// Opens the database for serving: with its schema, its key, and on SQLite its lock.
pub(super) async fn open(config: &Config) -> Result<Opened, Error> {
    let limits = limits(config);
    match &config.database {
        Database::Sqlite(path) => {
            create_parent(path).await?;
            let keyring = keyring_of_sqlite(config, path)?;
            let migrate = if config.migrates_at_start() {
                Migrate::Yes
            } else {
                Migrate::No
            };
            let wrapping = Arc::new(keyring.wrapping());
            let timeout = config.database_acquire_timeout;
            let ledger = Sqlite::open_with(path, migrate, timeout, Arc::clone(&wrapping)).await?;
            let ledger = Arc::new(ledger);
            let meta = belonging_together(ledger.as_ref(), &keyring).await?;
            Ok(Opened {
                activity: ledger.clone(),
                rotation: ledger.clone(),
                ledger,
                keyring,
                wrapping,
                meta,
                // The lock file cannot be lost while the process lives.
                lease: Arc::new(Lease::endless()),
                lane: Lane::of(sqlite::READERS),
                shared: None,
            })
        }
        Database::Postgres(url) => {
            let keyring = keyring_from(config)?;
            if config.migrates_at_start() {
                postgres::migrate(url.expose(), limits).await?;
            }
            let direct = config.follower_database.as_ref();
            let direct = direct.map_or(url, |other| &other.0).expose();
            if [url.expose(), direct]
                .into_iter()
                .any(postgres::unproven_peer)
            {
                tracing::warn!(
                    "the database is on another machine, and its URL takes one that does not prove to be \
                     the right one: use `sslmode=verify-full`"
                );
            }
            let wrapping = Arc::new(keyring.wrapping());
            let ledger = Postgres::open_with(url.expose(), limits, Arc::clone(&wrapping)).await?;
            let ledger = Arc::new(ledger);
            let meta = belonging_together(ledger.as_ref(), &keyring).await?;
            for weakness in ledger.weaknesses().await? {
                tracing::warn!("{weakness}");
            }
            Ok(Opened {
                activity: ledger.clone(),
                rotation: ledger.clone(),
                ledger,
                keyring,
                wrapping,
                meta,
                lease: Arc::new(Lease::none(Term(config.lease))),
                lane: Lane::of(config.database_max_connections),
                shared: Some(Zeroizing::new(direct.to_owned())),
            })
        }
    }
}

/// Opens the database for a command that reads it while nobody serves it (SQLite) or beside the
/// one who does (PostgreSQL). Changes nothing.
pub async fn open_ledger(config: &Config) -> Result<Arc<dyn Ledger>, Error> {
    Ok(match &config.database {
        Database::Sqlite(path) => {
            exists(path)?;
            let timeout = config.database_acquire_timeout;
            Arc::new(Sqlite::open(path, Migrate::No, timeout).await?)
        }
        Database::Postgres(url) => Arc::new(Postgres::open(url.expose(), limits(config)).await?),
    })
}

/// Brings the schema up to date; creates a SQLite database, with its key, if there is none. Says what became of
/// the service's role, where the database has roles.
pub async fn migrate(config: &Config) -> Result<Option<postgres::Role>, Error> {
    Ok(match &config.database {
        Database::Sqlite(path) => {
            create_parent(path).await?;
            let keyring = keyring_of_sqlite(config, path)?;
            let ledger = Sqlite::open(path, Migrate::Yes, config.database_acquire_timeout).await?;
            belonging_together(&ledger, &keyring).await?;
            ledger.close().await;
            None
        }
        Database::Postgres(url) => {
            let role = postgres::migrate(url.expose(), limits(config)).await?;
            if config.key_source().is_some() {
                let ledger = Postgres::open(url.expose(), limits(config)).await?;
                belonging_together(&ledger, &keyring_from(config)?).await?;
                ledger.close().await;
            }
            Some(role)
        }
    })
}

/// Takes a ledger that lost commits as it is; says what was known to be lost. Whoever serves goes on
/// by itself.
pub async fn accept_history(config: &Config) -> Result<Option<String>, Error> {
    let Database::Postgres(url) = &config.database else {
        return Err(Error::WrongLedger(
            "a SQLite file has one history: there is nothing to accept".into(),
        ));
    };
    // The schema first: what does not know a history is not asked for one.
    let ledger = Postgres::open(url.expose(), limits(config)).await?;
    ledger.close().await;
    let mut line = Line::connect(url.expose(), config.statement_timeout, Arc::default()).await?;
    Ok(line.accept_loss().await?)
}

/// The keyring that is configured. Creates none.
pub fn keyring(config: &Config) -> Result<Keyring, Error> {
    keyring_from(config)
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_connections: config.database_max_connections,
        acquire_timeout: config.database_acquire_timeout,
        statement_timeout: config.statement_timeout,
    }
}

async fn create_parent(path: &Path) -> Result<(), Error> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let Some(parent) = parent else { return Ok(()) };
    tokio::fs::create_dir_all(parent)
        .await
        .map_err(|source| Error::Unreadable {
            path: parent.display().to_string(),
            source,
        })
}

/// A new database gets a new key, made before it, so that there is never a database without one.
/// An old database without its key does not start: a new key would be a second, empty world.
fn keyring_of_sqlite(config: &Config, database: &Path) -> Result<Keyring, Error> {
    let Some(Wanted::Beside(key)) = config.key_source() else {
        return keyring_from(config);
    };
    if !database.exists() && !key.exists() {
        return Ok(source::create(&key)?);
    }
    Ok(source::load(&KeySource::File(key))?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the setting names the variable that holds the key"
)]
fn keyring_from(config: &Config) -> Result<Keyring, Error> {
    let wanted = match config.key_source() {
        Some(Wanted::Beside(path) | Wanted::File(path)) => KeySource::File(path),
        Some(Wanted::Command(command)) => KeySource::Command(command),
        Some(Wanted::Variable(name)) => match std::env::var(&name) {
            Ok(text) => KeySource::Text {
                name,
                text: Zeroizing::new(text),
            },
            Err(fault) => {
                let fault = format!("environment variable `{name}`: {fault}");
                return Err(SourceError::Command(fault).into());
            }
        },
        None => {
            let fault = "no key is configured: set key_file, key_env or key_command";
            return Err(Error::WrongLedger(fault.into()));
        }
    };
    Ok(source::load(&wanted)?)
}

/// Whether keyring, partitions and match rules are those that the ledger was made with. A keyring may hold later
/// numbers than the ledger was ever kept under: that is how a rotation is prepared.
async fn belonging_together(ledger: &dyn Ledger, keyring: &Keyring) -> Result<Meta, Error> {
    let mut meta = ledger.meta().await?;
    if meta.key_checks.is_empty() {
        let check = keyring.check_value(FIRST).unwrap_or_default();
        ledger.set_key_check(&check).await?;
        meta = ledger.meta().await?;
    }
    for (number, kept) in &meta.key_checks {
        let fault = match keyring.check_value(*number) {
            Some(own) if own == *kept => continue,
            Some(_) if *number == FIRST => {
                "this is not the key that the database was made with: nothing in it could be found \
                 under this key. Restore the right key; a new one would start a second, empty world"
                    .to_owned()
            }
            Some(_) => format!(
                "key {number} of this keyring is not the key {number} that the database is kept under: \
                 nobody in it would be found. Use the keyring with which its keys were rotated"
            ),
            None => format!(
                "the database is kept under key {number}, and this keyring ends with key {}: nobody in it \
                 would be found. Use the keyring with which its keys were rotated",
                keyring.newest()
            ),
        };
        return Err(Error::WrongLedger(fault));
    }
    if meta.partitions != SUBJECT_PARTITIONS || meta.match_rules != MATCH_RULES {
        return Err(Error::WrongLedger(format!(
            "the database has {} partitions and match rules {}, this binary {SUBJECT_PARTITIONS} \
             and {MATCH_RULES}",
            meta.partitions, meta.match_rules
        )));
    }
    Ok(meta)
}
