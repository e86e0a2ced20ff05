//! What the server has done, in all and for each user.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What an [`AuthServer`](super::AuthServer) has done so far, in all or for one user.
///
/// An answer is counted before it is sent: a client that has read it finds it counted.
///
/// ```
/// use tower_token::testkit::AuthServer;
///
/// let server = AuthServer::start()?;
/// assert_eq!(server.counts().reuse_detected, 0);
/// assert_eq!(server.counts_of("ada").refreshes_ok, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that reached the token endpoint, those that met a fault included.
    pub token_requests: u64,
    /// Those that exchanged the refresh token, whether or not the answer arrived.
    pub refreshes_ok: u64,
    /// Those that brought a spent refresh token within its grace period, and were answered
    /// with its successor again.
    pub refreshes_repeated: u64,
    /// Those that exchanged nothing, because of a fault or of what was wrong with them.
    pub refreshes_failed: u64,
    /// Those of the failed ones that brought a spent refresh token. Each ended its grant.
    pub reuse_detected: u64,
    /// Token requests that followed a redirect, with their secrets.
    pub redirects_followed: u64,
    /// Revocation requests (RFC 7009) from the registered client, known token or not.
    pub revocations: u64,
    /// API requests answered with 200.
    pub api_ok: u64,
    /// API requests answered with 401.
    pub api_unauthorized: u64,
}

/// The counts, in all and by user.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    total: Counts,
    by_user: HashMap<String, Counts>,
}

impl Tally {
    /// Counts something; for a user, if it is known whose it was.
    pub(super) fn add(&self, user: Option<&str>, count: impl Fn(&mut Counts)) {
        let mut kept = self.0.lock();
        count(&mut kept.total);
        if let Some(user) = user {
            count(kept.by_user.entry(user.to_owned()).or_default());
        }
    }

    pub(super) fn total(&self) -> Counts {
        self.0.lock().total
    }

    pub(super) fn of(&self, user: &str) -> Counts {
        self.0.lock().by_user.get(user).copied().unwrap_or_default()
    }
}
