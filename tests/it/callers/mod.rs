//! Who may call: tokens and JWTs, what they permit, and what those are told who are not let in.
//!
//! `rpcs` has a case for every method of the contract, and fails for one without; `shown` is about what a
//! caller shows, `jwts` about JWTs, which `issuer` makes; `instances` about several servers; `commands` about the command line; `silence` about
//! what must stand nowhere; `strangers` about who tries out numbers.

mod commands;
mod instances;
mod issuer;
mod jwts;
mod rpcs;
mod shown;
mod silence;
mod strangers;

use std::collections::BTreeSet;
use std::time::Duration;

use consentgate::auth::TokenText;
use consentgate::catalog::callers::NewToken;
use consentgate::config::Config;
use consentgate::domain::caller::{
    Businesses, Caller, Permission, Permissions, Token, TokenHash, TokenPrefix,
};
use consentgate::domain::id::{BusinessId, CallerName};
use consentgate::server;
use http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::process::collector::Raw;

/// What a token is to permit.
#[derive(Debug, Clone)]
struct Wanted {
    caller: &'static str,
    businesses: Businesses,
    permissions: Permissions,
    lifetime: Option<Duration>,
}

/// A caller of one business with these permissions.
fn caller(business: &str, permissions: &[Permission]) -> Wanted {
    let only = BTreeSet::from([BusinessId::parse(business).unwrap()]);
    Wanted {
        caller: "test",
        businesses: Businesses::Only(only),
        permissions: Permissions::from(permissions.to_vec()),
        lifetime: None,
    }
}

/// Makes tokens as `consentgate token create` does: on SQLite while nobody serves the ledger.
async fn make(config: &Config, wanted: &[Wanted]) -> Vec<(TokenText, Token)> {
    let made = server::with_tokens(config, async |store| {
        let mut made = Vec::new();
        for one in wanted {
            let text = TokenText::generate();
            let new = NewToken {
                prefix: text.prefix(),
                hash: TokenHash(store.keys.credential_hash(text.expose().as_bytes())),
                caller: Caller {
                    name: CallerName::parse(one.caller).unwrap(),
                    businesses: one.businesses.clone(),
                    permissions: one.permissions,
                },
                lifetime: one.lifetime,
            };
            made.push((text, store.catalog.create_token(&new).await?));
        }
        Ok(made)
    });
    made.await.unwrap()
}

/// Revokes a token as `consentgate token revoke` does.
async fn revoke(config: &Config, prefix: TokenPrefix) -> Token {
    let revoked = server::with_tokens(config, async |store| {
        store.catalog.revoke_token(&prefix).await
    });
    revoked.await.unwrap().0
}

/// What a caller sends as `authorization`.
fn bearer(token: &TokenText) -> String {
    format!("Bearer {}", token.expose())
}

/// Calls a method with a message and these values of `authorization`; every kind of method looks the same
/// from here. The answers, or the status that came instead of or after them.
pub async fn call(
    channel: &Channel,
    rpc: &str,
    message: Vec<u8>,
    authorization: &[&str],
) -> Result<Vec<Vec<u8>>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::once(message));
    for value in authorization {
        let value = AsciiMetadataValue::try_from(*value).unwrap();
        request.metadata_mut().append("authorization", value);
    }
    let path = PathAndQuery::try_from(format!("/{rpc}")).unwrap();
    let mut answers = client.streaming(request, path, Raw).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// Code, message, details and metadata.
type Visible = (Code, String, Vec<u8>, Vec<String>);

/// All that a refused caller can see of a status, the time apart, and whether a head came before it.
fn visible(status: &Status) -> Visible {
    let mut metadata: Vec<String> = status
        .metadata()
        .as_ref()
        .iter()
        .filter(|(name, _)| *name != "date" && *name != "content-type")
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    metadata.sort();
    let (message, details) = (status.message().to_owned(), status.details().to_vec());
    (status.code(), message, details, metadata)
}
