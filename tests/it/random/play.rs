//! A case as it is played: each command goes to the server, then people are asked about, and all that is answered is
//! compared with the model.

use std::collections::{BTreeMap, BTreeSet};

use consentgate::grpc::proto::*;
use tonic::{Code, Status};

use super::Seen;
use super::acts::{ADDRESSES, Act, Address, BUSINESSES, Command, Give, Heard, Question, Told};
use super::dice::Case;
use super::model::answer::{Asked, Expected, confirmable};
use super::model::law;
use super::model::purpose;
use super::model::story::Story;
use super::model::time::{caller_said, moment};
use super::model::world::{Taken, World};
use super::rotating::Keeper;
use super::views::View;
use super::wire::{Reply, Sent, recipient, request};
use crate::consents::acts::time;

/// A server and what the model knows of it.
struct Play<'a> {
    keeper: &'a mut Keeper,
    slot: u64,
    case: &'a Case,
    seen: &'a mut Seen,
    taken: Vec<Taken>,
    /// What was sent, and what came of it.
    sent: BTreeMap<usize, (Command, i64, Sent, Reply)>,
    /// Idempotency keys of records that were taken, by business.
    keys: BTreeSet<(usize, usize)>,
    /// Who may confirm which opt-out.
    permits: BTreeMap<(usize, usize), &'static str>,
    /// When what erasures had to leave goes.
    proofs_until: Vec<i64>,
}

pub async fn run(
    case: &Case,
    keeper: &mut Keeper,
    slot: u64,
    seen: &mut Seen,
) -> Result<(), String> {
    let start = keeper.server.now();
    keeper.server.advance(case.begins);
    let mut play = Play {
        keeper,
        slot,
        case,
        seen,
        taken: Vec::new(),
        sent: BTreeMap::new(),
        keys: BTreeSet::new(),
        permits: BTreeMap::new(),
        proofs_until: Vec::new(),
    };
    let done = play.through().await;
    keeper.server.manual().set(start);
    done
}

