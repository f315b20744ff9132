//! What a message from a person asks for: to stop, to begin, to confirm, or nothing we know.
//!
//! The matching is lopsided on purpose. To overlook a STOP is to write on to somebody who said no; to
//! hear one that was not meant costs one more question. So an opt-out is found in any spelling, and an
//! opt-in or a confirmation only where the whole message is a phrase of a closed list. What holds an
//! opt-out verb and is no opt-out is a [`Match::PossibleRevocation`]: marketing pauses, a person looks.
//!
//! The words are data (`policy/opt_out_words.toml`, read in `crate::policy::words`). Whose message it
//! is, and whether a confirmation is pending, is for the caller to know.

mod near;
pub mod normalise;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use self::normalise::{look, normalise, start};
use super::id::Language;

/// A message of at most so many words is short, courtesy at its ends left out: an opt-out verb in it
/// is probably what it is about. The longest that the research names.
pub const SHORT: usize = 6;

/// The most words of an opt-out that is found among others, its letters apart as in `s t o p`.
const TILE: usize = 16;

/// What was received. Media without a caption has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'m> {
    /// What was typed, a caption included.
    Text(&'m str),
    /// A button that was pressed: of a template, of a list or of an interactive message.
    Button {
        /// What the sender's developer put behind it; WhatsApp puts the label there otherwise.
        payload: &'m str,
        /// The label that the person saw.
        text: &'m str,
    },
}

/// What a list of words is for. The order is that of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Whole messages that end everything which the business's setting says.
    OptOut,
    /// Whole messages that end everything, whatever the setting says.
    OptOutAll,
    /// What makes a short message a possible revocation; of several words, a message of any length.
    OptOutVerbs,
    /// How the labels of WhatsApp's own "Stop promotions" button begin.
    StopButtons,
    /// Whole messages that ask for messages.
    OptIn,
    /// Whole messages that confirm, while a confirmation is pending.
    Confirm,
    /// Whole messages that refuse, while a confirmation is pending.
    Decline,
    /// Whole messages that ask what this is.
    Help,
    /// What turns an opt-in into its opposite.
    Negations,
    /// What may stand around and between opt-outs and changes nothing.
    Courtesy,
    /// What is about something else, though an opt-out verb is in it.
    Harmless,
}

impl List {
    pub const ALL: &'static [Self] = &[
        Self::OptOut,
        Self::OptOutAll,
        Self::OptOutVerbs,
        Self::StopButtons,
        Self::OptIn,
        Self::Confirm,
        Self::Decline,
        Self::Help,
        Self::Negations,
        Self::Courtesy,
        Self::Harmless,
    ];

    /// The key in the words file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::OptOut => "opt_out",
            Self::OptOutAll => "opt_out_all",
            Self::OptOutVerbs => "opt_out_verbs",
            Self::StopButtons => "stop_buttons",
            Self::OptIn => "opt_in",
            Self::Confirm => "confirm",
            Self::Decline => "decline",
            Self::Help => "help",
            Self::Negations => "negations",
            Self::Courtesy => "courtesy",
            Self::Harmless => "harmless",
        }
    }
}

/// A word or phrase of the lists, as it stands there. Two languages may share one: the first of the
/// file is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyword {
    pub text: String,
    pub language: Language,
}

/// How far an opt-out goes by its own words. Without a hint the business's setting says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeHint {
    /// Only promotions were named, as on WhatsApp's own button.
    Marketing,
    /// Everything was named.
    Everything,
}

/// What a message asks for, and by which word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match<'w> {
    OptOut {
        keyword: &'w Keyword,
        scope_hint: Option<ScopeHint>,
    },
    /// May be meant as an opt-out. The word is the verb, or the opt-in phrase that was negated.
    PossibleRevocation {
        keyword: &'w Keyword,
    },
    OptIn {
        keyword: &'w Keyword,
    },
    /// Confirms nothing unless a confirmation is pending.
    Confirm {
        keyword: &'w Keyword,
    },
    /// Refuses nothing unless a confirmation is pending.
    Decline {
        keyword: &'w Keyword,
    },
    Help {
        keyword: &'w Keyword,
    },
    None,
}

/// The words of all languages: a message need not be in the language of the one before.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// By what they look like, without spaces.
    opt_outs: BTreeMap<String, OptOut>,
    /// The same with every run of a letter as one.
    squeezed: BTreeMap<String, String>,
    /// The other lists, by list and normalised text.
    phrases: BTreeMap<List, Phrases>,
    /// Beginnings of buttons, by what they look like.
    buttons: BTreeMap<String, Keyword>,
}

#[derive(Debug, Clone, Default)]
struct Phrases {
    by_text: BTreeMap<String, Keyword>,
    /// The most words of any.
    longest: usize,
}

