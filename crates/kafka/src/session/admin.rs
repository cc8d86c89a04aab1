//! Topics and settings: keys 19 CreateTopics, 20 DeleteTopics, 37 CreatePartitions, 32 DescribeConfigs, 33 AlterConfigs,
//! 44 IncrementalAlterConfigs, 35 DescribeLogDirs; and what one node answers to those who would move replicas:
//! 43 ElectLeaders, 45 AlterPartitionReassignments, 46 ListPartitionReassignments.

use std::collections::HashSet;

use model::topic::{
    ConfigChange, ConfigEntry, ConfigKind, ConfigOf, ConfigOperation, ConfigSource, CreateTopic, TopicInfo, TopicRef,
};
use model::{Reply, Request};

use super::answers::Frame;
use super::errors::{MISMATCH, Refusal};
use super::job::{Answer, Each, Here, Item, Job, partition};
use super::metadata::{topic_id, uuid};
use crate::codec::error_code::{
    ELECTION_NOT_NEEDED, INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR, INVALID_REQUEST,
    NO_REASSIGNMENT_IN_PROGRESS, NONE,
};
use crate::codec::wire::Uuid;
use crate::codec::{
    Message as _, alter_configs, alter_partition_reassignments, create_partitions, create_topics, delete_topics,
    describe_configs, describe_log_dirs, elect_leaders, incremental_alter_configs, list_partition_reassignments,
};

fn mismatch() -> Refusal {
    Refusal { code: MISMATCH, text: None }
}

/// Code and words of what was refused.
fn words<T>(told: Option<&Result<T, Refusal>>) -> (i16, Option<&str>) {
    match told {
        Some(Ok(_)) => (NONE, None),
        Some(Err(refusal)) => (refusal.code, refusal.text.as_deref()),
        None => (MISMATCH, None),
    }
}

/// The things that a request names twice.
fn twice<'a>(names: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// Whether every partition is assigned to this broker alone.
fn assigned_here<'b>(mut assignments: impl Iterator<Item = &'b [i32]>, node_id: i32) -> bool {
    assignments.all(|brokers| brokers == [node_id])
}

/// A topic to be made.
pub(super) struct Creation {
    name: Box<str>,
    partitions: Option<u32>,
    config: Vec<(String, Option<String>)>,
    validate_only: bool,
    told: Option<Result<(TopicInfo, Vec<ConfigEntry>), Refusal>>,
}

/// Key 19. One node keeps one copy: a replication factor of -1 or 1 is right, and every other one is refused.
pub(super) fn create_topics(request: &create_topics::Request<'_>, node_id: i32) -> Each<Creation> {
    let twice = twice(request.topics.iter().map(|topic| topic.name));
    let item = |asked: &create_topics::RequestTopic<'_>| {
        let assigned = !asked.assignments.is_empty();
        let partitions = if assigned { asked.assignments.len() as i32 } else { asked.num_partitions };
        let assignments = asked.assignments.iter().map(|assignment| &assignment.broker_ids[..]);
        let refusal = if twice.contains(asked.name) {
            Some(Refusal::new(INVALID_REQUEST, "Duplicate topic name."))
        } else if assigned && (asked.num_partitions != -1 || asked.replication_factor != -1) {
            Some(Refusal::new(INVALID_REQUEST, "Both partitions or replication factor and an assignment were given."))
        } else if assigned && !assigned_here(assignments, node_id) {
            Some(Refusal::new(INVALID_REPLICA_ASSIGNMENT, "There is one broker, which keeps the one copy of each partition."))
        } else if !matches!(asked.replication_factor, -1 | 1) {
            let text = "Unable to replicate the partition: there is one broker, so the replication factor is 1.";
            Some(Refusal::new(INVALID_REPLICATION_FACTOR, text))
        } else if partitions == 0 || partitions < -1 {
            Some(Refusal::new(INVALID_PARTITIONS, "Number of partitions must be larger than 0."))
        } else {
            None
        };
        Creation {
            name: asked.name.into(),
            partitions: u32::try_from(partitions).ok(),
            config: asked.configs.iter().map(|config| (config.name.into(), config.value.map(Into::into))).collect(),
            validate_only: request.validate_only,
            told: refusal.map(Err),
        }
    };
    Each::of(request.topics.iter().map(item), tell_created)
}

