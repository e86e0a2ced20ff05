//! Who sent a request: the registered client, or the bearer of an access token.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::form::Form;
use super::problem::Problem;

/// The one client that is registered. Without `Debug`, since it holds a secret.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
}

impl Client {
    /// Authenticates the client by either of the ways of RFC 6749 section 2.3.1.
    pub(super) fn check(&self, headers: &HeaderMap, form: &Form) -> Result<(), Problem> {
        let in_header = headers.contains_key(AUTHORIZATION);
        let in_body = form.get("client_secret").is_some();
        if in_header && in_body {
            return Err(Problem::InvalidRequest(
                "the client authenticates in two ways",
            ));
        }

        let named = form.get("client_id");
        let known = if in_header {
            // The header may be joined by a `client_id` in the body, but not by another one.
            basic(headers).is_some_and(|(id, secret)| id == self.id && secret == self.secret)
                && named.is_none_or(|id| id == self.id)
        } else {
            named == Some(&self.id) && form.get("client_secret") == Some(&self.secret)
        };
        known.then_some(()).ok_or(Problem::InvalidClient)
    }
}

/// The bearer token of a request, if it has one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "Bearer")
}

/// Id and secret out of HTTP Basic.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = BASE64_STANDARD
        .decode(credentials(headers, "Basic")?)
        .ok()?;
    let (id, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?))
}

/// Decodes one form-encoded value.
fn form_decode(encoded: &str) -> Option<String> {
    // Either would start a value or the next pair, and an encoded value contains neither.
    if encoded.contains(['=', '&']) {
        return None;
    }
    form_urlencoded::parse(encoded.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
}

/// The `Authorization` header after its scheme, if it is of that scheme and the only one.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (found, rest) = value.to_str().ok()?.split_once(' ')?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8"
                .parse()
                .unwrap(),
        );
        if !authorization.is_empty() {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        headers
    }

    fn basic_header(credentials: &str) -> String {
        format!("basic {}", BASE64_STANDARD.encode(credentials))
    }

    fn check(authorization: &str, body: &str) -> Result<(), Problem> {
        let client = Client {
            id: "an app".to_owned(),
            secret: "a+b/c:d%=&".to_owned(),
        };
        let headers = headers(authorization);
        client.check(&headers, &Form::parse(&headers, body.as_bytes())?)
    }

    #[test]
    fn basic_credentials_are_form_encoded() {
        let encoded = basic_header("an+app:a%2Bb%2Fc%3Ad%25%3D%26");
        assert_eq!(check(&encoded, ""), Ok(()));
        assert_eq!(check(&encoded, "client_id=an+app"), Ok(()));
        assert_eq!(
            check(&encoded, "client_id=another"),
            Err(Problem::InvalidClient)
        );

        let plain = basic_header("an app:a+b/c:d%=&");
        assert_eq!(check(&plain, ""), Err(Problem::InvalidClient));
    }

    #[test]
    fn the_body_may_hold_the_credentials_instead() {
        let body = "client_id=an+app&client_secret=a%2Bb%2Fc%3Ad%25%3D%26";
        assert_eq!(check("", body), Ok(()));
        assert!(matches!(
            check(&basic_header("an+app:x"), body),
            Err(Problem::InvalidRequest(_))
        ));
    }

    #[test]
    fn anything_else_is_no_client() {
        for authorization in [
            "",
            "Basic",
            "Basic !",
            "Bearer YTpi",
            &basic_header("an+app"),
        ] {
            assert_eq!(check(authorization, ""), Err(Problem::InvalidClient));
        }
        for body in [
            "client_id=an+app",
            "client_secret=x",
            "client_id=&client_secret=",
        ] {
            assert_eq!(check("", body), Err(Problem::InvalidClient));
        }
    }

    #[test]
    fn a_bearer_token_comes_alone() {
        assert_eq!(bearer(&headers("bearer  abc")), Some("abc"));
        assert_eq!(bearer(&headers("Basic abc")), None);
        let mut two = headers("Bearer abc");
        two.append(AUTHORIZATION, "Bearer def".parse().unwrap());
        assert_eq!(bearer(&two), None);
    }
}
