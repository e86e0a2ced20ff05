//! Who an id token says signed in (OpenID Connect Core 1.0 section 3.1.3.7).

use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use openidconnect::core::CoreIdToken;
use openidconnect::{
    ClaimsVerificationError, ClientId, IdTokenVerifier, Nonce, SignatureVerificationError,
};
use serde_json::Value;

use super::identity::Identity;
use super::jws::{Expected, Jws, Refusal, ensure};
use super::logout_token::{self, SKEW};

pub(super) fn check(
    expected: &Expected<'_>,
    token: &str,
    nonce: &str,
) -> Result<Identity, Refusal> {
    verify(expected, token, nonce)?;
    let token = Jws::parse(token)?;
    let party = token.text("azp")?;
    ensure(
        party.is_none_or(|party| party == expected.client_id),
        "it was issued to another client",
    )?;
    let audiences = token.claims.get("aud").and_then(Value::as_array);
    ensure(
        party.is_some() || audiences.is_none_or(|clients| clients.len() == 1),
        "it is for several clients, and does not say for which it was issued",
    )?;
    ensure(!logout_token::is_one(&token), "it is a logout token")?;
    let subject = token
        .text("sub")?
        .ok_or(Refusal::Because("it names no user"))?;
    Ok(Identity::new(
        expected.issuer.to_string(),
        subject.to_owned(),
        token.claims,
    ))
}