impl Item for Creation {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let Creation { name, partitions, config, validate_only, .. } = self;
        let (partitions, validate_only) = (*partitions, *validate_only);
        Request::CreateTopic(CreateTopic { name, partitions, config, validate_only, automatic: false })
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::TopicCreated { topic, config, .. }) => Ok((topic, config)),
            Ok(_) => Err(mismatch()),
            Err(failure) => Err(failure.into()),
        });
    }
}

fn tell_created(created: &Each<Creation>, here: &Here<'_>, out: &mut Vec<u8>) {
    fn setting(entry: &ConfigEntry) -> create_topics::Config<'_> {
        create_topics::Config {
            name: entry.name,
            value: entry.value.as_deref(),
            read_only: entry.read_only,
            config_source: source_code(entry.source),
            is_sensitive: false,
        }
    }
    fn topic(item: &Creation) -> create_topics::Topic<'_> {
        let (error_code, error_message) = words(item.told.as_ref());
        let refused = create_topics::Topic { name: &item.name, error_code, error_message, ..Default::default() };
        let Some(Ok((info, config))) = &item.told else { return refused };
        create_topics::Topic {
            topic_id: if item.validate_only { Uuid::default() } else { uuid(info.id) },
            num_partitions: info.partitions as i32,
            replication_factor: 1,
            configs: Some(config.iter().map(setting).collect()),
            ..refused
        }
    }
    let topics = created.items().iter().map(topic).collect();
    create_topics::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// A topic to be deleted. It is looked for first: who names its id is told its name.
pub(super) struct Deletion {
    name: Option<Box<str>>,
    id: Uuid,
    found: bool,
    told: Option<Result<(), Refusal>>,
}

/// Key 20.
pub(super) fn delete_topics(request: &delete_topics::Request<'_>, version: i16) -> Each<Deletion> {
    let by_name = |name: &&str| Deletion { name: Some((*name).into()), id: Uuid::default(), found: false, told: None };
    if version < 6 {
        return Each::of(request.topic_names.iter().map(by_name), tell_deleted);
    }
    let either = |asked: &delete_topics::RequestTopic<'_>| {
        let nothing = asked.name.is_none() && asked.topic_id == Uuid::default();
        let both = asked.name.is_some() && asked.topic_id != Uuid::default();
        let refusal = Refusal::new(INVALID_REQUEST, "Either a name or an id must be given.");
        let told = (nothing || both).then_some(Err(refusal));
        Deletion { name: asked.name.map(Into::into), id: asked.topic_id, found: false, told }
    };
    Each::of(request.topics.iter().map(either), tell_deleted)
}

impl Item for Deletion {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let topic = match &self.name {
            Some(name) if self.id == Uuid::default() => TopicRef::Name(name),
            _ => TopicRef::Id(topic_id(self.id)),
        };
        if self.found { Request::DeleteTopic { topic } } else { Request::DescribeTopics { topic: Some(topic) } }
    }

    fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(Reply::Topics(topics)) if !self.found => match topics.first() {
                Some(topic) => {
                    (self.name, self.id, self.found) = (Some((&*topic.name).into()), uuid(topic.id), true);
                }
                None => self.told = Some(Err(mismatch())),
            },
            Ok(_) => self.told = Some(Ok(())),
            Err(failure) => self.told = Some(Err(failure.into())),
        }
    }
}

fn tell_deleted(deleted: &Each<Deletion>, here: &Here<'_>, out: &mut Vec<u8>) {
    fn topic(item: &Deletion) -> delete_topics::Topic<'_> {
        let (error_code, error_message) = words(item.told.as_ref());
        delete_topics::Topic { name: item.name.as_deref(), topic_id: item.id, error_code, error_message }
    }
    let topics = deleted.items().iter().map(topic).collect();
    delete_topics::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// A topic that gets more partitions.
pub(super) struct Growth {
    name: Box<str>,
    total: u32,
    validate_only: bool,
    told: Option<Result<(), Refusal>>,
}

