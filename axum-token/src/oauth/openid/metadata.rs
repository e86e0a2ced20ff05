//! What a provider says about itself (OpenID Connect Discovery 1.0 section 3).

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType,
    CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm,
    CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, IssuerUrl, JwsSigningAlgorithm, ProviderMetadata};
use serde::{Deserialize, Serialize};
use tower_token::{ErrorKind, MetadataClient};

use super::error::OpenIdError;

/// What is used of it.
pub(super) struct Metadata {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) revocation_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    pub(super) jwks_uri: String,
    pub(super) sends_iss: bool,
    /// What its tokens may be signed by.
    pub(super) algorithms: Vec<CoreJwsSigningAlgorithm>,
}

type Document = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// What other specifications have added to the document.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct More {
    revocation_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

pub(super) async fn get(
    issuer: &str,
    client: &MetadataClient,
) -> Result<(IssuerUrl, Metadata), OpenIdError> {
    let problem = |why: &str| OpenIdError::misconfigured(format!("the provider {issuer:?}: {why}"));
    if issuer.contains(['?', '#']) {
        return Err(problem("an issuer has no query and no fragment"));
    }
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    let url = format!("{base}/.well-known/openid-configuration");
    let document = client.get(&url).await.map_err(not_had)?;
    let document: Document = serde_json::from_slice(&document).map_err(|error| {
        problem("what it publishes is not a document of OpenID Connect Discovery").because(error)
    })?;
    if document.issuer().as_str() != issuer {
        return Err(problem(
            "its document is of another issuer: configure exactly the one that it names",
        ));
    }
    let metadata = Metadata::of(&document).map_err(problem)?;
    if issuer.starts_with("https:") && !metadata.urls().all(|url| url.starts_with("https://")) {
        return Err(problem("it names an endpoint that is not https"));
    }
    Ok((document.issuer().clone(), metadata))
}

/// Why a document of the provider could not be had.
pub(super) fn not_had(error: tower_token::Error) -> OpenIdError {
    let told = match error.kind() {
        ErrorKind::Config => OpenIdError::misconfigured(
            "the provider's documents must be at https, or at http on loopback",
        ),
        _ => OpenIdError::unavailable(
            "the provider's documents could not be had: check its issuer, or try again",
        ),
    };
    told.because(error)
}

impl Metadata {
    fn of(document: &Document) -> Result<Self, &'static str> {
        let token_endpoint = document
            .token_endpoint()
            .ok_or("it has no token endpoint, so it knows no authorization codes")?;
        let advertised = document.id_token_signing_alg_values_supported();
        let algorithms: Vec<_> = advertised
            .iter()
            .filter(|by| is_signature(by))
            .cloned()
            .collect();
        if algorithms.is_empty() {
            return Err("it signs its id tokens by no algorithm that can be checked here");
        }
        let more = document.additional_metadata();
        Ok(Self {
            authorization_endpoint: document.authorization_endpoint().to_string(),
            token_endpoint: token_endpoint.to_string(),
            revocation_endpoint: more.revocation_endpoint.clone(),
            end_session_endpoint: more.end_session_endpoint.clone(),
            jwks_uri: document.jwks_uri().to_string(),
            sends_iss: more.authorization_response_iss_parameter_supported,
            algorithms,
        })
    }

    fn urls(&self) -> impl Iterator<Item = &str> {
        let optional = [&self.revocation_endpoint, &self.end_session_endpoint];
        [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.jwks_uri,
        ]
        .into_iter()
        .chain(optional.into_iter().flatten())
        .map(String::as_str)
    }
}

/// Whether only the provider can sign by it: not by a secret that the client has, too.
fn is_signature(algorithm: &CoreJwsSigningAlgorithm) -> bool {
    *algorithm != CoreJwsSigningAlgorithm::None && !algorithm.uses_shared_secret()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tower::service_fn;
    use tower_token::{CodeRequest, Secret};

    use super::super::testing::{ISSUER, Provider};
    use super::super::{OpenId, OpenIdErrorKind};

    async fn discovered(change: &Value) -> Result<OpenId, OpenIdErrorKind> {
        let provider = Provider::new();
        provider.change_document(change);
        let found = OpenId::discover_with(ISSUER, provider.client()).await;
        found.map_err(|error| error.kind())
    }

    /// Where an exchange and a revocation go.
    async fn used_endpoints(openid: &OpenId) -> Vec<String> {
        let used = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&used);
        let transport = service_fn(move |request: Request<Bytes>| {
            seen.lock().push(request.uri().to_string());
            let answer = Bytes::from_static(br#"{"access_token":"t"}"#);
            ready(Ok::<_, Infallible>(Response::new(Full::new(answer))))
        });
        let service = openid
            .provider("id")
            .public_client("me")
            .transport(transport);
        let exchange = service.code_exchange().unwrap();
        assert_eq!(exchange.provider(), "id");
        let request = CodeRequest::new("code", "https://app.example/callback");
        exchange.exchange(request).await.unwrap();
        exchange.revoke(&Secret::from("t")).await.unwrap();
        std::mem::take(&mut *used.lock())
    }

    #[tokio::test]
    async fn a_provider_is_what_it_says_of_itself() {
        let openid = discovered(&json!({})).await.unwrap();
        assert_eq!(openid.issuer(), ISSUER);
        assert_eq!(
            openid.authorization_endpoint(),
            "https://id.example/authorize"
        );
        assert_eq!(
            openid.end_session_endpoint(),
            Some("https://id.example/end")
        );
        assert!(openid.sends_iss());
        assert_eq!(
            used_endpoints(&openid).await,
            ["https://id.example/token", "https://id.example/revoke"]
        );

        let least = json!({
            "end_session_endpoint": null,
            "revocation_endpoint": null,
            "authorization_response_iss_parameter_supported": false,
        });
        let openid = discovered(&least).await.unwrap();
        assert_eq!(openid.end_session_endpoint(), None);
        assert!(!openid.sends_iss());
        assert_eq!(used_endpoints(&openid).await, ["https://id.example/token"]);
    }

    #[tokio::test]
    async fn what_cannot_be_relied_on_is_refused() {
        for change in [
            json!({ "issuer": "https://id.example/" }),
            json!({ "issuer": "https://evil.example" }),
            json!({ "issuer": null }),
            json!({ "token_endpoint": null }),
            json!({ "authorization_endpoint": null }),
            json!({ "authorization_endpoint": "http://id.example/authorize" }),
            json!({ "jwks_uri": "http://127.0.0.1/keys" }),
            json!({ "end_session_endpoint": "javascript:alert(1)" }),
            json!({ "id_token_signing_alg_values_supported": [] }),
            json!({ "id_token_signing_alg_values_supported": ["none", "HS256"] }),
        ] {
            let refused = discovered(&change).await.err();
            assert_eq!(refused, Some(OpenIdErrorKind::Misconfigured), "{change}");
        }
    }

    #[tokio::test]
    async fn an_issuer_is_found_or_what_to_do_is_said() {
        for (issuer, kind) in [
            ("https://nowhere.example", OpenIdErrorKind::Unavailable),
            ("http://id.example", OpenIdErrorKind::Misconfigured),
            ("https://id.example?x", OpenIdErrorKind::Misconfigured),
            ("https://id.example/#", OpenIdErrorKind::Misconfigured),
            ("", OpenIdErrorKind::Misconfigured),
        ] {
            let client = Provider::new().client();
            let error = OpenId::discover_with(issuer, client).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{issuer}");
        }
    }
}
