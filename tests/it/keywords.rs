//! The opt-out words that are shipped, against a corpus of messages, and the properties of their matching.
//!
//! `tests/corpus/keywords/*.tsv`: text, kind, expected class, note. A kind is `text`, `button` (the label is the
//! payload too, as WhatsApp sends it) or `button:PAYLOAD`. A text may hold `\u{200B}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use consentgate::domain::keywords::normalise::{LOOKED_AT, normalise};
use consentgate::domain::keywords::{Match, Message, SHORT, ScopeHint, Words};
use consentgate::policy::words::{EMBEDDED, embedded};
use proptest::prelude::*;
use proptest::sample::{Index, select};

static WORDS: LazyLock<Words> = LazyLock::new(embedded);
static CORPUS: LazyLock<Vec<Case>> = LazyLock::new(read_corpus);

const CLASSES: &[&str] = &[
    "opt_out",
    "opt_out_marketing",
    "opt_out_all",
    "possible",
    "opt_in",
    "confirm",
    "decline",
    "help",
    "none",
];

/// A line of the corpus.
#[derive(Debug, Clone)]
struct Case {
    file: String,
    line: usize,
    text: String,
    /// `None` for a typed message.
    payload: Option<String>,
    expected: String,
}

impl Case {
    fn message(&self) -> Message<'_> {
        match &self.payload {
            None => Message::Text(&self.text),
            Some(payload) => Message::Button {
                payload,
                text: &self.text,
            },
        }
    }
}

fn read_corpus() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/keywords");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is there")
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files.iter().flat_map(|file| read_file(file)).collect()
}

fn read_file(path: &Path) -> Vec<Case> {
    let file = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().enumerate();
    assert_eq!(
        lines.next(),
        Some((0, "text\tkind\texpected\tnote")),
        "{file}: the head"
    );
    lines
        .map(|(number, line)| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [text, kind, expected, _note] = columns[..] else {
                panic!("{file}:{}: not four columns: {line}", number + 1);
            };
            let text = unescaped(text);
            let payload = match kind.split_once(':') {
                None if kind == "text" => None,
                None if kind == "button" => Some(text.clone()),
                Some(("button", payload)) => Some(payload.to_owned()),
                _ => panic!("{file}:{}: unknown kind {kind}", number + 1),
            };
            assert!(
                CLASSES.contains(&expected),
                "{file}:{}: {expected}",
                number + 1
            );
            Case {
                file: file.clone(),
                line: number + 1,
                text,
                payload,
                expected: expected.to_owned(),
            }
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u{");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').expect("an escape ends");
        plain.push(char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap());
        plain.push_str(rest);
    }
    plain
}

fn class(found: Match<'_>) -> &'static str {
    match found {
        Match::OptOut { scope_hint, .. } => match scope_hint {
            None => "opt_out",
            Some(ScopeHint::Marketing) => "opt_out_marketing",
            Some(ScopeHint::Everything) => "opt_out_all",
        },
        Match::PossibleRevocation { .. } => "possible",
        Match::OptIn { .. } => "opt_in",
        Match::Confirm { .. } => "confirm",
        Match::Decline { .. } => "decline",
        Match::Help { .. } => "help",
        Match::None => "none",
    }
}

fn typed(text: &str) -> &'static str {
    class(WORDS.classify(Message::Text(text)))
}

/// The table in `tests/corpus/README.md`, counted.
fn counted() -> String {
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    let mut total = [0; 4];
    for case in CORPUS.iter() {
        let column = match case.expected.as_str() {
            "opt_out" | "opt_out_marketing" | "opt_out_all" => 0,
            "possible" => 1,
            "none" => 3,
            _ => 2,
        };
        counts.entry(&case.file).or_default()[column] += 1;
        total[column] += 1;
    }
    let line = |name: &str, counts: [usize; 4]| {
        let [must, possible, words, none] = counts;
        let all: usize = counts.iter().sum();
        format!("| {name} | {must} | {possible} | {words} | {none} | {all} |\n")
    };
    let head = "| language | must match | possible | other words | must not match | all |\n\
                | --- | --- | --- | --- | --- | --- |\n";
    let lines = counts.into_iter().map(|(file, counts)| line(file, counts));
    head.to_owned() + &lines.collect::<String>() + &line("all", total)
}

#[test]
fn the_table_of_the_corpus_counts_what_is_there() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let table = counted();
    assert!(readme.ends_with(&table), "the table must be:\n{table}");
}

