//! Invariant 22: whatever somebody does to the bytes of a store, a record opens where it was
//! sealed and as it was, or not at all.
//!
//! The tables are printed by
//! `cargo test -p tests --test promises only_where_it_was_sealed -- --nocapture`. That each part
//! of what a record is bound to counts by itself, where even the key is the same, is shown
//! beside the code in `store/seal.rs`; and what a process starts with cannot be told to be
//! old, which the last table says.

#![allow(clippy::print_stdout)]

use std::fmt::Debug;

use tests::fake::Fake;
use tests::flaky::Flaky;
use tower_token::testkit::ManualClock;
use tower_token::{
    Error, ErrorKind, GrantKey, KeyRing, MemoryStore, Provider, Row, RowKey, SealedStore,
    TokenManager, TokenResponse,
};

use crate::key_rig::{POLL, SECOND};
use crate::support::{API, HOUR};

/// The provider of the stamps that axum-token's `SignIns` keeps.
const STAMPS: &str = "axum-token.sign-ins";
const NONCE: usize = 24;
const TAG: usize = 16;

/// A store whose bytes somebody can change.
struct Disk {
    rows: Flaky,
    clock: ManualClock,
    ring: KeyRing,
    fake: Fake,
}

type Rows = Vec<(RowKey, Row)>;

impl Disk {
    fn new(ring: &KeyRing) -> Self {
        let clock = ManualClock::new();
        Self {
            rows: Flaky::new(MemoryStore::with_clock(clock.clone())),
            clock,
            ring: ring.clone(),
            fake: Fake::new(HOUR),
        }
    }

    /// A process that starts now.
    async fn process(&self) -> Result<(SealedStore, TokenManager), Error> {
        let store = SealedStore::builder()
            .key_poll(POLL)
            .clock(self.clock.clone())
            .open(self.rows.clone(), self.ring.clone())
            .await?;
        let manager = TokenManager::builder()
            .store(store.clone())
            .provider(Provider::new("fake", self.fake.clone()).allow_origin(API))
            .provider(Provider::new(STAMPS, self.fake.clone()))
            .clock(self.clock.clone())
            .without_sweeper()
            .build()
            .await?;
        Ok((store, manager))
    }

    async fn now(&self) -> Rows {
        self.rows.snapshot().await.unwrap()
    }

    /// Connects a user, and tells in which row.
    async fn connect(&self, manager: &TokenManager, key: &GrantKey, token: &str) -> RowKey {
        let before = self.now().await;
        let response = TokenResponse::new(token)
            .refresh_token(format!("refresh-{token}"))
            .expires_in(HOUR);
        manager.connect(key, response).await.unwrap();
        let after = self.now().await;
        let new = |row: &&(RowKey, Row)| !before.contains(row);
        after.iter().find(new).unwrap().0
    }

    /// Puts `bytes` where the row of `key` stands.
    async fn forge(&self, key: RowKey, bytes: Vec<u8>) {
        let mut rows = self.now().await;
        let (_, row) = rows.iter_mut().find(|(found, _)| *found == key).unwrap();
        row.bytes = bytes.into();
        self.rows.roll_back(rows);
    }
}

fn keyset() -> RowKey {
    RowKey::from_bytes(&[0; RowKey::LEN]).unwrap()
}

fn bytes(rows: &Rows, key: RowKey) -> Vec<u8> {
    let (_, row) = rows.iter().find(|(found, _)| *found == key).unwrap();
    row.bytes.to_vec()
}

/// One line of a table.
fn line(whose: &str, what: &str, times: usize, answer: impl Debug) {
    println!("{whose:<22} {what:<44} {times:>5} x {answer:?}");
}

/// What can be done to the bytes of one row by somebody who has no key: what it is called, and
/// every way to do it.
fn forgeries(sound: &[u8]) -> Vec<(String, Vec<Vec<u8>>)> {
    let with = |at: usize, byte: u8| {
        let mut changed = sound.to_vec();
        changed[at] = byte;
        changed
    };
    let key_id = |id: u32| [&sound[..2], &id.to_be_bytes(), &sound[6..]].concat();
    let others = |at: usize| (0..=u8::MAX).filter(move |byte| *byte != sound[at]);
    let sections = [
        ("the header", 0..6),
        ("the nonce", 6..6 + NONCE),
        ("the ciphertext", 6 + NONCE..sound.len() - TAG),
        ("the tag", sound.len() - TAG..sound.len()),
    ];
    let mut all = Vec::new();
    for (name, section) in sections {
        let flips = section.flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)));
        all.push((
            format!("one bit of {name} is flipped"),
            flips.map(|(at, bit)| with(at, sound[at] ^ bit)).collect(),
        ));
    }
    let cut = (0..sound.len()).map(|len| sound[..len].to_vec()).collect();
    all.push((String::from("it is cut off, at each length"), cut));
    let front = (1..sound.len()).map(|at| sound[at..].to_vec()).collect();
    all.push((String::from("it begins later, at each byte"), front));
    let longer = [&[0][..], &sound[..TAG], sound];
    let longer = longer.map(|more| [sound, more].concat()).to_vec();
    all.push((String::from("something is appended"), longer));
    let formats = others(0).map(|byte| with(0, byte)).collect();
    all.push((String::from("another format version"), formats));
    let suites = others(1).map(|byte| with(1, byte)).collect();
    all.push((String::from("another suite"), suites));
    let own = u32::from_be_bytes([sound[2], sound[3], sound[4], sound[5]]);
    let ids = [0, 1, 2, 3, own.wrapping_add(1), u32::MAX];
    let ids = ids.into_iter().filter(|id| *id != own).map(key_id);
    all.push((String::from("another key is named"), ids.collect()));
    all
}

