//! The one spelling under which messages and words are compared.
//!
//! People type in full width, with marks or without, with emoji, with invisible characters that a
//! keyboard or a copied text brought along. None of that changes what they mean.

use caseless::Caseless;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// How much of a message is looked at, in characters: the most that WhatsApp allows in a text.
pub const LOOKED_AT: usize = 4_096;

/// `text` in compatibility form, without case, marks (Latin, Greek, Cyrillic, Arabic, Hebrew),
/// invisible characters, punctuation and emoji: its words, with one space between them.
///
/// Normalising what is normalised changes nothing. The caller bounds the length.
pub fn normalise(text: &str) -> String {
    if text.is_ascii() {
        return spaced(text.chars().map(|c| c.to_ascii_lowercase()), text.len());
    }
    let bare = text.chars().filter(|c| is_kept(*c)).nfkd();
    let folded = bare.filter(|c| is_kept(*c)).default_case_fold();
    let letters = folded.nfkd().filter(|c| is_kept(*c)).flat_map(one_letter);
    spaced(letters.nfc(), text.len())
}

/// Letters, digits and what belongs to them; one space for whatever is between.
fn spaced(letters: impl Iterator<Item = char>, length: usize) -> String {
    let mut words = String::with_capacity(length);
    let mut between = false;
    for c in letters {
        if !c.is_alphanumeric() && !is_combining_mark(c) {
            between = true;
            continue;
        }
        if between && !words.is_empty() {
            words.push(' ');
        }
        between = false;
        words.push(c);
    }
    words
}

/// The characters that are looked at, and whether there are more.
pub fn start(text: &str) -> (&str, bool) {
    text.char_indices()
        .nth(LOOKED_AT)
        .map_or((text, false), |(end, _)| (&text[..end], true))
}

/// What stays after decomposition. Devanagari vowel signs are marks too, but they are the word.
fn is_kept(c: char) -> bool {
    !is_invisible(c) && !is_stripped_mark(c) && c != '\u{640}' // tatweel, which only stretches
}

/// Unicode's Default_Ignorable_Code_Point: zero width, direction, variation selectors, tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

fn is_stripped_mark(c: char) -> bool {
    matches!(c,
        // Accents of Latin, Greek and Cyrillic; marks around emoji; half marks.
        '\u{300}'..='\u{36F}' | '\u{483}'..='\u{489}' | '\u{1AB0}'..='\u{1AFF}'
        | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}'
        // Hebrew niqqud and cantillation, without the maqaf and other punctuation.
        | '\u{591}'..='\u{5BD}' | '\u{5BF}' | '\u{5C1}'..='\u{5C2}' | '\u{5C4}'..='\u{5C5}'
        | '\u{5C7}'
        // Arabic harakat, and the hamza that decomposition parts from its letter.
        | '\u{610}'..='\u{61A}' | '\u{64B}'..='\u{65F}' | '\u{670}' | '\u{6D6}'..='\u{6DC}'
        | '\u{6DF}'..='\u{6E4}' | '\u{6E7}'..='\u{6E8}' | '\u{6EA}'..='\u{6ED}'
        // Devanagari nukta and stress, which most people leave out.
        | '\u{93C}' | '\u{951}'..='\u{954}')
}

/// The letters that stand for one that people may type instead. Nothing: it is left out.
fn one_letter(c: char) -> impl Iterator<Item = char> {
    let pair = match c {
        'ı' => [Some('i'), None], // Turkish: DURDUR and Iptal as typed on any keyboard
        'ł' => [Some('l'), None],
        'ø' => [Some('o'), None],
        'đ' => [Some('d'), None],
        'œ' => [Some('o'), Some('e')],
        'æ' => [Some('a'), Some('e')],
        // Arabic: a bare hamza is often not typed at all.
        '\u{621}' => [None, None],
        // Alef wasla; alef maqsura and the Persian yeh; the Persian kaf; teh marbuta and its kin.
        '\u{671}' => [Some('\u{627}'), None],
        '\u{649}' | '\u{6CC}' => [Some('\u{64A}'), None],
        '\u{6A9}' => [Some('\u{643}'), None],
        '\u{629}' | '\u{6C1}' | '\u{6C3}' | '\u{6D5}' => [Some('\u{647}'), None],
        // Devanagari candrabindu, mostly written as anusvara.
        '\u{901}' => [Some('\u{902}'), None],
        // Letters in a filled circle or square have no decomposition: 🆂🆃🅾🅿.
        '\u{1F150}'..='\u{1F169}' => [latin(c, '\u{1F150}'), None],
        '\u{1F170}'..='\u{1F189}' => [latin(c, '\u{1F170}'), None],
        _ => [Some(c), None],
    };
    pair.into_iter().flatten()
}

/// The Latin letter as far from `a` as `c` is from `first`.
fn latin(c: char, first: char) -> Option<char> {
    char::from_u32(u32::from('a') + u32::from(c) - u32::from(first))
}

/// Normalised `text` without spaces, and with Cyrillic and Greek letters and small capitals as the
/// Latin ones that they look like: the key under which opt-outs are found.
///
/// Two words with one key cannot be told apart by eye: СТОП may be typed with a Latin C and T.
pub fn look(text: &str) -> String {
    text.chars().filter(|c| *c != ' ').map(latin_look).collect()
}

