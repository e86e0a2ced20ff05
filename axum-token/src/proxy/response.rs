//! What of an API's answer goes on.

use http::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::hop_by_hop;

/// What is about the content, and how much of the API its user may have. A list of what may
/// pass: what a browser or a proxy lets an answer do to its origin grows every year.
const PASSED: [&str; 28] = [
    "accept-ranges",
    "allow",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "deprecation",
    "digest",
    "etag",
    "last-modified",
    "preference-applied",
    "ratelimit",
    "repr-digest",
    "retry-after",
    "sunset",
    "traceparent",
    "vary",
    "warning",
    "x-correlation-id",
    "x-next-page",
    "x-page",
    "x-request-id",
    "x-total-count",
    "x-total-pages",
];

const PASSED_BY_PREFIX: [&str; 3] = ["ratelimit-", "x-rate-limit-", "x-ratelimit-"];

/// A document that was opened all the same is nobody's, loads nothing and runs nothing.
const INERT: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// Leaves what is about the content, and nothing that acts on the origin that it goes on from.
pub(super) fn strip(status: StatusCode, headers: &mut HeaderMap, also: &[HeaderName]) {
    hop_by_hop::strip(headers);
    hop_by_hop::retain(headers, |name| {
        let prefixed = PASSED_BY_PREFIX.iter().any(|it| name.starts_with(it));
        prefixed || PASSED.contains(&name) || also.iter().any(|it| it == name)
    });
    if status.is_redirection() {
        headers.remove(LOCATION);
    }
    headers.insert(CONTENT_SECURITY_POLICY, INERT);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("same-origin"));
}

/// Takes a length out that is not the body's own, where there is one.
pub(super) fn check_length(headers: &mut HeaderMap, exact: Option<u64>) {
    let mut stated = headers.get_all(CONTENT_LENGTH).iter();
    let first = stated.next().and_then(|value| value.to_str().ok());
    let first: Option<u64> = first.and_then(|value| value.parse().ok());
    if stated.next().is_some() || first.is_none() || first != exact {
        headers.remove(CONTENT_LENGTH);
    }
}

/// Whether it is about who calls the API, which is us: the page would take it for itself.
pub(super) fn is_refusal_of_ours(status: StatusCode) -> bool {
    status.is_informational()
        || [
            StatusCode::UNAUTHORIZED,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            StatusCode::MISDIRECTED_REQUEST,
        ]
        .contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(status: StatusCode, given: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in given {
            headers.append(*name, HeaderValue::from_static("1"));
        }
        strip(status, &mut headers, &[HeaderName::from_static("link")]);
        let added = [
            "content-security-policy",
            "cross-origin-resource-policy",
            "x-content-type-options",
        ];
        assert!(added.iter().all(|name| headers[*name] != "1"));
        let left = headers.keys().map(ToString::to_string);
        let mut left: Vec<_> = left.filter(|name| !added.contains(&&**name)).collect();
        left.sort();
        left
    }

    #[test]
    fn what_is_about_the_content_goes_on() {
        let given = ["content-type", "etag", "link", "ratelimit-policy", "vary"];
        assert_eq!(left(StatusCode::OK, &given), given);
    }

    #[test]
    fn nothing_acts_on_the_origin() {
        for name in [
            "set-cookie",
            "set-cookie2",
            "www-authenticate",
            "proxy-authenticate",
            "authentication-info",
            "clear-site-data",
            "strict-transport-security",
            "alt-svc",
            "access-control-allow-origin",
            "service-worker-allowed",
            "content-security-policy",
            "content-security-policy-report-only",
            "permissions-policy",
            "cross-origin-resource-policy",
            "cross-origin-opener-policy",
            "refresh",
            "location",
            "report-to",
            "reporting-endpoints",
            "nel",
            "accept-ch",
            "sourcemap",
            "speculation-rules",
            "x-accel-redirect",
            "x-sendfile",
            "surrogate-control",
            "cdn-cache-control",
            "expires",
            "connection",
            "transfer-encoding",
            "upgrade",
            "trailer",
            "keep-alive",
        ] {
            assert_eq!(left(StatusCode::OK, &[name]), [""; 0], "{name}");
            assert_eq!(left(StatusCode::FOUND, &[name]), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_length_is_the_bodys_own() {
        for (stated, exact, kept) in [
            (&["3"][..], Some(3), true),
            (&["3"], Some(4), false),
            (&["3"], None, false),
            (&["3", "3"], Some(3), false),
            (&["x"], None, false),
            (&[], None, false),
        ] {
            let mut headers = HeaderMap::new();
            for stated in stated {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(stated));
            }
            check_length(&mut headers, exact);
            assert_eq!(headers.contains_key(CONTENT_LENGTH), kept, "{stated:?}");
        }
    }
}
