//! What it costs to attach a token that is there: all ways to do it.

mod case;
mod ours;
#[cfg(feature = "peers")]
mod peers;

pub use case::{HotCase, Maker, Run, allocated, half};

use crate::BoxError;

/// Of the tokens, in bytes.
pub const LENGTHS: [usize; 2] = [64, 1_024];

type Make = fn(usize) -> Result<HotCase, BoxError>;

/// Ours. The first is what the others are compared with.
const OURS: [(&str, Make); 6] = [
    ("static header", ours::static_header),
    ("bound", ours::bound),
    ("by key", ours::by_key),
    ("by key, 1000 users", ours::by_key_of_1000),
    ("bound, armed", ours::bound_armed),
    ("by key, armed", ours::by_key_armed),
];

/// Our own cases, with tokens of this length.
pub fn ours(token_len: usize) -> impl Iterator<Item = Maker> {
    makers(&OURS, token_len)
}

/// Those of the peers, if there are any.
pub fn peers(token_len: usize) -> impl Iterator<Item = Maker> {
    #[cfg(feature = "peers")]
    let cases = &peers::PEERS;
    #[cfg(not(feature = "peers"))]
    let cases = &[];
    makers(cases, token_len)
}

fn makers(cases: &'static [(&'static str, Make)], token_len: usize) -> impl Iterator<Item = Maker> {
    cases.iter().map(move |&(name, make)| Maker {
        name,
        token_len,
        make,
    })
}
