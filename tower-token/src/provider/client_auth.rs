//! How this service proves to the token service who it is (RFC 6749 section 2.3).

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::verdict::{RefreshError, Verdict};
use crate::secret::{Secret, wiped};

/// Signs the JWT by which a client proves who it is (RFC 7523 section 3), with whatever key
/// and library you use, or by a service that keeps the key.
///
/// ```
/// use std::error::Error;
/// use tower_token::{AssertionClaims, ClientAssertion, OAuth2, Secret};
///
/// struct Signer { key_id: String }
///
/// impl ClientAssertion for Signer {
///     async fn sign(
///         &self,
///         claims: AssertionClaims<'_>,
///     ) -> Result<Secret, Box<dyn Error + Send + Sync>> {
///         let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key_id);
///         let payload = format!(
///             r#"{{"iss":"{0}","sub":"{0}","aud":"{1}","jti":"{2}","iat":{3},"exp":{4}}}"#,
///             claims.client_id(),
///             claims.audience(),
///             new_id(),
///             now(),
///             now() + 60,
///         );
///         Ok(Secret::from(your_jwt(&header, &payload)?))
///     }
/// }
/// # fn new_id() -> u64 { 7 }
/// # fn now() -> u64 { 0 }
/// # fn your_jwt(_: &str, _: &str) -> Result<String, std::io::Error> { Ok(String::new()) }
///
/// let provider = OAuth2::new("example", "https://auth.example.com/token")
///     .client_assertion("client-id", Signer { key_id: "2026-01".into() });
/// # let _ = provider;
/// ```
pub trait ClientAssertion: Send + Sync + 'static {
    /// A signed JWT with these claims, a `jti` that was never used before, and an `exp` of a
    /// minute or so. Asked for every request anew, retries included. Most services want a
    /// `kid` in its header.
    ///
    /// An error counts as a token service that cannot be reached now: nothing was sent. So
    /// does a signature that takes longer than 5 seconds.
    fn sign(
        &self,
        claims: AssertionClaims<'_>,
    ) -> impl Future<Output = Result<Secret, Box<dyn StdError + Send + Sync>>> + Send;
}

/// What a [`ClientAssertion`] has to say.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct AssertionClaims<'a> {
    client_id: &'a str,
    audience: &'a str,
}

impl<'a> AssertionClaims<'a> {
    /// `iss` and `sub`.
    pub fn client_id(&self) -> &'a str {
        self.client_id
    }

    /// The URL of the token endpoint, the usual `aud`. A service that wants its issuer there
    /// is for the signer to know.
    pub fn audience(&self) -> &'a str {
        self.audience
    }
}

type SignFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Secret, Box<dyn StdError + Send + Sync>>> + Send + 'a>>;

/// The one place where signers are erased.
pub(crate) trait DynClientAssertion: Send + Sync {
    fn sign<'a>(&'a self, claims: AssertionClaims<'a>) -> SignFuture<'a>;
}

impl<S: ClientAssertion> DynClientAssertion for S {
    fn sign<'a>(&'a self, claims: AssertionClaims<'a>) -> SignFuture<'a> {
        Box::pin(ClientAssertion::sign(self, claims))
    }
}

/// How long a signature may take.
const SIGNING_LIMIT: Duration = Duration::from_secs(5);
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The client's identity, and how it is shown.
#[derive(Clone)]
pub(crate) enum ClientAuth {
    /// `none`: a public client names itself in the body.
    Public { id: String },
    /// `client_secret_basic`
    Basic { id: String, secret: Secret },
    /// `client_secret_post`
    Post { id: String, secret: Secret },
    /// `private_key_jwt` and `client_secret_jwt`
    Assertion {
        id: String,
        signer: Arc<dyn DynClientAssertion>,
    },
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

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Public { id }
            | Self::Basic { id, .. }
            | Self::Post { id, .. }
            | Self::Assertion { id, .. } => id,
        }
    }

    /// The body's parameters that this method adds.
    pub(crate) fn parameters(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Public { id } | Self::Assertion { id, .. } => vec![("client_id", id)],
            Self::Post { id, secret } => {
                vec![("client_id", id), ("client_secret", secret.expose())]
            }
            Self::Basic { .. } => Vec::new(),
        }
    }

    /// A signed assertion for `audience`, where this method uses one.
    pub(crate) async fn assertion(&self, audience: &str) -> Result<Option<Secret>, RefreshError> {
        let Self::Assertion { id, signer } = self else {
            return Ok(None);
        };
        let claims = AssertionClaims {
            client_id: id,
            audience,
        };
        // Nothing was sent yet, whatever comes of this.
        let unsigned = |message| {
            let verdict = Verdict::Transient { retry_after: None };
            RefreshError::new(verdict, message)
        };
        match timeout(SIGNING_LIMIT, signer.sign(claims)).await {
            Ok(Ok(signed)) => Ok(Some(signed)),
            Ok(Err(error)) => {
                Err(unsigned("the client assertion could not be signed").with_source(error))
            }
            Err(_) => Err(unsigned("the client assertion was not signed in time")),
        }
    }

    pub(crate) fn assertion_parameters(assertion: &Secret) -> [(&'static str, &str); 2] {
        [
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", assertion.expose()),
        ]
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self {
            Self::Public { .. } => "none",
            Self::Basic { .. } => "client_secret_basic",
            Self::Post { .. } => "client_secret_post",
            Self::Assertion { .. } => "assertion",
        };
        f.debug_struct("ClientAuth")
            .field("method", &method)
            .field("id", &self.id())
            .finish_non_exhaustive()
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
