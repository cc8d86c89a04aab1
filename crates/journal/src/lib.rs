//! The one write-ahead log of a node: where every durable change goes first, in one order.
//!
//! [`Journal::append`] takes a frame at once and says where it lies ([`Lsn`](model::Lsn)); while one group
//! of frames is being written and synced the next gathers; [`Journal::durable`] climbs. The journal does
//! no I/O: it hands jobs to [`vfs::Vfs`] in [`Journal::poll`] and hears of them in [`Journal::completed`].
//! After a restart [`recover`] reads everything back and tells a torn tail from corruption. It never knows what
//! its frames mean, never retries a failed write, never rewrites a confirmed sector with other bytes.
//!
//! # Layout
//! - [`mod@frame`]: frames and blocks, byte by byte
//! - [`mod@file`]: a file's name and header
//! - [`writer`]: the heart: append, group commit, the durable mark
//! - [`options`], [`token`]: how it is kept; the names of its jobs
//! - [`files`]: the files behind it: allocated ahead, retired, recycled
//! - [`start`]: the first file of a new incarnation
//! - [`cache`]: recent blocks and cold reads in memory
//! - [`recovery`]: from files to frames; torn or corrupt
//! - [`fuzz`]: recovery from any bytes

mod cache;
pub mod file;
mod files;
pub mod frame;
pub mod fuzz;
mod options;
mod recovery;
mod start;
mod token;
mod writer;

pub use cache::StoredBytes;
pub use file::JournalFile;
pub use options::Options;
pub use recovery::{Entry, RecoverError, Recovered, Writer, known_version, recover, survey};
pub use start::OpenError;
pub use writer::{Appended, Journal, Poisoned};

#[cfg(test)]
mod tests;
