//! The ledger: keeping consent events, and the facts folded from them.
//!
//! One small trait in the domain's words, with two backends and one conformance suite
//! (`tests/it/ledger`). A write is *append if the subject is still at the version I decided on*, so
//! no transaction crosses the trait and a lost race is an ordinary value. Subjects are spread over
//! partitions; each is a dense sequence of offsets in the order of commits.
//!
//! Beside the events the same database keeps activity ([`activity`]): what changes with every
//! message and proves nothing.
//!
//! The ledger does not know what an event means beyond folding it, decides nothing, and never sees
//! a phone number: addresses arrive as keyed hashes, everything personal arrives sealed.

pub mod activity;
pub mod following;
pub mod history;
pub mod measured;
pub mod postgres;
pub mod replay;
pub mod rotation;
mod row;
pub mod sqlite;
mod stored;
mod together;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::event::Event;
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, SubjectId};
use crate::domain::time::Timestamp;
use crate::keys::wrapping::FIRST;

use together::Sorted;

pub use history::{Epoch, Generation, History, Timeline};

/// The partition that holds the catalogue and the policy.
pub const SYSTEM: Partition = Partition(0);

/// A sequence of events of its own. 0 is the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

/// A position in a partition: dense, from 1, in the order of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

/// A place in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub partition: Partition,
    pub offset: Offset,
}

/// How many events a subject has; what a conditional append is conditional on. 0: none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub i64);

/// Who a subject is, and where its facts lie. The key is the innermost keyed hash of its address, which no rotation
/// changes; under which key the row itself lies is the ledger's own business.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubjectRef {
    pub business: BusinessId,
    pub partition: Partition,
    pub key: [u8; 16],
}

/// Facts of one subject as one statement saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// `None`: nothing was ever recorded of this subject.
    pub subject: Option<Subject>,
    /// Head of the subject's partition in the same snapshot: the facts hold every event up to it.
    pub as_of: Offset,
}

/// A subject with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub subject_id: SubjectId,
    pub version: Version,
    pub facts: Facts,
}

/// One act to be appended, with everything that must commit with it.
#[derive(Debug)]
pub struct Append<'a> {
    /// The subjects that the act concerns: one, or the linked addresses of one person, in one
    /// business and each once. Not empty, at most [`Append::MOST_PARTS`].
    pub parts: &'a [Part<'a>],
    /// Number of the key in use before anything of it was sealed. If another one is by the time it commits,
    /// nothing is written, and it is told that the version has changed: what was sealed would be left behind
    /// by a rotation.
    pub key_id: u16,
    /// Its place is that of the first part.
    pub idempotency: Option<Idempotency<'a>>,
}

/// What an act is for one subject: an event of its own. The event's id may be the same in all parts.
#[derive(Debug)]
pub struct Part<'a> {
    pub subject: &'a SubjectRef,
    /// The version that the event was decided on.
    pub expected: Version,
    pub event: &'a Event,
    /// The facts with the event applied.
    pub facts: &'a Facts,
    /// The sealed evidence.
    pub payload: Option<&'a [u8]>,
    /// The sealed address; kept if the subject has none yet. `None`: nothing to keep.
    pub address: Option<&'a [u8]>,
    /// The event erases the person's data: the sealed address and the service windows go with the
    /// commit. Only of an act that is appended by itself.
    pub removal: Option<Removal>,
}

/// When the sealed payloads of a subject go, up to that of the event that erases them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// With the commit.
    Now,
    /// When this has come: [`Ledger::carry_out_erasures`].
    At(Timestamp),
}

/// An append that no caller may make.
#[derive(Debug, thiserror::Error)]
#[error(
    "an append concerns one to {} subjects of one business, each once",
    Append::MOST_PARTS
)]
struct WrongParts;

impl Append<'_> {
    pub const MOST_PARTS: usize = 8;

    /// How many acts are committed together at most.
    pub const MOST_AT_ONCE: usize = 1_000;

    /// The indices of the parts in the order in which their rows are locked, which is the same for
    /// all writers.
    fn in_lock_order(&self) -> Result<Vec<usize>, Error> {
        let place = |index: &usize| {
            let subject = self.parts[*index].subject;
            (subject.partition, subject.key)
        };
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(place);
        let each_once = order.is_sorted_by(|one, next| place(one) < place(next));
        let mut businesses = self.parts.iter().map(|part| &part.subject.business);
        let one_business = businesses
            .next()
            .is_some_and(|first| businesses.all(|other| other == first));
        if one_business && each_once && order.len() <= Self::MOST_PARTS {
            Ok(order)
        } else {
            Err(Error::Rejected(WrongParts.into()))
        }
    }
}

