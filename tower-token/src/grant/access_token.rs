//! One bearer token, as it goes into a request.

use std::fmt;

use http::HeaderValue;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::secret::wiped;

const SCHEME: &str = "Bearer ";

/// A bearer token (RFC 6750) of one grant. Cheap to clone.
///
/// The header value is built once, marked sensitive, and shares one buffer with
/// every clone; that buffer is wiped when the last of them drops.
#[derive(Clone)]
// The header in front: most requests read nothing else.
#[repr(C)]
pub struct AccessToken {
    header: HeaderValue,
    serial: Serial,
    started: Timestamp,
    /// The far future where that is not known.
    expires_at: Timestamp,
}

/// Which token of a grant this is. A later one orders after an earlier one; those that one
/// answer brought for several accounts have the same.
///
/// A 401 is about one token, not about a row in the store: by comparing serials it
/// is known whether the refused token has been replaced already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    /// Rises with each connect and disconnect of the grant.
    pub epoch: u64,
    /// Counts the tokens issued within the epoch, from 1.
    pub issue: u64,
}

impl AccessToken {
    /// `started` is when the exchange that brought the token began: a lifetime
    /// counted from there ends early rather than late.
    pub(crate) fn new(
        token: &str,
        serial: Serial,
        started: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Error> {
        Ok(Self {
            header: header(SCHEME, token)?,
            serial,
            started,
            expires_at: expires_at.unwrap_or(Timestamp::FAR_FUTURE),
        })
    }

    /// The value of the `Authorization` header, marked sensitive.
    pub fn authorization(&self) -> &HeaderValue {
        &self.header
    }

    /// The value of another header: the token after a word and a space, or alone.
    pub(crate) fn header(&self, scheme: Option<&str>) -> Result<HeaderValue, Error> {
        match scheme {
            Some(scheme) => header(&format!("{scheme} "), self.expose()),
            None => header("", self.expose()),
        }
    }

    /// The token itself, for APIs that take it elsewhere than in the header.
    pub fn expose(&self) -> &str {
        // Built from "Bearer " and visible ASCII.
        self.header
            .to_str()
            .unwrap_or_default()
            .get(SCHEME.len()..)
            .unwrap_or_default()
    }

    /// Which token of its grant this is.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// When it stops being usable, if that is known.
    pub fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at).filter(|end| *end < Timestamp::FAR_FUTURE)
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("token", &"[redacted]")
            .field("serial", &self.serial)
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// The header value, in one exact buffer that is wiped with its last clone.
fn header(prefix: &str, token: &str) -> Result<HeaderValue, Error> {
    // RFC 6749 appendix A.12: visible ASCII. A space would end a bearer token early. Looked at to
    // the end, whatever is found: several bytes at a time that way.
    let visible = |all, byte: u8| all & byte.is_ascii_graphic();
    if token.is_empty() || !token.bytes().fold(true, visible) {
        return Err(Error::new(
            ErrorKind::InvalidResponse,
            "the access token is empty or holds characters that a header cannot carry",
        ));
    }
    let mut value = Vec::with_capacity(prefix.len() + token.len());
    value.extend_from_slice(prefix.as_bytes());
    value.extend_from_slice(token.as_bytes());
    let mut header =
        HeaderValue::from_maybe_shared(wiped(Zeroizing::new(value))).map_err(|_| {
            Error::new(
                ErrorKind::InvalidResponse,
                "the access token cannot be put into a header",
            )
        })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The `exp` of a JWT (RFC 7519 section 4.1.4), if `token` is one that says so.
///
/// Read, not checked: it only tells when to refresh.
pub(crate) fn jwt_expiry(token: &str) -> Option<Timestamp> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let mut json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let exp = serde_json::from_slice::<serde_json::Value>(&json)
        .ok()
        .and_then(|claims| claims.get("exp")?.as_f64());
    json.zeroize();
    // Seconds, and some services write a fraction.
    exp.filter(|exp| exp.is_finite() && (0.0..=1e11).contains(exp))
        .map(|exp| Timestamp::from_unix_millis((exp * 1_000.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIAL: Serial = Serial { epoch: 1, issue: 1 };
    const START: Timestamp = Timestamp::from_unix_millis(0);

    #[test]
    fn header_is_built_once_and_sensitive() {
        let token = AccessToken::new("abc.def", SERIAL, START, None).unwrap();
        assert_eq!(token.authorization(), "Bearer abc.def");
        assert!(token.authorization().is_sensitive());
        assert_eq!(token.expose(), "abc.def");
        let (one, two) = (
            token.authorization().clone(),
            token.clone().authorization().clone(),
        );
        assert_eq!(one.as_bytes().as_ptr(), two.as_bytes().as_ptr());
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        for bad in ["", "a b", "a\r\nx: y", "t\u{f6}ken", "a\0"] {
            assert!(
                AccessToken::new(bad, SERIAL, START, None).is_err(),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn exp_of_a_jwt_is_read_leniently() {
        use base64::Engine as _;
        let jwt = |claims: &str| {
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
            jwt_expiry(&format!("e30.{claims}.c2ln"))
        };
        let at = |ms| Some(Timestamp::from_unix_millis(ms));
        assert_eq!(jwt(r#"{"exp":1700000000}"#), at(1_700_000_000_000));
        assert_eq!(jwt(r#"{"exp":1700000000.25}"#), at(1_700_000_000_250));
        assert_eq!(jwt(r#"{"exp":"soon"}"#), None);
        assert_eq!(jwt(r#"{"exp":-5}"#), None);
        assert_eq!(jwt(r#"{"exp":1e300}"#), None);
        assert_eq!(jwt("{}"), None);
        assert_eq!(jwt_expiry("opaque"), None);
        assert_eq!(jwt_expiry("a.b.c.d.e"), None);
        assert_eq!(jwt_expiry("..."), None);
    }
}
