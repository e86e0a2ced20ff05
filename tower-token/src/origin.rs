//! Where a token may go: scheme, host and port (RFC 6454).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{Authority, Scheme};

/// One origin: `https`, or `http` on a loopback host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    https: bool,
    host: Box<str>,
    port: u16,
    /// Host and port as nearly every URL spells them.
    authority: Box<str>,
}

impl Origin {
    /// The origin of `uri`, unless a token must never go there.
    pub(crate) fn of(uri: &Uri) -> Result<Self, &'static str> {
        let (https, host, port) = parts(uri)?;
        let host = host.to_ascii_lowercase();
        let authority = if port == default_port(https) {
            host.clone()
        } else {
            format!("{host}:{port}")
        };
        Ok(Self {
            https,
            host: host.into(),
            port,
            authority: authority.into(),
        })
    }

    /// Reads an origin that someone configured: a bare origin, nothing behind it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
        if uri
            .path_and_query()
            .is_some_and(|rest| rest.as_str() != "/")
        {
            return Err("an origin has no path");
        }
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err("an origin has no user name");
        }
        Self::of(&uri)
    }

    /// Whether `uri` is at this origin. This runs on every request: the usual spelling is compared
    /// as it stands, and only another is taken apart.
    pub(crate) fn contains(&self, uri: &Uri) -> bool {
        let authority = uri.authority().map(Authority::as_str);
        if authority == Some(&self.authority) {
            let scheme = match self.https {
                true => &Scheme::HTTPS,
                false => &Scheme::HTTP,
            };
            return uri.scheme() == Some(scheme);
        }
        self.is_of(uri)
    }

    #[cold]
    fn is_of(&self, uri: &Uri) -> bool {
        parts(uri).is_ok_and(|(https, host, port)| {
            https == self.https && port == self.port && host.eq_ignore_ascii_case(&self.host)
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn parts(uri: &Uri) -> Result<(bool, &str, u16), &'static str> {
    let host = uri
        .host()
        .filter(|host| !host.is_empty())
        .ok_or("it names no host")?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_loopback(host) => false,
        Some("http") => return Err("plain http is for loopback hosts only"),
        _ => return Err("it is neither https nor http"),
    };
    let port = match uri.port() {
        Some(port) => port.as_u16(),
        // "host:" and "host:99999" have no port that parses; do not guess one.
        None if ends_with_bad_port(uri) => return Err("its port is not a number"),
        None => default_port(https),
    };
    Ok((https, host, port))
}

fn ends_with_bad_port(uri: &Uri) -> bool {
    uri.authority().is_some_and(|authority| {
        let after_host = authority
            .as_str()
            .rsplit(['@', ']'])
            .next()
            .unwrap_or_default();
        after_host.contains(':')
    })
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

fn is_loopback(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || v6
            .and_then(|ip| ip.parse::<Ipv6Addr>().ok())
            .is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(configured: &str, requested: &str) -> bool {
        Origin::parse(configured)
            .unwrap()
            .contains(&requested.parse().unwrap())
    }

    #[test]
    fn only_the_very_same_origin_is_allowed() {
        assert!(same(
            "https://api.example.com",
            "https://api.example.com/v1?x=y"
        ));
        assert!(same(
            "https://api.example.com",
            "https://API.Example.COM:443/"
        ));
        assert!(same(
            "https://api.example.com:8443",
            "https://api.example.com:8443/"
        ));
        assert!(same("http://127.0.0.1:9000", "http://127.0.0.1:9000/me"));
        assert!(same("http://[::1]:9000", "http://[::1]:9000/me"));
        for foreign in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com./",
            "https://evil.example.com/",
            "https://api.example.com.evil.com/",
            "https://evil.com/api.example.com",
            "https://api.example.com@evil.com/",
            "https://example.com/",
            "/relative",
            "ftp://api.example.com/",
        ] {
            assert!(!same("https://api.example.com", foreign), "{foreign}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback() {
        for loopback in ["http://localhost", "http://127.1.2.3:1", "http://[::1]"] {
            assert!(Origin::parse(loopback).is_ok(), "{loopback}");
        }
        for foreign in [
            "http://api.example.com",
            "http://10.0.0.1",
            "http://127.0.0.1.evil.com",
            "http://localhost.evil.com",
            "http://0.0.0.0",
            "https://api.example.com/path",
            "https://user@api.example.com",
            "api.example.com",
            "",
        ] {
            assert!(Origin::parse(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for text in [
            "https://a.example",
            "https://a.example:8443",
            "http://127.0.0.1:9000",
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
    }
}
