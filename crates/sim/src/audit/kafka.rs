//! The Kafka side of the world: what its clients do there, and reading everything with nobody else there.

use std::collections::BTreeSet;

use node::Protocol;
use rand::Rng;

use crate::checker::Violation;
use crate::checker::answers::late;
use crate::kafka::ask::{Ask, Terms};
use crate::kafka::client::{Client, Hands, Part};
use crate::kafka::plan::PartitionIx;
use crate::kafka::reader::Reader;
use crate::world::{Outcome, World};

/// Answers without anything new after which nothing more is expected. Where others always have records, who waits for the disk
/// loses its turn more than once.
const QUIET_ANSWERS: u32 = 100;
/// Bytes of a partition that the auditor asks for at a time, and in a session sometimes.
const AUDIT_BYTES: i32 = 100_000;
const SESSION_BYTES: [i32; 3] = [1, 1_000, AUDIT_BYTES];

impl World {
    fn with_client<T>(&mut self, at: usize, act: impl FnOnce(&mut Client, &mut Hands<'_>) -> T) -> T {
        let wall_ms = self.now().wall_ms;
        let mut hands = Hands { rng: &mut self.rng, model: &mut self.kafka_model, trace: &mut self.trace, wall_ms };
        act(&mut self.kafka[at], &mut hands)
    }

    /// A client connects, does something, or goes.
    pub fn kafka_acts(&mut self, at: usize) -> Outcome {
        if self.kafka[at].conn.is_none() {
            self.kafka_connects(at);
            return Ok(());
        }
        if self.is_wild() && self.rng.random_ratio(1, 150) {
            return self.drop_connection(self.connections.len() + at);
        }
        self.with_client(at, |client, hands| client.act(hands));
        Ok(())
    }

    fn kafka_connects(&mut self, at: usize) {
        let protocol = Protocol::Kafka { host: "here".into(), port: 9092 };
        let Some((id, session)) = self.open_session(protocol, self.connections.len() + at) else { return };
        self.with_client(at, |client, hands| client.connect(id, session, hands));
    }

    /// So many bytes arrive at a client.
    pub fn kafka_hears(&mut self, at: usize, count: usize) -> Outcome {
        self.with_client(at, |client, hands| {
            if let Some(conn) = &mut client.conn {
                conn.wire.arrive(count, hands.trace);
            }
            client.hear(hands)
        })
    }

    pub fn kafka_loses(&mut self, at: usize) {
        self.with_client(at, |client, hands| client.lose(hands));
    }

    /// The end comes: everything that was to be asked again is, and no transaction stays open.
    pub fn finish_kafka(&mut self) -> Outcome {
        let Some(auditor) = self.kafka.len().checked_sub(1) else { return Ok(()) };
        for at in 0..auditor {
            if self.kafka[at].conn.is_none() {
                self.kafka_connects(at);
            }
        }
        self.settle_down()?;
        for at in 0..auditor {
            self.with_client(at, |client, hands| {
                let last = match &mut client.part {
                    Part::Producer(producer) => producer.begin_anew(hands),
                    Part::Owner(owner) => owner.look(),
                    _ => None,
                };
                if let Some(ask) = last {
                    client.ask(ask, hands);
                }
            });
        }
        self.settle_down()
    }

    /// Read everything, with nobody else there.
    pub fn audit_kafka(&mut self) -> Outcome {
        let Some(at) = self.kafka.len().checked_sub(1) else { return Ok(()) };
        self.trace.event(format_args!("an audit of the topics begins"));
        self.settle_down()?;
        self.kafka_connects(at);
        self.settle_down()?;
        for committed in [false, true] {
            self.read_all(at, committed)?;
        }
        let groups: BTreeSet<usize> = self.kafka_model.positions.keys().map(|(group, _)| *group).collect();
        for group in groups {
            let all = 0..self.kafka_model.plan.partitions.len();
            let of = all.map(|partition| (partition, self.kafka_model.attempts(group, partition))).collect();
            self.with_client(at, |client, hands| client.ask(Ask::Positions { group, of, stable: false }, hands));
            self.settle_down()?;
        }
        let clients = &self.kafka;
        self.kafka_model.everything_was_read(&|batch| clients.iter().any(|client| client.will_send(batch)));
        self.hang_up(self.connections.len() + at, false)
    }

    fn read_all(&mut self, at: usize, committed: bool) -> Outcome {
        let in_sessions = self.rng.random_ratio(1, 2);
        let bytes_max = if in_sessions { SESSION_BYTES[self.rng.random_range(0..3)] } else { AUDIT_BYTES };
        self.kafka[at].part = Part::Reader(Reader::new(committed, in_sessions));
        // In a session, what was read to its end is read again, so that all the others have to wait for their turn.
        let mut done = BTreeSet::new();
        let mut quiet = 0;
        let mut before = Vec::new();
        loop {
            let left = self.left(at, &mut done);
            if left.is_empty() {
                return Ok(());
            }
            quiet = if left == before { quiet + 1 } else { 0 };
            if quiet > QUIET_ANSWERS {
                return left.into_iter().try_for_each(|(partition, next, end)| match end {
                    Some(end) => self.kafka_model.nothing_between(partition, next, end),
                    None => Err(late(&[format!("how far {} goes", self.kafka_model.plan.name(partition))])),
                });
            }
            let of_left = left.iter().map(|(partition, ..)| *partition);
            let partitions: BTreeSet<PartitionIx> = of_left.chain(done.iter().copied()).collect();
            let partitions: Vec<PartitionIx> = partitions.into_iter().collect();
            before = left;
            self.with_client(at, |client, hands| {
                let Part::Reader(reader) = &client.part else { return };
                let ask = reader.fetch(&partitions, Terms { bytes_min: 1, bytes_max, wait_ms: 0 }, hands);
                client.ask(ask, hands);
            });
            self.settle_down()?;
        }
    }

    /// Partitions that were not read to their end: where they are read on, and their ends, where that is known. In a session,
    /// those that were join `done`, and begin again.
    fn left(&mut self, at: usize, done: &mut BTreeSet<PartitionIx>) -> Vec<(PartitionIx, u64, Option<u64>)> {
        let Part::Reader(reader) = &mut self.kafka[at].part else { return Vec::new() };
        let mut left = Vec::new();
        for partition in 0..self.kafka_model.plan.partitions.len() {
            let next = reader.next.get(&partition).copied().unwrap_or(0);
            let end = reader.ends.get(&partition).copied();
            if end.is_some_and(|end| next >= end) {
                if reader.in_sessions {
                    done.insert(partition);
                    reader.next.insert(partition, self.kafka_model.logs[partition].start);
                }
            } else if !done.contains(&partition) {
                left.push((partition, next, end));
            }
        }
        left
    }

    /// The last look: everything is read, and nothing is open.
    pub fn drain_kafka(&mut self) -> Outcome {
        for at in 0..self.kafka.len() {
            self.hang_up(self.connections.len() + at, false)?;
        }
        // What was sent and not answered is there or not once the disk has nothing left to do.
        self.come_to_rest()?;
        self.audit_kafka()?;
        for (partition, log) in self.kafka_model.logs.iter().enumerate() {
            if log.sight.stable < log.sight.high {
                let name = self.kafka_model.plan.name(partition);
                let text = format!("{name}: its stable end is {:?} although every transaction was ended", log.sight);
                return Err(Violation::new("transactions", text));
            }
        }
        Ok(())
    }
}
