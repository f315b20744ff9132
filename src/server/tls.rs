//! TLS of the listener: reading its files, and reading them again when they change.
//!
//! A connection keeps what it began with; the next handshake gets what is there now. A file that is not
//! usable stops the start, and later changes nothing. Who a certificate belongs to is not asked here.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::telemetry::Seldom;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// No file of TLS is larger: a list of a hundred thousand revoked certificates has 4 MB.
const LARGEST: u64 = 64 << 20;

/// What is wrong with a file, by the setting that names it. Never holds anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: `{}` is not usable: {fault}", .path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    fault: String,
}

/// A file that a setting names.
#[derive(Debug, Clone)]
struct Named {
    setting: &'static str,
    path: PathBuf,
}

impl Named {
    fn fault(&self, fault: impl ToString) -> TlsError {
        TlsError {
            setting: self.setting,
            path: self.path.clone(),
            fault: fault.to_string(),
        }
    }

    fn open(&self) -> Result<File, TlsError> {
        File::open(&self.path).map_err(|error| self.fault(error))
    }

    fn read(&self, file: File) -> Result<Zeroizing<Vec<u8>>, TlsError> {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        match read {
            Ok(size) if u64::try_from(size).is_ok_and(|size| size <= LARGEST) => Ok(bytes),
            Ok(_) => Err(self.fault("it is too large")),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Every item of one kind in the file, at least one.
    fn items<T: PemObject>(&self, kind: &str) -> Result<Vec<T>, TlsError> {
        let bytes = self.read(self.open()?)?;
        let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&bytes).collect();
        let items = items.map_err(|error| self.fault(error))?;
        match items.is_empty() {
            true => Err(self.fault(format!("it holds no {kind} in PEM"))),
            false => Ok(items),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.fault(error))?;
        if let Some(mode) = open_to_all(&metadata) {
            let fault = format!("everybody may read it (mode {mode:o}): chmod o-rwx");
            return Err(self.fault(fault));
        }
        let bytes = self.read(file)?;
        // Its own words for a missing key say nothing of a file.
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => self.fault("it holds no private key in PEM"),
            error => self.fault(error),
        })
    }

    /// What changes with the file; nothing while there is none.
    fn stamp(&self) -> Option<Stamp> {
        fs::metadata(&self.path).ok().map(|found| Stamp::of(&found))
    }
}

/// The mode of a file that everybody on the machine may read. A group may: certificates are often handed
/// to services by one.
fn open_to_all(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        (mode & 0o007 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// By what a change of a file is noticed, also if it is as long as before and written in the same second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<std::time::SystemTime>,
    /// Which file it is, and when anything of it changed last.
    #[cfg(unix)]
    inode: [i64; 4],
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: [
                metadata.dev().cast_signed(),
                metadata.ino().cast_signed(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        }
    }
}

/// The files as the settings name them.
#[derive(Debug, Clone)]
struct Files {
    certificate: Named,
    key: Named,
    client_ca: Option<Named>,
    client_crl: Option<Named>,
}

/// What new handshakes begin with.
struct Current {
    config: Arc<ServerConfig>,
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
        })
    }

    fn stamps(&self) -> [Option<Stamp>; 4] {
        let stamp = |file: &Option<Named>| file.as_ref().and_then(Named::stamp);
        [
            self.certificate.stamp(),
            self.key.stamp(),
            stamp(&self.client_ca),
            stamp(&self.client_crl),
        ]
    }

    fn load(&self) -> Result<Current, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = self.certificate.items("certificate")?;
        let key = self.key.key()?;
        let clients = self.clients(&provider)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|error| self.certificate.fault(error))?;
        let config = match clients {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        // It finds out, too, whether the key is the certificate's.
        let mut config = config
            .with_single_cert(chain, key)
            .map_err(|error| self.key.fault(error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would not have its certificate looked at again. Connections live long here: it
        // would save next to nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Current {
            config: Arc::new(config),
        })
    }

    fn clients(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(file) = &self.client_ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in file.items::<CertificateDer<'_>>("certificate")? {
            roots.add(certificate).map_err(|error| file.fault(error))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::clone(provider));
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if let Some(file) = &self.client_crl {
            let lists = file.items::<CertificateRevocationListDer<'_>>("revocation list")?;
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
    /// What the files were when `current` was read.
    seen: Mutex<[Option<Stamp>; 4]>,
    failing: Mutex<Seldom>,
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
    pub(super) async fn open(config: &Config) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::of(config) else {
            return Ok(None);
        };
        let (files, seen, loaded) = read(files).await;
        Ok(Some(Arc::new(Self {
            files,
            current: ArcSwap::from_pointee(loaded?),
            seen: Mutex::new(seen),
            failing: Mutex::default(),
        })))
    }

    /// For one new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.load().config).into()
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
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => self.look().await,
            }
        }
    }

    async fn look(&self) {
        let files = self.files.clone();
        let looked = tokio::task::spawn_blocking(move || files.stamps()).await;
        let changed = |now: &[Option<Stamp>; 4]| *now != *self.seen();
        if !looked.as_ref().is_ok_and(changed) {
            return;
        }
        let (_, seen, loaded) = read(self.files.clone()).await;
        // Also of what is not usable: it is said once, and read again when it has changed again.
        *self.seen() = seen;
        match loaded {
            Ok(current) => {
                self.current.store(Arc::new(current));
                tracing::info!("the files of TLS changed: new connections begin with the new ones");
            }
            Err(error) => tracing::error!(
                %error,
                "a file of TLS changed and is not usable: new connections begin with the old ones"
            ),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, [Option<Stamp>; 4]> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the files, and first what they are: whoever changes one meanwhile has it read again.
async fn read(files: Files) -> (Files, [Option<Stamp>; 4], Result<Current, TlsError>) {
    let work = move || {
        let seen = files.stamps();
        let loaded = files.load();
        (files, seen, loaded)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
