//! `yam bench amqp`: AMQP 0-9-1.
//!
//! # Layout
//! - [`options`]: the flags
//! - [`wire`]: a blocking connection for the cold parts, and the bytes of the methods that are sent
//! - [`reader`]: walks through incoming frames by their headers, without copying a body
//! - [`producer`], [`consumer`]: the two hot ends, one connection each
//! - [`topology`]: the queues and the exchange of a run
//! - [`idle`]: what an idle queue or connection costs the broker

mod consumer;
mod idle;
pub mod options;
mod producer;
mod reader;
mod topology;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Result;

use super::engine::{Engine, Producer as _, Title};
use super::ledger::{Ledger, Verdict};
use super::summary::{self, Summary};
use crate::cli::dial::{allow_many_sockets, now};
use consumer::Consumer;
use options::Options;
use producer::Producer;
use wire::Connection;

/// Runs what the options ask for and prints its summary.
pub fn run(options: &Options) -> Result<()> {
    options.validate()?;
    if options.idle_queues > 0 || options.idle_connections > 0 {
        return idle::run(options);
    }
    allow_many_sockets();
    let mut admin = Connection::open(&options.url, options.load.connect_timeout())?;
    topology::declare(&mut admin, options)?;
    let mut options = options.clone();
    if options.load.producers == 0 && options.load.count.is_none() {
        options.load.count = Some(topology::count_held(&mut admin, &options)?);
    }
    let result = load(&options, &mut admin);
    if !options.load.keep {
        // After a failure the broker may be gone; then the failure is what matters.
        let removed = topology::remove(&mut admin, &options);
        if result.is_ok() {
            removed?;
        }
    }
    result?.print(&options.load)
}

fn load(options: &Options, admin: &mut Connection) -> Result<Summary> {
    let open = || Connection::open(&options.url, Duration::ZERO);
    let producers = (0..options.load.producers).map(|index| Producer::new(open()?, index, options));
    let producers = producers.collect::<Result<Vec<_>>>()?;
    let consumers = (0..options.load.consumers).map(|index| Consumer::new(open()?, index, options));
    let consumers = consumers.collect::<Result<Vec<_>>>()?;
    let ledger = Ledger::new(options.load.producers, options.queue_count());
    let engine = Engine::new(&options.load, options.copies(), ledger, producers, consumers)?;
    let title = Title {
        broker: format!("{} {}", admin.product, admin.version),
        place: options.url.place(),
        fsync_state: if options.transient && options.load.fsync_state.is_none() {
            "none: transient messages".to_owned()
        } else {
            summary::fsync_state(&options.load, admin.product.eq_ignore_ascii_case("yam"))
        },
        load: describe(options),
    };
    engine.measure(title, |engine| verify(engine, options, admin))
}

/// With consumers the ledger tells; without, the broker is asked how many messages the queues hold.
fn verify(engine: &Engine<'_, Producer, Consumer>, options: &Options, admin: &mut Connection) -> Result<Verdict> {
    if !engine.consumers.is_empty() {
        let refused = engine.refused() > 0;
        // A refused message has no number that is known here, so only gaps within what came would be wrong to report.
        let known = !engine.producers.is_empty() && !options.load.reuse && !refused;
        let reaches = |producer: usize, queue: usize| options.fan_out > 0 || producer % options.queues == queue;
        let mut verdict = engine.ledger.verdict(|producer, queue| {
            known.then(|| if reaches(producer, queue) { engine.producers[producer].counts().published } else { 0 })
        });
        if refused {
            verdict.lost = 0;
        }
        return Ok(verdict);
    }
    if options.load.reuse {
        return Ok(Verdict::default());
    }
    let expected = engine.accepted() * options.copies();
    let mut held = 0;
    let (mut moved_at, mut last) = (now(), 0);
    // Without confirms the last publishes may still be on their way into the queues.
    while held != expected && now() - moved_at < Duration::from_secs(10).min(options.load.stall_timeout()) {
        held = topology::count_held(admin, options)?;
        if held != last {
            (moved_at, last) = (now(), held);
        }
    }
    Ok(Verdict { lost: expected.saturating_sub(held), duplicated: held.saturating_sub(expected), ..Verdict::default() })
}

/// The load in one line.
fn describe(options: &Options) -> String {
    let load = &options.load;
    let mut parts = vec![format!("{} B {}", load.size, if options.transient { "transient" } else { "persistent" })];
    parts.push(format!("{} producers, {} consumers, {} queues", load.producers, load.consumers, options.queue_count()));
    if options.fan_out > 0 {
        parts.push(format!("fan-out 1 to {}", options.fan_out));
    }
    parts.push(match options.window() {
        0 => "no confirms".to_owned(),
        window => format!("confirm window {window}"),
    });
    if load.consumers > 0 {
        parts.push(match options.ack_every() {
            0 => "automatic acks".to_owned(),
            every => format!("acks every {every}, prefetch {}", options.prefetch),
        });
    }
    parts.extend(summary::describe(load));
    parts.join(", ")
}
