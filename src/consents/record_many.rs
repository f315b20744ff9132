//! Recording many acts at once: each as [`Consents::record`] would record it, at the speed of a few
//! statements for all of them.
//!
//! What comes of an act is decided on what the ledger says, as always, and appended on the version
//! that it was decided on. Whatever is not simply new goes the way of a single act, after the others
//! and in the order given: what is refused, repeats, is on an address that is linked with others, or
//! on an address or under a key that the same call has named before.

use std::collections::HashSet;
use std::sync::Arc;

use super::append::{Found, Group, Prepared, Sealed, Write, Written};
use super::idempotency::Key;
use super::record::{RecordAnswer, RecordRequest, StoredRecords, names, purposes};
use super::{Consents, Error};
use crate::cache::confirm::{Committed, Confirmation};
use crate::catalog::Compiled;
use crate::domain::id::BusinessId;
use crate::domain::json;
use crate::ledger::{self, Append, Appended, Epoch, Part, Position, SubjectRef};

/// What comes of a request; `None`: it is yet to go the way of a single one.
type Outcome = Option<Result<RecordAnswer, Error>>;

/// A request that may go with others.
struct Candidate<'a> {
    index: usize,
    request: &'a RecordRequest,
    write: Write<'a>,
    subject: SubjectRef,
}

/// One that was decided on.
struct Ready<'a> {
    index: usize,
    key_id: u16,
    request: &'a RecordRequest,
    write: Write<'a>,
    prepared: Prepared<'a>,
    sealed: Sealed,
    answer: StoredRecords,
    /// The answer as it is stored.
    stored: String,
}

impl Consents {
    /// Records acts that do not depend on each other; what came of each, in the order given. All or
    /// some may be committed when an error of the ledger is answered: repeat them with their keys.
    pub async fn record_many(
        &self,
        requests: Vec<RecordRequest>,
    ) -> Vec<Result<RecordAnswer, Error>> {
        let (consents, count) = (self.clone(), requests.len());
        let all = self.to_its_end(async move {
            let mut results = Vec::with_capacity(requests.len());
            for some in requests.chunks(Append::MOST_AT_ONCE) {
                results.extend(consents.record_some(some).await);
            }
            Ok(results)
        });
        all.await.unwrap_or_else(|error| {
            let told = error.to_string();
            let each = (0..count).map(|_| Err(Error::internal(&told)));
            each.collect()
        })
    }

    async fn record_some(&self, requests: &[RecordRequest]) -> Vec<Result<RecordAnswer, Error>> {
        let mut compiled = Vec::with_capacity(requests.len());
        for request in requests {
            let names = names(request);
            let found = self.business_with(&request.business, &names).await;
            compiled.push(found.ok());
        }
        let candidates = self.candidates(requests, &compiled);
        let mut outcomes: Vec<Outcome> = requests.iter().map(|_| None).collect();
        self.record_new(candidates, &mut outcomes).await;
        let mut results = Vec::with_capacity(requests.len());
        for (request, outcome) in requests.iter().zip(outcomes) {
            results.push(match outcome {
                Some(result) => result,
                None => self.record_now(request).await,
            });
        }
        results
    }

