//! Everybody's stories, from the list of requests that were taken, read from its start.
//!
//! What was said of one address holds for those that are linked with it; that is all that happens here. What follows
//! from it is in [`super::answer`].

use consentgate::grpc::proto::{ConsentType, MessageClass, RegistryResult, SuppressionBasis};

use super::law::{self, DAY, SECOND};
use super::purpose::{self, class_of};
use super::story::{Bar, Consent, Ended, LookUp, Naming, Stop, Story};
use super::time::{Clock, When, at_by, moment, to_the_end, told};
use crate::random::acts::{ADDRESSES, Act, Address, By, Command, Give, Heard, PEOPLE, Scope};

/// A command that the server took, and what time it was there.
#[derive(Debug, Clone)]
pub struct Taken {
    pub command: Command,
    pub now: i64,
}

/// What is known of everybody by one business.
#[derive(Debug, Clone)]
pub struct World {
    pub business: usize,
    pub stories: Vec<Story>,
}

impl World {
    pub fn of(taken: &[Taken], business: usize) -> Self {
        let mut world = Self {
            business,
            stories: vec![Story::default(); PEOPLE],
        };
        for one in taken.iter().filter(|one| one.command.business == business) {
            world.takes(one);
        }
        world
    }

    pub fn story(&self, address: usize) -> &Story {
        &self.stories[ADDRESSES[address].person]
    }

    fn takes(&mut self, taken: &Taken) {
        let Taken { command, now } = taken;
        let to = &ADDRESSES[command.to];
        match &command.act {
            Act::Give(_) | Act::WasAsked { .. } | Act::Refuse { .. } | Act::Confirm { .. } => {
                self.consented(command, *now);
            }
            Act::Withdraw { .. } | Act::Suppress { .. } => self.ended(command, *now),
            Act::Lift { made_by, person: _ } => {
                let when = at_by(moment(command.told, *now), *now, Clock::Caller);
                self.lift(to, when, *made_by);
            }
            Act::LookUp { registry, result } => {
                let at = moment(command.told, *now).min(*now);
                let is_listed = *result == RegistryResult::Listed;
                let clock = Clock::Caller;
                let when = match is_listed {
                    true => to_the_end(at, clock, *now),
                    false => When { at, clock },
                };
                self.for_all(to, |story| {
                    if *result != RegistryResult::NoData {
                        story.look_ups.push(LookUp {
                            when,
                            registry,
                            is_listed,
                        });
                    }
                });
            }
            Act::Hear { .. } | Act::Move { .. } | Act::Send { .. } | Act::Fail { .. } => {
                self.reported(command, *now);
            }
            Act::Erase => {
                let when = When {
                    at: *now,
                    clock: Clock::Ours,
                };
                self.for_all(to, |story| story.erase(when));
            }
            Act::Repeat { .. }
            | Act::ConfirmOptOut { .. }
            | Act::Restart { .. }
            | Act::Rotate { .. } => {}
        }
    }

    /// RecordConsent and ConfirmConsent.
    fn consented(&mut self, command: &Command, now: i64) {
        let to = &ADDRESSES[command.to];
        let when = When {
            at: moment(command.told, now).min(now),
            clock: Clock::Caller,
        };
        match &command.act {
            Act::Give(give) => self.give(to, consents(give, to, when, now)),
            Act::WasAsked { .. } => self.for_all(to, |story| story.asks.push((when, command.id))),
            Act::Refuse { purpose, sender } => {
                let when = to_the_end(moment(command.told, now), Clock::Caller, now);
                let scope = Scope::Purposes(vec![*purpose]);
                let senders = (purpose::sender(sender), "");
                self.stop(to, command.id, when, Ended::Refused, &scope, senders);
            }
            Act::Confirm { purposes, sender } => {
                let asked_by = |asked: &'static str| sender.is_empty() || asked == *sender;
                let confirmed = self.waiting(to, purposes, &asked_by, when.at, now);
                self.give(to, confirmed);
            }
            _ => {}
        }
    }

