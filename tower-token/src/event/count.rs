//! Events to `metrics` (feature `metrics`).
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `tower_token_events_total` | counter | `provider`, `event`, for failures and `needs_reauth` a `cause` |
//! | `tower_token_api_responses_total` | counter | `provider`, `status` (`2xx` ..), `route` if the request gave one |
//! | `tower_token_exchange_seconds` | histogram | `provider` |
//! | `tower_token_wait_seconds` | histogram | `provider` |
//!
//! No label names a user or a grant: their number would have no bound.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::StatusCode;
use metrics::{Key, Label, Level, Metadata, counter, histogram};
use parking_lot::RwLock;

use super::{Event, EventKind};

pub(super) fn count(event: &Event) {
    let provider = || event.provider.to_string();
    let name = event.kind.name();
    let cause = match &event.kind {
        EventKind::RefreshFailed { cause } => Some(format!("{cause:?}")),
        EventKind::NeedsReauth { reason } => Some(reason.name().to_owned()),
        _ => None,
    };
    match cause {
        Some(cause) => {
            counter!("tower_token_events_total", "provider" => provider(), "event" => name, "cause" => cause)
                .increment(1);
        }
        None => {
            counter!("tower_token_events_total", "provider" => provider(), "event" => name)
                .increment(1);
        }
    }
    match &event.kind {
        EventKind::Refreshed { took, .. } => {
            histogram!("tower_token_exchange_seconds", "provider" => provider()).record(*took);
        }
        EventKind::Waited { took, .. } => {
            histogram!("tower_token_wait_seconds", "provider" => provider()).record(*took);
        }
        _ => {}
    }
}

/// What API answers are counted under. Kept, so that counting one allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Answers(RwLock<HashMap<Arc<str>, Keys>>);

/// By route and status class. Routes are templates in the program's text: a bounded number.
type Keys = HashMap<(Option<&'static str>, &'static str), Key>;

impl Answers {
    /// A recorder that panics costs nobody the answer.
    pub(super) fn count(&self, provider: &str, route: Option<&'static str>, status: StatusCode) {
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let known = self.0.read();
        if let Some(key) = known
            .get(provider)
            .and_then(|keys| keys.get(&(route, class)))
        {
            increment(key);
            return;
        }
        drop(known);
        let mut labels = vec![
            Label::new("provider", provider.to_owned()),
            Label::new("status", class),
        ];
        labels.extend(route.map(|route| Label::new("route", route)));
        let key = Key::from_parts("tower_token_api_responses_total", labels);
        increment(&key);
        let mut known = self.0.write();
        let keys = known.entry(Arc::from(provider)).or_default();
        keys.insert((route, class), key);
    }
}

fn increment(key: &Key) {
    static HERE: Metadata<'static> =
        Metadata::new("tower_token", Level::INFO, Some(module_path!()));
    let _ = catch_unwind(AssertUnwindSafe(|| {
        metrics::with_recorder(|recorder| recorder.register_counter(key, &HERE).increment(1));
    }));
}
