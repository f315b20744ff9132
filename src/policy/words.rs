//! The words file: from text to [`Words`], or to everything that is wrong with it.
//!
//! What the lists mean is said in `policy/opt_out_words.toml`, which is part of the binary, and in
//! `crate::domain::keywords`, which matches them. Two lists that contradict each other are refused:
//! which of them wins would otherwise depend on the matcher, and an opt-in that can never match, or a
//! confirmation that unsubscribes, should be found before anybody types it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, Table, read};
use crate::domain::id::Language;
use crate::domain::keywords::normalise::{LOOKED_AT, look, normalise};
use crate::domain::keywords::{Keyword, List, Words};

/// Everything that is wrong with a words file.
pub use super::document::Mistakes as Error;

/// The text of the words file that the binary carries.
pub const EMBEDDED: &str = include_str!("../../policy/opt_out_words.toml");

/// The shortest beginning of a button, in letters. A shorter one would match other buttons.
const SHORTEST_BUTTON: usize = 5;

/// Lists of whole phrases: none may be in two of them.
const WHOLE: &[List] = &[
    List::OptOut,
    List::OptOutAll,
    List::OptIn,
    List::Confirm,
    List::Decline,
    List::Help,
    List::Courtesy,
    List::Harmless,
];

/// Reads a words file.
pub fn load(text: &str) -> Result<Words, Error> {
    // Twice: what contradicts a word may stand after it, and its own line is where one looks.
    let entries = read(text, |document, root| {
        languages(document, root, &|_| Ok(()))
    })?;
    let index = Index::new(&entries);
    read(text, |document, root| {
        languages(document, root, &|entry| index.check(entry))
    })?;
    Ok(index.words)
}

/// The words that are part of the binary.
pub fn embedded() -> Words {
    load(EMBEDDED).expect("the embedded words have no mistake: a test loads them")
}

/// A word as it stands in the file, and as it is compared.
struct Entry {
    list: List,
    keyword: Keyword,
    normalised: String,
}

type Check<'c> = &'c dyn Fn(&Entry) -> Result<(), String>;

fn languages(document: &Document<'_>, mut root: Table<'_, '_>, check: Check<'_>) -> Vec<Entry> {
    let tables = root.tables("language");
    root.finish();
    if tables.is_empty() {
        document.mistake(&document.start(), "no `[[language]]`: nobody could opt out");
    }
    let mut entries = Vec::new();
    let mut seen = Vec::new();
    for mut table in tables {
        let code = table.required("code", |t, key| t.parsed(key, Language::parse));
        if let Some(code) = &code {
            if seen.contains(code) {
                table.mistake("code", format!("`{code}` has a table already"));
            }
            seen.push(code.clone());
        }
        // Read on without a code, so that every mistake is reported at once.
        let language = code.unwrap_or_else(unknown);
        for list in List::ALL {
            let words = read_list(&mut table, *list, &language, check);
            entries.extend(words.into_iter().flatten());
        }
        table.finish();
    }
    entries
}

fn unknown() -> Language {
    Language::parse("und").expect("BCP 47's code for an undetermined language")
}

fn read_list(
    table: &mut Table<'_, '_>,
    list: List,
    language: &Language,
    check: Check<'_>,
) -> Option<Vec<Entry>> {
    let seen = RefCell::new(BTreeSet::new());
    let has_word = Cell::new(false);
    let word = |text: &str| {
        has_word.set(true);
        let entry = Entry {
            list,
            normalised: shape(list, text)?,
            keyword: Keyword {
                text: text.to_owned(),
                language: language.clone(),
            },
        };
        check(&entry)?;
        if !seen.borrow_mut().insert(text.to_owned()) {
            return Err(format!("`{text}` is there twice"));
        }
        Ok(entry)
    };
    let read_words = |table: &mut Table<'_, '_>, key: &str| table.list(key, word);
    let key = list.key();
    let words = if list == List::OptOut {
        table.required(key, read_words)
    } else {
        read_words(table, key)
    };
    if words.is_some() && !has_word.get() {
        table.mistake(key, "has no word: leave it out, or name one");
    }
    words
}

/// A word of `list`, if it can ever match, and not nearly everything.
fn shape(list: List, text: &str) -> Result<String, String> {
    let normalised = normalise(text);
    if normalised.is_empty() {
        return Err("is empty: it has no letter and no digit".to_owned());
    }
    if text.chars().count() > LOOKED_AT {
        return Err(format!(
            "is longer than the {LOOKED_AT} characters of a message that are looked at"
        ));
    }
    let letters = normalised.chars().filter(|c| *c != ' ').count();
    if list == List::StopButtons && letters < SHORTEST_BUTTON {
        return Err(format!(
            "`{text}` is too short for the beginning of a button: {SHORTEST_BUTTON} letters at least"
        ));
    }
    Ok(normalised)
}

