//! Text that must not be seen: one buffer, wiped when its last clone drops.

use std::fmt;

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

/// Moves `bytes` into a buffer that is wiped when its last clone drops.
pub(crate) fn wiped(bytes: Zeroizing<Vec<u8>>) -> Bytes {
    struct Owner(Zeroizing<Vec<u8>>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    Bytes::from_owner(Owner(bytes))
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

/// Takes the string's own buffer over; nothing is copied.
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
    fn clones_share_one_buffer() {
        let one = Secret::from(String::from("token"));
        let two = one.clone();
        assert_eq!(one.as_bytes().as_ptr(), two.as_bytes().as_ptr());
        assert_eq!(one, two);
        assert_ne!(one, Secret::from("other"));
    }
}
