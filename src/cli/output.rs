//! Where an answer is printed: standard output, as a table for people or as JSON for programs.
//!
//! Written through `write!`, whose failure is an error: a pipe that was closed ends the command
//! instead of a panic. What is said about an answer, warnings and errors, goes to standard error.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// Where a command's answer goes.
pub(super) struct Output {
    pub(super) format: Format,
    out: BufWriter<Box<dyn Write + Send>>,
}

impl Output {
    pub(super) fn standard(format: Format) -> Self {
        Self::to(format, Box::new(io::stdout()))
    }

    pub(super) fn to(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            out: BufWriter::new(out),
        }
    }

    /// One object on one line.
    pub(super) fn json(&mut self, object: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, object).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Text for people; a line end is added.
    pub(super) fn text(&mut self, text: impl fmt::Display) -> anyhow::Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(())
    }

    /// As it is.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.out.write_all(bytes)?;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush()?;
        Ok(())
    }
}

/// Whether the answer appears on a terminal, where a progress bar would be drawn across it.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Tells the user something beside the answer. Where standard error is closed there is nobody to
/// tell.
pub(super) fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
