//! The threads that serve connections: each has a runtime of its own, and each connection lives on one of them.
//!
//! A runtime that several threads share lets whatever was woken last go first. A connection is woken by the first of
//! its answers that is ready, so it would write each by itself; here it writes all that its turn has brought. Nor do
//! connections wake threads that then find nothing to do. What a call begins (statements, timers, tasks that outlive
//! it) stays on the runtime in which the server was started: see [`crate::grpc`]. Accepting is the listener's business.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::{io, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport;

use super::listener::{Accepted, Connections};
use crate::grpc::ServiceRouter;

/// Connections that may wait for their thread to take them. Beyond it accepting waits.
const WAITING: usize = 64;

/// All of them. Dropped, they end at once, whatever is under way.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    ended: JoinSet<Ended>,
    _cut: DropGuard,
}

/// How one ended; an outer `Err` is a panic's.
type Ended = thread::Result<Result<(), transport::Error>>;

#[derive(Debug)]
struct Lane {
    hand: mpsc::Sender<Accepted>,
    /// Held by each of its connections.
    open: Arc<()>,
}

impl Lanes {
    /// As many as there are processors. They end some time after `stop`: when their calls have.
    pub(super) fn start(router: &ServiceRouter, stop: &CancellationToken) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cut = CancellationToken::new();
        let _cut = cut.clone().drop_guard();
        let (mut lanes, mut ended) = (Vec::new(), JoinSet::new());
        for _ in 0..count {
            let (hand, handed) = mpsc::channel(WAITING);
            let (tell, told) = oneshot::channel();
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (router, stop, cut) = (router.clone(), stop.clone(), cut.clone());
            // They belong to whoever starts them, also by name.
            let name = thread::current().name().unwrap_or("lane").to_owned();
            thread::Builder::new().name(name).spawn(move || {
                let life = || serve(runtime, router, handed, &stop, &cut);
                let served = catch_unwind(AssertUnwindSafe(life));
                // Nobody may listen any more.
                let _ = tell.send(served);
            })?;
            ended.spawn(async { told.await.unwrap_or(Ok(Ok(()))) });
            let open = Arc::default();
            lanes.push(Lane { hand, open });
        }
        Ok(Self { lanes, ended, _cut })
    }

    /// Hands out connections until `stop`, and returns when all calls have ended.
    pub(super) async fn serve(
        mut self,
        mut connections: Connections,
        stop: CancellationToken,
    ) -> Result<(), transport::Error> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(early) = self.ended.join_next() => return result(early),
                accepted = connections.accept() => accepted,
            };
            let open = |lane: &&Lane| Arc::strong_count(&lane.open);
            let Some(lane) = self.lanes.iter().min_by_key(open) else {
                break;
            };
            // If it has just ended, the next turn says how.
            let _ = lane.hand.send(accepted.on(&lane.open)).await;
        }
        // Closed at once, so that new callers go elsewhere.
        drop(connections);
        self.lanes.clear();
        while let Some(ended) = self.ended.join_next().await {
            result(ended)?;
        }
        Ok(())
    }
}

fn result(ended: Result<Ended, JoinError>) -> Result<(), transport::Error> {
    match ended.map_err(JoinError::into_panic) {
        Ok(Ok(served)) => served,
        Ok(Err(panic)) | Err(panic) => resume_unwind(panic),
    }
}

/// The life of one thread.
fn serve(
    runtime: Runtime,
    router: ServiceRouter,
    handed: mpsc::Receiver<Accepted>,
    stop: &CancellationToken,
    cut: &CancellationToken,
) -> Result<(), transport::Error> {
    let served = runtime.block_on(async {
        // One that cannot be opened is gone already.
        let connections = ReceiverStream::new(handed).filter_map(|one| one.open().map(Ok).ok());
        let connections = connections.map(|one: Result<_, io::Error>| one);
        let stopped = stop.clone().cancelled_owned();
        tokio::select! {
            served = router.serve_with_incoming_shutdown(connections, stopped) => served,
            () = cut.cancelled() => Ok(()),
        }
    });
    runtime.shutdown_background();
    served
}
