//! The Python client of `examples/python`, run as its README says, against the real binary.
//!
//! Its packages go into a virtual environment in `target`, which stays there for the next run until
//! `requirements.txt` or Python changes. Where there is no Python that can do this the tests say so and pass: the
//! service does not need it.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python");
const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/acme/catalog.toml");
const REQUIREMENTS: &str = include_str!("../../examples/python/requirements.txt");

/// Prints what it is if it can make virtual environments and is new enough for the packages.
const PROBE: &str = "import ensurepip, sys, venv\n\
    assert sys.version_info >= (3, 10), 'it is older than 3.10'\n\
    print(sys.executable, sys.version)";

/// A Python with the client's packages.
struct Python {
    program: PathBuf,
}

impl Python {
    /// None, and why on standard error, if this machine has no Python to make it from.
    fn with_packages() -> Option<Self> {
        let probed = Command::new("python3")
            .args(["-c", PROBE])
            .stdin(Stdio::null())
            .output();
        let lacking = match probed {
            Ok(probe) if probe.status.success() => return Some(Self::installed(&probe.stdout)),
            Ok(probe) => String::from_utf8_lossy(&probe.stderr).trim().to_owned(),
            Err(fault) => format!("python3: {fault}"),
        };
        // Not by a macro: a test that passes keeps to itself what those print.
        let said = writeln!(
            std::io::stderr(),
            "the Python example was not run, there is no Python for it: {lacking}"
        );
        said.unwrap();
        None
    }

    fn installed(version: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (version, REQUIREMENTS).hash(&mut hasher);
        let name = format!("python-{:016x}", hasher.finish());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        let program = directory.join("bin/python");

        // One at a time, also among test processes.
        let lock = File::create(directory.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let complete = directory.join("complete");
        if !complete.exists() {
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(&directory);
            succeed(venv);
            let mut pip = Command::new(&program);
            pip.args(["-m", "pip", "install", "--quiet", "--no-input"])
                .args(["--disable-pip-version-check", "--requirement"])
                .arg(Path::new(EXAMPLE).join("requirements.txt"));
            succeed(pip);
            File::create(complete).unwrap();
        }
        Self { program }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .args(arguments)
            .current_dir(EXAMPLE)
            .env_remove("PYTHONPATH")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn succeed(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The binary, serving the example's catalogue on an empty database, until it is dropped.
struct Gate {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Gate {
    fn serve() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_consentgate"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--catalog", CATALOG])
            .env_clear()
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(line) = log.next() else {
                panic!("it ended before it served: {said:?}")
            };
            let line = line.unwrap();
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event["message"] == "serving"
            {
                break event["address"].as_str().unwrap().parse().unwrap();
            }
            said.push(line);
        };
        // Whoever writes to a full pipe waits.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address,
            _directory: directory,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run printed, `time` in place of every time, and its exit code.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| {
        let words = |line: &str| {
            let words = line.split(' ');
            let words = words.map(|word| if word.ends_with('Z') { "time" } else { word });
            words.collect::<Vec<_>>().join(" ")
        };
        let text = std::str::from_utf8(bytes).unwrap();
        text.lines().map(words).collect::<Vec<_>>().join("\n")
    };
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

const AGREED_AND_WITHDRAWN: &str = "\
record:   CONSENT_STATE_GIVEN
check:    DECISION_ALLOW REASON_CONSENT_GIVEN
          sent: 'Your parcel is on its way.'
withdraw: effective at time
check:    DECISION_DENY REASON_WITHDRAWN
          not sent";

#[test]
fn a_client_made_from_the_contract_alone_records_checks_withdraws_and_checks_again() {
    let Some(python) = Python::with_packages() else {
        return;
    };
    let gate = Gate::serve();
    let server = gate.address.to_string();
    // Twice: who comes back after an opt-out counts again, and is heard again when they leave.
    for _ in 0..2 {
        let run = python.run(&["client.py", "--server", &server]);
        let expected = (Some(0), AGREED_AND_WITHDRAWN.to_owned(), String::new());
        assert_eq!(told(&run), expected);
    }

    let unconfirmed = [
        "--recipient",
        "+4917604069099",
        "--purpose",
        "offers",
        "--server",
        &server,
    ];
    let (code, out, err) = told(&python.run(&[&["client.py"], &unconfirmed[..]].concat()));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("REASON_CONFIRMATION_PENDING"), "{out}");
    assert!(!out.contains("          sent"), "{out}");

    // The README shows what it prints.
    let readme = fs::read_to_string(Path::new(EXAMPLE).join("README.md")).unwrap();
    let shown = told(&Output {
        stdout: readme.into_bytes(),
        ..python.run(&["--version"])
    });
    assert!(shown.1.contains(AGREED_AND_WITHDRAWN), "{}", shown.1);
}

#[test]
fn a_client_names_the_field_at_fault_and_never_sends_on_an_error() {
    let Some(python) = Python::with_packages() else {
        return;
    };
    let gate = Gate::serve();
    let server = gate.address.to_string();
    let run = python.run(&["client.py", "--server", &server, "--recipient", "0151234"]);
    let (code, out, err) = told(&run);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(
        err.starts_with(
            "failed: INVALID_ARGUMENT (PHONE_NUMBER_INVALID)\n  recipient.phone_number: "
        ),
        "{err}"
    );
    assert!(!err.contains("0151234"), "{err}");

    // Checks alone: a request that is refused, and a server that is not there.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gone = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    for (server, purpose, said) in [
        (&server, "nothing", "undecided, INVALID_ARGUMENT"),
        (&gone, "offers", "undecided, UNAVAILABLE"),
    ] {
        let (code, out, err) = told(&python.run(&["-c", CHECK_ALONE, server, purpose]));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.starts_with("False"), "{out}");
        assert!(out.contains(said), "{out}");
    }
}

const CHECK_ALONE: &str = "\
import sys, tempfile, grpc, client
server, purpose = sys.argv[1:]
with tempfile.TemporaryDirectory() as generated:
    contract = client.load_contract(client.PROTO, generated)
    gate = client.Gate(grpc.insecure_channel(server), contract)
    verdict = gate.check('acme', '+12025550100', purpose)
    print(verdict.permits_now(), verdict.answer)
";
