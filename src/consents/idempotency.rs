//! Idempotency keys: by what a repeated call is known, and its content compared. Only keyed hashes are kept: a caller's key
//! may hold personal data. What becomes of a repeat is said in [`super::append`].

use serde::Serialize;

use super::Recipient;
use crate::catalog::Compiled;
use crate::domain::json;

/// An idempotency key with the content that it stands for, both as keyed hashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub key_hash: [u8; 16],
    pub content_hash: [u8; 16],
}

impl Key {
    pub(super) fn new(
        compiled: &Compiled,
        key: &str,
        recipient: &Recipient,
        request: &impl Serialize,
    ) -> Self {
        let content = json::bytes(request);
        let keys = &compiled.keys;
        Self {
            key_hash: keys.idempotency_hash(&[b"key", key.as_bytes()]),
            content_hash: keys.idempotency_hash(&[b"content", recipient.text.as_bytes(), &content]),
        }
    }

    /// A key that has no other content: what identifies a report is all in it.
    pub(super) const fn alone(key_hash: [u8; 16]) -> Self {
        Self {
            key_hash,
            content_hash: key_hash,
        }
    }

    /// The key under which other content of the same key is kept, for calls that always count.
    pub(super) fn for_other_content(self, compiled: &Compiled) -> Self {
        let parts: [&[u8]; 3] = [b"other", &self.key_hash, &self.content_hash];
        Self {
            key_hash: compiled.keys.idempotency_hash(&parts),
            ..self
        }
    }
}
