//! Whoever leaves leaves nothing behind, or is told what.

use axum_token::{
    CurrentSubject, LeftReason, Logout, LogoutOutcome, SessionTokenLayer, SignIns, TokenRejection,
    Visitor,
};
use tower_token::{ErrorKind, GrantKey, KeyRing, SealedStore, TokenManager};

use crate::stamps_rig::{Fixed, Loads, found, visitor};
use crate::support::{Rig, manager};

/// Ada, signed in, and what her grants are in.
struct Ada {
    rig: Rig,
    store: Loads,
    ring: KeyRing,
    manager: TokenManager,
    sign_ins: SignIns,
    layer: SessionTokenLayer<Fixed>,
    user: CurrentSubject,
}

impl Ada {
    async fn new() -> Self {
        let (rig, store) = (Rig::new().await, Loads::default());
        let ring = KeyRing::generate().unwrap();
        let manager = manager(store.clone(), &ring, &rig.server, &rig.clock).await;
        let sign_ins = SignIns::new(&manager);
        let layer = SessionTokenLayer::new(Fixed(sign_ins.admit("ada").await.unwrap()));
        let layer = layer.sign_ins(&sign_ins);
        let Some(Visitor::SignedIn(user)) = found(&layer).await else {
            panic!("she is not signed in");
        };
        Self {
            rig,
            store,
            ring,
            manager,
            sign_ins,
            layer,
            user,
        }
    }

    async fn connect(&self, key: &GrantKey) {
        let tokens = self.rig.server.connect("ada").into();
        self.manager.connect(key, tokens).await.unwrap();
    }

    fn leaving(&self) -> Logout {
        Logout::of(&self.user)
            .disconnect_all()
            .everywhere(&self.sign_ins)
    }
}

/// By a request that was let in before she left, and is done before she is out.
#[tokio::test]
async fn what_is_connected_while_she_leaves_is_ended_too() {
    let ada = Ada::new().await;
    let key = GrantKey::new("demo", "ada");
    // She has no grants: the first write is the one of the stamp.
    let (begins, go) = ada.store.pause();
    let other = async {
        begins.await.unwrap();
        ada.connect(&key).await;
        assert!(ada.user.is_signed_in().await.unwrap());
        go.send(()).unwrap();
    };
    let (left, ()) = tokio::join!(ada.leaving().run(&ada.manager), other);
    left.unwrap().complete().unwrap();
    let gone = ada.manager.token(&key).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
    // One that is done later finds that she is out.
    assert!(!ada.user.is_signed_in().await.unwrap());
    assert_eq!(visitor(&ada.layer).await, "Anonymous");
}

fn left(outcome: &LogoutOutcome) -> Vec<(Option<&str>, LeftReason, usize)> {
    let left = outcome.left().iter();
    left.map(|left| (left.provider(), left.reason(), left.count()))
        .collect()
}

/// Nobody knows how to end it, so nothing but its secrets is left. She is told.
#[tokio::test]
async fn a_grant_of_a_provider_that_is_gone_is_named_and_everything_else_is_ended() {
    let ada = Ada::new().await;
    let opened = SealedStore::open(ada.store.clone(), ada.ring.clone()).await;
    let other = TokenManager::builder()
        .store(opened.unwrap())
        .provider(ada.rig.server.provider("gone"))
        .clock(ada.rig.clock.clone())
        .build()
        .await
        .unwrap();
    for connection in ["one", "two"] {
        let key = GrantKey::new("gone", "ada").with_connection(connection);
        let tokens = ada.rig.server.connect("ada").into();
        other.connect(&key, tokens).await.unwrap();
    }
    let demo = GrantKey::new("demo", "ada");
    ada.connect(&demo).await;

    let outcome = ada.leaving().run(&ada.manager).await.unwrap();
    assert_eq!(
        left(&outcome),
        [(Some("gone"), LeftReason::UnknownProvider, 2)]
    );
    assert_eq!(visitor(&ada.layer).await, "Anonymous");
    let gone = ada.manager.token(&demo).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
    let Err(TokenRejection::Misconfigured(what)) = outcome.complete() else {
        panic!("it is not complete");
    };
    assert!(what.message().contains("gone"), "{what}");
    assert!(!what.message().contains("ada"), "{what}");

    // Who left something else behind has left.
    let demo_only = Logout::of(&ada.user).disconnect("demo");
    let outcome = demo_only.run(&ada.manager).await.unwrap();
    outcome.complete().unwrap();
}

/// What it is of cannot be read, but some of it can be known.
#[tokio::test]
async fn rows_that_do_not_open_are_ended_where_that_can_be_and_counted_where_not() {
    for named in [true, false] {
        let ada = Ada::new().await;
        let before = ada.store.rows().await;
        let key = GrantKey::new("demo", "ada");
        ada.connect(&key).await;
        ada.connect(&key.clone().with_connection("work")).await;
        ada.store.damage_new(&before).await;
        // As after a restart: nothing of it is in memory.
        let manager = manager(
            ada.store.clone(),
            &ada.ring,
            &ada.rig.server,
            &ada.rig.clock,
        )
        .await;
        let damaged = manager.token(&key).await.unwrap_err();
        assert_eq!(damaged.kind(), ErrorKind::Damaged);

        let leaving = Logout::of(&ada.user);
        let leaving = if named {
            leaving.disconnect("demo")
        } else {
            leaving.disconnect_all()
        };
        let outcome = leaving.run(&manager).await.unwrap();
        let ended = manager.token(&key).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::NotConnected);
        assert_eq!(left(&outcome), [(None, LeftReason::Unreadable, 1)]);
        assert!(outcome.complete().is_err());
    }
}

#[tokio::test]
async fn a_row_of_before_is_ended_as_well() {
    let ada = Ada::new().await;
    let key = GrantKey::new("demo", "ada");
    let before = ada.store.rows().await;
    ada.connect(&key).await;
    let old = ada.store.rows().await;
    ada.connect(&key).await;
    for (row, bytes) in old {
        if !before.contains_key(&row) {
            ada.store.forge(row, bytes);
        }
    }
    assert!(ada.manager.grants("ada").await.unwrap().len() == 1);
    ada.leaving()
        .run(&ada.manager)
        .await
        .unwrap()
        .complete()
        .unwrap();
    let gone = ada.manager.token(&key).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
}
