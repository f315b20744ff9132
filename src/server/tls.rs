//! TLS of the listener: what its files hold, and taking it anew when they change.
//!
//! The next handshake gets what is there now, and a call on a connection from before is judged by it, too.
//! A file that is not usable stops the start, and later changes nothing. Who may do what is not asked here.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};
use tokio_util::sync::CancellationToken;

use super::file::{FileError, Named, PERIOD, Stamp, blocking, took};
use crate::auth::{Certificate, CertificateCallers, Name, ReadCallers};
use crate::config::Config;
use crate::telemetry::{Metrics, Reread, Seldom};

/// After how many looks at the files the certificates of open connections are looked at again: ten seconds, by
/// which a connection outlives its certificate at most. It costs each connection in use a verification.
const LOOKS: u64 = 5;

/// Every item of one kind in a file, at least one.
fn items<T: PemObject>(file: &Named, kind: &str) -> Result<Vec<T>, FileError> {
    let bytes = file.read()?;
    let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&bytes).collect();
    let items = items.map_err(|error| file.fault(error))?;
    match items.is_empty() {
        true => Err(file.fault(format!("it holds no {kind} in PEM"))),
        false => Ok(items),
    }
}

fn key(file: &Named) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = file.read_secret()?;
    // Its own words for a missing key say nothing of a file.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => file.fault("it holds no private key in PEM"),
        error => file.fault(error),
    })
}

/// The files as the settings name them.
#[derive(Debug, Clone)]
struct Files {
    certificate: Named,
    key: Named,
    client_ca: Option<Named>,
    client_crl: Option<Named>,
    callers: Option<Named>,
}

/// What the files were: those of the server, those by which clients are verified, that of the callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stamps {
    server: [Option<Stamp>; 2],
    clients: [Option<Stamp>; 2],
    callers: Option<Stamp>,
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// What new handshakes begin with.
#[derive(Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    verifier: Option<Verifier>,
    config: Arc<ServerConfig>,
}

impl Current {
    fn new(key: Arc<CertifiedKey>, verifier: Option<Verifier>) -> Self {
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("the provider has suites for both");
        let config = match &verifier {
            Some(verifier) => config.with_client_cert_verifier(Arc::clone(verifier)),
            None => config.with_no_client_auth(),
        };
        let certificate = SingleCertAndKey::from(Arc::clone(&key));
        let mut config = config.with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not have its certificate looked at again. Connections live long here: it
        // would save next to nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self {
            key,
            verifier,
            config: Arc::new(config),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

impl Files {
    fn of(config: &Config) -> Option<Self> {
        let named = |setting, path: &Option<PathBuf>| {
            let path = path.clone()?;
            Some(Named { setting, path })
        };
        Some(Self {
            certificate: named("tls_certificate", &config.tls_certificate)?,
            key: named("tls_key", &config.tls_key)?,
            client_ca: named("tls_client_ca", &config.tls_client_ca),
            client_crl: named("tls_client_crl", &config.tls_client_crl),
            callers: named("tls_callers", &config.tls_callers),
        })
    }

    fn stamps(&self) -> Stamps {
        let stamp = |file: &Option<Named>| file.as_ref().and_then(Named::stamp);
        Stamps {
            server: [self.certificate.stamp(), self.key.stamp()],
            clients: [stamp(&self.client_ca), stamp(&self.client_crl)],
            callers: stamp(&self.callers),
        }
    }

    fn server(&self) -> Result<Arc<CertifiedKey>, FileError> {
        let chain = items(&self.certificate, "certificate")?;
        let key = key(&self.key)?;
        // It finds out, too, whether the key is the certificate's.
        let key = CertifiedKey::from_der(chain, key, &provider());
        key.map(Arc::new).map_err(|error| self.key.fault(error))
    }

    fn callers(&self) -> Result<ReadCallers, FileError> {
        let Some(file) = &self.callers else {
            return Ok(ReadCallers::default());
        };
        let bytes = file.read()?;
        let text = std::str::from_utf8(&bytes).map_err(|error| file.fault(error))?;
        ReadCallers::read(text).map_err(|error| file.fault(error))
    }

    fn clients(&self) -> Result<Option<Verifier>, FileError> {
        let Some(file) = &self.client_ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in items::<CertificateDer<'_>>(file, "certificate")? {
            roots.add(certificate).map_err(|error| file.fault(error))?;
        }
        let roots = Arc::new(roots);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if let Some(file) = &self.client_crl {
            let lists = items::<CertificateRevocationListDer<'_>>(file, "revocation list")?;
            verifier = verifier.with_crls(lists).enforce_revocation_expiration();
        }
        let last = self.client_crl.as_ref().unwrap_or(file);
        let verifier = verifier.build().map_err(|error| last.fault(error))?;
        Ok(Some(verifier))
    }
}

/// The TLS of a listener, as its files have it now.
pub(super) struct Tls {
    files: Files,
    current: ArcSwap<Current>,
    callers: CertificateCallers,
    /// What the files were when they were read last.
    seen: Mutex<Stamps>,
    /// Goes on whenever a certificate may no longer be good that was.
    age: AtomicU64,
    failing: Mutex<Seldom>,
    metrics: Metrics,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files of the settings; `None`: they name none.
    pub(super) async fn open(
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Self>>, FileError> {
        let Some(files) = Files::of(config) else {
            return Ok(None);
        };
        let metrics = metrics.clone();
        blocking(move || {
            // First what the files are: whoever changes one meanwhile has it read again.
            let seen = files.stamps();
            let current = Current::new(files.server()?, files.clients()?);
            let callers = CertificateCallers::default();
            callers.replace(files.callers()?);
            Ok(Some(Arc::new(Self {
                files,
                current: ArcSwap::from_pointee(current),
                callers,
                seen: Mutex::new(seen),
                age: AtomicU64::new(1),
                failing: Mutex::default(),
                metrics,
            })))
        })
        .await
    }

    /// For one new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.load().config).into()
    }

