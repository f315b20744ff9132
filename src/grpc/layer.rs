//! What every call shares: its span and metrics, its deadline, and the codes of the transport.
//!
//! Around each call: the time it took by method and code; whether it is done at all, or refused for
//! how long it waited to begin ([`super::shed`]); `OUT_OF_RANGE`, by which the transport refuses a
//! message over the limit, becomes `RESOURCE_EXHAUSTED`. The deadline is read once, and
//! raced just before the transport's own timer, which would drop the handler and say `CANCELLED`.
//! Streams that have no end of their own (a probe that watches, a tool that reflects) end when the
//! server does: the transport would wait for them as for calls that work. A stream that works is told,
//! and ends by itself between two chunks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument;

use super::patience::Patience;
use super::shed::{Class, Shedding};
use super::status;
use crate::clock::Clock;
use crate::consents::progress::Progress;
use crate::telemetry::Rpcs;

// As names, since each call looks them up: as text they would be read anew each time.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// How the paths of gRPC's own services begin: health and reflection, whose streams only callers end.
const INFRASTRUCTURE: &str = "/grpc.";

/// When a caller stops waiting (`None`: never), and where writes go that outlive it.
#[derive(Debug, Clone, Default)]
pub struct Deadline {
    at: Option<Instant>,
    writes: TaskTracker,
}

impl Deadline {
    /// Reads `grpc-timeout`, of a call that arrived so long ago. A little earlier than the caller's
    /// own, so that our answer and not the transport's timer ends the call.
    fn from_headers(headers: &HeaderMap, waited: Duration, writes: TaskTracker) -> Self {
        let timeout = headers
            .get(&TIMEOUT)
            .and_then(|value| parse_timeout(value.to_str().ok()?));
        let at = timeout.and_then(|timeout| {
            let margin = (timeout / 10).min(Duration::from_millis(10));
            Instant::now().checked_add((timeout - margin).saturating_sub(waited))
        });
        Self { at, writes }
    }

    /// Whether the caller had given up before its call began.
    fn is_past(&self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    #[cfg(test)]
    pub(super) fn at(instant: Instant) -> Self {
        Self {
            at: Some(instant),
            ..Self::default()
        }
    }

    pub(super) async fn passed(self) {
        match self.at {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

/// `8 digits at most and a unit`, as the gRPC protocol has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = text.get(..unit_at)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3_600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The deadline of a call.
pub(super) fn deadline<T>(request: &tonic::Request<T>) -> Deadline {
    request.extensions().get().cloned().unwrap_or_default()
}

/// Answers a call that changes nothing; stops working on it when its deadline passes.
pub(super) async fn read<T>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let mut call = std::pin::pin!(call);
    // What is in memory is answered at once: no timer is made for it.
    if let Poll::Ready(answer) =
        std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await
    {
        return answer;
    }
    tokio::select! {
        biased;
        answer = call => answer,
        () = deadline.passed() => {
            Err(status::deadline_exceeded("the deadline passed; nothing was decided: do not send"))
        }
    }
}

/// Carries out the work of a call as a task of its own, in its span; it ends when nobody waits for it any more.
pub(super) async fn elsewhere<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let task = AbortOnDropHandle::new(tokio::spawn(work.in_current_span()));
    match task.await {
        Ok(answer) => answer,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Its runtime has ended.
        Err(_) => Err(status::leaving()),
    }
}

/// Answers a call that writes. The write is a task of its own, begun here: when the deadline passes
/// or the caller leaves, it goes on.
pub(super) fn write<T: Send + 'static>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> impl Future<Output = Result<T, Status>> {
    let progress = Progress::default();
    let told = progress.clone();
    let late = move || match told.is_committed() {
        true => {
            "the deadline passed; the write is committed, and not yet confirmed by all instances: \
             repeat it with the same idempotency key"
        }
        false => {
            "the deadline passed before the write was confirmed; it may be committed: repeat it \
             with the same idempotency key"
        }
    };
    write_telling(deadline, late, progress.of(call))
}

/// As [`write`], for what may wait for its turn at the database: see [`Shedding::turn`]. Whoever is
/// given up meanwhile is not begun.
pub(super) fn write_in_turn<T: Send + 'static>(
    deadline: Deadline,
    shedding: &Shedding,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> impl Future<Output = Result<T, Status>> {
    let (shedding, caller) = (shedding.clone(), deadline.at);
    write(deadline, async move {
        let _turn = shedding.turn(caller).await?;
        call.await
    })
}

/// As [`write`], with what a caller is told that is too late.
pub(super) fn write_saying<'a, T: Send + 'static>(
    deadline: Deadline,
    late: &'a str,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> impl Future<Output = Result<T, Status>> + 'a {
    write_telling(deadline, move || late, call)
}

fn write_telling<'a, T: Send + 'static>(
    deadline: Deadline,
    late: impl FnOnce() -> &'a str,
    call: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> impl Future<Output = Result<T, Status>> {
    let task = deadline.writes.spawn(call.in_current_span());
    async move {
        tokio::select! {
            biased;
            answer = task => answer.unwrap_or_else(|error| {
                Err(status::of(&crate::consents::Error::Internal(Box::new(error))))
            }),
            () = deadline.passed() => Err(status::deadline_exceeded(late())),
        }
    }
}

/// Observes every call.
#[derive(Debug, Clone)]
pub struct CallLayer(Arc<Shared>);

impl CallLayer {
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

/// What all calls share.
#[derive(Debug)]
pub struct Shared {
    pub rpcs: Rpcs,
    pub shedding: Shedding,
    pub clock: Arc<dyn Clock>,
    /// Writes that have begun: a shutdown waits for them.
    pub writes: TaskTracker,
    /// Cancelled when no new call is taken.
    pub stop: CancellationToken,
    /// Bytes.
    pub max_message_size: u64,
    pub patience: Patience,
}

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;

    fn layer(&self, inner: S) -> Call<S> {
        Call {
            inner,
            arrived: self.0.clock.steady(),
            shared: Arc::clone(&self.0),
        }
    }
}

/// A service whose calls are observed.
#[derive(Debug)]
pub struct Call<S> {
    inner: S,
    /// Steady time at which this was cloned.
    arrived: Duration,
    shared: Arc<Shared>,
}

/// The transport clones the service for each call that it has read, in the connection's task, and
/// calls the clone when the call's own task begins: between the two the call waits for its turn.
impl<S: Clone> Clone for Call<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            arrived: self.shared.clock.steady(),
            shared: self.shared.clone(),
        }
    }
}

