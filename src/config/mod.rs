//! Settings of the service: one list of declarations, from which flags, environment variables, file
//! keys, help, the example file and the reference are made.
//!
//! One name, three spellings: the file key `max_message_size` is the flag `--max-message-size` and
//! the variable `CONSENTGATE_MAX_MESSAGE_SIZE`. A flag wins over the environment, the environment
//! over the file, the file over the default. An unknown key or variable is an error, and so is a
//! combination that cannot be meant; all mistakes are reported at once. To add a setting, add its
//! declaration here, then regenerate `consentgate.example.toml`.
//!
//! It imports nothing of ours and opens nothing but the settings file: whether a path exists or a
//! filter parses is found out by whoever uses it.

mod check;
mod database;
mod flags;
mod given;
mod jwt;
mod listen;
mod load;
mod problem;
mod quantity;
mod reference;
mod setting;
mod value;

use std::path::PathBuf;
use std::time::Duration;

pub use database::{Database, Postgres, Secret};
pub use flags::Flags;
pub use given::SettingsFile;
pub use jwt::{JwtAlgorithm, JwtAlgorithms};
pub use listen::{Listen, NotAPlace};
pub use load::Loaded;
pub use problem::{Error, Origin, Problem};
pub use quantity::{ByteSize, Ratio};
pub use reference::{Effective, example_file, reference};
pub use setting::{PREFIX, Preset, Setting};
pub use value::{Authentication, Endpoint, LogFormat};

use given::Given;
use setting::settings;
use value::Value;

/// Variables with our prefix that are no settings of `serve`: the settings file, and what the
/// client commands read.
pub const OTHER_VARIABLES: &[&str] = &[
    "CONSENTGATE_CONFIG",
    "CONSENTGATE_SERVER",
    "CONSENTGATE_TOKEN",
    "CONSENTGATE_TOKEN_FILE",
    "CONSENTGATE_CA_FILE",
    "CONSENTGATE_CERTIFICATE_FILE",
    "CONSENTGATE_CERTIFICATE_KEY",
    "CONSENTGATE_OUTPUT",
];

const fn value(text: &'static str) -> Preset {
    Preset::Value(text)
}

const fn unset(sample: &'static str) -> Preset {
    Preset::Unset { sample }
}

