//! Signing in and out. By a name only: this is a demo, and yours has a real login here.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum_token::{CurrentSubject, Logout, SourceError, TokenRejection, sessions};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tower_sessions::Session;
use tower_token::Clock as _;

use crate::app::App;

/// When a session began, in it.
const SINCE: &str = "since";

/// A name, and nothing that would prove it.
#[derive(Deserialize)]
pub(crate) struct Name {
    name: String,
}

/// `GET /session`: who is signed in, and what the page has to know besides.
pub(crate) async fn who(
    State(app): State<App>,
    user: Option<CurrentSubject>,
    session: Session,
) -> Result<Json<Value>, TokenRejection> {
    let since: Option<u64> = match user {
        Some(_) => session.get(SINCE).await.map_err(|_| unavailable())?,
        None => None,
    };
    Ok(Json(json!({
        "name": user.as_ref().map(CurrentSubject::as_str),
        "signedInAt": since,
        "startedAt": app.started_at.as_unix_millis(),
        "now": app.clock.now().as_unix_millis(),
        "margin": app.margin.as_millis(),
        "askEvery": ask_every(app.margin).as_millis(),
    })))
}

/// `POST /session`: signs in.
pub(crate) async fn sign_in(
    State(app): State<App>,
    session: Session,
    Json(Name { name }): Json<Name>,
) -> Result<Response, TokenRejection> {
    let Some(name) = tidy(&name) else {
        let problem = json!({ "detail": "a name has 1 to 40 letters" });
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response());
    };
    let who = app.sign_ins.admit(name).await?;
    sessions::sign_in(&session, who).await?;
    let now = app.clock.now().as_unix_millis();
    let noted = session.insert(SINCE, now).await;
    noted.map_err(|_| unavailable())?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /session`: signs this browser out. The brokers stay connected: whoever signs in
/// again finds them.
pub(crate) async fn sign_out(session: Session) -> Result<StatusCode, TokenRejection> {
    sessions::sign_out(&session).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /everything`: disconnects all brokers, and signs out in every browser. If some
/// could not be disconnected, which takes an operator, the answer is a 500 all the same.
pub(crate) async fn leave(
    State(app): State<App>,
    user: CurrentSubject,
    session: Session,
) -> Result<StatusCode, TokenRejection> {
    let logout = Logout::of(&user).disconnect_all().everywhere(&app.sign_ins);
    let outcome = logout.run(&app.manager).await?;
    sessions::sign_out(&session).await?;
    outcome.complete()?;
    Ok(StatusCode::NO_CONTENT)
}

/// Often enough that a call falls between the margin's begin and the token's end.
fn ask_every(margin: Duration) -> Duration {
    let seconds = (margin / 4).as_secs().clamp(1, 5);
    Duration::from_secs(seconds)
}

fn unavailable() -> TokenRejection {
    SourceError::unavailable("the folder of the sessions cannot be used").into()
}

/// The name without blanks around it, if it is one.
fn tidy(name: &str) -> Option<&str> {
    let name = name.trim();
    let fits = (1..=40).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    fits.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_due_is_asked_for() {
        for (margin, every) in [(1, 1), (3, 1), (7, 1), (8, 2), (20, 5)] {
            let asked = ask_every(Duration::from_secs(margin));
            assert_eq!(asked, Duration::from_secs(every), "{margin}");
        }
    }

    #[test]
    fn a_name_is_short_and_printable() {
        let long = "x".repeat(41);
        for (given, name) in [
            ("Ada", Some("Ada")),
            ("  Ada Lovelace\n", Some("Ada Lovelace")),
            ("\u{17d}ofia", Some("\u{17d}ofia")),
            ("   ", None),
            ("", None),
            ("a\u{7}b", None),
            (&long, None),
        ] {
            assert_eq!(tidy(given), name, "{given:?}");
        }
    }
}
