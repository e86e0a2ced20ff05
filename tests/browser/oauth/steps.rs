//! What a person does, on the provider's pages and on the example's.

use serde_json::json;
use tests::BoxError;

use crate::page::Page;

/// On the pages that come with oidc-provider.
impl Page {
    pub async fn logs_in_at_the_provider(&self, name: &str) -> Result<(), BoxError> {
        self.see("[name=login]").await?.send_keys(name).await?;
        self.see("[name=password]")
            .await?
            .send_keys("anything")
            .await?;
        self.click(".login-submit").await
    }

    pub async fn consents_at_the_provider(&self) -> Result<(), BoxError> {
        self.see_text("h1", "Authorize").await?;
        self.click(".login-submit").await
    }

    pub async fn confirms_the_logout(&self) -> Result<(), BoxError> {
        self.see_text("h1", "sign-out").await?;
        self.click("[name=logout]").await
    }
}

/// On the example's page.
impl Page {
    /// One call through the proxy, answered for `user`.
    pub async fn calls(&self, user: &str) -> Result<(), BoxError> {
        let calls = "return Number(document.querySelector('#calls').textContent)";
        let before = self.driver.execute(calls, vec![]).await?;
        let before = before.json().as_u64().ok_or("#calls is no number")?;
        self.click("#call").await?;
        let more = "return Number(document.querySelector('#calls').textContent) > arguments[0]";
        self.until(more, vec![json!(before)]).await?;
        let answer = self.see("#answer").await?.text().await?;
        match answer.contains(user) {
            true => Ok(()),
            false => Err(format!("a call was answered {answer}").into()),
        }
    }

    /// By itself, or by a call that fails.
    pub async fn finds_itself_signed_out(&self) -> Result<(), BoxError> {
        let look = "const shown = (css) => document.querySelector(css)?.checkVisibility();
            if (shown('#call')) document.querySelector('#call').click();
            return shown('#sign-in') === true && !shown('#greeting')";
        self.until(look, vec![]).await
    }
}
