//! The form of a request to the token or the revocation endpoint.

use std::collections::HashMap;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::problem::Problem;

/// No form comes near this.
const LIMIT: usize = 64 * 1024;

/// The parameters of a form. Without `Debug`, since they include secrets.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub(super) async fn read(headers: &HeaderMap, body: Incoming) -> Result<Self, Problem> {
        match Limited::new(body, LIMIT).collect().await {
            Ok(body) => Self::parse(headers, &body.to_bytes()),
            Err(_) => Err(Problem::InvalidRequest("the body is too long or broken")),
        }
    }

    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Problem> {
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        if !media_type
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Err(Problem::InvalidRequest("the body is not a form"));
        }

        let mut form = HashMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // Without a value is as good as omitted (RFC 6749 section 3.2).
            if value.is_empty() {
                continue;
            }
            if form.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(Problem::InvalidRequest("a parameter is repeated"));
            }
        }
        Ok(Self(form))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn require(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)
            .ok_or(Problem::InvalidRequest("a required parameter is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_so_and_repeats_nothing() {
        let mut form = HeaderMap::new();
        form.insert(
            CONTENT_TYPE,
            "application/x-www-form-urlencoded; charset=utf-8"
                .parse()
                .unwrap(),
        );
        assert!(Form::parse(&HeaderMap::new(), b"a=1").is_err());
        assert!(Form::parse(&form, b"a=1&a=2").is_err());

        let parsed = Form::parse(&form, b"a=1%202&b=").unwrap();
        assert_eq!(parsed.get("a"), Some("1 2"));
        assert_eq!(parsed.get("b"), None);
    }
}