settings! {
    "Server" {
        /// Address and port to serve gRPC on; port 0 takes a free one. Or `unix:PATH`, a Unix domain
        /// socket that only the user who serves may open.
        listen: Listen = value("127.0.0.1:50051"),
        /// Serve without TLS on an address that others can reach. Without it such an address is
        /// refused. Loopback and Unix sockets need neither.
        insecure: bool = value("false"),
        /// Whether every call needs a credential, a token (`consentgate token create`) or what the settings of
        /// TLS and JWTs let stand in for one: `required`, or `off` for as long as the ledger holds no token.
        /// Once there was one, calls need a credential whatever is set.
        /// Unset, as `off` where only this machine can reach the service or `insecure` stands in for TLS,
        /// else as `required`. The health service and reflection are open to all.
        authentication: Option<Authentication> = unset("required"),
        /// Offer gRPC server reflection, so that `grpcurl` needs no `.proto` files.
        reflection: bool = value("true"),
        /// Time between reporting `NOT_SERVING` and refusing new connections at shutdown. Give load
        /// balancers that poll the health service one polling interval.
        shutdown_delay: Duration = value("0s"),
        /// Time that running calls get to finish at shutdown. What is left then is cut off.
        shutdown_grace: Duration = value("10s"),
    }

    "TLS" {
        /// PEM file with the certificate to serve with, and after it the chain to its CA. Needs
        /// `tls_key`. Every file of this group is read again within seconds of a change; one that is
        /// not usable is logged, and what was read before stays.
        tls_certificate: Option<PathBuf> = unset("/etc/consentgate/tls.crt"),
        /// PEM file with the key of that certificate, which not everybody on the machine may read.
        tls_key: Option<PathBuf> = unset("/etc/consentgate/tls.key"),
        /// PEM file with the CAs of clients. Once set, who shows no valid certificate of one of them gets
        /// no connection. Unset, clients are not asked for any.
        tls_client_ca: Option<PathBuf> = unset("/etc/consentgate/clients-ca.crt"),
        /// PEM file with the revocation lists of those CAs. Once set, a client is refused also if there is
        /// no list of its CA in it, or only one that has expired.
        tls_client_crl: Option<PathBuf> = unset("/etc/consentgate/clients.crl"),
        /// TOML file that says who is known by which name in a client's certificate, and what each may do.
        /// Once set, every call needs a credential.
        tls_callers: Option<PathBuf> = unset("/etc/consentgate/callers.toml"),
    }

    "JWT" {
        /// JSON file with the keys of whoever issues JWTs to callers (a JWK set). It is read again within
        /// seconds of a change; one that is not usable is logged, and what was read before stays. Once set,
        /// every call needs a credential. Needs `jwt_issuer` and `jwt_audience`.
        jwt_jwks_file: Option<PathBuf> = unset("/etc/consentgate/jwks.json"),
        /// Who issues them: the whole of the claim `iss`.
        jwt_issuer: Option<String> = unset("https://login.example.com/"),
        /// What they must be issued for: one of the values of the claim `aud`.
        jwt_audience: Option<String> = unset("consentgate"),
        /// Algorithms that they may be signed by, with commas between: `ES256`, `ES384`, `EdDSA`, and `RS` or
        /// `PS` with `256`, `384` or `512`. No others, and none whose secret both sides share.
        jwt_algorithms: JwtAlgorithms = value("RS256,PS256,ES256,EdDSA"),
        /// Longest time from the issue of a JWT (`iat`) to its end (`exp`); one that is good for longer is
        /// refused, since none can be revoked by itself. From 1m to 1d.
        jwt_max_life: Duration = value("1h"),
        /// How far the issuer's clock and this server's may be apart: a JWT counts that much earlier and
        /// later than it says. At most 5m.
        jwt_clock_skew: Duration = value("30s"),
    }

    "Example" {
        /// Serve the example: a database and key in a directory of their own, with the catalogue of
        /// the shop "acme". Cannot be combined with `database`, `catalog` or a key.
        example: bool = value("false"),
        /// Directory of the example. It is created when it does not exist.
        example_dir: PathBuf = value("consentgate-example"),
    }

    "Database" {
        /// Where the ledger is kept. Either `sqlite:PATH`, a file for one instance, relative to the
        /// working directory and created when it does not exist, or
        /// `postgres://USER:PASSWORD@HOST/DATABASE`.
        database: Database = value("sqlite:consentgate.db"),
        /// Bring the schema up to date at start. Unset, it is done for SQLite and not for
        /// PostgreSQL, where `consentgate migrate` does it.
        migrate: Option<bool> = unset("true"),
        /// Most connections to the database at a time. Batches and streams of checks together use at
        /// most a quarter of them.
        database_max_connections: u32 = value("16"),
        /// Longest wait for a free connection. After it the call fails with `UNAVAILABLE`.
        database_acquire_timeout: Duration = value("2s"),
        /// Longest time one statement may run. After it the database gives up and the call fails.
        statement_timeout: Duration = value("5s"),
    }

    "Several instances" {
        /// How long an instance may answer from memory without hearing from the database, and about
        /// how long an opt-out waits for an instance that vanished. Only with PostgreSQL. From 500ms,
        /// where a single lost statement may cost it, to 1m.
        lease: Duration = value("3s"),
        /// How long the lease may be lost before the health service reports `NOT_SERVING`.
        unready_after: Duration = value("1s"),
        /// Let instances tell each other by `NOTIFY` that there is something to look at. Without it
        /// an opt-out waits about a tenth of a second longer.
        hints: bool = value("true"),
        /// Where the ledger is followed, if `database` leads through a connection pooler: straight to
        /// the primary, `postgres://USER:PASSWORD@HOST/DATABASE`. Unset, as `database`.
        follower_database: Option<Postgres> = unset("postgres://USER:PASSWORD@HOST/DATABASE"),
    }

    "Keys" {
        /// File with the key that numbers are hashed and encrypted under. At most one of
        /// `key_file`, `key_env` and `key_command` can be set. PostgreSQL needs one. SQLite without
        /// any uses the file beside the database whose name ends in `.key`, and creates it together
        /// with the database.
        key_file: Option<PathBuf> = unset("/etc/consentgate/consentgate.key"),
        /// Name of the environment variable with the key.
        key_env: Option<String> = unset("CONSENTGATE_KEY"),
        /// Shell command that prints the key, for key stores.
        key_command: Option<String> = unset("vault kv get -field=key secret/consentgate"),
    }

    "Rules" {
        /// TOML file with businesses, senders, purposes and notices. It is applied at every start;
        /// applying it again changes nothing.
        catalog: Option<PathBuf> = unset("catalog.toml"),
        /// TOML file with the rules of jurisdictions, in place of the built-in ones.
        policy: Option<PathBuf> = unset("policy.toml"),
        /// TOML file with the words by which opt-outs are recognised in messages, in place of the
        /// built-in ones.
        opt_out_words: Option<PathBuf> = unset("opt_out_words.toml"),
        /// Longest time for which a caller may rely on an answer before asking again. From 1ms to
        /// 1m.
        valid_for: Duration = value("5s"),
        /// How far ahead of this server's clock a caller's clock may run. An event later than that
        /// is refused. At most 1d.
        clock_tolerance: Duration = value("5m"),
        /// How long a write is remembered by its idempotency key. At least 1h.
        idempotency_retention: Duration = value("90d"),
    }

    "Limits" {
        /// Memory for cached facts, an eighth of it for recent messages. 256MiB hold about 500,000 people
        /// with one consent each, or a million of whom nothing is known. At least 1MiB.
        cache_size: ByteSize = value("256MiB"),
        /// Largest message accepted. From 64KiB to 1GiB.
        max_message_size: ByteSize = value("4MiB"),
        /// Most memory for messages that are still coming in; what is over it is refused with
        /// `RESOURCE_EXHAUSTED`. The first 4KiB of each do not count, so checks and opt-outs are taken
        /// always. At least `max_message_size`.
        max_request_memory: ByteSize = value("64MiB"),
        /// Longest time that a call may be silent before all of its request is there, or `off`. Then it ends
        /// with `DEADLINE_EXCEEDED`; of a stream, between any two messages. From 100ms to 1h.
        max_silence: Option<Duration> = value("1m"),
        /// Largest list of metadata accepted with a call. From 4KiB to 1MiB.
        max_header_list_size: ByteSize = value("16KiB"),
        /// Most connections at a time. Further ones are closed at once. Keep it well below the number
        /// of files that the process may open (`ulimit -n`), which is 1024 on many systems.
        max_connections: u32 = value("900"),
        /// Most connections at a time from one address, or `off`; of IPv6, from one network of 64 bits. Further
        /// ones are closed at once. Raise it where many callers come through one proxy. Unix sockets have no
        /// addresses and no such limit.
        max_connections_per_address: Option<u32> = value("300"),
        /// Most calls in progress on one connection. Further ones wait in the client.
        max_concurrent_streams: u32 = value("1000"),
        /// Longest time that a check may wait for its turn on a busy processor, or `off`. While checks
        /// wait longer, late ones are refused with `RESOURCE_EXHAUSTED`: batches after half of it,
        /// records after twice, questions about a person's history after four times. Opt-outs never
        /// are.
        max_wait: Option<Duration> = value("100ms"),
        /// Longest time that a check of somebody who is not in memory may wait until the database
        /// begins to work for it, and a record until it is among the 96 that share the database, or
        /// `off`. After it the call is refused with `RESOURCE_EXHAUSTED`. Opt-outs never are.
        max_database_wait: Option<Duration> = value("1s"),
        /// Most recipients of all batches in progress. A further batch is refused with
        /// `RESOURCE_EXHAUSTED`; one alone is always taken.
        max_recipients: u32 = value("100000"),
        /// Most people that one caller may ask about or record in a second, on each instance, or `off`. A batch is
        /// as many as it asks about; a larger one is taken, and paid for by waiting. Beyond it calls are refused
        /// with `RESOURCE_EXHAUSTED`. Opt-outs never are.
        max_rate: Option<u32> = value("off"),
        /// Time of silence after which a connection is probed, so that dead peers are noticed, or
        /// `off`.
        http2_keepalive_interval: Option<Duration> = value("30s"),
        /// Age at which a connection is asked to reconnect, so that callers find new instances, or
        /// `off`. A stream that has not ended `shutdown_grace` later is cut off.
        max_connection_age: Option<Duration> = value("30m"),
    }

    "Telemetry" {
        /// What is logged. A level (`error`, `warn`, `info`, `debug`, `trace`), or levels by
        /// module, such as `info,consentgate::ledger=debug`.
        log: String = value("info"),
        /// How log lines are written, to standard error. `pretty` for people, `json` for machines,
        /// or `auto`, which is `pretty` on a terminal.
        log_format: LogFormat = value("auto"),
        /// OpenTelemetry collector for traces and metrics, by OTLP over gRPC without TLS. Unset,
        /// neither is collected.
        otlp_endpoint: Option<Endpoint> = unset("http://localhost:4317"),
        /// Longest time one export may take. From 1ms to 1m.
        otlp_timeout: Duration = value("5s"),
        /// Time between two exports of metrics. At least 100ms.
        metrics_interval: Duration = value("10s"),
        /// Share of calls that are traced when the caller did not decide. A caller's decision is
        /// followed.
        trace_sample_ratio: Ratio = value("0.01"),
        /// Name of this instance in traces and metrics. Unset, each start makes up its own.
        service_instance_id: Option<String> = unset("gate-1"),
    }
}

