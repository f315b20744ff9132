//! The listening socket: TCP, or a Unix domain socket with the file that it leaves in the file system.
//!
//! The file is taken away at the end, and one that a killed process left is replaced; one that somebody
//! serves, or that is no socket, never is. What connections carry is not known here.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::config::Listen;

/// Connections that may wait to be accepted.
#[cfg(unix)]
const BACKLOG: u32 = 1024;

/// Something that carries a connection's bytes.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Wire for T {}

/// A socket that listens.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

/// The bytes of one connection.
pub(super) type BoxedWire = Pin<Box<dyn Wire>>;

impl Socket {
    /// Listens, and says where: with the port that was taken.
    pub(super) async fn bind(listen: &Listen) -> io::Result<(Self, Listen)> {
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok((Self::Tcp(listener), address.into()))
            }
            #[cfg(unix)]
            Listen::Unix(path) => {
                let (listener, file) = SocketFile::bind(path)?;
                let socket = Self::Unix {
                    listener,
                    _file: file,
                };
                Ok((socket, listen.clone()))
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The next connection, and from where it comes; `None`: from this machine, by a Unix socket.
    pub(super) async fn accept(&self) -> io::Result<(RawWire, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // It fails only for a connection that is gone again, which reading from it tells.
                let _ = stream.set_nodelay(true);
                Ok((RawWire::Tcp(stream.into_std()?), Some(peer.ip())))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((RawWire::Unix(stream.into_std()?), None))
            }
        }
    }
}

/// A connection that belongs to no runtime: it does not block.
#[derive(Debug)]
pub(super) enum RawWire {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl RawWire {
    /// Makes it one of the runtime in which this is called.
    pub(super) fn open(self) -> io::Result<BoxedWire> {
        Ok(match self {
            Self::Tcp(stream) => Box::pin(TcpStream::from_std(stream)?),
            #[cfg(unix)]
            Self::Unix(stream) => Box::pin(UnixStream::from_std(stream)?),
        })
    }
}

/// The file of a Unix domain socket. Dropping it takes the file away.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Held while the socket is ours. It stays when the socket goes: whoever takes a lock's file away may
    /// take that of the next one.
    _lock: File,
}

#[cfg(unix)]
impl SocketFile {
    fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        use std::os::unix::fs::PermissionsExt;
        let lock = lock(path)?;
        remove_stale(path)?;
        let socket = tokio::net::UnixSocket::new_stream()?;
        socket.bind(path)?;
        let file = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        // Before it listens nobody can connect, so nobody gets in between.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok((socket.listen(BACKLOG)?, file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the socket's file was not there any more");
        }
    }
}

/// Two services that start at the same time must not each take the other's socket for a stale one.
fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process serves on this socket",
        )),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes away what a killed process left. Whoever holds the lock may: none of us serves there.
#[cfg(unix)]
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let fault = "there is a file already, which is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, fault));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody who does not lock: another program.
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another program serves on this socket",
        )),
        Err(error) => Err(error),
    }
}
