//! Facts: everything a decision needs to know of one subject, folded from its events.
//!
//! Facts are a join of maxima: for each slot the event with the greatest (effective time, content
//! digest) is kept. So they do not depend on the order in which events arrive, nor on how often,
//! and replaying the ledger must give exactly what is stored. They hold no verdict: what follows
//! from them at an instant under given rules is [`super::decide`]'s business, and a state such as
//! "expired" is never stored. How events become facts is in [`fold`], what follows for whose the
//! address is in [`identity`], whether it can be reached in [`reach`], and what to make of a question
//! about the past in [`past`].

mod codec;
mod fold;
mod identity;
mod past;
mod reach;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::address::Spelling;
use super::event::{Digest, Event, Implied};
use super::id::{
    EventId, JurisdictionCode, NoticeRef, PurposeKey, RegistryName, SenderId, SubjectId,
};
use super::time::Timestamp;
use super::vocabulary::{
    AddressKind, ConsentType, EvidenceFields, FailureKind, RegistryResult, RestrictionKind,
    SuppressionBasis, TimeSource,
};

pub use codec::{FOLD_VERSION, UnreadableFacts};
pub use fold::evidence_of;
pub use reach::{LIMITED_FOR, UNREACHABLE_FOR};

/// Where an event stands in the order by which maxima are taken, and which event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// When the act counts from.
    pub at: Timestamp,
    pub source: TimeSource,
    /// Breaks ties of one instant independently of arrival.
    pub digest: Digest,
    pub event_id: EventId,
}

impl Mark {
    pub fn of(event: &Event) -> Self {
        Self {
            at: event.effective_at(),
            source: event.time_source,
            digest: event.content_digest(),
            event_id: event.event_id,
        }
    }

    /// Two deliveries of one act differ in their event ids; the smaller id is kept, so that the
    /// result is the same whichever arrives first.
    fn rank(&self) -> (Timestamp, Digest, std::cmp::Reverse<EventId>) {
        (self.at, self.digest, std::cmp::Reverse(self.event_id))
    }

    /// Whether this is later than `other`: strictly, and by more than the tolerance where the two
    /// times come from different clocks, which nobody compares.
    pub fn is_later_than(&self, other: &Self, tolerance: Duration) -> bool {
        if self.source == other.source {
            self.at > other.at
        } else {
            self.at > other.at.plus(tolerance)
        }
    }

    /// Which act it is, however often it was delivered.
    pub const fn act(&self) -> (Timestamp, Digest) {
        (self.at, self.digest)
    }
}

/// The latest mark of each clock: that of one may not stand in for that of another, because the two
/// compare with a tolerance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Latest(ThinVec<Mark>);

impl Latest {
    pub fn iter(&self) -> std::slice::Iter<'_, Mark> {
        self.0.iter()
    }

    /// The latest of all, by whichever clock.
    pub fn newest(&self) -> Option<&Mark> {
        self.0.iter().max_by_key(|mark| mark.rank())
    }

    fn raise(&mut self, mark: Mark) {
        match self
            .0
            .binary_search_by_key(&mark.source, |known| known.source)
        {
            Ok(index) if mark.rank() > self.0[index].rank() => self.0[index] = mark,
            Ok(_) => {}
            Err(index) => self.0.insert(index, mark),
        }
    }
}

/// The latest grant of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub purpose: PurposeKey,
    pub sender: Option<SenderId>,
    pub spelling: Spelling,
    pub consent_type: ConsentType,
    pub import: bool,
    /// When the person confirmed it from the same address; `None` if that did not happen.
    pub confirmed_at: Option<Timestamp>,
    /// When it was given or, if confirmed, requested.
    pub mark: Mark,
    /// The act before it in the same slot: with one, the consent is a renewed one.
    pub prior: Option<(Timestamp, Digest)>,
    pub implied: Option<Implied>,
    pub notice: Option<NoticeRef>,
    pub processing_version: i32,
    /// Which evidence came with it, declarations that were affirmed included.
    pub evidence: EvidenceFields,
    pub jurisdiction: Option<JurisdictionCode>,
    /// The linked address at which it was given, if it was given there: it counts here while the
    /// link stands.
    pub via_link: Option<SubjectId>,
}

