//! The messages of requests while they come in: how long one is waited for, and how much of all of them is
//! kept.
//!
//! The transport limits what a connection may send ahead of its reader, and one message. But a message is
//! read as it comes: a thousand calls on each of many connections could each send most of one and stop.
//! Who calls is known only once the message is there, so this holds for everybody.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;

use super::status;

/// Bytes of each message that are not counted: checks and opt-outs are smaller, so a full house refuses
/// neither, and neither pays for counting.
const FREE: u64 = 4 << 10;

/// The one method whose request has many messages, each read when the one before is done with. Who calls it
/// is asked before the first.
const STREAM: &str = "/StreamCheckConsent";

/// How patient the server is with requests.
#[derive(Debug, Clone)]
pub struct Patience(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    silence: Option<Duration>,
    most: u64,
    held: AtomicU64,
}

impl Patience {
    /// Waits at most so long for the next bytes of a request, and keeps at most so many bytes of all.
    pub fn new(silence: Option<Duration>, most: u64) -> Self {
        let held = AtomicU64::new(0);
        Self(Arc::new(Limits {
            silence,
            most,
            held,
        }))
    }

    /// The request, which now ends with an error where its message takes too long or too much.
    pub(super) fn with(&self, request: Request<Body>) -> Request<Body> {
        if request.body().is_end_stream() {
            return request;
        }
        let counted = !request.uri().path().ends_with(STREAM);
        let limits = Arc::clone(&self.0);
        request.map(|body| {
            Body::new(Awaited {
                body,
                limits,
                counted,
                came: 0,
                waiting: None,
            })
        })
    }
}

/// The body of a request that is being read.
struct Awaited {
    body: Body,
    limits: Arc<Limits>,
    counted: bool,
    /// Bytes so far.
    came: u64,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Awaited {
    fn held(&self) -> u64 {
        match self.counted {
            true => self.came.saturating_sub(FREE),
            false => 0,
        }
    }

    /// Counts what came; whether there is room for it.
    fn take(&mut self, bytes: usize) -> bool {
        let before = self.held();
        self.came += u64::try_from(bytes).unwrap_or(u64::MAX >> 1);
        let more = self.held() - before;
        // What is over is counted, too, until the call is gone: that is at once.
        more == 0 || self.limits.held.fetch_add(more, Ordering::Relaxed) + more <= self.limits.most
    }

    fn is_too_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(silence) = self.limits.silence else {
            return false;
        };
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(silence)));
        waiting.as_mut().poll(context).is_ready()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let held = self.held();
        if held > 0 {
            self.limits.held.fetch_sub(held, Ordering::Relaxed);
        }
    }
}

impl http_body::Body for Awaited {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            Poll::Ready(came) => {
                self.waiting = None;
                let data = came
                    .as_ref()
                    .and_then(|came| came.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, |data| data.len());
                match self.take(bytes) {
                    true => Poll::Ready(came),
                    false => Poll::Ready(Some(Err(status::crowded()))),
                }
            }
            Poll::Pending if self.is_too_late(context) => {
                let late = "the rest of the request did not come in time: nothing was decided";
                Poll::Ready(Some(Err(status::deadline_exceeded(late))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    /// A body that sends this text and then nothing, for ever.
    struct Stalling(Option<String>);

    impl http_body::Body for Stalling {
        type Data = <Body as http_body::Body>::Data;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
            match self.0.take() {
                Some(text) => Poll::Ready(Some(Ok(Frame::data(text.into())))),
                None => Poll::Pending,
            }
        }
    }

    fn stalling(patience: &Patience, path: &str, bytes: usize) -> Body {
        let body = Body::new(Stalling(Some("x".repeat(bytes))));
        let request = Request::builder().uri(path).body(body).unwrap();
        patience.with(request).into_body()
    }

    async fn next(body: &mut Body) -> Result<usize, Code> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        let frame = frame.unwrap().map_err(|status| status.code())?;
        Ok(frame.data_ref().unwrap().len())
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_request_is_waited_for_so_long_and_no_longer() {
        let patience = Patience::new(Some(Duration::from_secs(3)), 1 << 20);
        let mut body = stalling(&patience, "/s/CheckConsent", 9);
        let begun = Instant::now();
        assert_eq!(next(&mut body).await, Ok(9));
        assert_eq!(next(&mut body).await, Err(Code::DeadlineExceeded));
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        let endless = Patience::new(None, 1 << 20);
        let mut body = stalling(&endless, "/s/CheckConsent", 9);
        next(&mut body).await.unwrap();
        let hour = Duration::from_hours(1);
        assert!(tokio::time::timeout(hour, next(&mut body)).await.is_err());
    }

    #[tokio::test]
    async fn what_all_requests_hold_is_limited_small_ones_apart_and_given_back() {
        let patience = Patience::new(None, 10_000);
        let big = usize::try_from(FREE).unwrap() + 6_000;
        let mut first = stalling(&patience, "/s/RecordConsent", big);
        assert_eq!(next(&mut first).await, Ok(big));
        let mut second = stalling(&patience, "/s/RecordConsent", big);
        assert_eq!(next(&mut second).await, Err(Code::ResourceExhausted));
        for (path, bytes) in [("/s/Withdraw", 4 << 10), ("/s/StreamCheckConsent", big)] {
            let mut other = stalling(&patience, path, bytes);
            assert_eq!(next(&mut other).await, Ok(bytes), "{path}");
        }
        drop((first, second));
        assert_eq!(patience.0.held.load(Ordering::Relaxed), 0);
        let mut third = stalling(&patience, "/s/RecordConsent", big);
        assert_eq!(next(&mut third).await, Ok(big));
    }
}
