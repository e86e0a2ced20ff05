//! TLS to the database, by the rustls that is there for reqwest.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::misconfigured;
use crate::store::contract::StoreError;

/// Which certificates are trusted.
#[derive(Clone, Default)]
pub(super) enum Roots {
    /// Those that the system trusts.
    #[default]
    System,
    /// These and no others.
    Pem(Vec<u8>),
}

/// A certificate is always checked, with the name of the host.
pub(super) fn connector(needs_tls: bool, roots: &Roots) -> Result<MakeRustlsConnect, StoreError> {
    // By a provider of its own: what an application installed for its process is left alone.
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| misconfigured("TLS is not to be had").with_source(error))?;
    let config = match roots {
        // Never used, and trusts nobody.
        _ if !needs_tls => builder.with_root_certificates(RootCertStore::empty()),
        Roots::System => builder.with_platform_verifier().map_err(|error| {
            misconfigured(
                "the certificates that the system trusts cannot be read: install them, or give \
                 the database's own by tls_roots_pem",
            )
            .with_source(error)
        })?,
        Roots::Pem(pem) => builder.with_root_certificates(trusted(pem)?),
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn trusted(pem: &[u8]) -> Result<RootCertStore, StoreError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.is_ok_and(|certificate| roots.add(certificate).is_ok());
        if !added {
            return Err(misconfigured(
                "what tls_roots_pem was given is no certificate in PEM",
            ));
        }
    }
    match roots.is_empty() {
        true => Err(misconfigured(
            "what tls_roots_pem was given has no certificate in it",
        )),
        false => Ok(roots),
    }
}
