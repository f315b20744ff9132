//! What the rules of consent say to a question, scanned from the stories: every step in its order, at one instant. The
//! last steps are in [`super::timing`].

use consentgate::grpc::proto::{ConsentType, Decision, MessageClass, Reason, SuppressionBasis};

use super::law::{self, CONFIRMED_WITHIN, DAY, Law, SECOND};
use super::purpose;
use super::story::{Bar, Consent, Ended, LookUp, Stop, Story};
use super::time::When;
use super::world::World;
use crate::random::acts::{Address, Scope};

/// One question about one person.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub to: &'a Address,
    pub purpose: &'static str,
    pub class: MessageClass,
    /// Empty: not said.
    pub sender: &'static str,
    pub at: i64,
}

/// What is right to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub decision: Decision,
    /// Each of these may be the first; the rules do not order them.
    pub reasons: Vec<Reason>,
    pub not_before: Option<i64>,
}

/// The consents that carry it, or why none does.
type Step<T> = Result<T, Vec<Reason>>;

impl World {
    pub fn answer(&self, asked: &Asked<'_>) -> Expected {
        let story = &self.stories[asked.to.person];
        let now = Now {
            story,
            asked: *asked,
            world: self,
        };
        let reasons = now.deciding();
        let decision = decision_of(reasons[0]);
        if decision != Decision::Defer {
            return Expected {
                decision,
                reasons,
                not_before: None,
            };
        }
        // A deferral is promised only where it comes true.
        for at in now.changes() {
            let then = Now {
                asked: Asked { at, ..*asked },
                ..now
            };
            let later = then.deciding();
            match decision_of(later[0]) {
                Decision::Allow => {
                    return Expected {
                        decision,
                        reasons,
                        not_before: Some(at),
                    };
                }
                Decision::Deny => {
                    return Expected {
                        decision: Decision::Deny,
                        reasons: later,
                        not_before: None,
                    };
                }
                _ => {}
            }
        }
        Expected {
            decision: Decision::Deny,
            reasons,
            not_before: None,
        }
    }

    /// The consents that wait for this confirmation, confirmed: "from the address that was asked, later than the
    /// request and before it expires".
    pub fn waiting(
        &self,
        to: &Address,
        purposes: &[&'static str],
        is_asked_by: &dyn Fn(&'static str) -> bool,
        at: i64,
        now: i64,
    ) -> Vec<Consent> {
        let story = &self.stories[to.person];
        let at = at.min(now);
        let waits = |consent: &&Consent| {
            let asked = Asked {
                to,
                purpose: consent.purpose,
                class: purpose::own_class(consent.purpose),
                sender: consent.sender,
                at,
            };
            let then = Now {
                story,
                asked,
                world: self,
            };
            let consents = then.consents();
            let stops = then.stops_by_class().map(|stop| stop.when);
            let stops: Vec<When> = stops.chain(story.erasures.iter().copied()).collect();
            consents.contains(consent)
                && !consent.is_confirmed
                && (purposes.is_empty() || purposes.contains(&consent.purpose))
                && is_asked_by(consent.sender)
                && at > consent.when.at
                && at < consent.when.at + CONFIRMED_WITHIN
                && (stops.is_empty() || consent.is_by_the_person())
                && stops.iter().all(|stop| consent.when.is_after(*stop))
                && then.is_pending(consent)
        };
        let waiting = story.consents.iter().filter(waits);
        waiting
            .map(|consent| Consent {
                is_confirmed: true,
                via: None,
                spelling: to.spelling,
                ..consent.clone()
            })
            .collect()
    }
}

pub fn decision_of(reason: Reason) -> Decision {
    match reason {
        Reason::ConsentGiven
        | Reason::ConsentNotRequired
        | Reason::ServiceWindowOpen
        | Reason::ConsentRequestPermitted
        | Reason::OptOutConfirmationPermitted => Decision::Allow,
        Reason::QuietHours | Reason::FrequencyCap | Reason::PlatformLimited => Decision::Defer,
        _ => Decision::Deny,
    }
}

fn unless(reasons: Vec<Reason>) -> Step<()> {
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(reasons),
    }
}

#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    world: &'a World,
    pub(super) story: &'a Story,
    pub(super) asked: Asked<'a>,
}

