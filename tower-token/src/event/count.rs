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

use std::panic::catch_unwind;

use http::StatusCode;
use metrics::{counter, histogram};

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

/// Counts what an API answered. A recorder that panics costs nobody the answer.
pub(crate) fn answered(provider: &str, route: Option<&'static str>, status: StatusCode) {
    let status = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let _ = catch_unwind(|| {
        let provider = provider.to_owned();
        match route {
            Some(route) => {
                counter!("tower_token_api_responses_total", "provider" => provider, "status" => status, "route" => route)
            }
            None => {
                counter!("tower_token_api_responses_total", "provider" => provider, "status" => status)
            }
        }
        .increment(1);
    });
}
