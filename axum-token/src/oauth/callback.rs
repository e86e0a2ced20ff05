//! `GET {base}/{provider}/callback`: back from the provider.

use axum::extract::State;
use axum_core::response::Response;
use http::HeaderMap;
use http::request::Parts;
use tower_token::{CodeRequest, Error, ErrorKind, Grant, GrantState, TokenManager, TokenResponse};

use super::failure::{ConnectFailureKind, Refusal};
use super::flow::{self, Flow};
use super::openid::{Identity, OpenIdErrorKind};
use super::parameters::Parameters;
use super::routes::{Routes, see_other};
use super::sealed_cookies::SealedCookies;
use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, Misconfigured, TokenRejection};
use crate::source::{SignIn, SubjectSource};
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

/// A code is short; some are JWTs.
const MAX_CODE: usize = 8 << 10;
/// In a grant's metadata: whose account it is there.
const ISSUER: &str = "openid.iss";
const SUBJECT: &str = "openid.sub";

impl<Q: SubjectSource> Routes<Q> {
    pub(super) async fn callback(
        &self,
        user: Option<CurrentSubject>,
        State(state): State<TokenState>,
        request: Parts,
    ) -> Response {
        let mut answer = HeaderMap::new();
        let flow = match self.flow(user.as_ref(), &request, &mut answer) {
            Ok(flow) => flow,
            Err(refusal) => return self.refused(refusal, &request.headers, None, answer),
        };
        let next = flow.0.next.clone();
        match self.finish(user, state, &request, flow, &mut answer).await {
            Ok(()) => {
                let location = format!("{}{next}", self.shared.origin);
                see_other(&location, answer.clone()).unwrap_or_else(|| {
                    let message = "a path to go on at is no header value";
                    let refusal = Misconfigured::new(message).into();
                    self.refused(refusal, &request.headers, None, answer)
                })
            }
            Err(refusal) => self.refused(refusal, &request.headers, Some(&next), answer),
        }
    }

    /// The flow that this is the end of, and what the provider says.
    fn flow(
        &self,
        user: Option<&CurrentSubject>,
        request: &Parts,
        answer: &mut HeaderMap,
    ) -> Result<(Flow, Parameters), Refusal> {
        if SealedCookies::are_too_many(&request.headers) {
            return Err(ConnectFailureKind::TooLarge.into());
        }
        let query = request.uri.query().unwrap_or_default();
        let said = Parameters::parse(query.as_bytes()).ok_or(ConnectFailureKind::InvalidState)?;
        let state = said.get("state").ok_or(ConnectFailureKind::InvalidState)?;
        let (name, cookies, now) = (self.provider.name(), &self.shared.cookies, self.now());
        let flow = flow::take(state, name, cookies, &request.headers, now, answer)
            .ok_or(ConnectFailureKind::InvalidState)?;
        // Whoever kept a copy of the cookie has not kept the state alive.
        if !self.shared.states.spend(state, flow.ends_at(), now) {
            return Err(ConnectFailureKind::InvalidState.into());
        }
        if !self.provider.may_answer_as(said.get("iss")) {
            return Err(ConnectFailureKind::IssuerMismatch.into());
        }
        let is_theirs = flow.subject.as_deref() == user.map(CurrentSubject::as_str);
        // A sign-in in one tab does not spoil another's that was begun before it.
        if !is_theirs && flow.subject.is_some() {
            return Err(ConnectFailureKind::OtherUser.into());
        }
        // It was begun where users do sign in by it, as by an instance that is set up otherwise.
        if flow.subject.is_none() && !self.provider.signs_in {
            return Err(ConnectFailureKind::InvalidState.into());
        }
        Ok((flow, said))
    }