#[tokio::test]
async fn a_record_opens_only_where_it_was_sealed_and_as_it_was() {
    let ring = KeyRing::generate().unwrap();
    let (disk, other) = (Disk::new(&ring), Disk::new(&ring));
    let ada = GrantKey::new("fake", "ada");
    let [bob, eve, left] = ["bob", "eve", "left"].map(|user| GrantKey::new("fake", user));
    let second = ada.with_connection("second");
    let stamp = GrantKey::new(STAMPS, "ada");

    let (store, writer) = disk.process().await.unwrap();
    // Under the key before, which still opens what it sealed.
    let eves = disk.connect(&writer, &eve, "token-of-eve").await;
    let rotation = store.key_rotation();
    let id = rotation.add_key().await.unwrap().id;
    disk.clock.advance(POLL + SECOND);
    rotation.activate(id).await.unwrap();
    let adas = disk.connect(&writer, &ada, "token-of-ada").await;
    let bobs = disk.connect(&writer, &bob, "token-of-bob").await;
    let seconds = disk.connect(&writer, &second, "second-token").await;
    let stamps = disk.connect(&writer, &stamp, "stamp-of-ada").await;
    let lefts = disk.connect(&writer, &left, "token-of-left").await;
    writer.disconnect(&left).await.unwrap();
    let rows = disk.now().await;

    // The same user of another store, whose data keys have the same numbers, and whose keyset
    // was changed more often.
    let (store, writer) = other.process().await.unwrap();
    let rotation = store.key_rotation();
    for _ in 0..2 {
        let id = rotation.add_key().await.unwrap().id;
        other.clock.advance(POLL + SECOND);
        rotation.activate(id).await.unwrap();
    }
    let elsewhere = other.connect(&writer, &ada, "token-elsewhere").await;
    let elsewhere = bytes(&other.now().await, elsewhere);
    let keyset_elsewhere = bytes(&other.now().await, keyset());

    let places = [
        ("another user's grant", bobs),
        ("a grant under a former key", eves),
        ("another connection's grant", seconds),
        ("a user's grant", adas),
        ("a user's sign-in stamp", stamps),
        ("the mark of a disconnect", lefts),
        ("the keyset", keyset()),
    ];
    // What each is when nobody has touched it.
    let records = [
        ("a grant", &ada, adas, Ok("token-of-ada")),
        ("a former key's grant", &eve, eves, Ok("token-of-eve")),
        ("a sign-in stamp", &stamp, stamps, Ok("stamp-of-ada")),
        ("a mark", &left, lefts, Err(ErrorKind::NotConnected)),
    ];
    for (whose, key, row, sound) in records {
        // One that has not seen the row yet takes whatever opens.
        let (_, reader) = disk.process().await.unwrap();
        let mut forged = forgeries(&bytes(&rows, row));
        for (name, from) in places.into_iter().filter(|(_, from)| *from != row) {
            forged.push((format!("{name} stands there"), vec![bytes(&rows, from)]));
        }
        let from_another = vec![elsewhere.clone()];
        forged.push((String::from("another store's record"), from_another));
        for (what, forgeries) in forged {
            let times = forgeries.len();
            for bytes in forgeries {
                disk.forge(row, bytes).await;
                let error = reader.token(key).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Damaged, "{whose}, {what}: {error}");
            }
            line(whose, &what, times, ErrorKind::Damaged);
            // Whoever lists is not given it either.
            let user = key.subject();
            let listed = reader.grants(user).await.unwrap();
            assert!(listed.iter().all(|grant| grant.key() != key), "{what}");
            let left_out = reader.unreadable_grants(user).await.unwrap();
            assert_eq!(left_out, 1, "{whose}, {what}");
        }
        disk.rows.mend();
        let answer = reader.token(key).await.map_err(|error| error.kind());
        let answer = answer.as_ref().map(|token| token.expose());
        assert_eq!(answer, sound.as_ref().map(|token| *token), "{whose}");
        line(whose, "nothing", 1, answer);
    }

    let mut forged = forgeries(&bytes(&rows, keyset()));
    for (name, from) in places.into_iter().filter(|(_, from)| *from != keyset()) {
        forged.push((format!("{name} stands there"), vec![bytes(&rows, from)]));
    }
    for (what, forgeries) in forged {
        let times = forgeries.len();
        for bytes in forgeries {
            disk.forge(keyset(), bytes).await;
            let error = disk.process().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Key, "the keyset, {what}: {error}");
        }
        line("the keyset", &what, times, ErrorKind::Key);
    }
    refused_by_who_runs(
        &disk,
        &ada,
        "another store's keyset",
        keyset_elsewhere.clone(),
    )
    .await;

    // Who was not there cannot tell: one outer key for two stores.
    disk.forge(keyset(), keyset_elsewhere).await;
    let (_, starting) = disk.process().await.unwrap();
    let error = starting.token(&ada).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    line(
        "not noticed",
        "another store's keyset, of one outer key",
        1,
        error.kind(),
    );
}