/// A slot's name: an implied grant never shadows an expressed one, an import never a genuine act,
/// a request that awaits its confirmation never a confirmed consent, and a time of one clock never
/// one of another, because the two compare with a tolerance.
type GrantSlot<'a> = (
    &'a PurposeKey,
    Option<&'a SenderId>,
    Spelling,
    ConsentType,
    bool,
    bool,
    TimeSource,
    Option<SubjectId>,
);

impl Grant {
    fn slot(&self) -> GrantSlot<'_> {
        (
            &self.purpose,
            self.sender.as_ref(),
            self.spelling,
            self.consent_type,
            self.import,
            self.confirmed_at.is_some(),
            self.mark.source,
            self.via_link,
        )
    }

    /// An act of the person, as opposed to an inference or an import: only such a one gives
    /// consent again after a restriction.
    pub fn is_genuine_act(&self) -> bool {
        !self.import && self.consent_type != ConsentType::Implied
    }

    /// Joins with another event of the same slot.
    fn join(&mut self, mut other: Self) {
        let acts = [
            Some(self.mark.act()),
            self.prior,
            Some(other.mark.act()),
            other.prior,
        ];
        if self.newer_than(&other) {
            std::mem::swap(self, &mut other);
        }
        // `other` is now the newer or equal one; the second newest distinct act becomes `prior`.
        *self = other;
        let latest = self.mark.act();
        self.prior = acts.into_iter().flatten().filter(|act| *act < latest).max();
    }

    /// Of two confirmations of one request the earlier counts.
    fn newer_than(&self, other: &Self) -> bool {
        let rank = |grant: &Self| {
            let mark = grant.mark;
            (
                mark.at,
                mark.digest,
                std::cmp::Reverse(grant.confirmed_at),
                std::cmp::Reverse(mark.event_id),
            )
        };
        rank(self) > rank(other)
    }
}

/// The latest times that a person was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub purpose: PurposeKey,
    pub sender: Option<SenderId>,
    /// The notice was dismissed without a decision.
    pub deferred: bool,
    /// The latest of them, newest first; at least one, at most [`Ask::KEPT`].
    pub marks: Vec<Mark>,
}

impl Ask {
    /// How many are kept: no policy may allow more.
    pub const KEPT: usize = 8;

    /// The latest.
    pub fn latest(&self) -> Option<&Mark> {
        self.marks.first()
    }
}

/// What one restriction or suppression covers: as [`Scope`], but one purpose each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Coverage {
    Purpose(PurposeKey),
    AllMarketing,
    Everything,
}

/// The latest restriction of one kind, scope, sender and clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restricted {
    pub kind: RestrictionKind,
    pub coverage: Coverage,
    pub sender: Option<SenderId>,
    /// The sender that it was written to, if it came as a WhatsApp message.
    pub received_by: Option<SenderId>,
    pub mark: Mark,
}

/// The latest suppression of one basis, scope, sender, end and clock. Suppressions with different
/// ends are kept apart: a later one that ends sooner does not shorten an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressed {
    pub basis: SuppressionBasis,
    pub coverage: Coverage,
    pub sender: Option<SenderId>,
    /// `None`: it holds until it is lifted.
    pub until: Option<Timestamp>,
    /// As in [`Restricted`].
    pub received_by: Option<SenderId>,
    pub mark: Mark,
}

/// The latest lifting of suppressions of one basis, scope and sender, by one clock. It reaches all
/// that came before it, whatever their end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifted {
    pub basis: SuppressionBasis,
    pub coverage: Coverage,
    pub sender: Option<SenderId>,
    pub mark: Mark,
}

/// The latest answer of one registry, of one kind and by one clock. An answer without data is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consulted {
    pub registry: RegistryName,
    pub result: RegistryResult,
    pub mark: Mark,
}

/// Another address of the same person, as WhatsApp named both in one webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linked {
    pub other: SubjectId,
    /// What the other address is.
    pub kind: AddressKind,
    /// The spelling of this address that was linked: what is given at the other one counts for it.
    pub here: Spelling,
    /// When they were last recorded as named together; empty: only the link's end is known.
    pub linked: Latest,
    /// When the other address ceased to be the person's.
    pub ended: Latest,
}

/// The latest failures of one kind to deliver to this address, newest first. A mismatch of identity
/// is none of them: see [`Facts::mismatched`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    pub kind: FailureKind,
    /// At most four.
    pub marks: Vec<Mark>,
}