    async fn finish(
        &self,
        user: Option<CurrentSubject>,
        state: TokenState,
        request: &Parts,
        (flow, said): (Flow, Parameters),
        answer: &mut HeaderMap,
    ) -> Result<(), Refusal> {
        if let Some(error) = said.get("error") {
            return Err(told(error).into());
        }
        let code = said.get("code").filter(|code| code.len() <= MAX_CODE);
        let code = code.ok_or(ConnectFailureKind::ProviderError)?.to_owned();
        let connects = user.filter(|_| flow.subject.is_some());
        let is_sign_in = connects.is_none();
        // A task of its own: who closes the tab now has spent the code all the same. The tokens
        // that it brings must not be lost, nor kept for somebody who has left.
        let (routes, manager) = (self.clone(), state.manager().clone());
        let work = tokio::spawn(async move {
            let redeemed = routes.redeem(&flow, code).await?;
            let who = routes
                .connect(&manager, connects.as_ref(), redeemed)
                .await?;
            let sign_ins = routes.shared.sign_ins.clone();
            let user = connects.unwrap_or_else(|| CurrentSubject::new(who.clone(), sign_ins));
            let stays = routes.stays(&manager, &user).await?;
            Ok::<_, Refusal>(stays.then_some(who))
        });
        let who = work
            .await
            .map_err(|_| Misconfigured::new("an authorization ended in a panic"))??;
        match who {
            Some(who) if is_sign_in => Ok(self.shared.source.begin(request, answer, who).await?),
            Some(_) => Ok(()),
            None => {
                let reader = Reader::of(&request.headers);
                Err(state.login(LoginReason::Anonymous, None, reader).into())
            }
        }
    }

    /// Whether they have not left everywhere meanwhile. If they have, what was connected for
    /// them goes, too: their logout may have come too early to see it.
    async fn stays(&self, manager: &TokenManager, user: &CurrentSubject) -> Result<bool, Error> {
        let stays = user.is_signed_in().await?;
        if !stays {
            let key = user.grant_key(self.provider.name());
            manager.disconnect(&key).await?;
        }
        Ok(stays)
    }

    /// The code for tokens, and whose account they are of.
    async fn redeem(
        &self,
        flow: &Flow,
        code: String,
    ) -> Result<(TokenResponse, Option<Identity>), Refusal> {
        let provider = &self.provider;
        let asked =
            CodeRequest::new(code, self.redirect_uri()).code_verifier(flow.code_verifier.as_str());
        let asked = provider
            .resources
            .iter()
            .fold(asked, |asked, resource| asked.resource(resource));
        let tokens = provider.exchange.exchange(asked).await.map_err(refused)?;
        let Some(openid) = &provider.openid else {
            return Ok((tokens, None));
        };
        let token = tokens.issued_id_token();
        let token = token.ok_or(ConnectFailureKind::IdTokenRefused)?.expose();
        let checked = openid
            .check_id_token(provider.exchange.client_id(), token, &flow.nonce)
            .await;
        let identity = checked.map_err(|error| match error.kind() {
            OpenIdErrorKind::Unavailable => ConnectFailureKind::ProviderUnavailable,
            _ => ConnectFailureKind::IdTokenRefused,
        })?;
        let tokens = tokens
            .metadata(ISSUER, identity.issuer())
            .metadata(SUBJECT, identity.subject());
        Ok((tokens, Some(identity)))
    }

