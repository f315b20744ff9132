//! Identity: two addresses of one person are linked, or a person moves to another address.
//!
//! WhatsApp's webhooks carry a phone number and a user id together, and announce when either changes.
//! Linking hands over what restricts, both ways, and what permits where nothing is in doubt; moving
//! hands over what restricts alone, and leaves a stranger's address behind. Either is one commit over
//! all addresses that it concerns. What a link means afterwards is said in [`super::append`] and in
//! `crate::domain::facts`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::append::{ATTEMPTS, Found, Group, Prepared, Write, Written};
use super::{Consents, Error, Recipient, new_id};
use crate::domain::event::{Act, Event, IdentityChange, Inherited, Link, SCHEMA};
use crate::domain::id::EventId;
use crate::domain::time::Timestamp;
use crate::domain::vocabulary::TimeSource;

/// When WhatsApp said it, by which clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub at: Timestamp,
    pub source: TimeSource,
}

impl Consents {
    /// Links the address that is written for with another one of the same person. `None` if there is
    /// nothing to do: they are one address, of one kind, or linked already.
    pub(super) async fn link<A: Serialize + DeserializeOwned>(
        &self,
        write: &Write<'_>,
        other: &Recipient,
        said: Said,
        answer: impl Fn(EventId) -> A,
    ) -> Result<Option<Written<A>>, Error> {
        let keys = &write.compiled.keys;
        let address = &write.recipient.address;
        if address.kind() == other.address.kind() {
            return Ok(None);
        }
        let own_ref = self.subject_ref(write.business, keys, address);
        let other_ref = self.subject_ref(write.business, keys, &other.address);
        for _ in 0..ATTEMPTS {
            let own = self.read_group(&own_ref).await?;
            let other_group = self.read_group(&other_ref).await?;
            let told = |facts: &crate::domain::facts::Facts, id| {
                facts.links.iter().any(|link| {
                    let mut marks = link.linked.iter().chain(link.ended.iter());
                    link.other == id && marks.any(|mark| mark.at >= said.at)
                }) || facts.linked().any(|link| link.other == id)
            };
            if told(&own.own.facts, other_group.own.subject_id)
                && told(&other_group.own.facts, own.own.subject_id)
            {
                return Ok(None);
            }
            let now = other_group.now(own.now(self.now()));
            let event_id = EventId(new_id(now));
            let prepared = linking(write, own, other_group, other, said, (event_id, now));
            if let Some(written) = self.commit(write, prepared, answer(event_id)).await? {
                return Ok(Some(written));
            }
        }
        Err(Error::Contended)
    }

    /// The person left `former` for the address that is written for. `None` if nothing is known of
    /// the former one, so that there is nothing to hand over and nobody to tell a stranger from.
    pub(super) async fn move_identity<A: Serialize + DeserializeOwned>(
        &self,
        write: &Write<'_>,
        former: &Recipient,
        said: Said,
        answer: impl Fn(EventId) -> A,
    ) -> Result<Option<Written<A>>, Error> {
        let keys = &write.compiled.keys;
        let own_ref = self.subject_ref(write.business, keys, &write.recipient.address);
        let former_ref = self.subject_ref(write.business, keys, &former.address);
        if own_ref == former_ref {
            return Ok(None);
        }
        for _ in 0..ATTEMPTS {
            let former = self.read_group(&former_ref).await?;
            if former.own.version.0 == 0 {
                return Ok(None);
            }
            let own = self.read_group(&own_ref).await?;
            let now = former.now(own.now(self.now()));
            let event_id = EventId(new_id(now));
            let prepared = moving(write, own, former, said, (event_id, now));
            if let Some(written) = self.commit(write, prepared, answer(event_id)).await? {
                return Ok(Some(written));
            }
        }
        Err(Error::Contended)
    }
}

