//! Any bytes where an export should be: how they are cut into pieces does not matter, and what was
//! changed, cut off or moved is not taken in.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_token::fuzzing::{export_pieces, exported, taken_in};

fuzz_target!(|bytes: &[u8]| {
    let whole = export_pieces(bytes, bytes.len().max(1));
    for len in [1, 5, 48, 333] {
        assert_eq!(export_pieces(bytes, len), whole, "in pieces of {len}");
    }
    assert!(whole.0.iter().sum::<usize>() <= bytes.len());
    assert_eq!(taken_in(bytes), None, "took in what was never exported");

    let rows: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let export = exported(&rows);
    assert_eq!(taken_in(&export).expect("it is whole"), rows);
    // The input also says what to damage: a byte, and where to cut.
    let (Some(change), Some(at)) = (bytes.last(), bytes.get(bytes.len() / 2)) else {
        return;
    };
    let at = (usize::from(*at) * export.len()) >> 8;
    assert_eq!(taken_in(&export[..at]), None, "took in what was cut off");
    let mut damaged = export.clone();
    damaged[at] ^= change;
    let is_taken = taken_in(&damaged).is_some();
    assert_eq!(is_taken, *change == 0, "took in what was changed");

    // Two rows that change places, where they differ.
    let mut moved = rows.clone();
    let last = moved.len() - 1;
    moved.swap(0, last);
    if moved != rows {
        let (pieces, _) = export_pieces(&export, export.len());
        let cut = |n: usize| {
            let start = pieces[..n].iter().sum::<usize>();
            &export[start..start + pieces[n]]
        };
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.swap(1, last + 1);
        let moved: Vec<u8> = order.into_iter().flat_map(cut).copied().collect();
        assert_eq!(taken_in(&moved), None, "took in what was moved");
    }
});
