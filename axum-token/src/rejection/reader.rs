//! Who reads an answer: a person with a browser, or a program.

use http::HeaderMap;
use http::header::ACCEPT;

/// Whom a refusal is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody looks at it: they can be sent to a page.
    Person,
    /// A program, a script of a page included: it wants a status and a problem document.
    Program,
}

impl Reader {
    /// A person is somebody whose browser goes to a page (fetch metadata, where there is
    /// any) and prefers HTML to a problem document (RFC 9110 section 12.5.1).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut modes = headers.get_all("sec-fetch-mode").iter();
        let navigates = modes.all(|mode| mode == "navigate");
        let accept: Vec<&str> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let html = quality(&accept, "text", "html");
        let json = quality(&accept, "application", "problem+json").max(quality(
            &accept,
            "application",
            "json",
        ));
        if navigates && html > json {
            Self::Person
        } else {
            Self::Program
        }
    }
}

/// The weight of a media type in thousandths. The most specific range that covers it
/// decides; nothing accepted means that anything is, and that nobody prefers HTML.
fn quality(accept: &[&str], kind: &str, subtype: &str) -> u16 {
    let ranges = accept.iter().flat_map(|line| split(line, ','));
    let covering = ranges.filter_map(|range| {
        let mut parts = split(range, ';');
        let (range_kind, range_subtype) = parts.next()?.trim().split_once('/')?;
        let specific = if range_kind == "*" && range_subtype == "*" {
            0
        } else if !range_kind.eq_ignore_ascii_case(kind) {
            return None;
        } else if range_subtype == "*" {
            1
        } else if range_subtype.eq_ignore_ascii_case(subtype) {
            2
        } else {
            return None;
        };
        Some((specific, weight(parts)?))
    });
    covering.max().map_or(0, |(_, weight)| weight)
}

/// `q` among the parameters of a range. A range whose `q` is none says nothing.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let stated = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(stated) = stated else {
        return Some(1_000);
    };
    let (whole, fraction) = stated.split_once('.').unwrap_or((stated, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", fraction) => Some(fraction),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

/// Splits at `separator`, but not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn reader(accept: &[&str], mode: Option<&str>) -> Reader {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        if let Some(mode) = mode {
            headers.insert("sec-fetch-mode", HeaderValue::from_str(mode).unwrap());
        }
        Reader::of(&headers)
    }

    const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

    #[test]
    fn a_browser_that_goes_to_a_page_is_a_person() {
        for (accept, mode) in [
            (&[FIREFOX][..], Some("navigate")),
            (&[FIREFOX], None),
            (&["text/html"], None),
            (&["TEXT/HTML"], None),
            (&["text/*"], None),
            (&["text/html;q=0.2"], None),
            (&["application/json;q=0.4, text/html;q=0.5"], None),
            (&["application/json;q=0.499,text/html;q=0.5"], None),
            (&["application/json;q=0.5", "text/html"], None),
            (&["*/*;q=0.1, text/html;q=0.2"], None),
            (&["text/html;level=\"1,q=0;\""], None),
            // An unreadable weight says nothing; what is left is HTML.
            (&["application/json;q=nonsense, text/html;q=0.1"], None),
        ] {
            assert_eq!(reader(accept, mode), Reader::Person, "{accept:?} {mode:?}");
        }
    }

    #[test]
    fn everything_else_is_a_program() {
        for (accept, mode) in [
            (&[][..], None),
            (&[], Some("navigate")),
            (&["*/*"], None),
            (&["*/*"], Some("navigate")),
            (&["application/json"], None),
            (&["application/problem+json, text/html;q=0.9"], None),
            (&["application/json, text/html"], None),
            (&["application/*;q=0.9, text/html;q=0.8"], None),
            // A problem document is covered by the last one: no preference.
            (&["application/json;q=0, */*"], None),
            (&["text/html;q=0"], None),
            (&["text/html;q=0, */*"], None),
            (&["text/*, text/html;q=0.0"], None),
            (&["text/html;q=1.5"], None),
            (&["text/html;q=0.1234"], None),
            (&["text/html;q=-1"], None),
            (&["text/html;Q=0"], None),
            (&["text/plain"], None),
            (&["html", "/", ";", ",", "\"", "*"], None),
            // A script of a page, whatever it accepts.
            (&[FIREFOX], Some("cors")),
            (&[FIREFOX], Some("same-origin")),
            (&[FIREFOX], Some("no-cors")),
            (&[FIREFOX], Some("websocket")),
            (&[FIREFOX], Some("")),
        ] {
            assert_eq!(reader(accept, mode), Reader::Program, "{accept:?} {mode:?}");
        }
    }
}
