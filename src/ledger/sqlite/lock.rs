//! Keeping a second process out of a SQLite file.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Migrate, OpenError};

/// The lock file's path: the database's with `.lock` appended.
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// The database's own path, whatever link led to it. A new database begins as an empty file.
pub(super) fn real_path(path: &Path, migrate: Migrate) -> std::io::Result<PathBuf> {
    let create = migrate == Migrate::Yes;
    File::options()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .open(path)?;
    path.canonicalize()
}

/// How long a lock may take to become free: who held it may be gone while a process that it just
/// started still shares its files.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn wait_for_lock(path: &Path) -> Result<File, OpenError> {
    const PAUSE: Duration = Duration::from_millis(25);
    let mut waited = Duration::ZERO;
    loop {
        match take_lock(path) {
            Err(OpenError::Locked(_)) if waited < LOCK_PATIENCE => {
                tokio::time::sleep(PAUSE).await;
                waited += PAUSE;
            }
            done => return done,
        }
    }
}

/// Two locks keep a second process out: the file beside the database says so by its name, and the
/// one on the database's own inode holds also where that file was removed or the database has a
/// second name. (SQLite's own locks are of another kind, so the two do not meet.)
fn take_lock(path: &Path) -> Result<File, OpenError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(OpenError::Lock)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let path = path.display();
            Err(OpenError::Locked(format!("`{path}` is locked")))
        }
        Err(TryLockError::Error(error)) => Err(OpenError::Lock(error)),
    }
}
