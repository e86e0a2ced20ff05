//! What a token service does with a refresh token that comes twice.

use std::time::Duration;

use crate::clock::Timestamp;

/// What a token service does with a refresh token that comes twice, as it may after an
/// answer was lost.
///
/// ```
/// use std::time::Duration;
/// use tower_token::{OAuth2, Rotation};
///
/// let provider = OAuth2::new("example", "https://auth.example.com/token")
///     .public_client("me")
///     .rotation(Rotation::Grace(Duration::from_secs(30)));
/// # let _ = provider;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// It may end the grant (RFC 9700 section 4.14.2). After a lost answer the current
    /// access token is served, and the refresh token sent again only when that one is about
    /// to expire or was refused. The default, for a service that says nothing.
    #[default]
    Strict,
    /// It answers the same again for this long after the first time. After a lost answer the
    /// refresh token is sent again at once, for as long as that lasts; then as `Strict`.
    Grace(Duration),
    /// Refresh tokens are not rotated, so it does not matter. Once an answer does bring a
    /// new one, this counts as `Strict`.
    Reusable,
}

impl Rotation {
    /// What to go by, for a grant whose refresh token is known to have been rotated or not:
    /// what is learned from answers only tightens.
    pub(crate) fn tightened(self, was_rotated: bool) -> Self {
        match self {
            Self::Reusable if was_rotated => Self::Strict,
            other => other,
        }
    }

    /// Whether a refresh token that was first sent at `first_sent` and whose outcome is
    /// unknown may be sent again at `now`. Both by the store's clock.
    pub(crate) fn allows_again(self, first_sent: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Strict => false,
            Self::Grace(span) => now < first_sent + span,
            Self::Reusable => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_again_as_long_as_its_service_allows() {
        let at = Timestamp::from_unix_millis;
        let grace = Rotation::Grace(Duration::from_secs(10));
        assert!(!Rotation::Strict.allows_again(at(0), at(0)));
        assert!(grace.allows_again(at(5_000), at(14_999)));
        assert!(!grace.allows_again(at(5_000), at(15_000)));
        assert!(Rotation::Reusable.allows_again(at(0), at(u64::MAX)));
        assert_eq!(Rotation::Reusable.tightened(true), Rotation::Strict);
        assert_eq!(Rotation::Reusable.tightened(false), Rotation::Reusable);
        assert_eq!(grace.tightened(true), grace);
    }
}
