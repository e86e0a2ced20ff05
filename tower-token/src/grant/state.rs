//! Whether a grant can be used.

use crate::clock::Timestamp;

/// Whether a grant can be used.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// It is refreshed as needed.
    Active,
    /// It can no longer be refreshed; its access token serves until it expires. The
    /// user has to connect again.
    #[non_exhaustive]
    NeedsReauth {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: ReauthReason,
    },
    /// The user was disconnected: what is left is the mark that says so.
    #[non_exhaustive]
    Disconnected {
        /// Since when.
        since: Timestamp,
    },
}

/// Why a user has to connect again.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReauthReason {
    /// The token service refused the refresh token: it was revoked, has ended, or was used
    /// twice.
    Refused,
    /// The refresh token has reached the end that its service stated for it.
    RefreshTokenExpired,
    /// The access token has expired, and there never was a refresh token.
    NoRefreshToken,
}

impl ReauthReason {
    /// A short fixed name, as `refused`, for a log or a metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::NoRefreshToken => "no_refresh_token",
        }
    }
}
