//! How far groups have read: keys 8 OffsetCommit, 28 TxnOffsetCommit, 9 OffsetFetch, 47 OffsetDelete.

use model::group::{CommitOffsets, CommittedOffset, Membership, OffsetCommit, TransactionRef};
use model::{LogFailure, Reply, Request};

use super::errors::{self, MISMATCH, log_code, member_code};
use super::job::{Answer, Each, Here, Item, partition};
use crate::codec::error_code::UNSTABLE_OFFSET_COMMIT;
use crate::codec::{Message as _, offset_commit, offset_delete, offset_fetch, txn_offset_commit};

/// A position that is to be kept.
struct Position {
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Box<str>,
}

impl Position {
    fn new(index: i32, offset: i64, leader_epoch: i32, metadata: Option<&str>) -> Position {
        Position { index, offset, leader_epoch, metadata: metadata.unwrap_or_default().into() }
    }
}

/// The producer in whose transaction a commit takes part.
struct Producer {
    transactional_id: Box<str>,
    id: i64,
    epoch: i16,
    /// The commit announces itself to the transaction.
    implicit: bool,
}

/// Positions of a group that are to be kept.
pub(super) struct Commit {
    group: Box<str>,
    generation: i32,
    member_id: Box<str>,
    instance_id: Option<Box<str>>,
    producer: Option<Producer>,
    topics: Vec<(Box<str>, Vec<Position>)>,
    /// A code for each position.
    told: Option<Vec<i16>>,
}

/// Key 8. The retention time that old clients name is the broker's own business.
pub(super) fn commit(request: &offset_commit::Request<'_>) -> Each<Commit> {
    let positions = |topic: &offset_commit::RequestTopic<'_>| {
        let asked = topic.partitions.iter();
        let position = asked.map(|asked| {
            Position::new(asked.partition_index, asked.committed_offset, asked.committed_leader_epoch, asked.committed_metadata)
        });
        (topic.name.into(), position.collect())
    };
    let commit = Commit {
        group: request.group_id.into(),
        generation: request.generation_id_or_member_epoch,
        member_id: request.member_id.into(),
        instance_id: request.group_instance_id.map(Box::from),
        producer: None,
        topics: request.topics.iter().map(positions).collect(),
        told: None,
    };
    Each::of([commit], |commits, here, out| {
        let partition = |(partition_index, error_code)| offset_commit::Partition { partition_index, error_code };
        let topics = commits
            .items()
            .iter()
            .flat_map(Commit::told)
            .map(|(name, told)| offset_commit::Topic { name, partitions: told.map(partition).collect() });
        offset_commit::Response { topics: topics.collect(), ..Default::default() }.encode(out, here.version);
    })
}

/// From this version on a group joins the transaction by this (KIP-890).
const IMPLICIT: i16 = 5;

/// Key 28.
pub(super) fn commit_in_transaction(request: &txn_offset_commit::Request<'_>, version: i16) -> Each<Commit> {
    let positions = |topic: &txn_offset_commit::RequestTopic<'_>| {
        let asked = topic.partitions.iter();
        let position = asked.map(|asked| {
            Position::new(asked.partition_index, asked.committed_offset, asked.committed_leader_epoch, asked.committed_metadata)
        });
        (topic.name.into(), position.collect())
    };
    let commit = Commit {
        group: request.group_id.into(),
        generation: request.generation_id,
        member_id: request.member_id.into(),
        instance_id: request.group_instance_id.map(Box::from),
        producer: Some(Producer {
            transactional_id: request.transactional_id.into(),
            id: request.producer_id,
            epoch: request.producer_epoch,
            implicit: version >= IMPLICIT,
        }),
        topics: request.topics.iter().map(positions).collect(),
        told: None,
    };
    Each::of([commit], |commits, here, out| {
        let partition = |(partition_index, error_code)| txn_offset_commit::Partition { partition_index, error_code };
        let topics = commits
            .items()
            .iter()
            .flat_map(Commit::told)
            .map(|(name, told)| txn_offset_commit::Topic { name, partitions: told.map(partition).collect() });
        txn_offset_commit::Response { topics: topics.collect(), ..Default::default() }.encode(out, here.version);
    })
}

