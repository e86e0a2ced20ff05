//! The header of a token, where that is left to the program.

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use tower_service::Service as _;

use crate::BoxError;
use crate::noop::{Body, Guarded};

/// As the value of `Authorization` (RFC 6750, section 2.1). It takes the text over.
pub fn header(token: &str) -> Result<HeaderValue, BoxError> {
    Ok(HeaderValue::try_from(format!("Bearer {token}"))?)
}

/// Puts the token into the request, and sends it.
pub async fn send(mut request: Request<Body>, token: &str) -> Result<(), BoxError> {
    request.headers_mut().insert(AUTHORIZATION, header(token)?);
    Guarded.call(request).await?;
    Ok(())
}
