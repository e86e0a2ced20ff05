//! What the manager and the stores in memory take from tokio and from the lock crates: named
//! here, and nowhere among them, it can be swapped in one place.

pub(crate) use arc_swap::ArcSwapOption;
pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8};
pub(crate) use tokio::runtime::Handle;
pub(crate) use tokio::spawn;
pub(crate) use tokio::sync::{Semaphore, SemaphorePermit, watch};
pub(crate) use tokio::task::JoinHandle;
pub(crate) use tokio::time::{Sleep, sleep, timeout};
