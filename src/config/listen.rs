//! Where the service listens: an address and a port, or a Unix domain socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::value::Value;

/// How the name of a Unix domain socket begins.
const UNIX: &str = "unix:";

/// Where the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    /// A socket in the file system: only this machine's processes reach it.
    Unix(PathBuf),
}

impl Listen {
    /// Whether other machines may reach it.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }

    /// The address, if it has one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// Neither an address with a port nor `unix:PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", <Listen as Value>::EXPECTED)]
pub struct NotAPlace;

impl FromStr for Listen {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        match text.strip_prefix(UNIX) {
            // As tonic's clients take `unix:///path`, too.
            Some(path) => match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(NotAPlace),
                path => Ok(Self::Unix(path.into())),
            },
            None => text.parse().map(Self::Tcp).map_err(|_| NotAPlace),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Value for Listen {
    const EXPECTED: &'static str = "an IP address and a port, such as `127.0.0.1:50051` or \
         `[::1]:50051`, or `unix:PATH`";
    const PLACEHOLDER: &'static str = "ADDRESS";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        for text in [
            "127.0.0.1:50051",
            "[::1]:0",
            "unix:/run/gate.sock",
            "unix:gate.sock",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        let long = "unix:///run/gate.sock".parse::<Listen>().unwrap();
        assert_eq!(long, Listen::Unix("/run/gate.sock".into()));
        for text in [
            "",
            "localhost:1",
            "127.0.0.1",
            "unix:",
            "unix://",
            "/run/gate.sock",
        ] {
            assert_eq!(text.parse::<Listen>(), Err(NotAPlace), "{text}");
        }
    }
}
