//! Reads for many people at once: how batches and streams read without keeping single checks waiting.
//!
//! They are cut into statements of bounded size, of which only a share of the database's connections
//! is under way at a time. All else is left to single checks and to writes, however many batches
//! come. What is read is the caches' business.
//!
//! Measured with PostgreSQL 15 on two busy cores, a million subjects of 100 bytes in memory, medians
//! of 20 rounds. 10,000 subjects through one connection took 144 ms, and 67 ms through four, in
//! statements of 1,000. Put in the order of the index first, which then finds its pages in the
//! processor's caches, they took 61 ms, and in statements of 500 54 ms. A statement for each
//! partition (`partition = $1 AND subject_key = ANY ($2)`) is cheaper for the database, 1.6 µs a
//! subject where the join takes 5, and reads the same number of pages. But there are 64 of them: 51
//! ms for 10,000 subjects, and 19 ms instead of 10 for 1,000. So people are not split by partition;
//! the order alone brings those of a partition into the same statement.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;

use crate::ledger::{self, SubjectRef};

/// The most people of one statement.
pub const STATEMENT: usize = 500;

/// Up to so many people are read together with single checks: they cost about the same.
pub const FEW: usize = 32;

/// The most statements at a time, however many connections there are: more only make each slower.
const MOST: u32 = 8;

/// The share of the database's connections that reads for many may take.
#[derive(Debug, Clone)]
pub struct Lane(Arc<Semaphore>);

impl Lane {
    /// A quarter of so many connections, at least one.
    pub fn of(connections: u32) -> Self {
        let places = (connections / 4).clamp(1, MOST);
        Self(Arc::new(Semaphore::new(
            usize::try_from(places).unwrap_or(1),
        )))
    }

    /// Runs a read when there is a place for it, in the order of those who ask. It is a task of its
    /// own: those of one batch then use several processors, and each gives others their turn. Once
    /// begun it keeps its place until the database has answered, also when nobody waits for it any
    /// more, since so long it keeps its connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, ledger::Error>> + Send + 'static,
    ) -> Result<T, ledger::Error> {
        // An error would mean that it was closed, which nobody does.
        let place = Arc::clone(&self.0).acquire_owned().await.ok();
        let task = tokio::spawn(async move {
            let read = read.await;
            drop(place);
            read
        });
        task.await
            .unwrap_or_else(|panic| Err(ledger::Error::Rejected(panic.into())))
    }
}

/// The indices of many people in statements, each in the order in which the database keeps them.
pub(super) fn statements(subjects: &[SubjectRef]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..subjects.len()).collect();
    order.sort_unstable_by_key(|index| {
        let subject = &subjects[*index];
        (subject.partition, subject.key)
    });
    order.chunks(STATEMENT).map(<[usize]>::to_vec).collect()
}

/// Those of the people that a statement is about.
pub(super) fn picked(subjects: &[SubjectRef], statement: &[usize]) -> Vec<SubjectRef> {
    let those = statement.iter().map(|index| subjects[*index].clone());
    those.collect()
}

/// What was read for each statement, put back into the order of the people.
pub(super) fn in_order<T>(statements: &[Vec<usize>], read: Vec<Vec<T>>) -> Vec<T> {
    let read = read.into_iter().flatten();
    let mut placed: Vec<(usize, T)> = statements.iter().flatten().copied().zip(read).collect();
    placed.sort_unstable_by_key(|(index, _)| *index);
    placed.into_iter().map(|(_, one)| one).collect()
}

/// Runs a few futures side by side in this task, to the first error. What they give is in their order.
pub(super) async fn together<T, E, F>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running: Vec<Option<Pin<Box<F>>>> = futures.map(|f| Some(Box::pin(f))).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (place, result) in running.iter_mut().zip(&mut done) {
            let Some(future) = place else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(Ok(one)) => *result = Some(one),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => continue,
            }
            *place = None;
        }
        match running.iter().all(Option::is_none) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::BusinessId;
    use crate::ledger::Partition;

    fn people(count: u32) -> Vec<SubjectRef> {
        (0..count)
            .map(|number| {
                let scattered = number.wrapping_mul(2_654_435_761);
                let mut key = [0; 16];
                key[..4].copy_from_slice(&scattered.to_be_bytes());
                SubjectRef {
                    business: BusinessId::parse("acme").unwrap(),
                    partition: Partition(u16::try_from(scattered % 64).unwrap() + 1),
                    key,
                }
            })
            .collect()
    }

    #[test]
    fn statements_hold_everybody_once_in_the_databases_order_and_answers_return_to_their_places() {
        for count in [1, 499, 500, 501, 10_000] {
            let people = people(count);
            let statements = statements(&people);
            assert!(statements.iter().all(|one| one.len() <= STATEMENT));
            let read: Vec<_> = statements.iter().map(|one| picked(&people, one)).collect();
            let places = read.iter().flatten().map(|one| (one.partition, one.key));
            assert!(places.is_sorted());
            assert_eq!(in_order(&statements, read), people);
        }
    }

    #[test]
    fn a_quarter_of_the_connections_is_shared_and_never_none() {
        for (connections, places) in [(1, 1), (4, 1), (16, 4), (17, 4), (100, 8), (u32::MAX, 8)] {
            let lane = Lane::of(connections);
            assert_eq!(lane.0.available_permits(), places, "{connections}");
        }
    }

    #[tokio::test]
    async fn futures_run_side_by_side_and_the_first_error_ends_them() {
        // Each waits for the next one: one after the other they would never end.
        let barrier = tokio::sync::Barrier::new(3);
        let turns = (0..3).map(|number| {
            let barrier = &barrier;
            async move {
                barrier.wait().await;
                Ok::<_, ()>(number)
            }
        });
        assert_eq!(together(turns).await, Ok(vec![0, 1, 2]));

        let stuck = (0..3).map(|number| async move {
            match number {
                1 => Err(number),
                _ => std::future::pending::<Result<(), i32>>().await,
            }
        });
        assert_eq!(together(stuck).await, Err(1));
        let none = std::iter::empty::<std::future::Ready<Result<(), ()>>>();
        assert_eq!(together(none).await, Ok(vec![]));
    }
}
