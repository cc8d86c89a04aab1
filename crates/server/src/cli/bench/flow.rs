//! The event loop: one thread, all connections, and the phases of a run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mio::{Events, Interest, Poll, Token};

use super::consumer::Consumer;
use super::ledger::{Ledger, Verdict};
use super::options::Options;
use super::process::{self, Usage};
use super::producer::Producer;
use super::reader::READ_BUFFER_BYTES;
use super::summary::{self, Check, Latency, Summary};
use super::topology::{allow_many_sockets, count_held, declare, remove};
use super::wire::{Connection, now};

/// Longest wait for an event: how often progress is shown and time limits are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Sets the topology up, runs the load, checks and prints.
pub fn run(options: &Options) -> Result<()> {
    allow_many_sockets();
    let patience = Duration::from_secs_f64(options.connect_timeout);
    let mut admin = Connection::open(&options.url, patience)?;
    declare(&mut admin, options)?;
    let mut options = options.clone();
    if options.producers == 0 && options.count.is_none() {
        options.count = Some(count_held(&mut admin, &options)?);
    }
    let options = &options;
    let mut engine = Engine::new(options)?;
    let outcome = engine.run().and_then(|window| Ok((window, engine.verify(&mut admin)?)));
    engine.progress.finish_and_clear();
    let result = outcome.map(|((start, end), verdict)| (engine.summarise(&admin, &start, &end, verdict), verdict));
    engine.close();
    if !options.keep {
        // After a failure the broker may be gone; then the failure is what matters.
        let removed = remove(&mut admin, options);
        if result.is_ok() {
            removed?;
        }
    }
    let (summary, verdict) = result?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{summary}");
    }
    if !summary.check.clean {
        bail!("the account does not balance: {verdict:?}; the summary above has the numbers");
    }
    Ok(())
}

/// All counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Snapshot {
    at: Instant,
    published: u64,
    confirmed: u64,
    delivered: u64,
    broker: Usage,
    own_cpu_seconds: f64,
}

struct Engine<'a> {
    options: &'a Options,
    poll: Poll,
    events: Events,
    /// Tokens 0.. are the producers, the consumers follow.
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    buffer: Vec<u8>,
    ledger: Ledger,
    confirm_latency: Histogram<u64>,
    end_to_end_latency: Histogram<u64>,
    origin: Instant,
    published: u64,
    delivered: u64,
    turns: usize,
    progress: ProgressBar,
    shown: (Instant, u64, u64),
}

