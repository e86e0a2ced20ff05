//! `https`, over a real TLS server: its certificate is checked, and HTTP/2 agreed on.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Uri, Version};
use hyper_client_token::{Error, TokenClient};
use hyper_rustls::HttpsConnectorBuilder;
use rcgen::CertifiedKey;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tower_token::{GrantKey, KeyRing, MemoryStore, Provider, SealedStore, TokenManager};

use crate::support::{Api, Rig, Tokens, text};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// An API with a certificate that it signed itself, and that.
async fn api(protocols: &[&str]) -> (Api, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().into())
        .collect();
    let api = Api::start_tls(TlsAcceptor::from(Arc::new(config))).await;
    (api, cert.der().clone())
}

#[tokio::test]
async fn with_roots_of_your_own() {
    for (offered, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let (api, root) = api(offered).await;
        let rig = Rig::of(&api).await;
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_all_versions()
            .build();
        let client = TokenClient::builder(&rig.manager).connector(https).build();
        let ada = client.for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        let response = ada.get(api.uri("/x")).await;
        assert_eq!(response.as_ref().unwrap().version(), version);
        assert_eq!(text(response).await, "ada-1");
        assert_eq!(api.tokens(), ["ada-0", "ada-1"]);
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_no_token() {
    let (api, _) = api(&["h2"]).await;
    let rig = Rig::of(&api).await;
    let key = rig.connect("ada").await;
    let builder = TokenClient::builder(&rig.manager);
    for builder in [builder.clone().https_only(), builder.https_or_http()] {
        let ada = builder.unwrap().build().for_key(key.clone());
        let error = ada.get(api.uri("/x")).await.unwrap_err();
        let Error::Inner(inner) = &error else {
            panic!("{error:?}");
        };
        assert!(inner.is_connect());
        assert!(api.seen().is_empty());
    }
}

#[tokio::test]
async fn plain_http_is_refused_or_spoken_as_was_chosen() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let key = rig.connect("ada").await;
    let builder = TokenClient::builder(&rig.manager);
    let only = builder.clone().https_only().unwrap().build();
    let error = only.for_key(key.clone()).get(api.uri("/x")).await;
    assert!(matches!(error, Err(Error::Inner(error)) if error.is_connect()));
    assert_eq!(api.connections(), 0);
    let both = builder.https_or_http().unwrap().build();
    assert_eq!(
        text(both.for_key(key).get(api.uri("/x")).await).await,
        "ada-0"
    );
}

/// Tells this test, as a process of its own with roots of its own, where to go and which HTTP to
/// expect there.
#[cfg(target_os = "linux")]
const CHILD: &str = "HYPER_CLIENT_TOKEN_TEST_API";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_platforms_roots_are_what_it_goes_by() {
    if let Ok(told) = std::env::var(CHILD) {
        let (uri, version) = told.split_once(' ').unwrap();
        return as_child(uri.parse().unwrap(), version).await;
    }
    for (offered, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
    ] {
        let (api, root) = api(offered).await;
        let pem = tempfile::NamedTempFile::new().unwrap();
        let root = BASE64_STANDARD.encode(&root);
        let root = format!("-----BEGIN CERTIFICATE-----\n{root}\n-----END CERTIFICATE-----\n");
        std::fs::write(pem.path(), root).unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child
            .arg("--exact")
            .arg("tls_is_agreed_on::the_platforms_roots_are_what_it_goes_by")
            .env_remove("SSL_CERT_DIR")
            .env("SSL_CERT_FILE", pem.path())
            .env(CHILD, format!("{} {version:?}", api.uri("/x")));
        let output = tokio::task::spawn_blocking(move || child.output());
        let output = output.await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert_eq!(api.tokens(), ["ada-0"]);
    }
}

#[cfg(target_os = "linux")]
async fn as_child(uri: Uri, version: &str) {
    let origin = format!("https://{}", uri.authority().unwrap());
    let ring = KeyRing::generate().unwrap();
    let manager = TokenManager::builder()
        .store(SealedStore::open(MemoryStore::new(), ring).await.unwrap())
        .provider(Provider::new("fake", Tokens::default()).allow_origin(origin))
        .build()
        .await
        .unwrap();
    let ada = GrantKey::new("fake", "ada");
    manager.connect(&ada, Tokens::nth("ada", 0)).await.unwrap();
    let client = TokenClient::builder(&manager).https_only().unwrap().build();
    let response = client.for_key(ada).get(uri).await.unwrap();
    assert_eq!(format!("{:?}", response.version()), version);
}
