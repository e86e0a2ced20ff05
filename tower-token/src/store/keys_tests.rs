//! The keyset of a running process, and what is done to its row meanwhile.

use std::time::Duration;

use bytes::Bytes;

use super::codec::{self, WireRecord};
use super::contract::{ByteStore, Expected, Row, RowKey, SaveOutcome, SealedRow};
use super::keyset::Keyset;
use super::sent::Sent;
use super::{KeyProvider, KeyRing, KeyRotation, MemoryStore, SealedStore, seal};
use crate::clock::{Clock as _, Timestamp};
use crate::error::{Error, ErrorKind, Recovery};
use crate::grant::{ExchangeId, Grant, Intent, Owner, Record, TokenResponse};
use crate::key::GrantKey;
use crate::testkit::ManualClock;

const POLL: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// One store, which any number of instances open.
struct Rig {
    memory: MemoryStore,
    clock: ManualClock,
    ring: KeyRing,
}

impl Rig {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            memory: MemoryStore::with_clock(clock.clone()),
            clock,
            ring: KeyRing::generate().unwrap(),
        }
    }

    async fn instance(&self) -> SealedStore {
        self.instance_with(&self.ring).await.unwrap()
    }

    async fn instance_with(&self, ring: &KeyRing) -> Result<SealedStore, Error> {
        let builder = SealedStore::builder()
            .key_poll(POLL)
            .clock(self.clock.clone());
        builder.open(self.memory.clone(), ring.clone()).await
    }

    fn wait(&self, span: Duration) {
        self.clock.advance(span);
    }

    async fn row(&self, key: &RowKey) -> Row {
        self.memory.load(key).await.unwrap().unwrap()
    }

    /// Writes these bytes, whatever they are, as somebody who writes the disk.
    async fn forge(&self, key: &RowKey, bytes: &[u8]) {
        let found = self.memory.load(key).await.unwrap();
        let expected = found.map_or(Expected::Absent, |row| Expected::Version(row.version));
        let row = SealedRow::new(bytes.to_vec(), None);
        let saved = self.memory.save(key, row, expected).await.unwrap();
        assert!(matches!(saved, SaveOutcome::Saved(_)));
    }

    async fn keyset_row(&self) -> Bytes {
        self.row(&Keyset::row_key()).await.bytes
    }

    /// A second data key, active and known to nobody but `rotation`.
    async fn rotate(&self, rotation: &KeyRotation) -> u32 {
        let id = rotation.add_key().await.unwrap().id;
        self.wait(POLL + SECOND);
        rotation.activate(id).await.unwrap();
        id
    }
}

fn key(user: &str) -> GrantKey {
    GrantKey::new("p", user)
}

fn record(user: &str) -> Record {
    let now = Timestamp::from_unix_millis(1);
    let response = TokenResponse::new("access").refresh_token("refresh");
    Record {
        grant: Grant::connected(key(user), 1, response, now, None).unwrap(),
        sequence: 1,
        connect: ExchangeId([0; 16]),
        exchange: ExchangeId([0; 16]),
        intent: None,
        revocation: None,
    }
}

/// Writes the grant of `user` over whatever stands there.
async fn save(store: &SealedStore, user: &str) -> Result<SaveOutcome, Error> {
    save_record(store, &record(user), None).await
}

async fn save_record(
    store: &SealedStore,
    record: &Record,
    due: Option<Timestamp>,
) -> Result<SaveOutcome, Error> {
    let found = store.load(&record.grant.key).await?;
    let expected = found.map_or(Expected::Absent, |found| Expected::Version(found.version));
    store.save(record, due, expected, &Sent::default()).await
}

async fn opens(store: &SealedStore, user: &str) -> Result<(), Error> {
    let found = store.load(&key(user)).await?.unwrap();
    found.record.map(drop)
}

