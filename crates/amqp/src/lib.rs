//! AMQP 0-9-1 as RabbitMQ speaks it, with its extensions, as a state machine without I/O.
//!
//! A session turns bytes into [`model::Request`]s and [`model::Event`]s into bytes. It knows the
//! protocol and nothing else: what a queue does with a message is the broker's business. It never
//! opens a socket, reads a clock or rolls dice; bytes, time and a seed come in by the door.
//!
//! # Layout
//! - [`codec`]: frames, methods, field tables and content headers, both directions, borrowed
//! - [`session`]: one connection as [`model::Session`]: handshake, channels, publishing, deliveries
//! - `dead_letter`: a dead letter as RabbitMQ shows it
//! - `stream`: a record of a stream, whoever wrote it
//! - [`translate`]: how an AMQP message lies in a record, and how a record becomes an AMQP message
//! - [`client`]: the other end of the wire, for the simulator, the command line and the benchmarks

pub mod client;
pub mod codec;
mod dead_letter;
pub mod session;
mod stream;
pub mod translate;

pub use session::{AmqpSession, SessionOptions};
