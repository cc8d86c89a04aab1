//! `yam bench kafka`: Kafka's protocol, as its clients speak it by default: batches of 16 KiB, acks=all, idempotent, five
//! requests in flight, fetch sessions. Consumers read the partitions they are given and form no group.
//!
//! # Layout
//! - [`options`]: the flags
//! - [`batch`]: record batches, encoded once
//! - [`producer`], [`consumer`]: the two hot ends, one connection each
//! - [`topic`]: the topic of a run

mod batch;
mod consumer;
pub mod options;
mod producer;
#[cfg(test)]
mod tests;
mod topic;

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Result;
use kafka::client::Frames;
use mio::net::TcpStream;

use super::engine::{Engine, Title};
use super::ledger::{Ledger, Verdict};
use super::summary::{self, Summary};
use crate::cli::dial::{allow_many_sockets, explain};
use crate::cli::kafka::{EARLIEST, Link};
use consumer::Consumer;
use options::Options;
use producer::Producer;

/// Runs what the options ask for and prints its summary.
pub fn run(options: &Options) -> Result<()> {
    options.validate()?;
    allow_many_sockets();
    let mut admin = Link::open(&options.at.kafka, options.load.connect_timeout())?;
    topic::make(&mut admin, options)?;
    let mut options = options.clone();
    if options.load.producers == 0 && options.load.count.is_none() {
        options.load.count = Some(topic::count_held(&mut admin, &options)?);
    }
    let result = load(&options, &mut admin);
    if !options.load.keep {
        // After a failure the broker may be gone; then the failure is what matters.
        let removed = topic::delete(&mut admin, &options);
        if result.is_ok() {
            removed?;
        }
    }
    result?.print(&options.load)
}

fn load(options: &Options, admin: &mut Link) -> Result<Summary> {
    let cluster = topic::cluster_id(admin)?;
    let title = Title {
        fsync_state: fsync_state(options, admin)?,
        broker: format!("cluster {cluster}"),
        place: options.at.kafka.to_string(),
        load: describe(options),
    };
    let starts = topic::offsets(admin, options, EARLIEST)?;
    let open = || Link::open(&options.at.kafka, Duration::ZERO);
    let producers = (0..options.load.producers).map(|index| Producer::new(open()?, index, options));
    let producers = producers.collect::<Result<Vec<_>>>()?;
    let consumers = (0..options.load.consumers).map(|index| Consumer::new(open()?, index, options, &starts));
    let consumers = consumers.collect::<Result<Vec<_>>>()?;
    let ledger = Ledger::new(options.load.producers, options.partitions as usize);
    let engine = Engine::new(&options.load, 1, ledger, producers, consumers)?;
    engine.measure(title, |engine| verify(engine, options, admin))
}

/// What comes before an answer: the topic says how many messages it may hold unsynced.
fn fsync_state(options: &Options, admin: &mut Link) -> Result<String> {
    if options.acks == options::Acks::None && options.load.fsync_state.is_none() {
        return Ok("acks=0: nothing is promised".to_owned());
    }
    if options.load.fsync_state.is_some() {
        return Ok(summary::fsync_state(&options.load, false));
    }
    Ok(match topic::flush_messages(admin, options)? {
        Some(1) => "fsync before each answer (flush.messages=1)".to_owned(),
        Some(messages) if messages < i64::MAX as u64 => format!("fsync every {messages} messages of a partition"),
        Some(_) => "an answer does not wait for any fsync (flush.messages at its default)".to_owned(),
        None => summary::fsync_state(&options.load, false),
    })
}

/// Who this is, in every request.
const CLIENT_ID: &str = "yam bench";

/// The socket, for the event loop.
fn unblocked(link: Link) -> Result<TcpStream> {
    let stream = link.into_stream();
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}

/// One read of a socket that does not block; returns whether there may be more.
fn receive(frames: &mut Frames, stream: &mut TcpStream) -> Result<bool> {
    match frames.read(stream) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        outcome => outcome.map_err(explain),
    }
}

/// With consumers the ledger tells; without, the broker is asked how many messages the topic holds.
fn verify(engine: &Engine<'_, Producer, Consumer>, options: &Options, admin: &mut Link) -> Result<Verdict> {
    if !engine.consumers.is_empty() {
        let known = !engine.producers.is_empty() && !options.load.reuse;
        return Ok(engine.ledger.verdict(|producer, partition| known.then(|| engine.producers[producer].sent(partition))));
    }
    if options.load.reuse {
        return Ok(Verdict::default());
    }
    let (expected, held) = (engine.accepted(), topic::count_held(admin, options)?);
    Ok(Verdict { lost: expected.saturating_sub(held), duplicated: held.saturating_sub(expected), ..Verdict::default() })
}

/// The load in one line.
fn describe(options: &Options) -> String {
    let load = &options.load;
    let mut parts = vec![
        format!("{} B", load.size),
        format!("{} producers, {} consumers, {} partitions", load.producers, load.consumers, options.partitions),
    ];
    if load.producers > 0 {
        let idempotent = if options.idempotent() { ", idempotent" } else { "" };
        let batch = if load.latency { "batches of one record".to_owned() } else { format!("batches of {} B", options.batch) };
        parts.push(format!("{batch}, acks={}{idempotent}, {} requests in flight", options.acks, options.window()));
    }
    if load.consumers > 0 {
        parts.push(format!("fetches of {} B, {} B of a partition", options.fetch, options.partition_fetch));
    }
    parts.extend(summary::describe(load));
    parts.join(", ")
}
