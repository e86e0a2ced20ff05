//! Accounts that were connected together have one refresh token: it is spent once for all of
//! them, and each keeps a token of its own.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tests::fake::Next;
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    AccountToken, ErrorKind, MemoryStore, TokenLayer, TokenRequest, TokenResponse,
    TokenServiceError, Verdict,
};

use crate::support::{API, Api, HOUR, Rig};

fn tokens<const N: usize>(of: [&str; N], round: usize) -> TokenResponse {
    let accounts = of.map(|id| AccountToken::new(id, format!("{id}{round}")));
    TokenResponse::for_accounts(accounts)
        .refresh_token(format!("r{round}"))
        .expires_in(HOUR)
}

async fn connected() -> Rig {
    let clock = ManualClock::new();
    let rig = Rig::over(MemoryStore::with_clock(clock.clone()), clock).await;
    let consent = tokens(["a", "b"], 0);
    rig.manager.connect(&rig.key, consent).await.unwrap();
    rig
}

async fn token(rig: &Rig, account: &str) -> Result<String, ErrorKind> {
    let token = rig.manager.account_token(&rig.key, account).await;
    token
        .map(|token| token.expose().to_owned())
        .map_err(|error| error.kind())
}

fn request(rig: &Rig, account: Option<&str>) -> Request<Full<Bytes>> {
    let wanted = TokenRequest::new(rig.key.clone());
    let wanted = match account {
        Some(account) => wanted.account(account),
        None => wanted,
    };
    let request = Request::get(API).extension(wanted);
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn two_accounts_at_expiry_cost_one_exchange() {
    let rig = connected().await;
    rig.fake.script([Next::With(tokens(["b", "a"], 1))]);
    rig.until_expired();
    let (a, b) = tokio::join!(token(&rig, "a"), token(&rig, "b"));
    assert_eq!((a.unwrap(), b.unwrap()), ("a1".into(), "b1".into()));
    assert_eq!(rig.fake.exchanges(), 1);
    assert_eq!(rig.fake.reused(), 0);
}

#[tokio::test]
async fn each_account_has_its_own_token_also_after_a_restart() {
    let rig = connected().await;
    for manager in [rig.manager.clone(), rig.sibling().await] {
        for account in ["a", "b"] {
            let token = manager.account_token(&rig.key, account).await.unwrap();
            assert_eq!(token.expose(), format!("{account}0"));
        }
        let grants = manager.grants("ada").await.unwrap();
        let ids = grants[0].accounts().iter().map(|account| account.id());
        assert_eq!(ids.collect::<Vec<_>>(), ["a", "b"]);
    }
}

#[tokio::test]
async fn a_request_that_names_no_account_of_several_is_not_sent() {
    let rig = connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    for account in [None, Some("c")] {
        let refused = client.clone().oneshot(request(&rig, account)).await;
        let Err(TokenServiceError::Token(error)) = refused else {
            panic!("it was sent")
        };
        assert_eq!(error.kind(), ErrorKind::UnknownAccount);
    }
    assert_eq!(
        rig.manager.token(&rig.key).await.unwrap_err().kind(),
        ErrorKind::UnknownAccount
    );
    assert!(api.tokens().is_empty());
    client.oneshot(request(&rig, Some("b"))).await.unwrap();
    assert_eq!(api.tokens(), ["b0"]);
    assert_eq!(rig.fake.exchanges(), 0);
}

#[tokio::test]
async fn a_user_who_has_only_one_account_left_need_not_name_it_to_any_instance() {
    let rig = connected().await;
    let sibling = rig.sibling().await;
    let error = sibling.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownAccount);
    let consent = tokens(["a"], 7);
    rig.manager.connect(&rig.key, consent).await.unwrap();
    assert_eq!(sibling.token(&rig.key).await.unwrap().expose(), "a7");
}

