//! One authorization under way, in a cookie of the browser that began it.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tower_token::Timestamp;

use super::sealed_cookies::SealedCookies;
use crate::random;
use crate::rejection::Misconfigured;

/// How long somebody may take at the provider: to find a password, and to read what is asked.
pub(super) const LIFE: Duration = Duration::from_secs(600);
/// A tab each. Beyond that the oldest is forgotten: all of them have to fit into a request.
const MOST: usize = 5;
const START: &str = "flow-";
/// How many letters of a `state` say which flow it is; all of it says that it is that flow.
const ID: usize = 12;

/// What is kept from the beginning to the callback. Nobody but the service can read it.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) provider: Box<str>,
    pub(super) state: String,
    pub(super) nonce: String,
    /// RFC 7636.
    pub(super) code_verifier: String,
    pub(super) next: String,
    /// Who was signed in, and connects. Nobody: it is a sign-in.
    pub(super) subject: Option<Box<str>>,
    /// Milliseconds since 1970.
    since: u64,
}

impl Flow {
    pub(super) fn new(
        provider: &str,
        subject: Option<&str>,
        next: &str,
        code_verifier: &str,
        now: Timestamp,
    ) -> Result<Self, Misconfigured> {
        Ok(Self {
            provider: provider.into(),
            state: random::text()?,
            nonce: random::text()?,
            code_verifier: code_verifier.to_owned(),
            next: next.to_owned(),
            subject: subject.map(Box::from),
            since: now.as_unix_millis(),
        })
    }

    pub(super) fn ends_at(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.since) + LIFE
    }

    /// The name of its cookie: each tab has one of its own.
    fn name(&self) -> Option<String> {
        name(&self.state)
    }
}

fn name(state: &str) -> Option<String> {
    let id = state.get(..ID)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    id.bytes().all(is_plain).then(|| format!("{START}{id}"))
}

/// Keeps `flow` in the browser, and clears away what is old. `false` if it has no room.
pub(super) fn keep(
    flow: &Flow,
    cookies: &SealedCookies,
    request: &HeaderMap,
    now: Timestamp,
    answer: &mut HeaderMap,
) -> bool {
    let (Some(name), Ok(text)) = (flow.name(), serde_json::to_string(flow)) else {
        return false;
    };
    let mut live = Vec::new();
    // No browser has more of ours; what somebody made up is not all looked at.
    for name in cookies.names(START, request).take(4 * MOST) {
        match open(name, cookies, request) {
            Some(other) if now < other.ends_at() => live.push((other.since, name)),
            _ => cookies.remove(name, answer),
        }
    }
    live.sort_unstable();
    for (_, name) in live.iter().rev().skip(MOST - 1) {
        cookies.remove(name, answer);
    }
    cookies.set(&name, text, LIFE, answer)
}

/// The flow that `state` is of, and none that is over. Its cookie goes, whatever becomes of it.
pub(super) fn take(
    state: &str,
    provider: &str,
    cookies: &SealedCookies,
    request: &HeaderMap,
    now: Timestamp,
    answer: &mut HeaderMap,
) -> Option<Flow> {
    let name = name(state)?;
    let flow = open(&name, cookies, request)?;
    // Only the flow's own state ends it: nobody else can have it forgotten.
    let is_it = flow.state == state && *flow.provider == *provider;
    if !is_it {
        return None;
    }
    cookies.remove(&name, answer);
    (now < flow.ends_at()).then_some(flow)
}

fn open(name: &str, cookies: &SealedCookies, request: &HeaderMap) -> Option<Flow> {
    let text = cookies.get(name, request)?;
    serde_json::from_str(&text).ok()
}
