//! A wire between an instance and its database, which a test can spoil: cut, slow, held up, deaf, refusing, or leading
//! to another database.
//!
//! What is *held* arrives once the wire passes again, as after a partition of the network that TCP outlived. What is
//! *swallowed* never does, and the connection stays so for ever, as behind a firewall that has forgotten it: neither
//! end is told, not even that the other one has closed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::dice::Dice;
use crate::wait::pass;

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// Each piece waits for a random part of this, the pieces after it with it.
    Delay(Duration),
    Hold,
    Swallow,
}

/// Which connections a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    All,
    /// About half of them, by this number: the follower's alone, or all but the follower's, or any other mixture.
    Half(u64),
}

impl Share {
    fn has(self, connection: u64) -> bool {
        match self {
            Self::All => true,
            Self::Half(number) => Dice::new(number ^ (connection << 20)).says(50),
        }
    }
}

/// What a wire does at present.
#[derive(Clone, Copy, Debug)]
struct Rules {
    target: SocketAddr,
    refuses: bool,
    /// From the instance to the database.
    up: Flow,
    down: Flow,
    share: Share,
    cut: Cut,
}

/// The latest order to close connections.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Connections with a lower number are meant.
    below: u64,
    share: Share,
    reset: bool,
}

impl Rules {
    fn up(&self, connection: u64) -> Flow {
        self.met(connection, self.up)
    }

    fn down(&self, connection: u64) -> Flow {
        self.met(connection, self.down)
    }

    fn met(&self, connection: u64, flow: Flow) -> Flow {
        if self.share.has(connection) {
            flow
        } else {
            Flow::Pass
        }
    }

    fn cuts(&self, connection: u64) -> bool {
        connection < self.cut.below && self.cut.share.has(connection)
    }
}

/// A wire. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    /// How many connections there have been.
    connections: watch::Receiver<u64>,
    listening: AbortHandle,
}

