//! The compact stored form of [`Facts`].
//!
//! Facts are derived, so this form may change: it carries a version, and a row of another version
//! is folded from its events again. It is read for every cold check, hence binary and small. A row
//! that does not read back exactly is an error, never an empty set of facts.

use uuid::Uuid;

use super::address::Spelling;
use super::event::{Digest, Implied};
use super::facts::{Ask, Coverage, Facts, Grant, Lifted, Mark, Restricted, Suppressed};
use super::id::{EventId, JurisdictionCode, Language, NoticeId, NoticeRef, PurposeKey, SenderId};
use super::time::Timestamp;
use super::vocabulary::{
    ConsentType, EvidenceFields, ImpliedBasis, RestrictionKind, SuppressionBasis, TimeSource,
};

/// Version of the fold and of its stored form. Raise it when either changes.
pub const FOLD_VERSION: i32 = 1;

/// Why stored bytes are no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("facts do not read back: {0}")]
pub struct UnreadableFacts(&'static str);

impl Facts {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(128));
        out.many(&self.grants, |out, grant| {
            out.text(grant.purpose.as_str());
            out.option(grant.sender.as_ref(), |out, sender| {
                out.text(sender.as_str());
            });
            out.byte(spelling_code(grant.spelling));
            out.byte(grant.consent_type.code());
            out.byte(u8::from(grant.import));
            out.option(grant.confirmed_at, Writer::time);
            out.mark(&grant.mark);
            out.option(grant.prior, |out, (time, digest)| {
                out.time(time);
                out.u64(digest.0);
            });
            out.option(grant.implied, |out, implied| {
                out.byte(implied.basis.code());
                out.time(implied.basis_time);
            });
            out.option(grant.notice.as_ref(), |out, notice| {
                out.text(notice.notice_id.as_str());
                out.i32(notice.version);
                out.text(notice.language.as_str());
            });
            out.i32(grant.processing_version);
            out.u32(grant.evidence.bits());
            out.option(grant.jurisdiction.as_ref(), |out, code| {
                out.text(code.as_str());
            });
        });
        out.many(&self.asks, |out, ask| {
            out.text(ask.purpose.as_str());
            out.option(ask.sender.as_ref(), |out, sender| out.text(sender.as_str()));
            out.byte(u8::from(ask.deferred));
            out.mark(&ask.mark);
        });
        out.many(&self.restrictions, |out, restriction| {
            out.byte(restriction.kind.code());
            out.coverage(&restriction.coverage);
            out.option(restriction.sender.as_ref(), |out, sender| {
                out.text(sender.as_str());
            });
            out.mark(&restriction.mark);
        });
        out.many(&self.suppressions, |out, suppression| {
            out.byte(suppression.basis.code());
            out.coverage(&suppression.coverage);
            out.option(suppression.sender.as_ref(), |out, sender| {
                out.text(sender.as_str());
            });
            out.option(suppression.until, Writer::time);
            out.mark(&suppression.mark);
        });
        out.many(&self.lifts, |out, lift| {
            out.byte(lift.basis.code());
            out.coverage(&lift.coverage);
            out.option(lift.sender.as_ref(), |out, sender| {
                out.text(sender.as_str());
            });
            out.mark(&lift.mark);
        });
        out.0
    }

    /// Reads what [`Facts::encode`] wrote, under the same [`FOLD_VERSION`].
    pub fn decode(bytes: &[u8]) -> Result<Self, UnreadableFacts> {
        let mut input = Reader(bytes);
        let facts = Self {
            grants: input.many(read_grant)?,
            asks: input.many(|input| {
                Ok(Ask {
                    purpose: input.purpose()?,
                    sender: input.option(Reader::sender)?,
                    deferred: input.bool()?,
                    mark: input.mark()?,
                })
            })?,
            restrictions: input.many(|input| {
                Ok(Restricted {
                    kind: input.code(RestrictionKind::from_code, "restriction kind")?,
                    coverage: input.coverage()?,
                    sender: input.option(Reader::sender)?,
                    mark: input.mark()?,
                })
            })?,
            suppressions: input.many(|input| {
                Ok(Suppressed {
                    basis: input.code(SuppressionBasis::from_code, "suppression basis")?,
                    coverage: input.coverage()?,
                    sender: input.option(Reader::sender)?,
                    until: input.option(Reader::time)?,
                    mark: input.mark()?,
                })
            })?,
            lifts: input.many(|input| {
                Ok(Lifted {
                    basis: input.code(SuppressionBasis::from_code, "suppression basis")?,
                    coverage: input.coverage()?,
                    sender: input.option(Reader::sender)?,
                    mark: input.mark()?,
                })
            })?,
        };
        if input.0.is_empty() {
            Ok(facts)
        } else {
            Err(UnreadableFacts("bytes left over"))
        }
    }
}

