//! Which paths go on. What is refused here is what some server on the way reads in another way
//! than others do.

use std::borrow::Cow;

/// Decodings that a path may go through on its way, and be looked at after each. One that goes
/// on changing is nobody's name of anything.
const MOST_DECODINGS: usize = 4;

/// Whether a path, without the slash that it begins with, names one thing below a base for
/// whoever reads it: as it is, or decoded, once or more often.
///
/// Of RFC 3986 this leaves out what steps out of a folder (section 5.2.4), and what is a step,
/// a separator or an end only to some: encoded slashes, backslashes, empty segments, parameters
/// after dots or nothing, control characters, characters that are folded into one of these, and
/// what is not UTF-8, which overlong encodings are not.
pub(super) fn is_plain(path: &str) -> bool {
    let mut seen = Cow::Borrowed(path);
    if !well_formed(path) {
        return false;
    }
    let slashes = count(path);
    for _ in 0..MOST_DECODINGS {
        if !segments_are_plain(&seen) || count(&seen) != slashes {
            return false;
        }
        match decoded(&seen).map(folded) {
            Some(next) if next == *seen => return true,
            Some(next) => seen = Cow::Owned(next),
            None => return false,
        }
    }
    false
}

/// As it is sent: graphic ASCII, of which each `%` begins an encoded byte.
fn well_formed(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>#?".contains(&byte);
    let mut parts = path.split('%');
    let first = parts.next().unwrap_or_default();
    let encoded = |part: &str| part.len() >= 2 && part.bytes().take(2).all(is_hex);
    path.bytes().all(allowed) && !first.contains('%') && parts.all(encoded)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn count(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

fn segments_are_plain(path: &str) -> bool {
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A slash at the end is part of the name.
        if segment.is_empty() && segments.peek().is_some() {
            return false;
        }
        // Some read `..;x` as `..` and `;x` as nothing, and some drop spaces at the end.
        let dropped = |char: char| char == '.' || char.is_whitespace();
        let steps = |part: &str| part.contains('.') && part.chars().all(dropped);
        if segment.starts_with(';') || segment.split(';').any(steps) {
            return false;
        }
        if segment.contains(['\\', '\u{fffd}']) {
            return false;
        }
        if segment.chars().any(char::is_control) {
            return false;
        }
    }
    true
}

/// Decoded once. A `%` that begins nothing stands for itself.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match (first, after) {
            (b'%', [high, low, after @ ..]) if is_hex(*high) && is_hex(*low) => {
                rest = after;
                value(*high) << 4 | value(*low)
            }
            _ => first,
        });
    }
    String::from_utf8(bytes).ok()
}

/// As by those who fold characters that look like others into these (NFKC) and look at them
/// before that.
fn folded(path: String) -> String {
    if path.is_ascii() {
        return path;
    }
    let fold = |char| match char {
        '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe52}' | '\u{ff0e}' => '.',
        // With a slash in it: a/c, a/s, c/o, c/u.
        '\u{ff0f}' | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}' => '/',
        '\u{fe68}' | '\u{ff3c}' => '\\',
        '\u{37e}' | '\u{fe54}' | '\u{ff1b}' => ';',
        '\u{fe6a}' | '\u{ff05}' => '%',
        other => other,
    };
    path.chars().map(fold).collect()
}

fn value(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

/// Whether `path` is `prefix` or below it, by whole segments, as they are written.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.is_empty())
}

#[cfg(test)]
mod tests {
    use openidconnect::url::Url;
    use proptest::prelude::*;

    use super::*;

    /// What parsers do not agree on.
    const PARTS: &[&str] = &[
        "/",
        "\\",
        ".",
        "..",
        "%2e",
        "%252e",
        "%25252E",
        "%5c",
        "%2f",
        "%00",
        "%",
        "\t",
        " ",
        "?",
        "#",
        "@",
        ":",
        ";",
        "a",
        "evil.example",
    ];

