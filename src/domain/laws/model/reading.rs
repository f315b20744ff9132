//! What a history says, as plain lists: nothing is folded, and nothing is left out but repetitions.
//!
//! Links and moves bring what held for another address; it is read as if it had happened here. What
//! follows from the lists is in [`super`].

use std::time::Duration;

use crate::domain::address::Spelling;
use crate::domain::event::{Act, Event, IdentityChange, Implied, Inherited, Scope, Terms};
use crate::domain::facts::{Coverage, Mark, evidence_of};
use crate::domain::id::{
    JurisdictionCode, NoticeId, PurposeKey, RegistryName, SenderId, SubjectId,
};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    AddressKind, ConsentType, EvidenceFields, FailureKind, RegistryResult, RestrictionKind,
    SuppressionBasis, TimeSource, WithdrawalMethod,
};

/// When an act counts from, by which clock, and which act it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) at: Timestamp,
    source: TimeSource,
    digest: u64,
}

impl Time {
    fn of(event: &Event) -> Self {
        Self::marked(&Mark::of(event))
    }

    fn marked(mark: &Mark) -> Self {
        Self {
            at: mark.at,
            source: mark.source,
            digest: mark.digest.0,
        }
    }

    /// "Later than it": strictly, and by more than the tolerance if another clock told the time.
    pub(super) fn is_later_than(&self, other: &Self, tolerance: Duration) -> bool {
        let limit = match self.source == other.source {
            true => other.at,
            false => other.at.plus(tolerance),
        };
        self.at > limit
    }

    /// Of two acts of one kind by one clock, whether this is the one that counts.
    fn shadows(&self, other: &Self) -> bool {
        self.source == other.source && (self.at, self.digest) > (other.at, other.digest)
    }
}

/// A consent to one purpose.
#[derive(Debug, Clone)]
pub(super) struct Consent {
    /// When it was given; if confirmed, when it was requested.
    pub(super) time: Time,
    pub(super) purpose: PurposeKey,
    pub(super) sender: Option<SenderId>,
    pub(super) spelling: Spelling,
    pub(super) consent_type: ConsentType,
    pub(super) import: bool,
    pub(super) confirmed: bool,
    pub(super) implied: Option<Implied>,
    pub(super) notice: Option<(NoticeId, i32)>,
    pub(super) evidence: EvidenceFields,
    pub(super) jurisdiction: Option<JurisdictionCode>,
    /// The linked address at which it was given.
    pub(super) via: Option<SubjectId>,
}

impl Consent {
    pub(super) fn is_act_of_the_person(&self) -> bool {
        !self.import && self.consent_type != ConsentType::Implied
    }

