//! A second server that follows the first, and can take its place while the first goes on.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Durability, Postgres};
use crate::wait::eventually;

const LIMIT: Duration = Duration::from_secs(30);

/// What a server needs to be followed. The commands of a follower are the same, so that it can be promoted.
const REPLICATED: &[&str] = &[
    "wal_level=replica",
    "max_wal_senders=4",
    "wal_keep_size=64MB",
];

impl Postgres {
    /// A server that others may follow.
    pub fn primary() -> Self {
        let launched = Self::prepare(Durability::Durable, REPLICATED).and_then(|mut server| {
            server.initdb()?;
            server.start_on_a_free_port()?;
            Ok(server)
        });
        launched.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// A server that holds what this one holds and follows it, by way of this address.
    pub fn standby(&self, by_way_of: SocketAddr) -> Self {
        let standby = Self::prepare(Durability::Durable, REPLICATED).and_then(|mut standby| {
            let mut backup = standby.program("pg_basebackup");
            let primary =
                format!("postgres://postgres@{by_way_of}/postgres?application_name=standby");
            backup.arg("-D").arg(standby.data()).args(["-d", &primary]);
            backup.args(["-X", "stream", "-c", "fast", "-R", "--no-sync"]);
            super::succeed(backup)?;
            standby.start_on_a_free_port()?;
            Ok(standby)
        });
        standby.unwrap_or_else(|reason| panic!("cannot start a standby: {reason}"))
    }

    /// Makes this standby a server that takes writes. The one that it followed is not told.
    pub fn promote(&self) {
        let promoted = self.pg_ctl(&["-w", "promote"]);
        promoted.unwrap_or_else(|reason| panic!("cannot promote: {reason}\n{}", self.log()));
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// From now on no commit is answered before the standby has it.
    pub async fn wait_for_standby(&self) {
        self.say("alter system set synchronous_standby_names = '*'")
            .await;
        self.say("select pg_reload_conf()").await;
    }

    /// Whether a standby follows, in this state: `async` or `sync`.
    pub async fn is_followed(&self, how: &str) -> bool {
        let state = format!(
            "select count(*) from pg_stat_replication where state = 'streaming' and sync_state = '{how}'"
        );
        self.number(&state).await > 0
    }

    /// Stops all waits for the standby: the commits are there and are answered, with a warning. Says how many.
    pub async fn give_up_waiting(&self) -> i64 {
        self.number(
            "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'",
        )
        .await
    }

    async fn number(&self, sql: &str) -> i64 {
        let mut connection = self.connect().await;
        let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
        let number = query.fetch_one(&mut connection).await.unwrap();
        connection.close().await.ok();
        number
    }

    async fn say(&self, sql: &str) {
        let mut connection = self.connect().await;
        let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        query.execute(&mut connection).await.unwrap();
        connection.close().await.ok();
    }

    async fn connect(&self) -> PgConnection {
        let connected = PgConnection::connect(&self.url("postgres")).await;
        connected.unwrap_or_else(|e| panic!("the test server does not answer: {e}\n{}", self.log()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_has_what_was_answered_and_takes_over_from_a_primary_that_lives() {
    let primary = Postgres::primary();
    let standby = primary.standby(primary.address());
    primary.wait_for_standby().await;
    eventually(LIMIT, "the standby follows", async || {
        primary.is_followed("sync").await.then_some(())
    })
    .await;
    primary.say("create table kept as select 7 as n").await;
    standby.promote();
    standby.say("insert into kept values (8)").await;
    assert_eq!(standby.number("select sum(n)::int8 from kept").await, 15);
    assert_eq!(primary.number("select sum(n)::int8 from kept").await, 7);

    // Nobody follows the old one any more: a commit waits, and is there when it has been given up.
    let waits = tokio::spawn({
        let url = primary.url("postgres");
        async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            sqlx::query("insert into kept values (9)")
                .execute(&mut connection)
                .await
        }
    });
    eventually(LIMIT, "a commit waits for the standby", async || {
        (primary.give_up_waiting().await > 0).then_some(())
    })
    .await;
    waits.await.unwrap().unwrap();
    assert_eq!(primary.number("select sum(n)::int8 from kept").await, 16);
}
