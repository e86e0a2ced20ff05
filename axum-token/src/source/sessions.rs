//! Users in the sessions of [tower-sessions](https://docs.rs/tower-sessions), with any of its
//! stores (feature `tower-sessions`).
//!
//! ```
//! use axum::{Router, routing::post};
//! use axum_token::{PublicOrigin, SessionTokenLayer, TokenRejection, sessions};
//! use tower::ServiceBuilder;
//! use tower_sessions::{MemoryStore, Session};
//!
//! async fn signed_in(session: Session) -> Result<(), TokenRejection> {
//!     // After you have found out who it is:
//!     sessions::sign_in(&session, "user-17").await
//! }
//!
//! async fn signed_out(session: Session) -> Result<(), TokenRejection> {
//!     sessions::sign_out(&session).await
//! }
//!
//! # fn f(origin: PublicOrigin) -> Router {
//! Router::new()
//!     .route("/login", post(signed_in))
//!     .route("/logout", post(signed_out))
//!     .layer(
//!         ServiceBuilder::new()
//!             .layer(sessions::layer(&origin, MemoryStore::default()))
//!             .layer(SessionTokenLayer::new(sessions::Sessions)),
//!     )
//! # }
//! ```
//!
//! # A session that is written while it ends
//!
//! tower-sessions writes a changed session as a whole when its request ends, also one that
//! another request has deleted meanwhile: it is back then, with its user. No cookie leads to
//! it any more but one that was copied before. Where that matters, use
//! [`SignIns`](crate::SignIns), which end a session whether or not it is stored.

use http::HeaderMap;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_layer::Stack;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Session, SessionManagerLayer, SessionStore};

use super::{SignIn, SourceError, SubjectSource};
use crate::layers::HostCookiesLayer;
use crate::origin::PublicOrigin;
use crate::rejection::TokenRejection;

/// Where the user stands among the session's data.
const KEY: &str = "axum-token.user";

#[derive(Serialize, Deserialize)]
struct Stored {
    subject: Box<str>,
    stamp: Option<String>,
}

/// Sessions whose cookie is as `origin` wants it: `HttpOnly; SameSite=Lax; Path=/`, and
/// `Secure` with a `__Host-` name everywhere but on plain `http` on loopback.
pub fn layer<Store: SessionStore>(
    origin: &PublicOrigin,
    store: Store,
) -> Stack<SessionManagerLayer<Store>, HostCookiesLayer> {
    Stack::new(manager(origin, store), HostCookiesLayer)
}

/// The inner part of [`layer`], where more is to be set, such as an expiry. The
/// [`HostCookiesLayer`] has to go outside of it: without it, another host of the site can put
/// a browser into a session of its choice.
///
/// ```
/// use axum_token::{HostCookiesLayer, sessions};
/// use tower::ServiceBuilder;
/// use tower_sessions::{Expiry, MemoryStore};
///
/// # fn f(origin: axum_token::PublicOrigin) {
/// let sessions = sessions::manager(&origin, MemoryStore::default())
///     .with_expiry(Expiry::OnSessionEnd);
/// let layers = ServiceBuilder::new().layer(HostCookiesLayer).layer(sessions);
/// # }
/// ```
pub fn manager<Store: SessionStore>(
    origin: &PublicOrigin,
    store: Store,
) -> SessionManagerLayer<Store> {
    SessionManagerLayer::new(store)
        .with_name(origin.cookie_name("session"))
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_secure(origin.is_secure())
        .with_path("/")
}

/// Signs a user in: a subject, or what [`SignIns::admit`](crate::SignIns::admit) says.
///
/// The session's id is renewed, so that nobody who knew it before is signed in with it. Its
/// data is kept, such as what somebody put into a cart before they signed in, unless it was
/// another user's, or that of a user who cannot be read.
///
/// # Failures
///
/// When this returns, the session is stored; the layer of the sessions stores it once more
/// with the answer. The session before goes first, so that the two never live beside each
/// other: a store that deletes that one and then cannot create the new one leaves none, and
/// its user signs in again. One that cannot delete leaves everything as it was.
pub async fn sign_in(session: &Session, who: impl Into<SignIn>) -> Result<(), TokenRejection> {
    Ok(begin(session, who.into()).await?)
}

async fn begin(session: &Session, who: SignIn) -> Result<(), SourceError> {
    who.check()?;
    let earlier = session.get_value(KEY).await.map_err(unavailable)?;
    session.cycle_id().await.map_err(unavailable)?;
    // Not before: if its id cannot be renewed, the session is still that of the other user.
    if earlier.is_some_and(|earlier| !is_of(earlier, &who.subject)) {
        session.clear().await;
    }
    let stored = Stored {
        subject: who.subject,
        stamp: who.stamp.map(|stamp| stamp.expose().to_owned()),
    };
    let stored = session.insert(KEY, stored).await;
    stored.map_err(unavailable)?;
    // Here, and not only by the layer, whose failures are an empty 500.
    if let Err(error) = session.save().await {
        // Who is told that it failed is not signed in by the layer all the same.
        session.clear().await;
        return Err(unavailable(error));
    }
    Ok(())
}

/// Ends the session, with all of its data. The user's grants stay: see
/// [`Logout`](crate::Logout). A store that cannot delete it leaves it as it was.
pub async fn sign_out(session: &Session) -> Result<(), TokenRejection> {
    Ok(end(session).await?)
}

async fn end(session: &Session) -> Result<(), SourceError> {
    // Before `flush`, which clears first: the layer would store the empty session if it then
    // could not be deleted.
    if session.id().is_some() {
        session.delete().await.map_err(unavailable)?;
    }
    session.flush().await.map_err(unavailable)
}

/// Users who signed in by [`sign_in`]. The layer of the sessions goes outside of the
/// [`SessionTokenLayer`](crate::SessionTokenLayer).
///
/// The store is read at most once a request, by whoever asks the session first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sessions;

impl SubjectSource for Sessions {
    async fn subject(&self, request: &Parts) -> Result<Option<SignIn>, SourceError> {
        let stored = find(session(request)?).await?;
        Ok(stored
            .map(|stored| SignIn::new(stored.subject).with_stamp(stored.stamp.map(Into::into))))
    }

    async fn begin(
        &self,
        request: &Parts,
        _answer: &mut HeaderMap,
        who: SignIn,
    ) -> Result<(), SourceError> {
        begin(session(request)?, who).await
    }

    async fn end(&self, request: &Parts, _answer: &mut HeaderMap) -> Result<(), SourceError> {
        end(session(request)?).await
    }
}

fn session(request: &Parts) -> Result<&Session, SourceError> {
    request.extensions.get().ok_or_else(|| {
        SourceError::misconfigured(
            "there is no session: put sessions::layer outside of the SessionTokenLayer",
        )
    })
}

/// What is in the session. What cannot be read, as from another version, is nobody: they
/// sign in again.
async fn find(session: &Session) -> Result<Option<Stored>, SourceError> {
    let value = session.get_value(KEY).await.map_err(unavailable)?;
    Ok(value.and_then(read))
}

/// What cannot be read may be anybody's.
fn is_of(earlier: Value, subject: &str) -> bool {
    read(earlier).is_some_and(|earlier| *earlier.subject == *subject)
}

fn read(stored: Value) -> Option<Stored> {
    serde_json::from_value(stored).ok()
}

fn unavailable(_: tower_sessions::session::Error) -> SourceError {
    SourceError::unavailable("the store of the sessions could not do its work")
}
