//! Where the database is, and whether the way there is encrypted.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::error::misconfigured;
use crate::store::contract::StoreError;

const CONNECT: Duration = Duration::from_secs(5);
/// When a connection that is silent is looked after, and how soon it is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);
const GIVEN_UP: Duration = Duration::from_secs(15);

/// What a URL says, made ready to connect.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) needs_tls: bool,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, StoreError> {
        // Never the cause: it may quote a part of a password.
        let mut config: Config = in_known_words(url)?.parse().map_err(|_| {
            misconfigured(
                "the address of the database is not understood: it is \
                 postgres://user:password@host:5432/database, or pairs as in host=.. user=..; of \
                 libpq's options those of certificates are not known here (see tls_roots_pem)",
            )
        })?;
        let needs_tls = needs_tls(&config);
        config
            .ssl_mode(if needs_tls {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE / 3)
            .keepalives_retries(3);
        if config.get_connect_timeout().is_none() {
            // Of several hosts one that is silently gone leaves time for the others.
            let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
            let parts = match u32::try_from(hosts) {
                Ok(hosts @ 2..) => hosts.saturating_mul(2),
                _ => 1,
            };
            config.connect_timeout(CONNECT / parts);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(GIVEN_UP);
        }
        if config.get_application_name().is_none() {
            config.application_name("tower-token");
        }
        Ok(Self { config, needs_tls })
    }
}

/// `sslmode=verify-full` is what `require` means here.
fn in_known_words(url: &str) -> Result<String, StoreError> {
    // What is before the last @ of a URL may be a password.
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = match url.rfind('@') {
        Some(at) if is_url => at,
        _ => 0,
    };
    let (before, options) = url.split_at(options);
    if options.contains("sslmode=verify-ca") {
        return Err(misconfigured(
            "sslmode=verify-ca is not known here: a certificate is accepted only with the name \
             of its host, so use sslmode=verify-full or require",
        ));
    }
    let options = options.replace("sslmode=verify-full", "sslmode=require");
    Ok(format!("{before}{options}"))
}

/// Encrypted, unless it is said not to be or stays on this machine.
fn needs_tls(config: &Config) -> bool {
    match config.get_ssl_mode() {
        SslMode::Disable => false,
        SslMode::Require => true,
        // `prefer`, which is the default, would also take a connection that somebody has made
        // to be plain.
        _ => {
            let addresses = config.get_hostaddrs();
            match addresses.is_empty() {
                true => !config.get_hosts().iter().all(is_here),
                false => !addresses.iter().all(IpAddr::is_loopback),
            }
        }
    }
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let address = name.parse::<IpAddr>();
            name.eq_ignore_ascii_case("localhost")
                || address.is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_it_is_said_not_to_be() {
        for (url, encrypted) in [
            ("postgres://u:p@db.example.com/d", true),
            ("postgres://u:p@db.example.com/d?sslmode=prefer", true),
            ("postgres://u:p@db.example.com/d?sslmode=require", true),
            ("postgres://u:p@db.example.com/d?sslmode=verify-full", true),
            ("postgres://u:p@db.example.com/d?sslmode=disable", false),
            ("postgres://u:p@127.0.0.1/d?sslmode=require", true),
            ("postgres://u:p@127.0.0.1/d", false),
            ("postgres://u:p@[::1]/d", false),
            ("postgres://u:p@LocalHost/d", false),
            ("postgres://u:p@127.0.0.1,10.0.0.7/d", true),
            ("host=localhost hostaddr=10.0.0.7 user=u", true),
            ("host=db.example.com hostaddr=127.0.0.1 user=u", false),
            ("host=/run/postgresql user=u dbname=d", false),
            ("host=db user=u sslmode=verify-full", true),
            ("user=u", false),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.needs_tls, encrypted, "{url}");
            let mode = address.config.get_ssl_mode();
            assert_eq!(mode == SslMode::Require, encrypted, "{url}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_repeated() {
        for url in [
            "postgres://u:p4ss@h/d?sslrootcert=/p4ss",
            "postgres://u:p4ss@h/d?sslmode=verify-ca",
            "postgres://u:p4ss@h:port/d",
            "password=x p4ss=y",
            "p4ss",
        ] {
            let Err(error) = Address::parse(url) else {
                panic!("{url}");
            };
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("p4ss"), "{shown}");
        }
    }

    #[test]
    fn a_password_is_taken_as_it_is() {
        let url = "postgres://u:sslmode=verify-full@127.0.0.1/d";
        let address = Address::parse(url).unwrap();
        let password = address.config.get_password();
        assert_eq!(password, Some(&b"sslmode=verify-full"[..]));
    }
}
