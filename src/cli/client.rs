//! The connection to a server, and the deadline that every call carries.
//!
//! Nothing is retried here: a check that failed was not decided, and a write is repeated by whoever
//! knows its idempotency key.

use std::env::VarError;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tonic::Request;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use zeroize::Zeroizing;

use super::Globals;
use crate::auth::{TokenText, reads_like_jwt};
use crate::grpc::proto::catalog_service_client::CatalogServiceClient;
use crate::grpc::proto::consent_service_client::ConsentServiceClient;
use crate::grpc::proto::ledger_service_client::LedgerServiceClient;

/// Largest answer taken. The contract keeps answers below gRPC's usual 4 MiB; a page of history
/// with long evidence may be larger.
const MAX_ANSWER: usize = 64 << 20;

/// There is no connection to the server.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach `{server}`: {cause}")]
pub(super) struct Unreachable {
    server: String,
    cause: String,
}

/// A connection to a server.
pub(super) struct Client {
    channel: Channel,
    timeout: Duration,
    /// What is sent as `authorization`, marked so that it is neither logged nor kept by the transport.
    credential: Option<AsciiMetadataValue>,
}

impl Client {
    pub(super) async fn connect(globals: &Globals) -> anyhow::Result<Self> {
        let credential = credential(globals.token_file.as_deref())?;
        let endpoint = endpoint(&globals.server, globals.tls()?)?
            .connect_timeout(globals.timeout)
            .user_agent(concat!("consentgate-cli/", env!("CARGO_PKG_VERSION")))?;
        let channel = endpoint.connect().await.map_err(|error| Unreachable {
            server: globals.server.clone(),
            cause: innermost(&error),
        })?;
        Ok(Self {
            channel,
            timeout: globals.timeout,
            credential,
        })
    }

    pub(super) fn consents(&self) -> ConsentServiceClient<Channel> {
        ConsentServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    pub(super) fn ledger(&self) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// The message with the deadline and the credential.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(credential) = &self.credential {
            let credential = credential.clone();
            request.metadata_mut().insert("authorization", credential);
        }
        request
    }
}

/// The token or JWT of the file, or else of the environment. One that is mistyped is told here: a server says the
/// same to whoever shows a wrong one and to whoever shows none.
#[expect(
    clippy::disallowed_methods,
    reason = "the variable is the user's, and no setting of a server"
)]
fn credential(file: Option<&Path>) -> anyhow::Result<Option<AsciiMetadataValue>> {
    let (text, place) = match file {
        Some(path) => {
            let place = format!("`--token-file {}`", path.display());
            let text = std::fs::read_to_string(path);
            (text.with_context(|| place.clone())?, place)
        }
        None => match std::env::var("CONSENTGATE_TOKEN") {
            Ok(text) if !text.is_empty() => (text, "`CONSENTGATE_TOKEN`".to_owned()),
            Ok(_) | Err(VarError::NotPresent) => return Ok(None),
            Err(VarError::NotUnicode(_)) => (String::new(), "`CONSENTGATE_TOKEN`".to_owned()),
        },
    };
    let text = Zeroizing::new(text);
    // What is wrong with a JWT only a server can tell.
    let value = match reads_like_jwt(text.trim()) {
        true => Zeroizing::new(format!("Bearer {}", text.trim())),
        false => {
            let token = TokenText::parse(&text).with_context(|| place)?;
            Zeroizing::new(format!("Bearer {}", token.expose()))
        }
    };
    let mut value = AsciiMetadataValue::try_from(value.as_str())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What the flags say about TLS.
impl Globals {
    fn tls(&self) -> anyhow::Result<Option<ClientTlsConfig>> {
        let Some(ca) = &self.ca_file else {
            return Ok(None);
        };
        let file = |flag: &str, path: &Path| {
            std::fs::read(path).with_context(|| format!("`{flag} {}`", path.display()))
        };
        let ca = Certificate::from_pem(file("--ca-file", ca)?);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca);
        if let (Some(certificate), Some(key)) = (&self.certificate_file, &self.certificate_key) {
            let key = Zeroizing::new(file("--certificate-key", key)?);
            let certificate = file("--certificate-file", certificate)?;
            tls = tls.identity(Identity::from_pem(certificate, key.as_slice()));
        }
        Ok(Some(tls))
    }
}

