//! Producers with a transactional id: some commit what they write and some abort it, and some of that was made of what they
//! have consumed, whose offsets are part of the transaction.

use kafka::codec::{ApiKey, Request, add_offsets_to_txn, add_partitions_to_txn, end_txn, produce, txn_offset_commit};

use super::checker::Transaction;
use super::link::{Identity, Link, by_topic, check, produce, produced};
use super::record::{Id, Sequenced, Spot, Topic, batch, read};
use super::{Shared, TRANSFORM, now_ms, pause};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

/// Records of a transaction, and records of a partition consumed for one.
const RECORDS_MAX: u64 = 40;
const CONSUMED_MAX: u64 = 1_000;

/// A transactional id in use.
struct Writer {
    link: Link,
    producer: u16,
    transactional_id: String,
    identity: Identity,
    topic: Topic,
    /// By partition.
    sequences: Vec<i32>,
    /// KIP-890: partitions become part of a transaction by being written to, and every transaction has an epoch of its own.
    second: bool,
    /// Partitions that are part of the open transaction.
    added: Vec<Spot>,
}

impl Writer {
    fn open(shared: &Shared, producer: u16, topic: Topic, random: &mut Random) -> Result<Writer, LinkError> {
        let mut link = Link::open(shared.address)?;
        let second = random.one_in(2);
        if !second {
            for (key, newest) in [(ApiKey::Produce, 11), (ApiKey::EndTxn, 4), (ApiKey::TxnOffsetCommit, 4)] {
                link.limit(key, newest);
            }
            link.limit(ApiKey::InitProducerId, 4);
        }
        link.limit(ApiKey::AddPartitionsToTxn, 3);
        let transactional_id = format!("torture-{producer}");
        let identity = link.identify(Some(&transactional_id))?;
        let sequences = vec![0; topic.partitions().unsigned_abs() as usize];
        Ok(Writer { link, producer, transactional_id, identity, topic, sequences, second, added: Vec::new() })
    }

    /// Write records, each made of another or of nothing, and wait for the answers.
    fn write(&mut self, shared: &Shared, transaction: Transaction, of: &[Option<Id>]) -> Result<(), LinkError> {
        let mut checker = shared.checker();
        let ids: Vec<Id> = of.iter().map(|of| checker.sent(self.producer, self.topic, Some(transaction), *of)).collect();
        drop(checker);
        let mut batches = Vec::new();
        for spot in self.topic.spots() {
            let ids: Vec<Id> = ids.iter().copied().filter(|id| id.spot(self.topic) == spot).collect();
            let Some(next) = self.sequences.get_mut(spot.partition.unsigned_abs() as usize).filter(|_| !ids.is_empty()) else {
                continue;
            };
            let Identity { producer_id, epoch } = self.identity;
            let by = Sequenced { producer_id, epoch, sequence: *next, transactional: true };
            *next += i32::try_from(ids.len()).unwrap_or(0);
            batches.push((spot, batch(&ids, self.topic, Some(by), now_ms()), ids));
        }
        if !self.second {
            self.add_partitions(batches.iter().map(|(spot, ..)| *spot).collect())?;
        }
        let bytes: Vec<_> = batches.iter().map(|(spot, bytes, _)| (*spot, bytes.as_slice())).collect();
        let answer: produce::Response<'_> = self.link.ask(&produce(&bytes, -1, Some(&self.transactional_id)))?;
        for (spot, base) in produced(&answer)? {
            if let Some((.., ids)) = batches.iter().find(|(sent, ..)| *sent == spot) {
                shared.checker().acked(spot, base, ids);
            }
        }
        Ok(())
    }

    fn add_partitions(&mut self, mut spots: Vec<Spot>) -> Result<(), LinkError> {
        spots.retain(|spot| !self.added.contains(spot));
        if spots.is_empty() {
            return Ok(());
        }
        let topics = by_topic(spots.iter().copied(), |spot| spot.partition);
        let topic =
            |(topic, partitions): (Topic, Vec<i32>)| add_partitions_to_txn::RequestTopic { name: topic.name(), partitions };
        let request = add_partitions_to_txn::Request {
            transactional_id: &self.transactional_id,
            producer_id: self.identity.producer_id,
            producer_epoch: self.identity.epoch,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let answer: add_partitions_to_txn::Response<'_> = self.link.ask(&Request::AddPartitionsToTxn(request))?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            check(partition.error_code, "AddPartitionsToTxn")?;
        }
        self.added.extend(spots);
        Ok(())
    }

