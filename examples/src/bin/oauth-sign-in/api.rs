//! What the page calls.

use std::error::Error;

use http::Uri;
use serde::Deserialize;
use tower_token::MetadataClient;

/// A URL, in the parts that an upstream has.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) origin: String,
    /// With the slash that it begins with.
    pub(crate) path: String,
}

/// Of OpenID Connect Discovery 1.0 section 3.
#[derive(Deserialize)]
struct Published {
    userinfo_endpoint: Option<String>,
}

impl Api {
    /// The one that is given, or the provider's userinfo endpoint, which every access token of
    /// OpenID Connect is for.
    pub(crate) async fn find(given: Option<&str>, issuer: &str) -> Result<Self, Box<dyn Error>> {
        let url = match given {
            Some(url) => url.to_owned(),
            None => {
                let issuer = issuer.trim_end_matches('/');
                let url = format!("{issuer}/.well-known/openid-configuration");
                let document = MetadataClient::new()?.get(&url).await?;
                let published: Published = serde_json::from_slice(&document)?;
                let endpoint = published.userinfo_endpoint;
                endpoint.ok_or("the provider has no userinfo endpoint: say --api URL")?
            }
        };
        Self::parse(&url).ok_or_else(|| format!("--api takes a URL, and {url} is none").into())
    }

    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        Some(Self {
            origin: format!("{}://{}", uri.scheme_str()?, uri.authority()?),
            path: uri.path().to_owned(),
        })
    }
}
