//! Pages of a list, and the opaque tokens that lead from one to the next.

use data_encoding::BASE64URL_NOPAD;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::{Fields, page_size};
use crate::consents::Violation;
use crate::consents::error::reason;

/// A page ends early where it would grow beyond this, so that every client can take it: four
/// mebibytes are what gRPC libraries accept unless told otherwise.
const PAGE_BYTES: usize = 3 * 1024 * 1024;

/// Which part of a list is asked for.
#[derive(Debug)]
pub struct Page<K> {
    /// What is listed, with all that narrows it: a token of another list is refused.
    list: Vec<String>,
    size: usize,
    after: Option<K>,
}

impl<K: DeserializeOwned> Page<K> {
    pub(super) fn read(
        fields: &mut Fields,
        list: Vec<String>,
        size: i32,
        token: &str,
    ) -> Option<Self> {
        let size = page_size(fields, size).and_then(|size| usize::try_from(size).ok());
        let after = match token {
            "" => Some(None),
            token => {
                let after = read_token(&list, token);
                if after.is_none() {
                    let message = "is not a token that this list gave";
                    let field = "page_token";
                    fields.note(Violation::new(field, reason::TOKEN_INVALID, message));
                }
                after.map(Some)
            }
        };
        Some(Self {
            list,
            size: size?,
            after: after?,
        })
    }
}

impl<K: Ord + Serialize> Page<K> {
    /// The entries of this page, and the token of the next one; empty if this is the last. `all`
    /// goes by the key.
    pub fn cut<'a, V: 'a, W: Message>(
        &self,
        all: impl Iterator<Item = (&'a K, &'a V)>,
        write: impl Fn(&V) -> W,
    ) -> (Vec<W>, String)
    where
        K: 'a,
    {
        let given = |key: &K| self.after.as_ref().is_some_and(|after| key <= after);
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, None);
        for (key, value) in all.skip_while(|(key, _)| given(key)) {
            let wire = write(value);
            bytes += wire.encoded_len();
            if page.len() == self.size || (bytes > PAGE_BYTES && !page.is_empty()) {
                return (
                    page,
                    last.map_or_else(String::new, |last| write_token(&self.list, last)),
                );
            }
            page.push(wire);
            last = Some(key);
        }
        (page, String::new())
    }
}

fn write_token<K: Serialize>(list: &[String], last: &K) -> String {
    let token = serde_json::to_vec(&(list, last)).expect("a key has only string keys");
    BASE64URL_NOPAD.encode(&token)
}

