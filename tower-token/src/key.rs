//! Whose authorization a request uses.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;

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
pub struct GrantKey(Arc<Parts>);

struct Parts {
    hash: u64,
    provider: Box<str>,
    subject: Box<str>,
    connection: Option<Box<str>>,
}

impl GrantKey {
    /// The grant of `subject`, your own id of the user, at `provider`, the name the
    /// provider was registered under.
    pub fn new(provider: impl Into<Box<str>>, subject: impl Into<Box<str>>) -> Self {
        Self::from_parts(provider.into(), subject.into(), None)
    }

    /// The same user and provider, another connection of theirs.
    #[must_use]
    pub fn with_connection(&self, connection: impl Into<Box<str>>) -> Self {
        Self::from_parts(
            self.0.provider.clone(),
            self.0.subject.clone(),
            Some(connection.into()),
        )
    }

    pub(crate) fn from_parts(
        provider: Box<str>,
        subject: Box<str>,
        connection: Option<Box<str>>,
    ) -> Self {
        // Ids come from outside: a seed of this process keeps anyone from choosing
        // ids that collide.
        static SEED: OnceLock<RandomState> = OnceLock::new();
        let seed = SEED.get_or_init(RandomState::default);
        let hash = seed.hash_one((&provider, &subject, &connection));
        Self(Arc::new(Parts {
            hash,
            provider,
            subject,
            connection,
        }))
    }

    /// The name of the provider.
    pub fn provider(&self) -> &str {
        &self.0.provider
    }

    /// Your id of the user.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Which of the user's connections to this provider, if there can be several.
    pub fn connection(&self) -> Option<&str> {
        self.0.connection.as_deref()
    }
}

impl PartialEq for GrantKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash
                && self.0.subject == other.0.subject
                && self.0.provider == other.0.provider
                && self.0.connection == other.0.connection)
    }
}

impl Eq for GrantKey {}

impl Hash for GrantKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantKey")
            .field("provider", &self.0.provider)
            .field("subject", &"[redacted]")
            .field(
                "connection",
                &self.0.connection.as_ref().map(|_| "[redacted]"),
            )
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
