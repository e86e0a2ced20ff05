//! Ports for what is started again at the same one, or told of it before it listens.

use crate::BoxError;

/// A port of loopback that nobody has, outside of the range that outgoing connections are given
/// theirs from: one of those could take it before the server listens, even the very connection
/// that tries to reach it.
pub fn free_port() -> Result<u16, BoxError> {
    use std::hash::{BuildHasher as _, Hasher as _};
    for _ in 0..1_000 {
        let random = std::hash::RandomState::new().build_hasher().finish();
        let port = 20_000 + u16::try_from(random % 12_000)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}
