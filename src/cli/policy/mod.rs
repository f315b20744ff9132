//! `policy`: what is wrong with a policy file, and what holds where and when. Both without a server:
//! the file, or the one that the binary carries, is all they look at.

mod check;
mod show;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::output::Output;
use super::{Exit, fields};
use crate::domain::id::JurisdictionCode;
use crate::domain::time::Timestamp;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say what is wrong with a policy file, each mistake with its line. Exit code 1 if it would be
    /// refused.
    #[command(after_help = "\
Example:
  consentgate policy check policy.toml")]
    Check {
        /// TOML file, as `serve --policy` takes it.
        file: PathBuf,
    },
    /// Print what holds in a jurisdiction on a day: every column, where it comes from, and how sure
    /// that is.
    #[command(after_help = "\
Examples:
  consentgate policy show DE
  consentgate policy show US-TX --at 2027-02-01
  consentgate policy show AT --file policy.toml --output json")]
    Show {
        /// Country (`DE`), part of one (`US-TX`), group (`EU`), or `ZZ` for the strict default.
        #[arg(value_parser = JurisdictionCode::parse)]
        code: JurisdictionCode,
        /// The day, from 00:00 UTC, or an instant, RFC 3339. Unset: now.
        #[arg(long, value_name = "TIME", value_parser = instant)]
        at: Option<Timestamp>,
        /// Another policy than the built-in one.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: PolicyCommand, output: &mut Output) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Check { file } => check::check(&file, now(), output),
        PolicyCommand::Show { code, at, file } => {
            show::show(&code, at.unwrap_or_else(now), file.as_deref(), output)
        }
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))
}

/// This machine's time: there is no server to ask.
fn now() -> Timestamp {
    let now = fields::now();
    let micros = i64::from(now.nanos) / 1_000;
    Timestamp::from_micros(now.seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// `2027-02-01` or `2027-02-01T12:00:00Z`.
fn instant(text: &str) -> Result<Timestamp, String> {
    let day = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    text.parse::<jiff::Timestamp>()
        .ok()
        .or_else(|| Date::strptime("%Y-%m-%d", text).ok().and_then(day))
        .map(|instant| Timestamp::from_micros(instant.as_microsecond()))
        .ok_or_else(|| {
            "expected a day, as in `2027-02-01`, or a time with its offset, as in \
             `2027-02-01T12:00:00Z`"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_utc_and_a_time_needs_an_offset() {
        let shown = |text: &str| instant(text).map(|at| at.to_string());
        assert_eq!(shown("2027-02-01"), Ok("2027-02-01T00:00:00Z".to_owned()));
        assert_eq!(
            shown("2027-02-01T12:00:00+01:00"),
            Ok("2027-02-01T11:00:00Z".to_owned())
        );
        for text in ["2027-02-01T12:00:00", "2027-02-30", "tomorrow", "", "12:00"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
