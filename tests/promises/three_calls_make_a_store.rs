//! Tokens in an application's own table: what three calls can do is done, and what they cannot
//! is said.

use std::time::Duration;

use futures_util::StreamExt as _;
use tests::fake::Fake;
use tests::leaks::Leaks;
use tests::tables::Table;
use tower_token::store::contract::{Case, Outcome, Suite};
use tower_token::store::custom::{MultiProcess, SingleProcess, TokenKey, UserTokenStore as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, ErrorKind, EventKind, Expected, GrantKey, KeyRing, Lease, LeaseOwner, MemoryStore,
    Provider, RowKey, SaveOutcome, SealedRow, SealedStore, StoreError, TokenManager, Version,
};

use crate::support::{API, HOUR, manager};

fn single(has_keys: bool) -> Suite<SingleProcess<Table>> {
    let open = |table| async { Ok(SingleProcess::new(table)) };
    Suite::durable(move || Table::new(has_keys), open)
}

fn multi(has_keys: bool) -> Suite<MultiProcess<Table>> {
    let open = |table| async { Ok(MultiProcess::new(table)) };
    Suite::durable(move || Table::new(has_keys), open)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_index_each_is_a_whole_store() {
    for report in [single(true).run().await, multi(true).run().await] {
        report.assert_kept();
        assert!(
            report
                .to_string()
                .ends_with("27 kept, 0 broken, 4 not claimed")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_one_it_keeps_the_rest_and_the_report_says_what_is_not_claimed() {
    for report in [
        single(false).without_index().run().await,
        multi(false).without_index().run().await,
    ] {
        println!("{report}");
        report.assert_kept();
        assert!(
            report
                .to_string()
                .ends_with("21 kept, 0 broken, 10 not claimed")
        );
        let not_claimed = |(_, outcome): &(Case, &Outcome)| **outcome == Outcome::NotClaimed;
        let not_claimed = report.outcomes().filter(not_claimed);
        let numbers: Vec<u8> = not_claimed.map(|(case, _)| case.number()).collect();
        assert_eq!(numbers, [11, 12, 13, 19, 20, 21, 22, 27, 28, 29]);
    }
    // Claimed all the same, they are broken.
    let outcome = single(false)
        .run_case(Case::named("a_group_is_its_rows").unwrap())
        .await;
    assert!(matches!(outcome, Outcome::Broken(_)));
}

fn row_key(id: u8) -> RowKey {
    RowKey::from_bytes(&[id; RowKey::LEN]).unwrap()
}

/// Sealed rows, which only this library can make: what it wrote of two users.
async fn sealed_rows() -> (SealedRow, SealedRow) {
    let grants = tests::acked::Grants::new().await.unwrap();
    (
        grants.grant(1_000).await.unwrap(),
        grants.grant(2_000).await.unwrap(),
    )
}

fn version(saved: SaveOutcome) -> Version {
    match saved {
        SaveOutcome::Saved(version) => version,
        other => panic!("{other:?}"),
    }
}

/// Why the one is refused to several processes, and the other is not.
#[tokio::test]
async fn two_processes_write_over_the_same_version_only_where_the_table_does_not_compare() {
    let (one, other) = sealed_rows().await;
    async fn both(
        a: &impl ByteStore,
        b: &impl ByteStore,
        (one, other): (SealedRow, SealedRow),
    ) -> [SaveOutcome; 2] {
        let first = a.save(&row_key(1), one.clone(), Expected::Absent).await;
        let expected = Expected::Version(version(first.unwrap()));
        let key = row_key(1);
        let (a, b) = tokio::join!(a.save(&key, one, expected), b.save(&key, other, expected));
        [a.unwrap(), b.unwrap()]
    }
    let won = |saves: [SaveOutcome; 2]| {
        let saved = |save: &&SaveOutcome| matches!(save, SaveOutcome::Saved(_));
        saves.iter().filter(saved).count()
    };
    let rows = (one, other);
    let table = Table::new(false);
    let (a, b) = (SingleProcess::new(table.clone()), SingleProcess::new(table));
    assert_eq!(won(both(&a, &b, rows.clone()).await), 2);
    let table = Table::new(false);
    let (a, b) = (MultiProcess::new(table.clone()), MultiProcess::new(table));
    assert_eq!(won(both(&a, &b, rows).await), 1);
}

/// Whether a type may be opened by several processes: as `open_shared` asks.
macro_rules! is_shared {
    ($store:ty) => {{
        #[allow(dead_code)]
        trait Otherwise {
            const SHARED: bool = false;
        }
        impl<T> Otherwise for T {}
        struct Asked<T>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: tower_token::SharedStore> Asked<T> {
            const SHARED: bool = true;
        }
        <Asked<$store>>::SHARED
    }};
}

#[test]
fn a_store_for_one_process_is_refused_where_there_are_several() {
    assert!(is_shared!(MultiProcess<Table>));
    assert!(is_shared!(std::sync::Arc<MultiProcess<Table>>));
    assert!(!is_shared!(SingleProcess<Table>));
    assert!(!is_shared!(std::sync::Arc<SingleProcess<Table>>));
    assert!(!is_shared!(MemoryStore));
    assert!(!is_shared!(tower_token::SledStore));
}

#[tokio::test]
async fn leases_are_one_for_all_processes() {
    let table = Table::new(true);
    let (a, b) = (
        MultiProcess::new(table.clone()),
        MultiProcess::new(table.clone()),
    );
    let (ada, bob) = (
        LeaseOwner::from_bytes([1; 16]),
        LeaseOwner::from_bytes([2; 16]),
    );
    let lease = async |store: &MultiProcess<Table>, owner| {
        let lease = store.lease(&row_key(1), owner, HOUR).await.unwrap();
        matches!(lease, Lease::Granted { .. })
    };
    assert!(lease(&a, ada).await);
    assert!(!lease(&b, bob).await);
    a.release(&row_key(1), ada).await.unwrap();
    assert!(lease(&b, bob).await);
    b.release(&row_key(1), bob).await.unwrap();
    assert!(
        table.tokens().is_empty(),
        "a lease that is released leaves nothing"
    );
    // What is left by a process that died is removed when it is over.
    assert!(matches!(
        a.lease(&row_key(1), ada, Duration::ZERO).await.unwrap(),
        Lease::Granted { .. }
    ));
    assert_eq!(table.tokens().len(), 1);
    assert!(b.claim_due(1, HOUR).await.unwrap().is_empty());
    assert!(table.tokens().is_empty());
    let ring = KeyRing::generate().unwrap();
    SealedStore::open_shared(a, ring).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_settled_by_a_look() {
    let (row, _) = sealed_rows().await;
    let table = Table::new(false);
    table.lose_answers(true);
    let single = SingleProcess::new(table.clone());
    let first = single
        .save(&row_key(1), row.clone(), Expected::Absent)
        .await;
    version(first.unwrap());
    let multi = MultiProcess::new(table);
    version(
        multi
            .save(&row_key(2), row, Expected::Absent)
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn a_user_comes_back_and_goes_with_three_calls_alone() {
    let (table, clock, fake) = (Table::new(false), ManualClock::new(), Fake::new(HOUR));
    let ring = KeyRing::generate().unwrap();
    let store = || SingleProcess::with_clock(table.clone(), clock.clone());
    let first = manager(store(), &ring, &fake, &clock).await;
    let ada = GrantKey::new("fake", "ada@example.com");
    first.connect(&ada, fake.consent()).await.unwrap();
    assert_eq!(first.token(&ada).await.unwrap().expose(), "a0");
    first.shutdown(HOUR).await.unwrap();

    // A restart, and a token that has expired.
    clock.advance(HOUR);
    let second = manager(store(), &ring, &fake, &clock).await;
    assert_eq!(second.token(&ada).await.unwrap().expose(), "a1");
    assert_eq!(fake.reused(), 0);

    // Nothing that is kept says whose it is or what, and names fit anywhere.
    let leaks = Leaks::new(["ada@example.com"]);
    let tokens = table.tokens();
    assert_eq!(tokens.len(), 2, "the keys of the store, and ada");
    for (key, token) in &tokens {
        leaks.check("a token", &token.bytes);
        let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        assert!(key.as_str().chars().all(safe), "{key}");
        assert!(token.version < 1 << 63);
    }
    let sealed = SealedStore::open(store(), ring.clone()).await.unwrap();
    assert!(tokens.contains_key(&sealed.token_key(&ada)));
    let keyset = TokenKey::new(&"0".repeat(32), None).unwrap();
    assert!(table.retrieve(&keyset).await.unwrap().is_some());

    second.disconnect(&ada).await.unwrap();
    let kind = second.token(&ada).await.unwrap_err().kind();
    assert_eq!(kind, ErrorKind::NotConnected);
    second.connect(&ada, fake.consent()).await.unwrap();
    assert_eq!(second.token(&ada).await.unwrap().expose(), "a0");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_without_an_index_is_said_once_and_all_else_goes_on() {
    let (clock, fake) = (ManualClock::new(), Fake::new(HOUR));
    let table = SingleProcess::with_clock(Table::new(false), clock.clone());
    let ring = KeyRing::generate().unwrap();
    let store = SealedStore::open(table, ring).await.unwrap();
    let manager = TokenManager::builder()
        .store(store.clone())
        .provider(Provider::new("fake", fake.clone()).allow_origin(API))
        .clock(clock.clone())
        .build()
        .await
        .unwrap();
    let mut events = manager.events(64);
    let ada = GrantKey::new("fake", "ada");
    manager.connect(&ada, fake.consent()).await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, EventKind::Connected);
    let event = events.next().await.unwrap();
    assert_eq!(
        (event.kind, &*event.provider),
        (EventKind::NotSwept, "fake")
    );

    // Not again, whatever the time.
    tokio::time::sleep(HOUR).await;
    assert!(events.try_next().is_none());
    clock.advance(HOUR);
    assert_eq!(manager.token(&ada).await.unwrap().expose(), "a1");

    let unsupported = |what, error: tower_token::Error| {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error}");
        let source = std::error::Error::source(&error).unwrap();
        let source = source.downcast_ref::<StoreError>().unwrap();
        assert!(!source.to_string().is_empty());
    };
    unsupported("sweep", manager.sweep().await.unwrap_err());
    unsupported("a dry run", manager.sweep_dry_run().await.unwrap_err());
    unsupported("grants", manager.grants("ada").await.unwrap_err());
    let rotation = store.key_rotation();
    unsupported("rewrap", rotation.rewrap().finish().await.unwrap_err());
    rotation.rewrap_keyset().await.unwrap();
}
