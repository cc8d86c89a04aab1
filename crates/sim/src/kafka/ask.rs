//! Requests as bytes, and what their answers say.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use kafka::codec::{
    ApiKey, Reader, Request, RequestHeader, Response, add_offsets_to_txn, add_partitions_to_txn, create_topics, delete_records,
    end_txn, fetch, frame, heartbeat, init_producer_id, join_group, leave_group, offset_commit, offset_fetch, produce,
    sync_group, txn_offset_commit,
};

use super::Model;
use super::checker::log::Sight;
use super::checker::offsets::{AttemptIx, metadata};
use super::checker::{BatchIx, TxIx};
use super::fetch_session::{InSession, Told};
use super::owner::Own;
use super::plan::{PartitionIx, Plan, Role};
use crate::checker::Violation;
use crate::checker::answers::unexpected;

/// The group that all members share.
const SHARED: &str = "shared";
const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "in-turn";

/// A producer's id and epoch.
pub type Identity = (i64, i16);

/// When a fetch is answered, and how much of a partition it is given, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub wait_ms: i32,
}

/// Why batches are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    New,
    /// They were confirmed, and must be once more, at the same offset.
    Repeated,
    /// Their producer was shut out: they must be refused.
    Zombie,
}

/// What is asked. Partitions stand in the order of the plan.
#[derive(Clone, Debug)]
pub enum Ask {
    CreateTopics,
    Init,
    Produce {
        batches: Vec<BatchIx>,
        acks: i16,
        sending: Sending,
    },
    AddPartitions {
        id: Identity,
        partitions: Vec<PartitionIx>,
    },
    AddGroup {
        id: Identity,
    },
    /// Offsets of the client's group, in its transaction.
    TxnCommit {
        id: Identity,
        attempts: Vec<AttemptIx>,
    },
    /// `tx`: nothing for a producer that was shut out, which must be refused.
    End {
        id: Identity,
        tx: Option<TxIx>,
        commit: bool,
    },
    Fetch {
        committed: bool,
        from: Vec<(PartitionIx, u64, Sight)>,
        /// In a session not all of `from` is named.
        session: Option<InSession>,
        terms: Terms,
    },
    Commit {
        attempts: Vec<AttemptIx>,
    },
    /// Of each partition how many commits had been tried.
    Positions {
        group: usize,
        of: Vec<(PartitionIx, usize)>,
        stable: bool,
    },
    Trim {
        partition: PartitionIx,
        before: u64,
    },
    /// `known`: the newest generation of the group, as far as anybody knows.
    Join {
        id: String,
        known: i32,
    },
    /// `assignments`: what a leader hands out, by member.
    Sync {
        id: String,
        generation: i32,
        assignments: Vec<(String, Vec<u8>)>,
    },
    /// `stale`: somebody was handed something in a newer generation.
    Heartbeat {
        id: String,
        generation: i32,
        stale: bool,
    },
    MemberCommit {
        id: String,
        generation: i32,
        partition: PartitionIx,
        stale: bool,
    },
    Leave {
        id: String,
    },
    Own(Own),
}

/// What was answered, in the order of what was asked.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A code for each.
    Codes(Vec<i16>),
    Producer(Result<Identity, i16>),
    /// Base offsets.
    Produced(Vec<Result<i64, i16>>),
    Fetched(Vec<Fetched>),
    InSession(Told),
    /// Offsets and metadata.
    Positions(Vec<Result<(i64, String), i16>>),
    Trimmed(Result<i64, i16>),
    /// A code, and the id that was told with it.
    Joined(Result<Joined, (i16, String)>),
    Synced(Result<Vec<u8>, i16>),
}

/// A member was let in.
#[derive(Clone, Debug)]
pub struct Joined {
    pub generation: i32,
    pub id: String,
    /// Who else was; only the leader is told.
    pub members: Vec<String>,
}

#[derive(Clone)]
pub struct Fetched {
    pub code: i16,
    pub high: i64,
    pub stable: i64,
    pub start: i64,
    pub aborted: Vec<(i64, i64)>,
    pub records: Vec<u8>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fetched { code, high, stable, start, aborted, records } = self;
        write!(f, "code {code}, {start}..{stable}..{high}, aborted {aborted:?}, {} bytes", records.len())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The client's number; its group has the same.
    pub client: usize,
    pub role: Role,
}

