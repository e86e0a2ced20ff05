#![doc = include_str!("three_calls.md")]

mod key_locks;
mod marks;
mod multi_process;
mod pages;
mod single_process;
mod token;
mod traits;

pub use self::multi_process::MultiProcess;
pub use self::single_process::SingleProcess;
pub use self::token::{SealedToken, TokenKey};
pub use self::traits::{SharedUserTokenStore, UserTokenStore};
