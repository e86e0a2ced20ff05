//! The resident set of this process, as Linux tells it.

use std::fs;

use crate::BoxError;

const STATUS: &str = "/proc/self/status";

/// Whether it can be known here.
pub fn is_known() -> bool {
    size("VmHWM").is_ok() && forget_peak().is_ok()
}

/// Lets the peak begin anew, at what there is now.
pub fn forget_peak() -> Result<(), BoxError> {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

/// The peak, in KiB.
pub fn peak() -> Result<usize, BoxError> {
    size("VmHWM")
}

fn size(name: &str) -> Result<usize, BoxError> {
    let status = fs::read_to_string(STATUS)?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().ok());
    kib.ok_or_else(|| format!("no {name} in {STATUS}").into())
}
