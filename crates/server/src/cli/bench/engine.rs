//! The event loop: one thread, all connections of any protocol, and the phases of a run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::ledger::{Ledger, Verdict};
use super::load::Load;
use super::process::{self, Usage};
use super::summary::{Check, Latency, MEGABYTE, Summary};
use crate::cli::dial::now;

/// Longest wait for an event: how often progress is shown and time limits are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Bytes of the buffer that connections read through: large enough to make a read cheap per message, small enough to stay in
/// a core's cache.
pub const READ_BUFFER_BYTES: usize = 256 * 1024;

/// What the last events said of a socket. They come once per change, so it stays true until a call says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
}

impl Default for Ready {
    fn default() -> Ready {
        Ready { readable: true, writable: true }
    }
}

/// Counters of one producer since its start.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Messages to publish in all; `u64::MAX` while the run goes by time.
    pub quota: u64,
    pub published: u64,
    pub confirmed: u64,
    pub nacked: u64,
    pub returned: u64,
    pub blocked: u64,
}

impl Counts {
    pub fn new(quota: u64) -> Counts {
        Counts { quota, published: 0, confirmed: 0, nacked: 0, returned: 0, blocked: 0 }
    }
}

/// A connection of the event loop.
pub trait Connection {
    fn stream(&mut self) -> &mut TcpStream;

    fn ready(&mut self) -> &mut Ready;

    /// Ends it politely: what was written counts.
    fn close(self, buffer: &mut [u8]) -> Result<()>;
}

/// A publishing connection.
pub trait Producer: Connection {
    fn counts(&self) -> &Counts;

    fn counts_mut(&mut self) -> &mut Counts;

    /// Everything published is confirmed, or there are no confirms to wait for and all is written.
    fn is_settled(&self) -> bool;

    /// Whether `publish` would have something to write; `room` is what rate and backlog allow.
    fn has_work(&self, room: u64) -> bool;

    /// Writes a piece of what quota, window and `room` allow; returns the number of messages begun.
    fn publish(&mut self, room: u64, now_ns: u64) -> Result<u64>;

    /// Reads confirms; `buffer` is for bytes on their way.
    fn receive(&mut self, buffer: &mut [u8], now_ns: u64, latency: &mut Histogram<u64>) -> Result<()>;
}

/// A consuming connection.
pub trait Consumer: Connection {
    /// Asks for deliveries.
    fn subscribe(&mut self) -> Result<()>;

    /// Reads once and books what came; returns the number of messages. `latency` is for the ages of messages.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        now_ns: u64,
        ledger: &mut Ledger,
        latency: Option<&mut Histogram<u64>>,
    ) -> Result<u64>;

    /// Acknowledges what is left over when no more will come.
    fn settle(&mut self) -> Result<()>;

    /// Writes as much of what waits as the socket takes.
    fn flush(&mut self) -> Result<()>;

    fn is_flushed(&self) -> bool;
}

/// What a run is and against whom, for its summary.
#[derive(Debug)]
pub struct Title {
    pub broker: String,
    pub place: String,
    /// What happens to a message before it is confirmed.
    pub fsync_state: String,
    pub load: String,
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

/// The connections of a run, under load.
pub struct Engine<'a, P, C> {
    load: &'a Load,
    poll: Poll,
    events: Events,
    /// Tokens 0.. are the producers, the consumers follow.
    pub producers: Vec<P>,
    pub consumers: Vec<C>,
    buffer: Vec<u8>,
    pub ledger: Ledger,
    /// Queues that a message reaches.
    copies: u64,
    confirm_latency: Histogram<u64>,
    end_to_end_latency: Histogram<u64>,
    origin: Instant,
    published: u64,
    delivered: u64,
    turns: usize,
    progress: ProgressBar,
    shown: (Instant, u64, u64),
}

