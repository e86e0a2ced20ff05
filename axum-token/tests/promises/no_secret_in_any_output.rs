//! No secret, and no user, in what any type prints, answers or logs.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use axum_token::{
    CurrentSubject, Logout, SessionTokenLayer, SignIn, TokenRejection, Tokens, TrustedHeader,
    ValidToken, Visitor, sessions,
};
use http::HeaderName;
use parking_lot::Mutex;
use tower_token::{GrantKey, Secret};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

use crate::support::{Browser, Demo, Rig, TTL};

const USER: &str = "user-whom-nobody-names";
const PROOF: &str = "secret-of-the-proxy";

#[tokio::test]
async fn nothing_prints_or_logs_one() {
    let log = Log::default();
    // For all threads: with one of a thread, what another thread's test comes to first is never
    // asked about again. So what other tests log is in it, too.
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    tracing::callsite::rebuild_interest_cache();
    let rig = Rig::new().await;
    rig.connect(USER).await;
    let who = rig.sign_ins.admit(USER).await.unwrap();
    let stamp = rig
        .manager
        .token(&GrantKey::new(axum_token::SignIns::PROVIDER, USER))
        .await
        .unwrap();
    let header = HeaderName::from_static("x-user");
    let trusted = TrustedHeader::overwritten_by_proxy(header.clone())
        .shared_secret(header, Secret::from(PROOF));
    let layer = SessionTokenLayer::new(sessions::Sessions).sign_ins(&rig.sign_ins);
    let mut shown = vec![
        format!("{who:?} {who:#?}"),
        format!("{:?}", SignIn::new(USER)),
        format!("{:?} {:?}", rig.sign_ins, rig.app.tokens),
        format!("{trusted:?} {:?}", SessionTokenLayer::new(trusted.clone())),
        format!("{layer:?}"),
    ];
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handler = {
        let seen = Arc::clone(&seen);
        async move |user: CurrentSubject,
                    visitor: axum::Extension<Visitor>,
                    token: ValidToken<Demo>,
                    tokens: Tokens| {
            let named = tokens.valid("demo").await.unwrap();
            // Logged, as it is set up wrongly.
            let unknown = tokens.valid("no-such-provider").await.unwrap_err();
            let logout = Logout::of(&user);
            seen.lock().push(format!(
                "{user:?} {visitor:?} {token:#?} {tokens:?} {named:?} {unknown:?} {logout:?} {:?}",
                token.request()
            ));
            token.access_token().expose().to_owned()
        }
    };
    let router = axum::Router::new()
        .route("/", axum::routing::get(handler))
        .layer(layer)
        .layer(tower_sessions::SessionManagerLayer::new(
            rig.sessions.clone(),
        ))
        .with_state(rig.app.clone());
    let session = axum::Router::new()
        .route(
            "/login",
            axum::routing::post(move |session: tower_sessions::Session| async move {
                sessions::sign_in(&session, who).await
            }),
        )
        .layer(tower_sessions::SessionManagerLayer::new(
            rig.sessions.clone(),
        ));
    let mut browser = Browser::new(router.merge(session));
    browser.post("/login").await;
    let token = browser.get("/").await.body;
    assert!(token.len() > 20, "{token}");
    rig.clock.advance(TTL);
    let refreshed = browser.get("/").await.body;
    assert_ne!(refreshed, token);

    rig.server.revoke_grant(USER);
    rig.clock.advance(TTL);
    let refused = browser.get("/").await;
    assert_eq!(refused.json()["code"], "needs_reauth");
    shown.push(format!("{:?} {}", refused.headers, refused.body));
    let key = GrantKey::new("demo", USER);
    let rejection = TokenRejection::from(rig.manager.token(&key).await.unwrap_err());
    shown.push(format!("{rejection:?} {rejection}"));

    shown.extend(seen.lock().drain(..));
    assert_eq!(shown.len(), 9);
    let lines = std::mem::take(&mut *log.0.lock());
    for (target, said) in [
        ("axum_token", "no-such-provider"),
        ("tower_token", "refreshed"),
        ("tower_token", "needs_reauth"),
        ("tower_sessions", "session"),
    ] {
        let is_there = |line: &String| line.starts_with(target) && line.contains(said);
        assert!(lines.iter().any(is_there), "{target} {said}: {lines:#?}");
    }
    shown.extend(lines);
    for text in shown {
        for secret in [USER, PROOF, stamp.expose(), &token, &refreshed] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

/// Everything that is logged, at every level: targets, names, and what is in the fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let metadata = span.metadata();
        let mut line = Line(format!("{} {}", metadata.target(), metadata.name()));
        span.record(&mut line);
        self.0.lock().push(line.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line::default();
        values.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line(format!("{} {}", metadata.target(), metadata.name()));
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
