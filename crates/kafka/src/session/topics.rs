//! Topics made and removed: keys 19 CreateTopics, 20 DeleteTopics, 37 CreatePartitions.

use model::topic::{ConfigEntry, CreateTopic, TopicId, TopicInfo, TopicRef};
use model::{Reply, Request};

use super::configs::source;
use super::errors::{MISMATCH, Refusal};
use super::job::{Answer, Each, Here, Item, repeated};
use super::metadata::{topic_id, uuid};
use crate::codec::error_code::{INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR, INVALID_REQUEST};
use crate::codec::wire::Uuid;
use crate::codec::{Message as _, create_partitions, create_topics, delete_topics};

/// Where partitions or replicas are left to the broker.
const DEFAULT: i32 = -1;

/// A topic that is to be made.
pub(super) struct Made {
    name: Box<str>,
    partitions: Option<u32>,
    config: Vec<(String, Option<String>)>,
    validate_only: bool,
    told: Option<Result<(TopicInfo, Vec<ConfigEntry>), Refusal>>,
}

/// Key 19. A topic has one replica, on this broker.
pub(super) fn create(request: &create_topics::Request<'_>, node_id: i32) -> Each<Made> {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name));
    let made = |asked: &create_topics::RequestTopic<'_>| {
        let partitions = if repeated.contains(asked.name) {
            Err(Refusal::new(INVALID_REQUEST, "Duplicate topic name."))
        } else {
            partitions(asked, node_id)
        };
        let config = asked.configs.iter().map(|config| (config.name.to_owned(), config.value.map(str::to_owned)));
        let (partitions, told) = match partitions {
            Ok(partitions) => (partitions, None),
            Err(refusal) => (None, Some(Err(refusal))),
        };
        Made { name: asked.name.into(), partitions, config: config.collect(), validate_only: request.validate_only, told }
    };
    Each::of(request.topics.iter().map(made), tell_made)
}

/// How many partitions are asked for.
fn partitions(asked: &create_topics::RequestTopic<'_>, node_id: i32) -> Result<Option<u32>, Refusal> {
    if !asked.assignments.is_empty() {
        return assigned(asked, node_id);
    }
    match asked.replication_factor {
        -1 | 1 => {}
        2.. => {
            let text = format!(
                "The target replication factor of {} cannot be reached because only 1 broker(s) are registered.",
                asked.replication_factor
            );
            return Err(Refusal::new(INVALID_REPLICATION_FACTOR, &text));
        }
        _ => return Err(Refusal::new(INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0, or -1.")),
    }
    match u32::try_from(asked.num_partitions) {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ if asked.num_partitions == DEFAULT => Ok(None),
        _ => Err(Refusal::new(INVALID_PARTITIONS, "Number of partitions must be larger than 0, or -1.")),
    }
}

/// Partitions whose replicas are named: all of them on this broker, numbered from 0 without a gap.
fn assigned(asked: &create_topics::RequestTopic<'_>, node_id: i32) -> Result<Option<u32>, Refusal> {
    if asked.num_partitions != DEFAULT || i32::from(asked.replication_factor) != DEFAULT {
        let text = "Where replicas are assigned, partitions and replication factor must be -1.";
        return Err(Refusal::new(INVALID_REQUEST, text));
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|assignment| assignment.partition_index).collect();
    indexes.sort_unstable();
    if indexes.iter().zip(0..).any(|(index, expected)| *index != expected) {
        return Err(Refusal::new(INVALID_REPLICA_ASSIGNMENT, "Partitions must be a consecutive 0-based integer sequence."));
    }
    if asked.assignments.iter().any(|assignment| assignment.broker_ids != [node_id]) {
        return Err(elsewhere(node_id));
    }
    Ok(Some(indexes.len() as u32))
}

fn elsewhere(node_id: i32) -> Refusal {
    Refusal::new(INVALID_REPLICA_ASSIGNMENT, &format!("The only replica of a partition is on broker {node_id}."))
}

impl Item for Made {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::CreateTopic(CreateTopic {
            name: &self.name,
            partitions: self.partitions,
            config: &self.config,
            validate_only: self.validate_only,
            automatic: false,
        })
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::TopicCreated { topic, config, .. }) => Ok((topic, config)),
            Ok(_) => Err(Refusal { code: MISMATCH, text: None }),
            Err(failure) => Err(failure.into()),
        });
    }
}

fn tell_made(made: &Each<Made>, here: &Here<'_>, out: &mut Vec<u8>) {
    let topic = |item| {
        let Made { name, told, validate_only, .. }: &Made = item;
        match told {
            Some(Ok((info, configs))) => create_topics::Topic {
                name,
                topic_id: if *validate_only { Uuid::default() } else { uuid(info.id) },
                num_partitions: info.partitions as i32,
                replication_factor: 1,
                configs: Some(configs.iter().map(config).collect()),
                ..Default::default()
            },
            Some(Err(refusal)) => create_topics::Topic {
                name,
                error_code: refusal.code,
                error_message: refusal.text.as_deref(),
                configs: Some(Vec::new()),
                ..Default::default()
            },
            None => create_topics::Topic { name, error_code: MISMATCH, configs: Some(Vec::new()), ..Default::default() },
        }
    };
    let topics = made.items().iter().map(topic).collect();
    create_topics::Response { topics, ..Default::default() }.encode(out, here.version);
}

fn config(entry: &ConfigEntry) -> create_topics::Config<'_> {
    create_topics::Config {
        name: entry.name,
        value: entry.value.as_deref(),
        read_only: entry.read_only,
        config_source: source(entry.source),
        is_sensitive: false,
    }
}

