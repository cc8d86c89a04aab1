//! Kafka: producers of every kind, a group, transactions that consume and produce, readers, a compacted topic.
//!
//! # Layout
//! - [`Load`] (here): which topics there are, who writes and reads them, and how it is all read at the end
//! - [`checker`]: the promises; a pure machine, tested on planted histories
//! - [`record`]: what is produced
//! - [`producer`], [`transactional`], [`group`], [`reader`]: the clients, one thread each
//! - [`link`]: a blocking connection

mod checker;
mod group;
mod link;
mod producer;
mod reader;
mod record;
mod transactional;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use kafka::codec::{Request, create_topics};

use super::broker::{Broker, Listeners};
use super::fault::{Broken, LinkError};
use super::random::Random;
use super::{Client, DRAIN_STALL, join_orderly, spawn};
use checker::{Checker, Figures};
use link::{Link, check};
use record::{Spot, Topic};

/// The group that only consumes, and the one whose offsets are committed in transactions.
const GROUP: &str = "torture-group";
const TRANSFORM: &str = "torture-transform";
const MEMBERS: usize = 2;

/// Producers by their numbers: those that repeat or give up, those with transactions, and the one that transforms.
const PRODUCERS: [(u16, Topic); 4] = [(0, Topic::Plain), (1, Topic::Idempotent), (2, Topic::Idempotent), (3, Topic::Compacted)];
const TRANSACTIONAL: [u16; 2] = [10, 11];
const TRANSFORMER: u16 = 20;

/// Readers, and whether they want committed records only.
const READERS: [(&str, bool); 2] = [("reader of committed records", true), ("reader of all records", false)];

/// What the threads of one run of the broker share.
struct Shared {
    address: SocketAddr,
    checker: Arc<Mutex<Checker>>,
    stop_producing: AtomicBool,
    stop_consuming: AtomicBool,
    /// How far readers say they are.
    told: Mutex<HashMap<(&'static str, Spot), u64>>,
}

impl Shared {
    fn checker(&self) -> MutexGuard<'_, Checker> {
        lock(&self.checker)
    }

    fn is_producing_over(&self) -> bool {
        self.stop_producing.load(Ordering::SeqCst)
    }

    fn is_consuming_over(&self) -> bool {
        self.stop_consuming.load(Ordering::SeqCst)
    }

