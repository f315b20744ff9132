//! Steps 10 to 12 in words: whether the policy knows the place, what WhatsApp does not deliver, and
//! when and how often one may write.

use super::{Teller, Told, sources, words};
use crate::domain::decide::timing::{CapUsed, HORIZON};
use crate::domain::facts::Failed;
use crate::domain::hours::{Clocks, Opening};
use crate::domain::policy::{PlatformRule, Requirements};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, FailureKind, MessageClass};

const ANY_TIME: &str = "A message of this class may be sent at any time, and counts for no limit.";

impl<'a> Teller<'a> {
    pub(super) fn policy(&self) -> Told {
        let places = &self.case.question.place.jurisdictions;
        let at = words::at(self.case.at);
        let known = match places.as_slice() {
            [] => "Where the person is cannot be told from the address".to_owned(),
            places => format!(
                "By the address the person may be in {}",
                words::listed(places.iter().map(ToString::to_string))
            ),
        };
        if self.case.requirements(None).is_none() {
            return Told::failed(
                format!("{known}. The policy has no entry that holds there on {at}."),
                "The policy file gets an entry that holds then.",
            );
        }
        let entries = self.entries(None);
        let applied = words::listed(entries.iter().map(|(code, _)| code.to_string()));
        let mut detail = format!("{known}. Entries of the policy that apply there: {applied}.");
        let stated = self
            .best
            .as_ref()
            .and_then(|best| best.grant.jurisdiction.as_ref());
        // What the number says, too, need not be said twice.
        if let Some(stated) = stated.filter(|stated| *places != [*(*stated)]) {
            let lives = format!(
                "The consent is judged by where its own record says the person lives: {stated}."
            );
            words::add(&mut detail, &lives);
        }
        Told::passed(detail).by(self.cited(None, |_| true))
    }