/// The data key that sealed a user's row.
async fn sealed_by(rig: &Rig, store: &SealedStore, user: &str) -> u32 {
    let row_key = store.keys.seen().keyset.row(&key(user));
    seal::key_id(&rig.row(&row_key).await.bytes).unwrap()
}

fn key_error(result: Result<impl Sized, Error>, says: &str) {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Key, "{error}");
    assert_eq!(error.recovery(), Recovery::Misconfigured);
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn an_instance_seals_with_the_former_key_for_no_longer_than_the_poll() {
    let rig = Rig::new();
    let (ours, siblings) = (rig.instance().await, rig.instance().await);
    rig.rotate(&ours.key_rotation()).await;
    save(&siblings, "before").await.unwrap();
    // It had not looked for as long, so it looked.
    assert_eq!(sealed_by(&rig, &ours, "before").await, 2);

    let third = rig.rotate(&ours.key_rotation()).await;
    // A look at the last moment at which it still finds the second key active.
    rig.wait(SECOND);
    let fourth = ours.key_rotation().add_key().await.unwrap().id;
    save(&siblings, "looks").await.unwrap();
    assert_eq!(sealed_by(&rig, &ours, "looks").await, third);
    rig.wait(POLL - Duration::from_millis(1));
    save(&siblings, "late").await.unwrap();
    assert_eq!(sealed_by(&rig, &ours, "late").await, third);
    rig.wait(2 * Duration::from_millis(1));
    ours.key_rotation().activate(fourth).await.unwrap();
    save(&siblings, "after").await.unwrap();
    assert_eq!(sealed_by(&rig, &ours, "after").await, fourth);
    for user in ["before", "looks", "late", "after"] {
        opens(&ours, user).await.unwrap();
        opens(&siblings, user).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_was_added_since_is_known_after_one_look() {
    let rig = Rig::new();
    let ours = rig.instance().await;
    save(&ours, "ada").await.unwrap();
    // Their clock stands still, so that they see no reason to look.
    let still = ManualClock::new();
    let sibling = || async {
        let builder = SealedStore::builder().clock(still.clone());
        let opened = builder.open(rig.memory.clone(), rig.ring.clone()).await;
        opened.unwrap()
    };
    let (loads, lists) = (sibling().await, sibling().await);
    let (pages, claims) = (sibling().await, sibling().await);
    rig.rotate(&ours.key_rotation()).await;
    save_record(&ours, &record("ada"), Some(rig.clock.now()))
        .await
        .unwrap();
    assert_eq!(sealed_by(&rig, &ours, "ada").await, 2);
    opens(&loads, "ada").await.unwrap();
    assert!(lists.list("ada").await.unwrap()[0].is_ok());
    assert!(pages.page(None, 10).await.unwrap()[0].1.record.is_ok());
    let claimed = claims.claim_due(10, SECOND).await.unwrap();
    assert!(claimed[0].1.record.is_ok());
}

#[tokio::test]
async fn a_key_that_nobody_has_is_looked_for_once_a_second() {
    let rig = Rig::new();
    let store = rig.instance().await;
    for user in ["ada", "bob"] {
        save(&store, user).await.unwrap();
    }
    let forge = async |user, id| {
        let row_key = store.keys.seen().keyset.row(&key(user));
        let mut forged = rig.row(&row_key).await.bytes.to_vec();
        forged[5] = id;
        rig.forge(&row_key, &forged).await;
    };
    let damaged = async |user| {
        let error = opens(&store, user).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("unknown data key"), "{error}");
    };
    forge("ada", 9).await;
    damaged("ada").await;
    // From here on a look fails, so that it can be told.
    let kept = rig.row(&Keyset::row_key()).await;
    let purged = rig.memory.purge(&Keyset::row_key(), kept.version).await;
    assert!(purged.unwrap());
    damaged("ada").await;
    forge("bob", 8).await;
    key_error(opens(&store, "bob").await, "gone");
    rig.wait(SECOND);
    key_error(opens(&store, "ada").await, "gone");
    rig.forge(&Keyset::row_key(), &kept.bytes).await;
    damaged("ada").await;
    damaged("bob").await;
}

#[tokio::test]
async fn one_that_only_sweeps_looks_too() {
    let rig = Rig::new();
    let (ours, siblings) = (rig.instance().await, rig.instance().await);
    ours.key_rotation().add_key().await.unwrap();
    let known = || siblings.keys.seen().keyset.data_keys().count();
    siblings.claim_due(10, SECOND).await.unwrap();
    assert_eq!(known(), 1);
    rig.wait(POLL);
    siblings.claim_due(10, SECOND).await.unwrap();
    assert_eq!(known(), 2);
}

#[tokio::test]
async fn an_older_keyset_is_refused_and_the_newer_one_kept() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let old = rig.keyset_row().await;
    rig.rotate(&store.key_rotation()).await;
    save(&store, "ada").await.unwrap();
    let new = rig.keyset_row().await;
    rig.forge(&Keyset::row_key(), &old).await;

    key_error(store.key_rotation().data_keys().await, "older than it was");
    opens(&store, "ada").await.unwrap();
    save(&store, "bob").await.unwrap();
    // What would be sealed now could be opened by nobody who starts later.
    rig.wait(POLL);
    key_error(save(&store, "bob").await, "older than it was");
    opens(&store, "bob").await.unwrap();
    rig.forge(&Keyset::row_key(), &new).await;
    save(&store, "bob").await.unwrap();
    assert_eq!(sealed_by(&rig, &store, "bob").await, 2);
}

