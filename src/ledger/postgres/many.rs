//! Appending many acts at once on PostgreSQL: one statement, so one round trip and its own
//! transaction, and each act with what came of it.
//!
//! Its locks are taken in the order of every other writer's: subjects by (partition, key), then heads
//! by partition, then idempotency rows, here by key. A statement runs its parts when another one reads
//! from them, so where an order matters the later part counts what the earlier one wrote before it
//! begins. The heads come as late as can be: whoever else appends to these partitions waits for them.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgArguments, PgConnection};
use uuid::Uuid;

use super::super::together::Distinct;
use super::super::{Append, Appended, Offset, Part, Partition, Position, row};
use super::code;
use crate::domain::facts::FOLD_VERSION;

/// From this many on a statement is planned for its acts each time. A plan made once and kept is made
/// for a few, and reads lists again and again that a plan for many sorts first.
const PLANNED_ANEW: usize = 64;

/// `$1` to `$16`: the acts, column by column, in the order in which their subjects are locked.
///
/// A known subject is moved on by the conflict with its own row, so that new and known ones are locked
/// in one order; one that is expected and not there would be created, and is left out. Versions begin
/// at 1, so nothing that is there moves on for an act that expects nothing. The id of a new subject is
/// new, so that its address conflicts with none: looking for one would cost another descent and
/// another record of WAL. A partition without a head leaves its events without an offset, which their
/// table refuses.
const APPEND_MANY: &str = "WITH asked AS MATERIALIZED (
       SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::text[], $4::uuid[], $5::integer[],
         $6::bytea[], $7::bigint[], $8::uuid[], $9::bigint[], $10::text[], $11::bytea[],
         $12::bytea[], $13::smallint[], $14::bytea[], $15::bytea[], $16::text[])
       WITH ORDINALITY AS a (partition, subject_key, business_id, subject_id, key_id,
         facts, expected, event_id, recorded_at, body, address,
         payload, rpc, key_hash, content_hash, answer, n)),
     used AS MATERIALIZED (
       SELECT a.n FROM asked AS a JOIN idempotency AS i
         ON i.business_id = a.business_id AND i.rpc = a.rpc AND i.key_hash = a.key_hash),
     s AS (
       INSERT INTO subject
         (partition, subject_key, business_id, subject_id, version, fold_version, key_id, facts)
       SELECT a.partition, a.subject_key, a.business_id, a.subject_id, a.expected + 1, $17,
         a.key_id, a.facts
       FROM asked AS a
       WHERE a.n NOT IN (SELECT n FROM used) AND (a.expected = 0 OR EXISTS (
         SELECT 1 FROM subject AS k
         WHERE k.partition = a.partition AND k.subject_key = a.subject_key))
       ORDER BY a.n
       ON CONFLICT (partition, subject_key) DO UPDATE
         SET version = excluded.version, fold_version = excluded.fold_version,
           facts = excluded.facts
         WHERE subject.version = excluded.version - 1
           AND subject.business_id = excluded.business_id
           AND subject.subject_id = excluded.subject_id
       RETURNING partition, subject_key),
     w AS MATERIALIZED (SELECT a.* FROM s JOIN asked AS a USING (partition, subject_key)),
     first_address AS (
       INSERT INTO subject_address (subject_id, sealed)
       SELECT subject_id, address FROM w WHERE address IS NOT NULL AND expected = 0 RETURNING 1),
     address AS (
       INSERT INTO subject_address (subject_id, sealed)
       SELECT subject_id, address FROM w WHERE address IS NOT NULL AND expected > 0
       ON CONFLICT (subject_id) DO NOTHING RETURNING 1),
     payload AS (
       INSERT INTO event_payload (event_id, subject_id, sealed)
       SELECT event_id, subject_id, payload FROM w WHERE payload IS NOT NULL RETURNING 1),
     counted AS MATERIALIZED (
       SELECT partition, count(*) AS acts, min(key_id) AS key_id FROM w
       WHERE (SELECT count(*) FROM first_address) + (SELECT count(*) FROM address)
         + (SELECT count(*) FROM payload) >= 0
       GROUP BY partition),
     locked AS MATERIALIZED (
       SELECT partition, key_id FROM partition_head
       WHERE partition IN (SELECT partition FROM counted) ORDER BY partition FOR UPDATE),
     h AS (
       UPDATE partition_head AS p SET head = p.head + counted.acts
       FROM locked JOIN counted USING (partition, key_id)
       WHERE p.partition = locked.partition
       RETURNING p.partition, p.head - counted.acts AS before),
     o AS MATERIALIZED (
       SELECT w.*,
         h.before + row_number() OVER (PARTITION BY w.partition ORDER BY w.n) AS \"offset\"
       FROM w LEFT JOIN h USING (partition) WHERE (SELECT count(*) FROM h) >= 0),
     e AS (
       INSERT INTO event
         (partition, \"offset\", event_id, subject_id, business_id, recorded_at, body)
       SELECT partition, \"offset\", event_id, subject_id, business_id, recorded_at, body FROM o),
     i AS (
       INSERT INTO idempotency
         (business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", created_at)
       SELECT business_id, rpc, key_hash, content_hash, answer, partition, \"offset\", recorded_at
       FROM o WHERE key_hash IS NOT NULL ORDER BY business_id, rpc, key_hash)
     SELECT n, \"offset\", left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline FROM o
     UNION ALL SELECT n, NULL, NULL FROM used";

/// One act on one subject as it is sent, with nothing borrowed: it may be sent by somebody else.
#[derive(Debug)]
pub(super) struct Act {
    pub partition: Partition,
    /// The innermost key, which gives the order of locks; the row lies under another one.
    pub key: [u8; 16],
    pub business: String,
    pub subject_id: Uuid,
    pub key_id: u16,
    pub facts: Vec<u8>,
    pub expected: i64,
    pub event_id: Uuid,
    pub recorded_at: i64,
    pub body: String,
    pub address: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub call: Option<KeptCall>,
}

/// The call that it is made for, to be kept with its answer.
#[derive(Debug)]
pub(super) struct KeptCall {
    pub rpc: i16,
    pub key_hash: [u8; 16],
    pub content_hash: [u8; 16],
    pub answer: String,
}

impl Act {
    /// Whether it may be sent together with those that were asked before.
    pub(super) fn is_apart(&self, taken: &mut Distinct) -> bool {
        let call = self.call.as_ref();
        let call = call.map(|call| (self.business.clone(), call.rpc, call.key_hash));
        taken.take((self.partition, self.key), call)
    }

    pub(super) fn of(append: &Append<'_>, part: &Part<'_>) -> Self {
        let Part { subject, event, .. } = part;
        Self {
            partition: subject.partition,
            key: subject.key,
            business: subject.business.as_str().to_owned(),
            subject_id: event.subject_id.0,
            key_id: append.key_id,
            facts: part.facts.encode(),
            expected: part.expected.0,
            event_id: event.event_id.0,
            recorded_at: event.recorded_at.as_micros(),
            body: row::body(event),
            address: part.address.map(<[u8]>::to_vec),
            payload: part.payload.map(<[u8]>::to_vec),
            call: append.idempotency.as_ref().map(|call| KeptCall {
                rpc: call.rpc.code(),
                key_hash: call.key_hash,
                content_hash: call.content_hash,
                answer: call.answer.to_owned(),
            }),
        }
    }
}

/// What came of each, in the order given, and in which history it was committed. All of it is
/// committed, or nothing was and all failed: also for what one of them does. No two may be of one
/// subject or of one call. `keys`: under which each one's row lies.
pub(super) async fn append(
    connection: &mut PgConnection,
    acts: &[Act],
    keys: &[[u8; 16]],
) -> Result<(Vec<Appended>, Option<String>), sqlx::Error> {
    let mut order: Vec<(&Act, &[u8; 16])> = acts.iter().zip(keys).collect();
    order.sort_by_key(|(act, _)| (act.partition, act.key));
    let found = bind(&order)
        .persistent(acts.len() < PLANNED_ANEW)
        .fetch_all(connection)
        .await?;
    let mut results: HashMap<(Partition, [u8; 16]), Appended> = HashMap::new();
    let mut history = None;
    for row in found {
        let n = usize::try_from(row.try_get::<i64, _>("n")? - 1).unwrap_or(usize::MAX);
        let Some((act, _)) = order.get(n) else {
            continue;
        };
        let offset: Option<i64> = row.try_get("offset")?;
        let result = match offset {
            None => Appended::KeyUsed,
            Some(offset) => {
                history = Some(row.try_get("timeline")?);
                Appended::At(vec![Position {
                    partition: act.partition,
                    offset: Offset(offset),
                }])
            }
        };
        results.insert((act.partition, act.key), result);
    }
    // What moved no subject on says nothing of itself.
    let mut of = |act: &Act| results.remove(&(act.partition, act.key));
    let results = acts.iter().map(&mut of);
    let results = results.map(|one| one.unwrap_or(Appended::VersionChanged));
    Ok((results.collect(), history))
}

fn bind<'a>(
    acts: &[(&'a Act, &'a [u8; 16])],
) -> sqlx::query::Query<'a, sqlx::Postgres, PgArguments> {
    fn column<'a, T>(acts: &[(&'a Act, &[u8; 16])], of: impl Fn(&'a Act) -> T) -> Vec<T> {
        acts.iter().map(|(act, _)| of(act)).collect()
    }
    let keys: Vec<&[u8]> = acts.iter().map(|(_, key)| key.as_slice()).collect();
    let call = |act: &'a Act| act.call.as_ref();
    sqlx::query(APPEND_MANY)
        .bind(column(acts, |act| code(act.partition)))
        .bind(keys)
        .bind(column(acts, |act| act.business.as_str()))
        .bind(column(acts, |act| act.subject_id))
        .bind(column(acts, |act| i32::from(act.key_id)))
        .bind(column(acts, |act| act.facts.as_slice()))
        .bind(column(acts, |act| act.expected))
        .bind(column(acts, |act| act.event_id))
        .bind(column(acts, |act| act.recorded_at))
        .bind(column(acts, |act| act.body.as_str()))
        .bind(column(acts, |act| act.address.as_deref()))
        .bind(column(acts, |act| act.payload.as_deref()))
        .bind(column(acts, |act| call(act).map(|call| call.rpc)))
        .bind(column(acts, |act| {
            call(act).map(|call| call.key_hash.as_slice())
        }))
        .bind(column(acts, |act| {
            call(act).map(|call| call.content_hash.as_slice())
        }))
        .bind(column(acts, |act| {
            call(act).map(|call| call.answer.as_str())
        }))
        .bind(FOLD_VERSION)
}