impl<'a> Engine<'a> {
    fn new(options: &'a Options) -> Result<Engine<'a>> {
        let poll = Poll::new()?;
        let mut producers = Vec::new();
        for index in 0..options.producers {
            let connection = Connection::open(&options.url, Duration::ZERO)?;
            let mut producer = Producer::new(connection, index, options)?;
            if let Some(count) = options.count {
                let share = count / options.producers as u64;
                producer.quota = share + u64::from((index as u64) < count % options.producers as u64);
            }
            poll.registry().register(&mut producer.stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            producers.push(producer);
        }
        let mut consumers = Vec::new();
        for index in 0..options.consumers {
            let connection = Connection::open(&options.url, Duration::ZERO)?;
            let mut consumer = Consumer::new(connection, index, options)?;
            let token = Token(options.producers + index);
            poll.registry().register(&mut consumer.stream, token, Interest::READABLE | Interest::WRITABLE)?;
            consumers.push(consumer);
        }
        let style = ProgressStyle::with_template("{spinner} [{elapsed}] {msg}").context("progress style")?;
        let origin = now();
        Ok(Engine {
            options,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            producers,
            consumers,
            buffer: vec![0; READ_BUFFER_BYTES],
            ledger: Ledger::new(options),
            confirm_latency: histogram()?,
            end_to_end_latency: histogram()?,
            origin,
            published: 0,
            delivered: 0,
            turns: 0,
            progress: ProgressBar::new_spinner().with_style(style),
            shown: (origin, 0, 0),
        })
    }

    /// Fill, warm up, measure, drain; returns the counters at both ends of the measured window.
    fn run(&mut self) -> Result<(Snapshot, Snapshot)> {
        if self.options.drain {
            self.until("filling", |engine| engine.published_all() && engine.settled())?;
        }
        for consumer in &mut self.consumers {
            consumer.subscribe(self.options)?;
        }
        let by_count = self.options.count.is_some();
        if !by_count {
            self.run_for("warming up", Duration::from_secs_f64(self.options.warm_up))?;
        }
        self.confirm_latency.reset();
        self.end_to_end_latency.reset();
        let start = self.snapshot()?;
        if by_count {
            self.until("measuring", Engine::complete)?;
        } else {
            self.run_for("measuring", Duration::from_secs_f64(self.options.duration))?;
        }
        let end = self.snapshot()?;
        for producer in &mut self.producers {
            producer.quota = producer.counts.published;
        }
        self.until("draining", Engine::complete)?;
        for consumer in &mut self.consumers {
            consumer.settle()?;
        }
        self.until("acknowledging", |engine| engine.consumers.iter().all(Consumer::is_flushed))?;
        Ok((start, end))
    }

    fn published_all(&self) -> bool {
        self.producers.iter().all(|producer| producer.counts.published >= producer.quota)
    }

    fn settled(&self) -> bool {
        self.producers.iter().all(Producer::is_settled)
    }

    /// Everything is published and settled, and everything that is to come has come.
    fn complete(&mut self) -> bool {
        let expected = match (self.consumers.is_empty(), self.producers.is_empty()) {
            (true, _) => 0,
            (false, true) => self.options.count.unwrap_or(0),
            (false, false) => {
                let refused: u64 = self.producers.iter().map(|p| p.counts.nacked + p.counts.returned).sum();
                self.published.saturating_sub(refused) * self.options.copies()
            }
        };
        self.published_all() && self.settled() && self.delivered >= expected
    }

    fn run_for(&mut self, phase: &'static str, duration: Duration) -> Result<()> {
        let deadline = now() + duration;
        self.until(phase, |_| now() >= deadline)
    }

    /// Turns until `done`, or until nothing has moved for too long: then the check tells what is missing.
    fn until(&mut self, phase: &'static str, mut done: impl FnMut(&mut Self) -> bool) -> Result<()> {
        let mut moved = (now(), self.activity());
        while !done(self) {
            self.turn()?;
            if self.turns.is_multiple_of(256) || self.events.is_empty() {
                self.show(phase);
                let activity = self.activity();
                if activity != moved.1 {
                    moved = (now(), activity);
                } else if now() - moved.0 > self.options.stall_timeout() {
                    return self.stalled(phase);
                }
            }
        }
        Ok(())
    }

    fn stalled(&self, phase: &str) -> Result<()> {
        let sum = |field: fn(&Producer) -> u64| self.producers.iter().map(field).sum::<u64>();
        let blocked = sum(|p| p.counts.blocked);
        // What is still missing at the end is for the check to name.
        if phase == "draining" {
            return Ok(());
        }
        let hint = if blocked > 0 { "; the broker has blocked publishers: it is short of disk or memory" } else { "" };
        bail!(
            "while {phase}, nothing has moved for {:?}: {} published, {} confirmed, {} nacked, {} delivered{hint}",
            self.options.stall_timeout(),
            self.published,
            sum(|p| p.counts.confirmed),
            sum(|p| p.counts.nacked),
            self.delivered,
        )
    }

    fn activity(&self) -> u64 {
        self.published + self.delivered + self.producers.iter().map(|p| p.counts.confirmed + p.counts.nacked).sum::<u64>()
    }

    /// Waits for events unless there is work, then gives every ready connection one read or one write.
    fn turn(&mut self) -> Result<()> {
        self.turns = self.turns.wrapping_add(1);
        let timeout = self.timeout();
        if let Err(error) = self.poll.poll(&mut self.events, Some(timeout))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        let first_consumer = self.producers.len();
        for event in &self.events {
            let Token(index) = event.token();
            let ready = match index.checked_sub(first_consumer) {
                None => &mut self.producers[index].ready,
                Some(index) => &mut self.consumers[index].ready,
            };
            ready.readable |= event.is_readable() || event.is_read_closed();
            ready.writable |= event.is_writable();
        }
        self.consume()?;
        self.publish()
    }

    fn consume(&mut self) -> Result<()> {
        // Times of an old backlog, or of another process, say nothing about the way of a message.
        let timed = !self.options.drain && !self.producers.is_empty() && !self.options.reuse;
        for consumer in &mut self.consumers {
            if consumer.ready.readable {
                let now_ns = self.origin.elapsed().as_nanos() as u64;
                let latency = timed.then_some(&mut self.end_to_end_latency);
                self.delivered += consumer.receive(&mut self.buffer, now_ns, &mut self.ledger, latency)?;
            } else if consumer.ready.writable && !consumer.is_flushed() {
                consumer.flush()?;
            }
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let count = self.producers.len();
        for step in 0..count {
            // Another producer goes first each time, for where rate or backlog leave room for some only.
            let index = (self.turns + step) % count;
            let room = self.room();
            let producer = &mut self.producers[index];
            let now_ns = self.origin.elapsed().as_nanos() as u64;
            if producer.ready.readable {
                producer.receive(&mut self.buffer, now_ns, &mut self.confirm_latency)?;
            }
            if producer.has_work(room) {
                self.published += producer.publish(room, now_ns)?;
            }
        }
        Ok(())
    }

    /// Messages that rate and backlog leave room for, all producers together.
    fn room(&self) -> u64 {
        let by_rate = match self.options.rate {
            0.0 => u64::MAX,
            rate => ((self.origin.elapsed().as_secs_f64() * rate) as u64).saturating_sub(self.published),
        };
        let backlog = self.published.saturating_sub(self.delivered / self.options.copies());
        by_rate.min(self.options.backlog_max().saturating_sub(backlog))
    }

    fn timeout(&self) -> Duration {
        let room = self.room();
        let busy = self.consumers.iter().any(|c| c.ready.readable)
            || self.producers.iter().any(|p| p.ready.readable || p.has_work(room));
        if busy {
            Duration::ZERO
        } else if self.options.rate > 0.0 {
            Duration::from_secs_f64(1.0 / self.options.rate).clamp(Duration::from_millis(1), TICK)
        } else {
            TICK
        }
    }

    fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            at: now(),
            published: self.published,
            confirmed: self.producers.iter().map(|p| p.counts.confirmed).sum(),
            delivered: self.delivered,
            broker: process::usage(&self.options.broker_pid)?,
            own_cpu_seconds: process::own_cpu_seconds(),
        })
    }

