//! A stolen copy of the database, without the key: nobody can find out from it whose numbers are in it.
//!
//! Telephone numbers can be enumerated: whoever has a hash without a key tries them all in minutes. So the search knows
//! the numbers and looks for everything that can be computed from one by somebody who has no key: the number in any
//! writing, and every usual hash of it, salted with whatever else is in the database. It looks into the bytes as they
//! are, and into what is in hex or base64 there.

use std::collections::HashMap;
use std::process::Command;

use aws_lc_rs::{digest, hmac};
use blake2::{Blake2b512, Blake2s256, Digest};
use consentgate::domain::address::{Address, MatchKey};
use consentgate::grpc::proto::recipient;
use consentgate::grpc::proto::*;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use md5::Md5;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, PhoneNumberType};

use super::Place;
use super::gate::Gate;
use super::people::{grant, now, opt_out};
use crate::postgres::programs;

/// No shorter, so that what is found by chance is not found in years of test runs.
const LEAST_DIGITS: usize = 11;
/// As many of a hash's bytes are looked for: less than any that would still tell people apart.
const CUT: usize = 8;

/// An example of each country's mobile numbers, as the numbering plans have them, in E.164.
fn numbers() -> Vec<String> {
    let regions = PHONE_NUMBER_UTIL.get_supported_regions();
    let examples = regions.filter_map(|region| {
        let kind = PhoneNumberType::Mobile;
        let example = PHONE_NUMBER_UTIL.get_example_number_for_type_and_region(region, kind);
        let example = example.ok()?;
        let written = PHONE_NUMBER_UTIL.format(&example, PhoneNumberFormat::E164);
        (written.len() > LEAST_DIGITS).then(|| written.into_owned())
    });
    let mut numbers: Vec<String> = examples.collect();
    numbers.sort();
    numbers.dedup();
    assert!(numbers.len() > 120, "{}", numbers.len());
    // Every third: hashing takes its time.
    numbers.into_iter().step_by(3).collect()
}

/// Everything that the service keeps of a person is kept of each.
async fn fill(gate: &Gate, numbers: &[String]) {
    let mut client = gate.client();
    for (index, number) in numbers.iter().enumerate() {
        let person = Recipient {
            address: Some(recipient::Address::PhoneNumber(number.clone())),
        };
        // Keys and evidence as careless callers make them.
        let mut consent = grant(&person, number);
        consent.actor = number.clone();
        consent.evidence.as_mut().unwrap().statement = format!("{number} agreed");
        consent.evidence.as_mut().unwrap().message_id = number.clone();
        let consent = client.record_consent(consent).await;
        // Some plans' examples are of places where more is asked for than this notice says.
        if let Err(refused) = consent {
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
        }
        let sent = ReportSendRequest {
            business_id: "acme".into(),
            recipient: Some(person.clone()),
            sender_id: "1001".into(),
            purpose: "offers".into(),
            message_id: format!("wamid.{number}"),
            message_class: MessageClass::Marketing.into(),
            sent_at: now(),
            ..ReportSendRequest::default()
        };
        client.report_send(sent).await.unwrap();
        let said = ReportInboundRequest {
            business_id: "acme".into(),
            recipient: Some(person.clone()),
            kind: InboundKind::Text.into(),
            sender_id: "1001".into(),
            message_id: format!("wamid.in.{number}"),
            text: format!("my number is {number}"),
            received_at: now(),
            ..ReportInboundRequest::default()
        };
        client.report_inbound(said).await.unwrap();
        if index % 3 == 0 {
            client.withdraw(opt_out(&person, number)).await.unwrap();
        }
    }
}

/// Everything that whoever has no key can make of a number and of what else lies in the database.
struct Needles(HashMap<[u8; 5], Vec<(Vec<u8>, String)>>);

impl Needles {
    fn of(numbers: &[String], salts: &[String]) -> Self {
        let mut needles = Self(HashMap::new());
        for number in numbers {
            needles.writings(number);
            for salt in salts {
                needles.hashes(number, salt);
            }
        }
        needles
    }

    fn add(&mut self, bytes: &[u8], what: impl FnOnce() -> String) {
        let Some(first) = bytes.first_chunk::<5>() else {
            return;
        };
        let like = self.0.entry(*first).or_default();
        if like.iter().all(|(known, _)| known != bytes) {
            like.push((bytes.to_vec(), what()));
        }
    }

