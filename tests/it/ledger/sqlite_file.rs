//! What only a SQLite file can do: be locked, run out of room, and outlive the process that wrote it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use consentgate::ledger::sqlite::{Migrate, Sqlite, lock_path};
use consentgate::ledger::{Appended, Error, Ledger, Offset, OpenError, Removal, replay};

use super::erasing::{ADDRESS, SEALED, erasure, somebody};
use super::people::{Person, at, minute, race};
use super::store::{LIMITS, Raw, Store, open_sqlite};
use crate::wait::eventually;

const FILE: &str = "ledger.db";

/// Tells a process that this test starts which directory to work in.
const ROLE: &str = "CONSENTGATE_TEST_LEDGER_DIRECTORY";

async fn open(file: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(file, Migrate::No, LIMITS.acquire_timeout).await
}

#[tokio::test]
async fn what_was_erased_is_no_longer_in_the_file() {
    let store = Store::sqlite().await;
    let mut person = somebody(&store, 1, 7).await;
    let other = somebody(&store, 2, 7).await;
    let draft = erasure(&person, Removal::Now);
    person.record_as(draft, &*store.ledger).await;
    let draft = erasure(&other, Removal::At(minute(9)));
    draft.offer(&*store.ledger).await.unwrap();
    let mut raw = store.connect().await;
    assert_eq!(
        store
            .ledger
            .carry_out_erasures(minute(9), 10)
            .await
            .unwrap(),
        1
    );
    let busy = raw.number("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(busy, 0);
    for file in store.files() {
        let bytes = std::fs::read(&file).unwrap();
        for text in [SEALED, ADDRESS] {
            let found = bytes.windows(text.len()).any(|window| window == text);
            assert!(!found, "{}", file.display());
        }
    }
}

#[tokio::test]
async fn a_file_that_is_open_is_locked_to_a_second_opening() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let ledger = open_sqlite(&file).await;
    let mut person = Person::new(1, 7);
    person.record(&ledger).await;

    for migrate in [Migrate::Yes, Migrate::No] {
        let second = Sqlite::open(&file, migrate, LIMITS.acquire_timeout).await;
        let Err(OpenError::Locked(what)) = second else {
            panic!("{second:?}");
        };
        let lock = lock_path(&file).display().to_string();
        assert!(what.contains(&lock), "{what}");
    }
    // The first is none the worse for it.
    person.record(&ledger).await;

    ledger.close().await;
    drop(ledger);
    let again = open(&file).await.unwrap();
    assert_eq!(person.load(&again).await.unwrap(), person.loaded(2));
}

#[tokio::test]
async fn a_file_beside_a_locked_one_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let one = open_sqlite(&directory.path().join("one.db")).await;
    let other = open_sqlite(&directory.path().join("other.db")).await;
    assert_ne!(one.meta().await.unwrap(), other.meta().await.unwrap());
}

