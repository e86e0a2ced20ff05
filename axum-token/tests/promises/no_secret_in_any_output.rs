//! No secret, and no user, in what any type prints or answers.

use axum_token::{
    CurrentSubject, Logout, SessionTokenLayer, SignIn, TokenRejection, Tokens, TrustedHeader,
    ValidToken, Visitor, sessions,
};
use http::HeaderName;
use tower_token::{GrantKey, Secret};

use crate::support::{Browser, Demo, Rig, TTL};

const USER: &str = "user-whom-nobody-names";
const PROOF: &str = "secret-of-the-proxy";

#[tokio::test]
async fn no_type_prints_one() {
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
    let seen = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let handler = {
        let seen = std::sync::Arc::clone(&seen);
        async move |user: CurrentSubject,
                    visitor: axum::Extension<Visitor>,
                    token: ValidToken<Demo>,
                    tokens: Tokens| {
            let named = tokens.valid("demo").await.unwrap();
            let logout = Logout::of(&user);
            seen.lock().push(format!(
                "{user:?} {visitor:?} {token:#?} {tokens:?} {named:?} {logout:?} {:?}",
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

    rig.server.revoke_grant(USER);
    rig.clock.advance(TTL);
    let refused = browser.get("/").await;
    assert_eq!(refused.json()["code"], "needs_reauth");
    shown.push(format!("{:?} {}", refused.headers, refused.body));
    let key = GrantKey::new("demo", USER);
    let rejection = TokenRejection::from(rig.manager.token(&key).await.unwrap_err());
    shown.push(format!("{rejection:?} {rejection}"));

    shown.extend(seen.lock().drain(..));
    assert_eq!(shown.len(), 8);
    for text in shown {
        for secret in [USER, PROOF, stamp.expose(), &token] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
