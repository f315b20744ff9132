//! Where this machine has the programs of PostgreSQL's server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Finds the directory of the server programs, where `scripts/ensure-postgres.sh` looks for them too.
pub fn directory() -> Result<PathBuf, String> {
    let on_path = Command::new("sh")
        .args(["-c", "command -v postgres"])
        .output()
        .ok();
    let on_path = on_path
        .and_then(|output| fs::canonicalize(String::from_utf8(output.stdout).ok()?.trim()).ok())
        .and_then(|program| program.parent().map(Path::to_owned));

    let mut installed: Vec<PathBuf> = Vec::new();
    for parent in [
        "/usr/lib/postgresql",
        "/usr",
        "/opt/homebrew/opt",
        "/usr/local/opt",
    ] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_version = parent == "/usr/lib/postgresql";
            if is_version || name.starts_with("pgsql-") || name.starts_with("postgresql") {
                installed.push(entry.path().join("bin"));
            }
        }
    }
    installed.sort_by_key(|path| std::cmp::Reverse(version_in(path)));

    let complete = |path: &PathBuf| {
        ["postgres", "initdb", "pg_ctl"]
            .iter()
            .all(|program| path.join(program).is_file())
    };
    on_path.into_iter().chain(installed).find(complete).ok_or_else(|| {
        "this test needs PostgreSQL's server programs (postgres, initdb, pg_ctl) on PATH or under \
         /usr/lib/postgresql; run `make test`, which installs them"
            .into()
    })
}

/// The first number in a path: 17 for `/usr/lib/postgresql/17/bin`.
fn version_in(path: &Path) -> u32 {
    let text = path.to_string_lossy();
    let digits = text
        .split(|c: char| !c.is_ascii_digit())
        .find(|digits| !digits.is_empty());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
