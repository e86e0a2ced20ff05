//! Where the outer keys come from.

use std::error::Error as StdError;
use std::future::Future;

use super::keyring::KeyRing;
use crate::error::{Error, ErrorKind};

/// Where the outer keys of a store come from, such as a secret manager or a KMS.
///
/// Asked once, when the store is opened. The keys stay in the memory of the process, since
/// the store's own keys are unwrapped again whenever they have changed. So where the key of a
/// KMS must never leave it, keep a wrapped outer key beside the service, and have the KMS
/// unwrap that one here.
///
/// A [`KeyRing`] is the simplest of them.
///
/// ```
/// use std::error::Error;
///
/// use tower_token::{KeyProvider, KeyRing, MemoryStore, SealedStore};
///
/// # struct Client;
/// # impl Client {
/// #     async fn decrypt(&self, _: &[u8]) -> Result<[u8; 32], Box<dyn Error + Send + Sync>> {
/// #         Ok(std::array::from_fn(|i| i as u8))
/// #     }
/// # }
/// /// The outer key, as a KMS encrypted it.
/// struct Wrapped {
///     kms: Client,
///     ciphertext: Vec<u8>,
/// }
///
/// impl KeyProvider for Wrapped {
///     async fn keys(&self) -> Result<KeyRing, Box<dyn Error + Send + Sync>> {
///         Ok(KeyRing::from_bytes(self.kms.decrypt(&self.ciphertext).await?)?)
///     }
/// }
///
/// # #[tokio::main] async fn main() -> Result<(), tower_token::Error> {
/// # let (kms, ciphertext) = (Client, Vec::new());
/// let store = SealedStore::open(MemoryStore::new(), Wrapped { kms, ciphertext }).await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
pub trait KeyProvider: Send + Sync {
    /// The outer keys, the one that wraps first. Opening the store waits for them without a
    /// limit: set one to whatever is asked here.
    ///
    /// Whatever this fails with keeps the store from being opened, and becomes the source of
    /// an error of [`ErrorKind::Key`]: keep secrets out of it.
    fn keys(&self)
    -> impl Future<Output = Result<KeyRing, Box<dyn StdError + Send + Sync>>> + Send;
}

impl KeyProvider for KeyRing {
    async fn keys(&self) -> Result<KeyRing, Box<dyn StdError + Send + Sync>> {
        Ok(self.clone())
    }
}

/// Asks for the keys.
pub(super) async fn provided(provider: impl KeyProvider) -> Result<KeyRing, Error> {
    provider.keys().await.map_err(|cause| {
        // What a ring says of itself needs no other words.
        cause.downcast::<Error>().map_or_else(
            |cause| {
                let message = "the outer keys could not be had from their provider";
                Error::with_source(ErrorKind::Key, message, cause)
            },
            |error| *error,
        )
    })
}
