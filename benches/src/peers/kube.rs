//! kube-client's layer, with a token that a command gets, as those of clusters in a cloud do. The
//! command is `curl`, and what the token service answers is also what such a command prints.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use jiff::Timestamp;
use kube_client::Config;
use kube_client::client::ConfigExt as _;
use kube_client::client::middleware::AuthLayer;
use kube_client::config::{ExecConfig, ExecInteractiveMode};
use tower_layer::Layer;
use tower_service::Service;

use crate::BoxError;
use crate::noop::{API, Body, Guarded, GuardedAnswer, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

const VERSION: &str = "client.authentication.k8s.io/v1";

/// Its `AuthLayer`, which is not told by type what it holds. A token is due 1 min before it
/// expires.
#[derive(Clone)]
pub struct Kube {
    service: <AuthLayer as Layer<Boxed>>::Service,
    template: Template,
}

impl HttpPeer for Kube {
    const NAME: &'static str = "kube-client";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let args = ["--silent", "--fail", "--request", "POST", service.url()];
        let mut config = Config::new(API.parse()?);
        config.auth_info.exec = Some(ExecConfig {
            api_version: Some(VERSION.into()),
            command: Some("curl".into()),
            args: Some(args.map(Into::into).into()),
            env: None,
            drop_env: None,
            install_hint: None,
            interactive_mode: Some(ExecInteractiveMode::Never),
            provide_cluster_info: false,
            cluster: None,
            other: Default::default(),
        });
        // It runs the command, and waits for it.
        let layer = tokio::task::spawn_blocking(move || config.auth_layer()).await??;
        let layer = layer.ok_or("it has no token to add")?;
        Ok(Self {
            service: layer.layer(Boxed),
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        self.service.call(request).await?;
        Ok(())
    }
}

/// What makes the answer of a token service that which such a command prints.
pub(crate) fn add_credential(answer: &mut serde_json::Value, token: &str, life: u64) {
    let until = Timestamp::now() + Duration::from_secs(life);
    answer["kind"] = "ExecCredential".into();
    answer["apiVersion"] = VERSION.into();
    answer["status"] = serde_json::json!({
        "token": token,
        "expirationTimestamp": until.to_string(),
    });
}

/// [`Guarded`] with the only error that its layers pass on.
#[derive(Debug, Clone, Copy)]
pub struct Boxed;

/// Its answer.
#[derive(Debug)]
pub struct BoxedAnswer(GuardedAnswer);

impl<B> Service<Request<B>> for Boxed {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = BoxedAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> BoxedAnswer {
        BoxedAnswer(Guarded.call(request))
    }
}

impl Future for BoxedAnswer {
    type Output = Result<Response<()>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(Into::into)
    }
}
