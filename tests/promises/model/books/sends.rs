//! When a refresh token may be sent: once, and again only as its rotation allows.

use std::time::Duration;

use tower_token::{Clock as _, GrantKey, Rotation, Timestamp};

use super::{Heard, Inner, Send, View};

const MARGIN: Duration = Duration::from_secs(300);
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);
/// The first backoff, less its jitter.
const BACKOFF: Duration = Duration::from_millis(750);

impl Inner {
    pub(super) fn check_send(
        &mut self,
        process: usize,
        key: &GrantKey,
        token: &str,
        expires_at: Option<Timestamp>,
    ) {
        let Some(issued) = self.refresh_tokens.get(token) else {
            return self.breaks(format!("{process} sent {token}, which nobody issued"));
        };
        let user = self.families[issued.family].user;
        let view = self.views.get(&(process, user)).copied();
        let view = view.unwrap_or_default();
        let mut problems = Vec::new();
        if self.users[user].key != *key {
            problems.push("for somebody else");
        }
        if !view.muddled && !self.is_live(view) {
            problems.push("without a live intent");
        }
        if self.is_beside_another(process, user) {
            problems.push("beside another");
        }
        if self.rotation != Rotation::Reusable {
            if self.is_too_soon(process, token) {
                problems.push("at once after a failure");
            }
            problems.extend(self.may_not_again(process, token, view, expires_at));
        }
        for problem in problems {
            self.breaks(format!("{process} sent {token} {problem}"));
        }
    }

    /// The last thing before an exchange is to write its intent.
    fn is_live(&self, view: View) -> bool {
        let now = self.clock.now();
        view.wrote
            .is_some_and(|(_, intent)| now < intent + self.limit())
    }

    /// One process makes one exchange of a grant at a time.
    fn is_beside_another(&self, process: usize, user: usize) -> bool {
        self.sends.iter().any(|send| {
            let family = self.refresh_tokens[&send.token].family;
            let of_user = self.families[family].user == user;
            of_user && send.process == process && send.heard.is_none()
        })
    }

    fn is_too_soon(&self, process: usize, token: &str) -> bool {
        let mut latest = self.sends.iter().rev();
        let last = latest.find(|send| send.token == token && send.process == process);
        let Some((heard, at)) = last.and_then(|send| send.heard) else {
            return false;
        };
        let backs_off = match heard {
            Heard::NotNow | Heard::Crash => true,
            // Within a grace period it is sent again at once.
            Heard::Nothing => self.rotation == Rotation::Strict,
            Heard::Tokens | Heard::Dead => false,
        };
        backs_off && self.clock.now().since(at) < BACKOFF
    }

    /// What forbids to send a token that was sent before, if it was.
    fn may_not_again(
        &self,
        process: usize,
        token: &str,
        view: View,
        expires_at: Option<Timestamp>,
    ) -> Option<&'static str> {
        let now = self.clock.now();
        let processed = |send: &&Send| !matches!(send.heard, Some((Heard::NotNow, _)));
        let before = || {
            let same = self.sends.iter().filter(|send| send.token == token);
            same.filter(processed)
        };
        let first = before().next()?;
        let is_answered = |send: &Send| {
            // Who wrote an intent before that was saved cannot know.
            let known = view.wrote.zip(send.saved);
            let known = known.is_some_and(|((_, intent), saved)| saved < intent);
            let answered = matches!(send.heard, Some((Heard::Tokens, _)));
            answered && (known || send.process == process)
        };
        if before().any(is_answered) {
            return Some("again, which was answered");
        }
        if before().any(|send| send.process != process && now < send.intent + self.limit()) {
            return Some("under another's live intent");
        }
        let decided = view.wrote.map_or(
            now,
            |(first, intent)| {
                if view.muddled { first } else { intent }
            },
        );
        let in_grace = match self.rotation {
            Rotation::Grace(span) => decided < first.at + span,
            _ => false,
        };
        let expires = expires_at.is_none_or(|end| now >= end - MARGIN / 4);
        let access_token = self.refresh_tokens[token].access_token.clone();
        let refused = self.refused.contains(&(process, access_token));
        (!in_grace && !expires && !refused).then_some("again, and had no need to")
    }

    /// How long an intent lives.
    fn limit(&self) -> Duration {
        match self.rotation {
            Rotation::Grace(span) => span / 2,
            _ => EXCHANGE_LIMIT,
        }
    }
}
