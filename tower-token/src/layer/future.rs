//! What one request goes through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::challenge::insufficient_scope;
use super::copy::{Copy, begin};
use super::error::TokenServiceError;
use super::placement::{Authorization, Placement};
use super::refusal::TokenRefused;
use super::replay::{CloneBody, Replay};
use super::request::TokenRequest;
use crate::error::Error;
use crate::grant::{AccessToken, Serial};
use crate::manager::{Offer, Shared};

pin_project! {
    /// The response future of [`TokenService`](super::TokenService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R = CloneBody, P = Authorization>
    where
        R: Replay<B>,
        S: Service<Request<R::Body>>,
    {
        #[pin]
        state: State<S, B, R, P>,
    }
}

/// The wait for a newer token, and what to do with it.
struct Healing<A, S, K, P> {
    token: Pin<Box<dyn Future<Output = Option<AccessToken>> + Send>>,
    /// The answer, unless there is a better one.
    refused: Option<A>,
    again: Option<Second<S, K, P>>,
}

/// Whose second attempt it is, and what it takes.
type Second<S, K, P> = (Box<Waited>, Box<Resend<S, K, P>>);

pin_project! {
    #[project = StateProj]
    enum State<S, B, R, P>
    where
        R: Replay<B>,
        S: Service<Request<R::Body>>,
    {
        /// Refused before anything was sent.
        Failed { error: Option<Error> },
        /// Waiting for a token; nothing was sent yet.
        Waiting {
            waiting: Pin<Box<Waiting<S, B, R, P, dyn Future<Output = Found> + Send>>>,
        },
        /// Sent with a token; a 401 can still be healed.
        Calling {
            #[pin]
            response: S::Future,
            kept: Option<Kept<S, R::Again, P>>,
        },
        /// Refused with a 401; waiting for a newer token.
        Healing { healing: Box<Healing<S::Response, S, R::Again, P>> },
        /// A newer token is there; waiting for the service to be ready again.
        Resending { again: Box<Again<S, R::Body>> },
        /// Whatever this answers is the answer.
        Last {
            #[pin]
            response: S::Future,
            // None for one that carries no token of ours.
            asked: Option<Box<Waited>>,
        },
    }
}

/// A token that was waited for, and who was asked for it.
type Found = Result<(AccessToken, Arc<Shared>, TokenRequest), Error>;

pin_project! {
    /// A request, and what gets its token. Thousands may wait for one: it is one piece of memory, no
    /// larger than it has to be.
    struct Waiting<S, B, R, P, T: ?Sized> {
        unsent: Option<Unsent<S, B, R, P>>,
        #[pin]
        token: T,
    }
}

/// A request as it was given: it needs no copy before it is sent.
pub(super) struct Unsent<S, B, R, P> {
    /// It was polled ready.
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) replay: R,
    pub(super) placement: P,
}

/// What a 401 would need.
pub(super) struct Kept<S, K, P> {
    pub(super) asked: Asked,
    pub(super) again: Option<Box<Resend<S, K, P>>>,
}

/// A copy of the request, and what to send it by.
pub(super) struct Resend<S, K, P> {
    pub(super) copy: Copy<K>,
    /// Lives as long as somebody may want a token of it.
    pub(super) _manager: Arc<Shared>,
    pub(super) service: S,
    pub(super) placement: P,
}

/// Who was asked for a token, and for which.
pub(super) enum Asked {
    /// It was there.
    Offer {
        offer: Arc<Offer>,
        account: Option<Arc<str>>,
        route: Option<&'static str>,
    },
    /// It had to be looked for.
    Waited(Box<Waited>),
}

pub(super) struct Waited {
    manager: Arc<Shared>,
    wanted: TokenRequest,
    serial: Serial,
}

impl Asked {
    pub(super) fn waited(manager: Arc<Shared>, wanted: TokenRequest, serial: Serial) -> Self {
        Self::Waited(Box::new(Waited {
            manager,
            wanted,
            serial,
        }))
    }

    /// Counts what an API answers to one of our tokens (feature `metrics`).
    #[inline]
    fn answered<A>(&self, response: &Response<A>) {
        if cfg!(feature = "metrics") {
            self.count(response.status());
        }
    }

    fn count(&self, status: StatusCode) {
        match self {
            Self::Offer { offer, route, .. } => offer.answered(*route, status),
            Self::Waited(waited) => waited.count(status),
        }
    }

