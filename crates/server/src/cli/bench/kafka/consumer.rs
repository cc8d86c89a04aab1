//! A consuming connection: one fetch under way, in a fetch session where the broker has them (KIP-227). The next is sent as
//! soon as the last is answered, before the records are looked at.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use kafka::client::{Frames, decode, put_request};
use kafka::codec::fetch::{self, RequestPartition, RequestTopic};
use kafka::codec::{ApiKey, Request, Response, error_code};
use mio::net::TcpStream;
use model::record::{self, BatchHead, HEADER_BYTES, Records, attribute};

use super::options::Options;
use super::{CLIENT_ID, receive, unblocked};
use crate::cli::bench::engine::{self, Ready};
use crate::cli::bench::ledger::{BODY_HEAD_BYTES, Ledger, parse_head};
use crate::cli::kafka::{Link, refused};

/// A partition that is read.
#[derive(Debug)]
struct Share {
    partition: i32,
    /// The next to be fetched, and the next to be booked: apart while a fetch's records are looked at.
    fetch: i64,
    book: i64,
    /// The session has not been told of it.
    moved: bool,
    /// Per producer: one more than the highest sequence seen.
    last: Vec<u64>,
}

/// A fetch session: its id, and the number of the next request.
#[derive(Debug, Clone, Copy, Default)]
struct Session {
    id: i32,
    epoch: i32,
}

/// One consuming connection.
pub struct Consumer {
    stream: TcpStream,
    ready: Ready,
    frames: Frames,
    version: i16,
    topic: String,
    /// In the order of partitions.
    shares: Vec<Share>,
    session: Session,
    /// A fetch without its partitions.
    fetch: fetch::Request<'static>,
    partition_max_bytes: i32,
    correlation_id: i32,
    out: Vec<u8>,
    out_at: usize,
}

impl Consumer {
    /// `starts`: where each partition of the topic begins.
    pub fn new(link: Link, index: usize, options: &Options, starts: &[i64]) -> Result<Consumer> {
        let shares = options.partitions_of(index).map(|partition| {
            let start = starts.get(partition as usize).copied().unwrap_or(0);
            Share { partition, fetch: start, book: start, moved: true, last: Vec::new() }
        });
        Ok(Consumer {
            version: link.version(ApiKey::Fetch)?,
            stream: unblocked(link)?,
            ready: Ready::default(),
            frames: Frames::default(),
            topic: options.topic.clone(),
            shares: shares.collect(),
            session: Session::default(),
            fetch: fetch::Request {
                replica_id: -1,
                max_wait_ms: options.fetch_wait,
                min_bytes: options.fetch_min,
                max_bytes: options.fetch,
                ..fetch::Request::default()
            },
            partition_max_bytes: options.partition_fetch,
            correlation_id: 0,
            out: Vec::new(),
            out_at: 0,
        })
    }

    /// Puts the next fetch together: a session hears only of what has moved.
    fn prepare(&mut self) {
        let known = self.session.id != 0;
        let moved = self.shares.iter_mut().filter(|share| share.moved || !known);
        let partitions: Vec<RequestPartition> = moved
            .map(|share| {
                share.moved = false;
                let partition_max_bytes = self.partition_max_bytes;
                RequestPartition {
                    partition: share.partition,
                    fetch_offset: share.fetch,
                    partition_max_bytes,
                    ..Default::default()
                }
            })
            .collect();
        let topic = RequestTopic { topic: &self.topic, partitions, ..RequestTopic::default() };
        let request = fetch::Request {
            session_id: self.session.id,
            session_epoch: self.session.epoch,
            topics: if topic.partitions.is_empty() { Vec::new() } else { vec![topic] },
            ..self.fetch.clone()
        };
        self.correlation_id = self.correlation_id.wrapping_add(1);
        self.out.clear();
        self.out_at = 0;
        put_request(&mut self.out, &Request::Fetch(request), self.version, self.correlation_id, CLIENT_ID);
    }
}

impl Session {
    /// What an answer says of the session; `false`: it is gone, and the answer holds nothing.
    fn heard(&mut self, answer: &fetch::Response<'_>) -> Result<bool> {
        if matches!(answer.error_code, error_code::FETCH_SESSION_ID_NOT_FOUND | error_code::INVALID_FETCH_SESSION_EPOCH) {
            *self = Session::default();
            return Ok(false);
        }
        refused(answer.error_code, None).context("fetching")?;
        // Behind the largest number comes 1: 0 asks for a new session.
        let epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        *self = if answer.session_id == 0 { Session::default() } else { Session { id: answer.session_id, epoch } };
        Ok(true)
    }
}

