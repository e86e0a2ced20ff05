//! The clients that people use behave alike, over real connections.

mod api;
mod client;
mod upload;

use std::time::Duration;

use http::{Request, StatusCode};
use tests::fake::Next;
use tokio::time::timeout;
use tower_token::{ErrorKind, GrantKey, Provider, TokenRequest, TokenResponse, Verdict};

use self::api::{Api, Seen};
use self::client::{Answer, Client, Failure, Kind, LIMIT, Redirects, Setup};
use self::upload::{CHUNK, KIB, Upload};
use crate::support::{Rig, manager_of};

/// Every one of these for every client.
macro_rules! over_every_client {
    ($($promise:ident)*) => {
        $(mod $promise {
            use super::Kind;

            #[tokio::test]
            async fn over_hyper_http1() {
                super::in_time(super::$promise(Kind::HyperHttp1)).await;
            }

            #[tokio::test]
            async fn over_hyper_http2() {
                super::in_time(super::$promise(Kind::HyperHttp2)).await;
            }

            #[tokio::test]
            async fn over_reqwest() {
                super::in_time(super::$promise(Kind::Reqwest)).await;
            }

            #[tokio::test]
            async fn over_a_tower_service() {
                super::in_time(super::$promise(Kind::Tower)).await;
            }
        })*
    };
}

over_every_client! {
    a_fresh_token_goes_with_the_request
    a_due_token_goes_at_once_and_is_refreshed_behind
    an_expired_token_is_replaced_before_anything_is_sent
    a_refused_token_is_replaced_and_the_request_sent_again
    a_token_that_was_waited_for_and_is_refused_is_replaced_as_well
    a_request_that_is_refused_twice_is_answered_by_the_second
    a_refusal_without_a_newer_token_is_the_answer
    a_stream_is_sent_again_after_a_late_refusal_if_it_could_be_kept
    a_stream_is_sent_again_after_an_early_refusal_whatever_its_length
    a_caller_dropped_in_a_refresh_loses_nothing
    a_caller_dropped_in_the_healing_of_a_refusal_loses_nothing
    a_caller_dropped_while_the_api_thinks_loses_nothing
    a_redirect_to_a_foreign_origin_never_takes_the_token_there
    a_chain_of_redirects_never_takes_the_token_along
    a_redirect_within_the_origin_keeps_the_token
    an_authorization_of_the_callers_own_is_left_alone
    a_connection_that_is_reset_is_an_error_and_no_refusal
    users_who_share_connections_keep_to_their_own_tokens
}

/// What stands still fails, and does not keep the others.
async fn in_time(promise: impl Future<Output = ()>) {
    let minutes = Duration::from_secs(120);
    timeout(minutes, promise).await.expect("it stands still");
}

/// One user, Ada, whose token `a0` is good for an hour.
struct Case {
    kind: Kind,
    rig: Rig,
    api: Api,
}

impl Case {
    async fn start(kind: Kind) -> Self {
        let (api, mut rig) = (Api::start().await, Rig::connected().await);
        let provider = Provider::new("fake", rig.fake.clone()).allow_origin(api.url(""));
        rig.manager = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
        Self { kind, rig, api }
    }

    fn setup(&self) -> Setup<'_> {
        Setup {
            manager: &self.rig.manager,
            user: TokenRequest::new(self.rig.key.clone()),
            redirects: Redirects::Nobody,
            foreign_origin_without_token: false,
        }
    }

    fn client(&self) -> Client {
        self.setup().client(self.kind)
    }

    fn get(&self, path: &str) -> Request<Upload> {
        let request = Request::get(self.api.url(path)).header("x-user", "ada");
        request.body(Upload::empty()).unwrap()
    }

    fn post(&self, path: &str, body: Upload) -> Request<Upload> {
        Request::post(self.api.url(path)).body(body).unwrap()
    }

    /// Waits until a refresh behind has come to its end.
    async fn refreshed(&self) {
        while self.rig.token().await == "a0" {
            tokio::task::yield_now().await;
        }
    }
}

/// What the API says of the token that it took.
fn took(token: &'static str) -> Result<Answer, Failure> {
    Ok(Answer {
        status: StatusCode::OK,
        body: token.into(),
    })
}

