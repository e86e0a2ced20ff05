//! The parameters of a query or a form.

/// More than any of ours has.
const MAX: usize = 64;

/// Parameters, each at most once (RFC 6749 section 3.1).
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// `None` if one of them comes twice: two readers could take it for two things.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut parsed: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            if parsed.len() == MAX || parsed.iter().any(|(other, _)| *other == name) {
                return None;
            }
            parsed.push((name.into_owned(), value.into_owned()));
        }
        Some(Self(parsed))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        let parsed = Parameters::parse(b"state=a%20b&code=c&empty=").unwrap();
        assert_eq!(parsed.get("state"), Some("a b"));
        assert_eq!(parsed.get("empty"), Some(""));
        assert_eq!(parsed.get("other"), None);
        for twice in ["state=a&state=a", "state=a&%73tate=b", "a&a"] {
            assert!(Parameters::parse(twice.as_bytes()).is_none(), "{twice}");
        }
        let many: String = (0..=MAX).map(|n| format!("{n}=&")).collect();
        assert!(Parameters::parse(many.as_bytes()).is_none());
    }
}
