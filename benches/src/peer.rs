//! What a way to put tokens into requests has to show, ours and those of others.

use crate::BoxError;
use crate::token_service::TokenService;

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
