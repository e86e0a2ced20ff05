//! A token in a header of the API's own.

use http::{HeaderMap, HeaderName, Request};

use super::placement::Placement;
use crate::error::Error;
use crate::grant::AccessToken;

/// A header of the API's own, such as `x-api-key`, marked sensitive.
///
/// ```
/// use http::HeaderName;
/// use tower_token::{TokenHeader, TokenLayer, TokenManager};
///
/// # fn f(manager: &TokenManager) {
/// // `x-api-key: the-token`
/// let layer = TokenLayer::new(manager)
///     .place(TokenHeader::new(HeaderName::from_static("x-api-key")));
///
/// // `authorization: token the-token`
/// let layer = TokenLayer::new(manager)
///     .place(TokenHeader::new(http::header::AUTHORIZATION).scheme("token"));
/// # let _ = layer;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TokenHeader {
    name: HeaderName,
    scheme: Option<&'static str>,
}

impl TokenHeader {
    /// The token and nothing else, in the header of this name.
    pub fn new(name: HeaderName) -> Self {
        Self { name, scheme: None }
    }

    /// A word and a space before the token.
    #[must_use]
    pub fn scheme(mut self, scheme: &'static str) -> Self {
        self.scheme = Some(scheme);
        self
    }
}

impl<B> Placement<B> for TokenHeader {
    fn is_placed(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&self.name)
    }

    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
        let value = token.header(self.scheme)?;
        request.headers_mut().insert(self.name.clone(), value);
        Ok(())
    }
}
