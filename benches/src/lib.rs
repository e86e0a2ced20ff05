//! What the benchmarks share.

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod effort;
mod folder;
pub mod hot_path;
pub mod instructions;
pub mod noop;
pub mod ours;
pub mod peer;
#[cfg(feature = "peers")]
pub mod peers;
mod report;
mod rounds;
pub mod token_service;

pub use effort::Effort;
pub use folder::folder;
pub use report::{Report, Table};
pub use rounds::{Case, Measured, measure};

/// Whatever goes wrong.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