impl Commit {
    fn positions(&self) -> impl Iterator<Item = (&str, &Position)> {
        self.topics.iter().flat_map(|(topic, positions)| positions.iter().map(|position| (&**topic, position)))
    }

    /// Topics, and in each partitions with their codes.
    fn told(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = (i32, i16)>)> {
        let mut codes = self.told.iter().flatten().copied();
        self.topics.iter().map(move |(topic, positions)| {
            let told: Vec<_> = positions.iter().map(|position| (position.index, codes.next().unwrap_or(MISMATCH))).collect();
            (&**topic, told.into_iter())
        })
    }
}

impl Item for Commit {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::CommitOffsets(CommitOffsets {
            member: Membership {
                group: &self.group,
                generation: self.generation,
                member_id: &self.member_id,
                instance_id: self.instance_id.as_deref(),
            },
            transaction: self.producer.as_ref().map(|producer| TransactionRef {
                transactional_id: &producer.transactional_id,
                producer_id: producer.id,
                epoch: producer.epoch,
            }),
            implicit: self.producer.as_ref().is_some_and(|producer| producer.implicit),
            offsets: self
                .positions()
                .map(|(topic, position)| OffsetCommit {
                    topic,
                    partition: partition(position.index),
                    offset: position.offset,
                    leader_epoch: position.leader_epoch,
                    metadata: &position.metadata,
                })
                .collect(),
        })
    }

    fn answered(&mut self, answer: Answer) {
        let all = |code: i16| vec![code; self.positions().count()];
        self.told = Some(match answer {
            Ok(Reply::OffsetsCommitted(committed)) => codes(&committed.results),
            Ok(_) => all(MISMATCH),
            Err(failure) => all(member_code(&failure)),
        });
    }
}

fn codes(results: &[Result<(), LogFailure>]) -> Vec<i16> {
    results.iter().map(|result| result.map_or_else(log_code, |()| 0)).collect()
}

/// A group whose positions are asked for.
pub(super) struct Sought {
    group: Box<str>,
    /// `None`: all that it has.
    topics: Option<Vec<(Box<str>, Vec<i32>)>>,
    stable: bool,
    told: Option<Result<Vec<CommittedOffset>, i16>>,
}

/// The first version with an error for the whole group, and with null for all topics.
const GROUP_ERRORS: i16 = 2;
/// The first version with several groups.
const SEVERAL_GROUPS: i16 = 8;

/// Key 9.
pub(super) fn fetch(request: &offset_fetch::Request<'_>, version: i16) -> Each<Sought> {
    let sought = |group: &str, topics: &Option<Vec<offset_fetch::RequestTopic<'_>>>| Sought {
        group: group.into(),
        topics: topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (topic.name.into(), topic.partition_indexes.clone())).collect()),
        stable: request.require_stable,
        told: None,
    };
    let sought: Vec<Sought> = if version < SEVERAL_GROUPS {
        vec![sought(request.group_id, &request.topics)]
    } else {
        request.groups.iter().map(|group| sought(group.group_id, &group.topics)).collect()
    };
    Each::of(sought, tell_fetched)
}

impl Item for Sought {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let all = |topics: &'a Vec<(Box<str>, Vec<i32>)>| {
            let topics = topics.iter();
            topics.flat_map(|(topic, indexes)| indexes.iter().map(|index| (&**topic, partition(*index)))).collect()
        };
        Request::FetchOffsets { group: &self.group, partitions: self.topics.as_ref().map(all), stable: self.stable }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Offsets(offsets)) => Ok(offsets),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

