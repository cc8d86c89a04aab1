//! The simulator: the real broker, storage and journal over a false disk, network and clock, all from one seed.
//!
//! A seed says everything: what the clients do, which bytes arrive when, what the disk forgets. Two runs of one seed
//! are the same, so a failure can be looked at again and again. This crate never touches a real disk, socket or
//! clock, and knows nothing of the broker's inside: clients speak AMQP and Kafka, and the checkers hear what clients hear.
//!
//! # Layout
//! - [`run`]: one seed, or many
//! - [`plan`]: what one seed's world looks like
//! - [`world`]: the heart: node, network, disk, clients, faults, time
//! - [`wire`]: a connection's bytes on their way
//! - [`connection`]: one AMQP client's connection
//! - [`workload`]: what clients do next
//! - [`kafka`]: clients that speak Kafka, and what must hold for them
//! - [`audit`]: looking at everything from outside, after a restart and at the end
//! - [`message`]: messages whose every byte follows from their number
//! - [`disk`]: the false disk, watched
//! - [`checker`]: the model of what clients know, and what must hold
//! - [`trace`], [`figures`]: what happened

pub mod audit;
pub mod checker;
pub mod connection;
pub mod disk;
pub mod figures;
pub mod kafka;
pub mod message;
pub mod plan;
pub mod run;
pub mod trace;
pub mod wire;
pub mod workload;
pub mod world;
