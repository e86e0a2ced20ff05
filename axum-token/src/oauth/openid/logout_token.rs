//! What a provider says has ended (OpenID Connect Back-Channel Logout 1.0 section 2.6).

use std::time::Duration;

use tower_token::Timestamp;

use super::jws::{Expected, Jws, Refusal, ensure};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long after it was issued a token is accepted.
const MAX_AGE: Duration = Duration::from_secs(300);
/// It is kept for as long as the token is good, in bytes.
const MAX_ID: usize = 512;
/// How far the provider's clock may be ahead.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// Whose sessions have ended. One that names a session alone (`sid`) names nobody.
pub(crate) struct LogoutToken {
    pub(crate) subject: Option<String>,
    /// Names this token and no other.
    pub(crate) jti: String,
    /// From then on the token is refused in any case, so that its `jti` can be forgotten.
    pub(crate) expires_at: Timestamp,
}

pub(super) fn check(expected: &Expected<'_>, token: &str) -> Result<LogoutToken, Refusal> {
    let token = Jws::parse(token)?;
    ensure(
        token.is_typed(&["jwt", "logout+jwt"]),
        "it is of another type",
    )?;
    ensure(
        token.text("iss")? == Some(expected.issuer.as_str()),
        "it is of another issuer",
    )?;
    ensure(token.is_for(expected.client_id), "it is for another client")?;
    ensure(is_one(&token), "it does not say that anything has ended")?;
    // An id token has one, which keeps either from passing for the other.
    ensure(!token.claims.contains_key("nonce"), "it has a nonce")?;
    let subject = token.text("sub")?.map(str::to_owned);
    ensure(
        subject.is_some() || token.text("sid")?.is_some(),
        "it names neither a user nor a session",
    )?;
    let jti = token.text("jti")?.ok_or(Refusal::Because("it has no id"))?;
    ensure(jti.len() <= MAX_ID, "its id is too long")?;
    let issued_at = token.time("iat")?;
    let issued_at = issued_at.ok_or(Refusal::Because("it does not say when it was issued"))?;
    ensure(issued_at <= expected.now + SKEW, "it is from the future")?;
    let latest = issued_at + MAX_AGE;
    let expires_at = token.time("exp")?.map_or(latest, |at| at.min(latest));
    ensure(expected.now < expires_at, "it has expired")?;
    // Last, as only a token that is right in everything else is worth asking for keys.
    token.verify(expected)?;
    Ok(LogoutToken {
        subject,
        jti: jti.to_owned(),
        expires_at,
    })
}

