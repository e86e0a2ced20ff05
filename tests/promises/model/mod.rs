//! A model of several managers over one store and one token service, all of which fail.
//!
//! `step` is what can happen, `world` makes it happen, `line` is what stands between a
//! manager and everything else, and `books` knows what is true and what was broken.

pub mod books;
pub mod clock;
pub mod line;
pub mod step;
pub mod world;
