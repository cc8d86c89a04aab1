//! AMQP: publishers with confirms, consumers with acks.
//!
//! # Layout
//! - [`Load`] (here): what is declared, who publishes and consumes, and how it is all consumed at the end
//! - [`checker`]: the promises; a pure machine, tested on planted histories
//! - [`message`]: what is published
//! - [`publisher`], [`consumer`]: the clients, one thread each
//! - [`link`]: a blocking connection

mod checker;
mod consumer;
mod link;
mod message;
mod publisher;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amqp::client::ClientEvent;
use amqp::codec::{Method, RawTable, exchange, queue};
use anyhow::bail;

use super::broker::{Broker, Listeners};
use super::fault::{Broken, LinkError};
use super::random::Random;
use super::{Client, DRAIN_STALL, join_orderly, spawn};
use checker::{Checker, Figures};
use link::Link;
use message::{FANOUT, FANOUT_QUEUES, QUEUES, queue_name};

const PUBLISHERS: u16 = 6;
const CONSUMERS: u16 = 6;

/// What the threads of one run of the broker share.
pub struct Shared {
    address: SocketAddr,
    checker: Arc<Mutex<Checker>>,
    stop_publishing: AtomicBool,
    stop_consuming: AtomicBool,
    /// By consumer: deliveries and markers under way.
    held: Vec<AtomicUsize>,
}

impl Shared {
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        lock(&self.checker)
    }
}

fn lock(checker: &Mutex<Checker>) -> MutexGuard<'_, Checker> {
    checker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub struct Load {
    checker: Arc<Mutex<Checker>>,
    /// As it stood when it was last told of.
    told: Figures,
}

impl Load {
    fn share(&self, at: &Listeners) -> Arc<Shared> {
        Arc::new(Shared {
            address: at.amqp,
            checker: Arc::clone(&self.checker),
            stop_publishing: AtomicBool::new(false),
            stop_consuming: AtomicBool::new(false),
            held: (0..CONSUMERS).map(|_| AtomicUsize::new(0)).collect(),
        })
    }

    fn figures(&self) -> Figures {
        lock(&self.checker).figures()
    }
}

impl super::Load for Load {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn declare(&mut self, at: &Listeners, again: bool) -> Result<(), LinkError> {
        let mut link = Link::open(at.amqp, "torture control")?;
        let fanout = exchange::Declare { exchange: FANOUT, kind: "fanout", durable: true, passive: again, ..Default::default() };
        link.client.send(&mut link.out, 1, &fanout);
        link.answer()?;
        let names = (0..QUEUES).map(queue_name).chain((0..CONSUMERS).map(consumer::marker_queue));
        for name in names {
            let declare = queue::Declare { queue: &name, durable: true, passive: again, ..Default::default() };
            link.client.send(&mut link.out, 1, &declare);
            link.answer()?;
        }
        if !again {
            for queue in FANOUT_QUEUES {
                let arguments = RawTable::default();
                let bind = queue::Bind { queue: &queue_name(queue), exchange: FANOUT, arguments, ..Default::default() };
                link.client.send(&mut link.out, 1, &bind);
                link.answer()?;
            }
        }
        link.close()
    }

    fn start(&mut self, at: &Listeners, random: &mut Random) -> Vec<Client> {
        start_clients(&self.share(at), random)
    }

    fn restarted(&mut self) {
        lock(&self.checker).restarted();
    }

    fn drain(&mut self, at: &Listeners, broker: &mut Broker, random: &mut Random) -> anyhow::Result<()> {
        let shared = self.share(at);
        let clients = start_clients(&shared, random);
        std::thread::sleep(Duration::from_millis(500));
        shared.stop_publishing.store(true, Ordering::SeqCst);
        let mut control = Link::open(at.amqp, "torture control")?;
        let mut last = (Figures::default(), Instant::now());
        let mut calm = 0;
        while calm < 5 {
            std::thread::sleep(Duration::from_millis(50));
            broker.assert_running()?;
            let ready = ready_messages(&mut control)?;
            let held: usize = shared.held.iter().map(|held| held.load(Ordering::SeqCst)).sum();
            let now = self.figures();
            let moved = now.settled != last.0.settled || now.confirmed != last.0.confirmed || now.delivered != last.0.delivered;
            if moved {
                last = (now, Instant::now());
            }
            calm = if ready == 0 && held == 0 && !moved { calm + 1 } else { 0 };
            if last.1.elapsed() > DRAIN_STALL {
                bail!("the last drain does not get on: {ready} ready, {held} under way, {}", outline(&now));
            }
        }
        shared.stop_consuming.store(true, Ordering::SeqCst);
        join_orderly(clients)?;
        shared.checker().finish();
        Ok(control.close()?)
    }

    /// The queues are empty.
    fn look_again(&mut self, at: &Listeners) -> anyhow::Result<()> {
        let mut control = Link::open(at.amqp, "torture control")?;
        let ready = ready_messages(&mut control)?;
        if ready != 0 {
            self.violation(format!("settled came back: {ready} messages are ready after a clean stop with none"));
        }
        Ok(control.close()?)
    }

    fn violation(&mut self, words: String) {
        lock(&self.checker).violation(words);
    }

    fn with_broken(&self, look: &mut dyn FnMut(&Broken)) {
        look(lock(&self.checker).broken());
    }

    fn news(&mut self) -> String {
        let (before, now) = (self.told, self.figures());
        self.told = now;
        format!(
            "confirmed {}, delivered {} ({} again), settled {}, backlog {}",
            now.confirmed - before.confirmed,
            now.delivered - before.delivered,
            now.redelivered - before.redelivered,
            now.settled - before.settled,
            lock(&self.checker).backlog(),
        )
    }

    fn outline(&self) -> String {
        outline(&self.figures())
    }
}

fn start_clients(shared: &Arc<Shared>, random: &mut Random) -> Vec<Client> {
    let mut clients = Vec::new();
    for publisher in 0..PUBLISHERS {
        let (shared, seed) = (Arc::clone(shared), random.next());
        clients.push(spawn(format!("publisher {publisher}"), move || publisher::run(&shared, publisher, seed)));
    }
    for consumer in 0..CONSUMERS {
        let (shared, seed) = (Arc::clone(shared), random.next());
        let queues: Vec<u16> = (0..QUEUES).filter(|queue| queue % CONSUMERS == consumer).collect();
        clients.push(spawn(format!("consumer {consumer}"), move || consumer::run(&shared, consumer, &queues, seed)));
    }
    clients
}

/// Ready messages of all queues.
fn ready_messages(link: &mut Link) -> Result<u64, LinkError> {
    let mut all = 0;
    for queue in 0..QUEUES {
        let name = queue_name(queue);
        link.client.send(&mut link.out, 1, &queue::Declare { queue: &name, passive: true, ..Default::default() });
        all += link.wait_for(|event| match event {
            ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } => Some(u64::from(ok.message_count)),
            _ => None,
        })?;
    }
    Ok(all)
}

fn outline(figures: &Figures) -> String {
    format!(
        "published {}, confirmed {}, delivered {} ({} again), acked {}, settled {}, never confirmed and rightly forgotten {}, \
         delivered again unflagged {}",
        figures.published,
        figures.confirmed,
        figures.delivered,
        figures.redelivered,
        figures.acked,
        figures.settled,
        figures.forgotten,
        figures.unflagged
    )
}