/// Which call an idempotency key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpc {
    RecordConsent,
    Withdraw,
    ConfirmConsent,
    AddSuppression,
    LiftSuppression,
    RecordRegistryCheck,
    ReportInbound,
    ReportSend,
    ReportDelivery,
    EraseSubject,
}

impl Rpc {
    /// The number in the database.
    pub const fn code(self) -> i16 {
        match self {
            Self::RecordConsent => 1,
            Self::Withdraw => 2,
            Self::ConfirmConsent => 3,
            Self::AddSuppression => 4,
            Self::LiftSuppression => 5,
            Self::RecordRegistryCheck => 6,
            Self::ReportInbound => 7,
            Self::ReportSend => 8,
            Self::ReportDelivery => 9,
            Self::EraseSubject => 10,
        }
    }
}

/// A key under which a call's answer is kept. Both hashes are keyed.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    pub rpc: Rpc,
    pub key_hash: [u8; 16],
    pub content_hash: [u8; 16],
    /// The answer, as JSON without personal data.
    pub answer: &'a str,
}

/// What came of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is committed here, in the order of the parts.
    At(Vec<Position>),
    /// A subject is no longer at the expected version, or another key is in use, and nothing is written:
    /// decide again.
    VersionChanged,
    /// The idempotency key has an answer already, and nothing is written: read it.
    KeyUsed,
}

/// The answer of an earlier call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    pub content_hash: [u8; 16],
    pub answer: String,
    pub position: Position,
}

/// A call by its idempotency key, of the business whose subject it is about.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub rpc: Rpc,
    pub key_hash: [u8; 16],
}

/// What a write finds.
#[derive(Debug)]
pub struct Looked {
    /// `None`: nobody has made the call yet.
    pub answer: Option<StoredAnswer>,
    pub loaded: Loaded,
}

/// A read of one subject gave none, not even that there is nothing.
#[derive(Debug, thiserror::Error)]
#[error("a read answered nothing")]
struct NothingRead;

/// Whether looking an answer up must commit something: a repeated restriction is acknowledged only
/// on the strength of a write (coherence protocol, W1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    Yes,
    No,
}

/// An event with its place and its sealed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub position: Position,
    pub event: Event,
    /// `None`: there was none, or it was erased.
    pub payload: Option<Vec<u8>>,
}

/// A change of the catalogue or the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRecord {
    pub offset: Offset,
    pub recorded_at: Timestamp,
    /// JSON.
    pub body: String,
}

/// A subject as it is stored, for replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubject {
    pub key: [u8; 16],
    pub subject_id: SubjectId,
    pub version: Version,
    pub fold_version: i32,
    pub facts: Vec<u8>,
}

/// What identifies a ledger and must never change under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub ledger_id: String,
    pub partitions: u16,
    pub match_rules: u32,
    /// What its keyring is known by up to each number that is or was in use. Empty: the first start has
    /// yet to write it.
    pub key_checks: BTreeMap<u16, String>,
}

