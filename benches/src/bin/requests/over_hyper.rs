//! hyper-util's client, and the layer over it.

use benches::BoxError;
use benches::noop::{Body, Template};
use benches::ours::{Ours, key, token};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower_layer::Layer as _;
use tower_service::Service;
use tower_token::{NoReplay, TokenLayer, TokenRequest};

use crate::load::{Client, Load, OneThread};
use crate::server::Server;
use crate::{TOKEN, answered, one_thread};

type Http = hyper_util::client::legacy::Client<HttpConnector, Body>;

fn http() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// Sends requests made from a template.
#[derive(Clone)]
struct Asking<S> {
    service: S,
    template: Template,
    by_hand: Option<HeaderValue>,
}

impl<S> Client for Asking<S>
where
    S: Service<Request<Body>, Response = Response<Incoming>, Future: Send> + Clone + Send + Sync,
    S: 'static,
    S::Error: Into<BoxError>,
{
    async fn ask(&self) -> Result<(), BoxError> {
        let mut request = self.template.request();
        if let Some(value) = &self.by_hand {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        // Nothing below has to be waited for to be ready: hyper's client always is.
        let asked = self.service.clone().call(request);
        let response = asked.await.map_err(Into::into)?;
        let status = response.status();
        answered(status, &response.into_body().collect().await?.to_bytes())
    }
}

/// Without a token.
pub fn bare(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    Ok(Box::new(OneThread {
        runtime: one_thread()?,
        client: Asking {
            service: http(),
            template: Template::new()?.to(server.public().parse()?),
            by_hand: None,
        },
    }))
}

/// With a header that is at hand.
pub fn by_hand(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    at_hand(Template::new()?.to(server.private().parse()?))
}

/// The same, of a request that names its user, as that of a layer that looks for one must.
pub fn by_hand_named(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    let template = Template::new()?.to(server.private().parse()?);
    at_hand(template.with(TokenRequest::new(key(0))))
}

fn at_hand(template: Template) -> Result<Box<dyn Load>, BoxError> {
    Ok(Box::new(OneThread {
        runtime: one_thread()?,
        client: Asking {
            service: http(),
            template,
            by_hand: Some(format!("Bearer {}", token(0, TOKEN)).parse()?),
        },
    }))
}

/// The request names its grant; a 401 is an answer.
pub fn no_replay(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    by_key(server, |tokens| tokens.replay(NoReplay).layer(http()))
}

/// The request names its grant, and is sent again after a 401.
pub fn armed(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    by_key(server, |tokens| tokens.layer(http()))
}

/// The client is bound to a grant; a 401 is an answer.
pub fn bound_no_replay(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    bound(server, |tokens| tokens.replay(NoReplay).layer(http()))
}

/// The client is bound to a grant, and sends again after a 401.
pub fn bound_armed(server: &Server) -> Result<Box<dyn Load>, BoxError> {
    bound(server, |tokens| tokens.layer(http()))
}

fn by_key<S>(
    server: &Server,
    service: impl FnOnce(TokenLayer) -> S,
) -> Result<Box<dyn Load>, BoxError>
where
    Asking<S>: Client,
{
    let ours = Ours::connected_at(server.origin(), 1, TOKEN)?;
    let template = Template::new()?.to(server.private().parse()?);
    let template = template.with(TokenRequest::new(ours.keys[0].clone()));
    let service = service(TokenLayer::new(&ours.manager));
    Ok(asking(ours, service, template))
}

fn bound<S>(
    server: &Server,
    service: impl FnOnce(TokenLayer) -> S,
) -> Result<Box<dyn Load>, BoxError>
where
    Asking<S>: Client,
{
    let ours = Ours::connected_at(server.origin(), 1, TOKEN)?;
    let template = Template::new()?.to(server.private().parse()?);
    let service = service(TokenLayer::new(&ours.manager).for_key(ours.keys[0].clone()));
    Ok(asking(ours, service, template))
}

fn asking<S>(ours: Ours, service: S, template: Template) -> Box<dyn Load>
where
    Asking<S>: Client,
{
    Box::new(OneThread {
        runtime: ours.runtime,
        client: Asking {
            service,
            template,
            by_hand: None,
        },
    })
}
