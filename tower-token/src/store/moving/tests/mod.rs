//! What a move promises, over stores in memory.

mod any_step;
mod bad_store;
mod one_by_one;