    /// Withdraw and AddSuppression.
    fn ended(&mut self, command: &Command, now: i64) {
        let to = &ADDRESSES[command.to];
        let said = told(command.told, now, Clock::Caller);
        let when = to_the_end(said.at, said.clock, now);
        match &command.act {
            Act::Withdraw {
                scope,
                sender,
                by,
                key: _,
            } => {
                let sender = purpose::sender(sender);
                let how = match by {
                    By::PreferenceCenter | By::Import => Ended::Withdrawn,
                    By::Operator => Ended::Revoked,
                    By::Authority => Ended::Invalidated,
                    By::Platform => {
                        let basis = SuppressionBasis::PlatformStop;
                        return self.bar(to, command.id, when, basis, scope, (sender, None));
                    }
                };
                self.stop(to, command.id, when, how, scope, (sender, ""));
            }
            Act::Suppress {
                scope,
                sender,
                basis,
                days,
            } => {
                let until = days.map(|days| now + i64::from(days) * DAY);
                let narrowed = (purpose::sender(sender), until);
                self.bar(to, command.id, when, *basis, scope, narrowed);
            }
            _ => {}
        }
    }

    /// ReportInbound, ReportSend and ReportDelivery.
    fn reported(&mut self, command: &Command, now: i64) {
        let to = &ADDRESSES[command.to];
        match &command.act {
            Act::Hear { sender, what, also } => {
                let said = told(command.told, now, Clock::WhatsApp);
                let also = also.map(|other| &ADDRESSES[other]);
                if let Some(other) = also {
                    self.link(to, other, said, now);
                }
                self.hear(command, (purpose::sender(sender), *what), said, now);
                for one in [Some(to), also].into_iter().flatten() {
                    let at = moment(command.told, now).min(now);
                    if opens_window(*what) {
                        let written = &mut self.stories[one.person].written;
                        written.push((purpose::sender(sender), at));
                    }
                }
            }
            Act::Move { from } => {
                let said = told(command.told, now, Clock::WhatsApp);
                let when = to_the_end(said.at, said.clock, now);
                self.moves(&ADDRESSES[*from], to, when);
            }
            Act::Send {
                sender: _,
                purpose,
                class,
            } => {
                let class = class_of(purpose, *class);
                let said = at_by(moment(command.told, now), now, Clock::Caller);
                if class == MessageClass::ConsentRequest {
                    self.for_all(to, |story| story.asks.push((said, command.id)));
                }
                for one in self.everybody(to.person) {
                    self.stories[one].sends.push((purpose, class, said.at));
                }
            }
            Act::Fail {
                sender,
                code,
                times,
            } => {
                for number in 0..i64::from(*times) {
                    let at = moment(command.told, now) - number * SECOND;
                    let said = at_by(at, now, Clock::WhatsApp);
                    self.fail(to, command.id, (purpose::sender(sender), *code), said, now);
                }
            }
            _ => {}
        }
    }

    fn fail(
        &mut self,
        to: &Address,
        id: usize,
        (sender, code): (&'static str, &'static str),
        said: When,
        now: i64,
    ) {
        match code {
            "131050" => {
                let when = to_the_end(said.at, said.clock, now);
                let basis = SuppressionBasis::PlatformStop;
                self.bar(to, id, when, basis, &Scope::Marketing, (sender, None));
            }
            // Whose fault it is, it is not the person's.
            "131047" => {}
            _ => {
                let story = &mut self.stories[to.person];
                let when = match code {
                    "137000" => to_the_end(said.at, said.clock, now),
                    _ => said,
                };
                story.is_known = true;
                // The same at the same moment is the same.
                if !story.failures.contains(&(code, when)) {
                    story.failures.push((code, when));
                }
            }
        }
    }

