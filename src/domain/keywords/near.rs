//! Misspelt opt-outs: stretched, with a digit for a letter, with two letters swapped, nearly right.
//!
//! "Shop" is one letter from "stop" and no opt-out, so only long words may have a wrong letter. Arabic
//! and Hebrew write few vowels: a slip in a word is mostly another word (the supplier, הספק, for stop,
//! הפסק), so none is seen through there.

/// The shortest word in which two swapped letters, or a digit, are seen through.
const SWAPPED: usize = 4;
/// The shortest word in which one wrong, missing or additional letter is seen through.
const MISSPELT: usize = 8;

/// `text` with every run of one letter as one letter.
pub(super) fn squeezed(text: &str) -> String {
    let mut last = None;
    text.chars()
        .filter(|c| last.replace(*c) != Some(*c) || !c.is_alphabetic())
        .collect()
}

/// Whether a letter stands three times in a row, as in "stooop". No word does that.
pub(super) fn is_stretched(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    letters
        .windows(3)
        .any(|run| run[0] == run[1] && run[1] == run[2] && run[0].is_alphabetic())
}

/// Whether `typed` is probably `word` with one slip. Equal words are no slip.
pub(super) fn is_slip(typed: &str, word: &str) -> bool {
    // One letter is at most four bytes: most words are told apart without reading them.
    if typed.len().abs_diff(word.len()) > 4 {
        return false;
    }
    let (typed, word): (Vec<char>, Vec<char>) = (typed.chars().collect(), word.chars().collect());
    if typed == word || word.len() < SWAPPED {
        return false;
    }
    if has_digits_for_letters(&typed, &word) {
        return true;
    }
    let has_vowels = !word.iter().any(|c| ('\u{590}'..='\u{6FF}').contains(c));
    let is_misspelt =
        || word.len() >= MISSPELT && typed.first() == word.first() && is_one_edit(&typed, &word);
    has_vowels && (is_swapped(&typed, &word) || is_misspelt())
}

/// `st0p`: digits where letters should be, and more letters than digits.
fn has_digits_for_letters(typed: &[char], word: &[char]) -> bool {
    let digits = typed.iter().filter(|c| c.is_numeric()).count();
    typed.len() == word.len()
        && digits * 2 < typed.len()
        && typed
            .iter()
            .zip(word)
            .all(|(a, b)| a == b || (a.is_numeric() && b.is_alphabetic()))
}

/// `sotp`: two neighbours swapped.
fn is_swapped(typed: &[char], word: &[char]) -> bool {
    if typed.len() != word.len() {
        return false;
    }
    let same = common_start(typed, word);
    same + 1 < word.len()
        && typed[same] == word[same + 1]
        && typed[same + 1] == word[same]
        && typed[same + 2..] == word[same + 2..]
}

/// `unsubscibe`: one letter wrong, missing or too many.
fn is_one_edit(typed: &[char], word: &[char]) -> bool {
    let same = common_start(typed, word);
    let (typed, word) = (&typed[same..], &word[same..]);
    match (typed, word) {
        ([_, typed @ ..], [_, word @ ..]) if typed == word => true,
        ([_, rest @ ..], word) if rest == word => true,
        (typed, [_, rest @ ..]) => typed == rest,
        _ => false,
    }
}

fn common_start(a: &[char], b: &[char]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_through() {
        for (typed, word) in [
            ("st0p", "stop"),
            ("5top", "stop"),
            ("sotp", "stop"),
            ("tsop", "stop"),
            ("stpo", "stop"),
            ("unsubscibe", "unsubscribe"),
            ("unsubsrcibe", "unsubscribe"),
            ("unsubscribee", "unsubscribe"),
            ("unsubscripe", "unsubscribe"),
            ("abmelde", "abmelden"),
            // A letter of four bytes is one letter too many.
            ("unsubscribe\u{10428}", "unsubscribe"),
        ] {
            assert!(is_slip(typed, word), "{typed}");
        }
    }

    #[test]
    fn other_words_are_no_slips() {
        for (typed, word) in [
            ("stop", "stop"),
            ("shop", "stop"),
            ("step", "stop"),
            ("top", "stop"),
            ("stops", "stop"),
            ("5t0p5", "stop"),
            ("50p0", "stop"),
            ("s70p", "stop"),
            ("4rr3t3", "arrete"),
            ("1234", "stop"),
            ("den", "end"),
            ("הספק", "הפסק"),
            ("واقف", "اوقف"),
            ("3nd", "end"),
            ("підписатися", "відписатися"),
            ("subscribe", "unsubscribe"),
            ("", "stop"),
            ("", ""),
        ] {
            assert!(!is_slip(typed, word), "{typed}");
        }
    }

    #[test]
    fn a_stretched_word_is_squeezed() {
        assert!(is_stretched("stooop"));
        assert!(!is_stretched("stopp"));
        assert!(!is_stretched("1000"));
        assert_eq!(squeezed("sttoooopp"), "stop");
        assert_eq!(squeezed("stop 100"), "stop 100");
    }
}
