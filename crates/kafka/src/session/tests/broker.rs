//! A broker that holds nothing and answers by the names it is asked about.

use std::collections::VecDeque;

use std::sync::Arc;

use model::group::{
    CommittedOffset, GroupInfo, GroupState, Joined, JoinedMember, MemberInfo, Membership, OffsetsCommitted, Synced,
    TransactionInfo, TransactionRef, TransactionState,
};
use model::topic::{
    ConfigEntry, ConfigKind, ConfigOf, ConfigSource, FetchFrom, ListedOffset, OffsetAt, Produced, ProducerState, TopicId,
    TopicInfo, TopicKey, TopicRef,
};
use model::{Event, Failure, LogFailure, Lsn, Reply, Request};

#[derive(Default)]
pub(super) struct FakeBroker {
    /// The requests it heard, as lines.
    log: Vec<String>,
    /// Given out with everything that must become durable, ten apart.
    lsn: u64,
    offset: i64,
    /// Answers that come before the rules.
    pub next: VecDeque<Result<Reply, Failure>>,
}

pub(super) fn topic(name: &str) -> TopicInfo {
    TopicInfo { name: name.into(), id: TopicId(7), internal: false, partitions: 2 }
}

impl FakeBroker {
    /// Rules: the password is `guest`; what is called `missing` or has the id 404 is not there, and `new` only once it was
    /// made; other topics have the id 7 and 2 partitions; what is durable takes its time; fetches wait.
    pub fn answer(&mut self, request: &Request<'_>) -> Event<'static> {
        self.log.push(describe(request));
        let answer = self.next.pop_front().unwrap_or_else(|| self.decide(request));
        answer.map_or_else(Event::Failed, Event::Reply)
    }

    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn durable(&mut self) -> Lsn {
        self.lsn += 10;
        Lsn(self.lsn)
    }

    fn decide(&mut self, request: &Request<'_>) -> Result<Reply, Failure> {
        Ok(match request {
            Request::Authenticate { user, password } if *password != b"guest" => {
                return Err(Failure::LoginRefused { user: (*user).to_owned() });
            }
            Request::DescribeTopics { topic: None } => Reply::Topics(vec![topic("a"), topic("b")]),
            Request::DescribeTopics { topic: Some(TopicRef::Name("missing" | "new")) } => {
                return Err(LogFailure::UnknownTopic.into());
            }
            Request::DescribeTopics { topic: Some(TopicRef::Id(TopicId(404))) } => {
                return Err(LogFailure::UnknownTopicId.into());
            }
            Request::DescribeTopics { topic: Some(TopicRef::Name(name)) } => Reply::Topics(vec![topic(name)]),
            Request::DescribeTopics { topic: Some(TopicRef::Id(_)) } => Reply::Topics(vec![topic("by-id")]),
            Request::CreateTopic(create) if create.name == "taken" => return Err(LogFailure::TopicExists.into()),
            Request::CreateTopic(create) if create.name == "missing" => return Err(LogFailure::UnknownTopic.into()),
            Request::CreateTopic(create) => {
                let durable_at = (!create.validate_only).then(|| self.durable());
                Reply::TopicCreated { topic: topic(create.name), config: config(), durable_at }
            }
            Request::Produce(produce) if matches!(produce.topic, TopicRef::Name("missing")) => {
                return Err(LogFailure::UnknownTopic.into());
            }
            Request::Produce(_) => {
                self.offset += 1;
                let durable_at = self.durable();
                Reply::Produced(Produced { base_offset: self.offset, append_time_ms: -1, log_start: 0, durable_at })
            }
            Request::Fetch(_) => Reply::Pending,
            Request::ListOffset { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::ListOffset { at: OffsetAt::Timestamp(_), .. } => Reply::Pending,
            Request::ListOffset { .. } => Reply::Offset(ListedOffset { offset: 5, timestamp_ms: -1, leader_epoch: 0 }),
            Request::EpochEnd { epoch: 0, .. } => Reply::EpochEnd { epoch: 0, end: 9 },
            Request::EpochEnd { .. } => Reply::EpochEnd { epoch: -1, end: -1 },
            Request::DeleteRecords { before, .. } => Reply::LogStart { offset: before.unwrap_or(9), durable_at: self.durable() },
            Request::DeleteTopic { topic: TopicRef::Name("missing") } => return Err(LogFailure::UnknownTopic.into()),
            Request::DeleteTopic { .. } => Reply::DurableAt(self.durable()),
            Request::AddPartitions { total: 0..3, .. } => {
                let failure = LogFailure::InvalidPartitions;
                return Err(Failure::LogBecause { failure, text: "too few".into() });
            }
            Request::AddPartitions { validate_only: true, .. } => Reply::Ok,
            Request::AddPartitions { .. } => Reply::DurableAt(self.durable()),
            Request::DescribeConfig { of: ConfigOf::Topic("missing") } => return Err(LogFailure::UnknownTopic.into()),
            Request::DescribeConfig { .. } => Reply::Config(config()),
            Request::AlterConfig { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::AlterConfig { .. } => Reply::DurableAt(self.durable()),
            Request::DescribeSize { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::DescribeSize { partition, .. } => Reply::Size { bytes: 100 + u64::from(*partition) },
            Request::DescribeProducers { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::DescribeProducers { .. } => Reply::Producers(vec![ProducerState {
                producer_id: 8,
                epoch: 2,
                last_sequence: 5,
                last_timestamp_ms: 1_000,
                transaction_start: 4,
            }]),
            Request::InitProducer { transactional_id: Some("fenced"), .. } => return Err(LogFailure::ProducerFenced.into()),
            Request::InitProducer { .. } => Reply::Producer { id: 8, epoch: 2, durable_at: self.durable() },
            Request::AddToTransaction { transaction, .. }
            | Request::AddGroupToTransaction { transaction, .. }
            | Request::EndTransaction { transaction, .. }
                if transaction.transactional_id == "fenced" =>
            {
                return Err(LogFailure::ProducerFenced.into());
            }
            Request::AddToTransaction { topic: "missing", .. } => return Err(LogFailure::UnknownTopic.into()),
            Request::EndTransaction { transaction, bump, .. } => {
                let epoch = transaction.epoch + i16::from(*bump);
                Reply::Producer { id: transaction.producer_id, epoch, durable_at: self.durable() }
            }
            Request::DescribeTransactions { transactional_id: Some("missing") } => {
                return Err(LogFailure::UnknownTransactionalId.into());
            }
            Request::DescribeTransactions { transactional_id } => {
                let all = [transaction("tx", TransactionState::Ongoing), transaction("old", TransactionState::CompleteAbort)];
                let wanted = |found: &TransactionInfo| transactional_id.is_none_or(|id| *found.transactional_id == *id);
                Reply::Transactions(all.into_iter().filter(wanted).collect())
            }
            Request::JoinGroup(join) if join.member_id.is_empty() && join.require_member_id => {
                return Err(Failure::MemberIdRequired { member_id: "made-up".into() });
            }
            Request::JoinGroup(_) | Request::SyncGroup(_) => Reply::Pending,
            Request::HeartbeatGroup(member) | Request::LeaveGroup(member) if member.group == "missing" => {
                return Err(LogFailure::UnknownGroup.into());
            }
            Request::LeaveGroup(member) if member.member_id == "stranger" => {
                return Err(LogFailure::UnknownMember.into());
            }
            Request::CommitOffsets(commit) if commit.member.generation == 99 => {
                return Err(LogFailure::IllegalGeneration.into());
            }
            Request::CommitOffsets(commit) => {
                let result = |topic: &str| if topic == "missing" { Err(LogFailure::UnknownTopic) } else { Ok(()) };
                let results = commit.offsets.iter().map(|offset| result(offset.topic)).collect();
                Reply::OffsetsCommitted(OffsetsCommitted { results, durable_at: Some(self.durable()) })
            }
            Request::DeleteOffsets { group: "missing", .. } => return Err(LogFailure::UnknownGroup.into()),
            Request::DeleteOffsets { partitions, .. } => {
                let result = |topic: &str| if topic == "missing" { Err(LogFailure::UnknownTopic) } else { Ok(()) };
                let results = partitions.iter().map(|(topic, _)| result(topic)).collect();
                Reply::OffsetsCommitted(OffsetsCommitted { results, durable_at: None })
            }
            Request::FetchOffsets { partitions: Some(asked), .. } => {
                Reply::Offsets(asked.iter().map(|(topic, index)| committed(topic, *index)).collect())
            }
            Request::FetchOffsets { partitions: None, .. } => {
                Reply::Offsets(vec![committed("a", 0), committed("a", 1), committed("b", 0)])
            }
            Request::DescribeGroups { group: Some(name) } => Reply::Groups(vec![group(name)]),
            Request::DescribeGroups { group: None } => Reply::Groups(vec![group("g"), group("empty")]),
            Request::DeleteGroup { group: "missing" } => return Err(LogFailure::UnknownGroup.into()),
            Request::DeleteGroup { .. } => Reply::DurableAt(self.durable()),
            _ => Reply::Ok,
        })
    }
}

fn config() -> Vec<ConfigEntry> {
    let entry = |name, value: &str, source| ConfigEntry {
        name,
        value: Some(value.into()),
        default: Some("7".into()),
        source,
        kind: ConfigKind::Long,
        read_only: false,
        documentation: "Says what it does.",
    };
    vec![entry("retention.ms", "9", ConfigSource::Topic), entry("segment.ms", "7", ConfigSource::Default)]
}

/// Begun two seconds before the time that the conversations take place in.
fn transaction(id: &str, state: TransactionState) -> TransactionInfo {
    let open = state == TransactionState::Ongoing;
    TransactionInfo {
        transactional_id: id.into(),
        producer_id: if open { 8 } else { 9 },
        epoch: 2,
        state,
        timeout_ms: 60_000,
        started_ms: if open { 1_699_999_998_000 } else { -1 },
        partitions: if open { vec![("b".into(), 1), ("a".into(), 0), ("b".into(), 0)] } else { vec![] },
    }
}

/// Nothing is committed for partition 1 of any topic; `unstable` is.
fn committed(topic: &str, partition: u32) -> CommittedOffset {
    let there = partition != 1;
    CommittedOffset {
        topic: topic.into(),
        partition,
        offset: if there { 42 } else { -1 },
        leader_epoch: if there { 3 } else { -1 },
        metadata: if there { "kept".into() } else { "".into() },
        unstable: topic == "unstable",
    }
}

fn group(name: &str) -> GroupInfo {
    let state = match name {
        "missing" => GroupState::Dead,
        "empty" => GroupState::Empty,
        _ => GroupState::Stable,
    };
    let member = MemberInfo {
        member_id: "m-1".into(),
        instance_id: Some("i-1".into()),
        client_id: "c".into(),
        client_host: "/h".into(),
        metadata: b"meta"[..].into(),
        assignment: b"assigned"[..].into(),
    };
    let members = if state == GroupState::Stable { vec![member] } else { Vec::new() };
    GroupInfo { group: name.into(), state, protocol_type: "consumer".into(), protocol: "range".into(), members }
}

pub(super) fn joined() -> Reply {
    let member = |id: &str| JoinedMember { member_id: id.into(), instance_id: None, metadata: b"meta"[..].into() };
    let id: Arc<str> = "m-1".into();
    Reply::Joined(Box::new(Joined {
        generation: 3,
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        leader: id.clone(),
        member_id: id,
        skip_assignment: true,
        members: vec![member("m-1"), member("m-2")],
    }))
}

pub(super) fn synced() -> Reply {
    let assignment = b"assigned"[..].into();
    Reply::Synced(Synced { protocol_type: "consumer".into(), protocol: "range".into(), assignment })
}

fn describe_transaction(named: &TransactionRef<'_>) -> String {
    format!("{} {} {}", named.transactional_id, named.producer_id, named.epoch)
}

fn describe_member(member: &Membership<'_>) -> String {
    let Membership { group, generation, member_id, instance_id } = member;
    format!("'{member_id}' {instance_id:?} of {group} in {generation}")
}

fn describe_topic(topic: TopicRef<'_>) -> String {
    match topic {
        TopicRef::Name(name) => name.to_owned(),
        TopicRef::Id(id) => format!("#{}", id.0),
    }
}

pub(super) fn describe_from(from: &FetchFrom) -> String {
    let topic = match &from.topic {
        TopicKey::Name(name) => name.to_string(),
        TopicKey::Id(id) => format!("#{}", id.0),
    };
    format!("{topic}-{}@{}", from.partition, from.offset)
}

fn describe(request: &Request<'_>) -> String {
    match request {
        Request::Authenticate { user, password } => {
            format!("authenticate '{user}' '{}'", String::from_utf8_lossy(password))
        }
        Request::OpenHost { host } => format!("open host '{host}'"),
        Request::DescribeTopics { topic: None } => "describe all topics".to_owned(),
        Request::DescribeTopics { topic: Some(topic) } => format!("describe topic {}", describe_topic(*topic)),
        Request::CreateTopic(create) => {
            let partitions = create.partitions.map_or("some".to_owned(), |count| count.to_string());
            let flags = [(create.automatic, " automatically"), (create.validate_only, " only asking")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
            format!("create topic {} of {partitions} partitions{flags} {:?}", create.name, create.config)
        }
        Request::Produce(produce) => format!(
            "produce {} bytes to {}-{}{}{}",
            produce.records.len(),
            describe_topic(produce.topic),
            produce.partition,
            produce.transactional_id.map_or(String::new(), |id| format!(" for {id}")),
            if produce.implicit { " implicitly" } else { "" }
        ),
        Request::Fetch(fetch) => {
            let from: Vec<_> = fetch.partitions.iter().map(describe_from).collect();
            format!(
                "fetch {} for {} ms, {} to {} bytes{}",
                from.join(" "),
                fetch.max_wait_ms,
                fetch.min_bytes,
                fetch.max_bytes,
                if fetch.committed_only { ", committed" } else { "" }
            )
        }
        Request::ListOffset { topic, partition, at, committed_only, current_epoch } => {
            format!("offset of {topic}-{partition} {at:?} committed={committed_only} epoch={current_epoch:?}")
        }
        Request::EpochEnd { topic, partition, epoch, .. } => format!("end of epoch {epoch} of {topic}-{partition}"),
        Request::DeleteRecords { topic, partition, before } => format!("delete from {topic}-{partition} before {before:?}"),
        Request::DeleteTopic { topic } => format!("delete topic {}", describe_topic(*topic)),
        Request::AddPartitions { topic, total, validate_only } => {
            format!("grow {topic} to {total}{}", if *validate_only { " only asking" } else { "" })
        }
        Request::DescribeConfig { of } => format!("settings of {of:?}"),
        Request::AlterConfig { topic, changes, replace, validate_only } => {
            let changes: Vec<_> = changes.iter().map(|change| format!("{} {:?}", change.name, change.operation)).collect();
            let flags = [(*replace, " replace"), (*validate_only, " only asking")];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, text)| *text).collect();
            format!("change {topic}{flags}: {}", changes.join(", "))
        }
        Request::DescribeSize { topic, partition } => format!("size of {topic}-{partition}"),
        Request::DescribeProducers { topic, partition } => format!("producers of {topic}-{partition}"),
        Request::InitProducer { transactional_id, timeout_ms, known } => {
            format!("init {transactional_id:?} {timeout_ms} {known:?}")
        }
        Request::AddToTransaction { transaction, topic, partition } => {
            format!("add {topic}-{partition} to {}", describe_transaction(transaction))
        }
        Request::AddGroupToTransaction { transaction, group } => {
            format!("add group {group} to {}", describe_transaction(transaction))
        }
        Request::EndTransaction { transaction, commit, bump } => {
            let how = if *commit { "commit" } else { "abort" };
            format!("{how} {}{}", describe_transaction(transaction), if *bump { " and go on" } else { "" })
        }
        Request::DescribeTransactions { transactional_id } => format!("describe transaction {transactional_id:?}"),
        Request::JoinGroup(join) => format!(
            "join {} as '{}' {:?} from {} at {} for {} and {} ms by {} {:?}{}{}",
            join.group,
            join.member_id,
            join.instance_id,
            join.client_id,
            join.client_host,
            join.session_timeout_ms,
            join.rebalance_timeout_ms,
            join.protocol_type,
            join.protocols,
            if join.require_member_id { " id first" } else { "" },
            if join.may_skip_assignment { " may skip" } else { "" }
        ),
        Request::SyncGroup(sync) => {
            let member = describe_member(&sync.member);
            format!("sync {member} {:?} {:?} {:?}", sync.protocol_type, sync.protocol, sync.assignments)
        }
        Request::HeartbeatGroup(member) => format!("heartbeat {}", describe_member(member)),
        Request::LeaveGroup(member) => format!("leave {}", describe_member(member)),
        Request::CommitOffsets(commit) => {
            let offsets: Vec<_> = commit
                .offsets
                .iter()
                .map(|o| format!("{}-{}@{}/{} '{}'", o.topic, o.partition, o.offset, o.leader_epoch, o.metadata))
                .collect();
            let transaction = commit.transaction.map_or(String::new(), |named| {
                let implicit = if commit.implicit { " implicitly" } else { "" };
                format!(" in {} {} {}{implicit}", named.transactional_id, named.producer_id, named.epoch)
            });
            format!("commit {}{transaction}: {}", describe_member(&commit.member), offsets.join(", "))
        }
        Request::FetchOffsets { group, partitions, stable } => {
            format!("fetch offsets of {group} {partitions:?}{}", if *stable { " stable" } else { "" })
        }
        Request::DeleteOffsets { group, partitions } => format!("delete offsets of {group} {partitions:?}"),
        Request::DescribeGroups { group } => format!("describe group {group:?}"),
        Request::DeleteGroup { group } => format!("delete group {group}"),
        _ => "something else".to_owned(),
    }
}
