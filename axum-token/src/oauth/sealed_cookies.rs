//! Cookies that only the service can read and write, for as long as a flow lasts.

use std::time::Duration;

use axum_core::response::IntoResponse;
use axum_extra::extract::cookie::{Cookie, Key, PrivateCookieJar, SameSite};
use http::HeaderMap;
use http::header::{COOKIE, SET_COOKIE};

use crate::layers::cookie_pairs;
use crate::origin::PublicOrigin;

/// What browsers keep at most, name and attributes included.
const MAX_COOKIE: usize = 4_096;
/// Of all cookies of a request. Browsers send less than half of it for a host with a few.
const MAX_COOKIES: usize = 32 << 10;

#[derive(Clone)]
pub(super) struct SealedCookies {
    key: Key,
    /// Before each name.
    prefix: String,
    secure: bool,
}

impl SealedCookies {
    pub(super) fn new(key: Key, origin: &PublicOrigin) -> Self {
        Self {
            key,
            prefix: origin.cookie_name(""),
            secure: origin.is_secure(),
        }
    }

    /// Whether a request has more in its cookies than is looked through.
    pub(super) fn are_too_many(headers: &HeaderMap) -> bool {
        let lines = headers.get_all(COOKIE).iter();
        lines.map(|line| line.len()).sum::<usize>() > MAX_COOKIES
    }

    /// Adds a cookie to an answer. `false` if browsers would not keep it.
    pub(super) fn set(
        &self,
        name: &str,
        value: String,
        life: Duration,
        answer: &mut HeaderMap,
    ) -> bool {
        let mut cookie = self.cookie(name, value);
        cookie.set_max_age(time::Duration::try_from(life).unwrap_or(time::Duration::MAX));
        let jar = PrivateCookieJar::new(self.key.clone()).add(cookie);
        let response = jar.into_response();
        let sealed = response.headers().get_all(SET_COOKIE);
        if sealed.iter().any(|line| line.len() > MAX_COOKIE) {
            return false;
        }
        answer_with(sealed, answer);
        true
    }

    /// Has the browser forget one.
    pub(super) fn remove(&self, name: &str, answer: &mut HeaderMap) {
        let mut removal = self.cookie(name, String::new());
        removal.make_removal();
        // By `add`, which writes it whether or not the jar has read one.
        let jar = PrivateCookieJar::new(self.key.clone()).add(removal);
        answer_with(jar.into_response().headers().get_all(SET_COOKIE), answer);
    }

    /// What is in a cookie of ours. Nothing if there are two of the name: not both are ours,
    /// and nobody says which.
    pub(super) fn get(&self, name: &str, headers: &HeaderMap) -> Option<String> {
        let name = format!("{}{name}", self.prefix);
        let mut shown =
            cookie_pairs(headers).filter(|pair| pair.raw_name() == Some(name.as_bytes()));
        let sealed = str::from_utf8(shown.next()?.as_bytes()).ok()?;
        if shown.next().is_some() || sealed.len() > MAX_COOKIE {
            return None;
        }
        let sealed = Cookie::parse_encoded(sealed.to_owned()).ok()?;
        let opened = PrivateCookieJar::new(self.key.clone()).decrypt(sealed)?;
        Some(opened.value().to_owned())
    }

    /// The names of those that begin with `start`, as far as the browser says.
    pub(super) fn names<'a>(
        &'a self,
        start: &'a str,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = &'a str> {
        cookie_pairs(headers).filter_map(move |pair| {
            let name = str::from_utf8(pair.raw_name()?).ok()?;
            let name = name.strip_prefix(self.prefix.as_str())?;
            name.starts_with(start).then_some(name)
        })
    }

    /// `Lax`: it is wanted when the provider sends the browser back, which is a navigation.
    fn cookie(&self, name: &str, value: String) -> Cookie<'static> {
        Cookie::build((format!("{}{name}", self.prefix), value))
            .http_only(true)
            .secure(self.secure)
            .same_site(SameSite::Lax)
            .path("/")
            .build()
    }
}

fn answer_with(cookies: http::header::GetAll<'_, http::HeaderValue>, answer: &mut HeaderMap) {
    for cookie in cookies {
        answer.append(SET_COOKIE, cookie.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn cookies(seed: u8) -> SealedCookies {
        let origin = "https://app.example.com".parse().unwrap();
        SealedCookies::new(Key::from(&[seed; 64]), &origin)
    }

    fn sent(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    /// Whatever other layers let through.
    #[test]
    fn only_the_cookie_that_was_set_is_read() {
        let mut answer = HeaderMap::new();
        assert!(cookies(1).set("a", "text".into(), Duration::from_secs(1), &mut answer));
        let set = answer[SET_COOKIE].to_str().unwrap();
        let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
        assert_eq!(name, "__Host-a");
        let read = |text: &str| cookies(1).get("a", &sent(text));
        assert_eq!(read(&format!("x=y; {name}={value}")).unwrap(), "text");
        for other in [
            format!("{name}={value}; {name}={value}"),
            format!("{name}={value}; {name}=x"),
            format!("{name}=x; {name}={value}"),
            format!("a={value}"),
            format!("__Host%2Da={value}"),
            format!("__host-a={value}"),
            format!("{name}={value}x"),
            format!("{name}="),
            name.to_owned(),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
        assert_eq!(cookies(2).get("a", &sent(&format!("{name}={value}"))), None);
        assert_eq!(
            cookies(1).get("b", &sent(&format!("__Host-b={value}"))),
            None
        );
    }

    #[test]
    fn what_browsers_would_not_keep_is_not_set() {
        let mut answer = HeaderMap::new();
        let life = Duration::from_secs(1);
        assert!(!cookies(1).set("a", "x".repeat(3_100), life, &mut answer));
        assert!(answer.is_empty());
        assert!(cookies(1).set("a", "x".repeat(2_800), life, &mut answer));
    }
}
