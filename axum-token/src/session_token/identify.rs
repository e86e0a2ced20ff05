//! Who it is, decided before the handler runs.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use tower_token::{Error, ErrorKind, Recovery};

use crate::sign_ins::SignIns;
use crate::source::{SignIn, SourceError, SubjectSource};
use crate::visitor::{Believed, CurrentSubject, Visitor};

/// What holds for every request.
#[derive(Debug, Clone)]
pub(super) struct Settings<Q> {
    pub(super) source: Q,
    pub(super) sign_ins: Option<SignIns>,
    /// The providers whose grants are the sign-in.
    pub(super) end_on_reauth: Vec<Arc<str>>,
    pub(super) scoped: bool,
}

/// What was found out.
pub(super) struct Found {
    pub(super) parts: Parts,
    pub(super) visitor: Visitor,
    /// For the answer: a session was ended.
    pub(super) headers: HeaderMap,
}

impl<Q: SubjectSource> Settings<Q> {
    pub(super) async fn identify(self, mut parts: Parts) -> Found {
        let mut headers = HeaderMap::new();
        let believed = self.source.headers();
        if !believed.is_empty() {
            parts.extensions.insert(Believed(believed.into()));
        }
        let visitor = match self.source.subject(&parts).await {
            Err(error) => Visitor::Unknown(error),
            Ok(None) => Visitor::Anonymous,
            Ok(Some(who)) => match self.admits(&who).await {
                Err(error) => Visitor::Unknown(error),
                Ok(true) => Visitor::SignedIn(CurrentSubject::new(who, self.sign_ins)),
                Ok(false) => {
                    // Before the handler runs: it may be the one that signs in again. If it
                    // fails nothing is lost, the stamp stays an old one.
                    let _ = self.source.end(&parts, &mut headers).await;
                    Visitor::Anonymous
                }
            },
        };
        Found {
            parts,
            visitor,
            headers,
        }
    }

    async fn admits(&self, who: &SignIn) -> Result<bool, SourceError> {
        who.check()?;
        match (&self.sign_ins, &who.stamp) {
            (None, _) => Ok(true),
            (Some(_), None) if who.keeps_stamps => {
                #[cfg(feature = "tracing")]
                tracing::warn!(
                    target: "axum_token",
                    "a session without a stamp is over: sign in with what SignIns::admit says"
                );
                Ok(false)
            }
            (Some(_), None) => Err(SourceError::misconfigured(
                "the source of a SessionTokenLayer with sign_ins keeps no stamps: it could \
                 never let anybody in",
            )),
            (Some(sign_ins), Some(stamp)) => {
                let admitted = sign_ins.admits(who.subject(), stamp).await;
                admitted.map_err(|error| unknown(&error))
            }
        }
    }
}

/// Nothing is logged here: that is for whoever asks who it is.
fn unknown(error: &Error) -> SourceError {
    match (error.recovery(), error.kind()) {
        (Recovery::Retry { .. } | Recovery::Reauthenticate, _) | (_, ErrorKind::ShutDown) => {
            SourceError::unavailable("the stamp of a session cannot be looked at")
        }
        _ => SourceError::misconfigured(error.to_string()),
    }
}
