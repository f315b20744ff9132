//! Limits and combinations: what no single value can tell. Every violation is found, not only the
//! first.

use std::time::Duration;

use super::problem::{Error, Origins, Problem, place};
use super::value::Value;
use super::{Authentication, ByteSize, Config, Listen};

/// A time by its setting, with the least and the most that it may be.
type Limited = (&'static str, Duration, Duration, Duration);

impl Config {
    /// Whether the settings fit together, for a configuration that was not loaded but written by
    /// hand.
    pub fn validate(&self) -> Result<(), Error> {
        let problems = self.conflicts(&Origins::new());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(problems))
        }
    }

    pub(super) fn conflicts(&self, origins: &Origins) -> Vec<Problem> {
        let mut problems = self.outside_limits(origins);
        let mut conflict = |message| problems.push(Problem::Conflict(message));

        let keys = [
            ("key_file", self.key_file.is_some()),
            ("key_env", self.key_env.is_some()),
            ("key_command", self.key_command.is_some()),
        ];
        let keys: Vec<String> = keys
            .iter()
            .filter(|key| key.1)
            .map(|key| place(key.0, origins))
            .collect();
        if keys.len() > 1 {
            conflict(format!(
                "{} are set, expected at most one of them",
                keys.join(" and ")
            ));
        }
        if self.database.is_postgres() && keys.is_empty() && !self.example {
            let database = place("database", origins);
            conflict(format!(
                "{database} is PostgreSQL, which needs a key: set `key_file`, `key_env` or `key_command`"
            ));
        }
        if self.example {
            let own = ["database", "catalog"]
                .iter()
                .filter(|name| origins.contains_key(*name));
            let taken: Vec<String> = own.map(|name| place(name, origins)).chain(keys).collect();
            if !taken.is_empty() {
                let example = place("example", origins);
                conflict(format!(
                    "{example} brings its own database, key and catalogue: remove it, or remove {}",
                    taken.join(" and ")
                ));
            }
        }
        if self.is_exposed() && !self.insecure {
            let (listen, place) = (&self.listen, place("listen", origins));
            let port = listen.tcp().map_or(0, |address| address.port());
            conflict(format!(
                "{place} is `{listen}`, which others can reach, and calls are not encrypted: set \
                 `tls_certificate` and `tls_key`, listen on `127.0.0.1:{port}`, or set `insecure` \
                 (`--insecure`) to accept that"
            ));
        }
        problems.extend(self.tls_conflicts(origins).map(Problem::Conflict));
        problems.extend(self.jwt_conflicts(origins).map(Problem::Conflict));
        problems
    }

    fn tls_conflicts(&self, origins: &Origins) -> impl Iterator<Item = String> {
        let given = [
            ("tls_certificate", self.tls_certificate.is_some()),
            ("tls_key", self.tls_key.is_some()),
            ("tls_client_ca", self.tls_client_ca.is_some()),
            ("tls_client_crl", self.tls_client_crl.is_some()),
            ("tls_callers", self.tls_callers.is_some()),
        ];
        let is_given = move |name| given.contains(&(name, true));
        let needs = [
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_certificate"),
            ("tls_client_crl", "tls_client_ca"),
            ("tls_callers", "tls_client_ca"),
        ];
        let mut found = Vec::new();
        for (name, other) in needs {
            if is_given(name) && !is_given(other) {
                let name = place(name, origins);
                found.push(format!("{name} is set, which needs `{other}` as well"));
            }
        }
        if self.authentication == Some(Authentication::Off) && is_given("tls_callers") {
            let (off, callers) = (
                place("authentication", origins),
                place("tls_callers", origins),
            );
            found.push(format!(
                "{off} is `off`, while {callers} says who may call: remove one"
            ));
        }
        if matches!(self.listen, Listen::Unix(_)) && is_given("tls_certificate") {
            let (listen, certificate) =
                (place("listen", origins), place("tls_certificate", origins));
            found.push(format!(
                "{listen} is a Unix socket, which is served without TLS: remove {certificate}"
            ));
        }
        found.into_iter()
    }

    fn jwt_conflicts(&self, origins: &Origins) -> impl Iterator<Item = String> {
        let given = [
            ("jwt_jwks_file", self.jwt_jwks_file.is_some()),
            ("jwt_issuer", self.jwt_issuer.is_some()),
            ("jwt_audience", self.jwt_audience.is_some()),
        ];
        let mut found = Vec::new();
        for (name, _) in given.iter().filter(|one| one.1) {
            for (other, _) in given.iter().filter(|one| !one.1) {
                let name = place(name, origins);
                found.push(format!("{name} is set, which needs `{other}` as well"));
            }
        }
        let off = self.authentication == Some(Authentication::Off);
        if off && self.jwt_jwks_file.is_some() {
            let (off, keys) = (
                place("authentication", origins),
                place("jwt_jwks_file", origins),
            );
            found.push(format!(
                "{off} is `off`, while {keys} says who may call: remove one"
            ));
        }
        found.into_iter()
    }

    fn jwt_times(&self) -> [Limited; 2] {
        const DAY: Duration = Duration::from_hours(24);
        let minutes = Duration::from_mins;
        [
            ("jwt_max_life", self.jwt_max_life, minutes(1), DAY),
            (
                "jwt_clock_skew",
                self.jwt_clock_skew,
                Duration::ZERO,
                minutes(5),
            ),
        ]
    }

    fn outside_limits(&self, origins: &Origins) -> Vec<Problem> {
        const MS: Duration = Duration::from_millis(1);
        const DAY: Duration = Duration::from_hours(24);
        let times = [
            ("valid_for", self.valid_for, MS, Duration::from_mins(1)),
            ("clock_tolerance", self.clock_tolerance, Duration::ZERO, DAY),
            (
                "idempotency_retention",
                self.idempotency_retention,
                Duration::from_hours(1),
                36_500 * DAY,
            ),
            (
                "database_acquire_timeout",
                self.database_acquire_timeout,
                MS,
                DAY,
            ),
            ("statement_timeout", self.statement_timeout, MS, DAY),
            ("shutdown_delay", self.shutdown_delay, Duration::ZERO, DAY),
            ("shutdown_grace", self.shutdown_grace, Duration::ZERO, DAY),
            (
                "otlp_timeout",
                self.otlp_timeout,
                MS,
                Duration::from_mins(1),
            ),
            (
                "lease",
                self.lease,
                Duration::from_millis(500),
                Duration::from_mins(1),
            ),
            ("unready_after", self.unready_after, Duration::ZERO, DAY),
            ("metrics_interval", self.metrics_interval, 100 * MS, DAY),
        ];
        let waits = [
            ("max_wait", self.max_wait),
            ("max_database_wait", self.max_database_wait),
        ];
        let waits = waits
            .into_iter()
            .filter_map(|(name, wait)| Some((name, wait?, MS, Duration::from_mins(1))));
        let silence = self.max_silence;
        let silence = silence.map(|wait| ("max_silence", wait, 100 * MS, Duration::from_hours(1)));
        let waits: Vec<_> = waits.chain(silence).chain(self.jwt_times()).collect();
        let sizes = [
            (
                "cache_size",
                self.cache_size,
                ByteSize(1 << 20),
                ByteSize(1 << 50),
            ),
            (
                "max_message_size",
                self.max_message_size,
                ByteSize(64 << 10),
                ByteSize(1 << 30),
            ),
            (
                "max_request_memory",
                self.max_request_memory,
                self.max_message_size,
                ByteSize(1 << 50),
            ),
            (
                "max_header_list_size",
                self.max_header_list_size,
                ByteSize(4 << 10),
                ByteSize(1 << 20),
            ),
        ];
        let times = times
            .iter()
            .chain(&waits)
            .filter_map(|(name, is, min, max)| outside(name, is, min, max, origins));
        let sizes = sizes
            .iter()
            .filter_map(|(name, is, min, max)| outside(name, is, min, max, origins));
        times.chain(sizes).collect()
    }
}

