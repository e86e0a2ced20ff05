//! What the manager and the stores in memory take from tokio and from the lock crates, so
//! that it can be swapped in one place: the tests of `manager/shuttle_tests.rs` run the same
//! code on the types of shuttle, which chooses who runs next at each of their uses.

#[cfg(all(test, shuttle))]
mod shuttle;

#[cfg(all(test, shuttle))]
pub(crate) use self::shuttle::{
    ArcSwap, ArcSwapOption, AtomicBool, AtomicU8, Handle, JoinHandle, Mutex, MutexGuard, Sleep,
    sleep, spawn, timeout, watch, yield_now,
};
#[cfg(not(all(test, shuttle)))]
pub(crate) use {
    arc_swap::{ArcSwap, ArcSwapOption},
    parking_lot::{Mutex, MutexGuard},
    std::sync::atomic::{AtomicBool, AtomicU8},
    tokio::runtime::Handle,
    tokio::spawn,
    tokio::sync::watch,
    tokio::task::{JoinHandle, yield_now},
    tokio::time::{Sleep, sleep, timeout},
};
// Its own lock is never held while another task runs, so that it works on either.
pub(crate) use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
