//! A handler's outbound calls are its user's, and nothing else's are.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use axum_token::{
    CurrentSubject, CurrentUserLayer, PublicOrigin, SessionTokenLayer, TrustedHeader, Visitor,
    sessions,
};
use futures_util::stream;
use http::header::{AUTHORIZATION, HeaderName};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::Barrier;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_token::{ErrorKind, GrantKey, TokenLayer, TokenRequest, TokenServiceError};

use crate::support::{Browser, ORIGIN, Rig};

type Outbound = BoxCloneSyncService<Request<()>, Response<String>, TokenServiceError<Infallible>>;

/// An API that says which token it was shown, behind the two layers.
fn outbound(rig: &Rig) -> Outbound {
    let api = tower::service_fn(|request: Request<()>| async move {
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.map_or("", |value| value.to_str().unwrap());
        Ok::<_, Infallible>(Response::new(
            shown.trim_start_matches("Bearer ").to_owned(),
        ))
    });
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .layer(CurrentUserLayer::new("demo"))
            .layer(TokenLayer::new(&rig.manager))
            .service(api),
    )
}

async fn call(client: Outbound, uri: String) -> String {
    answer(client, Request::get(uri).body(()).unwrap()).await
}

async fn answer(client: Outbound, request: Request<()>) -> String {
    match client.oneshot(request).await {
        Ok(response) => response.into_body(),
        Err(TokenServiceError::Token(error)) => format!("{:?}", error.kind()),
        Err(TokenServiceError::Inner(never)) => match never {},
    }
}

fn scoped(rig: &Rig, routes: Router) -> Browser {
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let router = rig.router().merge(
        routes.layer(
            ServiceBuilder::new()
                .layer(sessions::layer(&origin, rig.sessions.clone()))
                .layer(SessionTokenLayer::new(sessions::Sessions).task_local_scope()),
        ),
    );
    Browser::new(router)
}

#[tokio::test]
async fn two_users_at_once_on_one_client_each_send_their_own() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    rig.connect("eve").await;
    let (client, api) = (outbound(&rig), rig.server.api());
    let barrier = Arc::new(Barrier::new(2));
    let handler = move || {
        let (client, api, barrier) = (client.clone(), api.clone(), Arc::clone(&barrier));
        async move {
            let mut tokens = vec![call(client.clone(), api.clone()).await];
            for _ in 0..50 {
                barrier.wait().await;
                tokens.push(call(client.clone(), api.clone()).await);
            }
            tokens.dedup();
            tokens.join(" ")
        }
    };
    let ada = scoped(&rig, Router::new().route("/call", get(handler)));
    let mut browsers = Vec::new();
    for user in ["ada", "eve"] {
        let mut browser = ada.clone();
        browser.sign_in(user).await;
        browsers.push((user, browser));
    }
    let calls = browsers.into_iter().map(|(user, mut browser)| {
        tokio::spawn(async move { (user, browser.get("/call").await.body) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (user, sent) = call.await.unwrap();
        let own = rig
            .manager
            .token(&GrantKey::new("demo", user))
            .await
            .unwrap();
        assert_eq!(sent, own.expose(), "{user}");
    }
}

/// Without a scope nothing is sent: in a spawned task, in a body that is still being written,
/// and for whoever is not signed in.
#[tokio::test]
async fn without_a_scope_nothing_is_sent() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let (client, api) = (outbound(&rig), rig.server.api());
    let work = move |Path(how): Path<String>, user: Option<axum::Extension<Visitor>>| {
        let (client, api) = (client.clone(), api.clone());
        async move {
            let subject = match user {
                Some(axum::Extension(Visitor::SignedIn(subject))) => Some(subject),
                _ => None,
            };
            let sent = match (how.as_str(), subject) {
                ("direct", _) => call(client, api).await,
                ("spawned", _) => tokio::spawn(call(client, api)).await.unwrap(),
                ("spawned-in-scope", Some(subject)) => {
                    tokio::spawn(subject.scope(call(client, api)))
                        .await
                        .unwrap()
                }
                ("explicit", _) => {
                    let wanted = TokenRequest::new(GrantKey::new("demo", "nobody"));
                    let request = Request::get(api).extension(wanted).body(()).unwrap();
                    answer(client, request).await
                }
                ("events", _) => {
                    let body = stream::once(async move {
                        let data = call(client, api).await;
                        Ok::<_, Infallible>(Event::default().data(data))
                    });
                    return axum::response::IntoResponse::into_response(Sse::new(body));
                }
                other => format!("{other:?}"),
            };
            Response::new(Body::from(sent))
        }
    };
    let mut nobody = scoped(&rig, Router::new().route("/call/{how}", get(work)));
    let mut ada = nobody.clone();
    ada.sign_in("ada").await;
    let hers = rig
        .manager
        .token(&GrantKey::new("demo", "ada"))
        .await
        .unwrap();
    let missing = format!("{:?}", ErrorKind::MissingKey);

    assert_eq!(ada.get("/call/direct").await.body, hers.expose());
    assert_eq!(ada.get("/call/spawned").await.body, missing);
    assert_eq!(ada.get("/call/spawned-in-scope").await.body, hers.expose());
    let events = ada.get("/call/events").await.body;
    assert_eq!(events, format!("data: {missing}\n\n"));
    // What a request says itself is never overruled.
    assert_eq!(ada.get("/call/explicit").await.body, "NotConnected");
    assert_eq!(nobody.get("/call/direct").await.body, missing);
    assert!(CurrentSubject::in_scope().is_none());
}

/// A call into the service itself, as whoever that is made by: not as the caller's user.
#[tokio::test]
async fn an_inner_scope_hides_the_outer_one() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let (client, api) = (outbound(&rig), rig.server.api());
    let name = HeaderName::from_static("x-user");
    let source = TrustedHeader::overwritten_by_proxy(name);
    let inner = SessionTokenLayer::new(source)
        .task_local_scope()
        .layer(tower::service_fn(move |_: Request<Body>| {
            let (client, api) = (client.clone(), api.clone());
            async move { Ok::<_, Infallible>(Response::new(Body::from(call(client, api).await))) }
        }));
    let outer = move || {
        let inner = inner.clone();
        async move {
            let request = Request::get("/").body(Body::empty()).unwrap();
            let body = inner.oneshot(request).await.unwrap().into_body();
            body.collect().await.unwrap().to_bytes()
        }
    };
    let mut ada = scoped(&rig, Router::new().route("/outer", get(outer)));
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/outer").await.body, "MissingKey");
}

/// It is opt-in.
#[tokio::test]
async fn no_scope_is_there_unless_asked_for() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let (client, api) = (outbound(&rig), rig.server.api());
    let routes = Router::new().route("/call", get(move || call(client.clone(), api.clone())));
    let router = rig.router().merge(
        routes.layer(
            ServiceBuilder::new()
                .layer(sessions::layer(&origin, rig.sessions.clone()))
                .layer(SessionTokenLayer::new(sessions::Sessions)),
        ),
    );
    let mut ada = Browser::new(router);
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/call").await.body, "MissingKey");
}
