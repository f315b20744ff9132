//! The steps 5 to 9: which consents there are, what each of them lacks, and what may be asked.

use std::time::Duration;

use super::reading::{Consent, Time};
use super::{Carrier, Now, Step};
use crate::domain::address::Spelling;
use crate::domain::id::JurisdictionCode;
use crate::domain::policy::{Confirmation, Requirements};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, MessageClass, Reason};

impl<'a> Now<'a> {
    /// The consents that speak of the purpose, the sender and the spelling.
    pub(super) fn consents(&self) -> Vec<&'a Consent> {
        let case = self.case;
        let all: Vec<&Consent> = self
            .history
            .consents
            .iter()
            .filter(|c| c.purpose == case.purpose)
            .filter(|c| c.sender.is_none() || c.sender == case.sender)
            .filter(|c| twins(c.spelling, case.spelling))
            .filter(|c| self.history.is_left_of_erasures(c))
            .collect();
        let shadowed = |c: &Consent| all.iter().any(|other| other.shadows(c));
        let counting = all
            .iter()
            .filter(|c| !shadowed(c) && self.is_of_whoever_is_here(c));
        counting.copied().collect()
    }

    /// Given after the last person left this address; if given at a linked one, after that was last
    /// unlinked, and only while it is linked and nothing is in doubt.
    fn is_of_whoever_is_here(&self, consent: &Consent) -> bool {
        let history = self.history;
        let after = |time: &Time| consent.time.is_later_than(time, self.tolerance());
        let linked = consent.via.is_none_or(|other| {
            let mut ends = history.endings.iter().filter(|(id, _)| *id == other);
            self.is_linked(other)
                && ends.all(|(_, time)| after(time))
                && self.all_doubts().iter().all(Vec::is_empty)
        });
        history.departures.iter().all(after) && linked
    }

    /// Whether the person consented anew after all of these.
    pub(super) fn anew(&self, ends: &[Time]) -> bool {
        self.consents().iter().any(|c| self.outlives(c, ends))
    }

    /// "Only a new act of the person, later than it and not an import." Where one is required it has
    /// to be confirmed, or to wait for its confirmation if that is asked for; and for a message that
    /// needs no consent it has to be a good one.
    pub(super) fn outlives(&self, consent: &Consent, ends: &[Time]) -> bool {
        let settled = || match self.case.class {
            MessageClass::ConsentRequest => {
                consent.confirmed || !self.needs_confirmation(consent) || self.waits(consent)
            }
            _ if self.needs_consent() => consent.confirmed || !self.needs_confirmation(consent),
            _ => self.failing(consent).is_empty(),
        };
        let after = |end: &Time| consent.time.is_later_than(end, self.tolerance());
        ends.is_empty() || (consent.is_act_of_the_person() && ends.iter().all(after) && settled())
    }

    fn needs_consent(&self) -> bool {
        match self.case.class {
            MessageClass::Marketing => true,
            MessageClass::Utility | MessageClass::Authentication => self.purpose.consent_required,
            MessageClass::Service => !self.window_is_open(),
            MessageClass::ConsentRequest | MessageClass::OptOutConfirmation => false,
        }
    }

    /// Steps 5 to 9, for what neither asks nor answers.
    pub(super) fn by_consent(&self, standing: &[&'a Consent]) -> Step<Vec<Carrier<'a>>> {
        let failing: Vec<Vec<Reason>> = standing.iter().map(|c| self.failing(c)).collect();
        let given = || standing.iter().zip(&failing).filter(|(_, f)| f.is_empty());
        let needs_consent = self.needs_consent();
        if given().next().is_none() && needs_consent {
            // The consent that comes furthest in the order of the steps speaks for all.
            let furthest = failing.iter().map(|reasons| step(reasons[0])).max();
            let Some(furthest) = furthest else {
                return Err(vec![Reason::NoConsent]);
            };
            let first = failing.iter().map(|reasons| reasons[0]);
            return Err(first.filter(|reason| step(*reason) == furthest).collect());
        }
        if self.case.class == MessageClass::Service {
            return Err(vec![Reason::ServiceWindowClosed]);
        }
        // An act of the person before an import, then the strongest, then the latest.
        let rank = |c: &Consent| (!c.import, c.consent_type, c.time.at);
        let best = given().map(|(c, _)| rank(c)).max();
        let carrying = given().filter(|(c, _)| Some(rank(c)) == best);
        let carriers: Vec<Carrier<'a>> = carrying
            .map(|(c, _)| Carrier {
                reason: Reason::ConsentGiven,
                consent: Some(*c),
            })
            .collect();
        Ok(match carriers.is_empty() {
            true => vec![Carrier {
                reason: Reason::ConsentNotRequired,
                consent: None,
            }],
            false => carriers,
        })
    }

    /// "While a confirmation is pending that the person began, in an open window, or where the policy
    /// allows the n-th ask; where asking is itself commercial it needs a valid implied grant."
    pub(super) fn ask(&self, standing: &[&'a Consent]) -> Step<Vec<Carrier<'a>>> {
        let pending = standing
            .iter()
            .any(|c| c.is_act_of_the_person() && self.waits(c));
        let asking = self.required(None).asking;
        let asks = &self.history.asks;
        let last = asks.iter().map(|ask| ask.at).max();
        let rested = last.is_none_or(|last| last.plus(asking.cooldown) <= self.at);
        let carried = standing.iter().any(|c| self.failing(c).is_empty());
        let by_policy = u32::try_from(asks.len()).unwrap() < asking.max_total
            && rested
            && (carried || !asking.is_commercial);
        if pending || self.window_is_open() || by_policy {
            Ok(vec![Carrier {
                reason: Reason::ConsentRequestPermitted,
                consent: None,
            }])
        } else {
            Err(vec![Reason::AskLimit])
        }
    }

    /// For its confirmation: neither it nor a later consent to the same was confirmed yet.
    fn waits(&self, consent: &Consent) -> bool {
        let confirmed = |other: &Consent| {
            other.confirmed
                && (&other.purpose, &other.sender) == (&consent.purpose, &consent.sender)
                && twins(other.spelling, consent.spelling)
                && other.time.at >= consent.time.at
        };
        self.failing(consent).contains(&Reason::ConfirmationPending)
            && !self.history.consents.iter().any(confirmed)
    }

    /// What holds for a record, or for the number: "what the record says beats the number's prefix";
    /// of several places the strictest; of none the business's own.
    pub(super) fn required(&self, consent: Option<&Consent>) -> Requirements {
        let stated = consent.and_then(|c| c.jurisdiction);
        let own = &self.case.rules.catalog.business.default_jurisdiction;
        let codes: Vec<Option<JurisdictionCode>> = match stated {
            Some(code) => vec![Some(code)],
            None if self.case.place.jurisdictions.is_empty() => vec![*own],
            None => {
                let known = self.case.place.jurisdictions.iter();
                known.cloned().map(Some).collect()
            }
        };
        let policy = &self.case.rules.policy;
        let each = codes.iter().map(|code| {
            let entry = policy.requirements(code.as_ref(), self.at);
            entry.expect("every policy here has a default").clone()
        });
        each.reduce(|a, b| a.strictest(&b))
            .expect("at least one code")
    }

    fn needs_confirmation(&self, consent: &Consent) -> bool {
        self.purpose.confirmation_required
            || self.required(Some(consent)).confirmation == Confirmation::Required
    }

    /// What a consent fails of the steps 6 to 8, in their order.
    fn failing(&self, consent: &Consent) -> Vec<Reason> {
        let at = self.at;
        let required = self.required(Some(consent));
        let mut failing = Vec::new();
        if self.needs_confirmation(consent) && !consent.confirmed {
            let waiting = at < consent.time.at.plus(required.confirmation_within);
            failing.push(if waiting {
                Reason::ConfirmationPending
            } else {
                Reason::ConfirmationRequired
            });
        }
        let own_end = self
            .purpose
            .validity_seconds
            .map(|s| consent.time.at.plus(Duration::from_secs(s)));
        let implied = consent
            .implied
            .filter(|_| consent.consent_type == ConsentType::Implied);
        let implied_term = implied.and_then(|i| required.implied_validity.get(&i.basis));
        let legal_end = match (implied, implied_term) {
            (Some(implied), Some(term)) => Some(implied.basis_time.plus(*term)),
            (Some(_), None) => None,
            (None, _) => required.validity.map(|term| consent.time.at.plus(term)),
        };
        if own_end.is_some_and(|end| end <= at) || legal_end.is_some_and(|end| end <= at) {
            failing.push(Reason::Expired);
        }
        let newest = |id: &crate::domain::id::NoticeId| {
            let notices = self.case.rules.catalog.notices.values();
            let versions = notices.filter(|notice| notice.name.notice_id == *id);
            versions.map(|notice| notice.processing_version).max()
        };
        let shown = consent.notice.as_ref();
        if shown.is_some_and(|(id, version)| newest(id) != Some(*version)) {
            failing.push(Reason::NoticeOutdated);
        }
        let accepted = &self.purpose.accepted_consent_types;
        let enough = consent.consent_type >= required.consent_type
            && accepted.contains(&consent.consent_type)
            && consent.evidence.missing(required.evidence).is_empty()
            && (implied.is_none() || implied_term.is_some());
        if !enough {
            failing.push(Reason::EvidenceIncomplete);
        }
        if self.case.class == MessageClass::Marketing && !self.is_looked_up(consent, &required) {
            failing.push(Reason::RegistryStale);
        }
        failing
    }

    /// Whether every registry that must have been asked said lately that it does not list the number.
    fn is_looked_up(&self, consent: &Consent, required: &Requirements) -> bool {
        required.registries.iter().all(|rule| {
            let needless = rule
                .unless_consent
                .is_some_and(|firm| consent.consent_type >= firm);
            let fresh = |asked: Timestamp| self.at < asked.plus(rule.max_age);
            needless
                || self.history.look_ups.iter().any(|found| {
                    !found.listed && found.registry == rule.registry && fresh(found.time.at)
                })
        })
    }
}

fn twins(given: Spelling, asked: Spelling) -> bool {
    let mexico = [Spelling::Mexico52, Spelling::Mexico521];
    let brazil = [Spelling::Brazil8, Spelling::Brazil9];
    given == asked
        || (mexico.contains(&given) && mexico.contains(&asked))
        || (brazil.contains(&given) && brazil.contains(&asked))
}

fn step(reason: Reason) -> u8 {
    match reason {
        Reason::ConfirmationPending | Reason::ConfirmationRequired => 6,
        Reason::Expired => 7,
        _ => 8,
    }
}
