//! Hand-written TOML, read so that every mistake is reported at once, each with its line.
//!
//! A reader asks a [`Table`] for the keys it knows; what nobody asked for is unknown, and a mistake.
//! Used for the policy and the catalogue. It does not know what a key means, and it gives no value
//! at all once there is a mistake: half a policy is none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Where in the document, as in `business[0].sender[1].aliases`. Empty: in the file as a whole.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong in a file, in the order of its lines. Not empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub fn as_slice(&self) -> &[Mistake] {
        &self.0
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    match mistakes {
        [one] => one.to_string(),
        _ => mistakes
            .iter()
            .fold(format!("{} mistakes:", mistakes.len()), |list, one| {
                format!("{list}\n  {one}")
            }),
    }
}

/// Where something stands in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    offset: usize,
    path: String,
}

/// A text that is being read, and the mistakes found in it so far.
#[derive(Debug)]
pub struct Document<'i> {
    text: &'i str,
    mistakes: RefCell<Vec<Mistake>>,
}

/// Parses `text` and hands its root to `read`. What `read` returns counts only if it reported no
/// mistake.
pub fn read<'i, T>(
    text: &'i str,
    read: impl FnOnce(&Document<'i>, Table<'_, 'i>) -> T,
) -> Result<T, Mistakes> {
    let document = Document {
        text,
        mistakes: RefCell::default(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let offset = error.span().map_or(text.len(), |span| span.start);
            let place = Place {
                offset,
                path: String::new(),
            };
            document.mistake(&place, format!("not valid TOML: {}", error.message()));
        }
        return Err(document.into_mistakes());
    }
    let root = Table::new(&document, String::new(), 0, root.into_inner());
    let value = read(&document, root);
    if document.mistakes.borrow().is_empty() {
        Ok(value)
    } else {
        Err(document.into_mistakes())
    }
}

