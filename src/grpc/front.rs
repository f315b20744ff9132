//! The straight way of a check: calls of `ConsentService` go to it by the beginning of their path.
//!
//! What routes the other services looks a path up in a tree and wraps each call three times. That
//! costs a check about as much as its own decision does, and there are only a few services.
//!
//! A batch is carried out as a task of its own on the server's runtime, from reading its message to
//! writing its answer: not in the thread of its connection, whose other calls it would keep waiting.
//! What is made for a thousand people is so made and given back by one thread, and who is refused
//! before its turn comes is refused unread.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use tonic::body::Body;
use tower::{Layer, Service};

use super::consent_service::ConsentService;
use super::layer::{self, Deadline};
use super::proto::consent_service_server::ConsentServiceServer;
use super::shed::{Queued, Shedding};

/// How the paths of its methods begin.
const CONSENT_SERVICE: &str = "/consentgate.v1.ConsentService/";
/// How the one of a batch goes on.
const BATCH: &str = "BatchCheckConsent";

/// Puts [`Front`] before the other services.
#[derive(Debug, Clone)]
pub struct FrontLayer {
    pub consent: ConsentServiceServer<ConsentService>,
    pub shedding: Shedding,
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, others: S) -> Front<S> {
        Front {
            consent: self.consent.clone(),
            shedding: self.shedding.clone(),
            others,
        }
    }
}

/// `ConsentService`, and whatever answers everything else.
#[derive(Debug, Clone)]
pub struct Front<S> {
    consent: ConsentServiceServer<ConsentService>,
    shedding: Shedding,
    others: S,
}

/// Carries out a batch, in its turn.
async fn in_turn(
    mut consent: ConsentServiceServer<ConsentService>,
    turn: Queued,
    request: Request<Body>,
) -> Response<Body> {
    let deadline = request.extensions().get::<Deadline>();
    let deadline = deadline.cloned().unwrap_or_default();
    let work = async move {
        turn.begin()?;
        let Ok(answer) = consent.call(request).await;
        let (head, mut body) = answer.into_parts();
        // A refusal is headers alone, and clients take nothing after them for one.
        if !body.is_end_stream() {
            body = Body::new(body.collect().await?);
        }
        Ok(Response::from_parts(head, body))
    };
    let answer = layer::read(deadline, layer::elsewhere(work)).await;
    answer.unwrap_or_else(|status| status.into_http())
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match request.uri().path().strip_prefix(CONSENT_SERVICE) {
            Some(BATCH) => {
                let answer = in_turn(self.consent.clone(), self.shedding.queue(), request);
                Box::pin(async { Ok(answer.await) })
            }
            Some(_) => self.consent.call(request),
            None => Box::pin(self.others.call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::server::NamedService;

    #[test]
    fn the_paths_are_those_of_the_service() {
        let name = <ConsentServiceServer<ConsentService> as NamedService>::NAME;
        assert_eq!(CONSENT_SERVICE, format!("/{name}/"));
        let batch = format!("{}{BATCH}", &CONSENT_SERVICE[1..]);
        assert!(super::super::methods().contains(&batch), "{batch}");
    }
}
