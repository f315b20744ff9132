//! Accepting connections: no more than the limits, and none that never says what it is.
//!
//! Tonic's own listener tries again at full speed, silently, while no file descriptor is left, and
//! keeps who connects and says nothing for ever. This one says what is wrong, rests, and closes. What it
//! accepts is opened where it will be served ([`super::lanes`]). Where there is TLS, each connection's handshake is done by the task that will serve it, when it first reads
//! or writes: a slow one delays nobody. What a connection carries is tonic's business.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::Accept;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::crowd::{Crowd, Place};
use super::socket::{BoxedWire, RawWire, Socket, Wire};
use super::tls::Tls;
use crate::auth::Certificate;
use crate::telemetry::Seldom;

/// How long to rest when no connection can be accepted: until then perhaps one has closed.
const REST: Duration = Duration::from_millis(100);

/// Longest time from connecting to the end of the preface, which a client sends without being asked; a
/// handshake before it included.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of the preface that every HTTP/2 client begins with (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// How many connections there may be at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: u32,
    /// `None`: as many as of all.
    pub(super) of_one_address: Option<u32>,
}

/// The connections of a listening socket, as they come.
#[derive(Debug)]
pub(super) struct Connections {
    socket: Socket,
    tls: Option<Arc<Tls>>,
    limits: Limits,
    places: Arc<Semaphore>,
    crowd: Crowd,
    stop: CancellationToken,
    starving: Seldom,
    crowded: Seldom,
    pushing: Seldom,
}

impl Connections {
    /// At most so many at a time. After `stop` whoever has not said what it is, is let go.
    pub(super) fn new(
        socket: Socket,
        tls: Option<Arc<Tls>>,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        let most = usize::try_from(limits.all).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            socket,
            tls,
            limits,
            crowd: Crowd::default(),
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            stop,
            starving: Seldom::default(),
            crowded: Seldom::default(),
            pushing: Seldom::default(),
        }
    }

    /// The next one that may come in.
    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            match self.socket.accept().await {
                Ok((wire, from)) => {
                    if let Some(accepted) = self.admit(wire, from) {
                        return accepted;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.starve(&error);
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Lets a connection in, or closes it at once: a client then hears of it and may go elsewhere,
    /// while one that is not accepted waits for its deadline.
    fn admit(&mut self, wire: RawWire, from: Option<IpAddr>) -> Option<Accepted> {
        let own = match (from, self.limits.of_one_address) {
            (Some(address), Some(most)) => {
                let place = self.crowd.admit(address, most);
                if place.is_none() {
                    self.push_back(most);
                }
                Some(place?)
            }
            (None, _) | (_, None) => None,
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            if let Some(since) = self.crowded.says() {
                tracing::warn!(
                    max_connections = self.limits.all,
                    refused = since,
                    "new connections are refused: as many are open as `max_connections` allows"
                );
            }
            return None;
        };
        Some(Accepted {
            wire,
            tls: self.tls.clone(),
            stop: self.stop.clone(),
            held: Held {
                _place: place,
                _own: own,
                _lane: None,
            },
        })
    }

    /// Without the address, which may be a person's: the system tells it to whoever runs the service.
    fn push_back(&mut self, most: u32) {
        if let Some(since) = self.pushing.says() {
            tracing::warn!(
                max_connections_per_address = most,
                refused = since,
                "new connections of an address are refused: it has as many as \
                 `max_connections_per_address` allows"
            );
        }
    }

    fn starve(&mut self, error: &io::Error) {
        if let Some(since) = self.starving.says() {
            tracing::error!(
                %error,
                attempts = since,
                "no connection can be accepted, new callers wait. If too many files are open: raise \
                 the limit (ulimit -n), or set `max_connections` well below it"
            );
        }
    }
}

/// Whether only the connection that was to be accepted is at fault; the next one may be sound.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// What is given back when a connection ends.
#[derive(Debug)]
struct Held {
    _place: OwnedSemaphorePermit,
    _own: Option<Place>,
    _lane: Option<Arc<()>>,
}

/// A connection that was let in, and belongs to no runtime yet.
#[derive(Debug)]
pub(super) struct Accepted {
    wire: RawWire,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
    held: Held,
}

impl Accepted {
    /// The same, counted where it will be served.
    pub(super) fn on(mut self, lane: &Arc<()>) -> Self {
        self.held._lane = Some(Arc::clone(lane));
        self
    }

    /// Opens it in the runtime that will serve it. Time for its preface begins here.
    pub(super) fn open(self) -> io::Result<Connection> {
        let wire = self.wire.open()?;
        let (stage, certificate) = match self.tls {
            None => (Stage::Open(wire), Certificate::default()),
            Some(tls) => {
                let accept = Box::new(tls.acceptor().accept(wire));
                let expected = tls.expected();
                (Stage::Handshake(accept, tls), expected)
            }
        };
        Ok(Connection {
            stage,
            certificate,
            opening: Some(Opening {
                missing: PREFACE,
                limit: Box::pin(tokio::time::sleep(HANDSHAKE)),
                stop: Box::pin(self.stop.cancelled_owned()),
            }),
            _held: self.held,
        })
    }
}

/// An accepted connection. Reading from it fails if its preface does not come in time.
#[derive(Debug)]
pub(super) struct Connection {
    stage: Stage,
    certificate: Certificate,
    /// Until its preface has come.
    opening: Option<Opening>,
    _held: Held,
}

enum Stage {
    Handshake(Box<Accept<BoxedWire>>, Arc<Tls>),
    Open(BoxedWire),
    /// Its handshake failed or took too long.
    Closed,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handshake(..) => "Handshake",
            Self::Open(_) => "Open",
            Self::Closed => "Closed",
        })
    }
}

