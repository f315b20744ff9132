//! The rules of matching, with words made up for them. The words that are shipped have a corpus:
//! `tests/it/keywords.rs`.

use super::*;

fn keyword(language: &str, text: &str) -> Keyword {
    Keyword {
        text: text.to_owned(),
        language: Language::parse(language).unwrap(),
    }
}

fn words() -> Words {
    let lists: [(List, &[&str]); 11] = [
        (
            List::OptOut,
            &["stop", "no more", "stop promotions", "cancel"],
        ),
        (List::OptOutAll, &["stop all"]),
        (List::OptOutVerbs, &["stop", "stop sending", "unsubscribe"]),
        (List::StopButtons, &["stop promo"]),
        (
            List::OptIn,
            &["start", "send me offers", "start stop", "do not wait"],
        ),
        (List::Confirm, &["yes", "yes never", "yes stop"]),
        (List::Decline, &["no"]),
        (List::Help, &["help"]),
        (List::Negations, &["not", "never"]),
        (List::Courtesy, &["please", "thank you", "ok"]),
        (
            List::Harmless,
            &["bus stop", "stop sign", "stop over there"],
        ),
    ];
    let entries = lists.into_iter().flat_map(|(list, texts)| {
        let keywords = texts.iter().map(|text| keyword("en", text));
        keywords.map(move |keyword| (list, keyword))
    });
    let more = [
        (List::OptOut, keyword("de", "Stop")),
        (List::OptOut, keyword("de", "genug")),
    ];
    Words::new(entries.chain(more))
}

/// The class, the word and the hint, as a text.
fn told(message: Message<'_>) -> String {
    let words = words();
    let (class, keyword) = match words.classify(message) {
        Match::OptOut {
            keyword,
            scope_hint,
        } => {
            let class = match scope_hint {
                None => "opt-out",
                Some(ScopeHint::Marketing) => "opt-out of marketing",
                Some(ScopeHint::Everything) => "opt-out of everything",
            };
            (class, keyword)
        }
        Match::PossibleRevocation { keyword } => ("possible", keyword),
        Match::OptIn { keyword } => ("opt-in", keyword),
        Match::Confirm { keyword } => ("confirm", keyword),
        Match::Decline { keyword } => ("decline", keyword),
        Match::Help { keyword } => ("help", keyword),
        Match::None => return "none".to_owned(),
    };
    format!("{class}: {} ({})", keyword.text, keyword.language)
}

fn typed(text: &str) -> String {
    told(Message::Text(text))
}

fn pressed(payload: &str, text: &str) -> String {
    told(Message::Button { payload, text })
}

#[test]
fn the_first_language_of_the_file_is_named() {
    assert_eq!(typed("STOP"), "opt-out: stop (en)");
    assert_eq!(typed("Genug!"), "opt-out: genug (de)");
}