    /// Of consents of one kind, known by one clock, the newest counts.
    pub(super) fn shadows(&self, other: &Self) -> bool {
        let kind = |c: &Self| {
            let place = (c.purpose.clone(), c.sender.clone(), c.spelling, c.via);
            (place, c.consent_type, c.import, c.confirmed)
        };
        kind(self) == kind(other) && self.time.shadows(&other.time)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Stop {
    pub(super) time: Time,
    pub(super) kind: RestrictionKind,
    pub(super) scope: Scope,
    pub(super) sender: Option<SenderId>,
    /// The sender that it was written to; an import was written to none.
    pub(super) received_by: Option<SenderId>,
}

impl Stop {
    pub(super) fn is_by_the_person(&self) -> bool {
        match self.kind {
            RestrictionKind::Refused | RestrictionKind::Withdrawn => true,
            RestrictionKind::Revoked | RestrictionKind::Invalidated => false,
        }
    }

    pub(super) fn shadows(&self, other: &Self) -> bool {
        let kind = |stop: &Self| (stop.kind, stop.scope.clone(), stop.sender.clone());
        kind(self) == kind(other) && self.time.shadows(&other.time)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Overlay {
    pub(super) time: Time,
    pub(super) basis: SuppressionBasis,
    pub(super) scope: Scope,
    pub(super) sender: Option<SenderId>,
    pub(super) until: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct LookUp {
    pub(super) time: Time,
    pub(super) registry: RegistryName,
    pub(super) listed: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) consents: Vec<Consent>,
    pub(super) stops: Vec<Stop>,
    pub(super) overlays: Vec<Overlay>,
    /// Their end, if it is a suppression's, is that of the lifted; it does not matter here.
    pub(super) lifts: Vec<Overlay>,
    /// Those that were answered by silence count, those that were dismissed do not.
    pub(super) asks: Vec<Time>,
    pub(super) look_ups: Vec<LookUp>,
    /// Which other address was named together with this one.
    pub(super) namings: Vec<(SubjectId, AddressKind, Time)>,
    /// Which other address ceased to be this person's.
    pub(super) endings: Vec<(SubjectId, Time)>,
    pub(super) departures: Vec<Time>,
    pub(super) failures: Vec<(FailureKind, Time)>,
    pub(super) answers: Vec<Timestamp>,
    pub(super) erasures: Vec<Time>,
}

/// A list of purposes is a scope of each of them.
fn apart(scope: &Scope) -> Vec<Scope> {
    match scope {
        Scope::Purposes(keys) => {
            let one = |key: &PurposeKey| Scope::Purposes(vec![key.clone()]);
            keys.iter().map(one).collect()
        }
        wide @ (Scope::AllMarketing | Scope::Everything) => vec![wide.clone()],
    }
}

fn scope_of(coverage: &Coverage) -> Scope {
    match coverage {
        Coverage::Purpose(key) => Scope::Purposes(vec![key.clone()]),
        Coverage::AllMarketing => Scope::AllMarketing,
        Coverage::Everything => Scope::Everything,
    }
}

impl History {
    pub(super) fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        for event in events {
            history.read(event);
        }
        history
    }

    fn read(&mut self, event: &Event) {
        let time = Time::of(event);
        match &event.act {
            Act::ConsentGiven(terms) => self.consent(event, terms, time, false),
            Act::ConsentConfirmed(confirmation) => {
                for request in &confirmation.requests {
                    let requested = Time {
                        at: request.requested_at,
                        source: request.requested_source,
                        digest: request.requested_digest.0,
                    };
                    self.consent(event, &request.terms, requested, true);
                }
            }
            Act::ConsentRequested(_) => self.ask(time),
            Act::ConsentRequestDeferred(_) => {}
            Act::Restricted(restriction) => {
                let import = restriction.import_batch_id.is_some()
                    || restriction.withdrawal_method == Some(WithdrawalMethod::Import);
                let received_by = restriction.received_by.clone().filter(|_| !import);
                self.stops
                    .extend(apart(&restriction.scope).into_iter().map(|scope| Stop {
                        time,
                        kind: restriction.kind,
                        scope,
                        sender: restriction.sender_id.clone(),
                        received_by: received_by.clone(),
                    }));
            }
            Act::Suppressed(made) => {
                let overlay = |scope| overlay(time, made.basis, scope, &made.sender_id, made.until);
                self.overlays
                    .extend(apart(&made.scope).into_iter().map(overlay));
            }
            Act::SuppressionLifted(lift) => {
                let overlay = |scope| overlay(time, lift.basis, scope, &lift.sender_id, None);
                self.lifts
                    .extend(apart(&lift.scope).into_iter().map(overlay));
            }
            Act::RegistryChecked(check) => match check.result {
                RegistryResult::NoData => {}
                result @ (RegistryResult::Listed | RegistryResult::NotListed) => {
                    self.look_ups.push(LookUp {
                        time,
                        registry: check.registry.clone(),
                        listed: result == RegistryResult::Listed,
                    });
                }
            },
            Act::Linked(link) => {
                self.namings.push((link.other, link.kind, time));
                self.inherit(&link.inherited, Some(link.other));
            }
            Act::IdentityChanged(IdentityChange::Former) => self.departures.push(time),
            Act::IdentityChanged(IdentityChange::Successor { inherited }) => {
                self.inherit(inherited, None);
            }
            Act::IdentityChanged(IdentityChange::Unlinked { former, kind: _ }) => {
                self.endings.push((*former, time));
            }
            Act::DeliveryFailed(failure) => {
                if !self.failures.contains(&(failure.kind, time)) {
                    self.failures.push((failure.kind, time));
                }
            }
            Act::Reached(_) => self.answers.push(time.at),
            Act::Erased(_) => self.erasures.push(time),
        }
    }

    /// What is left after an erasure is what was agreed to later, by whichever clock.
    pub(super) fn is_left_of_erasures(&self, consent: &Consent) -> bool {
        self.erasures.iter().all(|end| consent.time.at > end.at)
    }

    fn consent(&mut self, event: &Event, terms: &Terms, time: Time, confirmed: bool) {
        for purpose in &terms.purposes {
            let notice = terms.notice.as_ref();
            self.consents.push(Consent {
                time,
                purpose: purpose.clone(),
                sender: terms.sender_id.clone(),
                spelling: event.spelling,
                consent_type: terms.consent_type,
                import: terms.is_import(),
                confirmed,
                implied: terms.implied,
                notice: notice.map(|n| (n.notice.notice_id.clone(), n.processing_version)),
                evidence: evidence_of(terms),
                jurisdiction: terms.jurisdiction,
                via: event.copied_from,
            });
        }
    }

    fn ask(&mut self, time: Time) {
        let known = |ask: &Time| (ask.at, ask.digest) == (time.at, time.digest);
        if !self.asks.iter().any(known) {
            self.asks.push(time);
        }
    }

    /// What held elsewhere. Consents come only from an address that is linked, and with the link.
    fn inherit(&mut self, inherited: &Inherited, linked: Option<SubjectId>) {
        for grant in inherited.grants.iter().filter(|_| linked.is_some()) {
            let processed = grant.processing_version;
            self.consents.push(Consent {
                time: Time::marked(&grant.mark),
                purpose: grant.purpose.clone(),
                sender: grant.sender.clone(),
                spelling: grant.spelling,
                consent_type: grant.consent_type,
                import: grant.import,
                confirmed: grant.confirmed_at.is_some(),
                implied: grant.implied,
                notice: grant
                    .notice
                    .as_ref()
                    .map(|n| (n.notice_id.clone(), processed)),
                evidence: grant.evidence,
                jurisdiction: grant.jurisdiction,
                via: linked,
            });
        }
        for ask in inherited.asks.iter().filter(|ask| !ask.deferred) {
            for mark in &ask.marks {
                self.ask(Time::marked(mark));
            }
        }
        self.stops
            .extend(inherited.restrictions.iter().map(|known| Stop {
                time: Time::marked(&known.mark),
                kind: known.kind,
                scope: scope_of(&known.coverage),
                sender: known.sender.clone(),
                received_by: known.received_by.clone(),
            }));
        self.overlays
            .extend(inherited.suppressions.iter().map(|known| {
                let (time, scope) = (Time::marked(&known.mark), scope_of(&known.coverage));
                overlay(time, known.basis, scope, &known.sender, known.until)
            }));
        self.erasures
            .extend(inherited.erasures.iter().map(Time::marked));
        // That a number is not listed says nothing of another one.
        let listed = inherited
            .registries
            .iter()
            .filter(|known| known.result == RegistryResult::Listed);
        self.look_ups.extend(listed.map(|known| LookUp {
            time: Time::marked(&known.mark),
            registry: known.registry.clone(),
            listed: true,
        }));
    }
}

fn overlay(
    time: Time,
    basis: SuppressionBasis,
    scope: Scope,
    sender: &Option<SenderId>,
    until: Option<Timestamp>,
) -> Overlay {
    Overlay {
        time,
        basis,
        scope,
        sender: sender.clone(),
        until,
    }
}
