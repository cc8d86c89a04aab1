//! The wire: frames, methods, field tables, content headers. Decoders borrow from the input, never
//! panic, never index unchecked and never allocate by a length that the input does not cover.
//!
//! # Layout
//! - [`wire`]: the cursor and the traits that everything below is built from
//! - [`frame`]: cutting the byte stream into frames
//! - [`field`]: field tables and arrays, RabbitMQ's types
//! - [`method`]: any method, by its class and method number
//! - [`properties`]: the content header of class basic
//! - [`content`]: header and body of a message that lies whole in the input
//! - one file per class: [`connection`], [`channel`], [`access`], [`exchange`], [`queue`], [`basic`],
//!   [`tx`], [`confirm`]

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod access;
pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod content;
pub mod exchange;
pub mod field;
pub mod frame;
pub mod method;
pub mod properties;
pub mod queue;
pub mod tx;
pub mod wire;

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

pub use field::RawTable;
pub use frame::{Frame, FrameError, Split};
pub use method::Method;
pub use properties::Properties;
pub use wire::{MethodArguments, Reader, WireError};
