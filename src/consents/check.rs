//! Check: may this message be sent? From facts and rules to a decision that a caller can act on.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::error::reason;
use super::{Consents, Error, Violation, new_id, resolve};
use crate::cache::Entry;
use crate::catalog::{Compiled, Named};
use crate::domain::activity::{Activity, Wanted};
use crate::domain::address::Address;
use crate::domain::catalog::Purpose;
use crate::domain::decide::{Finding, Question, Verdict, decide, wanted};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, PurposeKey, SenderId};
use crate::domain::place;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::{Decision, MessageClass, Reason};
use crate::ledger::{Offset, Partition, Position, SYSTEM, SubjectRef};

/// After how many decisions a batch lets others run. Turns of 10,000 people in memory then took 0.14
/// ms in the median and 0.7 ms at most.
const YIELD_AFTER: usize = 256;

/// What is asked about one or many recipients.
#[derive(Debug, Clone)]
pub struct Asked {
    pub business: BusinessId,
    pub purpose: PurposeKey,
    /// `None`: the purpose's own.
    pub class: Option<MessageClass>,
    pub sender: Option<SenderId>,
    pub template: Option<String>,
    /// With OPT_OUT_CONFIRMATION alone: whose permit it is.
    pub request_id: Option<String>,
    pub consistency: Consistency,
}

/// How fresh the facts must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consistency {
    /// No older than every restriction that was acknowledged before the check began.
    Strict,
    /// As fresh as the write that gave this token, too.
    AtLeastAsFresh(String),
    /// Read from the ledger.
    FullyConsistent,
}

/// A decision as a caller gets it.
#[derive(Debug, Clone)]
pub struct Checked {
    pub verdict: Verdict,
    pub valid_until: Timestamp,
    pub valid_for: Duration,
    pub policy_version: Arc<str>,
    pub token: String,
    pub decision_id: Uuid,
}

/// Decisions on many recipients, in their order.
#[derive(Debug, Clone)]
pub struct BatchChecked {
    pub verdicts: Vec<Verdict>,
    pub valid_until: Timestamp,
    pub valid_for: Duration,
    pub policy_version: Arc<str>,
    pub token: String,
    pub decision_id: Uuid,
}

impl Consents {
    /// Decides on one recipient.
    ///
    /// Whatever a check from memory does not need is boxed where it is awaited: the transport moves a
    /// call's future several times, and with room for every read of the ledger in it that took longer
    /// than the decision.
    pub async fn check(&self, asked: &Asked, address: &Address) -> Result<Checked, Error> {
        let at = self.now();
        // C1: the catalogue is read from memory, too.
        self.0.cache.require_lease()?;
        let compiled = match self.compiled_in_memory(asked) {
            Some(compiled) => compiled,
            None => Box::pin(self.compiled_for(asked)).await?,
        };
        let question = resolve_question(&compiled, asked)?;
        let subject = self.subject_ref(&asked.business, &compiled.keys, address);
        // Before the facts are looked at: what was dropped by then is in them, if it concerns them.
        let finished = self.0.cache.finished(subject.partition);
        let entry = match &asked.consistency {
            Consistency::Strict => match self.0.cache.facts_in_memory(&subject)? {
                Some(entry) => entry,
                None => Box::pin(self.0.cache.loaded(&subject)).await?,
            },
            Consistency::AtLeastAsFresh(_) | Consistency::FullyConsistent => {
                Box::pin(self.fresh_entry(asked, &subject)).await?
            }
        };
        let question = question.about(address);
        let facts = &entry.facts;
        let mut verdict = match wanted(facts, &compiled.rules, &question, at) {
            nothing if nothing == Wanted::default() => {
                decide(facts, &Activity::default(), &compiled.rules, &question, at)
            }
            _ => {
                let activity = self.activity(&compiled, &question, &subject, facts, at);
                let activity = Box::pin(activity).await?;
                decide(facts, &activity, &compiled.rules, &question, at)
            }
        };
        if verdict.reason() == Some(Reason::OptOutConfirmationPermitted) {
            verdict = Box::pin(self.permitted(&compiled, asked, verdict, at)).await?;
        }
        self.count(&verdict);
        let (valid_until, valid_for) = self.validity(at, verdict.holds_until);
        Ok(Checked {
            verdict,
            valid_until,
            valid_for,
            policy_version: Arc::clone(compiled.rules.version()),
            token: self.0.tokens.of_check(
                Position {
                    partition: entry.partition,
                    // As much as is true of the answer, and most checks of a partition say the same.
                    offset: entry.as_of.max(finished),
                },
                Position {
                    partition: SYSTEM,
                    offset: self.0.catalog.applied(),
                },
            ),
            decision_id: new_id(at),
        })
    }

