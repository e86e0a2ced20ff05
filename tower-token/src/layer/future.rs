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
type Healing<S, K, P> = (Boxed<Option<AccessToken>>, Second<S, K, P>);

/// Whose second attempt it is, and what it takes.
type Second<S, K, P> = (Box<Waited>, Box<Resend<S, K, P>>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

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
        Healing {
            token: Boxed<Option<AccessToken>>,
            refused: Option<S::Response>,
            again: Option<Second<S, R::Again, P>>,
        },
        /// A newer token is there; waiting for the service to be ready again.
        Resending { again: Box<Again<S, R::Body>> },
        /// Whatever this answers is the answer.
        Last {
            #[pin]
            response: S::Future,
            // None for one that carries no token of ours.
            asked: Option<Asked>,
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

    /// Counts what an API answers to one of our tokens.
    fn answered<A>(&self, response: &Response<A>) {
        let status = response.status();
        match self {
            Self::Offer { offer, route, .. } => offer.answered(*route, status),
            Self::Waited(waited) => {
                let Waited {
                    manager, wanted, ..
                } = &**waited;
                manager.answered(&wanted.key, wanted.route, status);
            }
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

/// The request once more.
struct Again<S, B> {
    asked: Option<Asked>,
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
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
                StateProj::Calling { response, kept } => {
                    let response = ready!(response.poll(cx)).map_err(TokenServiceError::Inner)?;
                    if let Some(kept) = &kept {
                        kept.asked.answered(&response);
                    }
                    if !is_refusal(&response) {
                        return Poll::Ready(Ok(response));
                    }
                    match kept.take().and_then(|kept| kept.heal(R::hold)) {
                        None => return Poll::Ready(Ok(response)),
                        Some((token, again)) => State::Healing {
                            token,
                            refused: Some(response),
                            again: Some(again),
                        },
                    }
                }
                StateProj::Healing {
                    token,
                    refused,
                    again,
                } => {
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
                        asked.answered(&response);
                    }
                    return Poll::Ready(Ok(response));
                }
            };
            state.set(next);
        }
    }
}

/// Whether an API refuses the token itself, rather than what it is used for.
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
    /// Begins to get a newer token. `None` if the request cannot be sent again: the
    /// refresh then happens behind.
    fn heal(self, hold: impl FnOnce(&mut K) -> bool) -> Option<Healing<S, K, P>> {
        let asked = self.asked.for_another()?;
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
            return None;
        };
        let (manager, wanted, serial) = (Arc::clone(manager), wanted.clone(), *serial);
        let token = Box::pin(async move {
            manager
                .replace_refused(&wanted.key, wanted.which(), serial)
                .await
        });
        Some((token, (asked, again)))
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
            asked: Some(Asked::Waited(asked)),
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
