//! Files that settings name and that are read again when they change: noticing that, and reading them.
//!
//! They are looked at by size, times and inode, not by notifications, which do not reach mounted secrets. One that is not
//! usable stops the start, and later changes nothing but a line of the log and a metric. What is in them is for
//! others to say.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::telemetry::{Metrics, Reread};

/// How often files are looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(2);

/// No file is larger: a list of a hundred thousand revoked certificates has 4 MB.
const LARGEST: u64 = 64 << 20;

/// What is wrong with a file, by the setting that names it. Never holds anything of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}`: `{}` is not usable: {fault}", .path.display())]
pub struct FileError {
    setting: &'static str,
    path: PathBuf,
    fault: String,
}

/// A file that a setting names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) setting: &'static str,
    pub(super) path: PathBuf,
}

impl Named {
    pub(super) fn fault(&self, fault: impl ToString) -> FileError {
        FileError {
            setting: self.setting,
            path: self.path.clone(),
            fault: fault.to_string(),
        }
    }

    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        self.read_open(self.open()?)
    }

    /// As [`Named::read`], of a file that not everybody may read.
    pub(super) fn read_secret(&self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let file = self.open()?;
        let metadata = file.metadata().map_err(|error| self.fault(error))?;
        if let Some(mode) = open_to_all(&metadata) {
            let fault = format!("everybody may read it (mode {mode:o}): chmod o-rwx");
            return Err(self.fault(fault));
        }
        self.read_open(file)
    }

    fn open(&self) -> Result<File, FileError> {
        File::open(&self.path).map_err(|error| self.fault(error))
    }

    fn read_open(&self, file: File) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        match read {
            Ok(size) if u64::try_from(size).is_ok_and(|size| size <= LARGEST) => Ok(bytes),
            Ok(_) => Err(self.fault("it is too large")),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// What changes with the file; nothing while there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        fs::metadata(&self.path).ok().map(|found| Stamp::of(&found))
    }
}

/// The mode of a file that everybody on the machine may read. A group may: certificates are often handed
/// to services by one.
fn open_to_all(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o777;
        (mode & 0o007 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// By what a change of a file is noticed, also if it is as long as before and written in the same second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<std::time::SystemTime>,
    /// Which file it is, and when anything of it changed last.
    #[cfg(unix)]
    inode: [i64; 4],
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: [
                metadata.dev().cast_signed(),
                metadata.ino().cast_signed(),
                metadata.ctime(),
                metadata.ctime_nsec(),
            ],
        }
    }
}

/// Takes what was read of a file that changed, or says why not.
pub(super) fn took<T>(
    metrics: &Metrics,
    what: Reread,
    read: Result<T, FileError>,
    take: impl FnOnce(T),
) {
    metrics.reread(what, read.is_ok());
    let file = what.name();
    match read {
        Ok(read) => {
            take(read);
            tracing::info!(file, "a file changed: the new one holds");
        }
        Err(error) => tracing::error!(
            file,
            %error,
            "a file changed and is not usable: the old one holds"
        ),
    }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
