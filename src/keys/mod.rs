//! Keys: what turns a phone number into something that proves nothing to a thief.
//!
//! One keyring holds two kinds of secrets. The *fixed* one never rotates: consistency tokens,
//! idempotency hashes and callers' tokens hang on it. The *numbered* ones rotate: subject keys
//! ([`wrapping`]) and sealed columns; the first of them stays innermost for ever, and partitions hang on that. From them
//! every key is derived by HKDF with a label and, where it belongs to one
//! business, that business's id, so that nothing can be compared across businesses.
//!
//! PRF: HMAC-SHA-256, cut to 128 bits. AEAD: AES-256-GCM-SIV with a random nonce; its associated
//! data binds a value to its table, column and row. All from one library (aws-lc-rs).
//! Where a keyring comes from is [`source`]'s business. Nothing here is ever printed.

pub mod source;
pub mod wrapping;

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::{constant_time, hkdf, hmac, rand};
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use crate::domain::address::{Address, MatchKey};
use crate::domain::id::BusinessId;
use wrapping::{FIRST, InUse, Wrapping};

/// How many partitions subjects are spread over. Fixed in the database: partitions 1 to this, and
/// partition 0 for the system.
pub const SUBJECT_PARTITIONS: u16 = 64;

/// The keyed hash of an address under the innermost key: what a subject is known by in memory for ever. What is stored
/// is this one, wrapped ([`wrapping`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKey(pub [u8; 16]);

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("not a consentgate keyring: {0}")]
    Malformed(&'static str),
    #[error("a sealed value does not open: wrong key, or the value was moved or damaged")]
    DoesNotOpen,
    #[error("a sealed value names key {0}, which the keyring does not hold")]
    UnknownKey(u16),
}

type Secret = Zeroizing<[u8; 32]>;

/// The secrets of one ledger.
pub struct Keyring {
    fixed: Secret,
    numbered: BTreeMap<u16, Secret>,
    in_use: InUse,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.numbered.keys())
            .finish_non_exhaustive()
    }
}

const HEADER: &str = "consentgate-keyring 1";

impl Keyring {
    /// A new keyring with random secrets.
    pub fn generate() -> Self {
        Self {
            fixed: random(),
            numbered: BTreeMap::from([(FIRST, random())]),
            in_use: InUse::default(),
        }
    }

    /// The same secrets and a new one under the next number, for a rotation.
    pub fn grown(&self) -> Result<Self, KeyError> {
        let next = self.newest().checked_add(1).ok_or(KeyError::Malformed(
            "there is no number after 65535 for another key",
        ))?;
        let mut numbered = self.numbered.clone();
        numbered.insert(next, random());
        Ok(Self {
            fixed: self.fixed.clone(),
            numbered,
            in_use: InUse::default(),
        })
    }