#[tokio::test]
async fn a_branch_that_began_at_an_older_keyset_is_refused() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let old = rig.keyset_row().await;
    store.key_rotation().add_key().await.unwrap();
    rig.forge(&Keyset::row_key(), &old).await;
    // A process that knows nothing of it goes on from there.
    let other = rig.instance().await;
    other.key_rotation().add_key().await.unwrap();
    key_error(store.key_rotation().data_keys().await, "older than it was");
}

#[tokio::test]
async fn a_branch_that_has_gone_further_is_refused_as_well() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let old = rig.keyset_row().await;
    rig.rotate(&store.key_rotation()).await;
    save(&store, "ada").await.unwrap();
    rig.forge(&Keyset::row_key(), &old).await;
    let other = rig.instance().await;
    rig.rotate(&other.key_rotation()).await;
    rig.rotate(&other.key_rotation()).await;
    // It has another key by the same name, and nothing that opens this.
    key_error(store.key_rotation().data_keys().await, "older than it was");
    opens(&store, "ada").await.unwrap();
}

#[tokio::test]
async fn the_keyset_of_another_store_is_refused() {
    let (rig, other) = (Rig::new(), Rig::new());
    let store = rig.instance().await;
    save(&store, "ada").await.unwrap();
    let others = other.instance_with(&rig.ring).await.unwrap();
    others.key_rotation().add_key().await.unwrap();
    rig.forge(&Keyset::row_key(), &other.keyset_row().await)
        .await;
    key_error(store.key_rotation().data_keys().await, "another store");
    opens(&store, "ada").await.unwrap();
}

#[tokio::test]
async fn a_keyset_row_that_was_changed_cut_or_swapped_is_a_key_error() {
    let rig = Rig::new();
    let store = rig.instance().await;
    save(&store, "ada").await.unwrap();
    let sound = rig.keyset_row().await;
    let row_key = store.keys.seen().keyset.row(&key("ada"));
    let grant = rig.row(&row_key).await.bytes.to_vec();
    let flipped = (0..sound.len()).map(|at| {
        let mut bytes = sound.to_vec();
        bytes[at] ^= 1;
        bytes
    });
    let cut = (0..sound.len()).map(|at| sound[..at].to_vec());
    for bytes in flipped.chain(cut).chain([grant]) {
        rig.forge(&Keyset::row_key(), &bytes).await;
        key_error(rig.instance_with(&rig.ring).await, "");
        key_error(store.key_rotation().data_keys().await, "");
        opens(&store, "ada").await.unwrap();
    }
    // Nor is it any grant's.
    rig.forge(&Keyset::row_key(), &sound).await;
    rig.forge(&row_key, &sound).await;
    assert!(opens(&store, "ada").await.is_err());
}

