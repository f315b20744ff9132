//! The compact stored form of [`Facts`].
//!
//! Facts are derived, so this form may change: it carries a version, and a row of another version
//! is folded from its events again. It is read for every cold check, hence binary, small and without
//! names (postcard). A row that does not read back exactly is an error, never an empty set of facts.

use super::Facts;

/// Version of the fold and of its stored form. Raise it when either changes.
pub const FOLD_VERSION: i32 = 4;

/// Why stored bytes are no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("facts do not read back: {0}")]
pub struct UnreadableFacts(String);

impl Facts {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("memory holds what is already in it once more")
    }

    /// Reads what [`Facts::encode`] wrote, under the same [`FOLD_VERSION`].
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableFacts> {
        match postcard::take_from_bytes(bytes) {
            Ok((facts, [])) => Ok(facts),
            Ok(_) => Err(UnreadableFacts("bytes left over".into())),
            Err(fault) => Err(UnreadableFacts(fault.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
    use crate::domain::event::{Act, Asked, Implied, NoticeShown, Scope, Suppression};
    use crate::domain::id::{Language, NoticeId, NoticeRef, SenderId};
    use crate::domain::policy::tests::code;
    use crate::domain::vocabulary::{ConsentType, ImpliedBasis, SuppressionBasis};

    fn rich() -> Facts {
        let mut full = terms("offers");
        full.sender_id = Some(SenderId::parse("106540352242922").unwrap());
        full.consent_type = ConsentType::Implied;
        full.implied = Some(Implied {
            basis: ImpliedBasis::Purchase,
            basis_time: at(50),
        });
        full.notice = Some(NoticeShown {
            notice: NoticeRef {
                notice_id: NoticeId::parse("signup").unwrap(),
                version: 3,
                language: Language::parse("pt-BR").unwrap(),
            },
            sha256: "00".into(),
            processing_version: 2,
        });
        full.jurisdiction = Some(code("US-TX"));
        let suppression = Suppression {
            basis: SuppressionBasis::Complaint,
            scope: Scope::Everything,
            sender_id: None,
            until: Some(at(900)),
            withdrawal_method: None,
            received_by: Some(SenderId::parse("1001").unwrap()),
        };
        Facts::fold(&[
            event(1, at(100), Act::ConsentGiven(full)),
            event(2, at(101), Act::ConsentGiven(terms("offers"))),
            event(3, at(102), Act::ConsentGiven(terms("offers"))),
            event(4, at(103), withdrawal(Scope::AllMarketing)),
            event(
                5,
                at(104),
                withdrawal(Scope::Purposes(vec![purpose("support")])),
            ),
            event(6, at(105), Act::Suppressed(suppression)),
            event(
                7,
                at(106),
                Act::ConsentRequested(Asked {
                    purposes: vec![purpose("x")],
                    sender_id: None,
                    notice: None,
                }),
            ),
        ])
    }

    #[test]
    fn facts_read_back_as_they_were_written() {
        for facts in [Facts::default(), rich()] {
            assert_eq!(Facts::decode(&facts.encode()).unwrap(), facts);
        }
    }

    #[test]
    fn no_prefix_and_no_extension_of_facts_is_facts() {
        let bytes = rich().encode();
        for length in 0..bytes.len() {
            assert!(Facts::decode(&bytes[..length]).is_err(), "{length}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Facts::decode(&longer).is_err());
        assert!(Facts::decode(&[0xff; 64]).is_err());
    }
}
