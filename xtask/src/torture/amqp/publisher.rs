//! Publishes with confirms, as fast as a window allows, until the broker is gone or it is told to stop.

use std::sync::atomic::Ordering;

use amqp::client::ClientEvent;
use amqp::codec::Properties;

use super::Shared;
use super::link::{Link, TICK};
use super::message::{FANOUT, Id, queue_name};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

/// Messages published and not settled at which publishers wait for the consumers.
const BACKLOG_MAX: usize = 100_000;
/// Publishes sent in one write.
const BURST: u64 = 40;
/// Ticks without a confirm that is owed, after which the broker counts as hung.
const SILENT_TICKS: u32 = 600;

pub fn run(shared: &Shared, publisher: u16, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut link = Link::open(shared.address, &format!("torture publisher {publisher}"))?;
    link.client.confirm_select(&mut link.out, 1);
    link.answer()?;
    let first = shared.checker().next_number(publisher);
    // Confirm number n belongs to message `first + n - 1`.
    let (mut sent, mut confirmed) = (0, 0);
    let window = 1 + random.below(500);
    let mut early: Vec<u64> = Vec::new();
    let mut silent = 0;
    let mut body = Vec::new();
    loop {
        let stopping = shared.stop_publishing.load(Ordering::SeqCst);
        if stopping && confirmed == sent {
            return link.close();
        }
        let full = shared.checker().backlog() > BACKLOG_MAX;
        if !stopping && !full && sent - confirmed < window {
            let burst = (window - (sent - confirmed)).min(1 + random.below(BURST));
            let mut checker = shared.checker();
            for _ in 0..burst {
                let id = Id { publisher, number: first + sent };
                checker.published(id);
                body.clear();
                id.body(&mut body);
                let name = id.queue().map(queue_name);
                let (exchange, key) = name.as_deref().map_or((FANOUT, ""), |name| ("", name));
                link.client.publish(&mut link.out, 1, exchange, key, &Properties::persistent(), &body);
                sent += 1;
            }
            drop(checker);
            link.flush()?;
            if sent - confirmed < window {
                continue;
            }
        }
        let mut tags = Vec::new();
        let mut nacked = None;
        let came = link.poll(&mut |event| match event {
            ClientEvent::Acked { tag, multiple, .. } => tags.push((tag, multiple)),
            ClientEvent::Nacked { tag, .. } => nacked = Some(tag),
            _ => {}
        });
        // What came before the connection broke counts.
        let mut checker = shared.checker();
        for (tag, multiple) in tags {
            if tag > sent {
                checker.violation(format!("publisher {publisher}: confirm {tag} for a message that was not sent"));
                continue;
            }
            if multiple {
                early.retain(|early| *early > tag);
                for number in confirmed + 1..=tag {
                    checker.confirmed(Id { publisher, number: first + number - 1 });
                }
                confirmed = confirmed.max(tag);
            } else if tag > confirmed {
                early.push(tag);
                checker.confirmed(Id { publisher, number: first + tag - 1 });
                early.sort_unstable();
                while early.first() == Some(&(confirmed + 1)) {
                    early.remove(0);
                    confirmed += 1;
                }
            }
        }
        if let Some(tag) = nacked {
            checker.violation(format!("publisher {publisher}: message {tag} was refused (nack)"));
        }
        drop(checker);
        silent = if came? || confirmed == sent { 0 } else { silent + 1 };
        if silent > SILENT_TICKS {
            return Err(LinkError::Fault(format!("no confirm for {:?}, {} are owed", TICK * silent, sent - confirmed)));
        }
    }
}
