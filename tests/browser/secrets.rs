//! What must not be seen: every token that the stand-in ever issued, and the keys.

use std::collections::BTreeSet;
use std::path::Path;

use http::HeaderMap;
use serde_json::Value;
use tests::BoxError;
use tests::leaks::Leaks;

use crate::recorder::Exchange;

/// The only answer with tokens in it: access tokens, for Link.
const HANDED_OVER: &str = "POST /mesh/access-tokens";
/// The only request with tokens in it: what Link posts to the page when it has connected.
const CONNECTED: &str = "POST /mesh/connections";
/// Link's own: there the tokens of a new connection come from.
const LINK_CONNECTED: &str = "POST /link/connect";

/// Gathered over a whole story, since a stand-in may forget what is over.
#[derive(Debug, Default)]
pub struct Secrets {
    pub access: BTreeSet<String>,
    pub refresh: BTreeSet<String>,
    pub keys: BTreeSet<String>,
}

impl Secrets {
    /// Adds what stands in the data folder now.
    pub fn gather(&mut self, data: &Path) -> Result<(), BoxError> {
        let state: Value = serde_json::from_slice(&std::fs::read(data.join("mesh.json"))?)?;
        let names = |kind: &str| {
            let tokens = state["ledger"][kind].as_object();
            tokens.into_iter().flatten().map(|(token, _)| token.clone())
        };
        self.access.extend(names("access"));
        self.refresh.extend(names("refresh"));
        let secret = state["client_secret"].as_str().ok_or("no client secret")?;
        let key = std::fs::read_to_string(data.join("key"))?;
        self.keys.extend([secret.to_owned(), key.trim().to_owned()]);
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> Leaks {
        let all = self.access.iter().chain(&self.refresh).chain(&self.keys);
        Leaks::new(all.map(String::as_str))
    }

    fn without_access(&self) -> Leaks {
        Leaks::new(self.refresh.iter().chain(&self.keys).map(String::as_str))
    }

    fn keys(&self) -> Leaks {
        Leaks::new(self.keys.iter().map(String::as_str))
    }

    /// Looks through all that went between the browser and the two servers.
    pub fn check(&self, exchanges: &[Exchange], app: &str) -> Result<(), BoxError> {
        let (all, without_access, keys) = (self.all(), self.without_access(), self.keys());
        let mut seen = BTreeSet::new();
        for exchange in exchanges {
            let ours = exchange.is_to(app);
            let name = exchange.name();
            let sent = [head(&exchange.sent_headers), exchange.uri.to_string()].concat();
            let sent_may = match (ours, name.as_str()) {
                (true, CONNECTED) => &keys,
                (true, _) => &all,
                (false, _) => &without_access,
            };
            let answer_may = match (ours, name.as_str()) {
                (true, HANDED_OVER) => &without_access,
                (false, LINK_CONNECTED) => &keys,
                _ => &all,
            };
            for (what, leaks, bytes) in [
                ("the head of the request", &all, sent.as_bytes()),
                ("the request", sent_may, &exchange.sent[..]),
                (
                    "the head of the answer",
                    &all,
                    head(&exchange.headers).as_bytes(),
                ),
                ("the answer", answer_may, &exchange.body[..]),
            ] {
                // The page asks for the same again and again.
                if !seen.insert((name.clone(), what, bytes.to_vec())) {
                    continue;
                }
                if let Some(found) = leaks.find(bytes) {
                    return Err(format!("{what} {name} has {found}").into());
                }
            }
        }
        self.check_that_it_sees(exchanges, app)
    }

    /// The same search finds what is allowed, so it is not blind.
    fn check_that_it_sees(&self, exchanges: &[Exchange], app: &str) -> Result<(), BoxError> {
        let all = self.all();
        let at = |name: &'static str| {
            let named = exchanges.iter();
            named.filter(move |exchange| exchange.is_to(app) && exchange.name() == name)
        };
        let handed_over = at(HANDED_OVER).filter(|exchange| all.find(&exchange.body).is_some());
        let connected = at(CONNECTED).filter(|exchange| all.find(&exchange.sent).is_some());
        if handed_over.count() == 0 || connected.count() == 0 {
            return Err("not even the tokens that are meant to be seen were found".into());
        }
        for token in &self.refresh {
            let times = at(CONNECTED).filter(|exchange| has(&exchange.sent, token));
            if times.count() > 1 {
                return Err("a refresh token came from the page twice".into());
            }
        }
        Ok(())
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

fn head(headers: &HeaderMap) -> String {
    let lines = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        format!("{name}: {value}\n")
    });
    lines.collect()
}
