//! The rules that the source keeps, as tests: who may use whom, sizes, names, words.
//!
//! Nothing in Rust holds the layers inside one crate, so [`LAYERS`] does. It reads tokens, not types: whoever sets
//! out to deceive it can; it is for the arrow that slips in. A change that needs a new arrow changes the table, and
//! that is the conversation to have. Inline `#[cfg(test)]` modules are exempt from the arrows and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each top-level module of `src`, and which others it may use.
const LAYERS: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("main", &["cli"]),
    (
        "cli",
        &[
            "auth",
            "catalog",
            "config",
            "domain",
            "grpc",
            "keys",
            "ledger",
            "policy",
            "server",
            "telemetry",
        ],
    ),
    (
        "server",
        &[
            "auth",
            "cache",
            "catalog",
            "clock",
            "config",
            "consents",
            "domain",
            "grpc",
            "keys",
            "ledger",
            "policy",
            "telemetry",
            "weakened",
        ],
    ),
    (
        "grpc",
        &[
            "auth",
            "catalog",
            "clock",
            "config",
            "consents",
            "domain",
            "telemetry",
        ],
    ),
    (
        "consents",
        &[
            "cache",
            "catalog",
            "clock",
            "domain",
            "keys",
            "ledger",
            "policy",
            "telemetry",
        ],
    ),
    ("auth", &["cache", "catalog", "clock", "domain", "keys"]),
    (
        "catalog",
        &["cache", "clock", "domain", "keys", "ledger", "policy"],
    ),
    (
        "cache",
        &["clock", "domain", "keys", "ledger", "telemetry", "weakened"],
    ),
    ("ledger", &["domain", "keys", "telemetry", "weakened"]),
    ("keys", &["domain"]),
    ("policy", &["domain"]),
    ("clock", &["domain"]),
    ("telemetry", &["config"]),
    ("config", &[]),
    ("weakened", &[]),
    ("domain", &[]),
];

/// Libraries with one home each, so that they can be replaced: where they may be named.
const CONFINED: &[(&str, &[&str])] = &[
    ("tonic", &["grpc", "server", "cli"]),
    ("tonic_health", &["grpc", "server", "cli"]),
    ("tonic_prost", &["grpc"]),
    ("tonic_reflection", &["grpc", "server"]),
    ("tonic_types", &["grpc", "cli"]),
    ("prost", &["grpc", "server", "cli"]),
    ("prost_types", &["grpc", "cli"]),
    ("sqlx", &["ledger"]),
    ("moka", &["cache"]),
    ("tokio_rustls", &["server"]),
    ("webpki", &["server"]),
    ("jsonwebtoken", &["auth"]),
];

/// What the domain may not name, besides the above: no IO, no async, no clock, no telemetry.
const NOT_IN_DOMAIN: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_stream",
    "tower",
    "tracing",
    "tracing_subscriber",
    "tracing_opentelemetry",
    "opentelemetry",
    "opentelemetry_sdk",
    "opentelemetry_otlp",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
];

/// Names that read a clock, wherever they come from.
const CLOCKS: &[&str] = &["SystemTime", "Instant", "now", "now_v7", "now_utc"];

const FILE_LINES: usize = 600;
const NAMES_THAT_SAY_NOTHING: &[&str] = &["utils", "util", "helpers", "common", "misc", "types"];