impl Document<'_> {
    pub fn mistake(&self, place: &Place, message: impl Into<String>) {
        let (line, column) = self.position(place.offset);
        let (path, message) = (place.path.clone(), message.into());
        self.mistakes.borrow_mut().push(Mistake {
            line,
            column,
            path,
            message,
        });
    }

    pub fn line(&self, place: &Place) -> usize {
        self.position(place.offset).0
    }

    /// The document as a whole: what is missing from it has no line, so it is the first.
    pub const fn start(&self) -> Place {
        Place {
            offset: 0,
            path: String::new(),
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    fn into_mistakes(self) -> Mistakes {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort();
        mistakes.dedup();
        Mistakes(mistakes)
    }
}

/// A table whose keys are being read. What is wrong is reported and read as absent.
#[derive(Debug)]
pub struct Table<'d, 'i> {
    document: &'d Document<'i>,
    keys: DeTable<'i>,
    places: Places,
}

/// Where a table and the keys that were read from it stand.
#[derive(Debug, Clone)]
pub struct Places {
    table: Place,
    keys: BTreeMap<String, usize>,
}

impl Places {
    pub const fn table(&self) -> &Place {
        &self.table
    }

    /// The place of a field: of its key where the table has it, else of the table. A field may name
    /// a part of a key's value, as in `aliases[2]`.
    pub fn of(&self, field: &str) -> Place {
        let key = field.split(['[', '.']).next().unwrap_or(field);
        let offset = self.keys.get(key).copied().unwrap_or(self.table.offset);
        let path = match (self.table.path.as_str(), field) {
            ("", _) => field.to_owned(),
            (table, "") => table.to_owned(),
            (table, _) => format!("{table}.{field}"),
        };
        Place { offset, path }
    }
}

impl<'d, 'i> Table<'d, 'i> {
    fn new(document: &'d Document<'i>, path: String, offset: usize, keys: DeTable<'i>) -> Self {
        let table = Place { offset, path };
        Self {
            document,
            keys,
            places: Places {
                table,
                keys: BTreeMap::new(),
            },
        }
    }

    /// The value that `read` finds under `key`, which must be there.
    pub fn required<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Self, &str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self, key);
        if value.is_none() && !self.has_read(key) {
            self.mistake("", format!("`{key}` is missing"));
        }
        value
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        self.parsed(key, |text| Ok::<_, String>(text.to_owned()))
    }

    /// A text that `parse` makes a value of.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let Some(text) = value.get_ref().as_str() else {
            return self.wrong_kind(key, "a text in quotes", value.get_ref());
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.mistake(key, error.to_string());
                None
            }
        }
    }

    /// One of a closed list of words.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| find(words, text))
    }

    /// A list of texts, each of which `parse` makes a value of.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        self.items(key, "a list of texts", |item| match item.as_str() {
            None => Err(expected("a text in quotes", item)),
            Some(text) => parse(text).map_err(|error| error.to_string()),
        })
    }

    /// A list of whole numbers.
    pub fn integers(&mut self, key: &str) -> Option<Vec<i32>> {
        self.items(key, "a list of whole numbers", |item| {
            integer_of(item).ok_or_else(|| expected("a whole number", item))
        })
    }

    /// A list of days, without quotes and without times.
    pub fn dates(&mut self, key: &str) -> Option<Vec<Date>> {
        self.items(key, "a list of dates", |item| {
            date_of(item).ok_or_else(|| expected(A_DATE, item))
        })
    }

    fn items<T>(
        &mut self,
        key: &str,
        kind: &str,
        read: impl Fn(&DeValue<'i>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let Some(items) = value.get_ref().as_array() else {
            return self.wrong_kind(key, kind, value.get_ref());
        };
        let mut list = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match read(item.get_ref()) {
                Ok(value) => list.push(value),
                Err(message) => {
                    let place = Place {
                        offset: item.span().start,
                        path: self.places.of(&format!("{key}[{index}]")).path,
                    };
                    self.document.mistake(&place, message);
                }
            }
        }
        Some(list)
    }

    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let value = self.take(key)?;
        value
            .get_ref()
            .as_bool()
            .or_else(|| self.wrong_kind(key, "true or false", value.get_ref()))
    }

    pub fn integer(&mut self, key: &str) -> Option<i32> {
        let value = self.take(key)?;
        integer_of(value.get_ref())
            .or_else(|| self.wrong_kind(key, "a whole number", value.get_ref()))
    }

    /// A day of the calendar, without quotes and without a time.
    pub fn date(&mut self, key: &str) -> Option<Date> {
        let value = self.take(key)?;
        date_of(value.get_ref()).or_else(|| self.wrong_kind(key, A_DATE, value.get_ref()))
    }

    /// A table, `[key]` or `key = { … }`. It must be finished like its parent.
    pub fn table(&mut self, key: &str) -> Option<Self> {
        self.inner(key, "a table, as in `{ name = … }`")
    }

    fn inner(&mut self, key: &str, kind: &str) -> Option<Self> {
        let value = self.take(key)?;
        let offset = value.span().start;
        match value.into_inner() {
            DeValue::Table(keys) => {
                let path = self.places.of(key).path;
                Some(Self::new(self.document, path, offset, keys))
            }
            other => self.wrong_kind(key, kind, &other),
        }
    }

    /// The keys that nobody has asked for so far.
    pub fn unread(&self) -> Vec<String> {
        self.keys
            .keys()
            .map(|name| name.get_ref().to_string())
            .collect()
    }

    /// The tables of a list, `[[key]]`.
    pub fn tables(&mut self, key: &str) -> Vec<Self> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.into_inner() else {
            self.mistake(key, format!("expected tables that begin with `[[{key}]]`"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Place { path, .. } = self.places.of(&format!("{key}[{index}]"));
            let offset = item.span().start;
            match item.get_ref() {
                DeValue::Table(keys) => {
                    tables.push(Self::new(self.document, path, offset, keys.clone()));
                }
                other => self
                    .document
                    .mistake(&Place { offset, path }, expected("a table", other)),
            }
        }
        tables
    }

    /// The keys and texts of a table whose keys are names, not fields.
    pub fn names<K, V, E: fmt::Display, F: fmt::Display>(
        &mut self,
        key: &str,
        parse_key: impl Fn(&str) -> Result<K, E>,
        parse_value: impl Fn(&str) -> Result<V, F>,
    ) -> Option<Vec<(K, V)>> {
        let mut table = self.inner(key, "a table, as in `{ name = \"text\" }`")?;
        let mut pairs = Vec::new();
        for name in table.unread() {
            let value = table.parsed(&name, &parse_value);
            match parse_key(&name) {
                Ok(name) => pairs.extend(value.map(|value| (name, value))),
                Err(error) => table.mistake(&name, error.to_string()),
            }
        }
        Some(pairs)
    }

    /// Refuses a key that means something, but not here or not yet.
    pub fn refuse(&mut self, key: &str, why: &str) {
        if self.take(key).is_some() {
            self.mistake(key, why);
        }
    }

    /// Whether the table has `key`, of those that were read.
    pub fn has_read(&self, key: &str) -> bool {
        self.places.keys.contains_key(key)
    }

    /// Whether no mistake was found in the table so far: a second one that follows from the first
    /// need not be told.
    pub fn is_good(&self) -> bool {
        let mistakes = self.document.mistakes.borrow();
        let path = self.places.table.path.as_str();
        mistakes.iter().all(|one| !one.path.starts_with(path))
    }

    /// Where `field` stands, for what is judged once everything is read.
    pub fn place_of(&self, field: &str) -> Place {
        self.places.of(field)
    }

    /// Reports something about the value of `key`; about the table itself if it is empty.
    pub fn mistake(&self, key: &str, message: impl Into<String>) {
        self.document.mistake(&self.places.of(key), message);
    }

    /// Refuses the keys that nobody asked for.
    pub fn finish(self) -> Places {
        for key in self.keys.keys() {
            let place = Place {
                offset: key.span().start,
                path: self.places.table.path.clone(),
            };
            self.document
                .mistake(&place, format!("unknown key `{}`", key.get_ref()));
        }
        self.places
    }

    fn take(&mut self, key: &str) -> Option<Spanned<DeValue<'i>>> {
        let (name, value) = self.keys.remove_entry(key)?;
        self.places.keys.insert(key.to_owned(), name.span().start);
        Some(value)
    }

    fn wrong_kind<T>(&self, key: &str, kind: &str, found: &DeValue<'_>) -> Option<T> {
        self.mistake(key, expected(kind, found));
        None
    }
}

