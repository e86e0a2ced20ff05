//! Managers over one store, and what happens to them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{
    ByteStore as _, KeyRing, MemoryStore, Provider, Rotation, SealedStore, TokenLayer,
    TokenManager, TokenRequest,
};

use super::books::{Books, LIFE};
use super::clock::JumpingClock;
use super::line::Line;
use super::step::{History, MANAGERS, Step, USERS};
use crate::support::API;

pub struct World {
    clock: JumpingClock,
    rows: MemoryStore,
    ring: KeyRing,
    books: Books,
    rotation: Rotation,
    instances: Vec<Instance>,
    processes: usize,
    callers: Vec<(Line, JoinHandle<()>)>,
}

#[derive(Clone)]
struct Instance {
    line: Line,
    manager: TokenManager,
}

/// Lets `history` happen. What was broken, and by which step.
pub async fn play(history: &History) -> Result<(), String> {
    let mut world = World::new(history).await;
    for (at, step) in history.steps.iter().enumerate() {
        world.step(step).await;
        world.check(|| format!("step {at}, {step:?}"))?;
    }
    world.comes_to_rest().await;
    world.check(|| String::from("the end"))
}

impl World {
    async fn new(history: &History) -> Self {
        let clock = JumpingClock::new();
        let books = Books::new(clock.clone(), history);
        let mut world = Self {
            rows: MemoryStore::with_clock(clock.clone()),
            ring: KeyRing::generate().unwrap(),
            clock,
            books,
            rotation: history.rotation,
            instances: Vec::new(),
            processes: 0,
            callers: Vec::new(),
        };
        for _ in 0..MANAGERS {
            let instance = world.start().await;
            world.instances.push(instance);
        }
        let mut known = world.rows().await;
        for user in 0..USERS {
            world.connect(0, user).await;
            // The only row that was not there before is this user's.
            let rows = world.rows().await;
            let new = rows.iter().find(|row| !known.contains(row)).unwrap();
            world.books.row_of(*new, user);
            known = rows;
        }
        world
    }

    async fn rows(&self) -> Vec<tower_token::RowKey> {
        let rows = self.rows.scan(None, usize::MAX).await.unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    }

    async fn start(&mut self) -> Instance {
        self.processes += 1;
        let line = Line::new(self.processes, self.rows.clone(), self.books.clone());
        let provider = Provider::new("model", line.clone())
            .rotation(self.rotation)
            .allow_origin(API);
        let manager = TokenManager::builder()
            .store(
                SealedStore::builder()
                    .clock(self.clock.clone())
                    .open_shared(line.clone(), self.ring.clone())
                    .await
                    .unwrap(),
            )
            .provider(provider)
            .clock(self.clock.clone())
            // What is due is another promise, and would be one more that asks.
            .without_sweeper()
            .build()
            .await
            .unwrap();
        Instance { line, manager }
    }

    fn check(&self, when: impl Fn() -> String) -> Result<(), String> {
        let broken = self.books.broken();
        if broken.is_empty() {
            return Ok(());
        }
        Err(format!("{}: {}", when(), broken.join("; ")))
    }

