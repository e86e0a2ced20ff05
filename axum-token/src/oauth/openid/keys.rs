//! The provider's keys, which it may change at any time (OpenID Connect Core 1.0 section 10.1.1).

use std::sync::Arc;
use std::time::Duration;

use openidconnect::JsonWebKeySet;
use openidconnect::core::CoreJsonWebKey;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower_token::MetadataClient;

use super::error::OpenIdError;
use super::metadata::not_had;

/// How often they are asked for, whatever tokens come: a forged one must not make us ask.
const INTERVAL: Duration = Duration::from_secs(60);
/// After this they are asked for in any case: a key that was withdrawn does not stay good.
const MAX_AGE: Duration = Duration::from_secs(24 * 3_600);

pub(super) type KeySet = JsonWebKeySet<CoreJsonWebKey>;

pub(super) struct Keys {
    url: String,
    client: MetadataClient,
    latest: Mutex<Latest>,
    /// Locked while they are asked for: whoever wants the same waits, and takes what came.
    asked: tokio::sync::Mutex<Option<Asked>>,
}

#[derive(Clone)]
struct Latest {
    keys: Arc<KeySet>,
    since: Instant,
}

/// When they were last asked for again, and what came of it.
struct Asked {
    at: Instant,
    came: Result<(), OpenIdError>,
}

impl Keys {
    pub(super) async fn get(url: &str, client: MetadataClient) -> Result<Self, OpenIdError> {
        let latest = Latest::get(url, &client).await?;
        Ok(Self {
            url: url.to_owned(),
            client,
            latest: Mutex::new(latest),
            asked: tokio::sync::Mutex::new(None),
        })
    }

    /// Those to check a token by.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<KeySet> {
        let latest = self.latest.lock().clone();
        if latest.since.elapsed() > MAX_AGE
            && let Ok(Some(newer)) = self.newer_than(&latest.keys).await
        {
            return newer;
        }
        latest.keys
    }

    /// Others than `used`, by which a token could not be checked; `None` if the provider was
    /// asked a moment ago.
    pub(super) async fn newer_than(
        self: &Arc<Self>,
        used: &Arc<KeySet>,
    ) -> Result<Option<Arc<KeySet>>, OpenIdError> {
        let (keys, used) = (Arc::clone(self), Arc::clone(used));
        // On a task of its own: who hangs up must not take the answer from everybody else.
        let asking = tokio::spawn(async move { keys.ask(&used).await });
        asking.await.unwrap_or_else(|_| {
            let message = "the provider's keys could not be had, as the runtime is stopping";
            Err(OpenIdError::unavailable(message))
        })
    }

    async fn ask(&self, used: &Arc<KeySet>) -> Result<Option<Arc<KeySet>>, OpenIdError> {
        let mut asked = self.asked.lock().await;
        let latest = Arc::clone(&self.latest.lock().keys);
        if !Arc::ptr_eq(&latest, used) {
            return Ok(Some(latest));
        }
        if let Some(asked) = &*asked
            && asked.at.elapsed() < INTERVAL
        {
            return asked.came.clone().map(|()| None);
        }
        let came = Latest::get(&self.url, &self.client).await;
        *asked = Some(Asked {
            at: Instant::now(),
            came: came.as_ref().map(|_| ()).map_err(Clone::clone),
        });
        let latest = came?;
        *self.latest.lock() = latest.clone();
        Ok(Some(latest.keys))
    }
}

