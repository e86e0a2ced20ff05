//! The connection that listens. It is nobody's but its own: a pooler would hand a shared one to
//! others, and the news with it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::connect::{CONNECTION, Connections};
use super::sql::Statements;
use super::waiting::Waiting;
use crate::rt::{JoinHandle, sleep, spawn, timeout, watch};
use crate::store::contract::RowKey;
use crate::store::version::unused;

/// How often a connection that says nothing is asked whether it is there.
const LOOK: Duration = Duration::from_secs(15);
/// For an answer, and for what was sent to come back.
const ANSWER: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// The task that listens; it ends with this.
pub(super) struct Listener(Option<Task>);

impl Listener {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn start(
        (address, is_same): (Address, bool),
        tls: MakeRustlsConnect,
        connections: &Connections,
        sql: &Statements,
        waiting: &Arc<Waiting>,
    ) -> Self {
        let ear = Ear {
            address,
            is_same,
            tls,
            connections: connections.clone(),
            listen: sql.listen.clone(),
            greet: sql.greet.clone(),
            waiting: Arc::clone(waiting),
        };
        Self(Some(Task(spawn(ear.listen()))))
    }

    pub(super) fn stop(&self) {
        if let Some(task) = &self.0 {
            task.0.abort();
        }
    }
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Ear {
    address: Address,
    /// Whether the others are connected to the same.
    is_same: bool,
    tls: MakeRustlsConnect,
    connections: Connections,
    listen: String,
    greet: String,
    waiting: Arc<Waiting>,
}

impl Ear {
    async fn listen(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let has_heard = self.once().await.is_some();
            self.waiting.hear(false);
            pause = match has_heard {
                true => FIRST_PAUSE,
                false => (pause * 2).min(LAST_PAUSE),
            };
            sleep(jittered(pause, unused().unwrap_or_default())).await;
        }
    }

    /// Listens until the connection breaks. None if nothing could be heard on it.
    async fn once(&self) -> Option<()> {
        let connecting = self.address.config.connect(self.tls.clone());
        let (client, connection) = timeout(CONNECTION, connecting).await.ok()?.ok()?;
        let greeting = format!("greeting {:016x}", unused().ok()?);
        let (greeted, heard) = watch::channel(false);
        let waiting = Arc::clone(&self.waiting);
        let passed_on = pass_on(connection, waiting, greeting.clone(), greeted);
        let mut passed_on = Task(spawn(passed_on));
        timeout(ANSWER, client.batch_execute(&self.listen))
            .await
            .ok()?
            .ok()?;
        self.is_heard(&greeting, heard).await?;
        if self.is_same {
            self.connections.are_direct();
        }
        self.waiting.hear(true);
        while !has_ended(&mut passed_on, LOOK).await && is_there(&client).await {}
        Some(())
    }

    /// Sends to itself from elsewhere: behind a pooler the command to listen succeeds, and then
    /// nothing comes.
    async fn is_heard(&self, greeting: &str, mut heard: watch::Receiver<bool>) -> Option<()> {
        let params = [(&greeting as _, Type::TEXT)];
        self.connections.tell(&self.greet, &params).await.ok()?;
        let heard = timeout(ANSWER, heard.wait_for(|heard| *heard)).await;
        heard.ok()?.ok().map(|_| ())
    }
}

async fn has_ended(task: &mut Task, within: Duration) -> bool {
    timeout(within, &mut task.0).await.is_ok()
}

async fn is_there(client: &Client) -> bool {
    matches!(timeout(ANSWER, client.batch_execute("")).await, Ok(Ok(())))
}

/// Drives the connection, and tells those who wait what it says.
async fn pass_on<T>(
    mut connection: Connection<Socket, T>,
    waiting: Arc<Waiting>,
    greeting: String,
    greeted: watch::Sender<bool>,
) where
    Connection<Socket, T>: Unpin,
    T: tokio_postgres::tls::TlsStream + Unpin,
{
    poll_fn(|cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(news))) => match news.payload() {
                    "" => waiting.wake_announced(),
                    text if text == greeting => {
                        greeted.send_replace(true);
                    }
                    text => {
                        key_of(text).inspect(|key| waiting.wake_released(key));
                    }
                },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// The key that was released, as the database writes it.
fn key_of(text: &str) -> Option<RowKey> {
    let mut key = [0; RowKey::LEN];
    if text.len() != 2 * key.len() || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    RowKey::from_bytes(&key)
}

/// Up to a quarter less, so that those who lost the server together return apart.
fn jittered(pause: Duration, random: u64) -> Duration {
    let of_1024 = u32::try_from(random % 256).unwrap_or_default();
    pause - pause / 1_024 * of_1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_the_database_writes_it() {
        let text = format!("00ff{}", "5a".repeat(46));
        let key = key_of(&text).unwrap();
        assert_eq!(key.as_bytes()[..3], [0, 255, 0x5a]);
        let not_ascii = "\u{e4}".repeat(48);
        for text in [
            "",
            "00",
            "greeting 0",
            &text[1..],
            &not_ascii,
            &"x".repeat(96),
        ] {
            assert!(key_of(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_pause_is_shortened_by_a_quarter_at_most() {
        for random in [0, 1, 255, 256, u64::MAX] {
            let pause = jittered(LAST_PAUSE, random);
            assert!(pause <= LAST_PAUSE && pause >= LAST_PAUSE / 4 * 3);
        }
    }
}
