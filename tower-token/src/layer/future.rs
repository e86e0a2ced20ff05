//! What one request goes through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::challenge::insufficient_scope;
use super::error::TokenServiceError;
use super::request::TokenRequest;
use crate::error::Error;
use crate::grant::{AccessToken, Serial};
use crate::manager::Shared;

pin_project! {
    /// The response future of [`TokenService`](super::TokenService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

/// The wait for a newer token, and what to do with it.
type Healing<S, B> = (Boxed<Option<AccessToken>>, Box<Again<S, B>>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    #[project = StateProj]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// Refused before anything was sent.
        Failed { error: Option<Error> },
        /// Waiting for a token; nothing was sent yet.
        Waiting {
            token: Boxed<Result<AccessToken, Error>>,
            unsent: Option<Box<Unsent<S, B>>>,
        },
        /// Sent with a token; a 401 can still be healed.
        Calling {
            #[pin]
            response: S::Future,
            kept: Option<Kept<S, B>>,
        },
        /// Refused with a 401; waiting for a newer token.
        Healing {
            token: Boxed<Option<AccessToken>>,
            refused: Option<S::Response>,
            again: Option<Box<Again<S, B>>>,
        },
        /// A newer token is there; waiting for the service to be ready again.
        Resending { again: Box<Again<S, B>> },
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
pub(super) struct Unsent<S, B> {
    /// It was polled ready.
    pub(super) service: S,
    pub(super) request: Request<B>,
    pub(super) copy: Option<Request<B>>,
    pub(super) manager: Arc<Shared>,
    pub(super) wanted: TokenRequest,
}

/// What a 401 would need.
pub(super) struct Kept<S, B> {
    pub(super) asked: Asked,
    pub(super) serial: Serial,
    pub(super) again: Option<Box<Again<S, B>>>,
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
pub(super) struct Again<S, B> {
    pub(super) asked: Asked,
    pub(super) service: S,
    pub(super) request: Option<Request<B>>,
}

impl<S, B> ResponseFuture<S, B>
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

    pub(super) fn calling(response: S::Future, kept: Kept<S, B>) -> Self {
        let kept = Some(kept);
        Self {
            state: State::Calling { response, kept },
        }
    }

    pub(super) fn waiting(unsent: Unsent<S, B>) -> Self {
        let manager = Arc::clone(&unsent.manager);
        let wanted = unsent.wanted.clone();
        let token: Boxed<Result<AccessToken, Error>> =
            Box::pin(async move { manager.usable(&wanted.key, wanted.min_validity).await });
        let unsent = Some(Box::new(unsent));
        Self {
            state: State::Waiting { token, unsent },
        }
    }
}

impl<S, B, A> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<A>> + Clone,
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
                } => match (ready!(token.as_mut().poll(cx)), again.take()) {
                    (Some(token), Some(mut again)) => {
                        again.authorize(&token);
                        State::Resending { again }
                    }
                    // No better token: the 401 is the answer.
                    _ => match refused.take() {
                        Some(refused) => return Poll::Ready(Ok(refused)),
                        None => return Poll::Pending,
                    },
                },
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

impl<S, B, A> Unsent<S, B>
where
    S: Service<Request<B>, Response = Response<A>> + Clone,
{
    fn send(mut self, token: &AccessToken) -> State<S, B> {
        let headers = self.request.headers_mut();
        headers.insert(AUTHORIZATION, token.authorization().clone());
        let asked = Asked {
            manager: self.manager,
            wanted: self.wanted,
        };
        let again = self.copy.take().map(|request| {
            Box::new(Again {
                asked: asked.clone(),
                service: self.service.clone(),
                request: Some(request),
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

impl<S, B> Kept<S, B> {
    /// Begins to get a newer token. `None` if the request cannot be sent again: the
    /// refresh then happens behind.
    fn heal(self) -> Option<Healing<S, B>> {
        let Self {
            asked: Asked { manager, wanted },
            serial,
            again,
        } = self;
        let Some(again) = again else {
            manager.replace_refused_behind(&wanted.key, serial);
            return None;
        };
        let token = Box::pin(async move { manager.replace_refused(&wanted.key, serial).await });
        Some((token, again))
    }
}

impl<S, B> Again<S, B> {
    fn authorize(&mut self, token: &AccessToken) {
        if let Some(request) = &mut self.request {
            let value = token.authorization().clone();
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
