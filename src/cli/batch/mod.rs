//! `batch`: one question about a list of people, and the answers counted by reason.
//!
//! Lists may be long: lines are read, asked and told in chunks, and what is kept of a line is a
//! hash, to count repetitions. Nothing is retried: a call that failed ends the run, because what it
//! did not decide must not be sent, and checking again costs nothing.

mod lines;
mod summary;

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::client::Client;
use super::json::Object;
use super::output::{self, Format, Output, say};
use super::recipient::{Mistyped, Recipient};
use super::wire::some_time;
use super::words::{self, word};
use super::{Exit, Globals, fields};
use crate::grpc::proto::{
    BatchCheckConsentRequest, BatchCheckResult, Consistency, Decision, MessageClass, Reason,
};
use lines::{Line, Lines};
use summary::Summary;

/// Lines in one call. A call takes 10,000; smaller ones show progress and keep deadlines short.
const CHUNK: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct BatchArgs {
    /// File with one person a line, as `check` takes them. `-`: standard input.
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// Slug of the business that wants to send.
    #[arg(long, value_name = "SLUG")]
    business: String,
    /// Key of the purpose.
    #[arg(long, value_name = "KEY")]
    purpose: String,
    /// Class of the message. Unset: the purpose's own; of the two the stricter counts.
    #[arg(long, value_name = "CLASS", value_parser = words::any_of::<MessageClass>())]
    class: Option<MessageClass>,
    /// The sending number: WhatsApp's phone_number_id, or an alias.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    sender: String,
    /// Name of the template.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    template: String,
    /// How fresh the answers must be: strict, fully, or token:TOKEN of an earlier answer.
    #[arg(long, value_name = "HOW", value_parser = fields::consistency)]
    consistency: Option<Consistency>,
    /// Print the answer of each line too; with `--output json` one object a line, and the summary
    /// in the last.
    #[arg(long)]
    details: bool,
}

/// One line that names somebody.
struct Entry {
    line: u64,
    typed: String,
    recipient: Result<Recipient, Mistyped>,
}

pub(super) async fn batch(
    args: BatchArgs,
    globals: &Globals,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let (name, input, length) = open(&args.file)?;
    let client = Client::connect(globals).await?;
    let mut run = Run {
        question: BatchCheckConsentRequest {
            business_id: args.business,
            purpose: args.purpose,
            message_class: words::number(args.class),
            sender_id: args.sender,
            template: args.template,
            consistency: args.consistency,
            recipients: Vec::new(),
        },
        details: args.details,
        seen: Seen::default(),
        summary: Summary::default(),
        progress: progress(length, args.details),
        name,
    };
    let mut lines = Lines::of(input);
    let mut failure = None;
    loop {
        let chunk = run.read(&mut lines)?;
        if chunk.is_empty() {
            break;
        }
        if let Err(error) = run.ask(&client, &chunk, output).await {
            let (first, last) = (chunk[0].line, chunk[chunk.len() - 1].line);
            let undecided = format!(
                "{}: lines {first} to {last} and all after them are undecided",
                run.name
            );
            failure = Some(error.context(undecided));
            break;
        }
        run.progress.set_position(lines.bytes_read());
    }
    run.progress.finish_and_clear();
    run.summary.complete = failure.is_none();
    match output.format {
        Format::Table if args.details => output.text(format!("\n{}", run.summary.text()))?,
        Format::Table => output.text(run.summary.text())?,
        Format::Json if args.details => {
            output.json(&Object::new().with("summary", run.summary.json()))?;
        }
        Format::Json => output.json(&run.summary.json())?,
    }
    match failure {
        Some(error) => Err(error),
        None if run.summary.has_failures() => Ok(Exit::Failed),
        None => Ok(Exit::Done),
    }
}

