//! Events, counters and traces: what an operator sees.

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tests::fake::Next;
use tower_token::Verdict;

use crate::support::Rig;

#[test]
fn events_are_counted_by_provider_and_kind() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        // All of it on this thread, where the recorder is.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let rig = Rig::connected().await;
            rig.until_expired();
            rig.token().await;
            rig.until_expired();
            rig.fake.script([Next::Fail(Verdict::Misconfigured)]);
            rig.manager.token(&rig.key).await.unwrap_err();
            rig.manager.disconnect(&rig.key).await.unwrap();
        });
    });
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
    assert_eq!(
        counted,
        [
            "tower_token_events_total provider=fake,event=connected 1",
            "tower_token_events_total provider=fake,event=disconnected 1",
            "tower_token_events_total provider=fake,event=expired 2",
            "tower_token_events_total provider=fake,event=refresh_failed,cause=ClientRefused 1",
            "tower_token_events_total provider=fake,event=refreshed 1",
            "tower_token_events_total provider=fake,event=waited 2",
            "tower_token_exchange_seconds provider=fake 1 values",
            "tower_token_wait_seconds provider=fake 2 values",
        ]
    );
}
