//! All that callers can read of a person beside the answers to checks, for comparing what it was with what it is.

use consentgate::grpc::proto::*;

use super::acts::BUSINESSES;
use super::wire::recipient;
use crate::harness::TestServer;

/// What is on record of somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub records: Vec<ConsentRecord>,
    pub suppressions: Vec<Suppression>,
    pub events: Vec<ConsentEvent>,
}

impl View {
    pub async fn of(
        server: &TestServer,
        business: usize,
        address: usize,
        slot: u64,
    ) -> Result<Self, String> {
        let business_id = BUSINESSES[business].to_owned();
        let person = Some(recipient(address, slot, false));
        let standing = server.try_get(GetConsentRequest {
            business_id: business_id.clone(),
            recipient: person.clone(),
            ..GetConsentRequest::default()
        });
        let standing = standing.await.map_err(|status| status.to_string())?;
        let listed = server.try_events(ListConsentEventsRequest {
            business_id,
            recipient: person,
            page_size: 1_000,
            ..ListConsentEventsRequest::default()
        });
        let listed = listed.await.map_err(|status| status.to_string())?;
        Ok(Self {
            records: standing.records,
            suppressions: standing.suppressions,
            events: listed.events,
        })
    }

    /// The same without what an erasure takes out of entries.
    pub fn bare(&self) -> Self {
        let events = self.events.iter().map(|event| ConsentEvent {
            evidence: None,
            labels: [].into(),
            actor: String::new(),
            reported_message: None,
            ..event.clone()
        });
        Self {
            events: events.collect(),
            ..self.clone()
        }
    }

    /// What an erasure left of the person, and should not have.
    pub fn left_over(&self, before: &Self, erasure: &str, is_kept: bool) -> Option<String> {
        let consented = self
            .records
            .iter()
            .find(|record| record.given_at.is_some() || record.confirmed_at.is_some());
        if let Some(record) = consented {
            return Some(format!("a consent: {record:?}"));
        }
        if self.suppressions != before.suppressions {
            let (now, then) = (&self.suppressions, &before.suppressions);
            return Some(format!("suppressions {now:?} after {then:?}"));
        }
        let Some((last, others)) = self.events.split_last() else {
            return Some("no entry".to_owned());
        };
        let is_erasure = last.kind() == EventKind::Erasure && last.event_id == erasure;
        if !is_erasure || self.bare().events[..others.len()] != before.bare().events {
            return Some(format!("{:?} after {:?}", self.events, before.events));
        }
        let tells = |event: &&ConsentEvent| {
            event.evidence.is_some()
                || event.reported_message.is_some()
                || !event.actor.is_empty()
                || !event.labels.is_empty()
        };
        match self.events.iter().find(tells) {
            Some(event) if !is_kept => Some(format!("what is personal: {event:?}")),
            _ => None,
        }
    }
}