/// Signature, issuer, audience, times and nonce, by the library.
fn verify(expected: &Expected<'_>, token: &str, nonce: &str) -> Result<(), Refusal> {
    // Its errors quote the token, so they go no further.
    let token = CoreIdToken::from_str(token).map_err(|_| Refusal::Because("it is no id token"))?;
    let client = ClientId::new(expected.client_id.to_owned());
    let now = UNIX_EPOCH + Duration::from_millis(expected.now.as_unix_millis());
    let latest = (expected.now + SKEW).as_unix_millis();
    let verifier =
        IdTokenVerifier::new_public_client(client, expected.issuer.clone(), expected.keys.clone())
            .set_allowed_algs(expected.algorithms.iter().cloned())
            // What the others may do is said by `azp`.
            .set_other_audience_verifier_fn(|_| true)
            .set_time_fn(move || now.into())
            .set_issue_time_verifier_fn(move |issued| {
                let issued = u64::try_from(issued.timestamp_millis()).unwrap_or(0);
                if issued > latest {
                    Err(String::new())
                } else {
                    Ok(())
                }
            });
    match token.claims(&verifier, &Nonce::new(nonce.to_owned())) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &ClaimsVerificationError) -> Refusal {
    Refusal::Because(match error {
        ClaimsVerificationError::SignatureVerification(error) => match error {
            SignatureVerificationError::NoMatchingKey
            | SignatureVerificationError::CryptoError(_) => return Refusal::Signature,
            SignatureVerificationError::AmbiguousKeyId(_) => {
                "it does not say which key of the provider has signed it"
            }
            _ => "it is not signed by an algorithm of the provider",
        },
        ClaimsVerificationError::Expired(_) => {
            "it has expired, or is from the future: is the clock right?"
        }
        ClaimsVerificationError::InvalidAudience(_) => "it is for another client",
        ClaimsVerificationError::InvalidIssuer(_) => "it is of another issuer",
        ClaimsVerificationError::InvalidNonce(_) => "it is of another sign-in",
        _ => "it is not of a kind that is accepted here",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tower_token::{Clock, SystemClock};

    use super::super::testing::{ISSUER, Provider, Signer, changed, unsigned};
    use super::super::{OpenIdError, OpenIdErrorKind};
    use super::*;

    fn now() -> u64 {
        SystemClock::new().now().as_unix_millis() / 1_000
    }

    fn claims() -> Value {
        json!({
            "iss": ISSUER,
            "aud": "me",
            "sub": "ada",
            "nonce": "the nonce",
            "iat": now(),
            "exp": now() + 300,
            "sid": "session-7",
            "email": "ada@example.com",
            "email_verified": "true",
            "updated_at": "2026-01-01T00:00:00Z",
            "groups": ["staff"],
        })
    }

    async fn checked(token: &str) -> Result<Identity, OpenIdError> {
        let openid = Provider::new().discovered().await;
        openid.check_id_token("me", token, "the nonce").await
    }

    async fn refused(token: &str) -> String {
        let error = checked(token).await.unwrap_err();
        assert_eq!(error.kind(), OpenIdErrorKind::Refused, "{token}");
        let printed = format!("{error} {error:?}");
        for claim in ["ada", "session-7", "nonce\"", "evil"] {
            assert!(!printed.contains(claim), "{printed}");
        }
        error.to_string()
    }

    #[tokio::test]
    async fn it_says_who_signed_in() {
        let several = json!({ "aud": ["other", "me"], "azp": "me" });
        for change in [json!({}), json!({ "aud": ["me"] }), several] {
            let token = Signer::new(1).sign(&changed(claims(), &change));
            let who = checked(&token).await.unwrap();
            assert_eq!((who.issuer(), who.subject()), (ISSUER, "ada"));
            assert_eq!(who.claim("sid"), Some(&"session-7".into()));
            assert_eq!(who.claim("groups"), Some(&json!(["staff"])));
            assert_eq!(who.claim("email_verified"), Some(&json!("true")));
            assert_eq!(who.claim("name"), None);
            assert_eq!(format!("{who:?}"), "Identity { .. }");
        }
    }

    #[tokio::test]
    async fn each_claim_has_to_be_right() {
        let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
        for change in [
            json!({ "iss": "https://evil.example" }),
            json!({ "iss": "https://id.example/" }),
            json!({ "iss": null }),
            json!({ "aud": "evil" }),
            json!({ "aud": [] }),
            json!({ "aud": null }),
            json!({ "aud": ["me", "evil"] }),
            json!({ "aud": ["me", "evil"], "azp": "evil" }),
            json!({ "azp": "evil" }),
            json!({ "exp": now() - 1 }),
            json!({ "exp": null }),
            json!({ "iat": now() + 90 }),
            json!({ "iat": null }),
            json!({ "nonce": "evil" }),
            json!({ "nonce": "the nonce " }),
            json!({ "nonce": null }),
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "events": logout }),
        ] {
            refused(&Signer::new(1).sign(&changed(claims(), &change))).await;
        }
    }

    #[tokio::test]
    async fn the_signature_has_to_be_one_of_the_provider() {
        let key = Signer::new(1);
        let good = key.sign(&claims());
        let unsigned = |alg| unsigned(&json!({ "alg": alg, "kid": "1" }), &claims());
        let (head, signature) = good.rsplit_once('.').unwrap();
        let other = key.sign(&changed(claims(), &json!({ "sub": "eve" })));
        let (other, _) = other.rsplit_once('.').unwrap();
        for forged in [
            format!("{}.", unsigned("none")),
            format!("{}.{signature}", unsigned("none")),
            format!("{}.{signature}", unsigned("RS256")),
            format!("{}.{signature}", unsigned("evil")),
            format!("{head}."),
            format!("{other}.{signature}"),
            key.hmac_by_public_key(&claims()),
            Signer::new(2).sign(&claims()),
            Signer::named(2, 1).sign(&claims()),
            String::new(),
            String::from(".."),
            format!("{good}.x"),
        ] {
            refused(&forged).await;
        }
    }

    #[tokio::test]
    async fn the_header_has_to_be_of_a_token_that_is_known() {
        let key = Signer::new(1);
        for (change, accepted) in [
            (json!({}), true),
            (json!({ "typ": "JWT" }), true),
            (json!({ "kid": null }), true),
            (json!({ "typ": "at+jwt" }), false),
            (json!({ "typ": "logout+jwt" }), false),
            (json!({ "crit": ["evil"], "evil": 1 }), false),
        ] {
            let token = key.sign_with(&changed(key.header(), &change), &claims());
            assert_eq!(checked(&token).await.is_ok(), accepted, "{change}");
        }
    }

    #[tokio::test]
    async fn an_algorithm_that_is_not_advertised_is_not_taken() {
        let provider = Provider::new();
        provider.change_document(&json!({ "id_token_signing_alg_values_supported": ["RS256"] }));
        let openid = provider.discovered().await;
        let token = Signer::new(1).sign(&claims());
        let checked = openid.check_id_token("me", &token, "the nonce").await;
        assert_eq!(checked.unwrap_err().kind(), OpenIdErrorKind::Refused);
        assert_eq!(provider.asked_for_keys(), 1);
    }

    #[tokio::test]
    async fn a_token_without_end_is_refused_unread() {
        let long = json!({ "groups": "x".repeat(64 << 10) });
        let token = Signer::new(1).sign(&changed(claims(), &long));
        assert!(refused(&token).await.contains("too long"));
    }
}
