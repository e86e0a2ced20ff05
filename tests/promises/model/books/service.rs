//! What the token service does, and writes down.

use tower_token::{Clock as _, RefreshRequest, Rotation, TokenResponse};

use super::{Books, Heard, Inner, Issued, LIFE, Send};
use crate::model::step::Plan;

impl Books {
    /// A refresh token arrives.
    pub fn sent(&self, process: usize, request: RefreshRequest<'_>) -> (usize, Plan) {
        let mut books = self.0.lock();
        let token = request.refresh_token().expose().to_owned();
        let expires_at = request.grant().expires_at();
        books.check_send(process, request.grant().key(), &token, expires_at);
        let at = books.clock.now();
        let user = books.families[books.refresh_tokens[&token].family].user;
        let view = books.views.entry((process, user)).or_default();
        let intent = view.wrote.map_or(at, |(first, _)| first);
        books.sends.push(Send {
            process,
            token,
            at,
            intent,
            processed: false,
            heard: None,
            saved: None,
            answer: None,
        });
        let plan = books.plans.pop_front().unwrap_or(Plan::Answer);
        (books.sends.len() - 1, plan)
    }

    /// The service processes what was sent. `None` ends the grant.
    pub fn process(&self, send: usize) -> Option<TokenResponse> {
        let mut books = self.0.lock();
        let now = books.clock.now();
        books.sends[send].processed = true;
        let token = books.sends[send].token.clone();
        let issued = &books.refresh_tokens[&token];
        let family = issued.family;
        if books.families[family].ended {
            return None;
        }
        let (response, next) = match (&issued.spent, books.rotation) {
            (_, Rotation::Reusable) => {
                let (response, access) = books.issue_access(family);
                books.refresh_tokens.get_mut(&token).unwrap().access_token = access;
                (response, token.clone())
            }
            (Some((at, response, next)), Rotation::Grace(span)) if now < *at + span => {
                (response.clone(), next.clone())
            }
            (Some(_), _) => {
                books.families[family].ended |= books.reuse_ends;
                return None;
            }
            (None, _) => {
                let (response, next) = books.issue(family);
                let spent = Some((now, response.clone(), next.clone()));
                books.refresh_tokens.get_mut(&token).unwrap().spent = spent;
                (response, next)
            }
        };
        books.sends[send].answer = Some(next);
        Some(response)
    }

    pub fn end_family(&self, send: usize) {
        let mut books = self.0.lock();
        let family = books.refresh_tokens[&books.sends[send].token].family;
        books.families[family].ended = true;
    }

    /// What the sender of a refresh token hears; the first counts.
    pub fn heard(&self, send: usize, heard: Heard) {
        let mut books = self.0.lock();
        let now = books.clock.now();
        books.sends[send].heard.get_or_insert((heard, now));
    }
}

impl Inner {
    pub(super) fn issue(&mut self, family: usize) -> (TokenResponse, String) {
        let (response, access_token) = self.issue_access(family);
        let token = access_token.replace('a', "r");
        self.families[family].latest.clone_from(&token);
        let issued = Issued {
            family,
            access_token,
            spent: None,
        };
        self.refresh_tokens.insert(token.clone(), issued);
        (response.refresh_token(token.clone()), token)
    }

    pub(super) fn issue_access(&mut self, family: usize) -> (TokenResponse, String) {
        let of = &mut self.families[family];
        of.issued += 1;
        let token = format!("{}-{}-a{}", of.user, of.turn, of.issued);
        self.access_tokens.insert(token.clone(), family);
        (TokenResponse::new(token.as_str()).expires_in(LIFE), token)
    }
}