/// Where the key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The file beside a SQLite database, created together with it.
    Beside(PathBuf),
    /// A file that must exist.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// What this shell command prints.
    Command(String),
}

impl Config {
    /// Where the key comes from. Nothing only for PostgreSQL without a key, which
    /// [`Config::validate`] refuses.
    pub fn key_source(&self) -> Option<KeySource> {
        if let Some(path) = &self.key_file {
            return Some(KeySource::File(path.clone()));
        }
        if let Some(name) = &self.key_env {
            return Some(KeySource::Variable(name.clone()));
        }
        if let Some(command) = &self.key_command {
            return Some(KeySource::Command(command.clone()));
        }
        match &self.database {
            Database::Sqlite(path) => {
                let mut beside = path.clone().into_os_string();
                beside.push(".key");
                Some(KeySource::Beside(beside.into()))
            }
            Database::Postgres(_) => None,
        }
    }

    /// Whether the schema is brought up to date at start.
    pub fn migrates_at_start(&self) -> bool {
        // Several instances may share a PostgreSQL; somebody should choose the moment.
        self.migrate.unwrap_or(!self.database.is_postgres())
    }

    /// Whether others can reach the service and nothing encrypts the calls: worth a warning at start.
    pub fn is_exposed(&self) -> bool {
        self.listen.is_reachable() && self.tls_certificate.is_none()
    }

