//! The lines of a list, one at a time: comments and blank lines left out, bounded in length, and a
//! line that is no text refused by itself.

use std::io::{self, BufRead};

/// Longest line that can name somebody, comment included. No address is near it.
const MAX_LINE: usize = 4_096;

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// From 1, blank lines counted.
    pub(super) number: u64,
    /// The line without its comment, or why it cannot be read.
    pub(super) text: Result<String, &'static str>,
}

/// Reads lines.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn of(input: R) -> Self {
        Self {
            input,
            number: 0,
            bytes: 0,
        }
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not blank; nothing at the end.
    pub(super) fn read(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut line = Vec::new();
            let Some(whole) = self.take_line(&mut line)? else {
                return Ok(None);
            };
            self.number += 1;
            let text = if whole {
                content(&line)
            } else {
                Err("the line is too long")
            };
            if !matches!(&text, Ok(text) if text.is_empty()) {
                return Ok(Some(Line {
                    number: self.number,
                    text,
                }));
            }
        }
    }

    /// Takes one line, of which it keeps [`MAX_LINE`] bytes; whether that was all of it, or nothing
    /// at the end.
    fn take_line(&mut self, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
        let (mut taken, mut whole) = (0, true);
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok((taken > 0).then_some(whole));
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let kept = part.len().min(MAX_LINE - line.len());
            line.extend_from_slice(&part[..kept]);
            whole &= kept == part.len();
            let used = end.map_or(part.len(), |end| end + 1);
            self.input.consume(used);
            taken += used;
            self.bytes += u64::try_from(used).unwrap_or(0);
            if end.is_some() {
                return Ok(Some(whole));
            }
        }
    }
}

/// What stands before the comment. A `#` begins one at the start or after a space: a user id may
/// contain it.
fn content(line: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not valid UTF-8")?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let comment = text.char_indices().find(|(at, c)| {
        *c == '#'
            && text[..*at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
    });
    Ok(text[..comment.map_or(text.len(), |(at, _)| at)]
        .trim_end()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<Line> {
        // A small buffer, so that lines are pieced together.
        let mut lines = Lines::of(io::BufReader::with_capacity(5, input));
        std::iter::from_fn(|| lines.read().unwrap()).collect()
    }

    fn line(number: u64, text: &str) -> Line {
        Line {
            number,
            text: Ok(text.to_owned()),
        }
    }

    #[test]
    fn comments_and_blank_lines_are_left_out_and_counted() {
        let input =
            b"# list\r\n\r\n+49 151 1 # Anna\n   \n\t#\n+49 151 2\r\nuser:DE.a#b\n+49 151 3";
        assert_eq!(
            read(input),
            [
                line(3, "+49 151 1"),
                line(6, "+49 151 2"),
                line(7, "user:DE.a#b"),
                line(8, "+49 151 3")
            ]
        );
    }

    #[test]
    fn what_is_no_text_or_no_line_is_refused_and_the_rest_is_read() {
        let mut input = b"\xff\xfe\n".to_vec();
        input.extend([b'1'; 3 * MAX_LINE]);
        input.extend(b"\n+1");
        assert_eq!(
            read(&input),
            [
                Line {
                    number: 1,
                    text: Err("the line is not valid UTF-8")
                },
                Line {
                    number: 2,
                    text: Err("the line is too long")
                },
                line(3, "+1"),
            ]
        );
    }

    #[test]
    fn nothing_has_no_lines_and_every_byte_is_counted() {
        assert_eq!(read(b""), []);
        let mut lines = Lines::of(&b"\n#\n+1\n"[..]);
        lines.read().unwrap();
        assert_eq!(lines.bytes_read(), 6);
    }
}
