//! The offsets that a group has committed, and those that a transaction will.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::group::CommittedOffset;
use model::planted::{self, Bug};

use crate::catalog::group::{Committed, RecordedOffset};

/// What a position takes in memory beside its metadata, about, in bytes.
const POSITION_BYTES: usize = 96;

#[derive(Clone, Debug, PartialEq)]
struct Position {
    offset: i64,
    leader_epoch: i32,
    metadata: Arc<str>,
    /// In wall ms.
    committed_ms: u64,
    /// Orders all commits of the group: of two for one partition the later one counts, whenever the earlier one's
    /// transaction ends.
    sequence: u64,
}

impl Position {
    fn bytes(&self) -> usize {
        POSITION_BYTES + self.metadata.len()
    }
}

/// By topic and partition. Invariant: no topic is without partitions.
type Positions = BTreeMap<Arc<str>, BTreeMap<u32, Position>>;

fn get<'a>(positions: &'a Positions, topic: &str, partition: u32) -> Option<&'a Position> {
    positions.get(topic)?.get(&partition)
}

fn remove(positions: &mut Positions, topic: &str, partition: u32) -> usize {
    let Some(partitions) = positions.get_mut(topic) else { return 0 };
    let bytes = partitions.remove(&partition).map_or(0, |position| position.bytes());
    if partitions.is_empty() {
        positions.remove(topic);
    }
    bytes
}

fn put(positions: &mut Positions, topic: &Arc<str>, partition: u32, position: Position) -> usize {
    let partitions = match positions.get_mut(topic) {
        Some(partitions) => partitions,
        None => positions.entry(topic.clone()).or_default(),
    };
    partitions.insert(partition, position).map_or(0, |before| before.bytes())
}

/// All positions of one group.
#[derive(Default)]
pub(crate) struct Offsets {
    committed: Positions,
    /// By producer id: they count once its transaction is committed.
    pending: BTreeMap<i64, Positions>,
    sequence: u64,
    bytes: usize,
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// What all of them take in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Take in a commit.
    pub fn commit(&mut self, commit: &Committed) {
        for RecordedOffset(topic, partition, offset, leader_epoch, metadata) in &commit.offsets {
            self.sequence += 1;
            let position = Position {
                offset: *offset,
                leader_epoch: *leader_epoch,
                metadata: metadata.clone(),
                committed_ms: commit.at_ms,
                sequence: self.sequence,
            };
            self.bytes += position.bytes();
            let positions = match commit.producer_id {
                Some(producer) if !planted::is(Bug::OffsetsUndecided) => self.pending.entry(producer).or_default(),
                _ => &mut self.committed,
            };
            self.bytes -= put(positions, topic, *partition, position);
        }
    }

    /// The producer's transaction has ended. Returns the topics that it was about, where there was something to be done.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) -> Option<Vec<Arc<str>>> {
        let pending = self.pending.remove(&producer_id)?;
        let topics = pending.keys().cloned().collect();
        for (topic, partitions) in pending {
            for (partition, position) in partitions {
                let later = get(&self.committed, &topic, partition).is_some_and(|other| other.sequence > position.sequence);
                if commit && !later {
                    self.bytes -= put(&mut self.committed, &topic, partition, position);
                } else {
                    self.bytes -= position.bytes();
                }
            }
        }
        Some(topics)
    }

    pub fn delete(&mut self, topic: &str, partition: u32) {
        self.bytes -= remove(&mut self.committed, topic, partition);
    }

    /// Forget everything about a topic.
    pub fn topic_deleted(&mut self, topic: &str) {
        let dropped = |positions: &mut Positions| -> usize {
            positions.remove(topic).into_iter().flat_map(BTreeMap::into_values).map(|position| position.bytes()).sum()
        };
        self.bytes -= dropped(&mut self.committed);
        for positions in self.pending.values_mut() {
            self.bytes -= dropped(positions);
        }
        self.pending.retain(|_, positions| !positions.is_empty());
    }

    /// Whether there is anything about a topic.
    pub fn holds(&self, topic: &str) -> bool {
        self.committed.contains_key(topic) || self.pending.values().any(|positions| positions.contains_key(topic))
    }

    /// The topics of which there is something, some of them more than once.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.committed.keys().chain(self.pending.values().flat_map(BTreeMap::keys))
    }

    pub fn contains(&self, topic: &str, partition: u32) -> bool {
        get(&self.committed, topic, partition).is_some()
    }

    fn is_unstable(&self, topic: &str, partition: u32) -> bool {
        self.pending.values().any(|positions| get(positions, topic, partition).is_some())
    }

    /// One position; `stable`: not while a transaction may change it.
    pub fn fetch(&self, topic: &Arc<str>, partition: u32, stable: bool) -> CommittedOffset {
        let unstable = stable && self.is_unstable(topic, partition);
        let found = get(&self.committed, topic, partition).filter(|_| !unstable);
        CommittedOffset {
            topic: topic.clone(),
            partition,
            offset: found.map_or(-1, |position| position.offset),
            leader_epoch: found.map_or(-1, |position| position.leader_epoch),
            metadata: found.map(|position| position.metadata.clone()).unwrap_or_default(),
            unstable,
        }
    }

    pub fn fetch_all(&self, stable: bool) -> Vec<CommittedOffset> {
        let of_topic = |(topic, partitions): (&Arc<str>, &BTreeMap<u32, Position>)| {
            let fetch = |partition: &u32| self.fetch(topic, *partition, stable);
            partitions.keys().map(fetch).collect::<Vec<_>>()
        };
        self.committed.iter().flat_map(of_topic).collect()
    }

    /// Those that were committed at `before_ms` or earlier and that no transaction would change, of the topics asked for.
    pub fn committed_before(&self, before_ms: u64, of: impl Fn(&str) -> bool) -> Vec<(Arc<str>, u32)> {
        let mut old = Vec::new();
        for (topic, partitions) in self.committed.iter().filter(|(topic, _)| of(topic)) {
            for (partition, position) in partitions {
                if position.committed_ms <= before_ms && !self.is_unstable(topic, *partition) {
                    old.push((topic.clone(), *partition));
                }
            }
        }
        old
    }

    /// The commits that would make all of this afresh, in the order in which they were made.
    pub fn snapshot(&self, group: &Arc<str>) -> Vec<Committed> {
        let committed = std::iter::once((None, &self.committed));
        let pending = self.pending.iter().map(|(producer, positions)| (Some(*producer), positions));
        let mut all: Vec<(Option<i64>, &Arc<str>, u32, &Position)> = committed
            .chain(pending)
            .flat_map(|(producer, positions)| positions.iter().map(move |(topic, partitions)| (producer, topic, partitions)))
            .flat_map(|(producer, topic, partitions)| {
                partitions.iter().map(move |(partition, position)| (producer, topic, *partition, position))
            })
            .collect();
        all.sort_unstable_by_key(|(.., position)| position.sequence);
        let mut commits: Vec<Committed> = Vec::new();
        for (producer_id, topic, partition, position) in all {
            let offset =
                RecordedOffset(topic.clone(), partition, position.offset, position.leader_epoch, position.metadata.clone());
            match commits.last_mut() {
                Some(last) if last.producer_id == producer_id && last.at_ms == position.committed_ms => last.offsets.push(offset),
                _ => commits.push(Committed {
                    group: group.clone(),
                    at_ms: position.committed_ms,
                    producer_id,
                    offsets: vec![offset],
                }),
            }
        }
        commits
    }
}
