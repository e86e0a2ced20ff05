//! What the server counts.

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
