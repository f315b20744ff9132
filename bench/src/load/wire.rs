//! gRPC calls with as little around them as can be: one HTTP/2 connection, bytes in, bytes out. So that what is measured
//! is the server. Knows no message.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{Method, Request, Uri};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub struct Wire {
    sender: SendRequest<Bytes>,
}

/// What a call is: a method, and who calls.
#[derive(Debug, Clone)]
pub struct Call {
    head: Request<()>,
}

impl Call {
    pub fn to(path: &str, authorization: Option<&str>) -> anyhow::Result<Self> {
        let mut head = Request::builder()
            .method(Method::POST)
            .uri(
                Uri::builder()
                    .scheme("http")
                    .authority("localhost")
                    .path_and_query(path)
                    .build()?,
            )
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        if let Some(authorization) = authorization {
            head = head.header("authorization", authorization);
        }
        Ok(Self {
            head: head.body(())?,
        })
    }
}

impl Wire {
    /// Connects, and drives the connection in a task of its own.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// A connection that is there already.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(64 << 10)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            // Its calls fail, and say so.
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Sends a framed message; the answer is waited for by [`answer`].
    pub async fn send(&mut self, call: &Call, frame: Bytes) -> anyhow::Result<ResponseFuture> {
        std::future::poll_fn(|context| self.sender.poll_ready(context))
            .await
            .context("the connection is gone")?;
        let (response, mut body) = self.sender.send_request(call.head.clone(), false)?;
        body.send_data(frame, true)?;
        Ok(response)
    }

    /// One call, from its first byte to its trailers: the answer's bytes with their frame's head.
    pub async fn call(&mut self, call: &Call, frame: Bytes) -> anyhow::Result<Vec<u8>> {
        let response = self.send(call, frame).await?;
        answer(response).await
    }

    /// As [`Wire::call`], with messages.
    pub async fn ask<A: Message + Default>(
        &mut self,
        call: &Call,
        frame: Bytes,
    ) -> anyhow::Result<A> {
        let bytes = self.call(call, frame).await?;
        let message = bytes.get(5..).context("an answer without a frame")?;
        Ok(A::decode(message)?)
    }
}

/// The bytes of an answer; an error for a call that failed.
pub async fn answer(response: ResponseFuture) -> anyhow::Result<Vec<u8>> {
    let (head, mut body) = response.await?.into_parts();
    let status = head.headers.get("grpc-status").cloned();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let status = status.or_else(|| trailers.get("grpc-status").cloned());
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        String::from_utf8_lossy(value.map_or(b"".as_slice(), |value| value.as_bytes())).into_owned()
    };
    match status {
        Some(status) if status == "0" => Ok(bytes),
        Some(status) => bail!(Failed {
            code: status.to_str().unwrap_or_default().parse().unwrap_or(2),
            message: text("grpc-message"),
        }),
        None => bail!("HTTP {} without a gRPC status", head.status),
    }
}

/// A call that was answered with another code than OK.
#[derive(Debug)]
pub struct Failed {
    pub code: i32,
    message: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "gRPC status {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failed {}
