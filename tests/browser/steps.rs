//! What a person does, step by step.

use tests::BoxError;

use crate::page::Page;

/// What a person does on the page of the example.
impl Page {
    /// Signs in with a name, and nothing else.
    pub async fn sign_in(&self, name: &str) -> Result<(), BoxError> {
        self.see("#user").await?.send_keys(name).await?;
        self.click("#sign-in button").await?;
        self.see_text("#greeting", &format!("Hello, {name}"))
            .await?;
        Ok(())
    }

    /// Connects a broker within Link; `cards` are there afterwards.
    pub async fn connect(&self, broker: &str, cards: usize) -> Result<(), BoxError> {
        self.click("#connect").await?;
        self.enter("#link iframe").await?;
        self.log_in_to(broker, false).await?;
        self.leave().await?;
        self.gone("#link").await?;
        self.count("#connections > li", cards).await?;
        self.see_text("#connections h3", broker).await?;
        Ok(())
    }

    /// The same for a login that is confirmed later: `tables` are shown then.
    pub async fn connect_later(&self, broker: &str, tables: usize) -> Result<(), BoxError> {
        self.click("#connect").await?;
        self.enter("#link iframe").await?;
        self.log_in_to(broker, true).await?;
        self.leave().await?;
        self.gone("#link").await?;
        self.count("#connections table", tables).await
    }

    /// Within Link: from the choice of a broker to its end.
    pub async fn log_in_to(&self, broker: &str, later: bool) -> Result<(), BoxError> {
        self.click_on("#choose button", broker).await?;
        self.see("#user-name").await?.send_keys("anybody").await?;
        if later {
            self.click("#login [name=later]").await?;
        }
        self.click("#login [type=submit]").await?;
        self.click("#connected .done").await
    }

    /// Within Link, which was opened with access tokens: `accounts` can be transferred from,
    /// and no login is asked for.
    pub async fn transfer_from(&self, accounts: usize) -> Result<(), BoxError> {
        self.see("#transfer").await?;
        self.count("#transfer .sources input", accounts).await?;
        self.gone("#login, #choose").await?;
        Ok(())
    }

    /// Goes through with it.
    pub async fn transfer(&self) -> Result<(), BoxError> {
        self.click("#transfer [type=submit]").await?;
        self.click("#transferred .done").await
    }

    /// While Link is open: messages of the page itself, and of another window at Link's own
    /// origin, that would close it.
    pub async fn strangers_are_not_listened_to(&self, mesh: &str) -> Result<(), BoxError> {
        let close = "window.parent.postMessage({ type: 'close' }, '*')";
        self.driver.execute(close, vec![]).await?;
        let stranger = "const frame = document.createElement('iframe');
            frame.id = 'stranger';
            frame.src = arguments[0];
            document.querySelector('#link').append(frame);";
        let page = format!("{mesh}/link/page.css");
        self.driver.execute(stranger, vec![page.into()]).await?;
        self.enter("#stranger").await?;
        self.until("return document.readyState === 'complete'", vec![])
            .await?;
        self.driver.execute(close, vec![]).await?;
        self.leave().await?;
        let gone = "document.querySelector('#stranger').remove()";
        self.driver.execute(gone, vec![]).await?;
        self.see("#link iframe").await?;
        Ok(())
    }
}