    /// Reads the text form: a header, `fixed BASE64`, and `key NUMBER BASE64` lines. Blank lines
    /// and lines that start with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next() != Some(HEADER) {
            return Err(KeyError::Malformed(
                "the first line must be `consentgate-keyring 1`",
            ));
        }
        let mut fixed = None;
        let mut numbered = BTreeMap::new();
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["fixed", secret] if fixed.is_none() => fixed = Some(parse_secret(secret)?),
                ["key", number, secret] => {
                    let number = number
                        .parse()
                        .map_err(|_| KeyError::Malformed("a key's number is not 1 to 65535"))?;
                    if number == 0 || numbered.insert(number, parse_secret(secret)?).is_some() {
                        return Err(KeyError::Malformed("a key's number is 0 or used twice"));
                    }
                }
                _ => {
                    return Err(KeyError::Malformed(
                        "a line is neither `fixed …` nor `key N …`",
                    ));
                }
            }
        }
        let fixed = fixed.ok_or(KeyError::Malformed("the line `fixed …` is missing"))?;
        // Each wraps what the one before it made: with a gap nothing could be found.
        if numbered.is_empty() || !(FIRST..).zip(numbered.keys()).all(|(n, key)| n == *key) {
            return Err(KeyError::Malformed(
                "a line `key N …` is missing: keys are numbered from 1 without a gap",
            ));
        }
        Ok(Self {
            fixed,
            numbered,
            in_use: InUse::default(),
        })
    }

    /// The text form, to be kept secret and backed up: without it nothing in the database can be
    /// found again.
    pub fn to_text(&self) -> Zeroizing<String> {
        let fixed = BASE64.encode(self.fixed.as_slice());
        let numbered: String = self
            .numbered
            .iter()
            .map(|(number, secret)| {
                [
                    "key ",
                    &number.to_string(),
                    " ",
                    &BASE64.encode(secret.as_slice()),
                    "\n",
                ]
                .concat()
            })
            .collect();
        Zeroizing::new(format!(
            "{HEADER}\n\
             # Keep this file secret, and keep a copy: without it no consent in the database can be found.\n\
             fixed {fixed}\n{numbered}"
        ))
    }

    /// The newest number that it holds.
    pub fn newest(&self) -> u16 {
        *self
            .numbered
            .keys()
            .next_back()
            .expect("a keyring holds at least one key")
    }

    /// What turns subjects' keys into those that are stored, and knows under which number that is.
    pub fn wrapping(&self) -> Wrapping {
        let secrets = self.numbered.iter().map(|(number, key)| (*number, key));
        Wrapping::of(secrets, self.in_use.clone())
    }

    /// What the database keeps to recognise its keyring as it is up to a number; `None`: it holds no such
    /// number. Says nothing about the secrets.
    pub fn check_value(&self, number: u16) -> Option<String> {
        if !self.numbered.contains_key(&number) {
            return None;
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.fixed.as_slice());
        let mut context = hmac::Context::with_key(&key);
        // Version 2: partitions come from the first numbered key. A ledger of version 1 has its people
        // elsewhere; it must not be served as if they were unknown.
        context.update(b"consentgate/key-check/v2");
        for (number, secret) in self.numbered.range(..=number) {
            context.update(&number.to_be_bytes());
            context.update(secret.as_slice());
        }
        Some(HEXLOWER.encode(&cut(context.sign().as_ref())))
    }

    /// What it is known by up to each number that it holds.
    pub fn check_values(&self) -> BTreeMap<u16, String> {
        let numbers = self.numbered.keys();
        numbers
            .filter_map(|number| Some((*number, self.check_value(*number)?)))
            .collect()
    }

    /// The keys that belong to no business.
    pub fn ledger_keys(&self) -> LedgerKeys {
        LedgerKeys {
            token: mac_key(&self.fixed, "token", ""),
            credential: mac_key(&self.fixed, "credential", ""),
        }
    }

    /// The keys of one business. Costs some derivations: keep the result.
    pub fn business_keys(&self, business: &BusinessId) -> BusinessKeys {
        let innermost = self.numbered.values().next();
        let innermost = innermost.expect("a keyring holds at least one key");
        let seal = self
            .numbered
            .iter()
            .map(|(number, secret)| {
                let key = derive(secret, "seal", business.as_str());
                let key = RandomizedNonceKey::new(&AES_256_GCM_SIV, key.as_slice());
                (
                    *number,
                    key.expect("a derived key has the length that the cipher wants"),
                )
            })
            .collect();
        BusinessKeys {
            subject: mac_key(innermost, "subject", business.as_str()),
            seal,
            in_use: self.in_use.clone(),
            idempotency: mac_key(&self.fixed, "idempotency", business.as_str()),
        }
    }
}

/// Keys that are the same for every business.
pub struct LedgerKeys {
    token: hmac::Key,
    credential: hmac::Key,
}

impl fmt::Debug for LedgerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerKeys(…)")
    }
}

impl LedgerKeys {
    /// Authenticates what leaves us and comes back: consistency and page tokens.
    pub fn token_mac(&self, bytes: &[u8]) -> [u8; 16] {
        cut(hmac::sign(&self.token, bytes).as_ref())
    }

    /// What is kept of a caller's token. Keyed, so that whoever can write to the database cannot make a
    /// token that is taken, and whoever can read it cannot try any.
    pub fn credential_hash(&self, text: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.credential, text).as_ref());
        hash
    }

    /// Whether `mac` is that of `bytes`, in constant time.
    pub fn token_matches(&self, bytes: &[u8], mac: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.token_mac(bytes), mac).is_ok()
    }
}

/// Keys of one business.
pub struct BusinessKeys {
    subject: hmac::Key,
    seal: BTreeMap<u16, RandomizedNonceKey>,
    in_use: InUse,
    idempotency: hmac::Key,
}

impl fmt::Debug for BusinessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BusinessKeys(…)")
    }
}