/// Whether it says that it is a logout token.
pub(super) fn is_one(token: &Jws<'_>) -> bool {
    let events = token.claims.get("events");
    events
        .and_then(|events| events.get(EVENT))
        .is_some_and(serde_json::Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::OpenIdErrorKind;
    use super::super::testing::{ISSUER, Provider, Signer, changed, unsigned};
    use super::*;

    /// In seconds; the tokens are checked then.
    const NOW: u64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "iss": ISSUER,
            "aud": "me",
            "sub": "ada",
            "sid": "session-7",
            "jti": "id-1",
            "iat": NOW - 10,
            "exp": NOW + 110,
            "events": { EVENT: {} },
        })
    }

    fn seconds(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1_000)
    }

    async fn checked(token: &str) -> Result<LogoutToken, OpenIdErrorKind> {
        let openid = Provider::new().discovered().await;
        let checked = openid.check_logout_token("me", token, seconds(NOW)).await;
        checked.map_err(|error| {
            assert!(!format!("{error} {error:?}").contains("ada"));
            error.kind()
        })
    }

    #[tokio::test]
    async fn it_says_which_sessions_have_ended() {
        let key = Signer::new(1);
        let token = checked(&key.sign(&claims())).await.unwrap();
        assert_eq!(token.subject.as_deref(), Some("ada"));
        assert_eq!(token.jti, "id-1");
        assert_eq!(token.expires_at, seconds(NOW + 110));
        for (change, expires_at) in [
            (json!({ "exp": null }), NOW + 290),
            (json!({ "exp": NOW + 9_000 }), NOW + 290),
            (json!({ "iat": NOW + 59 }), NOW + 110),
            (json!({ "iat": NOW - 299 }), NOW + 1),
            (json!({ "sid": null }), NOW + 110),
            (json!({ "sub": null, "aud": ["other", "me"] }), NOW + 110),
        ] {
            let token = checked(&key.sign(&changed(claims(), &change))).await;
            assert_eq!(token.unwrap().expires_at, seconds(expires_at), "{change}");
        }
    }

    #[tokio::test]
    async fn each_claim_has_to_be_right() {
        for change in [
            json!({ "iss": "https://evil.example" }),
            json!({ "iss": null }),
            json!({ "aud": "other" }),
            json!({ "aud": ["other"] }),
            json!({ "aud": null }),
            json!({ "iat": NOW - 301 }),
            json!({ "iat": NOW + 61 }),
            json!({ "iat": null }),
            json!({ "iat": "now" }),
            json!({ "exp": NOW }),
            json!({ "exp": -1 }),
            json!({ "jti": null }),
            json!({ "jti": "" }),
            json!({ "jti": 7 }),
            json!({ "events": null }),
            json!({ "events": {} }),
            json!({ "events": { EVENT: true } }),
            json!({ "events": [EVENT] }),
            json!({ "events": { "http://schemas.openid.net/event/other": {} } }),
            json!({ "nonce": "n" }),
            json!({ "sub": null, "sid": null }),
            json!({ "sub": 7 }),
        ] {
            let token = Signer::new(1).sign(&changed(claims(), &change));
            let refused = checked(&token).await.err();
            assert_eq!(refused, Some(OpenIdErrorKind::Refused), "{change}");
        }
    }

    #[tokio::test]
    async fn the_signature_has_to_be_one_of_the_provider() {
        let key = Signer::new(1);
        let good = key.sign(&claims());
        let (_, signature) = good.rsplit_once('.').unwrap();
        let unsigned = unsigned(&json!({ "alg": "none" }), &claims());
        for forged in [
            format!("{unsigned}."),
            format!("{unsigned}.{signature}"),
            key.hmac_by_public_key(&claims()),
            Signer::new(2).sign(&claims()),
            Signer::named(2, 1).sign(&claims()),
        ] {
            let refused = checked(&forged).await.err();
            assert_eq!(refused, Some(OpenIdErrorKind::Refused), "{forged}");
        }
    }

    #[tokio::test]
    async fn an_algorithm_that_is_not_advertised_is_not_taken() {
        let provider = Provider::new();
        provider.change_document(&json!({ "id_token_signing_alg_values_supported": ["RS256"] }));
        let openid = provider.discovered().await;
        let token = Signer::new(1).sign(&claims());
        let checked = openid.check_logout_token("me", &token, seconds(NOW)).await;
        assert_eq!(checked.err().unwrap().kind(), OpenIdErrorKind::Refused);
        assert_eq!(provider.asked_for_keys(), 1);
    }

    #[tokio::test]
    async fn the_key_is_the_one_that_the_header_names() {
        let provider = Provider::new();
        provider.publish(&[&Signer::new(1), &Signer::new(2)]);
        let openid = provider.discovered().await;
        for (key, accepted) in [(Signer::new(2), true), (Signer::named(2, 1), false)] {
            let token = key.sign(&claims());
            let checked = openid.check_logout_token("me", &token, seconds(NOW)).await;
            assert_eq!(checked.is_ok(), accepted);
        }
    }

    #[tokio::test]
    async fn the_header_has_to_be_of_a_logout_token() {
        let key = Signer::new(1);
        for (change, accepted) in [
            (json!({}), true),
            (json!({ "typ": "JWT" }), true),
            (json!({ "typ": "logout+jwt" }), true),
            (json!({ "typ": "application/logout+JWT" }), true),
            (json!({ "typ": "at+jwt" }), false),
            (json!({ "typ": "" }), false),
            (json!({ "kid": null }), true),
            (json!({ "crit": ["evil"] }), false),
        ] {
            let token = key.sign_with(&changed(key.header(), &change), &claims());
            assert_eq!(checked(&token).await.is_ok(), accepted, "{change}");
        }
    }

    #[tokio::test]
    async fn a_new_key_is_found_and_a_token_that_is_wrong_asks_for_none() {
        let provider = Provider::new();
        let openid = provider.discovered().await;
        let new = Signer::new(2);
        provider.publish(&[&new]);
        let check = async |token: String| {
            let checked = openid.check_logout_token("me", &token, seconds(NOW)).await;
            checked.is_ok()
        };
        assert!(!check(new.sign(&changed(claims(), &json!({ "aud": "other" })))).await);
        assert_eq!(provider.asked_for_keys(), 1);
        assert!(check(new.sign(&claims())).await);
        assert_eq!(provider.asked_for_keys(), 2);
    }

    #[tokio::test]
    async fn neither_an_id_token_nor_a_logout_token_passes_for_the_other() {
        use tower_token::{Clock, SystemClock};
        let now = SystemClock::new().now();
        let iat = now.as_unix_millis() / 1_000;
        let both = json!({ "iss": ISSUER, "aud": "me", "sub": "ada", "iat": iat, "exp": iat + 60 });
        let id = json!({ "nonce": "n", "sid": "session-7", "jti": "id-1" });
        let logout = json!({ "jti": "id-1", "events": { EVENT: {} } });
        let sign = |change| Signer::new(1).sign(&changed(both.clone(), change));
        let (id, logout) = (sign(&id), sign(&logout));
        let openid = Provider::new().discovered().await;
        let signs_in = async |token: &str, nonce| {
            let checked = openid.check_id_token("me", token, nonce).await;
            checked.is_ok()
        };
        let ends = async |token: &str| {
            let checked = openid.check_logout_token("me", token, now).await;
            checked.is_ok()
        };
        assert!(signs_in(&id, "n").await && !ends(&id).await);
        assert!(ends(&logout).await && !signs_in(&logout, "n").await);
        assert!(!signs_in(&logout, "").await);
    }
}
