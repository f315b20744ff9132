//! The catalogue: businesses, senders, purposes and notices, the policy that judges with them, and the
//! tokens of those who call.
//!
//! The catalogue is the fold of the system partition. Every change is appended there, conditional
//! on the position it was decided on, and then applied; the rules of each business are compiled
//! once per change and swapped whole, so that a check reads one consistent version without a lock.
//! Nothing is ever removed: what is gone could not prove what was once consented to.

#[cfg(test)]
mod again;
pub mod apply;
pub mod callers;
mod decide;
pub mod file;
mod fold;
pub mod keys;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::cache::confirm::{Committed, Confirming};
use crate::cache::follower::SystemFold;
use crate::clock::Clock;
use crate::domain::catalog::{Business, BusinessCatalog, Notice, Purpose, Sender};
use crate::domain::id::{BusinessId, NoticeRef, PurposeKey, SenderId};
use crate::domain::policy::Policy;
use crate::domain::rules::Rules;
use crate::domain::time::Timestamp;
use crate::keys::{BusinessKeys, Keyring};
use crate::ledger::{self, Epoch, Ledger, Offset, Position, SYSTEM, SystemRecord};
use crate::policy;
use fold::{Change, Snapshot};
use validate::Fault;

/// How often a change is decided again when others change the catalogue at the same time.
const ATTEMPTS: usize = 16;
const PAGE: u32 = 500;

/// Everything that judges one business's questions, at one version of the catalogue.
#[derive(Debug)]
pub struct Compiled {
    pub rules: Rules,
    pub keys: Arc<BusinessKeys>,
}

impl Compiled {
    pub fn catalog(&self) -> &BusinessCatalog {
        &self.rules.catalog
    }
}

/// Why a change of the catalogue was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect::<Vec<_>>().join("; "))]
    Invalid { faults: Vec<Fault> },
    #[error("{what} exists already with other content")]
    AlreadyExists { what: String },
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("the catalogue changed too often at the same time")]
    Contended,
    #[error("the change may be made, and whether every instance has applied it is not known")]
    Unconfirmed,
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error("the policy that the ledger holds does not read: {0}")]
    Policy(#[from] policy::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Created,
    Updated,
    Unchanged,
}

/// The catalogue of every business, kept in memory and in the system partition.
#[derive(Debug)]
pub struct Catalog {
    ledger: Arc<dyn Ledger>,
    clock: Arc<dyn Clock>,
    keyring: Arc<Keyring>,
    clock_tolerance: Duration,
    confirming: Confirming,
    snapshot: ArcSwap<Snapshot>,
    /// One change or reading through at a time.
    following: Mutex<()>,
    /// Held while the fold goes on, never across a wait: the follower must not wait for a change.
    folding: std::sync::Mutex<()>,
}

impl Catalog {
    /// Folds the system partition.
    pub async fn open(
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        keyring: Arc<Keyring>,
        clock_tolerance: Duration,
        confirming: Confirming,
    ) -> Result<Self, Error> {
        let snapshot = ArcSwap::from_pointee(Snapshot::default());
        let following = Mutex::new(());
        let catalog = Self {
            ledger,
            clock,
            keyring,
            clock_tolerance,
            confirming,
            snapshot,
            following,
            folding: std::sync::Mutex::default(),
        };
        catalog.catch_up().await?;
        Ok(catalog)
    }

    /// Puts a policy in force, unless it is already.
    pub async fn adopt(&self, policy_text: &str) -> Result<(), Error> {
        let wanted = policy::load(policy_text)?;
        self.change(|snapshot, _| {
            let in_force = snapshot.policy().map(|policy| policy.sha256.as_str());
            Ok(match in_force == Some(wanted.sha256.as_str()) {
                true => (None, ()),
                false => (
                    Some(Change::Policy {
                        text: policy_text.to_owned(),
                    }),
                    (),
                ),
            })
        })
        .await
    }

    /// The rules and keys of a business, as they stand in memory.
    pub fn known(&self, business: &BusinessId) -> Option<Arc<Compiled>> {
        self.snapshot.load().business(business).cloned()
    }

