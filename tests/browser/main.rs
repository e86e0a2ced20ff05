//! The return user in a real browser: real processes, a real chromium, and Mesh's own SDK.
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
mod page;
mod recorder;
mod sdk;
mod secrets;
mod steps;
mod story;

use std::time::Duration;

use tests::BoxError;

use crate::app::Run;
use crate::chromium::Driver;
use crate::page::Page;
use crate::recorder::Recorder;
use crate::story::Story;

/// Several times what it takes.
const LIMIT: Duration = Duration::from_secs(180);

/// Long enough to be seen alive, short enough to be waited for.
const ACCESS_TTL: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs chromium and chromedriver: cargo test -p tests --test browser -- --ignored"]
async fn the_return_user_comes_back_without_a_login() {
    if let Err(error) = told().await {
        // What chromedriver says goes on with its own stack.
        let error = error.to_string();
        panic!("{}", error.split("stacktrace").next().unwrap_or(&error));
    }
}

async fn told() -> Result<(), BoxError> {
    let home = tempfile::tempdir()?;
    let driver = Driver::start().await?;
    let (port, mesh_port) = app::free_ports()?;
    let recorder = Recorder::start(sdk::pages()?).await?;
    let run = Run {
        program: app::build().await?,
        data: home.path().join("data"),
        port,
        mesh_port,
        access_ttl: ACCESS_TTL,
    };
    let browser = driver
        .browser(&home.path().join("profile"), recorder.url())
        .await?;
    let page = Page {
        driver: browser.clone(),
    };
    let told = tokio::time::timeout(LIMIT, Story::new(run, page, recorder).tell()).await;
    if !matches!(told, Ok(Ok(()))) {
        let page = Page {
            driver: browser.clone(),
        };
        // What is shown now may say why.
        let _ = page.shot("failed").await;
    }
    browser.quit().await?;
    told?
}
