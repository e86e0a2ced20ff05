//! The return user, and a sign-in by OAuth, in a real browser: real processes, a real chromium,
//! Mesh's own SDK, and oidc-provider's own pages.
//!
//! Needs chromium and chromedriver, and the SDK's bundle; `scripts/test` sees to that:
//!
//! ```text
//! cargo test -p tests --test browser -- --ignored
//! ```
//!
//! It leaves pictures in target/browser for a person to look at.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod app;
mod chromium;
mod left;
mod oauth;
mod page;
mod recorder;
mod sdk;
mod secrets;
mod steps;
mod story;

use std::time::Duration;

use bytes::Bytes;
use tests::BoxError;
use tests::port::free_port;

use crate::app::Run;
use crate::chromium::Driver;
use crate::page::Page;
use crate::recorder::Recorder;
use crate::story::Story;

/// Several times what each takes, its example being built first.
const LIMIT: Duration = Duration::from_secs(300);

/// Long enough to be refreshed behind on a slow machine, short enough for the page to be waited for.
const ACCESS_TTL: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: cargo test -p tests --test browser -- --ignored"]
async fn the_return_user_comes_back_without_a_login() {
    let home = tempfile::tempdir().unwrap();
    let told = in_a_browser("failed", sdk::pages, async |page, recorder| {
        let run = Run {
            program: app::build("return-user").await?,
            data: home.path().join("data"),
            port: free_port()?,
            mesh_port: free_port()?,
            access_ttl: ACCESS_TTL,
        };
        Story::new(run, page, recorder).tell().await
    });
    passes(told.await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: cargo test -p tests --test browser -- --ignored"]
async fn a_user_signs_in_by_a_real_provider() {
    let told = in_a_browser("oauth-failed", || Ok(Vec::new()), oauth::tell);
    passes(told.await);
}

type OwnPages = Vec<(&'static str, &'static str, Bytes)>;

/// Tells a story in a fresh browser. `failed` names a picture of where it stopped.
async fn in_a_browser(
    failed: &str,
    pages: impl FnOnce() -> Result<OwnPages, BoxError>,
    story: impl AsyncFnOnce(Page, Recorder) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let profile = tempfile::tempdir()?;
    let driver = Driver::start().await?;
    let recorder = Recorder::start(pages()?).await?;
    let browser = driver.browser(profile.path(), recorder.url()).await?;
    let page = || Page {
        driver: browser.clone(),
    };
    let told = tokio::time::timeout(LIMIT, story(page(), recorder)).await;
    if !matches!(told, Ok(Ok(()))) {
        // What is shown now may say why.
        let _ = page().shot(failed).await;
    }
    browser.quit().await?;
    told?
}

fn passes(told: Result<(), BoxError>) {
    if let Err(error) = told {
        // What chromedriver says goes on with its own stack.
        let error = error.to_string();
        panic!("{}", error.split("stacktrace").next().unwrap_or(&error));
    }
}