    /// As [`Catalog::known`], but what is missing is read through first: another instance may have
    /// created it a moment ago.
    pub async fn find(&self, business: &BusinessId) -> Result<Option<Arc<Compiled>>, Error> {
        match self.known(business) {
            Some(compiled) => Ok(Some(compiled)),
            None => {
                self.catch_up().await?;
                Ok(self.known(business))
            }
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.snapshot.load().policy().cloned()
    }

    /// Every business, by id.
    pub fn businesses(&self) -> Vec<Arc<Compiled>> {
        self.snapshot.load().businesses().cloned().collect()
    }

    /// Applies what was appended to the system partition since.
    pub async fn catch_up(&self) -> Result<(), Error> {
        let _following = self.following.lock().await;
        self.follow().await
    }

    async fn follow(&self) -> Result<(), Error> {
        loop {
            let epoch = self.ledger.followed().current();
            let page = self.ledger.system_after(self.applied(), PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.fold(Start::Here, epoch, &page)?;
        }
    }

    /// Goes on from what is applied, or from the beginning, and swaps the result in. What was read in
    /// another history than the one that is followed is passed over: the follower folds the new one.
    fn fold(&self, start: Start, epoch: Epoch, records: &[SystemRecord]) -> Result<(), Error> {
        let _folding = self.folding.lock().expect("no holder of this lock panics");
        if self.ledger.followed().current() != epoch {
            return Ok(());
        }
        let mut snapshot = match start {
            Start::Here => Snapshot::clone(&self.snapshot.load()),
            Start::Beginning => Snapshot::default(),
        };
        let before = snapshot.applied;
        let was_open = before != Offset::default() && snapshot.callers().is_empty();
        for record in records.iter().filter(|record| record.offset > before) {
            snapshot.apply(record)?;
        }
        if start == Start::Beginning || snapshot.applied != before {
            if was_open && !snapshot.callers().is_empty() {
                tracing::info!("the ledger holds its first token: callers are authenticated");
            }
            snapshot.compile(&self.keyring, self.clock_tolerance);
            self.snapshot.store(Arc::new(snapshot));
        }
        Ok(())
    }

    /// Decides a change on the newest state and appends it; decides again if another was faster.
    async fn change<T>(
        &self,
        decide: impl Fn(&Snapshot, Timestamp) -> Result<(Option<Change>, T), Error>,
    ) -> Result<T, Error> {
        let following = self.following.lock().await;
        let epoch = self.ledger.followed().current();
        // What is in memory may be older than a change that committed and did not say so: what is
        // already as wanted must be so in the ledger.
        self.follow().await?;
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshot.load_full();
            let now = self.clock.now();
            let (change, result) = decide(&snapshot, now)?;
            let Some(change) = change else {
                // Somebody made it so, and may not have been told yet that it holds everywhere.
                drop(following);
                self.confirmed(epoch, snapshot.applied).await?;
                return Ok(result);
            };
            let body = change.to_json();
            let appended = self
                .ledger
                .append_system(snapshot.applied, now, &body)
                .await?;
            // Also after a success: what is applied is what the ledger holds, never our copy of it.
            self.follow().await?;
            if let Some(offset) = appended {
                drop(following);
                self.confirmed(epoch, offset).await?;
                return Ok(result);
            }
        }
        Err(Error::Contended)
    }

    /// Every change is acknowledged only when all instances have applied it: holding a sender and
    /// ending older consents must be honoured everywhere, and the others do no harm by waiting too.
    async fn confirmed(&self, epoch: Epoch, offset: Offset) -> Result<(), Error> {
        let position = Position {
            partition: SYSTEM,
            offset,
        };
        let committed = Committed {
            positions: Some(&[position]),
            epoch,
            at: self.clock.steady(),
        };
        let confirmed = self.confirming.confirmed(committed).await;
        confirmed.map(|_| ()).map_err(|_| Error::Unconfirmed)
    }

    /// Creates a business, or finds that it exists as given.
    pub async fn create_business(&self, given: Business) -> Result<(Business, Done), Error> {
        refuse(validate::business(&given))?;
        self.change(|snapshot, now| {
            let known = snapshot.business(&given.business_id);
            let known = known.map(|known| &known.catalog().business);
            let name = || format!("business `{}`", given.business_id);
            decide::create(&given, known, now, name, |_| Ok(()), Change::Business)
        })
        .await
    }

    /// Replaces a business's fields.
    pub async fn update_business(&self, given: Business) -> Result<(Business, Done), Error> {
        refuse(validate::business(&given))?;
        self.change(|snapshot, now| {
            let known = &known(snapshot, &given.business_id)?.catalog().business;
            decide::update(&given, known, now, |_| Ok(()), Change::Business)
        })
        .await
    }

    /// Creates a sender, or finds that it exists as given.
    pub async fn create_sender(
        &self,
        business: &BusinessId,
        given: Sender,
    ) -> Result<(Sender, Done), Error> {
        refuse(validate::sender(&given))?;
        self.change(|snapshot, now| {
            let catalog = known(snapshot, business)?.catalog();
            let known = catalog.senders.get(&given.sender_id);
            let name = || format!("sender `{}`", given.sender_id);
            let sound = |sender: &Sender| refuse_taken_name(sender, catalog);
            decide::create(&given, known, now, name, sound, of_sender(business))
        })
        .await
    }

    /// Replaces a sender's fields; holding one is honoured by every check that starts after this.
    pub async fn update_sender(
        &self,
        business: &BusinessId,
        given: Sender,
    ) -> Result<(Sender, Done), Error> {
        refuse(validate::sender(&given))?;
        self.change(|snapshot, now| {
            let catalog = known(snapshot, business)?.catalog();
            let known = catalog.senders.get(&given.sender_id);
            let known = known.ok_or_else(|| missing("sender", &given.sender_id))?;
            let sound = |sender: &Sender| refuse_taken_name(sender, catalog);
            decide::update(&given, known, now, sound, of_sender(business))
        })
        .await
    }

    /// Creates a purpose, or finds that it exists as given.
    pub async fn create_purpose(
        &self,
        business: &BusinessId,
        given: Purpose,
    ) -> Result<(Purpose, Done), Error> {
        refuse(validate::purpose(&given))?;
        self.change(|snapshot, now| {
            let known = known(snapshot, business)?
                .catalog()
                .purposes
                .get(&given.key);
            let name = || format!("purpose `{}`", given.key);
            decide::create(&given, known, now, name, |_| Ok(()), of_purpose(business))
        })
        .await
    }

    /// Replaces a purpose's fields. Its class may only become stricter: who consented to order
    /// updates did not consent to what a marketing purpose would let through.
    pub async fn update_purpose(
        &self,
        business: &BusinessId,
        given: Purpose,
    ) -> Result<(Purpose, Done), Error> {
        refuse(validate::purpose(&given))?;
        self.change(|snapshot, now| {
            let known = known(snapshot, business)?
                .catalog()
                .purposes
                .get(&given.key);
            let known = known.ok_or_else(|| missing("purpose", &given.key))?;
            let sound = |purpose: &Purpose| refuse_laxer_class(purpose, known);
            decide::update(&given, known, now, sound, of_purpose(business))
        })
        .await
    }

    /// Creates a notice, or finds that it exists as given. A notice never changes.
    pub async fn create_notice(
        &self,
        business: &BusinessId,
        given: Notice,
    ) -> Result<(Notice, Done), Error> {
        self.change(|snapshot, now| {
            let catalog = known(snapshot, business)?.catalog();
            let known = catalog.notices.get(&given.name);
            let name = || format!("notice {}", given.name);
            let sound = |notice: &Notice| refuse(validate::notice(notice, catalog));
            let change = |notice| Change::Notice {
                business_id: business.clone(),
                notice,
            };
            decide::create(&given, known, now, name, sound, change)
        })
        .await
    }

    /// The position up to which this catalogue follows the system partition.
    pub fn applied(&self) -> Offset {
        self.snapshot.load().applied
    }
}

/// Where a fold begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Here,
    Beginning,
}

