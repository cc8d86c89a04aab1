//! Settings: keys 32 DescribeConfigs, 33 AlterConfigs, 44 IncrementalAlterConfigs, 74 ListConfigResources.
//!
//! Topics have settings that can be changed; those of the broker are in its configuration, and are read only here. Groups
//! have none.

use model::topic::{ConfigChange, ConfigEntry, ConfigKind, ConfigOf, ConfigOperation, ConfigSource};
use model::{Reply, Request};

use super::answers::Frame;
use super::cluster::LISTENER;
use super::errors::{MISMATCH, Refusal};
use super::job::{Answer, Each, Here, Item, Job, repeated};
use super::placement::DIRECTORY;
use crate::codec::error_code::{INVALID_REQUEST, UNSUPPORTED_VERSION};
use crate::codec::{Message as _, alter_configs, describe_configs, incremental_alter_configs, list_config_resources};

/// Types of resources. Source: Apache Kafka, `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Where a value comes from, as `config_source`: a broker's value stands in its file.
pub(super) fn source(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::Topic => 1,
        ConfigSource::Broker => 4,
        ConfigSource::Default => DEFAULT,
    }
}

const DEFAULT: i8 = 5;

fn kind(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
    }
}

/// Whose settings are asked for.
pub(super) struct Described {
    resource_type: i8,
    name: Box<str>,
    /// `None`: all.
    keys: Option<Vec<Box<str>>>,
    synonyms: bool,
    documentation: bool,
    /// What is known here, and not to the broker.
    own: Vec<ConfigEntry>,
    told: Option<Result<Vec<ConfigEntry>, Refusal>>,
}

/// How the broker is reached and where it keeps its data, under the names of Kafka's settings.
fn doors(here: &Here<'_>) -> Vec<ConfigEntry> {
    let listener = format!("{LISTENER}://{}:{}", here.ends.host, here.ends.port);
    let setting = |name, value: &str, documentation| ConfigEntry {
        name,
        value: Some(value.to_owned()),
        default: None,
        source: ConfigSource::Broker,
        kind: ConfigKind::List,
        read_only: true,
        documentation,
    };
    vec![
        setting("advertised.listeners", &listener, "Where clients are told to find this broker."),
        setting("listeners", &listener, "As clients that came this way know it: what it is bound to is in its configuration."),
        setting("log.dirs", DIRECTORY, "The data directory, as DescribeLogDirs names it."),
    ]
}

/// Key 32. The broker is named by its number, or by nothing for what all brokers have in common and this one does not change.
pub(super) fn describe(request: &describe_configs::Request<'_>, here: &Here<'_>) -> Each<Described> {
    let node_id = here.options.node_id;
    let described = |asked: &describe_configs::RequestResource<'_>| {
        let told = match asked.resource_type {
            TOPIC => None,
            BROKER if asked.resource_name.is_empty() => Some(Ok(Vec::new())),
            BROKER if asked.resource_name == node_id.to_string() => None,
            BROKER => Some(Err(unexpected_broker(node_id, asked.resource_name))),
            GROUP if asked.resource_name.is_empty() => Some(Err(Refusal::new(INVALID_REQUEST, "Group name must not be empty."))),
            GROUP => Some(Ok(Vec::new())),
            other => Some(Err(Refusal::new(INVALID_REQUEST, &format!("Resources of type {other} have no settings here.")))),
        };
        let keys = asked.configuration_keys.as_ref();
        let own = if asked.resource_type == BROKER { doors(here) } else { Vec::new() };
        Described {
            own,
            resource_type: asked.resource_type,
            name: asked.resource_name.into(),
            keys: keys.map(|keys| keys.iter().map(|key| Box::from(*key)).collect()),
            synonyms: request.include_synonyms,
            documentation: request.include_documentation,
            told,
        }
    };
    let mut seen = std::collections::HashSet::new();
    let fresh = request
        .resources
        .iter()
        .filter(|asked| seen.insert((asked.resource_type, asked.resource_name, &asked.configuration_keys)));
    Each::of(fresh.map(described), tell_described)
}

