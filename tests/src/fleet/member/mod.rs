//! What a process of a fleet does.
//!
//! On a runtime of one thread: what is looked up and then asked for in one go is asked for
//! before anything else can happen.

mod keep_on;
mod news;
mod round;
mod watch;

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;
use tower_token::{
    AccessToken, Clock as _, Error, GrantState, KeyRing, Serial, SystemClock, TokenManager,
};

use self::news::News;
use super::{account, key, setting};
use crate::BoxError;

/// A token that is good for this much longer than the one in hand is another one. Every token is
/// older than this when it is replaced.
const LONGER: Duration = Duration::from_millis(5);

/// How many are asked for at a time.
const AT_ONCE: usize = 25;

/// Reads commands from stdin until that ends, and does them.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> Result<(), BoxError> {
    let task: Value = serde_json::from_str(&std::env::var("FLEET_TASK")?)?;
    let member = Rc::new(Member::new(&task).await?);
    say("ready");
    let local = tokio::task::LocalSet::new();
    local.run_until(commands(member)).await
}

async fn commands(member: Rc<Member>) -> Result<(), BoxError> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, "0"));
        if command == "catch-up" {
            say(&member
                .catch_up(&serde_json::from_str(rest)?)
                .await
                .to_string());
            continue;
        }
        let number: usize = rest.parse()?;
        let answer = match command {
            // Has everything in memory.
            "warm" => member.warm().await?,
            "round" => round::round(&member, number).await?,
            // The same over a part that is nobody else's.
            "part" => round::part(&member, number).await?,
            "stored" => member.stored().await?,
            "tokens" => member.tokens().await,
            "logout" => {
                tokio::task::spawn_local(watch::logout(Rc::clone(&member), number));
                continue;
            }
            "watch" => {
                tokio::task::spawn_local(watch::watch(Rc::clone(&member), number));
                continue;
            }
            "keep-on" => {
                tokio::task::spawn_local(keep_on::keep_on(Rc::clone(&member), number));
                continue;
            }
            "rest" => {
                member.resting.set(true);
                continue;
            }
            _ => return Err(format!("no command is called {command:?}").into()),
        };
        say(&answer.to_string());
    }
    Ok(())
}

/// One of the fleet.
struct Member {
    index: usize,
    manager: TokenManager,
    clock: SystemClock,
    /// The token of each grant that was last in hand.
    held: RefCell<Vec<Serial>>,
    news: RefCell<News>,
    resting: std::cell::Cell<bool>,
}

impl Member {
    async fn new(task: &Value) -> Result<Self, BoxError> {
        let ring = KeyRing::from_env("TOWER_TOKEN_KEYS")?;
        let manager = setting::manager(task, ring).await?;
        let number = |name: &str| task[name].as_u64().ok_or("no such number");
        let grants = number("grants")? as usize;
        Ok(Self {
            index: number("index")? as usize,
            held: RefCell::new(vec![Serial { epoch: 0, issue: 0 }; grants]),
            news: RefCell::new(News::new(&manager, grants)),
            resting: std::cell::Cell::new(false),
            manager,
            clock: SystemClock::new(),
        })
    }

    fn grants(&self) -> usize {
        self.held.borrow().len()
    }

    /// All at once, so that there are as many connections as there may be.
    async fn warm(self: &Rc<Self>) -> Result<Value, BoxError> {
        let mut loading = JoinSet::new();
        for n in 0..self.grants() {
            let member = Rc::clone(self);
            loading.spawn_local(async move {
                let token = member.manager.token(&key(n)).await?;
                member.held.borrow_mut()[n] = token.serial();
                Ok::<_, Error>(())
            });
        }
        while let Some(loaded) = loading.join_next().await {
            loaded??;
        }
        Ok(json!({}))
    }

    /// Another token of grant `n` than the one last in hand, and whether it was there already:
    /// its maker was heard of. What cannot be replaced now comes as it was.
    async fn another(&self, n: usize) -> Result<(AccessToken, bool), Error> {
        let (key, held) = (key(n), self.held.borrow()[n]);
        // What is in memory and good is answered without a pause, and so the next call begins
        // with what this one saw.
        let now = self.manager.token(&key).await?;
        if now.serial() > held {
            return Ok((now, true));
        }
        let left = now.expires_at().map(|end| end.since(self.clock.now()));
        let longer = left.unwrap_or_default() + LONGER;
        Ok((self.manager.token_valid_for(&key, longer).await?, false))
    }

    /// Of each grant what the store has: its token as by [`shown`], and whether it has ended.
    async fn stored(&self) -> Result<Value, BoxError> {
        let mut stored = Vec::new();
        for n in 0..self.grants() {
            let grants = self.manager.grants(&account(n)).await?;
            let grant = grants.first().ok_or("a grant is gone")?;
            let mut row = match grant.access_token() {
                Some(token) => shown(token),
                None => json!([null, null, null]),
            };
            let has_ended = grant.state() != GrantState::Active;
            row.as_array_mut().ok_or("no row")?.push(has_ended.into());
            stored.push(row);
        }
        Ok(stored.into())
    }

    /// Asks for other tokens than it has as long as they are older than these, of which there is
    /// one for each grant as in [`stored`](Self::stored). What it has then, by [`shown`].
    async fn catch_up(&self, stored: &Value) -> Value {
        let mut held = Vec::new();
        for n in 0..self.grants() {
            let number = |at: usize| stored[n][at].as_u64().unwrap_or(0);
            let (epoch, issue) = (number(0), number(1));
            let newest = Serial { epoch, issue };
            let mut token = self.manager.token(&key(n)).await;
            for _ in 0..3 {
                if token.as_ref().is_ok_and(|token| token.serial() < newest) {
                    token = self.another(n).await.map(|(token, _)| token);
                }
            }
            held.push(token.map_or(Value::Null, |token| shown(&token)));
        }
        held.into()
    }

    /// The tokens themselves, for the pipe only; null where there is none.
    async fn tokens(&self) -> Value {
        let mut tokens = Vec::new();
        for n in 0..self.grants() {
            let token = self.manager.token(&key(n)).await;
            tokens.push(token.map_or(Value::Null, |token| token.expose().into()));
        }
        tokens.into()
    }
}

/// A token by its serial, and something that only the same token has.
fn shown(token: &AccessToken) -> Value {
    let serial = token.serial();
    json!([serial.epoch, serial.issue, mark(token)])
}

/// The same in every process.
fn mark(token: &AccessToken) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(token.expose().as_bytes());
    // JSON numbers are exact up to here.
    hasher.finish() >> 12
}

/// Microseconds of the wall clock, which processes of one machine share.
fn wall() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_micros() as u64
}

#[allow(clippy::print_stdout)]
fn say(line: &str) {
    println!("{line}");
}
