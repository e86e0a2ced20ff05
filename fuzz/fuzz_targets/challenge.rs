//! Any `WWW-Authenticate` of an API: what it says does not depend on how it is written.

#![no_main]

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_token::fuzzing::insufficient_scope;

const TOO_NARROW: &[u8] = b"Bearer realm=\"a, b\", error=\"insufficient_scope\"";

fuzz_target!(|input: &[u8]| {
    // A line feed cannot be in a header: here it parts one header from the next.
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let Some(answer) = says(&lines) else {
        return;
    };
    // Whatever else stands there, a challenge of its own is found.
    let mut more = lines.clone();
    more.push(TOO_NARROW);
    assert_eq!(says(&more), Some(true), "beside another");

    // RFC 9110 section 5.6.4: what is quoted is a text, whatever it says.
    assert_eq!(says(&[&quoted(&lines.concat())]), Some(false), "quoted");

    // RFC 9110 section 5.3: headers of one name may be joined by commas, where no quote
    // is left open.
    let spaced: Option<Vec<Vec<u8>>> = lines.iter().map(|line| spaced(line)).collect();
    if let Some(spaced) = spaced {
        assert_eq!(says(&[&lines.join(&b","[..])]), Some(answer), "joined");
        let spaced: Vec<&[u8]> = spaced.iter().map(Vec::as_slice).collect();
        assert_eq!(says(&spaced), Some(answer), "spaced");
    }
});

/// `None` if these are no header values.
fn says(values: &[&[u8]]) -> Option<bool> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(value).ok()?);
    }
    Some(insufficient_scope(&headers))
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut quoted = b"Bearer realm=\"".to_vec();
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

/// The same with space wherever there may be some; `None` if a quote is left open.
fn spaced(value: &[u8]) -> Option<Vec<u8>> {
    let (mut quoted, mut escaped) = (false, false);
    let mut spaced = b" \t".to_vec();
    for byte in value {
        if !quoted && matches!(byte, b',' | b'=') {
            spaced.extend([b' ', *byte, b'\t', b' ']);
        } else {
            spaced.push(*byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    spaced.push(b'\t');
    (!quoted).then_some(spaced)
}
