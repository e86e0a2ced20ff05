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
use super::error::TokenServiceError;
use super::placement::{Authorization, Placement};
use super::request::TokenRequest;
use crate::error::Error;
use crate::grant::{AccessToken, Serial};
use crate::manager::Shared;

pin_project! {
    /// The response future of [`TokenService`](super::TokenService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, P = Authorization>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, P>,
    }
}

/// The wait for a newer token, and what to do with it.
type Healing<S, B, P> = (Boxed<Option<AccessToken>>, Box<Again<S, B, P>>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    #[project = StateProj]
    enum State<S, B, P>
    where
        S: Service<Request<B>>,
    {
        /// Refused before anything was sent.
        Failed { error: Option<Error> },
        /// Waiting for a token; nothing was sent yet.
        Waiting {
            token: Boxed<Result<AccessToken, Error>>,
            unsent: Option<Box<Unsent<S, B, P>>>,
        },
        /// Sent with a token; a 401 can still be healed.
        Calling {
            #[pin]
            response: S::Future,
            kept: Option<Kept<S, B, P>>,
        },
        /// Refused with a 401; waiting for a newer token.
        Healing {
            token: Boxed<Option<AccessToken>>,
            refused: Option<S::Response>,
            again: Option<Box<Again<S, B, P>>>,
        },
        /// A newer token is there; waiting for the service to be ready again.
        Resending { again: Box<Again<S, B, P>> },
        /// Whatever this answers is the answer.
        Last {
            #[pin]
            response: S::Future,
            // None for one that carries no token of ours.
            asked: Option<Asked>,
        },
    }
}

/// A request that waits for its token.
pub(super) struct Unsent<S, B, P> {
    /// It was polled ready.
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) copy: Option<Request<B>>,
    pub(super) manager: Arc<Shared>,
    pub(super) wanted: TokenRequest,
    pub(super) placement: P,
}

/// What a 401 would need.
pub(super) struct Kept<S, B, P> {
    pub(super) asked: Asked,
    pub(super) serial: Serial,
    pub(super) again: Option<Box<Again<S, B, P>>>,
}

/// Who was asked for a token, and for which.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) manager: Arc<Shared>,
    pub(super) wanted: TokenRequest,
}

impl Asked {
    /// Counts what an API answers to one of our tokens.
    fn answered<A>(&self, response: &Response<A>) {
        let Self { manager, wanted } = self;
        manager.answered(&wanted.key, wanted.route, response.status());
    }
}

/// The request once more, and what to send it by.
pub(super) struct Again<S, B, P> {
    pub(super) asked: Asked,
    pub(super) service: S,
    pub(super) request: Option<Request<B>>,
    pub(super) placement: P,
}

impl<S, B, P> ResponseFuture<S, B, P>
where
    S: Service<Request<B>>,
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

    pub(super) fn calling(response: S::Future, kept: Kept<S, B, P>) -> Self {
        let kept = Some(kept);
        Self {
            state: State::Calling { response, kept },
        }
    }

    pub(super) fn waiting(unsent: Unsent<S, B, P>) -> Self {
        let manager = Arc::clone(&unsent.manager);
        let wanted = unsent.wanted.clone();
        let token: Boxed<Result<AccessToken, Error>> =
            Box::pin(async move { manager.usable(&wanted.key, wanted.wanted()).await });
        let unsent = Some(Box::new(unsent));
        Self {
            state: State::Waiting { token, unsent },
        }
    }
}

impl<S, B, P, A> Future for ResponseFuture<S, B, P>
where
    S: Service<Request<B>, Response = Response<A>> + Clone,
    P: Placement<B> + Clone,
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
                StateProj::Waiting { token, unsent } => {
                    let token =
                        ready!(token.as_mut().poll(cx)).map_err(TokenServiceError::Token)?;
                    match unsent.take() {
                        Some(unsent) => (*unsent).send(&token),
                        None => return Poll::Pending,
                    }
                }
                StateProj::Calling { response, kept } => {
                    let response = ready!(response.poll(cx)).map_err(TokenServiceError::Inner)?;
                    let kept = kept.take();
                    if let Some(kept) = &kept {
                        kept.asked.answered(&response);
                    }
                    match kept.filter(|_| is_refusal(&response)).and_then(Kept::heal) {
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
                    let again = again.take().zip(token);
                    match again.and_then(|(again, token)| again.authorized(&token)) {
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
                            asked: Some(again.asked.clone()),
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
    response.status() == StatusCode::UNAUTHORIZED && !insufficient_scope(response.headers())
}

impl<S, B, P, A> Unsent<S, B, P>
where
    S: Service<Request<B>, Response = Response<A>> + Clone,
    P: Placement<B> + Clone,
{
    fn send(mut self, token: &AccessToken) -> State<S, B, P> {
        if let Err(error) = self.placement.place(token, &mut self.request) {
            let error = Some(error);
            return State::Failed { error };
        }
        let asked = Asked {
            manager: self.manager,
            wanted: self.wanted,
        };
        let again = self.copy.take().map(|request| {
            Box::new(Again {
                asked: asked.clone(),
                service: self.service.clone(),
                request: Some(request),
                placement: self.placement.clone(),
            })
        });
        let kept = Kept {
            asked,
            serial: token.serial(),
            again,
        };
        State::Calling {
            response: self.service.call(self.request),
            kept: Some(kept),
        }
    }
}

impl<S, B, P> Kept<S, B, P> {
    /// Begins to get a newer token. `None` if the request cannot be sent again: the
    /// refresh then happens behind.
    fn heal(self) -> Option<Healing<S, B, P>> {
        let Self {
            asked: Asked { manager, wanted },
            serial,
            again,
        } = self;
        let Some(again) = again else {
            manager.replace_refused_behind(&wanted.key, wanted.which(), serial);
            return None;
        };
        let token = Box::pin(async move {
            manager
                .replace_refused(&wanted.key, wanted.which(), serial)
                .await
        });
        Some((token, again))
    }
}

impl<S, B, P: Placement<B>> Again<S, B, P> {
    /// With the newer token in it, if that can be done, as it was the first time.
    fn authorized(mut self: Box<Self>, token: &AccessToken) -> Option<Box<Self>> {
        self.placement.place(token, self.request.as_mut()?).ok()?;
        Some(self)
    }
}

impl<S, B, P> fmt::Debug for ResponseFuture<S, B, P>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
