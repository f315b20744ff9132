//! Accepting connections: no more than the limit, and none that never says what it is.
//!
//! Tonic's own listener tries again at full speed, silently, while no file descriptor is left, and
//! keeps who connects and says nothing for ever. This one says what is wrong, rests, and closes. What
//! a connection carries is tonic's business.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::telemetry::Seldom;

/// How long to rest when no connection can be accepted: until then perhaps one has closed.
const REST: Duration = Duration::from_millis(100);

/// Longest time from connecting to the end of the preface, which a client sends without being asked.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of the preface that every HTTP/2 client begins with (RFC 9113, section 3.4).
const PREFACE: usize = 24;

/// The connections of a listening socket, as they come. Never ends.
#[derive(Debug)]
pub(super) struct Connections {
    listener: TcpListener,
    limit: u32,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    rest: Option<Pin<Box<Sleep>>>,
    starving: Seldom,
    crowded: Seldom,
}

impl Connections {
    /// At most `limit` at a time. After `stop` whoever has not said what it is, is let go.
    pub(super) fn new(listener: TcpListener, limit: u32, stop: CancellationToken) -> Self {
        let most = usize::try_from(limit).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            listener,
            limit,
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            stop,
            rest: None,
            starving: Seldom::default(),
            crowded: Seldom::default(),
        }
    }

    /// Lets a connection in, or closes it at once: a client then hears of it and may go elsewhere,
    /// while one that is not accepted waits for its deadline.
    fn admit(&mut self, stream: TcpStream) -> Option<Connection> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            if let Some(since) = self.crowded.says() {
                tracing::warn!(
                    max_connections = self.limit,
                    refused = since,
                    "new connections are refused: as many are open as `max_connections` allows"
                );
            }
            return None;
        };
        // It fails only for a connection that is gone again, which reading from it tells.
        let _ = stream.set_nodelay(true);
        Some(Connection {
            stream,
            opening: Some(Opening {
                missing: PREFACE,
                limit: Box::pin(tokio::time::sleep(HANDSHAKE)),
                stop: Box::pin(self.stop.clone().cancelled_owned()),
            }),
            _place: place,
        })
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
        self.rest = Some(Box::pin(tokio::time::sleep(REST)));
    }
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match ready!(self.listener.poll_accept(context)) {
                Ok((stream, _)) => {
                    if let Some(connection) = self.admit(stream) {
                        return Poll::Ready(Some(Ok(connection)));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => self.starve(&error),
            }
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

/// An accepted connection. Reading from it fails if its preface does not come in time.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Until its preface has come.
    opening: Option<Opening>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Opening {
    missing: usize,
    limit: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            stream, opening, ..
        } = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(context, buffer);
        let Some(begun) = opening else { return read };
        begun.missing = begun.missing.saturating_sub(buffer.filled().len() - before);
        if begun.missing == 0 {
            *opening = None;
        } else if begun.limit.as_mut().poll(context).is_ready()
            || begun.stop.as_mut().poll(context).is_ready()
        {
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
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;
    use tokio_stream::StreamExt;

    use super::*;

    /// A client, and what the listener made of it.
    async fn connected(limit: u32, stop: &CancellationToken) -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Connections::new(listener, limit, stop.clone());
        let client = TcpStream::connect(address).await.unwrap();
        (client, connections.next().await.unwrap().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_its_preface_in_time_is_let_go() {
        for said in [0, 1, PREFACE - 1] {
            let stop = CancellationToken::new();
            let (mut client, mut connection) = connected(9, &stop).await;
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
        let (mut client, mut connection) = connected(9, &stop).await;
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
        let (_client, mut connection) = connected(9, &stop).await;
        let begun = Instant::now();
        stop.cancel();
        assert!(connection.read_u8().await.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
