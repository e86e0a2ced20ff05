//! Files that are damaged, folders that are not what they should be, a disk without room, a
//! second process: what the embedded stores say, each time a typed error that says what to do.
//!
//! What opens a damaged folder is a process of its own: so one that hangs, or dies, is seen. The
//! table is printed with `cargo test -p tests --test promises broken_says_so -- --nocapture`.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::acked::{Books, Grants, Process, Task, row_key};
use tests::fake::Fake;
use tests::mounted::{Mounted, not_run};
use tower_token::{
    ByteStore, ErrorKind, Expected, GrantKey, KeyRing, Provider, RedbStore, SaveOutcome,
    SealedStore, SledStore, StoreError, StoreErrorKind, TokenManager, TokenResponse,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kill-store");

/// An embedded store.
trait Embedded: ByteStore + std::fmt::Debug + Sized {
    const NAME: &'static str;
    /// What its folder has when it is another program's.
    const STRANGE: &'static [&'static str];

    fn open(folder: &Path) -> impl Future<Output = Result<Self, StoreError>> + Send;
}

impl Embedded for SledStore {
    const NAME: &'static str = "sled";
    const STRANGE: &'static [&'static str] = &["conf", "db"];

    fn open(folder: &Path) -> impl Future<Output = Result<Self, StoreError>> + Send {
        Self::open(folder.to_owned())
    }
}

impl Embedded for RedbStore {
    const NAME: &'static str = "redb";
    const STRANGE: &'static [&'static str] = &["rows.redb"];

    fn open(folder: &Path) -> impl Future<Output = Result<Self, StoreError>> + Send {
        Self::open(folder.to_owned())
    }
}

macro_rules! on_every_store {
    ($($test:ident)*) => {
        mod sled {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test::<tower_token::SledStore>().await;
                }
            )*
        }

        mod redb {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test::<tower_token::RedbStore>().await;
                }
            )*
        }
    };
}

on_every_store! {
    damaged_files_are_typed_errors_or_correct_data
    a_folder_that_cannot_be_used_is_a_typed_error
    a_folder_without_the_right_to_it_is_a_typed_error
    a_full_disk_is_waited_for
}

/// What came of opening a folder and looking at every row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Everything is as it was saved.
    Correct,
    /// Some rows are, the others are typed errors.
    SomeUnreadable,
    /// A typed error, at the open.
    Refused(String),
    /// Some rows are gone, or as they were before, and nobody was told.
    SomeMissing,
    /// Something was read that nobody saved.
    Wrong,
    /// The process died.
    Died,
    /// It did not come back within a minute.
    Hung,
}

/// Where pages are lost sled looks for each row a million times before it gives up, which takes it
/// most of a second without optimization. So many rows are enough to know what comes of it.
const ENOUGH: u64 = 5;

/// Opens `folder` in a process of its own, which is compared with `saved`.
fn open<S: Embedded>(mut command: Command, folder: &Path, saved: &Books) -> End {
    let mut child = Process::start_with(&mut command, S::NAME, Task::Look, folder).unwrap();
    let mut books = saved.clone();
    loop {
        let Some(line) = child.line() else {
            return match child.has_ended() {
                true => End::Died,
                false => End::Hung,
            };
        };
        if let Some(why) = line.strip_prefix("refused ") {
            return End::Refused(why.to_owned());
        }
        match line.as_str() {
            "opening" | "ready" => {}
            "done" => break,
            _ if books.totals.unreadable == ENOUGH => break,
            line => assert!(books.compare(line), "{line}"),
        }
    }
    match books.totals {
        totals if totals.violations > 0 => End::Wrong,
        totals if totals.lost > 0 => End::SomeMissing,
        totals if totals.unreadable > 0 => End::SomeUnreadable,
        _ => End::Correct,
    }
}

/// A folder with rows of 1 KiB to 64 KiB in it, some written several times.
async fn filled<S: Embedded>() -> (tempfile::TempDir, Books) {
    let folder = tempfile::tempdir().unwrap();
    let books = fill::<S>(folder.path()).await;
    (folder, books)
}

