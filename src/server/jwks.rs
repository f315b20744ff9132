//! The keys of JWTs: reading their file, and reading it again when it changes.
//!
//! A file that is not usable stops the start, and later changes nothing. It is read again, too, after a JWT named a
//! key that there is not, whether the file seems to have changed or not; that is looked at with everything else, every
//! [`PERIOD`], so nobody can have it read more often. Who may do what is not asked here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use tokio_util::sync::CancellationToken;

use super::file::{FileError, Named, PERIOD, Stamp, blocking, took};
use crate::auth::{Algorithm, JwtCallers, JwtKeys, JwtRules};
use crate::config::{Config, JwtAlgorithm};
use crate::telemetry::{Metrics, Reread};

/// The keys of JWTs, as their file has them now.
#[derive(Debug)]
pub(super) struct Jwks {
    file: Named,
    callers: JwtCallers,
    seen: Mutex<Seen>,
    metrics: Metrics,
}

/// What the file was when it was read last.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    /// Hash of its content; `None`: it could not be read.
    content: Option<Vec<u8>>,
}

/// The keys, and the hash of the file's content.
fn read(file: &Named) -> (Result<JwtKeys, FileError>, Option<Vec<u8>>) {
    match file.read() {
        Err(error) => (Err(error), None),
        Ok(bytes) => {
            let keys = JwtKeys::read(&bytes).map_err(|error| file.fault(error));
            let content = digest::digest(&digest::SHA256, &bytes);
            (keys, Some(content.as_ref().to_vec()))
        }
    }
}

impl Jwks {
    /// Reads the file of the settings; `None`: they name none.
    pub(super) async fn open(
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Option<Arc<Self>>, FileError> {
        let named = (
            &config.jwt_jwks_file,
            &config.jwt_issuer,
            &config.jwt_audience,
        );
        // That all are there, or none, was looked at with the settings.
        let (Some(path), Some(issuer), Some(audience)) = named else {
            return Ok(None);
        };
        let file = Named {
            setting: Reread::JwtKeys.name(),
            path: path.clone(),
        };
        let rules = JwtRules {
            issuer: issuer.clone(),
            audience: audience.clone(),
            algorithms: config.jwt_algorithms.iter().map(algorithm).collect(),
            max_life: config.jwt_max_life,
            clock_skew: config.jwt_clock_skew,
        };
        let metrics = metrics.clone();
        blocking(move || {
            // First what the file is: whoever changes it meanwhile has it read again.
            let stamp = file.stamp();
            let (keys, content) = read(&file);
            let keys = keys?;
            if keys.count() == 0 {
                return Err(file.fault("it holds no key by which a JWT could be verified"));
            }
            tracing::info!(keys = keys.count(), "callers are known by JWTs, too");
            Ok(Some(Arc::new(Self {
                file,
                callers: JwtCallers::new(rules, keys),
                seen: Mutex::new(Seen { stamp, content }),
                metrics,
            })))
        })
        .await
    }

    /// Who is known by a JWT.
    pub(super) fn callers(&self) -> JwtCallers {
        self.callers.clone()
    }

    /// Reads the file again whenever there may be other keys in it, until told to stop.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            let jwks = Arc::clone(&self);
            blocking(move || jwks.look(jwks.callers.missed_a_key())).await;
        }
    }

    /// What is not usable is said once, and read again when it has changed again, or a key was missed. A file
    /// without any key is usable: so all keys are taken back.
    fn look(&self, missed: bool) {
        let mut seen = self.seen();
        let stamp = self.file.stamp();
        let changed = stamp != seen.stamp;
        if !changed && !missed {
            return;
        }
        let (keys, content) = read(&self.file);
        seen.stamp = stamp;
        if content == seen.content {
            return;
        }
        seen.content = content;
        took(&self.metrics, Reread::JwtKeys, keys, |keys| {
            if keys.count() == 0 {
                tracing::warn!("no key of JWTs is left: every JWT is refused");
            }
            self.callers.replace(keys);
        });
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn algorithm(named: JwtAlgorithm) -> Algorithm {
    match named {
        JwtAlgorithm::Rs256 => Algorithm::Rs256,
        JwtAlgorithm::Rs384 => Algorithm::Rs384,
        JwtAlgorithm::Rs512 => Algorithm::Rs512,
        JwtAlgorithm::Ps256 => Algorithm::Ps256,
        JwtAlgorithm::Ps384 => Algorithm::Ps384,
        JwtAlgorithm::Ps512 => Algorithm::Ps512,
        JwtAlgorithm::Es256 => Algorithm::Es256,
        JwtAlgorithm::Es384 => Algorithm::Es384,
        JwtAlgorithm::EdDsa => Algorithm::EdDsa,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a file system that tells of a change late.
    #[tokio::test]
    async fn a_missed_key_has_the_file_read_again_though_it_seems_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwks.json");
        let set = |kids: &[&str]| {
            let key = |kid: &&str| {
                let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
                format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
            };
            let keys: Vec<_> = kids.iter().map(key).collect();
            std::fs::write(&path, format!(r#"{{"keys":[{}]}}"#, keys.join(","))).unwrap();
        };
        set(&["one"]);
        let config = Config {
            jwt_jwks_file: Some(path.clone()),
            jwt_issuer: Some("i".to_owned()),
            jwt_audience: Some("a".to_owned()),
            ..Config::default()
        };
        let jwks = Jwks::open(&config, &Metrics::disabled()).await;
        let jwks = jwks.unwrap().unwrap();
        let first = jwks.seen().content.clone();
        set(&["one", "two"]);
        jwks.seen().stamp = jwks.file.stamp();
        jwks.look(false);
        assert_eq!(jwks.seen().content, first);
        jwks.look(true);
        assert_ne!(jwks.seen().content, first);
        assert_eq!(jwks.callers.count(), 2);
        set(&[]);
        jwks.look(false);
        assert_eq!(jwks.callers.count(), 0);
        let none = Jwks::open(&config, &Metrics::disabled()).await;
        assert!(none.is_err(), "a start without a key");
    }
}