    /// Whether callers need a credential also while the ledger holds no token.
    pub fn always_authenticates(&self) -> bool {
        if self.tls_callers.is_some() || self.jwt_jwks_file.is_some() {
            return true;
        }
        match self.authentication {
            Some(Authentication::Required) => true,
            Some(Authentication::Off) => false,
            // With TLS nothing is insecure, whatever was accepted.
            None => self.listen.is_reachable() && !(self.is_exposed() && self.insecure),
        }
    }
}

/// What holds when nobody says anything.
impl Default for Config {
    fn default() -> Self {
        Self::assemble(&mut Given::default()).expect("a test reads every default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = Config::default();

        assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.database, Database::Sqlite("consentgate.db".into()));
        assert_eq!(config.cache_size, ByteSize(256 << 20));
        assert_eq!(config.valid_for, Duration::from_secs(5));
        assert_eq!(config.idempotency_retention, Duration::from_hours(90 * 24));
        assert_eq!(config.max_connection_age, Some(Duration::from_mins(30)));
        assert!(config.reflection && !config.insecure && !config.example);
        config.validate().unwrap();
    }

    #[test]
    fn a_default_is_written_as_it_is_shown() {
        for (setting, shown) in SETTINGS.iter().zip(Config::default().shown()) {
            match setting.default {
                Preset::Value(text) => assert_eq!(shown.as_deref(), Some(text), "{}", setting.name),
                Preset::Unset { .. } => assert_eq!(shown, None, "{}", setting.name),
            }
        }
    }

