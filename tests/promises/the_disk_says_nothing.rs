//! Invariants 21 and 22: what is on the disk is sealed, and bound to its place.

use std::path::Path;
use std::time::Duration;

use tests::fake::Fake;
use tests::leaks::Leaks;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, GrantKey, KeyRing, Provider, RedbStore, SealedStore, SledStore, TokenManager,
    TokenResponse,
};

use crate::support::HOUR;

const SECRETS: [&str; 7] = [
    "marked-access-token-1",
    "marked-access-token-2",
    "marked-refresh-token",
    "marked-id-token",
    "marked-subject@example.com",
    "marked-provider",
    "marked-connection",
];

fn files(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(std::fs::read(&path).unwrap()),
        }
    }
}

#[tokio::test]
async fn none_of_the_tokens_subjects_or_providers_is_on_the_disk() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let sled = SledStore::open(folders[0].path()).await.unwrap();
    says_nothing(sled, folders[0].path()).await;
    let redb = RedbStore::open(folders[1].path()).await.unwrap();
    says_nothing(redb, folders[1].path()).await;
}

async fn says_nothing(store: impl ByteStore, folder: &Path) {
    let ring = KeyRing::generate().unwrap();
    let key = GrantKey::new(SECRETS[5], SECRETS[4]).with_connection(SECRETS[6]);
    let manager = TokenManager::builder()
        .store(SealedStore::open(store, ring.clone()).await.unwrap())
        .provider(Provider::new(SECRETS[5], Fake::new(HOUR)))
        .clock(ManualClock::new())
        .build()
        .await
        .unwrap();
    let response = |token| {
        TokenResponse::new(token)
            .refresh_token(SECRETS[2])
            .id_token(format!("{}{}", SECRETS[3], "x".repeat(40_000)))
            .metadata("account", SECRETS[4])
    };
    manager.connect(&key, response(SECRETS[0])).await.unwrap();
    manager.connect(&key, response(SECRETS[1])).await.unwrap();
    assert_eq!(manager.token(&key).await.unwrap().expose(), SECRETS[1]);
    manager.shutdown(Duration::from_secs(10)).await.unwrap();
    drop(manager);

    let leaks = Leaks::new(SECRETS.into_iter().chain([ring.encode().expose()]));
    let mut found = Vec::new();
    files(folder, &mut found);
    assert!(
        found.iter().map(Vec::len).sum::<usize>() > 80_000,
        "the records are not there"
    );
    for file in &found {
        leaks.check("a file", file);
    }
    // The same search finds what is there: it is not blind.
    std::fs::write(folder.join("planted"), format!("x{}y", SECRETS[2])).unwrap();
    let mut found = Vec::new();
    files(folder, &mut found);
    assert!(found.iter().any(|file| leaks.find(file).is_some()));
}
