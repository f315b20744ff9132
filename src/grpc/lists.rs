//! How long the lists of a request are, counted on the wire before anything of it is decoded.
//!
//! An entry of a list takes two bytes on the wire and may take a hundred in memory, so a message within the limit
//! of its size could fill memory before anybody sees that its list is too long. What is no message at all is
//! passed over here: the codec says so.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, FileDescriptorSet};

use super::convert::check::MAX_RECIPIENTS;
use super::proto;

/// The most entries that any list of a request may have.
const MOST: usize = MAX_RECIPIENTS;

/// In fewer bytes there are no more entries: each has a key and a length.
const HARMLESS: usize = 2 * MOST;

/// How deep messages may lie in one another, as the decoder has it.
const DEEPEST: usize = 100;

/// A list that is too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooLong {
    /// As in `recipients.recipients`.
    pub(super) field: String,
    pub(super) count: usize,
}

/// The first list of a request that has too many entries. `name`: of the message, without its package. Messages that
/// are no requests are not looked at.
pub(super) fn too_long(name: &str, bytes: &[u8]) -> Option<TooLong> {
    if bytes.len() <= HARMLESS {
        return None;
    }
    let shape = SHAPES.requests.get(name)?;
    let mut counting = Counting {
        path: Vec::new(),
        counts: Vec::new(),
    };
    // What does not read on is for the decoder, which gets no further either.
    let _ = counting.message(*shape, bytes);
    let mut counts = counting.counts.into_iter();
    let (path, count) = counts.find(|(_, count)| *count > MOST)?;
    Some(TooLong {
        field: path.join("."),
        count,
    })
}

/// What a message has that is a list, or leads to one.
type Shape = HashMap<u32, Field>;

struct Field {
    name: String,
    is_list: bool,
    /// The message that it is, if there are lists in that.
    shape: Option<usize>,
}

struct Shapes {
    all: Vec<Shape>,
    requests: HashMap<String, usize>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS);
    Shapes::of(&set.expect("the descriptor set is made by this build"))
});

impl Shapes {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut messages = Vec::new();
        for file in &set.file {
            let package = format!(".{}", file.package());
            collect(&package, &file.message_type, &mut messages);
        }
        let places = messages.iter().enumerate();
        let places: HashMap<&str, usize> =
            places.map(|(at, (name, _))| (name.as_str(), at)).collect();
        let shape = |message: &DescriptorProto| -> Shape {
            let fields = message.field.iter().map(|field| {
                let number = u32::try_from(field.number()).unwrap_or(0);
                let known = Field {
                    name: field.name().to_owned(),
                    is_list: field.label() == Label::Repeated,
                    shape: places.get(field.type_name()).copied(),
                };
                (number, known)
            });
            fields.collect()
        };
        let mut all: Vec<Shape> = messages.iter().map(|(_, message)| shape(message)).collect();
        // Until nothing goes: what holds no list, nor leads to one, is not looked into.
        loop {
            let empty: Vec<bool> = all.iter().map(HashMap::is_empty).collect();
            let mut went = false;
            for fields in &mut all {
                let before = fields.len();
                for field in fields.values_mut() {
                    field.shape = field.shape.filter(|at| !empty[*at]);
                }
                fields.retain(|_, field| field.is_list || field.shape.is_some());
                went |= fields.len() < before;
            }
            if !went {
                break;
            }
        }
        let requests = messages.iter().enumerate().filter_map(|(at, (name, _))| {
            let name = name.rsplit('.').next()?;
            name.ends_with("Request").then(|| (name.to_owned(), at))
        });
        Self {
            requests: requests.collect(),
            all,
        }
    }
}

/// Every message, with those that are declared within others.
fn collect<'a>(
    within: &str,
    messages: &'a [DescriptorProto],
    all: &mut Vec<(String, &'a DescriptorProto)>,
) {
    for message in messages {
        let name = format!("{within}.{}", message.name());
        collect(&name, &message.nested_type, all);
        all.push((name, message));
    }
}

struct Counting {
    path: Vec<&'static str>,
    counts: Vec<(Vec<&'static str>, usize)>,
}

impl Counting {
    /// `None`: it does not read on.
    fn message(&mut self, shape: usize, mut bytes: &[u8]) -> Option<()> {
        let shape = SHAPES.all.get(shape)?;
        while bytes.has_remaining() {
            let (number, kind) = decode_key(&mut bytes).ok()?;
            let value = match kind {
                WireType::LengthDelimited => delimited(&mut bytes)?,
                _ => {
                    skip(number, kind, &mut bytes, 0)?;
                    &[]
                }
            };
            let Some(field) = shape.get(&number) else {
                continue;
            };
            if self.path.len() == DEEPEST {
                return None;
            }
            self.path.push(&field.name);
            if field.is_list {
                self.count();
            }
            if let Some(inner) = field.shape {
                self.message(inner, value)?;
            }
            self.path.pop();
        }
        Some(())
    }

