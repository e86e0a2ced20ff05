//! Who signed in.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

/// Who signed in, as a verified id token says. Cheap to clone; `Debug` hides it.
///
/// ```
/// use axum_token::Identity;
///
/// /// Never by the address: it can pass to somebody else.
/// fn subject(who: &Identity) -> String {
///     format!("{}|{}", who.issuer(), who.subject())
/// }
///
/// fn verified_address(who: &Identity) -> Option<&str> {
///     who.claim("email_verified")?.as_bool()?.then_some(who.claim("email")?.as_str()?)
/// }
/// # let _ = (subject, verified_address);
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    issuer: String,
    subject: String,
    claims: Map<String, Value>,
}

impl Identity {
    pub(super) fn new(issuer: String, subject: String, claims: Map<String, Value>) -> Self {
        Self(Arc::new(Inner {
            issuer,
            subject,
            claims,
        }))
    }

    /// The provider (`iss`).
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The user, as the provider calls them and nobody else (`sub`).
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Any claim of the token.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