#[tokio::test]
async fn a_file_whose_pages_are_damaged_is_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let ledger = open_sqlite(&file).await;
    let mut person = Person::new(1, 7);
    person.record(&ledger).await;
    ledger.close().await;
    drop(ledger);
    let mut raw = Raw::sqlite(&file).await;
    let page = |of: &str| format!("SELECT rootpage FROM sqlite_schema WHERE name = '{of}'");
    let root = raw.number(&page("subject")).await;
    let size = raw.number("PRAGMA page_size").await;
    drop(raw);
    let start = u64::try_from((root - 1) * size).unwrap();
    let mut bytes = OpenOptions::new().write(true).open(&file).unwrap();
    bytes.seek(SeekFrom::Start(start)).unwrap();
    bytes.write_all(&[0xff; 512]).unwrap();
    drop(bytes);

    let ledger = open(&file).await.unwrap();
    let read = person.load(&ledger).await;
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    let written = person.next().offer(&ledger).await;
    assert!(matches!(written, Err(Error::Corrupt { .. })), "{written:?}");
    assert_eq!(ledger.heads().await.unwrap().len(), 65);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_event_outlives_a_killed_process() {
    if let Some(directory) = role() {
        return append_for_ever(&directory.join(FILE)).await;
    }
    const NAME: &str = "every_acknowledged_event_outlives_a_killed_process";
    let directory = tempfile::tempdir().unwrap();
    let mut writer = again(NAME, directory.path(), None);
    let mut output = BufReader::new(writer.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 100 {
        let line = next_line(&mut output).expect("the other process appends");
        acknowledged.extend(Acknowledged::parse(&line));
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    // What it said before it died, too.
    while let Some(line) = next_line(&mut output) {
        acknowledged.extend(Acknowledged::parse(&line));
    }

    let ledger = open(&directory.path().join(FILE)).await.unwrap();
    for told in &acknowledged {
        let after = at(told.partition, told.offset - 1);
        let there = ledger.changes_after(after, 1).await.unwrap();
        assert_eq!(there[0].position, at(told.partition, told.offset));
        assert_eq!(there[0].event.event_id.to_string(), told.event_id);
        let whole = ledger
            .history(there[0].event.subject_id, after.offset, 1)
            .await;
        assert!(whole.unwrap()[0].payload.is_some());
    }
    let report = replay::check(&ledger).await.unwrap();
    assert_eq!(report.differences, []);
    assert!(report.events >= u64::try_from(acknowledged.len()).unwrap());
    Person::new(9, 9).record(&ledger).await;
}

struct Acknowledged {
    partition: u16,
    offset: i64,
    event_id: String,
}

impl Acknowledged {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("acknowledged ")?.split(' ');
        Some(Self {
            partition: words.next()?.parse().ok()?,
            offset: words.next()?.parse().ok()?,
            event_id: words.next()?.to_owned(),
        })
    }
}

/// Appends until somebody kills this process, and says what was acknowledged.
async fn append_for_ever(file: &Path) {
    let ledger: Arc<dyn Ledger> = Arc::new(open_sqlite(file).await);
    race((1..=4).map(|number| append_as(number, Arc::clone(&ledger)))).await;
}

async fn append_as(number: u8, ledger: Arc<dyn Ledger>) {
    let mut person = Person::new(number, u16::from(number));
    loop {
        let draft = person.next().with_payload(&[7; 2_000]);
        let id = draft.event.event_id;
        let position = person.record_as(draft, &*ledger).await;
        let (partition, offset) = (position.partition.0, position.offset.0);
        // Ends this process should the other one be gone.
        say(&format!("acknowledged {partition} {offset} {id}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_room_appends_fail_nothing_is_lost_and_with_room_they_go_on() {
    const NAME: &str = "without_room_appends_fail_nothing_is_lost_and_with_room_they_go_on";
    if let Some(directory) = role() {
        return run_out_of_room(&directory).await;
    }
    for narrow in Narrow::available() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = again(NAME, directory.path(), Some(narrow));
        let mut output = BufReader::new(writer.stdout.take().unwrap());
        let mut wait_for = |word: &str| {
            let mut heard = Vec::new();
            while let Some(line) = next_line(&mut output) {
                if line == word {
                    return;
                }
                heard.push(line);
            }
            panic!("{narrow:?}: never {word}: {heard:?}");
        };
        wait_for("full");
        if narrow == Narrow::Files {
            // The limit is each file's: moving the log into the database makes room in the log.
            let mut outside = Raw::sqlite(&directory.path().join(FILE)).await;
            let busy = outside.number("PRAGMA wal_checkpoint(TRUNCATE)").await;
            assert_eq!(busy, 0);
        }
        writer.stdin.take().unwrap().write_all(b"room\n").unwrap();
        wait_for("went on");
        assert!(writer.wait().unwrap().success(), "{narrow:?}");
    }
}

/// How a process is kept from writing all that it wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Narrow {
    /// No file of it may grow beyond a limit. Every Unix can do that.
    Files,
    /// Its directory is a full file system, which it alone sees. Needs root, or what Linux calls user namespaces.
    Disk,
}

impl Narrow {
    fn available() -> Vec<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "true"]);
        unshare.stdout(Stdio::null()).stderr(Stdio::null());
        let namespaces = unshare.status().is_ok_and(|status| status.success());
        let disk = namespaces.then_some(Self::Disk);
        [Self::Files].into_iter().chain(disk).collect()
    }

    /// A program, with arguments, that runs the command behind them in want of room.
    fn wrapper(self) -> &'static [&'static str] {
        match self {
            // Half a megabyte or a whole one, by the shell's unit; without the signal, writing is an error.
            Self::Files => &[
                "sh",
                "-c",
                r#"trap '' XFSZ; ulimit -f 1024; exec "$0" "$@""#,
            ],
            Self::Disk => &[
                "unshare",
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                r#"mount -t tmpfs -o size=2m tmpfs "$CONSENTGATE_TEST_LEDGER_DIRECTORY" &&
                   head -c 1000000 /dev/zero >"$CONSENTGATE_TEST_LEDGER_DIRECTORY/ballast" &&
                   exec "$0" "$@""#,
            ],
        }
    }
}

