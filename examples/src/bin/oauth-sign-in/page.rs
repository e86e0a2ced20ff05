//! The page: plain files, compiled in.

use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, middleware};
use examples::headers;
use http::header::CONTENT_TYPE;

/// The routes of the page's files. The page calls the API at `call`, a path of ours.
pub(crate) fn routes<S>(call: &str) -> Result<Router<S>, http::header::InvalidHeaderValue>
where
    S: Clone + Send + Sync + 'static,
{
    let call = call.replace('&', "&amp;").replace('"', "&quot;");
    let html = include_str!("page/index.html").replace("{{call}}", &call);
    let html = move || async move { file("text/html; charset=utf-8", html.clone()) };
    let css = async || file("text/css; charset=utf-8", include_str!("page/style.css"));
    let js = async || {
        file(
            "text/javascript; charset=utf-8",
            include_str!("page/page.js"),
        )
    };
    let icon = async || {
        file(
            "image/svg+xml",
            include_str!("../return-user/page/icon.svg"),
        )
    };
    Ok(Router::new()
        .route("/", get(html))
        .route("/style.css", get(css))
        .route("/page.js", get(js))
        .route("/icon.svg", get(icon))
        .layer(middleware::from_fn_with_state(
            headers::headers(None)?,
            headers::add,
        )))
}

fn file(kind: &'static str, text: impl IntoResponse) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind)], text)
}