    #[test]
    fn sqlite_has_its_key_beside_it_and_postgresql_has_none_by_itself() {
        let mut config = Config::default();
        assert_eq!(
            config.key_source(),
            Some(KeySource::Beside("consentgate.db.key".into()))
        );

        config.database = Database::Postgres(Secret::new("postgres://h/d".to_owned()));
        assert_eq!(config.key_source(), None);

        config.key_env = Some("KEY".to_owned());
        assert_eq!(
            config.key_source(),
            Some(KeySource::Variable("KEY".to_owned()))
        );
    }

    #[test]
    fn only_sqlite_is_migrated_at_start_unless_told_otherwise() {
        let mut config = Config::default();
        assert!(config.migrates_at_start());

        config.database = Database::Postgres(Secret::new("postgres://h/d".to_owned()));
        assert!(!config.migrates_at_start());

        config.migrate = Some(true);
        assert!(config.migrates_at_start());
    }

    #[test]
    fn callers_need_a_credential_where_others_can_call_unless_that_was_accepted() {
        use Authentication::{Off, Required};
        for (set, listen, insecure, always) in [
            (None, "127.0.0.1:1", false, false),
            (None, "unix:gate.sock", false, false),
            (None, "10.0.0.1:1", true, false),
            (None, "10.0.0.1:1", false, true),
            (Some(Required), "127.0.0.1:1", false, true),
            (Some(Required), "10.0.0.1:1", true, true),
            (Some(Off), "127.0.0.1:1", false, false),
            (Some(Off), "10.0.0.1:1", true, false),
        ] {
            let config = Config {
                listen: listen.parse().unwrap(),
                insecure,
                authentication: set,
                ..Config::default()
            };
            let found = config.always_authenticates();
            assert_eq!(found, always, "{set:?} {listen} {insecure}");
        }
        let encrypted = Config {
            listen: "10.0.0.1:1".parse().unwrap(),
            insecure: true,
            tls_certificate: Some("tls.crt".into()),
            ..Config::default()
        };
        assert!(encrypted.always_authenticates() && !encrypted.is_exposed());
        let known = Config {
            tls_callers: Some("callers.toml".into()),
            ..Config::default()
        };
        assert!(known.always_authenticates());
        let issued = Config {
            jwt_jwks_file: Some("jwks.json".into()),
            ..Config::default()
        };
        assert!(issued.always_authenticates());
    }

    #[test]
    fn loopback_in_any_spelling_is_not_exposed() {
        for (listen, exposed) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("unix:gate.sock", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            let config = Config {
                listen: listen.parse().unwrap(),
                ..Config::default()
            };
            assert_eq!(config.is_exposed(), exposed, "{listen}");
        }
    }
}
