//! A signed token in its compact form (RFC 7515 section 3.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::CoreJwsSigningAlgorithm;
use openidconnect::{IssuerUrl, JsonWebKey, JsonWebKeyId};
use serde::Deserialize;
use serde_json::{Map, Value};
use tower_token::Timestamp;

use super::keys::KeySet;

/// What a token has to agree with.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a IssuerUrl,
    pub(super) client_id: &'a str,
    /// All of them asymmetric.
    pub(super) algorithms: &'a [CoreJwsSigningAlgorithm],
    pub(super) keys: &'a KeySet,
    pub(super) now: Timestamp,
}

/// Why a token is not accepted. Nothing of the token is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// None of the keys has signed it: perhaps a newer one did.
    Signature,
    Because(&'static str),
}

impl Refusal {
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Signature => "no key of the provider has signed it",
            Self::Because(why) => why,
        }
    }
}

/// Turns a condition into a refusal.
pub(super) fn ensure(holds: bool, otherwise: &'static str) -> Result<(), Refusal> {
    if holds {
        Ok(())
    } else {
        Err(Refusal::Because(otherwise))
    }
}

pub(super) struct Jws<'a> {
    header: Header,
    pub(super) claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<JsonWebKeyId>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Jws<'a> {
    /// Reads a token. Nothing of it is true before [`verify`](Self::verify).
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        Self::read(token).ok_or(Refusal::Because("it is no signed token"))
    }

    fn read(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// Whether its type is one of these, which are in lower case, or not said.
    pub(super) fn is_typed(&self, types: &[&str]) -> bool {
        self.header.typ.as_deref().is_none_or(|typ| {
            let typ = typ.to_ascii_lowercase();
            types.contains(&typ.strip_prefix("application/").unwrap_or(&typ))
        })
    }

    /// The claim, if it is there; it has to be a text that is not empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(Refusal::Because("a claim that should be a text is none")),
        }
    }

    /// The claim, if it is there; it has to be a time (RFC 7519 section 2, NumericDate).
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let Some(claim) = self.claims.get(name) else {
            return Ok(None);
        };
        match claim.as_f64() {
            Some(seconds) if (0.0..1e12).contains(&seconds) => Ok(Some(
                Timestamp::from_unix_millis((seconds * 1_000.0) as u64),
            )),
            _ => Err(Refusal::Because("a claim that should be a time is none")),
        }
    }

    /// Whether it is for the client, among others perhaps.
    pub(super) fn is_for(&self, client_id: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::Array(clients)) => clients.iter().any(|client| client == client_id),
            Some(client) => client == client_id,
            None => false,
        }
    }

    /// Whether a key of the provider has signed it.
    pub(super) fn verify(&self, expected: &Expected<'_>) -> Result<(), Refusal> {
        let Header { alg, kid, crit, .. } = &self.header;
        ensure(
            expected.algorithms.contains(alg),
            "it is not signed by an algorithm of the provider",
        )?;
        // RFC 7515 section 4.1.11: what has to be understood is not.
        ensure(crit.is_none(), "its header wants what is not known here")?;
        let keys = expected.keys.keys().iter();
        let signed = keys
            .filter(|key| kid.is_none() || kid.as_ref() == key.key_id())
            .any(|key| {
                key.verify_signature(alg, self.signed.as_bytes(), &self.signature)
                    .is_ok()
            });
        if signed {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}
