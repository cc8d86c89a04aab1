//! Keys 3 Metadata and 75 DescribeTopicPartitions: topics, and who leads their partitions: this broker, all of them.

use model::topic::{CreateTopic, TopicId, TopicInfo, TopicRef};
use model::{Failure, LogFailure, Reply, Request};

use super::cluster::{CLUSTER_OPERATIONS, NOT_ASKED, TOPIC_OPERATIONS};
use super::errors::{self, MISMATCH};
use super::job::{Answer, Each, Here, Item, distinct};
use crate::codec::error_code::{INVALID_REQUEST, INVALID_TOPIC, UNKNOWN_TOPIC_OR_PARTITION};
use crate::codec::wire::Uuid;
use crate::codec::{Message as _, describe_topic_partitions, metadata};

/// The leader epoch of every partition and batch: one node's log never diverges from itself.
pub(super) const LEADER_EPOCH: i32 = 0;

pub(super) fn uuid(id: TopicId) -> Uuid {
    id.0.to_be_bytes()
}

pub(super) fn topic_id(id: Uuid) -> TopicId {
    TopicId(u128::from_be_bytes(id))
}

/// Which topics are meant.
enum Meant {
    All,
    Name(Box<str>),
    Id(TopicId),
    /// Neither name nor id.
    Nothing,
}

/// Topics that are looked for.
pub(super) struct Sought {
    meant: Meant,
    /// Make it where it is missing.
    create: bool,
    /// It is missing.
    creating: bool,
    found: Option<Result<Vec<TopicInfo>, i16>>,
}

impl Sought {
    fn new(meant: Meant, create: bool) -> Sought {
        let found = matches!(meant, Meant::Nothing).then_some(Err(INVALID_REQUEST));
        Sought { meant, create, creating: false, found }
    }
}

impl Item for Sought {
    fn asks(&self) -> bool {
        self.found.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        match &self.meant {
            Meant::Name(name) if self.creating => {
                Request::CreateTopic(CreateTopic { name, partitions: None, config: &[], validate_only: false, automatic: true })
            }
            Meant::Name(name) => Request::DescribeTopics { topic: Some(TopicRef::Name(name)) },
            Meant::Id(id) => Request::DescribeTopics { topic: Some(TopicRef::Id(*id)) },
            Meant::All | Meant::Nothing => Request::DescribeTopics { topic: None },
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.found = Some(match answer {
            Ok(Reply::Topics(topics)) => Ok(topics),
            Ok(Reply::TopicCreated { topic, .. }) => Ok(vec![topic]),
            Ok(_) => Err(MISMATCH),
            Err(Failure::Log(LogFailure::UnknownTopic)) if self.create && !self.creating => {
                self.creating = true;
                return;
            }
            // It is no topic, so a queue has the name.
            Err(Failure::Log(LogFailure::TopicExists)) => Err(INVALID_TOPIC),
            Err(failure) => Err(errors::code(&failure)),
        });
    }
}

/// Which operations a Metadata request asks about.
pub(super) struct Operations {
    of_topics: bool,
    of_cluster: bool,
}

/// Key 3. `None` asks for all topics, and so does an empty list in version 0.
///
/// A topic that is missing is made, where the client allows it and the broker does so.
pub(super) fn metadata(request: &metadata::Request<'_>, version: i16) -> Each<Sought, Operations> {
    let meant: Vec<Meant> = match &request.topics {
        None => vec![Meant::All],
        Some(topics) if version == 0 && topics.is_empty() => vec![Meant::All],
        Some(topics) => {
            let named = topics.iter().map(|topic| (topic.name, topic.topic_id));
            distinct(named).map(|(name, id)| meant(name, id, version)).collect()
        }
    };
    let operations = Operations {
        of_topics: request.include_topic_authorized_operations,
        of_cluster: request.include_cluster_authorized_operations,
    };
    let sought = meant.into_iter().map(|meant| Sought::new(meant, request.allow_auto_topic_creation));
    Each::with(operations, sought, tell_metadata)
}

/// The first version that asks by id. Java's clients leave the name empty then, others make it null.
const BY_ID: i16 = 12;

fn meant(name: Option<&str>, id: Uuid, version: i16) -> Meant {
    match name {
        _ if version >= BY_ID && id != Uuid::default() => Meant::Id(topic_id(id)),
        Some(name) => Meant::Name(name.into()),
        None => Meant::Nothing,
    }
}

fn tell_metadata(sought: &Each<Sought, Operations>, here: &Here<'_>, out: &mut Vec<u8>) {
    let node_id = here.options.node_id;
    let partition = |index: u32| metadata::Partition {
        partition_index: index as i32,
        leader_id: node_id,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        ..Default::default()
    };
    let mut topics = Vec::new();
    for item in sought.items() {
        let (name, topic_id) = match &item.meant {
            Meant::Name(name) => (Some(&**name), Uuid::default()),
            Meant::Id(id) => (None, uuid(*id)),
            Meant::All | Meant::Nothing => (None, Uuid::default()),
        };
        match &item.found {
            Some(Ok(found)) => topics.extend(found.iter().map(|topic| metadata::Topic {
                name: Some(&topic.name),
                topic_id: uuid(topic.id),
                is_internal: topic.internal,
                partitions: (0..topic.partitions).map(partition).collect(),
                topic_authorized_operations: if sought.state.of_topics { TOPIC_OPERATIONS } else { NOT_ASKED },
                ..Default::default()
            })),
            Some(Err(error_code)) => {
                topics.push(metadata::Topic { error_code: *error_code, name, topic_id, ..Default::default() });
            }
            None => {}
        }
    }
    let response = metadata::Response {
        brokers: vec![metadata::Broker { node_id, host: &here.ends.host, port: here.ends.port.into(), rack: None }],
        cluster_id: Some(&here.options.cluster_id),
        controller_id: node_id,
        topics,
        cluster_authorized_operations: if sought.state.of_cluster { CLUSTER_OPERATIONS } else { NOT_ASKED },
        ..Default::default()
    };
    response.encode(out, here.version);
}

/// Partitions in one answer, whatever the client would take (`max.request.partition.size.limit`).
const PAGE_PARTITIONS_MAX: usize = 2000;

/// Which page of all partitions is asked for.
pub(super) struct Page {
    limit: usize,
    /// Where the page begins.
    cursor: Option<(Box<str>, i32)>,
}

/// Key 75: topics in the order of their names, a page of partitions at a time. An empty list asks for all topics.
pub(super) fn page(request: &describe_topic_partitions::Request<'_>) -> Each<Sought, Page> {
    let cursor = request.cursor.as_ref();
    let cursor: Option<(Box<str>, i32)> = cursor.map(|cursor| (cursor.topic_name.into(), cursor.partition_index.max(0)));
    let mut names: Vec<&str> = request.topics.iter().map(|topic| topic.name).collect();
    names.sort_unstable();
    names.dedup();
    let all = names.is_empty();
    if let Some((topic, _)) = &cursor {
        names.retain(|name| *name >= &**topic);
    }
    let meant: Vec<Meant> = if all { vec![Meant::All] } else { names.into_iter().map(|name| Meant::Name(name.into())).collect() };
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PAGE_PARTITIONS_MAX);
    Each::with(Page { limit, cursor }, meant.into_iter().map(|meant| Sought::new(meant, false)), tell_page)
}

