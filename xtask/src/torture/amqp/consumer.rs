//! Consumes some of the queues and acks, one by one or many at once. After acks it publishes a marker on the same
//! channel: when the marker is confirmed, those acks are for ever.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use amqp::client::ClientEvent;
use amqp::codec::{Properties, basic, queue};

use super::Shared;
use super::link::Link;
use super::message::{Id, queue_name};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

const PREFETCH: u16 = 300;

/// A delivery that is not acked yet.
#[derive(Clone, Copy)]
struct Held {
    tag: u64,
    queue: u16,
    id: Id,
}

/// What is for ever once this marker is confirmed.
struct Marker {
    number: u64,
    /// Acked since the marker before.
    acked: Vec<Held>,
    /// Delivered since the marker before.
    delivered: Vec<Held>,
}

pub fn marker_queue(consumer: u16) -> String {
    format!("torture-marks-{consumer}")
}

pub fn run(shared: &Shared, consumer: u16, queues: &[u16], seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut link = Link::open(shared.address, &format!("torture consumer {consumer}"))?;
    link.client.confirm_select(&mut link.out, 1);
    link.answer()?;
    let marks = marker_queue(consumer);
    link.client.send(&mut link.out, 1, &queue::Purge { queue: &marks, ..Default::default() });
    link.answer()?;
    link.client.prefetch(&mut link.out, 1, PREFETCH);
    link.answer()?;
    for queue in queues {
        let consume = basic::Consume { queue: &queue_name(*queue), consumer_tag: &queue.to_string(), ..Default::default() };
        link.client.send(&mut link.out, 1, &consume);
    }

    let mut held: Vec<Held> = Vec::new();
    let mut marked: VecDeque<Marker> = VecDeque::new();
    let mut delivered: Vec<Held> = Vec::new();
    let mut markers = 0;
    loop {
        let mut deliveries = Vec::new();
        let mut confirmed = 0;
        let mut refused = false;
        let came = link.poll(&mut |event| match event {
            ClientEvent::Delivered { consumer_tag, tag, redelivered, message, .. } => {
                let queue = consumer_tag.parse().unwrap_or(u16::MAX);
                deliveries.push((tag, queue, redelivered, Id::of(message.body), message.body.len()));
            }
            ClientEvent::Acked { tag, .. } => confirmed = tag.max(confirmed),
            ClientEvent::Nacked { .. } => refused = true,
            _ => {}
        });
        let mut checker = shared.checker();
        for (tag, queue, redelivered, id, bytes) in deliveries {
            match id {
                Some(id) => {
                    checker.delivered(queue, id, redelivered);
                    held.push(Held { tag, queue, id });
                    delivered.push(Held { tag, queue, id });
                }
                None => checker.garbled(queue, bytes),
            }
        }
        // Every ack sent before a confirmed marker is for ever, whatever became of the markers between.
        while let Some(marker) = marked.pop_front_if(|marker| marker.number <= confirmed) {
            for held in marker.acked {
                checker.settled(held.queue, held.id);
            }
            for held in marker.delivered {
                checker.noted(held.queue, held.id);
            }
        }
        if refused {
            checker.violation(format!("consumer {consumer}: a marker was refused (nack)"));
        }
        drop(checker);
        let quiet = !came?;
        shared.held[usize::from(consumer)].store(held.len() + marked.len(), Ordering::SeqCst);

        // Now and then, and whenever nothing comes, some or all of what is held is acked.
        if !held.is_empty() && (quiet || held.len() > usize::from(PREFETCH) / 2 || random.one_in(3)) {
            let acked = ack(shared, &mut link, &mut held, quiet, &mut random);
            markers += 1;
            marked.push_back(Marker { number: markers, acked, delivered: std::mem::take(&mut delivered) });
            link.client.publish(&mut link.out, 1, "", &marks, &Properties::persistent(), b"mark");
            link.flush()?;
        }
        if quiet && held.is_empty() && marked.is_empty() && shared.stop_consuming.load(Ordering::SeqCst) {
            return link.close();
        }
    }
}

/// Ack some of what is held: a prefix at once, or single ones from anywhere.
fn ack(shared: &Shared, link: &mut Link, held: &mut Vec<Held>, all: bool, random: &mut Random) -> Vec<Held> {
    let mut acked = Vec::new();
    if all || random.one_in(2) {
        let count = if all { held.len() } else { 1 + usize::try_from(random.below(held.len() as u64)).unwrap_or(0) };
        acked.extend(held.drain(..count));
        if let Some(last) = acked.last() {
            link.client.ack(&mut link.out, 1, last.tag, true);
        }
    } else {
        for _ in 0..1 + random.below(20).min(held.len() as u64 - 1) {
            let one = held.remove(usize::try_from(random.below(held.len() as u64)).unwrap_or(0));
            link.client.ack(&mut link.out, 1, one.tag, false);
            acked.push(one);
        }
    }
    let mut checker = shared.checker();
    for held in &acked {
        checker.acked(held.queue, held.id);
    }
    acked
}