impl Sought {
    fn topics(&self, version: i16) -> Vec<offset_fetch::Topic<'_>> {
        match (&self.told, &self.topics) {
            (Some(Ok(offsets)), None) => {
                let topics = offsets.chunk_by(|a, b| a.topic == b.topic);
                let topic = |offsets| {
                    let offsets: &[CommittedOffset] = offsets;
                    let name = &offsets.first()?.topic;
                    let partitions = offsets.iter().map(|offset| told(offset.partition as i32, offset)).collect();
                    Some(offset_fetch::Topic { name, partitions })
                };
                topics.filter_map(topic).collect()
            }
            (Some(Ok(offsets)), Some(topics)) => {
                let mut offsets = offsets.iter();
                let mut partition =
                    |index: &i32| offsets.next().map_or_else(|| none(*index, MISMATCH), |offset| told(*index, offset));
                let topics = topics.iter();
                topics
                    .map(|(name, indexes)| offset_fetch::Topic { name, partitions: indexes.iter().map(&mut partition).collect() })
                    .collect()
            }
            (Some(Err(code)), Some(topics)) if version < GROUP_ERRORS => {
                let topics = topics.iter();
                topics
                    .map(|(name, indexes)| offset_fetch::Topic {
                        name,
                        partitions: indexes.iter().map(|index| none(*index, *code)).collect(),
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn error_code(&self) -> i16 {
        match &self.told {
            Some(Ok(_)) => 0,
            Some(Err(code)) => *code,
            None => MISMATCH,
        }
    }
}

fn none(partition_index: i32, error_code: i16) -> offset_fetch::Partition<'static> {
    offset_fetch::Partition { partition_index, committed_offset: -1, metadata: Some(""), error_code, ..Default::default() }
}

fn told(partition_index: i32, offset: &CommittedOffset) -> offset_fetch::Partition<'_> {
    if offset.unstable {
        return none(partition_index, UNSTABLE_OFFSET_COMMIT);
    }
    offset_fetch::Partition {
        partition_index,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(&offset.metadata),
        error_code: 0,
    }
}

fn tell_fetched(sought: &Each<Sought>, here: &Here<'_>, out: &mut Vec<u8>) {
    let mut response = offset_fetch::Response::default();
    for item in sought.items() {
        let (topics, error_code) = (item.topics(here.version), item.error_code());
        if here.version < SEVERAL_GROUPS {
            (response.topics, response.error_code) = (topics, error_code);
        } else {
            response.groups.push(offset_fetch::Group { group_id: &item.group, topics, error_code });
        }
    }
    response.encode(out, here.version);
}

/// Positions of a group that are to be forgotten.
pub(super) struct Forgotten {
    group: Box<str>,
    topics: Vec<(Box<str>, Vec<i32>)>,
    told: Option<Result<Vec<i16>, i16>>,
}

/// Key 47.
pub(super) fn delete(request: &offset_delete::Request<'_>) -> Each<Forgotten> {
    let topic = |topic: &offset_delete::RequestTopic<'_>| {
        (topic.name.into(), topic.partitions.iter().map(|partition| partition.partition_index).collect())
    };
    let topics = request.topics.iter().map(topic).collect();
    Each::of([Forgotten { group: request.group_id.into(), topics, told: None }], tell_forgotten)
}

impl Item for Forgotten {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let topics = self.topics.iter();
        let partitions = topics.flat_map(|(topic, indexes)| indexes.iter().map(|index| (&**topic, partition(*index)))).collect();
        Request::DeleteOffsets { group: &self.group, partitions }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::OffsetsCommitted(committed)) => Ok(codes(&committed.results)),
            Ok(_) => Err(MISMATCH),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

fn tell_forgotten(forgotten: &Each<Forgotten>, here: &Here<'_>, out: &mut Vec<u8>) {
    let mut response = offset_delete::Response::default();
    for item in forgotten.items() {
        match &item.told {
            Some(Ok(codes)) => {
                let mut codes = codes.iter().copied();
                let mut partition = |index: &i32| offset_delete::Partition {
                    partition_index: *index,
                    error_code: codes.next().unwrap_or(MISMATCH),
                };
                response.topics.extend(item.topics.iter().map(|(name, indexes)| offset_delete::Topic {
                    name,
                    partitions: indexes.iter().map(&mut partition).collect(),
                }));
            }
            Some(Err(error_code)) => response.error_code = *error_code,
            None => response.error_code = MISMATCH,
        }
    }
    response.encode(out, here.version);
}
