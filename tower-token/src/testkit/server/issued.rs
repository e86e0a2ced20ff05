//! What the server hands out.

use std::fmt;
use std::time::Duration;

use crate::grant::TokenResponse;

/// The first tokens of a user, as [`AuthServer::connect`](super::AuthServer::connect)
/// issues them. What [`TokenManager::connect`](crate::TokenManager::connect) takes is made
/// of it by `into`.
///
/// `Debug` shows everything but the tokens.
///
/// ```
/// use tower_token::TokenResponse;
/// use tower_token::testkit::AuthServer;
///
/// let server = AuthServer::start()?;
/// let issued = server.connect("ada");
/// assert_eq!(issued.expires_in.as_secs(), 60);
/// let response: TokenResponse = issued.into();
/// # let _ = response;
/// # Ok::<(), std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The bearer token for the API.
    pub access_token: String,
    /// The token for the next refresh.
    pub refresh_token: String,
    /// How long the access token lasts.
    pub expires_in: Duration,
    /// How long the refresh token lasts, if the server says so.
    pub refresh_token_expires_in: Option<Duration>,
    /// The scope that was granted.
    pub scope: String,
}

impl From<Issued> for TokenResponse {
    fn from(issued: Issued) -> Self {
        let response = Self::new(issued.access_token)
            .refresh_token(issued.refresh_token)
            .expires_in(issued.expires_in)
            .scope(issued.scope);
        match issued.refresh_token_expires_in {
            Some(life) => response.refresh_token_expires_in(life),
            None => response,
        }
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("access_token", &"[redacted]")
            .field("refresh_token", &"[redacted]")
            .field("expires_in", &self.expires_in)
            .field("refresh_token_expires_in", &self.refresh_token_expires_in)
            .field("scope", &self.scope)
            .finish()
    }
}