#[test]
fn every_message_of_the_corpus_is_what_the_corpus_says() {
    let mut wrong = Vec::new();
    for case in CORPUS.iter() {
        let found = WORDS.classify(case.message());
        if class(found) != case.expected {
            let Case {
                file,
                line,
                text,
                expected,
                ..
            } = case;
            wrong.push(format!(
                "{file}:{line}: {text:?}: expected {expected}, found {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Prints its counts: `cargo test --test it keywords -- --nocapture`.
#[test]
fn the_corpus_covers_every_class_in_every_language() {
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for case in CORPUS.iter() {
        *counts
            .entry(&case.file)
            .or_default()
            .entry(&case.expected)
            .or_default() += 1;
    }
    println!("{:<8} {} all", "", CLASSES.join(" "));
    for (file, classes) in &counts {
        let row: Vec<String> = CLASSES
            .iter()
            .map(|class| {
                let count = classes.get(class).copied().unwrap_or_default();
                format!("{count:>width$}", width = class.len())
            })
            .collect();
        println!(
            "{file:<8} {} {:>3}",
            row.join(" "),
            classes.values().sum::<usize>()
        );
    }
    println!("{} messages", CORPUS.len());
    assert!(CORPUS.len() >= 400, "{}", CORPUS.len());
    let languages = counts.iter().filter(|(file, _)| **file != "unicode");
    for (file, classes) in languages {
        for class in CLASSES {
            assert!(classes.contains_key(class), "{file} has no {class}");
        }
    }
    for language in WORDS.languages() {
        assert!(
            counts.contains_key(language.as_str()),
            "no corpus for {language}"
        );
    }
}

#[test]
fn no_two_lines_of_a_file_say_the_same() {
    let mut seen = BTreeMap::new();
    for case in CORPUS.iter() {
        let key = (&case.file, &case.text, &case.payload);
        if let Some(before) = seen.insert(key, case.line) {
            panic!("{}:{}: as line {before}", case.file, case.line);
        }
    }
}

#[test]
fn a_message_that_is_longer_than_what_is_looked_at_is_never_a_whole_one() {
    let padded = |text: &str| format!("{text}{}", "\u{200B}".repeat(LOOKED_AT));
    assert_eq!(typed(&padded("STOP")), "possible");
    assert_eq!(typed(&padded("START")), "none");
    assert_eq!(typed(&padded("YES")), "none");
    assert_eq!(typed(&padded("NO")), "none");
    let exact = format!("STOP{}", " ".repeat(LOOKED_AT - 4));
    assert_eq!(typed(&exact), "opt_out");
    let long = "lorem ipsum ".repeat(10_000);
    assert_eq!(typed(&format!("stop sending me {long}")), "possible");
    assert_eq!(typed(&format!("stop {long}")), "none");
    assert_eq!(typed(&format!("{long} stop sending me")), "none");
}

#[test]
fn a_short_message_has_at_most_six_words_beside_its_courtesy() {
    assert_eq!(SHORT, 6);
    assert_eq!(typed("a b c d e stop"), "possible");
    assert_eq!(typed("a b c d e f stop"), "none");
    assert_eq!(
        typed("hello, a b c d e stop, thank you very much"),
        "possible"
    );
}

/// Words of a list of the shipped file, by a reading of the file that shares nothing with the loader.
fn listed(list: &str) -> Vec<String> {
    let file: toml::Table = EMBEDDED.parse().unwrap();
    let languages = file["language"].as_array().unwrap().iter();
    let lists = languages.filter_map(|language| language.get(list));
    lists
        .flat_map(|words| words.as_array().unwrap())
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_word_of_a_closed_list_is_what_its_list_says() {
    for (list, expected) in [
        ("opt_in", "opt_in"),
        ("confirm", "confirm"),
        ("decline", "decline"),
        ("help", "help"),
        ("opt_out_all", "opt_out_all"),
    ] {
        for word in listed(list) {
            assert_eq!(typed(&word), expected, "{word}");
        }
    }
    for word in listed("opt_out") {
        assert!(typed(&word).starts_with("opt_out"), "{word}");
    }
    for word in listed("stop_buttons") {
        let button = Message::Button {
            payload: "x",
            text: &word,
        };
        assert_eq!(class(WORDS.classify(button)), "opt_out_marketing", "{word}");
    }
    for word in listed("opt_out_verbs") {
        let found = typed(&format!("{word} qwertz"));
        assert!(
            found == "possible" || found.starts_with("opt_out"),
            "{word}: {found}"
        );
    }
    for word in listed("courtesy") {
        assert_eq!(typed(&word), "none", "{word}");
        assert!(
            typed(&format!("{word} stop {word}")).starts_with("opt_out"),
            "{word}"
        );
    }
    for word in listed("harmless") {
        assert_eq!(typed(&word), "none", "{word}");
    }
}

/// The characters of `text` in full width where there is one.
fn in_full_width(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '!'..='~' => char::from_u32(u32::from(c) + 0xFEE0).unwrap(),
            _ => c,
        })
        .collect()
}

fn case() -> impl Strategy<Value = Case> {
    select(CORPUS.as_slice())
}

/// What the corpus says of a typed message, or of the label of a button as if it were typed.
fn text() -> impl Strategy<Value = String> {
    case().prop_map(|case| case.text)
}

fn opt_out_word() -> impl Strategy<Value = String> {
    select([listed("opt_out"), listed("opt_out_all")].concat())
}

const INVISIBLE: &[char] = &[
    '\u{200B}', '\u{200C}', '\u{200D}', '\u{200E}', '\u{200F}', '\u{2060}', '\u{FEFF}', '\u{FE0F}',
    '\u{AD}', '\u{202E}', '\u{2069}', '\u{34F}',
];

proptest! {
    #[test]
    fn classifying_never_panics(text in "\\PC*", payload in any::<String>()) {
        WORDS.classify(Message::Text(&text));
        WORDS.classify(Message::Text(&payload));
        WORDS.classify(Message::Button { payload: &payload, text: &text });
    }

    #[test]
    fn classifying_words_in_any_order_never_panics_and_never_opts_in_or_confirms_with_an_opt_out(
        parts in prop::collection::vec(text(), 1..5),
        word in opt_out_word(),
        at in any::<Index>(),
    ) {
        let mut parts = parts;
        parts.insert(at.index(parts.len() + 1), word);
        let found = typed(&parts.join(" "));
        prop_assert!(!["opt_in", "confirm"].contains(&found), "{parts:?}: {found}");
    }

    #[test]
    fn normalising_twice_changes_nothing(text in any::<String>(), known in text()) {
        for text in [text, known] {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }
    }

    #[test]
    fn what_is_normalised_is_words_with_one_space_between(text in any::<String>()) {
        let words = normalise(&text);
        prop_assert_eq!(words.split_whitespace().collect::<Vec<_>>().join(" "), words);
    }

    #[test]
    fn case_changes_nothing(case in case()) {
        let expected = typed(&case.text);
        prop_assert_eq!(typed(&case.text.to_uppercase()), expected);
        prop_assert_eq!(typed(&case.text.to_lowercase()), expected);
    }

    #[test]
    fn width_changes_nothing(case in case()) {
        prop_assert_eq!(typed(&in_full_width(&case.text)), typed(&case.text));
    }

    #[test]
    fn invisible_characters_change_nothing(
        case in case(),
        inserted in prop::collection::vec((any::<Index>(), select(INVISIBLE)), 1..8),
    ) {
        let mut letters: Vec<char> = case.text.chars().collect();
        for (at, invisible) in inserted {
            letters.insert(at.index(letters.len() + 1), invisible);
        }
        let text: String = letters.into_iter().collect();
        prop_assert_eq!(typed(&text), typed(&case.text));
    }

    #[test]
    fn an_opt_out_word_is_one_however_it_is_written(
        word in opt_out_word(),
        before in "[ \t\n.,!?*_~\"🛑🙏👎]{0,5}",
        after in "[ \t\n.,!?*_~\"🛑🙏👎]{0,5}",
        with_spaces in any::<bool>(),
    ) {
        let word = if with_spaces { word } else { normalise(&word).replace(' ', "") };
        for word in [word.to_uppercase(), word.to_lowercase(), in_full_width(&word)] {
            let text = format!("{before}{word}{after}");
            prop_assert!(typed(&text).starts_with("opt_out"), "{text:?}: {}", typed(&text));
        }
    }

    #[test]
    fn several_opt_outs_in_a_row_with_courtesy_are_one(
        words in prop::collection::vec(opt_out_word(), 1..3),
        courtesy in select(listed("courtesy")),
    ) {
        let text = format!("{courtesy}, {}, {courtesy}!", words.join(&format!(" {courtesy} ")));
        prop_assert!(typed(&text).starts_with("opt_out"), "{text}: {}", typed(&text));
    }

    #[test]
    fn a_number_after_an_opt_out_makes_it_doubtful(word in select(vec!["stop", "стоп", "baja", "stopp", "הסר", "توقف"]), number in 1u32..100_000) {
        prop_assert_eq!(typed(&format!("{word} {number}")), "possible");
    }

    #[test]
    fn an_opt_out_by_label_or_payload_is_one_whatever_the_other_is(
        word in opt_out_word(),
        other in text(),
    ) {
        let by_label = Message::Button { payload: &other, text: &word };
        let by_payload = Message::Button { payload: &word, text: &other };
        for button in [by_label, by_payload] {
            prop_assert!(class(WORDS.classify(button)).starts_with("opt_out"));
        }
    }
}
