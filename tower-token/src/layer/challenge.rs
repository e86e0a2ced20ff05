//! What a 401 says (RFC 6750 section 3, RFC 9110 section 11.6.1), read leniently.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Whether any challenge says that the token is good and its scope too narrow: a new
/// token of the same scope would not help.
pub(crate) fn insufficient_scope(headers: &HeaderMap) -> bool {
    headers.get_all(WWW_AUTHENTICATE).iter().any(|value| {
        parameters(value.as_bytes()).any(|(name, value)| {
            name.eq_ignore_ascii_case(b"error") && value == b"insufficient_scope"
        })
    })
}

/// The `name=value` pairs of a header, whichever challenge they belong to. What is not
/// such a pair is passed over.
fn parameters(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = header;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let piece = take_piece(&mut rest);
            let Some(equals) = piece.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = (
                piece[..equals].trim_ascii(),
                piece[equals + 1..].trim_ascii(),
            );
            // `Bearer realm="x"`: the scheme stands before the first name.
            let name = name.rsplit(u8::is_ascii_whitespace).next().unwrap_or(name);
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            let value = value.strip_suffix(b"\"").unwrap_or(value);
            return Some((name, value));
        }
    })
}

/// Everything up to the next comma that is not quoted.
fn take_piece<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (mut quoted, mut escaped) = (false, false);
    let end = rest.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    let end = end.unwrap_or(rest.len());
    let piece = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    piece
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn says(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        insufficient_scope(&headers)
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        for values in [
            &["Bearer error=\"insufficient_scope\""][..],
            &["bearer realm=\"a, b\", ERROR = insufficient_scope, scope=\"x\""],
            &["Basic realm=\"x\"", "Bearer error=\"insufficient_scope\""],
            &["Basic realm=\"x\", Bearer realm=\"a \\\" b\", error=\"insufficient_scope\""],
        ] {
            assert!(says(values), "{values:?}");
        }
        for values in [
            &[][..],
            &[""],
            &["Bearer"],
            &["Bearer error=\"invalid_token\""],
            &["Bearer error_description=\"error=insufficient_scope\""],
            &["Bearer realm=\"x, error=insufficient_scope\""],
            &["error"],
            &["=,=,\"\"\"", ",,,", "\\"],
        ] {
            assert!(!says(values), "{values:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_taken_without_a_panic(value: Vec<u8>) {
            parameters(&value).count();
        }
    }
}
