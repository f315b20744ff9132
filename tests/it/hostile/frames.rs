//! Frames that break the protocol, headers without end, and what is packed to be larger than it looks.

use std::time::Duration;

use tonic::Code;
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::Attack;
use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, frame, head, header, length,
};
use crate::process::Place;

const PROTOCOL_ERROR: u8 = 1;
const FLOW_CONTROL_ERROR: u8 = 3;
const FRAME_SIZE_ERROR: u8 = 6;
const COMPRESSION_ERROR: u8 = 9;
const ENHANCE_YOUR_CALM: u8 = 11;

#[tokio::test]
async fn what_is_no_http2_is_closed_and_what_breaks_it_is_told_how() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    for said in [
        b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n".as_slice(),
        &[0; 64],
        &[0xFF; 64],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r!\0\0\0\0\0\0\0\0\0",
        &[
            22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
    ] {
        let mut wire = Wire::silent(&gate).await;
        wire.send(said).await.unwrap();
        wire.rest().await;
    }
    let ping = [7; 8];
    for (said, code) in [
        // A length that no frame may have here: 16 MiB.
        (
            vec![0xFF, 0xFF, 0xFF, DATA, 0, 0, 0, 0, 1],
            FRAME_SIZE_ERROR,
        ),
        (frame(SETTINGS, 0, 0, &[1]), FRAME_SIZE_ERROR),
        (frame(PING, 0, 0, &ping[1..]), FRAME_SIZE_ERROR),
        (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        (
            frame(HEADERS, END_HEADERS, 2, &head("CheckConsent")),
            PROTOCOL_ERROR,
        ),
        (
            frame(CONTINUATION, END_HEADERS, 1, &head("CheckConsent")),
            PROTOCOL_ERROR,
        ),
        (frame(RST_STREAM, 0, 7, &[0; 4]), PROTOCOL_ERROR),
        (frame(PING, 0, 1, &ping), PROTOCOL_ERROR),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        (
            frame(WINDOW_UPDATE, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF]),
            FLOW_CONTROL_ERROR,
        ),
        (
            frame(HEADERS, END_HEADERS, 1, &[0xFF; 20]),
            COMPRESSION_ERROR,
        ),
        // Another frame in the middle of a head.
        (
            [
                frame(HEADERS, 0, 1, &head("CheckConsent")),
                frame(PING, 0, 0, &ping),
            ]
            .concat(),
            PROTOCOL_ERROR,
        ),
    ] {
        let mut wire = Wire::open(&gate).await;
        wire.send(&said).await.unwrap();
        // Of frames of a wrong size some libraries say the one, some the other.
        let told = wire.closed_by().await.expect("a GOAWAY");
        assert!([code, PROTOCOL_ERROR].contains(&told), "{told}: {said:?}");
    }
    let outcome = "18 ways to break HTTP/2: each told its error and closed";
    attack.survived(&gate, 16 << 10, outcome).await;
    gate.stop().await;
}

/// A status with nothing else ends its stream by its headers ("Trailers-Only" in gRPC's protocol over HTTP/2). What comes
/// after them some clients take for a stream that broke.
#[tokio::test]
async fn a_refusal_is_headers_alone() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let mut wire = Wire::open(&gate).await;
    // Without a name of a business.
    let empty = [0; 5];
    for (stream, method) in [
        (1, "CheckConsent"),
        (3, "BatchCheckConsent"),
        (5, "RecordConsent"),
        (7, "GetConsent"),
    ] {
        let mut call = frame(HEADERS, END_HEADERS, stream, &head(method));
        call.extend(frame(DATA, END_STREAM, stream, &empty));
        wire.send(&call).await.unwrap();
        let answer = loop {
            let came = wire.next().await.expect("an answer");
            if (came.kind, came.stream) == (HEADERS, stream) {
                break came;
            }
        };
        assert_eq!(answer.flags & END_STREAM, END_STREAM, "{method}");
    }
}

