//! What the manager does, as it happens.

#[cfg(feature = "metrics")]
mod count;
#[cfg(feature = "tracing")]
mod trace;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::grant::{ReauthReason, Serial};

/// Names a grant in logs without naming its user: a keyed hash of the grant key.
///
/// The same grant has the same fingerprint for as long as its store lives; without
/// the store's keys nobody can tell whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u8; 8]);

impl Fingerprint {
    /// Of no grant in particular.
    pub(crate) const NONE: Self = Self([0; 8]);

    /// A number that is the same for a grant every time, and not for others.
    pub(crate) fn jitter(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that happened to one grant.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Event {
    /// The provider's name.
    pub provider: Arc<str>,
    /// Which grant. Zeros where it is about all grants of the provider, as
    /// [`NotSwept`](EventKind::NotSwept) is.
    pub grant: Fingerprint,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a grant.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A user connected, or connected again.
    Connected,
    /// A user was disconnected.
    Disconnected,
    /// Another instance disconnected a user whose tokens were in memory here.
    DisconnectedElsewhere,
    /// The token service issued a new access token, and it is stored.
    #[non_exhaustive]
    Refreshed {
        /// The new token.
        serial: Serial,
        /// How long the exchange took.
        took: Duration,
    },
    /// A newer token was found in the store and taken over; nothing was exchanged.
    #[non_exhaustive]
    Adopted {
        /// That token.
        serial: Serial,
    },
    /// Another instance was at this grant first: what it brings is waited for. Told once for a
    /// refresh.
    LostRace,
    /// A refresh came to nothing. A token that is still usable keeps being served.
    #[non_exhaustive]
    RefreshFailed {
        /// Why.
        cause: ErrorKind,
    },
    /// A caller had to wait for a refresh.
    #[non_exhaustive]
    Waited {
        /// How long.
        took: Duration,
        /// Whether a token that had neither expired nor been refused was there all
        /// the while: only a caller who asks for a minimum validity should see that.
        token_was_usable: bool,
    },
    /// An API refused a token with 401.
    #[non_exhaustive]
    Refused {
        /// That token.
        serial: Serial,
    },
    /// A refreshed token could not be stored yet; it is served from memory and the
    /// write is tried again.
    SaveFailed,
    /// An access token had expired when it was asked for, and is replaced.
    #[non_exhaustive]
    Expired {
        /// That token.
        serial: Serial,
    },
    /// The grant can no longer be refreshed: the user has to connect again.
    #[non_exhaustive]
    NeedsReauth {
        /// Why.
        reason: ReauthReason,
    },
    /// The refresh token comes to its end whatever is done: the user has to connect again
    /// before.
    #[non_exhaustive]
    ReconnectBy {
        /// When it ends.
        by: Timestamp,
    },
    /// The token service was told of a disconnect.
    Revoked,
    /// The token service could not be told of a disconnect for a week, and will not be. What
    /// it issued runs out by itself.
    RevocationFailed,
    /// A refreshed token was never stored: its store was closed first. The refresh token
    /// in the store may be spent.
    Lost,
    /// The provider's token service failed several times in a row and is left alone for a
    /// while; this grant's exchange was the last of them.
    CircuitOpened,
    /// The provider's token service answers again.
    CircuitClosed,
    /// A refreshed token was dropped because the user disconnected, or connected
    /// anew, in the meantime.
    Discarded,
    /// The sweeper has ended, since the store cannot say what is due: nothing is done about this
    /// provider's grants but when they are used. Told once for each provider.
    NotSwept,
    /// The store failed to do what it was asked for. What is in memory is still served; what
    /// could not be stored is not begun. Told once for each provider, as are the next three.
    StoreUnavailable,
    /// The store works again.
    StoreAvailable,
    /// For [`max_stale`](crate::TokenManagerBuilder::max_stale) nothing was heard of what other
    /// instances did: a user who has left there may still be served here, unless the manager
    /// fails closed.
    Stale,
    /// It was heard again, all of it.
    UpToDate,
}

impl EventKind {
    /// A short fixed name, as `refreshed`, for a log or a metric.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::DisconnectedElsewhere => "disconnected_elsewhere",
            Self::Refreshed { .. } => "refreshed",
            Self::Adopted { .. } => "adopted",
            Self::RefreshFailed { .. } => "refresh_failed",
            Self::Waited { .. } => "waited",
            Self::Refused { .. } => "refused",
            Self::SaveFailed => "save_failed",
            Self::Expired { .. } => "expired",
            Self::NeedsReauth { .. } => "needs_reauth",
            Self::ReconnectBy { .. } => "reconnect_by",
            Self::Revoked => "revoked",
            Self::RevocationFailed => "revocation_failed",
            Self::Lost => "lost",
            Self::CircuitOpened => "circuit_opened",
            Self::CircuitClosed => "circuit_closed",
            Self::Discarded => "discarded",
            Self::NotSwept => "not_swept",
            Self::LostRace => "lost_race",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreAvailable => "store_available",
            Self::Stale => "stale",
            Self::UpToDate => "up_to_date",
        }
    }
}