/// Appends until there is no room, waits for room, and appends again.
async fn run_out_of_room(directory: &Path) {
    let ledger = open_sqlite(&directory.join(FILE)).await;
    let mut person = Person::new(1, 7);
    let refused = loop {
        let draft = person.next().with_payload(&[7; 8_000]);
        match draft.offer(&ledger).await {
            Ok(Appended::At(_)) => person.events.push(draft.event),
            other => break other,
        }
        assert!(person.events.len() < 1_000, "there is room without end");
    };
    let is_unavailable = |result| matches!(result, Err(Error::Unavailable(_)));
    assert!(is_unavailable(refused));
    for _ in 0..5 {
        let refused = person.next().with_payload(&[7; 8_000]).offer(&ledger).await;
        assert!(is_unavailable(refused));
    }
    is_whole(&person, &ledger).await;

    say("full");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    std::fs::remove_file(directory.join("ballast")).ok();
    eventually(Duration::from_secs(10), "appends go on", async || {
        let draft = person.next().with_payload(&[7; 8_000]);
        let appended = draft.offer(&ledger).await.ok()?;
        assert_eq!(appended, Appended::At(vec![at(7, person.version().0 + 1)]));
        person.events.push(draft.event);
        Some(())
    })
    .await;
    for _ in 0..5 {
        person.record(&ledger).await;
    }
    is_whole(&person, &ledger).await;
    say("went on");
}

/// What was acknowledged is there, and nothing else.
async fn is_whole(person: &Person, ledger: &dyn Ledger) {
    let version = person.version().0;
    assert_eq!(person.load(ledger).await.unwrap(), person.loaded(version));
    let history = ledger.history(person.id, Offset(0), 10_000).await.unwrap();
    let stored = history.iter().map(|recorded| &recorded.event);
    assert!(stored.eq(&person.events));
    let report = replay::check(ledger).await.unwrap();
    assert_eq!(report.differences, []);
}

/// The directory to work in, in a process that another one's test has started.
fn role() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a process that a test starts knows its role"
    )]
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// Runs one test of this file once more, in a process of its own that has a role.
fn again(test: &str, directory: &Path, narrow: Option<Narrow>) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match narrow.map(Narrow::wrapper) {
        None => Command::new(program),
        Some(wrapper) => {
            let mut command = Command::new(wrapper[0]);
            command.args(&wrapper[1..]).arg(program);
            command
        }
    };
    command.args([
        "--exact",
        &format!("ledger::sqlite_file::{test}"),
        "--nocapture",
    ]);
    command.env(ROLE, directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "\n{line}").unwrap();
}

/// The next whole line; what a killed process left unfinished is none.
fn next_line(output: &mut BufReader<ChildStdout>) -> Option<String> {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line.strip_suffix('\n').map(str::to_owned)
}
