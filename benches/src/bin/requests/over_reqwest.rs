//! reqwest, and its client that sends its users' tokens.

use benches::BoxError;
use benches::noop::HEADERS;
use benches::ours::{Ours, token};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Url};
use tower_token::TokenRequest;
use tower_token::reqwest::{SendWith as _, TokenClient};

use crate::load::{Client, Load, OneThread};
use crate::server::Server;
use crate::{TOKEN, answered, one_thread};

/// Builds the same request each time.
#[derive(Clone)]
struct Template {
    http: reqwest::Client,
    url: Url,
    headers: [(HeaderName, HeaderValue); 5],
}

impl Template {
    fn new(http: reqwest::Client, url: &str) -> Result<Self, BoxError> {
        Ok(Self {
            http,
            url: url.parse()?,
            headers: HEADERS.map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            }),
        })
    }

    fn request(&self) -> RequestBuilder {
        let mut request = self.http.get(self.url.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }
}

/// reqwest's own client.
#[derive(Clone)]
struct Plain {
    template: Template,
    by_hand: Option<HeaderValue>,
}

impl Client for Plain {
    async fn ask(&self) -> Result<(), BoxError> {
        let mut request = self.template.request();
        if let Some(value) = &self.by_hand {
            request = request.header(AUTHORIZATION, value);
        }
        let response = request.send().await?;
        answered(response.status(), &response.bytes().await?)
    }
}

/// Ours, bound to a user.
#[derive(Clone)]
struct Bound {
    template: Template,
    user: TokenClient,
}

impl Client for Bound {
    async fn ask(&self) -> Result<(), BoxError> {
        let response = self.template.request().send_with(&self.user).await?;
        answered(response.status(), &response.bytes().await?)
    }
}

/// Without a token.
pub fn bare(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    Ok(Box::new(OneThread {
        runtime: one_thread()?,
        client: Plain {
            template: Template::new(reqwest::Client::new(), &server.public())?,
            by_hand: None,
        },
    }))
}

/// With a header that is at hand.
pub fn by_hand(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    Ok(Box::new(OneThread {
        runtime: one_thread()?,
        client: Plain {
            template: Template::new(reqwest::Client::new(), &server.private())?,
            by_hand: Some(format!("Bearer {}", token(0, TOKEN)).parse()?),
        },
    }))
}

/// A 401 is an answer.
pub fn no_replay(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    bound(server, TokenRequest::without_retry)
}

/// Sent again after a 401.
pub fn armed(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    bound(server, |wanted| wanted)
}

fn bound(
    server: &Server,
    retry: impl FnOnce(TokenRequest) -> TokenRequest,
) -> Result<Box<dyn Load>, BoxError> {
    let ours = Ours::connected_at(server.origin(), 1, TOKEN)?;
    let client = TokenClient::new(&ours.manager, reqwest::Client::builder())?;
    let wanted = retry(TokenRequest::new(ours.keys[0].clone()));
    Ok(Box::new(OneThread {
        client: Bound {
            template: Template::new(client.client().clone(), &server.private())?,
            user: client.for_key(wanted),
        },
        runtime: ours.runtime,
    }))
}