impl SystemFold for Catalog {
    fn applied(&self) -> Offset {
        Self::applied(self)
    }

    fn apply(
        &self,
        records: &[SystemRecord],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.fold(Start::Here, self.ledger.followed().current(), records)?)
    }

    fn replace(
        &self,
        records: &[SystemRecord],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.fold(Start::Beginning, self.ledger.followed().current(), records)?)
    }
}

fn known<'a>(snapshot: &'a Snapshot, business: &BusinessId) -> Result<&'a Arc<Compiled>, Error> {
    snapshot
        .business(business)
        .ok_or_else(|| missing("business", business))
}

fn missing(kind: &str, name: impl std::fmt::Display) -> Error {
    Error::NotFound {
        what: format!("{kind} `{name}`"),
    }
}

fn refuse(faults: Vec<Fault>) -> Result<(), Error> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid { faults })
    }
}

fn refuse_taken_name(sender: &Sender, catalog: &BusinessCatalog) -> Result<(), Error> {
    match validate::name_taken(sender, catalog) {
        None => Ok(()),
        Some(name) => Err(Error::AlreadyExists {
            what: format!("another sender named `{name}`"),
        }),
    }
}

fn refuse_laxer_class(given: &Purpose, known: &Purpose) -> Result<(), Error> {
    if given.message_class.stricter(known.message_class) == given.message_class {
        return Ok(());
    }
    Err(Error::Invalid {
        faults: vec![Fault {
            field: "message_class".into(),
            message: format!("may only become stricter than {}", known.message_class),
        }],
    })
}

fn of_sender(business: &BusinessId) -> impl FnOnce(Sender) -> Change {
    |sender| Change::Sender {
        business_id: business.clone(),
        sender,
    }
}

fn of_purpose(business: &BusinessId) -> impl FnOnce(Purpose) -> Change {
    |purpose| Change::Purpose {
        business_id: business.clone(),
        purpose,
    }
}

/// What a caller may name that is not in memory yet.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    Purpose(&'a PurposeKey),
    Notice(&'a NoticeRef),
    Sender(&'a SenderId),
}

impl Named<'_> {
    /// Whether a catalogue holds it.
    pub fn is_in(self, catalog: &BusinessCatalog) -> bool {
        match self {
            Self::Purpose(key) => catalog.purposes.contains_key(key),
            Self::Notice(name) => catalog.notices.contains_key(name),
            Self::Sender(name) => catalog.sender(name).is_some(),
        }
    }
}
