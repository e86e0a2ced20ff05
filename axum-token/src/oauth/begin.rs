//! `GET {base}/{provider}`: off to the provider.

use axum::extract::State;
use axum_core::response::Response;
use http::HeaderMap;
use http::request::Parts;
use openidconnect::PkceCodeChallenge;

use super::authorization_request::AuthorizationRequest;
use super::failure::{ConnectFailureKind, Refusal};
use super::flow::{self, Flow};
use super::next::safe_next;
use super::parameters::Parameters;
use super::routes::{Routes, see_other};
use super::sealed_cookies::SealedCookies;
use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, Misconfigured};
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

impl<Q> Routes<Q> {
    pub(super) async fn begin(
        &self,
        user: Option<CurrentSubject>,
        State(state): State<TokenState>,
        request: Parts,
    ) -> Response {
        let query = request.uri.query().unwrap_or_default();
        let given = Parameters::parse(query.as_bytes());
        let next = given
            .as_ref()
            .and_then(|given| safe_next(given.get("next")));
        match self.sent_on(user.as_ref(), &state, &request.headers, next) {
            Ok(response) => response,
            Err(refusal) => self.refused(refusal, &request.headers, next, HeaderMap::new()),
        }
    }

    fn sent_on(
        &self,
        user: Option<&CurrentSubject>,
        state: &TokenState,
        request: &HeaderMap,
        next: Option<&str>,
    ) -> Result<Response, Refusal> {
        if SealedCookies::are_too_many(request) {
            return Err(ConnectFailureKind::TooLarge.into());
        }
        let next = next.ok_or(ConnectFailureKind::InvalidNext)?;
        if !self.provider.signs_in {
            if user.is_none() {
                let reader = Reader::of(request);
                return Err(state.login(LoginReason::Anonymous, None, reader).into());
            }
            // Whose account would be connected is the browser's login there, which may be of
            // whoever sent them. A provider that signs users in says whose it is.
            if is_from_elsewhere(request) {
                return Err(ConnectFailureKind::CrossSite.into());
            }
        }
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let subject = user.map(CurrentSubject::as_str);
        let (name, verifier, now) = (self.provider.name(), verifier.secret(), self.now());
        let flow = Flow::new(name, subject, next, verifier, now)?;
        let mut answer = HeaderMap::new();
        let cookies = &self.shared.cookies;
        if !flow::keep(&flow, cookies, request, now, &mut answer) {
            let message = "a flow does not fit into a cookie: subjects are too long for that";
            return Err(Misconfigured::new(message).into());
        }
        let location = self.location(&flow, challenge.as_str());
        see_other(&location, answer)
            .ok_or_else(|| Misconfigured::new("the provider's URL is no header value").into())
    }

    /// Where the browser is sent to be asked.
    fn location(&self, flow: &Flow, challenge: &str) -> String {
        let provider = &self.provider;
        let redirect_uri = self.redirect_uri();
        let mut parameters = vec![
            ("response_type", "code"),
            ("client_id", provider.exchange.client_id()),
            ("redirect_uri", &redirect_uri),
            ("state", &flow.state),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ];
        if !provider.scope.is_empty() {
            parameters.push(("scope", &provider.scope));
        }
        if provider.openid.is_some() {
            parameters.push(("nonce", &flow.nonce));
            let is_told = provider.parameters.iter().any(|(name, _)| name == "prompt");
            if provider.has_scope("offline_access") && !is_told {
                parameters.push(("prompt", "consent"));
            }
        }
        let resources = provider.resources.iter();
        parameters.extend(resources.map(|resource| ("resource", resource.as_str())));
        let others = provider.parameters.iter();
        parameters.extend(others.map(|(name, value)| (name.as_str(), value.as_str())));
        AuthorizationRequest::new(parameters).by_browser(&provider.authorization_endpoint)
    }
}

/// Whether a browser says that another site's page leads here. An address that was typed is from
/// nowhere.
fn is_from_elsewhere(request: &HeaderMap) -> bool {
    let mut sites = request.get_all("sec-fetch-site").iter();
    sites.any(|site| site != "same-origin" && site != "none")
}