    /// Whom to ask for another. `None` if there is nobody left.
    fn for_another(self) -> Option<Box<Waited>> {
        match self {
            Self::Waited(waited) => Some(waited),
            Self::Offer {
                offer,
                account,
                route,
            } => {
                let mut wanted = TokenRequest::new(offer.key().clone());
                wanted.account = account;
                wanted.route = route;
                Some(Box::new(Waited {
                    manager: offer.manager()?,
                    serial: offer.token(wanted.which())?.serial(),
                    wanted,
                }))
            }
        }
    }
}

impl Waited {
    fn count(&self, status: StatusCode) {
        let (key, route) = (&self.wanted.key, self.wanted.route);
        self.manager.answered(key, route, status);
    }
}

/// The request once more.
struct Again<S, B> {
    asked: Option<Box<Waited>>,
    service: S,
    request: Option<Request<B>>,
}

impl<S, B, R, P> ResponseFuture<S, B, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>>,
{
    pub(super) fn failed(error: Error) -> Self {
        let error = Some(error);
        Self {
            state: State::Failed { error },
        }
    }

    pub(super) fn last(response: S::Future) -> Self {
        Self {
            state: State::Last {
                response,
                asked: None,
            },
        }
    }

    pub(super) fn calling(response: S::Future, kept: Kept<S, R::Again, P>) -> Self {
        let kept = Some(kept);
        Self {
            state: State::Calling { response, kept },
        }
    }

    pub(super) fn waiting(
        unsent: Unsent<S, B, R, P>,
        manager: Arc<Shared>,
        wanted: TokenRequest,
    ) -> Self {
        let token = async move {
            let token = manager.usable(&wanted.key, wanted.wanted()).await?;
            Ok((token, manager, wanted))
        };
        let unsent = Some(unsent);
        Self {
            state: State::Waiting {
                waiting: Box::pin(Waiting { unsent, token }),
            },
        }
    }
}

