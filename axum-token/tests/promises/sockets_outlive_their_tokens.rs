//! A WebSocket and a stream of events go on when their first token has expired, and end when
//! their user has left.

use std::convert::Infallible;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum_token::{
    LoginReason, PublicOrigin, SameOriginLayer, SessionTokenLayer, TokenRejection, ValidToken,
    sessions,
};
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::header::COOKIE;
use http_body_util::BodyExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_token::testkit::Fault;

use crate::support::{Browser, Demo, ORIGIN, Rig, TTL};

/// Answers each message with the token of now.
async fn socket(token: ValidToken<Demo>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| serve(socket, token))
}

async fn serve(mut socket: WebSocket, token: ValidToken<Demo>) {
    while let Some(Ok(Message::Text(_))) = socket.recv().await {
        let (said, over) = say(&token).await;
        if socket.send(Message::text(said)).await.is_err() || over {
            return;
        }
    }
}

async fn say(token: &ValidToken<Demo>) -> (String, bool) {
    match token.current().await {
        Ok(token) => (token.expose().into(), false),
        Err(TokenRejection::LoginRequired(why)) => {
            assert!(matches!(
                why.reason(),
                LoginReason::Anonymous | LoginReason::NotConnected
            ));
            (why.reason().as_str().into(), true)
        }
        Err(other) => (other.to_string(), false),
    }
}

async fn events(token: ValidToken<Demo>) -> impl IntoResponse {
    Sse::new(stream::unfold(Some(token), |token| async {
        let token = token?;
        let (said, over) = say(&token).await;
        let event = Ok::<_, Infallible>(Event::default().data(said));
        Some((event, (!over).then_some(token)))
    }))
}

fn router(rig: &mut Rig) -> Router {
    rig.app.stamped = true;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let layer = || SessionTokenLayer::new(sessions::Sessions).sign_ins(&rig.sign_ins);
    let routes = Router::new()
        .route("/socket", get(socket))
        .route("/events", get(events))
        .with_state(rig.app.clone())
        .layer(
            ServiceBuilder::new()
                .layer(SameOriginLayer::new(&origin))
                .layer(sessions::layer(&origin, rig.sessions.clone()))
                .layer(layer()),
        );
    rig.router_with(layer()).merge(routes)
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(
    port: u16,
    browser: &Browser,
    origin: Option<&str>,
) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://127.0.0.1:{port}/socket")
        .into_client_request()
        .unwrap();
    let headers = request.headers_mut();
    for (name, value) in &browser.cookies {
        headers.append(COOKIE, format!("{name}={value}").parse().unwrap());
    }
    if let Some(origin) = origin {
        headers.append("origin", origin.parse().unwrap());
    }
    Ok(connect_async(request).await?.0)
}

async fn ask(socket: &mut Socket) -> String {
    socket.send(Frame::text("?")).await.unwrap();
    match socket.next().await {
        Some(Ok(frame)) => frame.into_text().unwrap().to_string(),
        end => format!("{end:?}"),
    }
}

#[tokio::test]
async fn a_socket_has_the_token_of_now_until_its_user_leaves() {
    for leaves in ["disconnects", "signs out everywhere"] {
        let mut rig = Rig::new().await;
        rig.connect("ada").await;
        let router = router(&mut rig);
        let mut ada = Browser::new(router.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(axum::serve(listener, router).into_future());

        let refused = open(port, &ada, Some(ORIGIN)).await.unwrap_err();
        assert!(matches!(refused, tungstenite::Error::Http(answer) if answer.status() == 401));
        ada.sign_in("ada").await;
        let refused = open(port, &ada, Some("https://evil.example")).await;
        assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 403));

        let mut socket = open(port, &ada, Some(ORIGIN)).await.unwrap();
        let first = ask(&mut socket).await;
        assert_eq!(ask(&mut socket).await, first);
        rig.clock.advance(TTL);
        let second = ask(&mut socket).await;
        assert_ne!(second, first);
        assert_eq!(rig.server.counts().refreshes_ok, 1);

        // What may pass does not end it.
        rig.clock.advance(TTL);
        rig.server.set_fault(Fault::status(503).times(1));
        assert_eq!(ask(&mut socket).await, "temporarily unavailable");
        rig.clock.advance(TTL);
        let third = ask(&mut socket).await;
        assert!(![first, second].contains(&third));

        let expected = if leaves == "disconnects" {
            let key = tower_token::GrantKey::new("demo", "ada");
            rig.manager.disconnect(&key).await.unwrap();
            "not_connected"
        } else {
            rig.sign_ins.sign_out_everywhere("ada").await.unwrap();
            "login_required"
        };
        assert_eq!(ask(&mut socket).await, expected);
        server.abort();
    }
}

#[tokio::test]
async fn a_stream_of_events_has_the_token_of_now_until_its_user_leaves() {
    let mut rig = Rig::new().await;
    rig.connect("ada").await;
    let mut ada = Browser::new(router(&mut rig));
    ada.sign_in("ada").await;
    let cookie = ada.cookies.iter().next().unwrap();
    let request = http::Request::get("/events")
        .header(COOKIE, format!("{}={}", cookie.0, cookie.1))
        .body(axum::body::Body::empty())
        .unwrap();
    let mut body = ada
        .router
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .into_body();
    let mut next = async || {
        let frame = body.frame().await?.unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        Some(text.trim().trim_start_matches("data: ").to_owned())
    };
    let first = next().await.unwrap();
    assert_eq!(next().await.unwrap(), first);
    rig.clock.advance(TTL);
    let second = next().await.unwrap();
    assert_ne!(second, first);
    assert_eq!(rig.server.counts().refreshes_ok, 1);
    rig.sign_ins.sign_out_everywhere("ada").await.unwrap();
    assert_eq!(next().await.unwrap(), "login_required");
    assert_eq!(next().await, None);
}