/// All that is known of a subject. Slots are kept sorted, so that equal facts are equal bytes. Facts are
/// held by the million, most with one slot alone: an empty list is a pointer, without an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    pub grants: ThinVec<Grant>,
    pub asks: ThinVec<Ask>,
    pub restrictions: ThinVec<Restricted>,
    pub suppressions: ThinVec<Suppressed>,
    pub lifts: ThinVec<Lifted>,
    pub registries: ThinVec<Consulted>,
    pub links: ThinVec<Linked>,
    /// When the person left this address for another one.
    pub left: Latest,
    /// When the keys of the recipient's device were not those that were known.
    pub mismatched: Latest,
    pub failures: ThinVec<Failed>,
    /// When the address last answered after deliveries had failed.
    pub reached: Option<Box<Mark>>,
    /// When the person's data were last erased. No grant from before is among the facts.
    pub erased: Latest,
}

impl Facts {
    /// Folds events, in any order.
    pub fn fold<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut facts = Self::default();
        for event in events {
            facts.apply(event);
        }
        facts
    }

    /// Gives back what lists hold in reserve. For facts that are kept.
    pub fn shrink(&mut self) {
        self.grants.shrink_to_fit();
        self.asks.shrink_to_fit();
        self.restrictions.shrink_to_fit();
        self.suppressions.shrink_to_fit();
        self.lifts.shrink_to_fit();
        self.registries.shrink_to_fit();
        self.links.shrink_to_fit();
        self.failures.shrink_to_fit();
    }

    /// The bytes that the facts hold beside their own struct, each allocation with what it costs. For
    /// a cache's bound.
    pub fn heap_bytes(&self) -> usize {
        let names =
            |names: &[Option<usize>]| names.iter().flatten().copied().map(chunk).sum::<usize>();
        let sender = |sender: &Option<SenderId>| sender.as_ref().map(SenderId::heap_bytes);
        let covered = |coverage: &Coverage| match coverage {
            Coverage::Purpose(purpose) => Some(purpose.heap_bytes()),
            Coverage::AllMarketing | Coverage::Everything => None,
        };
        let grants = self.grants.iter().map(|grant| {
            let notice = grant.notice.as_ref();
            names(&[
                Some(grant.purpose.heap_bytes()),
                sender(&grant.sender),
                notice.map(|notice| notice.notice_id.heap_bytes()),
                notice.map(|notice| notice.language.heap_bytes()),
            ])
        });
        let asks = self.asks.iter().map(|ask| {
            chunk(ask.marks.capacity() * size_of::<Mark>())
                + names(&[Some(ask.purpose.heap_bytes()), sender(&ask.sender)])
        });
        let restrictions = self.restrictions.iter().map(|one| {
            names(&[
                covered(&one.coverage),
                sender(&one.sender),
                sender(&one.received_by),
            ])
        });
        let suppressions = self.suppressions.iter().map(|one| {
            names(&[
                covered(&one.coverage),
                sender(&one.sender),
                sender(&one.received_by),
            ])
        });
        let lifts = self.lifts.iter();
        let lifts = lifts.map(|one| names(&[covered(&one.coverage), sender(&one.sender)]));
        let registries = self.registries.iter();
        let registries = registries.map(|one| names(&[Some(one.registry.heap_bytes())]));
        let links = self
            .links
            .iter()
            .map(|one| list(&one.linked.0) + list(&one.ended.0));
        let failures = self.failures.iter();
        let failures = failures.map(|one| chunk(one.marks.capacity() * size_of::<Mark>()));
        let lists = list(&self.grants)
            + list(&self.asks)
            + list(&self.restrictions)
            + list(&self.suppressions)
            + list(&self.lifts)
            + list(&self.registries)
            + list(&self.links)
            + list(&self.left.0)
            + list(&self.mismatched.0)
            + list(&self.erased.0)
            + list(&self.failures);
        let reached = self
            .reached
            .as_ref()
            .map_or(0, |_| chunk(size_of::<Mark>()));
        let slots = grants.chain(asks).chain(restrictions).chain(suppressions);
        let slots = slots
            .chain(lifts)
            .chain(registries)
            .chain(links)
            .chain(failures);
        lists + reached + slots.sum::<usize>()
    }

    /// The latest instant from which anything counts; the epoch if nothing does.
    pub fn latest(&self) -> Timestamp {
        let grants = self
            .grants
            .iter()
            .map(|grant| grant.confirmed_at.unwrap_or(grant.mark.at));
        let asks = self.asks.iter().flat_map(|ask| &ask.marks);
        let failures = self.failures.iter().flat_map(|failed| &failed.marks);
        let links = self
            .links
            .iter()
            .flat_map(|link| link.linked.iter().chain(link.ended.iter()));
        let marks = asks
            .chain(failures)
            .chain(links)
            .chain(self.restrictions.iter().map(|restricted| &restricted.mark))
            .chain(self.suppressions.iter().map(|suppressed| &suppressed.mark))
            .chain(self.lifts.iter().map(|lift| &lift.mark))
            .chain(self.registries.iter().map(|consulted| &consulted.mark))
            .chain(self.left.iter())
            .chain(self.mismatched.iter())
            .chain(self.erased.iter())
            .chain(self.reached.as_deref());
        let all = grants.chain(marks.map(|mark| mark.at));
        all.max().unwrap_or(Timestamp::EPOCH)
    }

    /// Whether the person's data were erased and the person has not consented to anything since.
    pub fn is_erased(&self) -> bool {
        self.erased.newest().is_some() && !self.grants.iter().any(Grant::is_genuine_act)
    }

    /// Whether the person has confirmed this consent, or a later one to the same: then it waits for no
    /// confirmation any more.
    pub fn is_confirmed(&self, grant: &Grant) -> bool {
        self.grants.iter().any(|other| {
            other.confirmed_at.is_some()
                && other.purpose == grant.purpose
                && other.sender == grant.sender
                && other.spelling.grants(grant.spelling)
                && other.mark.at >= grant.mark.at
        })
    }

    /// The suppressions that hold at `at`: neither ended nor lifted by something later. At the same
    /// instant the suppression outweighs its lifting, and against another clock the lifting must be
    /// later by more than `tolerance`. One that is recorded holds at once, whatever `at` says.
    pub fn suppressions_at(
        &self,
        at: Timestamp,
        tolerance: Duration,
    ) -> impl Iterator<Item = &Suppressed> {
        self.suppressions.iter().filter(move |suppressed| {
            let ended = suppressed.until.is_some_and(|until| at >= until);
            !ended && !self.is_lifted(suppressed, tolerance)
        })
    }

    fn is_lifted(&self, suppressed: &Suppressed, tolerance: Duration) -> bool {
        self.lifts.iter().any(|lift| {
            lift.basis == suppressed.basis
                && lift.coverage == suppressed.coverage
                && lift.sender == suppressed.sender
                && lift.mark.is_later_than(&suppressed.mark, tolerance)
        })
    }

    /// The registries that list the number: their latest word is that they do. Against another clock
    /// it is taken back only by what is later by more than `tolerance`.
    pub fn listings(&self, tolerance: Duration) -> impl Iterator<Item = &Consulted> {
        self.registries.iter().filter(move |listed| {
            listed.result == RegistryResult::Listed
                && !self.registries.iter().any(|other| {
                    other.registry == listed.registry
                        && other.result == RegistryResult::NotListed
                        && other.mark.is_later_than(&listed.mark, tolerance)
                })
        })
    }
}

