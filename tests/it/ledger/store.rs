//! A ledger on either database, and a second way into that database past the ledger: to damage rows, and to see
//! all that is stored.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consentgate::keys::Keyring;
use consentgate::ledger::Ledger;
use consentgate::ledger::activity::ActivityStore;
use consentgate::ledger::postgres::{self, Limits, Postgres};
use consentgate::ledger::rotation::Rotation;
use consentgate::ledger::sqlite::{Migrate, Sqlite};
use data_encoding::HEXLOWER;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

use crate::postgres::{TestDatabase, database};

/// Few connections, since tests run side by side on one server; more than one, since they race.
pub const LIMITS: Limits = Limits {
    max_connections: 12,
    acquire_timeout: Duration::from_secs(20),
    statement_timeout: Duration::from_secs(20),
};

/// A migrated, empty ledger that one test has to itself.
pub struct Store {
    pub ledger: Arc<dyn Ledger>,
    pub activity: Arc<dyn ActivityStore>,
    pub rotation: Arc<dyn Rotation>,
    /// What the ledger wraps keys with; it was never rotated.
    pub keyring: Keyring,
    place: Place,
}

enum Place {
    Sqlite(TempDir),
    Postgres(TestDatabase),
}

/// One stored row: its table, and each column with its value's bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredRow {
    pub table: String,
    pub cells: Vec<(String, Option<Vec<u8>>)>,
}

/// One column as the database describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub table: String,
    pub name: String,
    /// In the database's own words, lower case.
    pub kind: String,
    pub required: bool,
}

impl Store {
    pub async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keyring = long_keyring();
        let wrapping = Arc::new(keyring.wrapping());
        let (file, limit) = (file_in(&directory), LIMITS.acquire_timeout);
        let ledger = Sqlite::open_with(&file, Migrate::Yes, limit, wrapping).await;
        let ledger = Arc::new(ledger.unwrap());
        Self {
            activity: ledger.clone(),
            rotation: ledger.clone(),
            ledger,
            keyring,
            place: Place::Sqlite(directory),
        }
    }

    pub async fn postgres() -> Self {
        let database = database().await;
        postgres::migrate(database.url(), LIMITS).await.unwrap();
        // With the rights that the service is to have, and no others.
        let url = database.service_url().await;
        let keyring = long_keyring();
        let wrapping = Arc::new(keyring.wrapping());
        let ledger = Postgres::open_with(&url, LIMITS, wrapping).await.unwrap();
        let ledger = Arc::new(ledger);
        Self {
            activity: ledger.clone(),
            rotation: ledger.clone(),
            ledger,
            keyring,
            place: Place::Postgres(database),
        }
    }

    /// Another instance on the same PostgreSQL, with the same secrets and a memory of its own.
    pub async fn another(&self) -> Arc<Postgres> {
        let Place::Postgres(database) = &self.place else {
            panic!("a file has one instance");
        };
        let keyring = Keyring::parse(&self.keyring.to_text()).unwrap();
        let url = database.service_url().await;
        let ledger = Postgres::open_with(&url, LIMITS, Arc::new(keyring.wrapping())).await;
        Arc::new(ledger.unwrap())
    }

    /// Where PostgreSQL has it, with the rights of the service.
    pub async fn service_url(&self) -> String {
        match &self.place {
            Place::Postgres(database) => database.service_url().await,
            Place::Sqlite(_) => panic!("a file has no URL"),
        }
    }

    /// Whether a text may hold bytes that are none, and an id too few of them: PostgreSQL's types rule it out.
    pub fn has_loose_types(&self) -> bool {
        matches!(self.place, Place::Sqlite(_))
    }

    /// Bytes as a literal of this database.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let hex = HEXLOWER.encode(bytes);
        match self.place {
            Place::Sqlite(_) => format!("x'{hex}'"),
            Place::Postgres(_) => format!("'\\x{hex}'::bytea"),
        }
    }

    /// An id as a literal of this database.
    pub fn id(&self, id: uuid::Uuid) -> String {
        match self.place {
            Place::Sqlite(_) => self.bytes(id.as_bytes()),
            Place::Postgres(_) => format!("'{id}'::uuid"),
        }
    }

    /// Runs a statement on a connection of its own; says how many rows it changed.
    pub async fn run(&self, sql: &str) -> u64 {
        self.connect().await.run(sql).await
    }

    /// Runs a statement that must change one row, also one that the database's guards would refuse.
    pub async fn damage(&self, sql: &str) {
        let mut raw = self.connect().await;
        raw.lift_guards().await;
        assert_eq!(raw.run(sql).await, 1, "{sql}");
    }

    /// Everything that is stored, in a fixed order, but for the record of migrations.
    pub async fn contents(&self) -> Vec<StoredRow> {
        self.connect().await.contents().await
    }

    /// A second connection, which knows nothing of the ledger.
    pub async fn connect(&self) -> Raw {
        match &self.place {
            Place::Sqlite(directory) => Raw::sqlite(&file_in(directory)).await,
            Place::Postgres(database) => Raw::postgres(database.url()).await,
        }
    }

    /// The files in which SQLite keeps it; none for PostgreSQL.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::Sqlite(directory) => std::fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect(),
            Place::Postgres(_) => Vec::new(),
        }
    }
}

