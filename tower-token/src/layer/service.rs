//! The service that puts a token into each request.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use tower_service::Service;

use super::copy::{Copy, begin};
use super::error::TokenServiceError;
use super::future::{Asked, Kept, Resend, ResponseFuture, Unsent};
use super::placement::{Authorization, Placement};
use super::replay::{CloneBody, Replay};
use super::request::TokenRequest;
use super::{Bound, Settings};
use crate::error::{Error, ErrorKind};
use crate::manager::{Attached, Offer, Shared, Wanted};

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
        bound.settings.bind(key.into());
        bound
    }

    /// The same, for requests that come with a trail.
    #[cfg(feature = "reqwest")]
    pub(crate) fn with_trails(mut self) -> Self {
        self.settings.has_trails = true;
        self
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
    pub(super) fn bind(&mut self, wanted: TokenRequest) {
        let offer = self.manager.offer(&wanted.key);
        self.bound = Some(Bound {
            offer: offer.as_ref().map(Arc::downgrade).unwrap_or_default(),
            wanted,
        });
    }

    /// What a request to `uri` wants, and whose offer has it at once: what nearly every request
    /// comes to.
    fn find<'a>(
        &'a mut self,
        asked: Option<&'a TokenRequest>,
        uri: &Uri,
    ) -> Option<(&'a TokenRequest, Arc<Offer>)> {
        let manager = &*self.manager;
        let (wanted, offer) = match &mut self.bound {
            None => {
                let asked = asked?;
                (asked, manager.offer(&asked.key)?)
            }
            Some(bound) => {
                if asked.is_some_and(|asked| asked.key != bound.wanted.key) {
                    return None;
                }
                let offer = bound.offer(manager)?;
                (asked.unwrap_or(&bound.wanted), offer)
            }
        };
        let now = manager.now();
        let is_fresh = match wanted.is_plain() {
            true => offer.is_fresh(now),
            false => offer.is_fresh_for(now, wanted.wanted()),
        };
        (is_fresh && offer.allows(uri)).then_some((wanted, offer))
    }

    /// Whether it was sent where nobody is to be trusted with what comes next.
    fn is_lost<B>(&self, _request: &Request<B>) -> bool {
        #[cfg(feature = "reqwest")]
        if self.has_trails {
            return super::trail::is_lost(_request);
        }
        false
    }

    fn plan<B>(&self, request: &Request<B>, placed: bool) -> Result<Plan, Error> {
        if placed {
            return Ok(Plan::PassThrough);
        }
        if self.is_lost(request) {
            return Ok(Plan::PassThrough);
        }
        let bound = self.bound.as_ref().map(|bound| &bound.wanted);
        match (request.extensions().get::<TokenRequest>(), bound) {
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

impl Bound {
    fn offer(&mut self, manager: &Shared) -> Option<Arc<Offer>> {
        match self.offer.upgrade() {
            Some(offer) if !offer.is_withdrawn() => Some(offer),
            _ => self.look_up(manager),
        }
    }

    #[cold]
    fn look_up(&mut self, manager: &Shared) -> Option<Arc<Offer>> {
        let offer = manager.offer(&self.wanted.key)?;
        self.offer = Arc::downgrade(&offer);
        Some(offer)
    }
}

impl<S, R, P, B, A> Service<Request<B>> for TokenService<S, R, P>
where
    R: Replay<B> + Clone,
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
        let asked = request.extensions().get::<TokenRequest>();
        let found = match self.settings.is_lost(&request) {
            false => self.settings.find(asked, request.uri()),
            true => None,
        };
        let Some((wanted, offer)) = found else {
            return self.call_for_another(request);
        };
        let retry = wanted.retry;
        let account = wanted.account.clone();
        let route = wanted.route;
        let Some(token) = offer.token(Wanted::of(account.as_deref()).which) else {
            return self.call_for_another(request);
        };
        // Not asked where nothing can be kept anyway.
        let retry = size_of::<Option<R::Again>>() > 0
            && retry
            && !self.placement.is_placed(request.headers());
        let (mut request, copy) = begin(&self.replay, request, retry);
        let again = copy.map(|copy| self.resend(copy));
        match self.placement.place_if_absent(token, &mut request) {
            Ok(true) => {}
            Ok(false) => return ResponseFuture::last(self.inner.call(request)),
            Err(error) => return ResponseFuture::failed(error),
        }
        let asked = Asked::Offer {
            offer,
            account,
            route,
        };
        ResponseFuture::calling(self.inner.call(request), Kept { asked, again })
    }
}

impl<S, R, P> TokenService<S, R, P> {
    fn resend<K>(&self, copy: Copy<K>) -> Box<Resend<S, K, P>>
    where
        S: Clone,
        P: Clone,
    {
        Box::new(Resend {
            copy,
            _manager: Arc::clone(&self.settings.manager),
            service: self.inner.clone(),
            placement: self.placement.clone(),
        })
    }

    /// Where there is no fresh token at hand.
    #[cold]
    fn call_for_another<B, A>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R, P>
    where
        R: Replay<B> + Clone,
        S: Service<Request<R::Body>, Response = Response<A>> + Clone,
        P: Placement<R::Body> + Clone,
    {
        let placed = self.placement.is_placed(request.headers());
        let wanted = match self.settings.plan(&request, placed) {
            Ok(Plan::Attach(wanted)) => wanted,
            Ok(Plan::PassThrough) => return self.pass_through(request),
            Err(error) => return ResponseFuture::failed(error),
        };
        let manager = Arc::clone(&self.settings.manager);
        match manager.attach(&wanted.key, wanted.wanted(), request.uri()) {
            Ok(Attached::Token(token)) => {
                let (mut request, copy) = begin(&self.replay, request, wanted.retry);
                if let Err(error) = self.placement.place(&token, &mut request) {
                    return ResponseFuture::failed(error);
                }
                let asked = Asked::waited(manager, wanted, token.serial());
                let again = copy.map(|copy| self.resend(copy));
                ResponseFuture::calling(self.inner.call(request), Kept { asked, again })
            }
            Ok(Attached::Wait) => {
                // The one that was polled ready is called; its clone takes its place.
                let next = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, next);
                let unsent = Unsent {
                    service,
                    request,
                    replay: self.replay.clone(),
                    placement: self.placement.clone(),
                };
                ResponseFuture::waiting(unsent, manager, wanted)
            }
            Err(error)
                if error.kind() == ErrorKind::ForeignOrigin
                    && self.settings.foreign_origin_without_token =>
            {
                #[cfg(feature = "reqwest")]
                super::trail::lose(&request);
                self.pass_through(request)
            }
            Err(error) => ResponseFuture::failed(error),
        }
    }

    /// As it is: nothing of it is kept.
    fn pass_through<B, A>(&mut self, request: Request<B>) -> ResponseFuture<S, B, R, P>
    where
        R: Replay<B>,
        S: Service<Request<R::Body>, Response = Response<A>>,
    {
        let (request, _) = begin(&self.replay, request, false);
        ResponseFuture::last(self.inner.call(request))
    }
}
