//! What the way to the service costs a warm `CheckConsent`: showing a token, TLS, and a Unix domain socket in place of
//! TCP over loopback.

use std::path::Path;

use rcgen::generate_simple_self_signed;

use super::{Asked, Bench, Part, Row, Target, asked_of};
use crate::audience;
use crate::fill;
use crate::hosts::Cores;
use crate::hosts::gate::Gates;
use crate::load::outside::{H2load, Way};
use crate::stats::in_turn;

const PERSON: u64 = 7;

pub async fn measure(bench: &Bench) -> anyhow::Result<Part> {
    let directory = tempfile::tempdir()?;
    let plain = bench.gates.start(Cores::First, &[]).await?;
    let asked = asked_of(&bench.gates, plain.address, PERSON).await?;
    let by_token = || load(bench, &bench.gates, &asked, Way::Plain(plain.address));
    let mut rows = Vec::new();
    let row = |what: &str, reference: &str, target, compared| Row {
        what: what.into(),
        reference: reference.into(),
        target,
        compared,
        unit: "calls/s".into(),
        how: "`h2load`, 8 connections × 32 streams; server on one core, client on the other".into(),
    };

    let open = open_to_all(bench, directory.path()).await?;
    let anybody = open.start(Cores::First, &[]).await?;
    let unasked = asked_of(&open, anybody.address, PERSON).await?;
    let by_nobody = || load(bench, &open, &unasked, Way::Plain(anybody.address));
    rows.push(row(
        "warm `CheckConsent` with a token",
        "the same where none is needed",
        Some(Target::AtLeast(0.98)),
        in_turn(bench.rounds, by_token, by_nobody).await?,
    ));
    drop(anybody);

    let socket = directory.path().join("gate.sock");
    let listening = bench.gates.start_on(Cores::First, &socket).await?;
    let by_socket = || load(bench, &bench.gates, &asked, Way::Socket(&socket));
    rows.push(row(
        "warm `CheckConsent` over a Unix domain socket",
        "the same over TCP on loopback",
        None,
        in_turn(bench.rounds, by_socket, by_token).await?,
    ));
    drop(listening);

    let (certificate, key) = certified(directory.path())?;
    let settings = ["--tls-certificate", &certificate, "--tls-key", &key];
    let secured = bench.gates.start(Cores::First, &settings).await?;
    let by_tls = || load(bench, &bench.gates, &asked, Way::Tls(secured.address));
    rows.push(row(
        "warm `CheckConsent` over TLS",
        "the same in plain text",
        None,
        in_turn(bench.rounds, by_tls, by_token).await?,
    ));
    Ok(Part {
        rows,
        ..Part::default()
    })
}

/// A gate on a database without tokens, in which a few people are.
async fn open_to_all(bench: &Bench, directory: &Path) -> anyhow::Result<Gates> {
    let database = bench.postgres.database("open").await?;
    let open = bench.gates.open_to_all(directory, &database)?;
    fill::people(&open, 0, PERSON + 1).await?;
    Ok(open)
}

/// A certificate and its key, as files.
fn certified(directory: &Path) -> anyhow::Result<(String, String)> {
    let made = generate_simple_self_signed(["localhost".to_owned()])?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text)?;
        private(&path)?;
        anyhow::Ok(path.display().to_string())
    };
    let certificate = write("tls.crt", made.cert.pem())?;
    let key = write("tls.key", made.signing_key.serialize_pem())?;
    Ok((certificate, key))
}

fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

async fn load(bench: &Bench, gates: &Gates, asked: &Asked, way: Way<'_>) -> anyhow::Result<f64> {
    let load = H2load {
        way,
        path: audience::CHECK,
        body: &asked.frame,
        authorization: gates.authorization(),
        connections: 8,
        streams: 32,
        seconds: bench.seconds,
        cores: Cores::Others,
    };
    load.run(asked.answer_bytes).await
}
