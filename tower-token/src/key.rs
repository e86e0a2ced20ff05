//! Whose authorization a request uses.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use triomphe::ThinArc;

/// Whose authorization: a provider, your user, and, where one user connects the
/// same provider more than once, which of the connections.
///
/// A key is the identity of everything the manager keeps. It is cheap to clone,
/// and hashed once, when it is made.
///
/// ```
/// use tower_token::GrantKey;
///
/// let key = GrantKey::new("google", "user-17");
/// let work = GrantKey::new("google", "user-17").with_connection("work");
/// assert_ne!(key, work);
/// assert_eq!(work.connection(), Some("work"));
/// ```
///
/// `Debug` shows the provider and hides the subject, which is personal data.
#[derive(Clone)]
pub struct GrantKey(ThinArc<Parts, u8>);

/// Lies in front of all names in one text, so that two keys are compared in one go, and by as few
/// cache lines as that can be.
#[derive(PartialEq, Eq)]
struct Parts {
    hash: u64,
    /// Where the provider's name ends in the text, and where the subject does: there are many
    /// keys, and none of 4 GiB. A connection comes after a mark, so that an empty one differs
    /// from none.
    provider: u32,
    subject: u32,
}

const CONNECTION: &str = "/";

impl GrantKey {
    /// The grant of `subject`, your own id of the user, at `provider`, the name the
    /// provider was registered under.
    pub fn new(provider: impl AsRef<str>, subject: impl AsRef<str>) -> Self {
        Self::from_parts(provider.as_ref(), subject.as_ref(), None)
    }

    /// The same user and provider, another connection of theirs.
    #[must_use]
    pub fn with_connection(&self, connection: impl AsRef<str>) -> Self {
        Self::from_parts(self.provider(), self.subject(), Some(connection.as_ref()))
    }

    pub(crate) fn from_parts(provider: &str, subject: &str, connection: Option<&str>) -> Self {
        // Ids come from outside: a seed of this process keeps anyone from choosing
        // ids that collide.
        static SEED: OnceLock<RandomState> = OnceLock::new();
        let seed = SEED.get_or_init(RandomState::default);
        let mark = connection.map_or("", |_| CONNECTION);
        let text = [provider, subject, mark, connection.unwrap_or_default()].concat();
        let end = |end| u32::try_from(end).unwrap_or(u32::MAX);
        let (provider, subject) = (end(provider.len()), end(provider.len() + subject.len()));
        let hash = seed.hash_one((&text, provider, subject));
        let parts = Parts {
            hash,
            provider,
            subject,
        };
        Self(ThinArc::from_header_and_slice(parts, text.as_bytes()))
    }

    /// The name of the provider.
    pub fn provider(&self) -> &str {
        self.part(0, self.parts().provider as usize)
    }

    /// Your id of the user.
    pub fn subject(&self) -> &str {
        self.part(
            self.parts().provider as usize,
            self.parts().subject as usize,
        )
    }

    /// Which of the user's connections to this provider, if there can be several.
    pub fn connection(&self) -> Option<&str> {
        let marked = self.part(self.parts().subject as usize, self.0.slice.len());
        marked.strip_prefix(CONNECTION)
    }

    fn parts(&self) -> &Parts {
        &self.0.header.header
    }

    /// Both lie between characters of what was text.
    fn part(&self, from: usize, to: usize) -> &str {
        let part = self.0.slice.get(from..to).unwrap_or_default();
        std::str::from_utf8(part).unwrap_or_default()
    }
}

impl PartialEq for GrantKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ptr() == other.0.as_ptr()
            || (self.parts() == other.parts() && self.0.slice == other.0.slice)
    }
}

impl Eq for GrantKey {}

impl Hash for GrantKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.parts().hash);
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantKey")
            .field("provider", &self.provider())
            .field("subject", &"[redacted]")
            .field("connection", &self.connection().map(|_| "[redacted]"))
            .finish()
    }
}

/// Hands a [`GrantKey`]'s own hash through, so that a map does not hash it again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KeyHash(u64);

impl Hasher for KeyHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only a GrantKey is hashed with this, and it writes one u64.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

pub(crate) type BuildKeyHash = std::hash::BuildHasherDefault<KeyHash>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(GrantKey::new("ab", "c"), GrantKey::new("a", "bc"));
        assert_ne!(
            GrantKey::new("a", "b"),
            GrantKey::new("a", "b").with_connection("")
        );
        assert_ne!(
            GrantKey::new("a", "b/c"),
            GrantKey::new("a", "b").with_connection("c")
        );
        assert_eq!(GrantKey::new("a", "b/c").connection(), None);
        assert_eq!(GrantKey::new("a", "b"), GrantKey::new("a", "b"));
    }

    #[test]
    fn debug_hides_the_subject() {
        let shown = format!(
            "{:?}",
            GrantKey::new("p", "alice@example.com").with_connection("home")
        );
        assert!(shown.contains("\"p\"") && !shown.contains("alice") && !shown.contains("home"));
    }
}
