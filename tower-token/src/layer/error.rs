//! What comes out of the layer when no response does.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// Either there was no token, and this request was not sent, or the inner service failed.
///
/// An outer retry layer can match on the inner error as if this layer were not there.
#[derive(Debug)]
pub enum TokenServiceError<E> {
    /// No usable token, or a request that must not get one. It was not sent by this layer; hops
    /// of a redirect before it were.
    Token(Error),
    /// The inner service failed.
    Inner(E),
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> TokenServiceError<E> {
    /// Whichever error is inside, boxed. For inner services that fail with a box, as many
    /// Tower layers do: a box is no [`Error`](StdError) by itself.
    ///
    /// ```
    /// use tower_token::TokenServiceError;
    ///
    /// let error = TokenServiceError::Inner(Box::<dyn std::error::Error + Send + Sync>::from("x"));
    /// assert_eq!(error.into_boxed().to_string(), "x");
    /// ```
    pub fn into_boxed(self) -> Box<dyn StdError + Send + Sync> {
        match self {
            Self::Token(error) => error.into(),
            Self::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for TokenServiceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error) => error.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

/// Transparent: the source is that of the error inside.
impl<E: StdError + 'static> StdError for TokenServiceError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Token(error) => error.source(),
            Self::Inner(error) => error.source(),
        }
    }
}
