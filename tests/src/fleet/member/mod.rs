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
use tower_token::{AccessToken, Error, KeyRing, Serial, TokenManager};

use self::news::News;
use super::{key, setting};
use crate::BoxError;

/// Longer than any token lives: who asks for one that is good for this long wants another.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

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
        let (command, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number: usize = number.parse()?;
        let answer = match command {
            // Has everything in memory.
            "warm" => member.warm().await?,
            "round" => round::round(&member, number).await?,
            // The same over a part that is nobody else's.
            "part" => round::part(&member, number).await?,
            "view" => member.view().await,
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
        })
    }

    fn grants(&self) -> usize {
        self.held.borrow().len()
    }

    async fn warm(&self) -> Result<Value, BoxError> {
        for n in 0..self.grants() {
            let token = self.manager.token(&key(n)).await?;
            self.held.borrow_mut()[n] = token.serial();
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
        Ok((self.manager.token_valid_for(&key, FOREVER).await?, false))
    }

    /// Of each grant its newest token here, or why there is none.
    async fn view(&self) -> Value {
        let mut view = Vec::new();
        for n in 0..self.grants() {
            view.push(match self.manager.token(&key(n)).await {
                Ok(token) => shown(&token),
                Err(error) => json!(format!("{:?}", error.kind())),
            });
        }
        view.into()
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
