//! The provider's pages.

use axum::response::{Html, IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderName, HeaderValue, StatusCode};

use super::Provider;

/// Asks whether the client may act for somebody, and who that is, if it is not known.
pub(super) fn consent(
    provider: &Provider,
    query: &str,
    scope: &str,
    subject: Option<&str>,
) -> Response {
    let who = match subject {
        Some(subject) => format!("<p>You are <strong>{}</strong>.</p>", escape(subject)),
        None => String::from(
            "<p><label for=name>Your name</label><br>\
             <input id=name name=name required maxlength=40 pattern='[A-Za-z0-9_\\-]+' \
             autocomplete=username autocapitalize=none autofocus></p>",
        ),
    };
    let (scope, query) = (escape(scope), escape(query));
    let body = format!(
        "<h1>Sign in</h1>\
         <p>A service asks to know who you are, and to act for you: <code>{scope}</code>.</p>\
         <form method=post action=/authorize>\
         <input type=hidden name=request value=\"{query}\">{who}\
         <button id=allow name=answer value=allow>Allow</button> \
         <button id=deny name=answer value=deny formnovalidate>Deny</button></form>"
    );
    page(provider, StatusCode::OK, &body)
}

/// Who is signed in, with the way out.
pub(super) fn home(provider: &Provider, subject: Option<&str>) -> Response {
    let body = match subject {
        Some(subject) => format!(
            "<h1>Provider</h1><p>You are signed in here as <strong>{}</strong>.</p>\
             <form method=post action=/sign-out>\
             <button id=sign-out>Sign out everywhere</button></form>",
            escape(subject)
        ),
        None => String::from("<h1>Provider</h1><p>Nobody is signed in here.</p>"),
    };
    page(provider, StatusCode::OK, &body)
}

/// After the way out.
pub(super) fn left(provider: &Provider, told: Option<bool>) -> Response {
    let told = match told {
        Some(true) => " The service was told, and has signed you out, too.",
        Some(false) => " The service could not be told.",
        None => "",
    };
    let body = format!("<h1>Signed out</h1><p id=left>You are signed out here.{told}</p>");
    page(provider, StatusCode::OK, &body)
}

/// What did not work.
pub(super) fn problem(provider: &Provider, status: StatusCode, why: &str) -> Response {
    let body = format!("<h1>That did not work</h1><p>{}</p>", escape(why));
    page(provider, status, &body)
}

fn page(provider: &Provider, status: StatusCode, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Provider · tower-token</title>\
         <meta name=viewport content='width=device-width, initial-scale=1'>\
         <style>{STYLE}</style><main>{body}</main></html>"
    );
    // A form may lead to the client: browsers look at where its answer redirects, too.
    let client = provider.client.redirect_uri.split('/').take(3);
    let client: Vec<_> = client.collect();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self' {}; \
         base-uri 'none'; frame-ancestors 'none'",
        client.join("/")
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(CACHE_CONTROL, fixed("no-store"));
    // Not `no-referrer`: forms would be sent without an origin.
    headers.insert(REFERRER_POLICY, fixed("same-origin"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        fixed("nosniff"),
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

const STYLE: &str = "\
    :root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
    main{max-width:26rem;margin:10vh auto;padding:0 1rem}\
    input,button{font:inherit;padding:.5rem .9rem}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