    fn writings(&mut self, number: &str) {
        for text in texts(number) {
            let backwards: String = text.chars().rev().collect();
            for digits in [&text, &backwards] {
                if digits.len() >= LEAST_DIGITS {
                    self.add(digits.as_bytes(), || format!("{number} as {digits}"));
                }
            }
            if let Ok(value) = text.parse::<u64>() {
                let (big, little) = (value.to_be_bytes(), value.to_le_bytes());
                self.add(&big, || format!("{number}, an integer, big end first"));
                self.add(&little, || {
                    format!("{number}, an integer, little end first")
                });
            }
        }
    }

    fn hashes(&mut self, number: &str, salt: &str) {
        let mut inputs: Vec<Vec<u8>> = Vec::new();
        for text in texts(number) {
            inputs.extend(text.parse().map(|value: u64| value.to_be_bytes().to_vec()));
            inputs.push(text.chars().rev().collect::<String>().into_bytes());
            inputs.push(text.into_bytes());
        }
        for input in inputs {
            for (name, hash) in keyed(salt.as_bytes(), &input) {
                self.add(&hash[..CUT], || {
                    format!("{number}: {name} keyed with `{salt}`")
                });
            }
            let salt = salt.as_bytes();
            let salted = [
                [salt, &input].concat(),
                [&input, salt].concat(),
                [salt, b":", &input].concat(),
                [salt, b"\0", &input].concat(),
            ];
            let apart = if salt.is_empty() { 1 } else { salted.len() };
            for bytes in &salted[..apart] {
                for (name, hash) in unkeyed(bytes) {
                    self.add(&hash[..CUT], || format!("{number}: {name} of {bytes:?}"));
                }
            }
        }
    }

    /// What stands in these bytes.
    fn found_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = Vec::new();
        for (at, window) in bytes.windows(5).enumerate() {
            let like = self.0.get(window).into_iter().flatten();
            let there = like.filter(|(needle, _)| bytes[at..].starts_with(needle));
            found.extend(there.map(|(_, what)| what.as_str()));
        }
        found
    }

    /// The same, also behind hex and base64.
    fn found_anywhere_in(&self, bytes: &[u8]) -> Vec<&str> {
        let mut found = self.found_in(bytes);
        for decoded in decoded(bytes) {
            found.extend(self.found_in(&decoded));
        }
        found
    }
}

/// The writings that are hashed: with and without the plus sign, and the digits under which spellings fall together.
fn texts(number: &str) -> Vec<String> {
    let address = Address::from_phone_number(number).unwrap();
    let MatchKey::Phone(key) = address.key() else {
        panic!("a number has digits");
    };
    vec![number.to_owned(), number[1..].to_owned(), key.to_string()]
}