/// What errors call it, the text, and its length where it is known.
fn open(path: &PathBuf) -> anyhow::Result<(String, Box<dyn BufRead>, Option<u64>)> {
    if path.as_os_str() == "-" {
        return Ok((
            "standard input".to_owned(),
            Box::new(io::stdin().lock()),
            None,
        ));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read `{name}`"))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("cannot read `{name}`"))?;
    ensure!(
        !metadata.is_dir(),
        "cannot read `{name}`: it is a directory"
    );
    let length = metadata.is_file().then_some(metadata.len());
    Ok((
        name,
        Box::new(BufReader::with_capacity(1 << 16, file)),
        length,
    ))
}

/// A bar on a terminal; nothing where details would run through it, or nobody looks.
fn progress(length: Option<u64>, details: bool) -> ProgressBar {
    if details && output::is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40} {percent}%  {msg}  {elapsed}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner}  {msg}  {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

struct Run {
    name: String,
    question: BatchCheckConsentRequest,
    details: bool,
    seen: Seen,
    summary: Summary,
    progress: ProgressBar,
}

impl Run {
    /// The next chunk of lines that name somebody.
    fn read(&mut self, lines: &mut Lines<impl BufRead>) -> anyhow::Result<Vec<Entry>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            let line = lines
                .read()
                .with_context(|| format!("cannot read `{}`", self.name))?;
            let Some(Line { number, text }) = line else {
                break;
            };
            let entry = match text {
                Err(what) => {
                    // Nothing of it can be shown: it is no text, or no line.
                    self.refuse(number, what);
                    self.summary.refused += 1;
                    continue;
                }
                Ok(text) => Entry {
                    line: number,
                    recipient: text.parse(),
                    typed: text,
                },
            };
            if let Ok(recipient) = &entry.recipient
                && !self.seen.first_time(recipient)
            {
                self.summary.repeated += 1;
            }
            chunk.push(entry);
        }
        Ok(chunk)
    }

    /// Asks about a chunk, and tells and counts its answers in the order of its lines.
    async fn ask(
        &mut self,
        client: &Client,
        chunk: &[Entry],
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let recipients: Vec<_> = chunk
            .iter()
            .filter_map(|entry| Some(entry.recipient.as_ref().ok()?.to_proto()))
            .collect();
        let asked = recipients.len();
        let mut results = Vec::new();
        if asked > 0 {
            let request = BatchCheckConsentRequest {
                recipients,
                ..self.question.clone()
            };
            let answer = client
                .consents()
                .batch_check_consent(client.request(request))
                .await?;
            results = answer.into_inner().results;
            ensure!(
                results.len() == asked,
                "the server answered {} results for {asked} people: nothing of it is used",
                results.len()
            );
        }
        let mut results = results.into_iter();
        for entry in chunk {
            match &entry.recipient {
                Err(refused) => {
                    self.refuse(entry.line, &refused.to_string());
                    self.summary.refused += 1;
                    self.tell(output, entry, Told::Refused(&refused.to_string()))?;
                }
                Ok(_) => {
                    let result = results
                        .next()
                        .context("one result for each, as counted above")?;
                    self.count(entry, &result, output)?;
                }
            }
        }
        self.progress
            .set_message(format!("{} people", self.summary.people()));
        Ok(())
    }

    fn count(
        &mut self,
        entry: &Entry,
        result: &BatchCheckResult,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        if let Some(error) = &result.error {
            self.refuse(entry.line, &format!("{}: {}", error.reason, error.message));
            self.summary.failed += 1;
            return self.tell(output, entry, Told::Refused(&error.message));
        }
        if !matches!(
            Decision::try_from(result.decision),
            Ok(Decision::Allow | Decision::Deny | Decision::Defer)
        ) {
            let what = "the server answered a decision that this version does not know";
            self.refuse(entry.line, what);
            self.summary.failed += 1;
            return self.tell(output, entry, Told::Refused(what));
        }
        self.summary.count(result);
        self.tell(output, entry, Told::Decided(result))
    }

    /// A line that was not decided, on standard error.
    fn refuse(&self, line: u64, what: &str) {
        self.progress
            .suspend(|| say(format_args!("{}:{line}: {what}", self.name)));
    }

    fn tell(&self, output: &mut Output, entry: &Entry, told: Told<'_>) -> anyhow::Result<()> {
        match (self.details, output.format) {
            (false, _) => Ok(()),
            (true, Format::Table) => output.text(told.text(entry)),
            (true, Format::Json) => output.json(&told.json(entry)),
        }
    }
}

/// What is told about a line.
enum Told<'a> {
    Refused(&'a str),
    Decided(&'a BatchCheckResult),
}

impl Told<'_> {
    fn text(&self, entry: &Entry) -> String {
        let (line, typed) = (entry.line, super::table::one_line(entry.typed.clone()));
        match self {
            Self::Refused(what) => format!("{line:>7}  ERROR  {typed:<20}  {what}"),
            Self::Decided(result) => {
                let decision = word::<Decision>(result.decision);
                let reasons: Vec<_> = result.reasons.iter().map(|r| word::<Reason>(*r)).collect();
                format!(
                    "{line:>7}  {decision:<5}  {typed:<20}  {}",
                    reasons.join(", ")
                )
            }
        }
    }

    fn json(&self, entry: &Entry) -> Object {
        // A line number that does not fit is beyond what any file has.
        let object = Object::new()
            .with("line", entry.line)
            .with("recipient", &entry.typed);
        match self {
            Self::Refused(what) => object.with("error", *what),
            Self::Decided(result) => object
                .with("decision", word::<Decision>(result.decision))
                .list(
                    "reasons",
                    result.reasons.iter().map(|reason| word::<Reason>(*reason)),
                )
                .maybe("not_before", some_time(result.not_before.as_ref()))
                .text("consent_event_id", &result.consent_event_id),
        }
    }
}