#[test]
fn each_module_uses_only_what_its_layer_may() {
    let found = arrow_violations(&rust_files("src"));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_table_of_layers_has_no_cycle() {
    let arrows = LAYERS
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    assert_eq!(cycle(&arrows), None);
    let rows: BTreeSet<&str> = LAYERS.iter().map(|(from, _)| *from).collect();
    assert_eq!(rows.len(), LAYERS.len(), "a module has two rows");
    for (from, to) in LAYERS.iter().chain(CONFINED) {
        assert!(
            to.iter().all(|to| rows.contains(to)),
            "the row of {from} names an unknown module"
        );
    }
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src").iter().chain(&rust_files("tests")) {
        if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!(") {
            found.push(format!("{path}: does not open with //!"));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let mut found = Vec::new();
    for (path, _) in rust_files("src") {
        if module_path(&path)
            .iter()
            .any(|name| NAMES_THAT_SAY_NOTHING.contains(&name.as_str()))
        {
            found.push(format!("{path}: name it after what it does"));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src")
        .iter()
        .chain(&rust_files("tests/protocol"))
    {
        let lines = production_lines(text);
        if lines > FILE_LINES {
            found.push(format!(
                "{path}: {lines} lines without its tests, {FILE_LINES} allowed"
            ));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for (path, text) in rust_files("src").iter().chain(&rust_files("tests")) {
        found.extend(unfinished(path, text));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_test_sleeps() {
    let mut found = Vec::new();
    for (path, text) in rust_files("tests/it") {
        if path != "tests/it/wait.rs" {
            found.extend(sleeps(&path, &text));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    let mut found = Vec::new();
    for (path, text) in text_files() {
        for (number, line) in text.lines().enumerate() {
            if let Some(machine_path) = machine_path(line) {
                found.push(format!("{path}:{}: {machine_path}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

mod the_checks_themselves {
    use super::*;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(p, t)| ((*p).to_owned(), (*t).to_owned()))
            .collect();
        arrow_violations(&files)
    }

    #[test]
    fn allowed_arrows_pass() {
        let found = violations(&[
            (
                "src/main.rs",
                "//! x\nuse consentgate::cli;\nfn main() { cli::run() }",
            ),
            (
                "src/lib.rs",
                "#![doc = \"x\"]\npub mod domain;\npub(crate) mod ledger;",
            ),
            (
                "src/domain/mod.rs",
                "mod fold; use std::{fmt, time::Duration}; use self::fold::Facts;",
            ),
            (
                "src/domain/fold.rs",
                "use super::Facts; use crate::domain::Facts as F; pub(in crate::domain) fn f() {}",
            ),
            (
                "src/ledger/sqlite.rs",
                "use crate::domain::{Facts, id::Subject}; use super::Ledger; use sqlx::Row;",
            ),
            (
                "src/telemetry.rs",
                "fn f() { opentelemetry_otlp::tonic_types::x(); b.with_tonic(); }",
            ),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_arrow_is_found_however_it_is_written() {
        for text in [
            "use crate::ledger;",
            "use crate::ledger::Ledger;",
            "use crate::{domain::Facts, ledger::{self, Error}};",
            "pub(crate) fn f(x: &dyn crate::ledger::Ledger) {}",
            "use super::super::ledger::Ledger;",
            "mod inner { use super::super::super::ledger::Ledger; }",
            "pub use crate :: /* here */ ledger::Ledger;",
            "fn f() { let c = '\"'; crate::ledger::open(\"x\") }",
            "fn f<'a>(x: &'a str) -> <crate::ledger::Sqlite as Open>::Error {}",
            "use crate::*;",
            "fn f<'a>() -> impl Iterator + use<'a> { let x = 1; crate::ledger::open() }",
        ] {
            let found = violations(&[("src/domain/fold.rs", text)]);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("src/domain/fold.rs:1: "), "{found:?}");
        }
        let found = violations(&[("src/main.rs", "fn main() { consentgate::ledger::open() }")]);
        assert_eq!(found, ["src/main.rs:1: main may not use ledger"]);
    }

    #[test]
    fn a_library_outside_its_home_is_found() {
        for text in [
            "use sqlx;",
            "use sqlx::FromRow;",
            "#[derive(sqlx::FromRow)] struct Row;",
            "fn f() -> ::prost::Result {}",
            "use {std::fmt, tonic::Status};",
            "#[tracing::instrument] fn f() {}",
            "use std::{fmt, fs};",
            "use std::time::{Duration, SystemTime};",
            "fn f() -> Timestamp { Timestamp::now() }",
            "async fn f() { tokio::task::yield_now().await }",
            "use moka::sync::Cache;",
        ] {
            let found = violations(&[("src/domain/fold.rs", text)]);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
        }
        assert_eq!(
            violations(&[(
                "src/consents.rs",
                "use sqlx::PgPool;\nuse moka::sync::Cache;"
            )]),
            [
                "src/consents.rs:1: consents may not name sqlx",
                "src/consents.rs:2: consents may not name moka"
            ]
        );
    }

    #[test]
    fn words_in_comments_strings_and_tests_are_no_arrows() {
        let text = r##"
            //! As crate::ledger says. /* not
            /// See [`crate::ledger::Ledger`] and `sqlx`.
            /* use crate::ledger; /* nested */ use sqlx::Row; */
            const A: &str = "use crate::ledger::Ledger; \" sqlx::Row";
            const B: &str = r#"crate::ledger " sqlx::Row"#;
            const C: (char, u8) = ('"', b'\'');
            const D: &[u8] = b"crate::ledger";
            #[cfg(test)]
            mod tests { use crate::ledger::Ledger; fn f() { { sqlx::query("}") } } }
        "##;
        assert_eq!(
            violations(&[("src/domain/fold.rs", text)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_cycle_is_reported_besides_the_arrow_that_closes_it() {
        let found = violations(&[
            ("src/consents.rs", "use crate::catalog::Catalog;"),
            ("src/catalog.rs", "use crate::ledger::Ledger;"),
            ("src/ledger/mod.rs", "use crate::consents::Consents;"),
        ]);
        assert_eq!(
            found,
            [
                "src/ledger/mod.rs:1: ledger may not use consents",
                "cycle: catalog -> ledger -> consents -> catalog"
            ]
        );
    }

    #[test]
    fn a_module_without_a_row_is_found() {
        let found = violations(&[("src/extra/mod.rs", "//! x")]);
        assert_eq!(
            found,
            ["src/extra/mod.rs: module extra has no row in LAYERS"]
        );
    }

    #[test]
    fn inline_tests_do_not_count_as_length() {
        let text = "//! x\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n  fn g() {\n  }\n}\nfn h() {}\n";
        assert_eq!(production_lines(text), 4);
        assert_eq!(
            production_lines("//! x\nfn f() {}\n#[cfg(test)]\nmod tests;\n"),
            4
        );
    }

    #[test]
    fn unfinished_work_and_sleeps_are_found() {
        for text in [
            concat!("fn f() { to", "do!() }"),
            concat!("fn f() { unimple", "mented!(\"x\") }"),
            concat!("#[ig", "nore = \"slow\"] fn f() {}"),
            concat!("// FIX", "ME: later"),
            concat!("/// XX", "X later"),
        ] {
            assert_eq!(unfinished("a.rs", text).len(), 1, "{text}");
        }
        assert!(unfinished("a.rs", "Status::unimplemented(\"x\"); mktemp /tmp/XXXXXX").is_empty());

        for text in [
            "use tokio::time::{self, sleep};",
            "fn f() { std::thread::sleep(d) }",
            "async fn f() { time::sleep_until(t).await }",
        ] {
            assert_eq!(sleeps("a.rs", text).len(), 1, "{text}");
        }
        assert!(sleeps("a.rs", "// thread::sleep\nsh(\"sleep 1\")").is_empty());
    }

    #[test]
    fn machine_paths_are_told_from_relative_ones() {
        for line in [
            concat!("see /wo", "rk/main/x"),
            concat!("\"/ro", "ot/.cargo\""),
            concat!("=/ho", "me/me/x"),
            concat!("(/Us", "ers/me)"),
        ] {
            assert!(machine_path(line).is_some(), "{line}");
        }
        for line in [
            concat!("https://example.org/wo", "rk/x"),
            concat!("./ro", "ot/x"),
            concat!("~/wo", "rk/x"),
            concat!("$HOME/wo", "rk/x"),
        ] {
            assert!(machine_path(line).is_none(), "{line}");
        }
    }
}

/// Checks `files` (path and text) against [`LAYERS`], [`CONFINED`] and [`NOT_IN_DOMAIN`].
fn arrow_violations(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in files {
        let module = module_path(file);
        let Some((from, allowed)) = LAYERS.iter().find(|(row, _)| *row == module[0]) else {
            found.push(format!("{file}: module {} has no row in LAYERS", module[0]));
            continue;
        };
        for name in names(&production_tokens(text), &module) {
            let at = format!("{file}:{}", name.line);
            match name.root {
                Root::Ours => {
                    let to = name.segments[0].as_str();
                    if to == *from {
                        continue;
                    }
                    if let Some((row, _)) = LAYERS.iter().find(|(row, _)| *row == to) {
                        arrows.entry(from).or_default().insert(row);
                    }
                    if !allowed.contains(&to) {
                        found.push(format!("{at}: {from} may not use {to}"));
                    }
                }
                Root::Elsewhere => {
                    if let Some(library) = forbidden(from, &name.segments) {
                        found.push(format!("{at}: {from} may not name {library}"));
                    }
                }
            }
        }
    }
    found.dedup();
    found.extend(cycle(&arrows).map(|modules| format!("cycle: {}", modules.join(" -> "))));
    found
}

/// The first reason why `module` may not name a path of another crate.
fn forbidden(module: &str, segments: &[String]) -> Option<String> {
    let confined = CONFINED.iter().find(|(library, _)| segments[0] == *library);
    if let Some((library, homes)) = confined {
        return (!homes.contains(&module)).then(|| (*library).to_owned());
    }
    if module != "domain" {
        return None;
    }
    let library = NOT_IN_DOMAIN.iter().find(|path| {
        let mut path = path.split("::");
        let mut given = segments.iter();
        path.all(|part| given.next().is_some_and(|segment| segment == part))
    });
    let clock = || {
        CLOCKS
            .iter()
            .find(|clock| segments.iter().any(|segment| segment == *clock))
    };
    library.or_else(clock).map(|name| (*name).to_owned())
}

/// A cycle in a graph, as the way round it from its first module back to itself.
fn cycle<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        let here = *way.last()?;
        for next in arrows.get(here).into_iter().flatten() {
            if let Some(start) = way.iter().position(|module| module == next) {
                let mut round = way.split_off(start);
                round.push(next);
                return Some(round);
            }
            if done.contains(next) {
                continue;
            }
            way.push(next);
            if let Some(round) = walk(arrows, way, done) {
                return Some(round);
            }
            way.pop();
        }
        done.insert(here);
        None
    }
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|start| walk(arrows, &mut vec![start], &mut done))
}

/// `src/ledger/mod.rs` is `[ledger]`, `src/ledger/sqlite.rs` is `[ledger, sqlite]`, `src/main.rs` is `[main]`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod")
        .unwrap_or(path)
        .split('/')
        .map(str::to_owned)
        .collect()
}

#[derive(Debug, PartialEq)]
enum Root {
    /// The first segment is a top-level module of this crate.
    Ours,
    /// The first segment is whatever was written: a crate, a local module, a type.
    Elsewhere,
}

/// A path as the code names it, `use` trees unfolded.
#[derive(Debug)]
struct Name {
    root: Root,
    segments: Vec<String>,
    line: usize,
}

/// Every path that `tokens` of the module `module` name. A lone word counts only in a `use`.
fn names(tokens: &[Token], module: &[String]) -> Vec<Name> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(_, outside)| *outside < depth);
            }
            "mod" if tokens.get(at + 2).is_some_and(|after| after.text == "{") => {
                inline.push((tokens[at + 1].text.clone(), depth));
                at += 1;
            }
            // Not the `use<'a>` of an `impl Trait`.
            "use" if tokens.get(at + 1).is_some_and(|next| next.text != "<") => {
                let mut here = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                at = use_tree(tokens, at + 1, &[], &here, &mut found);
                continue;
            }
            _ if token.is_word() && !preceded_by_path(tokens, at) => {
                let mut here = module.to_vec();
                here.extend(inline.iter().map(|(name, _)| name.clone()));
                let (segments, next) = path(tokens, at);
                if segments.len() > 1 {
                    found.extend(resolve(segments, &here, token.line));
                }
                at = next;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the word at `at` continues something: `.field`, `Type::name`, `'lifetime` is dealt with by the lexer.
fn preceded_by_path(tokens: &[Token], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| tokens[i].text.as_str());
    match before(1) {
        Some(".") => true,
        Some("::") => match at.checked_sub(2) {
            Some(i) => tokens[i].is_word() || tokens[i].text == ">",
            None => false,
        },
        _ => false,
    }
}

/// The words joined by `::` from `at` on, and where they end.
fn path(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[at].text.clone()];
    at += 1;
    while tokens.get(at).is_some_and(|t| t.text == "::")
        && tokens.get(at + 1).is_some_and(Token::is_word)
    {
        segments.push(tokens[at + 1].text.clone());
        at += 2;
    }
    (segments, at)
}

/// Unfolds a `use` tree and returns where it ends: at the `;`, `,` or `}` that closes it.
fn use_tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Name>,
) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "{" => {
                at += 1;
                loop {
                    at = use_tree(tokens, at, &segments, module, found);
                    if tokens.get(at).is_none_or(|t| t.text != ",") {
                        return at + 1;
                    }
                    at += 1;
                }
            }
            ";" | "," | "}" => break,
            // The new name after `as` is no path; `{self}` names what stands before it.
            "as" => at += 1,
            "self" if !segments.is_empty() => {}
            "::" => {}
            _ => segments.push(token.text.clone()),
        }
        at += 1;
    }
    let line = tokens.get(at.saturating_sub(1)).map_or(0, |t| t.line);
    found.extend(resolve(segments, module, line));
    at
}

/// Turns a path as written inside `module` into a [`Name`]. `None` if it stays inside the module.
fn resolve(segments: Vec<String>, module: &[String], line: usize) -> Option<Name> {
    let ours = |path: &[String]| {
        let segments = path.to_vec();
        (!segments.is_empty()).then_some(Name {
            root: Root::Ours,
            segments,
            line,
        })
    };
    match segments.first()?.as_str() {
        "crate" | "consentgate" => ours(&segments[1..]),
        "self" => None,
        "super" => {
            let up = segments
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            if up < module.len() {
                return None;
            }
            ours(&segments[up..])
        }
        _ => Some(Name {
            root: Root::Elsewhere,
            segments,
            line,
        }),
    }
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Splits Rust source into words and signs; comments, literals and lifetimes are left out.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment(rest),
            '"' => quoted(rest),
            '\'' => char_or_lifetime(rest),
            _ if c.is_alphabetic() || c == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let word = word.unwrap_or(rest.len());
                match prefixed_literal(&rest[..word], &rest[word..]) {
                    Some(literal) => word + literal,
                    None => {
                        found.push(Token {
                            text: rest[..word].to_owned(),
                            line,
                        });
                        word
                    }
                }
            }
            _ if c.is_whitespace() => c.len_utf8(),
            _ => {
                let double = ["::", "->", "=>"].iter().any(|sign| rest.starts_with(sign));
                let length = if double { 2 } else { c.len_utf8() };
                found.push(Token {
                    text: rest[..length].to_owned(),
                    line,
                });
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a literal between the quotes that `text` opens with, escapes skipped.
fn quoted(text: &str) -> usize {
    let quote = text.chars().next();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if Some(c) == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'x'` and `'\n'` are literals, `'a` is a lifetime of which only the quote is skipped.
fn char_or_lifetime(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted(text),
        _ => {
            1 + text[1..]
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(0)
        }
    }
}

/// After a word such as `b`, `r` or `br`: the length of the literal that it begins, if it does.
fn prefixed_literal(word: &str, after: &str) -> Option<usize> {
    let opens = |sign| after.starts_with(sign);
    match word {
        "b" | "c" if opens('"') => Some(quoted(after)),
        "b" if opens('\'') => Some(quoted(after)),
        "r" | "br" | "cr" => {
            let hashes = after.find(|c| c != '#')?;
            let body = after[hashes..].strip_prefix('"')?;
            let end = format!("\"{}", "#".repeat(hashes));
            let length = body.find(&end).map_or(body.len(), |at| at + end.len());
            Some(hashes + 1 + length)
        }
        _ => None,
    }
}

/// The tokens of `text` without its inline `#[cfg(test)] mod … { … }` blocks.
fn production_tokens(text: &str) -> Vec<Token> {
    let mut all = tokens(text);
    while let Some((start, end)) = test_block(&all) {
        all.drain(start..=end);
    }
    all
}

/// The lines of `text` without those blocks.
fn production_lines(text: &str) -> usize {
    let mut all = tokens(text);
    let mut lines = text.lines().count();
    while let Some((start, end)) = test_block(&all) {
        lines -= all[end].line - all[start].line + 1;
        all.drain(start..=end);
    }
    lines
}

/// Where the first inline test module begins (its attribute) and ends (its closing brace).
fn test_block(tokens: &[Token]) -> Option<(usize, usize)> {
    const OPENING: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    let start = (0..texts.len()).find(|&at| {
        texts[at..].starts_with(&OPENING) && texts.get(at + OPENING.len() + 1) == Some(&"{")
    })?;
    let mut depth = 0;
    for (at, text) in texts.iter().enumerate().skip(start + OPENING.len() + 1) {
        match *text {
            "{" => depth += 1,
            "}" if depth == 1 => return Some((start, at)),
            "}" => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unfinished(path: &str, text: &str) -> Vec<String> {
    // Written in halves, so that this file passes its own test.
    const WORDS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];
    const MACROS: [&str; 2] = [concat!("to", "do"), concat!("unimple", "mented")];
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        if words.any(|word| WORDS.contains(&word)) {
            found.push(format!("{path}:{}: {}", number + 1, line.trim()));
        }
    }
    let tokens = tokens(text);
    for three in tokens.windows(3) {
        let [first, second, third] = three else {
            continue;
        };
        let is_macro = MACROS.contains(&first.text.as_str()) && second.text == "!";
        let is_skipped = (first.text == "#" && second.text == "[") && third.text == "ignore";
        if is_macro || is_skipped {
            found.push(format!(
                "{path}:{}: {}{}…",
                first.line, first.text, second.text
            ));
        }
    }
    found
}

fn sleeps(path: &str, text: &str) -> Vec<String> {
    let found = names(&tokens(text), &["it".to_owned()])
        .into_iter()
        .filter(|name| {
            name.segments
                .iter()
                .any(|segment| segment == "sleep" || segment == "sleep_until")
        });
    found
        .map(|name| format!("{path}:{}: wait for a condition instead", name.line))
        .collect()
}

/// An absolute path in somebody's own part of a machine.
fn machine_path(line: &str) -> Option<&str> {
    const STARTS: [&str; 4] = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
    ];
    STARTS.iter().find_map(|start| {
        line.match_indices(start).map(|(at, _)| at).find_map(|at| {
            let continues = |c: char| c.is_alphanumeric() || "._-~/)}".contains(c);
            (!line[..at].ends_with(continues)).then_some(&line[at..])
        })
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, by their path from the repository's root.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let mut files = files_below(&root().join(folder));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let files: Vec<_> = files.iter().filter_map(|file| read(file)).collect();
    assert!(!files.is_empty(), "no Rust file below {folder}");
    files
}

/// Everything that a person wrote and a person reads.
fn text_files() -> Vec<(String, String)> {
    const FOLDERS: [&str; 11] = [
        ".ci",
        "benches",
        "docs",
        "examples",
        "fuzz",
        "migrations",
        "policy",
        "proto",
        "scripts",
        "src",
        "tests",
    ];
    let mut files: Vec<PathBuf> = FOLDERS
        .iter()
        .flat_map(|folder| files_below(&root().join(folder)))
        .collect();
    for entry in fs::read_dir(root())
        .expect("the repository's root is readable")
        .flatten()
    {
        let path = entry.path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "Cargo.lock") {
            files.push(path);
        }
    }
    files.iter().filter_map(|file| read(file)).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    const BUILT: [&str; 4] = ["target", "__pycache__", ".venv", "node_modules"];
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            files.push(path);
        } else if !BUILT.iter().any(|built| path.ends_with(built)) {
            files.extend(files_below(&path));
        }
    }
    files.sort();
    files
}

/// A file's path from the root and its text; `None` for what is not text.
fn read(file: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(file).ok()?;
    let path = file.strip_prefix(root()).ok()?.to_str()?.replace('\\', "/");
    Some((path, text))
}
