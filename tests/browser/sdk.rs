//! A page with Mesh's own SDK in it, at the example's origin: the proxy serves it.

use std::path::Path;

use bytes::Bytes;
use tests::BoxError;

use crate::page::Page;

/// Where the page is.
pub const PAGE: &str = "/sdk";

/// What the proxy answers by itself.
pub fn pages() -> Result<Vec<(&'static str, &'static str, Bytes)>, BoxError> {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/mesh/dist/web-link-sdk.js");
    let bundle = std::fs::read(bundle).map_err(|_| {
        "the SDK's bundle is missing: npm ci --prefix tests/peers/mesh --ignore-scripts && \
         npm run --prefix tests/peers/mesh build"
    })?;
    let html = Bytes::from_static(include_bytes!("sdk.html"));
    Ok(vec![
        (PAGE, "text/html; charset=utf-8", html),
        ("/sdk/web-link-sdk.js", "text/javascript", bundle.into()),
    ])
}

/// What the SDK's page does.
impl Page {
    /// A return user's transfer by the SDK, from `accounts`.
    pub async fn sdk_transfer(&self, accounts: usize) -> Result<(), BoxError> {
        self.click("#transfer").await?;
        self.enter(IFRAME).await?;
        self.transfer_from(accounts).await?;
        self.transfer().await?;
        self.leave().await?;
        self.see_text("#events li", "transferred success").await?;
        self.see_text("#events li", "exit without an error").await?;
        Ok(())
    }

    /// A new connection by the SDK, which hands its payload to the page.
    pub async fn sdk_connect(&self, broker: &str) -> Result<(), BoxError> {
        self.click("#connect").await?;
        self.enter(IFRAME).await?;
        self.log_in_to(broker, false).await?;
        self.leave().await?;
        self.see_text("#events li", "event integrationConnected")
            .await?;
        self.see_text("#events li", "connected accessToken").await?;
        self.see_text("#events li", &format!("stored {broker}"))
            .await?;
        Ok(())
    }
}

const IFRAME: &str = "#mesh-link-popup__iframe";
