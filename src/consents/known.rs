//! Writing on what is known already: one statement where a look in front makes two.
//!
//! An append names the version that it was decided on, and is refused if the subject is at another one. So it may be
//! decided on facts of any age: on those in memory, or on the guess that nobody has recorded anything of the person
//! yet. What does not fit (another version, an earlier call under the same key, a fault in the request, linked
//! addresses, another history) is not judged here: the write then begins with a look, as every other does.

use std::time::Duration;

use serde::Serialize;

use super::append::{Draft, Found, Group, Write, Written};
use super::{Consents, Error};
use crate::cache::Entry;
use crate::domain::event::Event;
use crate::domain::facts::Facts;
use crate::domain::time::Timestamp;
use crate::ledger::{Appended, Epoch, Loaded, Offset, Subject};

/// How long somebody may be read together with others. What restricts looks for itself then, over a connection of its own: it
/// waits for nobody who waits for a slow database.
const PATIENCE: Duration = Duration::from_millis(20);

/// What is done about somebody who is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// Their facts are read, together with those of others who are asked about.
    Loaded,
    /// They are taken for somebody new, as most are who give their consent.
    Guessed,
}

/// A subject as it was once, in the history of then.
pub(super) struct Known {
    found: Found,
    epoch: Epoch,
}

impl Consents {
    /// What a write may be decided on without a look. `None`: there is nothing.
    pub(super) async fn known(&self, write: &Write<'_>, absent: Absent) -> Option<Known> {
        let subject = self.subject_of(write);
        let epoch = self.0.ledger.followed().current();
        let entry = match (self.0.cache.remembered(&subject), absent) {
            (Some(entry), _) => entry,
            (None, Absent::Loaded) => {
                let loaded = self.0.cache.loaded(&subject);
                tokio::time::timeout(PATIENCE, loaded).await.ok()?.ok()?
            }
            (None, Absent::Guessed) => {
                let nothing = Loaded {
                    subject: None,
                    as_of: Offset(0),
                };
                let found = Found::new(subject, nothing, self.now());
                return Some(Known { found, epoch });
            }
        };
        if entry.epoch != epoch.generation() {
            return None;
        }
        let found = Found::new(subject, as_loaded(&entry), self.now());
        // Those are written together, and read for it.
        let is_linked = found.facts.linked().next().is_some();
        (!is_linked).then_some(Known { found, epoch })
    }

    /// Carries a write out on what was known. `None`: nothing was written, and the write begins anew.
    pub(super) async fn append_known<A: Serialize>(
        &self,
        write: &Write<'_>,
        known: Known,
        decide: impl Fn(&Facts, Timestamp) -> Result<Draft, Error>,
        answer: impl Fn(&Event, &Facts) -> A,
    ) -> Result<Option<Written<A>>, Error> {
        let Known { found, epoch } = known;
        let group = Group {
            own: found,
            linked: Vec::new(),
        };
        let now = group.now(self.now());
        let Ok(draft) = decide(&group.own.facts, now) else {
            return Ok(None);
        };
        let mut prepared = group.prepare(write, &draft, now);
        let answer = answer(&prepared[0].event, &prepared[0].found.facts);
        // Versions of two histories are not compared.
        if self.0.ledger.followed().current() != epoch {
            return Ok(None);
        }
        match self.append_once(write, &mut prepared, &answer).await? {
            Appended::At(positions) => {
                let written = self.committed(prepared, positions, epoch, answer).await?;
                Ok(Some(written))
            }
            Appended::VersionChanged | Appended::KeyUsed => Ok(None),
        }
    }
}

fn as_loaded(entry: &Entry) -> Loaded {
    Loaded {
        subject: entry.subject_id.map(|subject_id| Subject {
            subject_id,
            version: entry.version,
            facts: entry.facts.clone(),
        }),
        as_of: entry.as_of,
    }
}