    /// The first request of each address and key.
    fn candidates<'a>(
        &self,
        requests: &'a [RecordRequest],
        compiled: &'a [Option<Arc<Compiled>>],
    ) -> Vec<Candidate<'a>> {
        let mut subjects = HashSet::new();
        let mut keys: HashSet<(&BusinessId, [u8; 16])> = HashSet::new();
        let mut candidates = Vec::with_capacity(requests.len());
        for (index, (request, compiled)) in requests.iter().zip(compiled).enumerate() {
            let Some(compiled) = compiled else { continue };
            let write = request.write(compiled);
            let subject = self.subject_of(&write);
            let Some(Key { key_hash, .. }) = write.key else {
                continue;
            };
            let is_new_key = keys.insert((&request.business, key_hash));
            let is_new_subject = subjects.insert(subject.clone());
            if is_new_key && is_new_subject {
                candidates.push(Candidate {
                    index,
                    request,
                    write,
                    subject,
                });
            }
        }
        candidates
    }

    async fn record_new(&self, candidates: Vec<Candidate<'_>>, outcomes: &mut [Outcome]) {
        let epoch = self.0.ledger.followed().current();
        let subjects: Vec<SubjectRef> = candidates.iter().map(|one| one.subject.clone()).collect();
        if subjects.is_empty() {
            return;
        }
        let loaded = match self.0.ledger.facts(&subjects).await {
            Ok(loaded) => loaded,
            // One person's corrupt row is no other person's trouble.
            Err(error) if error.is_corrupt() => return,
            Err(error) => {
                let error = Arc::new(error);
                for one in candidates {
                    let shared = ledger::Error::shared(Arc::clone(&error));
                    outcomes[one.index] = Some(Err(shared.into()));
                }
                return;
            }
        };
        let found = candidates.into_iter().zip(loaded);
        let ready: Vec<Ready<'_>> = found
            .filter_map(|(one, loaded)| {
                let found = Found::new(one.subject.clone(), loaded, self.now());
                self.decided(one, found)
            })
            .collect();
        let appended = self.append_ready(&ready).await;
        let at = self.0.clock.steady();
        let mut restricting: Vec<(usize, Position)> = Vec::new();
        for (one, result) in ready.into_iter().zip(appended) {
            let position = match result {
                Ok(Appended::At(positions)) => positions.first().copied(),
                // Somebody else was faster, or it is a repeat.
                Ok(Appended::VersionChanged | Appended::KeyUsed) => None,
                Err(error) => {
                    outcomes[one.index] = Some(Err(error.into()));
                    continue;
                }
            };
            let Some(position) = position else { continue };
            if one.prepared.event.act.restricts() {
                restricting.push((one.index, position));
            }
            let index = one.index;
            outcomes[index] = Some(Ok(self.told(one, position, epoch)));
        }
        self.confirm_all(&restricting, epoch, at, outcomes).await;
    }

    /// What is to be appended; `None` if a single act's way has to be gone.
    fn decided<'a>(&self, one: Candidate<'a>, own: Found) -> Option<Ready<'a>> {
        let Candidate {
            index,
            request,
            write,
            subject: _,
        } = one;
        if own.facts.linked().next().is_some() {
            return None;
        }
        // What is refused may still be a repeat, which gets its first answer.
        let act = self.judge(request, write.compiled).ok()?;
        let purposes = purposes(request, write.compiled).ok()?;
        let linked = Vec::new();
        let group = Group { own, linked };
        let now = group.now(self.now());
        let draft = request.draft(act, now);
        let mut prepared = group.prepare(&write, &draft, now).into_iter().next()?;
        prepared.event.recorded_by.clone_from(&self.1);
        let (event, facts) = (&prepared.event, &prepared.found.facts);
        let answer = request.stored(write.compiled, &purposes, event, facts);
        // Asked first: what is sealed after it is sealed under this number or a later one.
        let key_id = write.compiled.keys.current();
        Some(Ready {
            index,
            key_id,
            request,
            sealed: prepared.seal(&write),
            stored: json::text(&answer),
            answer,
            write,
            prepared,
        })
    }

    async fn append_ready(&self, ready: &[Ready<'_>]) -> Vec<Result<Appended, ledger::Error>> {
        let parts: Vec<[Part<'_>; 1]> = ready
            .iter()
            .map(|one| [one.prepared.part(&one.sealed)])
            .collect();
        let appends: Vec<Append<'_>> = ready
            .iter()
            .zip(&parts)
            .map(|(one, parts)| Append {
                parts,
                key_id: one.key_id,
                idempotency: one.write.idempotency(&one.stored),
            })
            .collect();
        self.0.ledger.append_many(&appends).await
    }

    /// Tells the cache of an act that is committed, and makes its answer.
    fn told(&self, one: Ready<'_>, position: Position, epoch: Epoch) -> RecordAnswer {
        self.tell_cache(one.prepared, position, epoch);
        let written = Written {
            answer: one.answer,
            positions: vec![position],
            confirmation: Confirmation::NOT_NEEDED,
        };
        one.request.in_order(self.recorded(written))
    }

    /// What restricts is answered when it holds on every instance, all of it together.
    async fn confirm_all(
        &self,
        restricting: &[(usize, Position)],
        epoch: Epoch,
        at: std::time::Duration,
        outcomes: &mut [Outcome],
    ) {
        if restricting.is_empty() {
            return;
        }
        let positions: Vec<Position> = restricting.iter().map(|(_, place)| *place).collect();
        let committed = Committed {
            positions: Some(&positions),
            epoch,
            at,
        };
        if let Err(unconfirmed) = self.0.confirming.confirmed(committed).await {
            for (index, _) in restricting {
                outcomes[*index] = Some(Err(unconfirmed.into()));
            }
        }
    }
}
