//! The folder that outlives the process: the grants, and the keys that seal them and the cookies.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use axum_extra::extract::cookie::Key;
use examples::private::{private_folder, write_private};
use tower_token::KeyRing;

/// The data folder of one provider, so that users of two never meet.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Opens the folder of `provider` in the one at `path`, or makes it.
    pub(crate) fn open(path: &Path, provider: &str) -> Result<Self, Box<dyn Error>> {
        let name: String = form_urlencoded::byte_serialize(provider.as_bytes()).collect();
        let path = path.join(name);
        let made = private_folder(&path);
        made.map_err(|error| format!("the data folder {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the grants are sealed.
    pub(crate) fn grants(&self) -> PathBuf {
        self.0.join("grants")
    }

    /// The outer key, made at the first start. Beside the grants it protects nobody: a service
    /// of yours keeps it elsewhere.
    pub(crate) fn key_ring(&self) -> Result<KeyRing, Box<dyn Error>> {
        let path = self.0.join("key");
        if !path.exists() {
            write_private(&path, KeyRing::generate()?.encode().expose().as_bytes())?;
        }
        Ok(KeyRing::from_file(&path)?)
    }

    /// What the cookies are sealed by: whoever is signed in stays so after a restart.
    pub(crate) fn cookie_key(&self) -> Result<Key, Box<dyn Error>> {
        let path = self.0.join("cookie-key");
        if !path.exists() {
            write_private(&path, Key::generate().master())?;
        }
        Ok(Key::try_from(fs::read(path)?.as_slice())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_for_each_provider() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new");
        let kept = |provider: &str| {
            let folder = Folder::open(&path, provider).unwrap();
            let (ring, key) = (folder.key_ring().unwrap(), folder.cookie_key().unwrap());
            (ring.encode().expose().to_owned(), key.master().to_vec())
        };
        let first = kept("https://a.example/");
        assert_eq!(kept("https://a.example/"), first);
        assert_ne!(kept("https://a.example"), first);
    }
}