fn refused(token: &'static str) -> Result<Answer, Failure> {
    Ok(Answer {
        status: StatusCode::UNAUTHORIZED,
        body: token.into(),
    })
}

async fn a_fresh_token_goes_with_the_request(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    for _ in 0..3 {
        assert_eq!(client.send(case.get("/")).await, took("a0"));
    }
    assert_eq!(case.api.tokens(), ["a0"; 3]);
    assert_eq!(case.rig.fake.exchanges(), 0);
}

async fn a_due_token_goes_at_once_and_is_refreshed_behind(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    case.rig.until_due();
    case.rig.fake.hold();
    assert_eq!(client.send(case.get("/")).await, took("a0"));
    case.rig.fake.begun(1).await;
    assert_eq!(client.send(case.get("/")).await, took("a0"));
    case.rig.fake.release(1);
    case.refreshed().await;
    assert_eq!(client.send(case.get("/")).await, took("a1"));
    assert_eq!(case.rig.fake.exchanges(), 1);
}

async fn an_expired_token_is_replaced_before_anything_is_sent(kind: Kind) {
    let case = Case::start(kind).await;
    case.rig.until_expired();
    case.rig.fake.hold();
    let waiting = tokio::spawn(case.client().send(case.get("/")));
    case.rig.fake.begun(1).await;
    assert_eq!(case.api.seen(), []);
    case.rig.fake.release(1);
    assert_eq!(waiting.await.unwrap(), took("a1"));
    assert_eq!(case.api.tokens(), ["a1"]);
    assert_eq!(case.rig.fake.exchanges(), 1);
}

async fn a_refused_token_is_replaced_and_the_request_sent_again(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    case.api.refuse("a0");
    assert_eq!(client.send(case.get("/")).await, took("a1"));
    assert_eq!(client.send(case.get("/")).await, took("a1"));
    assert_eq!(case.api.tokens(), ["a0", "a1", "a1"]);
    assert_eq!(case.rig.fake.exchanges(), 1);
    // Nothing of the request is missing the second time.
    assert!(case.api.seen().iter().all(|seen| seen.user == "ada"));
}

async fn a_token_that_was_waited_for_and_is_refused_is_replaced_as_well(kind: Kind) {
    let len = 10 * KIB;
    let case = Case::start(kind).await;
    case.rig.until_expired();
    case.api.refuse("a1");
    let sent = case.client().send(case.post("/", Upload::new(len)));
    assert_eq!(sent.await, took("a2"));
    assert_eq!(case.api.taken(), [(len, true), (len, true)]);
    assert_eq!(case.rig.fake.exchanges(), 2);

    // Who wants no retry is answered, and the token replaced behind.
    let case = Case::start(kind).await;
    case.rig.until_expired();
    case.api.refuse("a1");
    let mut setup = case.setup();
    setup.user = setup.user.without_retry();
    let client = setup.client(kind);
    assert_eq!(client.send(case.get("/")).await, refused("a1"));
    case.rig.fake.begun(2).await;
    assert_eq!(case.api.tokens(), ["a1"]);
}

async fn a_request_that_is_refused_twice_is_answered_by_the_second(kind: Kind) {
    let case = Case::start(kind).await;
    case.api.refuse("a0");
    case.api.refuse("a1");
    let client = case.client();
    assert_eq!(client.send(case.get("/")).await, refused("a1"));
    assert_eq!(case.api.tokens(), ["a0", "a1"]);
    assert_eq!(case.rig.fake.exchanges(), 1);
}

async fn a_refusal_without_a_newer_token_is_the_answer(kind: Kind) {
    let case = Case::start(kind).await;
    case.api.refuse("a0");
    let verdict = Verdict::Transient { retry_after: None };
    case.rig.fake.script([Next::Fail(verdict)]);
    let client = case.client();
    assert_eq!(client.send(case.get("/")).await, refused("a0"));
    assert_eq!(case.api.tokens(), ["a0"]);
}

