//! The story of a return user, told from the first visit to the last.

use std::time::Duration;

use serde_json::json;
use tests::BoxError;

use crate::app::{App, Run};
use crate::left;
use crate::page::Page;
use crate::recorder::Recorder;
use crate::sdk;
use crate::secrets::Secrets;

const USER: &str = "Ada";

/// Both of the stand-in's brokers, and how many accounts they have.
const NORTHWIND: (&str, usize) = ("Northwind", 2);
const LAKESIDE: (&str, usize) = ("Lakeside", 1);

/// Who and what is in it.
pub struct Story {
    run: Run,
    page: Page,
    recorder: Recorder,
    secrets: Secrets,
}

impl Story {
    pub fn new(run: Run, page: Page, recorder: Recorder) -> Self {
        Self {
            run,
            page,
            recorder,
            secrets: Secrets::default(),
        }
    }

    /// All of it.
    pub async fn tell(mut self) -> Result<(), BoxError> {
        let app = self.run.start().await?;
        self.first_visit().await?;
        self.a_token_is_refreshed_behind().await?;
        self.one_that_has_expired_is_waited_for().await?;
        let app = self.killed_and_started_again(app).await?;
        self.the_return_user_transfers().await?;
        self.page.open(&self.sdk_page()).await?;
        self.page.sdk_transfer(NORTHWIND.1 + LAKESIDE.1).await?;
        self.one_is_disconnected().await?;
        self.and_connected_again_by_the_sdk().await?;
        self.signing_out_leaves_them_connected().await?;
        self.the_end(app).await?;
        self.no_complaints().await?;
        self.secrets
            .check(&self.recorder.exchanges(), &self.run.origin())?;
        self.every_answer_is_guarded()
    }

    async fn first_visit(&mut self) -> Result<(), BoxError> {
        let page = &self.page;
        page.open(&self.run.origin()).await?;
        page.see("#user").await?;
        page.look(1_100, 900, false).await?;
        page.shot("1-sign-in-light").await?;
        page.sign_in(USER).await?;
        page.shot("2-nothing-connected-light").await?;
        page.connect(NORTHWIND.0, 1).await?;
        page.connect(LAKESIDE.0, 2).await?;
        page.count("#connections table", NORTHWIND.1 + LAKESIDE.1)
            .await?;
        page.shot("3-connected-light").await?;
        page.look(1_100, 900, true).await?;
        page.shot("4-connected-dark").await?;
        page.look(390, 844, false).await?;
        page.shot("5-connected-phone").await?;
        page.look(390, 844, true).await?;
        page.shot("6-connected-phone-dark").await?;
        page.look(1_100, 900, false).await?;
        self.nothing_is_in_the_page().await
    }

    /// Nobody does anything: the page goes on asking for balances.
    async fn a_token_is_refreshed_behind(&mut self) -> Result<(), BoxError> {
        let before = self.secrets.refresh.len();
        for broker in [NORTHWIND, LAKESIDE] {
            self.refreshed(broker.0).await?;
        }
        self.page.shot("7-refreshed-light").await?;
        self.nothing_is_in_the_page().await?;
        if self.secrets.refresh.len() < before + 2 {
            return Err("the stand-in has not refreshed twice".into());
        }
        // Had a call waited, it would have said so.
        self.page.count("#timeline [data-what=waited]", 0).await
    }

    async fn refreshed(&self, broker: &str) -> Result<(), BoxError> {
        let script = "return [...document.querySelectorAll('#timeline [data-what=refreshed]')]
            .some((item) => item.textContent.includes(arguments[0]))";
        self.page.until(script, vec![json!(broker)]).await
    }

    async fn one_that_has_expired_is_waited_for(&mut self) -> Result<(), BoxError> {
        let page = &self.page;
        page.click("#keep-asking").await?;
        for card in 1..=2 {
            let left = format!("#connections > :nth-child({card}) .left");
            page.see_text(&left, "expired").await?;
        }
        page.shot("8-expired-light").await?;
        page.click("#ask").await?;
        page.count("#timeline [data-what=waited]", 2).await?;
        page.gone("#connections .warn, #problem").await?;
        page.click("#keep-asking").await
    }

    async fn killed_and_started_again(&mut self, app: App) -> Result<App, BoxError> {
        app.kill().await?;
        self.page
            .see_text("#offline", "Run the same command again")
            .await?;
        self.page.shot("9-killed-light").await?;
        let app = self.run.start().await?;
        self.page
            .see_text("#greeting", &format!("Welcome back, {USER}"))
            .await?;
        self.page.gone("#offline, #welcome").await?;
        // As if the browser had been closed meanwhile: only its cookie is left.
        self.page.open(&self.run.origin()).await?;
        self.page
            .see_text("#greeting", &format!("Welcome back, {USER}"))
            .await?;
        self.page.count("#connections > li", 2).await?;
        self.page.shot("10-back-light").await?;
        Ok(app)
    }

    /// One click, no login.
    async fn the_return_user_transfers(&mut self) -> Result<(), BoxError> {
        let page = &self.page;
        page.click("#transfer").await?;
        page.enter("#link iframe").await?;
        page.transfer_from(NORTHWIND.1 + LAKESIDE.1).await?;
        page.leave().await?;
        page.shot("11-transfer-light").await?;
        page.look(390, 844, true).await?;
        page.shot("12-transfer-phone-dark").await?;
        page.look(1_100, 900, false).await?;
        page.strangers_are_not_listened_to(&self.run.mesh()).await?;
        page.enter("#link iframe").await?;
        page.transfer().await?;
        page.leave().await?;
        page.gone("#link").await?;
        self.nothing_is_in_the_page().await
    }

