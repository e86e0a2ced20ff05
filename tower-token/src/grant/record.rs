//! A grant's row, with what coordinates those who work on it.

use super::Grant;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A grant as it stands in its row, with what coordinates its refreshes.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) grant: Grant,
    /// Rises with every write of the row.
    pub(crate) sequence: u64,
    /// The connect that began the epoch.
    pub(crate) connect: ExchangeId,
    /// The exchange or connect that brought the current tokens.
    pub(crate) exchange: ExchangeId,
    /// An exchange that was about to begin when this was written.
    pub(crate) intent: Option<Intent>,
    /// What is left to tell the token service after a disconnect.
    pub(crate) revocation: Option<Revocation>,
}

impl Record {
    /// The order of a row's writes, across connects and disconnects.
    pub(crate) fn rank(&self) -> (u64, u64) {
        (self.grant.epoch, self.sequence)
    }
}

/// Names one exchange with a token service: 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExchangeId(pub(crate) [u8; 16]);

/// Names one manager: 128 random bits, new at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) [u8; 16]);

/// Written before a refresh token is spent, so that whoever comes later knows that
/// it may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) exchange: ExchangeId,
    pub(crate) owner: Owner,
    /// A keyed hash of the refresh token that is spent.
    pub(crate) token_hash: [u8; 16],
    /// When this refresh token was first sent, by the store's clock as the deadline is: a
    /// second try after an unknown outcome keeps it.
    pub(crate) started: Timestamp,
    pub(crate) deadline: Timestamp,
}

/// Tokens of a disconnected user that their service has not yet been asked to revoke
/// (RFC 7009). They stay sealed in the mark that the disconnect left.
#[derive(Debug, Clone)]
pub(crate) struct Revocation {
    pub(crate) tokens: Vec<Secret>,
    /// How often that was tried.
    pub(crate) attempts: u32,
    /// When it is tried next, by the store's clock.
    pub(crate) next: Timestamp,
}
