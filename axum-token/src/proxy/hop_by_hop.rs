//! Headers that are about one connection (RFC 9110 section 7.6.1).

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

const NAMES: [&str; 7] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Takes them out, with everything that `Connection` names.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    retain(headers, |name| {
        !NAMES.contains(&name) && !name.starts_with("proxy-")
    });
}

/// Keeps headers by their names, which are lower-case.
pub(super) fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let names = headers.keys().filter(|name| !keep(name.as_str()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