#[test]
fn an_opt_out_is_found_among_courtesy_and_other_opt_outs() {
    for (text, found) in [
        ("please stop", "opt-out: stop (en)"),
        ("stop, thank you", "opt-out: stop (en)"),
        ("ok please stop thank you please", "opt-out: stop (en)"),
        ("stop please stop", "opt-out: stop (en)"),
        ("s t o p please", "opt-out: stop (en)"),
        ("genug, no more", "opt-out: genug (de)"),
        ("no  more", "opt-out: no more (en)"),
        ("nomore", "opt-out: no more (en)"),
        ("please", "none"),
        ("please thank you", "none"),
        ("thank", "none"),
        ("stop thank", "possible: stop (en)"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn an_opt_out_may_be_said_as_often_as_one_likes() {
    assert_eq!(typed(&"stop ".repeat(800)), "opt-out: stop (en)");
    assert_eq!(typed(&"please stop ".repeat(300)), "opt-out: stop (en)");
    assert_eq!(typed(&format!("{} x", "stop ".repeat(800))), "none");
    let apart = "s t o p p r o m o t i o n s";
    let found = "opt-out of marketing: stop promotions (en)";
    assert_eq!(typed(&format!("{apart} {apart}")), found);
}

#[test]
fn the_wider_of_several_opt_outs_holds() {
    for (text, found) in [
        (
            "stop promotions",
            "opt-out of marketing: stop promotions (en)",
        ),
        (
            "stop promotions stop promotions",
            "opt-out of marketing: stop promotions (en)",
        ),
        ("stop promotions, stop", "opt-out: stop (en)"),
        ("stop, stop promotions", "opt-out: stop (en)"),
        ("stop, stop all", "opt-out of everything: stop all (en)"),
        ("stop all, stop", "opt-out of everything: stop all (en)"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn an_opt_in_and_a_confirmation_are_the_whole_message_and_nothing_else() {
    for (text, found) in [
        ("Start!", "opt-in: start (en)"),
        ("YES", "confirm: yes (en)"),
        ("please start", "none"),
        ("yes please", "none"),
        ("y e s", "none"),
        ("yesss", "none"),
        ("УES", "none"),
        ("yes I do", "none"),
        ("send me offers", "opt-in: send me offers (en)"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn an_opt_out_word_or_a_negation_vetoes_an_opt_in_and_a_confirmation() {
    for (text, found) in [
        ("start stop", "possible: stop (en)"),
        ("yes stop", "possible: stop (en)"),
        ("do not wait", "none"),
        ("yes never", "none"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
    let words = words();
    assert_eq!(words.veto("yes please"), None);
    assert_eq!(words.veto("yes, STOP").unwrap().text, "stop");
    assert_eq!(words.veto("cancel it").unwrap().text, "cancel");
    assert_eq!(words.veto("not now").unwrap().text, "not");
}

#[test]
fn a_refusal_and_a_call_for_help_allow_courtesy() {
    for (text, found) in [
        ("no", "decline: no (en)"),
        ("no thank you", "decline: no (en)"),
        ("help please", "help: help (en)"),
        ("help me", "none"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn a_verb_counts_in_a_short_message_and_a_phrase_in_any() {
    for (text, found) in [
        ("STOP 12345", "possible: stop (en)"),
        ("1 2 3 4 5 stop", "possible: stop (en)"),
        ("please 1 2 3 4 5 stop thank you", "possible: stop (en)"),
        ("1 2 3 4 5 6 stop", "none"),
        (
            "1 2 3 4 5 6 7 stop sending 8 9",
            "possible: stop sending (en)",
        ),
        ("cancel my order", "none"),
        ("I stopped", "none"),
        ("unsubscibe", "possible: unsubscribe (en)"),
        ("how to unsubscibe", "possible: unsubscribe (en)"),
        ("st0p", "possible: stop (en)"),
        ("cacnel", "possible: cancel (en)"),
        ("cacnel it", "none"),
        ("1 2 3 4 5 6 unsubscibe", "none"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn a_harmless_phrase_covers_its_own_words_only() {
    for (text, found) in [
        ("where is the bus stop", "none"),
        ("stop sign", "none"),
        ("stop at the bus stop", "possible: stop (en)"),
        ("bus stop stop", "possible: stop (en)"),
        ("stop over there", "none"),
        ("stop over here", "possible: stop (en)"),
        ("a bus stop sending 1 2 3 4 5 6", "none"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn an_opt_in_phrase_after_a_negation_may_be_a_revocation() {
    for (text, found) in [
        ("never send me offers", "possible: send me offers (en)"),
        ("do not send me offers", "possible: send me offers (en)"),
        ("send me offers not", "none"),
        ("not start", "none"),
        ("1 2 3 never send me offers", "none"),
    ] {
        assert_eq!(typed(text), found, "{text}");
    }
}

#[test]
fn a_button_opts_out_by_its_label_or_its_payload() {
    for (payload, text, found) in [
        (
            "Stop promotions",
            "Stop promotions",
            "opt-out of marketing: stop promo (en)",
        ),
        (
            "{\"i\":1}",
            "Stop promos",
            "opt-out of marketing: stop promo (en)",
        ),
        (
            "STOP_PROMOTIONS",
            "Genug der Werbung",
            "opt-out of marketing: stop promo (en)",
        ),
        (
            "btn_stop_promotions",
            "…",
            "opt-out of marketing: stop promo (en)",
        ),
        ("stop", "Nein", "opt-out: stop (en)"),
        ("yes", "Stop", "opt-out: stop (en)"),
        (
            "stop all",
            "Stop promotions",
            "opt-out of marketing: stop promo (en)",
        ),
        ("", "no, stop promotions", "possible: stop (en)"),
    ] {
        assert_eq!(pressed(payload, text), found, "{payload} / {text}");
    }
    assert_eq!(typed("stop promos"), "possible: stop (en)");
}

#[test]
fn for_all_else_a_button_is_what_its_label_says() {
    for (payload, text, found) in [
        ("start", "Learn more", "none"),
        ("learn_more", "Start", "opt-in: start (en)"),
        ("yes", "", "confirm: yes (en)"),
        ("yes", "👍", "confirm: yes (en)"),
        ("stop_2", "Route", "none"),
        ("stop_2", "", "possible: stop (en)"),
    ] {
        assert_eq!(pressed(payload, text), found, "{payload} / {text}");
    }
}

#[test]
fn what_is_not_looked_at_makes_a_message_no_whole_one() {
    let padded = |text: &str| format!("{text}{}", " ".repeat(normalise::LOOKED_AT));
    assert_eq!(typed(&padded("stop")), "possible: stop (en)");
    assert_eq!(typed(&padded("yes")), "none");
    assert_eq!(typed(&padded("no")), "none");
    // Sixteen letters and two spaces for one character.
    assert_eq!(typed(&format!("no more{}", "ﷺ".repeat(1_000))), "none");
}

#[test]
fn without_words_nothing_matches() {
    let none = Words::new([]);
    assert_eq!(none.classify(Message::Text("stop")), Match::None);
    let nothing = Words::new([(List::OptOut, keyword("en", "!!!"))]);
    assert_eq!(nothing.classify(Message::Text("!!!")), Match::None);
    assert_eq!(nothing.classify(Message::Text("")), Match::None);
    let button = Message::Button {
        payload: "",
        text: "",
    };
    assert_eq!(nothing.classify(button), Match::None);
}
