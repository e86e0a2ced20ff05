//! What a way to put tokens into requests has to show, ours and those of others.

use crate::BoxError;
use crate::token_service::TokenService;
#[cfg(feature = "peers")]
use {
    crate::noop::{Body, Noop, Template},
    http::Request,
    tower_service::Service as _,
};

/// A client that puts a token into its requests: what a program would have in its place. Its clones
/// share what they know of tokens, as the clones of a program's client do.
pub trait Peer: Clone + Send + Sync + Sized + 'static {
    /// What tables call it.
    const NAME: &'static str;

    /// What its kind of client sends: not all are of `http`.
    type Request: Send;

    /// Gets its first token from `service`, by the way that its users would take.
    fn connect(service: &TokenService) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// A request of five headers.
    fn request(&self) -> Self::Request;

    /// Sends it without a token to a service that does nothing, by the same kind of client: the
    /// floor over which a token costs something.
    fn bare(&mut self, request: Self::Request)
    -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Sends it with a token to a service that does nothing. An error if there is no token in
    /// what arrives there.
    fn send(&mut self, request: Self::Request)
    -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// A peer whose requests are of `http`.
#[cfg(feature = "peers")]
pub(crate) trait HttpPeer: Clone + Send + Sync + Sized + 'static {
    /// See [`Peer::NAME`].
    const NAME: &'static str;

    /// See [`Peer::connect`].
    fn connect(service: &TokenService) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// What its requests are made from.
    fn template(&self) -> &Template;

    /// See [`Peer::send`].
    fn send(&mut self, request: Request<Body>)
    -> impl Future<Output = Result<(), BoxError>> + Send;
}

#[cfg(feature = "peers")]
impl<P: HttpPeer> Peer for P {
    const NAME: &'static str = <P as HttpPeer>::NAME;

    type Request = Request<Body>;

    // Handed through as they are: another future around each would be measured too.
    fn connect(service: &TokenService) -> impl Future<Output = Result<Self, BoxError>> + Send {
        <P as HttpPeer>::connect(service)
    }

    fn request(&self) -> Request<Body> {
        self.template().request()
    }

    async fn bare(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        Noop.call(request).await?;
        Ok(())
    }

    fn send(
        &mut self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        <P as HttpPeer>::send(self, request)
    }
}
