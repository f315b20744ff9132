//! JSON as bytes that are kept, hashed or sealed. Reading is left to serde.

use serde::Serialize;

/// Room for what is usually written: an event with its terms has some 900 bytes, a payload some 300. Grown step by
/// step, the memory of one event was looked for four times, and each time what was in it stayed behind, also where it
/// is personal and overwritten after use.
const USUAL: usize = 1_024;

/// The value as JSON, without spaces, its fields in the order in which they are declared.
///
/// # Panics
///
/// For a map whose keys are no strings, of which no type that is kept has one.
pub fn bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut bytes, value)
        .expect("what is kept has only string keys and no floating point number");
    bytes
}

/// The same as text.
///
/// # Panics
///
/// As [`bytes`].
pub fn text(value: &impl Serialize) -> String {
    String::from_utf8(bytes(value)).expect("JSON is UTF-8")
}
