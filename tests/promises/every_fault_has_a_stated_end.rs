//! What becomes of a user when a refresh goes wrong: a table for each kind of service.
//!
//! Access tokens live for a minute, so they are due twenty seconds before their end, and what
//! is unknown is risked in the last five. Each fault strikes one request. It does so twice:
//! to a caller who has a token with fifteen seconds left and asks for thirty, and to one whose
//! token has expired.

use std::time::Duration;

use tests::broken::Wrong::{
    self, Garbage, Hang, HangAfter, Oversized, Redirected, Refused, Reset, Status, StatusAfter,
    TooMany, Truncated,
};
use tests::broken::{Counts, Server};
use tests::door::Door;
use tests::oidc::Oidc;
use tower_token::testkit::{AuthServer, ManualClock};
use tower_token::{
    AccessToken, Error, ErrorKind, GrantKey, GrantState, KeyRing, MemoryStore, Recovery, Rotation,
    SealedStore, TokenManager,
};

use self::End::{AtOnce, Late, Reconnect, Soon};
use self::Saw::{Current, Fails, New};

/// What a caller saw of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saw {
    /// The token that was there.
    Current,
    /// A new one.
    New,
    Fails(ErrorKind),
}

/// How it ended for the user, once the service was well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With a new token, within the same refresh.
    AtOnce,
    /// With a new token, after so many seconds: the backoff's, or those that the service
    /// asked for.
    Soon(u64),
    /// With a new token, when the current one was about to expire.
    Late,
    /// With no token after the current one: the answer was lost, and the service does not
    /// give it twice.
    Reconnect,
}

/// What went wrong; how many requests reached the service, how many of them it exchanged;
/// what a caller saw whose token was usable, and one whose token was not; the end.
type Line = (Wrong, u64, u64, Saw, Saw, End);

const OUTAGE: Saw = Fails(ErrorKind::TokenService);
const OURS: Saw = Fails(ErrorKind::ClientRefused);

/// A second use of a refresh token ends the grant, so an unknown outcome is not risked while
/// the token is good.
#[rustfmt::skip]
const STRICT: [Line; 15] = [
    (Refused,          0, 0, Current, OUTAGE, Soon(1)),
    (TooMany,          1, 0, Current, OUTAGE, Soon(7)),
    (Redirected,       1, 0, Current, OURS,   Soon(1)),
    // Not processed, but nobody here can know.
    (Status(500),      1, 0, Current, OUTAGE, Late),
    (Status(502),      1, 0, Current, OUTAGE, Late),
    (Status(503),      1, 0, Current, OUTAGE, Late),
    (Hang,             1, 0, Current, OUTAGE, Late),
    (HangAfter,        1, 1, Current, OUTAGE, Reconnect),
    (Reset,            1, 1, Current, OUTAGE, Reconnect),
    (StatusAfter(500), 1, 1, Current, OUTAGE, Reconnect),
    (StatusAfter(502), 1, 1, Current, OUTAGE, Reconnect),
    (StatusAfter(503), 1, 1, Current, OUTAGE, Reconnect),
    (Truncated,        1, 1, Current, OUTAGE, Reconnect),
    (Garbage,          1, 1, Current, OUTAGE, Reconnect),
    (Oversized,        1, 1, Current, OUTAGE, Reconnect),
];

/// The same is answered again for thirty seconds: nothing is lost, and no exchange is made
/// twice.
#[rustfmt::skip]
const GRACE: [Line; 15] = [
    (Refused,          0, 0, Current, OUTAGE, Soon(1)),
    (TooMany,          1, 0, Current, OUTAGE, Soon(7)),
    (Redirected,       1, 0, Current, OURS,   Soon(1)),
    (Status(500),      2, 1, New,     New,    AtOnce),
    (Status(502),      2, 1, New,     New,    AtOnce),
    (Status(503),      2, 1, New,     New,    AtOnce),
    (Hang,             2, 1, New,     New,    AtOnce),
    (HangAfter,        2, 1, New,     New,    AtOnce),
    (Reset,            2, 1, New,     New,    AtOnce),
    (StatusAfter(500), 2, 1, New,     New,    AtOnce),
    (StatusAfter(502), 2, 1, New,     New,    AtOnce),
    (StatusAfter(503), 2, 1, New,     New,    AtOnce),
    (Truncated,        2, 1, New,     New,    AtOnce),
    (Garbage,          2, 1, New,     New,    AtOnce),
    (Oversized,        2, 1, New,     New,    AtOnce),
];