impl Asker {
    fn implicit(self) -> bool {
        self.role == Role::Transactional { implicit: true }
    }

    fn transactional(self) -> bool {
        matches!(self.role, Role::Transactional { .. })
    }
}

impl Ask {
    fn key(&self) -> ApiKey {
        match self {
            Ask::CreateTopics => ApiKey::CreateTopics,
            Ask::Init => ApiKey::InitProducerId,
            Ask::Produce { .. } => ApiKey::Produce,
            Ask::AddPartitions { .. } => ApiKey::AddPartitionsToTxn,
            Ask::AddGroup { .. } => ApiKey::AddOffsetsToTxn,
            Ask::TxnCommit { .. } => ApiKey::TxnOffsetCommit,
            Ask::End { .. } => ApiKey::EndTxn,
            Ask::Fetch { .. } => ApiKey::Fetch,
            Ask::Commit { .. } => ApiKey::OffsetCommit,
            Ask::Positions { .. } => ApiKey::OffsetFetch,
            Ask::Trim { .. } => ApiKey::DeleteRecords,
            Ask::Join { .. } => ApiKey::JoinGroup,
            Ask::Sync { .. } => ApiKey::SyncGroup,
            Ask::Heartbeat { .. } => ApiKey::Heartbeat,
            Ask::MemberCommit { .. } => ApiKey::OffsetCommit,
            Ask::Leave { .. } => ApiKey::LeaveGroup,
            Ask::Own(own) => own.key(),
        }
    }

    /// Versions that say what is meant.
    pub fn versions(&self, asker: Asker) -> RangeInclusive<i16> {
        let implicit = asker.implicit();
        match self {
            Ask::CreateTopics => 2..=7,
            Ask::Init => 0..=5,
            Ask::Produce { .. } if implicit => 12..=12,
            Ask::Produce { .. } => 3..=11,
            Ask::AddPartitions { .. } => 0..=3,
            Ask::AddGroup { .. } => 0..=4,
            Ask::TxnCommit { .. } | Ask::End { .. } if implicit => 5..=5,
            Ask::TxnCommit { .. } | Ask::End { .. } => 0..=4,
            Ask::Fetch { session: Some(_), .. } => 7..=12,
            Ask::Fetch { .. } => 4..=12,
            Ask::Commit { .. } => 2..=9,
            Ask::Positions { stable: true, .. } => 7..=7,
            Ask::Positions { .. } => 1..=7,
            Ask::Trim { .. } => 0..=2,
            Ask::Join { .. } => 1..=9,
            Ask::Sync { .. } | Ask::Leave { .. } => 0..=5,
            Ask::Heartbeat { .. } => 0..=4,
            Ask::MemberCommit { .. } => 2..=9,
            Ask::Own(own) => own.versions(),
        }
    }

    /// Nothing is answered.
    pub fn is_silent(&self) -> bool {
        matches!(self, Ask::Produce { acks: 0, .. })
    }

    /// Append the request.
    pub fn encode(&self, asker: Asker, version: i16, correlation_id: i32, model: &Model, out: &mut Vec<u8>) {
        let client_id = format!("client-{}", asker.client);
        let header =
            RequestHeader { api_key: self.key().number(), api_version: version, correlation_id, client_id: Some(&client_id) };
        frame::put_frame(out, |out| {
            header.encode(out);
            self.with_request(asker, model, &mut |request| request.encode(out, version));
        });
    }

