//! Logs cut out of the journal: where every record lies, which are settled, and how the old ones
//! move out of the journal's way.
//!
//! A log is a run of records with offsets. New records lie in the journal (persistent) or in the
//! arena (transient); what stays unsettled for long is moved into segment files per log or carried
//! forward in the journal, so that the journal can be cut. State = fold(checkpoint, later frames).
//! This crate never does I/O itself (jobs go to `vfs`), never decides who gets a record, and knows
//! nothing of exchanges and queues.
//!
//! # Layout
//! - [`store`]: the heart: logs, appends, settles, and what it asks of the disk
//! - [`reading`]: where a record is, and reads of what is not in memory
//! - [`log`]: one log as a sequence of runs of entries
//! - [`stream`]: logs that are read by record offset
//! - [`arena`]: transient records in memory
//! - [`frame`]: what the store writes into the journal, byte by byte
//! - [`segment`]: a log's older records as a file of their own
//! - [`paging`]: evacuation: page out, carry forward, cut
//! - [`checkpoint`]: the state at one position, as a file
//! - [`recovery`]: from files to state
//! - [`verify`]: every file looked at, every damage named
//! - [`fuzz`]: the readers on any bytes

mod arena;
mod checkpoint;
pub mod frame;
pub mod fuzz;
mod log;
mod paging;
mod reading;
mod recovery;
mod segment;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

pub use frame::{LogId, Tag};
pub use reading::{Available, RecordRef, Wanted};
pub use recovery::{OpenError, Recovery};
pub use store::{Options, Sizes, Statistics, Stopped, Store};
pub use stream::{Batch, BatchAppended, Sought, Stretch};
pub use verify::{Finding, Verified, verify};