#[tokio::test]
async fn two_that_look_at_once_take_the_newer_one() {
    let rig = Rig::new();
    let (store, siblings) = (rig.instance().await, rig.instance().await);
    let before = store.keys.seen();
    siblings.key_rotation().add_key().await.unwrap();
    let second = rig.row(&Keyset::row_key()).await;
    rig.rotate(&siblings.key_rotation()).await;
    let third = rig.row(&Keyset::row_key()).await;
    // The slower of the two read first.
    store.keys.take(&before, &third).unwrap();
    store.keys.take(&before, &second).unwrap();
    assert_eq!(store.keys.seen().bytes, third.bytes);
}

#[tokio::test]
async fn a_rotation_waits_by_the_store_and_not_by_its_own_setting() {
    let rig = Rig::new();
    let ours = rig.instance().await;
    let with_poll = async |poll| {
        let builder = SealedStore::builder()
            .key_poll(poll)
            .clock(rig.clock.clone());
        let opened = builder.open(rig.memory.clone(), rig.ring.clone()).await;
        opened.unwrap()
    };
    let hasty = with_poll(SECOND).await;
    let rotation = hasty.key_rotation();
    let new = rotation.add_key().await.unwrap().id;
    rig.wait(2 * SECOND);
    assert!(too_soon(rotation.activate(new).await) > POLL - 2 * SECOND);
    rig.wait(POLL);
    rotation.activate(new).await.unwrap();
    rig.wait(3 * SECOND);
    assert!(too_soon(rotation.destroy(1).await) > 2 * POLL - 3 * SECOND);

    // Nor does one that is set to look less often.
    let lazy = with_poll(100 * POLL).await;
    save(&ours, "ada").await.unwrap();
    let next = rotation.add_key().await.unwrap().id;
    rig.wait(POLL + SECOND);
    rotation.activate(next).await.unwrap();
    save(&lazy, "ada").await.unwrap();
    assert_eq!(sealed_by(&rig, &ours, "ada").await, next);
}

#[tokio::test]
async fn activation_says_how_long_to_wait() {
    let rig = Rig::new();
    let rotation = rig.instance().await.key_rotation();
    let id = rotation.add_key().await.unwrap().id;
    let wait = too_soon(rotation.activate(id).await);
    assert!(wait > POLL);
    rig.wait(wait - Duration::from_millis(1));
    assert!(too_soon(rotation.activate(id).await) == Duration::from_millis(1));
    rig.wait(Duration::from_millis(1));
    rotation.activate(id).await.unwrap();
}

fn too_soon(result: Result<(), Error>) -> Duration {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooSoon);
    let Recovery::Retry { after: Some(after) } = error.recovery() else {
        panic!("{error} says no time");
    };
    after
}