/// Key 37.
pub(super) fn create_partitions(request: &create_partitions::Request<'_>, node_id: i32) -> Each<Growth> {
    let twice = twice(request.topics.iter().map(|topic| topic.name));
    let item = |asked: &create_partitions::RequestTopic<'_>| {
        let mut assignments = asked.assignments.iter().flatten().map(|assignment| &assignment.broker_ids[..]);
        let refusal = if twice.contains(asked.name) {
            Some(Refusal::new(INVALID_REQUEST, "Duplicate topic name."))
        } else if asked.count <= 0 {
            Some(Refusal::new(INVALID_PARTITIONS, "Number of partitions must be larger than 0."))
        } else if !assigned_here(&mut assignments, node_id) {
            Some(Refusal::new(INVALID_REPLICA_ASSIGNMENT, "There is one broker, which keeps the one copy of each partition."))
        } else {
            None
        };
        let total = u32::try_from(asked.count).unwrap_or(0);
        Growth { name: asked.name.into(), total, validate_only: request.validate_only, told: refusal.map(Err) }
    };
    Each::of(request.topics.iter().map(item), |each, here, out| {
        fn topic(item: &Growth) -> create_partitions::Topic<'_> {
            let (error_code, error_message) = words(item.told.as_ref());
            create_partitions::Topic { name: &item.name, error_code, error_message }
        }
        let topics = each.items().iter().map(topic).collect();
        create_partitions::Response { topics, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for Growth {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::AddPartitions { topic: &self.name, total: self.total, validate_only: self.validate_only }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map(|_| ()).map_err(Into::into));
    }
}

/// Numbers of resource types.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// The number of a setting's source.
fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::Broker => 4,
        ConfigSource::Default => 5,
    }
}

fn kind_code(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
    }
}

/// A resource whose settings are asked for.
pub(super) struct Settings {
    kind: i8,
    name: Box<str>,
    /// `None`: all.
    keys: Option<Vec<Box<str>>>,
    synonyms: bool,
    documentation: bool,
    told: Option<Result<Vec<ConfigEntry>, Refusal>>,
}

/// Key 32.
pub(super) fn describe_configs(request: &describe_configs::Request<'_>, node_id: i32) -> Each<Settings> {
    let item = |asked: &describe_configs::RequestResource<'_>| {
        let keys = asked.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        Settings {
            kind: asked.resource_type,
            name: asked.resource_name.into(),
            keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
            synonyms: request.include_synonyms,
            documentation: request.include_documentation,
            told: check_resource(asked.resource_type, asked.resource_name, node_id).err().map(Err),
        }
    };
    Each::of(request.resources.iter().map(item), tell_settings)
}

/// Whether there is such a resource here.
fn check_resource(kind: i8, name: &str, node_id: i32) -> Result<(), Refusal> {
    match kind {
        TOPIC => Ok(()),
        BROKER if name.is_empty() || name.parse() == Ok(node_id) => Ok(()),
        BROKER => Err(Refusal::new(INVALID_REQUEST, &format!("This is broker {node_id}, not broker {name}."))),
        _ => Err(Refusal::new(INVALID_REQUEST, "Only topics and brokers have settings here.")),
    }
}

impl Item for Settings {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeConfig { of: if self.kind == TOPIC { ConfigOf::Topic(&self.name) } else { ConfigOf::Broker } }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Config(config)) => Ok(config),
            Ok(_) => Err(mismatch()),
            Err(failure) => Err(failure.into()),
        });
    }
}

fn tell_settings(settings: &Each<Settings>, here: &Here<'_>, out: &mut Vec<u8>) {
    let resources = settings.items().iter().map(resource).collect();
    describe_configs::Response { resources, ..Default::default() }.encode(out, here.version);
}

fn resource(item: &Settings) -> describe_configs::Resource<'_> {
    let (error_code, error_message) = words(item.told.as_ref());
    let mut configs = Vec::new();
    for entry in item.told.iter().flatten().flatten() {
        let (name, value) = (entry.name, entry.value.as_deref());
        if item.keys.as_ref().is_some_and(|keys| !keys.iter().any(|key| **key == *name)) {
            continue;
        }
        let mut synonyms = Vec::new();
        if item.synonyms && entry.source != ConfigSource::Default {
            synonyms.push(describe_configs::Synonym { name, value, source: source_code(entry.source) });
        }
        if item.synonyms {
            let source = source_code(ConfigSource::Default);
            synonyms.push(describe_configs::Synonym { name, value: entry.default.as_deref(), source });
        }
        configs.push(describe_configs::Config {
            name,
            value,
            read_only: entry.read_only,
            config_source: source_code(entry.source),
            is_sensitive: false,
            synonyms,
            config_type: kind_code(entry.kind),
            documentation: item.documentation.then_some(entry.documentation),
        });
    }
    describe_configs::Resource { error_code, error_message, resource_type: item.kind, resource_name: &item.name, configs }
}

/// A resource whose settings are changed.
pub(super) struct Alteration {
    kind: i8,
    name: Box<str>,
    changes: Vec<ConfigChange>,
    replace: bool,
    validate_only: bool,
    told: Option<Result<(), Refusal>>,
}