impl Proxy {
    /// A wire to this address, on a free port of the loopback interface.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rules = watch::Sender::new(Rules {
            target,
            refuses: false,
            up: Flow::Pass,
            down: Flow::Pass,
            share: Share::All,
            cut: Cut {
                below: 0,
                share: Share::All,
                reset: false,
            },
        });
        let heard = rules.subscribe();
        let (count, connections) = watch::channel(0);
        let listening = tokio::spawn(listen(listener, heard, count));
        Self {
            address,
            rules,
            connections,
            listening: listening.abort_handle(),
        }
    }

    /// The same for what a PostgreSQL URL names; see [`address_in`].
    pub async fn to_url(url: &str) -> Self {
        Self::to(address_in(url)).await
    }

    /// The database of this URL over this wire.
    pub fn url(&self, url: &str) -> String {
        redirect(url, self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What connects from now on gets there. What is connected stays where it is.
    pub fn lead_to(&self, target: SocketAddr) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// Treats the bytes so from now on, those of the connections that there are included.
    pub fn flow(&self, up: Flow, down: Flow, share: Share) {
        self.rules.send_modify(|rules| {
            (rules.up, rules.down, rules.share) = (up, down, share);
        });
    }

    /// Closes what is connected, with a reset or as a peer that has finished.
    pub fn cut(&self, share: Share, reset: bool) {
        let below = *self.connections.borrow();
        let cut = Cut {
            below,
            share,
            reset,
        };
        self.rules.send_modify(|rules| rules.cut = cut);
    }

    /// Resets whoever connects from now on, or no longer.
    pub fn refuse(&self, refuses: bool) {
        self.rules.send_modify(|rules| rules.refuses = refuses);
    }

    /// Passes everything again. What was swallowed stays so.
    pub fn heal(&self) {
        self.refuse(false);
        self.flow(Flow::Pass, Flow::Pass, Share::All);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        // The tasks of its connections end with the sender of their rules.
    }
}

/// The host and port of `postgres://user@host:port/name`.
pub fn address_in(url: &str) -> SocketAddr {
    let after_user = url.split_once('@').expect("user@host:port/name").1;
    let (address, _) = after_user.split_once('/').expect("host:port/name");
    address.parse().expect("an address with a port")
}

/// The same URL with another address.
pub fn redirect(url: &str, to: SocketAddr) -> String {
    url.replace(&address_in(url).to_string(), &to.to_string())
}

async fn listen(listener: TcpListener, rules: watch::Receiver<Rules>, count: watch::Sender<u64>) {
    loop {
        // Without a file descriptor left there is no wire, which the test will notice.
        let Ok((near, _)) = listener.accept().await else {
            return;
        };
        let number = *count.borrow();
        count.send_replace(number + 1);
        tokio::spawn(carry(near, number, rules.clone()));
    }
}

async fn carry(mut near: TcpStream, number: u64, mut rules: watch::Receiver<Rules>) {
    let begun = *rules.borrow();
    if begun.refuses {
        near.set_zero_linger().ok();
        return;
    }
    let Ok(mut far) = TcpStream::connect(begun.target).await else {
        // The database is away, which the instance is to hear as it would without a wire.
        near.set_zero_linger().ok();
        return;
    };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let reset = {
        let (from_near, to_near) = near.split();
        let (from_far, to_far) = far.split();
        let (up, down) = (rules.clone(), rules.clone());
        tokio::select! {
            () = pump(from_near, to_far, up, |rules| rules.up(number)) => false,
            () = pump(from_far, to_near, down, |rules| rules.down(number)) => false,
            // An error means that the wire itself is gone.
            cut = rules.wait_for(|rules| rules.cuts(number)) => cut.map_or(true, |rules| rules.cut.reset),
        }
    };
    if reset {
        near.set_zero_linger().ok();
        far.set_zero_linger().ok();
    }
}

/// Moves bytes until one end closes. The close is treated as the bytes are.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    flow: impl Fn(&Rules) -> Flow,
) {
    let mut bytes = vec![0; 16 * 1024];
    let mut dice = Dice::new(u64::from(from.peer_addr().map_or(0, |peer| peer.port())));
    loop {
        let length = from.read(&mut bytes).await.unwrap_or(0);
        loop {
            let now = flow(&rules.borrow_and_update());
            match now {
                Flow::Pass => break,
                Flow::Delay(most) => {
                    pass(dice.span(Duration::ZERO, most)).await;
                    break;
                }
                Flow::Hold => {
                    if rules.changed().await.is_err() {
                        return;
                    }
                }
                Flow::Swallow => {
                    while from.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                    std::future::pending::<()>().await;
                }
            }
        }
        if length == 0 || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

mod tests {
    use super::*;
    use crate::wait::eventually;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that says everything again.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        address
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    /// Says something and hears it again, or what happens instead.
    async fn heard(stream: &mut TcpStream, what: &[u8]) -> std::io::Result<bool> {
        stream.write_all(what).await?;
        let mut back = vec![0; what.len()];
        stream.read_exact(&mut back).await?;
        Ok(back == what)
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        let short = Duration::from_millis(100);
        tokio::time::timeout(short, stream.read(&mut byte))
            .await
            .is_err()
    }

    #[tokio::test]
    async fn it_carries_and_leads_elsewhere_whoever_connects_later() {
        let (one, two) = (echo().await, echo().await);
        let proxy = Proxy::to(one).await;
        let mut before = connect(&proxy).await;
        assert!(heard(&mut before, b"a").await.unwrap());
        proxy.lead_to(two);
        let mut after = connect(&proxy).await;
        assert!(heard(&mut after, b"b").await.unwrap());
        assert!(heard(&mut before, b"c").await.unwrap());
        let url = format!("postgres://me@{two}/x");
        assert_eq!(
            proxy.url(&url),
            format!("postgres://me@{}/x", proxy.address)
        );
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_connected_and_nothing_else() {
        for reset in [true, false] {
            let proxy = Proxy::to(echo().await).await;
            let mut before = connect(&proxy).await;
            assert!(heard(&mut before, b"a").await.unwrap());
            proxy.cut(Share::All, reset);
            let mut byte = [0];
            let read = tokio::time::timeout(LIMIT, before.read(&mut byte))
                .await
                .unwrap();
            assert_eq!(read.is_err(), reset, "{read:?}");
            assert!(heard(&mut connect(&proxy).await, b"b").await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_held_arrives_later_and_what_is_swallowed_never() {
        let proxy = Proxy::to(echo().await).await;
        let mut held = connect(&proxy).await;
        assert!(heard(&mut held, b"a").await.unwrap());
        proxy.flow(Flow::Pass, Flow::Hold, Share::All);
        held.write_all(b"b").await.unwrap();
        assert!(is_silent(&mut held).await);
        proxy.heal();
        let mut byte = [0];
        held.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"b");

        proxy.flow(Flow::Swallow, Flow::Pass, Share::All);
        held.write_all(b"c").await.unwrap();
        assert!(is_silent(&mut held).await);
        proxy.heal();
        held.write_all(b"d").await.unwrap();
        assert!(is_silent(&mut held).await);
        assert!(heard(&mut connect(&proxy).await, b"e").await.unwrap());
    }

    #[tokio::test]
    async fn who_is_refused_is_reset_and_a_database_that_is_away_as_well() {
        let proxy = Proxy::to(echo().await).await;
        proxy.refuse(true);
        heard(&mut connect(&proxy).await, b"a").await.unwrap_err();
        proxy.heal();
        assert!(heard(&mut connect(&proxy).await, b"b").await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        proxy.lead_to(listener.local_addr().unwrap());
        drop(listener);
        heard(&mut connect(&proxy).await, b"c").await.unwrap_err();
    }

    #[tokio::test]
    async fn half_of_the_connections_are_met_by_a_fault_of_half() {
        let proxy = Proxy::to(echo().await).await;
        let mut streams = Vec::new();
        for _ in 0..24 {
            streams.push(connect(&proxy).await);
            assert!(heard(streams.last_mut().unwrap(), b"a").await.unwrap());
        }
        proxy.cut(Share::Half(3), true);
        eventually(LIMIT, "some are cut, and not all", async || {
            let mut alive = 0;
            for stream in &mut streams {
                alive += usize::from(heard(stream, b"b").await.unwrap_or(false));
            }
            (4..=20).contains(&alive).then_some(())
        })
        .await;
    }
}
