//! The authorization request (RFC 6749 section 4.1.1), and how it reaches the provider.

/// What the provider is asked.
pub(super) struct AuthorizationRequest<'a> {
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> AuthorizationRequest<'a> {
    pub(super) fn new(parameters: Vec<(&'a str, &'a str)>) -> Self {
        Self { parameters }
    }

    /// By the browser: every parameter in the URL that it is sent to.
    ///
    /// This is the place for the other ways. A pushed request (PAR, RFC 9126) posts the same
    /// parameters over the back channel, and a signed one (JAR, RFC 9101) makes them the claims
    /// of a JWT; what the browser carries then is `client_id` and a `request_uri` or `request`.
    pub(super) fn by_browser(&self, endpoint: &str) -> String {
        with_query(endpoint, &self.parameters)
    }
}

/// A URL with these parameters after those that it has.
pub(super) fn with_query(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut location = url.to_owned();
    location.push(if url.contains('?') { '&' } else { '?' });
    let start = location.len();
    form_urlencoded::Serializer::for_suffix(&mut location, start).extend_pairs(parameters);
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_follow_those_of_the_endpoint() {
        let request = AuthorizationRequest::new(vec![("scope", "a b"), ("state", "&=")]);
        for (endpoint, location) in [
            (
                "https://a.example/authorize",
                "https://a.example/authorize?scope=a+b&state=%26%3D",
            ),
            (
                "https://a.example/authorize?tenant=1",
                "https://a.example/authorize?tenant=1&scope=a+b&state=%26%3D",
            ),
        ] {
            assert_eq!(request.by_browser(endpoint), location);
        }
    }
}
