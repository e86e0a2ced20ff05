//! What the servers of the testkit share: HTTP, what goes wrong with it, the time.

mod answer;
mod fault;
mod faults;
mod hold;
mod listen;
mod random;
mod tally;
#[cfg(test)]
pub(in crate::testkit) mod test_client;
mod time;

pub(in crate::testkit) use self::answer::{
    Answer, json, no_store, not_allowed, set, status, with_body,
};
pub use self::fault::Fault;
pub(in crate::testkit) use self::faults::{Faults, Omit};
pub(in crate::testkit) use self::listen::{HangUp, Port, Running, Site};
pub(in crate::testkit) use self::random::random_token;
pub(in crate::testkit) use self::tally::Tally;
pub(in crate::testkit) use self::time::{ServerClock, millis};
