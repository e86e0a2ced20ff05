//! Serving tokens: the fast path, and the ways to wait for a refresh.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};
use tokio::time::Sleep;

use super::Shared;
use super::refresh::{needs_reauth, not_connected};
use super::slot::{Look, Refusal, Slot};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{AccessToken, Serial};
use crate::key::GrantKey;
use crate::origin::Origin;
use crate::provider::Provider;

/// What became of a request that wants a token.
pub(crate) enum Attached {
    /// It carries the token of this serial.
    Token(Serial),
    /// A token has to be waited for; it may go to where the request goes.
    Wait,
}

/// How many flights one caller waits for: a second one if the first, begun for somebody
/// else, left the token as it was.
const MAX_WAITS: u32 = 2;

impl Shared {
    /// Puts a fresh token into `headers`, if there is one and it may go to `uri`.
    ///
    /// This is what nearly every request comes to: one look-up, one clock read, one
    /// insert. No lock, no allocation of ours.
    pub(crate) fn attach(
        self: &Arc<Self>,
        key: &GrantKey,
        uri: &Uri,
        min_validity: Duration,
        headers: &mut HeaderMap,
    ) -> Result<Attached, Error> {
        let now = self.clock.now();
        let found = self.cache.with(key, |slot| {
            check_origin(slot.provider(), uri)?;
            let fresh = slot.with_fresh(now, min_validity, |token| {
                headers.insert(AUTHORIZATION, token.authorization().clone());
                token.serial()
            });
            if let Some(serial) = fresh {
                return Ok(Attached::Token(serial));
            }
            match slot.look(now, min_validity) {
                Look::Usable { token, due } => {
                    headers.insert(AUTHORIZATION, token.authorization().clone());
                    if due {
                        self.refresh_behind(slot, token.serial());
                    }
                    Ok(Attached::Token(token.serial()))
                }
                Look::Replace { .. } | Look::Spent | Look::Unknown => Ok(Attached::Wait),
            }
        });
        match found {
            Some(attached) => attached,
            None => {
                check_origin(self.provider(key.provider())?, uri)?;
                Ok(Attached::Wait)
            }
        }
    }

    /// A usable token of `key`, waited for if need be.
    pub(crate) async fn usable(
        self: &Arc<Self>,
        key: &GrantKey,
        min_validity: Duration,
    ) -> Result<AccessToken, Error> {
        let fresh = self.cache.with(key, |slot| {
            slot.with_fresh(self.clock.now(), min_validity, AccessToken::clone)
        });
        if let Some(token) = fresh.flatten() {
            return Ok(token);
        }
        let slot = self.hold(key)?;
        let mut deadline = pin!(self.wait_deadline());
        let (mut loaded, mut waits) = (false, 0);
        loop {
            match slot.look(self.clock.now(), min_validity) {
                Look::Usable { token, due } => {
                    if due {
                        self.refresh_behind(&slot, token.serial());
                    }
                    return Ok(token);
                }
                // The service issues none that would do.
                Look::Replace {
                    usable: Some(token),
                    ..
                } if waits > 0 => return Ok(token),
                Look::Replace { serial, usable } if waits < MAX_WAITS => {
                    waits += 1;
                    let landed = self
                        .wait(&slot, serial, deadline.as_mut(), usable.is_some())
                        .await;
                    if let Err(error) = landed {
                        // An error never replaces a usable token.
                        return usable
                            .filter(|token| !self.has_expired(token))
                            .filter(|token| !slot.is_refused(token.serial()))
                            .ok_or(error);
                    }
                }
                Look::Spent | Look::Unknown if !loaded => {
                    loaded = true;
                    if let Some(found) = self.load(&slot).await? {
                        slot.publish(&found.record);
                        if found.record.grant.is_disconnected() {
                            return Err(not_connected());
                        }
                    }
                }
                Look::Spent => return Err(needs_reauth()),
                Look::Unknown => return Err(not_connected()),
                Look::Replace { .. } => {
                    return Err(Error::new(
                        ErrorKind::TokenService,
                        "the token service issues tokens that have expired on arrival",
                    ));
                }
            }
        }
    }

    /// After a 401 for the token of `serial`: a newer one to send the request with again,
    /// or nothing where another would not help or none could be had.
    pub(crate) async fn replace_refused(
        self: &Arc<Self>,
        key: &GrantKey,
        serial: Serial,
    ) -> Option<AccessToken> {
        let slot = self.hold(key).ok()?;
        match self.note_refusal(&slot, serial) {
            Refusal::Replaced(token) => Some(token),
            Refusal::Again => None,
            Refusal::Replace => {
                let deadline = pin!(self.wait_deadline());
                self.wait(&slot, serial, deadline, false).await.ok()?;
                match slot.look(self.clock.now(), Duration::ZERO) {
                    Look::Usable { token, .. } if token.serial() > serial => Some(token),
                    _ => None,
                }
            }
        }
    }

    /// After a 401 that goes back to the caller: refreshes for whoever comes next.
    pub(crate) fn replace_refused_behind(self: &Arc<Self>, key: &GrantKey, serial: Serial) {
        if let Ok(slot) = self.hold(key)
            && matches!(self.note_refusal(&slot, serial), Refusal::Replace)
        {
            self.refresh_behind(&slot, serial);
        }
    }

    fn note_refusal(&self, slot: &Slot, serial: Serial) -> Refusal {
        self.emit(slot, EventKind::Refused { serial });
        slot.refuse(serial, self.clock.now())
    }

    /// Waits for the flight that replaces the token of `stale`.
    async fn wait(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        stale: Serial,
        deadline: Pin<&mut Sleep>,
        token_was_usable: bool,
    ) -> Result<(), Error> {
        let flight = self.join(slot, stale)?;
        let started = self.clock.now();
        let landed = flight.landed(deadline).await;
        self.emit(
            slot,
            EventKind::Waited {
                took: self.clock.now().since(started),
                token_was_usable,
            },
        );
        landed
    }

    fn has_expired(&self, token: &AccessToken) -> bool {
        token.expires_at().is_some_and(|at| at <= self.clock.now())
    }
}

/// A token goes only to an origin its provider allows.
fn check_origin(provider: &Provider, uri: &Uri) -> Result<(), Error> {
    if provider
        .policy
        .origins
        .iter()
        .any(|origin| origin.contains(uri))
    {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ForeignOrigin,
        match Origin::of(uri) {
            Ok(origin) => format!(
                "provider {:?} does not allow its tokens to go to {origin}: if they should, add \
                 .allow_origin(\"{origin}\") to it",
                provider.name
            ),
            Err(why) => format!("no token may go to the request's URL: {why}"),
        },
    ))
}