/// The events of one manager from the moment of subscribing; see
/// [`TokenManager::events`](crate::TokenManager::events).
///
/// A stream that ends with the manager. It never slows the manager down: what a
/// subscriber is too slow to take is dropped, and counted in [`missed`](Self::missed).
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl Events {
    /// How many events were dropped because this subscriber did not take them in time.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// The next event that is already there, without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_recv(cx)
    }
}

/// No subscriber keeps more events than this.
const MAX_CAPACITY: usize = 1 << 20;

/// Hands events to every subscriber. Never touched by a request that finds a fresh
/// token.
#[derive(Debug, Default)]
pub(crate) struct EventBus {
    subscribers: Mutex<Vec<(mpsc::Sender<Event>, Arc<AtomicU64>)>>,
    /// Whether there are any: thousands of callers who wait for one token each emit an event.
    subscribed: AtomicBool,
    #[cfg(feature = "metrics")]
    answers: count::Answers,
}

impl EventBus {
    pub(crate) fn subscribe(&self, capacity: usize) -> Events {
        let (sender, receiver) = mpsc::channel(capacity.clamp(1, MAX_CAPACITY));
        let missed = Arc::new(AtomicU64::new(0));
        let mut subscribers = self.subscribers.lock();
        subscribers.push((sender, Arc::clone(&missed)));
        self.subscribed.store(true, Ordering::Release);
        Events { receiver, missed }
    }

    /// Counts what an API answered (feature `metrics`). No event: those stay out of the way
    /// of requests.
    #[cfg_attr(not(feature = "metrics"), allow(clippy::unused_self))]
    pub(crate) fn answered(
        &self,
        provider: &str,
        route: Option<&'static str>,
        status: http::StatusCode,
    ) {
        #[cfg(feature = "metrics")]
        self.answers.count(provider, route, status);
        #[cfg(not(feature = "metrics"))]
        let _ = (provider, route, status);
    }

    /// Made only if somebody wants it.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        let recorded = cfg!(any(feature = "tracing", feature = "metrics"));
        if !recorded && !self.subscribed.load(Ordering::Acquire) {
            return;
        }
        let event = event();
        // A subscriber or recorder of the application's: its panic must not cost a token.
        #[cfg(any(feature = "tracing", feature = "metrics"))]
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            #[cfg(feature = "tracing")]
            trace::trace(&event);
            #[cfg(feature = "metrics")]
            count::count(&event);
        }));
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|(sender, missed)| match sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
        self.subscribed
            .store(!subscribers.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_subscriber_misses_events_and_stops_nobody() {
        let bus = EventBus::default();
        let (mut slow, gone) = (bus.subscribe(1), bus.subscribe(1));
        drop(gone);
        let event = || Event {
            provider: "p".into(),
            grant: Fingerprint([0; 8]),
            kind: EventKind::Connected,
        };
        bus.emit(event);
        bus.emit(event);
        assert_eq!(slow.missed(), 1);
        assert!(slow.try_next().is_some() && slow.try_next().is_none());
        assert_eq!(bus.subscribers.lock().len(), 1);
        drop(slow);
        bus.emit(event);
        assert!(bus.subscribers.lock().is_empty());
        let mut next = bus.subscribe(1);
        bus.emit(event);
        assert!(next.try_next().is_some());
    }
}
