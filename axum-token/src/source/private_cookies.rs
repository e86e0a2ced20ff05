//! A cookie that only the service can read and write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::response::IntoResponse;
use axum_extra::extract::cookie::{Cookie, Key, PrivateCookieJar, SameSite};
use http::HeaderMap;
use http::header::SET_COOKIE;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use tower_token::{Clock, Secret, SystemClock, Timestamp};

use super::{SignIn, SourceError, SubjectSource};
use crate::layers::cookie_pairs;
use crate::origin::PublicOrigin;
use crate::rejection::TokenRejection;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Users in an encrypted cookie (feature `private-cookies`): nothing is stored by the
/// service.
///
/// A copy of such a cookie is good until its lifetime ends, also after its user has signed
/// out, unless there are [`SignIns`](crate::SignIns).
///
/// ```
/// use axum::extract::State;
/// use axum_extra::extract::cookie::{Key, PrivateCookieJar};
/// use axum_token::{PrivateCookies, PublicOrigin, SessionTokenLayer, TokenRejection};
///
/// async fn signed_in(
///     State(users): State<PrivateCookies>,
///     jar: PrivateCookieJar,
/// ) -> Result<PrivateCookieJar, TokenRejection> {
///     // After you have found out who it is:
///     users.sign_in(jar, "user-17")
/// }
///
/// # fn f(origin: PublicOrigin, key: Key) {
/// let users = PrivateCookies::new(key, &origin);
/// let layer = SessionTokenLayer::new(users.clone());
/// # }
/// ```
#[derive(Clone)]
pub struct PrivateCookies {
    key: Key,
    name: Arc<str>,
    secure: bool,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    subject: Box<str>,
    stamp: Option<String>,
    /// Milliseconds since 1970.
    since: u64,
}

impl PrivateCookies {
    /// Cookies under `key`, which the [`PrivateCookieJar`] of the handlers has, too. They are
    /// good for 14 days.
    pub fn new(key: Key, origin: &PublicOrigin) -> Self {
        Self {
            key,
            name: origin.cookie_name("user").into(),
            secure: origin.is_secure(),
            lifetime: 14 * DAY,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// How long a sign-in is good for.
    #[must_use]
    pub fn lifetime(mut self, span: Duration) -> Self {
        self.lifetime = span;
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Signs a user in: a subject, or what [`SignIns::admit`](crate::SignIns::admit) says.
    /// The jar is to be answered with.
    ///
    /// The cookie is a new one, and holds all there is: nobody else can have had it before.
    pub fn sign_in<K>(
        &self,
        jar: PrivateCookieJar<K>,
        who: impl Into<SignIn>,
    ) -> Result<PrivateCookieJar<K>, TokenRejection> {
        Ok(jar.add(self.sealed(who.into())?))
    }

    fn sealed(&self, who: SignIn) -> Result<Cookie<'static>, SourceError> {
        who.check()?;
        let sealed = Sealed {
            subject: who.subject,
            stamp: who.stamp.map(|stamp| stamp.expose().to_owned()),
            since: self.clock.now().as_unix_millis(),
        };
        let sealed = serde_json::to_string(&sealed)
            .map_err(|_| SourceError::misconfigured("a sign-in cannot be written as JSON"))?;
        Ok(self.cookie(sealed))
    }

    /// Signs the user out. The jar is to be answered with.
    pub fn sign_out<K>(&self, jar: PrivateCookieJar<K>) -> PrivateCookieJar<K> {
        let mut removal = self.cookie(String::new());
        removal.make_removal();
        // Not by `remove`: that does nothing about a cookie that the jar has not read.
        jar.add(removal)
    }

    fn cookie(&self, value: String) -> Cookie<'static> {
        let age = time::Duration::try_from(self.lifetime).unwrap_or(time::Duration::MAX);
        Cookie::build((self.name.to_string(), value))
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .path("/")
            .max_age(age)
            .build()
    }

    fn find(&self, headers: &HeaderMap) -> Option<SignIn> {
        // As it was sent: other hosts of the site can set one that is ours only once decoded.
        let name = Some(self.name.as_bytes());
        let mut shown = cookie_pairs(headers).filter(|pair| pair.raw_name() == name);
        let sealed = str::from_utf8(shown.next()?.as_bytes()).ok()?;
        if shown.next().is_some() {
            // Not both are ours, and nobody says which.
            return None;
        }
        let sealed = Cookie::parse_encoded(sealed.to_owned()).ok()?;
        let opened = PrivateCookieJar::new(self.key.clone()).decrypt(sealed)?;
        let sealed: Sealed = serde_json::from_str(opened.value()).ok()?;
        let since = Timestamp::from_unix_millis(sealed.since);
        let is_current = self.clock.now() < since + self.lifetime;
        let stamp = sealed.stamp.map(Secret::from);
        is_current.then(|| SignIn::new(sealed.subject).with_stamp(stamp))
    }
}

impl SubjectSource for PrivateCookies {
    async fn subject(&self, request: &Parts) -> Result<Option<SignIn>, SourceError> {
        Ok(self.find(&request.headers))
    }

    async fn begin(
        &self,
        _request: &Parts,
        answer: &mut HeaderMap,
        who: SignIn,
    ) -> Result<(), SourceError> {
        let jar = PrivateCookieJar::new(self.key.clone()).add(self.sealed(who)?);
        set_cookies(jar, answer);
        Ok(())
    }

    async fn end(&self, request: &Parts, answer: &mut HeaderMap) -> Result<(), SourceError> {
        let jar = PrivateCookieJar::from_headers(&request.headers, self.key.clone());
        set_cookies(self.sign_out(jar), answer);
        Ok(())
    }
}

/// What the jar has changed, as headers of an answer.
fn set_cookies(jar: PrivateCookieJar, answer: &mut HeaderMap) {
    for cookie in jar.into_response().headers().get_all(SET_COOKIE) {
        answer.append(SET_COOKIE, cookie.clone());
    }
}

impl fmt::Debug for PrivateCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateCookies")
            .field("name", &self.name)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}