/// To which place in the database a sealed value belongs. A value that was moved does not open.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Table and column, as `event_payload.sealed`.
    pub column: &'static str,
    /// The row's own key.
    pub row: &'a [u8],
}

impl BusinessKeys {
    /// Where the facts of an address lie: their partition, 1 to [`SUBJECT_PARTITIONS`], and their key.
    ///
    /// Both from one keyed hash, since every check needs them, and both for ever: a rotation wraps what is
    /// stored.
    pub fn subject(&self, address: &Address) -> (u16, SubjectKey) {
        let mut context = hmac::Context::with_key(&self.subject);
        update_with(&mut context, address.key());
        let tag = context.sign();
        let (inner, rest) = tag
            .as_ref()
            .split_first_chunk::<16>()
            .expect("a tag of HMAC-SHA-256 has 32 bytes");
        let number = rest
            .iter()
            .take(8)
            .fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
        let partition = 1 + u16::try_from(number % u64::from(SUBJECT_PARTITIONS))
            .expect("a remainder is small");
        (partition, SubjectKey(*inner))
    }

    /// The key alone.
    pub fn subject_key(&self, address: &Address) -> SubjectKey {
        self.subject(address).1
    }

    /// Number of the key that new values are made under. Ask before something is sealed for an append: a value
    /// may then be sealed under a later number than the append says, never under an earlier one.
    pub fn current(&self) -> u16 {
        self.in_use.get().current
    }

    /// The keyed hash of a key or a content that may hold personal data.
    pub fn idempotency_hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.idempotency);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        cut(context.sign().as_ref())
    }

    /// Encrypts a text for one place: key number, nonce, ciphertext and tag in one. Its length is filled up
    /// with zeros, which a text does not end in: how many digits a number has is told by nothing.
    ///
    /// Should the number in use be one that the keyring lacks, then it is sealed under its newest: such an instance
    /// is refused by the ledger, and what it sealed is not taken.
    pub fn seal(&self, place: Place<'_>, plain: &[u8]) -> Vec<u8> {
        let (number, key) = self
            .seal
            .range(..=self.current())
            .next_back()
            .expect("a keyring holds the first key");
        let number = *number;
        let mut sealed = vec![0; plain.len().next_multiple_of(SEALED_BLOCK)];
        sealed[..plain.len()].copy_from_slice(plain);
        let nonce = key
            .seal_in_place_append_tag(aad(place, number), &mut sealed)
            .expect(
                "the system gives random numbers and the value is shorter than the cipher's limit",
            );
        let mut out = Vec::with_capacity(2 + 12 + sealed.len());
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        out
    }

    /// Decrypts what [`BusinessKeys::seal`] made for the same place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (number, rest) = sealed
            .split_first_chunk::<2>()
            .ok_or(KeyError::DoesNotOpen)?;
        let (nonce, ciphertext) = rest
            .split_first_chunk::<12>()
            .ok_or(KeyError::DoesNotOpen)?;
        let number = u16::from_be_bytes(*number);
        let key = self.seal.get(&number).ok_or(KeyError::UnknownKey(number))?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = key
            .open_in_place(Nonce::from(nonce), aad(place, number), &mut buffer)
            .map_err(|_| KeyError::DoesNotOpen)?
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        buffer.truncate(length);
        Ok(buffer)
    }
}

/// Longer than every number: the lengths of what is sealed are multiples of it.
const SEALED_BLOCK: usize = 64;

fn aad(place: Place<'_>, number: u16) -> Aad<Vec<u8>> {
    let mut bytes = Vec::with_capacity(place.column.len() + place.row.len() + 3);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(place.column.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(place.row);
    Aad::from(bytes)
}

fn update_with(context: &mut hmac::Context, key: &MatchKey) {
    match key {
        MatchKey::Phone(digits) => {
            context.update(b"p");
            context.update(&digits.to_be_bytes());
        }
        MatchKey::UserId(id) => {
            context.update(b"u");
            context.update(id.as_bytes());
        }
    }
}

fn mac_key(secret: &Secret, label: &str, business: &str) -> hmac::Key {
    hmac::Key::new(
        hmac::HMAC_SHA256,
        derive(secret, label, business).as_slice(),
    )
}

fn derive(secret: &Secret, label: &str, business: &str) -> Secret {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"consentgate/v1");
    let prk = salt.extract(secret.as_slice());
    let info = [label.as_bytes(), b"\0", business.as_bytes()];
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("32 bytes are within what HKDF can give");
    out
}