const A_DATE: &str = "a date without quotes, as in 2026-01-31";

fn integer_of(value: &DeValue<'_>) -> Option<i32> {
    let number = value.as_integer()?;
    i32::from_str_radix(number.as_str(), number.radix()).ok()
}

fn date_of(value: &DeValue<'_>) -> Option<Date> {
    let given = value.as_datetime()?;
    let day = given
        .date
        .filter(|_| given.time.is_none() && given.offset.is_none())?;
    let [month, day_of_month] = [day.month, day.day].map(|part| i8::try_from(part).ok());
    Date::new(i16::try_from(day.year).ok()?, month?, day_of_month?).ok()
}

fn expected(kind: &str, found: &DeValue<'_>) -> String {
    format!("expected {kind}, found {}", found.type_str())
}

/// The value of a word, or an error that lists the words there are.
pub fn find<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, String> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!(
                "unknown word `{text}`, expected one of {}",
                known.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, reader: impl FnOnce(&mut Table<'_, '_>)) -> Vec<String> {
        let result = read(text, |_, mut root| {
            reader(&mut root);
            root.finish();
        });
        result.map_or_else(
            |mistakes| {
                mistakes
                    .as_slice()
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            },
            |()| Vec::new(),
        )
    }

    #[test]
    fn every_error_of_the_syntax_is_reported_with_its_line() {
        let found = mistakes("a = 1\nb = \nc = 2\nd = [\n", |_| ());
        assert!(
            found
                .iter()
                .any(|one| one.starts_with("line 2: not valid TOML: ")),
            "{found:?}"
        );
        assert!(found.len() > 1, "{found:?}");
        let found = mistakes("a = 1\n\na = 2\n", |_| ());
        assert!(
            found[0].starts_with("line 3: not valid TOML: duplicate key"),
            "{found:?}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_reported_where_it_stands() {
        let text = "a = 1\nb = \"x\"\nc = \"yes\"\nd = \"2026-01-01\"\ne = [\n  \"x\",\n  1,\n]\nf = 1\ng = 2026-01-01T00:00:00Z";
        let found = mistakes(text, |root| {
            root.text("a");
            root.integer("b");
            root.flag("c");
            root.date("d");
            root.list("e", |text| Ok::<_, String>(text.to_owned()));
            root.tables("f");
            root.date("g");
        });
        assert_eq!(
            found,
            [
                "line 1: a: expected a text in quotes, found integer",
                "line 2: b: expected a whole number, found string",
                "line 3: c: expected true or false, found string",
                "line 4: d: expected a date without quotes, as in 2026-01-31, found string",
                "line 7: e[1]: expected a text in quotes, found integer",
                "line 9: f: expected tables that begin with `[[f]]`",
                "line 10: g: expected a date without quotes, as in 2026-01-31, found datetime",
            ]
        );
    }

    #[test]
    fn a_list_is_read_item_by_item_and_each_mistake_stands_at_its_item() {
        let text = "a = [\n  1,\n  -2,\n  2.5,\n]\nb = [\n  2026-01-31,\n  \"2026-02-01\",\n]\nc = 1\nd = 2026-01-31";
        let found = mistakes(text, |root| {
            assert_eq!(root.integers("a"), Some(vec![1, -2]));
            let day = jiff::civil::date(2026, 1, 31);
            assert_eq!(root.dates("b"), Some(vec![day]));
            root.integers("c");
            root.dates("d");
        });
        assert_eq!(
            found,
            [
                "line 4: a[2]: expected a whole number, found float",
                "line 8: b[1]: expected a date without quotes, as in 2026-01-31, found string",
                "line 10: c: expected a list of whole numbers, found integer",
                "line 11: d: expected a list of dates, found datetime",
            ]
        );
    }

    #[test]
    fn an_inner_table_is_read_like_its_parent_and_told_with_its_path() {
        let text = "a = { x = 1, y = 2 }\n\n[b]\nx = 1\nz = 3\n\n[[c]]\n";
        let found = mistakes(text, |root| {
            for key in ["a", "b"] {
                let mut inner = root.table(key).unwrap();
                assert_eq!(inner.integer("x"), Some(1));
                assert_eq!(inner.unread().len(), 1);
                inner.mistake("x", "its key");
                inner.finish();
            }
            assert!(root.table("c").is_none());
        });
        assert_eq!(
            found,
            [
                "line 1: a.x: its key",
                "line 1: a: unknown key `y`",
                "line 4: b.x: its key",
                "line 5: b: unknown key `z`",
                "line 7: c: expected a table, as in `{ name = … }`, found array",
            ]
        );
    }

    #[test]
    fn a_key_that_nobody_reads_is_unknown_and_a_key_that_is_not_there_is_missing() {
        let found = mistakes("a = 1\nb = 2", |root| {
            root.integer("a");
            root.required("c", Table::text);
        });
        assert_eq!(found, ["line 1: `c` is missing", "line 2: unknown key `b`"]);
    }

    #[test]
    fn a_table_of_a_list_stands_at_its_header() {
        let found = mistakes("\n[[a]]\nx = 1\n\n  [[a.b]]\n  y = 1\n", |root| {
            for mut a in root.tables("a") {
                a.integer("x");
                for mut b in a.tables("b") {
                    b.integer("y");
                    b.mistake("", "itself");
                    b.finish();
                }
                a.mistake("", "itself");
                a.mistake("x", "its key");
                a.finish();
            }
        });
        assert_eq!(
            found,
            [
                "line 2: a[0]: itself",
                "line 3: a[0].x: its key",
                "line 5: a[0].b[0]: itself"
            ]
        );
    }

    #[test]
    fn a_column_counts_characters() {
        let result = read("\"ä\" = { \"ö\" = 1, b = 1 }", |_, mut root| {
            root.names(
                "ä",
                |key| Ok::<_, String>(key.to_owned()),
                |value| Ok::<_, String>(value.to_owned()),
            );
            root.finish();
        });
        let columns: Vec<_> = result
            .unwrap_err()
            .as_slice()
            .iter()
            .map(|one| one.column)
            .collect();
        assert_eq!(columns, [9, 18]);
    }
}
