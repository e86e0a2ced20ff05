//! Leases: by the store's clock, and about nothing but themselves.

use std::sync::Arc;

use super::bench::{
    ADA, BOB, BRIEF, Bench, Checked, HOUR, MOMENTS, a_moment, added, broken, clear, ensure,
    is_granted, key, saved,
};
use crate::store::contract::byte_store::{ByteStore, Expected, Lease, LeaseOwner};

pub(super) async fn a_lease_has_one_holder<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, of_ada, other) = (bench.shared().await?, key(17, 1), key(17, 2));
    let free = is_granted(store.lease(&of_ada, ADA, HOUR).await?);
    ensure(free, "a lease that nobody has was refused")?;
    match store.lease(&of_ada, BOB, HOUR).await? {
        Lease::Granted { .. } => return broken("a lease was given to two"),
        Lease::Held { now, until } => ensure(
            now < until && until <= now + HOUR,
            "a lease that is held ends when it cannot",
        )?,
    }
    let free = is_granted(store.lease(&other, BOB, HOUR).await?);
    ensure(
        free,
        "the lease on one row keeps another's from being taken",
    )?;

    let many: Vec<_> = (10..26u8)
        .map(|owner| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let owner = LeaseOwner([owner; 16]);
                let lease = store.lease(&key(17, 3), owner, HOUR).await?;
                Ok::<_, super::bench::Broken>(is_granted(lease).then_some(owner))
            })
        })
        .collect();
    let mut holders = Vec::new();
    for task in many {
        holders.extend(task.await??);
    }
    let [holder] = holders[..] else {
        return broken(format!(
            "{} of 16 who asked at once have the lease",
            holders.len()
        ));
    };
    store.release(&key(17, 3), holder).await?;
    store.release(&of_ada, ADA).await?;
    Ok(store.release(&other, BOB).await?)
}

pub(super) async fn a_holder_extends_its_lease<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(18, 1));
    let mut ends = Vec::new();
    for hours in [1, 3] {
        let extended = store.lease(&key, ADA, HOUR * hours).await?;
        ensure(
            is_granted(extended),
            "a holder was refused the lease that it has",
        )?;
        match store.lease(&key, BOB, HOUR).await? {
            Lease::Held { until, .. } => ends.push(until),
            Lease::Granted { .. } => return broken("a lease was given to two"),
        }
    }
    ensure(
        ends[1].since(ends[0]) > HOUR,
        "a lease that was extended ends when it did before",
    )?;
    Ok(store.release(&key, ADA).await?)
}

pub(super) async fn a_lease_ends_with_its_time<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(19, 1));
    let Lease::Granted { now: began } = store.lease(&key, ADA, BRIEF).await? else {
        return broken("a lease that nobody has was refused");
    };
    let mut said = None;
    for _ in 0..MOMENTS {
        match store.lease(&key, BOB, HOUR).await? {
            Lease::Granted { now } => {
                ensure(now >= began + BRIEF, "a lease ended before its time")?;
                ensure(
                    said.is_none_or(|until| now >= until),
                    "a lease ended before the store had said that it would",
                )?;
                // Who had it is somebody else by now, and so is told.
                let again = store.lease(&key, ADA, BRIEF).await?;
                ensure(
                    !is_granted(again),
                    "a lease that was taken over is taken back",
                )?;
                return Ok(store.release(&key, BOB).await?);
            }
            Lease::Held { now, until } => {
                ensure(now < until, "a lease is held after its end")?;
                ensure(
                    until <= now + BRIEF,
                    "a lease is to end later than it was taken for",
                )?;
                said = Some(until);
            }
        }
        a_moment().await;
    }
    broken("a lease did not end, or the store's time stands still")
}

pub(super) async fn a_lease_is_released_by_its_holder_alone<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let (store, key) = (bench.store().await?, key(20, 1));
    store.release(&key, BOB).await?;
    store.lease(&key, ADA, HOUR).await?;
    store.release(&key, BOB).await?;
    let stolen = is_granted(store.lease(&key, BOB, HOUR).await?);
    ensure(!stolen, "a stranger released a lease")?;
    store.release(&key, ADA).await?;
    let free = is_granted(store.lease(&key, BOB, HOUR).await?);
    ensure(free, "a lease that was released is not free")?;
    // Twice: what it gave up is another's now.
    store.release(&key, ADA).await?;
    let stolen = is_granted(store.lease(&key, ADA, HOUR).await?);
    ensure(!stolen, "who had a lease before released it for another")?;
    Ok(store.release(&key, BOB).await?)
}

pub(super) async fn a_lease_keeps_nobody_from_its_row<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let (store, key) = (bench.store().await?, key(21, 1));
    store.lease(&key, ADA, HOUR).await?;
    ensure(
        store.load(&key).await?.is_none(),
        "a lease made a row where none was",
    )?;
    let first = added(&store, key, b"one").await?;
    let second = saved(&store, key, b"two", None, Expected::Version(first)).await?;
    ensure(
        store.purge(&key, second).await?,
        "a lease kept its row from being removed",
    )?;
    let stolen = is_granted(store.lease(&key, BOB, HOUR).await?);
    ensure(!stolen, "a lease ended with a change of its row")?;
    store.release(&key, ADA).await?;
    clear(&store, [key]).await
}