/// A topic that is to go.
pub(super) struct Doomed {
    name: Option<Box<str>>,
    id: Option<TopicId>,
    told: Option<Result<(), Refusal>>,
}

/// The first version that names topics by id.
const BY_ID: i16 = 6;

/// Key 20. One that is named by its id is told with its name.
pub(super) fn delete(request: &delete_topics::Request<'_>, version: i16) -> Each<Doomed> {
    let doomed: Vec<Doomed> = if version < BY_ID {
        request.topic_names.iter().map(|name| Doomed { name: Some((*name).into()), id: None, told: None }).collect()
    } else {
        request.topics.iter().map(|topic| doomed(topic.name, topic.topic_id)).collect()
    };
    Each::of(doomed, tell_doomed)
}

fn doomed(name: Option<&str>, id: Uuid) -> Doomed {
    let id = (id != Uuid::default()).then(|| topic_id(id));
    let told = match (name, id) {
        (Some(_), Some(_)) => Some(Err(Refusal::new(INVALID_REQUEST, "You may not specify both topic name and topic id."))),
        (None, None) => Some(Err(Refusal::new(INVALID_REQUEST, "You must specify a topic name or a topic id."))),
        _ => None,
    };
    Doomed { name: name.map(Box::from), id, told }
}

impl Item for Doomed {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        match (&self.name, self.id) {
            (None, Some(id)) => Request::DescribeTopics { topic: Some(TopicRef::Id(id)) },
            (Some(_), Some(id)) => Request::DeleteTopic { topic: TopicRef::Id(id) },
            (name, None) => Request::DeleteTopic { topic: TopicRef::Name(name.as_deref().unwrap_or_default()) },
        }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(Reply::Topics(topics)) => match topics.first() {
                Some(topic) => self.name = Some((*topic.name).into()),
                None => self.told = Some(Err(Refusal { code: MISMATCH, text: None })),
            },
            Ok(_) => self.told = Some(Ok(())),
            Err(failure) => self.told = Some(Err(failure.into())),
        }
    }
}

fn tell_doomed(doomed: &Each<Doomed>, here: &Here<'_>, out: &mut Vec<u8>) {
    let topic = |item| {
        let Doomed { name, id, told }: &Doomed = item;
        let refusal = told.as_ref().and_then(|told| told.as_ref().err());
        delete_topics::Topic {
            name: name.as_deref(),
            topic_id: id.map_or(Uuid::default(), uuid),
            error_code: refusal.map_or(0, |refusal| refusal.code),
            error_message: refusal.and_then(|refusal| refusal.text.as_deref()),
        }
    };
    let responses = doomed.items().iter().map(topic).collect();
    delete_topics::Response { topics: responses, ..Default::default() }.encode(out, here.version);
}

/// A topic that gets more partitions.
pub(super) struct Grown {
    name: Box<str>,
    total: u32,
    /// For how many of them a place is named; `None`: for none.
    assigned: Option<u32>,
    /// How many there are now, once that is known. It is asked only where places are named.
    present: Option<u32>,
    validate_only: bool,
    told: Option<Result<(), Refusal>>,
}

/// Key 37.
pub(super) fn grow(request: &create_partitions::Request<'_>, node_id: i32) -> Each<Grown> {
    let repeated = repeated(request.topics.iter().map(|topic| topic.name));
    let grown = |asked: &create_partitions::RequestTopic<'_>| {
        let mut assignments = asked.assignments.iter().flatten();
        let refusal = if repeated.contains(asked.name) {
            Some(Refusal::new(INVALID_REQUEST, "Duplicate topic name."))
        } else if assignments.any(|assignment| assignment.broker_ids != [node_id]) {
            Some(elsewhere(node_id))
        } else {
            None
        };
        Grown {
            name: asked.name.into(),
            total: u32::try_from(asked.count).unwrap_or(0),
            assigned: asked.assignments.as_ref().map(|assignments| assignments.len() as u32),
            present: None,
            validate_only: request.validate_only,
            told: refusal.map(Err),
        }
    };
    Each::of(request.topics.iter().map(grown), tell_grown)
}

impl Item for Grown {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        if self.assigned.is_some() && self.present.is_none() {
            return Request::DescribeTopics { topic: Some(TopicRef::Name(&self.name)) };
        }
        Request::AddPartitions { topic: &self.name, total: self.total, validate_only: self.validate_only }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(Reply::Topics(topics)) => {
                let present = topics.first().map_or(0, |topic| topic.partitions);
                self.present = Some(present);
                // To ask for no more than there are is refused by the broker, whatever is assigned.
                let more = self.total.saturating_sub(present);
                let assigned = self.assigned.unwrap_or(more);
                if more > 0 && assigned != more {
                    let text = format!(
                        "Attempted to add {more} additional partition(s), but only {assigned} assignment(s) were specified."
                    );
                    self.told = Some(Err(Refusal::new(INVALID_REPLICA_ASSIGNMENT, &text)));
                }
            }
            answer => self.told = Some(answer.map(drop).map_err(Refusal::from)),
        }
    }
}

fn tell_grown(grown: &Each<Grown>, here: &Here<'_>, out: &mut Vec<u8>) {
    let topic = |item| {
        let Grown { name, told, .. }: &Grown = item;
        let refusal = told.as_ref().and_then(|told| told.as_ref().err());
        create_partitions::Topic {
            name,
            error_code: refusal.map_or(0, |refusal| refusal.code),
            error_message: refusal.and_then(|refusal| refusal.text.as_deref()),
        }
    };
    let topics = grown.items().iter().map(topic).collect();
    create_partitions::Response { topics, ..Default::default() }.encode(out, here.version);
}