/// The event of each address when two are linked.
fn linking<'a>(
    write: &Write<'a>,
    own: Group,
    other: Group,
    other_recipient: &'a Recipient,
    said: Said,
    id: (EventId, Timestamp),
) -> Vec<Prepared<'a>> {
    let (a, b) = (&own.own, &other.own);
    let (here, there) = (
        write.recipient.address.spelling(),
        other_recipient.address.spelling(),
    );
    let link = |to: &Found, kind, here, inherited| {
        Act::Linked(Link {
            other: to.subject_id,
            kind,
            here,
            inherited,
        })
    };
    let kinds = (
        write.recipient.address.kind(),
        other_recipient.address.kind(),
    );
    let acts = |in_doubt: bool| {
        let inheritance = |from: &Found, here, there| match in_doubt {
            true => from.facts.restrictive_inheritance(),
            false => from.facts.inheritance(from.subject_id, here, there),
        };
        (
            link(b, kinds.1, here, inheritance(b, there, here)),
            link(a, kinds.0, there, inheritance(a, here, there)),
        )
    };
    let event = |found: &Found, spelling, act| Event {
        spelling,
        ..event_of(write, found, said, id, act)
    };
    // Whether the new link itself raises a doubt is known once it is applied.
    let (for_a, for_b) = acts(true);
    let raises_doubt = |found: &Found, spelling, act: &Act| {
        let mut facts = found.facts.clone();
        facts.apply(&event(found, spelling, act.clone()));
        facts.doubt().is_some()
    };
    let in_doubt = raises_doubt(a, here, &for_a) || raises_doubt(b, there, &for_b);
    let (for_a, for_b) = if in_doubt {
        (for_a, for_b)
    } else {
        acts(false)
    };
    let (event_a, event_b) = (event(a, here, for_a), event(b, there, for_b));
    let mut prepared = vec![
        Prepared::new(own.own, event_a, Some(write.recipient)),
        Prepared::new(other.own, event_b, Some(other_recipient)),
    ];
    let others = own.linked.into_iter().chain(other.linked);
    hand_on(&mut prepared, others.collect(), write, said, id);
    prepared
}

/// The event of each address when a person moves.
fn moving<'a>(
    write: &Write<'a>,
    own: Group,
    former: Group,
    said: Said,
    id: (EventId, Timestamp),
) -> Vec<Prepared<'a>> {
    let inherited = former.own.facts.restrictive_inheritance();
    let successor = Act::IdentityChanged(IdentityChange::Successor { inherited });
    let event = Event {
        spelling: write.recipient.address.spelling(),
        ..event_of(write, &own.own, said, id, successor)
    };
    let own_id = own.own.subject_id;
    let mut prepared = vec![Prepared::new(own.own, event, Some(write.recipient))];
    let left = event_of(
        write,
        &former.own,
        said,
        id,
        Act::IdentityChanged(IdentityChange::Former),
    );
    let former_id = former.own.subject_id;
    let beside_former = former
        .linked
        .into_iter()
        .filter(|one| one.subject_id != own_id);
    let unlinked: Vec<Prepared<'a>> = beside_former
        .filter_map(|one| {
            let slot = one
                .facts
                .links
                .iter()
                .find(|link| link.other == former_id)?;
            let act = Act::IdentityChanged(IdentityChange::Unlinked {
                former: former_id,
                kind: slot.kind,
            });
            let event = event_of(write, &one, said, id, act);
            Some(Prepared::new(one, event, None))
        })
        .collect();
    prepared.push(Prepared::new(former.own, left, None));
    prepared.extend(unlinked);
    hand_on(&mut prepared, own.linked, write, said, id);
    prepared
}

/// What an address took over holds for the addresses that are linked with it, too.
fn hand_on<'a>(
    prepared: &mut Vec<Prepared<'a>>,
    others: Vec<Found>,
    write: &Write<'a>,
    said: Said,
    id: (EventId, Timestamp),
) {
    for other in others {
        if prepared
            .iter()
            .any(|one| one.found.subject_id == other.subject_id)
        {
            continue;
        }
        let Some((link, from)) = other.facts.linked().find_map(|link| {
            let from = prepared
                .iter()
                .find(|one| one.found.subject_id == link.other)?;
            Some((link, from))
        }) else {
            continue;
        };
        let inherited: Inherited = from.found.facts.restrictive_inheritance();
        let act = Act::Linked(Link {
            other: link.other,
            kind: link.kind,
            here: link.here,
            inherited,
        });
        // The link itself is not new: it keeps the time at which it was made.
        let made = link.linked.newest().map_or(said.at, |mark| mark.at);
        let event = Event {
            event_time: made,
            spelling: link.here,
            ..event_of(write, &other, said, id, act)
        };
        prepared.push(Prepared::new(other, event, None));
    }
}

fn event_of(
    write: &Write<'_>,
    found: &Found,
    said: Said,
    (event_id, now): (EventId, Timestamp),
    act: Act,
) -> Event {
    let here = found.facts.links.first().map(|link| link.here);
    Event {
        schema: SCHEMA,
        event_id,
        subject_id: found.subject_id,
        business_id: write.business.clone(),
        event_time: said.at.min(now),
        recorded_at: now,
        time_source: said.source,
        spelling: here.unwrap_or(crate::domain::address::Spelling::Verbatim),
        act,
        copied_from: None,
        payload_commitment: write
            .payload
            .as_ref()
            .map(super::payload::Payload::commitment),
        recorded_by: None,
    }
}