impl Item for Described {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::DescribeConfig { of: if self.resource_type == BROKER { ConfigOf::Broker } else { ConfigOf::Topic(&self.name) } }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(match answer {
            Ok(Reply::Config(mut entries)) => {
                entries.append(&mut self.own);
                entries.sort_by_key(|entry| entry.name);
                Ok(entries)
            }
            Ok(_) => Err(Refusal { code: MISMATCH, text: None }),
            Err(failure) => Err(failure.into()),
        });
    }
}

impl Described {
    fn config<'e>(&self, entry: &'e ConfigEntry) -> describe_configs::Config<'e> {
        let synonym =
            |name, value: &'e Option<String>, source| describe_configs::Synonym { name, value: value.as_deref(), source };
        let mut synonyms = Vec::new();
        if self.synonyms {
            let brokers = if self.resource_type == TOPIC { brokers_name(entry.name) } else { Some(entry.name) };
            if entry.source == ConfigSource::Topic {
                synonyms.push(synonym(entry.name, &entry.value, source(entry.source)));
            }
            let default = if entry.source == ConfigSource::Broker { ConfigSource::Broker } else { ConfigSource::Default };
            synonyms
                .extend(brokers.filter(|_| entry.default.is_some()).map(|name| synonym(name, &entry.default, source(default))));
        }
        describe_configs::Config {
            name: entry.name,
            value: entry.value.as_deref(),
            read_only: entry.read_only,
            config_source: source(entry.source),
            is_sensitive: false,
            synonyms,
            config_type: kind(entry.kind),
            documentation: self.documentation.then_some(entry.documentation),
        }
    }
}

