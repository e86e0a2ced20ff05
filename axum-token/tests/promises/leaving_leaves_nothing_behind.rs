//! Whoever leaves leaves nothing behind, or is told what.

use axum_token::{CurrentSubject, Logout, SessionTokenLayer, SignIns, Visitor};
use tower_token::testkit::ManualClock;
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
    left.unwrap();
    let gone = ada.manager.token(&key).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
    // One that is done later finds that she is out.
    assert!(!ada.user.is_signed_in().await.unwrap());
    assert_eq!(visitor(&ada.layer).await, "Anonymous");
}
