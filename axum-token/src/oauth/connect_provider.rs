//! A provider that users sign in by, or connect.

use std::fmt;

use tower_token::CodeExchange;

use super::openid::OpenId;

/// What the routes set themselves: nobody else says them.
const RESERVED: [&str; 11] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    // The time of the login would have to be checked.
    "max_age",
    "nonce",
    "redirect_uri",
    "response_mode",
    "response_type",
    "resource",
    "scope",
    "state",
];

/// A provider of [`OAuthRoutes`](crate::OAuthRoutes): where users are asked, and for what.
///
/// ```
/// # use axum_token::{ConnectProvider, OpenId};
/// # use tower_token::{Error, OAuth2};
/// # fn f(openid: &OpenId, google: &OAuth2, github: &OAuth2) -> Result<(), Error> {
/// // Users sign in by it, and the service acts for them there.
/// let google = ConnectProvider::openid(openid, google.code_exchange()?)
///     .scope("email https://www.googleapis.com/auth/calendar")
///     // What Google wants for a refresh token.
///     .parameter("access_type", "offline")
///     .parameter("prompt", "consent")
///     .signs_in();
/// // OAuth alone: who is signed in can connect it.
/// let authorize = "https://github.com/login/oauth/authorize";
/// let github = ConnectProvider::oauth2(authorize, github.code_exchange()?).scope("repo");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ConnectProvider {
    pub(super) exchange: CodeExchange,
    pub(super) authorization_endpoint: String,
    pub(super) openid: Option<OpenId>,
    issuer: Option<String>,
    pub(super) scope: String,
    pub(super) resources: Vec<String>,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) signs_in: bool,
    pub(super) disconnects: bool,
}

impl ConnectProvider {
    /// One that speaks OpenID Connect. The scope `openid` is asked for, the id token is checked
    /// against the keys of `openid`, and kept with the grant.
    pub fn openid(openid: &OpenId, exchange: CodeExchange) -> Self {
        let mut provider = Self::oauth2(openid.authorization_endpoint(), exchange);
        provider.openid = Some(openid.clone());
        provider.scope("openid")
    }

    /// One that speaks OAuth 2.0 alone, at its authorization endpoint's URL. Who somebody is
    /// there is not known, so nobody signs in by it.
    pub fn oauth2(authorization_endpoint: impl Into<String>, exchange: CodeExchange) -> Self {
        Self {
            exchange,
            authorization_endpoint: authorization_endpoint.into(),
            openid: None,
            issuer: None,
            scope: String::new(),
            resources: Vec::new(),
            parameters: Vec::new(),
            signs_in: false,
            disconnects: false,
        }
    }

    /// Asks for these scopes, separated by spaces, besides those before. With `offline_access`
    /// the user is asked to agree each time (`prompt=consent`, OpenID Connect Core section 11),
    /// unless a [`parameter`](Self::parameter) says otherwise.
    #[must_use]
    pub fn scope(mut self, scope: &str) -> Self {
        for scope in scope.split_ascii_whitespace() {
            if !self.has_scope(scope) {
                if !self.scope.is_empty() {
                    self.scope.push(' ');
                }
                self.scope.push_str(scope);
            }
        }
        self
    }

    /// Asks for tokens for this API, an absolute URI (RFC 8707). May be called several times.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resources.push(resource.into());
        self
    }

    /// Another parameter of the authorization request, as a provider wants it.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Who an answer has to come from, if it says so (RFC 9207). One of OpenID Connect has it
    /// from its discovery.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Users sign in by it: whoever is not signed in, and authorizes the service there, then is.
    /// For providers of OpenID Connect.
    #[must_use]
    pub fn signs_in(mut self) -> Self {
        self.signs_in = true;
        self
    }

    /// Who signs out by its routes disconnects it as well. By default the grant stays, and work
    /// that is done for the user goes on.
    #[must_use]
    pub fn disconnects_at_logout(mut self) -> Self {
        self.disconnects = true;
        self
    }

    pub(super) fn name(&self) -> &str {
        self.exchange.provider()
    }

    pub(super) fn has_scope(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|asked| asked == scope)
    }

    /// Whether an answer that names `iss`, or nobody, may be of this provider (RFC 9207
    /// section 2.4).
    pub(super) fn may_answer_as(&self, iss: Option<&str>) -> bool {
        let ours = match &self.openid {
            Some(openid) => Some(openid.issuer()),
            None => self.issuer.as_deref(),
        };
        match (iss, ours) {
            (Some(iss), Some(ours)) => iss == ours,
            (Some(_), None) => true,
            (None, _) => !self.openid.as_ref().is_some_and(OpenId::sends_iss),
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        let name = self.name();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_plain) || name.bytes().all(|b| b == b'.') {
            return Some(
                "its name stands in URLs: letters, digits, and - _ . ~ are what it is made of",
            );
        }
        if self.signs_in && self.openid.is_none() {
            return Some(
                "nobody can sign in by it: OAuth alone does not say who somebody is; use \
                 ConnectProvider::openid",
            );
        }
        let is_reserved = |(name, _): &(String, String)| RESERVED.contains(&name.as_str());
        if self.parameters.iter().any(is_reserved) {
            return Some("a parameter is named as one that the routes set themselves");
        }
        if self.authorization_endpoint.contains('#') {
            // RFC 6749 section 3.1. The parameters would be a part of it.
            return Some("its authorization endpoint has a fragment");
        }
        let endpoint = self.authorization_endpoint.parse::<http::Uri>();
        let is_web = endpoint.is_ok_and(|uri| {
            let host = uri.host().unwrap_or_default();
            let is_loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
            match uri.scheme_str() {
                Some("https") => !host.is_empty(),
                Some("http") => is_loopback,
                _ => false,
            }
        });
        if !is_web {
            return Some("its authorization endpoint is no https URL, or http on loopback");
        }
        None
    }
}

impl fmt::Debug for ConnectProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProvider")
            .field("name", &self.name())
            .field("scope", &self.scope)
            .field("signs_in", &self.signs_in)
            .finish_non_exhaustive()
    }
}
