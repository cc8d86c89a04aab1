//! A client with a topic and a group of its own: it makes the topic, writes to it, reads it back, commits, and deletes it.

use std::ops::RangeInclusive;

use kafka::codec::error_code::{KAFKA_STORAGE_ERROR, NONE};
use kafka::codec::{ApiKey, Request, Response, create_topics, delete_topics, fetch, offset_commit, offset_fetch, produce};
use model::record::{self, BatchHead};
use rand::Rng;

use super::ask::{Answer, Ask, fetched};
use super::batch::{self, Codec, Record, RecordId, Stamp};
use super::checker::lives::{Exists, Lives, Written};
use super::client::Hands;
use crate::checker::Violation;

/// Bytes of values at most.
const VALUE_BYTES_MAX: usize = 2_000;

/// What is asked about the topic.
#[derive(Clone, Copy, Debug)]
pub enum Own {
    Make,
    Delete,
    Write { written: Written, len: usize, at_ms: u64 },
    Read { from: u64 },
    Commit { position: i64 },
    Position,
}

fn record_of(Written { life, nth }: Written, len: usize, at_ms: u64) -> Record {
    let id = RecordId::from(life) << 16 | RecordId::from(nth);
    Record { id, partition: 0, key: None, len: Some(len), timestamp_ms: at_ms }
}

impl Own {
    pub fn key(&self) -> ApiKey {
        match self {
            Own::Make => ApiKey::CreateTopics,
            Own::Delete => ApiKey::DeleteTopics,
            Own::Write { .. } => ApiKey::Produce,
            Own::Read { .. } => ApiKey::Fetch,
            Own::Commit { .. } => ApiKey::OffsetCommit,
            Own::Position => ApiKey::OffsetFetch,
        }
    }

    /// Versions that say what is meant.
    pub fn versions(&self) -> RangeInclusive<i16> {
        match self {
            Own::Make => 2..=7,
            Own::Delete => 1..=5,
            Own::Write { .. } => 3..=11,
            Own::Read { .. } => 4..=12,
            Own::Commit { .. } => 2..=9,
            Own::Position => 1..=7,
        }
    }

    /// The request of the client with this number.
    pub fn with_request(&self, client: usize, put: &mut dyn FnMut(&Request<'_>)) {
        let name = &*format!("own{client}");
        match *self {
            Own::Make => {
                let topics =
                    vec![create_topics::RequestTopic { name, num_partitions: 1, replication_factor: 1, ..Default::default() }];
                put(&Request::CreateTopics(create_topics::Request { topics, ..Default::default() }));
            }
            Own::Delete => {
                put(&Request::DeleteTopics(delete_topics::Request { topic_names: vec![name], ..Default::default() }));
            }
            Own::Write { written, len, at_ms } => {
                let batch = batch::encode(&[record_of(written, len, at_ms)], Stamp::NONE, Codec::None);
                let partitions = vec![produce::RequestPartition { index: 0, records: Some(&batch) }];
                let topics = vec![produce::RequestTopic { name, partitions, ..Default::default() }];
                put(&Request::Produce(produce::Request { transactional_id: None, acks: -1, timeout_ms: 30_000, topics }));
            }
            Own::Read { from } => {
                let partition =
                    fetch::RequestPartition { fetch_offset: from as i64, partition_max_bytes: 10_000, ..Default::default() };
                let topics = vec![fetch::RequestTopic { topic: name, partitions: vec![partition], ..Default::default() }];
                put(&Request::Fetch(fetch::Request { replica_id: -1, max_bytes: 10_000, topics, ..Default::default() }));
            }
            Own::Commit { position } => {
                let partitions = vec![offset_commit::RequestPartition { committed_offset: position, ..Default::default() }];
                let topics = vec![offset_commit::RequestTopic { name, partitions }];
                put(&Request::OffsetCommit(offset_commit::Request { group_id: name, topics, ..Default::default() }));
            }
            Own::Position => {
                let topics = Some(vec![offset_fetch::RequestTopic { name, partition_indexes: vec![0] }]);
                put(&Request::OffsetFetch(offset_fetch::Request { group_id: name, topics, ..Default::default() }));
            }
        }
    }

    /// What an answer says; `None`: it is none to this.
    pub fn answer(&self, response: &Response<'_>) -> Option<Answer> {
        Some(match (self, response) {
            (Own::Make, Response::CreateTopics(told)) => Answer::Codes(vec![told.topics.first()?.error_code]),
            (Own::Delete, Response::DeleteTopics(told)) => Answer::Codes(vec![told.topics.first()?.error_code]),
            (Own::Write { .. }, Response::Produce(told)) => {
                let told = told.topics.first()?.partitions.first()?;
                Answer::Produced(vec![if told.error_code == NONE { Ok(told.base_offset) } else { Err(told.error_code) }])
            }
            (Own::Read { .. }, Response::Fetch(told)) => Answer::Fetched(vec![fetched(told.topics.first()?.partitions.first()?)]),
            (Own::Commit { .. }, Response::OffsetCommit(told)) => {
                Answer::Codes(vec![told.topics.first()?.partitions.first()?.error_code])
            }
            (Own::Position, Response::OffsetFetch(told)) => {
                let told = told.topics.first()?.partitions.first()?;
                let told =
                    if told.error_code == NONE { Ok((told.committed_offset, String::new())) } else { Err(told.error_code) };
                Answer::Positions(vec![told])
            }
            _ => return None,
        })
    }
}

#[derive(Default)]
pub struct Owner {
    lives: Lives,
    /// Where the topic is read on.
    next: u64,
}

impl Owner {
    pub fn next(&mut self, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        if !awaiting.is_empty() {
            return None;
        }
        let chance = hands.rng.random_range(0..16);
        let own = match self.lives.exists {
            Exists::Perhaps => Own::Delete,
            // What is asked about it when it is gone.
            Exists::No if chance == 0 => Own::Delete,
            Exists::No if chance > 3 => {
                (self.next, _) = (0, self.lives.make());
                Own::Make
            }
            Exists::Yes if chance == 0 => Own::Delete,
            _ => match chance % 8 {
                0..3 => {
                    let len = hands.rng.random_range(0..=VALUE_BYTES_MAX);
                    Own::Write { written: self.lives.send(), len, at_ms: hands.wall_ms }
                }
                3..6 => {
                    self.next = if hands.one_in(4) { 0 } else { self.next };
                    Own::Read { from: self.next }
                }
                6 if self.lives.exists == Exists::Yes => {
                    let position = hands.rng.random_range(0..100);
                    self.lives.commit(position);
                    Own::Commit { position }
                }
                _ => Own::Position,
            },
        };
        Some(Ask::Own(own))
    }

