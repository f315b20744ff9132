//! Steps 1 to 4: what forbids a message whatever was consented to, until the person says otherwise.

use super::{Case, Failing, sooner};
use crate::domain::facts::{Consulted, Coverage, Grant, Mark, Restricted, Suppressed};
use crate::domain::id::SenderId;
use crate::domain::policy::RegistryKind;
use crate::domain::vocabulary::{MessageClass, Reason, RestrictionKind, SuppressionBasis};

impl<'a> Case<'a> {
    pub(super) fn step_1_sender_held(&self, failing: &mut Failing) {
        let sender = self
            .question
            .sender
            .and_then(|id| self.rules.catalog.sender(id));
        if sender.is_some_and(|sender| sender.held) {
            failing.push(Reason::SenderHeld, None);
        }
    }

    pub(super) fn step_2_suppressions(&self, failing: &mut Failing) {
        // A doubt whether the person opted out belongs to the next step.
        let barring = self.barring_suppressions();
        for (reason, suppressed) in barring.filter(|(r, _)| *r != Reason::PossibleRevocation) {
            failing.push(reason, Some(suppressed.mark.event_id));
            failing.until = sooner(failing.until, suppressed.until);
        }
        for listed in self.barring_listings() {
            failing.push(Reason::Suppressed, Some(listed.mark.event_id));
        }
    }