impl<'a> Now<'a> {
    fn deciding(&self) -> Vec<Reason> {
        match self.carried() {
            Err(reasons) => reasons,
            Ok((reason, carrier)) => match self.deferred(carrier) {
                deferred if deferred.is_empty() => vec![reason],
                deferred => deferred,
            },
        }
    }

    /// Steps 1 to 10.
    fn carried(&self) -> Step<(Reason, Option<&'a Consent>)> {
        unless(match self.asked.sender == "1009" {
            true => vec![Reason::SenderHeld],
            false => Vec::new(),
        })?;
        unless(self.suppressed())?;
        unless(self.restricted())?;
        unless(self.possibly_revoked())?;
        let doubts = self.doubts();
        unless(match doubts.is_empty() || self.is_settled(&doubts) {
            true => Vec::new(),
            false => vec![Reason::IdentityUnverified],
        })?;
        let ended = self.ended();
        let all = self.consents();
        let standing: Vec<&Consent> = all
            .into_iter()
            .filter(|consent| ended.is_empty() || self.outlives(consent, &ended))
            .collect();
        if !ended.is_empty() && standing.is_empty() {
            return Err(vec![Reason::NoConsent]);
        }
        let carried = match self.asked.class {
            MessageClass::ConsentRequest => self.asking(&standing),
            MessageClass::OptOutConfirmation => match self.opt_out() {
                Some(_) => Ok((Reason::OptOutConfirmationPermitted, None)),
                None => Err(vec![Reason::NoConsent]),
            },
            MessageClass::Service if self.window_is_open() => Ok((Reason::ServiceWindowOpen, None)),
            _ => self.by_consent(&standing),
        }?;
        unless(self.unreachable())?;
        Ok(carried)
    }

