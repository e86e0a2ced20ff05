//! Many processes on one store: what starts and leads them, and what they run.
//!
//! The programs `fleet-*` start themselves again, once for each process, with [`CHILD`] as the
//! only argument; [`member::run`] is all that those do. They are talked to by lines.

pub mod member;
mod process;
mod random;
mod setting;

use tower_token::GrantKey;

pub use self::process::{Process, Still};
pub use self::random::Random;
pub use self::setting::{Service, Setting, Store, Through};

/// What a program of a fleet is started with to be one of its processes.
pub const CHILD: &str = "--child";

/// The provider's name in all grant keys.
pub const PROVIDER: &str = "fleet";

/// Whose grant number `n` is.
pub fn account(n: usize) -> String {
    format!("user-{n}")
}

/// The key of grant number `n`.
pub fn key(n: usize) -> GrantKey {
    GrantKey::new(PROVIDER, account(n))
}