impl Play<'_> {
    async fn through(&mut self) -> Result<(), String> {
        for command in &self.case.commands {
            self.keeper.server.advance(command.wait);
            self.carry_out(command)
                .await
                .map_err(|wrong| format!("command {}: {wrong}", command.id))?;
            for question in self.case.questions(command.id) {
                let asked = self.ask(&question).await;
                asked.map_err(|wrong| format!("after command {}: {wrong}", command.id))?;
            }
        }
        // The next case begins as it would alone.
        match self.keeper.is_half_done {
            true => self.rotate(self.case.business, usize::MAX).await,
            false => Ok(()),
        }
    }

    async fn rotate(&mut self, business: usize, steps: usize) -> Result<(), String> {
        let before = self.views(business).await?;
        self.keeper.rotate(steps).await?;
        self.seen.rotated += 1;
        self.nothing_changed(business, before).await
    }

    fn now(&self) -> i64 {
        self.keeper.server.now().as_micros()
    }

    fn world(&self, business: usize) -> World {
        World::of(&self.taken, business)
    }

    async fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        match &command.act {
            Act::Repeat { of } => self.repeat(*of).await,
            Act::ConfirmOptOut {
                sender,
                purpose,
                request,
            } => {
                self.confirm_opt_out(command, sender, purpose, request)
                    .await
            }
            Act::Lift { made_by, .. } => {
                // It is lifted where it was made.
                let Some((made, ..)) = self.sent.get(made_by) else {
                    return Ok(());
                };
                let (business, to) = (made.business, made.to);
                self.send(&Command {
                    business,
                    to,
                    ..command.clone()
                })
                .await
            }
            Act::Erase => self.erase(command).await,
            Act::Restart { longer } => {
                let before = self.views(command.business).await?;
                self.keeper.restart(*longer).await;
                self.seen.restarted += 1;
                self.nothing_changed(command.business, before).await
            }
            Act::Rotate { steps } => self.rotate(command.business, *steps).await,
            _ => self.send(command).await,
        }
    }

    /// What is on record of everybody in the case.
    async fn views(&self, business: usize) -> Result<Vec<(usize, View)>, String> {
        let mut views = Vec::new();
        for address in &self.case.cast {
            let view = View::of(&self.keeper.server, business, *address, self.slot).await?;
            views.push((*address, view));
        }
        Ok(views)
    }

    async fn nothing_changed(
        &self,
        business: usize,
        before: Vec<(usize, View)>,
    ) -> Result<(), String> {
        let now = self.now();
        // What is due goes at any moment after a start.
        let is_going = self.proofs_until.iter().any(|until| *until <= now);
        for ((address, then), (_, view)) in before.into_iter().zip(self.views(business).await?) {
            let same = match is_going {
                true => view.bare() == then.bare(),
                false => view == then,
            };
            if !same {
                let to = ADDRESSES[address].text;
                return Err(format!("of {to} there is {view:?} after {then:?}"));
            }
        }
        Ok(())
    }

    /// An erasure leaves nothing of anybody who is linked, and takes nothing of anybody else.
    async fn erase(&mut self, command: &Command) -> Result<(), String> {
        let (business, to) = (command.business, &ADDRESSES[command.to]);
        let before = self.views(business).await?;
        let world = self.world(business);
        self.send(command).await?;
        let Some((_, _, _, reply)) = self.sent.get(&command.id).cloned() else {
            return Ok(());
        };
        self.seen.erased += 1;
        self.proofs_until.extend(reply.kept_until);
        let proofs = world.proofs(to.person, self.now());
        if !proofs.allow(reply.kept_until) {
            let until = reply.kept_until;
            return Err(format!("proof is kept until {until:?}, where {proofs:?}"));
        }
        let everybody = world.everybody(to.person);
        for ((address, then), (_, view)) in before.into_iter().zip(self.views(business).await?) {
            let wrong = match everybody.contains(&ADDRESSES[address].person) {
                true => view.left_over(&then, &reply.event_id, reply.kept_until.is_some()),
                false => (view != then).then(|| format!("{view:?} after {then:?}")),
            };
            if let Some(wrong) = wrong {
                let to = ADDRESSES[address].text;
                return Err(format!("of {to} there is {wrong}"));
            }
        }
        Ok(())
    }

    async fn send(&mut self, command: &Command) -> Result<(), String> {
        let now = self.now();
        let made = |id: usize| {
            let (_, _, _, reply) = self.sent.get(&id)?;
            Some(reply.event_id.clone()).filter(|event| !event.is_empty())
        };
        let Some(request) = request(command, self.slot, now, made) else {
            return Ok(());
        };
        let expected = self.expected(command, now);
        let answer = request.to(&self.keeper.server).await;
        let reply = match (expected, answer) {
            (Code::Ok, Ok(reply)) => reply,
            (expected, Err(status)) if status.code() == expected => {
                self.seen.refused += 1;
                return Ok(());
            }
            (expected, answer) => return Err(surprise(expected, answer)),
        };
        if let (
            Act::Hear {
                what: Heard::Text("YES" | "START"),
                ..
            },
            Some(action),
        ) = (&command.act, reply.action)
        {
            let before = self.world(command.business).story(command.to).clone();
            let mut after = self.taken.clone();
            after.push(Taken {
                command: command.clone(),
                now,
            });
            let after = World::of(&after, command.business);
            let confirmed = |story: &Story| {
                let own = story.consents.iter();
                own.filter(|one| one.is_confirmed && one.via.is_none())
                    .count()
            };
            let expected = confirmed(after.story(command.to)) > confirmed(&before);
            if expected != (action == InboundAction::Confirmed) {
                return Err(format!(
                    "it was answered with {action:?}, confirmed: {expected}"
                ));
            }
        }
        self.seen.taken += 1;
        if let Act::Give(Give { key, .. }) = command.act {
            self.keys.insert((command.business, key));
        } else if matches!(request, Sent::Record(_)) {
            self.keys.insert((command.business, command.id));
        }
        self.taken.push(Taken {
            command: command.clone(),
            now,
        });
        self.sent
            .insert(command.id, (command.clone(), now, request, reply));
        Ok(())
    }

    /// Whether the contract has it refused, and how.
    fn expected(&self, command: &Command, now: i64) -> Code {
        let world = self.world(command.business);
        let to = &ADDRESSES[command.to];
        match &command.act {
            Act::Give(give) if self.keys.contains(&(command.business, give.key)) => {
                Code::AlreadyExists
            }
            Act::Give(give) if !is_good(give, to) => Code::InvalidArgument,
            Act::Confirm { purposes, sender } => {
                let asked_by = |asked: &'static str| sender.is_empty() || asked == *sender;
                let at = moment(command.told, now);
                match world.waiting(to, purposes, &asked_by, at, now).is_empty() {
                    true => Code::FailedPrecondition,
                    false => Code::Ok,
                }
            }
            Act::Lift { made_by, person } => {
                let story = world.story(command.to);
                let Some(bar) = story.bars.iter().find(|bar| bar.id == *made_by) else {
                    return Code::NotFound;
                };
                let by_person = matches!(
                    bar.basis,
                    SuppressionBasis::Objection | SuppressionBasis::Complaint
                );
                let when = caller_said(command.told, now);
                let may = bar.basis != SuppressionBasis::PlatformStop
                    && (*person || !by_person)
                    && when.is_after(bar.when);
                if may { Code::Ok } else { Code::InvalidArgument }
            }
            Act::Erase => match world.story(command.to).is_seen() {
                true => Code::Ok,
                false => Code::NotFound,
            },
            _ => Code::Ok,
        }
    }

    /// The same request again gets the same answer, and nothing comes of it but where nothing was recorded for it.
    async fn repeat(&mut self, of: usize) -> Result<(), String> {
        let now = self.now();
        let Some((command, then, request, first)) = self.sent.get(&of).cloned() else {
            return Ok(());
        };
        let is_inbound = matches!(request, Sent::Inbound(_));
        if is_inbound && command.told == Told::Ahead {
            // What lay ahead then does not any more: it says something else now.
            return Ok(());
        }
        let answer = request
            .to(&self.keeper.server)
            .await
            .map_err(|status| status.to_string())?;
        self.seen.repeated += 1;
        let is_kept = match &command.act {
            Act::Withdraw { key, .. } => key.is_some(),
            // A link is remembered as the answer only where nothing else could have come of the message.
            Act::Hear { what, .. } if first.action == Some(InboundAction::Linked) => {
                matches!(what, Heard::Text("hello there" | "HELP") | Heard::Call)
            }
            _ => !is_inbound || !first.event_id.is_empty(),
        };
        if !is_kept {
            let told = match command.told {
                Told::Unset if !is_inbound => Told::Unset,
                told => Told::At(moment(told, then)),
            };
            self.taken.push(Taken {
                command: Command { told, ..command },
                now,
            });
            return Ok(());
        }
        match answer == first {
            true => Ok(()),
            false => Err(format!(
                "repeating {of} answered {answer:?} after {first:?}"
            )),
        }
    }

    async fn confirm_opt_out(
        &mut self,
        command: &Command,
        sender: &'static str,
        purpose: &'static str,
        request_id: &'static str,
    ) -> Result<(), String> {
        let asked = Asked {
            to: &ADDRESSES[command.to],
            purpose,
            class: MessageClass::OptOutConfirmation,
            sender,
            at: self.now(),
        };
        let world = self.world(command.business);
        let mut expected = world.answer(&asked);
        if expected.decision == Decision::Allow {
            let stop = confirmable(&world, &asked).expect("what is confirmed is known");
            let permit = self.permits.entry((command.business, stop));
            if *permit.or_insert(request_id) != request_id {
                expected.decision = Decision::Deny;
                expected.reasons = vec![Reason::Withdrawn];
            }
        }
        let request = CheckConsentRequest {
            business_id: BUSINESSES[command.business].into(),
            recipient: Some(recipient(command.to, self.slot, false)),
            purpose: purpose.into(),
            message_class: MessageClass::OptOutConfirmation.into(),
            sender_id: sender.into(),
            request_id: request_id.into(),
            ..CheckConsentRequest::default()
        };
        let answer = self
            .keeper
            .server
            .try_check(request)
            .await
            .map_err(|status| status.to_string())?;
        let reasons: Vec<Reason> = answer.reasons().collect();
        self.compare(
            &asked,
            &expected,
            answer.decision(),
            &reasons,
            answer.not_before,
        )
    }

    /// Asks about everybody at once, and about one of them alone.
    async fn ask(&mut self, question: &Question) -> Result<(), String> {
        let at = self.now();
        let world = self.world(question.business);
        let class = question.class.map_or(0, i32::from);
        let as_wa_id = at % 2 == 0;
        let batch = BatchCheckConsentRequest {
            business_id: BUSINESSES[question.business].into(),
            purpose: question.purpose.into(),
            message_class: class,
            sender_id: question.sender.into(),
            recipients: self
                .case
                .cast
                .iter()
                .map(|one| recipient(*one, self.slot, as_wa_id))
                .collect(),
            ..BatchCheckConsentRequest::default()
        };
        let alone = CheckConsentRequest {
            business_id: batch.business_id.clone(),
            recipient: batch.recipients.first().cloned(),
            purpose: batch.purpose.clone(),
            message_class: class,
            sender_id: batch.sender_id.clone(),
            ..CheckConsentRequest::default()
        };
        let answer = self
            .keeper
            .server
            .try_batch(batch)
            .await
            .map_err(|status| status.to_string())?;
        for (one, result) in self.case.cast.iter().zip(&answer.results) {
            let asked = Asked {
                to: &ADDRESSES[*one],
                purpose: question.purpose,
                class: purpose::class_of(question.purpose, question.class),
                sender: purpose::sender(question.sender),
                at,
            };
            let expected = world.answer(&asked);
            let reasons: Vec<Reason> = result.reasons().collect();
            self.compare(
                &asked,
                &expected,
                result.decision(),
                &reasons,
                result.not_before,
            )?;
        }
        let alone_asked = alone.clone();
        let alone = self
            .keeper
            .server
            .try_check(alone)
            .await
            .map_err(|status| status.to_string())?;
        let first = &answer.results[0];
        if question.is_explained {
            self.explain(&alone_asked, first).await?;
        }
        let same = (alone.decision(), &alone.reasons, alone.not_before)
            == (first.decision(), &first.reasons, first.not_before);
        match same {
            true => Ok(()),
            false => Err(format!("asked alone: {alone:?}, with others: {first:?}")),
        }
    }

    /// An explanation says what a check says.
    async fn explain(
        &self,
        asked: &CheckConsentRequest,
        answered: &BatchCheckResult,
    ) -> Result<(), String> {
        let explained = self.keeper.server.try_explain(ExplainConsentRequest {
            business_id: asked.business_id.clone(),
            recipient: asked.recipient.clone(),
            purpose: asked.purpose.clone(),
            message_class: asked.message_class,
            sender_id: asked.sender_id.clone(),
            ..ExplainConsentRequest::default()
        });
        let explained = explained.await.map_err(|status| status.to_string())?;
        let same = (
            explained.decision(),
            &explained.reasons,
            explained.not_before,
        ) == (answered.decision(), &answered.reasons, answered.not_before);
        match same {
            true => Ok(()),
            false => Err(format!("explained: {explained:?}, answered: {answered:?}")),
        }
    }

    fn compare(
        &mut self,
        asked: &Asked<'_>,
        expected: &Expected,
        decision: Decision,
        reasons: &[Reason],
        not_before: Option<prost_types::Timestamp>,
    ) -> Result<(), String> {
        self.seen.answers += 1;
        *self
            .seen
            .reasons
            .entry(reasons[0].as_str_name())
            .or_default() += 1;
        let not_before = not_before.map(|at| time(Some(at)).as_micros());
        let right = expected.decision == decision
            && expected.reasons.contains(&reasons[0])
            && expected.not_before == not_before;
        match right {
            true => Ok(()),
            false => Err(format!(
                "{asked:?}\n  is answered {decision:?} {reasons:?} {not_before:?}\n  and not {expected:?}"
            )),
        }
    }
}

fn surprise(expected: Code, answer: Result<Reply, Status>) -> String {
    match answer {
        Ok(reply) => format!("it was taken ({reply:?}) and not refused with {expected:?}"),
        Err(status) => format!("it was refused with {status} where {expected:?} was right"),
    }
}

/// Whether purpose and place let such a consent count at all.
fn is_good(give: &Give, to: &Address) -> bool {
    let law = law::of(match give.lives_in {
        "" => to.country,
        stated => stated,
    });
    let firm_enough = give
        .purposes
        .iter()
        .all(|purpose| purpose::accepts(purpose, give.firm));
    let implied_there = give
        .implied
        .is_none_or(|(basis, _)| law.implied_days.iter().any(|(known, _)| *known == basis));
    firm_enough && implied_there && (give.whatsapp_named || !law.names_whatsapp)
}
