//! Invariant 4: our buffers are wiped. A marked token goes through everything that this
//! crate does with one; when all of it is dropped, the process's memory is searched.

#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tests::BoxError;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{
    GrantKey, KeyRing, OAuth2, SealedStore, SledStore, TokenLayer, TokenManager, TokenRequest,
    TokenResponse,
};

const MASK: u8 = 0x5a;
const LEN: usize = 40;

/// The `n`th mark, masked: the marks themselves stand nowhere in the program.
fn masked(n: u8) -> [u8; LEN] {
    std::array::from_fn(|i| (b'a' + ((i * 7 + usize::from(n) * 11 + i * i) % 26) as u8) ^ MASK)
}

/// A mark in a buffer of exactly its size, so that nothing is left behind by growing.
fn mark(n: u8) -> String {
    let mut text = Vec::with_capacity(LEN);
    text.extend(masked(n).map(|byte| byte ^ MASK));
    String::from_utf8(text).unwrap()
}

/// How often the mark stands in this process's writable memory.
fn count(n: u8) -> usize {
    scrub_stack();
    let masked = masked(n);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut chunk = vec![0; 1 << 16];
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let mut at = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        while at < to {
            let len = chunk.len().min(usize::try_from(to - at).unwrap());
            let chunk = &mut chunk[..len];
            memory.seek(SeekFrom::Start(at)).unwrap();
            if memory.read_exact(chunk).is_err() {
                break;
            }
            // Masked at once: this copy must not be found in its turn.
            chunk.iter_mut().for_each(|byte| *byte ^= MASK);
            found += chunk
                .windows(LEN)
                .filter(|w| w[0] == masked[0] && *w == masked)
                .count();
            // The next chunk begins before a mark that this one may have cut.
            at += len as u64;
            if at < to {
                at -= LEN as u64 - 1;
            }
        }
    }
    found
}

/// The cipher and other libraries work on copies on the stack, which are out of reach;
/// the next call overwrites them, and so does this.
#[inline(never)]
fn scrub_stack() {
    let mut below = [0u8; 1 << 20];
    std::hint::black_box(&mut below);
}

/// What the token service answers, in JSON, to each refresh: the caller's own copy, which
/// is wiped like any other buffer of ours would be.
fn answer() -> Bytes {
    struct Wiped(Vec<u8>);
    impl AsRef<[u8]> for Wiped {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Wiped {
        fn drop(&mut self) {
            self.0.fill(0);
            std::hint::black_box(&self.0);
        }
    }
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"access_token\":\"");
    body.extend(masked(3).map(|byte| byte ^ MASK));
    body.extend_from_slice(b"\",\"refresh_token\":\"");
    body.extend(masked(4).map(|byte| byte ^ MASK));
    body.extend_from_slice(b"\",\"expires_in\":3600}");
    Bytes::from_owner(Wiped(body))
}

async fn everything() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let store = SledStore::open(folder.path()).await?;
    let transport = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        let sent = request.into_body().collect().await?.to_bytes();
        assert!(sent.starts_with(b"grant_type=refresh_token&refresh_token="));
        Ok::<_, BoxError>(Response::new(Full::new(answer())))
    });
    let manager = TokenManager::builder()
        .store(SealedStore::open(store, KeyRing::generate()?).await?)
        .provider(
            OAuth2::new("p", "https://auth.example.com/token")
                .client_secret_post("id", mark(5))
                .allow_origin("https://api.example.com")
                .transport(transport),
        )
        .build()
        .await?;
    let key = GrantKey::new("p", "ada");
    let long_ago = tower_token::Timestamp::from_unix_millis(0);
    let response = TokenResponse::new(mark(1))
        .refresh_token(mark(2))
        .expires_in(Duration::from_secs(60))
        .obtained_at(long_ago);
    manager.connect(&key, response).await?;

    let api = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        let authorization = &request.headers()["authorization"];
        assert_eq!(authorization.len(), "Bearer ".len() + LEN);
        Ok::<_, BoxError>(Response::new(()))
    });
    let client = TokenLayer::new(&manager).layer(api);
    for _ in 0..3 {
        let wanted = TokenRequest::new(key.clone());
        let request = Request::get("https://api.example.com/").extension(wanted);
        let sent = client.clone().oneshot(request.body(Full::default())?).await;
        sent.map_err(tower_token::TokenServiceError::into_boxed)?;
    }
    assert_eq!(manager.grants("ada").await?.len(), 1);
    // While all of it lives, the search is not blind.
    assert!(count(3) > 0 && count(5) > 0, "the search finds nothing");
    manager.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

#[test]
fn when_everything_is_dropped_no_secret_is_left_in_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(everything()).unwrap();
    drop(runtime);
    for (n, name) in [
        (1, "connected access token"),
        (2, "connected refresh token"),
        (3, "answered access token"),
        (4, "answered refresh token"),
        (5, "client secret"),
    ] {
        assert_eq!(count(n), 0, "the {name} is left in memory");
    }
}
