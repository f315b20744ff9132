//! Streams: an audience is sent in chunks, by a client that was generated from the contract, as fast as it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use consentgate::grpc::proto;
use consentgate::grpc::proto::consent_service_client::ConsentServiceClient;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Endpoint;

use super::closed::{Done, Until};
use crate::audience;

/// So many streams at a time, each on a connection of its own, with the chunk that `chunk` makes of each number. What is
/// counted as calls is chunks that were answered; every one of them must be answered whole.
pub async fn run(
    address: SocketAddr,
    authorization: Option<&str>,
    streams: usize,
    until: Until,
    chunk: impl Fn(u64) -> Vec<u64> + Send + Sync + 'static,
) -> anyhow::Result<Done> {
    let (next, chunk) = (Arc::new(AtomicU64::new(0)), Arc::new(chunk));
    let mut running = JoinSet::new();
    let started = Instant::now();
    for _ in 0..streams {
        let channel = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = channel.connect().await?;
        let mut client = ConsentServiceClient::new(channel).max_decoding_message_size(4 << 20);
        let (next, chunk) = (Arc::clone(&next), Arc::clone(&chunk));
        let chunks = std::iter::from_fn(move || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let ended = match until {
                Until::Calls(limit) => number >= limit,
                Until::Passed(limit) => started.elapsed() >= limit,
                Until::Either(calls, limit) => number >= calls || started.elapsed() >= limit,
            };
            (!ended).then(|| audience::chunk(chunk(number)))
        });
        let all = std::iter::once(audience::question()).chain(chunks);
        let mut request = Request::new(tokio_stream::iter(all));
        if let Some(authorization) = authorization {
            let value = authorization.parse().context("a header")?;
            request.metadata_mut().insert("authorization", value);
        }
        running.spawn(async move {
            let mut answers = client.stream_check_consent(request).await?.into_inner();
            let (mut calls, mut people) = (0, 0);
            while let Some(answer) = answers.message().await? {
                let answer: proto::StreamCheckConsentResponse = answer;
                ensure!(answer.first_index == people, "answers are missing");
                people += i64::try_from(answer.results.len())?;
                calls += 1;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(ended) = running.join_next().await {
        calls += ended??;
    }
    let took = started.elapsed();
    Ok(Done { calls, took })
}