    /// Whose they are, with their tokens in the store.
    async fn connect(
        &self,
        manager: &TokenManager,
        user: Option<&CurrentSubject>,
        (tokens, identity): (TokenResponse, Option<Identity>),
    ) -> Result<SignIn, Refusal> {
        let subject = identity.as_ref().map(|identity| {
            let account = self.account(identity.issuer(), identity.subject());
            (self.shared.subject_of)(&account)
        });
        let who = match (user, subject) {
            (None, None) => {
                let message = "nobody signs in by a provider without id tokens";
                return Err(Misconfigured::new(message).into());
            }
            (Some(user), Some(subject)) if self.provider.signs_in && user.as_str() != subject => {
                self.give_back(manager, &subject, &tokens).await;
                return Err(ConnectFailureKind::OtherAccount.into());
            }
            (Some(user), _) => SignIn::new(user.as_str()),
            (None, Some(subject)) => match self.admit(&subject, identity.as_ref()).await {
                Ok(who) => who,
                Err(rejection) => {
                    self.give_back(manager, &subject, &tokens).await;
                    return Err(rejection.into());
                }
            },
        };
        let key = tower_token::GrantKey::new(self.provider.name(), who.subject());
        if tokens.issued_refresh_token().is_some()
            || !self.has_better(manager, &who, identity).await?
        {
            manager.connect(&key, tokens).await?;
        }
        Ok(who)
    }

    /// Lets somebody in.
    async fn admit(
        &self,
        subject: &str,
        identity: Option<&Identity>,
    ) -> Result<SignIn, TokenRejection> {
        let who = SignIn::new(subject).checked()?;
        if let (Some(told), Some(identity)) = (&self.shared.on_sign_in, identity) {
            told(subject.to_owned(), identity.clone()).await?;
        }
        match &self.shared.sign_ins {
            Some(sign_ins) => sign_ins.admit(who.subject()).await,
            None => Ok(who),
        }
    }

    /// Whether the account's grant can be refreshed as it is. An answer without a refresh token,
    /// as providers give to those who agreed before, must not take its place.
    async fn has_better(
        &self,
        manager: &TokenManager,
        who: &SignIn,
        identity: Option<Identity>,
    ) -> Result<bool, Error> {
        let Some(identity) = identity else {
            return Ok(false);
        };
        let held = manager.grants(who.subject()).await?;
        Ok(held.iter().any(|grant| {
            let metadata = |name: &str| grant.metadata().get(name).map(String::as_str);
            grant.key().provider() == self.provider.name()
                && grant.key().connection().is_none()
                && grant.state() == GrantState::Active
                && grant.can_refresh()
                && metadata(ISSUER) == Some(identity.issuer())
                && metadata(SUBJECT) == Some(identity.subject())
        }))
    }

    /// Tokens that nobody keeps are no use to anybody, and end by themselves. They are ended now
    /// if their user has none there that live: many providers end all of an account's at once.
    async fn give_back(&self, manager: &TokenManager, subject: &str, tokens: &TokenResponse) {
        let held = manager.grants(subject).await;
        let is_alive = |grant: &Grant| {
            grant.key().provider() == self.provider.name() && grant.state() == GrantState::Active
        };
        if held.is_ok_and(|held| !held.iter().any(is_alive)) {
            // With the refresh token goes what was issued beside it (RFC 7009 section 2.1).
            let token = tokens.issued_refresh_token();
            if let Some(token) = token.or(tokens.issued_access_token()) {
                let _ = self.provider.exchange.revoke(token).await;
            }
        }
    }
}

/// What the provider's error means (RFC 6749 section 4.1.2.1, OpenID Connect Core section
/// 3.1.2.6). What it says beside the code is anybody's text, and is shown to nobody.
fn told(error: &str) -> ConnectFailureKind {
    match error {
        "access_denied"
        | "consent_required"
        | "interaction_required"
        | "login_required"
        | "account_selection_required" => ConnectFailureKind::Denied,
        "temporarily_unavailable" | "server_error" => ConnectFailureKind::ProviderUnavailable,
        _ => ConnectFailureKind::ProviderError,
    }
}

fn refused(error: Error) -> Refusal {
    match error.kind() {
        ErrorKind::CodeRefused => ConnectFailureKind::CodeRefused.into(),
        ErrorKind::InvalidResponse => ConnectFailureKind::ProviderError.into(),
        ErrorKind::TokenService | ErrorKind::Timeout => {
            ConnectFailureKind::ProviderUnavailable.into()
        }
        _ => TokenRejection::from(error).into(),
    }
}