/// One refresh token for all: what was lost is exchanged once more.
#[rustfmt::skip]
const REUSABLE: [Line; 15] = [
    (Refused,          0, 0, Current, OUTAGE, Soon(1)),
    (TooMany,          1, 0, Current, OUTAGE, Soon(7)),
    (Redirected,       1, 0, Current, OURS,   Soon(1)),
    (Status(500),      2, 1, New,     New,    AtOnce),
    (Status(502),      2, 1, New,     New,    AtOnce),
    (Status(503),      2, 1, New,     New,    AtOnce),
    (Hang,             2, 1, New,     New,    AtOnce),
    (HangAfter,        2, 2, New,     New,    AtOnce),
    (Reset,            2, 2, New,     New,    AtOnce),
    (StatusAfter(500), 2, 2, New,     New,    AtOnce),
    (StatusAfter(502), 2, 2, New,     New,    AtOnce),
    (StatusAfter(503), 2, 2, New,     New,    AtOnce),
    (Truncated,        2, 2, New,     New,    AtOnce),
    (Garbage,          2, 2, New,     New,    AtOnce),
    (Oversized,        2, 2, New,     New,    AtOnce),
];

#[tokio::test(flavor = "multi_thread")]
async fn at_a_strict_service() {
    let oidc = Oidc::start(60).await.unwrap();
    for line in STRICT {
        let case = async || Case::new(Server::Oidc(&oidc), ManualClock::new(), line).await;
        case().await.while_usable(line).await;
        case().await.once_expired(line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_service_with_a_grace_period() {
    at_a_testkit(Rotation::Grace(Duration::from_secs(30)), GRACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_service_that_does_not_rotate() {
    at_a_testkit(Rotation::Reusable, REUSABLE).await;
}

async fn at_a_testkit(rotation: Rotation, table: [Line; 15]) {
    for line in table {
        let case = async || {
            let clock = ManualClock::new();
            let builder = AuthServer::builder()
                .rotation(rotation)
                .clock(clock.clone());
            let server = Server::Testkit(builder.start().unwrap(), rotation);
            Case::new(server, clock, line).await
        };
        case().await.while_usable(line).await;
        case().await.once_expired(line).await;
    }
}

/// One user, connected at second 0 of the manager's clock.
struct Case<'a> {
    server: Server<'a>,
    manager: TokenManager,
    clock: ManualClock,
    second: u64,
    key: GrantKey,
    first: AccessToken,
    door: Door,
}

impl<'a> Case<'a> {
    async fn new(server: Server<'a>, clock: ManualClock, (wrong, ..): Line) -> Self {
        let door = Door::closed(&server.base()).unwrap();
        let endpoint = match wrong {
            Refused => door.url("/token"),
            _ => format!("{}/token", server.base()),
        };
        let mut provider = server.provider(endpoint);
        if matches!(wrong, Hang | HangAfter) {
            // Of the machine's time, the only one that passes here.
            provider = provider.exchange_timeout(Duration::from_secs(1));
        }
        let store = MemoryStore::with_clock(clock.clone());
        let store = SealedStore::open(store, KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(provider)
            .clock(clock.clone())
            .build()
            .await
            .unwrap();
        let key = GrantKey::new("p", "ada");
        manager
            .connect(&key, server.consent().await.unwrap())
            .await
            .unwrap();
        Self {
            first: manager.token(&key).await.unwrap(),
            server,
            manager,
            clock,
            second: 0,
            key,
            door,
        }
    }

    /// A token with fifteen seconds left, where thirty are asked for.
    async fn while_usable(mut self, (wrong, requests, exchanged, saw, _, end): Line) {
        self.until(45);
        self.server.break_once(wrong).await.unwrap();
        let seen = self.token_for_longer().await;
        self.check(wrong, seen, saw, requests, exchanged).await;

        // Somebody who asks every second always gets a token that the API takes, and what is
        // unknown is not risked.
        self.lift().await;
        for second in 46..55 {
            self.until(second);
            let token = self.token_for_longer().await.unwrap();
            assert!(
                self.server.accepts(&token).await.unwrap(),
                "{wrong:?} {second}"
            );
            let renewed = match end {
                AtOnce => true,
                Soon(seconds) => second >= 45 + seconds,
                Late | Reconnect => false,
            };
            assert_eq!(self.is_first(&token), !renewed, "{wrong:?} {second}");
            if !renewed {
                let counts = self.counts().await;
                assert_eq!(counts.requests, requests, "{wrong:?} {second}");
            }
        }
        // In the last seconds it is risked. Where that was in vain the manager still serves the
        // token to its end, but this service takes a second use for theft and voids it: what a
        // strict service can cost is those seconds, and no more.
        self.until(59);
        let token = self.token_for_longer().await.unwrap();
        assert_eq!(self.is_first(&token), end == Reconnect, "{wrong:?}");
        let accepted = self.server.accepts(&token).await.unwrap();
        assert_eq!(accepted, end != Reconnect, "{wrong:?}");
        self.until(61);
        self.ends(wrong, end).await;
    }

    async fn once_expired(mut self, (wrong, requests, exchanged, _, saw, end): Line) {
        self.until(61);
        self.server.break_once(wrong).await.unwrap();
        let seen = self.token().await;
        let error = seen.as_ref().err().cloned();
        self.check(wrong, seen, saw, requests, exchanged).await;

        self.lift().await;
        if let Some(error) = error {
            // Up to a quarter off, unless the service asked for it.
            let (least, most) = match end {
                Soon(seconds) if seconds > 1 => (seconds * 1_000, seconds * 1_000),
                _ => (750, 1_000),
            };
            if let Recovery::Retry { after } = error.recovery() {
                let after = after.unwrap().as_millis();
                let due = u128::from(least)..=u128::from(most);
                assert!(due.contains(&after), "{wrong:?} {after}");
            }
            self.clock.advance(Duration::from_millis(least - 1));
            let again = self.token().await.unwrap_err();
            assert_eq!(again.kind(), error.kind(), "{wrong:?}");
            assert_eq!(self.counts().await.requests, requests, "{wrong:?}");
            self.clock.advance(Duration::from_millis(most + 1 - least));
        }
        self.ends(wrong, end).await;
    }

    /// Just after the fault: the columns, and that nobody was given up.
    async fn check(
        &self,
        wrong: Wrong,
        seen: Result<AccessToken, Error>,
        saw: Saw,
        requests: u64,
        exchanged: u64,
    ) {
        let seen = match seen {
            Ok(token) if self.is_first(&token) => Current,
            Ok(_) => New,
            Err(error) => Fails(error.kind()),
        };
        assert_eq!(seen, saw, "{wrong:?}");
        let counts = self.counts().await;
        assert_eq!(
            (counts.requests, counts.exchanged),
            (requests, exchanged),
            "{wrong:?}"
        );
        assert_eq!((counts.reused, counts.followed), (0, 0), "{wrong:?}");
        assert_eq!(self.state().await, GrantState::Active, "{wrong:?}");
    }

    /// After the first token's end.
    async fn ends(&self, wrong: Wrong, end: End) {
        let last = self.token().await;
        let counts = self.counts().await;
        assert_eq!(counts.followed, 0, "{wrong:?}");
        if end == Reconnect {
            assert_eq!(
                last.unwrap_err().kind(),
                ErrorKind::NeedsReauth,
                "{wrong:?}"
            );
            assert!(matches!(self.state().await, GrantState::NeedsReauth { .. }));
            assert_eq!(counts.reused, 1, "{wrong:?}");
        } else {
            let last = last.unwrap();
            assert!(
                !self.is_first(&last) && self.server.accepts(&last).await.unwrap(),
                "{wrong:?}"
            );
            assert_eq!(self.state().await, GrantState::Active, "{wrong:?}");
            assert_eq!(counts.reused, 0, "{wrong:?}");
        }
    }

    fn until(&mut self, second: u64) {
        self.clock
            .advance(Duration::from_secs(second - self.second));
        self.second = second;
    }

    async fn lift(&self) {
        self.door.open().unwrap();
        self.server.mend().await.unwrap();
    }

    async fn token(&self) -> Result<AccessToken, Error> {
        self.manager.token(&self.key).await
    }

    async fn token_for_longer(&self) -> Result<AccessToken, Error> {
        let wanted = Duration::from_secs(30);
        self.manager.token_valid_for(&self.key, wanted).await
    }

    fn is_first(&self, token: &AccessToken) -> bool {
        token.serial() == self.first.serial()
    }

    async fn counts(&self) -> Counts {
        self.server.counts().await.unwrap()
    }

    async fn state(&self) -> GrantState {
        self.manager.grants("ada").await.unwrap()[0].state()
    }
}
