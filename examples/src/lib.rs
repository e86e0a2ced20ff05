//! What the example programs share.

pub mod arguments;
pub mod headers;
pub mod health;
pub mod notes;
pub mod private;
pub mod timeline;