fn tell_page(sought: &Each<Sought, Page>, here: &Here<'_>, out: &mut Vec<u8>) {
    let node_id = here.options.node_id;
    let partition = |index: u32| describe_topic_partitions::Partition {
        partition_index: index as i32,
        leader_id: node_id,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![node_id],
        isr_nodes: vec![node_id],
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    };
    let mut response = describe_topic_partitions::Response::default();
    let mut left = sought.state.limit;
    for item in sought.items() {
        let found = match (&item.found, &item.meant) {
            (Some(Ok(found)), _) => found,
            (Some(Err(error_code)), Meant::Name(name)) => {
                let name = Some(&**name);
                response.topics.push(describe_topic_partitions::Topic { error_code: *error_code, name, ..Default::default() });
                continue;
            }
            _ => continue,
        };
        for topic in found {
            let first = match &sought.state.cursor {
                Some((name, _)) if *topic.name < **name => continue,
                Some((name, index)) if *topic.name == **name => *index as u32,
                _ => 0,
            };
            if left == 0 {
                let next = describe_topic_partitions::Cursor { topic_name: &topic.name, partition_index: first as i32 };
                response.next_cursor = Some(next);
                return response.encode(out, here.version);
            }
            let end = topic.partitions.min(first.saturating_add(left as u32));
            response.topics.push(describe_topic_partitions::Topic {
                error_code: if first > topic.partitions { UNKNOWN_TOPIC_OR_PARTITION } else { 0 },
                name: Some(&topic.name),
                topic_id: uuid(topic.id),
                is_internal: topic.internal,
                partitions: (first..end).map(partition).collect(),
                topic_authorized_operations: TOPIC_OPERATIONS,
            });
            left -= end.saturating_sub(first) as usize;
            if end < topic.partitions {
                let next = describe_topic_partitions::Cursor { topic_name: &topic.name, partition_index: end as i32 };
                response.next_cursor = Some(next);
                return response.encode(out, here.version);
            }
        }
    }
    response.encode(out, here.version);
}
