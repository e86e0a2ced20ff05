//! The whole story without a browser, over real HTTP. What is printed is asserted.

use std::error::Error;
use std::time::Duration;

use axum_token::PublicOrigin;
use examples::timeline::Timeline;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::browser::{Browser, Page};
use crate::folder::Folder;
use crate::provider::Provider;
use crate::{app, listen, registration};

const LIFETIME: Duration = Duration::from_secs(2);
const EXPIRIES: u64 = 3;

type Checked = Result<(), Box<dyn Error>>;

/// Everything that the story is told of.
struct Story {
    timeline: Timeline,
    provider: Provider,
    origin: PublicOrigin,
}

pub(crate) async fn check() -> Checked {
    let timeline = Timeline::new();
    let (listener, origin) = listen(0).await?;
    let provider = Provider::start(registration(&origin), LIFETIME).await?;
    let home = tempfile::tempdir()?;
    let folder = Folder::open(home.path(), "the check")?;
    let (app, manager) = app::start(&provider.settings(), "", &folder, &origin).await?;
    timeline.part("Three parties, on loopback");
    timeline.say(format_args!("the page is at {origin}"));
    timeline.say(format_args!("the provider is at {}", provider.issuer));
    let story = Story {
        timeline,
        provider,
        origin,
    };
    let told = async {
        let mut ada = Browser::new()?;
        story.denied().await?;
        story.timeline.part("Sign in");
        story.signs_in(&mut ada, "ada").await?;
        story.three_expiries(&mut ada).await?;
        story.signs_out(&mut ada).await?;
        story.is_signed_out_by_the_provider(&mut ada).await
    };
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        told = timeout(Duration::from_secs(120), told) => told??,
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

impl Story {
    async fn denied(&self) -> Checked {
        self.timeline.part("Denied");
        let mut bob = Browser::new()?;
        let asked = self.is_asked(&mut bob).await?;
        let page = bob
            .submit(&asked, "/authorize", &[("answer", "deny")])
            .await?;
        let ours = page.url.as_str().starts_with(self.origin.as_str());
        self.timeline.check(
            ours && !page.status.is_success() && page.text.contains("<html"),
            format_args!(
                "bob said no at the provider, and a page says so: {}",
                page.status
            ),
        )?;
        let user = self.user(&mut bob).await?;
        self.timeline.check(
            user["signed_in"] == false && !self.provider.tokens.is_connected("bob"),
            "he is not signed in, and no token was issued",
        )
    }

    async fn signs_in(&self, browser: &mut Browser, name: &str) -> Checked {
        let asked = self.is_asked(browser).await?;
        self.timeline.say(format_args!(
            "the provider asks {name}, at {}",
            asked.url.path()
        ));
        let form = [("name", name), ("answer", "allow")];
        let page = browser.submit(&asked, "/authorize", &form).await?;
        let user = self.user(browser).await?;
        self.timeline.check(
            page.url.as_str() == format!("{}/", self.origin)
                && user["signed_in"] == true
                && user["subject"] == format!("op|{name}")
                && user["connections"][0]["state"] == "active",
            format_args!("{name} allowed it, and is back at the page: signed in, and connected"),
        )
    }

    async fn three_expiries(&self, browser: &mut Browser) -> Checked {
        self.timeline
            .part("The page calls the API, and tokens expire");
        let before = self.provider.tokens.counts();
        let mut calls = 0;
        while self.provider.tokens.counts().refreshes_ok < before.refreshes_ok + EXPIRIES {
            let (status, answer) = self.call(browser).await?;
            if status != StatusCode::OK || answer["user"] != "ada" {
                return Err(format!("call {calls} was answered {status}: {answer}").into());
            }
            calls += 1;
            sleep(Duration::from_millis(100)).await;
        }
        let counts = self.provider.tokens.counts();
        self.timeline.check(
            counts.refreshes_failed == 0 && counts.reuse_detected == 0,
            format_args!(
                "{calls} calls through the proxy over {EXPIRIES} expiries, each answered: you are ada"
            ),
        )
    }

    async fn signs_out(&self, ada: &mut Browser) -> Checked {
        self.timeline.part("Sign out, here and at the provider");
        let url = format!("{}/auth/op/logout", self.origin);
        let (status, answer) = ada.fetch(Method::POST, &url).await?;
        let location = answer["location"].as_str().unwrap_or_default();
        let page = ada.go(&format!("{}{location}", self.origin)).await?;
        let user = self.user(ada).await?;
        self.timeline.check(
            status == StatusCode::OK
                && page.url.as_str() == format!("{}/", self.origin)
                && user["signed_in"] == false,
            "ada signed out, and came back to the page by way of the provider",
        )?;
        let there = ada.go(&self.provider.issuer).await?;
        self.timeline.check(
            there.text.contains("Nobody is signed in"),
            "the provider's session has ended, too, and nobody was asked again",
        )?;
        let (status, _) = self.call(ada).await?;
        self.timeline.check(
            status == StatusCode::UNAUTHORIZED && self.provider.tokens.is_connected("ada"),
            "her page calls nothing any more; what she connected stays, for work in her name",
        )
    }

    async fn is_signed_out_by_the_provider(&self, ada: &mut Browser) -> Checked {
        self.timeline.part("Sign in again");
        self.signs_in(ada, "ada").await?;
        self.timeline.say("and again, with her phone");
        let mut phone = Browser::new()?;
        self.signs_in(&mut phone, "ada").await?;
        self.timeline.part("Signed out by the provider");
        let before = self.provider.tokens.counts().revocations;
        let there = ada.go(&self.provider.issuer).await?;
        let page = ada.submit(&there, "/sign-out", &[]).await?;
        self.timeline.check(
            page.text.contains("The service was told"),
            "ada signed out at the provider, which told the service over the back channel",
        )?;
        let (here, elsewhere) = (self.user(ada).await?, self.user(&mut phone).await?);
        self.timeline.check(
            here["signed_in"] == false && elsewhere["signed_in"] == false,
            "her sessions are over, in both of her browsers",
        )?;
        let revoked = async {
            while self.provider.tokens.counts().revocations == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let revoked = timeout(Duration::from_secs(10), revoked).await.is_ok();
        self.timeline
            .check(revoked, "and so is her grant: its tokens were revoked")
    }

    /// The page of the provider that asks.
    async fn is_asked(&self, browser: &mut Browser) -> Result<Page, Box<dyn Error>> {
        let asked = browser
            .go(&format!("{}/auth/op?next=/", self.origin))
            .await?;
        match asked.url.as_str().starts_with(&self.provider.issuer) {
            true => Ok(asked),
            false => Err(format!("{} is not the provider", asked.url).into()),
        }
    }

    async fn user(&self, browser: &mut Browser) -> Result<Value, Box<dyn Error>> {
        let url = format!("{}/user", self.origin);
        Ok(browser.fetch(Method::GET, &url).await?.1)
    }

    async fn call(&self, browser: &mut Browser) -> Result<(StatusCode, Value), Box<dyn Error>> {
        let url = format!("{}/api/op/me", self.origin);
        browser.fetch(Method::GET, &url).await
    }
}