async fn fill<S: Embedded>(folder: &Path) -> Books {
    let grants = Grants::new().await.unwrap();
    let store = S::open(folder).await.unwrap();
    let mut books = Books::default();
    for n in 0..96usize {
        let key = n % 64;
        let row = grants.grant((1 << 10) << (n % 7)).await.unwrap();
        let found = store.load(&row_key(key)).await.unwrap();
        let expected = found.map_or(Expected::Absent, |row| Expected::Version(row.version));
        let saved = store
            .save(&row_key(key), row.clone(), expected)
            .await
            .unwrap();
        let SaveOutcome::Saved(version) = saved else {
            panic!("{saved:?}");
        };
        books.saved(key, row.bytes(), version);
    }
    store.close().await;
    books
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// The same offsets in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Where a file is damaged, and how: the file, its length, an offset within it.
type Damage = fn(&File, u64, &mut Seeded);

const DAMAGES: [(&str, Damage); 4] = [
    ("a byte is flipped", |file, len, random| {
        let (at, mut byte) = (random.below(len), [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 + random.below(255) as u8;
        file.write_all_at(&byte, at).unwrap();
    }),
    ("a page is zeroed", |file, len, random| {
        let at = random.below(len) & !0xfff;
        let page = [0; 4_096];
        let until = (len - at).min(4_096) as usize;
        file.write_all_at(&page[..until], at).unwrap();
    }),
    ("a page is noise", |file, len, random| {
        let at = random.below(len) & !0xfff;
        let page: Vec<u8> = (0..(len - at).min(4_096))
            .map(|_| random.below(256) as u8)
            .collect();
        file.write_all_at(&page, at).unwrap();
    }),
    ("it is cut off", |file, len, random| {
        file.set_len(random.below(len)).unwrap();
    }),
];

/// Every file of the folder; the log, which is all but a few hundred bytes of it, last.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort_by_key(|path| path.metadata().unwrap().len());
    files.retain(|path| path.metadata().unwrap().len() > 0);
    files
}

async fn damaged_files_are_typed_errors_or_correct_data<S: Embedded>() {
    let (folder, books) = filled::<S>().await;
    let scratch = tempfile::tempdir().unwrap();
    // sled replays its log, and writes a snapshot of what it found: the next open begins there.
    let (log, snapshot) = (scratch.path().join("log"), scratch.path().join("snapshot"));
    copy(folder.path(), &log);
    copy(folder.path(), &snapshot);
    let untouched = open::<S>(Command::new(PROGRAM), &snapshot, &books);
    assert_eq!(untouched, End::Correct);
    let mut random = Seeded(6);
    let mut table: BTreeMap<(&str, String, String), u32> = BTreeMap::new();
    let mut bad = Vec::new();
    for round in 0..200 {
        let (what, damage) = DAMAGES[round % DAMAGES.len()];
        let source = [&log, &snapshot][round / DAMAGES.len() % 2];
        let damaged = scratch.path().join(round.to_string());
        copy(source, &damaged);
        let files = files(&damaged);
        // One in five hits one of the small files.
        let path = match random.below(5) {
            0 => &files[random.below(files.len() as u64 - 1) as usize],
            _ => files.last().unwrap(),
        };
        let file = File::options().read(true).write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        damage(&file, len, &mut random);
        drop(file);

        let end = open::<S>(Command::new(PROGRAM), &damaged, &books);
        let name = path.file_name().unwrap().to_str().unwrap();
        // A snapshot's name ends in the position that it is of.
        let name = if name.starts_with("snap") {
            "snap"
        } else {
            name
        }
        .to_owned();
        // Limits that are stated. What the part of the log that sled replays has lost: it skips a
        // record that is damaged, and only a log that ends too soon is noticed. redb does not
        // check what it reads: a value that is damaged is for the seal to refuse.
        let limit = match S::NAME {
            "sled" => end == End::SomeMissing && source == &log,
            _ => matches!(end, End::SomeMissing | End::Wrong),
        };
        if !limit && matches!(end, End::SomeMissing | End::Wrong | End::Died | End::Hung) {
            bad.push((round, what, name.clone(), end.clone()));
        }
        let end = format!("{end:?}").replace(damaged.to_str().unwrap(), "FOLDER");
        let end = end.replace(|of: char| of.is_ascii_digit(), "");
        *table.entry((what, name, end)).or_default() += 1;
        fs::remove_dir_all(&damaged).unwrap();
    }
    for ((what, file, end), count) in &table {
        println!("{count:>3} x {what} ({file}): {end}");
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

/// redb gives what lies on the disk; sled would notice.
#[tokio::test]
async fn a_value_that_redb_did_not_check_is_refused_by_the_seal() {
    let folder = tempfile::tempdir().unwrap();
    let (ring, user) = (KeyRing::generate().unwrap(), GrantKey::new("demo", "user"));
    let manager = || async {
        let store = RedbStore::open(folder.path()).await.unwrap();
        TokenManager::builder()
            .store(SealedStore::open(store, ring.clone()).await.unwrap())
            .provider(Provider::new("demo", Fake::new(Duration::from_secs(3_600))))
            .build()
            .await
            .unwrap()
    };
    let first = manager().await;
    let tokens = TokenResponse::new("access").id_token("i".repeat(2_000));
    first.connect(&user, tokens).await.unwrap();
    first.shutdown(Duration::from_secs(10)).await.unwrap();

    let rows = RedbStore::open(folder.path()).await.unwrap();
    let all = rows.scan(None, usize::MAX).await.unwrap();
    let (key, sealed) = all
        .into_iter()
        .max_by_key(|(_, row)| row.bytes.len())
        .unwrap();
    rows.close().await;
    let path = folder.path().join("rows.redb");
    let mut file = fs::read(&path).unwrap();
    let places: Vec<usize> = file
        .windows(sealed.bytes.len())
        .enumerate()
        .filter_map(|(at, bytes)| (*bytes == sealed.bytes[..]).then_some(at))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        file[at + sealed.bytes.len() / 2] ^= 1;
    }
    fs::write(&path, file).unwrap();

    let rows = RedbStore::open(folder.path()).await.unwrap();
    let found = rows.load(&key).await.unwrap().unwrap();
    assert_ne!(found.bytes, sealed.bytes);
    rows.close().await;
    let error = manager().await.token(&user).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}

/// A folder that cannot be used, and what the error has to say.
struct Refusal {
    what: &'static str,
    kind: StoreErrorKind,
    says: &'static str,
}

/// What refuses to open is checked in this process, as a user meets it.
async fn refused<S: Embedded>(folder: &Path, refusal: &Refusal) {
    let error = S::open(folder).await.unwrap_err();
    let message = error
        .to_string()
        .replace(folder.to_str().unwrap(), "FOLDER");
    println!("{}: {:?} {message}", refusal.what, error.kind());
    assert_eq!(error.kind(), refusal.kind, "{}", refusal.what);
    assert!(
        message.contains(refusal.says),
        "{}: {message}",
        refusal.what
    );
}

async fn a_folder_that_cannot_be_used_is_a_typed_error<S: Embedded>() {
    let parent = tempfile::tempdir().unwrap();
    let path = |name: &str| parent.path().join(name);

    File::create(path("file")).unwrap();
    let a_file = Refusal {
        what: "a file in its place",
        kind: StoreErrorKind::Unavailable,
        says: "name a folder",
    };
    refused::<S>(&path("file"), &a_file).await;

    fs::create_dir(path("strange")).unwrap();
    for file in S::STRANGE {
        fs::write(path("strange").join(file), "version = 1, and other things").unwrap();
    }
    let strange = Refusal {
        what: "a folder of another format",
        kind: StoreErrorKind::Damaged,
        says: "",
    };
    refused::<S>(&path("strange"), &strange).await;

    let _first = S::open(&path("held")).await.unwrap();
    let held = Refusal {
        what: "open already",
        kind: StoreErrorKind::InUse,
        says: "several need a shared store",
    };
    refused::<S>(&path("held"), &held).await;
    let second = open::<S>(Command::new(PROGRAM), &path("held"), &Books::default());
    println!("a second process: {second:?}");
    assert!(matches!(second, End::Refused(why) if why.starts_with("InUse")));
}

/// Root may read and write everything, so these are opened as somebody else; only root can do
/// that, and anybody else is somebody else already.
async fn a_folder_without_the_right_to_it_is_a_typed_error<S: Embedded>() {
    let (folder, books) = filled::<S>().await;
    let somebody = |root: bool| {
        let mut command = Command::new(PROGRAM);
        if root {
            command.uid(65_534).gid(65_534);
        }
        command
    };
    let root = fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
    if root && somebody(root).arg("--usage").output().is_err() {
        println!("not run: {PROGRAM} is not for everybody");
        return;
    }
    for (what, mode, file_mode) in [
        ("a folder for reading only", 0o555, 0o444),
        ("a folder that may not be entered", 0o000, 0o444),
        ("files for reading only", 0o777, 0o444),
    ] {
        for file in files(folder.path())
            .into_iter()
            .chain([folder.path().join("tower-token.lock")])
        {
            fs::set_permissions(file, fs::Permissions::from_mode(file_mode)).unwrap();
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let end = open::<S>(somebody(root), folder.path(), &books);
        println!("{what}: {end:?}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let End::Refused(why) = end else {
            panic!("{what}: {end:?}");
        };
        assert!(why.starts_with("Unavailable"), "{what}: {why}");
        assert!(
            why.contains("let this process read and write"),
            "{what}: {why}"
        );
    }
}

/// On a small file system in memory, which takes root. The tests beside the store do without:
/// they have a disk that fails on order.
async fn a_full_disk_is_waited_for<S: Embedded>() {
    let Ok(disk) = Mounted::in_memory(8 << 10) else {
        not_run("a full disk is waited for");
        return;
    };
    let (folder, ballast) = (disk.path().join("store"), disk.path().join("ballast"));
    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    let grants = Grants::new().await.unwrap();
    let store = S::open(&folder).await.unwrap();

    let mut books = Books::default();
    let mut key = 0;
    let outcome = loop {
        let row = grants.grant(64 << 10).await.unwrap();
        let outcome = store
            .save(&row_key(key), row.clone(), Expected::Absent)
            .await;
        match outcome {
            Ok(SaveOutcome::Saved(version)) => books.saved(key, row.bytes(), version),
            other => break other,
        }
        key += 1;
    };
    println!("a disk that is full at a write: {outcome:?}, after {key} rows");
    // sled writes behind as well: then the save that looks first finds it failed, and writes
    // nothing.
    match outcome {
        Ok(outcome) => assert_eq!(outcome, SaveOutcome::Unknown),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
    }

    // While there is no room, an error that says so, or what is there; never anything else.
    fill_up(&disk.path().join("more"));
    let error = loop {
        let row = grants.grant(64 << 10).await.unwrap();
        match store.save(&row_key(key), row, Expected::Absent).await {
            Ok(outcome) => assert!(!matches!(outcome, SaveOutcome::Saved(_))),
            Err(error) => break error,
        }
    };
    println!("meanwhile: {:?} {error}", error.kind());
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);

    fs::remove_file(&ballast).unwrap();
    let again = async {
        loop {
            let row = grants.grant(64 << 10).await.unwrap();
            let found = match store.load(&row_key(key)).await {
                Ok(found) => found,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let expected = found.map_or(Expected::Absent, |row| Expected::Version(row.version));
            let outcome = store.save(&row_key(key), row.clone(), expected).await;
            if let Ok(SaveOutcome::Saved(version)) = outcome {
                return books.saved(key, row.bytes(), version);
            }
        }
    };
    // The store tries every five seconds.
    tokio::time::timeout(Duration::from_secs(60), again)
        .await
        .unwrap();
    store.close().await;
    let end = open::<S>(Command::new(PROGRAM), &folder, &books);
    println!("with room again, all {key} rows: {end:?}");
    assert_eq!(end, End::Correct);

    fill_up(&ballast);
    let full = Refusal {
        what: "a disk that is full at the first open",
        kind: StoreErrorKind::Unavailable,
        says: "make room on its disk",
    };
    refused::<S>(&disk.path().join("another"), &full).await;
    let end = open::<S>(Command::new(PROGRAM), &folder, &books);
    println!("a disk that is full at an open: {end:?}");
    let waits = |why: &str| why.starts_with("Unavailable") && why.contains("make room");
    assert!(end == End::Correct || matches!(end, End::Refused(why) if waits(&why)));
}

/// Leaves no byte free.
fn fill_up(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[1; 512]).is_ok() {}
}
