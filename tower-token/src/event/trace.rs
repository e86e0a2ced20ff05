//! Events to `tracing` (feature `tracing`), under the target `tower_token`.
//!
//! A grant goes by its fingerprint; nothing that an event holds is a secret.

use tracing::{debug, error, info, warn};

use super::{Event, EventKind};

/// `error` for what costs a user their grant, `warn` for what an operator should look at,
/// `info` for users who come and go, `debug` for the rest.
pub(super) fn trace(event: &Event) {
    let Event {
        provider,
        grant,
        kind,
    } = event;
    let name = kind.name();
    match kind {
        EventKind::Lost => {
            error!(target: "tower_token", %provider, %grant, event = name);
        }
        EventKind::NeedsReauth { reason } => {
            let reason = reason.name();
            warn!(target: "tower_token", %provider, %grant, event = name, reason);
        }
        EventKind::ReconnectBy { by } => {
            warn!(target: "tower_token", %provider, %grant, event = name, ?by);
        }
        EventKind::SaveFailed
        | EventKind::RevocationFailed
        | EventKind::CircuitOpened
        | EventKind::NotSwept
        | EventKind::StoreUnavailable
        | EventKind::Stale => {
            warn!(target: "tower_token", %provider, %grant, event = name);
        }
        EventKind::RefreshFailed { cause } => {
            warn!(target: "tower_token", %provider, %grant, event = name, ?cause);
        }
        EventKind::Connected
        | EventKind::Disconnected
        | EventKind::DisconnectedElsewhere
        | EventKind::CircuitClosed
        | EventKind::StoreAvailable
        | EventKind::UpToDate => {
            info!(target: "tower_token", %provider, %grant, event = name);
        }
        EventKind::Refreshed { serial, took } => {
            debug!(target: "tower_token", %provider, %grant, event = name, ?serial, ?took);
        }
        EventKind::Adopted { serial }
        | EventKind::Refused { serial }
        | EventKind::Expired { serial } => {
            debug!(target: "tower_token", %provider, %grant, event = name, ?serial);
        }
        EventKind::Waited {
            took,
            token_was_usable,
        } => {
            debug!(target: "tower_token", %provider, %grant, event = name, ?took, token_was_usable);
        }
        EventKind::Discarded | EventKind::LostRace | EventKind::Revoked => {
            debug!(target: "tower_token", %provider, %grant, event = name);
        }
    }
}
