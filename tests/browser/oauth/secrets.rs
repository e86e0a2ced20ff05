//! What must not come to the browser: all that the provider issued to the app.

use http::HeaderMap;
use http::header::LOCATION;
use serde_json::Value;
use tests::BoxError;
use tests::leaks::Leaks;

use crate::recorder::Exchange;

/// The provider's answer of what it issued, and the client's secret.
#[derive(Debug)]
pub struct Issued {
    /// Access and refresh tokens, and the secret: for servers only.
    tokens: Vec<String>,
    /// For the app, and back to the provider when the person logs out.
    ids: Vec<String>,
    /// These the browser carries.
    codes: Vec<String>,
}

impl Issued {
    pub fn new(issued: &Value, client_secret: &str) -> Self {
        let of = |kind: &str| {
            let values = issued[kind].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned);
            values.collect::<Vec<_>>()
        };
        let mut tokens = of("access_token");
        tokens.extend(of("refresh_token"));
        tokens.push(client_secret.to_owned());
        Self {
            tokens,
            ids: of("id_token"),
            codes: of("code"),
        }
    }

    /// All that no page of the app may have.
    pub fn all(&self) -> Leaks {
        Leaks::new(self.tokens.iter().chain(&self.ids).map(String::as_str))
    }

    /// Looks through all that went between the browser, the app and the provider.
    pub fn check(&self, exchanges: &[Exchange], provider: &str) -> Result<(), BoxError> {
        let (all, tokens) = (
            self.all(),
            Leaks::new(self.tokens.iter().map(String::as_str)),
        );
        for exchange in exchanges {
            let sent = format!("{}\n{}", exchange.uri, head(&exchange.sent_headers));
            // An id token goes to the provider as the hint of who logs out (OpenID Connect
            // RP-Initiated Logout 1.0 section 2), by the app's redirect.
            let logout = format!("{provider}/session/end?");
            let location = exchange.headers.get(LOCATION).map(|to| to.as_bytes());
            let hints = exchange.is_to(provider)
                || location.is_some_and(|to| to.starts_with(logout.as_bytes()));
            let heads = if hints { &tokens } else { &all };
            for (what, leaks, bytes) in [
                ("the head of the request", heads, sent.as_bytes()),
                ("the request", &all, &exchange.sent[..]),
                (
                    "the head of the answer",
                    heads,
                    head(&exchange.headers).as_bytes(),
                ),
                ("the answer", &all, &exchange.body[..]),
            ] {
                if let Some(found) = leaks.find(bytes) {
                    return Err(format!("{what} {} has {found}", exchange.name()).into());
                }
            }
        }
        self.check_that_it_sees(exchanges)
    }

    /// The same search finds the codes, so it is not blind.
    fn check_that_it_sees(&self, exchanges: &[Exchange]) -> Result<(), BoxError> {
        for code in &self.codes {
            let code = Leaks::new([code.as_str()]);
            let mut uris = exchanges.iter().map(|exchange| exchange.uri.to_string());
            if !uris.any(|uri| code.find(uri.as_bytes()).is_some()) {
                return Err("not even a code was found".into());
            }
        }
        match self.codes.is_empty() || self.tokens.len() < 3 || self.ids.is_empty() {
            true => Err("there is nothing to look for".into()),
            false => Ok(()),
        }
    }
}

fn head(headers: &HeaderMap) -> String {
    let lines = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\n")
    });
    lines.collect()
}