impl<'a, P: Producer, C: Consumer> Engine<'a, P, C> {
    pub fn new(
        load: &'a Load,
        copies: u64,
        ledger: Ledger,
        mut producers: Vec<P>,
        mut consumers: Vec<C>,
    ) -> Result<Engine<'a, P, C>> {
        let poll = Poll::new()?;
        let streams = producers.iter_mut().map(Connection::stream).chain(consumers.iter_mut().map(Connection::stream));
        for (index, stream) in streams.enumerate() {
            poll.registry().register(stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        }
        let style = ProgressStyle::with_template("{spinner} [{elapsed}] {msg}").context("progress style")?;
        let origin = now();
        Ok(Engine {
            load,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            producers,
            consumers,
            buffer: vec![0; READ_BUFFER_BYTES],
            ledger,
            copies,
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

    /// The whole run: load, the check by `verify`, the summary.
    ///
    /// # Errors
    /// What a connection or the check ran into.
    pub fn measure(mut self, title: Title, verify: impl FnOnce(&Self) -> Result<Verdict>) -> Result<Summary> {
        let outcome = self.run().and_then(|window| Ok((window, verify(&self)?)));
        self.progress.finish_and_clear();
        let summary = outcome.map(|((start, end), verdict)| self.summarise(title, &start, &end, verdict));
        self.close();
        summary
    }

    /// Published messages that were not refused.
    pub fn accepted(&self) -> u64 {
        self.published - self.refused()
    }

    pub fn refused(&self) -> u64 {
        self.sum(|counts| counts.nacked + counts.returned)
    }

    fn sum(&self, field: fn(&Counts) -> u64) -> u64 {
        self.producers.iter().map(|producer| field(producer.counts())).sum()
    }

    /// Fill, warm up, measure, drain; returns the counters at both ends of the measured window.
    fn run(&mut self) -> Result<(Snapshot, Snapshot)> {
        if self.load.drain {
            self.until("filling", |engine| engine.published_all() && engine.settled())?;
        }
        for consumer in &mut self.consumers {
            consumer.subscribe()?;
        }
        let by_count = self.load.count.is_some();
        if !by_count {
            self.run_for("warming up", Duration::from_secs_f64(self.load.warm_up))?;
        }
        self.confirm_latency.reset();
        self.end_to_end_latency.reset();
        let start = self.snapshot()?;
        if by_count {
            self.until("measuring", Engine::complete)?;
        } else {
            self.run_for("measuring", Duration::from_secs_f64(self.load.duration))?;
        }
        let end = self.snapshot()?;
        for producer in &mut self.producers {
            let counts = producer.counts_mut();
            counts.quota = counts.published;
        }
        self.until("draining", Engine::complete)?;
        for consumer in &mut self.consumers {
            consumer.settle()?;
        }
        self.until("acknowledging", |engine| engine.consumers.iter().all(Consumer::is_flushed))?;
        Ok((start, end))
    }

    fn published_all(&self) -> bool {
        self.producers.iter().map(Producer::counts).all(|counts| counts.published >= counts.quota)
    }

    fn settled(&self) -> bool {
        self.producers.iter().all(Producer::is_settled)
    }

    /// Everything is published and settled, and everything that is to come has come.
    fn complete(&mut self) -> bool {
        let expected = match (self.consumers.is_empty(), self.producers.is_empty()) {
            (true, _) => 0,
            (false, true) => self.load.count.unwrap_or(0),
            (false, false) => self.accepted() * self.copies,
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
                } else if now() - moved.0 > self.load.stall_timeout() {
                    return self.stalled(phase);
                }
            }
        }
        Ok(())
    }

    fn stalled(&self, phase: &str) -> Result<()> {
        let blocked = self.sum(|counts| counts.blocked);
        // What is still missing at the end is for the check to name.
        if phase == "draining" {
            return Ok(());
        }
        let hint = if blocked > 0 { "; the broker has blocked publishers: it is short of disk or memory" } else { "" };
        bail!(
            "while {phase}, nothing has moved for {:?}: {} published, {} confirmed, {} nacked, {} delivered{hint}",
            self.load.stall_timeout(),
            self.published,
            self.sum(|counts| counts.confirmed),
            self.sum(|counts| counts.nacked),
            self.delivered,
        )
    }

    fn activity(&self) -> u64 {
        self.published + self.delivered + self.sum(|counts| counts.confirmed + counts.nacked)
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
                None => self.producers[index].ready(),
                Some(index) => self.consumers[index].ready(),
            };
            ready.readable |= event.is_readable() || event.is_read_closed();
            ready.writable |= event.is_writable();
        }
        self.consume()?;
        self.publish()
    }

    fn consume(&mut self) -> Result<()> {
        // Times of an old backlog, or of another process, say nothing about the way of a message.
        let timed = !self.load.drain && !self.producers.is_empty() && !self.load.reuse;
        for consumer in &mut self.consumers {
            if consumer.ready().readable {
                let now_ns = self.origin.elapsed().as_nanos() as u64;
                let latency = timed.then_some(&mut self.end_to_end_latency);
                self.delivered += consumer.receive(&mut self.buffer, now_ns, &mut self.ledger, latency)?;
            } else if consumer.ready().writable && !consumer.is_flushed() {
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
            if producer.ready().readable {
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
        let by_rate = match self.load.rate {
            0.0 => u64::MAX,
            rate => ((self.origin.elapsed().as_secs_f64() * rate) as u64).saturating_sub(self.published),
        };
        let backlog = self.published.saturating_sub(self.delivered / self.copies);
        by_rate.min(self.load.backlog_max().saturating_sub(backlog))
    }

    fn timeout(&mut self) -> Duration {
        let room = self.room();
        let busy = self.consumers.iter_mut().any(|consumer| consumer.ready().readable)
            || self.producers.iter_mut().any(|producer| producer.ready().readable || producer.has_work(room));
        if busy {
            Duration::ZERO
        } else if self.load.rate > 0.0 {
            Duration::from_secs_f64(1.0 / self.load.rate).clamp(Duration::from_millis(1), TICK)
        } else {
            TICK
        }
    }

    fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot {
            at: now(),
            published: self.published,
            confirmed: self.sum(|counts| counts.confirmed),
            delivered: self.delivered,
            broker: process::usage(&self.load.broker_pid)?,
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

    fn summarise(&self, title: Title, start: &Snapshot, end: &Snapshot, verdict: Verdict) -> Summary {
        let seconds = (end.at - start.at).as_secs_f64().max(1e-9);
        let published = end.published - start.published;
        let confirmed = end.confirmed - start.confirmed;
        let delivered = end.delivered - start.delivered;
        // A message that is published and delivered counts once.
        let messages = if self.consumers.is_empty() { published } else { delivered }.max(1) as f64;
        let cpu_seconds = end.broker.cpu_seconds - start.broker.cpu_seconds;
        let megabytes = |messages: u64| messages as f64 * self.load.size as f64 / MEGABYTE;
        let watched = !self.load.broker_pid.is_empty();
        Summary {
            broker: title.broker,
            url: title.place,
            fsync_state: title.fsync_state,
            load: title.load,
            payload_bytes: self.load.size,
            window_seconds: seconds,
            published,
            confirmed,
            delivered,
            published_per_second: published as f64 / seconds,
            confirmed_per_second: confirmed as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            published_mb_per_second: megabytes(published) / seconds,
            delivered_mb_per_second: megabytes(delivered) / seconds,
            confirm_latency: Latency::of(&self.confirm_latency),
            end_to_end_latency: Latency::of(&self.end_to_end_latency),
            broker_usage: watched.then_some(Usage { cpu_seconds, ..end.broker }),
            broker_cpu_ms_per_mb: watched.then_some(cpu_seconds * 1e3 * MEGABYTE / (messages * self.load.size as f64)),
            broker_cpu_us_per_message: watched.then_some(cpu_seconds * 1e6 / messages),
            generator_cpu_us_per_message: (end.own_cpu_seconds - start.own_cpu_seconds) * 1e6 / messages,
            nacked: self.sum(|counts| counts.nacked),
            returned: self.sum(|counts| counts.returned),
            blocked: self.sum(|counts| counts.blocked),
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
