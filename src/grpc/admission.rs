//! The first step of every method: who calls, and may they? From the metadata of a call to a status.
//!
//! It comes before anything else is told of the request, so that nothing about a business can be learnt by
//! whoever may not ask about it. What a credential is worth is `crate::auth`'s business.

use http::header::AUTHORIZATION;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};
use zeroize::Zeroizing;

use super::layer::{self, deadline};
use super::proto::StreamCheckConsentRequest;
use super::proto::stream_check_consent_request::Payload;
use super::status;
use crate::auth::{self, Admitted, Certificate, Gate, Refusal, Shown, Wish};
use crate::consents;
use crate::domain::caller::Permission;

/// Whether the caller may do this for this business, which may be misspelt or missing.
pub(super) async fn admit<T: Sync>(
    gate: &Gate,
    request: &Request<T>,
    permission: Permission,
    business: &str,
) -> Result<(), Status> {
    let shown = shown(request.metadata(), request.extensions());
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
    let shown = shown(request.metadata(), request.extensions());
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
    let shown = shown(request.metadata(), request.extensions());
    let admitted = gate.admit_reading_through(shown, wish);
    layer::read(deadline(request), async { admitted.await.map_err(of) }).await
}

/// What the caller shows. An `authorization` that cannot be read is a bad credential, not none.
fn shown<'a>(metadata: &'a MetadataMap, extensions: &'a Extensions) -> Shown<'a> {
    let mut values = metadata.as_ref().get_all(AUTHORIZATION).iter().peekable();
    let bearer = values.peek().is_some().then(|| {
        let bearer = auth::bearer(values.map(http::HeaderValue::as_bytes));
        bearer.unwrap_or_default()
    });
    Shown {
        bearer,
        certificate: extensions.get(),
    }
}

fn of(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Unauthenticated => status::unauthenticated(),
        Refusal::Forbidden => status::permission_denied(),
        Refusal::NoLease => status::of(&consents::Error::LeaseLost),
        Refusal::Catalog(error) => status::of(&error.into()),
    }
}

/// Who opened a stream of checks: asked again for each message, since a stream may outlive its credential.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Gate,
    bearer: Option<Zeroizing<Vec<u8>>>,
    certificate: Option<Certificate>,
}

impl Pass {
    pub(super) fn of<T>(gate: &Gate, request: &Request<T>) -> Self {
        let shown = shown(request.metadata(), request.extensions());
        Self {
            gate: gate.clone(),
            bearer: shown.bearer.map(|shown| Zeroizing::new(shown.to_vec())),
            certificate: shown.certificate.cloned(),
        }
    }

    /// `None`: before the business is named.
    pub(super) fn admits(&self, business: Option<&str>) -> Result<(), Status> {
        let shown = Shown {
            bearer: self.bearer.as_ref().map(|shown| shown.as_slice()),
            certificate: self.certificate.as_ref(),
        };
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