/// A keyset that is not the newest of its store: nothing is written by it, and what is there is
/// read as before.
async fn refused_by_who_runs(disk: &Disk, known: &GrantKey, what: &str, keyset_row: Vec<u8>) {
    disk.rows.mend();
    let (_, manager) = disk.process().await.unwrap();
    disk.forge(keyset(), keyset_row).await;
    disk.clock.advance(POLL + SECOND);
    let newcomer = GrantKey::new("fake", "newcomer");
    let response = || TokenResponse::new("new").expires_in(HOUR);
    let error = manager.connect(&newcomer, response()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Key, "{what}: {error}");
    manager.token(known).await.unwrap();
    line("the keyset, running", what, 1, error.kind());
    disk.rows.mend();
    manager.connect(&newcomer, response()).await.unwrap();
}

#[tokio::test]
async fn an_older_record_of_a_row_is_refused_by_who_saw_a_newer_one() {
    let disk = Disk::new(&KeyRing::generate().unwrap());
    let ada = GrantKey::new("fake", "ada");
    let (store, manager) = disk.process().await.unwrap();
    disk.connect(&manager, &ada, "first").await;
    let connected = disk.now().await;
    disk.clock.advance(HOUR);
    assert_eq!(manager.token(&ada).await.unwrap().expose(), "a1");
    let refreshed = disk.now().await;

    let replay = async |what: &str, rows: &Rows| {
        disk.rows.roll_back(rows.clone());
        // What is in memory has come to its end, so the row is looked at.
        disk.clock.advance(HOUR);
        let exchanges = disk.fake.exchanges();
        let error = manager.token(&ada).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RolledBack, "{what}: {error}");
        assert!(manager.grants("ada").await.unwrap().is_empty(), "{what}");
        assert_eq!(manager.unreadable_grants("ada").await.unwrap(), 1, "{what}");
        // Nothing of it was used.
        assert_eq!(disk.fake.exchanges(), exchanges, "{what}");
        line("a grant, running", what, 1, error.kind());
        disk.rows.mend();
    };
    replay("of this epoch, before a refresh", &connected).await;

    manager.disconnect(&ada).await.unwrap();
    let mark = disk.now().await;
    replay("of the epoch before, after a disconnect", &connected).await;
    replay("the same, as it last was", &refreshed).await;

    disk.connect(&manager, &ada, "again").await;
    replay("of two epochs before, after a new connect", &refreshed).await;
    replay("the mark of the disconnect before it", &mark).await;

    disk.connect(&manager, &ada, "once-more").await;
    let before = disk.now().await;
    let id = store.key_rotation().add_key().await.unwrap().id;
    disk.clock.advance(POLL + SECOND);
    store.key_rotation().activate(id).await.unwrap();
    disk.connect(&manager, &ada, "newest").await;
    let older = bytes(&before, keyset());
    refused_by_who_runs(&disk, &ada, "an older one of this store", older).await;

    // Who was not there cannot tell an older disk, nor that a row was taken from it.
    let gone: Rows = before
        .iter()
        .filter(|row| row.0 == keyset())
        .cloned()
        .collect();
    for (what, rows, expected) in [
        ("an older disk", before, Ok("once-more")),
        ("a row is gone", gone, Err(ErrorKind::NotConnected)),
    ] {
        disk.rows.roll_back(rows);
        let (_, starting) = disk.process().await.unwrap();
        let answer = starting.token(&ada).await.map_err(|error| error.kind());
        let answer = answer.as_ref().map(|token| token.expose());
        assert_eq!(answer, expected.as_ref().map(|token| *token), "{what}");
        line("not noticed", what, 1, answer);
    }
}
