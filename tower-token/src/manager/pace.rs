//! How many idle grants are renewed a second, by all instances together.
//!
//! Whoever renews takes tickets first: a lease that is about no row, for as long as its tickets
//! are to last. So it goes by the store's clock, and takes nothing that a shared store has not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::state::shut_down;
use super::{Call, Shared};
use crate::error::Error;
use crate::grant::Owner;
use crate::key::GrantKey;
use crate::provider::Provider;
use crate::rt::timeout;
use crate::store::{Lease, fill};

/// Tickets that were taken and not used, by provider.
#[derive(Debug, Default)]
pub(super) struct Tickets(HashMap<Arc<str>, u32>);

/// How many tickets are taken at once: for a quarter of a second, so that instances take turns.
fn at_once(rate: u32, wanted: u32) -> u32 {
    wanted.min(rate / 4).max(1)
}

/// How long `tickets` last where there are `rate` a second.
fn lasting(tickets: u32, rate: u32) -> Duration {
    Duration::from_secs(1) * tickets / rate
}

impl Shared {
    /// Waits until one more grant of `provider` may be renewed; `wanted` of them are to be.
    pub(super) async fn pace(
        &self,
        provider: &Provider,
        tickets: &mut Tickets,
        wanted: u32,
    ) -> Result<(), Error> {
        let Some(rate) = provider.policy.max_renewals_per_second else {
            return Ok(());
        };
        let left = tickets.0.entry(Arc::clone(&provider.name)).or_default();
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        // No grant has an empty subject.
        let key = GrantKey::new(&*provider.name, "");
        let taken = at_once(rate, wanted);
        let mut stop = self.stop.subscribe();
        loop {
            // Nobody's, so that it cannot be extended.
            let mut nobody = Owner([0; 16]);
            fill(&mut nobody.0)?;
            let lease = self.store.lease(&key, nobody, lasting(taken, rate)).await;
            match self.noted(Call::Write, lease)? {
                Lease::Granted { .. } => {
                    *left = taken - 1;
                    return Ok(());
                }
                Lease::Held { now, until } => {
                    let left = until.since(now).max(Duration::from_millis(1));
                    // Woken by a shutdown.
                    if timeout(left, stop.changed()).await.is_ok() || self.is_shut_down() {
                        return Err(shut_down());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_in_any_second_but_what_is_taken_at_once() {
        for rate in [1, 2, 3, 7, 100, 1_000] {
            for wanted in [1, 5, 1_000] {
                let taken = at_once(rate, wanted);
                assert!(taken >= 1 && taken <= wanted && taken <= (rate / 4).max(1));
                let in_a_second = Duration::from_secs(1).as_nanos()
                    / lasting(taken, rate).as_nanos()
                    * u128::from(taken);
                assert!(in_a_second <= u128::from(rate), "{rate} {wanted}");
            }
        }
    }
}