impl<S, Out> Service<Request<Body>> for Call<S>
where
    S: Service<Request<Body>, Response = Response<Out>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Out: http_body::Body + Default + Send + 'static,
{
    type Response = Response<Counted<Out>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let started = self.arrived;
        let waited = shared.clock.steady().saturating_sub(started);
        let method = shared.rpcs.method(request.uri().path());
        let class = shared.shedding.class(method);
        let deadline = Deadline::from_headers(request.headers(), waited, shared.writes.clone());
        let refused = shared.shedding.admit(class, waited);
        let endless = request.uri().path().starts_with(INFRASTRUCTURE);
        let end = endless.then(|| shared.stop.clone().cancelled_owned());
        if endless {
            let stop = shared.stop.clone();
            request = request.map(|body| Body::new(Until::new(body, stop)));
        } else {
            request = shared.patience.with(request);
        }
        let span = shared.rpcs.span(method, request.headers(), started);
        let mut observed = Observed {
            shared,
            method,
            span,
            started,
            code: None,
            open: true,
        };
        // What may restrict is done whoever waits for it.
        let given_up = class != Class::Exempt && deadline.is_past();
        if refused.is_some() || given_up {
            drop(request);
            return Box::pin(async move {
                let headers = match refused {
                    Some(refused) => refused.answer(deadline.at).await,
                    None => status::given_up_headers(),
                };
                observed.code = code_of(&headers);
                let mut response = Response::new(Counted {
                    body: Out::default(),
                    end: None,
                    observed,
                });
                *response.headers_mut() = headers;
                Ok(response)
            });
        }
        request.extensions_mut().insert(deadline);
        let span = observed.span.clone();
        let call = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let mut response = call.await?;
            let most = observed.shared.max_message_size;
            observed.code = translate(response.headers_mut(), most);
            Ok(response.map(|body| Counted {
                body,
                end,
                observed,
            }))
        })
    }
}

