//! consentgate: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    consentgate::cli::run()
}