fn unkeyed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let of = |algorithm| digest::digest(algorithm, bytes).as_ref().to_vec();
    vec![
        ("MD5", Md5::digest(bytes).to_vec()),
        ("SHA-1", of(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
        ("SHA-224", of(&digest::SHA224)),
        ("SHA-256", of(&digest::SHA256)),
        ("SHA-384", of(&digest::SHA384)),
        ("SHA-512", of(&digest::SHA512)),
        ("SHA-512/256", of(&digest::SHA512_256)),
        ("SHA3-256", of(&digest::SHA3_256)),
        ("BLAKE2b", Blake2b512::digest(bytes).to_vec()),
        ("BLAKE2s", Blake2s256::digest(bytes).to_vec()),
    ]
}

/// With what is no key as the key.
fn keyed(salt: &[u8], bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let of = |algorithm| {
        let key = hmac::Key::new(algorithm, salt);
        hmac::sign(&key, bytes).as_ref().to_vec()
    };
    vec![
        ("HMAC-SHA-1", of(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY)),
        ("HMAC-SHA-256", of(hmac::HMAC_SHA256)),
    ]
}

/// What every run of hex or base64 in these bytes says, wherever in it a value may begin.
fn decoded(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    for run in bytes
        .split(|byte| !hex(byte))
        .filter(|run| run.len() >= 2 * 5)
    {
        for from in 0..2 {
            let run = &run[from..];
            let whole = &run[..run.len() / 2 * 2];
            all.push(HEXLOWER_PERMISSIVE.decode(whole).unwrap());
        }
    }
    for (encoding, marks) in [(BASE64_NOPAD, b"+/"), (BASE64URL_NOPAD, b"-_")] {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || marks.contains(byte);
        for run in bytes
            .split(|byte| !letter(byte))
            .filter(|run| run.len() >= 8)
        {
            for from in 0..4 {
                // The last value may end between two groups.
                let mut whole = run[from..].to_vec();
                whole.resize(whole.len().next_multiple_of(4), b'A');
                all.push(encoding.decode(&whole).unwrap());
            }
        }
    }
    all
}

/// What else is in the database that a hash could have been salted with.
async fn salts(place: &Place) -> Vec<String> {
    let mut sql = place.sql().await;
    let mut salts = vec![String::new(), "acme".to_owned(), "offers".to_owned()];
    let meta = "SELECT value FROM ledger_meta WHERE name IN ('ledger_id', 'history', 'key_check')";
    for row in sql.texts(meta).await {
        salts.extend(row.into_iter().flatten());
    }
    assert!(salts.len() >= 5, "{salts:?}");
    salts
}

fn pg_dump(url: &str) -> Vec<u8> {
    let dumped = Command::new(programs::directory().unwrap().join("pg_dump"))
        .args(["--dbname", url])
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    dumped.stdout
}

/// The lengths of what is sealed say nothing: numbers of all lengths look alike.
async fn lengths_tell_nothing(place: &Place, numbers: &[String]) {
    let mut sql = place.sql().await;
    let lengths: std::collections::BTreeSet<usize> = numbers.iter().map(String::len).collect();
    assert!(lengths.len() > 2, "{lengths:?}");
    let distinct = "SELECT count(DISTINCT length(sealed)) FROM subject_address";
    assert_eq!(sql.number(distinct).await, 1);
    // A few share a number, as an island does with its mainland.
    let kept = "SELECT count(*) FROM subject_address";
    assert!(sql.number(kept).await > 40);
    // Key number, nonce and tag beside whole blocks.
    let odd = "SELECT count(*) FROM event_payload WHERE (length(sealed) - 2 - 12 - 16) % 64 <> 0";
    assert_eq!(sql.number(odd).await, 0);
}

#[tokio::test]
async fn a_dump_of_postgresql_without_the_key_tells_no_number() {
    let place = Place::migrated().await;
    let numbers = numbers();
    let gate = place.gate().await;
    fill(&gate, &numbers).await;
    gate.stop().await;
    let needles = Needles::of(&numbers, &salts(&place).await);
    let dump = pg_dump(place.url());
    assert!(dump.len() > 200_000, "{}", dump.len());
    assert_eq!(needles.found_anywhere_in(&dump), Vec::<&str>::new());
    lengths_tell_nothing(&place, &numbers).await;
}

#[tokio::test]
async fn the_files_of_sqlite_without_the_key_tell_no_number() {
    let place = Place::sqlite();
    let numbers = numbers();
    let gate = place.gate().await;
    fill(&gate, &numbers).await;
    // While it runs, so that its log of writes is there too.
    let mut files = Vec::new();
    for name in ["gate.db", "gate.db-wal"] {
        files.extend(std::fs::read(place.path(name)).unwrap());
    }
    gate.stop().await;
    let needles = Needles::of(&numbers, &salts(&place).await);
    assert!(files.len() > 200_000, "{}", files.len());
    assert_eq!(needles.found_anywhere_in(&files), Vec::<&str>::new());
    lengths_tell_nothing(&place, &numbers).await;
}

#[test]
fn what_a_dump_must_not_tell_would_be_found() {
    let number = "+4915123456789".to_owned();
    let needles = Needles::of(
        std::slice::from_ref(&number),
        &[String::new(), "acme".into()],
    );
    let sha = |text: &[u8]| digest::digest(&digest::SHA256, text).as_ref().to_vec();
    let plants: [Vec<u8>; 9] = [
        b"4915123456789".to_vec(),
        b"9876543215194".to_vec(),
        4_915_123_456_789_u64.to_be_bytes().to_vec(),
        sha(b"+4915123456789"),
        sha(b"4915123456789")[..16].to_vec(),
        sha(b"acme4915123456789"),
        Md5::digest(b"acme:+4915123456789").to_vec(),
        Blake2b512::digest(b"4915123456789").to_vec(),
        keyed(b"acme", b"4915123456789")[1].1.clone(),
    ];
    for plant in plants {
        for padding in 0..3 {
            let around = [&b"xyz"[..padding], &plant, b"."].concat();
            for written in [
                around.clone(),
                HEXLOWER_PERMISSIVE.encode(&around).into_bytes(),
                BASE64_NOPAD.encode(&around).into_bytes(),
                BASE64URL_NOPAD.encode(&around).into_bytes(),
            ] {
                let line = [b"1\t\\\\x".as_slice(), &written, b"\tacme\n"].concat();
                assert!(
                    !needles.found_anywhere_in(&line).is_empty(),
                    "{plant:?} in {line:?}"
                );
            }
        }
    }
    assert_eq!(
        needles.found_anywhere_in(b"nothing of anybody, 4915123456788"),
        Vec::<&str>::new()
    );
}
