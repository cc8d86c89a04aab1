//! How a journal is kept.

use model::limits;

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Positions per file. A multiple of 4096, and more than the largest frame.
    pub segment_bytes: u64,
    /// Files that nobody needs any more, kept to be used again: making a new one costs a disk more than filling it.
    pub spare_files: usize,
    /// Memory for the blocks written last, buffers to be used again, and what is read back (half of it at most).
    pub cache_bytes: usize,
    /// Sync before `durable` climbs. `false` is the relaxed mode: a power loss may take what was confirmed.
    pub sync: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: limits::JOURNAL_SEGMENT_BYTES, spare_files: 6, cache_bytes: 32 * 1024 * 1024, sync: true }
    }
}
