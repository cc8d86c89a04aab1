//! One broker without sockets: sessions by protocol, the broker, and the disk, turned by whoever owns the loop.
//!
//! A roof (the server, or the simulator) hands in bytes and the time and takes out bytes; everything that
//! needs a disk goes through [`vfs::Vfs`]. A node never blocks, never reads a clock and starts no thread.
//!
//! # Layout
//! - [`node`]: the turn of the wheel
//! - [`sessions`]: connections and their output
//! - [`greeting`]: what a connection's first bytes look like
//! - [`lengths`]: how long the core is busy at a stretch, and with what
//! - [`check`]: a data directory verified offline

mod check;
mod greeting;
mod lengths;
mod node;
mod sessions;
#[cfg(test)]
mod tests;

pub use broker::GroupOptions;
pub use broker::TopicOptions;
pub use broker::User;
pub use check::{CheckError, DIRECTORIES, Finding, Summary, check};
pub use kafka::SessionOptions as KafkaOptions;
pub use lengths::{Histogram, Longest, Statistics as LengthStatistics};
pub use node::{Node, NotDurable, Options, Statistics};
pub use sessions::{Peer, Protocol};
pub use storage::{OpenError, Stopped};
