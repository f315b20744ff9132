//! HTTP/2 by hand, so that it can be broken by hand.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::gate::{Gate, LIMIT};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame, whatever sense it makes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as HPACK has it without its table: neither indexed nor compressed.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(length(text.len()));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A length of HPACK, with a prefix of seven bits.
pub fn length(number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if number < 127 {
        bytes.push(u8::try_from(number).unwrap());
        return bytes;
    }
    bytes.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The head of a call of a method.
pub fn head(method: &str) -> Vec<u8> {
    let path = format!("/consentgate.v1.ConsentService/{method}");
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", &path),
        header(":authority", "gate"),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
    ]
    .concat()
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of an RST_STREAM or a GOAWAY.
    pub fn error(&self) -> u8 {
        match self.kind {
            GOAWAY => self.payload[7],
            _ => self.payload[3],
        }
    }
}

/// A client of a gate that sends whatever it likes.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects, and says nothing.
    pub async fn silent(gate: &Gate) -> Self {
        Self(TcpStream::connect(gate.address()).await.unwrap())
    }

    /// Connects, and says what every client does, with a window for all that may come.
    pub async fn open(gate: &Gate) -> Self {
        let mut wire = Self::silent(gate).await;
        let wide = 0x3FFF_FFFFu32.to_be_bytes();
        let mut hello = PREFACE.to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &wide));
        wire.send(&hello).await.unwrap();
        wire
    }

    /// Takes the server's settings and its window, which hold from then on: before, the protocol's own do.
    pub async fn settle(&mut self) {
        const ACK: u8 = 1;
        let (mut settings, mut window) = (false, false);
        while !(settings && window) {
            let came = self.next().await.expect("its settings");
            settings |= came.kind == SETTINGS;
            window |= (came.kind, came.stream) == (WINDOW_UPDATE, 0);
        }
        self.send(&frame(SETTINGS, ACK, 0, &[])).await.unwrap();
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Sends for at most so long; says how much was taken.
    pub async fn push(&mut self, chunk: &[u8], times: usize, limit: Duration) -> usize {
        let mut sent = 0;
        let pushing = async {
            for _ in 0..times {
                if self.0.write_all(chunk).await.is_err() {
                    return;
                }
                sent += 1;
            }
        };
        tokio::time::timeout(limit, pushing).await.ok();
        sent
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let size = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(size).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload,
            })
        };
        let read = tokio::time::timeout(LIMIT, read).await;
        read.expect("something comes, or the end")
    }

    /// Everything until the connection is closed.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }

    /// The error code by which the connection is closed; `None`: without a word.
    pub async fn closed_by(&mut self) -> Option<u8> {
        let all = self.rest().await;
        let last = all.iter().rfind(|frame| frame.kind == GOAWAY);
        last.map(Frame::error)
    }

    /// Whether it is closed by now, once all that came is read.
    pub async fn closed_by_now(&mut self) -> bool {
        let reading = async { while self.next().await.is_some() {} };
        let wait = Duration::from_secs(2);
        tokio::time::timeout(wait, reading).await.is_ok()
    }
}
