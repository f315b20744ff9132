//! Text that is short more often than not: up to 15 bytes lie in the value itself, in no more room than
//! a pointer to text takes. Names of purposes, notices and languages are held by the million, each
//! a few letters long; an allocation for each would weigh more than they do.

use std::fmt;

/// As many bytes as fit beside their count.
const INLINE: usize = 15;

/// Text that is not changed. Equal texts are equal values: what fits is always inline.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Short(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Inline(Inline),
    Long(Box<Box<str>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Inline {
    length: Length,
    /// Zero after the text.
    bytes: [u8; INLINE],
}

/// A number from 0 to 15. An enum, so that the compiler knows that its other values are free to tell
/// the kinds apart.
#[derive(Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
enum Length { L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15 }

impl Length {
    const ALL: [Self; INLINE + 1] = {
        use Length::*;
        [
            L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15,
        ]
    };
}

impl Short {
    pub(super) fn new(text: &str) -> Self {
        match Length::ALL.get(text.len()) {
            Some(length) => {
                let mut bytes = [0; INLINE];
                bytes[..text.len()].copy_from_slice(text.as_bytes());
                Self(Kind::Inline(Inline {
                    length: *length,
                    bytes,
                }))
            }
            None => Self(Kind::Long(Box::new(text.into()))),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Inline(_) => str::from_utf8(self.as_bytes()).expect("it was text"),
            Kind::Long(text) => text,
        }
    }

    /// Without looking whether it is text, which [`Short::as_str`] does each time.
    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Inline(inline) => &inline.bytes[..inline.length as usize],
            Kind::Long(text) => text.as_bytes(),
        }
    }

    /// Bytes outside of the value.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Kind::Inline(_) => 0,
            Kind::Long(text) => size_of::<Box<str>>() + text.len(),
        }
    }
}

impl PartialOrd for Short {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// As text does, which is the order of its bytes.
impl Ord for Short {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As text does: names are looked up by it.
impl std::hash::Hash for Short {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn it_is_the_text_that_it_was_made_of_and_compares_and_hashes_as_that() {
        let hasher = std::hash::RandomState::new();
        let texts = [
            "",
            "a",
            "b",
            "aé",
            "fourteen bytes",
            "fifteen bytes!!",
            "sixteen bytes!!!",
            "sixteen bytes!!?",
            "a text that is longer than what fits",
        ];
        for one in texts {
            let short = Short::new(one);
            assert_eq!(short.as_str(), one);
            assert_eq!(hasher.hash_one(&short), hasher.hash_one(one));
            assert_eq!(short.heap_bytes() == 0, one.len() <= INLINE, "{one}");
            for other in texts {
                assert_eq!(short == Short::new(other), one == other);
                assert_eq!(short.cmp(&Short::new(other)), one.cmp(other));
            }
        }
    }

    #[test]
    fn it_takes_no_more_room_than_a_pointer_to_text_also_when_it_may_be_missing() {
        assert_eq!(size_of::<Short>(), size_of::<Box<str>>());
        assert_eq!(size_of::<Option<Short>>(), size_of::<Box<str>>());
    }
}
