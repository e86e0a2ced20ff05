//! Where somebody goes when they are done: a path of ours, and nowhere else.

/// Longer than any page of a service, short enough for a cookie.
const MAX: usize = 512;

/// The path to go on at, `/` if none is given. `None` if it is not certain that every browser
/// takes it for a path of the origin that it is on.
///
/// Browsers take `\` for `/`, drop tabs and line ends, and resolve `..`: none of these is let
/// through, so that what was checked is what is gone to.
pub(super) fn safe_next(given: Option<&str>) -> Option<&str> {
    let given = given.unwrap_or("/");
    let path = given.split('?').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>#`{}|^".contains(&byte);
    let is_safe = given.len() <= MAX
        && given.bytes().all(is_plain)
        && path.starts_with('/')
        && !path.contains("//")
        && !path.split('/').any(is_dots);
    is_safe.then_some(given)
}

/// Whether a segment leads elsewhere (WHATWG URL: also where the dots are encoded).
fn is_dots(segment: &str) -> bool {
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
    matches!(&*decoded, "." | "..")
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
        "%2E.",
        "%5c",
        "%2f",
        "\t",
        "\n",
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
        /// As the parser of browsers reads it (WHATWG URL), resolved or behind the origin.
        #[test]
        fn a_browser_takes_what_is_let_through_for_the_same_path_here(
            parts in prop::collection::vec(prop::sample::select(PARTS), 0..7)
        ) {
            let next = format!("/{}", parts.concat());
            if let Some(safe) = safe_next(Some(&next)) {
                let origin = Url::parse("https://app.example.com/auth/op/callback").unwrap();
                let path = safe.split('?').next().unwrap_or_default();
                let whole = format!("https://app.example.com{safe}");
                for read in [origin.join(safe).unwrap(), Url::parse(&whole).unwrap()] {
                    prop_assert_eq!(read.origin(), origin.origin());
                    prop_assert_eq!(read.path(), path);
                }
            }
        }
    }

    #[test]
    fn only_paths_of_our_own_are_gone_on_at() {
        for next in [
            "/",
            "/a",
            "/a/b/",
            "/a?b=c&d=/e//f",
            "/a?next=https://b.example",
            "/a%20b",
            "/...",
            "/.well-known/x",
            "/a:b@c",
        ] {
            assert_eq!(safe_next(Some(next)), Some(next));
        }
        assert_eq!(safe_next(None), Some("/"));
        let long = format!("/{}", "a".repeat(MAX));
        for next in [
            "",
            "a",
            "?a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a//b",
            "/./a",
            "/../a",
            "/a/..",
            "/%2e%2E/a",
            "/.%2e//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nset-cookie:a=b",
            " /a",
            "/a b",
            "/a\0",
            "/\u{e9}",
            "/a#b",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "@evil.example",
            ".evil.example",
            &long,
        ] {
            assert_eq!(safe_next(Some(next)), None, "{next:?}");
        }
    }
}