#[derive(Debug, Clone)]
struct OptOut {
    keyword: Keyword,
    hint: Option<ScopeHint>,
}

/// An opt-out that was found, one or several in a row.
#[derive(Clone, Copy)]
struct Found<'w> {
    keyword: &'w Keyword,
    hint: Option<ScopeHint>,
}

impl Words {
    /// The words of the lists. What contradicts itself is for the reader of the file to refuse; here an
    /// opt-out wins.
    pub fn new(entries: impl IntoIterator<Item = (List, Keyword)>) -> Self {
        let mut words = Self::default();
        for (list, keyword) in entries {
            let text = normalise(&keyword.text);
            if text.is_empty() {
                continue;
            }
            let hint = match list {
                List::OptOutAll => Some(ScopeHint::Everything),
                _ => None,
            };
            match list {
                List::OptOut | List::OptOutAll => {
                    let key = look(&text);
                    let squeezed = near::squeezed(&key);
                    words.squeezed.entry(squeezed).or_insert(key.clone());
                    let opt_out = OptOut { keyword, hint };
                    words.opt_outs.entry(key).or_insert(opt_out);
                }
                List::StopButtons => {
                    words.buttons.entry(look(&text)).or_insert(keyword);
                }
                _ => {
                    let phrases = words.phrases.entry(list).or_default();
                    phrases.longest = phrases.longest.max(text.split(' ').count());
                    phrases.by_text.entry(text).or_insert(keyword);
                }
            }
        }
        words.hint_at_marketing();
        words
    }

    /// The languages in which there is a way to opt out.
    pub fn languages(&self) -> BTreeSet<&Language> {
        self.opt_outs
            .values()
            .map(|opt_out| &opt_out.keyword.language)
            .collect()
    }

    /// The word in `text` that says no, or stop: no opt-in and no confirmation may hold one.
    pub fn veto(&self, text: &str) -> Option<&Keyword> {
        self.veto_in(&Read::new(text))
    }

    /// What `message` asks for. At most [`normalise::LOOKED_AT`] characters are looked at; a longer
    /// message is never a whole one, so it opts out or in of nothing.
    pub fn classify(&self, message: Message<'_>) -> Match<'_> {
        match message {
            Message::Text(text) => self.typed(text),
            Message::Button { payload, text } => self.pressed(payload, text),
        }
    }

    /// An opt-out that names promotions is one from marketing, typed or pressed.
    fn hint_at_marketing(&mut self) {
        let buttons = &self.buttons;
        for (key, opt_out) in &mut self.opt_outs {
            if opt_out.hint.is_none() && buttons.keys().any(|button| key.starts_with(button)) {
                opt_out.hint = Some(ScopeHint::Marketing);
            }
        }
    }

    fn typed(&self, text: &str) -> Match<'_> {
        let message = Read::new(text);
        let core = self.without_courtesy(&message);
        let whole = self.opt_out(&message, 0..message.words.len());
        match whole.or_else(|| self.opt_out(&message, core.clone())) {
            Some(Found { keyword, .. }) if message.is_cut => Match::PossibleRevocation { keyword },
            Some(Found { keyword, hint }) => Match::OptOut {
                keyword,
                scope_hint: hint,
            },
            None => {
                let closed = || self.closed(&message, core.clone());
                let closed = (!message.is_cut).then(closed).flatten();
                closed
                    .or_else(|| self.possible_revocation(&message, core))
                    .unwrap_or(Match::None)
            }
        }
    }