/// What an allocation of so many bytes takes: the allocator adds eight and rounds up to sixteen (glibc
/// 2.x on 64 bits; others differ by little).
pub fn chunk(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => (bytes + 8).next_multiple_of(16).max(32),
    }
}

/// What a list takes, with the two numbers that lie before its slots.
fn list<T>(list: &ThinVec<T>) -> usize {
    match list.capacity() {
        0 => 0,
        slots => chunk(2 * size_of::<usize>() + slots * size_of::<T>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
    use crate::domain::event::{
        Act, Confirmation, ConfirmedRequest, Declarations, Lift, Link, SCHEMA, Scope, Suppression,
    };
    use crate::domain::vocabulary::{EvidenceField, IndicationMethod};

    fn holds(facts: &Facts, seconds: i64) -> Vec<&Suppressed> {
        facts
            .suppressions_at(at(seconds), Duration::from_mins(5))
            .collect()
    }

    fn given(id: u128, seconds: i64) -> Event {
        event(id, at(seconds), Act::ConsentGiven(terms("offers")))
    }

    #[test]
    fn a_late_older_grant_does_not_replace_a_newer_one_but_makes_it_a_renewal() {
        let (older, newer) = (given(1, 100), given(2, 200));
        let facts = Facts::fold([&newer, &older]);
        assert_eq!(facts.grants.len(), 1);
        assert_eq!(facts.grants[0].mark.event_id, newer.event_id);
        assert_eq!(facts.grants[0].prior.map(|(time, _)| time), Some(at(100)));
        assert_eq!(facts, Facts::fold([&older, &newer]));
    }

    #[test]
    fn an_event_applied_twice_is_applied_once() {
        let events = [
            given(1, 100),
            event(2, at(150), withdrawal(Scope::Everything)),
            given(3, 200),
        ];
        let once = Facts::fold(&events);
        let twice = Facts::fold(events.iter().chain(events.iter().rev()));
        assert_eq!(once, twice);
    }

    #[test]
    fn one_act_recorded_twice_under_two_ids_is_no_renewal_and_keeps_one_id_in_any_order() {
        let (a, b) = (given(1, 100), given(2, 100));
        let facts = Facts::fold([&a, &b]);
        assert_eq!(facts, Facts::fold([&b, &a]));
        assert_eq!(facts.grants[0].mark.event_id, a.event_id);
        assert_eq!(facts.grants[0].prior, None);
    }

    #[test]
    fn implied_grants_and_imports_have_slots_of_their_own() {
        let mut implied = terms("offers");
        implied.consent_type = ConsentType::Implied;
        let mut import = terms("offers");
        import.indication_method = IndicationMethod::Import;
        let facts = Facts::fold(&[
            given(1, 100),
            event(2, at(200), Act::ConsentGiven(implied)),
            event(3, at(300), Act::ConsentGiven(import)),
        ]);
        assert_eq!(facts.grants.len(), 3);
    }

    #[test]
    fn a_confirmation_counts_from_its_request() {
        let request = Event {
            time_source: TimeSource::Platform,
            ..given(1, 100)
        };
        let confirmation = event(
            2,
            at(400),
            Act::ConsentConfirmed(Confirmation {
                indication_method: IndicationMethod::Keyword,
                requests: vec![ConfirmedRequest {
                    request: request.event_id,
                    requested_at: request.effective_at(),
                    requested_source: request.time_source,
                    requested_digest: request.content_digest(),
                    terms: terms("offers"),
                }],
            }),
        );
        let facts = Facts::fold([&confirmation, &request]);
        let confirmed = facts
            .grants
            .iter()
            .find(|g| g.confirmed_at.is_some())
            .unwrap();
        assert_eq!(
            (confirmed.mark.at, confirmed.confirmed_at),
            (at(100), Some(at(400)))
        );
        let clock = confirmed.mark.source;
        assert_eq!(clock, TimeSource::Platform, "the request's clock");
        assert_eq!(facts.grants.len(), 2, "the request stays visible");
    }

    #[test]
    fn a_suppression_and_its_lifting_meet_in_any_order() {
        let suppression = |id, seconds| {
            let act = Act::Suppressed(Suppression {
                received_by: None,
                basis: SuppressionBasis::PlatformStop,
                scope: Scope::AllMarketing,
                sender_id: None,
                until: None,
                withdrawal_method: None,
            });
            let mut event = event(id, at(seconds), act);
            event.event_time = Timestamp::from_micros(seconds * 1_000_000 + 1);
            event
        };
        let lift = |id, seconds| {
            let act = Act::SuppressionLifted(Lift {
                basis: SuppressionBasis::PlatformStop,
                scope: Scope::AllMarketing,
                sender_id: None,
                lifts: None,
                indication_method: None,
            });
            event(id, at(seconds), act)
        };
        let (stop, resume) = (suppression(1, 100), lift(2, 200));
        let facts = Facts::fold([&resume, &stop]);
        assert_eq!(facts, Facts::fold([&stop, &resume]));
        assert!(holds(&facts, 300).is_empty());
        let again = Facts::fold([&stop, &resume, &suppression(3, 250)]);
        assert_eq!(holds(&again, 260).len(), 1);
        assert_eq!(
            holds(&again, 0).len(),
            1,
            "what is recorded holds whatever the question's time"
        );
        let only_lift = Facts::fold([&resume]);
        assert!(holds(&only_lift, 300).is_empty());
    }

    #[test]
    fn a_wide_restriction_is_kept_as_a_scope() {
        let facts = Facts::fold(&[event(1, at(100), withdrawal(Scope::AllMarketing))]);
        assert_eq!(facts.restrictions[0].coverage, Coverage::AllMarketing);
        let narrow = Scope::Purposes(vec![purpose("a"), purpose("b")]);
        assert_eq!(
            Facts::fold(&[event(1, at(100), withdrawal(narrow))])
                .restrictions
                .len(),
            2
        );
    }

    #[test]
    fn what_facts_hold_counts_for_the_bound_of_a_cache() {
        assert_eq!(Facts::default().heap_bytes(), 0);
        let facts = Facts::fold(&[
            given(1, 100),
            event(2, at(200), withdrawal(Scope::Everything)),
        ]);
        let slots = size_of::<Grant>() + size_of::<Restricted>();
        assert!(facts.heap_bytes() >= slots);
    }

    #[test]
    fn one_mark_is_later_than_another_strictly_and_by_more_than_the_tolerance_of_two_clocks() {
        let tolerance = Duration::from_mins(5);
        let mark = |micros, source| Mark {
            at: Timestamp::from_micros(micros),
            source,
            ..Mark::of(&given(1, 100))
        };
        let (ours, theirs) = (TimeSource::Caller, TimeSource::Platform);
        for (source, after, later) in [
            (ours, 0, false),
            (ours, 1, true),
            (theirs, 1, false),
            (theirs, 300_000_000, false),
            (theirs, 300_000_001, true),
        ] {
            let restriction = mark(7, source);
            let found = mark(7 + after, ours).is_later_than(&restriction, tolerance);
            assert_eq!(found, later, "{after} µs after one of {source}");
        }
    }

    #[test]
    fn the_newest_of_all_clocks_is_found_whatever_their_order() {
        let mut latest = Latest::default();
        assert_eq!(latest.newest(), None);
        for (seconds, source) in [
            (200, TimeSource::Platform),
            (300, TimeSource::Caller),
            (100, TimeSource::Platform),
        ] {
            latest.raise(Mark {
                source,
                ..Mark::of(&given(1, seconds))
            });
        }
        assert_eq!(latest.newest().map(|mark| mark.at), Some(at(300)));
        let times: Vec<_> = latest.iter().map(|mark| mark.at).collect();
        assert_eq!(times.len(), 2, "one for each clock");
        assert!(times.contains(&at(200)), "the latest of each");
    }

    #[test]
    fn of_two_reports_of_one_link_the_newer_says_which_spelling_was_linked() {
        let linked = |id, seconds, here| {
            let link = Link {
                other: SubjectId(uuid::Uuid::from_u128(9)),
                kind: AddressKind::UserId,
                here,
                inherited: Facts::default().restrictive_inheritance(),
            };
            event(id, at(seconds), Act::Linked(link))
        };
        let older = linked(1, 100, Spelling::Mexico52);
        let newer = linked(2, 200, Spelling::Mexico521);
        for events in [[&older, &newer], [&newer, &older]] {
            assert_eq!(Facts::fold(events).links[0].here, Spelling::Mexico521);
        }
    }

    #[test]
    fn evidence_counts_affirmed_declarations_only() {
        type Declared = fn(&mut Declarations) -> &mut Option<bool>;
        let declared: [(EvidenceField, Declared); 4] = [
            (EvidenceField::DefaultUnticked, |d| &mut d.default_unticked),
            (EvidenceField::SeparateFromTerms, |d| {
                &mut d.separate_from_terms
            }),
            (EvidenceField::WhatsappNamed, |d| &mut d.whatsapp_named),
            (EvidenceField::NumberEnteredBySubject, |d| {
                &mut d.number_entered_by_subject
            }),
        ];
        for (field, declaration) in declared {
            for (said, counts) in [(None, false), (Some(false), false), (Some(true), true)] {
                let mut terms = terms("offers");
                terms.declarations = Declarations::default();
                *declaration(&mut terms.declarations) = said;
                let evidence = evidence_of(&terms);
                let has = |(field, _): &(EvidenceField, Declared)| evidence.has(*field);
                assert_eq!(evidence.has(field), counts, "{field:?} {said:?}");
                assert_eq!(declared.iter().any(has), counts, "no other is affirmed");
                assert!(!evidence.has(EvidenceField::Notice));
            }
        }
        assert_eq!(SCHEMA, 1);
    }
}
