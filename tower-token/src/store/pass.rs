//! What every pass over all rows of a store needs.

use std::future::poll_fn;
use std::task::Poll;

use super::contract::RowKey;

/// How many rows that could not be used are named.
pub(super) const NAMED: usize = 100;

/// About how much of a store was looked at, from 0 to 1: rows lie evenly in the order of their
/// keys.
pub(super) fn fraction(cursor: Option<RowKey>, is_done: bool) -> f64 {
    if is_done {
        return 1.0;
    }
    let Some(cursor) = cursor else {
        return 0.0;
    };
    let first = cursor.as_bytes().first_chunk().copied();
    let place = u64::from_be_bytes(first.unwrap_or_default());
    place as f64 / u64::MAX as f64
}

/// What all of `work` comes to, done side by side: a store that acknowledges writes together
/// does so for these.
pub(super) async fn together<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(|work| (Box::pin(work), None)).collect();
    poll_fn(|cx| {
        let mut all = Poll::Ready(());
        for (work, done) in &mut work {
            if done.is_none() {
                match work.as_mut().poll(cx) {
                    Poll::Ready(result) => *done = Some(result),
                    Poll::Pending => all = Poll::Pending,
                }
            }
        }
        all
    })
    .await;
    work.into_iter().filter_map(|(_, done)| done).collect()
}