/// A request body that ends when the server does, also if its caller would go on: whoever reads it
/// stops waiting, and the transport need not.
#[derive(Debug)]
struct Until {
    body: Body,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Until {
    fn new(body: Body, stop: CancellationToken) -> Self {
        let end = Box::pin(stop.cancelled_owned());
        Self { body, end }
    }
}

impl http_body::Body for Until {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        if self.end.as_mut().poll(context).is_ready() {
            // Dropping the caller's body is what tells the transport.
            self.body = Body::empty();
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The transport refuses a message over the limit with `OUT_OF_RANGE`, which gRPC keeps for
/// iterating past an end; nothing of ours uses that code. Answers the code that is told, if one is told
/// before the message.
fn translate(headers: &mut HeaderMap, max_message_size: u64) -> Option<i32> {
    let code = code_of(headers);
    if code != Some(Code::OutOfRange as i32) {
        return code;
    }
    headers.extend(status::too_large(max_message_size));
    code_of(headers)
}

fn code_of(headers: &HeaderMap) -> Option<i32> {
    headers.get(&STATUS)?.to_str().ok()?.parse().ok()
}

/// One call until its end.
#[derive(Debug)]
struct Observed {
    shared: Arc<Shared>,
    method: crate::telemetry::Method,
    span: tracing::Span,
    started: Duration,
    code: Option<i32>,
    open: bool,
}

impl Observed {
    fn finish(&mut self, code: i32) {
        if std::mem::take(&mut self.open) {
            let Shared { rpcs, clock, .. } = self.shared.as_ref();
            let took = clock.steady().saturating_sub(self.started);
            rpcs.finish(self.method, &self.span, code, took);
        }
    }
}

/// A call whose body is dropped before its end was cancelled by its caller.
impl Drop for Observed {
    fn drop(&mut self) {
        self.finish(self.code.unwrap_or(Code::Cancelled as i32));
    }
}

pin_project_lite::pin_project! {
    /// A response body that notes the status in its trailers, and may be ended early.
    #[derive(Debug)]
    pub struct Counted<B> {
        #[pin]
        body: B,
        #[pin]
        end: Option<WaitForCancellationFutureOwned>,
        observed: Observed,
    }
}

impl<B: http_body::Body> http_body::Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut polled = this.body.poll_frame(context);
        // After the body: what it has to say is said first.
        if polled.is_pending()
            && let Some(end) = this.end.as_pin_mut()
        {
            let trailers = end.poll(context).map(|()| status::leaving_trailers());
            polled = trailers.map(|trailers| Some(Ok(http_body::Frame::trailers(trailers))));
        }
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                // A later message of a stream may be too large, too.
                if let Some(trailers) = frame.trailers_mut() {
                    translate(trailers, this.observed.shared.max_message_size);
                }
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    this.observed.finish(code);
                }
            }
            Poll::Ready(Some(Err(_))) => this.observed.finish(Code::Unknown as i32),
            Poll::Ready(None) => this.observed.finish(this.observed.code.unwrap_or(0)),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_timeout_is_read_as_the_protocol_writes_it() {
        for (text, expected) in [
            ("1H", Some(Duration::from_hours(1))),
            ("3M", Some(Duration::from_mins(3))),
            ("5S", Some(Duration::from_secs(5))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("123456789S", None),
            ("-1S", None),
            ("5ß", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_at_its_deadline_and_a_write_goes_on() {
        let soon = || Deadline {
            at: Some(Instant::now() + Duration::from_millis(5)),
            ..Deadline::default()
        };
        let late = read(soon(), std::future::pending::<Result<(), Status>>())
            .await
            .unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded);

        let (sender, receiver) = tokio::sync::oneshot::channel();
        let slow = async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send("done").unwrap();
            Ok(())
        };
        assert_eq!(
            write(soon(), slow).await.unwrap_err().code(),
            Code::DeadlineExceeded
        );
        assert_eq!(receiver.await.unwrap(), "done");
    }

    #[test]
    fn a_message_over_the_limit_is_an_exhausted_resource() {
        let mut headers = HeaderMap::new();
        headers.insert(&STATUS, HeaderValue::from_static("11"));
        translate(&mut headers, 4_711);
        assert_eq!(code_of(&headers), Some(8));
        assert_eq!(headers.get_all(&STATUS).iter().count(), 1);
    }
}
