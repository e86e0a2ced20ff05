//! A child process saves and removes rows, and says of each when it begins and when it is
//! acknowledged; its parent keeps the books, stops it at the worst moment, and has a fresh child
//! look at what is left.
//!
//! What the child prints, a line each:
//!
//! ```text
//! opening
//! refused KIND MESSAGE                   the store did not open, and that was all
//! ready
//! begun KEY EXPECTED DIGEST              a save that may or may not happen from here on
//! saved KEY EXPECTED DIGEST VERSION      it was acknowledged
//! removing KEY VERSION                   the same of a removal
//! removed KEY VERSION
//! failed KEY                             it was answered by anything but these, and Conflict
//! claimed KEY VERSION                    when it looks: a row that was claimed as due; then
//! found KEY VERSION DIGEST               of each row that it is there,
//! due KEY VERSION DIGEST                 and due,
//! absent KEY                             or is not,
//! unreadable KEY                         or an error
//! done
//! ```

mod books;
mod child;
mod process;
mod rows;

pub use self::books::{Books, Totals};
pub use self::child::{Task, serve};
pub use self::process::{Process, random};
pub use self::rows::Grants;

use std::hash::{DefaultHasher, Hasher as _};

use tower_token::RowKey;

/// So few that a kill is checked against many acknowledgements, so many that most of these
/// are the last of their key.
pub const KEYS: usize = 512;

/// The row that is known by this number.
pub fn row_key(number: usize) -> RowKey {
    let mut bytes = [0; RowKey::LEN];
    // Spread over groups, and over the store's order.
    for (byte, place) in bytes.iter_mut().zip(0u8..) {
        let mut hasher = DefaultHasher::new();
        hasher.write_usize(number);
        hasher.write_u8(place);
        *byte = hasher.finish() as u8;
    }
    RowKey::from_bytes(&bytes).unwrap_or_else(|| unreachable!("it has that length"))
}

/// The same in every process.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