/// `localhost:50051` is taken as `http://localhost:50051`. Whoever names a CA means TLS, and nobody gets
/// TLS without saying whose certificates to trust.
fn endpoint(server: &str, tls: Option<ClientTlsConfig>) -> anyhow::Result<Endpoint> {
    const EXPECTED: &str = "expected `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`";
    let wrong = || anyhow::anyhow!("`--server {server}`: {EXPECTED}");
    let url = match (server.split_once("://"), &tls) {
        (None, Some(_)) if !server.starts_with("unix:") => format!("https://{server}"),
        (None, None) if !server.starts_with("unix:") => format!("http://{server}"),
        (Some(("https", _)), Some(_)) | (Some(("http", _)), None) => server.to_owned(),
        (None | Some(("unix", _)), None) => server.to_owned(),
        (Some(("https", _)), None) => {
            anyhow::bail!("`--server {server}`: name the CA of its certificate with `--ca-file`")
        }
        (None | Some(("http" | "unix", _)), Some(_)) => {
            anyhow::bail!("`--server {server}` is without TLS: `--ca-file` is of no use there")
        }
        (Some(_), _) => return Err(wrong()),
    };
    let endpoint = Endpoint::from_shared(url).map_err(|_| wrong())?;
    match tls {
        None => Ok(endpoint),
        Some(tls) => endpoint
            .tls_config(tls)
            .map_err(|error| anyhow::anyhow!("`--ca-file`: {}", innermost(&error))),
    }
}

/// The cause that says something: "transport error" does not.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// Collects every page of a list; `page` asks for the one after a token and answers what it holds
/// and the next token, empty after the last.
pub(super) async fn all_pages<T>(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), tonic::Status>,
) -> Result<Vec<T>, tonic::Status> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = page(token.clone()).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        // A server that answers the same token for ever would fill the memory.
        if next == token {
            return Err(tonic::Status::internal(
                "the server answered the same page twice",
            ));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_with_or_without_its_scheme() {
        let tls = || Some(ClientTlsConfig::new());
        for server in [
            "http://127.0.0.1:50051",
            "localhost:50051",
            "[::1]:50051",
            "unix:/run/gate.sock",
        ] {
            assert!(endpoint(server, None).is_ok(), "{server}");
        }
        for server in ["https://gate:443", "gate:443"] {
            assert!(endpoint(server, tls()).is_ok(), "{server}");
        }
        for server in ["grpc://gate", "http://", "two words"] {
            let refused = endpoint(server, None).expect_err(server).to_string();
            assert!(refused.contains("http://HOST:PORT"), "{refused}");
        }
        let refused = endpoint("https://gate:443", None).unwrap_err().to_string();
        assert!(refused.contains("`--ca-file`"), "{refused}");
        for server in ["http://gate:443", "unix:/run/gate.sock"] {
            let refused = endpoint(server, tls()).expect_err(server).to_string();
            assert!(refused.contains("without TLS"), "{refused}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_file_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gate.token");
        let token = TokenText::generate();
        std::fs::write(&path, format!("{}\n", token.expose())).unwrap();
        let value = credential(Some(&path)).unwrap().unwrap();
        assert_eq!(
            value.to_str().unwrap(),
            format!("Bearer {}", token.expose())
        );
        assert!(!format!("{value:?}").contains(token.expose()));

        std::fs::write(&path, "eyJhIjoxfQ.e30.AAAA\n").unwrap();
        let value = credential(Some(&path)).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer eyJhIjoxfQ.e30.AAAA");

        let mistyped = format!("{}x", &token.expose()[..71]);
        for text in ["", "hunter2", "a.b", "eyJ.e30.AA", &mistyped] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", credential(Some(&path)).unwrap_err());
            assert!(error.starts_with("`--token-file "), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        assert!(credential(Some(&directory.path().join("none"))).is_err());
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_the_last() {
        let pages = [(vec![1, 2], "a"), (vec![], "b"), (vec![3], "")];
        let mut asked = Vec::new();
        let all = all_pages(async |token| {
            let (items, next) = pages[asked.len()].clone();
            asked.push(token);
            Ok((items, next.to_owned()))
        })
        .await
        .unwrap();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(asked, ["", "a", "b"]);
    }

    #[tokio::test]
    async fn a_list_that_does_not_end_is_an_error() {
        let endless = all_pages(async |_| Ok((vec![1], "a".to_owned()))).await;
        assert_eq!(endless.unwrap_err().code(), tonic::Code::Internal);
    }
}