    fn with_request(&self, asker: Asker, model: &Model, put: &mut dyn FnMut(&Request<'_>)) {
        let plan = &model.plan;
        let group = format!("g{}", asker.client);
        let id = format!("tx{}", asker.client);
        match self {
            Ask::CreateTopics => {
                let topics = plan.topics.iter().map(|topic| create_topics::RequestTopic {
                    name: &topic.name,
                    num_partitions: topic.partitions as i32,
                    replication_factor: 1,
                    configs: topic
                        .config
                        .iter()
                        .map(|(name, value)| create_topics::RequestConfig { name, value: Some(value) })
                        .collect(),
                    ..Default::default()
                });
                put(&Request::CreateTopics(create_topics::Request { topics: topics.collect(), ..Default::default() }));
            }
            Ask::Init => {
                let transactional_id = asker.transactional().then_some(id.as_str());
                let transaction_timeout_ms = plan.transaction_timeout_ms;
                let request = init_producer_id::Request { transactional_id, transaction_timeout_ms, ..Default::default() };
                put(&Request::InitProducerId(request));
            }
            Ask::Produce { batches, acks, .. } => {
                let batch = |at: &BatchIx| (model.batches[*at].partition, &model.batches[*at].bytes[..]);
                let topics = by_topic(plan, batches.iter().map(batch)).into_iter().map(|(name, items)| {
                    let partition = |(index, bytes)| produce::RequestPartition { index, records: Some(bytes) };
                    produce::RequestTopic { name, partitions: items.into_iter().map(partition).collect(), ..Default::default() }
                });
                let transactional_id = asker.transactional().then_some(id.as_str());
                let topics = topics.collect();
                put(&Request::Produce(produce::Request { transactional_id, acks: *acks, timeout_ms: 30_000, topics }));
            }
            Ask::AddPartitions { id: (producer_id, producer_epoch), partitions } => {
                let topics = by_topic(plan, partitions.iter().map(|at| (*at, ()))).into_iter().map(|(name, items)| {
                    let partitions = items.into_iter().map(|(index, ())| index).collect();
                    add_partitions_to_txn::RequestTopic { name, partitions }
                });
                put(&Request::AddPartitionsToTxn(add_partitions_to_txn::Request {
                    transactional_id: &id,
                    producer_id: *producer_id,
                    producer_epoch: *producer_epoch,
                    topics: topics.collect(),
                    ..Default::default()
                }));
            }
            Ask::AddGroup { id: (producer_id, producer_epoch) } => {
                put(&Request::AddOffsetsToTxn(add_offsets_to_txn::Request {
                    transactional_id: &id,
                    producer_id: *producer_id,
                    producer_epoch: *producer_epoch,
                    group_id: &group,
                }));
            }
            Ask::TxnCommit { id: (producer_id, producer_epoch), attempts } => {
                let kept = positions(model, attempts);
                let topics = by_topic(plan, kept.iter().map(|(at, offset, kept)| (*at, (*offset, kept.as_str()))));
                let topics = topics.into_iter().map(|(name, items)| {
                    let partition = |(partition_index, (committed_offset, kept))| txn_offset_commit::RequestPartition {
                        partition_index,
                        committed_offset,
                        committed_metadata: Some(kept),
                        ..Default::default()
                    };
                    txn_offset_commit::RequestTopic { name, partitions: items.into_iter().map(partition).collect() }
                });
                put(&Request::TxnOffsetCommit(txn_offset_commit::Request {
                    transactional_id: &id,
                    group_id: &group,
                    producer_id: *producer_id,
                    producer_epoch: *producer_epoch,
                    topics: topics.collect(),
                    ..Default::default()
                }));
            }
            Ask::End { id: (producer_id, producer_epoch), commit, .. } => {
                put(&Request::EndTxn(end_txn::Request {
                    transactional_id: &id,
                    producer_id: *producer_id,
                    producer_epoch: *producer_epoch,
                    committed: *commit,
                }));
            }
            Ask::Fetch { committed, from, session, terms } => {
                let is_named = |at: &PartitionIx| session.as_ref().is_none_or(|session| session.named.contains(at));
                let named = from.iter().filter(|(at, ..)| is_named(at)).map(|(at, offset, _)| (*at, *offset));
                let topics = by_topic(plan, named).into_iter().map(|(topic, items)| {
                    let partition = |(partition, offset)| fetch::RequestPartition {
                        partition,
                        fetch_offset: offset as i64,
                        partition_max_bytes: terms.bytes_max,
                        ..Default::default()
                    };
                    let partitions = items.into_iter().map(partition).collect();
                    fetch::RequestTopic { topic, partitions, ..Default::default() }
                });
                let forgotten = session.iter().flat_map(|session| &session.forgotten).map(|at| (*at, ()));
                let forgotten_topics = by_topic(plan, forgotten).into_iter().map(|(topic, items)| {
                    let partitions = items.into_iter().map(|(index, ())| index).collect();
                    fetch::ForgottenTopic { topic, partitions, ..Default::default() }
                });
                let (session_id, session_epoch) = session.as_ref().map_or((0, -1), |session| (session.id, session.epoch));
                put(&Request::Fetch(fetch::Request {
                    replica_id: -1,
                    max_wait_ms: terms.wait_ms,
                    min_bytes: terms.bytes_min,
                    max_bytes: terms.bytes_max.saturating_mul(2),
                    isolation_level: i8::from(*committed),
                    session_id,
                    session_epoch,
                    topics: topics.collect(),
                    forgotten_topics: forgotten_topics.collect(),
                    ..Default::default()
                }));
            }
            Ask::Commit { attempts } => {
                let kept = positions(model, attempts);
                let topics = by_topic(plan, kept.iter().map(|(at, offset, kept)| (*at, (*offset, kept.as_str()))));
                let topics = topics.into_iter().map(|(name, items)| {
                    let partition = |(partition_index, (committed_offset, kept))| offset_commit::RequestPartition {
                        partition_index,
                        committed_offset,
                        committed_metadata: Some(kept),
                        ..Default::default()
                    };
                    offset_commit::RequestTopic { name, partitions: items.into_iter().map(partition).collect() }
                });
                let topics = topics.collect();
                put(&Request::OffsetCommit(offset_commit::Request { group_id: &group, topics, ..Default::default() }));
            }
            Ask::Positions { group, of, stable } => {
                let group = format!("g{group}");
                let topics = by_topic(plan, of.iter().map(|(at, _)| (*at, ()))).into_iter().map(|(name, items)| {
                    let partition_indexes = items.into_iter().map(|(index, ())| index).collect();
                    offset_fetch::RequestTopic { name, partition_indexes }
                });
                let topics = Some(topics.collect());
                let require_stable = *stable;
                put(&Request::OffsetFetch(offset_fetch::Request {
                    group_id: &group,
                    topics,
                    require_stable,
                    ..Default::default()
                }));
            }
            Ask::Trim { partition, before } => {
                let (topic, index) = plan.partitions[*partition];
                let partitions = vec![delete_records::RequestPartition { partition_index: index as i32, offset: *before as i64 }];
                let topics = vec![delete_records::RequestTopic { name: &plan.topics[topic].name, partitions }];
                put(&Request::DeleteRecords(delete_records::Request { topics, timeout_ms: 30_000 }));
            }
            Ask::Join { id, .. } => put(&Request::JoinGroup(join_group::Request {
                group_id: SHARED,
                session_timeout_ms: plan.session_timeout_ms,
                rebalance_timeout_ms: plan.session_timeout_ms,
                member_id: id,
                protocol_type: PROTOCOL_TYPE,
                protocols: vec![join_group::Protocol { name: PROTOCOL, metadata: b"" }],
                ..Default::default()
            })),
            Ask::Sync { id, generation, assignments } => {
                let handed = assignments.iter();
                let assignments = handed.map(|(member_id, assignment)| sync_group::Assignment { member_id, assignment });
                put(&Request::SyncGroup(sync_group::Request {
                    group_id: SHARED,
                    generation_id: *generation,
                    member_id: id,
                    protocol_type: Some(PROTOCOL_TYPE),
                    protocol_name: Some(PROTOCOL),
                    assignments: assignments.collect(),
                    ..Default::default()
                }));
            }
            Ask::Heartbeat { id, generation, .. } => put(&Request::Heartbeat(heartbeat::Request {
                group_id: SHARED,
                generation_id: *generation,
                member_id: id,
                ..Default::default()
            })),
            Ask::MemberCommit { id, generation, partition, .. } => {
                let (topic, index) = plan.partitions[*partition];
                let partition =
                    offset_commit::RequestPartition { partition_index: index as i32, committed_offset: 1, ..Default::default() };
                let name = &plan.topics[topic].name;
                put(&Request::OffsetCommit(offset_commit::Request {
                    group_id: SHARED,
                    generation_id_or_member_epoch: *generation,
                    member_id: id,
                    topics: vec![offset_commit::RequestTopic { name, partitions: vec![partition] }],
                    ..Default::default()
                }));
            }
            Ask::Leave { id } => {
                let members = vec![leave_group::RequestMember { member_id: id, ..Default::default() }];
                put(&Request::LeaveGroup(leave_group::Request { group_id: SHARED, member_id: id, members }));
            }
            Ask::Own(own) => own.with_request(asker.client, put),
        }
    }

    /// What an answer says.
    ///
    /// # Errors
    /// It is not the answer to this.
    pub fn understand(&self, version: i16, correlation_id: i32, payload: &[u8], model: &Model) -> Result<Answer, Violation> {
        let bad = |error| unexpected(format!("the answer to {:?} cannot be understood: {error}", self.key()));
        let mut reader = Reader::new(payload);
        let correlation = frame::read_response_header(&mut reader, self.key(), version).map_err(bad)?;
        if correlation != correlation_id {
            return Err(unexpected(format!("{:?} {correlation_id} was answered as {correlation}", self.key())));
        }
        let response = Response::decode(self.key(), &mut reader, version).map_err(bad)?;
        self.answer(&response, model).ok_or_else(|| {
            let mut said = format!("{response:?}");
            said.truncate(400);
            unexpected(format!("{:?} was answered with other partitions, or none: {said}", self.key()))
        })
    }

    fn answer(&self, response: &Response<'_>, model: &Model) -> Option<Answer> {
        let plan = &model.plan;
        let batches = |batches: &[BatchIx]| batches.iter().map(|at| model.batches[*at].partition).collect::<Vec<_>>();
        let tried = |attempts: &[AttemptIx]| attempts.iter().map(|(_, at, _)| *at).collect::<Vec<_>>();
        Some(match (self, response) {
            (Ask::CreateTopics, Response::CreateTopics(told)) => {
                let same = told.topics.iter().map(|topic| topic.name).eq(plan.topics.iter().map(|topic| topic.name.as_str()));
                Answer::Codes(same.then(|| told.topics.iter().map(|topic| topic.error_code).collect())?)
            }
            (Ask::Init, Response::InitProducerId(told)) => Answer::Producer(match told.error_code {
                0 => Ok((told.producer_id, told.producer_epoch)),
                code => Err(code),
            }),
            (Ask::End { id, .. }, Response::EndTxn(told)) => Answer::Producer(match told.error_code {
                0 if told.producer_id < 0 => Ok(*id),
                0 => Ok((told.producer_id, told.producer_epoch)),
                code => Err(code),
            }),
            (Ask::Produce { batches: asked, .. }, Response::Produce(told)) => {
                let result = |code, base| if code == 0 { Ok(base) } else { Err(code) };
                let told = told.topics.iter().flat_map(|topic| {
                    let partitions = topic.partitions.iter();
                    partitions.map(|told| (topic.name, told.index, result(told.error_code, told.base_offset)))
                });
                Answer::Produced(in_order(plan, &batches(asked), told)?)
            }
            (Ask::AddPartitions { partitions, .. }, Response::AddPartitionsToTxn(told)) => {
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|told| (topic.name, told.partition_index, told.error_code)));
                Answer::Codes(in_order(plan, partitions, told)?)
            }
            (Ask::AddGroup { .. }, Response::AddOffsetsToTxn(told)) => Answer::Codes(vec![told.error_code]),
            (Ask::TxnCommit { attempts, .. }, Response::TxnOffsetCommit(told)) => {
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|told| (topic.name, told.partition_index, told.error_code)));
                Answer::Codes(in_order(plan, &tried(attempts), told)?)
            }
            (Ask::Commit { attempts }, Response::OffsetCommit(told)) => {
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|told| (topic.name, told.partition_index, told.error_code)));
                Answer::Codes(in_order(plan, &tried(attempts), told)?)
            }
            (Ask::Fetch { session: Some(_), .. }, Response::Fetch(told)) => {
                let mut partitions = BTreeMap::new();
                for topic in &told.topics {
                    for told in &topic.partitions {
                        let at = plan.find(topic.topic, told.partition_index)?;
                        if partitions.insert(at, fetched(told)).is_some() {
                            return None;
                        }
                    }
                }
                Answer::InSession(Told { code: told.error_code, id: told.session_id, partitions })
            }
            (Ask::Fetch { from, .. }, Response::Fetch(told)) if told.error_code == 0 => {
                let asked: Vec<PartitionIx> = from.iter().map(|(at, ..)| *at).collect();
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|told| (topic.topic, told.partition_index, fetched(told))));
                Answer::Fetched(in_order(plan, &asked, told)?)
            }
            (Ask::Positions { of, .. }, Response::OffsetFetch(told)) if told.error_code == 0 => {
                let asked: Vec<PartitionIx> = of.iter().map(|(at, _)| *at).collect();
                let result = |told: &offset_fetch::Partition<'_>| match told.error_code {
                    0 => Ok((told.committed_offset, told.metadata.unwrap_or_default().to_owned())),
                    code => Err(code),
                };
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(move |told| (topic.name, told.partition_index, result(told))));
                Answer::Positions(in_order(plan, &asked, told)?)
            }
            (Ask::Trim { partition, .. }, Response::DeleteRecords(told)) => {
                let result = |code, low| if code == 0 { Ok(low) } else { Err(code) };
                let told = told.topics.iter().flat_map(|topic| {
                    let partitions = topic.partitions.iter();
                    partitions.map(|told| (topic.name, told.partition_index, result(told.error_code, told.low_watermark)))
                });
                Answer::Trimmed(in_order(plan, &[*partition], told)?.pop()?)
            }
            (Ask::Join { .. }, Response::JoinGroup(told)) => Answer::Joined(match told.error_code {
                0 => Ok(Joined {
                    generation: told.generation_id,
                    id: told.member_id.to_owned(),
                    members: told.members.iter().map(|member| member.member_id.to_owned()).collect(),
                }),
                code => Err((code, told.member_id.to_owned())),
            }),
            (Ask::Sync { .. }, Response::SyncGroup(told)) => Answer::Synced(match told.error_code {
                0 => Ok(told.assignment.to_vec()),
                code => Err(code),
            }),
            (Ask::Heartbeat { .. }, Response::Heartbeat(told)) => Answer::Codes(vec![told.error_code]),
            (Ask::MemberCommit { partition, .. }, Response::OffsetCommit(told)) => {
                let told = told
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(|told| (topic.name, told.partition_index, told.error_code)));
                Answer::Codes(in_order(plan, &[*partition], told)?)
            }
            (Ask::Leave { .. }, Response::LeaveGroup(told)) => {
                let members = told.members.iter().map(|member| member.error_code);
                Answer::Codes(vec![members.chain([told.error_code]).find(|code| *code != 0).unwrap_or(0)])
            }
            (Ask::Own(own), response) => own.answer(response)?,
            _ => return None,
        })
    }
}

