//! What callers are answered, and what they may be.

use tower_token::{AccessToken, Clock as _, ErrorKind};

use super::{Books, Family, Heard, Inner, Send, State, User};

/// Who asked for a token, and what they could know then.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub process: usize,
    pub user: usize,
    known: usize,
    turn: usize,
    state: State,
    could_go_on: bool,
    /// How many tokens had been refused by then.
    refusals: usize,
}

impl Books {
    /// Somebody asks for a token: what the answer is held against.
    pub fn asks(&self, process: usize, user: usize) -> Asked {
        let books = self.0.lock();
        Asked {
            process,
            user,
            known: books
                .views
                .get(&(process, user))
                .map_or(0, |view| view.turn),
            turn: books.users[user].turn,
            state: books.users[user].state,
            could_go_on: books.can_go_on(user),
            refusals: books.refused.len(),
        }
    }

    pub fn served(&self, asked: Asked, token: &AccessToken) {
        let mut books = self.0.lock();
        if token
            .expires_at()
            .is_some_and(|end| end <= books.clock.now())
        {
            books.breaks(format!("{asked:?} was served an expired token"));
        }
        let view = books.views.entry((asked.process, asked.user)).or_default();
        let before = view.serial.replace(token.serial());
        if before > Some(token.serial()) {
            books.breaks(format!(
                "{asked:?} was served {:?} after {before:?}",
                token.serial()
            ));
        }
        books.used(asked, token.expose());
        books.not_refused(asked, token.expose());
    }

    /// A token goes out for a user.
    pub fn used(&self, asked: Asked, token: &str) {
        self.0.lock().used(asked, token);
    }

    pub fn failed(&self, asked: Asked, kind: ErrorKind) {
        let mut books = self.0.lock();
        let user = &books.users[asked.user];
        let same = user.turn == asked.turn && user.state == asked.state;
        let view = books.views.get(&(asked.process, asked.user));
        // Who joins a look at the store that is under way hears what stood there before.
        let looked = books.at_rest || view.is_some_and(|view| view.changes == user.changes);
        let is_connected = same && looked && user.state == State::Connected;
        let can_go_on = books.can_go_on(asked.user) && asked.could_go_on;
        match kind {
            ErrorKind::NotConnected if is_connected => {
                books.breaks(format!("{asked:?} is not connected, and is"));
            }
            ErrorKind::NeedsReauth if is_connected && can_go_on => {
                books.breaks(format!(
                    "{asked:?} has to connect again, and has no need to"
                ));
            }
            ErrorKind::Damaged | ErrorKind::RolledBack | ErrorKind::ShutDown => {
                books.breaks(format!("{asked:?} is told {kind:?}"));
            }
            _ => {}
        }
    }

    pub fn refused(&self, process: usize, token: &str) {
        self.0.lock().refused.push((process, token.to_owned()));
    }

    /// What has to hold when nothing is under way and nothing fails: whether a user can go
    /// on, if that is known.
    pub fn at_rest(&self, user: usize) -> Option<bool> {
        let mut books = self.0.lock();
        books.at_rest = true;
        let User {
            state,
            family,
            ref stored,
            ..
        } = books.users[user];
        match state {
            State::Uncertain => return None,
            State::Disconnected => return Some(false),
            State::Connected => {}
        }
        if books.families[family].ended {
            return None;
        }
        if *stored == books.families[family].latest {
            return Some(true);
        }
        let lost = |send: &Send| {
            let heard = matches!(send.heard, Some((Heard::Tokens, _)));
            send.processed && (!heard || books.dead.contains(&send.process))
        };
        let of_family = |send: &&Send| books.refresh_tokens[&send.token].family == family;
        if !books.sends.iter().filter(of_family).any(lost) {
            books.breaks(format!(
                "tokens of user {user} were answered and are not stored"
            ));
        }
        None
    }
}

impl Inner {
    /// Whether the service still takes the refresh token that is stored.
    pub(super) fn can_go_on(&self, user: usize) -> bool {
        let User {
            family, ref stored, ..
        } = self.users[user];
        let of = self.families.get(family);
        of.is_some_and(|of| of.user == user && !of.ended && of.latest == *stored)
    }

    pub(super) fn used(&mut self, asked: Asked, token: &str) {
        let Some(family) = self.access_tokens.get(token) else {
            return self.breaks(format!("{asked:?} was served {token}, which nobody issued"));
        };
        let Family { user, turn, .. } = self.families[*family];
        if user != asked.user {
            self.breaks(format!("{asked:?} was served {token}, of user {user}"));
        }
        // A sibling that has a token in memory may serve it until it looks at the store.
        // What it has read, or was told, it keeps to.
        if turn < asked.known {
            self.breaks(format!("{asked:?} was served {token}, of turn {turn}"));
        }
    }

    /// A refused token is not served again, unless it was issued because the one before it
    /// was refused: then another would not help.
    pub(super) fn not_refused(&mut self, asked: Asked, token: &str) {
        let user_of = |token: &String| self.families[self.access_tokens[token]].user;
        let refused = self.refused[..asked.refusals].iter();
        let all: Vec<&String> = refused
            .filter(|(process, of)| *process == asked.process && user_of(of) == asked.user)
            .map(|(_, of)| of)
            .collect();
        if !all.is_empty() && all.iter().all(|of| of.as_str() == token) {
            self.breaks(format!("{asked:?} was served {token}, which was refused"));
        }
    }
}
