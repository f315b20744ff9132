//! The first step of every method: who calls, and may they? From the metadata of a call to a status.
//!
//! It comes before anything else is told of the request, so that nothing about a business can be learnt by
//! whoever may not ask about it. What a credential is worth is `crate::auth`'s business.

use http::header::AUTHORIZATION;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use super::layer::{self, deadline};
use super::proto::StreamCheckConsentRequest;
use super::proto::stream_check_consent_request::Payload;
use super::status;
use crate::auth::{self, Admitted, Gate, Refusal, Wish};
use crate::consents;
use crate::domain::caller::Permission;

/// Whether the caller may do this for this business, which may be misspelt or missing.
pub(super) async fn admit<T: Sync>(
    gate: &Gate,
    request: &Request<T>,
    permission: Permission,
    business: &str,
) -> Result<(), Status> {
    let shown = credential(request.metadata());
    let business = Some(business);
    let wish = Wish {
        permission,
        business,
    };
    match gate.admit(shown, wish) {
        // Boxed, as it is rare: a call's future is moved several times, with room for all that it may do.
        Err(Refusal::NoLease) => Box::pin(read_through(gate, request, wish)).await.map(drop),
        judged => judged.map_err(of),
    }
}

/// As [`admit`], and who it is. `None`: the call names no business, or none yet.
pub(super) async fn admit_known<T: Sync>(
    gate: &Gate,
    request: &Request<T>,
    permission: Permission,
    business: Option<&str>,
) -> Result<Admitted, Status> {
    let shown = credential(request.metadata());
    let wish = Wish {
        permission,
        business,
    };
    match gate.admit_known(shown, wish) {
        Err(Refusal::NoLease) => Box::pin(read_through(gate, request, wish)).await,
        judged => judged.map_err(of),
    }
}

async fn read_through<T: Sync>(
    gate: &Gate,
    request: &Request<T>,
    wish: Wish<'_>,
) -> Result<Admitted, Status> {
    let admitted = gate.admit_reading_through(credential(request.metadata()), wish);
    layer::read(deadline(request), async { admitted.await.map_err(of) }).await
}

fn credential(metadata: &MetadataMap) -> Option<&[u8]> {
    let values = metadata.as_ref().get_all(AUTHORIZATION).iter();
    auth::bearer(values.map(http::HeaderValue::as_bytes))
}

fn of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Unauthenticated => status::unauthenticated(),
        Refusal::Forbidden => status::permission_denied(),
        Refusal::NoLease => status::of(&consents::Error::LeaseLost),
        Refusal::Catalog(error) => status::of(&error.into()),
    }
}

/// Who opened a stream of checks: asked again for each message, since a stream may outlive its token.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
    shown: Option<Zeroizing<Vec<u8>>>,
}

impl Pass {
    pub(super) fn of(gate: &Gate, metadata: &MetadataMap) -> Self {
        Self {
            gate: gate.clone(),
            shown: credential(metadata).map(|shown| Zeroizing::new(shown.to_vec())),
        }
    }

    /// `None`: before the business is named.
    pub(super) fn admits(&self, business: Option<&str>) -> Result<(), Status> {
        let shown = self.shown.as_ref().map(|shown| shown.as_slice());
        let wish = Wish {
            permission: Permission::Check,
            business,
        };
        self.gate.admit(shown, wish).map_err(of)
    }

    /// The messages of the stream, each let through only while its caller may ask about the business that
    /// the first one names.
    pub(super) fn over<R>(
        self,
        requests: R,
    ) -> impl Stream<Item = Result<StreamCheckConsentRequest, Status>> + Send + Unpin + 'static
    where
        R: Stream<Item = Result<StreamCheckConsentRequest, Status>> + Send + Unpin + 'static,
    {
        let mut business = None;
        requests.map(move |message| {
            let message = message?;
            let named = business.get_or_insert_with(|| match &message.payload {
                Some(Payload::Question(question)) => question.business_id.clone(),
                Some(Payload::Recipients(_)) | None => String::new(),
            });
            self.admits(Some(named))?;
            Ok(message)
        })
    }
}
