//! A real failover: the primary is killed, and its standby is promoted. What was acknowledged is
//! there, nobody is asked to come back, and who was missed is found out.

use std::time::Duration;

use futures_util::StreamExt as _;
use tests::fake::Fake;
use tests::postgres::Server;
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, Events, GrantKey, KeyRing, OnStale, PostgresStore, Provider, SealedStore,
    TokenManager, TokenResponse,
};

use crate::support::{API, HOUR};

const USERS: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn user(number: usize) -> GrantKey {
    GrantKey::new("fake", number.to_string())
}

/// What each user's token is; nobody has waited for more than a minute.
async fn tokens(
    manager: &TokenManager,
    clock: &ManualClock,
    users: std::ops::Range<usize>,
) -> Vec<String> {
    let mut tokens = Vec::new();
    for number in users {
        let asked = tokio::time::timeout(MINUTE, async {
            loop {
                match manager.token(&user(number)).await {
                    Ok(token) => return token.expose().to_owned(),
                    // While it takes over.
                    Err(error) if error.kind() == ErrorKind::Store => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(SECOND / 10).await;
                clock.advance(SECOND / 10);
            }
        });
        tokens.push(asked.await.unwrap());
    }
    tokens
}

async fn heard(events: &mut Events, wanted: &EventKind) {
    let heard = tokio::time::timeout(MINUTE, async {
        while &events.next().await.unwrap().kind != wanted {}
    });
    heard.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost() {
    let mut primary = Server::start().await.unwrap();
    let standby = primary.standby().await.unwrap();
    primary.await_any_standby().await.unwrap();
    let both = format!("{},{}", primary.address(), standby.address());
    let url = primary.url().replace(&primary.address(), &both);
    let (ring, fake, clock) = (
        KeyRing::generate().unwrap(),
        Fake::new(HOUR),
        ManualClock::new(),
    );
    let instance = async || {
        let store = PostgresStore::connect(url.clone()).await.unwrap();
        let store = SealedStore::open_shared(store, ring.clone()).await.unwrap();
        TokenManager::builder()
            .store(store)
            .provider(Provider::new("fake", fake.clone()).allow_origin(API))
            .clock(clock.clone())
            .max_stale(SECOND, OnStale::FailClosed)
            .without_sweeper()
            .build()
            .await
            .unwrap()
    };
    let (here, there) = (instance().await, instance().await);
    let mut events = there.events(4_096);
    for number in 0..USERS {
        let consent = TokenResponse::new(format!("consent-{number}"));
        let consent = consent.refresh_token(format!("of-{number}"));
        here.connect(&user(number), consent.expires_in(HOUR))
            .await
            .unwrap();
    }
    // Each refresh token has been spent once, and what it brought was acknowledged.
    clock.advance(HOUR);
    let before = tokens(&here, &clock, 0..USERS).await;
    assert_eq!(tokens(&there, &clock, 0..USERS).await, before);
    here.disconnect(&user(0)).await.unwrap();

    primary.kill().await.unwrap();
    heard(&mut events, &EventKind::StoreUnavailable).await;
    standby.promote().await.unwrap();
    heard(&mut events, &EventKind::StoreAvailable).await;

    assert_eq!(tokens(&there, &clock, 1..USERS).await, before[1..]);
    for manager in [&here, &there] {
        let left = manager.token(&user(0)).await.unwrap_err();
        assert_eq!(left.kind(), ErrorKind::NotConnected);
    }
    // The refresh tokens are those that were brought last.
    clock.advance(HOUR);
    let after = tokens(&here, &clock, 1..USERS).await;
    assert_eq!(tokens(&there, &clock, 1..USERS).await, after);
    assert!(after.iter().all(|token| !before.contains(token)));
    assert_eq!((fake.exchanges(), fake.reused()), (2 * USERS - 1, 0));
    // Others are heard again.
    here.disconnect(&user(1)).await.unwrap();
    heard(&mut events, &EventKind::DisconnectedElsewhere).await;
}