fn alteration(kind: i8, name: &str, node_id: i32, changes: Result<Vec<ConfigChange>, Refusal>) -> Alteration {
    let fixed = Refusal::new(INVALID_REQUEST, "The broker's settings are changed in its configuration file, and by a restart.");
    let told = check_resource(kind, name, node_id).and(if kind == BROKER { Err(fixed) } else { Ok(()) }).err();
    let (changes, told) = match (changes, told) {
        (Ok(changes), told) => (changes, told),
        (Err(refusal), told) => (Vec::new(), told.or(Some(refusal))),
    };
    Alteration { kind, name: name.into(), changes, replace: false, validate_only: false, told: told.map(Err) }
}

/// Key 33: what is not named goes back to its default.
pub(super) fn alter_configs(request: &alter_configs::Request<'_>, node_id: i32) -> Each<Alteration> {
    let item = |asked: &alter_configs::RequestResource<'_>| {
        let change = |config: &alter_configs::Config<'_>| match config.value {
            Some(value) => Ok(ConfigChange { name: config.name.into(), operation: ConfigOperation::Set(value.into()) }),
            None => Err(Refusal::new(INVALID_REQUEST, &format!("Null value not supported for : {}", config.name))),
        };
        let changes = asked.configs.iter().map(change).collect();
        let item = alteration(asked.resource_type, asked.resource_name, node_id, changes);
        Alteration { replace: true, validate_only: request.validate_only, ..item }
    };
    Each::of(request.resources.iter().map(item), |each, here, out| {
        fn resource(item: &Alteration) -> alter_configs::Resource<'_> {
            let (error_code, error_message) = words(item.told.as_ref());
            alter_configs::Resource { error_code, error_message, resource_type: item.kind, resource_name: &item.name }
        }
        let resources = each.items().iter().map(resource).collect();
        alter_configs::Response { resources, ..Default::default() }.encode(out, here.version);
    })
}

/// Key 44.
pub(super) fn incremental_alter_configs(request: &incremental_alter_configs::Request<'_>, node_id: i32) -> Each<Alteration> {
    let item = |asked: &incremental_alter_configs::RequestResource<'_>| {
        let change = |config: &incremental_alter_configs::Config<'_>| {
            let name = config.name;
            let value =
                || config.value.ok_or_else(|| Refusal::new(INVALID_REQUEST, &format!("Null value not supported for : {name}")));
            let operation = match config.config_operation {
                0 => ConfigOperation::Set(value()?.into()),
                1 => ConfigOperation::Delete,
                2 => ConfigOperation::Append(value()?.into()),
                3 => ConfigOperation::Subtract(value()?.into()),
                other => return Err(Refusal::new(INVALID_REQUEST, &format!("Unknown operation type {other}"))),
            };
            Ok(ConfigChange { name: name.into(), operation })
        };
        let changes = asked.configs.iter().map(change).collect();
        let item = alteration(asked.resource_type, asked.resource_name, node_id, changes);
        Alteration { validate_only: request.validate_only, ..item }
    };
    Each::of(request.resources.iter().map(item), |each, here, out| {
        fn resource(item: &Alteration) -> incremental_alter_configs::Resource<'_> {
            let (error_code, error_message) = words(item.told.as_ref());
            incremental_alter_configs::Resource { error_code, error_message, resource_type: item.kind, resource_name: &item.name }
        }
        let resources = each.items().iter().map(resource).collect();
        incremental_alter_configs::Response { resources, ..Default::default() }.encode(out, here.version);
    })
}

impl Item for Alteration {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        let Alteration { name, changes, replace, validate_only, .. } = self;
        Request::AlterConfig { topic: name, changes, replace: *replace, validate_only: *validate_only }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map(|_| ()).map_err(Into::into));
    }
}

/// What clients are told the one directory is called.
const LOG_DIR: &str = "yam-data";

/// Key 35: topics are looked for first where none is named, then the size of each of their partitions.
pub(super) struct LogDirs {
    /// `None` until the topics are known.
    sizes: Option<Each<Size>>,
}

struct Size {
    index: i32,
    bytes: Option<Option<u64>>,
}

impl Size {
    fn of(index: i32) -> Size {
        Size { index, bytes: None }
    }
}

