//! Acts that no person writes, at random: what registries, deliveries and WhatsApp itself report.
//!
//! Links and moves carry what held for another address: the facts of a small history of that address,
//! as [`Facts`] itself hands them over. How acts become a history is in [`super::histories`].

use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use super::histories::{
    SENDERS, asked, erasure, event_of, genuine_terms, restriction, suppression,
};
use crate::domain::address::Spelling;
use crate::domain::event::{
    Act, Event, Failure, IdentityChange, Inherited, Link, Reached, RegistryCheck,
};
use crate::domain::facts::Facts;
use crate::domain::id::{EventId, RegistryName, SenderId, SubjectId};
use crate::domain::vocabulary::{AddressKind, FailureKind, RegistryResult};

/// One that lists who wants no marketing, one that lists numbers that changed hands, and one that no
/// policy names.
pub(super) const REGISTRIES: [&str; 3] = ["dnc", "rnd", "gone"];

/// Other addresses, each always of one kind; two of them are of the same.
pub(super) const OTHERS: [(u128, AddressKind); 3] = [
    (70, AddressKind::UserId),
    (71, AddressKind::UserId),
    (72, AddressKind::ParentUserId),
];

pub(super) fn registry(name: &str) -> RegistryName {
    RegistryName::parse(name).unwrap()
}

pub(super) fn subject(number: u128) -> SubjectId {
    SubjectId(Uuid::from_u128(number))
}

pub(super) fn checked(result: impl Strategy<Value = RegistryResult>) -> impl Strategy<Value = Act> {
    (select(&REGISTRIES[..]), result).prop_map(|(name, result)| {
        Act::RegistryChecked(RegistryCheck {
            registry: registry(name),
            list_version: None,
            result,
        })
    })
}

pub(super) fn failure(kind: impl Strategy<Value = FailureKind>) -> impl Strategy<Value = Act> {
    kind.prop_map(|kind| Act::DeliveryFailed(failed(kind)))
}

pub(super) fn undelivered() -> Act {
    Act::DeliveryFailed(failed(FailureKind::Undeliverable))
}

fn failed(kind: FailureKind) -> Failure {
    Failure {
        kind,
        sender_id: SenderId::parse("1001").unwrap(),
        code: "131026".into(),
        provider: String::new(),
    }
}

pub(super) fn reached() -> Act {
    Act::Reached(Reached {
        sender_id: SenderId::parse("1001").unwrap(),
    })
}

/// Which other address, and what happened there.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    pub(super) other: SubjectId,
    pub(super) kind: AddressKind,
    pub(super) past: Vec<Event>,
}

pub(super) fn elsewhere() -> BoxedStrategy<Elsewhere> {
    let act = prop_oneof![
        3 => event_of(genuine_terms().prop_map(Act::ConsentGiven)),
        2 => event_of(restriction()),
        1 => event_of(suppression()),
        1 => event_of(asked()),
        1 => event_of(checked(select(RegistryResult::ALL))),
        1 => event_of(erasure()),
    ];
    let past = prop::collection::vec(act, 0..3);
    (select(&OTHERS[..]), past)
        .prop_map(|((number, kind), mut past)| {
            for (index, event) in past.iter_mut().enumerate() {
                // No act of this address has such an id.
                event.event_id = EventId(Uuid::from_u128(100 * number + index as u128));
            }
            Elsewhere {
                other: subject(number),
                kind,
                past,
            }
        })
        .boxed()
}

impl Elsewhere {
    /// WhatsApp names the other address together with this one, in this spelling.
    pub(super) fn linked(&self, here: Spelling) -> Act {
        let facts = Facts::fold(&self.past);
        Act::Linked(Link {
            other: self.other,
            kind: self.kind,
            here,
            inherited: facts.inheritance(self.other, Spelling::Verbatim, here),
        })
    }

    /// This address is the new one of whoever had the other.
    pub(super) fn moved_here(&self) -> Act {
        let inherited = Facts::fold(&self.past).restrictive_inheritance();
        Act::IdentityChanged(IdentityChange::Successor { inherited })
    }

    pub(super) fn unlinked(&self) -> Act {
        Act::IdentityChanged(IdentityChange::Unlinked {
            former: self.other,
            kind: self.kind,
        })
    }
}

/// An address that was never heard of, and of which nothing was known.
pub(super) fn named_with_a_stranger(kind: AddressKind, here: Spelling) -> Act {
    Act::Linked(Link {
        other: subject(79),
        kind,
        here,
        inherited: Inherited::default(),
    })
}

/// A sender that a message of the person may have reached.
pub(super) fn receiver() -> impl Strategy<Value = Option<SenderId>> {
    prop::option::of(select(&SENDERS[..])).prop_map(|id| id.map(|id| SenderId::parse(id).unwrap()))
}