    async fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Connect { manager, user } => self.connect(manager, user).await,
            Step::Disconnect { manager, user } => self.disconnect(manager, user).await,
            Step::Ask { manager, user } => {
                let caller = self.ask(manager, user);
                let line = self.instances[manager].line.clone();
                self.callers.push((line, tokio::spawn(caller)));
            }
            Step::Token { manager, user } => {
                let caller = self.ask(manager, user);
                // A process may die meanwhile.
                let _ = timeout(Duration::from_secs(30), caller).await;
            }
            Step::Refuse { manager, user } => {
                let caller = self.request(manager, user);
                let line = self.instances[manager].line.clone();
                self.callers.push((line, tokio::spawn(caller)));
            }
            Step::Crash { manager } => self.crash(manager).await,
            Step::CrashAtSave { manager, written } => {
                self.instances[manager].line.die_at_save(written);
            }
            Step::Outage { manager, begins } => self.instances[manager].line.set_down(begins),
            Step::Saves(faults) => self.books.faults(faults),
            Step::Exchanges(plans) => self.books.plans(plans),
            Step::Pass(span) => tokio::time::sleep(span).await,
            Step::Jump(span) => self.clock.jump(span),
        }
        // Whatever can go on goes on.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        for manager in 0..MANAGERS {
            if self.instances[manager].line.is_dead() {
                self.crash(manager).await;
            }
        }
    }

    async fn connect(&mut self, manager: usize, user: usize) {
        let Instance { line, manager } = self.instances[manager].clone();
        let response = self.books.connects(line.process(), user);
        let connect = timeout(Duration::from_secs(600), async {
            manager.connect(&self.books.key(user), response).await
        });
        let done = matches!(connect.await, Ok(Ok(())));
        self.books.connected(line.process(), user, done);
    }

    async fn disconnect(&mut self, manager: usize, user: usize) {
        let Instance { line, manager } = self.instances[manager].clone();
        self.books.disconnects(line.process(), user);
        let disconnect = timeout(Duration::from_secs(600), async {
            manager.disconnect(&self.books.key(user)).await
        });
        let done = matches!(disconnect.await, Ok(Ok(())));
        self.books.disconnected(line.process(), user, done);
    }

    fn ask(&self, manager: usize, user: usize) -> impl Future<Output = ()> + use<> {
        let Instance { line, manager } = self.instances[manager].clone();
        let books = self.books.clone();
        async move {
            let key = books.key(user);
            let asked = books.asks(line.process(), user);
            match manager.token(&key).await {
                Ok(token) => books.served(asked, &token),
                Err(error) => books.failed(asked, error.kind()),
            }
        }
    }

    /// A request to an API that refuses the first token it sees.
    fn request(&self, manager: usize, user: usize) -> impl Future<Output = ()> + use<> {
        let Instance { line, manager } = self.instances[manager].clone();
        let books = self.books.clone();
        async move {
            let key = books.key(user);
            let asked = books.asks(line.process(), user);
            let first = Arc::new(AtomicBool::new(true));
            let api = tower::service_fn(move |request: Request<()>| {
                let token = request.headers()[http::header::AUTHORIZATION]
                    .to_str()
                    .unwrap();
                let token = token.trim_start_matches("Bearer ");
                books.used(asked, token);
                let mut response = Response::new(());
                if first.swap(false, Ordering::Relaxed) {
                    books.refused(line.process(), token);
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                async move { Ok::<_, Infallible>(response) }
            });
            let request = Request::get(API).extension(TokenRequest::new(key));
            // An error is no news here: what is asked for says more.
            let _ = TokenLayer::new(&manager)
                .layer(api)
                .oneshot(request.body(()).unwrap())
                .await;
        }
    }

    async fn crash(&mut self, manager: usize) {
        let line = &self.instances[manager].line;
        line.die();
        self.callers.retain(|(of, caller)| {
            let dies = of.process() == line.process();
            if dies {
                caller.abort();
            }
            !dies
        });
        self.instances[manager] = self.start().await;
    }

    /// Everything works from now on, and whatever was under way ends. Then a process that
    /// knows nothing has to find every user as they were left.
    async fn comes_to_rest(&mut self) {
        self.books.behave();
        for instance in &self.instances {
            instance.line.behave();
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        for (line, caller) in &self.callers {
            if !caller.is_finished() {
                self.books
                    .breaks(format!("a caller of {} still waits", line.process()));
            }
        }
        let can_go_on: Vec<Option<bool>> =
            (0..USERS).map(|user| self.books.at_rest(user)).collect();
        for instance in std::mem::take(&mut self.instances) {
            self.finds(&instance, &can_go_on).await;
        }
        let fresh = self.start().await;
        self.finds(&fresh, &can_go_on).await;
        self.clock.jump(LIFE);
        self.finds(&fresh, &can_go_on).await;
    }

    /// What a process says of every user.
    async fn finds(&self, instance: &Instance, can_go_on: &[Option<bool>]) {
        for (user, can_go_on) in can_go_on.iter().enumerate() {
            let key = self.books.key(user);
            let asked = self.books.asks(instance.line.process(), user);
            let token = instance.manager.token(&key).await;
            match &token {
                Ok(token) => self.books.served(asked, token),
                Err(error) => self.books.failed(asked, error.kind()),
            }
            // Whatever it had in memory, it has heard by now.
            if can_go_on.is_some_and(|can| can != token.is_ok()) {
                let found = token.map_err(|error| error.kind());
                self.books.breaks(format!("user {user} finds {found:?}"));
            }
        }
        // What was begun behind comes to its end.
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}