    /// This address, and whoever is linked with it, directly or through another one.
    pub fn everybody(&self, person: usize) -> Vec<usize> {
        let mut known = vec![person];
        let mut next = 0;
        while let Some(one) = known.get(next) {
            let linked: Vec<usize> = self.stories[*one]
                .linked()
                .map(|naming| naming.other)
                .collect();
            for other in linked {
                if !known.contains(&other) {
                    known.push(other);
                }
            }
            next += 1;
        }
        known
    }

    fn for_all(&mut self, to: &Address, change: impl Fn(&mut Story)) {
        for person in self.everybody(to.person) {
            self.stories[person].is_known = true;
            change(&mut self.stories[person]);
        }
    }

    /// Consents hold at an address that is linked directly, in the spelling that was linked, while nobody doubts whose
    /// the two are.
    fn give(&mut self, to: &Address, consents: Vec<Consent>) {
        if consents.is_empty() {
            return;
        }
        let own = &self.stories[to.person];
        let doubtful = own.is_doubtful();
        let linked: Vec<Naming> = self
            .everybody(to.person)
            .into_iter()
            .filter_map(|other| {
                own.linked()
                    .filter(|naming| naming.other == other)
                    .last()
                    .copied()
            })
            .filter(|naming| !doubtful && purpose::twins(to.spelling, naming.here))
            .filter(|naming| !self.stories[naming.other].is_doubtful())
            .collect();
        for naming in linked {
            let other = &mut self.stories[naming.other];
            other
                .consents
                .extend(consents.iter().map(|consent| Consent {
                    spelling: naming.there,
                    via: Some(to.person),
                    ..consent.clone()
                }));
            other.is_known = true;
        }
        let own = &mut self.stories[to.person];
        own.is_known = true;
        own.consents.extend(consents);
    }

    fn stop(
        &mut self,
        to: &Address,
        id: usize,
        when: When,
        how: Ended,
        scope: &Scope,
        (sender, heard_by): (&'static str, &'static str),
    ) {
        for scope in apart(scope) {
            self.for_all(to, |story| {
                story.stops.push(Stop {
                    when,
                    how,
                    scope: scope.clone(),
                    sender,
                    heard_by,
                    id,
                });
            });
        }
    }

