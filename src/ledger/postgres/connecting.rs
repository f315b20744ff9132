//! How a connection to PostgreSQL is made: with limits of its own on the server, and over the network
//! only encrypted and to a server that proves who it is.
//!
//! sqlx's default (`prefer`, as libpq's) takes an unencrypted connection when the server offers none,
//! which whoever stands between the two can bring about. So a URL that leads to another machine and
//! says nothing means `verify-full` here. One that says something weaker is followed, and told of.

use std::net::IpAddr;
use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Limits;

/// As [`secured`], and the server itself ends what takes longer than a statement may: one that works,
/// one that waits for a lock, and a transaction that says nothing more.
pub(super) fn limited(url: &str, limits: Limits) -> Result<PgConnectOptions, sqlx::Error> {
    let timeout = format!("{}ms", limits.statement_timeout.as_millis());
    let options = secured(url)?.application_name("consentgate");
    Ok(options.options([
        ("statement_timeout", timeout.as_str()),
        ("lock_timeout", timeout.as_str()),
        ("idle_in_transaction_session_timeout", timeout.as_str()),
        // Compiling takes longer than any statement of ours, whatever the planner takes it to cost.
        ("jit", "off"),
        // Plans are made once and kept. One made while a table was small would go on reading all of it.
        ("enable_seqscan", "off"),
    ]))
}

/// How to connect, to another machine with `sslmode=verify-full` unless it is said otherwise.
pub(super) fn secured(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?;
    let unsaid = matches!(options.get_ssl_mode(), PgSslMode::Prefer) && !says_mode(url);
    if unsaid && !stays_here(&options) {
        return Ok(options.ssl_mode(PgSslMode::VerifyFull));
    }
    Ok(options)
}

/// Whether the URL leads to another machine and, by its own words, takes one that does not prove to be
/// the right one. A URL that does not read leads nowhere.
pub fn unproven_peer(url: &str) -> bool {
    secured(url).is_ok_and(|options| {
        let proven = match options.get_ssl_mode() {
            PgSslMode::VerifyFull => true,
            PgSslMode::Disable
            | PgSslMode::Allow
            | PgSslMode::Prefer
            | PgSslMode::Require
            | PgSslMode::VerifyCa => false,
        };
        !proven && !stays_here(&options)
    })
}

fn says_mode(url: &str) -> bool {
    let (_, options) = url.split_once('?').unwrap_or_default();
    let names = options.split('&').map(|option| option.split('=').next());
    names
        .flatten()
        .any(|name| matches!(name, "sslmode" | "ssl-mode"))
}

/// Whether nothing leaves this machine. Names are not looked up: what they lead to may change.
fn stays_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_network_the_server_must_prove_who_it_is_unless_it_is_said_otherwise() {
        for (url, mode, unproven) in [
            ("postgres://u@db.example/d", "VerifyFull", false),
            ("postgres://u@10.0.0.7:5432/d", "VerifyFull", false),
            ("postgres://u@localhost.example/d", "VerifyFull", false),
            ("postgres://u@[2001:db8::1]/d", "VerifyFull", false),
            ("postgres:///d?host=db.example", "VerifyFull", false),
            (
                "postgres://u@localhost/d?hostaddr=10.0.0.7",
                "VerifyFull",
                false,
            ),
            (
                "postgres://u@db/d?application_name=sslmode",
                "VerifyFull",
                false,
            ),
            ("postgres://u@db/d?sslmode=verify-full", "VerifyFull", false),
            ("postgres://u@db/d?sslmode=verify-ca", "VerifyCa", true),
            ("postgres://u@db/d?a=b&sslmode=require", "Require", true),
            ("postgres://u@db/d?ssl-mode=prefer", "Prefer", true),
            ("postgres://u@db/d?sslmode=disable", "Disable", true),
            ("postgres://u@127.0.0.1/d", "Prefer", false),
            ("postgres://u@127.8.8.8/d?sslmode=disable", "Disable", false),
            ("postgres://u@[::1]/d", "Prefer", false),
            ("postgres://u@localhost/d", "Prefer", false),
            ("postgres:///d?host=/run/postgresql", "Prefer", false),
        ] {
            let options = secured(url).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), mode, "{url}");
            assert_eq!(unproven_peer(url), unproven, "{url}");
        }
    }
}