#[tokio::test]
async fn a_key_that_is_needed_is_not_destroyed() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let rotation = store.key_rotation();
    save(&store, "ada").await.unwrap();
    let error = rotation.destroy(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    rig.rotate(&rotation).await;
    // As long as an instance may look late, and then write late.
    let wait = too_soon(rotation.destroy(1).await);
    assert!(wait > 2 * POLL);
    rig.wait(wait);
    let error = rotation.destroy(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyInUse);
    assert!(error.to_string().contains("1 rows"), "{error}");
    opens(&store, "ada").await.unwrap();

    assert_eq!(rotation.rewrap().finish().await.unwrap().rewrapped, 1);
    rotation.destroy(1).await.unwrap();
    opens(&store, "ada").await.unwrap();
    assert_eq!(
        rotation.destroy(7).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}

#[tokio::test]
async fn a_record_whose_key_was_destroyed_says_so() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let rotation = store.key_rotation();
    save(&store, "ada").await.unwrap();
    let row_key = store.keys.seen().keyset.row(&key("ada"));
    let old = rig.row(&row_key).await.bytes;
    rig.rotate(&rotation).await;
    rotation.rewrap().finish().await.unwrap();
    rig.wait(3 * POLL);
    rotation.destroy(1).await.unwrap();
    rig.forge(&row_key, &old).await;
    for store in [&store, &rig.instance().await] {
        let error = opens(store, "ada").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(
            error
                .to_string()
                .contains("data key 1, which was destroyed")
        );
    }
    let pass = rotation.rewrap().finish().await.unwrap();
    assert_eq!((pass.examined, pass.unreadable), (1, 1));
    assert_eq!(rig.row(&row_key).await.bytes, old);
    // What cannot be read can be replaced.
    save(&store, "ada").await.unwrap();
    opens(&store, "ada").await.unwrap();
}

#[tokio::test]
async fn a_write_is_settled_by_a_row_that_others_can_open() {
    let rig = Rig::new();
    let (ours, siblings) = (rig.instance().await, rig.instance().await);
    save(&siblings, "ada").await.unwrap();
    let row_key = ours.keys.seen().keyset.row(&key("ada"));
    let former = rig.row(&row_key).await.bytes;
    rig.rotate(&ours.key_rotation()).await;
    let settle = async || siblings.load_to_settle(&key("ada")).await.unwrap().unwrap();
    // Its key may be destroyed by the time that somebody hears of it.
    let found = settle().await;
    assert!(found.record.is_ok() && !found.is_orphan);
    assert_eq!(sealed_by(&rig, &ours, "ada").await, 2);
    assert_eq!(rig.row(&row_key).await.version, found.version);
    let found = settle().await;
    assert_eq!(rig.row(&row_key).await.version, found.version);

    rig.wait(2 * POLL + SECOND);
    ours.key_rotation().destroy(1).await.unwrap();
    rig.forge(&row_key, &former).await;
    // It remembers the key, by which it once knew the row.
    opens(&siblings, "ada").await.unwrap();
    let found = settle().await;
    assert!(found.record.is_err() && found.is_orphan);
    // One that cannot look cannot tell.
    let kept = rig.row(&Keyset::row_key()).await;
    let purged = rig.memory.purge(&Keyset::row_key(), kept.version).await;
    assert!(purged.unwrap());
    rig.wait(POLL);
    key_error(siblings.load_to_settle(&key("ada")).await, "gone");
}

#[tokio::test]
async fn no_key_is_destroyed_while_it_may_have_sealed_a_row_that_cannot_be_read() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let rotation = store.key_rotation();
    for user in ["ada", "bob"] {
        save(&store, user).await.unwrap();
    }
    let row_key = |user| store.keys.seen().keyset.row(&key(user));
    // Of a later version, for all that is known here.
    let mut later = rig.row(&row_key("ada")).await.bytes.to_vec();
    later[0] = 2;
    rig.forge(&row_key("ada"), &later).await;
    rig.rotate(&rotation).await;
    rig.wait(3 * POLL);
    let pass = rotation.rewrap().finish().await.unwrap();
    assert_eq!((pass.rewrapped, pass.unreadable), (1, 1));
    assert_eq!(pass.unreadable_rows, [row_key("ada")]);
    let error = rotation.destroy(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyInUse);
    assert!(error.to_string().contains("1 rows"), "{error}");

    for kept in [row_key("bob"), Keyset::row_key()] {
        let error = rotation.remove_unreadable(&kept).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    opens(&store, "bob").await.unwrap();
    assert!(rotation.remove_unreadable(&row_key("ada")).await.unwrap());
    assert!(!rotation.remove_unreadable(&row_key("ada")).await.unwrap());
    rotation.destroy(1).await.unwrap();
    opens(&store, "bob").await.unwrap();
}

