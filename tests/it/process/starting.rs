//! Starting: what serves at once, and what refuses to, with which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use consentgate::grpc::proto::{CheckConsentRequest, Decision, Reason};

use super::gate::{self, Gate};
use super::people::{person, phone, question};
use super::{CATALOG, Place};
use crate::ledger::Raw;
use crate::postgres::database;

/// Somebody in the example who ticked a box and confirmed it.
const AGREED: &str = "+4917604069041";

#[tokio::test]
async fn the_example_answers_its_first_check_and_loads_no_event_twice() {
    let place = Place::sqlite();
    let serve = || place.command(&["serve", "--example", "--listen", "127.0.0.1:0"]);
    let database = place.path("consentgate-example/consentgate.db");
    let key = place.path("consentgate-example/consentgate.db.key");

    let mut counts = Vec::new();
    for _ in 0..2 {
        let gate = Gate::start(serve()).await;
        // Not marketing, for which it may be too late in the evening.
        let asked = CheckConsentRequest {
            purpose: "order-updates".into(),
            ..question(&phone(AGREED))
        };
        let answer = gate.check(asked).await;
        assert_eq!(answer.decision(), Decision::Allow);
        assert_eq!(answer.reasons, [i32::from(Reason::ConsentGiven)]);
        gate.stop().await;

        let mut sql = Raw::sqlite(&database).await;
        let mut count = Vec::new();
        for table in [
            "event",
            "event_payload",
            "subject",
            "idempotency",
            "system_event",
        ] {
            let all = format!("SELECT count(*) FROM {table}");
            count.push((table, sql.number(&all).await));
        }
        assert!(count[0].1 > 240, "{count:?}");
        counts.push((count, fs::read(&key).unwrap()));
    }
    assert_eq!(counts[0], counts[1]);
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_key_that_is_wrong_missing_or_readable_by_others_is_refused_and_none_is_made() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    gate.agree(&person(1), "k").await;
    gate.stop().await;
    let key = fs::read_to_string(place.path("gate.db.key")).unwrap();
    let before = place.sql().await.number("SELECT count(*) FROM event").await;

    let refused = async |words: &[&str]| {
        Gate::refused(place.serve(&[])).await.refused_with(words);
    };
    place.write_key("gate.db.key");
    refused(&["this is not the key that the database was made with"]).await;
    // Another key with the right secret of the first would be another world, too.
    place.write_key("another.key");
    let another = fs::read_to_string(place.path("another.key")).unwrap();
    let numbered = |text: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with("key 1 "));
        lines.next().unwrap().to_owned()
    };
    place.write(
        "gate.db.key",
        &key.replace(&numbered(&key), &numbered(&another)),
    );
    refused(&["this is not the key that the database was made with"]).await;
    let gap = format!(
        "{key}{}\n",
        numbered(&another).replacen("key 1 ", "key 3 ", 1)
    );
    place.write("gate.db.key", &gap);
    refused(&["keys are numbered from 1 without a gap"]).await;
    place.write("gate.db.key", "consentgate-keyring 1\nfixed AAAA\n");
    refused(&["key file `gate.db.key`: not a consentgate keyring"]).await;
    place.write("gate.db.key", &key);
    place.chmod("gate.db.key", 0o640);
    refused(&[
        "`gate.db.key` can be read by others (mode 640)",
        "chmod 600",
    ])
    .await;
    fs::remove_file(place.path("gate.db.key")).unwrap();
    refused(&["cannot read the key file `gate.db.key`"]).await;
    assert!(!place.path("gate.db.key").exists(), "a second, empty world");

    // With the right key nothing has changed.
    place.write("gate.db.key", &key);
    place.chmod("gate.db.key", 0o600);
    let after = place.sql().await.number("SELECT count(*) FROM event").await;
    assert_eq!((before, after), (1, 1));
    let gate = place.gate().await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
    gate.stop().await;
    // One key more changes nothing before it is rotated to.
    let grown = format!(
        "{key}{}\n",
        numbered(&another).replacen("key 1 ", "key 2 ", 1)
    );
    place.write("gate.db.key", &grown);
    let gate = place.gate().await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
}