    /// Decides on many recipients; facts that are not in memory are read by few statements, which leave
    /// single checks their connections and their turns.
    pub async fn check_many(
        &self,
        asked: &Asked,
        addresses: &[Address],
    ) -> Result<BatchChecked, Error> {
        let at = self.now();
        self.0.cache.require_lease()?;
        let compiled = self.compiled_for(asked).await?;
        let question = resolve_question(&compiled, asked)?;
        let mut subjects = Vec::with_capacity(addresses.len());
        let mut questions = Vec::with_capacity(addresses.len());
        for (index, address) in addresses.iter().enumerate() {
            subjects.push(self.subject_ref(&asked.business, &compiled.keys, address));
            questions.push(question.about(address));
            pause(index).await;
        }
        let entries = self.fresh_entries(asked, &subjects).await?;
        let activities = self
            .activities(&compiled, &questions, &subjects, &entries, at)
            .await?;
        let mut verdicts = Vec::with_capacity(entries.len());
        let people = entries.iter().zip(&questions).zip(&activities);
        for (index, ((entry, question), activity)) in people.enumerate() {
            let verdict = decide(&entry.facts, activity, &compiled.rules, question, at);
            let verdict = without_permit(verdict);
            self.count(&verdict);
            verdicts.push(verdict);
            pause(index).await;
        }
        // One time for all: the first at which any of them might fall otherwise.
        let holds_until = verdicts
            .iter()
            .filter_map(|verdict| verdict.holds_until)
            .min();
        let (valid_until, valid_for) = self.validity(at, holds_until);
        let places: Vec<_> = entries
            .iter()
            .map(|entry| (entry.partition, entry.as_of))
            .collect();
        Ok(BatchChecked {
            verdicts,
            valid_until,
            valid_for,
            policy_version: Arc::clone(compiled.rules.version()),
            token: self.token_of(&places),
            decision_id: new_id(at),
        })
    }

    /// Whether this can be asked: business, purpose and sender are known, and fit the class.
    pub async fn resolves(&self, asked: &Asked) -> Result<(), Error> {
        self.0.cache.require_lease()?;
        let compiled = self.compiled_for(asked).await?;
        resolve_question(&compiled, asked).map(|_| ())
    }

    /// The rules, if all that is named is in memory.
    fn compiled_in_memory(&self, asked: &Asked) -> Option<Arc<Compiled>> {
        let compiled = self.0.catalog.known(&asked.business)?;
        let catalog = compiled.catalog();
        let sender = asked.sender.as_ref();
        let all = Named::Purpose(&asked.purpose).is_in(catalog)
            && sender.is_none_or(|sender| Named::Sender(sender).is_in(catalog));
        all.then_some(compiled)
    }

    pub(super) async fn compiled_for(&self, asked: &Asked) -> Result<Arc<Compiled>, Error> {
        let mut names = vec![Named::Purpose(&asked.purpose)];
        names.extend(asked.sender.as_ref().map(Named::Sender));
        self.business_with(&asked.business, &names).await
    }

