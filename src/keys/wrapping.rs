//! Wrapping: how the keys of subjects are brought under a newer number of the keyring, also of people whose
//! number nobody has any more.
//!
//! The innermost key of a subject is a keyed hash of its address under the first number, and never
//! changes: memory, tokens and partitions go by it. What is *stored* is that key, enciphered once for each later number
//! up to the one in use: one block of AES-256, a permutation, which cannot be told from a keyed hash by whoever
//! lacks the secret, and which whoever has it can undo. That it can be undone is what lets an instance tell from a
//! stored row whose facts in its memory have changed.
//!
//! Which number is in use is for the ledger to say ([`InUse`]); that rows are moved is not done here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};

use super::{KeyError, Secret, derive};

/// The number that every keyring begins with. Subjects' keys are made under it.
pub const FIRST: u16 = 1;

/// Under which numbers of the keyring a ledger keeps what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Numbers {
    /// What is new is kept under this one.
    pub current: u16,
    /// While rows are brought under the current number: the one that they come from. A row lies under either.
    pub leaving: Option<u16>,
}

impl Numbers {
    /// Of a ledger whose keys were never rotated.
    pub const NEW: Self = Self {
        current: FIRST,
        leaving: None,
    };

    const fn packed(self) -> u32 {
        let leaving = match self.leaving {
            Some(number) => number,
            None => 0,
        };
        ((self.current as u32) << 16) | leaving as u32
    }

    fn unpacked(packed: u32) -> Self {
        let [a, b, c, d] = packed.to_be_bytes();
        let leaving = u16::from_be_bytes([c, d]);
        Self {
            current: u16::from_be_bytes([a, b]),
            leaving: (leaving != 0).then_some(leaving),
        }
    }
}

/// The numbers that are in use, as whoever reads the ledger saw them last. A handle: who seals asks the same one
/// that who reads sets.
#[derive(Clone)]
pub struct InUse(Arc<AtomicU32>);

impl InUse {
    pub fn get(&self) -> Numbers {
        Numbers::unpacked(self.0.load(Ordering::Acquire))
    }

    /// Sets them to what the ledger says; true if that is news.
    pub fn set(&self, numbers: Numbers) -> bool {
        let packed = numbers.packed();
        self.0.swap(packed, Ordering::AcqRel) != packed
    }
}

impl Default for InUse {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(Numbers::NEW.packed())))
    }
}

impl fmt::Debug for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// What turns innermost keys into stored ones and back. One for all businesses: innermost keys of two businesses
/// have nothing in common, and so have what these become.
#[derive(Default)]
pub struct Wrapping {
    /// By number, without the first.
    ciphers: BTreeMap<u16, Cipher>,
    in_use: InUse,
}

struct Cipher {
    encrypting: EncryptingKey,
    decrypting: DecryptingKey,
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapping")
            .field("numbers", &self.ciphers.keys())
            .field("in_use", &self.in_use)
            .finish()
    }
}

impl Wrapping {
    /// Of a keyring's secrets by their numbers.
    pub(super) fn of<'a>(secrets: impl Iterator<Item = (u16, &'a Secret)>, in_use: InUse) -> Self {
        let later = secrets.filter(|(number, _)| *number != FIRST);
        let ciphers = later.map(|(number, secret)| (number, Cipher::of(secret)));
        Self {
            ciphers: ciphers.collect(),
            in_use,
        }
    }

    /// Which numbers are in use.
    pub fn in_use(&self) -> &InUse {
        &self.in_use
    }

    /// The newest number that there is a secret for.
    pub fn newest(&self) -> u16 {
        self.ciphers.keys().next_back().copied().unwrap_or(FIRST)
    }

    /// The stored key of a number, of an innermost one.
    pub fn wrapped(&self, inner: [u8; 16], number: u16) -> Result<[u8; 16], KeyError> {
        self.rewrapped(inner, FIRST, number)
    }

    /// The stored key of a number, of the stored one of an earlier number.
    pub fn rewrapped(&self, key: [u8; 16], from: u16, to: u16) -> Result<[u8; 16], KeyError> {
        let mut key = key;
        for number in from + 1..=to {
            key = self.cipher(number)?.encrypt(key);
        }
        Ok(key)
    }

    /// The innermost key, of the stored one of a number.
    pub fn unwrapped(&self, stored: [u8; 16], number: u16) -> Result<[u8; 16], KeyError> {
        let mut key = stored;
        for number in (FIRST + 1..=number).rev() {
            key = self.cipher(number)?.decrypt(key);
        }
        Ok(key)
    }

    fn cipher(&self, number: u16) -> Result<&Cipher, KeyError> {
        self.ciphers
            .get(&number)
            .ok_or(KeyError::UnknownKey(number))
    }
}

impl Cipher {
    fn of(secret: &Secret) -> Self {
        const FITS: &str = "a derived key has the length that the cipher wants";
        let key = derive(secret, "wrap", "");
        let unbound = || UnboundCipherKey::new(&AES_256, key.as_slice()).expect(FITS);
        Self {
            encrypting: EncryptingKey::ecb(unbound()).expect(FITS),
            decrypting: DecryptingKey::ecb(unbound()).expect(FITS),
        }
    }

    fn encrypt(&self, mut block: [u8; 16]) -> [u8; 16] {
        self.encrypting
            .encrypt(&mut block)
            .expect("it is one block");
        block
    }

    fn decrypt(&self, mut block: [u8; 16]) -> [u8; 16] {
        self.decrypting
            .decrypt(&mut block, DecryptionContext::None)
            .expect("it is one block");
        block
    }
}

#[cfg(test)]
mod tests {
    use super::super::random;
    use super::*;

    fn wrapping(numbers: u16) -> Wrapping {
        let secrets: Vec<Secret> = (0..numbers).map(|_| random()).collect();
        Wrapping::of((1..).zip(&secrets), InUse::default())
    }

    #[test]
    fn a_wrapped_key_is_another_one_at_each_number_and_leads_back_to_the_innermost() {
        let wrapping = wrapping(4);
        assert_eq!(wrapping.newest(), 4);
        let inner = [7; 16];
        let stored: Vec<_> = (1..=4)
            .map(|number| wrapping.wrapped(inner, number).unwrap())
            .collect();
        assert_eq!(stored[0], inner);
        for (number, key) in (1..).zip(&stored) {
            assert_eq!(wrapping.unwrapped(*key, number), Ok(inner));
            for (later, other) in (1..).zip(&stored).skip(usize::from(number)) {
                assert_ne!(key, other);
                assert_eq!(wrapping.rewrapped(*key, number, later), Ok(*other));
            }
        }
    }

    #[test]
    fn a_number_that_the_keyring_lacks_wraps_nothing() {
        let wrapping = wrapping(2);
        assert_eq!(wrapping.wrapped([7; 16], 3), Err(KeyError::UnknownKey(3)));
        assert_eq!(wrapping.unwrapped([7; 16], 3), Err(KeyError::UnknownKey(3)));
        assert_eq!(Wrapping::default().newest(), 1);
    }

    #[test]
    fn numbers_in_use_read_back_and_say_whether_they_are_news() {
        let in_use = InUse::default();
        assert_eq!(in_use.get(), Numbers::NEW);
        let moving = Numbers {
            current: 65_535,
            leaving: Some(65_534),
        };
        assert!(in_use.set(moving));
        assert!(!in_use.set(moving));
        assert_eq!(in_use.clone().get(), moving);
    }
}