fn cut(tag: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&tag[..16]);
    out
}

fn random() -> Secret {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(secret.as_mut_slice()).expect("the system gives random numbers");
    secret
}

fn parse_secret(text: &str) -> Result<Secret, KeyError> {
    const WRONG: KeyError = KeyError::Malformed("a secret is not 32 bytes in base64");
    let bytes = Zeroizing::new(BASE64.decode(text.as_bytes()).map_err(|_| WRONG)?);
    let secret = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| WRONG)?;
    Ok(Zeroizing::new(secret))
}

#[cfg(test)]
mod tests {
    use super::wrapping::Numbers;
    use super::*;

    fn acme() -> BusinessId {
        BusinessId::parse("acme").unwrap()
    }

    fn phone(text: &str) -> Address {
        Address::from_phone_number(text).unwrap()
    }

    const PLACE: Place<'_> = Place {
        column: "event_payload.sealed",
        row: b"row",
    };

    #[test]
    fn a_keyring_reads_back_and_finds_the_same_subjects() {
        let keyring = Keyring::generate();
        let again = Keyring::parse(&keyring.to_text()).unwrap();
        assert_eq!(keyring.check_value(1), again.check_value(1));
        let address = phone("+4915112345678");
        assert_eq!(
            keyring.business_keys(&acme()).subject_key(&address),
            again.business_keys(&acme()).subject_key(&address)
        );
    }

    #[test]
    fn all_spellings_of_a_number_have_one_key_and_partition() {
        let keyring = Keyring::generate();
        let keys = keyring.business_keys(&acme());
        let (a, b) = (phone("+5511987654321"), phone("+551187654321"));
        assert_eq!(keys.subject(&a), keys.subject(&b));
        assert_ne!(
            keys.subject_key(&a),
            keys.subject_key(&phone("+5511987654322"))
        );
    }

    #[test]
    fn businesses_and_keyrings_share_no_subject_key() {
        let keyring = Keyring::generate();
        let address = phone("+4915112345678");
        let other = BusinessId::parse("other").unwrap();
        assert_ne!(
            keyring.business_keys(&acme()).subject_key(&address),
            keyring.business_keys(&other).subject_key(&address)
        );
        assert_ne!(
            keyring.business_keys(&acme()).subject_key(&address),
            Keyring::generate()
                .business_keys(&acme())
                .subject_key(&address)
        );
        assert_ne!(keyring.check_value(1), Keyring::generate().check_value(1));
    }

    #[test]
    fn what_is_kept_of_a_token_hangs_on_the_keyring_and_outlives_a_rotation() {
        let before = Keyring::generate();
        let after = before.grown().unwrap();
        let hash = |keyring: &Keyring| keyring.ledger_keys().credential_hash(b"cg_token");
        assert_eq!(hash(&before), hash(&after));
        assert_ne!(hash(&before), hash(&Keyring::generate()));
        let keys = before.ledger_keys();
        assert_ne!(hash(&before), keys.credential_hash(b"cg_tokem"));
        assert_ne!(hash(&before)[..16], keys.token_mac(b"cg_token"));
    }

    fn moving(current: u16) -> Numbers {
        Numbers {
            current,
            leaving: Some(current - 1),
        }
    }

    #[test]
    fn a_rotation_leaves_what_memory_knows_people_by_and_changes_what_is_stored() {
        let before = Keyring::generate();
        let after = before.grown().unwrap();
        let address = phone("+4915112345678");
        let of = |keyring: &Keyring| keyring.business_keys(&acme()).subject(&address);
        assert_eq!(of(&before), of(&after));
        let (_, SubjectKey(inner)) = of(&after);
        let wrapping = after.wrapping();
        assert_eq!(wrapping.wrapped(inner, 1), Ok(inner));
        let stored = wrapping.wrapped(inner, 2).unwrap();
        assert_ne!(stored, inner);
        assert_eq!(wrapping.rewrapped(inner, 1, 2), wrapping.wrapped(inner, 2));
        // Another second key is another ledger.
        let other = before.grown().unwrap();
        assert_ne!(other.wrapping().wrapped(inner, 2), Ok(stored));
        let again = Keyring::parse(&after.to_text()).unwrap();
        assert_eq!(again.wrapping().wrapped(inner, 2), Ok(stored));
    }

    #[test]
    fn a_keyring_is_known_by_each_of_its_numbers() {
        let before = Keyring::generate();
        let (after, other) = (before.grown().unwrap(), before.grown().unwrap());
        assert_eq!((before.newest(), after.newest()), (1, 2));
        assert_eq!(before.check_value(1), after.check_value(1));
        assert_eq!(before.check_value(2), None);
        assert_ne!(after.check_value(1), after.check_value(2));
        assert_ne!(after.check_value(2), other.check_value(2));
    }

    #[test]
    fn values_are_sealed_under_the_number_in_use_and_open_under_every_number() {
        let keyring = Keyring::generate().grown().unwrap();
        let keys = keyring.business_keys(&acme());
        let wrapping = keyring.wrapping();
        let early = keys.seal(PLACE, b"evidence");
        assert_eq!((keys.current(), &early[..2]), (1, &[0, 1][..]));
        wrapping.in_use().set(moving(2));
        let late = keys.seal(PLACE, b"evidence");
        assert_eq!((keys.current(), &late[..2]), (2, &[0, 2][..]));
        for sealed in [&early, &late] {
            let opened = keys.open(PLACE, sealed).unwrap();
            assert_eq!(opened.as_slice(), b"evidence");
        }
        // Its lack is met by the ledger, and must not end the process here.
        wrapping.in_use().set(moving(3));
        assert_eq!(keys.seal(PLACE, b"evidence")[..2], [0, 2]);
        assert_eq!(
            Keyring::generate()
                .business_keys(&acme())
                .open(PLACE, &late),
            Err(KeyError::UnknownKey(2))
        );
    }

    #[test]
    fn a_sealed_value_opens_only_in_its_place_with_its_key() {
        let keyring = Keyring::generate();
        let keys = keyring.business_keys(&acme());
        let sealed = keys.seal(PLACE, b"+4915112345678");
        assert!(!sealed.windows(4).any(|window| window == b"4915"));
        assert_eq!(
            keys.open(PLACE, &sealed).unwrap().as_slice(),
            b"+4915112345678"
        );
        let elsewhere = [
            Place {
                row: b"other",
                ..PLACE
            },
            Place {
                column: "subject_address.sealed",
                ..PLACE
            },
        ];
        for place in elsewhere {
            assert_eq!(keys.open(place, &sealed), Err(KeyError::DoesNotOpen));
        }
        let other = keyring.business_keys(&BusinessId::parse("other").unwrap());
        assert_eq!(other.open(PLACE, &sealed), Err(KeyError::DoesNotOpen));
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            assert!(keys.open(PLACE, &damaged).is_err(), "{index}");
        }
        assert_eq!(keys.open(PLACE, &sealed[..5]), Err(KeyError::DoesNotOpen));
    }

    #[test]
    fn every_partition_is_within_its_range_and_most_are_used() {
        let keys = Keyring::generate().business_keys(&acme());
        let used: std::collections::BTreeSet<u16> = (0..2_000)
            .map(|n| keys.subject(&phone(&format!("+49151{:08}", n))).0)
            .collect();
        assert!(
            used.iter()
                .all(|partition| (1..=SUBJECT_PARTITIONS).contains(partition))
        );
        assert_eq!(used.len(), usize::from(SUBJECT_PARTITIONS));
    }

    #[test]
    fn a_broken_keyring_is_refused_with_its_fault() {
        let good = Keyring::generate().to_text();
        for broken in [
            String::new(),
            good.replace("consentgate-keyring 1", "consentgate-keyring 2"),
            good.replace("fixed ", "fixes "),
            good.lines()
                .filter(|line| !line.starts_with("key"))
                .collect::<Vec<_>>()
                .join("\n"),
            good.replace("key 1", "key 0"),
            format!("{}key 1 {}\n", good.as_str(), BASE64.encode(&[0; 32])),
            good.replace("key 1 ", "key 1 AAAA"),
            good.replace("key 1 ", "key 2 "),
            format!("{}key 3 {}\n", good.as_str(), BASE64.encode(&[0; 32])),
        ] {
            assert!(
                matches!(Keyring::parse(&broken), Err(KeyError::Malformed(_))),
                "{broken}"
            );
        }
        let shown = format!("{:?}", Keyring::generate());
        assert_eq!(shown, "Keyring { keys: [1], .. }");
    }
}
