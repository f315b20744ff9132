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

use std::collections::{BTreeMap, BTreeSet};

use self::normalise::{look, normalise, start};
use super::id::Language;

/// A message of at most so many words is short, courtesy at its ends left out: an opt-out verb in it
/// is probably what it is about. The longest that the research names.
pub const SHORT: usize = 6;

/// The most words in which opt-outs that follow each other are told apart.
const TILED: usize = 16;

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
    phrases: BTreeMap<List, BTreeMap<String, Keyword>>,
    /// Beginnings of buttons, without spaces.
    buttons: BTreeMap<String, Keyword>,
    /// The most words of any phrase.
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
            words.longest = words.longest.max(text.split(' ').count());
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
                    let beginning = text.replace(' ', "");
                    words.buttons.entry(beginning).or_insert(keyword);
                }
                _ => {
                    let phrases = words.phrases.entry(list).or_default();
                    phrases.entry(text).or_insert(keyword);
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
        for opt_out in self.opt_outs.values_mut() {
            let text = normalise(&opt_out.keyword.text).replace(' ', "");
            if opt_out.hint.is_none() && buttons.keys().any(|button| text.starts_with(button)) {
                opt_out.hint = Some(ScopeHint::Marketing);
            }
        }
    }

    fn typed(&self, text: &str) -> Match<'_> {
        let (text, is_cut) = start(text);
        let text = normalise(text);
        let words: Vec<&str> = text.split_whitespace().collect();
        let core = self.without_courtesy(&words);
        match self.opt_out(&words).or_else(|| self.opt_out(core)) {
            Some(Found { keyword, .. }) if is_cut => Match::PossibleRevocation { keyword },
            Some(Found { keyword, hint }) => Match::OptOut {
                keyword,
                scope_hint: hint,
            },
            None => {
                let whole = (!is_cut).then(|| self.closed(&text, core)).flatten();
                whole
                    .or_else(|| self.possible_revocation(&words, core))
                    .unwrap_or(Match::None)
            }
        }
    }

    /// An opt-out counts wherever it stands. For everything else the label says what the person meant,
    /// and the payload only where there is no label.
    fn pressed(&self, payload: &str, text: &str) -> Match<'_> {
        let label = self.stop_button(text, false);
        let by_label = || Some(self.typed(text)).filter(|found| is_opt_out(*found));
        let by_payload = || {
            let found = self.stop_button(payload, true);
            found.or_else(|| Some(self.typed(payload)).filter(|found| is_opt_out(*found)))
        };
        if let Some(opt_out) = label.or_else(by_label).or_else(by_payload) {
            return opt_out;
        }
        let shown = if normalise(start(text).0).is_empty() {
            payload
        } else {
            text
        };
        self.typed(shown)
    }

    /// Whether a button is one of WhatsApp's own to stop promotions. A payload may have a word before.
    fn stop_button(&self, text: &str, anywhere: bool) -> Option<Match<'_>> {
        let text = normalise(start(text).0);
        let words: Vec<&str> = text.split_whitespace().collect();
        let starts = if anywhere { words.len() } else { 1 };
        (0..starts).find_map(|first| {
            let rest = words.get(first..)?.concat();
            let (_, keyword) = self.buttons.iter().find(|(b, _)| rest.starts_with(*b))?;
            Some(Match::OptOut {
                keyword,
                scope_hint: Some(ScopeHint::Marketing),
            })
        })
    }

    fn phrase(&self, list: List, text: &str) -> Option<&Keyword> {
        self.phrases.get(&list)?.get(text)
    }

    /// Where phrases of `list` stand in `words`: first word, number of words.
    fn occurrences<'s>(
        &'s self,
        list: List,
        words: &[&str],
    ) -> impl Iterator<Item = (usize, usize, &'s Keyword)> {
        let starts = 0..words.len();
        starts.flat_map(move |first| {
            let most = self.longest.min(words.len() - first);
            (1..=most).rev().filter_map(move |length| {
                let keyword = self.phrase(list, &words[first..first + length].join(" "))?;
                Some((first, length, keyword))
            })
        })
    }

    /// `words` without what only greets, asks or thanks at either end.
    fn without_courtesy<'a, 't>(&self, words: &'a [&'t str]) -> &'a [&'t str] {
        let mut core = words;
        loop {
            let most = self.longest.min(core.len());
            let is_courtesy =
                |part: &[&str]| self.phrase(List::Courtesy, &part.join(" ")).is_some();
            let at_start = (1..=most)
                .rev()
                .find(|length| is_courtesy(&core[..*length]));
            if let Some(length) = at_start {
                core = &core[length..];
                continue;
            }
            let at_end = (1..=most)
                .rev()
                .find(|length| is_courtesy(&core[core.len() - length..]));
            let Some(length) = at_end else { return core };
            core = &core[..core.len() - length];
        }
    }

    /// Whether `words` are an opt-out and nothing else, in any spelling.
    fn opt_out(&self, words: &[&str]) -> Option<Found<'_>> {
        if words.is_empty() {
            return None;
        }
        let key = look(&words.concat());
        let stretched = || {
            let key = self.squeezed.get(&near::squeezed(&key));
            key.filter(|_| near::is_stretched(&words.concat()))
        };
        let found = self
            .opt_outs
            .get(&key)
            .or_else(|| self.opt_outs.get(stretched()?));
        found.map(found_once).or_else(|| self.tiled(words))
    }

    /// Whether `words` are several opt-outs in a row, courtesy between them: "stop stop", "stop, baja".
    fn tiled(&self, words: &[&str]) -> Option<Found<'_>> {
        if words.len() > TILED {
            return None;
        }
        // What the words up to here consist of; the first entry stands for no word at all.
        let mut upto: Vec<Option<Option<Found<'_>>>> = vec![Some(None)];
        for end in 1..=words.len() {
            let tile = (0..end).find_map(|first| {
                let before = upto[first]?;
                let part = &words[first..end];
                if self.phrase(List::Courtesy, &part.join(" ")).is_some() {
                    return Some(before);
                }
                let found = found_once(self.opt_outs.get(&look(&part.concat()))?);
                Some(Some(before.map_or(found, |before| together(before, found))))
            });
            upto.push(tile);
        }
        upto.pop()??
    }

    /// Whether the whole message is a phrase of a closed list. An opt-out word or a negation anywhere
    /// in it means that it is no opt-in and no confirmation.
    fn closed(&self, text: &str, core: &[&str]) -> Option<Match<'_>> {
        let yes = self
            .phrase(List::OptIn, text)
            .map(|keyword| Match::OptIn { keyword })
            .or_else(|| {
                let keyword = self.phrase(List::Confirm, text)?;
                Some(Match::Confirm { keyword })
            })
            .filter(|_| self.veto(text).is_none());
        let core = core.join(" ");
        let no_or_help = || {
            [text, core.as_str()].into_iter().find_map(|text| {
                let help = || {
                    self.phrase(List::Help, text)
                        .map(|keyword| Match::Help { keyword })
                };
                self.phrase(List::Decline, text)
                    .map(|keyword| Match::Decline { keyword })
                    .or_else(help)
            })
        };
        yes.or_else(no_or_help)
    }

    /// The word in `text` that says no, or stop: no opt-in and no confirmation may hold one.
    pub fn veto(&self, text: &str) -> Option<&Keyword> {
        let text = normalise(start(text).0);
        let words: Vec<&str> = text.split_whitespace().collect();
        let in_list = |list| self.occurrences(list, &words).next().map(|(_, _, word)| word);
        let opt_out = || words.iter().find_map(|word| self.opt_outs.get(&look(word)));
        in_list(List::Negations)
            .or_else(|| in_list(List::OptOutVerbs))
            .or_else(|| opt_out().map(|found| &found.keyword))
    }

    /// Whether a message that is no opt-out may still be meant as one.
    fn possible_revocation(&self, words: &[&str], core: &[&str]) -> Option<Match<'_>> {
        let harmless: BTreeSet<usize> = self
            .occurrences(List::Harmless, words)
            .flat_map(|(first, length, _)| first..first + length)
            .collect();
        let is_short = core.len() <= SHORT;
        let verb = self
            .occurrences(List::OptOutVerbs, words)
            .find(|(first, length, _)| {
                (is_short || *length > 1) && (*first..first + length).all(|w| !harmless.contains(&w))
            })
            .map(|(_, _, keyword)| keyword);
        let slip = || {
            let mut open = words
                .iter()
                .enumerate()
                .filter(|(at, _)| !harmless.contains(at));
            open.find_map(|(_, word)| self.slip(word, core.len() == 1))
        };
        let short = || {
            self.negated_opt_in(words)
                .or_else(slip)
                .filter(|_| is_short)
        };
        let keyword = verb.or_else(short)?;
        Some(Match::PossibleRevocation { keyword })
    }

    /// "No quiero recibir": an opt-in phrase after a negation.
    fn negated_opt_in(&self, words: &[&str]) -> Option<&Keyword> {
        let (negation, _, _) = self.occurrences(List::Negations, words).next()?;
        let mut opt_ins = self.occurrences(List::OptIn, words);
        opt_ins
            .find(|(first, length, _)| *first > negation && *length > 1)
            .map(|(_, _, keyword)| keyword)
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
        let verbs = self.phrases.get(&List::OptOutVerbs).into_iter().flatten();
        let verb = verbs
            .filter(|(verb, _)| near::is_slip(word, verb))
            .map(|(_, keyword)| keyword)
            .next();
        verb.or_else(|| {
            let mut opt_outs = self.opt_outs.iter().filter(|_| is_whole);
            let found = opt_outs.find(|(opt_out, _)| near::is_slip(word, opt_out));
            found.map(|(_, opt_out)| &opt_out.keyword)
        })
    }
}

fn is_opt_out(found: Match<'_>) -> bool {
    matches!(found, Match::OptOut { .. })
}

fn found_once(opt_out: &OptOut) -> Found<'_> {
    Found {
        keyword: &opt_out.keyword,
        hint: opt_out.hint,
    }
}

/// The wider of two opt-outs: "stop promotions, stop" is a STOP.
fn together<'w>(a: Found<'w>, b: Found<'w>) -> Found<'w> {
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
