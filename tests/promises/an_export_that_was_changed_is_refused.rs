//! An export is taken in as it was made, to its end, or refused; and what of it is in the store by
//! then is as it was exported.

use std::ops::Range;

use tests::any::Kind;
use tower_token::{ByteStore, ErrorKind, SealedStore};

use crate::transfer_rig::{Rig, Vault, counts, key, taken_in};

/// The head of an export, and its frames, the last of which is the end.
fn parts(export: &[u8]) -> Vec<Range<usize>> {
    let len = |at: usize| {
        let bytes: [u8; 4] = export[at..at + 4].try_into().unwrap();
        u32::from_be_bytes(bytes) as usize
    };
    let (mut parts, mut begin) = (Vec::new(), 0);
    while begin < export.len() {
        let end = match begin {
            0 => 9 + 4 + len(9) + 78 + 32,
            _ => begin + 1 + 4 + len(begin + 1) + 32,
        };
        parts.push(begin..end);
        begin = end;
    }
    parts
}

async fn three_users(rig: &Rig) -> (Vault, Vec<u8>) {
    let old = rig.vault(Kind::Memory).await;
    for user in ["ada", "bob", "carol"] {
        old.connect(user).await;
    }
    let bytes = old.export().await;
    (old, bytes)
}

/// Restores what was tampered with, and looks at what is in the store by then.
async fn refused(rig: &Rig, kind: Kind, old: &Vault, bytes: &[u8], what: &str) -> ErrorKind {
    let rows = kind.make().await.unwrap();
    let import = SealedStore::builder().restore(rows.clone(), rig.ring.clone());
    let error = match taken_in(import.await.unwrap(), bytes).await {
        Ok(_) => panic!("taken in: {what}"),
        Err(error) => error,
    };
    let known = old.row_keys().await;
    for (row_key, row) in rows.scan(None, 10).await.unwrap() {
        let is_keyset = row_key.as_bytes() == &[0; 48];
        assert!(is_keyset || known.contains(&row_key), "{what}");
        assert!(!row.bytes.is_empty());
    }
    // Whatever is there is used like any other.
    if !rows.scan(None, 1).await.unwrap().is_empty() {
        let store = SealedStore::open(rows.clone(), rig.ring.clone()).await;
        let some = rig.over(rows, store.unwrap()).await;
        for user in ["ada", "bob", "carol"] {
            match some.manager.token(&key(user)).await {
                Ok(token) => assert_eq!(token.expose(), format!("access-{user}")),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotConnected),
            }
        }
    }
    error.kind()
}

#[tokio::test]
async fn no_byte_of_an_export_can_be_changed() {
    let rig = Rig::new();
    let (old, bytes) = three_users(&rig).await;
    let keyset = parts(&bytes)[0].clone();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let kind = refused(&rig, Kind::Memory, &old, &changed, &format!("byte {at}")).await;
        // Whoever has another outer key is told so, and it may look like that.
        let is_keys = kind == ErrorKind::Key && keyset.contains(&at);
        assert!(kind == ErrorKind::InvalidExport || is_keys, "{at} {kind:?}");
    }
}

#[tokio::test]
async fn an_export_that_was_cut_off_is_refused_wherever_that_was() {
    let rig = Rig::new();
    let (old, bytes) = three_users(&rig).await;
    for end in 0..bytes.len() {
        let kind = refused(&rig, Kind::Memory, &old, &bytes[..end], &format!("{end}")).await;
        assert_eq!(kind, ErrorKind::InvalidExport, "{end}");
    }
    // Between two frames, also in a folder.
    for end in parts(&bytes).iter().map(|part| part.start) {
        refused(&rig, Kind::Sled, &old, &bytes[..end], &format!("{end}")).await;
    }
}

#[tokio::test]
async fn frames_cannot_be_moved_left_out_doubled_or_taken_from_another_export() {
    for kind in Kind::ALL {
        let rig = Rig::new();
        let (old, bytes) = three_users(&rig).await;
        let other = old.export().await;
        let part = |n: usize| bytes[parts(&bytes)[n].clone()].to_vec();
        let theirs = |n: usize| other[parts(&other)[n].clone()].to_vec();
        let whole = [part(0), part(1), part(2), part(3), part(4)];
        assert_eq!(whole.concat(), bytes);
        let table = [
            ("moved", vec![part(0), part(2), part(1), part(3), part(4)]),
            ("one left out", vec![part(0), part(1), part(3), part(4)]),
            (
                "the last left out",
                vec![part(0), part(1), part(2), part(4)],
            ),
            ("all left out", vec![part(0), part(4)]),
            (
                "doubled",
                vec![part(0), part(1), part(1), part(2), part(3), part(4)],
            ),
            (
                "spliced",
                vec![part(0), part(1), theirs(2), part(3), part(4)],
            ),
            (
                "another's end",
                vec![part(0), part(1), part(2), part(3), theirs(4)],
            ),
            (
                "another's head",
                vec![theirs(0), part(1), part(2), part(3), part(4)],
            ),
            ("two in a row", vec![bytes.clone(), other.clone()]),
            ("something after", vec![bytes.clone(), vec![0]]),
        ];
        for (what, parts) in table {
            let found = refused(&rig, kind, &old, &parts.concat(), what).await;
            assert_eq!(found, ErrorKind::InvalidExport, "{what}");
        }
    }
}

