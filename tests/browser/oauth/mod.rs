//! The story of a user who signs in by OpenID Connect, at a real provider and on its own pages.

mod secrets;
mod steps;

use std::time::Duration;

use serde_json::Value;
use tests::BoxError;
use tests::oidc::Oidc;
use tests::port::free_port;
use tokio::process::Command;

use crate::app::{self, App};
use crate::page::Page;
use crate::recorder::Recorder;
use secrets::Issued;

const USER: &str = "ada";

/// Seconds; the shortest that leaves a token some life, as the provider rounds down.
const ACCESS_TTL: u32 = 3;

/// How often the page's calls outlive an access token.
const EXPIRIES: u64 = 3;

struct Story {
    origin: String,
    oidc: Oidc,
    page: Page,
    recorder: Recorder,
}

/// All of it.
pub async fn tell(page: Page, recorder: Recorder) -> Result<(), BoxError> {
    let program = app::build("oauth-sign-in").await?;
    let port = free_port()?;
    let origin = format!("http://localhost:{port}");
    let oidc = Oidc::start_for_web(ACCESS_TTL, &origin).await?;
    let data = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command
        .args(["--port", &port.to_string()])
        .args(["--issuer", oidc.base()])
        .args(["--client-id", "web", "--client-secret", "web-secret"])
        .args(["--api", &oidc.url("/api/me")])
        .arg("--data")
        .arg(data.path());
    let app = App::start(&mut command, &origin).await?;
    let story = Story {
        origin,
        oidc,
        page,
        recorder,
    };
    story.signs_in("light").await?;
    story.goes_on_calling().await?;
    story.logs_out().await?;
    story.signs_in("again").await?;
    story.is_logged_out_by_the_provider().await?;
    story.nothing_came_to_the_browser().await?;
    story.no_complaints().await?;
    app.interrupt().await
}

impl Story {
    /// On the provider's own login and consent pages.
    async fn signs_in(&self, how: &str) -> Result<(), BoxError> {
        let page = &self.page;
        page.open(&self.origin).await?;
        page.see("#sign-in").await?;
        page.shot(&format!("oauth-1-signed-out-{how}")).await?;
        page.click("#sign-in").await?;
        page.logs_in_at_the_provider(USER).await?;
        page.consents_at_the_provider().await?;
        page.see_text("#greeting", USER).await?;
        page.shot(&format!("oauth-2-signed-in-{how}")).await?;
        self.nothing_is_in_the_page().await
    }

    /// Through the proxy, while the provider's own clock takes the tokens away.
    async fn goes_on_calling(&self) -> Result<(), BoxError> {
        let before = self.recorder.exchanges().len();
        let refreshes = self.refreshes().await?;
        while self.refreshes().await? < refreshes + EXPIRIES {
            self.page.calls(USER).await?;
        }
        // With the last of the tokens, too.
        self.page.calls(USER).await?;
        self.page.shot("oauth-3-called").await?;
        let exchanges = self.recorder.exchanges();
        let mut ours = exchanges[before..]
            .iter()
            .filter(|exchange| exchange.is_to(&self.origin));
        if let Some(failed) = ours.find(|exchange| !exchange.status.is_success()) {
            return Err(format!("{} answered {}", failed.name(), failed.status).into());
        }
        self.nothing_is_in_the_page().await
    }

    /// By the provider's own logout page, back to the app.
    async fn logs_out(&self) -> Result<(), BoxError> {
        let page = &self.page;
        page.click("#sign-out").await?;
        page.confirms_the_logout().await?;
        page.see("#sign-in").await?;
        page.gone("#greeting").await?;
        self.counted("logouts", 1).await?;
        self.counted("backchannel_ok", 1).await?;
        self.counted("backchannel_failed", 0).await?;
        self.nothing_is_in_the_page().await
    }

    /// The session ends elsewhere: the page finds itself signed out, and its grant is revoked.
    async fn is_logged_out_by_the_provider(&self) -> Result<(), BoxError> {
        let revoked = self.count("grants_revoked").await?;
        self.oidc.end_session(USER).await?;
        self.page.finds_itself_signed_out().await?;
        self.page.shot("oauth-4-logged-out-elsewhere").await?;
        self.revoked_since(revoked).await?;
        // Not even a new page brings it back.
        self.page.open(&self.origin).await?;
        self.page.see("#sign-in").await?;
        self.counted("backchannel_failed", 0).await
    }

    /// Waits until the provider has revoked a grant more: that happens behind.
    async fn revoked_since(&self, before: u64) -> Result<(), BoxError> {
        let revoked = async {
            while self.count("grants_revoked").await? == before {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        let revoked = tokio::time::timeout(Duration::from_secs(20), revoked).await;
        revoked.map_err(|_| "the grant was not revoked")?
    }

    async fn refreshes(&self) -> Result<u64, BoxError> {
        let counts = self.oidc.counts().await?;
        Ok(counts["refresh_ok_by_account"][USER].as_u64().unwrap_or(0))
    }

    async fn count(&self, name: &str) -> Result<u64, BoxError> {
        let count = self.oidc.counts().await?[name].as_u64();
        count.ok_or_else(|| format!("no count is called {name}").into())
    }

    async fn counted(&self, name: &str, expected: u64) -> Result<(), BoxError> {
        match self.count(name).await? {
            count if count == expected => Ok(()),
            count => Err(format!("{name} is {count}, not {expected}").into()),
        }
    }

    async fn issued(&self) -> Result<Issued, BoxError> {
        let issued: Value = self.oidc.issued().await?;
        Ok(Issued::new(&issued, "web-secret"))
    }

    /// No token in the page, nor anywhere where it could put one.
    async fn nothing_is_in_the_page(&self) -> Result<(), BoxError> {
        let everything = self.page.everything().await?;
        match self.issued().await?.all().find(everything.as_bytes()) {
            Some(found) => Err(format!("the page has {found}").into()),
            None => Ok(()),
        }
    }

    async fn nothing_came_to_the_browser(&self) -> Result<(), BoxError> {
        let exchanges = self.recorder.exchanges();
        self.issued().await?.check(&exchanges, self.oidc.base())
    }

    /// No script failed, and the app's security policy had nothing to refuse.
    async fn no_complaints(&self) -> Result<(), BoxError> {
        let complaints = self.page.complaints().await?;
        let mut ours = complaints.iter().filter(|line| line.contains(&self.origin));
        // That is how the page finds itself signed out.
        match ours.find(|line| !line.contains("status of 401")) {
            Some(line) => Err(format!("the browser complains: {line}").into()),
            None => Ok(()),
        }
    }
}