    /// A reader is as far as this.
    fn tell(&self, name: &'static str, positions: &[(Spot, u64)]) {
        lock(&self.told).extend(positions.iter().map(|(spot, position)| ((name, *spot), *position)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between requests, so that there is not more of them than can be checked.
fn pause(random: &mut Random) {
    std::thread::sleep(Duration::from_micros(random.below(6_000)));
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

#[derive(Default)]
pub struct Load {
    checker: Arc<Mutex<Checker>>,
    producers: [Arc<Mutex<producer::State>>; PRODUCERS.len()],
    readers: [Arc<Mutex<reader::Positions>>; READERS.len()],
    members: [Arc<Mutex<group::MemberId>>; MEMBERS],
    /// As it stood when it was last told of.
    told: Figures,
}

impl Load {
    fn share(&self, at: &Listeners) -> Arc<Shared> {
        Arc::new(Shared {
            address: at.kafka,
            checker: Arc::clone(&self.checker),
            stop_producing: AtomicBool::new(false),
            stop_consuming: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    fn start_producers(&self, shared: &Arc<Shared>, random: &mut Random) -> Vec<Client> {
        let mut clients = Vec::new();
        for ((producer, topic), state) in PRODUCERS.into_iter().zip(&self.producers) {
            let (shared, state, seed) = (Arc::clone(shared), Arc::clone(state), random.next());
            let run = move || producer::run(&shared, producer, topic, &mut lock(&state), seed);
            clients.push(spawn(format!("producer {producer} of {}", topic.name()), run));
        }
        for producer in TRANSACTIONAL {
            let (shared, seed) = (Arc::clone(shared), random.next());
            let run = move || transactional::run(&shared, producer, seed);
            clients.push(spawn(format!("transactional producer {producer}"), run));
        }
        clients
    }

    fn start_consumers(&self, shared: &Arc<Shared>, random: &mut Random) -> Vec<Client> {
        let (sharing, seed) = (Arc::clone(shared), random.next());
        let mut clients = vec![spawn("transformer".into(), move || transactional::transform(&sharing, TRANSFORMER, seed))];
        for ((name, committed), positions) in READERS.into_iter().zip(&self.readers) {
            let (shared, positions, seed) = (Arc::clone(shared), Arc::clone(positions), random.next());
            let run = move || reader::run(&shared, name, committed, &mut lock(&positions), seed);
            clients.push(spawn(name.into(), run));
        }
        for (member, id) in self.members.iter().enumerate() {
            let (shared, id, seed) = (Arc::clone(shared), Arc::clone(id), random.next());
            clients.push(spawn(format!("group member {member}"), move || group::run(&shared, &mut lock(&id), seed)));
        }
        clients
    }

    fn figures(&self) -> Figures {
        lock(&self.checker).figures()
    }

    /// Everybody has read everything: what is still missing, if anything.
    fn behind(&self, shared: &Shared, link: &mut Link) -> Result<Option<String>, LinkError> {
        let spots: Vec<Spot> = Spot::all().filter(|spot| spot.topic != Topic::Compacted).collect();
        let ends: HashMap<Spot, u64> = spots.iter().copied().zip(link.ends(&spots, false)?).collect();
        for (name, _) in READERS {
            let told = lock(&shared.told);
            let behind = spots.iter().find(|spot| told.get(&(name, **spot)) < ends.get(spot) && ends.get(spot) != Some(&0));
            if let Some(spot) = behind {
                return Ok(Some(format!("the {name} is at {:?} of {spot}, of {:?}", told.get(&(name, *spot)), ends.get(spot))));
            }
        }
        for group in [GROUP, TRANSFORM] {
            let committed = link.committed(group, Topic::Idempotent)?;
            if let Some((spot, at)) = committed.iter().find(|(spot, offset)| offset.unwrap_or(0) != ends[spot]) {
                return Ok(Some(format!("{group} has committed {at:?} of {spot}, of {}", ends[spot])));
            }
        }
        Ok(None)
    }
}

impl super::Load for Load {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn declare(&mut self, at: &Listeners, again: bool) -> Result<(), LinkError> {
        let mut link = Link::open(at.kafka)?;
        if !again {
            // Small stretches that are compacted whenever the broker starts.
            let settings = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.01")];
            let compact = settings.map(|(name, value)| create_topics::RequestConfig { name, value: Some(value) });
            let topic = |topic: Topic| create_topics::RequestTopic {
                name: topic.name(),
                num_partitions: topic.partitions(),
                replication_factor: -1,
                configs: if topic == Topic::Compacted { compact.to_vec() } else { Vec::new() },
                ..Default::default()
            };
            let request = create_topics::Request { topics: Topic::ALL.map(topic).to_vec(), ..Default::default() };
            let answer: create_topics::Response<'_> = link.ask(&Request::CreateTopics(request))?;
            answer.topics.iter().try_for_each(|topic| check(topic.error_code, "CreateTopics"))?;
        }
        let spots: Vec<Spot> = Spot::all().collect();
        for (spot, end) in spots.iter().zip(link.ends(&spots, false)?) {
            lock(&self.checker).ended(*spot, end);
        }
        Ok(())
    }

    fn start(&mut self, at: &Listeners, random: &mut Random) -> Vec<Client> {
        let shared = self.share(at);
        let mut clients = self.start_producers(&shared, random);
        clients.extend(self.start_consumers(&shared, random));
        clients
    }

    fn restarted(&mut self) {
        lock(&self.checker).restarted();
    }

    fn drain(&mut self, at: &Listeners, broker: &mut Broker, random: &mut Random) -> anyhow::Result<()> {
        let shared = self.share(at);
        let producers = self.start_producers(&shared, random);
        let consumers = self.start_consumers(&shared, random);
        std::thread::sleep(Duration::from_millis(500));
        shared.stop_producing.store(true, Ordering::SeqCst);
        join_orderly(producers)?;
        let mut link = Link::open(at.kafka)?;
        let mut last = (0, Instant::now());
        while let Some(words) = self.behind(&shared, &mut link)? {
            std::thread::sleep(Duration::from_millis(50));
            broker.assert_running()?;
            let now = self.figures();
            if now.read + now.offsets != last.0 {
                last = (now.read + now.offsets, Instant::now());
            }
            if last.1.elapsed() > DRAIN_STALL {
                bail!("the last drain does not get on: {words}; {}", self.outline());
            }
        }
        shared.stop_consuming.store(true, Ordering::SeqCst);
        join_orderly(consumers)?;
        for (_, committed) in READERS {
            reader::read_all(&shared, &mut link, committed)?;
        }
        shared.checker().finish();
        Ok(())
    }

    /// All of it is there, and so are the groups.
    fn look_again(&mut self, at: &Listeners) -> anyhow::Result<()> {
        let shared = self.share(at);
        let mut link = Link::open(at.kafka)?;
        for (_, committed) in READERS {
            reader::read_all(&shared, &mut link, committed)?;
        }
        for group in [GROUP, TRANSFORM] {
            for (spot, offset) in link.committed(group, Topic::Idempotent)? {
                shared.checker().committed(group, spot, offset);
            }
        }
        Ok(())
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
            "acked {}, read {}, transactions {} committed, {} aborted, offsets committed {}, transformed {}",
            now.acked - before.acked,
            now.read - before.read,
            now.committed - before.committed,
            now.aborted - before.aborted,
            now.offsets - before.offsets,
            now.transformed - before.transformed,
        )
    }

    fn outline(&self) -> String {
        let all = self.figures();
        format!(
            "sent {}, acked {}, read {}, transactions {} committed, {} aborted, {} never heard of again, offsets committed {}, \
             transformed {}, found compacted {}",
            all.sent, all.acked, all.read, all.committed, all.aborted, all.undecided, all.offsets, all.transformed, all.compacted,
        )
    }
}
