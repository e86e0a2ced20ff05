//! A logout, and when it is heard of.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Member, say, wall};
use crate::fleet::key;

/// How well it is known when a token stopped being served.
const PAUSE: Duration = Duration::from_millis(1);

/// Says when it is acknowledged.
pub(super) async fn logout(member: Rc<Member>, n: usize) {
    match member.manager.disconnect(&key(n)).await {
        Ok(()) => say(&format!("out {n} {}", wall())),
        Err(error) => say(&format!("failed {n} {:?}", error.kind())),
    }
}

/// Says that it serves the token, and when it no longer does.
pub(super) async fn watch(member: Rc<Member>, n: usize) {
    let key = key(n);
    let serves = async || member.manager.token(&key).await.is_ok();
    if serves().await {
        say(&format!("serves {n} {}", wall()));
    }
    while serves().await {
        sleep(PAUSE).await;
    }
    say(&format!("stopped {n} {}", wall()));
}
