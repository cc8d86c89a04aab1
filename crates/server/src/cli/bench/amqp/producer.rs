//! A publishing connection: frames are encoded once, only number and time are patched, and as many messages as the window
//! allows go out with one write.

use std::io::{ErrorKind, Write};

use anyhow::Result;
use hdrhistogram::Histogram;
use mio::net::TcpStream;

use super::options::Options;
use super::reader::{Item, Progress, Reader};
use super::wire::{self, Connection};
use crate::cli::bench::engine::{self, Counts, Ready};
use crate::cli::bench::ledger::{BODY_HEAD_BYTES, body_head};

/// Bytes that are encoded ahead: enough for large writes, few enough to stay in a core's cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// One publishing connection.
pub struct Producer {
    stream: TcpStream,
    ready: Ready,
    counts: Counts,
    index: usize,
    reader: Reader,
    /// Identical publishes, one after the other.
    block: Vec<u8>,
    /// Length of one publish in the block, and where its body begins.
    stride: usize,
    body_at: usize,
    /// Bytes of the block that are patched and still to be written.
    pending: std::ops::Range<usize>,
    burst: usize,
    window: Window,
}

impl Producer {
    pub fn new(mut connection: Connection, index: usize, options: &Options) -> Result<Producer> {
        let window = options.window();
        if window > 0 {
            connection.select_confirms()?;
        }
        let (exchange, routing_key) = options.target_of(index);
        let body: Vec<u8> = (0..options.load.size).map(|i| b'a' + (i % 23) as u8).collect();
        let mut block = Vec::with_capacity(BLOCK_BYTES + options.load.size);
        let body_at = wire::put_publish(&exchange, &routing_key, !options.transient, &body, connection.frame_max, &mut block);
        let stride = block.len();
        let messages = (BLOCK_BYTES / stride).clamp(1, if window > 0 { window } else { usize::MAX });
        block = block.repeat(messages);
        Ok(Producer {
            stream: connection.into_stream()?,
            ready: Ready::default(),
            counts: Counts::new(options.load.quota(index)),
            index,
            reader: Reader::default(),
            block,
            stride,
            body_at,
            pending: 0..0,
            burst: options.burst.clamp(1, window.max(1)),
            window: Window::new(window),
        })
    }

    /// Messages that quota and window allow, if they are worth a write; `room` is what rate and backlog allow.
    fn allowance(&self, room: u64) -> usize {
        let quota = self.counts.quota - self.counts.published;
        let allowed = quota.min(room).min(self.window.room(self.counts.published));
        if allowed < self.burst as u64 && allowed < quota { 0 } else { allowed as usize }
    }

    fn patch(&mut self, messages: usize, now_ns: u64) {
        let start = self.pending.end;
        for message in self.block[start..].chunks_exact_mut(self.stride).take(messages) {
            let head = body_head(self.index, self.counts.published, now_ns);
            message[self.body_at..self.body_at + BODY_HEAD_BYTES].copy_from_slice(&head);
            self.window.publish(self.counts.published, now_ns);
            self.counts.published += 1;
        }
        self.pending = start..start + messages * self.stride;
    }
}

impl engine::Connection for Producer {
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn ready(&mut self) -> &mut Ready {
        &mut self.ready
    }

    fn close(self, buffer: &mut [u8]) -> Result<()> {
        self.reader.take_leave(self.stream, buffer)
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
        self.pending.is_empty() && (self.window.size == 0 || self.counts.confirmed + self.counts.nacked == self.counts.published)
    }

    fn has_work(&self, room: u64) -> bool {
        self.ready.writable && (!self.pending.is_empty() || self.allowance(room) > 0)
    }

