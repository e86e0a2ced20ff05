//! A TCP proxy that breaks what goes by it, and counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{parts, url};
use crate::BoxError;

/// What all connections look at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Weather {
    /// Rises with each cut: a connection of an earlier one ends.
    cuts: u64,
    stalled: bool,
    refused: bool,
}

/// A proxy on a free port of loopback. It ends, and its connections with it, with this value.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    database: String,
    weather: watch::Sender<Weather>,
    turns: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before `target`: an address, or the URL of a database.
    pub async fn start(target: &str) -> Result<Self, BoxError> {
        let (target, database) = parts(target);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let weather = watch::Sender::new(Weather::default());
        let turns = Arc::default();
        let accepting = accept(listener, target.to_owned(), &weather, &turns);
        Ok(Self {
            address,
            database: database.to_owned(),
            accepting: tokio::spawn(accepting),
            weather,
            turns,
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The database of the target, or `postgres`, through this.
    pub fn url(&self) -> String {
        url(&self.address, &self.database)
    }

    /// Another database, by its URL or its name, through this.
    pub fn through(&self, database: &str) -> String {
        let name = match database.contains('@') {
            true => parts(database).1,
            false => database,
        };
        url(&self.address, name)
    }

    /// Ends all connections that there are. New ones are taken.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Keeps all that is sent, either way, until it is told to go on.
    pub fn stall(&self, stalled: bool) {
        self.weather
            .send_modify(|weather| weather.stalled = stalled);
    }

    /// Ends each new connection at once. The ones that are there stay.
    pub fn refuse(&self, refused: bool) {
        self.weather
            .send_modify(|weather| weather.refused = refused);
    }

    /// How often a client spoke after its server had, or first: the round trips, those of
    /// connecting as well. What is sent without waiting for an answer counts once.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends when it is aborted; connections end when the weather does.
fn accept(
    listener: TcpListener,
    target: String,
    weather: &watch::Sender<Weather>,
    turns: &Arc<AtomicU64>,
) -> impl Future<Output = ()> + use<> {
    let (weather, turns) = (weather.subscribe(), Arc::clone(turns));
    async move {
        while let Ok((client, _)) = listener.accept().await {
            if weather.borrow().refused {
                continue;
            }
            let (target, turns, mut weather) =
                (target.clone(), Arc::clone(&turns), weather.clone());
            tokio::spawn(async move {
                let mut scissors = weather.clone();
                let cuts = scissors.borrow().cuts;
                tokio::select! {
                    // Also the end of the proxy.
                    _ = scissors.wait_for(|weather| weather.cuts != cuts) => {}
                    _ = connect(client, &target, &mut weather, &turns) => {}
                }
            });
        }
    }
}

async fn connect(
    client: TcpStream,
    target: &str,
    weather: &mut watch::Receiver<Weather>,
    turns: &AtomicU64,
) -> Result<(), BoxError> {
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let answered = AtomicBool::new(true);
    let mut back = weather.clone();
    let asks = pass(from_client, to_server, weather, || {
        if answered.swap(false, Ordering::Relaxed) {
            turns.fetch_add(1, Ordering::Relaxed);
        }
    });
    let answers = pass(from_server, to_client, &mut back, || {
        answered.store(true, Ordering::Relaxed);
    });
    // Either end ends both.
    tokio::select! {
        done = asks => done,
        done = answers => done,
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: &mut watch::Receiver<Weather>,
    came: impl Fn(),
) -> Result<(), BoxError> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut bytes).await?;
        if n == 0 {
            return Ok(to.shutdown().await?);
        }
        came();
        weather.wait_for(|weather| !weather.stalled).await?;
        to.write_all(&bytes[..n]).await?;
    }
}
