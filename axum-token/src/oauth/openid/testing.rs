//! A provider whose documents, keys and tokens are made here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::service_fn;
use tower_token::MetadataClient;

use super::OpenId;

pub(super) const ISSUER: &str = "https://id.example";

#[derive(Clone)]
pub(super) struct Provider(Arc<Published>);

struct Published {
    document: Mutex<Value>,
    /// Not there while this is `None`.
    keys: Mutex<Option<Value>>,
    asked_for_keys: AtomicUsize,
}

impl Provider {
    /// One that publishes the key `1`.
    pub(super) fn new() -> Self {
        let document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://id.example/authorize",
            "token_endpoint": "https://id.example/token",
            "revocation_endpoint": "https://id.example/revoke",
            "end_session_endpoint": "https://id.example/end",
            "jwks_uri": "https://id.example/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA", "RS256", "HS256", "none", "new"],
            "authorization_response_iss_parameter_supported": true,
        });
        let provider = Self(Arc::new(Published {
            document: Mutex::new(document),
            keys: Mutex::new(None),
            asked_for_keys: AtomicUsize::new(0),
        }));
        provider.publish(&[&Signer::new(1)]);
        provider
    }

    /// Sets members of the document, or removes those that are null.
    pub(super) fn change_document(&self, change: &Value) {
        let mut document = self.0.document.lock();
        *document = changed(document.take(), change);
    }

    pub(super) fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<_> = keys.iter().map(|key| key.0.as_verification_key()).collect();
        *self.0.keys.lock() = Some(json!({ "keys": keys }));
    }

    pub(super) fn hide_keys(&self) {
        *self.0.keys.lock() = None;
    }

    pub(super) fn asked_for_keys(&self) -> usize {
        self.0.asked_for_keys.load(Ordering::SeqCst)
    }

    pub(super) fn client(&self) -> MetadataClient {
        let published = Arc::clone(&self.0);
        MetadataClient::with_transport(service_fn(move |request: Request<Bytes>| {
            let document = match request.uri().to_string().as_str() {
                "https://id.example/.well-known/openid-configuration" => {
                    Some(published.document.lock().clone())
                }
                "https://id.example/keys" => {
                    published.asked_for_keys.fetch_add(1, Ordering::SeqCst);
                    published.keys.lock().clone()
                }
                _ => None,
            };
            async move {
                // So that others have their turn while it is on its way.
                tokio::task::yield_now().await;
                let status = if document.is_some() { 200 } else { 404 };
                let body = document.unwrap_or_default().to_string();
                Response::builder()
                    .status(status)
                    .body(Full::new(Bytes::from(body)))
            }
        }))
    }

    pub(super) async fn discovered(&self) -> OpenId {
        OpenId::discover_with(ISSUER, self.client()).await.unwrap()
    }
}

/// A key, named by a number.
pub(super) struct Signer(CoreEdDsaPrivateSigningKey, u8);

impl Signer {
    pub(super) fn new(number: u8) -> Self {
        Self::named(number, number)
    }

    /// The key of `number` under the name of another.
    pub(super) fn named(number: u8, name: u8) -> Self {
        // RFC 8410 section 7: the seed is the end of it.
        let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
        der.extend([number; 32]);
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
            STANDARD.encode(der)
        );
        let name_of_key = Some(JsonWebKeyId::new(name.to_string()));
        let key = CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, name_of_key).unwrap();
        Self(key, name)
    }

    pub(super) fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "kid": self.1.to_string() })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    pub(super) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let algorithm = CoreJwsSigningAlgorithm::EdDsa;
        let signature = self.0.sign(&algorithm, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What a forger makes who takes the public key for a shared secret.
    pub(super) fn hmac_by_public_key(&self, claims: &Value) -> String {
        let key = serde_json::to_value(self.0.as_verification_key()).unwrap();
        let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let signed = unsigned(
            &json!({ "alg": "HS256", "kid": self.1.to_string() }),
            claims,
        );
        let algorithm = CoreJwsSigningAlgorithm::HmacSha256;
        let mac = CoreHmacKey::new(public).sign(&algorithm, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.unwrap()))
    }
}

/// A token without its signature.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// `base` with members set, or removed where they are null.
pub(super) fn changed(mut base: Value, change: &Value) -> Value {
    let members = base.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    base
}