fn long_keyring() -> Keyring {
    let keyring = Keyring::generate();
    keyring.grown().unwrap().grown().unwrap()
}

fn file_in(directory: &TempDir) -> PathBuf {
    directory.path().join("ledger.db")
}

/// Opens a SQLite ledger, which is created if it is not there.
pub async fn open_sqlite(file: &Path) -> Sqlite {
    Sqlite::open(file, Migrate::Yes, LIMITS.acquire_timeout)
        .await
        .unwrap()
}

/// A connection to either database.
pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    /// Creates the file if there is none.
    pub async fn sqlite(file: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        Self::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
    }

    pub async fn postgres(url: &str) -> Self {
        Self::Postgres(PgConnection::connect(url).await.unwrap())
    }

    pub async fn run(&mut self, sql: &str) -> u64 {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query(query)
                .execute(connection)
                .await
                .map(|done| done.rows_affected()),
            Self::Postgres(connection) => sqlx::query(query)
                .execute(connection)
                .await
                .map(|done| done.rows_affected()),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// What went wrong with a statement that must not succeed.
    pub async fn refusal(&mut self, sql: &str) -> String {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query(query).execute(connection).await.map(drop),
            Self::Postgres(connection) => sqlx::query(query).execute(connection).await.map(drop),
        }
        .map_or_else(|error| error.to_string(), |()| panic!("{sql}: done"))
    }

    /// Takes away for good what keeps events as they are, as an owner can who damages the ledger on purpose.
    pub async fn lift_guards(&mut self) {
        let statements: &[&str] = match self {
            Self::Sqlite(_) => &[
                "DROP TRIGGER IF EXISTS event_never_updated",
                "DROP TRIGGER IF EXISTS event_never_deleted",
                "DROP TRIGGER IF EXISTS system_event_never_updated",
                "DROP TRIGGER IF EXISTS system_event_never_deleted",
            ],
            Self::Postgres(_) => &[
                "ALTER TABLE event DISABLE TRIGGER USER",
                "ALTER TABLE system_event DISABLE TRIGGER USER",
            ],
        };
        for statement in statements {
            self.run(statement).await;
        }
    }

    pub async fn number(&mut self, sql: &str) -> i64 {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(query).fetch_one(connection).await,
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Rows of text.
    pub async fn texts(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let query = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => {
                sqlx::query(query).fetch_all(connection).await.map(|rows| {
                    let texts = rows
                        .iter()
                        .map(|row| (0..row.len()).map(|at| row.get(at)).collect());
                    texts.collect()
                })
            }
            Self::Postgres(connection) => {
                sqlx::query(query).fetch_all(connection).await.map(|rows| {
                    let texts = rows
                        .iter()
                        .map(|row| (0..row.len()).map(|at| row.get(at)).collect());
                    texts.collect()
                })
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// All columns of our own tables, by table and then in the order in which they were declared.
    pub async fn columns(&mut self) -> Vec<Column> {
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT t.name, c.name, lower(c.type), CAST(c.\"notnull\" AS TEXT)
                 FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name <> '_sqlx_migrations'
                 ORDER BY t.name, c.cid"
            }
            Self::Postgres(_) => {
                "SELECT table_name::text, column_name::text, data_type::text,
                   (is_nullable = 'NO')::int::text
                 FROM information_schema.columns
                 WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'
                 ORDER BY table_name COLLATE \"C\", ordinal_position"
            }
        };
        let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
        let rows = self.texts(sql).await;
        let columns = rows.iter().map(|row| Column {
            table: text(&row[0]),
            name: text(&row[1]),
            kind: text(&row[2]),
            required: text(&row[3]) == "1",
        });
        columns.collect()
    }

    async fn contents(&mut self) -> Vec<StoredRow> {
        let columns = self.columns().await;
        let mut stored = Vec::new();
        for columns in columns.chunk_by(|one, other| one.table == other.table) {
            let expressions: Vec<String> = columns
                .iter()
                .map(|Column { name, kind, .. }| match (&self, kind.as_str()) {
                    (Self::Sqlite(_), _) => format!("CAST(\"{name}\" AS BLOB)"),
                    (Self::Postgres(_), "bytea") => format!("\"{name}\""),
                    (Self::Postgres(_), _) => format!("convert_to(\"{name}\"::text, 'UTF8')"),
                })
                .collect();
            let table = &columns[0].table;
            let sql = format!("SELECT {} FROM {table}", expressions.join(", "));
            for values in self.bytes(sql).await {
                let names = columns.iter().map(|column| column.name.clone());
                stored.push(StoredRow {
                    table: table.clone(),
                    cells: names.zip(values).collect(),
                });
            }
        }
        stored.sort();
        stored
    }

    async fn bytes(&mut self, sql: String) -> Vec<Vec<Option<Vec<u8>>>> {
        let query = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => {
                let rows = sqlx::query(query).fetch_all(connection).await.unwrap();
                let cells =
                    |row: &sqlx::sqlite::SqliteRow| (0..row.len()).map(|at| row.get(at)).collect();
                rows.iter().map(cells).collect()
            }
            Self::Postgres(connection) => {
                let rows = sqlx::query(query).fetch_all(connection).await.unwrap();
                let cells =
                    |row: &sqlx::postgres::PgRow| (0..row.len()).map(|at| row.get(at)).collect();
                rows.iter().map(cells).collect()
            }
        }
    }
}