    /// The suppressions that stand in the way, each with the reason that it gives.
    pub(super) fn barring_suppressions(
        &self,
    ) -> impl Iterator<Item = (Reason, &'a Suppressed)> + use<'a> {
        let case = *self;
        self.covering_suppressions()
            .filter(move |suppressed| !case.is_settled(suppressed))
            .map(|suppressed| (reason_of(suppressed.basis), suppressed))
    }

    /// The registries whose listing stands in the way.
    pub(super) fn barring_listings(&self) -> impl Iterator<Item = &'a Consulted> + use<'a> {
        let case = *self;
        self.listings().filter(move |listed| {
            let outlived = || case.is_outlived(&listed.mark);
            let settled = match case.rules.policy.registry_kind(&listed.registry) {
                Some(RegistryKind::ReassignedNumbers) => outlived(),
                Some(RegistryKind::DoNotContact) => !case.is_marketing(),
                // A registry that no entry names any more still said no, and nobody knows to what.
                None => !case.is_marketing() && outlived(),
            };
            !settled
        })
    }

    /// Whether a suppression that only voids earlier consent was followed by a later one.
    pub(super) fn is_settled(&self, suppressed: &Suppressed) -> bool {
        suppressed.basis.voids_only() && self.is_outlived(&suppressed.mark)
    }

    pub(super) fn is_outlived(&self, mark: &Mark) -> bool {
        self.grants().any(|grant| self.outlives(grant, mark))
    }

    /// Marketing itself, and asking for consent to it.
    fn is_marketing(&self) -> bool {
        self.in_scope(&Coverage::AllMarketing)
    }

    fn listings(&self) -> impl Iterator<Item = &'a Consulted> + use<'a> {
        self.facts.listings(self.rules.clock_tolerance)
    }

    pub(super) fn covering_suppressions(&self) -> impl Iterator<Item = &'a Suppressed> + use<'a> {
        let case = *self;
        self.facts
            .suppressions_at(self.at, self.rules.clock_tolerance)
            .filter(move |suppressed| {
                // Nothing is exempt from a suppression of everything, nor reopened by a message.
                let in_scope = suppressed.coverage == Coverage::Everything
                    || case.in_scope(&suppressed.coverage);
                // WhatsApp stops one number at a time. It is kept so, because it resumes one at a
                // time, too; what it means for the other numbers is the business's setting.
                let reaches_all = suppressed.basis == SuppressionBasis::PlatformStop
                    && case.rules.catalog.business.opt_out_scope.is_business_wide();
                in_scope
                    && (reaches_all || case.covers_sender(suppressed.sender.as_ref()))
                    && !case.is_overlooked(&suppressed.mark, by_person(suppressed.basis))
            })
    }

    pub(super) fn step_3_restrictions(&self, failing: &mut Failing) {
        let mut covering: Vec<&Restricted> = self.covering_restrictions().collect();
        let overcome = covering.is_empty()
            || self
                .grants()
                .any(|grant| self.overcomes_all(grant, &covering));
        if !overcome {
            covering
                .sort_by_key(|restricted| std::cmp::Reverse((restricted.mark.at, restricted.kind)));
            for restricted in covering {
                failing.push(restricted.kind.into(), Some(restricted.mark.event_id));
            }
        }
        let barring = self.barring_suppressions();
        for (_, suppressed) in barring.filter(|(r, _)| *r == Reason::PossibleRevocation) {
            failing.push(Reason::PossibleRevocation, Some(suppressed.mark.event_id));
            failing.until = sooner(failing.until, suppressed.until);
        }
    }

    pub(super) fn covering_restrictions(&self) -> impl Iterator<Item = &'a Restricted> + use<'a> {
        let case = *self;
        self.facts.restrictions.iter().filter(move |restricted| {
            let by_person = match restricted.kind {
                RestrictionKind::Refused | RestrictionKind::Withdrawn => true,
                RestrictionKind::Revoked | RestrictionKind::Invalidated => false,
            };
            case.in_scope(&restricted.coverage)
                && case.covers_sender(restricted.sender.as_ref())
                && !case.is_reopened(restricted)
                && !case.is_overlooked(&restricted.mark, by_person)
        })
    }

    fn overcomes_all(&self, grant: &'a Grant, restrictions: &[&Restricted]) -> bool {
        restrictions
            .iter()
            .all(|restricted| self.outlives(grant, &restricted.mark))
    }

    /// Step 4: the same number came with another user id, or its device's keys changed, and nobody
    /// said why. A later consent settles it; a service window that was opened since is whoever's the
    /// address is now.
    pub(super) fn step_4_identity(&self, failing: &mut Failing) {
        let settled = self
            .grants()
            .any(|grant| self.doubts().all(|doubt| self.outlives(grant, doubt)));
        if let Some(doubt) = self.doubts().max_by_key(|doubt| doubt.at)
            && !settled
        {
            failing.push(Reason::IdentityUnverified, Some(doubt.event_id));
        }
    }

    /// What makes it doubtful whose the address is; nothing for SERVICE in a window that was opened
    /// since, or by the very message that named the other address: a window is known to the second,
    /// and a doubt counts to the end of its second.
    pub(super) fn doubts(&self) -> impl Iterator<Item = &'a Mark> + use<'a> {
        let opened = self
            .last_inbound()
            .filter(|_| self.question.class == MessageClass::Service && self.window_is_open());
        let facts = self.facts;
        let answers = opened.is_some_and(|inbound| {
            let named = inbound.end_of_second();
            facts.conflicts().all(|doubt| named >= doubt.at)
                && facts.mismatched.iter().all(|doubt| inbound > doubt.at)
        });
        facts.doubts().filter(move |_| !answers)
    }

    /// Step 5 of a person whose data were erased: nothing is left to send by, whether or not the message
    /// would need a consent, until the person consents anew. The answer names no event, since it is
    /// the one about a person who was never seen.
    pub(super) fn step_5_erasure(&self, failing: &mut Failing) {
        if self.is_erased() {
            failing.push(Reason::NoConsent, None);
        }
    }

    /// Whether the person's data were erased, and no consent came after that.
    pub(super) fn is_erased(&self) -> bool {
        let overcomes = |grant: &'a Grant| self.erasures().all(|mark| self.outlives(grant, mark));
        self.erasures().next().is_some() && !self.grants().any(overcomes)
    }

    /// The erasures that count; for SERVICE none does from before the person wrote again.
    pub(super) fn erasures(&self) -> impl Iterator<Item = &'a Mark> + use<'a> {
        let case = *self;
        let erased = self.facts.erased.iter();
        erased.filter(move |mark| !case.is_reopened_after(mark))
    }

    /// The steps before ask of each thing that ended earlier consent whether a grant came after it.
    /// By different clocks that may be different grants, none of which came after all: nothing is
    /// allowed then, since what overcomes is one act of the person.
    pub(super) fn one_grant_overcomes_all(&self, failing: &mut Failing) {
        if failing.findings.is_empty() && self.no_grant_overcomes_all() {
            failing.push(Reason::NoConsent, None);
        }
    }

    /// Whether something ended earlier consent, and no grant came after all that did.
    pub(super) fn no_grant_overcomes_all(&self) -> bool {
        let voiding = self.voiding_marks();
        let overcomes = |grant: &'a Grant| voiding.iter().all(|mark| self.outlives(grant, mark));
        !voiding.is_empty() && !self.grants().any(overcomes)
    }

    /// What ended every earlier consent: a grant that is not later than all of them carries nothing.
    pub(super) fn voiding_marks(&self) -> Vec<&'a Mark> {
        let suppressed = self
            .covering_suppressions()
            .filter(|suppressed| suppressed.basis.voids_only())
            .map(|suppressed| &suppressed.mark);
        let restricted = self
            .covering_restrictions()
            .map(|restricted| &restricted.mark);
        let listed = self
            .listings()
            .filter(
                |listed| match self.rules.policy.registry_kind(&listed.registry) {
                    Some(RegistryKind::ReassignedNumbers) | None => true,
                    Some(RegistryKind::DoNotContact) => false,
                },
            )
            .map(|listed| &listed.mark);
        suppressed
            .chain(restricted)
            .chain(listed)
            .chain(self.doubts())
            .chain(self.erasures())
            .collect()
    }

