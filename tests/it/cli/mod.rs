//! The command line as its users meet it: the real binary, its output and its exit codes.
//!
//! Here is what it does without a server; `live` asks the one that the binary itself serves, and
//! `made_up` one that answers what no real server ever would; `policy` needs none.

mod live;
mod made_up;
mod policy;

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use consentgate::keys::Keyring;

/// The binary with these arguments, away from this process's settings.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consentgate"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// What a run left: its exit code, standard output and standard error.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it was not killed"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run(arguments: &[&str]) -> Ran {
    command(arguments).output().unwrap().into()
}

/// Runs the binary against `server`, with `stdin` on its standard input.
fn ask(server: SocketAddr, arguments: &[&str], stdin: &str) -> Ran {
    let mut command = command(arguments);
    command.env("CONSENTGATE_SERVER", server.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_owned();
    let writer = std::thread::spawn(move || {
        // A command that ended early reads no more.
        let _ = pipe.write_all(stdin.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

#[test]
fn every_command_explains_itself() {
    let help = run(&["--help"]);
    assert_eq!(help.code, 0, "{}", help.err);
    for name in [
        "serve",
        "migrate",
        "check",
        "explain",
        "batch",
        "record",
        "confirm",
        "withdraw",
        "show",
        "catalog",
        "policy",
        "ledger",
        "keys",
        "token",
        "config",
        "completions",
    ] {
        assert!(
            help.out.contains(&format!("\n  {name} ")),
            "{name}: {}",
            help.out
        );
        let own = run(&[name, "--help"]);
        assert_eq!(own.code, 0, "{name}: {}", own.err);
        assert!(
            own.out.contains("Usage: consentgate "),
            "{name}: {}",
            own.out
        );
        assert_eq!(own.err, "", "{name}");
    }
    assert!(help.out.contains("Exit codes"), "{}", help.out);
    assert!(run(&["check", "--help"]).out.contains("CONSENT_REQUEST"));
}

#[test]
fn nothing_said_is_help_and_an_error() {
    let ran = run(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("Usage: consentgate"), "{}", ran.err);
}

#[test]
fn the_version_is_that_of_the_crate() {
    let ran = run(&["--version"]);
    assert_eq!(
        (ran.code, ran.out.trim()),
        (0, concat!("consentgate ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn each_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{shell}: {}", ran.err);
        assert!(
            ran.out.contains("consentgate") && ran.out.contains("idempotency-key"),
            "{shell}"
        );
    }
    assert_eq!(run(&["completions", "dos"]).code, 2);
}

#[test]
fn a_keyring_is_made_for_its_owner_alone_and_never_over_another() {
    let directory = tempfile::tempdir().unwrap();
    let generate = |format: &str| -> Ran {
        let mut command = command(&["keys", "generate", "--out", "gate.key", "--output", format]);
        command.current_dir(&directory).output().unwrap().into()
    };
    let made = generate("table");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    assert!(
        made.out.starts_with("gate.key: a new keyring"),
        "{}",
        made.out
    );
    let path = directory.path().join("gate.key");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let keyring = fs::read_to_string(&path).unwrap();
    Keyring::parse(&keyring).unwrap();
    assert!(!made.out.contains(keyring.lines().nth(1).unwrap()));

    let refused = generate("json");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    let said = "cannot create the key file `gate.key`: File exists";
    assert!(refused.err.contains(said), "{}", refused.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), keyring);
    fs::remove_file(&path).unwrap();
    assert_eq!(generate("json").out, "{\"key_file\":\"gate.key\"}\n");
}

#[test]
fn a_longer_keyring_holds_the_keys_before_and_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (first, second) = (path("gate.key"), path("longer.key"));
    assert_eq!(run(&["keys", "generate", "--out", &first]).code, 0);
    let add = [
        "keys",
        "add",
        "--key-file",
        &first,
        "--out",
        &second,
        "--output",
        "json",
    ];
    let made = run(&add);
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let told: serde_json::Value = serde_json::from_str(&made.out).unwrap();
    assert_eq!(told, serde_json::json!({"key_file": second, "key": 2}));
    let read = |path: &str| Keyring::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let (short, long) = (read(&first), read(&second));
    assert_eq!((short.newest(), long.newest()), (1, 2));
    assert_eq!(short.check_value(1), long.check_value(1));
    let mode = fs::metadata(&second).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let refused = run(&add);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("File exists"), "{}", refused.err);
}

#[test]
fn a_keyring_can_be_printed_for_a_key_store() {
    let one = run(&["keys", "generate"]);
    assert_eq!((one.code, one.err.as_str()), (0, ""));
    let one = Keyring::parse(&one.out).unwrap();
    let other = run(&["keys", "generate", "--output", "json"]);
    let other: serde_json::Value = serde_json::from_str(&other.out).unwrap();
    let other = Keyring::parse(other["keyring"].as_str().unwrap()).unwrap();
    assert_ne!(one.check_values(), other.check_values());
}

#[test]
fn the_settings_are_shown_with_their_origin_and_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("consentgate.toml");
    fs::write(&file, "valid_for = \"2s\"\n").unwrap();
    let shown = |format| {
        let ran: Ran = command(&["config", "--key-env", "KEY", "--output", format])
            .args([Path::new("--config"), &file])
            .env("CONSENTGATE_DATABASE", "postgres://gate:hunter2@db/gate")
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!format!("{}{}", ran.out, ran.err).contains("hunter2"));
        ran.out
    };

    let table = shown("table");
    let line = |name: &str| {
        table
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line for it")
            .to_owned()
    };
    assert!(line("database ").ends_with("environment"), "{table}");
    assert!(line("key_env ").ends_with("flag"), "{table}");
    assert!(line("valid_for ").contains("consentgate.toml:1"), "{table}");
    assert!(line("listen ").ends_with("default"), "{table}");

    let json: serde_json::Value = serde_json::from_str(&shown("json")).unwrap();
    let database = json["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|setting| setting["name"] == "database");
    assert_eq!(database.unwrap()["value"], "postgres://gate:***@db/gate");
}

#[test]
fn the_example_file_is_the_one_in_the_repository() {
    let ran = run(&["config", "--example-file"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, include_str!("../../../consentgate.example.toml"))
    );
}

#[test]
fn wrong_flags_and_settings_are_refused_with_2_and_nothing_on_standard_output() {
    for (arguments, said) in [
        (&["nothing"][..], "unrecognized subcommand"),
        (
            &["check", "+4915112345678", "--business", "acme"],
            "--purpose",
        ),
        (
            &[
                "check",
                "0151 12345678",
                "--business",
                "a",
                "--purpose",
                "p",
            ],
            "country code",
        ),
        (
            &[
                "check",
                "+4915112345678",
                "--business",
                "a",
                "--purpose",
                "p",
                "--output",
                "xml",
            ],
            "table, json",
        ),
        (
            &["withdraw", "+4915112345678", "--business", "a"],
            "--everything",
        ),
        (
            &[
                "record",
                "+4915112345678",
                "--business",
                "a",
                "--purpose",
                "p",
                "--evidence",
                "url=x",
            ],
            "source_url",
        ),
        (&["config", "--valid-for", "5"], "`--valid-for` is `5`"),
        (&["config", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["ledger", "replay"], "--check"),
        (
            &["batch", "/nowhere.txt", "--business", "a", "--purpose", "p"],
            "cannot read `/nowhere.txt`",
        ),
        (
            &["catalog", "apply", "/nowhere.toml"],
            "cannot read `/nowhere.toml`",
        ),
    ] {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn an_unknown_variable_of_ours_is_refused_by_name() {
    let ran: Ran = command(&["config"])
        .env("CONSENTGATE_LISTN", "x")
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.contains("CONSENTGATE_LISTN") && ran.err.contains("CONSENTGATE_LISTEN"),
        "{}",
        ran.err
    );
}

const CHECK: [&str; 6] = [
    "check",
    "+49 151 12345678",
    "--business",
    "acme",
    "--purpose",
    "offers",
];

#[test]
fn a_server_that_is_not_there_is_named_with_the_way_to_start_one() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ran: Ran = command(&CHECK)
        .env("CONSENTGATE_SERVER", &server)
        .output()
        .unwrap()
        .into();
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains(&format!("cannot reach `{server}`")),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("consentgate serve --example"),
        "{}",
        ran.err
    );
    // The port may be any number.
    let rest = ran.err.replace(&server, "");
    assert!(!rest.contains("151"), "{}", ran.err);
}

#[test]
fn a_server_that_does_not_answer_is_an_error_in_time() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let ran = run(&[&CHECK[..], &["--server", &server, "--timeout", "200ms"]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("DEADLINE_EXCEEDED"), "{}", ran.err);
}
