//! The service that puts a token into each request.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::Settings;
use super::error::TokenServiceError;
use super::future::{Asked, Copy, Kept, Resend, ResponseFuture, Unsent};
use super::placement::{Authorization, Placement};
use super::replay::{CloneBody, Replay};
use super::request::TokenRequest;
use crate::error::{Error, ErrorKind};
use crate::manager::Attached;

/// Puts the token of each request's user into it, and heals a 401 once.
///
/// Made by [`TokenLayer`](super::TokenLayer). Like every Tower middleware that calls its
/// inner service later, it calls a clone of it that was ready.
#[derive(Debug, Clone)]
pub struct TokenService<S, R = CloneBody, P = Authorization> {
    pub(super) inner: S,
    pub(super) settings: Settings,
    pub(super) replay: R,
    pub(super) placement: P,
}

impl<S, R, P> TokenService<S, R, P> {
    /// The same service over the same connections, for requests of one grant. They need
    /// no [`TokenRequest`]; one that names another grant is refused.
    #[must_use]
    pub fn for_key(&self, key: impl Into<TokenRequest>) -> Self
    where
        S: Clone,
        R: Clone,
        P: Clone,
    {
        let mut bound = self.clone();
        bound.settings.bound = Some(key.into());
        bound
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

/// What is to be done with a request.
enum Plan {
    /// It is none of ours.
    PassThrough,
    Attach(TokenRequest),
}

impl Settings {
    fn plan<B>(&self, request: &Request<B>, placed: bool) -> Result<Plan, Error> {
        if placed {
            return Ok(Plan::PassThrough);
        }
        #[cfg(feature = "reqwest")]
        if super::trail::is_lost(request) {
            return Ok(Plan::PassThrough);
        }
        match (request.extensions().get::<TokenRequest>(), &self.bound) {
            (Some(asked), Some(bound)) if asked.key != bound.key => Err(Error::new(
                ErrorKind::KeyMismatch,
                "the request names another grant than the one its client is bound to",
            )),
            (Some(wanted), _) | (None, Some(wanted)) => Ok(Plan::Attach(wanted.clone())),
            (None, None) if self.pass_without_key => Ok(Plan::PassThrough),
            (None, None) => Err(Error::new(
                ErrorKind::MissingKey,
                "the request does not say whose token it needs: add \
                 .extension(TokenRequest::new(key)) to it, or bind its client with .for_key(key)",
            )),
        }
    }
}

impl<S, R, P, B, A> Service<Request<B>> for TokenService<S, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>, Response = Response<A>> + Clone,
    P: Placement<R::Body> + Clone,
{
    type Response = Response<A>;
    type Error = TokenServiceError<S::Error>;
    type Future = ResponseFuture<S, B, R, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(TokenServiceError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let placed = self.placement.is_placed(request.headers());
        let plan = match self.settings.plan(&request, placed) {
            Ok(plan) => plan,
            Err(error) => return ResponseFuture::failed(error),
        };
        let (head, body) = request.into_parts();
        let retry = matches!(&plan, Plan::Attach(wanted) if wanted.retry);
        let (body, again) = self.replay.begin(body, retry);
        // Copied before the token goes in, so that a retry starts from what was given.
        let copy = again.map(|body| Copy {
            head: head.clone(),
            body,
        });
        let mut request = Request::from_parts(head, body);
        let wanted = match plan {
            Plan::Attach(wanted) => wanted,
            Plan::PassThrough => return ResponseFuture::last(self.inner.call(request)),
        };
        let manager = Arc::clone(&self.settings.manager);
        let attached = manager.attach(
            &wanted.key,
            wanted.wanted(),
            &mut request,
            |token, request| self.placement.place(token, request),
        );
        match attached {
            Ok(Attached::Token(serial)) => {
                let again = copy.map(|copy| {
                    Box::new(Resend {
                        copy,
                        service: self.inner.clone(),
                        placement: self.placement.clone(),
                    })
                });
                let kept = Kept {
                    asked: Asked { manager, wanted },
                    serial,
                    again,
                };
                ResponseFuture::calling(self.inner.call(request), kept)
            }
            Ok(Attached::Wait) => {
                // The one that was polled ready is called; its clone takes its place.
                let next = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, next);
                ResponseFuture::waiting(Unsent {
                    service,
                    request,
                    copy,
                    manager,
                    wanted,
                    placement: self.placement.clone(),
                })
            }
            Err(error)
                if error.kind() == ErrorKind::ForeignOrigin
                    && self.settings.foreign_origin_without_token =>
            {
                #[cfg(feature = "reqwest")]
                super::trail::lose(&request);
                ResponseFuture::last(self.inner.call(request))
            }
            Err(error) => ResponseFuture::failed(error),
        }
    }
}