impl Share {
    /// Takes note of where the answer ends, by the heads of its batches.
    fn pass(&mut self, records: &[u8]) {
        for (base, head, _) in Batches(records) {
            self.fetch = self.fetch.max(base + i64::from(head.offsets));
            self.moved = true;
        }
    }

    /// Looks at the records of an answer; returns how many there are.
    fn book(
        &mut self,
        records: &[u8],
        now_ns: u64,
        ledger: &mut Ledger,
        mut latency: Option<&mut Histogram<u64>>,
    ) -> Result<u64> {
        let mut delivered = 0;
        for (base, head, batch) in Batches(records) {
            record::verify(batch).with_context(|| format!("partition {}, offset {base}", self.partition))?;
            if base + i64::from(head.offsets) <= self.book || head.is(attribute::CONTROL) {
                continue;
            }
            if head.is(attribute::COMPRESSION) {
                ledger.foreign += head.records as u64;
                delivered += head.records as u64;
                self.book = base + i64::from(head.offsets);
                continue;
            }
            for record in Records::new(&batch[HEADER_BYTES..], head.records) {
                let record = record.with_context(|| format!("partition {}, offset {base}", self.partition))?;
                let offset = base + record.offset_delta;
                if offset < self.book {
                    continue;
                }
                self.book = offset + 1;
                delivered += 1;
                let Some(front) = record.value.and_then(|value| value.first_chunk::<BODY_HEAD_BYTES>()) else {
                    ledger.foreign += 1;
                    continue;
                };
                let (producer, sequence, published_ns) = parse_head(front);
                ledger.book(self.partition as usize, producer, sequence, false, &mut self.last);
                if let Some(histogram) = latency.as_deref_mut() {
                    histogram.saturating_record(now_ns.saturating_sub(published_ns));
                }
            }
        }
        Ok(delivered)
    }
}

/// The whole batches in the records of an answer: base offset, head, bytes. The last may be cut short, and comes again.
struct Batches<'a>(&'a [u8]);

impl<'a> Iterator for Batches<'a> {
    type Item = (i64, BatchHead, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let base = i64::from_be_bytes(*self.0.first_chunk()?);
        let head = BatchHead::parse(self.0).ok()?;
        let (batch, rest) = self.0.split_at_checked(head.len)?;
        self.0 = rest;
        Some((base, head, batch))
    }
}

impl engine::Connection for Consumer {
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

impl engine::Consumer for Consumer {
    fn subscribe(&mut self) -> Result<()> {
        self.prepare();
        self.flush()
    }

    fn receive(
        &mut self,
        _: &mut [u8],
        now_ns: u64,
        ledger: &mut Ledger,
        mut latency: Option<&mut Histogram<u64>>,
    ) -> Result<u64> {
        let mut frames = std::mem::take(&mut self.frames);
        self.ready.readable = receive(&mut frames, &mut self.stream)?;
        let mut delivered = 0;
        while let Some(body) = frames.next_frame()? {
            let (correlation_id, Response::Fetch(answer)) = decode(body, ApiKey::Fetch, self.version)? else {
                bail!("an answer to another request");
            };
            if correlation_id != self.correlation_id {
                bail!("answer {correlation_id} out of turn");
            }
            let mut answered = Vec::new();
            if self.session.heard(&answer)? {
                for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    let index = partition.partition_index;
                    refused(partition.error_code, None).with_context(|| format!("fetching from partition {index}"))?;
                    let position = self.shares.binary_search_by_key(&index, |share| share.partition);
                    let position =
                        position.map_err(|_| anyhow::anyhow!("records of partition {index}, which was not asked for"))?;
                    if let Some(records) = partition.records {
                        self.shares[position].pass(records);
                        answered.push((position, records));
                    }
                }
            }
            self.prepare();
            engine::Consumer::flush(self)?;
            for (position, records) in answered {
                delivered += self.shares[position].book(records, now_ns, ledger, latency.as_deref_mut())?;
            }
        }
        self.frames = frames;
        Ok(delivered)
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while let Some(rest) = self.out.get(self.out_at..).filter(|rest| !rest.is_empty() && self.ready.writable) {
            match self.stream.write(rest) {
                Ok(written) => self.out_at += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn is_flushed(&self) -> bool {
        self.out_at == self.out.len()
    }
}
