//! JSON objects that keep the order in which they were written, for `--output json`.
//!
//! Fields are named as in the .proto files. As in protobuf's own JSON, what is empty or unset is
//! left out, so that an absent time and an absent consent read alike; lists and booleans that are
//! always meant are always there.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::words::{self, Word};

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Json>),
    Object(Object),
}

/// Fields in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object(Vec<(String, Json)>);

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Whether every field was left out.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A field that is always there.
    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// A text; left out if it is empty.
    #[must_use]
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        if text.is_empty() {
            self
        } else {
            self.with(name, text)
        }
    }

    /// The word of an enum; left out if it is unspecified.
    #[must_use]
    pub(super) fn word<E: Word>(self, name: &str, number: i32) -> Self {
        self.maybe(name, words::known::<E>(number))
    }

    /// A field that may be unset.
    #[must_use]
    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A list, also if it is empty.
    #[must_use]
    pub(super) fn list<T: Into<Json>>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(
            name,
            Json::List(items.into_iter().map(Into::into).collect()),
        )
    }

    /// A list; left out if it is empty.
    #[must_use]
    pub(super) fn some<T: Into<Json>>(
        self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        let items: Vec<Json> = items.into_iter().map(Into::into).collect();
        if items.is_empty() {
            self
        } else {
            self.with(name, Json::List(items))
        }
    }

    /// An object; left out if it has no fields.
    #[must_use]
    pub(super) fn object(self, name: &str, object: Object) -> Self {
        if object.is_empty() {
            self
        } else {
            self.with(name, object)
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Json {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Json {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

/// Counts; what is beyond an `i64` nobody counted.
impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::Decision;

    #[test]
    fn fields_keep_their_order_and_what_is_empty_is_left_out() {
        let object = Object::new()
            .with("zone", "b\"c")
            .text("alpha", "")
            .word::<Decision>("decision", Decision::Allow.into())
            .word::<Decision>("unset", 0)
            .maybe("count", None::<i64>)
            .list("reasons", Vec::<String>::new())
            .some("labels", Vec::<String>::new())
            .object("notice", Object::new())
            .object("inner", Object::new().with("held", false).with("n", 3_i64));
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            r#"{"zone":"b\"c","decision":"ALLOW","reasons":[],"inner":{"held":false,"n":3}}"#
        );
    }
}
