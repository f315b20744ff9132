//! A wire to a database that can be made to carry nothing, without either end being told.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A TCP proxy. What is connected when it falls silent stays silent for ever, as behind a firewall that has forgotten
/// the connection; what connects while it is silent is accepted, and silent too.
#[derive(Debug)]
pub struct Cable {
    url: String,
    silences: watch::Sender<Silence>,
    listening: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    now: bool,
    /// How often it has fallen silent.
    count: u32,
}

impl Cable {
    /// A wire to the host and port of a PostgreSQL URL.
    pub async fn to(url: &str) -> Self {
        let after_user = url.split_once('@').expect("user@host:port/name").1;
        let (host, _) = after_user.split_once('/').expect("host:port/name");
        let target: SocketAddr = host.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let silences = watch::Sender::new(Silence {
            now: false,
            count: 0,
        });
        let heard = silences.subscribe();
        let listening = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(near, target, heard.clone()));
            }
        });
        Self {
            url: url.replace(host, &here.to_string()),
            silences,
            listening: listening.abort_handle(),
        }
    }

    /// The same database over this wire.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn fall_silent(&self) {
        self.silences.send_modify(|silence| {
            silence.now = true;
            silence.count += 1;
        });
    }

    /// Carries what connects from now on.
    pub fn carry_again(&self) {
        self.silences.send_modify(|silence| silence.now = false);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut silences: watch::Receiver<Silence>) {
    let begun = *silences.borrow_and_update();
    if !begun.now {
        let mut far = TcpStream::connect(target).await.unwrap();
        tokio::select! {
            // One end is gone, which the other one hears of.
            _ = copy_bidirectional(&mut near, &mut far) => return,
            _ = silences.wait_for(|silence| silence.count != begun.count) => {}
        }
        // Both stay open; nobody reads.
        silences.wait_for(|_| false).await.ok();
        drop(far);
    }
    silences.wait_for(|_| false).await.ok();
}
