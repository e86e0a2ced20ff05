//! Where the service's own pages are.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;

/// The origin that browsers know the service by: scheme, host and port, from its
/// configuration. What a request says of its host never takes its place.
///
/// It decides whether cookies are `Secure` and named `__Host-..`: always, but for plain
/// `http` on a loopback host, for development. Plain `http` elsewhere is refused: every
/// cookie would travel in the open.
///
/// ```
/// use axum_token::PublicOrigin;
///
/// let origin: PublicOrigin = "https://app.example.com".parse()?;
/// assert_eq!(origin.cookie_name("session"), "__Host-session");
///
/// let local: PublicOrigin = "http://localhost:3000".parse()?;
/// assert_eq!(local.cookie_name("session"), "session");
///
/// assert!("http://app.example.com".parse::<PublicOrigin>().is_err());
/// # Ok::<(), axum_token::InvalidPublicOrigin>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PublicOrigin {
    /// As a browser writes it (RFC 6454 section 6.2).
    text: Arc<str>,
    secure: bool,
}

/// Why a text is no [`PublicOrigin`], and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPublicOrigin {
    problem: &'static str,
}

impl PublicOrigin {
    /// Whether cookies are `Secure`: everywhere but on plain `http` on loopback.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The origin as browsers write it, without a path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A cookie's name here: with `__Host-` before it, which keeps other hosts of the same
    /// site from setting it, wherever cookies are `Secure`. What reads it by a library that
    /// decodes names needs the [`HostCookiesLayer`](crate::HostCookiesLayer), too.
    pub fn cookie_name(&self, name: &str) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}{name}")
    }

    /// Whether an `Origin` header names this one.
    pub(crate) fn is(&self, origin: &[u8]) -> bool {
        origin == self.text.as_bytes()
    }
}

impl FromStr for PublicOrigin {
    type Err = InvalidPublicOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidPublicOrigin> {
        let invalid = |problem| Err(InvalidPublicOrigin { problem });
        let Ok(uri) = text.parse::<Uri>() else {
            return invalid(
                "it is not a URL; a name with other letters than ASCII is written \
                            in its xn-- form",
            );
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return invalid("it has no scheme or no host");
        };
        let bare = uri.path_and_query().is_none_or(|rest| rest == "/");
        if !bare || text.contains(['#', '?']) || authority.as_str().contains('@') {
            return invalid("it has more than a scheme, a host and a port");
        }
        let Some(host) = host(authority.host()) else {
            return invalid("it has no host");
        };
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().len() > authority.host().len() => {
                return invalid("its port is not a number");
            }
            None if scheme == "https" => 443,
            None => 80,
        };
        let secure = match scheme {
            "https" => true,
            "http" if host.is_loopback() => false,
            "http" => {
                return invalid(
                    "plain http is for loopback only, as cookies would travel in the open: serve \
                     it by https, if need be by a proxy in front, and write that origin",
                );
            }
            _ => return invalid("it is neither https nor http"),
        };
        let standard = if secure { 443 } else { 80 };
        let text = if port == standard {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{port}")
        };
        Ok(Self {
            text: text.into(),
            secure,
        })
    }
}

enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

fn host(text: &str) -> Option<Host> {
    let v6 = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Some(v6) = v6 {
        return v6.parse().ok().map(Host::V6);
    }
    if let Ok(v4) = text.parse() {
        return Some(Host::V4(v4));
    }
    (!text.is_empty()).then(|| Host::Name(text.to_ascii_lowercase()))
}

impl Host {
    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::V4(ip) => ip.is_loopback(),
            Self::V6(ip) => ip.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

impl fmt::Display for PublicOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for InvalidPublicOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL that was pasted in could carry a secret: the rule is named, not the text.
        write!(
            f,
            "the public origin is one such as \"https://app.example.com\": {}",
            self.problem
        )
    }
}

impl std::error::Error for InvalidPublicOrigin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_a_browser_writes_it() {
        for (given, written, secure) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://app.example.com/", "https://app.example.com", true),
            (
                "HTTPS://App.Example.COM:443",
                "https://app.example.com",
                true,
            ),
            (
                "https://app.example.com:8443",
                "https://app.example.com:8443",
                true,
            ),
            ("https://localhost", "https://localhost", true),
            ("https://10.0.0.1", "https://10.0.0.1", true),
            ("http://localhost:3000", "http://localhost:3000", false),
            ("http://LOCALHOST:80", "http://localhost", false),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000", false),
            ("http://127.1.2.3", "http://127.1.2.3", false),
            ("http://[0:0:0:0:0:0:0:1]:3000", "http://[::1]:3000", false),
        ] {
            let origin: PublicOrigin = given.parse().unwrap();
            assert_eq!((origin.as_str(), origin.is_secure()), (written, secure));
        }
    }

    #[test]
    fn plain_http_off_loopback_and_what_is_no_origin_do_not_start() {
        for text in [
            "http://app.example.com",
            "http://10.0.0.1",
            "http://0.0.0.0:3000",
            "http://[::]:3000",
            "http://127.1",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost@app.example.com",
            "https://user:password@app.example.com",
            "https://app.example.com/app",
            "https://app.example.com?x",
            "https://app.example.com#x",
            "https://app.example.com:",
            "https://app.example.com:99999",
            "https://\u{e4}pp.example.com",
            "https://",
            "https://[1]:1",
            "//app.example.com",
            "app.example.com",
            "app.example.com:443",
            "ftp://app.example.com",
            "null",
            "*",
            "",
        ] {
            let refused = text.parse::<PublicOrigin>();
            assert!(refused.is_err(), "{text}: {refused:?}");
        }
        let error = "http://app.example.com"
            .parse::<PublicOrigin>()
            .unwrap_err();
        assert!(error.to_string().contains("serve it by https"), "{error}");
    }
}
