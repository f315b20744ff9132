//! Steps 1 to 4 in words: held senders, suppressions, restrictions, and whose address it is.

use super::{Teller, Told, sources, words};
use crate::domain::decide::Finding;
use crate::domain::facts::{Consulted, Coverage, Grant, Lifted, Mark, Restricted, Suppressed};
use crate::domain::policy::{RegistryKind, Requirements};
use crate::domain::vocabulary::{
    ConsentType, MessageClass, Reason, RegistryResult, SuppressionBasis,
};

/// How many acts that do not stand in the way are told of.
const TOLD_OF: usize = 3;

impl<'a> Teller<'a> {
    pub(super) fn sender_held(&self) -> Told {
        let Some(id) = self.case.question.sender else {
            return Told::not_applicable("No sender is named.");
        };
        match self.case.rules.catalog.sender(id) {
            Some(sender) if sender.held => {
                let why = match sender.held_reason.as_str() {
                    "" => String::new(),
                    reason => format!(" The reason on record: \"{reason}\"."),
                };
                let detail = format!("The operator holds sender {id}.{why}");
                Told::failed(detail, "The operator releases the sender (UpdateSender).")
            }
            Some(_) | None => Told::passed(format!("The operator does not hold sender {id}.")),
        }
    }

    /// The suppressions and listings that give this reason, one each.
    pub(super) fn suppressing(&self, reason: Reason) -> Vec<Told> {
        let barring = self.case.barring_suppressions();
        let suppressions = barring
            .filter(|(gives, _)| *gives == reason)
            .map(|(_, suppressed)| self.suppression(suppressed));
        let listings = self
            .case
            .barring_listings()
            .filter(|_| reason == Reason::Suppressed)
            .map(|listed| self.listing(listed));
        suppressions.chain(listings).collect()
    }

    fn suppression(&self, suppressed: &Suppressed) -> Told {
        let mut detail = format!("{}.", what_is_suppressed(suppressed));
        let business = &self.case.rules.catalog.business;
        if suppressed.basis == SuppressionBasis::PlatformStop
            && suppressed.sender.is_some()
            && suppressed.sender.as_ref() != self.case.question.sender
            && business.opt_out_scope.is_business_wide()
        {
            let setting = "By the business's setting it counts for all its senders.";
            words::add(&mut detail, setting);
        }
        let since = self.later_than(&suppressed.mark);
        let by_itself = match suppressed.until {
            Some(end) => format!(" It ends by itself on {}.", words::until(end)),
            None => String::new(),
        };
        let remedy = match suppressed.basis {
            SuppressionBasis::Objection | SuppressionBasis::Complaint => format!(
                "Only the person can lift it: by an explicit act {since}, which LiftSuppression \
                 records with what proves it. Lifting is no consent."
            ),
            SuppressionBasis::PlatformStop => {
                "Only the person can lift it: by resuming the business's messages in WhatsApp. \
                 A new consent does not."
                    .to_owned()
            }
            SuppressionBasis::NationalRegistry => {
                "The registry no longer lists the number, and LiftSuppression records it."
                    .to_owned()
            }
            SuppressionBasis::CourtOrder => {
                "The order is lifted, and LiftSuppression records it.".to_owned()
            }
            SuppressionBasis::ReassignedNumber | SuppressionBasis::WrongNumber => format!(
                "A new consent {since} by whoever has the number now. What was consented to before \
                 is void."
            ),
            SuppressionBasis::PossibleRevocation => format!(
                "A human reads the message. A new consent by the person {since} settles it; so does \
                 LiftSuppression, if the message meant something else."
            ),
        };
        let sources = match suppressed.basis {
            SuppressionBasis::PlatformStop => vec![sources::PLATFORM_STOP.to_owned()],
            SuppressionBasis::Objection
            | SuppressionBasis::NationalRegistry
            | SuppressionBasis::ReassignedNumber
            | SuppressionBasis::Complaint
            | SuppressionBasis::CourtOrder
            | SuppressionBasis::WrongNumber
            | SuppressionBasis::PossibleRevocation => Vec::new(),
        };
        Told::failed(detail, remedy + &by_itself)
            .on(suppressed.mark.event_id)
            .by(sources)
    }