/// Why the ledger could not answer, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Try again later; after a write the outcome is unknown.
    #[error("the ledger cannot be reached: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Call somebody: a row does not read back.
    #[error("corrupt row in `{table}` at {key}: {fault}")]
    Corrupt {
        table: &'static str,
        key: String,
        fault: String,
    },
    /// Our own mistake.
    #[error("the database refused a statement: {0}")]
    Rejected(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The database has not answered for so long.
    pub(crate) fn no_answer(limit: Duration) -> Self {
        Self::Unavailable(NoAnswer(limit).into())
    }

    /// A row does not read back: nobody else's fault.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// The answer came from another history than the one that is followed, and was discarded.
    pub fn is_other_history(&self) -> bool {
        match self {
            Self::Unavailable(source) => source.is::<history::OtherHistory>(),
            Self::Corrupt { .. } | Self::Rejected(_) => false,
        }
    }

    /// The same error for everybody who shared a statement.
    pub fn shared(error: Arc<Self>) -> Self {
        match error.as_ref() {
            Self::Unavailable(source) => match source.downcast_ref::<history::OtherHistory>() {
                Some(other) => Self::Unavailable((*other).into()),
                None => Self::Unavailable(Shared(error).into()),
            },
            Self::Corrupt { table, key, fault } => Self::corrupt(table, key, fault),
            Self::Rejected(_) => Self::Rejected(Shared(error).into()),
        }
    }

    fn corrupt(table: &'static str, key: impl fmt::Display, fault: impl fmt::Display) -> Self {
        Self::Corrupt {
            table,
            key: key.to_string(),
            fault: fault.to_string(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

/// An error that several wait for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shared(Arc<Error>);

/// A place to keep events. Every method is one statement or one transaction.
#[async_trait]
pub trait Ledger: Send + Sync + fmt::Debug + 'static {
    /// Facts of many subjects in one statement, in the order asked. A subject whose stored business
    /// differs from the asked one is reported as corrupt, never returned.
    async fn facts(&self, subjects: &[SubjectRef]) -> Result<Vec<Loaded>, Error>;

    /// The subject with this id, and where it lies: how the linked address of a person is
    /// found. Whether it is of the right business is for the caller to compare.
    async fn find(&self, subject: SubjectId) -> Result<Option<(SubjectRef, Subject)>, Error>;

    /// Commits an act on all its subjects, with facts, payloads and answer, or nothing of it.
    async fn append(&self, append: &Append<'_>) -> Result<Appended, Error>;

    /// The answer of an earlier call under this key.
    async fn answer(
        &self,
        business: &BusinessId,
        rpc: Rpc,
        key_hash: &[u8; 16],
        touch: Touch,
    ) -> Result<Option<StoredAnswer>, Error>;

    /// Commits up to [`Append::MOST_AT_ONCE`] acts that do not depend on each other, each on one
    /// subject, with what came of each in the order given. Together in one transaction; if the
    /// database refuses that for what one of them does, one by one. An act on the subject or under the
    /// key of an earlier one of the same call is not tried: to it the version has changed.
    async fn append_many(&self, appends: &[Append<'_>]) -> Vec<Result<Appended, Error>> {
        let mut results = Vec::with_capacity(appends.len());
        for (append, sorted) in appends.iter().zip(together::sort(appends)) {
            results.push(match sorted {
                Sorted::Taken(_) => self.append(append).await,
                Sorted::Later => Ok(Appended::VersionChanged),
                Sorted::Refused(error) => Err(error),
            });
        }
        results
    }

    /// What a write begins with: the answer of an earlier call under its key, touched if there is one,
    /// and its subject. The subject is of the answer's snapshot or a later one, so that it has
    /// everything that the earlier call wrote. One statement where each costs a round trip.
    async fn look(&self, subject: &SubjectRef, call: Option<Call>) -> Result<Looked, Error> {
        let answer = match call {
            None => None,
            Some(Call { rpc, key_hash }) => {
                self.answer(&subject.business, rpc, &key_hash, Touch::Yes)
                    .await?
            }
        };
        let loaded = self.facts(std::slice::from_ref(subject)).await?.pop();
        Ok(Looked {
            answer,
            loaded: loaded.ok_or(Error::Rejected(NothingRead.into()))?,
        })
    }

    /// Forgets answers of calls before `before`, at most `limit`; says how many.
    async fn forget_answers(&self, before: Timestamp, limit: u32) -> Result<u64, Error>;

    /// Removes the payloads of erasures that were put off until `now` or earlier, at most `limit`
    /// erasures; says how many. What came after an erasure stays.
    async fn carry_out_erasures(&self, now: Timestamp, limit: u32) -> Result<u64, Error>;

    /// Events of a subject after an offset, oldest first.
    async fn history(
        &self,
        subject: SubjectId,
        after: Offset,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error>;

    /// Events of a partition after an offset, in order and without a gap, without payloads.
    async fn changes_after(&self, after: Position, limit: u32) -> Result<Vec<Recorded>, Error>;

    /// The last committed offset of every partition, the system's first.
    async fn heads(&self) -> Result<Vec<Position>, Error>;

    /// Subjects of a partition after a key, for replay.
    async fn subjects_after(
        &self,
        partition: Partition,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<StoredSubject>, Error>;

    /// Sealed address of a subject; `None` if it was erased.
    async fn address(&self, subject: SubjectId) -> Result<Option<Vec<u8>>, Error>;

    /// Changes of the system partition after an offset.
    async fn system_after(&self, after: Offset, limit: u32) -> Result<Vec<SystemRecord>, Error>;

    /// Appends to the system partition if it is still at `expected`; `None` if it is not.
    async fn append_system(
        &self,
        expected: Offset,
        recorded_at: Timestamp,
        body: &str,
    ) -> Result<Option<Offset>, Error>;

    /// What identifies the ledger.
    async fn meta(&self) -> Result<Meta, Error>;

    /// Writes the check value of the first key if there is none; the one that holds is in [`Meta`] afterwards.
    async fn set_key_check(&self, value: &str) -> Result<(), Error>;

    /// The history that answers are held to: one of another is `Unavailable`.
    fn followed(&self) -> &History;

    /// Whether the ledger can be reached.
    async fn ping(&self) -> Result<(), Error>;

    /// Ends all connections.
    async fn close(&self);
}

/// Why a database cannot be opened or migrated.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("`{0}` is not a database: use `sqlite:PATH` or `postgres://…`")]
    Url(String),
    #[error("cannot open the database: {0}")]
    Open(#[source] sqlx::Error),
    #[error("cannot migrate the database: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("the schema is up to date, but the service's role cannot be given its rights: {0}")]
    Grant(#[source] sqlx::Error),
    #[error(
        "the database's schema is version {found}, newer than this binary's {known}: use a newer consentgate"
    )]
    Newer { found: i64, known: i64 },
    #[error("the database's schema is {}, this binary's is version {known}: run `consentgate migrate`", found.map_or("empty".to_owned(), |v| format!("version {v}")))]
    Older { found: Option<i64>, known: i64 },
    #[error("another consentgate uses this database: {0}")]
    Locked(String),
    #[error("cannot lock the database: {0}")]
    Lock(#[source] std::io::Error),
    #[error(transparent)]
    Ledger(#[from] Error),
}

/// Under which name the check value of a number is kept.
fn check_name(number: u16) -> String {
    match number {
        FIRST => "key_check".to_owned(),
        later => format!("key_check_{later}"),
    }
}

/// Compares the schema that is there with the one that is known.
fn check_schema(found: Option<i64>, migrator: &sqlx::migrate::Migrator) -> Result<(), OpenError> {
    let known = migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    match found {
        Some(found) if found > known => Err(OpenError::Newer { found, known }),
        Some(found) if found == known => Ok(()),
        found => Err(OpenError::Older { found, known }),
    }
}

/// Sorts a driver's error by what the caller can do about it.
fn sort_error(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Error::Unavailable(error.into()),
        sqlx::Error::Database(database) => {
            let code = database.code();
            let code = code.as_deref().unwrap_or_default();
            if is_transient(code) {
                Error::Unavailable(error.into())
            } else if is_damage(code) {
                Error::corrupt("?", "?", &error)
            } else {
                Error::Rejected(error.into())
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::corrupt("?", "?", &error)
        }
        _ => Error::Rejected(error.into()),
    }
}

/// Codes of conditions that pass: PostgreSQL's SQLSTATE classes and SQLite's result codes.
fn is_transient(code: &str) -> bool {
    // PostgreSQL: 08 connection, 40 rollback, 53 resources (disk full, too many connections),
    // 55 lock not available, 57 operator intervention (shutdown, cancelled), 58 system error (IO),
    // 25006 read-only (a replica).
    const CLASSES: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
    if code.len() == 5 {
        return code == "25006" || CLASSES.iter().any(|class| code.starts_with(class));
    }
    // SQLite, primary code in the low byte: 5 busy, 6 locked, 7 no memory, 8 read-only, 10 IO,
    // 13 full, 14 cannot open.
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 8 | 10 | 13 | 14))
}

/// Codes of a database that cannot read its own pages. PostgreSQL: XX001 data, XX002 index.
/// SQLite: 11 malformed, 26 not a database.
fn is_damage(code: &str) -> bool {
    let of_sqlite = code.parse::<u32>();
    matches!(code, "XX001" | "XX002") || of_sqlite.is_ok_and(|code| matches!(code & 0xff, 11 | 26))
}