#[tokio::test]
async fn a_key_never_comes_back_and_ids_are_used_once() {
    let rig = Rig::new();
    let rotation = rig.instance().await.key_rotation();
    let second = rotation.add_key().await.unwrap();
    assert_eq!(rotation.add_key().await.unwrap(), second);
    rig.wait(3 * POLL);
    // One that nobody wants any more.
    rotation.destroy(second.id).await.unwrap();
    assert_eq!(rotation.add_key().await.unwrap().id, 3);
    rig.wait(3 * POLL);
    rotation.activate(3).await.unwrap();
    rotation.activate(3).await.unwrap();
    for gone in [1, 2] {
        let error = rotation.activate(gone).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[tokio::test]
async fn a_rewrap_keeps_the_record_and_when_it_is_due() {
    let rig = Rig::new();
    let store = rig.instance().await;
    let due = Some(Timestamp::from_unix_millis(77));
    save_record(&store, &record("ada"), due).await.unwrap();
    rig.rotate(&store.key_rotation()).await;
    store.key_rotation().rewrap().finish().await.unwrap();
    let found = store.load(&key("ada")).await.unwrap().unwrap();
    assert_eq!(found.due, due);
    let text = |record: &Record| {
        let wire = WireRecord::from(record);
        let mut text = vec![0; codec::size(&wire).unwrap()];
        codec::write(codec::RECORD, &wire, &mut text).unwrap();
        text
    };
    assert_eq!(text(&found.record.unwrap()), text(&record("ada")));
    assert_eq!(sealed_by(&rig, &store, "ada").await, 2);
}

#[tokio::test]
async fn a_rewrap_leaves_a_live_intent_to_its_flight_and_takes_up_a_dead_one() {
    let rig = Rig::new();
    let store = rig.instance().await;
    rig.rotate(&store.key_rotation()).await;
    let mut waiting = record("ada");
    waiting.intent = Some(Intent {
        exchange: ExchangeId([1; 16]),
        owner: Owner([1; 16]),
        token_hash: [1; 16],
        started: rig.clock.now(),
        deadline: rig.clock.now() + 3 * POLL,
    });
    save_record(&store, &waiting, None).await.unwrap();
    rig.rotate(&store.key_rotation()).await;
    let pass = store.key_rotation().rewrap().finish().await.unwrap();
    assert_eq!((pass.left, pass.rewrapped), (1, 0));
    rig.wait(3 * POLL);
    let pass = store.key_rotation().rewrap().finish().await.unwrap();
    assert_eq!((pass.left, pass.rewrapped), (0, 1));
}

#[tokio::test]
async fn a_rewrap_that_was_stopped_goes_on_and_does_nothing_twice() {
    let rig = Rig::new();
    let store = rig.instance().await;
    for user in 0..100 {
        save(&store, &user.to_string()).await.unwrap();
    }
    let rotation = store.key_rotation();
    rig.rotate(&rotation).await;
    let mut first = rotation.rewrap().rows_per_step(10);
    for _ in 0..4 {
        assert!(first.step().await.unwrap());
    }
    let stopped = first.progress().clone();
    assert!((39..=40).contains(&stopped.rewrapped));
    assert!((0.1..0.9).contains(&stopped.fraction()));
    assert_eq!(rotation.rewrap().progress().fraction(), 0.0);
    drop(first);

    let mut second = rotation.rewrap().after(stopped.cursor.unwrap());
    assert!(second.step().await.unwrap());
    assert_eq!(second.progress().rewrapped + stopped.rewrapped, 100);
    let versions = || async {
        let rows = rig.memory.scan(None, 1_000).await.unwrap();
        rows.into_iter()
            .map(|(_, row)| row.version)
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    let third = rotation.rewrap().finish().await.unwrap();
    assert_eq!((third.examined, third.rewrapped, third.left), (100, 0, 0));
    assert_eq!(third.fraction(), 1.0);
    assert_eq!(versions().await, before);
    assert_eq!(
        rotation.rows_by_key().await.unwrap(),
        [(2, 100)].into_iter().collect()
    );
}

#[tokio::test]
async fn the_outer_key_is_changed_by_one_row() {
    let rig = Rig::new();
    let store = rig.instance().await;
    save(&store, "ada").await.unwrap();
    let new = KeyRing::generate().unwrap();
    let both = new.clone().with_older(rig.ring.clone()).unwrap();
    // Started anew with both, one instance after the other.
    let restarted = rig.instance_with(&both).await.unwrap();
    key_error(rig.instance_with(&new).await, "another outer key");
    opens(&store, "ada").await.unwrap();
    let version = rig
        .row(&restarted.keys.seen().keyset.row(&key("ada")))
        .await
        .version;
    restarted.key_rotation().rewrap_keyset().await.unwrap();
    let wrapped = rig.keyset_row().await;
    restarted.key_rotation().rewrap_keyset().await.unwrap();
    assert_eq!(rig.keyset_row().await, wrapped);

    let only_new = rig.instance_with(&new).await.unwrap();
    opens(&only_new, "ada").await.unwrap();
    let row = rig.row(&only_new.keys.seen().keyset.row(&key("ada"))).await;
    assert_eq!(row.version, version);
    key_error(rig.instance_with(&rig.ring).await, "another outer key");
    // One that was forgotten serves on, and seals nothing that it could not know to be good.
    rig.wait(POLL);
    opens(&store, "ada").await.unwrap();
    key_error(save(&store, "ada").await, "another outer key");
}

#[tokio::test]
async fn a_change_of_data_keys_leaves_the_outer_key_as_it_is() {
    let rig = Rig::new();
    let others = rig.instance().await;
    let new = KeyRing::generate().unwrap();
    let both = new.clone().with_older(rig.ring.clone()).unwrap();
    let first = rig.instance_with(&both).await.unwrap();
    // The others are not started anew yet.
    rig.rotate(&first.key_rotation()).await;
    rig.wait(2 * POLL + SECOND);
    first.key_rotation().destroy(1).await.unwrap();
    save(&others, "ada").await.unwrap();
    assert_eq!(sealed_by(&rig, &first, "ada").await, 2);
    first.key_rotation().rewrap_keyset().await.unwrap();
    first.key_rotation().add_key().await.unwrap();
    rig.instance_with(&new).await.unwrap();
}

#[tokio::test]
async fn keys_come_from_any_provider() {
    struct Kms(Option<KeyRing>);
    impl KeyProvider for Kms {
        async fn keys(&self) -> Result<KeyRing, Box<dyn std::error::Error + Send + Sync>> {
            match &self.0 {
                Some(ring) => Ok(ring.clone()),
                None => Err("no route to the KMS".into()),
            }
        }
    }
    struct Weak;
    impl KeyProvider for Weak {
        async fn keys(&self) -> Result<KeyRing, Box<dyn std::error::Error + Send + Sync>> {
            Ok(KeyRing::from_bytes([0; 32])?)
        }
    }
    let rig = Rig::new();
    let kms = Kms(Some(rig.ring.clone()));
    SealedStore::open(rig.memory.clone(), kms).await.unwrap();
    rig.instance().await;
    let failed = SealedStore::open(rig.memory.clone(), Kms(None)).await;
    let source = failed.as_ref().err().and_then(std::error::Error::source);
    assert_eq!(source.unwrap().to_string(), "no route to the KMS");
    key_error(failed, "provider");
    key_error(
        SealedStore::open(rig.memory.clone(), Weak).await,
        "equal bytes",
    );
}