    fn listing(&self, listed: &Consulted) -> Told {
        let registry = &listed.registry;
        let on = words::at(listed.mark.at);
        let again = format!(
            "A later look-up that finds the number no longer listed in `{registry}`, recorded with \
             RecordRegistryCheck."
        );
        let (detail, remedy) = match self.case.rules.policy.registry_kind(registry) {
            Some(RegistryKind::ReassignedNumbers) => (
                format!("`{registry}` said on {on} that the number was given to somebody else."),
                format!(
                    "A new consent {} by whoever has the number now. {again}",
                    self.later_than(&listed.mark)
                ),
            ),
            Some(RegistryKind::DoNotContact) | None => {
                (format!("`{registry}` listed the number on {on}."), again)
            }
        };
        let names = |required: &Requirements| {
            let mut rules = required.registries.iter();
            rules.any(|rule| rule.registry == *registry)
        };
        Told::failed(detail, remedy)
            .on(listed.mark.event_id)
            .by(self.cited(None, names))
    }

    pub(super) fn not_suppressed(&self) -> Told {
        let facts = self.case.facts;
        let listed = facts.registries.iter();
        let listed = listed.filter(|consulted| consulted.result == RegistryResult::Listed);
        let (suppressions, listings) = (facts.suppressions.len(), listed.count());
        if suppressions + listings == 0 {
            return Told::passed("No suppression is on record.");
        }
        let mut newest: Vec<&Suppressed> = facts.suppressions.iter().collect();
        newest.sort_by_key(|suppressed| std::cmp::Reverse(suppressed.mark.at));
        let told = newest.iter().take(TOLD_OF).map(|suppressed| {
            let why = self.why_it_does_not_bar(suppressed);
            format!(" {}: {why}.", what_is_suppressed(suppressed))
        });
        let told: String = told.collect();
        let on_record = words::counted(suppressions + listings, "suppression");
        Told::passed(format!("{on_record} on record, none in the way.{told}"))
    }

    fn why_it_does_not_bar(&self, suppressed: &Suppressed) -> String {
        let tolerance = self.case.rules.clock_tolerance;
        let lifts = |lift: &&Lifted| {
            lift.basis == suppressed.basis
                && lift.coverage == suppressed.coverage
                && lift.sender == suppressed.sender
                && lift.mark.is_later_than(&suppressed.mark, tolerance)
        };
        let lift = self.case.facts.lifts.iter().find(lifts);
        match (lift, suppressed.until.filter(|end| self.case.at >= *end)) {
            (Some(lift), _) => format!("lifted on {}", words::at(lift.mark.at)),
            (None, Some(end)) => format!("ended on {}", words::at(end)),
            (None, None) if self.case.is_settled(suppressed) => {
                "settled by a later consent".to_owned()
            }
            (None, None) => "does not concern this message".to_owned(),
        }
    }

    /// The restrictions that give this reason, one each.
    pub(super) fn restricting(&self, finding: &Finding) -> Vec<Told> {
        let mut covering: Vec<&Restricted> = self
            .case
            .covering_restrictions()
            .filter(|restricted| Reason::from(restricted.kind) == finding.reason)
            .collect();
        covering.sort_by_key(|restricted| std::cmp::Reverse(restricted.mark.at));
        if covering.is_empty() {
            // It is overlooked, so that it can be confirmed, and was confirmed already.
            let restrictions = self.case.facts.restrictions.iter();
            let opt_out = restrictions.filter(|known| Some(known.mark.event_id) == finding.event);
            return opt_out.take(1).map(|known| self.confirmed(known)).collect();
        }
        covering
            .into_iter()
            .map(|restricted| self.restriction(restricted))
            .collect()
    }

    fn confirmed(&self, restricted: &Restricted) -> Told {
        let detail = format!(
            "{}. Its one confirmation was allowed already, to another request.",
            what_is_restricted(restricted)
        );
        let remedy = "Nothing that the business can do: an opt-out is confirmed once.";
        Told::failed(detail, remedy)
            .on(restricted.mark.event_id)
            .by(vec![sources::CONFIRMATION.to_owned()])
    }

    fn restriction(&self, restricted: &Restricted) -> Told {
        let mark = &restricted.mark;
        let mut detail = format!("{}.", what_is_restricted(restricted));
        let vain: Vec<&Grant> = self
            .case
            .grants()
            .filter(|grant| grant.mark.at > mark.at && !self.case.outlives(grant, mark))
            .collect();
        if !vain.is_empty() {
            let vain = words::listed(vain.iter().map(|grant| self.in_vain(grant)));
            let told = format!("What is on record after it does not give consent again: {vain}.");
            words::add(&mut detail, &told);
        }
        let purpose = &self.case.question.purpose.key;
        let mut remedy = format!(
            "A new consent to `{purpose}` by the person, {}, neither imported nor implied. Nobody \
             else can give it.",
            self.later_than(mark)
        );
        let reply = self.case.question.class == MessageClass::Service
            && restricted.coverage == Coverage::Everything;
        if reply {
            let reply = "Or the person writes to or calls this sender, and is answered.";
            words::add(&mut remedy, reply);
        }
        Told::failed(detail, remedy).on(mark.event_id)
    }