    /// An opt-out counts wherever it stands. For everything else the label says what the person meant,
    /// and the payload only where there is no label.
    fn pressed(&self, payload: &str, text: &str) -> Match<'_> {
        let opt_out = |text, anywhere| {
            let marketing = self
                .stop_button(text, anywhere)
                .map(|keyword| Match::OptOut {
                    keyword,
                    scope_hint: Some(ScopeHint::Marketing),
                });
            marketing.or_else(|| Some(self.typed(text)).filter(is_opt_out))
        };
        let pressed = opt_out(text, false).or_else(|| opt_out(payload, true));
        pressed.unwrap_or_else(|| {
            let has_label = !Read::new(text).words.is_empty();
            self.typed(if has_label { text } else { payload })
        })
    }

    /// The beginning of a label that makes a button one of WhatsApp's own to stop promotions.
    pub fn stop_button_of(&self, label: &str) -> Option<&Keyword> {
        self.stop_button(label, false)
    }

    /// A payload may have a word before.
    fn stop_button(&self, text: &str, anywhere: bool) -> Option<&Keyword> {
        let message = Read::new(text);
        let count = message.words.len();
        let starts = if anywhere { count } else { count.min(1) };
        (0..starts).find_map(|first| {
            let rest = look(message.part(first..count.min(first + TILE)));
            let mut buttons = self.buttons.iter();
            let found = buttons.find(|(beginning, _)| rest.starts_with(*beginning));
            found.map(|(_, keyword)| keyword)
        })
    }

    fn phrase(&self, list: List, text: &str) -> Option<&Keyword> {
        self.phrases.get(&list)?.by_text.get(text)
    }

    /// Where phrases of `list` stand in a message, the longest first where several begin.
    fn occurrences<'w, 'm>(
        &'w self,
        list: List,
        message: &'m Read,
    ) -> impl Iterator<Item = (Range<usize>, &'w Keyword)> + use<'w, 'm> {
        let count = message.words.len();
        let phrases = self.phrases.get(&list).into_iter();
        phrases.flat_map(move |phrases| {
            (0..count).flat_map(move |first| {
                let ends = first + 1..=count.min(first + phrases.longest);
                ends.rev().filter_map(move |end| {
                    let keyword = phrases.by_text.get(message.part(first..end))?;
                    Some((first..end, keyword))
                })
            })
        })
    }

    /// The words that are left without what only greets, asks or thanks at either end.
    fn without_courtesy(&self, message: &Read) -> Range<usize> {
        let mut core = 0..message.words.len();
        let Some(courtesy) = self.phrases.get(&List::Courtesy) else {
            return core;
        };
        let is_courtesy = |words| courtesy.by_text.contains_key(message.part(words));
        loop {
            let Range { start, end } = core;
            let lengths = || (1..=courtesy.longest.min(end - start)).rev();
            if let Some(length) = lengths().find(|length| is_courtesy(start..start + length)) {
                core = start + length..end;
            } else if let Some(length) = lengths().find(|length| is_courtesy(end - length..end)) {
                core = start..end - length;
            } else {
                return start..end;
            }
        }
    }

    /// Whether `words` are an opt-out and nothing else, in any spelling.
    fn opt_out(&self, message: &Read, words: Range<usize>) -> Option<Found<'_>> {
        if words.is_empty() {
            return None;
        }
        let text = message.part(words.clone());
        let key = look(text);
        let stretched = || {
            let key = self.squeezed.get(&near::squeezed(&key))?;
            near::is_stretched(&text.replace(' ', "")).then_some(key)
        };
        let found = self
            .opt_outs
            .get(&key)
            .or_else(|| self.opt_outs.get(stretched()?));
        found.map(found_once).or_else(|| self.tiled(message, words))
    }

    /// Whether `words` are several opt-outs in a row, courtesy between them: "stop stop", "stop, baja".
    fn tiled(&self, message: &Read, words: Range<usize>) -> Option<Found<'_>> {
        // What the words up to here consist of; the first entry stands for no word at all.
        let mut upto: Vec<Option<Option<Found<'_>>>> = vec![Some(None)];
        for end in 1..=words.len() {
            let reach = end.saturating_sub(TILE)..end;
            if upto[reach.clone()].iter().all(Option::is_none) {
                return None;
            }
            let tile = reach.into_iter().find_map(|first| {
                let before = upto[first]?;
                let part = message.part(words.start + first..words.start + end);
                if self.phrase(List::Courtesy, part).is_some() {
                    return Some(before);
                }
                let found = found_once(self.opt_outs.get(&look(part))?);
                Some(Some(before.map_or(found, |before| wider(before, found))))
            });
            upto.push(tile);
        }
        upto.pop()??
    }

    /// Whether the whole message is a phrase of a closed list. An opt-out word or a negation anywhere
    /// in it means that it is no opt-in and no confirmation.
    fn closed(&self, message: &Read, core: Range<usize>) -> Option<Match<'_>> {
        let text = message.text.as_str();
        let opt_in = self.phrase(List::OptIn, text);
        let confirm = self.phrase(List::Confirm, text);
        let yes = opt_in
            .map(|keyword| Match::OptIn { keyword })
            .or_else(|| confirm.map(|keyword| Match::Confirm { keyword }))
            .filter(|_| self.veto_in(message).is_none());
        yes.or_else(|| {
            [text, message.part(core)].into_iter().find_map(|text| {
                let decline = self.phrase(List::Decline, text);
                let help = || self.phrase(List::Help, text);
                decline
                    .map(|keyword| Match::Decline { keyword })
                    .or_else(|| help().map(|keyword| Match::Help { keyword }))
            })
        })
    }

    fn veto_in(&self, message: &Read) -> Option<&Keyword> {
        let first_of = |list| self.occurrences(list, message).next();
        let opt_out = || {
            let mut words = 0..message.words.len();
            words.find_map(|at| self.opt_outs.get(&look(message.part(at..at + 1))))
        };
        first_of(List::Negations)
            .or_else(|| first_of(List::OptOutVerbs))
            .map(|(_, keyword)| keyword)
            .or_else(|| opt_out().map(|found| &found.keyword))
    }

    /// Whether a message that is no opt-out may still be meant as one. `core` is it without courtesy.
    fn possible_revocation(&self, message: &Read, core: Range<usize>) -> Option<Match<'_>> {
        let is_short = core.len() <= SHORT;
        let harmless: LazyCell<BTreeSet<usize>, _> = LazyCell::new(|| {
            let phrases = self.occurrences(List::Harmless, message);
            phrases.flat_map(|(words, _)| words).collect()
        });
        let is_harmless = |words: Range<usize>| words.into_iter().any(|at| harmless.contains(&at));
        let mut verbs = self.occurrences(List::OptOutVerbs, message);
        let verb = verbs.find_map(|(words, keyword)| {
            let counts = is_short || words.len() > 1;
            (counts && !is_harmless(words)).then_some(keyword)
        });
        let slip = || {
            core.clone().find_map(|at| {
                let keyword = self.slip(message.part(at..at + 1), core.len() == 1)?;
                (!is_harmless(at..at + 1)).then_some(keyword)
            })
        };
        let keyword = match verb {
            Some(verb) => verb,
            None if !is_short => return None,
            None => self.negated_opt_in(message).or_else(slip)?,
        };
        Some(Match::PossibleRevocation { keyword })
    }

    /// "No quiero recibir": an opt-in phrase after a negation. A single word is too little: "I can't
    /// start it".
    fn negated_opt_in(&self, message: &Read) -> Option<&Keyword> {
        let (negation, _) = self.occurrences(List::Negations, message).next()?;
        self.occurrences(List::OptIn, message)
            .find(|(words, _)| words.start >= negation.end && words.len() > 1)
            .map(|(_, keyword)| keyword)
    }

    /// The opt-out verb that `word` is a slip of; any opt-out, if it is the whole message. A word of
    /// our own lists is none, however near: `anmelden` is not `abmelden`.
    fn slip(&self, word: &str, is_whole: bool) -> Option<&Keyword> {
        const OTHERS: [List; 5] = [
            List::OptIn,
            List::Confirm,
            List::Decline,
            List::Help,
            List::Courtesy,
        ];
        if OTHERS.iter().any(|list| self.phrase(*list, word).is_some()) {
            return None;
        }
        let verbs = self.phrases.get(&List::OptOutVerbs).into_iter();
        let mut verbs = verbs.flat_map(|verbs| &verbs.by_text);
        let mut opt_outs = self.opt_outs.iter().filter(|_| is_whole);
        let verb = verbs.find(|(verb, _)| near::is_slip(word, verb));
        verb.map(|(_, keyword)| keyword).or_else(|| {
            let found = opt_outs.find(|(opt_out, _)| near::is_slip(word, opt_out))?;
            Some(&found.1.keyword)
        })
    }
}