    /// Make these offsets of [`TRANSFORM`] part of the transaction.
    fn commit_offsets(&mut self, shared: &Shared, transaction: Transaction, offsets: &[(Spot, u64)]) -> Result<(), LinkError> {
        let Identity { producer_id, epoch } = self.identity;
        if !self.second {
            let request = add_offsets_to_txn::Request {
                transactional_id: &self.transactional_id,
                producer_id,
                producer_epoch: epoch,
                group_id: TRANSFORM,
            };
            let answer: add_offsets_to_txn::Response = self.link.ask(&Request::AddOffsetsToTxn(request))?;
            check(answer.error_code, "AddOffsetsToTxn")?;
        }
        for (spot, offset) in offsets {
            shared.checker().committing(TRANSFORM, *spot, *offset, Some(transaction));
        }
        let offset_of = |spot: Spot| offsets.iter().find(|(known, _)| *known == spot).map_or(0, |(_, offset)| *offset);
        let topics = by_topic(offsets.iter().map(|(spot, _)| *spot), |spot| txn_offset_commit::RequestPartition {
            partition_index: spot.partition,
            committed_offset: i64::try_from(offset_of(spot)).unwrap_or(i64::MAX),
            ..Default::default()
        });
        let topic = |(topic, partitions): (Topic, _)| txn_offset_commit::RequestTopic { name: topic.name(), partitions };
        let request = txn_offset_commit::Request {
            transactional_id: &self.transactional_id,
            group_id: TRANSFORM,
            producer_id,
            producer_epoch: epoch,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        let answer: txn_offset_commit::Response<'_> = self.link.ask(&Request::TxnOffsetCommit(request))?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            check(partition.error_code, "TxnOffsetCommit")?;
        }
        Ok(())
    }

    fn end(&mut self, shared: &Shared, transaction: Transaction, commit: bool) -> Result<(), LinkError> {
        shared.checker().ending(transaction, commit);
        let request = end_txn::Request {
            transactional_id: &self.transactional_id,
            producer_id: self.identity.producer_id,
            producer_epoch: self.identity.epoch,
            committed: commit,
        };
        let answer: end_txn::Response = self.link.ask(&Request::EndTxn(request))?;
        check(answer.error_code, "EndTxn")?;
        shared.checker().end(transaction, commit);
        self.added.clear();
        if self.second {
            self.identity = Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch };
            self.sequences.fill(0);
        }
        Ok(())
    }
}

/// One transaction after another.
pub fn run(shared: &Shared, producer: u16, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut writer = Writer::open(shared, producer, Topic::Transactional, &mut random)?;
    while !shared.is_producing_over() {
        let transaction = shared.checker().begin();
        for _ in 0..1 + random.below(3) {
            let count = usize::try_from(1 + random.below(RECORDS_MAX / 3)).unwrap_or(1);
            writer.write(shared, transaction, &vec![None; count])?;
            pause(&mut random);
        }
        writer.end(shared, transaction, !random.one_in(3))?;
    }
    Ok(())
}

/// Consume, transform, produce: what [`Topic::Idempotent`] holds goes into [`Topic::Output`], once.
pub fn transform(shared: &Shared, producer: u16, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut writer = Writer::open(shared, producer, Topic::Output, &mut random)?;
    let committed = writer.link.committed(TRANSFORM, Topic::Idempotent)?;
    let mut positions = Vec::new();
    for (spot, offset) in committed {
        shared.checker().committed(TRANSFORM, spot, offset);
        positions.push((spot, offset.unwrap_or(0)));
    }
    while !shared.is_consuming_over() {
        let mut taken: Vec<(Spot, u64, Vec<Id>)> = Vec::new();
        let most = usize::try_from(1 + random.below(CONSUMED_MAX)).unwrap_or(1);
        let from = positions.clone();
        writer.link.fetch(&from, true, |spot, bytes, aborted| {
            let start = from.iter().find(|(known, _)| *known == spot).map_or(0, |(_, offset)| *offset);
            let fetched = read(bytes, spot.topic, start, aborted).map_err(LinkError::Fault)?;
            // The rest is fetched again.
            let records: Vec<_> = fetched.records.iter().copied().take(most).collect();
            let next = if records.len() < fetched.records.len() { records.last().map(|(offset, _)| offset + 1) } else { None };
            let next = next.unwrap_or(fetched.next);
            shared.checker().read(spot, true, start..next, &records);
            if next > start {
                taken.push((spot, next, records.into_iter().map(|(_, id)| id).collect()));
            }
            Ok(())
        })?;
        if !taken.is_empty() {
            let transaction = shared.checker().begin();
            let of: Vec<Option<Id>> = taken.iter().flat_map(|(.., ids)| ids).copied().map(Some).collect();
            writer.write(shared, transaction, &of)?;
            let offsets: Vec<_> = taken.iter().map(|(spot, next, _)| (*spot, *next)).collect();
            writer.commit_offsets(shared, transaction, &offsets)?;
            let commit = !random.one_in(6);
            writer.end(shared, transaction, commit)?;
            if commit {
                for (spot, next) in offsets {
                    positions.iter_mut().filter(|(known, _)| *known == spot).for_each(|(_, position)| *position = next);
                }
            }
        }
        shared.tell(TRANSFORM, &positions);
    }
    Ok(())
}
