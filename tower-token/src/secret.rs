//! Text that must not be seen: one buffer, wiped when its last clone drops.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use serde::Serialize;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A token, client secret or other text that must not appear in any output.
///
/// Clones share one buffer, which is wiped when the last of them drops. `Debug`
/// prints a fixed word, there is no `Display`, and comparing takes the same time
/// wherever two secrets of one length differ.
///
/// ```
/// use tower_token::Secret;
///
/// let secret = Secret::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret(Bytes);

impl Secret {
    /// The text itself. Keep what you do with it short.
    pub fn expose(&self) -> &str {
        // Every constructor takes text, so this cannot fail.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// `value` as JSON.
    pub(crate) fn of_json(value: &impl Serialize) -> serde_json::Result<Self> {
        wiped_json(value).map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A buffer that is wiped when it drops: all at once, where `Zeroizing` goes over a vector byte by
/// byte.
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// Leaves zeroes in all of the capacity: what is not in use may have been.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.resize(bytes.capacity(), 0);
    // What nobody reads again would not have to be written.
    zeroize::optimization_barrier(bytes.as_slice());
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wiped([redacted])")
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Moves `bytes` into a buffer that is wiped when its last clone drops: its own, if it is full.
pub(crate) fn wiped(mut bytes: Zeroizing<Vec<u8>>) -> Bytes {
    struct Owner(Box<[u8]>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.fill(0);
            zeroize::optimization_barrier(&*self.0);
        }
    }
    Bytes::from_owner(Owner(if bytes.len() == bytes.capacity() {
        std::mem::take(&mut *bytes).into_boxed_slice()
    } else {
        // To shrink it might leave a copy behind that nobody wipes.
        Box::from(bytes.as_slice())
    }))
}

/// `value` as JSON, in one buffer of its size: none that grew is left behind.
pub(crate) fn wiped_json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut measured = Measure(0);
    serde_json::to_writer(&mut measured, value)?;
    let mut buffer = Zeroizing::new(Vec::with_capacity(measured.0));
    serde_json::to_writer(&mut *buffer, value)?;
    Ok(wiped(buffer))
}

/// Counts what is written.
struct Measure(usize);

impl std::io::Write for Measure {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes the string's own buffer over if it is full; else it is copied, and wiped.
impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(wiped(Zeroizing::new(text.into_bytes())))
    }
}

/// Copies the text; wiping the original is the caller's.
impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(wiped(Zeroizing::new(text.as_bytes().to_vec())))
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_buffer_is_zeroes_to_the_end_of_its_capacity() {
        let mut bytes = b"secret, and more of it".to_vec();
        let capacity = bytes.capacity();
        bytes.truncate(3);
        wipe(&mut bytes);
        assert_eq!(bytes, vec![0; capacity]);
    }

    #[test]
    fn clones_share_one_buffer() {
        let one = Secret::from(String::from("token"));
        let two = one.clone();
        assert_eq!(one.as_bytes().as_ptr(), two.as_bytes().as_ptr());
        assert_eq!(one, two);
        assert_ne!(one, Secret::from("other"));
    }
}
