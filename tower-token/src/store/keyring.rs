//! The outer keys: what has to come from outside the store.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::seal::Key;
use crate::error::{Error, ErrorKind};
use crate::secret::Secret;

/// What is read of a key file, in bytes: some ninety keys.
const MAX_FILE: usize = 4_096;

/// The outer keys that open a store.
///
/// An outer key wraps the store's own keys and nothing else. The first of a ring
/// wraps, the others still unwrap what they wrapped before. Without the key that a
/// store was made with, nothing starts, and nothing in the store can be read again:
/// keep a copy of it apart from the store.
///
/// As text a key is 32 bytes in base64; several are separated by commas or white
/// space. `openssl rand -base64 32` makes one, and so does [`generate`](Self::generate).
///
/// ```
/// use tower_token::KeyRing;
///
/// let ring = KeyRing::generate()?;
/// let kept = ring.encode();
/// assert_eq!(format!("{ring:?}"), "KeyRing { keys: 1 }");
/// # let _ = kept;
/// # Ok::<(), tower_token::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyRing {
    pub(super) keys: Vec<Key>,
}

impl KeyRing {
    /// A ring of one new random key. Keep it, or the store cannot be opened again.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self {
            keys: vec![Key::random()?],
        })
    }

    /// A ring of one key.
    pub fn from_bytes(key: [u8; 32]) -> Result<Self, Error> {
        Self::new(vec![Key::new(&Zeroizing::new(key))])
    }

    /// This ring's keys first, then those of `older`: what a store is opened with while its
    /// outer key is changed.
    ///
    /// ```
    /// use tower_token::KeyRing;
    ///
    /// let (new, old) = (KeyRing::generate()?, KeyRing::generate()?);
    /// let ring = new.with_older(old)?;
    /// # let _ = ring;
    /// # Ok::<(), tower_token::Error>(())
    /// ```
    pub fn with_older(mut self, older: Self) -> Result<Self, Error> {
        self.keys.extend(older.keys);
        Self::new(self.keys)
    }

    /// The keys in an environment variable.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), tower_token::Error> {
    /// let ring = tower_token::KeyRing::from_env("TOWER_TOKEN_KEYS")?;
    /// # let _ = ring;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_env(variable: &str) -> Result<Self, Error> {
        let text = std::env::var(variable).map(Zeroizing::new).map_err(|_| {
            key_error(format!(
                "the environment variable {variable} holds no key: set it to 32 random bytes in \
                 base64 (openssl rand -base64 32) and keep a copy"
            ))
        })?;
        Self::decode(&text, variable)
    }

    /// The keys in a regular file: what waits for a writer, such as a pipe, is refused. On Unix
    /// so is a file that others than its owner can read; on Windows its access list is yours
    /// to set.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let failed = |error: std::io::Error| {
            Error::with_source(
                ErrorKind::Key,
                format!("the key file {name} cannot be read"),
                error,
            )
        };
        // Looked at before, since to open a pipe is to wait for its writer.
        is_regular(&std::fs::metadata(path).map_err(failed)?, &name)?;
        // Checked once it is open: what is read is what was checked.
        let file = std::fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        is_regular(&metadata, &name)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = metadata.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(key_error(format!(
                    "the key file {name} can be read by others than its owner: chmod 600 it"
                )));
            }
        }
        // All at once, since a buffer that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_FILE + 1));
        file.take(MAX_FILE as u64 + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() > MAX_FILE {
            return Err(key_error(format!(
                "the key file {name} is longer than {MAX_FILE} bytes: it is to hold keys alone"
            )));
        }
        Self::decode(&text, &name)
    }

    /// The ring as text, for a secret manager or a file of your own.
    pub fn encode(&self) -> Secret {
        let mut text = String::with_capacity(self.keys.len() * 45);
        for key in &self.keys {
            if !text.is_empty() {
                text.push(',');
            }
            STANDARD.encode_string(key.as_bytes(), &mut text);
        }
        Secret::from(text)
    }

    /// The key that wraps.
    pub(super) fn first(&self) -> Result<&Key, Error> {
        let first = self.keys.first();
        first.ok_or_else(|| key_error(String::from("the key ring holds no key")))
    }

    fn decode(text: &str, origin: &str) -> Result<Self, Error> {
        let words = text
            .split([',', '\n', '\r', ' ', '\t'])
            .filter(|word| !word.is_empty());
        let mut keys = Vec::new();
        for (position, word) in words.enumerate() {
            keys.push(decode_key(word).ok_or_else(|| {
                key_error(format!(
                    "key {} of {origin} is not 32 bytes in base64",
                    position + 1
                ))
            })?);
        }
        if keys.is_empty() {
            return Err(key_error(format!("{origin} holds no key")));
        }
        Self::new(keys)
    }

    fn new(keys: Vec<Key>) -> Result<Self, Error> {
        if keys.iter().any(Key::is_weak) {
            return Err(key_error(String::from(
                "a key of equal bytes is no key: use 32 random bytes (openssl rand -base64 32)",
            )));
        }
        for (position, key) in keys.iter().enumerate() {
            if keys[..position].iter().any(|other| other.id() == key.id()) {
                return Err(key_error(format!("key {} stands twice", position + 1)));
            }
        }
        Ok(Self { keys })
    }
}