    fn prohibitions(&self) -> impl Iterator<Item = &'a PlatformRule> {
        let case = self.case;
        let places = &case.question.place.jurisdictions;
        case.rules.policy.platform.iter().filter(move |rule| {
            let there = places
                .iter()
                .any(|place| place.country() == rule.country.country());
            there && rule.holds(case.at) && rule.classes.contains(&case.question.class)
        })
    }

    pub(super) fn prohibited(&self) -> Vec<Told> {
        let class = self.case.question.class;
        let told = self.prohibitions().map(|rule| {
            let country = &rule.country;
            let since = words::at(rule.effective_from);
            let ends = match rule.effective_to {
                Some(end) => format!("Wait until {}.", words::until(end)),
                None => "WhatsApp delivers them again, and the policy file says so.".to_owned(),
            };
            let detail = format!(
                "WhatsApp has not delivered {class} messages to numbers of {country} since {since}."
            );
            let remedy = format!("{ends} A message of another class is judged by its own rules.");
            Told::failed(detail, remedy).by(vec![sources::cite_platform(class, rule)])
        });
        told.collect()
    }

    pub(super) fn platform(&self) -> Told {
        let class = self.case.question.class;
        Told::passed(format!(
            "No rule of WhatsApp's against {class} is known there."
        ))
    }

    fn failures(&self, kind: FailureKind) -> Option<&'a Failed> {
        let mut failures = self.case.facts.failures.iter();
        failures.find(|failed| failed.kind == kind)
    }

    pub(super) fn reachability(&self) -> Told {
        match self.case.question.class {
            MessageClass::Service | MessageClass::OptOutConfirmation => {
                return Told::not_applicable("This message answers somebody who just wrote.");
            }
            MessageClass::Marketing
            | MessageClass::Utility
            | MessageClass::Authentication
            | MessageClass::ConsentRequest => {}
        }
        let until = self.case.facts.unreachable_until();
        let Some(end) = until.filter(|end| self.case.at < *end) else {
            return Told::passed("No run of failed deliveries is on record.");
        };
        let end = words::until(end);
        let told = Told::failed(
            format!(
                "The last deliveries failed one after the other, so the address counts as not \
                 reachable until {end}. That is no opt-out."
            ),
            format!("Wait until {end}, or the person writes or calls."),
        );
        self.on_failure(told, FailureKind::Undeliverable)
    }

    fn on_failure(&self, told: Told, kind: FailureKind) -> Told {
        match self.failures(kind).and_then(|failed| failed.marks.first()) {
            Some(mark) => told.on(mark.event_id),
            None => told,
        }
    }

    pub(super) fn sending_hours(&self) -> Told {
        if !self.case.is_timed() {
            return Told::not_applicable(ANY_TIME);
        }
        let grant = self.carrier();
        let required = self.case.requirements(grant);
        let Some(hours) = required.as_ref().and_then(|r| r.sending_hours.as_ref()) else {
            return Told::passed("No sending hours are set there.");
        };
        let zones = self.case.zones(grant);
        let answer = hours.opening(zones, self.case.at);
        let local = words::local_times(zones, self.case.at);
        let whose = match answer.clocks {
            Clocks::All => String::new(),
            Clocks::Widest(zone) => {
                format!(" The zones have no hour in common, so the clocks of {zone} count.")
            }
        };
        let hours = words::hours(hours);
        let said = format!("Where the person is, {local}. Hours: {hours}.{whose}");
        let told = match answer.opening {
            Opening::Open { until: Some(end) } => {
                Told::passed(format!("{said} They are open until {}.", words::until(end)))
            }
            Opening::Open { until: None } => Told::passed(said),
            Opening::Closed { until } => {
                let opens = match until {
                    Some(opens) => format!(" They open on {}.", words::until(opens)),
                    None => " They do not open.".to_owned(),
                };
                let remedy = match zones {
                    [] => {
                        "A consent that says where the person lives, or a default jurisdiction of \
                         the business, so that the time there is known."
                            .to_owned()
                    }
                    _ => self.waiting(until),
                };
                Told::failed(said + &opens, remedy)
            }
        };
        told.by(self.cited(grant, |r| r.sending_hours.is_some()))
    }

    /// What waiting helps: until the whole message is allowed, if it is deferred; else until this rule
    /// alone is met.
    fn waiting(&self, until: Option<Timestamp>) -> String {
        match (self.verdict.decision, self.verdict.not_before, until) {
            (Decision::Defer, Some(at), _) => format!("Ask again on {}.", words::until(at)),
            (_, _, Some(at)) if at <= self.case.at.plus(HORIZON) => {
                format!("Wait until {}.", words::until(at))
            }
            (_, _, _) => format!(
                "Within {} there is no time at which it is met.",
                words::lasting(HORIZON)
            ),
        }
    }

    pub(super) fn platform_limit(&self) -> Told {
        if self.case.question.class != MessageClass::Marketing {
            return Told::not_applicable("WhatsApp holds back marketing only.");
        }
        let until = self.case.facts.limited_until();
        let Some(end) = until.filter(|end| self.case.at < *end) else {
            return Told::passed("WhatsApp does not hold marketing to this person back.");
        };
        let told = Told::failed(
            format!(
                "WhatsApp held marketing to this person back, which counts until {}. That is no \
                 opt-out.",
                words::until(end)
            ),
            self.waiting(Some(end)),
        );
        self.on_failure(told, FailureKind::Limited)
            .by(vec![sources::PLATFORM_LIMIT.to_owned()])
    }

    pub(super) fn capped(&self) -> Vec<Told> {
        let caps = self.case.caps(self.carrier()).into_iter();
        caps.filter_map(|used| {
            let free = used.free_again?;
            let why = match used.all_counted {
                true => "That is as many as may be sent.",
                false => {
                    "So many messages of all kinds were sent that not all are known, and it counts \
                     as reached."
                }
            };
            let detail = format!("{} {why}", self.counted(&used));
            Some(Told::failed(detail, self.waiting(Some(free))).by(self.why_cap(&used)))
        })
        .collect()
    }

    pub(super) fn frequency_cap(&self) -> Told {
        if !self.case.is_timed() {
            return Told::not_applicable(ANY_TIME);
        }
        let caps = self.case.caps(self.carrier());
        if caps.is_empty() {
            return Told::passed("No limit is set on how often the person may be written to.");
        }
        let said: Vec<String> = caps.iter().map(|used| self.counted(used)).collect();
        Told::passed(said.join(" ")).by(caps.iter().flat_map(|used| self.why_cap(used)).collect())
    }

    fn counted(&self, used: &CapUsed) -> String {
        let what = match used.of_purpose {
            true => format!("`{}`", self.case.question.purpose.key),
            false => "marketing".to_owned(),
        };
        format!(
            "Within the {} the person was sent {} of {what}; {} may be.",
            words::last(used.cap.per()),
            words::counted(used.sent, "message"),
            used.cap.messages
        )
    }

    fn why_cap(&self, used: &CapUsed) -> Vec<String> {
        let names = |r: &Requirements| r.frequency_caps.contains(&used.cap);
        match used.of_purpose {
            true => vec![self.catalogue()],
            false => self.cited(self.carrier(), names),
        }
    }
}
