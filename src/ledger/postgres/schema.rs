//! The schema in PostgreSQL: which version there is, bringing it up to date, and what the service may do in it.
//!
//! Whoever migrates owns the tables. The service needs less, and gets it by the role [`SERVICE_ROLE`], of
//! which its login is made a member: what may be done is said in `roles.sql`, and granted anew by every
//! migration.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};

use super::super::{OpenError, check_schema};
use super::{Limits, connecting};

/// What logins of the service are to be members of.
pub const SERVICE_ROLE: &str = "consentgate_service";

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Whether the service may work without being the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Members of [`SERVICE_ROLE`] may do what the service does, and no more.
    Granted,
    /// There is none, and whoever migrated may not make one: an administrator of the server must.
    Missing,
    /// Whoever asked does not own the tables; nothing was to be done.
    NotOurs,
}

/// Refuses a schema that is not this binary's.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), OpenError> {
    let found = version(connection).await?;
    check_schema(found, &MIGRATIONS)
}

/// Brings the schema up to date, and grants the service what it needs. A schema newer than this binary is
/// refused. Where all is done already, also somebody who may not change the schema may ask for it.
pub async fn migrate(url: &str, limits: Limits) -> Result<Role, OpenError> {
    // A migration may take longer than a statement of the service may.
    let options = connecting::secured(url).map_err(OpenError::Open)?;
    let mut connection = tokio::time::timeout(
        limits.acquire_timeout.max(Duration::from_secs(5)),
        PgConnection::connect_with(&options),
    )
    .await
    .map_err(|_| OpenError::Open(sqlx::Error::PoolTimedOut))?
    .map_err(OpenError::Open)?;
    let known = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    let found = version(&mut connection).await?;
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(OpenError::Newer { found, known });
    }
    if found == Some(known) && !is_ours(&mut connection).await.map_err(OpenError::Open)? {
        return Ok(Role::NotOurs);
    }
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(OpenError::Migrate)?;
    let role = grant(&mut connection).await.map_err(OpenError::Grant)?;
    connection.close().await.map_err(OpenError::Open)?;
    Ok(role)
}

/// Whether we are the owner of the schema's tables, or may act for it.
async fn is_ours(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = '_sqlx_migrations'::regclass",
    )
    .fetch_one(connection)
    .await
}

async fn grant(connection: &mut PgConnection) -> Result<Role, sqlx::Error> {
    // Of one server's databases several may be migrated at a time: whoever comes second finds the role.
    connection
        .execute(
            "DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'consentgate_service') THEN
                 CREATE ROLE consentgate_service NOLOGIN;
               END IF;
             EXCEPTION WHEN duplicate_object OR unique_violation OR insufficient_privilege THEN NULL;
             END $$",
        )
        .await?;
    let exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    let exists: bool = sqlx::query_scalar(exists)
        .bind(SERVICE_ROLE)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Role::Missing);
    }
    let mut transaction = connection.begin().await?;
    // One at a time: two who change the rights of one table stand in each other's way. The number is
    // nobody's but ours.
    transaction
        .execute("SELECT pg_advisory_xact_lock(7236830194)")
        .await?;
    transaction
        .execute(sqlx::raw_sql(include_str!("roles.sql")))
        .await?;
    transaction.commit().await?;
    Ok(Role::Granted)
}

async fn version(connection: &mut PgConnection) -> Result<Option<i64>, OpenError> {
    let table: Option<String> = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations')::text")
        .fetch_one(&mut *connection)
        .await
        .map_err(OpenError::Open)?;
    if table.is_none() {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .map_err(OpenError::Open)
}
