//! Fills databases: people with one grant each in the gate's, as many rows in the reference's. The gate's people are
//! recorded by the service's own code, so that what is read back is what it would have written.

use anyhow::ensure;
use bytes::Bytes;
use sqlx::{Connection, PgConnection};

use crate::audience::{self, framed};
use crate::hosts::Cores;
use crate::hosts::gate::Gates;
use crate::load::closed::{self, Shape, Until};
use crate::load::wire::Call;

/// The key of a row in the reference's tables: spread like a keyed hash, and known to SQL as well.
pub fn reference_key(number: u64) -> [u8; 16] {
    md5::compute(number.to_string()).0
}

/// The tables that the references on PostgreSQL use, with a row for each person.
pub async fn references(database: &str, people: u64) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database).await?;
    for statement in [
        "CREATE TABLE reference (key bytea PRIMARY KEY, value bytea NOT NULL)",
        "CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person bigint NOT NULL, body bytea NOT NULL)",
        "CREATE TABLE state (key bytea PRIMARY KEY, value bytea NOT NULL)",
    ] {
        sqlx::query(statement).execute(&mut connection).await?;
    }
    sqlx::query(
        "INSERT INTO reference SELECT decode(md5(n::text), 'hex'), decode(repeat('ab', 64), 'hex')
         FROM generate_series(0, $1 - 1) AS n",
    )
    .bind(i64::try_from(people)?)
    .execute(&mut connection)
    .await?;
    sqlx::query("VACUUM ANALYZE reference")
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Records a grant of everybody from `from` up to `to`.
pub async fn people(gates: &Gates, from: u64, to: u64) -> anyhow::Result<()> {
    if from >= to {
        return Ok(());
    }
    let gate = gates.start(Cores::All, &[]).await?;
    let shape = Shape {
        connections: 4,
        callers: 16,
    };
    let call = Call::to(audience::RECORD, None)?;
    let frame = move |number: u64| -> Bytes { framed(&audience::record(from + number, "fill")) };
    let done = closed::run(gate.address, call, shape, Until::Calls(to - from), frame).await?;
    ensure!(
        done.calls == to - from,
        "{} of {} were recorded",
        done.calls,
        to - from
    );
    gate.stop()?;
    let mut connection = PgConnection::connect(gates.database()).await?;
    sqlx::query("VACUUM ANALYZE")
        .execute(&mut connection)
        .await?;
    Ok(())
}