impl<S, B, R, P, A> Future for ResponseFuture<S, B, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>, Response = Response<A>> + Clone,
    P: Placement<R::Body> + Clone,
{
    type Output = Result<Response<A>, TokenServiceError<S::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

/// What comes of a request.
type Answer<A, E> = Result<Response<A>, TokenServiceError<E>>;

impl<S, B, R, P, A> State<S, B, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>, Response = Response<A>> + Clone,
    P: Placement<R::Body> + Clone,
{
    /// What nearly every request comes to, and small enough to become part of whoever awaits it.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<A, S::Error>> {
        // Asked first: to project is to look through all states.
        let is_calling = matches!(*self, State::Calling { .. });
        if is_calling && let StateProj::Calling { response, kept } = self.as_mut().project() {
            let response = ready!(response.poll(cx)).map_err(TokenServiceError::Inner)?;
            if let Some(kept) = &kept {
                kept.asked.answered(&response);
            }
            return match is_refusal(&response) {
                false => Poll::Ready(Ok(response)),
                true => self.refused(response, cx),
            };
        }
        self.poll_rarer(cx)
    }

    #[cold]
    fn refused(
        mut self: Pin<&mut Self>,
        refused: Response<A>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<A, S::Error>> {
        let StateProj::Calling { kept, .. } = self.as_mut().project() else {
            return Poll::Pending;
        };
        match kept.take().map(|kept| kept.heal(refused, R::hold)) {
            Some(Ok(healing)) => {
                self.set(State::Healing { healing });
                self.poll_rarer(cx)
            }
            Some(Err(refused)) => Poll::Ready(Ok(refused)),
            None => Poll::Pending,
        }
    }

    #[cold]
    fn poll_rarer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<A, S::Error>> {
        let mut state = self;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Calling { .. } => return state.poll(cx),
                StateProj::Failed { error } => {
                    return Poll::Ready(match error.take() {
                        Some(error) => Err(TokenServiceError::Token(error)),
                        None => return Poll::Pending,
                    });
                }
                StateProj::Waiting { waiting } => {
                    let waiting = waiting.as_mut().project();
                    let found = ready!(waiting.token.poll(cx)).map_err(TokenServiceError::Token)?;
                    match waiting.unsent.take() {
                        Some(unsent) => unsent.send(found),
                        None => return Poll::Pending,
                    }
                }
                StateProj::Healing { healing } => {
                    let Healing {
                        token,
                        refused,
                        again,
                    } = &mut **healing;
                    let token = ready!(token.as_mut().poll(cx));
                    let second = again.take().zip(token).and_then(|((asked, again), token)| {
                        again.with_token(asked, R::again, &token)
                    });
                    match second {
                        Some(again) => State::Resending { again },
                        // No better token: the 401 is the answer.
                        None => match refused.take() {
                            Some(refused) => return Poll::Ready(Ok(refused)),
                            None => return Poll::Pending,
                        },
                    }
                }
                StateProj::Resending { again } => {
                    ready!(again.service.poll_ready(cx)).map_err(TokenServiceError::Inner)?;
                    match again.request.take() {
                        Some(request) => State::Last {
                            response: again.service.call(request),
                            asked: again.asked.take(),
                        },
                        None => return Poll::Pending,
                    }
                }
                StateProj::Last { response, asked } => {
                    let response = ready!(response.poll(cx)).map_err(TokenServiceError::Inner)?;
                    if let Some(asked) = asked {
                        asked.count(response.status());
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

/// Whether an API refuses the token itself, rather than what it is used for.
#[inline]
fn is_refusal<A>(response: &Response<A>) -> bool {
    let says_so = response.status() == StatusCode::UNAUTHORIZED
        || response.extensions().get::<TokenRefused>().is_some();
    says_so && !insufficient_scope(response.headers())
}

impl<S, B, R, P, A> Unsent<S, B, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>, Response = Response<A>> + Clone,
    P: Placement<R::Body> + Clone,
{
    fn send(
        mut self,
        (token, manager, wanted): (AccessToken, Arc<Shared>, TokenRequest),
    ) -> State<S, B, R, P> {
        let (mut request, copy) = begin(&self.replay, self.request, wanted.retry);
        if let Err(error) = self.placement.place(&token, &mut request) {
            let error = Some(error);
            return State::Failed { error };
        }
        let again = copy.map(|copy| {
            Box::new(Resend {
                copy,
                _manager: Arc::clone(&manager),
                service: self.service.clone(),
                placement: self.placement,
            })
        });
        let kept = Kept {
            asked: Asked::waited(manager, wanted, token.serial()),
            again,
        };
        State::Calling {
            response: self.service.call(request),
            kept: Some(kept),
        }
    }
}

impl<S, K, P> Kept<S, K, P> {
    /// Begins to get a newer token. Gives the refusal back if the request cannot be sent again:
    /// the refresh then happens behind.
    fn heal<A>(
        self,
        refused: A,
        hold: impl FnOnce(&mut K) -> bool,
    ) -> Result<Box<Healing<A, S, K, P>>, A> {
        let Some(asked) = self.asked.for_another() else {
            return Err(refused);
        };
        let held = self
            .again
            .and_then(|mut again| hold(&mut again.copy.body).then_some(again));
        let Waited {
            manager,
            wanted,
            serial,
        } = &*asked;
        let Some(again) = held else {
            manager.replace_refused_behind(&wanted.key, wanted.which(), *serial);
            return Err(refused);
        };
        let (manager, wanted, serial) = (Arc::clone(manager), wanted.clone(), *serial);
        let token = Box::pin(async move {
            manager
                .replace_refused(&wanted.key, wanted.which(), serial)
                .await
        });
        Ok(Box::new(Healing {
            token,
            refused: Some(refused),
            again: Some((asked, again)),
        }))
    }
}

impl<S, K, P> Resend<S, K, P> {
    /// The request with the newer token in it, if that can be done, as it was the first time.
    fn with_token<B>(
        self,
        asked: Box<Waited>,
        replay: impl FnOnce(K) -> Option<B>,
        token: &AccessToken,
    ) -> Option<Box<Again<S, B>>>
    where
        P: Placement<B>,
    {
        let mut request = self.copy.into_request(replay)?;
        self.placement.place(token, &mut request).ok()?;
        Some(Box::new(Again {
            asked: Some(asked),
            service: self.service,
            request: Some(request),
        }))
    }
}

impl<S, B, R, P> fmt::Debug for ResponseFuture<S, B, R, P>
where
    R: Replay<B>,
    S: Service<Request<R::Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
