//! Random values for tokens and secrets.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// 256 bits, opaque.
pub(in crate::testkit) fn random_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    crate::store::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
