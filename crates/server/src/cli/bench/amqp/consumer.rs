//! A consuming connection: one channel per subscription, deliveries counted by their headers, acks written in bulk.

use std::io::{ErrorKind, Write};

use anyhow::{Result, anyhow, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;

use super::options::Options;
use super::reader::{Item, Progress, Reader};
use super::wire::{self, Connection, Method};
use crate::cli::bench::engine::{self, Ready};
use crate::cli::bench::ledger::{Ledger, parse_head};

/// Bytes of acks that may wait for a socket that takes no more; a broker that reads nothing for so long is stuck.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One queue consumed on one channel.
#[derive(Debug)]
struct Subscription {
    queue: usize,
    name: String,
    /// Per producer: one more than the highest sequence seen.
    last: Vec<u64>,
    last_tag: u64,
    unacked: u32,
    /// Whether the delivery whose body comes next is a redelivery.
    redelivered: bool,
}

/// One consuming connection.
pub struct Consumer {
    stream: TcpStream,
    ready: Ready,
    reader: Reader,
    /// Channel 1 is the first.
    subscriptions: Vec<Subscription>,
    ack_every: u32,
    out: Vec<u8>,
    out_at: usize,
}

impl Consumer {
    /// Opens a channel for each queue; deliveries start with `subscribe`.
    pub fn new(mut connection: Connection, index: usize, options: &Options) -> Result<Consumer> {
        let mut subscriptions = Vec::new();
        for (position, queue) in options.queues_of(index).into_iter().enumerate() {
            let channel = position as u16 + 1;
            if channel > 1 {
                connection.open_channel(channel)?;
            }
            if options.prefetch > 0 && options.ack_every() > 0 {
                connection.set_prefetch(channel, options.prefetch)?;
            }
            subscriptions.push(Subscription {
                queue,
                name: options.queue_name(queue),
                last: Vec::new(),
                last_tag: 0,
                unacked: 0,
                redelivered: false,
            });
        }
        Ok(Consumer {
            stream: connection.into_stream()?,
            ready: Ready::default(),
            reader: Reader::default(),
            subscriptions,
            ack_every: options.ack_every(),
            out: Vec::new(),
            out_at: 0,
        })
    }
}

impl engine::Connection for Consumer {
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

impl engine::Consumer for Consumer {
    fn subscribe(&mut self) -> Result<()> {
        for (position, subscription) in self.subscriptions.iter().enumerate() {
            let no_ack = u8::from(self.ack_every == 0) << 1;
            let consume = Method::new(60, 20).u16(0).short(&subscription.name).short("").u8(no_ack).long(&[]);
            consume.frame(position as u16 + 1, &mut self.out);
        }
        self.flush()
    }

    /// Acknowledges what is due, too.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        now_ns: u64,
        ledger: &mut Ledger,
        mut latency: Option<&mut Histogram<u64>>,
    ) -> Result<u64> {
        let Consumer { stream, reader, subscriptions, out, ack_every, .. } = self;
        let mut delivered = 0;
        let progress = reader.receive(stream, buffer, |item| {
            match item {
                Item::Body { channel, head } => {
                    let subscription = at(subscriptions, channel)?;
                    let (producer, sequence, published_ns) = parse_head(&head);
                    ledger.book(subscription.queue, producer, sequence, subscription.redelivered, &mut subscription.last);
                    if let Some(histogram) = latency.as_deref_mut() {
                        histogram.saturating_record(now_ns.saturating_sub(published_ns));
                    }
                    delivered += 1;
                    if *ack_every > 0 {
                        subscription.unacked += 1;
                        if subscription.unacked >= *ack_every {
                            subscription.unacked = 0;
                            wire::put_ack(channel, subscription.last_tag, true, out);
                        }
                    }
                }
                Item::Method { channel, payload } => match wire::method_id(payload) {
                    wire::BASIC_DELIVER => {
                        let subscription = at(subscriptions, channel)?;
                        (subscription.last_tag, subscription.redelivered) = parse_deliver(payload)?;
                    }
                    wire::CONNECTION_CLOSE | wire::CHANNEL_CLOSE => return Err(wire::close_error(payload)),
                    wire::BASIC_CANCEL => bail!("the broker cancelled a consumer: was its queue deleted?"),
                    _ => {}
                },
            }
            Ok(())
        })?;
        self.ready.readable = progress == Progress::More;
        self.flush()?;
        Ok(delivered)
    }

    fn settle(&mut self) -> Result<()> {
        for (position, subscription) in self.subscriptions.iter_mut().enumerate() {
            if subscription.unacked > 0 {
                subscription.unacked = 0;
                wire::put_ack(position as u16 + 1, subscription.last_tag, true, &mut self.out);
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while self.ready.writable && self.out_at < self.out.len() {
            match self.stream.write(&self.out[self.out_at..]) {
                Ok(written) => self.out_at += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.ready.writable = false,
                Err(error) => return Err(error.into()),
            }
        }
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
        } else if self.out.len() > OUT_BYTES_MAX {
            bail!("the broker has not read acks for {OUT_BYTES_MAX} bytes");
        }
        Ok(())
    }

    fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }
}

fn at(subscriptions: &mut [Subscription], channel: u16) -> Result<&mut Subscription> {
    subscriptions
        .get_mut(usize::from(channel).wrapping_sub(1))
        .ok_or_else(|| anyhow!("a delivery on channel {channel}, where nothing was subscribed"))
}

/// Delivery tag and redelivered bit of a basic.deliver.
fn parse_deliver(payload: &[u8]) -> Result<(u64, bool)> {
    let after_tag = 5 + payload.get(4).map_or(0, |&length| usize::from(length));
    match payload.get(after_tag..).and_then(|rest| rest.first_chunk()) {
        Some(&[a, b, c, d, e, f, g, h, bits]) => Ok((u64::from_be_bytes([a, b, c, d, e, f, g, h]), bits & 1 == 1)),
        None => bail!("a basic.deliver too short to be one"),
    }
}