/// All words of a file, to look one up against the others.
struct Index<'e> {
    words: Words,
    /// Where each look stands.
    places: BTreeMap<String, Vec<&'e Entry>>,
}

impl<'e> Index<'e> {
    fn new(entries: &'e [Entry]) -> Self {
        let mut places: BTreeMap<String, Vec<&'e Entry>> = BTreeMap::new();
        for entry in entries {
            let place = places.entry(look(&entry.normalised)).or_default();
            place.push(entry);
        }
        let words = entries.iter().map(|e| (e.list, e.keyword.clone()));
        Self {
            words: Words::new(words),
            places,
        }
    }

    /// What is wrong with a word because of another one.
    fn check(&self, entry: &Entry) -> Result<(), String> {
        let Keyword { text, language } = &entry.keyword;
        let look = look(&entry.normalised);
        let mut places = self.places.get(&look).into_iter().flatten();
        if let Some(other) = places.find(|other| contradict(entry, other)) {
            return Err(format!(
                "`{text}` of {language} is also in `{}` of {}, as `{}`",
                other.list.key(),
                other.keyword.language,
                other.keyword.text
            ));
        }
        if !matches!(entry.list, List::OptIn | List::Confirm) {
            return Ok(());
        }
        if let Some(veto) = self.words.veto(text) {
            return Err(format!(
                "`{text}` holds `{}` of {}, which says no or stop, so it would never match",
                veto.text, veto.language
            ));
        }
        let button = self.words.stop_button_of(text);
        button.map_or(Ok(()), |button| {
            Err(format!(
                "`{text}` begins as the button `{}` of {}, which opts out",
                button.text, button.language
            ))
        })
    }
}

