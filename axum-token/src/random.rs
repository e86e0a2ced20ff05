//! What nobody guesses.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::rejection::Misconfigured;

/// 256 random bits, in 43 letters that may stand in a URL and in a cookie.
pub(crate) fn text() -> Result<String, Misconfigured> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|_| Misconfigured::new("the system has no random numbers"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random))
}
