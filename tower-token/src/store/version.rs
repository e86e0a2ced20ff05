//! Versions of stores that do not count.

use super::contract::{StoreError, StoreErrorKind};
use super::seal;

/// A version that no row had: drawn from 63 bits, so that nothing has to be counted, or kept
/// after a removal.
pub(super) fn unused() -> Result<u64, StoreError> {
    let mut bits = [0; 8];
    seal::fill(&mut bits).map_err(|error| {
        let message = "the system has no random numbers";
        StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
    })?;
    Ok(u64::from_le_bytes(bits) >> 1)
}
