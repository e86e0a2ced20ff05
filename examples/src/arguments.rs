//! What the programs with a page take on their command lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A port; `name` is what it was given as.
pub fn a_port(name: &str, text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("{name} takes a number up to 65535, and {text} is none"))
}

/// How long access tokens live: shorter than `least` seconds, nobody sees what happens.
pub fn a_lifetime(least: u64, text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (least..=86_400).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("--access-ttl takes {least} to 86400 seconds, not {text}"))
}

/// Within the workspace, wherever one stands in it; `cargo clean` takes it away, too.
pub fn default_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
        .join("target")
        .join(name)
}