fn read_grant(input: &mut Reader<'_>) -> Result<Grant, UnreadableFacts> {
    Ok(Grant {
        purpose: input.purpose()?,
        sender: input.option(Reader::sender)?,
        spelling: input.code(spelling_from_code, "spelling")?,
        consent_type: input.code(ConsentType::from_code, "consent type")?,
        import: input.bool()?,
        confirmed_at: input.option(Reader::time)?,
        mark: input.mark()?,
        prior: input.option(|input| Ok((input.time()?, Digest(input.u64()?))))?,
        implied: input.option(|input| {
            Ok(Implied {
                basis: input.code(ImpliedBasis::from_code, "implied basis")?,
                basis_time: input.time()?,
            })
        })?,
        notice: input.option(|input| {
            Ok(NoticeRef {
                notice_id: input.parsed(NoticeId::parse, "notice id")?,
                version: input.i32()?,
                language: input.parsed(Language::parse, "language")?,
            })
        })?,
        processing_version: input.i32()?,
        evidence: EvidenceFields::from_bits(input.u32()?),
        jurisdiction: input
            .option(|input| input.parsed(JurisdictionCode::parse, "jurisdiction"))?,
    })
}

fn spelling_code(spelling: Spelling) -> u8 {
    let place = Spelling::ALL.iter().position(|known| *known == spelling);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

fn spelling_from_code(code: u8) -> Option<Spelling> {
    Spelling::ALL.get(usize::from(code)).copied()
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn i32(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.0.extend_from_slice(&time.as_micros().to_le_bytes());
    }

    /// Every text in facts is a parsed name of at most 64 characters.
    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("names are short");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn many<T>(&mut self, values: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(values.len()).expect("memory holds fewer"));
        for value in values {
            write(self, value);
        }
    }

    fn mark(&mut self, mark: &Mark) {
        self.time(mark.at);
        self.byte(mark.source.code());
        self.u64(mark.digest.0);
        self.0.extend_from_slice(mark.event_id.0.as_bytes());
    }

    fn coverage(&mut self, coverage: &Coverage) {
        match coverage {
            Coverage::Purpose(purpose) => {
                self.byte(0);
                self.text(purpose.as_str());
            }
            Coverage::AllMarketing => self.byte(1),
            Coverage::Everything => self.byte(2),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], UnreadableFacts> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(UnreadableFacts("too short"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnreadableFacts> {
        self.take(N)?
            .try_into()
            .map_err(|_| UnreadableFacts("too short"))
    }

    fn byte(&mut self) -> Result<u8, UnreadableFacts> {
        Ok(self.array::<1>()?[0])
    }

    fn bool(&mut self) -> Result<bool, UnreadableFacts> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(UnreadableFacts("a flag is neither 0 nor 1")),
        }
    }

    fn u32(&mut self) -> Result<u32, UnreadableFacts> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, UnreadableFacts> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, UnreadableFacts> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn time(&mut self) -> Result<Timestamp, UnreadableFacts> {
        Ok(Timestamp::from_micros(i64::from_le_bytes(self.array()?)))
    }

    fn code<T>(
        &mut self,
        from_code: impl FnOnce(u8) -> Option<T>,
        what: &'static str,
    ) -> Result<T, UnreadableFacts> {
        from_code(self.byte()?).ok_or(UnreadableFacts(what))
    }

    fn parsed<T, E>(
        &mut self,
        parse: impl FnOnce(&str) -> Result<T, E>,
        what: &'static str,
    ) -> Result<T, UnreadableFacts> {
        let length = u16::from_le_bytes(self.array()?);
        let bytes = self.take(usize::from(length))?;
        let text = std::str::from_utf8(bytes).map_err(|_| UnreadableFacts(what))?;
        parse(text).map_err(|_| UnreadableFacts(what))
    }

    fn purpose(&mut self) -> Result<PurposeKey, UnreadableFacts> {
        self.parsed(PurposeKey::parse, "purpose")
    }

    fn sender(&mut self) -> Result<SenderId, UnreadableFacts> {
        self.parsed(SenderId::parse, "sender")
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, UnreadableFacts>,
    ) -> Result<Option<T>, UnreadableFacts> {
        if self.bool()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    fn many<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, UnreadableFacts>,
    ) -> Result<Vec<T>, UnreadableFacts> {
        let count = self.u32()?;
        // No item is smaller than a byte: a corrupt count cannot make us reserve memory.
        if usize::try_from(count).map_or(true, |count| count > self.0.len()) {
            return Err(UnreadableFacts("more items than bytes"));
        }
        (0..count).map(|_| read(self)).collect()
    }

    fn mark(&mut self) -> Result<Mark, UnreadableFacts> {
        Ok(Mark {
            at: self.time()?,
            source: self.code(TimeSource::from_code, "time source")?,
            digest: Digest(self.u64()?),
            event_id: EventId(Uuid::from_bytes(self.array()?)),
        })
    }

    fn coverage(&mut self) -> Result<Coverage, UnreadableFacts> {
        match self.byte()? {
            0 => Ok(Coverage::Purpose(self.purpose()?)),
            1 => Ok(Coverage::AllMarketing),
            2 => Ok(Coverage::Everything),
            _ => Err(UnreadableFacts("coverage")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tests::{at, event, purpose, terms, withdrawal};
    use crate::domain::event::{Act, Asked, NoticeShown, Scope, Suppression};

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
        full.jurisdiction = Some(JurisdictionCode::parse("US-TX").unwrap());
        let suppression = Suppression {
            basis: SuppressionBasis::Complaint,
            scope: Scope::Everything,
            sender_id: None,
            until: Some(at(900)),
            withdrawal_method: None,
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
