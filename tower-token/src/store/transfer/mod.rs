//! Taking a store elsewhere: into bytes and back, and into another store.

mod copy;
mod decide;
mod export;
mod format;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod import;
mod keys;
mod progress;
mod put;
mod reader;

pub use self::copy::StoreCopy;
pub use self::export::Export;
pub use self::import::Import;
pub use self::progress::TransferProgress;
use super::sealed::SealedStore;

impl SealedStore {
    /// The whole store as bytes, for a backup or another machine: the keyset as it is wrapped,
    /// every record as it is sealed, and an end that is authenticated like all of it.
    ///
    /// The store may be used meanwhile: each row is as it is when its turn comes.
    ///
    /// ```
    /// # use tower_token::*;
    /// # async fn f(store: SealedStore, mut file: impl std::io::Write) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut export = store.export();
    /// while let Some(chunk) = export.chunk().await? {
    ///     file.write_all(&chunk)?;
    /// }
    /// println!("{} grants", export.progress().written);
    /// # Ok(()) }
    /// ```
    pub fn export(&self) -> Export {
        Export::new(self.clone())
    }

    /// Takes an export into this store, sealed anew under its keys; also while it is used. A
    /// grant that is there and is newer, or the same, stays as it is.
    ///
    /// Its keyset opens with the outer keys of this store, or with
    /// [those that are given](Import::source_keys). For an empty store see
    /// [`restore`](crate::SealedStoreBuilder::restore).
    ///
    /// ```
    /// # use tower_token::*;
    /// # async fn f(store: SealedStore, mut file: impl std::io::Read) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut import = store.import().source_keys(KeyRing::from_file("theirs.key")?);
    /// let mut buffer = vec![0; 64 * 1024];
    /// loop {
    ///     match file.read(&mut buffer)? {
    ///         0 => break,
    ///         n => import.write(&buffer[..n]).await?,
    ///     }
    /// }
    /// import.finish().await?;
    /// println!("{:?}", import.progress());
    /// # Ok(()) }
    /// ```
    pub fn import(&self) -> Import {
        Import::into_store(self.clone())
    }

    /// Copies every grant into `target`, some rows at a time, sealed anew under its keys; both may
    /// be used meanwhile. A grant that is there and is newer, or the same, stays as it is: a second
    /// pass does only what has changed.
    ///
    /// ```
    /// # use tower_token::*;
    /// # async fn f(old: SealedStore, rows: impl ByteStore, keys: KeyRing) -> Result<(), Error> {
    /// // With the same keyset; one that was opened otherwise has its own.
    /// let new = SealedStore::builder().keyset_of(&old).open(rows, keys).await?;
    /// let mut copy = old.copy_to(&new);
    /// while copy.step().await? {
    ///     println!("{:.0} %", 100.0 * copy.progress().fraction());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn copy_to(&self, target: &Self) -> StoreCopy {
        StoreCopy::new(self.clone(), target.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyRing, MemoryStore};
    use super::*;

    /// A service does this beside its traffic, on any thread.
    #[tokio::test]
    async fn each_call_may_be_spawned() {
        fn spawned<F: Future<Output: Send> + Send>(call: F) -> F {
            call
        }
        let ring = KeyRing::generate().unwrap();
        let store = SealedStore::open(MemoryStore::new(), ring.clone()).await;
        let store = store.unwrap();
        let mut import = store.import();
        let head = spawned(store.export().chunk()).await.unwrap().unwrap();
        spawned(import.write(&head)).await.unwrap();
        assert!(spawned(import.finish()).await.is_err());
        assert!(!spawned(store.copy_to(&store).step()).await.unwrap());
        let restore = SealedStore::builder().restore(MemoryStore::new(), ring);
        spawned(restore).await.unwrap();
    }
}
