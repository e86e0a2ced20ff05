//! The browser as a person sees it: waits are for what is shown, never for a time.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tests::BoxError;
use thirtyfour::prelude::*;

/// Longer than anything takes but an access token's life.
const PATIENCE: Duration = Duration::from_secs(30);
const PACE: Duration = Duration::from_millis(50);

/// The page of one browser.
#[derive(Debug)]
pub struct Page {
    pub driver: WebDriver,
}

impl Page {
    /// Opens a URL.
    pub async fn open(&self, url: &str) -> Result<(), BoxError> {
        Ok(self.driver.goto(url).await?)
    }

    /// The first element that is shown and matches.
    pub async fn see(&self, css: &str) -> Result<WebElement, BoxError> {
        self.see_text(css, "").await
    }

    /// The first element that is shown, matches, and has this text within its own.
    pub async fn see_text(&self, css: &str, text: &str) -> Result<WebElement, BoxError> {
        // Found at once by a script: while one looks at the elements one by one the page
        // replaces them.
        let script = "return [...document.querySelectorAll(arguments[0])].find((element) =>
            element.checkVisibility() && element.textContent.includes(arguments[1])) ?? null";
        let what = format!("{css} with {text:?} is never shown");
        patiently(&what, async || {
            let found = self
                .driver
                .execute(script, vec![json!(css), json!(text)])
                .await?;
            Ok(found.element().ok())
        })
        .await
    }

    /// Waits until this many elements match.
    pub async fn count(&self, css: &str, count: usize) -> Result<(), BoxError> {
        let script = "return document.querySelectorAll(arguments[0]).length === arguments[1]";
        self.until(script, vec![json!(css), json!(count)]).await
    }

    /// Waits until no element that matches is shown.
    pub async fn gone(&self, css: &str) -> Result<(), BoxError> {
        let script = "return [...document.querySelectorAll(arguments[0])]
            .every((element) => !element.checkVisibility())";
        self.until(script, vec![json!(css)]).await
    }

    /// Waits until a script answers `true`.
    pub async fn until(&self, script: &str, arguments: Vec<Value>) -> Result<(), BoxError> {
        let what = format!("never true: {script} {arguments:?}");
        patiently(&what, async || {
            let answer = self.driver.execute(script, arguments.clone()).await?;
            Ok((answer.json().as_bool() == Some(true)).then_some(()))
        })
        .await
    }

    /// Clicks on the first element that is shown and matches.
    pub async fn click(&self, css: &str) -> Result<(), BoxError> {
        self.click_on(css, "").await
    }

    /// The same, with this text within its own.
    pub async fn click_on(&self, css: &str, text: &str) -> Result<(), BoxError> {
        patiently(&format!("{css} cannot be clicked on"), async || {
            let element = self.see_text(css, text).await?;
            // A click on a button that is disabled is no error, and does nothing.
            if !element.is_enabled().await.unwrap_or(false) {
                return Ok(None);
            }
            Ok(was_clicked(&element.click().await).then_some(()))
        })
        .await
    }

    /// What a script of the page's own answers, as JSON.
    pub async fn ask(&self, script: &str) -> Result<Value, BoxError> {
        Ok(self
            .driver
            .execute_async(script, vec![])
            .await?
            .json()
            .clone())
    }

    /// Goes into the one iframe that matches; [`leave`](Self::leave) comes back.
    pub async fn enter(&self, css: &str) -> Result<(), BoxError> {
        Ok(self.see(css).await?.enter_frame().await?)
    }

    /// Back from an iframe.
    pub async fn leave(&self) -> Result<(), BoxError> {
        Ok(self.driver.enter_default_frame().await?)
    }

    /// The cookie of the session, which no script can read.
    pub async fn session_cookie(&self) -> Result<String, BoxError> {
        let cookie = self.driver.get_named_cookie("session").await?;
        if cookie.http_only != Some(true) {
            return Err("a script can read the cookie of the session".into());
        }
        Ok(format!("session={}", cookie.value))
    }

    /// What went wrong in the page: scripts, and what its security policy refused.
    pub async fn complaints(&self) -> Result<Vec<String>, BoxError> {
        let log = self.driver.browser_log().await?;
        Ok(log.into_iter().map(|entry| entry.message).collect())
    }

    /// How the browser shows pages: its width, and dark or light.
    pub async fn look(&self, width: u32, height: u32, dark: bool) -> Result<(), BoxError> {
        let cdp = self.driver.cdp();
        let phone = width < 600;
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 },
            "mobile": phone,
        });
        cdp.send_raw("Emulation.setDeviceMetricsOverride", size)
            .await?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        cdp.send_raw("Emulation.setEmulatedMedia", media).await?;
        Ok(())
    }

    /// A picture of the whole page for a person, in target/browser; of what the window shows
    /// of it, if a dialog is open.
    pub async fn shot(&self, name: &str) -> Result<(), BoxError> {
        let dialog = self.driver.find_all(By::Css("dialog[open]")).await?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/browser");
        std::fs::create_dir_all(&folder)?;
        let picture = json!({"format": "png", "captureBeyondViewport": dialog.is_empty()});
        let picture = self
            .driver
            .cdp()
            .send_raw("Page.captureScreenshot", picture)
            .await?;
        let picture = picture["data"].as_str().ok_or("no picture")?;
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, picture)?;
        Ok(std::fs::write(folder.join(format!("{name}.png")), bytes)?)
    }

    /// Everything that a script within the page can read of it: what stands in it, what it
    /// has stored, where it has been.
    pub async fn everything(&self) -> Result<String, BoxError> {
        let script = r"
            const done = arguments[0];
            (async () => {
                const databases = [];
                for (const { name } of await indexedDB.databases()) databases.push(name);
                const inputs = [...document.querySelectorAll('input, textarea')];
                done({
                    html: document.documentElement.outerHTML,
                    inputs: inputs.map((input) => input.value),
                    local: { ...localStorage },
                    session: { ...sessionStorage },
                    cookies: document.cookie,
                    databases,
                    caches: await caches.keys(),
                    workers: (await navigator.serviceWorker.getRegistrations()).length,
                    name: window.name,
                    state: history.state,
                    url: location.href,
                    visited: performance.getEntries().map((entry) => entry.name),
                    globals: Object.keys(window).map((key) => {
                        try { return [key, JSON.stringify(window[key])]; } catch { return key; }
                    }),
                });
            })().catch((error) => done({ error: String(error) }));
        ";
        let found = self.ask(script).await?;
        if let Some(error) = found.get("error") {
            return Err(format!("the page could not be looked through: {error}").into());
        }
        Ok(found.to_string())
    }
}

/// Whether the click arrived. One that closes its own frame may be answered with an error all
/// the same: what is seen next shows it.
fn was_clicked(answer: &WebDriverResult<()>) -> bool {
    use thirtyfour::error::WebDriverErrorInner as Error;
    // Under something else, or replaced in this moment: once more.
    let missed = |error: &WebDriverError| {
        matches!(
            error.as_inner(),
            Error::ElementClickIntercepted(_)
                | Error::ElementNotInteractable(_)
                | Error::StaleElementReference(_)
        )
    };
    !answer.as_ref().is_err_and(missed)
}

/// What `look` finds in the end.
async fn patiently<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, BoxError>,
) -> Result<T, BoxError> {
    let found = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(PACE).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => Err(what.into()),
    }
}
