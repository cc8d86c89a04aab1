//! `yam bench`: load for a broker, and what came of it.
//!
//! The generator speaks the wire itself, through raw sockets and one thread: it shares the machine with the broker that it
//! measures, so what it costs per message must be far below what any broker costs. It knows nothing of Yam and runs unchanged
//! against every broker of the protocol; the `bench` crate does just that.
//!
//! # Layout
//! - [`load`]: the flags of every load
//! - [`engine`]: the event loop and its phases: fill, warm up, measure, drain, verify; what a protocol's connections must do
//! - [`amqp`], [`kafka`]: the protocols
//! - [`ledger`]: what was published and delivered, so that loss, duplicates and disorder show
//! - [`process`], [`summary`]: a broker's CPU and memory; the result, for people and as JSON

mod amqp;
mod engine;
mod kafka;
mod ledger;
mod load;
mod process;
mod summary;

use clap::{Args, Subcommand};

/// Loads a broker and reports rates, latencies, and what the broker spent on it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// AMQP 0-9-1: publish, confirm, deliver, acknowledge
    ///
    /// Works against Yam and against any other AMQP 0-9-1 broker. Without options: one producer and one consumer, 1 KiB
    /// persistent messages through one durable queue, 1,000 publishes awaiting their confirms, acks in hundreds.
    Amqp(Box<amqp::options::Options>),
    /// Kafka: produce, fetch
    ///
    /// Works against Yam and against any other broker that speaks Kafka's protocol. Without options: one producer and one
    /// consumer, 1 KiB records, one partition, batches of 16 KiB, acks=all, five requests in flight.
    Kafka(Box<kafka::options::Options>),
}

/// Runs the load that the arguments ask for and prints its summary on stdout.
///
/// # Errors
/// When the options contradict each other, the broker cannot be reached or closes a connection, or when a message was
/// lost, duplicated, invented or delivered out of order.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.protocol {
        Protocol::Amqp(options) => amqp::run(&options),
        Protocol::Kafka(options) => kafka::run(&options),
    }
}
