//! Any bytes where a record should be: what decodes is written again as it was, and what
//! was not sealed does not open.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_token::fuzzing::{opened, recoded, sealed};

fuzz_target!(|bytes: &[u8]| {
    assert!(
        opened(bytes, |_| ()).is_err(),
        "opened what was never sealed"
    );

    // `bytes` itself may differ: a number can be written in more ways than one.
    let Ok([text, again]) = recoded(bytes) else {
        return;
    };
    assert_eq!(text, again);
    assert!(recoded(&again).is_ok());

    let record = sealed(&text).expect("it is sealed");
    let opens = opened(&record, |found| found == text);
    assert!(opens.expect("it opens"));
    // The input also says what to damage: a byte, and where to cut.
    let (Some(change), Some(at)) = (bytes.last(), bytes.get(bytes.len() / 2)) else {
        return;
    };
    let at = (usize::from(*at) * record.len()) >> 8;
    assert!(
        opened(&record[..at], |_| ()).is_err(),
        "opened what was cut off"
    );
    let mut damaged = record;
    damaged[at] ^= change;
    assert_eq!(
        opened(&damaged, |_| ()).is_ok(),
        *change == 0,
        "opened what was damaged"
    );
});
