//! A provider, as it is registered with a manager.

use std::sync::Weak;

use super::Shared;
use crate::provider::Provider;

/// What all slots of a provider share: each has one pointer to it.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) provider: Provider,
    /// With which it is.
    pub(super) manager: Weak<Shared>,
}
