//! No secret, and no user, in what any type prints, answers or logs.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;

use axum::body::Body;
use axum_extra::extract::cookie::Key;
use axum_token::{
    CurrentSubject, Logout, OAuthRoutes, OpenId, ProxyRoutes, PublicOrigin, SessionTokenLayer,
    SignIn, TokenRejection, TokenState, Tokens, TrustedHeader, Upstream, UserRoutes, ValidToken,
    Visitor, sessions,
};
use http::{HeaderName, Method};
use parking_lot::Mutex;
use tower_token::{GrantKey, ReplayBody, Secret};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};

use crate::oauth_rig::{Asked, CLIENT_SECRET, ISSUER, Service};
use crate::support::{Browser, Demo, HTML, ORIGIN, Rig, TTL};

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
    let (of_oauth, tokens) = oauth().await;
    shown.extend(of_oauth);
    shown.extend(proxy(&rig).await);
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
        let secrets = [USER, PROOF, stamp.expose(), &token, &refreshed];
        let of_oauth = [CLIENT_SECRET, CLAIM, &printed(&KEY), CODE];
        for secret in secrets.into_iter().chain(of_oauth) {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for token in &tokens {
            assert!(!text.contains(token), "{text}");
        }
    }
}

const CLAIM: &str = "claim-that-nobody-prints";
const CODE: &str = "code-that-nobody-issued";
const KEY: [u8; 64] = [211; 64];

/// As bytes are printed, in part.
fn printed(key: &[u8]) -> String {
    let all = format!("{:?}", &key[..4]);
    all.trim_matches(['[', ']']).to_owned()
}

/// Everything of the OAuth routes that can be printed, while a user signs in and does not, and
/// what they were handed.
async fn oauth() -> (Vec<String>, Vec<String>) {
    let service = Service::new().await;
    let shown = Arc::new(Mutex::new(Vec::new()));
    let show = |text: String| shown.lock().push(text);
    let client = service.op.metadata_client();
    let openid = OpenId::discover_with(ISSUER, client).await.unwrap();
    let client = openid.provider("x").client_secret_post("x", CLIENT_SECRET);
    show(format!("{openid:?} {openid:#?} {client:?}"));
    service.op.set_down(true);
    let client = service.op.metadata_client();
    let error = OpenId::discover_with(ISSUER, client).await.unwrap_err();
    service.op.set_down(false);
    show(format!("{error:?} {error}"));

    let provider = service.op.provider("demo").await.signs_in();
    let provider = provider.parameter("hint", CLAIM);
    show(format!("{provider:?} {provider:#?}"));
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let (names, people, failures) = (shown.clone(), shown.clone(), shown.clone());
    let routes = || OAuthRoutes::new(&origin, "/auth", Key::from(&KEY), sessions::Sessions);
    let invalid = routes()
        .provider(provider.clone())
        .provider(provider.clone());
    let invalid = invalid.router::<TokenState>().unwrap_err();
    show(format!("{invalid:?} {invalid}"));
    let routes = routes()
        .sign_ins(&service.rig.sign_ins)
        .provider(provider)
        .subject(move |account| {
            names.lock().push(format!("{account:?} {account:#?}"));
            account.subject().to_owned()
        })
        .on_sign_in(move |_, identity| {
            assert_eq!(identity.claim("email").unwrap(), CLAIM);
            people.lock().push(format!("{identity:?} {identity:#?}"));
            async { Ok(()) }
        })
        .failure_page(move |failure| {
            failures.lock().push(format!("{failure:?} {failure:#?}"));
            http::Response::default()
        });
    show(format!("{routes:?} {routes:#?}"));
    let mut browser = Browser::new(service.router_with(routes));

    let asked = Asked::by(&mut browser, "/auth/demo").await;
    let mut consent = asked.consent(USER);
    consent.claims = serde_json::json!({ "email": CLAIM });
    let code = service.code(consent);
    browser.get(&asked.callback(&code)).await;
    let key = GrantKey::new("demo", USER);
    let token = service.rig.manager.token(&key).await.unwrap();

    let mut other = Browser::new(browser.router.clone());
    let asked = Asked::by(&mut other, "/auth/demo").await;
    let html = [("accept", HTML)];
    let answer = other.send(Method::GET, &asked.callback(CODE), &html).await;
    show(answer.body);
    let verifier = other.cookies.values().cloned();
    let tokens = [code, token.expose().to_owned(), asked.state().to_owned()];
    let tokens = tokens.into_iter().chain(verifier).collect();
    let shown = std::mem::take(&mut *shown.lock());
    assert_eq!(shown.len(), 9, "{shown:#?}");
    (shown, tokens)
}

/// What can be printed of a proxy for pages. It holds no secret but the manager's.
async fn proxy(rig: &Rig) -> Vec<String> {
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let client = tower::service_fn(async |_: http::Request<ReplayBody<Body>>| {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty()))
    });
    let upstream = Upstream::new("api", "demo", "https://api.example.com");
    let routes = ProxyRoutes::new(&rig.manager, client).upstream(upstream.clone());
    let users = UserRoutes::new().provider("demo");
    let wrong = routes.clone().upstream(upstream.clone());
    let invalid = wrong.router::<TokenState>(&origin).unwrap_err();
    vec![format!(
        "{upstream:?} {routes:?} {routes:#?} {users:?} {invalid:?} {invalid}"
    )]
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
