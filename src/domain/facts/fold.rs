//! How events become facts: each slot keeps the greatest, so that order and repetition do not count.
//!
//! What a slot is, is said at the types in [`super`]. Here is only how an event reaches its slots.

use super::reach::FAILURES_KEPT;
use super::{
    Ask, Consulted, Coverage, Facts, Failed, Grant, Latest, Lifted, Linked, Mark, Restricted,
    Suppressed,
};
use crate::domain::address::Spelling;
use crate::domain::event::{
    Act, Asked, Event, IdentityChange, Inherited, Lift, Link, NoticeShown, RegistryCheck,
    Restriction, Scope, Suppression, Terms,
};
use crate::domain::id::SubjectId;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{
    AddressKind, EvidenceField, EvidenceFields, FailureKind, RegistryResult,
};

impl Facts {
    /// Adds one event. Total: every event that can be read can be applied, and twice is once.
    pub fn apply(&mut self, event: &Event) {
        let mark = Mark::of(event);
        match &event.act {
            Act::ConsentGiven(terms) => self.give(terms, event, mark, None),
            Act::ConsentConfirmed(confirmation) => {
                for request in &confirmation.requests {
                    let requested = Mark {
                        at: request.requested_at,
                        source: request.requested_source,
                        digest: request.requested_digest,
                        ..mark
                    };
                    self.give(&request.terms, event, requested, Some(mark.at));
                }
            }
            Act::ConsentRequested(asked) => self.ask(asked, false, mark),
            Act::ConsentRequestDeferred(asked) => self.ask(asked, true, mark),
            Act::Restricted(restriction) => self.restrict(restriction, mark),
            Act::Suppressed(suppression) => self.suppress(suppression, mark),
            Act::SuppressionLifted(lift) => self.lift(lift, mark),
            Act::RegistryChecked(check) => self.consulted(check, mark),
            Act::Linked(link) => self.link(link, mark),
            Act::IdentityChanged(change) => self.identity_changed(change, mark),
            Act::DeliveryFailed(failure) => self.failed(failure.kind, mark),
            Act::Reached(_) => raise_option(&mut self.reached, mark),
            Act::Erased(_) => self.erase(mark),
        }
    }

    fn give(&mut self, terms: &Terms, event: &Event, mark: Mark, confirmed_at: Option<Timestamp>) {
        for purpose in &terms.purposes {
            self.join_grant(Grant {
                purpose: purpose.clone(),
                sender: terms.sender_id.clone(),
                spelling: event.spelling,
                consent_type: terms.consent_type,
                import: terms.is_import(),
                confirmed_at,
                mark,
                prior: None,
                implied: terms.implied,
                notice: terms
                    .notice
                    .as_ref()
                    .map(|shown: &NoticeShown| shown.notice.clone()),
                processing_version: terms
                    .notice
                    .as_ref()
                    .map_or(0, |shown| shown.processing_version),
                evidence: evidence_of(terms),
                jurisdiction: terms.jurisdiction,
                via_link: event.copied_from,
            });
        }
    }

    fn join_grant(&mut self, mut grant: Grant) {
        if !self.outlives_erasure(&mut grant) {
            return;
        }
        let found = self
            .grants
            .binary_search_by(|known| known.slot().cmp(&grant.slot()));
        match found {
            Ok(index) => self.grants[index].join(grant),
            Err(index) => self.grants.insert(index, grant),
        }
    }

    /// Whatever was consented to up to an erasure is gone, in whichever order the two arrive. What else
    /// it takes to consent anew is the decision's business.
    fn erase(&mut self, mark: Mark) {
        self.erased.raise(mark);
        let mut grants = std::mem::take(&mut self.grants);
        grants.retain_mut(|grant| self.outlives_erasure(grant));
        self.grants = grants;
    }

    /// Whether a grant is later than every erasure; what it renewed is forgotten if that is not.
    fn outlives_erasure(&self, grant: &mut Grant) -> bool {
        let Some(erased) = self.erased.iter().map(|mark| mark.at).max() else {
            return true;
        };
        grant.prior = grant.prior.filter(|(at, _)| *at > erased);
        grant.mark.at > erased
    }

    fn ask(&mut self, asked: &Asked, deferred: bool, mark: Mark) {
        for purpose in &asked.purposes {
            self.join_ask(Ask {
                purpose: purpose.clone(),
                sender: asked.sender_id.clone(),
                deferred,
                marks: vec![mark],
            });
        }
    }

