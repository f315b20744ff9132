//! Where what a call begins belongs: to the runtime of the server, not to that of the connection.
//!
//! A connection has a thread and a runtime of its own, which may end before what the call began: a statement's
//! connection to the database, a write that goes on, a timer. So while a call is carried out, it finds the server's
//! runtime where it asks for one. The transport's own work stays with the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tower::{Layer, Service};

/// Carries calls out in the context of this runtime.
#[derive(Debug, Clone)]
pub struct HomeLayer(pub Handle);

impl<S> Layer<S> for HomeLayer {
    type Service = Home<S>;

    fn layer(&self, inner: S) -> Home<S> {
        let home = self.0.clone();
        Home { home, inner }
    }
}

/// A service whose calls are carried out in the context of a runtime.
#[derive(Debug, Clone)]
pub struct Home<S> {
    home: Handle,
    inner: S,
}

impl<S, R> Service<R> for Home<S>
where
    S: Service<R>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AtHome<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let _home = self.home.enter();
        AtHome {
            home: self.home.clone(),
            call: Some(self.inner.call(request)),
        }
    }
}

/// A call, in the context of a runtime until it is gone.
#[derive(Debug)]
pub struct AtHome<F> {
    home: Handle,
    call: Option<F>,
}

impl<F: Future + Unpin> Future for AtHome<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { home, call } = &mut *self;
        let _home = home.enter();
        let Some(running) = call else {
            return Poll::Pending;
        };
        let answer = Pin::new(running).poll(context);
        if answer.is_ready() {
            *call = None;
        }
        answer
    }
}

/// Also what a call gives back when its caller leaves, it gives back there.
impl<F> Drop for AtHome<F> {
    fn drop(&mut self) {
        if self.call.is_some() {
            let _home = self.home.enter();
            self.call = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Id};
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Says in which runtime it is dropped.
    struct Dropped(std::sync::mpsc::Sender<Id>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.send(Handle::current().id()).unwrap();
        }
    }

    #[test]
    fn a_call_finds_the_servers_runtime_from_its_beginning_to_its_end_or_abandonment() {
        let runtime = || {
            Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .unwrap()
        };
        let (home, connection) = (runtime(), runtime());
        let (tell, told) = std::sync::mpsc::channel();
        let service = service_fn(move |ends: bool| {
            let dropped = Dropped(tell.clone());
            let called = Handle::current().id();
            Box::pin(async move {
                let _dropped = dropped;
                if !ends {
                    std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
                Ok::<_, std::convert::Infallible>([called, Handle::current().id()])
            })
        });
        let mut service = HomeLayer(home.handle().clone()).layer(service);
        let id = home.handle().id();
        connection.block_on(async {
            let seen = service.ready().await.unwrap().call(true).await.unwrap();
            assert_eq!(seen, [id, id]);
            assert_eq!(told.recv().unwrap(), id);
            let abandoned = service.ready().await.unwrap().call(false);
            assert!(tokio::spawn(abandoned_soon(abandoned)).await.unwrap());
            assert_eq!(told.recv().unwrap(), id);
            assert_ne!(Handle::current().id(), id);
        });
    }

    async fn abandoned_soon<F: Future + Unpin>(mut call: F) -> bool {
        let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut call).poll(context)));
        polled.await.is_pending()
    }
}
