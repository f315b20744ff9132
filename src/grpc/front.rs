//! The straight way of a check: calls of `ConsentService` go to it by the beginning of their path.
//!
//! What routes the other services looks a path up in a tree and wraps each call three times. That
//! costs a check about as much as its own decision does, and there are only a few services.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use super::consent_service::ConsentService;
use super::proto::consent_service_server::ConsentServiceServer;

/// How the paths of its methods begin.
const CONSENT_SERVICE: &str = "/consentgate.v1.ConsentService/";

/// Puts [`Front`] before the other services.
#[derive(Debug, Clone)]
pub struct FrontLayer(pub ConsentServiceServer<ConsentService>);

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, others: S) -> Front<S> {
        Front {
            consent: self.0.clone(),
            others,
        }
    }
}

/// `ConsentService`, and whatever answers everything else.
#[derive(Debug, Clone)]
pub struct Front<S> {
    consent: ConsentServiceServer<ConsentService>,
    others: S,
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
        if request.uri().path().starts_with(CONSENT_SERVICE) {
            return self.consent.call(request);
        }
        Box::pin(self.others.call(request))
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
    }
}
