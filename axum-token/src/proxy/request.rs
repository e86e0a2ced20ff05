//! What of a page's request goes on.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};

use super::hop_by_hop;

/// Who the user is to us, how they came here, and what we alone decide.
const OURS: [&str; 23] = [
    "authorization",
    "cdn-loop",
    "client-ip",
    // Told anew for what is sent.
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "origin",
    "referer",
    "true-client-ip",
    "via",
    "x-amz-cf-id",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-csrf",
    "x-host",
    // Another method than the one that was looked at.
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
    "x-user",
];

const OURS_BY_PREFIX: [&str; 21] = [
    "access-control-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "remote-",
    "sec-",
    "tailscale-",
    "x-amzn-",
    "x-auth-request-",
    "x-authentik-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-ms-client-principal",
    // Another path.
    "x-original-",
    "x-pomerium-",
    "x-remote-",
    "x-rewrite-",
    "x-webauth-",
];

/// Takes out what is about this connection, or about us and our user.
pub(super) fn strip(headers: &mut HeaderMap, also: &[&[HeaderName]]) {
    hop_by_hop::strip(headers);
    hop_by_hop::retain(headers, |name| {
        let prefixed = OURS_BY_PREFIX.iter().any(|ours| name.starts_with(ours));
        // Which many servers take for a `-`, in names that they would not have let through.
        let doubtful = name.contains('_');
        !prefixed
            && !doubtful
            && !OURS.contains(&name)
            && !also.iter().copied().flatten().any(|ours| ours == name)
    });
}

/// Whether it wants to be another protocol's connection from here on.
pub(super) fn is_upgrade(parts: &Parts) -> bool {
    let named = |value: &http::HeaderValue| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    parts.method == Method::CONNECT
        || parts.headers.contains_key(UPGRADE)
        || parts.headers.get_all(CONNECTION).iter().any(named)
}

/// Whether there can be two minds about where its body ends (RFC 9112 section 6.3): refused by
/// servers before this, as a rule.
pub(super) fn is_ambiguous(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    lengths > 1 || (lengths == 1 && headers.contains_key(TRANSFER_ENCODING))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(given: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers, &[&[HeaderName::from_static("x-employee")]]);
        let mut left: Vec<_> = headers.keys().map(ToString::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn what_is_about_the_content_goes_on() {
        let given = [
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("accept-language", "de"),
            ("content-encoding", "br"),
            ("content-type", "application/json"),
            ("if-match", "\"1\""),
            ("range", "bytes=0-1"),
            ("x-goog-fieldmask", "a"),
        ];
        assert_eq!(left(&given), given.map(|(name, _)| name));
    }

    #[test]
    fn what_is_about_the_connection_or_the_user_does_not() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "origin",
            "referer",
            "x-csrf",
            "expect",
            "via",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "cf-connecting-ip",
            "true-client-ip",
            "sec-fetch-site",
            "sec-websocket-key",
            "access-control-request-method",
            "x-http-method-override",
            "x_http_method_override",
            "x_employee",
            "content_length",
            "x-original-uri",
            "x-forwarded",
            "x-pomerium-jwt-assertion",
            "remote-email",
            "x-employee",
            "te",
            "trailer",
            "transfer-encoding",
            "content-length",
            "keep-alive",
            "upgrade",
            "http2-settings",
            "proxy-authorization",
            "proxy-connection",
        ] {
            assert_eq!(left(&[(name, "1")]), [""; 0], "{name}");
        }
        let named = [
            ("connection", "close, X-Secret"),
            ("connection", " x-other,"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("x-kept", "1"),
        ];
        assert_eq!(left(&named), ["x-kept"]);
        let named = [("connection", "x-secret, \u{e9}"), ("x-secret", "1")];
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        strip(&mut headers, &[]);
        assert!(headers.is_empty());
    }
}
