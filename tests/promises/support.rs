//! What the promises share beyond the tests' library.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use tests::fake::Fake;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Event, EventKind, Events, GrantKey, KeyRing, MemoryStore, Provider, SealedStore,
    TokenManager,
};

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const API: &str = "https://api.example.com";

/// A manager over a scripted token service, a store in memory, and a manual clock.
pub struct Rig {
    pub manager: TokenManager,
    pub fake: Fake,
    pub clock: ManualClock,
    pub store: MemoryStore,
    pub ring: KeyRing,
    pub key: GrantKey,
    pub events: Events,
}

impl Rig {
    /// With one user connected, whose access token lives for an hour.
    pub async fn connected() -> Self {
        let clock = ManualClock::new();
        let rig = Self::over(MemoryStore::with_clock(clock.clone()), clock).await;
        rig.manager
            .connect(&rig.key, rig.fake.consent())
            .await
            .unwrap();
        rig
    }

    pub async fn over(store: MemoryStore, clock: ManualClock) -> Self {
        let fake = Fake::new(HOUR);
        let ring = KeyRing::generate().unwrap();
        let manager = manager(store.clone(), &ring, &fake, &clock).await;
        Self {
            events: manager.events(4_096),
            manager,
            fake,
            clock,
            store,
            ring,
            key: GrantKey::new("fake", "ada"),
        }
    }

    /// Another manager over the same store, as a sibling instance would be.
    pub async fn sibling(&self) -> TokenManager {
        manager(self.store.clone(), &self.ring, &self.fake, &self.clock).await
    }

    pub async fn token(&self) -> String {
        self.manager
            .token(&self.key)
            .await
            .unwrap()
            .expose()
            .to_owned()
    }

    /// Every kind of event so far.
    pub fn seen(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_next())
            .map(|event: Event| event.kind)
            .collect()
    }

    /// Lets the time pass in which a token is due but usable.
    pub fn until_due(&self) {
        self.clock.advance(Duration::from_secs(3_600 - 240));
    }

    pub fn until_expired(&self) {
        self.clock.advance(HOUR);
    }
}

pub async fn manager(
    store: impl ByteStore,
    ring: &KeyRing,
    fake: &Fake,
    clock: &ManualClock,
) -> TokenManager {
    manager_of(store, ring, Provider::new("fake", fake.clone()), clock).await
}

/// The same with a provider that was told more.
pub async fn manager_of(
    store: impl ByteStore,
    ring: &KeyRing,
    provider: Provider,
    clock: &ManualClock,
) -> TokenManager {
    TokenManager::builder()
        .store(SealedStore::open(store, ring.clone()).await.unwrap())
        .provider(provider.allow_origin(API))
        .clock(clock.clone())
        .build()
        .await
        .unwrap()
}

/// An API in memory that knows which tokens are good.
#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<ApiState>>);

#[derive(Default)]
struct ApiState {
    refuse: Vec<String>,
    challenge: Option<&'static str>,
    seen: Vec<Request<()>>,
}

impl Api {
    /// Answers 401 to this token from now on.
    pub fn refuse(&self, token: &str) {
        self.0.lock().refuse.push(token.to_owned());
    }

    /// What stands in the `WWW-Authenticate` of a 401.
    pub fn challenge(&self, challenge: &'static str) {
        self.0.lock().challenge = Some(challenge);
    }

    /// The tokens that came, in order; `-` for none.
    pub fn tokens(&self) -> Vec<String> {
        self.0.lock().seen.iter().map(token_of).collect()
    }

    pub fn last(&self) -> Request<()> {
        self.0.lock().seen.last().unwrap().clone()
    }

    pub fn service<B: Send + 'static>(
        &self,
    ) -> impl tower::Service<
        Request<B>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<B> {
        let api = self.clone();
        tower::service_fn(move |request: Request<B>| {
            let api = api.clone();
            async move { Ok(api.answer(&request.map(drop))) }
        })
    }

    fn answer(&self, request: &Request<()>) -> Response<Full<Bytes>> {
        let mut state = self.0.lock();
        let token = token_of(request);
        state.seen.push(request.clone());
        let mut response = Response::new(Full::from(token.clone()));
        if state.refuse.contains(&token) || token == "-" {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            if let Some(challenge) = state.challenge {
                response
                    .headers_mut()
                    .insert("www-authenticate", challenge.parse().unwrap());
            }
        }
        response
    }
}

fn token_of(request: &Request<()>) -> String {
    request.headers().get(AUTHORIZATION).map_or_else(
        || String::from("-"),
        |value| {
            value
                .to_str()
                .unwrap()
                .trim_start_matches("Bearer ")
                .to_owned()
        },
    )
}
