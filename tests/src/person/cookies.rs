//! Cookies by host, path and name, as a browser keeps them (RFC 6265 section 5.3).

use reqwest::Url;

/// One person's cookies. Ports make no difference, as in browsers; `Secure` neither, since
/// browsers trust loopback; and of expiry only whether it is over.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

impl Jar {
    /// Takes in a `set-cookie` line of an answer from `url`.
    pub(super) fn keep(&mut self, url: &Url, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (mut path, mut over) = ("/", false);
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "path" => path = value,
                "max-age" => over |= value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                "expires" => over |= value.contains("01 Jan 1970"),
                _ => {}
            }
        }
        let host = host_of(url);
        self.0.retain(|cookie| {
            (
                cookie.host.as_str(),
                cookie.path.as_str(),
                cookie.name.as_str(),
            ) != (&host, path, name)
        });
        if !over {
            self.0.push(Cookie {
                host,
                path: path.to_owned(),
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    /// The `cookie` header of a request to `url`: longer paths first.
    pub(super) fn header(&self, url: &Url) -> Option<String> {
        let host = host_of(url);
        let mut sent: Vec<_> = self.0.iter().collect();
        sent.retain(|cookie| cookie.host == host && covers(&cookie.path, url.path()));
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs = sent
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value));
        let pairs: Vec<_> = pairs.collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// RFC 6265 section 5.1.4.
fn covers(path: &str, asked: &str) -> bool {
    asked
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || path.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_where_they_came_from() {
        let at = |url: &str| Url::parse(url).unwrap();
        let mut jar = Jar::default();
        jar.keep(&at("http://localhost:1/a"), "s=1; Path=/; HttpOnly");
        jar.keep(&at("http://localhost:1/a"), "flow=2; path=/auth/op");
        jar.keep(&at("http://127.0.0.1:2/a"), "s=3");
        let sent = |jar: &Jar, url: &str| jar.header(&at(url)).unwrap_or_default();
        assert_eq!(sent(&jar, "http://localhost:9/"), "s=1");
        assert_eq!(
            sent(&jar, "http://localhost/auth/op/callback"),
            "flow=2; s=1"
        );
        assert_eq!(sent(&jar, "http://localhost/auth/opera"), "s=1");
        assert_eq!(sent(&jar, "http://127.0.0.1/"), "s=3");
        jar.keep(&at("http://localhost:1/"), "s=4");
        jar.keep(
            &at("http://localhost:1/"),
            "flow=; Path=/auth/op; Max-Age=0",
        );
        assert_eq!(sent(&jar, "http://localhost/auth/op"), "s=4");
    }
}
