//! Explain: what a check would answer, and why, for people. Read from the ledger; it permits nothing,
//! uses nothing up and is not counted as a decision.
//!
//! What the sentences say is `domain::decide::explain`'s. Here is found what they speak of: the facts as
//! of the instant asked about, and the events with what proves them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check::{Asked, resolve_question};
use super::history::{HistoryEvent, opened};
use super::{Consents, Error, Recipient};
use crate::domain::decide::explain::{Explanation, explain};
use crate::domain::decide::{Verdict, decide};
use crate::domain::event::{Act, Event};
use crate::domain::facts::Facts;
use crate::domain::id::{BusinessId, EventId, SubjectId};
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::MessageClass;
use crate::ledger::{Offset, Recorded};

/// How many events are read at once.
const PAGE: u32 = 1_000;

/// A check's question, and the instant that it is asked about.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    pub asked: Asked,
    pub recipient: Recipient,
    /// `None`: now.
    pub at: Option<Timestamp>,
}

/// A decision with its reasons in words and the events behind it.
#[derive(Debug)]
pub struct Explained {
    pub verdict: Verdict,
    pub explanation: Explanation,
    /// Oldest first; those of linked addresses follow.
    pub events: Vec<HistoryEvent>,
    /// The class that was judged.
    pub class: MessageClass,
    /// The instant that was judged.
    pub at: Timestamp,
    pub policy_version: Arc<str>,
    pub token: String,
}

impl Consents {
    /// Says what a check would answer at an instant, and why.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Explained, Error> {
        let asked = &request.asked;
        let address = &request.recipient.address;
        self.0.cache.require_lease()?;
        let required = self.required(&asked.consistency).await?;
        let compiled = self.compiled_for(asked).await?;
        let question = resolve_question(&compiled, asked)?.about(address);
        let subject = self.subject_ref(&asked.business, &compiled.keys, address);
        let loaded = self.0.ledger.facts(std::slice::from_ref(&subject)).await?;
        let loaded = loaded.into_iter().next();
        let loaded = loaded.ok_or_else(|| Error::internal("a read answered nothing"))?;
        if !required.is_met_by(subject.partition, loaded.as_of) {
            return Err(Error::NotYetFresh);
        }
        let at = request.at.unwrap_or_else(|| self.now());
        let subject_id = loaded.subject.as_ref().map(|known| known.subject_id);
        let recorded = loaded.subject.map(|known| known.facts).unwrap_or_default();
        let facts = match subject_id {
            Some(subject_id) if recorded.latest() > at => {
                self.facts_as_of(&subject.business, subject_id, loaded.as_of, at)
                    .await?
            }
            Some(_) | None => recorded.clone(),
        };
        let (rules, facts) = (&compiled.rules, &facts);
        let activity = self.activity(&compiled, &question, &subject, facts, at);
        let activity = activity.await?.as_of(at);
        let verdict = decide(facts, &activity, rules, &question, at);
        let verdict = self.would_be_permitted(&compiled, asked, verdict).await?;
        let explanation = explain(facts, &activity, rules, &question, at, &verdict);
        let mut events = Vec::new();
        if let Some(subject_id) = subject_id {
            let wanted = explanation.events.clone();
            let found = self
                .find_everywhere(&subject.business, subject_id, &recorded, wanted)
                .await?;
            for one in found {
                events.push(opened(&compiled, one)?);
            }
        }
        Ok(Explained {
            verdict,
            explanation,
            events,
            class: question.class,
            at,
            policy_version: Arc::clone(compiled.rules.version()),
            token: self.token_of(&[(subject.partition, loaded.as_of)]),
        })
    }

    /// The facts for a question about the past: of the same events that the facts of now hold.
    async fn facts_as_of(
        &self,
        business: &BusinessId,
        subject: SubjectId,
        until: Offset,
        at: Timestamp,
    ) -> Result<Facts, Error> {
        let mut events: Vec<Event> = Vec::new();
        let mut after = Offset(0);
        loop {
            let page = self.history_of(business, subject, after, PAGE).await?;
            let Some(last) = page.last().map(|one| one.position.offset) else {
                break;
            };
            after = last;
            let known = page.into_iter().filter(|one| one.position.offset <= until);
            events.extend(known.map(|one| one.event));
            if last >= until {
                break;
            }
        }
        Ok(Facts::fold_as_of(&events, at))
    }

    /// The wanted events and those that they refer to: of the person's own address, then what is not
    /// there but was taken over from a linked one.
    async fn find_everywhere(
        &self,
        business: &BusinessId,
        subject: SubjectId,
        facts: &Facts,
        mut wanted: BTreeSet<EventId>,
    ) -> Result<Vec<Recorded>, Error> {
        let mut found = Vec::new();
        let others = facts.links.iter().map(|link| link.other);
        for place in std::iter::once(subject).chain(others) {
            let mut here = self.find_events(business, place, wanted.clone()).await?;
            let known: BTreeSet<EventId> = here.iter().map(|one| one.event.event_id).collect();
            let refers = here.iter().flat_map(|one| refers_to(&one.event.act));
            let refers: BTreeSet<EventId> = refers.filter(|id| !known.contains(id)).collect();
            here.extend(self.find_events(business, place, refers).await?);
            here.sort_by_key(|one| one.position.offset);
            for one in &here {
                wanted.remove(&one.event.event_id);
            }
            found.extend(here);
        }
        Ok(found)
    }
}

/// Earlier events that an act only makes sense with.
fn refers_to(act: &Act) -> Vec<EventId> {
    match act {
        Act::ConsentConfirmed(confirmation) => {
            let requests = confirmation.requests.iter();
            requests.map(|request| request.request).collect()
        }
        Act::SuppressionLifted(lift) => lift.lifts.into_iter().collect(),
        Act::ConsentGiven(_)
        | Act::ConsentRequested(_)
        | Act::ConsentRequestDeferred(_)
        | Act::Restricted(_)
        | Act::Suppressed(_)
        | Act::RegistryChecked(_)
        | Act::Linked(_)
        | Act::IdentityChanged(_)
        | Act::DeliveryFailed(_)
        | Act::Reached(_)
        | Act::Erased(_) => Vec::new(),
    }
}
