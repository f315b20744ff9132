//! Telling a commit that is durable from one of which the server warns that it may not be.
//!
//! Where a synchronous standby is waited for and somebody cancels the wait, PostgreSQL says that the
//! commit succeeded, with a warning that it may not have been replicated. sqlx hands the warning to
//! nobody: it logs it. So the log is where it is caught, for the statement at hand alone, by a
//! subscriber that is in force while the statement's future is polled.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use super::super::Error;

/// Where sqlx logs what the server says beside its answers.
const TARGET: &str = "sqlx::postgres::notice";

/// The server warned, so the outcome is unknown.
#[derive(Debug, thiserror::Error)]
#[error("the database warned that a commit may not have been replicated")]
struct NotReplicated;

/// Runs a statement whose commit must be durable: a warning on the way is an unknown outcome.
pub(super) async fn durably<T>(
    statement: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut statement = Watched {
        inner: Box::pin(statement),
        warned: false,
    };
    let result = (&mut statement).await;
    if statement.warned {
        tracing::warn!("{NotReplicated}: its outcome is taken for unknown");
        return result.and(Err(Error::Unavailable(NotReplicated.into())));
    }
    result
}

struct Watched<F> {
    inner: Pin<Box<F>>,
    warned: bool,
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        WARNED.set(false);
        let polled =
            tracing::dispatcher::with_default(&LISTENER, || self.inner.as_mut().poll(context));
        self.warned |= WARNED.take();
        polled
    }
}

thread_local! {
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener));

/// Hears warnings of the server, and nothing else.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, _: &Event<'_>) {
        WARNED.set(true);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