impl Item for Size {
    fn asks(&self) -> bool {
        self.bytes.is_none()
    }

    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::DescribeSize { topic, partition: partition(self.index) }
    }

    fn answered(&mut self, answer: Answer) {
        self.bytes = Some(match answer {
            Ok(Reply::Size { bytes }) => Some(bytes),
            _ => None,
        });
    }
}

pub(super) fn describe_log_dirs(request: &describe_log_dirs::Request<'_>) -> LogDirs {
    let sizes = request.topics.as_ref().map(|topics| {
        let topics = topics.iter().map(|topic| (topic.topic, topic.partitions.iter().copied().map(Size::of)));
        Each::by_topic(topics, |_, _, _| {})
    });
    LogDirs { sizes }
}

impl Job for LogDirs {
    fn is_done(&self) -> bool {
        self.sizes.as_ref().is_some_and(Job::is_done)
    }

    fn ask(&self) -> Request<'_> {
        self.sizes.as_ref().map_or(Request::DescribeTopics { topic: None }, Job::ask)
    }

    fn answered(&mut self, answer: Answer) {
        match (&mut self.sizes, answer) {
            (Some(sizes), answer) => sizes.answered(answer),
            (none, Ok(Reply::Topics(topics))) => {
                let topics = topics.iter().map(|topic| (&*topic.name, (0..topic.partitions as i32).map(Size::of)));
                *none = Some(Each::by_topic(topics, |_, _, _| {}));
            }
            (none, _) => *none = Some(Each::of([], |_, _, _| {})),
        }
    }

    fn respond(&mut self, here: &Here<'_>, frame: &mut Frame) {
        let partition = |item: &Size| {
            let size = i64::try_from(item.bytes??).unwrap_or(i64::MAX);
            let (partition_index, partition_size) = (item.index, size);
            Some(describe_log_dirs::Partition { partition_index, partition_size, offset_lag: 0, is_future_key: false })
        };
        let topic = |(name, items): (_, &[Size])| {
            let partitions: Vec<_> = items.iter().filter_map(partition).collect();
            (!partitions.is_empty()).then_some(describe_log_dirs::Topic { name, partitions })
        };
        let topics = self.sizes.iter().flat_map(Each::topics).filter_map(topic).collect();
        let dir = describe_log_dirs::LogDir { error_code: NONE, log_dir: LOG_DIR, topics, ..Default::default() };
        let response = describe_log_dirs::Response { log_dirs: vec![dir], ..Default::default() };
        response.encode(&mut frame.bytes, here.version);
    }
}

/// Key 43: the one broker leads everything already.
pub(super) fn elect_leaders(request: &elect_leaders::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let partition = |index: &i32| elect_leaders::Partition {
        partition_id: *index,
        error_code: ELECTION_NOT_NEEDED,
        error_message: Some("Leader election not needed for topic partition."),
    };
    let topic = |asked: &elect_leaders::RequestTopic<'_>| asked.partitions.iter().map(partition).collect();
    let topics = request.topics.iter().flatten();
    let topics = topics.map(|asked| elect_leaders::Topic { topic: asked.topic, partitions: topic(asked) }).collect();
    elect_leaders::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// Key 45: a partition stays where it is, and can go nowhere else.
pub(super) fn reassign(request: &alter_partition_reassignments::Request<'_>, here: &Here<'_>, out: &mut Vec<u8>) {
    let node_id = here.options.node_id;
    let partition = |asked: &alter_partition_reassignments::RequestPartition| {
        let (error_code, error_message) = match asked.replicas.as_deref() {
            Some([only]) if *only == node_id => (NONE, None),
            Some(_) => (INVALID_REPLICA_ASSIGNMENT, Some("There is one broker, which keeps the one copy of each partition.")),
            None => (NO_REASSIGNMENT_IN_PROGRESS, Some("No partition reassignment is in progress.")),
        };
        alter_partition_reassignments::Partition { partition_index: asked.partition_index, error_code, error_message }
    };
    let partitions = |asked: &alter_partition_reassignments::RequestTopic<'_>| asked.partitions.iter().map(partition).collect();
    let topic = request.topics.iter();
    let topics =
        topic.map(|asked| alter_partition_reassignments::Topic { name: asked.name, partitions: partitions(asked) }).collect();
    alter_partition_reassignments::Response { topics, ..Default::default() }.encode(out, here.version);
}

/// Key 46: none is under way.
pub(super) fn list_reassignments(here: &Here<'_>, out: &mut Vec<u8>) {
    list_partition_reassignments::Response::default().encode(out, here.version);
}