    /// Whom certificates belong to.
    pub(super) fn callers(&self) -> CertificateCallers {
        self.callers.clone()
    }

    /// What a connection will show.
    pub(super) fn expected(&self) -> Certificate {
        match self.files.client_ca {
            Some(_) => Certificate::expected(),
            None => Certificate::default(),
        }
    }

    /// Keeps what a handshake was shown.
    pub(super) fn shown(
        self: &Arc<Self>,
        certificate: &Certificate,
        chain: Option<&[CertificateDer<'static>]>,
    ) {
        let Some((own, between)) = chain.and_then(<[_]>::split_first) else {
            return;
        };
        let (tls, own, between) = (Arc::clone(self), own.clone(), between.to_vec());
        let judged = AtomicU64::new(0);
        let names = names(&own);
        certificate.shows(names, move || tls.is_good(&own, &between, &judged));
    }

    /// Whether a certificate is good that was when its connection began. `judged` is when that was found
    /// out last, and what came of it.
    fn is_good(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        judged: &AtomicU64,
    ) -> bool {
        // Before the verifier is looked up: a newer one has a newer age.
        let age = self.age.load(Ordering::Acquire);
        let before = judged.load(Ordering::Relaxed);
        if before >> 1 == age {
            return before & 1 == 1;
        }
        let current = self.current.load();
        let good = current.verifier.as_ref().is_some_and(|verifier| {
            let found = verifier.verify_client_cert(own, between, UnixTime::now());
            found.is_ok()
        });
        judged.store(age << 1 | u64::from(good), Ordering::Relaxed);
        good
    }

    /// Says, seldom, that a handshake failed: anybody can make it happen as often as they like.
    pub(super) fn failed(&self, error: &std::io::Error) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = failing.says() {
            tracing::warn!(%error, failed, "a TLS handshake failed: the client got no connection");
        }
    }

    /// Reads the files again whenever they change, until told to stop.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            let tls = Arc::clone(&self);
            blocking(move || tls.look()).await;
            looks += 1;
            if looks % LOOKS == 0 {
                self.age.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// What is not usable is said once, and read again when it has changed again. One bad file keeps none
    /// of the others from being taken.
    fn look(&self) {
        let now = self.files.stamps();
        let before = std::mem::replace(&mut *self.seen(), now.clone());
        let current = self.current.load_full();
        if now.server != before.server {
            took(
                &self.metrics,
                Reread::TlsCertificate,
                self.files.server(),
                |key| {
                    self.current
                        .store(Arc::new(Current::new(key, current.verifier.clone())));
                },
            );
        }
        let current = self.current.load_full();
        if now.clients != before.clients {
            took(
                &self.metrics,
                Reread::TlsClientCa,
                self.files.clients(),
                |verifier| {
                    let key = Arc::clone(&current.key);
                    self.current.store(Arc::new(Current::new(key, verifier)));
                    self.age.fetch_add(1, Ordering::Release);
                },
            );
        }
        if now.callers != before.callers {
            took(
                &self.metrics,
                Reread::TlsCallers,
                self.files.callers(),
                |callers| {
                    self.callers.replace(callers);
                },
            );
        }
    }

    fn seen(&self) -> MutexGuard<'_, Stamps> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names in a certificate by which somebody can be known.
fn names(certificate: &CertificateDer<'_>) -> Vec<Name> {
    let Ok(read) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let uris = read.valid_uri_names().map(Name::uri);
    uris.chain(read.valid_dns_names().map(Name::dns)).collect()
}
