//! Steps 5 to 8 in words: the consent that speaks of a message, and what it lacks.

use super::{Teller, Told, words};
use crate::domain::decide::Judged;
use crate::domain::decide::grant::{implied_counts, last_cleared, law_ends, must_consult};
use crate::domain::facts::Grant;
use crate::domain::policy::{Confirmation, RegistryRule, Requirements};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{ConsentType, EvidenceFields, MessageClass};

const NOTHING_TO_JUDGE: &str = "There is no consent to judge.";

impl<'a> Teller<'a> {
    /// Why no consent is asked for; `None` if one is, or one carries the message all the same.
    fn needs_none(&self) -> Option<String> {
        let purpose = &self.case.question.purpose.key;
        let said = match self.case.question.class {
            MessageClass::ConsentRequest => {
                "Asking for a consent needs none of its own kind.".to_owned()
            }
            MessageClass::OptOutConfirmation => {
                "Confirming an opt-out needs no consent.".to_owned()
            }
            MessageClass::Service => "A reply in the service window needs no consent.".to_owned(),
            MessageClass::Utility | MessageClass::Authentication => {
                format!("The business says that `{purpose}` needs no consent.")
            }
            MessageClass::Marketing => "Marketing needs a consent.".to_owned(),
        };
        (!self.case.needs_grant() && self.carrier().is_none()).then_some(said)
    }

