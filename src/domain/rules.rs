//! The rules that judge one business's questions: the policy and its catalogue, compiled once.
//!
//! Every decision carries the version of its rules, a hash over all of them, so that it can be made
//! again years later. The ledger keeps every version's parts.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::catalog::BusinessCatalog;
use super::hours;
use super::id::JurisdictionCode;
use super::place;
use super::policy::{Entry, Holding, Policy};
use super::time::Timestamp;

/// Bumped when code changes what the same data decide.
const RULES_VERSION: u32 = 1;

/// Against a restriction whose time comes from another clock a grant must be later by more than
/// this: two clocks that nobody compares are taken to differ by less.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// All that judges a business's questions, beside the facts and the instant.
#[derive(Debug, Clone)]
pub struct Rules {
    pub policy: Arc<Policy>,
    pub catalog: Arc<BusinessCatalog>,
    pub clock_tolerance: Duration,
    version: Arc<str>,
}

impl Rules {
    pub fn compile(
        policy: Arc<Policy>,
        catalog: Arc<BusinessCatalog>,
        clock_tolerance: Duration,
    ) -> Self {
        let version = version(&policy, &catalog, clock_tolerance).into();
        Self {
            policy,
            catalog,
            clock_tolerance,
            version,
        }
    }

    /// SHA-256 over everything that these rules consist of, hex.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What holds where a person lives who may live in any of `codes`: column by column the strictest
    /// of them; the business's default where there is none.
    pub fn requirements_of(
        &self,
        codes: &[JurisdictionCode],
        at: Timestamp,
    ) -> Option<Holding<'_>> {
        match (codes, self.default()) {
            ([], Some(code)) => self.policy.strictest(std::slice::from_ref(code), at),
            (codes, _) => self.policy.strictest(codes, at),
        }
    }

    /// The entries that [`Rules::requirements_of`] merges, once each: in which jurisdiction, and with
    /// which source.
    pub fn entries_of(
        &self,
        codes: &[JurisdictionCode],
        at: Timestamp,
    ) -> Vec<(&JurisdictionCode, &Entry)> {
        let mut entries: Vec<(&JurisdictionCode, &Entry)> = Vec::new();
        let candidates = match codes {
            [] => vec![self.default()],
            codes => codes.iter().map(Some).collect(),
        };
        for found in candidates
            .into_iter()
            .filter_map(|code| self.policy.entry(code, at))
        {
            if !entries.iter().any(|known| std::ptr::eq(known.1, found.1)) {
                entries.push(found);
            }
        }
        entries
    }

    /// The first instant after `at` at which [`Rules::requirements_of`] might answer otherwise.
    pub fn next_change(&self, codes: &[JurisdictionCode], at: Timestamp) -> Option<Timestamp> {
        match codes {
            [] => self.policy.next_change(self.default(), at),
            codes => codes
                .iter()
                .filter_map(|code| self.policy.next_change(Some(code), at))
                .min(),
        }
    }

    fn default(&self) -> Option<&JurisdictionCode> {
        self.catalog.business.default_jurisdiction.as_ref()
    }
}

