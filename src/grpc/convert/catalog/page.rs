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