async fn a_stream_is_sent_again_after_a_late_refusal_if_it_could_be_kept(kind: Kind) {
    for len in [0, 10 * KIB] {
        let case = Case::start(kind).await;
        case.api.refuse("a0");
        let sent = case.client().send(case.post("/", Upload::new(len)));
        assert_eq!(sent.await, took("a1"), "{len}");
        assert_eq!(case.api.taken(), [(len, true), (len, true)]);
        assert_eq!(case.rig.fake.exchanges(), 1);
    }
    // More than may be kept: the refusal is the answer, and the token refreshed behind.
    let len = 10 * KIB * KIB;
    assert!(len > LIMIT);
    let case = Case::start(kind).await;
    case.api.refuse("a0");
    let sent = case.client().send(case.post("/", Upload::new(len)));
    assert_eq!(sent.await, refused("a0"));
    assert_eq!(case.api.taken(), [(len, true)]);
    case.refreshed().await;
    let sent = case.client().send(case.post("/", Upload::new(len)));
    assert_eq!(sent.await, took("a1"));
    assert_eq!(case.api.taken(), [(len, true), (len, true)]);
    assert_eq!(case.rig.fake.exchanges(), 1);
}

async fn a_stream_is_sent_again_after_an_early_refusal_whatever_its_length(kind: Kind) {
    for len in [0, 10 * KIB, 10 * KIB * KIB] {
        let case = Case::start(kind).await;
        case.api.refuse("a0");
        // No more than a piece of it goes by before the refusal.
        let upload = Upload::new(len).stand_still_at(CHUNK, case.api.has_seen(2));
        let sent = case.client().send(case.post("/early", upload)).await;
        assert_eq!(sent, took("a1"), "{len}");
        // The first attempt's body came to no end.
        assert_eq!(case.api.taken(), [(len, true)]);
        assert_eq!(case.api.tokens(), ["a0", "a1"]);
        assert_eq!(case.rig.fake.exchanges(), 1);
    }
}

