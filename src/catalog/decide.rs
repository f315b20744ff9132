//! Deciding a change: what creating and updating do to a resource of any kind.
//!
//! Times are set here and compared nowhere. What makes a resource sound, and how a change is stored,
//! is the caller's to say.

use super::fold::Change;
use super::{Done, Error};
use crate::domain::catalog::{Business, Notice, Purpose, Sender};
use crate::domain::time::Timestamp;

/// The change to append, if any, and the resource as it then stands.
pub(super) type Decided<T> = (Option<Change>, (T, Done));

/// A resource with the times that the catalogue gives it.
pub(super) trait Dated: Clone + PartialEq {
    /// The same with these times.
    fn dated(&self, create_time: Timestamp, update_time: Timestamp) -> Self;

    /// When it was created and last changed.
    fn times(&self) -> (Timestamp, Timestamp);
}

macro_rules! dated {
    ($($resource:ident),+) => {
        $(impl Dated for $resource {
            fn dated(&self, create_time: Timestamp, update_time: Timestamp) -> Self {
                Self { create_time, update_time, ..self.clone() }
            }

            fn times(&self) -> (Timestamp, Timestamp) {
                (self.create_time, self.update_time)
            }
        })+
    };
}

dated!(Business, Sender, Purpose);

/// A notice never changes.
impl Dated for Notice {
    fn dated(&self, create_time: Timestamp, _: Timestamp) -> Self {
        Self {
            create_time,
            ..self.clone()
        }
    }

    fn times(&self) -> (Timestamp, Timestamp) {
        (self.create_time, self.create_time)
    }
}

/// Creates what is not known yet and `sound`; finds what is known with the same content. `name` is for
/// whoever gives other content.
pub(super) fn create<T: Dated>(
    given: &T,
    known: Option<&T>,
    now: Timestamp,
    name: impl FnOnce() -> String,
    sound: impl FnOnce(&T) -> Result<(), Error>,
    change: impl FnOnce(T) -> Change,
) -> Result<Decided<T>, Error> {
    let Some(known) = known else {
        sound(given)?;
        let created = given.dated(now, now);
        return Ok((Some(change(created.clone())), (created, Done::Created)));
    };
    if is_the_same(given, known) {
        Ok((None, (known.clone(), Done::Unchanged)))
    } else {
        Err(Error::AlreadyExists { what: name() })
    }
}

/// Replaces what is known by what is `sound`, unless it is the same.
pub(super) fn update<T: Dated>(
    given: &T,
    known: &T,
    now: Timestamp,
    sound: impl FnOnce(&T) -> Result<(), Error>,
    change: impl FnOnce(T) -> Change,
) -> Result<Decided<T>, Error> {
    if is_the_same(given, known) {
        return Ok((None, (known.clone(), Done::Unchanged)));
    }
    sound(given)?;
    let (created, _) = known.times();
    let updated = given.dated(created, now);
    Ok((Some(change(updated.clone())), (updated, Done::Updated)))
}

fn is_the_same<T: Dated>(given: &T, known: &T) -> bool {
    let (created, updated) = known.times();
    given.dated(created, updated) == *known
}
