//! Kafka's protocol, without I/O.
//!
//! What a topic does with a batch is the broker's business; this crate asks for it. It never opens a
//! socket, reads a clock or rolls dice; bytes and time come in by the door.
//!
//! # Layout
//! - [`client`]: the other end of the wire, for the command line, the load generator and the tools
//! - [`codec`]: headers, requests and responses of every version served, both directions, borrowed
//! - [`session`]: one connection: what is asked of the broker for a request, and how its answers are told

pub mod client;
pub mod codec;
pub mod session;

pub use session::{Ends, KafkaSession, SessionOptions};
