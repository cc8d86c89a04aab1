//! Settings: keys 32 DescribeConfigs, 33 AlterConfigs, 44 IncrementalAlterConfigs.
//!
//! Topics have settings that can be changed; those of the broker are in its configuration, and are read only here.

use model::topic::{ConfigChange, ConfigEntry, ConfigKind, ConfigOf, ConfigOperation, ConfigSource};
use model::{Reply, Request};

use super::errors::{MISMATCH, Refusal};
use super::job::{Answer, Each, Here, Item, repeated};
use crate::codec::error_code::INVALID_REQUEST;
use crate::codec::{Message as _, alter_configs, describe_configs, incremental_alter_configs};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

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
    told: Option<Result<Vec<ConfigEntry>, Refusal>>,
}

/// Key 32. The broker is named by its number, or by nothing for what all brokers have in common and this one does not change.
pub(super) fn describe(request: &describe_configs::Request<'_>, node_id: i32) -> Each<Described> {
    let described = |asked: &describe_configs::RequestResource<'_>| {
        let told = match asked.resource_type {
            TOPIC => None,
            BROKER if asked.resource_name.is_empty() => Some(Ok(Vec::new())),
            BROKER if asked.resource_name == node_id.to_string() => None,
            BROKER => {
                let text =
                    format!("Unexpected broker id, expected {node_id} or empty string, but received {}", asked.resource_name);
                Some(Err(Refusal::new(INVALID_REQUEST, &text)))
            }
            other => Some(Err(Refusal::new(INVALID_REQUEST, &format!("Resources of type {other} have no settings here.")))),
        };
        let keys = asked.configuration_keys.as_ref();
        Described {
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
            Ok(Reply::Config(entries)) => Ok(entries),
            Ok(_) => Err(Refusal { code: MISMATCH, text: None }),
            Err(failure) => Err(failure.into()),
        });
    }
}

impl Described {
    fn config<'e>(&self, entry: &'e ConfigEntry) -> describe_configs::Config<'e> {
        let synonym =
            |value: &'e Option<String>, source| describe_configs::Synonym { name: entry.name, value: value.as_deref(), source };
        let mut synonyms = Vec::new();
        if self.synonyms {
            if entry.source != ConfigSource::Default {
                synonyms.push(synonym(&entry.value, source(entry.source)));
            }
            synonyms.push(synonym(&entry.default, DEFAULT));
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

/// What is wrong with naming this resource in a change, if anything. `repeated`: it is named more than once.
fn unchangeable(resource_type: i8, repeated: bool) -> Option<Refusal> {
    match resource_type {
        _ if repeated => Some(Refusal::new(INVALID_REQUEST, "Each resource must appear at most once.")),
        TOPIC => None,
        BROKER => {
            Some(Refusal::new(INVALID_REQUEST, "The broker's settings are in its configuration, and cannot be changed here."))
        }
        other => Some(Refusal::new(INVALID_REQUEST, &format!("Resources of type {other} have no settings here."))),
    }
}

fn no_value(name: &str) -> Refusal {
    Refusal::new(INVALID_REQUEST, &format!("Null value not supported for : {name}"))
}

/// Key 33. What is not named goes back to its default.
pub(super) fn replace<'r>(request: &alter_configs::Request<'r>) -> Each<Altered> {
    let named = |asked: &alter_configs::RequestResource<'r>| (asked.resource_type, asked.resource_name);
    let repeated = repeated(request.resources.iter().map(named));
    let altered = |asked: &alter_configs::RequestResource<'r>| {
        let change = |config: &alter_configs::Config<'_>| {
            let value = config.value.ok_or_else(|| no_value(config.name))?;
            Ok(ConfigChange { name: config.name.to_owned(), operation: ConfigOperation::Set(value.to_owned()) })
        };
        let changes = asked.configs.iter().map(change).collect();
        let alteration = Altered::new(asked.resource_type, asked.resource_name, repeated.contains(&named(asked)), changes);
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
pub(super) fn change<'r>(request: &incremental_alter_configs::Request<'r>) -> Each<Altered> {
    let named = |asked: &incremental_alter_configs::RequestResource<'r>| (asked.resource_type, asked.resource_name);
    let repeated = repeated(request.resources.iter().map(named));
    let altered = |asked: &incremental_alter_configs::RequestResource<'r>| {
        let changes = asked.configs.iter().map(change_of).collect();
        let alteration = Altered::new(asked.resource_type, asked.resource_name, repeated.contains(&named(asked)), changes);
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
    /// `repeated` as in [`unchangeable`].
    fn new(resource_type: i8, name: &str, repeated: bool, changes: Result<Vec<ConfigChange>, Refusal>) -> Altered {
        let refusal = unchangeable(resource_type, repeated);
        let (changes, refusal) = match changes {
            Ok(changes) => (changes, refusal),
            Err(wrong) => (Vec::new(), refusal.or(Some(wrong))),
        };
        let told = refusal.map(Err);
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