    /// Why a later grant does not count against a restriction.
    fn in_vain(&self, grant: &Grant) -> String {
        let on = words::at(grant.mark.at);
        if grant.import {
            format!("an import of {on}")
        } else if grant.consent_type == ConsentType::Implied {
            format!("a consent of {on} that is implied only")
        } else if grant.confirmed_at.is_none() && self.case.needs_confirmation(grant) {
            format!("a consent of {on} that was not confirmed")
        } else {
            format!("a consent of {on} that is not clearly later, or not valid")
        }
    }

    pub(super) fn not_restricted(&self) -> Told {
        let covering: Vec<&Restricted> = self.case.covering_restrictions().collect();
        let latest = covering
            .iter()
            .max_by_key(|restricted| (restricted.mark.at, restricted.kind));
        let outlives_all = |grant: &&Grant| {
            covering
                .iter()
                .all(|restricted| self.case.outlives(grant, &restricted.mark))
        };
        let again = self.case.grants().filter(outlives_all);
        if let Some(latest) = latest
            && let Some(grant) = again.max_by_key(|grant| grant.mark.at)
        {
            let detail = format!(
                "{}. The person consented again on {}.",
                what_is_restricted(latest),
                words::at(grant.mark.at)
            );
            return Told::passed(detail).on(grant.mark.event_id);
        }
        let restrictions = &self.case.facts.restrictions;
        if restrictions.is_empty() {
            return Told::passed("No withdrawal, refusal or other end of a consent is on record.");
        }
        let mut newest: Vec<&Restricted> = restrictions.iter().collect();
        newest.sort_by_key(|restricted| std::cmp::Reverse(restricted.mark.at));
        let told = newest.iter().take(TOLD_OF);
        let told: String = told
            .map(|restricted| format!(" {}.", what_is_restricted(restricted)))
            .collect();
        let on_record = words::counted(restrictions.len(), "opt-out");
        Told::passed(format!(
            "{on_record} on record, none in the way of this message.{told}"
        ))
    }

    pub(super) fn identity(&self) -> Told {
        let Some(doubt) = self.case.facts.doubt() else {
            return Told::passed("Nothing suggests that the address changed hands.");
        };
        let doubts: Vec<&Mark> = self.case.doubts().collect();
        let settles = |grant: &&'a Grant| doubts.iter().all(|mark| self.case.outlives(grant, mark));
        let Some(latest) = doubts.iter().max_by_key(|mark| mark.at) else {
            return Told::passed(format!(
                "Since {} it is in doubt whose the address is; this message answers whoever wrote \
                 from it since.",
                words::at(doubt.at)
            ))
            .on(doubt.event_id);
        };
        let since = words::at(latest.at);
        let told = if self.case.grants().any(|grant| settles(&grant)) {
            Told::passed(format!(
                "Since {since} it was in doubt whose the address is; a later consent settles it."
            ))
        } else {
            Told::failed(
                format!(
                    "Since {since} it is in doubt whose the address is: WhatsApp named it together \
                     with another identity, or its device's keys changed, and no change of number \
                     was announced."
                ),
                format!(
                    "A new consent from this address, {}, neither imported nor implied.",
                    self.later_than(latest)
                ),
            )
        };
        told.on(latest.event_id)
    }

    /// From when on a new act counts against this one.
    pub(super) fn later_than(&self, mark: &Mark) -> String {
        format!(
            "later than {} (by more than {} if another clock times it)",
            words::at(mark.at),
            words::lasting(self.case.rules.clock_tolerance)
        )
    }
}

fn what_is_suppressed(suppressed: &Suppressed) -> String {
    format!(
        "{} on {}: suppressed for {}, {}",
        words::suppressed(suppressed.basis),
        words::at(suppressed.mark.at),
        words::coverage(&suppressed.coverage),
        words::from_sender(suppressed.sender.as_ref())
    )
}

fn what_is_restricted(restricted: &Restricted) -> String {
    format!(
        "{} on {}: {}, {}",
        words::ended(restricted.kind),
        words::at(restricted.mark.at),
        words::coverage(&restricted.coverage),
        words::from_sender(restricted.sender.as_ref())
    )
}