async fn a_caller_dropped_in_a_refresh_loses_nothing(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    case.rig.until_expired();
    case.rig.fake.hold();
    let caller = tokio::spawn(client.send(case.get("/")));
    case.rig.fake.begun(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    case.rig.fake.release(1);
    assert_eq!(client.send(case.get("/")).await, took("a1"));
    assert_eq!((case.rig.fake.exchanges(), case.rig.fake.reused()), (1, 0));
}

async fn a_caller_dropped_in_the_healing_of_a_refusal_loses_nothing(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    case.api.refuse("a0");
    case.rig.fake.hold();
    let caller = tokio::spawn(client.send(case.get("/")));
    case.rig.fake.begun(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    case.rig.fake.release(1);
    assert_eq!(client.send(case.get("/")).await, took("a1"));
    assert_eq!(case.api.tokens(), ["a0", "a1"]);
    assert_eq!((case.rig.fake.exchanges(), case.rig.fake.reused()), (1, 0));
}

async fn a_caller_dropped_while_the_api_thinks_loses_nothing(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    let caller = tokio::spawn(client.send(case.get("/late")));
    case.api.has_seen(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    case.api.let_go();
    assert_eq!(client.send(case.get("/")).await, took("a0"));
    assert_eq!(case.rig.fake.exchanges(), 0);
}

async fn a_redirect_to_a_foreign_origin_never_takes_the_token_there(kind: Kind) {
    for redirects in [Redirects::Outside, Redirects::Inside] {
        for foreign_origin_without_token in [false, true] {
            let (case, foreign) = (Case::start(kind).await, Api::start().await);
            case.api.redirect("/away", foreign.url("/"));
            let setup = Setup {
                redirects,
                foreign_origin_without_token,
                ..case.setup()
            };
            let sent = setup.client(kind).send(case.get("/away")).await;
            assert_eq!(case.api.tokens(), ["a0"]);
            // Outside, the hop comes through our layer, which refuses it or lets it go without.
            let refused = redirects == Redirects::Outside && !foreign_origin_without_token;
            let gone: &[&str] = if refused { &[] } else { &["-"] };
            assert_eq!(foreign.tokens(), gone);
            if refused {
                assert_eq!(sent, Err(Failure::Token(ErrorKind::ForeignOrigin)));
            } else if follows_by_itself(kind, redirects) {
                assert_eq!(sent, Err(Failure::Token(ErrorKind::Config)));
            } else {
                assert_eq!(sent, took("-"));
            }
        }
    }
}

/// A reqwest client that does is no client for us: it is noticed, and nothing of it is believed.
fn follows_by_itself(kind: Kind, redirects: Redirects) -> bool {
    kind == Kind::Reqwest && redirects == Redirects::Inside
}

/// Nor at a second hop over there, where some clients bring back what they had taken out.
async fn a_chain_of_redirects_never_takes_the_token_along(kind: Kind) {
    let (case, foreign) = (Case::start(kind).await, Api::start().await);
    case.api.redirect("/away", foreign.url("/on"));
    foreign.redirect("/on", foreign.url("/"));
    let setup = Setup {
        redirects: Redirects::Outside,
        foreign_origin_without_token: true,
        ..case.setup()
    };
    let sent = setup.client(kind).send(case.get("/away")).await;
    assert_eq!(sent, took("-"));
    assert_eq!(foreign.tokens(), ["-"; 2]);
}

async fn a_redirect_within_the_origin_keeps_the_token(kind: Kind) {
    for redirects in [Redirects::Outside, Redirects::Inside] {
        let case = Case::start(kind).await;
        case.api.redirect("/moved", case.api.url("/there"));
        case.api.redirect("/there", case.api.url("/"));
        let setup = Setup {
            redirects,
            ..case.setup()
        };
        let client = setup.client(kind);
        let sent = client.send(case.get("/moved")).await;
        if follows_by_itself(kind, redirects) {
            assert_eq!(sent, Err(Failure::Token(ErrorKind::Config)));
            continue;
        }
        assert_eq!(sent, took("a0"));
        assert_eq!(case.api.tokens(), ["a0"; 3]);
        let paths = case.api.seen().into_iter().map(|seen| seen.path);
        assert_eq!(paths.collect::<Vec<_>>(), ["/moved", "/there", "/"]);
        // A refusal at the end is healed there, or from the beginning.
        case.api.refuse("a0");
        assert_eq!(client.send(case.get("/moved")).await, took("a1"));
        assert_eq!(case.rig.fake.exchanges(), 1);
    }
}

async fn an_authorization_of_the_callers_own_is_left_alone(kind: Kind) {
    let case = Case::start(kind).await;
    case.api.refuse("own");
    let mut request = case.get("/");
    let own = "Bearer own".parse().unwrap();
    request.headers_mut().insert("authorization", own);
    // Its refusal says nothing of Ada's token.
    assert_eq!(case.client().send(request).await, refused("own"));
    assert_eq!(case.api.tokens(), ["own"]);
    assert_eq!(case.rig.fake.exchanges(), 0);
    assert_eq!(case.client().send(case.get("/")).await, took("a0"));
}

async fn a_connection_that_is_reset_is_an_error_and_no_refusal(kind: Kind) {
    let case = Case::start(kind).await;
    let client = case.client();
    let sent = client.send(case.get("/reset")).await;
    assert_eq!(sent, Err(Failure::Transport));
    // The API may have done what it was asked for: it is not asked again.
    assert_eq!(case.api.tokens(), ["a0"]);
    assert_eq!(case.rig.fake.exchanges(), 0);
    assert_eq!(client.send(case.get("/")).await, took("a0"));
}

async fn users_who_share_connections_keep_to_their_own_tokens(kind: Kind) {
    let case = Case::start(kind).await;
    let bob = GrantKey::new("fake", "bob");
    let consent = TokenResponse::new("b0").refresh_token("rb");
    case.rig.manager.connect(&bob, consent).await.unwrap();
    let [ada, bob] = case.setup().clients(kind, [case.rig.key.clone(), bob]);
    let get = |user: &'static str| {
        let request = Request::get(case.api.url("/")).header("x-user", user);
        request.body(Upload::empty()).unwrap()
    };
    for round in 0..10 {
        match round {
            3 => case.api.refuse("a0"),
            6 => case.api.refuse("b0"),
            _ => {}
        }
        ada.send(get("ada")).await.unwrap();
        bob.send(get("bob")).await.unwrap();
    }
    assert_eq!(case.rig.fake.exchanges(), 2);
    let mut shared = Vec::new();
    for Seen {
        token,
        user,
        connection,
        ..
    } in case.api.seen()
    {
        let own = match &*user {
            "ada" => ["a0", "a1"],
            _ => ["b0", "a2"],
        };
        assert!(own.contains(&&*token), "{user} sent {token}");
        shared.push(connection);
    }
    assert_eq!(shared.len(), 22);
    shared.dedup();
    if kind != Kind::Tower {
        assert_eq!(shared.len(), 1, "they share a connection");
    }
}