/// What the broker's default of a topic's setting is called. Some have no such name, or one that is set in hours.
/// Source: Apache Kafka 4.3.1, what DescribeConfigs answers.
fn brokers_name(topics: &'static str) -> Option<&'static str> {
    Some(match topics {
        "cleanup.policy" => "log.cleanup.policy",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "flush.ms"
        | "follower.replication.throttled.replicas"
        | "leader.replication.throttled.replicas"
        | "remote.log.copy.disable"
        | "remote.log.delete.on.disable"
        | "remote.storage.enable"
        | "retention.ms"
        | "segment.jitter.ms"
        | "segment.ms" => return None,
        same => same,
    })
}

fn tell_described(described: &Each<Described>, here: &Here<'_>, out: &mut Vec<u8>) {
    let resource = |item| {
        let item: &Described = item;
        let mut resource =
            describe_configs::Resource { resource_type: item.resource_type, resource_name: &item.name, ..Default::default() };
        match &item.told {
            Some(Ok(entries)) => {
                let wanted =
                    |entry: &&ConfigEntry| item.keys.as_ref().is_none_or(|keys| keys.iter().any(|key| **key == *entry.name));
                resource.configs = entries.iter().filter(wanted).map(|entry| item.config(entry)).collect();
            }
            Some(Err(refusal)) => {
                (resource.error_code, resource.error_message) = (refusal.code, refusal.text.as_deref());
            }
            None => resource.error_code = MISMATCH,
        }
        resource
    };
    let resources = described.items().iter().map(resource).collect();
    describe_configs::Response { resources, ..Default::default() }.encode(out, here.version);
}

/// Settings that are to be changed.
pub(super) struct Altered {
    resource_type: i8,
    name: Box<str>,
    changes: Vec<ConfigChange>,
    replace: bool,
    validate_only: bool,
    told: Option<Result<(), Refusal>>,
}

/// What is to be said of a change without asking the broker, if anything. `repeated`: the resource is named more than once.
fn told_at_once(
    resource_type: i8,
    name: &str,
    repeated: bool,
    changes: &[ConfigChange],
    node_id: i32,
) -> Option<Result<(), Refusal>> {
    if repeated {
        return Some(Err(Refusal::new(INVALID_REQUEST, "Each resource must appear at most once.")));
    }
    match resource_type {
        TOPIC => None,
        BROKER if !name.is_empty() && name != node_id.to_string() => Some(Err(unexpected_broker(node_id, name))),
        // What goes back to its default has it already.
        BROKER if changes.iter().all(|change| matches!(change.operation, ConfigOperation::Delete)) => Some(Ok(())),
        BROKER => {
            let text = "The broker's settings are in its configuration, and cannot be changed here.";
            Some(Err(Refusal::new(INVALID_REQUEST, text)))
        }
        other => Some(Err(Refusal::new(INVALID_REQUEST, &format!("Resources of type {other} have no settings here.")))),
    }
}

fn unexpected_broker(node_id: i32, name: &str) -> Refusal {
    let text = format!("Unexpected broker id, expected {node_id} or empty string, but received {name}");
    Refusal::new(INVALID_REQUEST, &text)
}

fn no_value(name: &str) -> Refusal {
    Refusal::new(INVALID_REQUEST, &format!("Null value not supported for : {name}"))
}

/// Key 33. What is not named goes back to its default.
pub(super) fn replace<'r>(request: &alter_configs::Request<'r>, node_id: i32) -> Each<Altered> {
    let named = |asked: &alter_configs::RequestResource<'r>| (asked.resource_type, asked.resource_name);
    let repeated = repeated(request.resources.iter().map(named));
    let altered = |asked: &alter_configs::RequestResource<'r>| {
        let change = |config: &alter_configs::Config<'_>| {
            let value = config.value.ok_or_else(|| no_value(config.name))?;
            Ok(ConfigChange { name: config.name.to_owned(), operation: ConfigOperation::Set(value.to_owned()) })
        };
        let changes = asked.configs.iter().map(change).collect();
        let repeated = repeated.contains(&named(asked));
        let alteration = Altered::new(asked.resource_type, asked.resource_name, repeated, changes, node_id);
        Altered { replace: true, validate_only: request.validate_only, ..alteration }
    };
    Each::of(request.resources.iter().map(altered), |altered, here, out| {
        let resource = |(resource_type, resource_name, error_code, error_message)| alter_configs::Resource {
            error_code,
            error_message,
            resource_type,
            resource_name,
        };
        let resources = altered.items().iter().map(Altered::told).map(resource).collect();
        alter_configs::Response { resources, ..Default::default() }.encode(out, here.version);
    })
}

/// Key 44. What is not named stays as it is.
pub(super) fn change<'r>(request: &incremental_alter_configs::Request<'r>, node_id: i32) -> Each<Altered> {
    let named = |asked: &incremental_alter_configs::RequestResource<'r>| (asked.resource_type, asked.resource_name);
    let repeated = repeated(request.resources.iter().map(named));
    let altered = |asked: &incremental_alter_configs::RequestResource<'r>| {
        let changes = asked.configs.iter().map(change_of).collect();
        let repeated = repeated.contains(&named(asked));
        let alteration = Altered::new(asked.resource_type, asked.resource_name, repeated, changes, node_id);
        Altered { validate_only: request.validate_only, ..alteration }
    };
    Each::of(request.resources.iter().map(altered), |altered, here, out| {
        let resource = |(resource_type, resource_name, error_code, error_message)| incremental_alter_configs::Resource {
            error_code,
            error_message,
            resource_type,
            resource_name,
        };
        let resources = altered.items().iter().map(Altered::told).map(resource).collect();
        incremental_alter_configs::Response { resources, ..Default::default() }.encode(out, here.version);
    })
}