    fn bar(
        &mut self,
        to: &Address,
        id: usize,
        when: When,
        basis: SuppressionBasis,
        scope: &Scope,
        (sender, until): (&'static str, Option<i64>),
    ) {
        for scope in apart(scope) {
            self.for_all(to, |story| {
                story.bars.push(Bar {
                    when,
                    basis,
                    scope: scope.clone(),
                    sender,
                    until,
                    id,
                });
            });
        }
    }

    /// Lifts what an earlier command barred.
    fn lift(&mut self, to: &Address, when: When, made_by: usize) {
        let bars = self.stories[to.person].bars.clone();
        for bar in bars.into_iter().filter(|bar| bar.id == made_by) {
            let lift = Bar { when, ..bar };
            self.for_all(to, |story| story.lifts.push(lift.clone()));
        }
    }

    fn hear(
        &mut self,
        command: &Command,
        (sender, what): (&'static str, Heard),
        said: When,
        now: i64,
    ) {
        let to = &ADDRESSES[command.to];
        let end = to_the_end(said.at, said.clock, now);
        let wide = self.business == 0;
        let narrowed = if wide { "" } else { sender };
        let replied = |asked: &str| sender.is_empty() || asked.is_empty() || asked == sender;
        match what {
            Heard::Text("STOP" | "Stop promotions") | Heard::StopPromotions => {
                let scope = match what {
                    Heard::Text("STOP") if wide => Scope::Everything,
                    _ => Scope::Marketing,
                };
                let senders = (narrowed, sender);
                self.stop(to, command.id, end, Ended::Withdrawn, &scope, senders);
            }
            Heard::Text("could you please stop this") => {
                let (basis, scope) = (SuppressionBasis::PossibleRevocation, Scope::Marketing);
                self.bar(to, command.id, end, basis, &scope, (narrowed, None));
            }
            Heard::Text("YES" | "START") => {
                let confirmed = self.waiting(to, &[], &replied, said.at, now);
                self.give(to, confirmed);
            }
            Heard::Text("NO") => {
                let refused = self.waiting(to, &[], &replied, said.at, now);
                for consent in refused {
                    let scope = Scope::Purposes(vec![consent.purpose]);
                    self.stop(to, command.id, end, Ended::Refused, &scope, ("", sender));
                }
            }
            Heard::PlatformStop => {
                let (basis, scope) = (SuppressionBasis::PlatformStop, Scope::Marketing);
                self.bar(to, command.id, end, basis, &scope, (sender, None));
            }
            Heard::PlatformResume => self.resume(to, sender, said, now),
            Heard::SignUp => {
                let give = Give {
                    purposes: vec!["offers", "news"],
                    sender,
                    firm: ConsentType::ExplicitlyExpressed,
                    implied: None,
                    import: false,
                    lives_in: "",
                    whatsapp_named: false,
                    proven: true,
                    key: command.id,
                };
                if !law::of(to.country).names_whatsapp {
                    self.give(to, consents(&give, to, said, now));
                }
            }
            Heard::Text(_) | Heard::Call => {}
        }
        if opens_window(what) && !sender.is_empty() {
            self.answers(to, said);
        }
    }

    /// Whoever answers is reached: that ends a run of failures.
    fn answers(&mut self, to: &Address, said: When) {
        let story = &mut self.stories[to.person];
        let failed = story.failures.iter().any(|(code, when)| {
            let unanswered = story.answers.iter().all(|answer| *answer < when.at);
            *code == "131026" && when.at <= said.at && unanswered
        });
        if failed {
            story.answers.push(said.at);
        }
    }

    /// WhatsApp resumes what it stopped at this number, or a stop that named none.
    fn resume(&mut self, to: &Address, sender: &'static str, said: When, now: i64) {
        let story = &self.stories[to.person];
        let stands = |sender: &str| {
            story.bars.iter().any(|bar| {
                bar.basis == SuppressionBasis::PlatformStop
                    && bar.scope == Scope::Marketing
                    && bar.sender == sender
                    && bar.until.is_none_or(|until| now < until)
                    && !story.lifts.iter().any(|lift| bar.is_lifted_by(lift))
            })
        };
        let lifted = match !sender.is_empty() && stands(sender) {
            true => sender,
            false if stands("") => "",
            false => return,
        };
        let lift = Bar {
            when: said,
            basis: SuppressionBasis::PlatformStop,
            scope: Scope::Marketing,
            sender: lifted,
            until: None,
            id: 0,
        };
        self.for_all(to, |story| story.lifts.push(lift.clone()));
    }
}

/// The act as a consent to each of its purposes.
fn consents(give: &Give, to: &Address, when: When, now: i64) -> Vec<Consent> {
    let one = |purpose: &&'static str| Consent {
        when,
        purpose,
        sender: purpose::sender(give.sender),
        spelling: to.spelling,
        firm: give.firm,
        implied: give
            .implied
            .map(|(basis, days)| (basis, now - i64::from(days) * DAY)),
        is_import: give.import,
        is_confirmed: false,
        country: match give.lives_in {
            "" => to.country,
            stated => stated,
        },
        whatsapp_named: give.whatsapp_named,
        is_proven: give.proven,
        via: None,
    };
    give.purposes.iter().map(one).collect()
}

fn apart(scope: &Scope) -> Vec<Scope> {
    match scope {
        Scope::Purposes(keys) => keys.iter().map(|key| Scope::Purposes(vec![*key])).collect(),
        wide => vec![wide.clone()],
    }
}

/// A message or a call of the person, unless it is an opt-out or may be one.
pub fn opens_window(what: Heard) -> bool {
    match what {
        Heard::Text("STOP" | "Stop promotions" | "could you please stop this") => false,
        Heard::Text(_) | Heard::Call => true,
        Heard::StopPromotions | Heard::PlatformStop | Heard::PlatformResume | Heard::SignUp => {
            false
        }
    }
}