    /// Where Mesh's own SDK is in the place of our few lines.
    fn sdk_page(&self) -> String {
        format!("{}{}", self.run.origin(), sdk::PAGE)
    }

    async fn one_is_disconnected(&mut self) -> Result<(), BoxError> {
        let page = &self.page;
        page.open(&self.run.origin()).await?;
        page.click("[aria-label^='Disconnect Lakeside']").await?;
        page.count("#connections > li", 1).await?;
        page.see_text("#timeline [data-what=revoked]", LAKESIDE.0)
            .await?;
        page.shot("13-disconnected-light").await?;
        self.nothing_is_in_the_page().await?;
        match left::connections(&self.run.data, USER)? {
            (1, 1) => Ok(()),
            other => Err(format!("usable and ended connections: {other:?}").into()),
        }
    }

    async fn and_connected_again_by_the_sdk(&mut self) -> Result<(), BoxError> {
        self.page.open(&self.sdk_page()).await?;
        self.page.sdk_connect(LAKESIDE.0).await?;
        self.page.open(&self.run.origin()).await?;
        self.page.count("#connections > li", 2).await?;
        self.nothing_is_in_the_page().await
    }

    /// In the same browser somebody else signs in meanwhile, who sees nothing of hers.
    async fn signing_out_leaves_them_connected(&mut self) -> Result<(), BoxError> {
        let page = &self.page;
        let origin = self.run.origin();
        let cookie = page.session_cookie().await?;
        page.click("#sign-out").await?;
        page.see("#user").await?;
        self.recorder.is_signed_in(&origin, &cookie, false).await?;

        page.sign_in("Bob").await?;
        page.see("#nothing").await?;
        page.see("#quiet").await?;
        page.connect_later(LAKESIDE.0, LAKESIDE.1).await?;
        page.see_text("#timeline [data-what=refreshed]", LAKESIDE.0)
            .await?;
        self.nothing_is_in_the_page().await?;
        let page = &self.page;
        page.click("#sign-out").await?;

        page.sign_in(USER).await?;
        page.count("#connections > li", 2).await?;
        page.count("#connections table", NORTHWIND.1 + LAKESIDE.1)
            .await
    }

    async fn the_end(&mut self, app: App) -> Result<(), BoxError> {
        let page = &self.page;
        // Another browser of hers, that must be signed out, too.
        let origin = self.run.origin();
        let elsewhere = self.recorder.sign_in(&origin, USER).await?;
        self.recorder
            .is_signed_in(&origin, &elsewhere, true)
            .await?;
        let here = page.session_cookie().await?;

        page.click("#leave").await?;
        page.driver.accept_alert().await?;
        page.see("#user").await?;
        page.gone("#home").await?;
        for cookie in [&elsewhere, &here] {
            self.recorder.is_signed_in(&origin, cookie, false).await?;
        }
        self.revoked().await?;
        self.nothing_is_in_the_page().await?;
        app.interrupt().await?;

        let (providers, to_do) = left::grants(&self.run.data, USER).await?;
        // The mark that her sessions are over.
        if providers != [left::SIGN_INS] || to_do != 0 {
            return Err(format!("left in the store: {providers:?}, {to_do} things to do").into());
        }
        Ok(())
    }

    /// Waits until the stand-in has ended all connections: that happens behind.
    async fn revoked(&self) -> Result<(), BoxError> {
        let all = async {
            loop {
                match left::connections(&self.run.data, USER)? {
                    (0, 3) => return Ok::<_, BoxError>(()),
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(20), all).await;
        all.map_err(|_| "a connection was not revoked")?
    }

    /// No token in the page, nor anywhere where it could put one.
    async fn nothing_is_in_the_page(&mut self) -> Result<(), BoxError> {
        self.secrets.gather(&self.run.data)?;
        let everything = self.page.everything().await?;
        match self.secrets.all().find(everything.as_bytes()) {
            Some(found) => Err(format!("the page has {found}").into()),
            None => Ok(()),
        }
    }

    /// No script failed, and the security policy had nothing to refuse.
    async fn no_complaints(&self) -> Result<(), BoxError> {
        let complaints = self.page.complaints().await?;
        // While the server was killed.
        let mut others = complaints.iter().filter(|line| !line.contains("net::ERR_"));
        match others.next() {
            Some(line) => Err(format!("the browser complains: {line}").into()),
            None => Ok(()),
        }
    }

    /// Nothing may be kept of any answer, and only our own code runs in the page.
    fn every_answer_is_guarded(&self) -> Result<(), BoxError> {
        for exchange in self.recorder.exchanges() {
            if !exchange.is_to(&self.run.origin()) {
                continue;
            }
            let says = |name: &str| {
                let value = exchange.headers.get(name);
                value
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
            };
            let policy = says("content-security-policy");
            let guarded = says("cache-control") == "no-store"
                && policy.contains("default-src 'none'; script-src 'self'; style-src 'self'")
                && policy.contains(&format!("frame-src {};", self.run.mesh()));
            if !guarded || exchange.status.is_server_error() {
                return Err(format!("{} is not as it should be", exchange.name()).into());
            }
        }
        Ok(())
    }
}