/// Whether one word cannot be in both places. Verbs and buttons are parts of opt-outs, and `no` is a
/// negation and a refusal. What only looks alike is one word where opt-outs are looked for.
fn contradict(a: &Entry, b: &Entry) -> bool {
    let is_whole = |entry: &Entry| WHOLE.contains(&entry.list);
    let is_opt_out = |entry: &Entry| matches!(entry.list, List::OptOut | List::OptOutAll);
    let is_verb_and_other = |verb: &Entry, other: &Entry| {
        verb.list == List::OptOutVerbs && is_whole(other) && !is_opt_out(other)
    };
    let is_same = a.normalised == b.normalised || is_opt_out(a) || is_opt_out(b);
    let lists_differ = a.list != b.list && is_whole(a) && is_whole(b);
    is_same && (lists_differ || is_verb_and_other(a, b) || is_verb_and_other(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keywords::{Match, Message};

    fn mistakes(text: &str) -> Vec<String> {
        match load(text) {
            Ok(_) => Vec::new(),
            Err(error) => error.as_slice().iter().map(ToString::to_string).collect(),
        }
    }

    /// A file of one language whose further lines begin at line 4.
    fn english(lines: &str) -> String {
        format!("[[language]]\ncode = \"en\"\nopt_out = [\"stop\"]\n{lines}")
    }

    #[test]
    fn the_embedded_words_load_and_hold_fourteen_languages() {
        let words = embedded();
        let languages: Vec<_> = words
            .languages()
            .into_iter()
            .map(Language::as_str)
            .collect();
        let all = [
            "ar", "de", "en", "es", "fr", "he", "hi", "id", "it", "nl", "pt", "ru", "tr", "uk",
        ];
        assert_eq!(languages, all);
    }

    #[test]
    fn an_operator_can_add_a_language() {
        let text = english("[[language]]\ncode = \"pl\"\nopt_out = [\"rezygnuję\"]\n");
        let words = load(&text).unwrap();
        let Match::OptOut { keyword, .. } = words.classify(Message::Text("REZYGNUJE")) else {
            panic!("not found");
        };
        assert_eq!(keyword.language.as_str(), "pl");
    }

    #[test]
    fn a_file_without_words_is_refused() {
        assert_eq!(
            mistakes(""),
            ["line 1: no `[[language]]`: nobody could opt out"]
        );
        assert_eq!(
            mistakes("[[language]]\ncode = \"en\""),
            ["line 1: language[0]: `opt_out` is missing"]
        );
        assert_eq!(
            mistakes(&english("help = []")),
            ["line 4: language[0].help: has no word: leave it out, or name one"]
        );
        assert_eq!(
            mistakes(&english("help = [\n  \"help\",\n  \"!?\",\n]")),
            ["line 6: language[0].help[1]: is empty: it has no letter and no digit"]
        );
    }

    #[test]
    fn what_nobody_reads_is_refused() {
        let found = mistakes(&english("optin = [\"start\"]\n[other]\nx = 1"));
        assert_eq!(
            found,
            [
                "line 4: language[0]: unknown key `optin`",
                "line 5: unknown key `other`"
            ]
        );
        let found = mistakes(&english("help = \"help\"\ndecline = [\"no\", 1]"));
        assert_eq!(
            found,
            [
                "line 4: language[0].help: expected a list of texts, found string",
                "line 5: language[0].decline[1]: expected a text in quotes, found integer"
            ]
        );
    }

    #[test]
    fn a_language_has_one_table_and_a_code() {
        let twice = english("[[language]]\ncode = \"en\"\nopt_out = [\"end\"]");
        assert_eq!(
            mistakes(&twice),
            ["line 5: language[1].code: `en` has a table already"]
        );
        let found = mistakes("[[language]]\nopt_out = [\"stop\", \"stop\"]");
        assert_eq!(
            found,
            [
                "line 1: language[0]: `code` is missing",
                "line 2: language[0].opt_out[1]: `stop` is there twice"
            ]
        );
    }

    #[test]
    fn a_word_in_two_lists_that_contradict_each_other_is_refused_at_both() {
        let found = mistakes(&english("confirm = [\"ja\", \"ＳＴÖP\"]"));
        assert_eq!(
            found,
            [
                "line 3: language[0].opt_out[0]: `stop` of en is also in `confirm` of en, as `ＳＴÖP`",
                "line 4: language[0].confirm[1]: `ＳＴÖP` of en is also in `opt_out` of en, as `stop`"
            ]
        );
        let other = "[[language]]\ncode = \"de\"\nopt_out = [\"ende\"]\nhelp = [\"s t o p\"]\n\
                     decline = [\"nö\"]\ncourtesy = [\"no\"]\nharmless = [\"alle\"]";
        let found = mistakes(&english(&format!("opt_out_verbs = [\"alle\"]\n{other}")));
        let lines: Vec<&str> = found
            .iter()
            .filter_map(|one| one.split(':').next())
            .collect();
        let expected = ["line 3", "line 4", "line 8", "line 9", "line 10", "line 11"];
        assert_eq!(lines, expected, "{found:?}");
    }

    #[test]
    fn what_only_looks_alike_contradicts_an_opt_out_and_nothing_else() {
        let cyrillic = "confirm = [\"ЅТОР\"]";
        assert_eq!(mistakes(&english(cyrillic)).len(), 2);
        let hi = "decline = [\"ні\"]\ncourtesy = [\"hi\"]";
        assert_eq!(mistakes(&english(hi)), Vec::<String>::new());
    }

    #[test]
    fn the_same_word_in_two_languages_or_two_spellings_is_none_the_worse() {
        let text = english(
            "opt_out_verbs = [\"stop\"]\ndecline = [\"no\", \"nó\"]\nnegations = [\"no\"]\n\
             [[language]]\ncode = \"de\"\nopt_out = [\"Stop\"]\ndecline = [\"no\"]",
        );
        assert_eq!(mistakes(&text), Vec::<String>::new());
    }

    #[test]
    fn an_opt_in_that_could_never_match_is_refused() {
        let text = english(
            "opt_in = [\"start no stop\"]\nconfirm = [\"yes never\"]\nnegations = [\"never\"]",
        );
        assert_eq!(
            mistakes(&text),
            [
                "line 4: language[0].opt_in[0]: `start no stop` holds `stop` of en, which says no or stop, so it would never match",
                "line 5: language[0].confirm[0]: `yes never` holds `never` of en, which says no or stop, so it would never match"
            ]
        );
        let text = english("opt_in = [\"promo please\"]\nstop_buttons = [\"promo\"]");
        assert_eq!(
            mistakes(&text),
            [
                "line 4: language[0].opt_in[0]: `promo please` begins as the button `promo` of en, which opts out"
            ]
        );
    }

    #[test]
    fn the_beginning_of_a_button_is_not_too_short() {
        assert_eq!(
            mistakes(&english("stop_buttons = [\"stop\"]")),
            [
                "line 4: language[0].stop_buttons[0]: `stop` is too short for the beginning of a button: 5 letters at least"
            ]
        );
    }

    #[test]
    fn a_word_is_not_longer_than_a_message() {
        let text = english(&format!("help = [\"{}\"]", "x".repeat(LOOKED_AT + 1)));
        assert_eq!(
            mistakes(&text),
            [
                "line 4: language[0].help[0]: is longer than the 4096 characters of a message that are looked at"
            ]
        );
    }
}