    /// At most one block.
    fn publish(&mut self, room: u64, now_ns: u64) -> Result<u64> {
        let mut begun = 0;
        if self.pending.is_empty() {
            if self.pending.end == self.block.len() {
                self.pending = 0..0;
            }
            let left = (self.block.len() - self.pending.end) / self.stride;
            let messages = self.allowance(room).min(left);
            self.patch(messages, now_ns);
            begun = messages as u64;
        }
        while !self.pending.is_empty() {
            match self.stream.write(&self.block[self.pending.clone()]) {
                Ok(written) => self.pending.start += written,
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

    fn receive(&mut self, buffer: &mut [u8], now_ns: u64, latency: &mut Histogram<u64>) -> Result<()> {
        let Producer { stream, reader, window, counts, .. } = self;
        let progress = reader.receive(stream, buffer, |item| {
            let Item::Method { payload, .. } = item else { return Ok(()) };
            match wire::method_id(payload) {
                id @ (wire::BASIC_ACK | wire::BASIC_NACK) => {
                    let Some(&[a, b, c, d, e, f, g, h, bits]) = payload[4..].first_chunk() else { return Ok(()) };
                    let tag = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                    let settled = window.settle(tag, bits & 1 == 1, now_ns, latency);
                    *(if id == wire::BASIC_ACK { &mut counts.confirmed } else { &mut counts.nacked }) += settled;
                }
                wire::BASIC_RETURN => counts.returned += 1,
                wire::CONNECTION_BLOCKED => counts.blocked += 1,
                wire::CONNECTION_CLOSE | wire::CHANNEL_CLOSE => return Err(wire::close_error(payload)),
                _ => {}
            }
            Ok(())
        })?;
        self.ready.readable = progress == Progress::More;
        Ok(())
    }
}

/// The publishes that await their confirm, by sequence number modulo a power of two.
#[derive(Debug)]
pub struct Window {
    size: usize,
    /// Time of publishing + 1, or 0 when nothing is outstanding there.
    slots: Vec<u64>,
    /// Invariant: everything below is settled.
    lowest: u64,
    outstanding: u64,
}

impl Window {
    pub fn new(size: usize) -> Window {
        // Twice the window, so that one late confirm does not stop the publishing at once.
        Window { size, slots: vec![0; if size == 0 { 0 } else { (size * 2).next_power_of_two() }], lowest: 0, outstanding: 0 }
    }

    pub fn room(&self, published: u64) -> u64 {
        if self.size == 0 {
            return u64::MAX;
        }
        (self.size as u64 - self.outstanding).min(self.slots.len() as u64 - (published - self.lowest))
    }

    pub fn publish(&mut self, sequence: u64, now_ns: u64) {
        if self.size > 0 {
            let mask = self.slots.len() - 1;
            self.slots[sequence as usize & mask] = now_ns + 1;
            self.outstanding += 1;
        }
    }

    /// Settles delivery tag `tag` (1 is the first publish) or all up to it; returns how many that were.
    pub fn settle(&mut self, tag: u64, multiple: bool, now_ns: u64, latency: &mut Histogram<u64>) -> u64 {
        let end = tag.min(self.lowest + self.slots.len() as u64);
        let start = if multiple { self.lowest } else { tag.saturating_sub(1).max(self.lowest) };
        let mask = self.slots.len().wrapping_sub(1);
        let mut settled = 0;
        for sequence in start..end {
            let slot = &mut self.slots[sequence as usize & mask];
            if *slot > 0 {
                latency.saturating_record(now_ns.saturating_sub(*slot - 1));
                *slot = 0;
                settled += 1;
            }
        }
        self.outstanding -= settled;
        if multiple {
            self.lowest = self.lowest.max(end);
        } else {
            self.advance(end);
        }
        settled
    }

    fn advance(&mut self, end: u64) {
        let mask = self.slots.len().wrapping_sub(1);
        let bound = self.lowest + self.slots.len() as u64;
        // Only a confirm of the lowest moves it; slots above the highest publish are empty, so the walk must stop there.
        while self.lowest < bound && self.outstanding > 0 && self.slots[self.lowest as usize & mask] == 0 {
            self.lowest += 1;
        }
        if self.outstanding == 0 {
            self.lowest = self.lowest.max(end);
        }
    }
}
