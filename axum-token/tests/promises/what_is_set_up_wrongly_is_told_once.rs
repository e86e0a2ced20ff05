//! What is set up wrongly stands in the log, once for each request that is refused by it.

use std::sync::Arc;

use axum::routing::get;
use axum_token::{CurrentSubject, SessionTokenLayer, SignIn, SignIns};
use http::StatusCode;
use parking_lot::Mutex;
use tower_token::testkit::ManualClock;
use tower_token::{KeyRing, SealedStore, TokenManager};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

use crate::stamps_rig::{Fixed, Loads, stamps};
use crate::support::{Browser, Rig};

/// What a request of Ada's logs that asks who it is.
async fn logged(rig: &Rig, who: SignIn, sign_ins: &SignIns) -> (StatusCode, Vec<String>) {
    let layer = SessionTokenLayer::new(Fixed(who)).sign_ins(sign_ins);
    let router = axum::Router::new()
        .route("/me", get(async |_: CurrentSubject| "me"))
        .route("/public", get(async || "public"))
        .layer(layer)
        .with_state(rig.app.clone());
    let lines = Lines::default();
    let _capturing = tracing::subscriber::set_default(lines.clone());
    let mut browser = Browser::new(router);
    let answer = browser.get("/me").await;
    let told = std::mem::take(&mut *lines.0.lock());
    assert_eq!(browser.get("/public").await.status, StatusCode::OK);
    (answer.status, told)
}

#[tokio::test]
async fn a_provider_that_was_forgotten() {
    let (rig, clock) = (Rig::new().await, ManualClock::new());
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let manager = stamps(store.clone(), &ring, &clock, SignIns::provider()).await;
    let who = SignIns::new(&manager).admit("ada").await.unwrap();
    let without = TokenManager::builder()
        .store(SealedStore::open(store, ring).await.unwrap())
        .provider(rig.server.provider("demo"))
        .build()
        .await
        .unwrap();
    let (status, told) = logged(&rig, who, &SignIns::new(&without)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(SignIns::PROVIDER), "{told:?}");
}

#[tokio::test]
async fn a_stamp_that_is_missing() {
    let rig = Rig::new().await;
    for (who, status, about) in [
        (SignIn::new("ada"), 500, "keeps no stamps"),
        (SignIn::new("ada").with_stamp(None), 401, "without a stamp"),
    ] {
        let (answered, told) = logged(&rig, who, &rig.sign_ins).await;
        assert_eq!(answered, status);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(about), "{told:?}");
    }
}

/// The lines of this crate.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "axum_token"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Line(&self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line<'a>(&'a Mutex<Vec<String>>);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.lock().push(format!("{field}={value:?}"));
    }
}