/// Who was on the list already, in whatever spelling, as hashes.
#[derive(Default)]
struct Seen {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl Seen {
    fn first_time(&mut self, recipient: &Recipient) -> bool {
        self.hashes
            .insert(self.hasher.hash_one(recipient.address().key()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(typed: &str) -> Entry {
        Entry {
            line: 17,
            typed: typed.to_owned(),
            recipient: typed.parse(),
        }
    }

    #[test]
    fn a_person_is_the_same_in_every_spelling() {
        let mut seen = Seen::default();
        let mut first = |typed: &str| seen.first_time(&typed.parse().unwrap());
        assert!(first("+52 55 1234 5678"));
        assert!(
            !first("+52 1 55 1234 5678"),
            "the old spelling of a Mexican mobile"
        );
        assert!(!first("wa:525512345678"));
        assert!(first("+52 55 1234 5679"));
    }

    #[test]
    fn a_line_is_told_with_its_number_and_as_it_was_typed() {
        let result = BatchCheckResult {
            decision: Decision::Deny.into(),
            reasons: vec![Reason::Withdrawn.into(), Reason::NoConsent.into()],
            ..BatchCheckResult::default()
        };
        let entry = entry("+49 151 12345678");
        assert_eq!(
            Told::Decided(&result).text(&entry),
            "     17  DENY   +49 151 12345678      WITHDRAWN, NO_CONSENT"
        );
        assert_eq!(
            serde_json::to_string(&Told::Decided(&result).json(&entry)).unwrap(),
            r#"{"line":17,"recipient":"+49 151 12345678","decision":"DENY","reasons":["WITHDRAWN","NO_CONSENT"]}"#
        );
        assert_eq!(
            serde_json::to_string(&Told::Refused("no").json(&entry)).unwrap(),
            r#"{"line":17,"recipient":"+49 151 12345678","error":"no"}"#
        );
    }

    fn run() -> Run {
        Run {
            name: "list".to_owned(),
            question: BatchCheckConsentRequest::default(),
            details: true,
            seen: Seen::default(),
            summary: Summary::default(),
            progress: ProgressBar::hidden(),
        }
    }

    #[test]
    fn a_chunk_has_the_lines_that_name_somebody() {
        let list = "# list\n\n+49 151 12345678\n0151 12345678 # Anna\n\u{feff}+4915112345678\n";
        let mut lines = Lines::of(list.as_bytes());
        let mut run = run();
        let chunk = run.read(&mut lines).unwrap();
        let numbers: Vec<_> = chunk.iter().map(|entry| entry.line).collect();
        assert_eq!(numbers, [3, 4, 5]);
        assert_eq!(chunk[1].recipient, Err(Mistyped::National));
        assert_eq!(chunk[1].typed, "0151 12345678");
        assert_eq!(run.summary.repeated, 1);
        assert!(run.read(&mut lines).unwrap().is_empty());
    }

    #[test]
    fn a_chunk_is_full_at_a_thousand() {
        let list: String = (0..2_500).map(|n| format!("+4915112{n:05}\n")).collect();
        let mut lines = Lines::of(list.as_bytes());
        let mut run = run();
        let lengths: Vec<_> = (0..4)
            .map(|_| run.read(&mut lines).unwrap().len())
            .collect();
        assert_eq!(lengths, [1_000, 1_000, 500, 0]);
    }

    #[test]
    fn what_is_not_decided_is_never_counted_as_allowed() {
        let mut output = Output::to(Format::Json, Box::new(io::sink()));
        let mut run = run();
        for decision in [0, 4, -1] {
            let result = BatchCheckResult {
                decision,
                ..BatchCheckResult::default()
            };
            run.count(&entry("+4915112345678"), &result, &mut output)
                .unwrap();
        }
        let both = BatchCheckResult {
            decision: Decision::Allow.into(),
            error: Some(crate::grpc::proto::ItemError::default()),
            ..BatchCheckResult::default()
        };
        run.count(&entry("+4915112345678"), &both, &mut output)
            .unwrap();
        assert_eq!(run.summary.failed, 4);
        assert_eq!(run.summary.people(), 4);
        assert!(run.summary.has_failures());
    }
}