#[derive(Debug)]
struct Opening {
    missing: usize,
    limit: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Opening {
    /// Whether no more of it is waited for.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.limit.as_mut().poll(context).is_ready() || self.stop.as_mut().poll(context).is_ready()
    }
}

impl Connection {
    /// The wire, once its handshake is done.
    fn poll_wire(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut (dyn Wire + 'static)>>> {
        if let Stage::Handshake(accept, tls) = &mut self.stage {
            let done = match Pin::new(accept.as_mut()).poll(context) {
                Poll::Ready(Ok(stream)) => {
                    let (_, session) = stream.get_ref();
                    tls.shown(&self.certificate, session.peer_certificates());
                    Ok(stream)
                }
                Poll::Ready(Err(error)) => {
                    tls.failed(&error);
                    Err(error)
                }
                Poll::Pending => {
                    let opening = self.opening.as_mut();
                    if !opening.is_some_and(|opening| opening.is_over(context)) {
                        return Poll::Pending;
                    }
                    Err(io::ErrorKind::TimedOut.into())
                }
            };
            match done {
                Ok(stream) => self.stage = Stage::Open(Box::pin(stream)),
                Err(error) => {
                    self.stage = Stage::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.stage {
            Stage::Open(wire) => Ok(wire.as_mut()),
            Stage::Handshake(..) | Stage::Closed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl Connected for Connection {
    type ConnectInfo = Certificate;

    fn connect_info(&self) -> Certificate {
        self.certificate.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(self.poll_wire(context))?.poll_read(context, buffer);
        let Some(begun) = &mut self.opening else {
            return read;
        };
        begun.missing = begun.missing.saturating_sub(buffer.filled().len() - before);
        if begun.missing == 0 {
            self.opening = None;
        } else if begun.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_wire(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_wire(context))?.poll_flush(context)
    }

    /// A handshake that has not ended has nothing to say goodbye to.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stage {
            Stage::Open(wire) => wire.as_mut().poll_shutdown(context),
            Stage::Handshake(..) | Stage::Closed => {
                self.stage = Stage::Closed;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_wire(context))?.poll_write_vectored(context, slices)
    }

    /// Every wire takes several slices at a time: TCP, Unix sockets and TLS.
    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::Instant;

    use super::*;

    /// A client, and what the listener made of it.
    async fn connected(stop: &CancellationToken) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Socket::Tcp(listener);
        let limits = Limits {
            all: 9,
            of_one_address: Some(1),
        };
        let mut connections = Connections::new(socket, None, limits, stop.clone());
        let client = TcpStream::connect(address).await.unwrap();
        (client, connections.accept().await.open().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_its_preface_in_time_is_let_go() {
        for said in [0, 1, PREFACE - 1] {
            let stop = CancellationToken::new();
            let (mut client, mut connection) = connected(&stop).await;
            client.write_all(&vec![b'x'; said]).await.unwrap();
            let begun = Instant::now();
            let mut heard = Vec::new();
            let error = connection.read_to_end(&mut heard).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!((heard.len(), begun.elapsed() >= HANDSHAKE), (said, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_its_preface_may_be_silent_and_outlives_the_stop() {
        let stop = CancellationToken::new();
        let (mut client, mut connection) = connected(&stop).await;
        client.write_all(&[b'x'; PREFACE]).await.unwrap();
        connection.read_exact(&mut [0; PREFACE]).await.unwrap();
        stop.cancel();
        let silent = tokio::time::timeout(10 * HANDSHAKE, connection.read_u8()).await;
        assert!(silent.is_err(), "{silent:?}");
        client.write_all(b"y").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'y');
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_who_said_nothing_is_let_go_at_once() {
        let stop = CancellationToken::new();
        let (_client, mut connection) = connected(&stop).await;
        let begun = Instant::now();
        stop.cancel();
        assert!(connection.read_u8().await.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
