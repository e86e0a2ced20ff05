//! An API for notes, for examples to call.

use std::error::Error;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_token::testkit::AuthServer;

/// Serves it to the users of this token service, on a free port. Returns its origin.
pub async fn serve(server: &AuthServer) -> Result<String, Box<dyn Error>> {
    let me = format!("{}/me", server.api());
    let http = reqwest::Client::builder().no_proxy().build()?;
    let app = Router::new()
        .route("/notes", post(note).with_state((http, me)))
        .route(
            "/old-notes",
            post(|| async { Redirect::permanent("/notes") }),
        )
        .route(
            "/away",
            get(|| async { Redirect::to("https://elsewhere.example/") }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(origin)
}

/// Asks the token service whose token it was sent.
async fn note(
    State((http, me)): State<(reqwest::Client, String)>,
    headers: HeaderMap,
    Json(note): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let token = headers
        .get(header::AUTHORIZATION)
        .ok_or(StatusCode::UNAUTHORIZED)?;
    let asked = http
        .get(me)
        .header(header::AUTHORIZATION, token)
        .send()
        .await;
    let asked = asked.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let who = asked
        .error_for_status()
        .map_err(|_| StatusCode::UNAUTHORIZED)?;
    let who: Value = who.json().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(json!({ "by": who["user"], "text": note["text"] })))
}
