//! Many users whose tokens fall due at once, and a bystander whose token is fresh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::noop::{Body, Guarded, Noop, Template};
use benches::token_service::{Mood, TokenService};
use benches::{BoxError, Effort, Report};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Barrier, Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use tower_layer::Layer as _;
use tower_service::Service as _;
use tower_token::{GrantKey, KeyRing, MemoryStore, SealedStore, TokenLayer, TokenRequest};

use crate::contenders::{LATER, LONG, OURS, SHORT};
use crate::ours::{MAX_EXCHANGES, connect, manager};
use crate::plan::SERVICE;
use crate::stage::{Stage, staggered};

/// Who fall due.
const USERS: usize = 200;

/// How long the bystander sends at least, a millisecond apart.
const WATCHED: Duration = Duration::from_millis(500);

/// A client of many users, the last of whom is the bystander.
trait Clientele: Clone + Send + Sync + 'static {
    /// Connects so many, and the bystander, whose token is a long one.
    fn connect(
        service: &TokenService,
        users: usize,
        life: Duration,
    ) -> impl Future<Output = Result<Self, BoxError>> + Send;

    fn send(&mut self, user: usize) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// How it went for all.
struct Seen {
    exchanges: u64,
    most_in_flight: usize,
    served: usize,
    p99: Duration,
    bystander: Vec<Duration>,
}

/// A clientele, and how often it is seen.
struct Case {
    name: &'static str,
    play: fn(&Stage, usize, Duration) -> Result<Seen, BoxError>,
    life: Duration,
    rounds: usize,
    /// What its bars are called.
    id: Option<&'static str>,
}

const CASES: [Case; 3] = [
    Case {
        name: "tower-token, due",
        play: play::<Ours>,
        life: OURS,
        rounds: 3,
        id: Some("due"),
    },
    Case {
        name: "tower-token, dead",
        play: play::<Ours>,
        life: SHORT,
        rounds: 3,
        id: Some("dead"),
    },
    Case {
        name: "one mutex around all, due",
        play: play::<OneMutex>,
        life: OURS,
        rounds: 1,
        id: None,
    },
];

/// The table of it: of rounds the one with the worst bystander.
pub fn measured(stage: &Stage, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let users = effort.of(USERS);
    let mut rows = Vec::new();
    let rounds = CASES.iter().flat_map(|case| {
        (0..effort.of(case.rounds)).map(move |_| -> Round<'_> {
            Box::new(move || (case.name, (case.play)(stage, users, case.life)))
        })
    });
    let seen = staggered(WATCHED * 2, rounds.collect());
    for case in &CASES {
        let of_case = seen.iter().filter(|(name, _)| *name == case.name);
        let mut worst: Option<&Seen> = None;
        for (name, seen) in of_case {
            let seen = seen.as_ref().map_err(|error| format!("{name}: {error}"))?;
            if worst.is_none_or(|worst| worst.bystander_p99() < seen.bystander_p99()) {
                worst = Some(seen);
            }
        }
        let seen = worst.ok_or("a case panicked")?;
        rows.push(vec![
            case.name.to_owned(),
            seen.exchanges.to_string(),
            seen.most_in_flight.to_string(),
            seen.served.to_string(),
            format!("{:.2}", ms(seen.p99)),
            format!("{:.3}", ms(late(&seen.bystander, 0.5))),
            format!("{:.3}", ms(seen.bystander_p99())),
            format!("{:.3}", ms(late(&seen.bystander, 1.0))),
        ]);
        if let Some(id) = case.id {
            let id = format!("users-{users}/{id}");
            let mut ratio = |what: &str, value| report.ratio(format!("{id}/{what}"), value);
            ratio("exchanges-of-users", seen.exchanges as f64 / users as f64);
            let of_cap = seen.most_in_flight as f64 / MAX_EXCHANGES as f64;
            ratio("most-in-flight-of-cap", of_cap);
            ratio("bystander-p99-ms", ms(seen.bystander_p99()));
        }
    }
    let head = [
        &format!("{users} users at once"),
        "exchanges",
        "most in flight",
        "served",
        "p99 ms",
        "bystander p50 ms",
        "p99",
        "last",
    ];
    report.table(&head, rows);
    Ok(())
}

type Round<'a> = Box<dyn FnOnce() -> (&'static str, Result<Seen, BoxError>) + Send + 'a>;

impl Seen {
    fn bystander_p99(&self) -> Duration {
        late(&self.bystander, 0.99)
    }
}

