//! Telling a commit that is durable from one of which the server warns that it may not be.
//!
//! Where a synchronous standby is waited for and somebody cancels the wait, PostgreSQL says that the
//! commit succeeded, with a warning that it may not have been replicated. sqlx hands the warning to
//! nobody: it logs it. So the log is where it is caught, for the statement at hand alone, by a
//! subscriber that is in force while the statement's future is polled. What else is logged meanwhile, and
//! the warning itself, it hands on to the one that was in force before; spans it does not.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

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
        let polled = {
            let _before = Before::kept();
            dispatcher::with_default(&LISTENER, || self.inner.as_mut().poll(context))
        };
        self.warned |= WARNED.take();
        polled
    }
}

thread_local! {
    static WARNED: Cell<bool> = const { Cell::new(false) };
    /// Who was in force on this thread before the listener.
    static BEFORE: RefCell<Option<Dispatch>> = const { RefCell::new(None) };
}

/// Keeps who is in force, as long as it lives. A listener within a listener hands on to the same.
struct Before(Option<Dispatch>);

impl Before {
    fn kept() -> Self {
        let outer = BEFORE.take();
        let before = match &outer {
            Some(outer) => outer.clone(),
            None => dispatcher::get_default(Clone::clone),
        };
        BEFORE.set(Some(before));
        Self(outer)
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        BEFORE.set(self.0.take());
    }
}

/// Asks who was in force before.
fn before<T: Default>(ask: impl FnOnce(&Dispatch) -> T) -> T {
    BEFORE.with_borrow(|before| before.as_ref().map(ask).unwrap_or_default())
}

static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener));

/// Hears warnings of the server, and hands on every event.
struct Listener;

/// Whether it is a warning of the server.
fn is_warning(metadata: &Metadata<'_>) -> bool {
    metadata.target() == TARGET && *metadata.level() <= Level::WARN
}

impl Subscriber for Listener {
    /// Asked each time: who was in force before differs from thread to thread.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_event() {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // A span would go on after the listener, which does not know who was in force then.
        metadata.is_event() && (is_warning(metadata) || before(|before| before.enabled(metadata)))
    }

    /// What it hears itself; who else wants less or more says so.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if is_warning(metadata) {
            WARNED.set(true);
        }
        before(|before| {
            // Asked once more, since a warning of the server is let through whoever wants it.
            if before.enabled(metadata) {
                before.event(event);
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs a statement with a log, and tells what it came to and what was logged.
    fn logged<T>(statement: impl Future<Output = Result<T, Error>>) -> (Result<T, Error>, String) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let result = tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(durably(statement))
        });
        let bytes = log.0.lock().unwrap().clone();
        (result, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_logged_meanwhile_is_logged() {
        let (result, log) = logged(async {
            tracing::info!("one");
            tokio::task::yield_now().await;
            durably(async {
                tracing::info!("two");
                Ok(())
            })
            .await?;
            tracing::info!("three");
            tracing::debug!("nobody asked");
            Ok(7)
        });
        assert_eq!(result.unwrap(), 7);
        let words: Vec<&str> = log
            .lines()
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        assert_eq!(words, ["one", "two", "three"], "{log}");
    }

    #[test]
    fn a_warning_of_the_server_makes_the_outcome_unknown_and_is_logged() {
        let (result, log) = logged(async {
            tracing::warn!(target: TARGET, "might not have been replicated");
            Ok(())
        });
        assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
        assert!(log.contains("might not have been replicated"), "{log}");
        assert!(log.contains("is taken for unknown"), "{log}");
    }

    #[test]
    fn other_notices_of_the_server_leave_the_outcome_known() {
        let (result, log) = logged(async {
            tracing::info!(target: TARGET, "a notice");
            tracing::warn!("of ours");
            Ok(())
        });
        result.unwrap();
        assert!(log.contains("a notice") && log.contains("of ours"), "{log}");
    }
}