    /// The consent to judge, or what to say where there is none.
    fn judged(&self) -> Result<&Judged<'a>, Told> {
        if let Some(said) = self.needs_none() {
            return Err(Told::not_applicable(said));
        }
        let none = || Told::not_applicable(NOTHING_TO_JUDGE);
        self.best.as_ref().ok_or_else(none)
    }

    pub(super) fn consent(&self) -> Told {
        if let Some(said) = self.needs_none() {
            return match self.case.question.class {
                // A rule of the purpose, which may be what allows.
                MessageClass::Utility | MessageClass::Authentication => {
                    Told::passed(said).by(vec![self.catalogue()])
                }
                MessageClass::Marketing
                | MessageClass::Service
                | MessageClass::ConsentRequest
                | MessageClass::OptOutConfirmation => Told::not_applicable(said),
            };
        }
        let Some(best) = &self.best else {
            return Told::not_applicable(NOTHING_TO_JUDGE);
        };
        let mut detail = words::consent(best.grant);
        if let Some(code) = &best.grant.jurisdiction {
            let lives = format!("By the record the person lives in {code}.");
            words::add(&mut detail, &lives);
        }
        Told::passed(detail)
            .on(best.grant.mark.event_id)
            .by(self.why_consent(Some(best.grant)))
    }

    /// What demands a consent.
    fn why_consent(&self, grant: Option<&Grant>) -> Vec<String> {
        match self.case.question.class {
            MessageClass::Marketing => self.cited(grant, |_| true),
            MessageClass::Utility | MessageClass::Authentication => vec![self.catalogue()],
            MessageClass::Service
            | MessageClass::ConsentRequest
            | MessageClass::OptOutConfirmation => Vec::new(),
        }
    }

    /// Several things ended earlier consent, and each was followed by some consent, but none by one
    /// that came after all of them: possible where clocks differ.
    pub(super) fn none_after_all(&self) -> Told {
        let mut ended: Vec<Timestamp> = self.case.voiding_marks().iter().map(|m| m.at).collect();
        ended.sort();
        let ended = words::listed(ended.into_iter().map(words::at));
        let tolerance = words::lasting(self.case.rules.clock_tolerance);
        Told::failed(
            format!(
                "Earlier consent was ended or put in doubt on {ended}. No single consent came after \
                 all of that; against the time of another clock it must be later by more than \
                 {tolerance}."
            ),
            format!(
                "A new consent to `{}` by the person, neither imported nor implied. Nobody else can \
                 give it.",
                self.case.question.purpose.key
            ),
        )
    }

    /// The person's data were erased, which no consent came after.
    pub(super) fn erased(&self) -> Told {
        let mut erased: Vec<Timestamp> = self.case.erasures().map(|mark| mark.at).collect();
        erased.sort();
        let erased = words::listed(erased.into_iter().map(words::at));
        let tolerance = words::lasting(self.case.rules.clock_tolerance);
        Told::failed(
            format!(
                "The person's data were erased on {erased}. Nothing from before that permits a \
                 message, and no consent came after it; against the time of another clock it must \
                 be later by more than {tolerance}."
            ),
            format!(
                "A new consent to `{}` by the person, neither imported nor implied. Nobody else can \
                 give it.",
                self.case.question.purpose.key
            ),
        )
    }

    pub(super) fn no_consent(&self) -> Told {
        let purpose = self.case.question.purpose;
        let (until, counts_for) = (
            words::at(self.case.at),
            match self.case.question.sender {
                Some(_) => "this sender",
                None => "all senders",
            },
        );
        let mut detail = format!(
            "Up to {until} no consent to `{}` is on record that counts for {counts_for} and this \
             spelling of the address.",
            purpose.key
        );
        for near in self.near_misses() {
            words::add(&mut detail, &near);
        }
        let least = self.least(self.case.requirements(None).as_deref());
        let from = match self.case.question.sender {
            Some(sender) => format!("for all senders or for {sender}"),
            None => "for all senders".to_owned(),
        };
        let mut remedy = format!(
            "The person consents to `{}` ({least} at least) {from}, and RecordConsent records it \
             with what proves it.",
            purpose.key
        );
        if self.confirms_here() {
            let confirms = "The person then confirms it from the same address.";
            words::add(&mut remedy, confirms);
        }
        Told::failed(detail, remedy).by(self.why_consent(None))
    }

    /// The weakest consent that the place and the purpose accept.
    fn least(&self, required: Option<&Requirements>) -> ConsentType {
        let firmest = ConsentType::ExplicitlyExpressed;
        let accepted = &self.case.question.purpose.accepted_consent_types;
        let accepted = accepted.iter().min().copied().unwrap_or(firmest);
        required.map_or(firmest, |r| r.consent_type).max(accepted)
    }

    /// Whether a consent recorded for this place would need a confirmation.
    fn confirms_here(&self) -> bool {
        let requirements = self.case.requirements(None);
        self.case.question.purpose.confirmation_required
            || requirements.is_none_or(|r| r.confirmation == Confirmation::Required)
    }

    /// What is on record and is not this consent: the reason for most complaints about a denial.
    fn near_misses(&self) -> Vec<String> {
        let question = self.case.question;
        let facts = self.case.facts;
        let (same, other): (Vec<&Grant>, Vec<&Grant>) = facts
            .grants
            .iter()
            .partition(|grant| grant.purpose == question.purpose.key);
        let mut told: Vec<String> = same
            .into_iter()
            .map(|grant| self.near_miss(grant))
            .collect();
        let asked = facts
            .asks
            .iter()
            .filter(|ask| ask.purpose == question.purpose.key);
        told.extend(asked.filter_map(|ask| {
            let on = words::at(ask.latest()?.at);
            Some(match ask.deferred {
                true => format!("The person was asked and put it off on {on}."),
                false => format!("The person was asked on {on} and has not agreed since."),
            })
        }));
        let mut others: Vec<String> = other.iter().map(|g| format!("`{}`", g.purpose)).collect();
        others.sort();
        others.dedup();
        if !others.is_empty() {
            let others = words::listed(others);
            told.push(format!("There is a consent on record to {others}."));
        }
        told
    }

    fn near_miss(&self, grant: &Grant) -> String {
        let question = self.case.question;
        let said = words::consent(grant);
        if !grant.spelling.grants(question.spelling) {
            format!("{said} But that was for another spelling of the number.")
        } else if grant.sender.is_some() && grant.sender.as_ref() != question.sender {
            match question.sender {
                Some(_) => format!("{said} But that is not this sender."),
                None => format!("{said} But no sender is named."),
            }
        } else {
            format!(
                "{said} But that was before the address became this person's, or it is in doubt."
            )
        }
    }

    /// What the consent lacks, by what is required where the person is.
    fn lacks(&self, told: impl FnOnce(&Judged<'a>, &Requirements) -> Vec<Told>) -> Vec<Told> {
        let Some(best) = &self.best else {
            return Vec::new();
        };
        match self.case.requirements(Some(best.grant)) {
            Some(requirements) => told(best, &requirements),
            None => vec![self.no_entry(best.grant)],
        }
    }

    pub(super) fn not_confirmed(&self) -> Vec<Told> {
        self.lacks(|best, required| vec![self.unconfirmed(best.grant, required)])
    }

    pub(super) fn over(&self) -> Vec<Told> {
        self.lacks(|best, _| vec![self.expired(best)])
    }

    pub(super) fn changed(&self) -> Vec<Told> {
        self.lacks(|best, _| vec![self.outdated(best.grant)])
    }

    pub(super) fn not_enough(&self) -> Vec<Told> {
        self.lacks(|best, required| vec![self.insufficient(best.grant, required)])
    }

    pub(super) fn not_consulted(&self) -> Vec<Told> {
        self.lacks(|best, required| self.stale(best.grant, required))
    }

    fn no_entry(&self, grant: &Grant) -> Told {
        let codes = self.case.context();
        let codes = codes.codes(Some(grant)).iter();
        let places = words::listed(codes.map(ToString::to_string));
        let at = words::at(self.case.at);
        let detail = format!("No entry of the policy holds for {places} on {at}.");
        let remedy = "The policy file gets an entry that holds then.";
        Told::failed(detail, remedy).on(grant.mark.event_id)
    }

    pub(super) fn confirmation(&self) -> Told {
        let best = match self.judged() {
            Ok(best) => best,
            Err(told) => return told,
        };
        match best.grant.confirmed_at {
            Some(on) => Told::passed(format!("The person confirmed it on {}.", words::at(on)))
                .on(best.grant.mark.event_id)
                .by(self.why_confirmation(best.grant)),
            None => Told::not_applicable("It counts without a confirmation."),
        }
    }

    fn unconfirmed(&self, grant: &Grant, requirements: &Requirements) -> Told {
        let within = words::lasting(requirements.confirmation_within);
        let ends = grant.mark.at.plus(requirements.confirmation_within);
        let (given, end) = (words::at(grant.mark.at), words::until(ends));
        let told = if self.case.at < ends {
            Told::failed(
                format!("The consent of {given} still awaits its confirmation, until {end}."),
                format!(
                    "The person confirms it from the same address before {end}, and ConfirmConsent \
                     records it."
                ),
            )
        } else {
            Told::failed(
                format!("The consent of {given} was not confirmed within {within}, by {end}."),
                format!(
                    "The person consents anew and confirms it from the same address within {within}."
                ),
            )
        };
        told.on(grant.mark.event_id)
            .by(self.why_confirmation(grant))
    }

    fn why_confirmation(&self, grant: &Grant) -> Vec<String> {
        let own = self.case.question.purpose.confirmation_required;
        let requires = |r: &Requirements| r.confirmation == Confirmation::Required;
        let mut sources = self.cited(Some(grant), requires);
        sources.extend(own.then(|| self.catalogue()));
        sources
    }

    pub(super) fn expiry(&self) -> Told {
        let best = match self.judged() {
            Ok(best) => best,
            Err(told) => return told,
        };
        match best.expires_at {
            None => Told::passed("It does not end by time."),
            Some(end) => Told::passed(format!("It holds until {}.", words::until(end))),
        }
        .on(best.grant.mark.event_id)
        .by(self.why_expiry(best))
    }

    fn expired(&self, best: &Judged<'_>) -> Told {
        let grant = best.grant;
        let end = best.expires_at.map_or_else(String::new, words::until);
        let detail = format!("{} It ended on {end}.", words::consent(grant));
        let remedy = match grant.implied {
            Some(implied) if !grant.is_genuine_act() => format!(
                "A new consent by the person; or another {} from which one is implied.",
                implied.basis
            ),
            Some(_) | None => "A new consent by the person.".to_owned(),
        };
        Told::failed(detail, remedy)
            .on(grant.mark.event_id)
            .by(self.why_expiry(best))
    }

    fn why_expiry(&self, best: &Judged<'_>) -> Vec<String> {
        let Some(end) = best.expires_at else {
            return Vec::new();
        };
        let grant = best.grant;
        let mut sources = self.cited(Some(grant), |r| law_ends(grant, r) == Some(end));
        let own = self.case.question.purpose.validity();
        if own.is_some_and(|validity| grant.mark.at.plus(validity) == end) {
            sources.push(self.catalogue());
        }
        sources
    }

    pub(super) fn notice(&self) -> Told {
        let best = match self.judged() {
            Ok(best) => best,
            Err(told) => return told,
        };
        let Some(notice) = &best.grant.notice else {
            return Told::not_applicable("The consent names no notice.");
        };
        Told::passed(format!(
            "The processing that notice {notice} told of has not changed since."
        ))
    }

    fn outdated(&self, grant: &Grant) -> Told {
        let Some(notice) = &grant.notice else {
            return Told::failed(
                "The consent names no notice.",
                "A new consent by the person.",
            );
        };
        let catalog = &self.case.rules.catalog;
        let (shown, known) = (
            grant.processing_version,
            catalog.processing_version(&notice.notice_id),
        );
        let id = &notice.notice_id;
        let (detail, remedy) = match known {
            Some(now) => (
                format!(
                    "Notice {notice} told of processing version {shown}; notice {id} is at \
                     processing version {now}, so what the person agreed to is no longer what is done."
                ),
                format!(
                    "A new consent by the person, on a version of notice {id} with processing \
                     version {now}."
                ),
            ),
            None => (
                format!("The catalogue has no notice {id} any more."),
                "A new consent by the person, on a notice that the catalogue has.".to_owned(),
            ),
        };
        let source = format!("catalogue: notice {id}");
        Told::failed(detail, remedy)
            .on(grant.mark.event_id)
            .by(vec![source])
    }

    pub(super) fn evidence(&self) -> Told {
        let best = match self.judged() {
            Ok(best) => best,
            Err(told) => return told,
        };
        let grant = best.grant;
        let required = self.case.requirements(Some(grant));
        let fields = required.map_or_else(EvidenceFields::default, |r| r.evidence);
        let detail = match fields.is_empty() {
            true => format!("{} is firm enough.", grant.consent_type),
            false => format!(
                "{} is firm enough, and what must be on record is: {}.",
                grant.consent_type,
                names(fields)
            ),
        };
        Told::passed(detail)
            .on(grant.mark.event_id)
            .by(self.cited(Some(grant), |_| true))
    }

    fn insufficient(&self, grant: &Grant, required: &Requirements) -> Told {
        let (given, least) = (grant.consent_type, required.consent_type);
        let purpose = self.case.question.purpose;
        let missing = grant.evidence.missing(required.evidence);
        let accepted = purpose.accepted_consent_types.contains(&given);
        let counts = implied_counts(grant, required);
        let mut lacks = Vec::new();
        if given < least {
            lacks.push(format!(
                "The consent is {given}; there {least} is the least that counts."
            ));
        }
        if !accepted {
            lacks.push(format!(
                "`{}` does not accept a consent that is {given}.",
                purpose.key
            ));
        }
        if !counts {
            let basis = grant
                .implied
                .map_or("what is on record", |i| i.basis.word());
            lacks.push(format!("From {basis} no consent is implied there."));
        }
        if !missing.is_empty() {
            lacks.push(format!(
                "Not on record, though required: {}.",
                names(missing)
            ));
        }
        let fallen_short = |r: &Requirements| {
            given < r.consent_type
                || !implied_counts(grant, r)
                || !grant.evidence.missing(r.evidence).is_empty()
        };
        let mut sources = self.cited(Some(grant), fallen_short);
        sources.extend((!accepted).then(|| self.catalogue()));
        let enough = self.least(Some(required));
        let evidence = match required.evidence.is_empty() {
            true => String::new(),
            false => format!(", recorded with {}", names(required.evidence)),
        };
        let remedy = format!("A new consent by the person, {enough} at least{evidence}.");
        Told::failed(lacks.join(" "), remedy)
            .on(grant.mark.event_id)
            .by(sources)
    }

    pub(super) fn registry(&self) -> Told {
        if self.case.question.class != MessageClass::Marketing {
            return Told::not_applicable("Registries are consulted before marketing.");
        }
        let best = match self.judged() {
            Ok(best) => best,
            Err(told) => return told,
        };
        let Some(required) = self.case.requirements(Some(best.grant)) else {
            return Told::not_applicable(NOTHING_TO_JUDGE);
        };
        let rules: Vec<&RegistryRule> = must_consult(&required, best.grant).collect();
        let told = rules.iter().filter_map(|rule| {
            let cleared = last_cleared(self.case.facts, rule)?.at;
            let registry = &rule.registry;
            let (on, end) = (words::at(cleared), words::until(cleared.plus(rule.max_age)));
            Some(format!(
                "`{registry}` did not list the number on {on}, which counts until {end}."
            ))
        });
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => Told::not_applicable("No registry has to be consulted for this consent."),
            false => Told::passed(told.join(" ")),
        }
        .by(self.cited(Some(best.grant), |r| {
            rules.iter().any(|rule| {
                r.registries
                    .iter()
                    .any(|other| other.registry == rule.registry)
            })
        }))
    }

    fn stale(&self, grant: &Grant, required: &Requirements) -> Vec<Told> {
        let mut told = Vec::new();
        for rule in must_consult(required, grant) {
            let last = last_cleared(self.case.facts, rule).map(|mark| mark.at);
            if last.is_some_and(|last| self.case.at < last.plus(rule.max_age)) {
                continue;
            }
            let registry = &rule.registry;
            let age = words::last(rule.max_age);
            let last = match last {
                Some(last) => format!("was last found not to on {}", words::at(last)),
                None => "never was".to_owned(),
            };
            let detail = format!(
                "`{registry}` must have been found, within the {age}, not to list the number, and {last}."
            );
            let mut remedy = format!(
                "Look the number up in `{registry}` and record the answer with RecordRegistryCheck."
            );
            if let Some(firm) = rule.unless_consent {
                let firm = format!("A consent that is {firm} at least makes it needless.");
                words::add(&mut remedy, &firm);
            }
            let names = |r: &Requirements| r.registries.iter().any(|o| o.registry == *registry);
            told.push(
                Told::failed(detail, remedy)
                    .on(grant.mark.event_id)
                    .by(self.cited(Some(grant), names)),
            );
        }
        told
    }
}

fn names(fields: EvidenceFields) -> String {
    words::listed(fields.iter().map(|field| field.word().to_owned()))
}
