//! The key that id tokens are signed by, made at the start.

use std::error::Error;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use serde_json::{Value, json};

pub(super) const ALGORITHM: &str = "EdDSA";
const KEY_ID: &str = "1";

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410 section 7).
const PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

pub(super) struct Keys(CoreEdDsaPrivateSigningKey);

impl Keys {
    pub(super) fn generate() -> Result<Self, Box<dyn Error>> {
        let mut der = PKCS8.to_vec();
        der.resize(PKCS8.len() + 32, 0);
        getrandom::fill(&mut der[PKCS8.len()..])?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(der)
        );
        let id = JsonWebKeyId::new(KEY_ID.to_owned());
        Ok(Self(CoreEdDsaPrivateSigningKey::from_ed25519_pem(
            &pem,
            Some(id),
        )?))
    }

    /// The JWK set (RFC 7517 section 5).
    pub(super) fn public(&self) -> Value {
        let keys = CoreJsonWebKeySet::new(vec![self.0.as_verification_key()]);
        serde_json::to_value(keys).unwrap_or_default()
    }

    /// A signed JWT of the type `typ`.
    pub(super) fn sign(&self, typ: &str, claims: &Value) -> Result<String, Box<dyn Error>> {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "typ": typ, "alg": ALGORITHM, "kid": KEY_ID });
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self
            .0
            .sign(&CoreJwsSigningAlgorithm::EdDsa, signed.as_bytes())?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(format!("{signed}.{signature}"))
    }
}