    /// What happened lately, where the question depends on it.
    pub(super) async fn activity(
        &self,
        compiled: &Compiled,
        question: &Question<'_>,
        subject: &SubjectRef,
        facts: &Facts,
        at: Timestamp,
    ) -> Result<Arc<Activity>, Error> {
        let wanted = wanted(facts, &compiled.rules, question, at);
        let subjects = std::slice::from_ref(subject);
        let is_over_cap = |_, sends: &Activity| {
            let verdict = decide(facts, sends, &compiled.rules, question, at);
            verdict.reasons().contains(&Reason::FrequencyCap)
        };
        let activity = &self.0.activity;
        let found = activity.activity(subjects, wanted, at, is_over_cap).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// As [`Consents::activity`], for many: whoever wants something is read in one go.
    async fn activities(
        &self,
        compiled: &Compiled,
        questions: &[Question<'_>],
        subjects: &[SubjectRef],
        entries: &[Arc<Entry>],
        at: Timestamp,
    ) -> Result<Vec<Arc<Activity>>, Error> {
        let mut all = Wanted::default();
        let mut wanting = Vec::new();
        for (index, (entry, question)) in entries.iter().zip(questions).enumerate() {
            let one = wanted(&entry.facts, &compiled.rules, question, at);
            if one != Wanted::default() {
                wanting.push(index);
                // A sender is asked about once, for all; of the caps the longest reaches furthest.
                all.window_of = all
                    .window_of
                    .or(question.sender.filter(|_| one.window_of.is_some()));
                all.sends_since = match (all.sends_since, one.sends_since) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (one, None) | (None, one) => one,
                };
            }
            pause(index).await;
        }
        let nothing: Arc<Activity> = Arc::default();
        let mut activities = vec![nothing; entries.len()];
        let those: Vec<SubjectRef> = wanting.iter().map(|i| subjects[*i].clone()).collect();
        let is_over_cap = |index: usize, sends: &Activity| {
            let index = wanting[index];
            let (facts, question) = (&entries[index].facts, &questions[index]);
            let verdict = decide(facts, sends, &compiled.rules, question, at);
            verdict.reasons().contains(&Reason::FrequencyCap)
        };
        let activity = &self.0.activity;
        let found = activity.activity(&those, all, at, is_over_cap).await?;
        for (index, activity) in wanting.into_iter().zip(found) {
            activities[index] = activity;
        }
        Ok(activities)
    }

    /// Takes the one permit that an opt-out gives for its confirmation; whoever comes second is told
    /// of the opt-out.
    async fn permitted(
        &self,
        compiled: &Compiled,
        asked: &Asked,
        verdict: Verdict,
        at: Timestamp,
    ) -> Result<Verdict, Error> {
        let opt_out = match verdict.reason() {
            Some(Reason::OptOutConfirmationPermitted) => verdict.rests_on,
            _ => return Ok(verdict),
        };
        let (Some(opt_out), Some(request)) = (opt_out, &asked.request_id) else {
            return Ok(without_permit(verdict));
        };
        let request = permit_hash(compiled, request);
        match self.0.activity.take_permit(opt_out, &request, at).await? {
            true => Ok(verdict),
            false => Ok(without_permit(verdict)),
        }
    }

    /// The same without taking anything: as if this request, or one that nobody made yet, asked.
    pub(super) async fn would_be_permitted(
        &self,
        compiled: &Compiled,
        asked: &Asked,
        verdict: Verdict,
    ) -> Result<Verdict, Error> {
        let opt_out = match verdict.reason() {
            Some(Reason::OptOutConfirmationPermitted) => verdict.rests_on,
            _ => return Ok(verdict),
        };
        let Some(opt_out) = opt_out else {
            return Ok(without_permit(verdict));
        };
        let holder = self.0.activity.permit_holder(opt_out).await?;
        let own = asked.request_id.as_ref();
        let own = own.map(|request| permit_hash(compiled, request));
        match holder.is_none() || holder == own {
            true => Ok(verdict),
            false => Ok(without_permit(verdict)),
        }
    }

    fn count(&self, verdict: &Verdict) {
        let reason = verdict.reason().map_or("", Reason::word);
        self.0.metrics.decisions(verdict.decision.word(), reason, 1);
    }

    async fn fresh_entry(&self, asked: &Asked, subject: &SubjectRef) -> Result<Arc<Entry>, Error> {
        let cache = &self.0.cache;
        match self.required(&asked.consistency).await? {
            Required::Cached => Ok(cache.facts(subject).await?),
            Required::Loaded => {
                let mut loaded = cache.load(std::slice::from_ref(subject)).await?;
                loaded
                    .pop()
                    .ok_or_else(|| Error::internal("a load answered nothing"))
            }
            Required::AtLeast(positions) => {
                let entries = self
                    .at_least(std::slice::from_ref(subject), &positions)
                    .await?;
                entries
                    .into_iter()
                    .next()
                    .ok_or_else(|| Error::internal("a load answered nothing"))
            }
        }
    }

    async fn fresh_entries(
        &self,
        asked: &Asked,
        subjects: &[SubjectRef],
    ) -> Result<Vec<Arc<Entry>>, Error> {
        let cache = &self.0.cache;
        match self.required(&asked.consistency).await? {
            Required::Cached => Ok(cache.facts_of_many(subjects).await?),
            Required::Loaded => Ok(cache.load(subjects).await?),
            Required::AtLeast(positions) => self.at_least(subjects, &positions).await,
        }
    }

    pub(super) async fn required(&self, asked: &Consistency) -> Result<Required, Error> {
        match asked {
            Consistency::Strict => Ok(Required::Cached),
            Consistency::FullyConsistent => {
                self.0.catalog.catch_up().await?;
                Ok(Required::Loaded)
            }
            Consistency::AtLeastAsFresh(token) => {
                let positions = self.0.tokens.read(token).map_err(|foreign| {
                    let field = "consistency.at_least_as_fresh";
                    Error::invalid(field, reason::TOKEN_INVALID, foreign.to_string())
                })?;
                for position in positions.iter().filter(|p| p.partition == SYSTEM) {
                    if self.0.catalog.applied() < position.offset {
                        self.0.catalog.catch_up().await?;
                    }
                    if self.0.catalog.applied() < position.offset {
                        return Err(Error::NotYetFresh);
                    }
                }
                Ok(Required::AtLeast(positions))
            }
        }
    }

    /// From memory where what was applied covers the token, else from the ledger.
    async fn at_least(
        &self,
        subjects: &[SubjectRef],
        positions: &[Position],
    ) -> Result<Vec<Arc<Entry>>, Error> {
        let wanted = |partition: Partition| proven(positions, partition);
        let cache = &self.0.cache;
        let covered = subjects.iter().all(|subject| {
            wanted(subject.partition).is_none_or(|offset| cache.covers(subject, offset))
        });
        if covered {
            return Ok(cache.facts_of_many(subjects).await?);
        }
        let entries = cache.load(subjects).await?;
        let fresh = entries
            .iter()
            .all(|entry| wanted(entry.partition).is_none_or(|offset| entry.as_of >= offset));
        if fresh {
            Ok(entries)
        } else {
            Err(Error::NotYetFresh)
        }
    }

    fn validity(&self, at: Timestamp, holds_until: Option<Timestamp>) -> (Timestamp, Duration) {
        let latest = at.plus(self.0.valid_for);
        let until = holds_until.map_or(latest, |end| end.min(latest)).max(at);
        (until, until.since(at))
    }

    /// A token for what was written here.
    pub(super) fn token_at(&self, positions: &[Position]) -> String {
        let places: Vec<_> = positions.iter().map(|p| (p.partition, p.offset)).collect();
        self.token_of(&places)
    }

    /// A token for what an answer rests on: the highest offset of each partition, and the catalogue.
    pub(super) fn token_of(&self, places: &[(Partition, Offset)]) -> String {
        let mut highest = std::collections::BTreeMap::new();
        for (partition, offset) in places {
            let known = highest.entry(*partition).or_insert(*offset);
            *known = (*known).max(*offset);
        }
        highest.insert(SYSTEM, self.0.catalog.applied());
        let positions: Vec<Position> = highest
            .into_iter()
            .map(|(partition, offset)| Position { partition, offset })
            .collect();
        self.0.tokens.make(&positions)
    }
}

/// What [`Consistency`] asks of facts, its token read.
pub(super) enum Required {
    Cached,
    Loaded,
    AtLeast(Vec<Position>),
}

impl Required {
    /// Whether facts that were read from the ledger up to here are fresh enough.
    pub(super) fn is_met_by(&self, partition: Partition, as_of: Offset) -> bool {
        match self {
            Self::Cached | Self::Loaded => true,
            Self::AtLeast(positions) => proven(positions, partition).is_none_or(|o| as_of >= o),
        }
    }
}

/// How far a token proves one partition.
fn proven(positions: &[Position], partition: Partition) -> Option<Offset> {
    let here = positions.iter().filter(|p| p.partition == partition);
    here.map(|p| p.offset).max()
}

fn permit_hash(compiled: &Compiled, request: &str) -> [u8; 16] {
    compiled
        .keys
        .idempotency_hash(&[b"permit", request.as_bytes()])
}

/// A confirmation of an opt-out without a permit is a message after an opt-out.
fn without_permit(verdict: Verdict) -> Verdict {
    if verdict.reason() != Some(Reason::OptOutConfirmationPermitted) {
        return verdict;
    }
    Verdict {
        decision: Decision::Deny,
        findings: vec![Finding {
            reason: Reason::Withdrawn,
            event: verdict.rests_on,
        }],
        ..verdict
    }
}

impl<'a> Resolved<'a> {
    /// The same question about one person.
    pub(super) fn about(&self, address: &Address) -> Question<'a> {
        Question {
            purpose: self.purpose,
            class: self.class,
            sender: self.sender,
            spelling: address.spelling(),
            place: place::of(address),
        }
    }
}