pub fn fetched(told: &fetch::Partition<'_>) -> Fetched {
    let aborted = told.aborted_transactions.iter().flatten();
    Fetched {
        code: told.error_code,
        high: told.high_watermark,
        stable: told.last_stable_offset,
        start: told.log_start_offset,
        aborted: aborted.map(|aborted| (aborted.producer_id, aborted.first_offset)).collect(),
        records: told.records.unwrap_or_default().to_vec(),
    }
}

fn positions(model: &Model, attempts: &[AttemptIx]) -> Vec<(PartitionIx, i64, String)> {
    let position = |at: &AttemptIx| {
        let offset = model.attempt(*at)?.offset;
        Some((at.1, offset, metadata(offset)))
    };
    attempts.iter().filter_map(position).collect()
}

/// Items with their partitions' numbers, by topic.
fn by_topic<T>(plan: &Plan, items: impl Iterator<Item = (PartitionIx, T)>) -> Vec<(&str, Vec<(i32, T)>)> {
    let mut topics: Vec<(&str, Vec<(i32, T)>)> = Vec::new();
    for (at, item) in items {
        let (topic, index) = plan.partitions[at];
        let name = plan.topics[topic].name.as_str();
        match topics.last_mut() {
            Some((last, items)) if *last == name => items.push((index as i32, item)),
            _ => topics.push((name, vec![(index as i32, item)])),
        }
    }
    topics
}

/// What was told of each partition, where it is told of exactly those that were asked for.
fn in_order<'t, T>(plan: &Plan, asked: &[PartitionIx], told: impl Iterator<Item = (&'t str, i32, T)>) -> Option<Vec<T>> {
    let mut all: Vec<(PartitionIx, T)> =
        told.map(|(topic, index, item)| Some((plan.find(topic, index)?, item))).collect::<Option<_>>()?;
    // Some answers are sorted by topic.
    all.sort_by_key(|(at, _)| *at);
    all.iter().map(|(at, _)| *at).eq(asked.iter().copied()).then(|| all.into_iter().map(|(_, item)| item).collect())
}
