//! The schema: who may open which version of it, that both databases have the same one, and that it explains itself.

use std::collections::BTreeMap;
use std::path::Path;

use consentgate::ledger::postgres::{Postgres, migrate};
use consentgate::ledger::sqlite::{Migrate, Sqlite};
use consentgate::ledger::{Ledger, OpenError};

use crate::ledger::{Column, LIMITS, Raw, open_sqlite};
use crate::postgres::{TestDatabase, database};

/// The migrations of one database as they lie in the repository: version and text.
fn files_of(database: &str) -> BTreeMap<i64, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(database);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (version, _) = name.split_once('_').unwrap();
        (
            version.parse().unwrap(),
            std::fs::read_to_string(&path).unwrap(),
        )
    });
    files.collect()
}

fn newest(database: &str) -> i64 {
    *files_of(database).keys().next_back().unwrap()
}

async fn open_file(file: &Path, migrate: Migrate) -> Result<Sqlite, OpenError> {
    Sqlite::open(file, migrate, LIMITS.acquire_timeout).await
}

async fn open_postgres(database: &TestDatabase) -> Result<Postgres, OpenError> {
    Postgres::open(database.url(), LIMITS).await
}

#[track_caller]
fn is_older<T: std::fmt::Debug>(opened: Result<T, OpenError>, version: Option<i64>) {
    let Err(error @ OpenError::Older { found, known }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((found, known), (version, newest("sqlite")));
    let text = error.to_string();
    assert!(text.contains("run `consentgate migrate`"), "{text}");
}

#[track_caller]
fn is_newer<T: std::fmt::Debug>(opened: Result<T, OpenError>) {
    let Err(error @ OpenError::Newer { found, known }) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((found, known), (9_999, newest("sqlite")));
    let text = error.to_string();
    assert!(
        text.contains("9999") && text.contains("use a newer consentgate"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unmigrated_database_is_refused_until_it_is_migrated() {
    let database = database().await;
    is_older(open_postgres(&database).await, None);
    migrate(database.url(), LIMITS).await.unwrap();
    open_postgres(&database)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let missing = open_file(&file, Migrate::No).await;
    assert!(matches!(missing, Err(OpenError::Open(_))), "{missing:?}");
    assert!(!file.exists(), "it was created");
    Raw::sqlite(&file)
        .await
        .run("PRAGMA user_version = 1")
        .await;
    is_older(open_file(&file, Migrate::No).await, None);
    open_file(&file, Migrate::Yes).await.unwrap();
    open_file(&file, Migrate::No)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
}

#[tokio::test]
async fn an_older_schema_is_refused() {
    const AGE: &str = "UPDATE _sqlx_migrations SET version = -version";
    let database = database().await;
    migrate(database.url(), LIMITS).await.unwrap();
    Raw::postgres(database.url()).await.run(AGE).await;
    is_older(open_postgres(&database).await, Some(-1));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    drop(open_sqlite(&file).await);
    Raw::sqlite(&file).await.run(AGE).await;
    is_older(open_file(&file, Migrate::No).await, Some(-1));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    const AHEAD: &str = "INSERT INTO _sqlx_migrations
        (version, description, success, checksum, execution_time)
        SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations LIMIT 1";
    const COUNT: &str = "SELECT count(*) FROM _sqlx_migrations";
    let left = i64::try_from(files_of("sqlite").len()).unwrap() + 1;
    let database = database().await;
    migrate(database.url(), LIMITS).await.unwrap();
    let mut raw = Raw::postgres(database.url()).await;
    raw.run(AHEAD).await;
    is_newer(open_postgres(&database).await);
    is_newer(migrate(database.url(), LIMITS).await);
    assert_eq!(raw.number(COUNT).await, left);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    drop(open_sqlite(&file).await);
    let mut raw = Raw::sqlite(&file).await;
    raw.run(AHEAD).await;
    is_newer(open_file(&file, Migrate::No).await);
    is_newer(open_file(&file, Migrate::Yes).await);
    assert_eq!(raw.number(COUNT).await, left);
}

#[tokio::test]
async fn migrating_again_and_at_the_same_time_changes_nothing() {
    let database = database().await;
    let migrated = || migrate(database.url(), LIMITS);
    let (a, b, c) = tokio::join!(migrated(), migrated(), migrated());
    for migrated in [a, b, c] {
        migrated.unwrap();
    }
    let ledger = open_postgres(&database).await.unwrap();
    let meta = ledger.meta().await.unwrap();
    migrate(database.url(), LIMITS).await.unwrap();
    assert_eq!(ledger.meta().await.unwrap(), meta);
    assert_eq!(ledger.heads().await.unwrap().len(), 65);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    let ledger = open_sqlite(&file).await;
    let meta = ledger.meta().await.unwrap();
    drop(ledger);
    let ledger = open_sqlite(&file).await;
    assert_eq!(ledger.meta().await.unwrap(), meta);
    assert_eq!(ledger.heads().await.unwrap().len(), 65);
}

/// The columns of both databases, freshly migrated.
async fn both() -> (Vec<Column>, Vec<Column>) {
    let database = database().await;
    migrate(database.url(), LIMITS).await.unwrap();
    let postgres = Raw::postgres(database.url()).await.columns().await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.db");
    drop(open_sqlite(&file).await);
    let sqlite = Raw::sqlite(&file).await.columns().await;
    assert!(postgres.len() > 30, "{}", postgres.len());
    (postgres, sqlite)
}

#[test]
fn both_databases_have_the_same_migrations() {
    let versions = |database| files_of(database).into_keys().collect::<Vec<_>>();
    assert_eq!(versions("postgres"), versions("sqlite"));
    assert_eq!(versions("sqlite")[0], 1);
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns_in_the_same_order() {
    let (postgres, sqlite) = both().await;
    let in_words_of_sqlite: Vec<Column> = postgres
        .into_iter()
        .map(|mut column| {
            column.kind = match column.kind.as_str() {
                "smallint" | "integer" | "bigint" => "integer",
                "bytea" | "uuid" => "blob",
                other => other,
            }
            .to_owned();
            column
        })
        .collect();
    assert_eq!(in_words_of_sqlite, sqlite);
    assert!(sqlite.iter().all(|column| column.required), "{sqlite:?}");
}

#[tokio::test]
async fn every_table_and_column_is_explained_in_the_same_words_in_both_databases() {
    let (columns, _) = both().await;
    let database = database().await;
    migrate(database.url(), LIMITS).await.unwrap();
    let rows = Raw::postgres(database.url())
        .await
        .texts(
            "SELECT c.relname::text, a.attname::text, d.description
             FROM pg_description AS d
             JOIN pg_class AS c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
             LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND a.attnum > 0
             WHERE c.relnamespace = 'public'::regnamespace",
        )
        .await;
    // What is explained (a table, or a column of one), and how.
    let mut in_postgres = BTreeMap::new();
    for row in rows {
        let [Some(table), column, Some(comment)] = &row[..] else {
            panic!("{row:?}");
        };
        in_postgres.insert((table.clone(), column.clone()), comment.clone());
    }

    for column in &columns {
        let names = [None, Some(column.name.clone())];
        for name in names {
            let what = (column.table.clone(), name);
            let comment = in_postgres.get(&what).map_or("", String::as_str);
            assert!(comment.len() > 5, "{what:?} has no comment: {comment:?}");
        }
    }
    assert_eq!(comments_of_sqlite(), in_postgres);
}

/// The comment line above each table and column of the SQLite schema.
fn comments_of_sqlite() -> BTreeMap<(String, Option<String>), String> {
    let mut comments = BTreeMap::new();
    for text in files_of("sqlite").values() {
        let mut above = None;
        let mut table: Option<String> = None;
        for line in text.lines().map(str::trim) {
            let comment = above.take();
            if let Some((what, text)) = restated(line) {
                comments.insert(what, text);
            } else if let Some(text) = line.strip_prefix("-- ") {
                above = Some(text.to_owned());
            } else if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                let name = rest.trim_end_matches(" (").to_owned();
                let comment = comment.unwrap_or_else(|| panic!("no comment above {line}"));
                comments.insert((name.clone(), None), comment);
                table = Some(name);
            } else if line.starts_with(") STRICT") {
                table = None;
            } else if let Some(table) = &table {
                let first = line.split(' ').next().unwrap_or_default();
                if ["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"].contains(&first) {
                    continue;
                }
                let name = first.trim_matches('"').to_owned();
                let comment = comment.unwrap_or_else(|| panic!("no comment above {line}"));
                comments.insert((table.clone(), Some(name)), comment);
            }
        }
        assert_eq!(table, None, "a table has no end");
    }
    comments
}

/// What a later migration says of a column that an earlier one made, in PostgreSQL's words.
fn restated(line: &str) -> Option<((String, Option<String>), String)> {
    let rest = line.strip_prefix("-- COMMENT ON COLUMN ")?;
    let (what, text) = rest.split_once(" IS '")?;
    let (table, column) = what.split_once('.')?;
    let text = text.strip_suffix("';")?.replace("''", "'");
    Some(((table.to_owned(), Some(column.to_owned())), text))
}