    fn join_ask(&mut self, ask: Ask) {
        let slot = |ask: &Ask| (ask.purpose.clone(), ask.sender.clone(), ask.deferred);
        let found = self
            .asks
            .binary_search_by(|known| slot(known).cmp(&slot(&ask)));
        match found {
            Ok(index) => keep_newest(&mut self.asks[index].marks, &ask.marks, Ask::KEPT),
            Err(index) => self.asks.insert(index, ask),
        }
    }

    fn restrict(&mut self, restriction: &Restriction, mark: Mark) {
        // An import was written to nobody.
        let received_by = match restriction.is_import() {
            true => None,
            false => restriction.received_by.as_ref(),
        };
        for coverage in coverages(&restriction.scope) {
            self.join_restriction(Restricted {
                kind: restriction.kind,
                coverage,
                sender: restriction.sender_id.clone(),
                received_by: received_by.cloned(),
                mark,
            });
        }
    }

    fn join_restriction(&mut self, new: Restricted) {
        let slot = |known: &Restricted| {
            let place = (known.kind, known.coverage.clone(), known.sender.clone());
            (place, known.mark.source)
        };
        let found = self
            .restrictions
            .binary_search_by(|known| slot(known).cmp(&slot(&new)));
        match found {
            Ok(index) if new.mark.rank() > self.restrictions[index].mark.rank() => {
                self.restrictions[index] = new;
            }
            Ok(_) => {}
            Err(index) => self.restrictions.insert(index, new),
        }
    }

    fn suppress(&mut self, suppression: &Suppression, mark: Mark) {
        for coverage in coverages(&suppression.scope) {
            self.join_suppression(Suppressed {
                basis: suppression.basis,
                coverage,
                sender: suppression.sender_id.clone(),
                until: suppression.until,
                received_by: suppression.received_by.clone(),
                mark,
            });
        }
    }

    fn join_suppression(&mut self, new: Suppressed) {
        let slot = |known: &Suppressed| {
            let place = (known.basis, known.coverage.clone(), known.sender.clone());
            (place, known.until, known.mark.source)
        };
        let found = self
            .suppressions
            .binary_search_by(|known| slot(known).cmp(&slot(&new)));
        match found {
            Ok(index) if new.mark.rank() > self.suppressions[index].mark.rank() => {
                self.suppressions[index] = new;
            }
            Ok(_) => {}
            Err(index) => self.suppressions.insert(index, new),
        }
    }

    fn lift(&mut self, lift: &Lift, mark: Mark) {
        for coverage in coverages(&lift.scope) {
            self.join_lift(Lifted {
                basis: lift.basis,
                coverage,
                sender: lift.sender_id.clone(),
                mark,
            });
        }
    }

    fn join_lift(&mut self, new: Lifted) {
        let slot = |known: &Lifted| {
            let place = (known.basis, known.coverage.clone(), known.sender.clone());
            (place, known.mark.source)
        };
        let found = self
            .lifts
            .binary_search_by(|known| slot(known).cmp(&slot(&new)));
        match found {
            Ok(index) => raise(&mut self.lifts[index].mark, new.mark),
            Err(index) => self.lifts.insert(index, new),
        }
    }

    fn consulted(&mut self, check: &RegistryCheck, mark: Mark) {
        match check.result {
            RegistryResult::NoData => return,
            RegistryResult::Listed | RegistryResult::NotListed => {}
        }
        self.join_look_up(Consulted {
            registry: check.registry.clone(),
            result: check.result,
            mark,
        });
    }

    fn join_look_up(&mut self, new: Consulted) {
        let slot = |known: &Consulted| (known.registry.clone(), known.result, known.mark.source);
        let found = self
            .registries
            .binary_search_by(|known| slot(known).cmp(&slot(&new)));
        match found {
            Ok(index) => raise(&mut self.registries[index].mark, new.mark),
            Err(index) => self.registries.insert(index, new),
        }
    }

    fn link(&mut self, link: &Link, mark: Mark) {
        for grant in &link.inherited.grants {
            // Whatever the event says: what came by a link counts while the link stands.
            self.join_grant(Grant {
                via_link: Some(link.other),
                ..grant.clone()
            });
        }
        self.inherit_restrictions(&link.inherited);
        let slot = self.link_slot(link.other, link.kind);
        let newest = slot.linked.newest();
        if newest.is_none_or(|known| mark.rank() > known.rank()) {
            slot.here = link.here;
        }
        slot.linked.raise(mark);
    }

