//! What a request's `Cookie` headers say, before anybody decodes it.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::COOKIE;

/// One `name=value`, as it was sent.
#[derive(Clone, Copy)]
pub(crate) struct CookiePair<'a>(&'a [u8]);

/// The pairs of all `Cookie` headers (RFC 6265 section 4.2).
pub(crate) fn cookie_pairs(headers: &HeaderMap) -> impl Iterator<Item = CookiePair<'_>> {
    let lines = headers.get_all(COOKIE).iter();
    lines.flat_map(|line| split(line.as_bytes()))
}

pub(super) fn split(line: &[u8]) -> impl Iterator<Item = CookiePair<'_>> {
    line.split(|byte| *byte == b';').map(CookiePair)
}

impl<'a> CookiePair<'a> {
    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The name that the browser has the cookie under: nothing is decoded. None without a
    /// `=`, which nobody takes for a cookie.
    pub(crate) fn raw_name(self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == b'=')?;
        Some(self.0.get(..end)?.trim_ascii())
    }

    /// The name that a lenient reader finds in it: decoded, and without the white space of
    /// all of Unicode around it. The readers of tower-sessions and axum-extra do both.
    pub(crate) fn read_name(self) -> Option<String> {
        let decoded = percent_decoded(self.raw_name()?);
        let text = String::from_utf8_lossy(&decoded);
        let is_blank = |letter: char| {
            letter.is_whitespace() || letter.is_control() || letter == char::REPLACEMENT_CHARACTER
        };
        Some(text.trim_start_matches(is_blank).trim_end().to_owned())
    }
}

fn percent_decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let (byte, next) = match rest {
            [b'%', high, low, next @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, next),
                _ => (*first, after),
            },
            _ => (*first, after),
        };
        decoded.push(byte);
        rest = next;
    }
    Cow::Owned(decoded)
}

fn digit(hex: u8) -> Option<u8> {
    match hex {
        b'0'..=b'9' => Some(hex - b'0'),
        b'a'..=b'f' => Some(hex - b'a' + 10),
        b'A'..=b'F' => Some(hex - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_as_sent_and_as_read() {
        for (pair, raw, read) in [
            (" a=b=c", "a", "a"),
            ("\ta \t= b", "a", "a"),
            ("__Host%2Da=b", "__Host%2Da", "__Host-a"),
            ("%5f%5FHost%2da=b", "%5f%5FHost%2da", "__Host-a"),
            ("%20%C2%A0a%20=b", "%20%C2%A0a%20", "a"),
            ("\u{3000}a\u{a0}=b", "\u{3000}a\u{a0}", "a"),
            ("%ff%00a=b", "%ff%00a", "a"),
            ("100%=b", "100%", "100%"),
            ("%=b", "%", "%"),
            ("%4=b", "%4", "%4"),
            ("%4g%%41=b", "%4g%%41", "%4g%A"),
            // Once, and no more.
            ("%2541=b", "%2541", "%41"),
            ("caf\u{e9}=b", "caf\u{e9}", "caf\u{e9}"),
            ("=b", "", ""),
        ] {
            let pair = CookiePair(pair.as_bytes());
            assert_eq!(pair.raw_name(), Some(raw.as_bytes()));
            assert_eq!(pair.read_name().as_deref(), Some(read));
        }
        assert_eq!(CookiePair(b"a%2").raw_name(), None);
        assert_eq!(CookiePair(b"").read_name(), None);
    }
}