fn change_of(config: &incremental_alter_configs::Config<'_>) -> Result<ConfigChange, Refusal> {
    let value = || config.value.map(str::to_owned).ok_or_else(|| no_value(config.name));
    let operation = match config.config_operation {
        0 => ConfigOperation::Set(value()?),
        1 => ConfigOperation::Delete,
        2 => ConfigOperation::Append(value()?),
        3 => ConfigOperation::Subtract(value()?),
        other => return Err(Refusal::new(INVALID_REQUEST, &format!("Unknown operation {other}."))),
    };
    Ok(ConfigChange { name: config.name.to_owned(), operation })
}

impl Altered {
    /// `repeated` as in [`told_at_once`].
    fn new(resource_type: i8, name: &str, repeated: bool, changes: Result<Vec<ConfigChange>, Refusal>, node_id: i32) -> Altered {
        let (changes, wrong) = match changes {
            Ok(changes) => (changes, None),
            Err(wrong) => (Vec::new(), Some(Err(wrong))),
        };
        let told = match told_at_once(resource_type, name, repeated, &changes, node_id) {
            Some(Err(refusal)) => Some(Err(refusal)),
            told => wrong.or(told),
        };
        Altered { resource_type, name: name.into(), changes, replace: false, validate_only: false, told }
    }

    /// Type, name, code and text.
    fn told(&self) -> (i8, &str, i16, Option<&str>) {
        let (code, text) = match &self.told {
            Some(Ok(())) => (0, None),
            Some(Err(refusal)) => (refusal.code, refusal.text.as_deref()),
            None => (MISMATCH, None),
        };
        (self.resource_type, &self.name, code, text)
    }
}

impl Item for Altered {
    fn asks(&self) -> bool {
        self.told.is_none()
    }

    fn ask<'a>(&'a self, _: &'a str) -> Request<'a> {
        Request::AlterConfig {
            topic: &self.name,
            changes: &self.changes,
            replace: self.replace,
            validate_only: self.validate_only,
        }
    }

    fn answered(&mut self, answer: Answer) {
        self.told = Some(answer.map(drop).map_err(Refusal::from));
    }
}

/// Key 74: the names of what has settings.
pub(super) struct Resources {
    brokers: bool,
    /// A type is asked for that nobody knows.
    unknown: bool,
    node_id: String,
    /// `None`: which there are is not known yet.
    names: Option<Vec<Box<str>>>,
}

/// The first version that says which types it asks for; before, it is client metrics only (KIP-714).
const BY_TYPE: i16 = 1;

impl Resources {
    pub fn new(request: &list_config_resources::Request, version: i16, node_id: i32) -> Resources {
        let types = &request.resource_types;
        let known = |kind: &i8| [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP].contains(kind);
        let unknown = !types.iter().all(known);
        let wanted = |kind| version >= BY_TYPE && !unknown && (types.is_empty() || types.contains(&kind));
        Resources { brokers: wanted(BROKER), unknown, node_id: node_id.to_string(), names: (!wanted(TOPIC)).then(Vec::new) }
    }
}

impl Job for Resources {
    fn is_done(&self) -> bool {
        self.names.is_some()
    }

    fn ask(&self) -> Request<'_> {
        Request::DescribeTopics { topic: None }
    }

    fn answered(&mut self, answer: Answer) {
        let topics = match answer {
            Ok(Reply::Topics(topics)) => topics,
            _ => Vec::new(),
        };
        self.names = Some(topics.iter().map(|topic| (*topic.name).into()).collect());
    }

    fn respond(&mut self, here: &Here<'_>, frame: &mut Frame) {
        let resource = |resource_type, resource_name| list_config_resources::Resource { resource_name, resource_type };
        let topics = self.names.iter().flatten().map(|topic| resource(TOPIC, topic));
        // Loggers, client metrics and groups have no settings here.
        let brokers = self.brokers.then(|| resource(BROKER, &self.node_id));
        let response = list_config_resources::Response {
            error_code: if self.unknown { UNSUPPORTED_VERSION } else { 0 },
            config_resources: topics.chain(brokers).collect(),
            ..Default::default()
        };
        response.encode(&mut frame.bytes, here.version);
    }
}
