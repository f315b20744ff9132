//! The words file: from text to [`Words`], or to everything that is wrong with it.
//!
//! What the lists mean is said in `policy/opt_out_words.toml`, which is part of the binary, and in
//! `crate::domain::keywords`, which matches them. Two lists that contradict each other are refused:
//! which of them wins would otherwise depend on the matcher, and an opt-in that can never match, or a
//! confirmation that unsubscribes, should be found before anybody types it.

use std::cell::RefCell;
use std::collections::BTreeMap;

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
    let entries = read(text, |document, root| languages(document, root, &|_, _, _| Ok(())))?;
    let index = Index::new(&entries);
    let check = |list, language: &Language, text: &str| index.check(list, language, text);
    read(text, |document, root| languages(document, root, &check))?;
    Ok(index.words)
}

/// The words that are part of the binary.
pub fn embedded() -> Words {
    load(EMBEDDED).expect("the embedded words have no mistake: a test loads them")
}

type Check<'c> = &'c dyn Fn(List, &Language, &str) -> Result<(), String>;

fn languages(
    document: &Document<'_>,
    mut root: Table<'_, '_>,
    check: Check<'_>,
) -> Vec<(List, Keyword)> {
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
) -> Option<Vec<(List, Keyword)>> {
    let seen = RefCell::new(BTreeMap::new());
    let word = |text: &str| {
        let text = shape(list, text)?;
        check(list, language, &text)?;
        if let Some(before) = seen.borrow_mut().insert(normalise(&text), text.clone())
            && before == text
        {
            return Err(format!("`{text}` is there twice"));
        }
        let language = language.clone();
        Ok((list, Keyword { text, language }))
    };
    let read_words = |table: &mut Table<'_, '_>, key: &str| table.list(key, word);
    let key = list.key();
    let words = if list == List::OptOut {
        table.required(key, read_words)
    } else {
        read_words(table, key)
    };
    if words.as_ref().is_some_and(Vec::is_empty) {
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
    Ok(text.to_owned())
}

/// All words of a file, to look one up against the others.
struct Index {
    words: Words,
    /// Where each look stands.
    places: BTreeMap<String, Vec<(List, Keyword)>>,
    /// Beginnings of buttons, without spaces.
    buttons: Vec<(String, Keyword)>,
}

impl Index {
    fn new(entries: &[(List, Keyword)]) -> Self {
        let mut places: BTreeMap<String, Vec<(List, Keyword)>> = BTreeMap::new();
        let mut buttons = Vec::new();
        for (list, keyword) in entries {
            let text = normalise(&keyword.text);
            if *list == List::StopButtons {
                buttons.push((text.replace(' ', ""), keyword.clone()));
            }
            let place = places.entry(look(&text)).or_default();
            place.push((*list, keyword.clone()));
        }
        Self {
            words: Words::new(entries.iter().cloned()),
            places,
            buttons,
        }
    }

    /// What is wrong with a word because of another one.
    fn check(&self, list: List, language: &Language, text: &str) -> Result<(), String> {
        let normalised = normalise(text);
        let places = self.places.get(&look(&normalised)).into_iter().flatten();
        // What only looks alike is one word where opt-outs are looked for, and nowhere else.
        let is_same = |other: List, keyword: &Keyword| {
            is_opt_out(list) || is_opt_out(other) || normalise(&keyword.text) == normalised
        };
        if let Some((other, keyword)) = places
            .into_iter()
            .find(|(other, keyword)| contradict(list, *other) && is_same(*other, keyword))
        {
            let (other, of) = (other.key(), &keyword.language);
            return Err(format!(
                "`{text}` of {language} is also in `{other}` of {of}, as `{}`",
                keyword.text
            ));
        }
        if !matches!(list, List::OptIn | List::Confirm) {
            return Ok(());
        }
        if let Some(Keyword { text: word, language: of }) = self.words.veto(text) {
            return Err(format!(
                "`{text}` holds `{word}` of {of}, which says no or stop, so it would never match"
            ));
        }
        let pressed = normalised.replace(' ', "");
        if let Some((_, button)) = self.buttons.iter().find(|(b, _)| pressed.starts_with(b)) {
            return Err(format!(
                "`{text}` begins as the button `{}` of {}, which opts out",
                button.text, button.language
            ));
        }
        Ok(())
    }
}

fn is_opt_out(list: List) -> bool {
    matches!(list, List::OptOut | List::OptOutAll)
}

/// Whether one word cannot be in both lists. Verbs and buttons are parts of opt-outs, and `no` is a
/// negation and a refusal.
fn contradict(a: List, b: List) -> bool {
    let verb_and_other = |verb, other| {
        verb == List::OptOutVerbs && WHOLE[2..].contains(&other)
    };
    a != b && (WHOLE.contains(&a) && WHOLE.contains(&b) || verb_and_other(a, b) || verb_and_other(b, a))
}

