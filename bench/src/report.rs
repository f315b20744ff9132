//! BENCHMARKS.md: the table, whether each row meets its target, the plots, and what the parts noted. Of the file only the
//! part between two marks is written here; what people wrote around it (profiles, what was tried) stays.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::hosts::{self, postgres};
use crate::plot;
use crate::rows::{Part, Row, Target};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The parts in the order in which they are shown.
pub const PARTS: [&str; 9] = [
    "warm", "ways", "latency", "batch", "cold", "writes", "withdraw", "growth", "overload",
];

/// A part, where and when it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub commit: String,
    pub when: String,
    pub people: u64,
    pub rounds: usize,
    pub seconds: u32,
    pub part: Part,
}

/// The commit that is checked out, and whether anything differs from it but what is written here.
pub fn commit() -> String {
    let commit = printed("git", &["rev-parse", "--short=10", "HEAD"]);
    let besides = [":!BENCHMARKS.md", ":!bench/results", ":!docs/benchmarks"];
    let changed = [&["status", "--porcelain", "--", "."][..], &besides].concat();
    match printed("git", &changed).is_empty() {
        true => commit,
        false => format!("{commit}-dirty"),
    }
}

/// Today, in UTC.
pub fn today() -> String {
    printed("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// Keeps what a part has measured.
pub fn keep(directory: &Path, name: &str, measured: &Measured) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let text = serde_json::to_string_pretty(measured)?;
    Ok(std::fs::write(
        directory.join(format!("{name}.json")),
        text,
    )?)
}

/// Writes what is kept into the file, and the plots beside it.
pub fn write(kept: &Path, file: &Path, plots: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(plots)?;
    let mut parts = Vec::new();
    for name in PARTS {
        match std::fs::read_to_string(kept.join(format!("{name}.json"))) {
            Ok(text) => parts.push((name, serde_json::from_str::<Measured>(&text)?)),
            Err(error) => eprintln!("`{name}` was not measured: {error}"),
        }
    }
    for chart in parts.iter().flat_map(|(_, measured)| &measured.part.charts) {
        plot::draw(chart, plots)?;
    }
    let whole = std::fs::read_to_string(file)
        .unwrap_or_else(|_| format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
    let (before, rest) = whole
        .split_once(BEGIN)
        .context("no mark where the measured part begins")?;
    let (_, after) = rest
        .split_once(END)
        .context("no mark where the measured part ends")?;
    let text = format!("{before}{BEGIN}\n{}{END}{after}", shown(&parts, plots)?);
    Ok(std::fs::write(file, text)?)
}

fn shown(parts: &[(&str, Measured)], plots: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "\n{}\n", machine())?;
    for (_, measured) in parts {
        for chart in &measured.part.charts {
            let name = plots.join(format!("{}.svg", chart.file));
            writeln!(text, "![{}]({})\n", chart.title, name.display())?;
        }
    }
    text.push_str("| what | beside | ours | theirs | ratio | lowest to highest | target | |\n");
    text.push_str("| --- | --- | ---: | ---: | ---: | --- | --- | --- |\n");
    for (_, measured) in parts {
        for row in &measured.part.rows {
            line(&mut text, row)?;
        }
    }
    text.push_str(
        "\nA ratio is that of the middle round; `ours` and `theirs` are the middle figures of each by itself, so they need \
         not divide to it.\n\nHow each was measured:\n\n",
    );
    for (name, measured) in parts {
        let Measured {
            commit,
            when,
            people,
            rounds,
            seconds,
            part,
        } = measured;
        writeln!(
            text,
            "- **{name}** ({when}, commit {commit}; {rounds} rounds of {seconds} s, {people} people in the database):"
        )?;
        for row in &part.rows {
            writeln!(
                text,
                "  - {}, beside {}: {}",
                row.what, row.reference, row.how
            )?;
        }
        for note in &part.notes {
            writeln!(text, "  - {note}")?;
        }
    }
    Ok(text)
}

fn line(text: &mut String, row: &Row) -> anyhow::Result<()> {
    let compared = &row.compared;
    let (target, met) = match row.target {
        None => (String::new(), ""),
        Some(target) => {
            let met = if target.is_met_by(compared.ratio) {
                "met"
            } else {
                "**missed**"
            };
            let text = match target {
                Target::AtLeast(least) => format!("≥ {}", rounded(least)),
                Target::AtMost(most) => format!("≤ {}", rounded(most)),
            };
            (text, met)
        }
    };
    writeln!(
        text,
        "| {} | {} | {} {unit} | {} {unit} | **{}** | {} to {} | {target} | {met} |",
        row.what,
        row.reference,
        figure(compared.ours),
        figure(compared.theirs),
        told(compared.ratio, row.target),
        rounded(compared.spread.0),
        rounded(compared.spread.1),
        unit = row.unit,
    )?;
    Ok(())
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    format!(
        "Machine: {} × {name}, {} GiB, Linux {}; {}; {}; {}. PostgreSQL: {}. Everything on one machine, over loopback.",
        hosts::count(),
        kib >> 20,
        printed("uname", &["-r"]),
        printed("rustc", &["--version"]),
        printed("redis-server", &["--version"])
            .split(" sha")
            .next()
            .unwrap_or_default(),
        printed("h2load", &["--version"]),
        postgres::SETTINGS.join(", "),
    )
}

fn printed(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => format!("{program}: unknown"),
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn rounded(ratio: f64) -> String {
    format!("{ratio:.2}")
}

/// With a third digit where two would not tell it from its target.
fn told(ratio: f64, target: Option<Target>) -> String {
    let (Some(Target::AtLeast(bound)) | Some(Target::AtMost(bound))) = target else {
        return rounded(ratio);
    };
    match rounded(ratio) == rounded(bound) {
        true => format!("{ratio:.3}"),
        false => rounded(ratio),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Compared;

    fn row(ratio: f64, target: Target) -> String {
        let compared = Compared {
            ratio,
            spread: (ratio, ratio),
            ours: ratio,
            theirs: 1.0,
        };
        let mut text = String::new();
        let row = Row {
            what: "a".into(),
            reference: "b".into(),
            target: Some(target),
            compared,
            unit: "x/s".into(),
            how: String::new(),
        };
        line(&mut text, &row).unwrap();
        text
    }

    #[test]
    fn a_row_says_whether_it_meets_its_target() {
        assert!(row(0.95, Target::AtLeast(0.95)).ends_with("| ≥ 0.95 | met |\n"));
        assert!(row(0.94, Target::AtLeast(0.95)).ends_with("| ≥ 0.95 | **missed** |\n"));
        assert!(row(1.11, Target::AtMost(1.1)).ends_with("| ≤ 1.10 | **missed** |\n"));
        let nearly = row(0.946, Target::AtLeast(0.95));
        assert!(
            nearly.contains("| **0.946** |") && nearly.ends_with("**missed** |\n"),
            "{nearly}"
        );
    }

    #[test]
    fn what_people_wrote_around_the_figures_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("B.md");
        std::fs::write(&file, format!("before\n{BEGIN}\nold\n{END}\nafter\n")).unwrap();
        write(directory.path(), &file, &directory.path().join("plots")).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with("\nafter\n"),
            "{text}"
        );
        assert!(!text.contains("old"));
    }
}
