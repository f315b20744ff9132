//! What is measured: the rows of the table, by part. A part starts the hosts that it needs, measures ours and the
//! reference in turn, and says what it saw; whether that is enough, and how it is shown, is the report's.

pub mod batch;
pub mod cold;
pub mod growth;
pub mod latency;
pub mod overload;
pub mod warm;
pub mod ways;
pub mod withdraw;
pub mod writes;

use std::path::PathBuf;

use bytes::Bytes;
use consentgate::grpc::proto;
use prost::Message;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::audience;
use crate::fill;
use crate::hosts::collector;
use crate::hosts::gate::Gates;
use crate::hosts::postgres::Postgres;
use crate::load::wire::Wire;
use crate::stats::Compared;

/// What a row must reach.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub fn is_met_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub reference: String,
    pub target: Option<Target>,
    pub compared: Compared,
    /// Of both figures, as in `checks/s`.
    pub unit: String,
    /// Clients, connections, cores.
    pub how: String,
}

/// A plot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chart {
    pub file: String,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Axis {
    pub title: String,
    pub logarithmic: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// What a part has measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    pub rows: Vec<Row>,
    pub charts: Vec<Chart>,
    /// Whole sentences.
    pub notes: Vec<String>,
}

/// Where and how much is measured.
#[derive(Debug)]
pub struct Bench {
    pub postgres: Postgres,
    pub gates: Gates,
    /// The database with the references' tables.
    pub reference: String,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub seconds: u32,
    /// People in the database.
    pub people: u64,
    _directory: TempDir,
}

impl Bench {
    pub async fn prepare(
        gate: PathBuf,
        people: u64,
        rounds: usize,
        seconds: u32,
    ) -> anyhow::Result<Self> {
        let postgres = Postgres::start()?;
        let directory = tempfile::Builder::new()
            .prefix("consentgate-bench-gate-")
            .tempdir()?;
        let database = postgres.database("gate").await?;
        let collector = collector::start().await?;
        let gates = Gates::prepare(&gate, directory.path(), &database, collector)?;
        let reference = postgres.database("reference").await?;
        fill::references(&reference, people).await?;
        Ok(Self {
            postgres,
            gates,
            reference,
            rounds,
            seconds,
            people,
            _directory: directory,
        })
    }

    /// Seconds of one measurement.
    pub fn lasting(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.seconds.into())
    }
}

/// A check about one person, ready to be asked, and how long its answer is with its frame.
#[derive(Debug, Clone)]
pub struct Asked {
    pub frame: Bytes,
    pub answer_bytes: usize,
    /// Bytes of request and answer without their frames, for a reference of the same sizes.
    pub sizes: (usize, usize),
}

/// Asks once, and makes sure that it is allowed: what is measured must be the whole way of an answer.
pub async fn asked(
    bench: &Bench,
    address: std::net::SocketAddr,
    person: u64,
) -> anyhow::Result<Asked> {
    asked_of(&bench.gates, address, person).await
}

/// The same of another gate.
pub async fn asked_of(
    gates: &Gates,
    address: std::net::SocketAddr,
    person: u64,
) -> anyhow::Result<Asked> {
    let frame = audience::framed(&audience::check(person));
    let call = gates.call(audience::CHECK)?;
    let mut wire = Wire::connect(address).await?;
    let answer: proto::CheckConsentResponse = wire.ask(&call, frame.clone()).await?;
    anyhow::ensure!(
        answer.decision() == proto::Decision::Allow,
        "person {person} is not allowed: {answer:?}"
    );
    Ok(Asked {
        answer_bytes: answer.encoded_len() + 5,
        sizes: (frame.len() - 5, answer.encoded_len()),
        frame,
    })
}
