//! What the example programs share.

pub mod service;
pub mod timeline;
