//! Kafka's half of the world: producers, readers and groups that speak the real protocol to the same node.
//!
//! Each client keeps what it is about over crashes, as a program does that only loses its connection: an idempotent
//! producer sends again what was not answered, with the same sequence numbers; a transaction goes on, or is given up.
//!
//! # Layout
//! - [`plan`]: topics, and what each client is
//! - [`batch`]: record batches whose every byte follows from the numbers of their records
//! - [`ask`]: requests, as bytes
//! - [`connection`]: one connection, and what it waits for
//! - [`client`]: the clients' common part
//! - [`fetch_session`]: what a reader and the broker know of each other
//! - [`producer`], [`reader`], [`committer`], [`member`], [`owner`]: what they do next, and what they make of the answers
//! - [`checker`]: what must hold

pub mod ask;
pub mod batch;
pub mod checker;
pub mod client;
pub mod committer;
pub mod connection;
pub mod fetch_session;
pub mod member;
pub mod owner;
pub mod plan;
pub mod producer;
pub mod reader;

pub use checker::Model;
pub use client::Client;
pub use plan::Plan;