/// A question with its names looked up.
pub(super) struct Resolved<'a> {
    purpose: &'a Purpose,
    class: MessageClass,
    sender: Option<&'a SenderId>,
}

pub(super) fn resolve_question<'a>(
    compiled: &'a Compiled,
    asked: &Asked,
) -> Result<Resolved<'a>, Error> {
    let mut violations = Vec::new();
    let mut keep = |violation: Violation| violations.push(violation);
    let purpose = resolve::purpose(compiled, &asked.purpose, "purpose")
        .map_err(&mut keep)
        .ok();
    let sender = asked
        .sender
        .as_ref()
        .map(|name| resolve::sender(compiled, name, "sender_id"))
        .transpose()
        .map_err(&mut keep)
        .ok();
    let (Some(purpose), Some(sender)) = (purpose, sender) else {
        return Err(Error::Invalid { violations });
    };
    let template = asked.template.as_deref();
    let class = effective_class(compiled, purpose, asked.class, template);
    if class == MessageClass::Service && sender.is_none() {
        let message = "is required for SERVICE: the service window belongs to one sender";
        return Err(Error::invalid("sender_id", reason::FIELD_INVALID, message));
    }
    Ok(Resolved {
        purpose,
        class,
        sender: sender.map(|sender| &sender.sender_id),
    })
}

/// The stricter of what is asked, the purpose's own and the template's. The two classes of our own
/// are taken as asked.
pub(super) fn effective_class(
    compiled: &Compiled,
    purpose: &Purpose,
    asked: Option<MessageClass>,
    template: Option<&str>,
) -> MessageClass {
    let class = asked.map_or(purpose.message_class, |class| {
        class.stricter(purpose.message_class)
    });
    let classes = &compiled.catalog().business.template_classes;
    let template = template.and_then(|name| classes.get(name));
    template.map_or(class, |template| class.stricter(*template))
}

async fn pause(index: usize) {
    if index % YIELD_AFTER == YIELD_AFTER - 1 {
        tokio::task::yield_now().await;
    }
}

impl Checked {
    pub fn is_allowed(&self) -> bool {
        self.verdict.decision == Decision::Allow
    }
}
