//! A producing connection: full batches for one partition after another, so many requests in flight.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use kafka::client::{Frames, decode, put_request};
use kafka::codec::produce::{RequestPartition, RequestTopic};
use kafka::codec::{ApiKey, Request, Response, error_code, init_producer_id, produce};
use mio::net::TcpStream;

use super::batch::{Stamp, Template};
use super::options::{Acks, Options};
use super::topic::{BETWEEN_LOOKS, PATIENCE};
use super::{CLIENT_ID, receive, unblocked};
use crate::cli::bench::engine::{self, Counts, Ready};
use crate::cli::bench::ledger::body_head;
use crate::cli::dial::{now, pause};
use crate::cli::kafka::{Link, refused};
use crate::clock::Clock;

/// A request that awaits its answer.
#[derive(Debug, Clone, Copy)]
struct Sent {
    correlation_id: i32,
    at_ns: u64,
    messages: u64,
}

/// One producing connection.
pub struct Producer {
    stream: TcpStream,
    ready: Ready,
    counts: Counts,
    index: usize,
    topic: String,
    version: i16,
    acks: Acks,
    /// Id and epoch, where batches are to be numbered.
    identity: Option<(i64, i16)>,
    template: Template,
    /// Batches of a request at most.
    batches_max: usize,
    /// Records written to each partition.
    sent: Vec<u64>,
    /// The partition whose turn it is.
    turn: usize,
    window: usize,
    in_flight: VecDeque<Sent>,
    clock: Clock,
    correlation_id: i32,
    frames: Frames,
    batches: Vec<u8>,
    out: Vec<u8>,
    out_at: usize,
}

impl Producer {
    pub fn new(mut link: Link, index: usize, options: &Options) -> Result<Producer> {
        let identity = if options.idempotent() { Some(identify(&mut link)?) } else { None };
        let template = Template::new(options.load.size, if options.load.latency { 0 } else { options.batch });
        let partitions = options.partitions as usize;
        let fitting = if options.load.latency { 1 } else { options.request / template.len() };
        Ok(Producer {
            version: link.version(ApiKey::Produce)?,
            stream: unblocked(link)?,
            ready: Ready::default(),
            counts: Counts::new(options.load.quota(index)),
            index,
            topic: options.topic.clone(),
            acks: options.acks,
            identity,
            batches_max: fitting.clamp(1, partitions),
            template,
            sent: vec![0; partitions],
            // Several producers begin at different partitions.
            turn: index * partitions / options.load.producers,
            window: options.window(),
            in_flight: VecDeque::new(),
            clock: Clock::start(),
            correlation_id: 0,
            frames: Frames::default(),
            batches: Vec::new(),
            out: Vec::new(),
            out_at: 0,
        })
    }

    /// Records that were written to a partition.
    pub fn sent(&self, partition: usize) -> u64 {
        self.sent[partition]
    }

    fn has_window(&self) -> bool {
        self.acks == Acks::None || self.in_flight.len() < self.window
    }

    fn allowance(&self, room: u64) -> u64 {
        if self.has_window() { room.min(self.counts.quota - self.counts.published) } else { 0 }
    }

    /// Makes a request of at most so many records; returns of how many.
    fn prepare(&mut self, allowance: u64, now_ns: u64) -> u64 {
        let Producer { template, batches, sent, index, identity, .. } = self;
        batches.clear();
        let now_ms = self.clock.now().wall_ms;
        let (mut messages, mut ends) = (0, Vec::with_capacity(self.batches_max));
        while ends.len() < self.batches_max && messages < allowance {
            let records = (allowance - messages).min(template.records() as u64) as usize;
            let number = &mut sent[self.turn];
            // Numbers of records begin again at 0 behind the largest.
            let sequence = identity.map(|(id, epoch)| (id, epoch, (*number % (1 << 31)) as i32));
            template.put(batches, Stamp { records, now_ms, sequence }, || {
                *number += 1;
                body_head(*index, *number - 1, now_ns)
            });
            ends.push((self.turn as i32, batches.len()));
            messages += records as u64;
            self.turn = (self.turn + 1) % sent.len();
        }
        let mut begin = 0;
        let partitions = ends.into_iter().map(|(index, end)| {
            let records = batches.get(begin..end);
            begin = end;
            RequestPartition { index, records }
        });
        let topic = RequestTopic { name: &self.topic, partitions: partitions.collect(), ..RequestTopic::default() };
        let request =
            produce::Request { acks: self.acks.number(), timeout_ms: 30_000, topics: vec![topic], transactional_id: None };
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.out.clear();
        self.out_at = 0;
        put_request(&mut self.out, &Request::Produce(request), self.version, self.correlation_id, CLIENT_ID);
        if self.acks != Acks::None {
            self.in_flight.push_back(Sent { correlation_id: self.correlation_id, at_ns: now_ns, messages });
        }
        messages
    }
}

/// A producer id and its epoch. A broker that has just been started may not have them at hand.
fn identify(link: &mut Link) -> Result<(i64, i16)> {
    let request = init_producer_id::Request { transaction_timeout_ms: 60_000, ..init_producer_id::Request::default() };
    let deadline = now() + PATIENCE;
    loop {
        let answer: init_producer_id::Response = link.ask(&Request::InitProducerId(request.clone()))?;
        match answer.error_code {
            error_code::COORDINATOR_LOAD_IN_PROGRESS | error_code::COORDINATOR_NOT_AVAILABLE if now() < deadline => {
                pause(BETWEEN_LOOKS);
            }
            code => {
                refused(code, None).context("asking for a producer id")?;
                return Ok((answer.producer_id, answer.producer_epoch));
            }
        }
    }
}

impl engine::Connection for Producer {
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn ready(&mut self) -> &mut Ready {
        &mut self.ready
    }

    fn close(self, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
}

impl engine::Producer for Producer {
    fn counts(&self) -> &Counts {
        &self.counts
    }

    fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn is_settled(&self) -> bool {
        self.out_at == self.out.len() && self.in_flight.is_empty()
    }

    fn has_work(&self, room: u64) -> bool {
        self.ready.writable && (self.out_at < self.out.len() || self.allowance(room) > 0)
    }

    /// At most one request.
    fn publish(&mut self, room: u64, now_ns: u64) -> Result<u64> {
        let mut begun = 0;
        if self.out_at == self.out.len() {
            let allowance = self.allowance(room);
            if allowance > 0 {
                begun = self.prepare(allowance, now_ns);
                self.counts.published += begun;
            }
        }
        while let Some(rest) = self.out.get(self.out_at..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(written) => self.out_at += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready.writable = false;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(begun)
    }

    fn receive(&mut self, _: &mut [u8], now_ns: u64, latency: &mut Histogram<u64>) -> Result<()> {
        self.ready.readable = receive(&mut self.frames, &mut self.stream)?;
        while let Some(body) = self.frames.next_frame()? {
            let (correlation_id, Response::Produce(answer)) = decode(body, ApiKey::Produce, self.version)? else {
                bail!("an answer to another request");
            };
            let Some(sent) = self.in_flight.pop_front().filter(|sent| sent.correlation_id == correlation_id) else {
                bail!("answer {correlation_id} out of turn");
            };
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                refused(partition.error_code, None).with_context(|| format!("producing to partition {}", partition.index))?;
            }
            self.counts.confirmed += sent.messages;
            latency.saturating_record_n(now_ns.saturating_sub(sent.at_ns), sent.messages);
        }
        Ok(())
    }
}