fn version(policy: &Policy, catalog: &BusinessCatalog, clock_tolerance: Duration) -> String {
    let catalog = serde_json::to_vec(catalog).expect("a catalogue has only string keys");
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&RULES_VERSION.to_be_bytes());
    hash.update(&clock_tolerance.as_micros().to_be_bytes());
    hash.update(policy.sha256.as_bytes());
    // Where a number is and what its clocks read decides with them.
    hash.update(place::sha256().as_bytes());
    hash.update(hours::tzdb_sha256().as_bytes());
    hash.update(&catalog);
    HEXLOWER.encode(hash.finish().as_ref())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::catalog::{Business, OptOutScope, Purpose, Sender};
    use crate::domain::event::tests::purpose;
    use crate::domain::id::{BusinessId, SenderId};
    use crate::domain::place::Place;
    use crate::domain::policy::Requirements;
    use crate::domain::policy::tests::{code, entry, lenient, of_entries, policy};
    use crate::domain::vocabulary::{ConsentType, MessageClass};
    use std::collections::BTreeMap;

    /// Where nothing is known of where a person may be.
    pub(crate) static NOWHERE: Place = Place {
        jurisdictions: Vec::new(),
        zones: Vec::new(),
    };

    pub(crate) fn business() -> Business {
        Business {
            business_id: BusinessId::parse("acme").unwrap(),
            display_name: "Acme GmbH".into(),
            default_jurisdiction: None,
            whatsapp_must_be_named: true,
            opt_out_scope: OptOutScope::default(),
            template_classes: BTreeMap::new(),
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        }
    }

    pub(crate) fn purpose_of(key: &str, class: MessageClass) -> Purpose {
        Purpose {
            frequency_cap: None,
            key: purpose(key),
            title: key.into(),
            localized_titles: BTreeMap::new(),
            dpv_purpose: String::new(),
            message_class: class,
            accepted_consent_types: ConsentType::ALL.to_vec(),
            validity_seconds: None,
            confirmation_required: false,
            consent_required: true,
            requested_by_recipient: false,
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        }
    }

    pub(crate) fn sender(id: &str) -> Sender {
        Sender {
            sender_id: SenderId::parse(id).unwrap(),
            display_name: String::new(),
            phone_number: String::new(),
            held: false,
            held_reason: String::new(),
            aliases: Vec::new(),
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        }
    }

    /// One business with a purpose of each class and two senders, under a lenient policy.
    pub(crate) fn catalog() -> BusinessCatalog {
        let mut catalog = BusinessCatalog::new(business());
        for (key, class) in [
            ("offers", MessageClass::Marketing),
            ("orders", MessageClass::Utility),
            ("codes", MessageClass::Authentication),
            ("support", MessageClass::Service),
        ] {
            catalog
                .purposes
                .insert(purpose(key), purpose_of(key, class));
        }
        for id in ["1001", "1002"] {
            catalog
                .senders
                .insert(SenderId::parse(id).unwrap(), sender(id));
        }
        catalog
    }

    pub(crate) fn rules_with(catalog: BusinessCatalog, policy: Policy) -> Rules {
        Rules::compile(Arc::new(policy), Arc::new(catalog), CLOCK_TOLERANCE)
    }

    pub(crate) fn rules() -> Rules {
        rules_with(catalog(), policy(&[("ZZ", lenient())]))
    }

    #[test]
    fn any_change_of_the_rules_is_another_version() {
        let base = rules();
        assert_eq!(base.version(), rules().version());
        let mut held = catalog();
        held.senders.get_mut("1001").unwrap().held = true;
        let mut other_policy = policy(&[("ZZ", lenient())]);
        other_policy.sha256 = "other".into();
        let tolerant = Rules::compile(
            Arc::clone(&base.policy),
            Arc::clone(&base.catalog),
            Duration::from_secs(1),
        );
        for other in [
            rules_with(held, policy(&[("ZZ", lenient())])),
            rules_with(catalog(), other_policy),
            tolerant,
        ] {
            assert_ne!(base.version(), other.version());
        }
    }

    #[test]
    fn where_nothing_is_known_of_the_place_the_business_s_own_counts() {
        let own = Requirements {
            validity: Some(Duration::from_secs(7)),
            ..lenient()
        };
        let mut of_germany = entry(own.clone());
        of_germany.effective_to = Some(Timestamp::from_micros(9));
        let everywhere = vec![entry(lenient())];
        let policy = of_entries([("ZZ", everywhere), ("DE", vec![of_germany])]);
        let in_germany = |place: Option<&str>| {
            let mut catalog = catalog();
            catalog.business.default_jurisdiction = place.map(code);
            rules_with(catalog, policy.clone())
        };
        let at = Timestamp::from_micros(5);
        let ends = Some(Timestamp::from_micros(9));
        let there = code("DE");
        for (default, codes, expected, changes) in [
            (Some("DE"), vec![], &own, ends),
            (None, vec![], &lenient(), None),
            (None, vec![there], &own, ends),
            (Some("DE"), vec![code("FR")], &lenient(), None),
            (Some("FR"), vec![there], &own, ends),
        ] {
            let rules = in_germany(default);
            let found = rules.requirements_of(&codes, at);
            assert_eq!(found.as_deref(), Some(expected), "{default:?} {codes:?}");
            assert_eq!(rules.next_change(&codes, at), changes);
            let entries = rules.entries_of(&codes, at);
            assert_eq!(entries.len(), 1);
            assert_eq!(&*entries[0].1.requirements, expected);
        }
    }
}
