//! What connections are called.

use tower_token::{Grant, GrantKey, MeshGrant, TokenManager};

/// Where `new` goes: in the place of the connection that it renews, or in one of its own. What
/// else came with it has its places already, which are `taken`.
///
/// A place of its own is named after the broker and the first account, by a keyed hash: the
/// same payload that comes twice at once goes to one place, and the name says nothing.
pub(super) fn place(
    manager: &TokenManager,
    user: &GrantKey,
    new: &MeshGrant,
    held: &[Grant],
    taken: &[GrantKey],
) -> GrantKey {
    // Of two that share accounts with it the later one is the one that is in use.
    let renewed = held
        .iter()
        .filter(|grant| new.replaces(grant) && !taken.contains(grant.key()))
        .max_by_key(|grant| grant.connected_at());
    if let Some(renewed) = renewed {
        return renewed.key().clone();
    }
    let named = |n: usize| {
        let name = user.with_connection(format!("{}/{n}", new.connection()));
        user.with_connection(manager.fingerprint(&name).to_string())
    };
    // The place may be another connection's by now. One that waits for its first token gives
    // way to the same consent that comes again.
    let is_free = |key: &GrantKey| {
        let holder = held.iter().find(|grant| grant.key() == key);
        let gives_way = |grant: &Grant| grant.accounts().is_empty() && new.account_ids().is_empty();
        !taken.contains(key) && holder.is_none_or(gives_way)
    };
    let tries = held.len() + taken.len();
    let own = (0..tries).map(named).find(is_free);
    own.unwrap_or_else(|| named(tries))
}
