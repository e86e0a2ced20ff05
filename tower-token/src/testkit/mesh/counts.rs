//! What the stand-in counts.

/// What a [`MeshServer`](super::MeshServer) has done so far, in all or for one user.
///
/// An answer is counted before it is sent: a client that has read it finds it counted.
///
/// ```
/// use tower_token::testkit::MeshServer;
///
/// let server = MeshServer::start()?;
/// assert_eq!(server.counts().reuse_detected, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshCounts {
    /// Link tokens that were issued.
    pub link_tokens: u64,
    /// Link pages that were opened.
    pub links_opened: u64,
    /// Connections that were made, on the page or by a test.
    pub connections: u64,
    /// Access tokens that a page handed over and that were found to be good.
    pub tokens_verified: u64,
    /// Access tokens that a page handed over and that were no good, or of another user.
    pub tokens_refused: u64,
    /// Requests that reached `/api/v1/token/refresh`, those that met a fault included.
    pub refresh_requests: u64,
    /// Those that exchanged the refresh token, whether or not the answer arrived.
    pub refreshes_ok: u64,
    /// Those that were answered with `mfaRequired`.
    pub codes_wanted: u64,
    /// Those that exchanged nothing, because of a fault or of what was wrong with them.
    pub refreshes_failed: u64,
    /// Those of the failed ones that brought a spent refresh token. Each ended its connection.
    pub reuse_detected: u64,
    /// Refresh requests that followed a redirect, with their secrets.
    pub redirects_followed: u64,
    /// Accounts that were removed.
    pub removals: u64,
    /// Holdings that were shown.
    pub holdings: u64,
    /// Requests for holdings or a removal whose token was no good.
    pub dead_tokens: u64,
    /// Requests with the wrong client id or secret, or none.
    pub unauthenticated: u64,
    /// Requests that were not as documented.
    pub rejected: u64,
}
