//! `https`, by rustls.

use std::io;
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

use crate::builder::TokenClientBuilder;

impl<P> TokenClientBuilder<HttpConnector, P> {
    /// Connects by TLS, and refuses `http`. Servers are checked as the platform does, by its roots;
    /// HTTP/2 is spoken with those who offer it, with the feature `http2`. For roots of your own give
    /// a [`connector`](Self::connector) of hyper-rustls.
    ///
    /// The cryptography is the process's default provider of rustls, or else aws-lc-rs.
    ///
    /// # Errors
    ///
    /// If the platform's roots cannot be had.
    pub fn https_only(self) -> io::Result<TokenClientBuilder<HttpsConnector<HttpConnector>, P>> {
        self.tls(true)
    }

    /// As [`https_only`](Self::https_only), and plain HTTP/1.1 where the URI says `http`. A token
    /// goes there only if its provider allows that, which it can for loopback alone.
    ///
    /// # Errors
    ///
    /// If the platform's roots cannot be had.
    pub fn https_or_http(self) -> io::Result<TokenClientBuilder<HttpsConnector<HttpConnector>, P>> {
        self.tls(false)
    }

    fn tls(self, only: bool) -> io::Result<TokenClientBuilder<HttpsConnector<HttpConnector>, P>> {
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let https = HttpsConnectorBuilder::new().with_provider_and_platform_verifier(provider)?;
        let https = match only {
            true => https.https_only(),
            false => https.https_or_http(),
        };
        let https = https.enable_http1();
        #[cfg(feature = "http2")]
        let https = https.enable_http2();
        let mut http = self.connector.clone();
        http.enforce_http(false);
        Ok(self.connector(https.wrap_connector(http)))
    }
}