#[tokio::test]
async fn an_account_that_an_answer_leaves_out_keeps_its_token_to_its_end() {
    let rig = connected().await;
    rig.fake.script([
        Next::With(tokens(["a"], 1)),
        Next::With(tokens(["a", "b"], 2)),
    ]);
    rig.until_due();
    token(&rig, "a").await.unwrap();
    rig.fake.begun(1).await;
    until(&rig, "a", "a1").await;
    assert_eq!(token(&rig, "b").await.unwrap(), "b0");
    rig.clock.advance(Duration::from_secs(240));
    // Its token has run out, and another exchange would not help.
    assert_eq!(token(&rig, "b").await, Err(ErrorKind::NeedsReauth));
    assert_eq!(token(&rig, "b").await, Err(ErrorKind::NeedsReauth));
    assert_eq!(rig.fake.exchanges(), 1);
    let usable = rig
        .manager
        .accounts(&rig.key, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(usable.len(), 1);
    // The next refresh that is due anyway brings it back.
    rig.clock.advance(HOUR);
    assert_eq!(token(&rig, "b").await.unwrap(), "b2");
    assert_eq!(rig.fake.exchanges(), 2);
}

/// Waits for a refresh behind.
async fn until(rig: &Rig, account: &str, expected: &str) {
    while token(rig, account).await.as_deref() != Ok(expected) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_refusal_of_one_accounts_token_leaves_the_others_usable() {
    let rig = connected().await;
    let api = Api::default();
    api.refuse("a0");
    let verdict = Verdict::Transient { retry_after: None };
    rig.fake.script([Next::Fail(verdict)]);
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let refused = client.clone().oneshot(request(&rig, Some("a"))).await;
    assert_eq!(refused.unwrap().status(), StatusCode::UNAUTHORIZED);
    // The refresh has failed: that costs nobody a token that is good.
    let served = client.clone().oneshot(request(&rig, Some("b"))).await;
    assert_eq!(served.unwrap().status(), StatusCode::OK);
    assert_eq!(api.tokens(), ["a0", "b0"]);
    // Later it succeeds, once for both.
    rig.clock.advance(Duration::from_secs(60));
    rig.fake.script([Next::With(tokens(["a", "b"], 1))]);
    for account in ["a", "b"] {
        let served = client.clone().oneshot(request(&rig, Some(account))).await;
        assert_eq!(served.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(api.tokens(), ["a0", "b0", "a1", "b1"]);
    assert_eq!(rig.fake.exchanges(), 2);
}

#[tokio::test]
async fn the_accounts_are_refreshed_before_they_are_listed_if_they_run_out_too_soon() {
    let rig = connected().await;
    rig.fake.script([Next::With(tokens(["a", "b"], 1))]);
    let list = async |min_validity| {
        let accounts = rig.manager.accounts(&rig.key, min_validity).await.unwrap();
        let tokens = accounts.iter().map(|account| account.access_token());
        tokens
            .map(|token| token.unwrap().expose().to_owned())
            .collect::<Vec<_>>()
    };
    rig.clock.advance(HOUR / 2);
    assert_eq!(list(Duration::ZERO).await, ["a0", "b0"]);
    assert_eq!(list(HOUR * 3 / 4).await, ["a1", "b1"]);
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn a_grant_without_an_access_token_gets_its_first_when_it_is_needed() {
    let clock = ManualClock::new();
    let rig = Rig::over(MemoryStore::with_clock(clock.clone()), clock).await;
    let consent = TokenResponse::refresh_token_only("r0");
    rig.manager.connect(&rig.key, consent).await.unwrap();
    assert_eq!(rig.fake.exchanges(), 0);
    rig.fake.script([Next::With(tokens(["a", "b"], 1))]);
    // Also by a manager that learns of it from the store.
    let sibling = rig.sibling().await;
    let token = sibling.account_token(&rig.key, "b").await.unwrap();
    assert_eq!(token.expose(), "b1");
    assert_eq!(rig.fake.exchanges(), 1);
}