fn read_token<K: DeserializeOwned>(list: &[String], token: &str) -> Option<K> {
    let token = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
    let (of, last): (Vec<String>, K) = serde_json::from_slice(&token).ok()?;
    (of == list).then_some(last)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{list_businesses, list_notices, list_purposes, list_senders};
    use super::*;
    use crate::consents::Error;
    use crate::domain::id::{Language, NoticeId, NoticeRef, SenderId};
    use crate::grpc::proto;

    fn faults<T: std::fmt::Debug>(read: Result<T, Error>) -> Vec<String> {
        match read.unwrap_err() {
            Error::Invalid { violations } => violations.into_iter().map(|v| v.field).collect(),
            other => panic!("{other}"),
        }
    }

    fn senders(business: &str, size: i32, token: &str) -> Result<Page<SenderId>, Error> {
        let request = proto::ListSendersRequest {
            business_id: business.into(),
            page_size: size,
            page_token: token.into(),
        };
        list_senders(&request).map(|(_, page)| page)
    }

    fn many(count: usize) -> BTreeMap<SenderId, String> {
        (0..count)
            .map(|n| (SenderId::parse(&format!("s{n:04}")).unwrap(), n.to_string()))
            .collect()
    }

    #[test]
    fn pages_give_every_entry_once_and_in_order() {
        let all = many(1_203);
        for (size, pages) in [
            (0, 13),
            (1, 1_203),
            (400, 4),
            (401, 3),
            (1_000, 2),
            (i32::MAX, 2),
        ] {
            let (mut token, mut seen, mut turned) = (String::new(), Vec::new(), 0);
            loop {
                let page = senders("acme", size, &token).unwrap();
                let (entries, next) = page.cut(all.iter(), Clone::clone);
                seen.extend(entries);
                turned += 1;
                if next.is_empty() {
                    break;
                }
                token = next;
            }
            assert_eq!(turned, pages, "{size}");
            assert!(seen.iter().eq(all.values()), "{size}");
        }
    }

    #[test]
    fn an_entry_that_goes_or_comes_between_pages_moves_no_other() {
        let mut all = many(5);
        let (_, next) = senders("acme", 2, "")
            .unwrap()
            .cut(all.iter(), Clone::clone);
        all.remove("s0001");
        all.insert(SenderId::parse("s0000a").unwrap(), "late".into());
        let (second, _) = senders("acme", 2, &next)
            .unwrap()
            .cut(all.iter(), Clone::clone);
        assert_eq!(second, ["2", "3"]);
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_to_take() {
        let large = "x".repeat(1024 * 1024);
        let all: BTreeMap<SenderId, String> = many(4)
            .into_keys()
            .map(|key| (key, large.clone()))
            .collect();
        let (entries, next) = senders("acme", 0, "")
            .unwrap()
            .cut(all.iter(), Clone::clone);
        assert_eq!((entries.len(), next.is_empty()), (2, false));
        let huge = BTreeMap::from([(SenderId::parse("s").unwrap(), "x".repeat(5 * 1024 * 1024))]);
        let (entries, next) = senders("acme", 0, "")
            .unwrap()
            .cut(huge.iter(), Clone::clone);
        assert_eq!((entries.len(), next.is_empty()), (1, true));
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let (_, token) = senders("acme", 1, "")
            .unwrap()
            .cut(many(2).iter(), Clone::clone);
        assert!(senders("acme", 500, &token).is_ok());
        assert_eq!(faults(senders("other", 1, &token)), ["page_token"]);
        let purposes = proto::ListPurposesRequest {
            business_id: "acme".into(),
            page_size: -1,
            page_token: token.clone(),
        };
        assert_eq!(
            faults(list_purposes(&purposes)),
            ["page_size", "page_token"]
        );
        let businesses = proto::ListBusinessesRequest {
            page_size: 0,
            page_token: token.clone(),
        };
        assert_eq!(faults(list_businesses(&businesses)), ["page_token"]);
        for malformed in ["!", "AA", &token[1..], &format!("{token}AA")] {
            assert_eq!(
                faults(senders("acme", 1, malformed)),
                ["page_token"],
                "{malformed}"
            );
        }
    }

    #[test]
    fn a_token_of_notices_holds_for_what_narrows_them() {
        let asked = |notice_id: &str, page_token: &str| {
            list_notices(&proto::ListNoticesRequest {
                business_id: "acme".into(),
                page_size: 1,
                page_token: page_token.into(),
                notice_id: notice_id.into(),
            })
        };
        let names: BTreeMap<NoticeRef, String> = [1, 2]
            .map(|version| {
                let notice_id = NoticeId::parse("signup").unwrap();
                (
                    NoticeRef {
                        notice_id,
                        version,
                        language: Language::parse("en").unwrap(),
                    },
                    version.to_string(),
                )
            })
            .into();
        let listed = asked("signup", "").unwrap();
        let (first, token) = listed.page.cut(names.iter(), Clone::clone);
        assert_eq!(first, ["1"]);
        let (second, last) = asked("signup", &token)
            .unwrap()
            .page
            .cut(names.iter(), Clone::clone);
        assert_eq!(
            (second.as_slice(), last.as_str()),
            (["2".to_owned()].as_slice(), "")
        );
        assert_eq!(faults(asked("", &token)), ["page_token"]);
    }
}
