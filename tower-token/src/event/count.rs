//! Events to `metrics` (feature `metrics`).
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `tower_token_events_total` | counter | `provider`, `event`, for failures `cause` |
//! | `tower_token_exchange_seconds` | histogram | `provider` |
//! | `tower_token_wait_seconds` | histogram | `provider` |
//!
//! No label names a user or a grant: their number would have no bound.

use metrics::{counter, histogram};

use super::{Event, EventKind};

pub(super) fn count(event: &Event) {
    let provider = || event.provider.to_string();
    let name = event.kind.name();
    match &event.kind {
        EventKind::RefreshFailed { cause } => {
            let cause = format!("{cause:?}");
            counter!("tower_token_events_total", "provider" => provider(), "event" => name, "cause" => cause)
                .increment(1);
        }
        _ => {
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