#[tokio::test]
async fn postgresql_is_served_with_its_key_and_its_schema_alone() {
    let place = Place::postgres(database().await);
    let url = place.url();
    let keyless = place.command(&["serve", "--database", url]);
    let refused = Gate::refused(keyless).await;
    refused.refused_with(&[
        "`--database` is PostgreSQL, which needs a key",
        "`key_file`",
    ]);
    let lost = place.command(&["serve", "--database", url, "--key-file", "lost.key"]);
    let refused = Gate::refused(lost).await;
    refused.refused_with(&["cannot read the key file `lost.key`"]);
    assert!(!place.path("lost.key").exists());

    let refused = Gate::refused(place.serve(&[])).await;
    refused.refused_with(&["schema is empty", "run `consentgate migrate`"]);
    place.migrate().await;
    let gate = place.gate().await;
    gate.agree(&person(1), "k").await;
    assert_eq!(gate.decision(&person(1)).await, Decision::Allow);
    gate.stop().await;
    // Migrating what is up to date changes nothing.
    place.migrate().await;

    let right = fs::read_to_string(place.path("gate.key")).unwrap();
    place.write_key("gate.key");
    let refused = Gate::refused(place.serve(&[])).await;
    refused.refused_with(&["this is not the key that the database was made with"]);
    place.write("gate.key", &right);
    assert_eq!(
        place.replay().await,
        6,
        "the policy, 4 of the catalogue, and one consent"
    );
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused_on_both_databases() {
    for place in [Place::sqlite(), Place::migrated().await] {
        place.gate().await.stop().await;
        let newer = "INSERT INTO _sqlx_migrations
            (version, description, success, checksum, execution_time)
            SELECT 9999, 'later', true, checksum, 0 FROM _sqlx_migrations LIMIT 1";
        place.sql().await.run(newer).await;
        let words = [
            "schema is version 9999, newer than this binary's",
            "use a newer consentgate",
        ];
        Gate::refused(place.serve(&[])).await.refused_with(&words);
        for arguments in [["migrate"].as_slice(), &["ledger", "replay", "--check"]] {
            let (ended, _) = gate::run(place.maintain(arguments)).await;
            ended.refused_with(&words);
        }
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_to_be_asked_for_twice() {
    let place = Place::sqlite();
    let listen = [
        "serve",
        "--listen",
        "0.0.0.0:0",
        "--database",
        "sqlite:gate.db",
    ];
    let refused = Gate::refused(place.command(&listen)).await;
    refused.refused_with(&[
        "`--listen` is `0.0.0.0:0`",
        "others can reach",
        "`--insecure`",
    ]);
    assert!(
        !place.path("gate.db").exists(),
        "refused before anything was made"
    );

    let mut asked_twice = place.command(&listen);
    asked_twice.arg("--insecure");
    let log = Gate::start(asked_twice).await.stop().await;
    let warning = log
        .lines()
        .find(|line| line.contains("without encryption"))
        .unwrap();
    assert!(warning.contains(r#""level":"WARN""#), "{warning}");
    assert!(warning.contains("0.0.0.0:0"), "{warning}");
    let log = place.gate().await.stop().await;
    assert!(!log.contains("without encryption"), "{log}");
}

#[tokio::test]
async fn a_setting_that_does_not_exist_is_refused_by_its_name() {
    let place = Place::sqlite();
    let mut by_variable = place.serve(&[]);
    by_variable.env("CONSENTGATE_SHUTDOWN_GRACES", "10s");
    Gate::refused(by_variable).await.refused_with(&[
        "there is no setting for the variable `CONSENTGATE_SHUTDOWN_GRACES`",
        "did you mean `CONSENTGATE_SHUTDOWN_GRACE`?",
    ]);
    place.write("gate.toml", "log = \"info\"\nmax_mesage_size = \"4MiB\"\n");
    let by_file = place.serve(&["--config", "gate.toml"]);
    Gate::refused(by_file).await.refused_with(&[
        "gate.toml:2: there is no setting `max_mesage_size`",
        "did you mean `max_message_size`?",
    ]);
    let by_flag = place.serve(&["--cache-sice", "1GiB"]);
    Gate::refused(by_flag)
        .await
        .refused_with(&["--cache-sice", "'--cache-size'"]);
    let by_value = place.serve(&["--log", "consentgate=loud"]);
    Gate::refused(by_value)
        .await
        .refused_with(&["`log` is `consentgate=loud`"]);
    assert!(
        !place.path("gate.db").exists(),
        "refused before anything was made"
    );
}

#[tokio::test]
async fn a_catalogue_applied_again_changes_nothing_and_a_changed_notice_is_refused_by_its_line() {
    let place = Place::sqlite();
    let applied = |log: &str| -> (u64, u64) {
        let line = log
            .lines()
            .find(|line| line.contains("catalogue applied"))
            .unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (
            line["resources"].as_u64().unwrap(),
            line["changed"].as_u64().unwrap(),
        )
    };
    let changes = async || {
        place
            .sql()
            .await
            .number("SELECT count(*) FROM system_event")
            .await
    };
    assert_eq!(applied(&place.gate().await.stop().await), (4, 4));
    let before = changes().await;
    assert_eq!(applied(&place.gate().await.stop().await), (4, 0));
    assert_eq!(changes().await, before);

    place.write(
        "catalog.toml",
        &CATALOG.replace("Reply STOP", "You can reply STOP"),
    );
    let line = 1 + CATALOG
        .lines()
        .position(|line| line == "[[business.notice]]")
        .unwrap();
    let line = format!("line {line}: notice acme/signup");
    let refused = Gate::refused(place.serve(&[])).await;
    refused.refused_with(&["`catalog.toml`", &line, "exists already with other content"]);
    assert_eq!(changes().await, before);

    place.write("catalog.toml", &format!("{CATALOG}colour = \"red\"\n"));
    let refused = Gate::refused(place.serve(&[])).await;
    refused.refused_with(&["`catalog.toml`", "colour"]);
    Gate::refused(place.serve_without_catalog(&["--catalog", "none.toml"]))
        .await
        .refused_with(&["cannot read `none.toml`"]);
    assert_eq!(changes().await, before);
}

#[tokio::test]
async fn a_sender_held_in_the_file_stays_held_also_without_the_file() {
    let place = Place::sqlite();
    let mut asked = question(&person(1));
    asked.sender_id = "1001".into();
    let gate = place.gate().await;
    gate.agree(&person(1), "k").await;
    assert_eq!(gate.check(asked.clone()).await.decision(), Decision::Allow);
    gate.stop().await;

    let held = "sender_id = \"1001\"\nheld = true\nheld_reason = \"sold\"\n";
    place.write(
        "catalog.toml",
        &CATALOG.replace("sender_id = \"1001\"\n", held),
    );
    for command in [place.serve(&[]), place.serve_without_catalog(&[])] {
        let gate = Gate::start(command).await;
        let answer = gate.check(asked.clone()).await;
        assert_eq!(answer.decision(), Decision::Deny);
        assert_eq!(answer.reasons[0], i32::from(Reason::SenderHeld));
        gate.stop().await;
    }
    // A file that does not speak of the hold changes nothing about it; one that says so releases.
    place.write("catalog.toml", CATALOG);
    let gate = place.gate().await;
    let answer = gate.check(asked.clone()).await;
    assert_eq!(answer.reasons[0], i32::from(Reason::SenderHeld));
    gate.stop().await;
    let released = held.replace("held = true\nheld_reason = \"sold\"", "held = false");
    place.write(
        "catalog.toml",
        &CATALOG.replace("sender_id = \"1001\"\n", &released),
    );
    assert_eq!(
        place.gate().await.check(asked).await.decision(),
        Decision::Allow
    );
}
