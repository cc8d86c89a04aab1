//! The tokens of the journal's jobs: the top byte names the journal, the lowest the kind of job.

pub(crate) const OWNER: u64 = 0x4A << 56;
pub(crate) const OWNER_MASK: u64 = 0xFF << 56;
pub(crate) const WRITE: u64 = OWNER | 1;
pub(crate) const ALLOCATE: u64 = OWNER | 2;
pub(crate) const HEADER: u64 = OWNER | 3;
pub(crate) const REMOVE: u64 = OWNER | 4;
