//! A gRPC API, `grpc.health.v1` as tonic-health has it, that lets nobody in without a token.

use std::collections::HashSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

/// An API that refuses some tokens before a call begins.
#[derive(Debug, Clone, Default)]
pub struct Api(Arc<Mutex<(HashSet<String>, usize)>>);

impl Api {
    /// Serves it on a free port.
    pub async fn start() -> Result<(Self, SocketAddr), Box<dyn Error>> {
        let api = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (_, health) = tonic_health::server::health_reporter();
        let checked = api.clone();
        let service = InterceptedService::new(health, move |request| checked.check(request));
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok((api, address))
    }

    fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get("authorization");
        let token = header.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        let (refused, refusals) = &mut *self.0.lock();
        match token {
            Some(token) if !refused.contains(token) => Ok(request),
            _ => {
                *refusals += 1;
                Err(Status::unauthenticated("the access token is not valid"))
            }
        }
    }

    /// Takes this token no longer.
    pub fn refuse(&self, token: &str) {
        self.0.lock().0.insert(token.to_owned());
    }

    /// How many calls were refused.
    pub fn refusals(&self) -> usize {
        self.0.lock().1
    }
}
