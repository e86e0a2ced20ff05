//! Many processes on one store: what starts and leads them, and what they run.
//!
//! The programs `fleet-*` start themselves again, once for each process, with [`CHILD`] as the
//! only argument; [`member::run`] is all that those do. They are talked to by lines. All begin with
//! [`start`].

pub mod member;
mod process;
mod random;
mod setting;

use std::process::ExitCode;

use tower_token::GrantKey;

use crate::BoxError;

pub use self::process::{Process, Still};
pub use self::random::Random;
pub use self::setting::{Service, Setting, Store, Through};

/// What a program of a fleet is started with to be one of its processes.
pub const CHILD: &str = "--child";

/// Begins one of the programs: as a process of its fleet, or by `lead`, which is given the
/// arguments and says whether everything held.
#[allow(clippy::print_stdout)]
pub fn start(lead: impl FnOnce(&[&str]) -> Result<bool, BoxError>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [CHILD] => member::run().map(|()| true),
        _ => lead(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

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
