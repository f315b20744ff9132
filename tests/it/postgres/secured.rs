//! A server that offers TLS, and what a ledger makes of its certificate.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use consentgate::ledger::OpenError;
use consentgate::ledger::postgres::{Postgres as Ledger, migrate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{Account, Durability, Postgres, database};
use crate::ledger::{LIMITS, Raw};

type Authority = CertifiedIssuer<'static, KeyPair>;

impl Postgres {
    /// A server with a certificate for its address, and none for the name `localhost`.
    fn with_certificate_of(authority: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, authority)
            .unwrap();
        let launched = Self::prepare(Durability::Fast, &["ssl=on"]).and_then(|mut server| {
            server.initdb()?;
            server.give("server.crt", &certificate.pem());
            server.give("server.key", &key.serialize_pem());
            server.start_on_a_free_port()?;
            Ok(server)
        });
        launched.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Writes a file that only the server may read.
    fn give(&self, name: &str, text: &str) {
        let file = self.data().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        if let Account::Other { uid, gid } = self.account {
            chown(&file, Some(uid), Some(gid)).unwrap();
        }
    }
}

fn authority(directory: &Path, name: &str) -> (Authority, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = directory.join(name);
    fs::write(&file, authority.pem()).unwrap();
    (authority, file.display().to_string())
}

async fn refusal(url: &str) -> String {
    match Ledger::open(url, LIMITS).await {
        Err(OpenError::Open(error)) => error.to_string(),
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_to_be_the_right_one_is_not_spoken_to() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, trusted) = authority(directory.path(), "ours.pem");
    let (_, foreign) = authority(directory.path(), "foreign.pem");
    let server = Postgres::with_certificate_of(&ours);
    let database = server.database().await;
    let verified = |host: &str, mode: &str, root: &str| {
        let url = database.url().replacen("127.0.0.1", host, 1);
        format!("{url}?sslmode={mode}&sslrootcert={root}")
    };

    let right = verified("127.0.0.1", "verify-full", &trusted);
    migrate(&right, LIMITS).await.unwrap();
    Ledger::open(&right, LIMITS).await.unwrap();
    let mut raw = Raw::postgres(&right).await;
    let encrypted = "SELECT ssl::int::bigint FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(raw.number(encrypted).await, 1);

    // A name that the certificate does not have counts in one mode only.
    let misnamed = refusal(&verified("localhost", "verify-full", &trusted)).await;
    assert!(misnamed.contains("certificate"), "{misnamed}");
    let unnamed = verified("localhost", "verify-ca", &trusted);
    Ledger::open(&unnamed, LIMITS).await.unwrap();

    for mode in ["verify-full", "verify-ca"] {
        let signed_by_another = refusal(&verified("127.0.0.1", mode, &foreign)).await;
        assert!(
            signed_by_another.contains("certificate"),
            "{signed_by_another}"
        );
    }
    let public_roots = format!("{}?sslmode=verify-full", database.url());
    let unknown = refusal(&public_roots).await;
    assert!(unknown.contains("certificate"), "{unknown}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_where_it_is_asked_for() {
    let database = database().await;
    let url = format!("{}?sslmode=verify-full", database.url());
    let refused = refusal(&url).await;
    assert!(refused.contains("TLS"), "{refused}");
}