    fn show(&mut self, phase: &str) {
        let elapsed = self.shown.0.elapsed();
        if elapsed < TICK || self.progress.is_hidden() {
            return;
        }
        let rate = |after: u64, before: u64| (after - before) as f64 / elapsed.as_secs_f64();
        self.progress.set_message(format!(
            "{phase}: {} published ({:.0}/s), {} delivered ({:.0}/s)",
            self.published,
            rate(self.published, self.shown.1),
            self.delivered,
            rate(self.delivered, self.shown.2)
        ));
        self.progress.tick();
        self.shown = (now(), self.published, self.delivered);
    }

    /// With consumers the ledger tells; without, the broker is asked how many messages the queues hold.
    fn verify(&self, admin: &mut Connection) -> Result<Verdict> {
        if !self.consumers.is_empty() {
            let refused = self.producers.iter().any(|p| p.counts.nacked + p.counts.returned > 0);
            // A refused message has no number that is known here, so only gaps within what came would be wrong to report.
            let known = !self.producers.is_empty() && !self.options.reuse && !refused;
            let published: Vec<u64> =
                if known { self.producers.iter().map(|p| p.counts.published).collect() } else { Vec::new() };
            let (fan_out, queues) = (self.options.fan_out > 0, self.options.queues);
            let mut verdict = self.ledger.verdict(&published, |producer, queue| fan_out || producer % queues == queue);
            if refused {
                verdict.lost = 0;
            }
            return Ok(verdict);
        }
        if self.options.reuse {
            return Ok(Verdict::default());
        }
        let refused: u64 = self.producers.iter().map(|p| p.counts.nacked + p.counts.returned).sum();
        let expected = (self.published - refused) * self.options.copies();
        let mut held = 0;
        let (mut moved_at, mut last) = (now(), 0);
        // Without confirms the last publishes may still be on their way into the queues.
        while held != expected && now() - moved_at < Duration::from_secs(10).min(self.options.stall_timeout()) {
            held = count_held(admin, self.options)?;
            if held != last {
                (moved_at, last) = (now(), held);
            }
        }
        Ok(Verdict { lost: expected.saturating_sub(held), duplicated: held.saturating_sub(expected), ..Verdict::default() })
    }

    fn summarise(&self, admin: &Connection, start: &Snapshot, end: &Snapshot, verdict: Verdict) -> Summary {
        let seconds = (end.at - start.at).as_secs_f64().max(1e-9);
        let published = end.published - start.published;
        let confirmed = end.confirmed - start.confirmed;
        let delivered = end.delivered - start.delivered;
        let messages = if self.consumers.is_empty() { published } else { delivered }.max(1) as f64;
        let cpu_seconds = end.broker.cpu_seconds - start.broker.cpu_seconds;
        let watched = !self.options.broker_pid.is_empty();
        let sum = |field: fn(&Producer) -> u64| self.producers.iter().map(field).sum::<u64>();
        Summary {
            broker: format!("{} {}", admin.product, admin.version),
            url: self.options.url.place(),
            fsync_state: summary::fsync_state(self.options, &admin.product),
            load: summary::describe(self.options),
            payload_bytes: self.options.size,
            window_seconds: seconds,
            published,
            confirmed,
            delivered,
            published_per_second: published as f64 / seconds,
            confirmed_per_second: confirmed as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            confirm_latency: Latency::of(&self.confirm_latency),
            end_to_end_latency: Latency::of(&self.end_to_end_latency),
            broker_usage: watched.then_some(Usage { cpu_seconds, ..end.broker }),
            broker_cpu_us_per_message: watched.then_some(cpu_seconds * 1e6 / messages),
            generator_cpu_us_per_message: (end.own_cpu_seconds - start.own_cpu_seconds) * 1e6 / messages,
            nacked: sum(|p| p.counts.nacked),
            returned: sum(|p| p.counts.returned),
            blocked: sum(|p| p.counts.blocked),
            check: Check::new(self.published, self.delivered, verdict),
        }
    }

    /// Takes leave of the broker, so that it has processed all acks when this returns.
    fn close(mut self) {
        // The result is known: a broker that hangs up without an answer has done no harm.
        for producer in self.producers {
            let _ = producer.close(&mut self.buffer);
        }
        for consumer in self.consumers {
            let _ = consumer.close(&mut self.buffer);
        }
    }
}

fn histogram() -> Result<Histogram<u64>> {
    // From a microsecond to ten minutes, in nanoseconds, to three digits.
    Ok(Histogram::new_with_bounds(1_000, 600_000_000_000, 3)?)
}
