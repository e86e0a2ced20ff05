//! What one request goes through.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::identify::{Found, Settings};
use crate::rejection::{LoginReason, LoginRequired};
use crate::scope;
use crate::source::SubjectSource;
use crate::visitor::{CurrentSubject, Visitor};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pin_project! {
    /// The response future of [`SessionTokenService`](super::SessionTokenService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Q, B>
    where
        S: Service<Request<B>>,
    {
        settings: Settings<Q>,
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        /// Finding out who it is.
        Asking { found: Boxed<Found>, unsent: Option<(S, B)> },
        /// The handler runs.
        Calling {
            #[pin]
            response: S::Future,
            after: After,
        },
        /// The handler has answered, and the session ends.
        Ending {
            ended: Boxed<HeaderMap>,
            response: Option<S::Response>,
        },
    }
}

/// What there is to do around the handler and after it.
struct After {
    /// In whose scope it runs, if in one at all.
    scope: Option<Option<CurrentSubject>>,
    /// Of a session that was ended before.
    headers: HeaderMap,
    /// Kept where the session may have to end.
    request: Option<Parts>,
}

impl<S, Q, B> ResponseFuture<S, Q, B>
where
    S: Service<Request<B>>,
    Q: SubjectSource,
{
    pub(super) fn new(service: S, settings: Settings<Q>, request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let state = State::Asking {
            found: Box::pin(settings.clone().identify(parts)),
            unsent: Some((service, body)),
        };
        Self { settings, state }
    }
}

impl<S, Q, B, A> Future for ResponseFuture<S, Q, B>
where
    S: Service<Request<B>, Response = Response<A>>,
    Q: SubjectSource,
{
    type Output = Result<Response<A>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let settings = this.settings;
        let mut state = this.state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Asking { found, unsent } => {
                    let found = ready!(found.as_mut().poll(cx));
                    match unsent.take() {
                        Some((service, body)) => call(settings, found, service, body),
                        None => return Poll::Pending,
                    }
                }
                StateProj::Calling { response, after } => {
                    let polled = match &after.scope {
                        Some(subject) => scope::enter(subject.clone(), || response.poll(cx)),
                        None => response.poll(cx),
                    };
                    let mut response = ready!(polled)?;
                    put_before(response.headers_mut(), &after.headers);
                    let ends = needs_reauth(&response, &settings.end_on_reauth);
                    match after.request.take().filter(|_| ends) {
                        None => return Poll::Ready(Ok(response)),
                        Some(request) => State::Ending {
                            ended: end(settings.source.clone(), request),
                            response: Some(response),
                        },
                    }
                }
                StateProj::Ending { ended, response } => {
                    let headers = ready!(ended.as_mut().poll(cx));
                    return match response.take() {
                        Some(mut response) => {
                            for (name, value) in &headers {
                                response.headers_mut().append(name, value.clone());
                            }
                            Poll::Ready(Ok(response))
                        }
                        None => Poll::Pending,
                    };
                }
            };
            state.set(next);
        }
    }
}

fn call<S, Q, B, A>(settings: &Settings<Q>, found: Found, mut service: S, body: B) -> State<S, B>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    let Found {
        mut parts,
        visitor,
        headers,
    } = found;
    let subject = match &visitor {
        Visitor::SignedIn(subject) => Some(subject.clone()),
        Visitor::Anonymous | Visitor::Unknown(_) => None,
    };
    parts.extensions.insert(visitor);
    let ends = !settings.end_on_reauth.is_empty() && subject.is_some();
    let after = After {
        request: ends.then(|| parts.clone()),
        scope: settings.scoped.then_some(subject),
        headers,
    };
    let request = Request::from_parts(parts, body);
    let response = match &after.scope {
        Some(subject) => scope::enter(subject.clone(), || service.call(request)),
        None => service.call(request),
    };
    State::Calling { response, after }
}

/// Whether the handler was refused, or refused, because a grant at one of these has ended.
fn needs_reauth<A>(response: &Response<A>, providers: &[Arc<str>]) -> bool {
    let refusal = response.extensions().get::<LoginRequired>();
    refusal.is_some_and(|refusal| {
        let is_of = |provider: &Arc<str>| refusal.provider() == Some(&**provider);
        refusal.reason() == LoginReason::NeedsReauth && providers.iter().any(is_of)
    })
}

/// A failure leaves the session as it is: the next refusal tries again.
fn end<Q: SubjectSource>(source: Q, request: Parts) -> Boxed<HeaderMap> {
    Box::pin(async move {
        let mut headers = HeaderMap::new();
        let _ = source.end(&request, &mut headers).await;
        headers
    })
}

/// Of two cookies of one name the last one counts: what the handler sets stays.
fn put_before(answer: &mut HeaderMap, ended: &HeaderMap) {
    if ended.is_empty() {
        return;
    }
    let own: Vec<_> = answer.get_all(SET_COOKIE).iter().cloned().collect();
    answer.remove(SET_COOKIE);
    for (name, value) in ended {
        answer.append(name, value.clone());
    }
    for value in own {
        answer.append(SET_COOKIE, value);
    }
}

impl<S, Q, B> fmt::Debug for ResponseFuture<S, Q, B>
where
    S: Service<Request<B>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
