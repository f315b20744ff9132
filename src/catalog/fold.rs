//! The fold of the system partition: from changes to the catalogue as it stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::callers::Callers;
use super::{Compiled, Error};
use crate::domain::caller::Token;
use crate::domain::catalog::{Business, BusinessCatalog, Notice, Purpose, Sender};
use crate::domain::id::BusinessId;
use crate::domain::policy::Policy;
use crate::domain::rules::Rules;
use crate::keys::Keyring;
use crate::ledger::{self, Offset, SystemRecord};
use crate::policy;

/// One change, as it is stored. A resource is stored whole, so that the last change of it is it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub(super) enum Change {
    Business(Business),
    Sender {
        business_id: BusinessId,
        sender: Sender,
    },
    Purpose {
        business_id: BusinessId,
        purpose: Purpose,
    },
    Notice {
        business_id: BusinessId,
        notice: Notice,
    },
    /// The text of a policy file: every version stays, so that every decision can be made again.
    Policy {
        text: String,
    },
    /// A token of a caller, made or revoked.
    Token(Token),
    /// A rotation of the ledger's keys: noted here so that whoever follows the ledger knows of it, and for
    /// auditors. Under which number rows lie is read beside them.
    Keys {
        number: u16,
        rotation: Rotating,
    },
}

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Rotating {
    /// What is new is kept under the number from here on.
    Begun,
    /// Nothing lies under an earlier number any more.
    Finished,
}

impl Change {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a change has only string keys")
    }
}

/// The catalogue at one position of the system partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) applied: Offset,
    policy: Option<Arc<Policy>>,
    businesses: BTreeMap<BusinessId, Arc<Compiled>>,
    callers: Arc<Callers>,
    /// Changed and not compiled yet. Compiling hashes a whole catalogue: once per catching up.
    changed: BTreeMap<BusinessId, BusinessCatalog>,
}

impl Snapshot {
    pub(super) fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    pub(super) fn business(&self, business: &BusinessId) -> Option<&Arc<Compiled>> {
        self.businesses.get(business)
    }

    pub(super) fn businesses(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.businesses.values()
    }

    pub(super) fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Applies the next change. A change that does not read stops everything: a catalogue with a
    /// hole could let a held sender send.
    pub(super) fn apply(&mut self, record: &SystemRecord) -> Result<(), Error> {
        let corrupt = |fault: String| ledger::Error::Corrupt {
            table: "system_event",
            key: format!("offset {}", record.offset.0),
            fault,
        };
        if record.offset.0 != self.applied.0 + 1 {
            return Err(corrupt(format!("follows offset {}", self.applied.0)).into());
        }
        let change: Change =
            serde_json::from_str(&record.body).map_err(|fault| corrupt(fault.to_string()))?;
        match change {
            Change::Policy { text } => {
                self.policy = Some(Arc::new(policy::load(&text)?));
                for (id, known) in &self.businesses {
                    self.changed
                        .entry(id.clone())
                        .or_insert_with(|| known.catalog().clone());
                }
            }
            Change::Business(business) => {
                let id = business.business_id.clone();
                match self.catalog_of(&id) {
                    Some(catalog) => catalog.business = business,
                    None => {
                        self.changed.insert(id, BusinessCatalog::new(business));
                    }
                }
            }
            Change::Sender {
                business_id,
                sender,
            } => {
                let catalog = self.existing(&business_id).map_err(corrupt)?;
                catalog.senders.insert(sender.sender_id.clone(), sender);
            }
            Change::Purpose {
                business_id,
                purpose,
            } => {
                let catalog = self.existing(&business_id).map_err(corrupt)?;
                catalog.purposes.insert(purpose.key.clone(), purpose);
            }
            Change::Notice {
                business_id,
                notice,
            } => {
                let catalog = self.existing(&business_id).map_err(corrupt)?;
                catalog.notices.insert(notice.name.clone(), notice);
            }
            Change::Token(token) => Arc::make_mut(&mut self.callers).put(token),
            Change::Keys { .. } => {}
        }
        self.applied = record.offset;
        Ok(())
    }

    fn catalog_of(&mut self, business: &BusinessId) -> Option<&mut BusinessCatalog> {
        if !self.changed.contains_key(business) {
            let known = self.businesses.get(business)?.catalog().clone();
            self.changed.insert(business.clone(), known);
        }
        self.changed.get_mut(business)
    }

    fn existing(&mut self, business: &BusinessId) -> Result<&mut BusinessCatalog, String> {
        self.catalog_of(business)
            .ok_or_else(|| format!("business `{business}` was never created"))
    }

    /// Compiles the rules of every business that changed. Before the first policy nothing can be
    /// allowed: an empty one has no rule for anything.
    pub(super) fn compile(&mut self, keyring: &Keyring, tolerance: Duration) {
        let policy = self
            .policy
            .clone()
            .unwrap_or_else(|| Arc::new(Policy::new(BTreeMap::new(), Vec::new(), String::new())));
        for (id, catalog) in std::mem::take(&mut self.changed) {
            let keys = match self.businesses.get(&id) {
                Some(known) => Arc::clone(&known.keys),
                None => Arc::new(keyring.business_keys(&id)),
            };
            let rules = Rules::compile(Arc::clone(&policy), Arc::new(catalog), tolerance);
            self.businesses
                .insert(id, Arc::new(Compiled { rules, keys }));
        }
    }
}
