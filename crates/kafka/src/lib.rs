//! Kafka's protocol, without I/O.
//!
//! This crate knows the wire and nothing else: what a topic does with a batch is the broker's business. It never opens a
//! socket, reads a clock or rolls dice; bytes and time come in by the door.
//!
//! # Layout
//! - [`codec`]: headers, requests and responses of every version served, both directions, borrowed

pub mod codec;