    fn count(&mut self) {
        let known = self.counts.iter_mut().find(|(path, _)| *path == self.path);
        match known {
            Some((_, count)) => *count += 1,
            None => self.counts.push((self.path.clone(), 1)),
        }
    }
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

/// Passes over a value, as the decoder does with what it does not know: a group with all that is in it.
fn skip(number: u32, kind: WireType, bytes: &mut &[u8], depth: usize) -> Option<()> {
    let fixed = |bytes: &mut &[u8], size| {
        let (_, rest) = bytes.split_at_checked(size)?;
        *bytes = rest;
        Some(())
    };
    match kind {
        WireType::Varint => decode_varint(bytes).ok().map(drop),
        WireType::ThirtyTwoBit => fixed(bytes, 4),
        WireType::SixtyFourBit => fixed(bytes, 8),
        WireType::LengthDelimited => delimited(bytes).map(drop),
        WireType::EndGroup => None,
        WireType::StartGroup if depth == DEEPEST => None,
        WireType::StartGroup => loop {
            let (inner, kind) = decode_key(bytes).ok()?;
            if kind == WireType::EndGroup {
                return (inner == number).then_some(());
            }
            skip(inner, kind, bytes, depth + 1)?;
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many entries of two bytes each, of a field by its key.
    fn entries(key: u8, count: usize) -> Vec<u8> {
        [key, 0].repeat(count)
    }

    fn found(name: &str, bytes: &[u8]) -> Option<(String, usize)> {
        too_long(name, bytes).map(|list| (list.field, list.count))
    }

    const BATCH: &str = "BatchCheckConsentRequest";
    const STREAM: &str = "StreamCheckConsentRequest";
    /// Keys of `recipients` of a batch, of a chunk of a stream, and of the chunk in its message.
    const RECIPIENTS: u8 = 7 << 3 | 2;
    const IN_CHUNK: u8 = 1 << 3 | 2;
    const CHUNK: u8 = 2 << 3 | 2;

    fn within(key: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![key];
        prost::encoding::encode_varint(u64::try_from(inner.len()).unwrap(), &mut bytes);
        bytes.extend(inner);
        bytes
    }

    #[test]
    fn the_most_is_let_through_and_one_more_is_not_wherever_the_list_lies() {
        let field = |name: &str, count| Some((name.to_owned(), count));
        assert_eq!(found(BATCH, &entries(RECIPIENTS, MOST)), None);
        let more = entries(RECIPIENTS, MOST + 1);
        assert_eq!(found(BATCH, &more), field("recipients", MOST + 1));
        let chunk = within(CHUNK, &entries(IN_CHUNK, MOST));
        assert_eq!(found(STREAM, &chunk), None);
        // In two pieces, which are one when they are decoded.
        let twice = [chunk.clone(), within(CHUNK, &entries(IN_CHUNK, 1))].concat();
        let path = "recipients.recipients";
        assert_eq!(found(STREAM, &twice), field(path, MOST + 1));
        assert_eq!(
            found("RecordConsentRequest", &entries(3 << 3 | 2, 2 * MOST)),
            field("purposes", 2 * MOST)
        );
        // No request: a client reads what it asked for.
        assert_eq!(
            found("BatchCheckConsentResponse", &entries(IN_CHUNK, 2 * MOST)),
            None
        );
    }

    #[test]
    fn nothing_that_comes_before_or_within_hides_a_list() {
        let many = entries(RECIPIENTS, 2 * MOST);
        let unknown: [&[u8]; 7] = [
            // Of field 100: a number, four and eight bytes, a text, a group, and groups in it.
            &[0xa0, 6, 0xff, 1],
            &[0xa5, 6, 1, 2, 3, 4],
            &[0xa1, 6, 1, 2, 3, 4, 5, 6, 7, 8],
            &[0xa2, 6, 2, 0x3a, 0],
            &[0xa3, 6, 0xa4, 6],
            &[0xa3, 6, 0x0b, 0x3a, 0, 0x08, 1, 0x0c, 0xa4, 6],
            // A business.
            &[0x0a, 4, b'a', b'c', b'm', b'e'],
        ];
        for before in unknown {
            let bytes = [before, &many].concat();
            let list = too_long(BATCH, &bytes);
            assert_eq!(list.map(|list| list.count), Some(2 * MOST), "{before:?}");
            proto::BatchCheckConsentRequest::decode(bytes.as_slice()).unwrap();
        }
    }

    #[test]
    fn what_does_not_read_is_no_list_and_what_came_before_it_counts() {
        let many = entries(RECIPIENTS, 2 * MOST);
        let broken: [&[u8]; 6] = [
            &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x0f],
            &[0xa4, 6],
            &[0xa3, 6, 0x14],
            &[0xff; 11],
            &[0xa3, 6].repeat(1_000),
        ];
        for after in broken {
            let bytes = [after, &many].concat();
            assert_eq!(too_long(BATCH, &bytes), None);
            assert!(proto::BatchCheckConsentRequest::decode(bytes.as_slice()).is_err());
            let bytes = [&many, after].concat();
            assert_eq!(too_long(BATCH, &bytes).unwrap().count, 2 * MOST);
        }
    }
}
