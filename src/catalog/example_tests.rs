//! That the data of `examples/acme` hold together: every number can exist, every name is in the catalogue.

use std::collections::BTreeMap;

use super::*;
use crate::domain::address::Address;
use crate::domain::phone::{self, Existence};
use crate::domain::vocabulary::{ConsentState, IndicationMethod, WithdrawalMethod};

type Row = BTreeMap<String, String>;

fn rows() -> Vec<Row> {
    let text = include_str!("../../examples/acme/consents.csv");
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

fn catalogs() -> BTreeMap<String, BusinessCatalog> {
    let file = parse(include_str!("../../examples/acme/catalog.toml")).unwrap();
    let named = |draft: &BusinessDraft| {
        (
            draft.business.value.business_id.to_string(),
            draft.catalog(),
        )
    };
    file.businesses.iter().map(named).collect()
}

fn address(row: &Row) -> Address {
    let recipient = &row["recipient"];
    match row["recipient_kind"].as_str() {
        "phone_number" => Address::from_phone_number(recipient).unwrap(),
        "wa_id" => Address::from_wa_id(recipient).unwrap(),
        "business_scoped_user_id" => Address::from_user_id(recipient).unwrap(),
        other => panic!("{other}"),
    }
}

fn keys(row: &Row) -> Vec<&str> {
    row["purposes"]
        .split(';')
        .filter(|key| !key.is_empty())
        .collect()
}

#[test]
fn every_number_of_the_consent_log_can_exist_and_lies_where_the_row_says() {
    let mut wrong = Vec::new();
    for row in rows() {
        let stated = row["jurisdiction"].get(..2).unwrap_or_default();
        match phone::existence(&address(&row)) {
            Existence::Valid(Some(code))
                if stated.is_empty() || code.country().as_str() == stated => {}
            Existence::NotANumber => {}
            other => wrong.push(format!("{} {stated}: {other:?}", row["recipient"])),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_line_of_the_campaign_list_is_a_number_that_can_exist_or_says_that_it_is_refused() {
    let mut wrong = Vec::new();
    for line in include_str!("../../examples/acme/campaign.txt").lines() {
        let (typed, comment) = line.split_once('#').unwrap_or((line, ""));
        let number: String = typed.chars().filter(|c| !" -()./".contains(*c)).collect();
        if number.is_empty() {
            continue;
        }
        // The trunk prefix in parentheses is refused as it is typed: without them it would be a digit.
        let exists = !typed.contains("(0)")
            && Address::from_phone_number(&number)
                .is_ok_and(|address| phone::existence(&address) != Existence::Invalid);
        if exists == comment.contains("refused") {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_name_in_the_consent_log_is_in_the_catalogue() {
    let catalogs = catalogs();
    for row in rows() {
        let catalog = &catalogs[&row["business_id"]];
        for key in keys(&row) {
            assert!(catalog.purposes.contains_key(key), "{row:?}");
        }
        if let Ok(sender) = SenderId::parse(&row["sender_id"]) {
            assert!(catalog.sender(&sender).is_some(), "{row:?}");
        }
        if !row["notice_id"].is_empty() {
            let name = NoticeRef {
                notice_id: NoticeId::parse(&row["notice_id"]).unwrap(),
                version: row["notice_version"].parse().unwrap(),
                language: Language::parse(&row["notice_language"]).unwrap(),
            };
            let notice = catalog
                .notices
                .get(&name)
                .unwrap_or_else(|| panic!("{row:?}"));
            for key in keys(&row) {
                assert!(
                    notice.purposes.iter().any(|one| one.as_str() == key),
                    "{row:?}"
                );
            }
        }
    }
}

#[test]
fn every_row_has_what_its_action_needs_and_only_known_words() {
    const DECLARATIONS: [&str; 4] = [
        "default_unticked",
        "separate_from_terms",
        "whatsapp_named",
        "number_entered_by_subject",
    ];
    for row in rows() {
        let given = |name: &str| !row[name].is_empty();
        jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%SZ", &row["event_time"])
            .or_else(|_| row["event_time"].parse())
            .unwrap();
        assert!(given("idempotency_key"));
        assert!(!given("event_state") || ConsentState::from_word(&row["event_state"]).is_some());
        for declaration in row["declarations"].split(';').filter(|one| !one.is_empty()) {
            assert!(DECLARATIONS.contains(&declaration), "{declaration}");
        }
        let method = IndicationMethod::from_word(&row["indication_method"]);
        match row["action"].as_str() {
            "record" => {
                assert!(!keys(&row).is_empty(), "{row:?}");
                if row["event_state"].is_empty() {
                    assert!(method.is_some() && given("notice_id"), "{row:?}");
                    assert!(
                        ConsentType::from_word(&row["consent_type"]).is_some(),
                        "{row:?}"
                    );
                }
                assert_ne!(method, Some(IndicationMethod::Import), "{row:?}");
            }
            "confirm" => assert!(method.is_some(), "{row:?}"),
            "withdraw" => {
                assert!(WithdrawalMethod::from_word(&row["withdrawal_method"]).is_some());
                assert!(
                    ["purposes", "all_marketing", "everything"].contains(&row["scope"].as_str())
                );
                assert_eq!(
                    row["scope"] == "purposes",
                    !keys(&row).is_empty(),
                    "{row:?}"
                );
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_confirmation_follows_a_request_from_the_same_address_within_a_week() {
    let rows = rows();
    for (index, row) in rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row["action"] == "confirm")
    {
        let at = |row: &Row| row["event_time"].parse::<jiff::Timestamp>().unwrap();
        let found = rows[..index].iter().any(|earlier| {
            let waited = at(row).duration_since(at(earlier));
            earlier["action"] == "record"
                && earlier["business_id"] == row["business_id"]
                && address(earlier).key() == address(row).key()
                && address(earlier).spelling().grants(address(row).spelling())
                && waited.is_positive()
                && waited.as_hours() < 7 * 24
        });
        assert!(found, "{row:?}");
    }
}

#[test]
fn a_key_that_comes_twice_comes_with_the_same_row() {
    let mut seen: BTreeMap<String, Row> = BTreeMap::new();
    let mut repeated = 0;
    for row in rows() {
        if let Some(first) = seen.insert(row["idempotency_key"].clone(), row.clone()) {
            assert_eq!(first, row);
            repeated += 1;
        }
    }
    assert_eq!(repeated, 2);
}
