//! Tokens as arguments of handlers.

mod tokens;
mod valid_token;

pub use self::tokens::Tokens;
pub use self::valid_token::{ByName, ProviderName, ValidToken};