/// The Latin letter that `c` looks like, once case is folded. Cyrillic н and Greek ν are there for
/// their capitals.
fn latin_look(c: char) -> char {
    match c {
        '\0'..='\u{7F}' => c,
        'а' | 'α' | 'ᴀ' => 'a',
        'в' | 'β' | 'ʙ' => 'b',
        'с' | 'ᴄ' => 'c',
        'ԁ' | 'ᴅ' => 'd',
        'е' | 'ε' | 'ᴇ' => 'e',
        'ꜰ' => 'f',
        'ɢ' => 'g',
        'н' | 'һ' | 'ʜ' => 'h',
        'і' | 'ι' | 'ɪ' => 'i',
        'ј' | 'ᴊ' => 'j',
        'к' | 'κ' | 'ᴋ' => 'k',
        'ʟ' => 'l',
        'м' | 'μ' | 'ᴍ' => 'm',
        'ν' | 'ɴ' => 'n',
        'о' | 'ο' | 'ᴏ' => 'o',
        'р' | 'ρ' | 'ᴘ' => 'p',
        'ԛ' => 'q',
        'ʀ' => 'r',
        'ѕ' | 'ꜱ' => 's',
        'т' | 'τ' | 'ᴛ' => 't',
        'υ' | 'ᴜ' => 'u',
        'ѵ' | 'ᴠ' => 'v',
        'ԝ' | 'ᴡ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'ʏ' => 'y',
        'ζ' | 'ᴢ' => 'z',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_and_what_keyboards_add_becomes_one_spelling() {
        for (typed, one) in [
            ("  STOP!! ", "stop"),
            ("S.T.O.P", "s t o p"),
            ("ＳＴＯＰ", "stop"),
            ("st\u{200B}op\u{FEFF}\u{202C}", "stop"),
            ("\u{200F}\u{2067}STOP\u{2069}", "stop"),
            ("🛑 STOP 🛑️", "stop"),
            ("S🛑T", "s t"),
            ("ⓢⓣⓞⓟ 🆂🆃🅾🅿 🅢🅣🅞🅟 🅂🅃🄾🄿 𝐒𝐓𝐎𝐏", "stop stop stop stop stop"),
            ("S̶T̶O̶P̶", "stop"),
            ("arre\u{302}t ARRÊT", "arret arret"),
            ("Abmeldungß ẞ", "abmeldungss ss"),
            ("İPTAL ıptal IPTAL i\u{307}ptal", "iptal iptal iptal iptal"),
            ("çıkış ÇIKIŞ", "cikis cikis"),
            ("Łø Đœ Æ", "lo doe ae"),
            ("إيقاف أيقاف ايقاف ٱيقاف", "ايقاف ايقاف ايقاف ايقاف"),
            ("تـــوقـف تَوَقَّفْ", "توقف توقف"),
            ("ﺗﻮﻗﻒ", "توقف"),
            ("إلغاء الغا", "الغا الغا"),
            ("كفى كفي کفی", "كفي كفي كفي"),
            ("مساعدة مساعده", "مساعده مساعده"),
            ("הָסֵר הסר", "הסר הסר"),
            ("ЁЛКА елка Й", "елка елка и"),
            ("बंद करो।", "बंद करो"),
            ("नहीँ नहीं", "नहीं नहीं"),
            ("प्लीज़ प्लीज", "प्लीज प्लीज"),
            ("1️⃣", "1"),
            ("don't don’t", "don t don t"),
            ("opt-out OPT_OUT", "opt out opt out"),
            ("🛑👍🏽", ""),
            ("", ""),
        ] {
            assert_eq!(normalise(typed), one, "{typed:?}");
        }
    }

    #[test]
    fn the_start_of_a_text_ends_between_characters() {
        let long = "é".repeat(LOOKED_AT + 1);
        assert_eq!(start(&long), (&long[..LOOKED_AT * 2], true));
        assert_eq!(start("é"), ("é", false));
        let exact = "é".repeat(LOOKED_AT);
        assert_eq!(start(&exact), (exact.as_str(), false));
    }

    #[test]
    fn letters_that_look_alike_have_one_key() {
        for typed in ["ЅТОР", "SТОP", "ꜱᴛᴏᴘ", "STΟΡ", "s t o p"] {
            assert_eq!(look(&normalise(typed)), "stop", "{typed}");
        }
        for (lookalikes, letter) in [
            ("аαᴀ", 'a'),
            ("вβʙ", 'b'),
            ("сᴄ", 'c'),
            ("ԁᴅ", 'd'),
            ("еεᴇ", 'e'),
            ("ꜰ", 'f'),
            ("ɢ", 'g'),
            ("нһʜ", 'h'),
            ("іιɪ", 'i'),
            ("јᴊ", 'j'),
            ("кκᴋ", 'k'),
            ("ʟ", 'l'),
            ("мμᴍ", 'm'),
            ("νɴ", 'n'),
            ("оοᴏ", 'o'),
            ("рρᴘ", 'p'),
            ("ԛ", 'q'),
            ("ʀ", 'r'),
            ("ѕꜱ", 's'),
            ("тτᴛ", 't'),
            ("υᴜ", 'u'),
            ("ѵᴠ", 'v'),
            ("ԝᴡ", 'w'),
            ("хχ", 'x'),
            ("уʏ", 'y'),
            ("ζᴢ", 'z'),
        ] {
            let all_the_same = look(lookalikes).chars().all(|found| found == letter);
            assert!(all_the_same, "{lookalikes} as {letter}");
        }
        assert_eq!(look(&normalise("СТОП")), look(&normalise("CTOП")));
        assert_ne!(look(&normalise("СТОП")), "stop");
    }
}