/// Not even one of the same store, whose data key opens the rest: it would bring back keys that
/// were destroyed, or lose one that was added.
#[tokio::test]
async fn the_keyset_of_another_export_is_not_taken_in() {
    let rig = Rig::new();
    let (old, before) = three_users(&rig).await;
    old.store.key_rotation().add_key().await.unwrap();
    let after = old.export().await;
    let keyset = |export: &[u8]| 9..parts(export)[0].end - 78 - 32;
    for (bytes, other) in [(&before, &after), (&after, &before)] {
        let head = &bytes[..keyset(bytes).start];
        let rest = &bytes[keyset(bytes).end..];
        let spliced = [head, &other[keyset(other)], rest].concat();
        let rows = Kind::Memory.make().await.unwrap();
        let import = SealedStore::builder().restore(rows.clone(), rig.ring.clone());
        let error = taken_in(import.await.unwrap(), &spliced).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidExport);
        assert_eq!(rows.scan(None, 1).await.unwrap(), []);
    }
}

#[tokio::test]
async fn no_length_is_believed() {
    let rig = Rig::new();
    let (old, bytes) = three_users(&rig).await;
    let parts = parts(&bytes);
    for at in [9, parts[1].start + 1, parts[4].start + 1] {
        let mut changed = bytes[..at].to_vec();
        changed.extend(u32::MAX.to_be_bytes());
        let import = SealedStore::builder().restore(old.rows.clone(), rig.ring.clone());
        // At once, and not after four gigabytes.
        let error = import.await.unwrap().write(&changed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidExport, "{at}");
    }
}

#[tokio::test]
async fn an_export_may_come_in_any_pieces() {
    let rig = Rig::new();
    let (_, bytes) = three_users(&rig).await;
    for len in [1, 7, 60, 1_000, bytes.len()] {
        let new = rig.vault(Kind::Memory).await;
        let mut import = new.store.import();
        for piece in bytes.chunks(len) {
            import.write(piece).await.unwrap();
            import.write(&[]).await.unwrap();
        }
        import.finish().await.unwrap();
        assert_eq!(counts(import.progress()), [3, 0, 0, 0, 0, 0]);
    }
}

/// Of a backup that was damaged, as much is saved as can be.
#[tokio::test]
async fn what_stands_before_a_damage_is_taken_in_however_large_the_pieces() {
    let rig = Rig::new();
    let (_, mut bytes) = three_users(&rig).await;
    let third = parts(&bytes)[3].start;
    bytes[third + 70] ^= 1;
    for len in [1, 1_000, bytes.len()] {
        let new = rig.vault(Kind::Memory).await;
        let mut import = new.store.import();
        let mut error = None;
        for piece in bytes.chunks(len) {
            error = error.or(import.write(piece).await.err());
        }
        assert_eq!(error.unwrap().kind(), ErrorKind::InvalidExport);
        assert_eq!(counts(import.progress()), [2, 0, 0, 0, 0, 0], "{len}");
        assert_eq!(new.row_keys().await.len(), 2);
    }
}

#[tokio::test]
async fn after_a_failure_it_is_begun_anew() {
    let rig = Rig::new();
    let (_, bytes) = three_users(&rig).await;
    let new = rig.vault(Kind::Memory).await;
    let parts = parts(&bytes);
    let mut changed = bytes.clone();
    changed[parts[3].start + 70] ^= 1;
    let mut import = new.store.import();
    import.write(&changed[..parts[2].end]).await.unwrap();
    assert_eq!(import.progress().written, 2);
    let error = import.write(&changed[parts[2].end..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidExport);
    // What comes after is not taken for the rest.
    let error = import.write(&bytes[parts[3].clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(import.finish().await.unwrap_err().kind(), ErrorKind::Config);
    let (_, again) = taken_in(new.store.import(), &bytes).await.unwrap();
    assert_eq!(counts(&again), [1, 2, 0, 0, 0, 0]);
}