#[tokio::test]
async fn more_headers_than_the_limit_are_refused_however_they_come() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);

    // One list of 20 KB, which is over the limit of 16: this call is refused, the next one is not.
    let mut list = head("CheckConsent");
    list.extend(header("x-long", &"a".repeat(20_000)));
    let (start, rest) = list.split_at(16_000);
    let mut wire = Wire::open(&gate).await;
    wire.send(&frame(HEADERS, END_STREAM, 1, start))
        .await
        .unwrap();
    wire.send(&frame(CONTINUATION, END_HEADERS, 1, rest))
        .await
        .unwrap();
    let small = head("CheckConsent");
    wire.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &small))
        .await
        .unwrap();
    let (mut refused, mut answered) = (None, false);
    while !answered {
        let came = wire.next().await.expect("the connection stays");
        match (came.stream, came.kind) {
            // 431 by its literal, or by an RST_STREAM.
            (1, HEADERS | RST_STREAM) => refused = Some(came),
            (3, HEADERS) => answered = true,
            _ => {}
        }
    }
    assert!(refused.is_some());

    // A head that never ends.
    let mut wire = Wire::open(&gate).await;
    wire.send(&frame(HEADERS, 0, 1, &head("CheckConsent")))
        .await
        .unwrap();
    let piece = frame(CONTINUATION, 0, 1, &header("x", &"a".repeat(8_000)));
    let taken = wire.push(&piece, 100_000, Duration::from_secs(20)).await;
    assert!(taken < 100_000, "all of it was taken");

    // One header of 4 KB in the table, and then the number of its place, thousands of times: 60 MB from 16 KB.
    let mut bomb = head("CheckConsent");
    bomb.push(0x40);
    bomb.extend(length(1));
    bomb.push(b'x');
    bomb.extend(length(4_000));
    bomb.extend([b'a'; 4_000]);
    bomb.extend([0x80 | 62; 12_000]);
    let (start, rest) = bomb.split_at(16_000);
    for _ in 0..50 {
        let mut wire = Wire::open(&gate).await;
        wire.send(&frame(HEADERS, END_STREAM, 1, start))
            .await
            .unwrap();
        wire.send(&frame(CONTINUATION, END_HEADERS, 1, rest))
            .await
            .unwrap();
        loop {
            let came = wire.next().await;
            if came.is_none_or(|came| came.stream == 1) {
                break;
            }
        }
    }
    let outcome = format!(
        "a head of 20 KB refused, one without end cut off after {taken} pieces of 8 KB, 50 of 60 MB packed into 16 KB refused"
    );
    attack.survived(&gate, 32 << 10, &outcome).await;
    gate.stop().await;
}

#[tokio::test]
async fn whoever_makes_the_server_reset_calls_for_ever_is_sent_away() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    let (mut wire, mut sent) = (Wire::open(&gate).await, Vec::new());
    // Each call is opened, and then broken by more window than there can be: the server has to reset it.
    for number in 0..3_000u32 {
        let stream = 2 * number + 1;
        sent.extend(frame(HEADERS, END_HEADERS, stream, &head("CheckConsent")));
        sent.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7F, 0xFF, 0xFF, 0xFF]));
    }
    // It may be closed before all is sent.
    wire.send(&sent).await.ok();
    assert!(
        matches!(wire.closed_by().await, Some(ENHANCE_YOUR_CALM) | None),
        "closed for another reason"
    );
    let outcome = "3,000 calls that must be reset: sent away";
    attack.survived(&gate, 32 << 10, outcome).await;
    gate.stop().await;
}

/// Calls a check with this body; the code of the answer.
async fn code(gate: &crate::process::gate::Gate, encoding: Option<&str>, body: &str) -> Code {
    let path = "/consentgate.v1.ConsentService/CheckConsent";
    let mut request = http::Request::post(format!("http://{}{path}", gate.address()))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(Body::new(body.to_owned())).unwrap();
    let mut channel = gate.channel();
    let ready = channel.ready().await.unwrap();
    let answer = ready.call(request).await.unwrap();
    let code = answer
        .headers()
        .get("grpc-status")
        .expect("refused at once");
    Code::from_bytes(code.as_bytes())
}

#[tokio::test]
async fn what_is_compressed_or_claims_to_be_huge_is_refused_unread() {
    let place = Place::sqlite();
    let gate = place.gate().await;
    let attack = Attack::on(&gate);
    for encoding in ["gzip", "zstd", "deflate", "nonsense"] {
        let found = code(&gate, Some(encoding), "\u{1}\0\0\0\u{5}hello").await;
        assert_eq!(found, Code::Unimplemented, "{encoding}");
    }
    // A compressed message of a call that names no compression.
    let found = code(&gate, None, "\u{1}\0\0\0\u{5}hello").await;
    assert_eq!(found, Code::Internal);
    // 2 GiB to come: nothing is made ready for it.
    let found = code(&gate, None, "\0\u{7f}\u{7f}\u{7f}\u{7f}hello").await;
    assert_eq!(found, Code::ResourceExhausted);
    let outcome = "compressed, or of 2 GiB by its own word: refused unread";
    attack.survived(&gate, 16 << 10, outcome).await;
    gate.stop().await;
}
