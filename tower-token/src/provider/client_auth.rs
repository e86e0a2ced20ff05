//! How this service proves to the token service who it is (RFC 6749 section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::secret::{Secret, wiped};

/// The client's identity, and how it is shown.
#[derive(Debug, Clone)]
pub(crate) enum ClientAuth {
    /// `none`: a public client names itself in the body.
    Public { id: String },
    /// `client_secret_basic`
    Basic { id: String, secret: Secret },
    /// `client_secret_post`
    Post { id: String, secret: Secret },
}

impl ClientAuth {
    /// The `Authorization` header, where this method uses it.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let Self::Basic { id, secret } = self else {
            return None;
        };
        // RFC 6749 section 2.3.1: both parts are form-encoded first. That leaves
        // `* - . _` alone, for the services that never decode.
        let mut pair = Zeroizing::new(String::with_capacity(
            3 * (id.len() + secret.as_bytes().len()) + 1,
        ));
        pair.extend(form_urlencoded::byte_serialize(id.as_bytes()));
        pair.push(':');
        pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
        let mut value = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
        value.push_str("Basic ");
        STANDARD.encode_string(pair.as_bytes(), &mut value);
        let bytes = Zeroizing::new(std::mem::take(&mut *value).into_bytes());
        // Base64 is always a valid header value.
        let mut header = HeaderValue::from_maybe_shared(wiped(bytes)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }

    /// The body's parameters that this method adds.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Public { id } => vec![("client_id", id)],
            Self::Post { id, secret } => {
                vec![("client_id", id), ("client_secret", secret.expose())]
            }
            Self::Basic { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(id: &str, secret: &str) -> String {
        let auth = ClientAuth::Basic {
            id: id.into(),
            secret: secret.into(),
        };
        let header = auth.authorization().unwrap();
        assert!(header.is_sensitive());
        let value = header
            .to_str()
            .unwrap()
            .strip_prefix("Basic ")
            .unwrap()
            .to_owned();
        String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
    }

    #[test]
    fn basic_credentials_are_form_encoded_and_no_more() {
        assert_eq!(basic("my-id_1.*", "s3cret"), "my-id_1.*:s3cret");
        assert_eq!(basic("a:b", "p%s +\u{fc}/"), "a%3Ab:p%25s+%2B%C3%BC%2F");
    }
}
