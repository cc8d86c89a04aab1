//! A data directory verified offline: every frame, every checkpoint, every segment.

use broker::Broker;
pub use storage::Finding;
use vfs::Vfs;

/// Where a node's files lie, below its disk's root. It looks at nothing else there.
pub const DIRECTORIES: [&str; 3] = ["journal", "checkpoint", "segments"];

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub files: u64,
    pub bytes: u64,
    pub records: u64,
}

/// The directory could not be read at all.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CheckError(#[from] storage::OpenError);

/// Verify everything below the data directory; `report` hears of each finding.
///
/// # Errors
/// [`CheckError`] where files cannot be read, or another version wrote them.
pub fn check(vfs: &mut dyn Vfs, report: &mut dyn FnMut(Finding)) -> Result<Summary, CheckError> {
    let found = Broker::verify(vfs, report)?;
    Ok(Summary { files: found.files, bytes: found.bytes, records: found.records })
}