impl Latest {
    async fn get(url: &str, client: &MetadataClient) -> Result<Self, OpenIdError> {
        let document = client.get(url).await.map_err(not_had)?;
        let keys = serde_json::from_slice(&document).map_err(|error| {
            OpenIdError::misconfigured("the provider's keys are no key set (RFC 7517)")
                .because(error)
        })?;
        Ok(Self {
            keys: Arc::new(keys),
            since: Instant::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use tower_token::{Clock, SystemClock};

    use super::super::testing::{ISSUER, Provider, Signer};
    use super::super::{OpenId, OpenIdErrorKind};
    use super::{INTERVAL, MAX_AGE};

    fn claims() -> Value {
        let now = SystemClock::new().now().as_unix_millis() / 1_000;
        json!({
            "iss": ISSUER,
            "aud": "me",
            "sub": "ada",
            "nonce": "n",
            "iat": now,
            "exp": now + 300,
        })
    }

    /// Whether a token by this key is accepted, or what to do.
    async fn signs(openid: &OpenId, key: &Signer) -> Result<(), OpenIdErrorKind> {
        let checked = openid.check_id_token("me", &key.sign(&claims()), "n").await;
        checked.map(|_| ()).map_err(|error| error.kind())
    }

    const REFUSED: Result<(), OpenIdErrorKind> = Err(OpenIdErrorKind::Refused);

    #[tokio::test]
    async fn a_new_key_is_found_by_its_name_or_by_a_bad_signature() {
        for new in [Signer::new(2), Signer::named(2, 1)] {
            let provider = Provider::new();
            let openid = provider.discovered().await;
            assert_eq!(signs(&openid, &Signer::new(1)).await, Ok(()));
            assert_eq!(provider.asked_for_keys(), 1);
            provider.publish(&[&new]);
            assert_eq!(signs(&openid, &new).await, Ok(()));
            assert_eq!(provider.asked_for_keys(), 2);
            assert_eq!(signs(&openid, &Signer::new(1)).await, REFUSED);
            assert_eq!(provider.asked_for_keys(), 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_forger_makes_us_ask_once_a_minute_and_locks_nobody_out() {
        let provider = Provider::new();
        let openid = provider.discovered().await;
        let forging: Vec<_> = (0..50)
            .map(|n| {
                let openid = openid.clone();
                tokio::spawn(async move { signs(&openid, &Signer::named(n + 2, n)).await })
            })
            .collect();
        for forged in forging {
            assert_eq!(forged.await.unwrap(), REFUSED);
        }
        assert_eq!(provider.asked_for_keys(), 2);
        assert_eq!(signs(&openid, &Signer::new(1)).await, Ok(()));

        tokio::time::advance(INTERVAL - Duration::from_secs(1)).await;
        assert_eq!(signs(&openid, &Signer::new(3)).await, REFUSED);
        assert_eq!(provider.asked_for_keys(), 2);
        tokio::time::advance(Duration::from_secs(2)).await;
        provider.publish(&[&Signer::new(3)]);
        assert_eq!(signs(&openid, &Signer::new(3)).await, Ok(()));
        assert_eq!(provider.asked_for_keys(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_while_keys_are_asked_for_takes_them_from_nobody() {
        let provider = Provider::new();
        let openid = provider.discovered().await;
        let new = Signer::new(2);
        provider.publish(&[&new]);
        let forged = Signer::new(9).sign(&claims());
        let mut hanging_up = Box::pin(openid.check_id_token("me", &forged, "n"));
        let begun = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(hanging_up.as_mut().poll(cx).is_pending())
        });
        assert!(begun.await);
        while provider.asked_for_keys() < 2 {
            tokio::task::yield_now().await;
        }
        drop(hanging_up);
        assert_eq!(signs(&openid, &new).await, Ok(()));
        assert_eq!(provider.asked_for_keys(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_cannot_be_had_are_no_refusal() {
        let provider = Provider::new();
        let openid = provider.discovered().await;
        provider.hide_keys();
        let unavailable = Err(OpenIdErrorKind::Unavailable);
        for _ in 0..3 {
            assert_eq!(signs(&openid, &Signer::new(2)).await, unavailable);
        }
        assert_eq!(provider.asked_for_keys(), 2);
        assert_eq!(signs(&openid, &Signer::new(1)).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_withdrawn_is_not_good_for_ever() {
        let provider = Provider::new();
        let openid = provider.discovered().await;
        provider.publish(&[&Signer::new(2)]);
        assert_eq!(signs(&openid, &Signer::new(1)).await, Ok(()));
        tokio::time::advance(MAX_AGE + Duration::from_secs(1)).await;
        assert_eq!(signs(&openid, &Signer::new(1)).await, REFUSED);
        assert_eq!(signs(&openid, &Signer::new(2)).await, Ok(()));
        // The provider is not needed for keys that are known, old as they are.
        provider.hide_keys();
        tokio::time::advance(MAX_AGE + Duration::from_secs(1)).await;
        assert_eq!(signs(&openid, &Signer::new(2)).await, Ok(()));
    }
}
