//! The page: plain files, compiled in.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::CONTENT_TYPE;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The routes of the page's files.
pub(crate) fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| file(HTML, include_str!("page/index.html"))))
        .route(
            "/style.css",
            get(|| file(CSS, include_str!("page/style.css"))),
        )
        .route("/page.js", get(|| file(JS, include_str!("page/page.js"))))
        .route("/api.js", get(|| file(JS, include_str!("page/api.js"))))
        .route("/link.js", get(|| file(JS, include_str!("page/link.js"))))
        .route("/view.js", get(|| file(JS, include_str!("page/view.js"))))
        .route(
            "/icon.svg",
            get(|| file(SVG, include_str!("page/icon.svg"))),
        )
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind)], text)
}
