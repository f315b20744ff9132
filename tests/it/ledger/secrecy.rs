//! No number in the clear: whatever is appended as its caller must append it, neither database holds a known
//! number in any form that is easily read back.

use consentgate::domain::address::{Address, MatchKey};
use consentgate::domain::id::SubjectId;
use consentgate::keys::{Keyring, Place};
use consentgate::ledger::{Partition, Rpc, SubjectRef};
use data_encoding::{BASE64_NOPAD, HEXLOWER};
use uuid::Uuid;

use super::people::{Call, Draft, Person};
use super::store::Store;

const NUMBERS: [&str; 3] = ["+4915112345678", "+5215512345678", "+551198765432"];

pub async fn no_number_is_stored_in_the_clear(store: &Store) {
    let keyring = Keyring::generate();
    for number in NUMBERS {
        let mut person = Person::of("acme", 0, 1);
        for _ in 0..3 {
            let draft = sealed(&keyring, &mut person, number);
            person.record_as(draft, &*store.ledger).await;
        }
    }
    store
        .ledger
        .set_key_check(&keyring.check_value(1).unwrap())
        .await
        .unwrap();

    let mut searched = 0;
    for (place, bytes) in everything(store).await {
        searched += bytes.len();
        for number in NUMBERS {
            for (form, disguise) in disguises(number) {
                assert!(
                    !contains(&bytes, &disguise),
                    "{number} as {form} in {place}"
                );
            }
        }
    }
    assert!(searched > 3_000, "{searched} bytes are not all");
}

pub async fn a_number_in_the_clear_would_be_found(store: &Store) {
    let disguises: Vec<_> = NUMBERS.into_iter().flat_map(disguises).collect();
    let rows = (0..).zip(&disguises).map(|(number, (_, disguise))| {
        let around = [b"\xaa\xbb".as_slice(), disguise, b"\xcc"].concat();
        let id = store.id(Uuid::from_u128(number));
        format!("({id}, {})", store.bytes(&around))
    });
    let rows: Vec<String> = rows.collect();
    store
        .run(&format!(
            "INSERT INTO subject_address VALUES {}",
            rows.join(", ")
        ))
        .await;

    let stored = everything(store).await;
    for (form, disguise) in &disguises {
        let found = stored.iter().any(|(_, bytes)| contains(bytes, disguise));
        assert!(found, "{form}");
    }
}

/// An append as the use cases make it: with keyed hashes and sealed values.
fn sealed(keyring: &Keyring, person: &mut Person, number: &str) -> Draft {
    let keys = keyring.business_keys(&person.subject.business);
    let address = Address::from_phone_number(number).unwrap();
    let (partition, key) = keys.subject(&address);
    person.subject = SubjectRef {
        business: person.subject.business.clone(),
        partition: Partition(partition),
        key: key.0,
    };
    if person.events.is_empty() {
        person.id = SubjectId(Uuid::new_v4());
    }

    let mut draft = person.next();
    draft.event.spelling = address.spelling();
    draft.facts = person.facts();
    draft.facts.apply(&draft.event);
    let evidence = format!(
        r#"{{"address":"{number}","ip_address":"203.0.113.77","statement":"call me at {number}"}}"#
    );
    let seal = |column, row: &Uuid, plain: &str| {
        let row = row.as_bytes();
        keys.seal(Place { column, row }, plain.as_bytes())
    };
    let id = draft.event.event_id.0;
    draft.payload = Some(seal("event_payload.sealed", &id, &evidence));
    draft.address = Some(seal("subject_address.sealed", &person.id.0, number));
    let version = person.version().0.to_be_bytes();
    let call = Call {
        rpc: Rpc::RecordConsent,
        key_hash: keys.idempotency_hash(&[number.as_bytes(), &version]),
        content_hash: keys.idempotency_hash(&[evidence.as_bytes()]),
        answer: r#"{"effects":["APPLIED"]}"#.into(),
    };
    draft.with_call(call)
}

/// Every stored value, and the files as they are.
async fn everything(store: &Store) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for row in store.contents().await {
        for (column, value) in row.cells {
            all.push((format!("{}.{column}", row.table), value.unwrap_or_default()));
        }
    }
    for file in store.files() {
        all.push((file.display().to_string(), std::fs::read(&file).unwrap()));
    }
    all
}

/// The forms in which a number, its match key or its last eight digits would be in the clear.
fn disguises(number: &str) -> Vec<(String, Vec<u8>)> {
    let address = Address::from_phone_number(number).unwrap();
    let MatchKey::Phone(key) = address.key() else {
        panic!("a number has digits");
    };
    let (digits, key) = (&number[1..], key.to_string());
    let mut forms = Vec::new();
    for text in [digits, &key, &digits[digits.len() - 8..]] {
        forms.extend(disguises_of_text(text));
    }
    for digits in [digits, &key] {
        let number: u64 = digits.parse().unwrap();
        let big = number.to_be_bytes();
        let big = &big[usize::try_from(number.leading_zeros() / 8).unwrap()..];
        let little: Vec<u8> = big.iter().rev().copied().collect();
        forms.push(("an integer, big end first".into(), big.to_vec()));
        forms.push(("an integer, little end first".into(), little));
        forms.push(("an integer in hex".into(), HEXLOWER.encode(big).into()));
        if let Ok(packed) = HEXLOWER.decode(digits.as_bytes()) {
            forms.push(("packed decimals".into(), packed));
        }
    }
    forms
}

fn disguises_of_text(text: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = text.as_bytes();
    let wide = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
    let mut forms = vec![
        (format!("text {text}"), bytes.to_vec()),
        ("hex".into(), HEXLOWER.encode(bytes).into()),
        ("text in UTF-16".into(), wide(u16::to_le_bytes)),
        (
            "text in UTF-16, big end first".into(),
            wide(u16::to_be_bytes),
        ),
        (
            "text backwards".into(),
            bytes.iter().rev().copied().collect(),
        ),
    ];
    // Three, by where in the encoded value the text begins; what its neighbours decide is cut off.
    for (before, first) in [(0, 0), (1, 2), (2, 3)] {
        let encoded = BASE64_NOPAD.encode(&[&[0; 2][..before], bytes].concat());
        let end = (before + bytes.len()) * 8 / 6;
        forms.push((format!("base64, {before}"), encoded[first..end].into()));
    }
    forms
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
