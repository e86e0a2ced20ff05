//! What the manager says that happens, kept for the page's timeline.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::Serialize;
use tower_token::{Clock, Event, EventKind, Events, Fingerprint, Grant, SystemClock, TokenManager};

/// How many events are kept.
const KEPT: usize = 500;

/// One line of the timeline.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    number: u64,
    at: u64,
    what: &'static str,
    tone: &'static str,
    broker: String,
    text: String,
    next_at: Option<u64>,
}

/// The last events of a manager. An event names its grant by a fingerprint; whose that
/// is, is known of those whose grants were seen.
#[derive(Debug)]
pub(crate) struct Activity {
    kept: Mutex<Kept>,
    clock: SystemClock,
    /// From a refresh until a call begins the next one.
    fresh_for: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    lines: VecDeque<(Fingerprint, Line)>,
    known: HashMap<Fingerprint, Owner>,
}

#[derive(Debug)]
struct Owner {
    subject: String,
    broker: String,
}

impl Activity {
    /// Keeps what `manager` says from now on.
    pub(crate) fn of(manager: &TokenManager, fresh_for: Duration) -> Arc<Self> {
        let activity = Arc::new(Self {
            kept: Mutex::default(),
            clock: SystemClock::new(),
            fresh_for,
        });
        tokio::spawn(Arc::clone(&activity).listen(manager.events(1_024)));
        activity
    }

    async fn listen(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.next().await {
            self.note(&event);
        }
    }

    fn note(&self, event: &Event) {
        let at = self.clock.now();
        let issued = matches!(
            event.kind,
            EventKind::Connected | EventKind::Refreshed { .. }
        );
        let mut kept = self.kept.lock();
        kept.count += 1;
        let line = Line {
            number: kept.count,
            at: at.as_unix_millis(),
            what: event.kind.name(),
            tone: tone(&event.kind),
            broker: String::new(),
            text: text(&event.kind),
            next_at: issued.then(|| (at + self.fresh_for).as_unix_millis()),
        };
        kept.lines.push_back((event.grant, line));
        if kept.lines.len() > KEPT {
            kept.lines.pop_front();
        }
    }

    /// What happened after line `after` to what `subject` has connected, or had.
    pub(crate) fn since(
        &self,
        after: u64,
        subject: &str,
        grants: &[Grant],
        fingerprint: impl Fn(&Grant) -> Fingerprint,
    ) -> Vec<Line> {
        let mut kept = self.kept.lock();
        for grant in grants {
            let owner = Owner {
                subject: subject.to_owned(),
                broker: crate::balances::broker_name(grant),
            };
            kept.known.insert(fingerprint(grant), owner);
        }
        let lines = kept.lines.iter().filter(|(_, line)| line.number > after);
        lines
            .filter_map(|(grant, line)| {
                let owner = kept.known.get(grant)?;
                (owner.subject == subject).then(|| Line {
                    broker: owner.broker.clone(),
                    ..line.clone()
                })
            })
            .collect()
    }
}

fn text(kind: &EventKind) -> String {
    match kind {
        EventKind::Connected => String::from("connected."),
        EventKind::Disconnected => {
            String::from("disconnected: its tokens are gone from the store.")
        }
        EventKind::Refreshed { took, .. } => format!("refreshed, in {} ms.", took.as_millis()),
        EventKind::Expired { .. } => String::from("had expired when a call asked for it."),
        EventKind::Waited { took, .. } => format!("a call waited {} ms for it.", took.as_millis()),
        EventKind::Refused { .. } => String::from("refused by the API, and replaced."),
        EventKind::RefreshFailed { .. } => {
            String::from("could not be refreshed; while it lasts it serves on.")
        }
        EventKind::NeedsReauth { .. } => String::from("can no longer be refreshed: connect again."),
        EventKind::Revoked => String::from("revoked at the service."),
        other => format!("{}.", other.name().replace('_', " ")),
    }
}

fn tone(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Connected | EventKind::Refreshed { .. } | EventKind::Revoked => "good",
        EventKind::RefreshFailed { .. }
        | EventKind::NeedsReauth { .. }
        | EventKind::SaveFailed
        | EventKind::Lost
        | EventKind::RevocationFailed => "bad",
        _ => "plain",
    }
}
