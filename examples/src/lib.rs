//! What the example programs share.

pub mod health;
pub mod notes;
pub mod timeline;