    /// A last look, where it is known whether the topic is there.
    pub fn look(&self) -> Option<Ask> {
        (self.lives.exists != Exists::Perhaps).then_some(Ask::Own(Own::Read { from: 0 }))
    }

    /// Whether that may be answered so.
    pub fn heard(&mut self, ask: Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        let Ask::Own(own) = ask else { return Ok(false) };
        match (own, answer) {
            (Own::Make, Answer::Codes(codes)) => self.lives.made(codes[0]),
            (Own::Delete, Answer::Codes(codes)) => {
                hands.model.counts.deleted += 1;
                self.lives.deleted(codes[0])
            }
            (Own::Write { written, .. }, Answer::Produced(told)) => self.lives.written(written, told[0]),
            (Own::Read { from }, Answer::Fetched(told)) => {
                let Some(found) = written(&told[0].records) else { return Ok(false) };
                if let Some(next) = self.lives.read(from, told[0].code, told[0].high, &found)? {
                    self.next = next;
                }
                Ok(true)
            }
            // Commits are refused while the disk is full.
            (Own::Commit { .. }, Answer::Codes(codes)) if codes[0] == KAFKA_STORAGE_ERROR => Ok(true),
            (Own::Commit { position }, Answer::Codes(codes)) => self.lives.committed(position, codes[0]),
            (Own::Position, Answer::Positions(told)) => match &told[0] {
                Ok((position, _)) => self.lives.position(*position).map(|()| true),
                Err(_) => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// The connection is gone, and with it what was asked.
    pub fn lose<'a>(&mut self, mut left: impl Iterator<Item = &'a Ask>) {
        if left.any(|ask| matches!(ask, Ask::Own(Own::Make | Own::Delete))) {
            self.lives.is_uncertain();
        }
    }
}

/// The records of some batches, with their offsets; `None`: they are not such as are written here.
fn written(mut batches: &[u8]) -> Option<Vec<(u64, Written)>> {
    let mut all = Vec::new();
    while !batches.is_empty() {
        let (batch, rest) = batches.split_at(record::verify(batches).ok()?);
        let head = BatchHead::parse(batch).ok()?;
        let plain = batch::unpacked(batch, &head)?;
        let records = batch::records(&plain, &head)?;
        let [found] = records.as_slice() else { return None };
        let id = batch::id_of(found, head.base_timestamp_ms)?;
        let written = Written { life: (id >> 16) as u16, nth: id as u16 };
        let len = found.value?.len();
        if !batch::is_same(found, &head, &record_of(written, len, u64::try_from(head.base_timestamp_ms).ok()?)) {
            return None;
        }
        all.push((u64::from_be_bytes(*batch.first_chunk()?), written));
        batches = rest;
    }
    Some(all)
}