fn outside<T: Value + Ord>(
    name: &str,
    is: &T,
    min: &T,
    max: &T,
    origins: &Origins,
) -> Option<Problem> {
    let show = |value: &T| value.show().unwrap_or_default();
    (is < min || is > max).then(|| Problem::Value {
        place: place(name, origins),
        value: Some(show(is)),
        expected: format!("from {} to {}", show(min), show(max)),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Flags};

    /// What is wrong with these settings, or nothing.
    fn refusal<const N: usize>(values: [(&str, &str); N]) -> Option<String> {
        let nothing: [(&str, &str); 0] = [];
        Config::load(&Flags::of(values), nothing, None)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn an_address_others_can_reach_needs_insecure() {
        let refused = refusal([("listen", "0.0.0.0:50051")]).unwrap();
        assert!(
            refused.starts_with("`--listen` is `0.0.0.0:50051`, which others can reach"),
            "{refused}"
        );
        assert!(
            refused.contains("`127.0.0.1:50051`") && refused.contains("`--insecure`"),
            "{refused}"
        );

        assert_eq!(
            refusal([("listen", "0.0.0.0:50051"), ("insecure", "true")]),
            None
        );
        assert_eq!(refusal([("listen", "[::1]:0")]), None);
        assert_eq!(refusal([("listen", "unix:gate.sock")]), None);
        let tls = [("tls_certificate", "a"), ("tls_key", "b")];
        assert_eq!(refusal([("listen", "0.0.0.0:50051"), tls[0], tls[1]]), None);
    }

    #[test]
    fn half_of_what_tls_needs_is_refused_with_the_other_half() {
        for (name, other) in [
            ("tls_certificate", "tls_key"),
            ("tls_key", "tls_certificate"),
            ("tls_client_ca", "tls_certificate"),
            ("tls_client_crl", "tls_client_ca"),
            ("tls_callers", "tls_client_ca"),
        ] {
            let refused = refusal([(name, "file.pem")]).unwrap();
            let flag = name.replace('_', "-");
            let said = format!("`--{flag}` is set, which needs `{other}` as well");
            assert!(refused.contains(&said), "{refused}");
        }
        let unix = [
            ("listen", "unix:s"),
            ("tls_certificate", "a"),
            ("tls_key", "b"),
        ];
        assert!(refusal(unix).unwrap().contains("without TLS"));
    }

    #[test]
    fn jwts_need_their_keys_their_issuer_and_what_they_are_issued_for() {
        let all = [
            ("jwt_jwks_file", "a"),
            ("jwt_issuer", "b"),
            ("jwt_audience", "c"),
        ];
        assert_eq!(refusal(all), None);
        for missing in 0..all.len() {
            let [one, other] = [all[(missing + 1) % 3], all[(missing + 2) % 3]];
            let refused = refusal([one, other]).unwrap();
            let said = format!("which needs `{}` as well", all[missing].0);
            assert!(refused.contains(&said), "{refused}");
        }
        let off = [all[0], all[1], all[2], ("authentication", "off")];
        let refused = refusal(off).unwrap();
        assert!(
            refused.contains("`--authentication` is `off`, while `--jwt-jwks-file` says"),
            "{refused}"
        );
        for algorithms in ["none", "HS256", "ES256,HS256"] {
            let refused = refusal([("jwt_algorithms", algorithms)]).unwrap();
            assert!(refused.contains("expected some of RS256"), "{refused}");
        }
    }

    #[test]
    fn postgresql_needs_exactly_one_key() {
        let database = ("database", "postgres://h/d");
        let refused = refusal([database]).unwrap();
        assert_eq!(
            refused,
            "`--database` is PostgreSQL, which needs a key: set `key_file`, `key_env` or `key_command`"
        );
        assert_eq!(refusal([database, ("key_env", "KEY")]), None);
        assert_eq!(
            refusal([database, ("key_env", "KEY"), ("key_file", "key")]).unwrap(),
            "`--key-file` and `--key-env` are set, expected at most one of them"
        );
    }

    #[test]
    fn sqlite_needs_no_key_and_takes_one() {
        assert_eq!(refusal([("key_command", "cat key")]), None);
        assert!(refusal([("key_command", "cat key"), ("key_file", "key")]).is_some());
    }

    #[test]
    fn the_example_brings_its_own_database_key_and_catalogue() {
        let example = ("example", "true");
        assert_eq!(
            refusal([example, ("database", "sqlite:a.db"), ("key_file", "key")]).unwrap(),
            "`--example` brings its own database, key and catalogue: remove it, or remove `--database` and `--key-file`"
        );
        assert!(refusal([example, ("catalog", "a.toml")]).is_some());
        assert_eq!(
            refusal([example, ("policy", "a.toml"), ("log", "debug")]),
            None
        );
    }

    #[test]
    fn limits_are_inclusive() {
        for (name, inside, outside) in [
            ("valid_for", "1ms", "0s"),
            ("valid_for", "60s", "60001ms"),
            ("clock_tolerance", "0s", "25h"),
            ("idempotency_retention", "1h", "59m"),
            ("statement_timeout", "1ms", "0s"),
            ("metrics_interval", "100ms", "99ms"),
            ("jwt_max_life", "1m", "59s"),
            ("jwt_max_life", "1d", "25h"),
            ("jwt_clock_skew", "5m", "301s"),
            ("max_wait", "1ms", "61s"),
            ("max_database_wait", "1m", "61s"),
            ("cache_size", "1MiB", "1023KiB"),
            ("max_message_size", "64MiB", "2GiB"),
            ("max_request_memory", "4MiB", "4095KiB"),
            ("max_silence", "100ms", "99ms"),
            ("max_header_list_size", "4KiB", "4095B"),
        ] {
            assert_eq!(refusal([(name, inside)]), None, "{name} {inside}");
            let refused =
                refusal([(name, outside)]).unwrap_or_else(|| panic!("{name} {outside} is refused"));
            assert!(refused.contains("expected from "), "{refused}");
        }
    }

    #[test]
    fn a_configuration_written_by_hand_can_be_checked_too() {
        let config = Config {
            listen: "10.0.0.1:1".parse().unwrap(),
            ..Config::default()
        };
        assert!(config.validate().is_err());
    }
}