fn play<C: Clientele>(stage: &Stage, users: usize, life: Duration) -> Result<Seen, BoxError> {
    let service = stage.service(LONG)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let seen = runtime.block_on(async {
        let begun = Instant::now();
        let clientele = C::connect(&service, users, life).await?;
        service.set_mood(Mood::Healthy(SERVICE));
        let before = service.exchanges();
        let gate = Arc::new(Barrier::new(users + 1));
        let callers: Vec<_> = (0..users)
            .map(|user| {
                let (mut client, gate) = (clientele.clone(), Arc::clone(&gate));
                tokio::spawn(async move {
                    gate.wait().await;
                    let begun = Instant::now();
                    let answer = client.send(user).await;
                    (answer.is_ok(), begun.elapsed())
                })
            })
            .collect();
        sleep_until((begun + LATER).into()).await;
        let (end, ended) = watch::channel(false);
        let bystander = tokio::spawn(stand_by(clientele, users, ended));
        gate.wait().await;
        let (mut served, mut waits) = (0, Vec::new());
        for caller in callers {
            let (was_served, wait) = caller.await?;
            served += usize::from(was_served);
            waits.push(wait);
        }
        waits.sort_unstable();
        sleep(WATCHED).await;
        end.send_replace(true);
        Ok(Seen {
            exchanges: service.exchanges() - before,
            most_in_flight: service.most_under_way(),
            served,
            p99: late(&waits, 0.99),
            bystander: bystander.await??,
        })
    });
    runtime.shutdown_background();
    seen
}

/// Sends for the bystander until the end, and says how long each took. None waits for the one
/// before it.
async fn stand_by<C: Clientele>(
    clientele: C,
    bystander: usize,
    ended: watch::Receiver<bool>,
) -> Result<Vec<Duration>, BoxError> {
    let mut sent = JoinSet::new();
    while !*ended.borrow() {
        let mut client = clientele.clone();
        sent.spawn(async move {
            let begun = Instant::now();
            client.send(bystander).await.map(|()| begun.elapsed())
        });
        sleep(Duration::from_millis(1)).await;
    }
    let waits: Result<Vec<_>, _> = sent.join_all().await.into_iter().collect();
    let mut waits = waits?;
    waits.sort_unstable();
    Ok(waits)
}

/// What all but this part of `sorted` are done within.
fn late(sorted: &[Duration], part: f64) -> Duration {
    let at = (sorted.len() as f64 * part) as usize;
    let at = at.min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[derive(Clone)]
struct Ours {
    layered: tower_token::TokenService<Guarded>,
    template: Template,
    keys: Arc<Vec<GrantKey>>,
}

impl Clientele for Ours {
    async fn connect(
        service: &TokenService,
        users: usize,
        life: Duration,
    ) -> Result<Self, BoxError> {
        let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
        let manager = manager(service, store).await?;
        let mut keys = Vec::new();
        for user in 0..users {
            keys.push(connect(&manager, user, life).await?);
        }
        keys.push(connect(&manager, users, LONG).await?);
        Ok(Self {
            layered: TokenLayer::new(&manager).layer(Guarded),
            template: Template::new()?,
            keys: Arc::new(keys),
        })
    }

    async fn send(&mut self, user: usize) -> Result<(), BoxError> {
        let mut request = self.template.request();
        let key = self.keys[user].clone();
        request.extensions_mut().insert(TokenRequest::new(key));
        let sent = self.layered.call(request).await;
        sent.map_err(|error| error.to_string())?;
        Ok(())
    }
}

/// What people write by hand first: all users' tokens behind one mutex, which is held while one of
/// them is refreshed, a minute before its end.
#[derive(Clone)]
struct OneMutex {
    tokens: Arc<Mutex<HashMap<usize, (HeaderValue, Instant)>>>,
    http: Client<HttpConnector, Full<bytes::Bytes>>,
    endpoint: http::Uri,
    template: Template,
}

impl Clientele for OneMutex {
    async fn connect(
        service: &TokenService,
        users: usize,
        life: Duration,
    ) -> Result<Self, BoxError> {
        let first = HeaderValue::from_static("Bearer first");
        let now = Instant::now();
        let of = |user, life| (user, (first.clone(), now + life));
        let tokens = (0..users).map(|user| of(user, life));
        let tokens = tokens.chain([of(users, LONG)]).collect();
        Ok(Self {
            tokens: Arc::new(Mutex::new(tokens)),
            http: Client::builder(TokioExecutor::new()).build_http(),
            endpoint: service.url().parse()?,
            template: Template::new()?,
        })
    }

    async fn send(&mut self, user: usize) -> Result<(), BoxError> {
        let mut request: Request<Body> = self.template.request();
        let mut tokens = self.tokens.lock().await;
        let (token, until) = tokens.get_mut(&user).ok_or("there is no such user")?;
        if *until < Instant::now() + Duration::from_secs(60) {
            let mut exchange = Request::post(self.endpoint.clone())
                .body(Full::from("grant_type=refresh_token&refresh_token=r"))?;
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            exchange.headers_mut().insert(CONTENT_TYPE, form);
            let answer = self.http.request(exchange).await?;
            let body = answer.into_body().collect().await?.to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body)?;
            let text = body["access_token"].as_str().ok_or("no token")?;
            let life = body["expires_in"].as_u64().ok_or("no life")?;
            *token = HeaderValue::try_from(format!("Bearer {text}"))?;
            *until = Instant::now() + Duration::from_secs(life);
        }
        request.headers_mut().insert(AUTHORIZATION, token.clone());
        drop(tokens);
        Noop.call(request).await?;
        Ok(())
    }
}