    /// Those that speak of the purpose, the sender and the spelling; the newest of each kind.
    fn consents(&self) -> Vec<&'a Consent> {
        let asked = &self.asked;
        let all: Vec<&Consent> = self
            .story
            .consents
            .iter()
            .filter(|one| one.purpose == asked.purpose)
            .filter(|one| one.sender.is_empty() || one.sender == asked.sender)
            .filter(|one| purpose::twins(one.spelling, asked.to.spelling))
            .collect();
        let newest = all.iter().filter(|one| {
            !all.iter().any(|other| one.is_replaced_by(other))
                && self.story.is_of_whoever_is_here(one)
        });
        newest.copied().collect()
    }

    pub(super) fn law(&self, consent: Option<&Consent>) -> &'static Law {
        law::of(consent.map_or(self.asked.to.country, |one| one.country))
    }

    /// "Only a new act of the person, later than it and not an import", and confirmed where that is needed.
    fn outlives(&self, consent: &Consent, ends: &[When]) -> bool {
        let failing = self.failing(consent);
        let unconfirmed = failing.iter().any(|reason| {
            matches!(
                reason,
                Reason::ConfirmationPending | Reason::ConfirmationRequired
            )
        });
        let settled = match self.asked.class {
            MessageClass::ConsentRequest => !unconfirmed || self.is_pending(consent),
            _ if self.needs_consent() => !unconfirmed,
            _ => failing.is_empty(),
        };
        consent.is_by_the_person() && settled && ends.iter().all(|end| consent.when.is_after(*end))
    }

    fn is_settled(&self, ends: &[When]) -> bool {
        let consents = self.consents();
        consents
            .into_iter()
            .any(|consent| self.outlives(consent, ends))
    }

    fn needs_consent(&self) -> bool {
        match self.asked.class {
            MessageClass::Marketing => true,
            MessageClass::Utility | MessageClass::Authentication => {
                !purpose::needs_no_consent(self.asked.purpose)
            }
            MessageClass::Service => !self.window_is_open(),
            _ => false,
        }
    }

    /// What it fails of the steps 6 to 8, in their order.
    fn failing(&self, consent: &Consent) -> Vec<Reason> {
        let (law, at) = (self.law(Some(consent)), self.asked.at);
        let mut failing = Vec::new();
        if law.is_confirmed && !consent.is_confirmed {
            failing.push(match at < consent.when.at + CONFIRMED_WITHIN {
                true => Reason::ConfirmationPending,
                false => Reason::ConfirmationRequired,
            });
        }
        if self.ends(consent).into_iter().any(|end| end <= at) {
            failing.push(Reason::Expired);
        }
        let implied_here = consent
            .implied
            .is_none_or(|(basis, _)| law.implied_days.iter().any(|(known, _)| *known == basis));
        let firmness = |firm: ConsentType| match firm {
            ConsentType::ExplicitlyExpressed => 3,
            ConsentType::Expressed => 2,
            _ => 1,
        };
        let suffices = firmness(consent.firm) >= firmness(law.weakest)
            && purpose::accepts(consent.purpose, consent.firm)
            && (consent.whatsapp_named || !law.names_whatsapp)
            && implied_here;
        if !suffices {
            failing.push(Reason::EvidenceIncomplete);
        }
        let is_fresh = |(registry, days): &(&str, i64)| {
            self.story.look_ups.iter().any(|found| {
                !found.is_listed && found.registry == *registry && at < found.when.at + days * DAY
            })
        };
        if self.asked.class == MessageClass::Marketing && !law.registries.iter().all(is_fresh) {
            failing.push(Reason::RegistryStale);
        }
        failing
    }

    /// Waits for its confirmation: neither it nor a later consent to the same has one.
    fn is_pending(&self, consent: &Consent) -> bool {
        let confirmed = |other: &Consent| {
            other.is_confirmed
                && (other.purpose, other.sender) == (consent.purpose, consent.sender)
                && purpose::twins(other.spelling, consent.spelling)
                && other.when.at >= consent.when.at
        };
        self.failing(consent).first() == Some(&Reason::ConfirmationPending)
            && !self.story.consents.iter().any(confirmed)
    }

    pub(super) fn ends(&self, consent: &Consent) -> Vec<i64> {
        let law = self.law(Some(consent));
        let own = purpose::valid_days(consent.purpose).map(|days| consent.when.at + days * DAY);
        let by_law = match consent.implied {
            Some((basis, since)) => {
                let term = law.implied_days.iter().find(|(known, _)| *known == basis);
                term.map(|(_, days)| since + days * DAY)
            }
            None => law.valid_days.map(|days| consent.when.at + days * DAY),
        };
        own.into_iter().chain(by_law).collect()
    }

    fn by_consent(&self, standing: &[&'a Consent]) -> Step<(Reason, Option<&'a Consent>)> {
        let failing = |consent: &&&'a Consent| self.failing(consent);
        let given = standing.iter().filter(|one| failing(one).is_empty());
        let rank = |one: &Consent| {
            (
                !one.is_import,
                one.firm != ConsentType::Expressed,
                one.when.at,
            )
        };
        let best = given.max_by_key(|one| rank(one));
        if best.is_none() && self.needs_consent() {
            let firsts: Vec<Reason> = standing.iter().map(|one| failing(&one)[0]).collect();
            let Some(furthest) = firsts.iter().map(|reason| step(*reason)).max() else {
                return Err(vec![Reason::NoConsent]);
            };
            return Err(firsts
                .into_iter()
                .filter(|one| step(*one) == furthest)
                .collect());
        }
        if self.asked.class == MessageClass::Service {
            return Err(vec![Reason::ServiceWindowClosed]);
        }
        Ok(match best {
            Some(best) => (Reason::ConsentGiven, Some(*best)),
            None => (Reason::ConsentNotRequired, None),
        })
    }

    /// "While a confirmation is pending that the person began, in an open window, or where the policy allows the n-th
    /// ask; where asking is itself commercial it needs a valid grant."
    fn asking(&self, standing: &[&'a Consent]) -> Step<(Reason, Option<&'a Consent>)> {
        let pending = standing
            .iter()
            .any(|one| one.is_by_the_person() && self.is_pending(one));
        let law = self.law(None);
        let asks = &self.story.asks;
        let rested = asks
            .iter()
            .all(|(when, _)| when.at + law.days_between_asks * DAY <= self.asked.at);
        let carried = standing.iter().any(|one| self.failing(one).is_empty());
        let by_law = asks.len() < law.asks && rested && (carried || !law.asking_is_commercial);
        match pending || self.window_is_open() || by_law {
            true => Ok((Reason::ConsentRequestPermitted, None)),
            false => Err(vec![Reason::AskLimit]),
        }
    }

    fn covers_sender(&self, narrowed: &str) -> bool {
        narrowed.is_empty() || self.asked.sender.is_empty() || narrowed == self.asked.sender
    }

    /// The suppressions that hold and cover the question.
    fn bars(&self) -> impl Iterator<Item = &'a Bar> {
        let now = *self;
        self.story.bars.iter().filter(move |bar| {
            let in_scope = bar.scope == Scope::Everything
                || purpose::covers(&bar.scope, now.asked.purpose, now.asked.class);
            // The business that reads a STOP widely reads WhatsApp's own so, too.
            let for_all = bar.basis == SuppressionBasis::PlatformStop && now.world.business == 0;
            let ended = bar.until.is_some_and(|until| until <= now.asked.at);
            let lifted = now.story.lifts.iter().any(|lift| bar.is_lifted_by(lift));
            let by_person = matches!(
                bar.basis,
                SuppressionBasis::Objection
                    | SuppressionBasis::Complaint
                    | SuppressionBasis::PlatformStop
                    | SuppressionBasis::PossibleRevocation
            );
            in_scope
                && (for_all || now.covers_sender(bar.sender))
                && !ended
                && !lifted
                && !(by_person && now.is_confirmed_by(bar.when))
        })
    }

    fn suppressed(&self) -> Vec<Reason> {
        let barring = self.bars().filter(|bar| match bar.basis {
            SuppressionBasis::PossibleRevocation => false,
            SuppressionBasis::ReassignedNumber | SuppressionBasis::WrongNumber => {
                !self.is_settled(&[bar.when])
            }
            _ => true,
        });
        let reasons = barring.map(|bar| match bar.basis {
            SuppressionBasis::PlatformStop => Reason::PlatformStopped,
            _ => Reason::Suppressed,
        });
        let listed = self
            .story
            .listings()
            .filter(|found| match is_of_reassigned(found) {
                true => !self.is_settled(&[found.when]),
                false => purpose::covers(&Scope::Marketing, self.asked.purpose, self.asked.class),
            });
        reasons.chain(listed.map(|_| Reason::Suppressed)).collect()
    }

    fn stops(&self) -> impl Iterator<Item = &'a Stop> {
        let now = *self;
        self.story.stops.iter().filter(move |stop| {
            let reopened = stop.scope == Scope::Everything
                && now.asked.class == MessageClass::Service
                && now.window_is_open()
                && now
                    .last_written()
                    .is_some_and(|written| written > stop.when.at);
            purpose::covers(&stop.scope, now.asked.purpose, now.asked.class)
                && now.covers_sender(stop.sender)
                && !reopened
                && !(stop.is_by_the_person() && now.is_confirmed_by(stop.when))
        })
    }

    /// As they end a consent itself, whatever message is asked for.
    fn stops_by_class(&self) -> impl Iterator<Item = &'a Stop> {
        let asked = self.asked;
        self.story.stops.iter().filter(move |stop| {
            let narrowed = stop.sender.is_empty() || asked.sender.is_empty();
            purpose::covers(
                &stop.scope,
                asked.purpose,
                purpose::own_class(asked.purpose),
            ) && (narrowed || stop.sender == asked.sender)
        })
    }

    fn restricted(&self) -> Vec<Reason> {
        let stops: Vec<&Stop> = self.stops().collect();
        let times: Vec<When> = stops.iter().map(|stop| stop.when).collect();
        if stops.is_empty() || self.is_settled(&times) {
            return Vec::new();
        }
        let latest = times.iter().map(|when| when.at).max();
        let deciding = stops.iter().filter(|stop| Some(stop.when.at) == latest);
        deciding
            .map(|stop| match stop.how {
                Ended::Withdrawn => Reason::Withdrawn,
                Ended::Refused => Reason::Refused,
                Ended::Revoked => Reason::Revoked,
                Ended::Invalidated => Reason::Invalidated,
            })
            .collect()
    }

    fn possibly_revoked(&self) -> Vec<Reason> {
        let mut doubts = self
            .bars()
            .filter(|bar| bar.basis == SuppressionBasis::PossibleRevocation);
        match doubts.any(|bar| !self.is_settled(&[bar.when])) {
            true => vec![Reason::PossibleRevocation],
            false => Vec::new(),
        }
    }

    fn last_written(&self) -> Option<i64> {
        let written = self.story.messages();
        let here = written.filter(|(sender, _)| !sender.is_empty() && *sender == self.asked.sender);
        here.map(|(_, at)| *at).max()
    }

    fn window_is_open(&self) -> bool {
        self.last_written()
            .is_some_and(|at| self.asked.at < at + DAY)
    }

    /// Whoever wrote since then may be answered, whoever that is.
    fn doubts(&self) -> Vec<When> {
        let (conflicts, keys) = (self.story.conflicts(), self.story.changed_keys());
        let answers = self.asked.class == MessageClass::Service
            && self.window_is_open()
            && self.last_written().is_some_and(|written| {
                let of_its_second = written.div_euclid(SECOND) * SECOND + SECOND - 1;
                conflicts.iter().all(|doubt| of_its_second >= doubt.at)
                    && keys.iter().all(|doubt| written > doubt.at)
            });
        match answers {
            true => Vec::new(),
            false => [conflicts, keys].concat(),
        }
    }

    /// "Every check is denied from now on until the person consents anew; SERVICE also until the person writes again."
    fn erased(&self) -> Vec<When> {
        let answers = self.asked.class == MessageClass::Service && self.window_is_open();
        let written = self.last_written().filter(|_| answers);
        let erasures = self.story.erasures.iter().copied();
        erasures
            .filter(|erasure| written.is_none_or(|written| written <= erasure.at))
            .collect()
    }

    /// All that a consent must come after.
    fn ended(&self) -> Vec<When> {
        let voiding = self.bars().filter(|bar| {
            matches!(
                bar.basis,
                SuppressionBasis::ReassignedNumber
                    | SuppressionBasis::WrongNumber
                    | SuppressionBasis::PossibleRevocation
            )
        });
        let reassigned = self
            .story
            .listings()
            .filter(|found| is_of_reassigned(found));
        let stops = self.stops().map(|stop| stop.when);
        stops
            .chain(self.erased())
            .chain(voiding.map(|bar| bar.when))
            .chain(reassigned.map(|found| found.when))
            .chain(self.doubts())
            .collect()
    }

    /// The opt-out that reached this very sender as a message less than five minutes ago.
    fn opt_out(&self) -> Option<&'a Stop> {
        let stops = &self.story.stops;
        let second = |stop: &Stop| stop.when.at.div_euclid(SECOND) * SECOND;
        let recent = stops.iter().filter(|stop| {
            !self.asked.sender.is_empty()
                && stop.heard_by == self.asked.sender
                && stop.is_by_the_person()
                && second(stop) <= self.asked.at
                && self.asked.at < second(stop) + 300 * SECOND
                && !stops.iter().any(|other| stop.is_replaced_by(other))
        });
        recent.max_by_key(|stop| stop.when.at)
    }

    fn is_confirmed_by(&self, when: When) -> bool {
        self.asked.class == MessageClass::OptOutConfirmation
            && self.opt_out().is_some_and(|stop| when.at <= stop.when.at)
    }
}

/// Of the number as such, and not of people who want no advertising.
fn is_of_reassigned(found: &LookUp) -> bool {
    found.registry == "us-rnd"
}

fn step(reason: Reason) -> u8 {
    match reason {
        Reason::ConfirmationPending | Reason::ConfirmationRequired => 6,
        Reason::Expired => 7,
        _ => 8,
    }
}

/// The opt-out that a message of this kind would confirm now, by the command that made it.
pub fn confirmable(world: &World, asked: &Asked<'_>) -> Option<usize> {
    let now = Now {
        world,
        story: &world.stories[asked.to.person],
        asked: *asked,
    };
    now.opt_out().map(|stop| stop.id)
}
