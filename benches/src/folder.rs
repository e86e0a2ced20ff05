//! Where stores are written that are measured.

use tempfile::TempDir;

use crate::BoxError;

/// A new folder on the disk that the sources are on: what is in memory need not be synced.
pub fn folder() -> Result<TempDir, BoxError> {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    std::fs::create_dir_all(target)?;
    Ok(tempfile::tempdir_in(target)?)
}
