//! Events, counters and traces: what an operator sees, and that nobody pays for it.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tests::fake::Next;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{TokenLayer, TokenRequest, Verdict};

use crate::support::{API, Api, Rig};

/// Runs `work` with a recorder of its own, on one thread, and returns what was counted.
fn counted(work: impl Future<Output = ()>) -> Vec<String> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || on_one_thread(work));
    let mut counted: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let key = key.key();
            let labels: Vec<_> = key
                .labels()
                .map(|l| format!("{}={}", l.key(), l.value()))
                .collect();
            let value = match value {
                DebugValue::Counter(n) => n.to_string(),
                DebugValue::Histogram(values) => format!("{} values", values.len()),
                DebugValue::Gauge(_) => String::from("a gauge"),
            };
            format!("{} {} {value}", key.name(), labels.join(","))
        })
        .collect();
    counted.sort();
    counted
}

fn on_one_thread(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

#[test]
fn events_are_counted_by_provider_and_kind() {
    let counted = counted(async {
        let rig = Rig::connected().await;
        rig.until_expired();
        rig.token().await;
        rig.until_expired();
        rig.fake.script([Next::Fail(Verdict::Misconfigured)]);
        rig.manager.token(&rig.key).await.unwrap_err();
        rig.clock.advance(std::time::Duration::from_secs(60));
        rig.fake.script([Next::Fail(Verdict::Dead)]);
        rig.manager.token(&rig.key).await.unwrap_err();
        rig.manager.disconnect(&rig.key).await.unwrap();
    });
    assert_eq!(
        counted,
        [
            "tower_token_events_total provider=fake,event=connected 1",
            "tower_token_events_total provider=fake,event=disconnected 1",
            "tower_token_events_total provider=fake,event=expired 3",
            "tower_token_events_total provider=fake,event=needs_reauth,cause=refused 1",
            "tower_token_events_total provider=fake,event=refresh_failed,cause=ClientRefused 1",
            "tower_token_events_total provider=fake,event=refreshed 1",
            "tower_token_events_total provider=fake,event=waited 3",
            "tower_token_exchange_seconds provider=fake 1 values",
            "tower_token_wait_seconds provider=fake 3 values",
        ]
    );
}

/// Calls the API as the rig's user, under a route or none.
async fn call(rig: &Rig, api: &Api, route: Option<&'static str>) {
    let client = TokenLayer::new(&rig.manager).layer(api.service());
    let wanted = TokenRequest::new(rig.key.clone());
    let wanted = match route {
        Some(route) => wanted.route(route),
        None => wanted,
    };
    let request = Request::get(format!("{API}/users/17"))
        .extension(wanted)
        .body(Full::<Bytes>::default())
        .unwrap();
    client.oneshot(request).await.unwrap();
}

#[test]
fn what_apis_answer_is_counted_by_provider_route_and_status() {
    let mut counted = counted(async {
        let (rig, api) = (Rig::connected().await, Api::default());
        call(&rig, &api, Some("/users/{id}")).await;
        call(&rig, &api, None).await;
        // Refused, healed, and sent again.
        api.refuse("a0");
        call(&rig, &api, Some("/users/{id}")).await;
    });
    counted.retain(|line| line.starts_with("tower_token_api"));
    assert_eq!(
        counted,
        [
            "tower_token_api_responses_total provider=fake,status=2xx 1",
            "tower_token_api_responses_total provider=fake,status=2xx,route=/users/{id} 2",
            "tower_token_api_responses_total provider=fake,status=4xx,route=/users/{id} 1",
        ]
    );
}

/// A recorder that panics whatever it is asked.
struct Broken;

impl metrics::Recorder for Broken {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("as told")
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("as told")
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("as told")
    }
}

#[test]
fn an_observer_that_panics_costs_nobody_a_token() {
    metrics::with_local_recorder(&Broken, || {
        on_one_thread(async {
            let (rig, api) = (Rig::connected().await, Api::default());
            rig.until_expired();
            call(&rig, &api, Some("/users/{id}")).await;
            assert_eq!(api.tokens(), ["a1"]);
            rig.manager.disconnect(&rig.key).await.unwrap();
        });
    });
}

#[tokio::test]
async fn an_observer_that_does_not_look_holds_nobody_up() {
    let mut rig = Rig::connected().await;
    let stalled = rig.manager.events(1);
    for n in 1..=100 {
        rig.until_expired();
        assert_eq!(rig.token().await, format!("a{n}"));
    }
    let seen = rig.seen().len() as u64;
    assert!(seen >= 300);
    assert_eq!(stalled.missed(), seen - 2);
}