/// The start of a message, normalised.
struct Read {
    text: String,
    /// Where its words stand.
    words: Vec<Range<usize>>,
    /// Whether there is more than what is looked at.
    is_cut: bool,
}

impl Read {
    fn new(text: &str) -> Self {
        let (text, is_cut) = start(text);
        // Some characters stand for whole phrases, so there may be more of it now.
        let whole = normalise(text);
        let (text, is_long) = start(&whole);
        let text = text.trim_end().to_owned();
        let mut words = Vec::new();
        let mut at = 0;
        for word in text.split_whitespace() {
            words.push(at..at + word.len());
            at += word.len() + 1;
        }
        Self {
            text,
            words,
            is_cut: is_cut || is_long,
        }
    }

    /// Some words as they stand, with a space between.
    fn part(&self, words: Range<usize>) -> &str {
        if words.is_empty() {
            return "";
        }
        &self.text[self.words[words.start].start..self.words[words.end - 1].end]
    }
}

fn is_opt_out(found: &Match<'_>) -> bool {
    matches!(found, Match::OptOut { .. })
}

fn found_once(opt_out: &OptOut) -> Found<'_> {
    Found {
        keyword: &opt_out.keyword,
        hint: opt_out.hint,
    }
}

/// The wider of two opt-outs: "stop promotions, stop" is a STOP.
fn wider<'w>(a: Found<'w>, b: Found<'w>) -> Found<'w> {
    use ScopeHint::{Everything, Marketing};
    let width = |found: Found<'_>| match found.hint {
        Some(Marketing) => 0,
        None => 1,
        Some(Everything) => 2,
    };
    if width(b) > width(a) { b } else { a }
}

#[cfg(test)]
mod tests;
