//! A data directory verified offline: every frame, every checkpoint, every segment.

use broker::Broker;
use vfs::Vfs;

/// Where a node's files lie, below its disk's root. It looks at nothing else there.
pub const DIRECTORIES: [&str; 3] = ["journal", "checkpoint", "segments"];

/// Something that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The damaged file, or the directory in which one is missing, below the data directory.
    pub path: String,
    pub what: String,
}

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
/// [`CheckError`] where files cannot be read.
pub fn check(vfs: &mut dyn Vfs, report: &mut dyn FnMut(Finding)) -> Result<Summary, CheckError> {
    let found = Broker::verify(vfs, &mut |path, what| report(Finding { path, what }))?;
    Ok(Summary { files: found.files, bytes: found.bytes, records: found.records })
}
