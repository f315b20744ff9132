//! Which events bear on a question: those that were decided on, those that look as if they should have
//! been, and those that say whose the address is.

use std::collections::BTreeSet;

use super::{Step, Teller};
use crate::domain::facts::{Coverage, Linked, Mark};
use crate::domain::id::EventId;
use crate::domain::vocabulary::{FailureKind, MessageClass, RegistryResult};

impl Teller<'_> {
    pub(super) fn bearing(&self, steps: &[Step]) -> BTreeSet<EventId> {
        let findings = self.verdict.findings.iter();
        let decided_on = findings
            .filter_map(|finding| finding.event)
            .chain(self.verdict.rests_on)
            .chain(steps.iter().filter_map(|step| step.event));
        let marks = self
            .consents()
            .chain(self.restrictions())
            .chain(self.consulted())
            .chain(self.whose());
        decided_on.chain(marks.map(|mark| mark.event_id)).collect()
    }

    /// Consents to the purpose, for whichever sender and spelling, and that the person was asked.
    fn consents(&self) -> impl Iterator<Item = &Mark> {
        let facts = self.case.facts;
        let purpose = &self.case.question.purpose.key;
        let any_ask = self.case.question.class == MessageClass::ConsentRequest;
        let grants = facts
            .grants
            .iter()
            .filter(|grant| grant.purpose == *purpose);
        let asks = facts.asks.iter();
        let asks = asks.filter(move |ask| any_ask || ask.purpose == *purpose);
        grants
            .map(|grant| &grant.mark)
            .chain(asks.flat_map(|ask| &ask.marks))
    }

    /// What ever restricted the purpose, for whichever sender, and what lifted it.
    fn restrictions(&self) -> impl Iterator<Item = &Mark> {
        let facts = self.case.facts;
        let concerns =
            |coverage: &Coverage| *coverage == Coverage::Everything || self.case.in_scope(coverage);
        let restrictions = facts.restrictions.iter();
        let restrictions = restrictions.filter(move |one| concerns(&one.coverage));
        let suppressions = facts.suppressions.iter();
        let suppressions = suppressions.filter(move |one| concerns(&one.coverage));
        let lifts = facts
            .lifts
            .iter()
            .filter(move |one| concerns(&one.coverage));
        restrictions
            .map(|one| &one.mark)
            .chain(suppressions.map(|one| &one.mark))
            .chain(lifts.map(|one| &one.mark))
    }

    fn consulted(&self) -> impl Iterator<Item = &Mark> {
        let marketing = self.case.question.class == MessageClass::Marketing;
        let consulted = self.case.facts.registries.iter();
        consulted
            .filter(move |one| marketing || one.result == RegistryResult::Listed)
            .map(|one| &one.mark)
    }

    /// Whose the address is, and whether messages reach it.
    fn whose(&self) -> impl Iterator<Item = &Mark> {
        let (facts, at) = (self.case.facts, self.case.at);
        let bears = move |kind: FailureKind| match kind {
            // Kept apart, below.
            FailureKind::IdentityMismatch => false,
            FailureKind::Undeliverable => facts.unreachable_until().is_some_and(|end| at < end),
            FailureKind::Limited => facts.limited_until().is_some_and(|end| at < end),
        };
        let failures = facts
            .failures
            .iter()
            .filter(move |failed| bears(failed.kind));
        let links = facts.links.iter();
        links
            .flat_map(|link: &Linked| link.linked.iter().chain(link.ended.iter()))
            .chain(facts.left.iter())
            .chain(facts.mismatched.iter())
            .chain(facts.erased.iter())
            .chain(failures.flat_map(|failed| &failed.marks))
    }
}