    proptest! {
        /// As the parser of browsers reads it (WHATWG URL), as it is and decoded.
        #[test]
        fn what_goes_on_stays_below_the_base_for_who_resolves_it(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..7)
        ) {
            let path = parts.concat();
            if is_plain(&path) {
                let decoded = decoded(&path).unwrap();
                for read in [&*path, &*decoded] {
                    let url = format!("https://api.example.com/v3/{read}");
                    let url = Url::parse(&url).unwrap();
                    prop_assert_eq!(url.host_str(), Some("api.example.com"));
                    prop_assert!(url.path().starts_with("/v3/"));
                    prop_assert_eq!(count(url.path()), count(read) + 2);
                }
            }
        }
    }

    #[test]
    fn names_go_on_as_they_are() {
        for path in [
            "",
            "users/me",
            "users/me/",
            "v1/users:batch",
            "calendars/en.usa%23holiday%40group.v.calendar.google.com/events",
            "a.b/..c/d../.well-known/...x",
            "caf%C3%A9/%E2%82%AC",
            "100%25",
            "a%2525b",
            "(a)/b,c/d=e/f;g=h/~i/$j/k+l/m%20n",
            "a%3Fb%3Dc",
            "a|b/c^d/{e}",
            "notes%E2%80%A6.txt",
            "100%EF%BC%85",
        ] {
            assert!(is_plain(path), "{path}");
        }
    }

    #[test]
    fn what_is_read_in_two_ways_does_not() {
        for path in [
            ".",
            "..",
            "../secret",
            "a/../b",
            "a/./b",
            "a/..",
            "a/.",
            "a/...",
            "%2e%2e/a",
            "%2E%2E/a",
            ".%2e/a",
            "%2E./a",
            "a/%2e/b",
            "%252e%252e/a",
            "%25252e%25252e/a",
            "%2525252e./a",
            "%252525252e./a",
            "..%00/a",
            "a%2fb",
            "a%2Fb",
            "..%2fb",
            "..%252fb",
            "a%5cb",
            "a%255cb",
            "..\\b",
            "a\\b",
            "/a",
            "//evil.example/a",
            "a//b",
            "a//",
            "/",
            "a%00",
            "a%2500",
            "a%0d%0aset-cookie:x",
            "a%7f",
            "a%c2%85b",
            "a\tb",
            "a b",
            "a\u{e9}",
            "..;/a",
            "..;x=y/a",
            "a/..;",
            "a/;..",
            "a;../b",
            "%2e%2e%3b/a",
            "..%20/a",
            "%2e%20%2e/a",
            "a/;/b",
            ";x/b",
            "a/%3b/b",
            "%EF%BC%8E%EF%BC%8E/a",
            "%E2%80%A5/a",
            "%E2%80%A4./a",
            "..%EF%BC%9Bx/a",
            "a%EF%BC%8Fb",
            "a%E2%84%85b",
            "a%EF%BC%BCb",
            "a%EF%BC%852fb",
            "..%09/a",
            "%c0%ae%c0%ae/a",
            "%c0%afa",
            "%e0%80%af",
            "%ff",
            "a%",
            "a%2",
            "a%zz",
            "%u002e%u002e/a",
            "%+2/a",
            "a#b",
            "a?b",
            "a<b",
            "a\"b",
        ] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (path, prefix, below) in [
            ("/users/me", "/users/me", true),
            ("/users/me/", "/users/me", true),
            ("/users/me/photo", "/users/me", true),
            ("/users/meg", "/users/me", false),
            ("/users/me;x", "/users/me", false),
            ("/users/me%2e", "/users/me", false),
            ("/users/%6de", "/users/me", false),
            ("/Users/me", "/users/me", false),
            ("/users", "/users/me", false),
            ("/anything", "", true),
        ] {
            assert_eq!(is_below(path, prefix), below, "{path} {prefix}");
        }
    }
}
