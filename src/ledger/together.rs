//! Which acts may go into one transaction: those of which no two are on one subject or under one key.
//! What came of each could not be told otherwise.

use std::collections::HashSet;

use super::{Append, Error, Part, Partition};

/// A call by its business, its RPC's number and the hash of its key.
type Call = (String, i16, [u8; 16]);

/// Which subjects and calls are taken.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    subjects: HashSet<(Partition, [u8; 16])>,
    calls: HashSet<Call>,
}

impl Distinct {
    /// Whether neither is taken yet; then both are.
    pub(super) fn take(&mut self, subject: (Partition, [u8; 16]), call: Option<Call>) -> bool {
        let is_known = call.as_ref().is_some_and(|call| self.calls.contains(call));
        if is_known || !self.subjects.insert(subject) {
            return false;
        }
        self.calls.extend(call);
        true
    }
}

/// What is to become of each of many acts.
pub(super) enum Sorted<'a> {
    /// It goes into the transaction.
    Taken(&'a Part<'a>),
    /// An earlier one is on its subject or under its key: to it the version has changed.
    Later,
    Refused(Error),
}

/// Sorts acts that are to be committed together, in the order given.
pub(super) fn sort<'a>(appends: &'a [Append<'a>]) -> Vec<Sorted<'a>> {
    let mut distinct = Distinct::default();
    let sort = |(index, append): (usize, &'a Append<'a>)| match append.parts {
        [part] if index < Append::MOST_AT_ONCE && part.removal.is_none() => {
            let call = append.idempotency.as_ref().map(|call| {
                let business = part.subject.business.as_str().to_owned();
                (business, call.rpc.code(), call.key_hash)
            });
            match distinct.take((part.subject.partition, part.subject.key), call) {
                true => Sorted::Taken(part),
                false => Sorted::Later,
            }
        }
        _ => Sorted::Refused(Error::Rejected(NotTogether.into())),
    };
    appends.iter().enumerate().map(sort).collect()
}

/// An act that may not be committed together with others.
#[derive(Debug, thiserror::Error)]
#[error(
    "acts that are committed together concern one subject each, erase nothing, and are {} at most",
    Append::MOST_AT_ONCE
)]
struct NotTogether;
