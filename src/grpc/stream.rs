//! `StreamCheckConsent`: chunks of an audience in, their answers out, in order.
//!
//! While one answer is being written, the next chunk is in work, and no more: a chunk is read only
//! once there is room for its answer. So memory does not depend on the audience, and whoever does not
//! read is not read from. The transport's windows bound what has been sent and not been taken.
//!
//! What a chunk's answer is, `consents` decides; how messages read, `convert` knows.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Instrument;

use super::convert::{answer, check};
use super::layer::Deadline;
use super::shed::{Batch, Shedding};
use super::usage::{self, Meter};
use super::{proto, status};
use crate::consents::check::{Asked, BatchChecked};
use crate::consents::{Consents, Error};
use crate::domain::address::Address;

/// Answers that may wait for the transport to take them. One: the next chunk is in work meanwhile.
const WAITING: usize = 1;

/// Who decides.
pub(super) trait Decides: Send + Sync + 'static {
    /// What is held while a chunk of so many people is in work.
    type Place: Send;

    /// A place for a chunk, unless there are too many in work.
    fn place(&self, recipients: usize) -> Result<Self::Place, Status>;

    /// Whether this can be asked at all.
    fn resolves(&self, asked: &Asked) -> impl Future<Output = Result<(), Error>> + Send;

    /// The decisions on one chunk, from nothing older than this call.
    fn decide(
        &self,
        asked: &Asked,
        addresses: &[Address],
    ) -> impl Future<Output = Result<BatchChecked, Error>> + Send;
}

/// The use cases, as many at a time as the server has room for.
pub(super) struct Bounded {
    pub(super) consents: Consents,
    pub(super) shedding: Shedding,
    /// Of whoever opened the stream.
    pub(super) meter: Arc<Meter>,
}

impl Decides for Bounded {
    type Place = Batch;

    fn place(&self, recipients: usize) -> Result<Batch, Status> {
        self.meter.spend(recipients)?;
        self.shedding.batch(recipients)
    }

    async fn resolves(&self, asked: &Asked) -> Result<(), Error> {
        self.consents.resolves(asked).await
    }

    async fn decide(&self, asked: &Asked, addresses: &[Address]) -> Result<BatchChecked, Error> {
        let checked = self.consents.check_many(asked, addresses).await?;
        self.meter
            .saw(checked.verdicts.len(), usage::unknown(&checked.verdicts));
        Ok(checked)
    }
}

/// What is handed to the transport, in this order: answers, then one end.
#[derive(Debug)]
enum Step {
    Answer(proto::StreamCheckConsentResponse),
    End(Result<(), Status>),
}

/// The answers of one stream. Dropped, nothing is read or decided for it any more.
#[derive(Debug)]
pub struct Answers {
    steps: mpsc::Receiver<Step>,
    ended: bool,
}

/// Begins to answer. The work is a task of its own, so that it goes on while an answer is written.
/// `stop` is cancelled when no new chunk is taken.
pub(super) fn answers<R>(
    decides: impl Decides,
    requests: R,
    deadline: Deadline,
    stop: CancellationToken,
) -> Answers
where
    R: Stream<Item = Result<proto::StreamCheckConsentRequest, Status>> + Send + Unpin + 'static,
{
    let (steps, taken) = mpsc::channel(WAITING + 1);
    let reserved = steps.clone();
    let work = async move {
        // Taken at once, so that the end can be told to somebody who does not read.
        let Ok(end) = reserved.reserve().await else {
            return;
        };
        let ended = tokio::select! {
            biased;
            () = steps.closed() => return,
            ended = answer_all(&decides, requests, &steps, &stop) => ended,
            () = deadline.passed() => Err(status::deadline_exceeded(
                "the deadline passed; of chunks without an answer nothing is decided: do not send \
                 to those",
            )),
        };
        end.send(Step::End(ended));
    };
    tokio::spawn(work.in_current_span());
    Answers {
        steps: taken,
        ended: false,
    }
}

/// Answers until the caller's side ends, or the server does.
async fn answer_all<R>(
    decides: &impl Decides,
    mut requests: R,
    steps: &mpsc::Sender<Step>,
    stop: &CancellationToken,
) -> Result<(), Status>
where
    R: Stream<Item = Result<proto::StreamCheckConsentRequest, Status>> + Send + Unpin,
{
    let first = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(status::leaving()),
        first = requests.next() => first.transpose()?,
    };
    let question = check::stream_question(first).map_err(|e| status::of(&e))?;
    let asked = question.asked;
    let of_question = |error: Error| status::of(&error.within(check::QUESTION));
    decides.resolves(&asked).await.map_err(of_question)?;
    let mut first_index = question.first_index;
    loop {
        // First the room, then the chunk. Between two chunks the stream may end with the server.
        let next = async {
            let room = steps.reserve().await.ok()?;
            Some((room, requests.next().await?))
        };
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(status::leaving()),
            next = next => next,
        };
        let Some((room, request)) = next else {
            return Ok(());
        };
        let recipients = check::stream_chunk(request?).map_err(|e| status::of(&e))?;
        let _place = decides.place(recipients.len())?;
        let (addresses, faults) = check::people(check::CHUNK, recipients).await;
        let count = i64::try_from(faults.len()).unwrap_or(i64::MAX);
        let checked = decides.decide(&asked, &addresses).await;
        let checked = checked.map_err(of_question)?;
        let answer = answer::stream_checked(checked, faults, first_index).await;
        room.send(Step::Answer(answer));
        first_index = first_index.saturating_add(count);
    }
}

impl Stream for Answers {
    type Item = Result<proto::StreamCheckConsentResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.steps.poll_recv(context).map(|step| match step {
            Some(Step::Answer(answer)) => Some(Ok(answer)),
            Some(Step::End(ended)) => {
                self.ended = true;
                ended.err().map(Err)
            }
            // The work ended without a word: it panicked. That must not look like a whole audience.
            None => {
                self.ended = true;
                let fault = "the work of a stream ended early";
                Some(Err(status::of(&Error::Internal(fault.into()))))
            }
        })
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