fn decode_key(word: &str) -> Option<Key> {
    let word = word.trim_end_matches('=');
    // A longer text does not fit, or leaves more than a key: either way it is none.
    let mut bytes = Zeroizing::new([0; 36]);
    let standard = STANDARD_NO_PAD.decode_slice(word, &mut *bytes);
    let len = standard
        .or_else(|_| URL_SAFE_NO_PAD.decode_slice(word, &mut *bytes))
        .ok()?;
    (len == 32).then(|| bytes.first_chunk().map(Key::new))?
}

fn is_regular(metadata: &std::fs::Metadata, name: &str) -> Result<(), Error> {
    if metadata.is_dir() {
        return Err(key_error(format!(
            "{name} is a folder: name the key file in it"
        )));
    }
    if !metadata.is_file() {
        return Err(key_error(format!(
            "{name} is no regular file: read what it brings yourself, for `KeyRing::from_bytes`"
        )));
    }
    Ok(())
}

fn key_error(message: String) -> Error {
    Error::new(ErrorKind::Key, message)
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("keys", &self.keys.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let error = KeyRing::decode(text, "KEYS").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        error.to_string()
    }

    #[test]
    fn a_ring_reads_what_it_wrote() {
        let ring = KeyRing::generate().unwrap();
        let text = ring.encode();
        let again = KeyRing::decode(&format!(" {}\n", text.expose()), "KEYS").unwrap();
        assert_eq!(ring.keys[0].id(), again.keys[0].id());
    }

    #[test]
    fn a_bad_key_is_named_and_not_shown() {
        let (one, two) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let (one, two) = (one.encode(), two.encode());
        let (one, two) = (one.expose(), two.expose());
        assert!(KeyRing::decode(&format!("{one},{two}"), "KEYS").is_ok());
        assert!(problem("").contains("KEYS holds no key"));
        assert!(problem(&format!("{one},short")).contains("key 2 of KEYS"));
        assert!(!problem(&format!("{one},{}", &two[4..])).contains(&two[4..]));
        assert!(problem(&format!("{one},{one}")).contains("stands twice"));
        assert!(problem(&STANDARD.encode([0; 32])).contains("equal bytes"));
    }

    #[test]
    fn a_key_that_is_not_there_is_a_key_error_that_says_where() {
        let variable = "TOWER_TOKEN_A_VARIABLE_THAT_NOBODY_SETS";
        let error = KeyRing::from_env(variable).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains(variable), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = KeyRing::from_file(folder.path().join("no-such.key")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("no-such.key"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_ring_of_two_wraps_by_the_first_and_has_none_twice() {
        let (new, old) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let ring = new.clone().with_older(old).unwrap();
        assert_eq!(ring.first().unwrap().id(), new.keys[0].id());
        let error = ring.with_older(new).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("key 3 stands twice"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, KeyRing::generate().unwrap().encode().expose()).unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o640);
        let error = KeyRing::from_file(&file).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        mode(0o600);
        assert!(KeyRing::from_file(&file).is_ok());
    }

    #[test]
    fn no_key_of_a_file_is_left_out_and_a_folder_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = KeyRing::from_file(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("is a folder"), "{error}");
        #[cfg(unix)]
        {
            let error = KeyRing::from_file("/dev/zero").unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }

        // What is read of it ends where a key ends.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let keys = (0..92).map(|_| KeyRing::generate().unwrap().encode());
        let keys: Vec<_> = keys.map(|key| key.expose().to_owned()).collect();
        std::io::Write::write_all(&mut file, format!(" {}", keys.join(",")).as_bytes()).unwrap();
        let error = KeyRing::from_file(&file).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        let fits = &keys[..91].join(",");
        std::fs::write(&file, fits).unwrap();
        assert_eq!(KeyRing::from_file(&file).unwrap().keys.len(), 91);
    }
}