    /// The slot of a link; its kind is that of the link itself, once that is known.
    fn link_slot(&mut self, other: SubjectId, kind: AddressKind) -> &mut Linked {
        let found = self.links.binary_search_by(|known| known.other.cmp(&other));
        let index = found.unwrap_or_else(|index| {
            let slot = Linked {
                other,
                kind,
                here: Spelling::Verbatim,
                linked: Latest::default(),
                ended: Latest::default(),
            };
            self.links.insert(index, slot);
            index
        });
        let slot = &mut self.links[index];
        slot.kind = slot.kind.min(kind);
        slot
    }

    fn identity_changed(&mut self, change: &IdentityChange, mark: Mark) {
        match change {
            IdentityChange::Former => self.left.raise(mark),
            IdentityChange::Successor { inherited } => self.inherit_restrictions(inherited),
            IdentityChange::Unlinked { former, kind } => {
                let slot = self.link_slot(*former, *kind);
                slot.ended.raise(mark);
            }
        }
    }

    /// All but the grants, which only a link hands over.
    fn inherit_restrictions(&mut self, inherited: &Inherited) {
        for ask in &inherited.asks {
            self.join_ask(ask.clone());
        }
        for restricted in &inherited.restrictions {
            self.join_restriction(restricted.clone());
        }
        for suppressed in &inherited.suppressions {
            self.join_suppression(suppressed.clone());
        }
        for erased in &inherited.erasures {
            self.erase(*erased);
        }
        for listed in &inherited.registries {
            match listed.result {
                RegistryResult::Listed => self.join_look_up(listed.clone()),
                // It says nothing of this address.
                RegistryResult::NotListed | RegistryResult::NoData => {}
            }
        }
    }

    fn failed(&mut self, kind: FailureKind, mark: Mark) {
        match kind {
            FailureKind::IdentityMismatch => return self.mismatched.raise(mark),
            FailureKind::Undeliverable | FailureKind::Limited => {}
        }
        let found = self
            .failures
            .binary_search_by(|known| known.kind.cmp(&kind));
        match found {
            Ok(index) => keep_newest(&mut self.failures[index].marks, &[mark], FAILURES_KEPT),
            Err(index) => {
                let marks = vec![mark];
                self.failures.insert(index, Failed { kind, marks });
            }
        }
    }
}

fn raise(known: &mut Mark, mark: Mark) {
    if mark.rank() > known.rank() {
        *known = mark;
    }
}

fn raise_option(known: &mut Option<Box<Mark>>, mark: Mark) {
    match known {
        Some(known) => raise(known, mark),
        None => *known = Some(Box::new(mark)),
    }
}

/// The greatest of two lists of distinct acts, newest first: also a join, since of equal lists of
/// all acts the same are the greatest.
fn keep_newest(known: &mut Vec<Mark>, new: &[Mark], count: usize) {
    known.extend_from_slice(new);
    known.sort_by_key(|mark| std::cmp::Reverse(mark.rank()));
    known.dedup_by_key(|mark| mark.act());
    known.truncate(count);
}

fn coverages(scope: &Scope) -> Vec<Coverage> {
    match scope {
        Scope::Purposes(purposes) => purposes.iter().cloned().map(Coverage::Purpose).collect(),
        Scope::AllMarketing => vec![Coverage::AllMarketing],
        Scope::Everything => vec![Coverage::Everything],
    }
}

/// The evidence that a grant has, with what is not a field of its own: a time, a method, a notice,
/// and the declarations that were affirmed. A declaration that is unset or denied is missing.
pub fn evidence_of(terms: &Terms) -> EvidenceFields {
    let declared = &terms.declarations;
    let present = [
        (EvidenceField::EventTime, true),
        (EvidenceField::IndicationMethod, true),
        (EvidenceField::Notice, terms.notice.is_some()),
        (
            EvidenceField::DefaultUnticked,
            declared.default_unticked == Some(true),
        ),
        (
            EvidenceField::SeparateFromTerms,
            declared.separate_from_terms == Some(true),
        ),
        (
            EvidenceField::WhatsappNamed,
            declared.whatsapp_named == Some(true),
        ),
        (
            EvidenceField::NumberEnteredBySubject,
            declared.number_entered_by_subject == Some(true),
        ),
    ];
    present
        .into_iter()
        .filter(|(_, has)| *has)
        .fold(terms.evidence, |set, (field, _)| set.with(field))
}
