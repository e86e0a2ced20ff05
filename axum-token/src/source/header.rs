//! A header that a proxy in front of the service sets.

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tower_token::Secret;

use super::{SignIn, SourceError, SubjectSource};

/// The user's id in a header that a proxy sets, after it has authenticated them.
///
/// # The hazard
///
/// **Whoever can set this header is whoever they like.** The proxy has to *overwrite* it on
/// every request, also where nobody is signed in (then: remove it), and nothing but the
/// proxy may reach the service. A proxy that adds the header beside one the client sent
/// gives two: those are refused, not chosen from. Header names with `_` are taken for `-` by
/// some servers: have the proxy drop those.
///
/// A [`shared_secret`](Self::shared_secret) keeps requests out that got round the proxy. Neither
/// header goes on by `ProxyRoutes`.
///
/// ```
/// use axum_token::{SessionTokenLayer, TrustedHeader};
/// use http::HeaderName;
/// use tower_token::Secret;
///
/// # fn f(secret: Secret) {
/// let user = HeaderName::from_static("x-authenticated-user");
/// let source = TrustedHeader::overwritten_by_proxy(user)
///     .shared_secret(HeaderName::from_static("x-proxy-secret"), secret);
/// let layer = SessionTokenLayer::new(source);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TrustedHeader {
    name: HeaderName,
    secret: Option<(HeaderName, Secret)>,
}

impl TrustedHeader {
    /// Believes the header `name`. By calling this you say that a proxy overwrites it on
    /// every request.
    pub fn overwritten_by_proxy(name: HeaderName) -> Self {
        Self { name, secret: None }
    }

    /// Believes it only beside this secret in the header `name`, which the proxy overwrites,
    /// too. It is compared in the same time wherever it differs.
    #[must_use]
    pub fn shared_secret(mut self, name: HeaderName, secret: Secret) -> Self {
        self.secret = Some((name, secret));
        self
    }

    fn find(&self, headers: &HeaderMap) -> Result<Option<SignIn>, SourceError> {
        if let Some((name, secret)) = &self.secret {
            let shown = one(headers, name)?.map(Secret::from);
            if secret.expose().is_empty() || shown.as_ref() != Some(secret) {
                return Err(SourceError::refused(
                    "the request does not carry the secret that the proxy shares with the service",
                ));
            }
        }
        let Some(subject) = one(headers, &self.name)? else {
            return Ok(None);
        };
        // A comma is what two headers are joined by on the way (RFC 9110 section 5.3).
        if subject.trim().is_empty() || subject.len() > 1_024 || subject.contains(',') {
            return Err(SourceError::refused(
                "the trusted header is empty, too long, or more than one value",
            ));
        }
        Ok(Some(SignIn::new(subject)))
    }
}

/// The only value of a header, in visible ASCII and spaces.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, SourceError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(SourceError::refused(
            "a trusted header came more than once: the proxy has to overwrite it",
        ));
    }
    text(value).map(Some)
}

fn text(value: &HeaderValue) -> Result<&str, SourceError> {
    let text = value.to_str().ok().filter(|text| !text.contains('\t'));
    text.ok_or_else(|| SourceError::refused("a trusted header is not plain ASCII"))
}

impl SubjectSource for TrustedHeader {
    async fn subject(&self, request: &Parts) -> Result<Option<SignIn>, SourceError> {
        self.find(&request.headers)
    }

    fn headers(&self) -> Vec<HeaderName> {
        let secret = self.secret.iter().map(|(name, _)| name);
        [&self.name].into_iter().chain(secret).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceErrorKind;

    const USER: &str = "x-user";
    const PROOF: &str = "x-proof";

    fn believing() -> TrustedHeader {
        TrustedHeader::overwritten_by_proxy(HeaderName::from_static(USER))
    }

    fn find(source: &TrustedHeader, headers: &[(&'static str, &[u8])]) -> Result<String, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        match source.find(&map) {
            Ok(found) => Ok(found.map_or_else(String::new, |who| who.subject.into())),
            Err(error) => {
                assert_eq!(error.kind(), SourceErrorKind::Refused);
                Err(error.to_string())
            }
        }
    }

    #[test]
    fn one_plain_value_is_the_user_and_none_is_nobody() {
        let source = believing();
        assert_eq!(find(&source, &[(USER, b"ada")]).unwrap(), "ada");
        assert_eq!(find(&source, &[(USER, b"ada l")]).unwrap(), "ada l");
        assert_eq!(find(&source, &[]).unwrap(), "");
    }

    #[test]
    fn several_empty_and_foreign_values_are_refused() {
        let source = believing();
        for values in [
            &[&b"ada"[..], b"eve"][..],
            &[b"ada", b"ada"],
            &[b""],
            &[b" "],
            &[b"ada, eve"],
            &["ad\u{e4}".as_bytes()],
            &[b"\xff"],
            &[b"a\tb"],
            &[&[b'x'; 1_025]],
        ] {
            let headers: Vec<_> = values.iter().map(|value| (USER, *value)).collect();
            assert!(find(&source, &headers).is_err(), "{values:?}");
        }
    }

    #[test]
    fn without_the_proxys_secret_nobody_is_believed_not_even_to_be_nobody() {
        let proof = HeaderName::from_static(PROOF);
        let source = believing().shared_secret(proof.clone(), Secret::from("s3cret"));
        let user = (USER, &b"ada"[..]);
        assert_eq!(find(&source, &[user, (PROOF, b"s3cret")]).unwrap(), "ada");
        assert_eq!(find(&source, &[(PROOF, b"s3cret")]).unwrap(), "");
        assert!(find(&source, &[user]).is_err());
        assert!(find(&source, &[]).is_err());
        assert!(find(&source, &[user, (PROOF, b"s3cre")]).is_err());
        assert!(find(&source, &[user, (PROOF, b"")]).is_err());
        let twice = [user, (PROOF, &b"s3cret"[..]), (PROOF, b"s3cret")];
        assert!(find(&source, &twice).is_err());
        // A secret that was left out of the configuration opens nothing.
        let unset = believing().shared_secret(proof, "".into());
        assert!(find(&unset, &[user, (PROOF, b"")]).is_err());
    }
}