    /// After an opt-out of everything SERVICE is free again in a window that the person opened later.
    fn is_reopened(&self, restricted: &Restricted) -> bool {
        restricted.coverage == Coverage::Everything && self.is_reopened_after(&restricted.mark)
    }

    /// Whether a SERVICE message answers what the person wrote after `mark`.
    fn is_reopened_after(&self, mark: &Mark) -> bool {
        self.question.class == MessageClass::Service
            && self.window_is_open()
            && self.last_inbound().is_some_and(|inbound| inbound > mark.at)
    }

    fn covers_sender(&self, restricted: Option<&SenderId>) -> bool {
        match (restricted, self.question.sender) {
            (Some(restricted), Some(asked)) => restricted == asked,
            // Without a sender every sender's opt-out counts.
            (None, _) | (_, None) => true,
        }
    }

    /// Whether a scope holds what is asked.
    pub(super) fn in_scope(&self, coverage: &Coverage) -> bool {
        use MessageClass as C;
        let purpose = self.question.purpose;
        match (coverage, self.question.class) {
            (Coverage::Purpose(key), _) => *key == purpose.key,
            (Coverage::AllMarketing, C::Marketing | C::OptOutConfirmation) => true,
            (Coverage::AllMarketing, C::ConsentRequest) => purpose.message_class == C::Marketing,
            (Coverage::AllMarketing, C::Utility | C::Authentication | C::Service) => false,
            (Coverage::Everything, C::Authentication) => !purpose.requested_by_recipient,
            (
                Coverage::Everything,
                C::Marketing | C::Utility | C::Service | C::ConsentRequest | C::OptOutConfirmation,
            ) => true,
        }
    }
}

/// The reason that a suppression gives.
const fn reason_of(basis: SuppressionBasis) -> Reason {
    match basis {
        SuppressionBasis::PossibleRevocation => Reason::PossibleRevocation,
        SuppressionBasis::PlatformStop => Reason::PlatformStopped,
        SuppressionBasis::Objection
        | SuppressionBasis::NationalRegistry
        | SuppressionBasis::ReassignedNumber
        | SuppressionBasis::Complaint
        | SuppressionBasis::CourtOrder
        | SuppressionBasis::WrongNumber => Reason::Suppressed,
    }
}

/// Whether the person made it, or it was taken for the person's.
const fn by_person(basis: SuppressionBasis) -> bool {
    basis.is_made_by_subject() || matches!(basis, SuppressionBasis::PossibleRevocation)
}
