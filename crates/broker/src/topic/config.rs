//! Settings of topics, under the names and with the defaults that Kafka's tools know (Apache Kafka 4, "Topic Configs").
//!
//! Every setting is listed, taken and given back as it was set. Those without effect say so, and why.

use std::collections::{BTreeMap, HashSet};

use model::topic::{ConfigChange, ConfigEntry, ConfigKind, ConfigOperation, ConfigSource};
use model::{Failure, LogFailure, limits};

use super::records::Packing;

/// What a value must be.
#[derive(Clone, Copy)]
enum Rule {
    Any,
    /// At least.
    From(i64),
    Between(i64, i64),
    OneOf(&'static [&'static str]),
    /// A list of these, which may be empty.
    SomeOf(&'static [&'static str]),
    Ratio,
}

struct Setting {
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    documentation: &'static str,
}

const fn setting(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    documentation: &'static str,
) -> Setting {
    Setting { name, kind, default, rule, documentation }
}

use ConfigKind::{Boolean, Double, Int, List, Long, String as Text};

const FOREVER: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// The codecs in the order of their numbers in a batch's attributes.
const NUMBERED_CODECS: [&str; 5] = ["uncompressed", "gzip", "snappy", "lz4", "zstd"];
const FLAGS: &[&str] = &["true", "false"];

/// In alphabetical order.
static SETTINGS: &[Setting] = &[
    setting(
        "cleanup.policy",
        List,
        "delete",
        Rule::SomeOf(&["delete", "compact"]),
        "What happens to old records: delete, compact, both, or nothing where it is empty.",
    ),
    setting("compression.gzip.level", Int, "-1", Rule::Between(-1, 9), "Level where the broker compresses with gzip."),
    setting("compression.lz4.level", Int, "9", Rule::Between(1, 17), "Without effect: lz4 has one level here."),
    setting(
        "compression.type",
        Text,
        "producer",
        Rule::OneOf(CODECS),
        "What batches are kept compressed with; producer: as their producers compressed them.",
    ),
    setting("compression.zstd.level", Int, "3", Rule::Between(-131_072, 22), "Level where the broker compresses with zstd."),
    setting("delete.retention.ms", Long, "86400000", Rule::From(0), "How long a tombstone is kept in a compacted topic."),
    setting("file.delete.delay.ms", Long, "60000", Rule::From(0), "Without effect: files go once their going is durable."),
    setting("flush.messages", Long, "1", Rule::From(1), "Without effect: the broker's durability decides."),
    setting("flush.ms", Long, FOREVER, Rule::From(0), "Without effect: the broker's durability decides."),
    setting("follower.replication.throttled.replicas", List, "", Rule::Any, "Without effect: one node has no followers."),
    setting("index.interval.bytes", Int, "4096", Rule::From(0), "Without effect: every batch is indexed."),
    setting("leader.replication.throttled.replicas", List, "", Rule::Any, "Without effect: one node has no followers."),
    setting("local.retention.bytes", Long, "-2", Rule::From(-2), "Without effect: nothing is tiered."),
    setting("local.retention.ms", Long, "-2", Rule::From(-2), "Without effect: nothing is tiered."),
    setting(
        "max.compaction.lag.ms",
        Long,
        FOREVER,
        Rule::From(1),
        "How long a record stays uncompacted at most, whatever min.cleanable.dirty.ratio says.",
    ),
    setting(
        BATCH_BYTES,
        Int,
        "1048588",
        Rule::Between(0, limits::BATCH_BYTES_MAX as i64),
        "The largest batch that is taken, compressed, in bytes.",
    ),
    setting(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        Rule::From(0),
        "How far ahead of the broker's clock a record's time may be.",
    ),
    setting(
        "message.timestamp.before.max.ms",
        Long,
        FOREVER,
        Rule::From(0),
        "How far behind the broker's clock a record's time may be.",
    ),
    setting(
        "message.timestamp.type",
        Text,
        "CreateTime",
        Rule::OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose clock stamps the records.",
    ),
    setting(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        Rule::Ratio,
        "How much of a topic must be uncompacted before it is compacted.",
    ),
    setting("min.compaction.lag.ms", Long, "0", Rule::From(0), "How long a record stays uncompacted at least."),
    setting("min.insync.replicas", Int, "1", Rule::From(1), "Without effect: the one copy is always in sync."),
    setting("preallocate", Boolean, "false", Rule::OneOf(FLAGS), "Without effect: the journal is always preallocated."),
    setting("remote.log.copy.disable", Boolean, "false", Rule::OneOf(FLAGS), "Without effect: nothing is tiered."),
    setting("remote.log.delete.on.disable", Boolean, "false", Rule::OneOf(FLAGS), "Without effect: nothing is tiered."),
    setting("remote.storage.enable", Boolean, "false", Rule::OneOf(&["false"]), "Nothing is tiered."),
    setting("retention.bytes", Long, "-1", Rule::From(-1), "The oldest records of a partition go when it is larger; -1: never."),
    setting("retention.ms", Long, "604800000", Rule::From(-1), "Records go when they are older; -1: never."),
    setting(
        "segment.bytes",
        Int,
        "1073741824",
        Rule::From(14),
        "The newest part of a compacted topic may be compacted once it is this large.",
    ),
    setting("segment.index.bytes", Int, "10485760", Rule::From(4), "Without effect: an index is as long as its segment needs."),
    setting("segment.jitter.ms", Long, "0", Rule::From(0), "Without effect: nothing is cut for all topics at once."),
    setting(
        "segment.ms",
        Long,
        "604800000",
        Rule::From(1),
        "The newest part of a compacted topic may be compacted once its last record is this old.",
    ),
    setting(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        Rule::OneOf(FLAGS),
        "Without effect: nothing that was confirmed is ever given up.",
    ),
];

const BATCH_BYTES: &str = "max.message.bytes";

/// What topics that do not say so themselves have from the broker's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    /// What is confirmed was synced before.
    pub synced: bool,
    pub batch_bytes_max: usize,
}

impl Defaults {
    /// The value of a setting, and where it comes from.
    fn of(&self, setting: &Setting) -> (String, ConfigSource) {
        match setting.name {
            "flush.messages" => (flush_messages(self.synced).into(), ConfigSource::Default),
            BATCH_BYTES if self.batch_bytes_max.to_string() != setting.default => {
                (self.batch_bytes_max.to_string(), ConfigSource::Broker)
            }
            _ => (setting.default.into(), ConfigSource::Default),
        }
    }
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// What was set for a topic, by name.
pub(crate) type Config = BTreeMap<String, String>;

/// The settings that the broker acts upon.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub batch_bytes_max: usize,
    /// How batches are kept; `None`: as they come.
    pub packing: Option<Packing>,
    /// The broker's clock stamps records.
    pub append_time: bool,
    pub before_max_ms: i64,
    pub after_max_ms: i64,
    /// Old records are deleted.
    pub delete: bool,
    /// Of each key the latest record is kept.
    pub compact: bool,
    /// -1: for ever.
    pub retention_ms: i64,
    /// -1: any.
    pub retention_bytes: i64,
    pub tombstone_ms: i64,
    pub min_compaction_lag_ms: i64,
    pub max_compaction_lag_ms: i64,
    /// How much of a partition must be uncompacted before it is compacted.
    pub dirty_ratio: f64,
    /// The newest stretch of a compacted topic is closed at this size, or at this age.
    pub segment_bytes: u64,
    pub segment_ms: u64,
}

/// The value of a setting, as it was set or by default.
fn text<'c>(config: &'c Config, name: &str) -> &'c str {
    config.get(name).map_or_else(|| find(name).map_or("", |setting| setting.default), String::as_str)
}

fn number(config: &Config, name: &str) -> i64 {
    text(config, name).parse().unwrap_or(-1)
}

impl Settings {
    /// The settings of a topic whose changes have been checked, with these defaults.
    pub fn new(config: &Config, defaults: &Defaults) -> Settings {
        let text = |name: &str| text(config, name);
        let number = |name: &str| number(config, name);
        let packing = |codec: usize| Packing {
            codec: codec as i16,
            level: match NUMBERED_CODECS.get(codec) {
                Some(&"gzip") => i32::try_from(number("compression.gzip.level")).ok().filter(|level| *level >= 0),
                Some(&"zstd") => i32::try_from(number("compression.zstd.level")).ok(),
                _ => None,
            },
        };
        let policy = |word: &str| text("cleanup.policy").split(',').any(|part| part.trim() == word);
        Settings {
            batch_bytes_max: match config.get(BATCH_BYTES) {
                Some(_) => usize::try_from(number(BATCH_BYTES)).unwrap_or(0),
                None => defaults.batch_bytes_max,
            },
            packing: NUMBERED_CODECS.iter().position(|codec| *codec == text("compression.type")).map(packing),
            append_time: text("message.timestamp.type") == "LogAppendTime",
            before_max_ms: number("message.timestamp.before.max.ms"),
            after_max_ms: number("message.timestamp.after.max.ms"),
            delete: policy("delete"),
            compact: policy("compact"),
            retention_ms: number("retention.ms"),
            retention_bytes: number("retention.bytes"),
            tombstone_ms: number("delete.retention.ms"),
            min_compaction_lag_ms: number("min.compaction.lag.ms"),
            max_compaction_lag_ms: number("max.compaction.lag.ms"),
            dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            segment_bytes: u64::try_from(number("segment.bytes")).unwrap_or(u64::MAX),
            segment_ms: u64::try_from(number("segment.ms")).unwrap_or(u64::MAX),
        }
    }
}

fn refuse(text: String) -> Failure {
    Failure::LogBecause { failure: LogFailure::InvalidConfig, text: text.into() }
}

fn check_length(setting: &Setting, value: &str) -> Result<(), Failure> {
    if value.len() <= limits::CONFIG_VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(refuse(format!("Invalid value for configuration {}: longer than it may be", setting.name)))
}

fn check(setting: &Setting, value: &str) -> Result<(), Failure> {
    check_length(setting, value)?;
    let bad = |what: &str| refuse(format!("Invalid value {value} for configuration {}: {what}", setting.name));
    let number = || match setting.kind {
        Int => value.parse::<i32>().map(i64::from).map_err(|_| bad("Not a number of type INT")),
        _ => value.parse::<i64>().map_err(|_| bad("Not a number of type LONG")),
    };
    match setting.rule {
        Rule::Any => Ok(()),
        Rule::From(least) if number()? < least => Err(bad(&format!("Value must be at least {least}"))),
        Rule::Between(least, most) if !(least..=most).contains(&number()?) => {
            Err(bad(&format!("Value must be between {least} and {most}")))
        }
        Rule::From(_) | Rule::Between(..) => Ok(()),
        Rule::OneOf(words) if !words.contains(&value) => Err(bad(&format!("String must be one of: {}", words.join(", ")))),
        Rule::OneOf(_) => Ok(()),
        Rule::SomeOf(words) => {
            let all = value.is_empty() || value.split(',').all(|part| words.contains(&part.trim()));
            if all { Ok(()) } else { Err(bad(&format!("String must be one of: {}", words.join(", ")))) }
        }
        Rule::Ratio => {
            let fits = value.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
            if fits { Ok(()) } else { Err(bad("Value must be between 0 and 1")) }
        }
    }
}

/// Whether the values of a topic's settings go together.
fn check_together(config: &Config) -> Result<(), Failure> {
    let (min, max) = (number(config, "min.compaction.lag.ms"), number(config, "max.compaction.lag.ms"));
    if min <= max {
        return Ok(());
    }
    Err(refuse(format!("min.compaction.lag.ms ({min}) is greater than max.compaction.lag.ms ({max})")))
}

/// Set what a creation asks for.
pub(crate) fn of_creation(asked: &[(String, Option<String>)]) -> Result<Config, Failure> {
    let mut config = Config::new();
    for (name, value) in asked {
        let Some(setting) = find(name) else { return Err(refuse(format!("Unknown topic config name: {name}"))) };
        let Some(value) = value else { return Err(refuse(format!("Null value not supported for topic configs: {name}"))) };
        check(setting, value)?;
        config.insert(name.clone(), value.clone());
    }
    check_together(&config)?;
    Ok(config)
}

/// Change what is set. `replace`: what is not named goes back to its default.
pub(crate) fn changed(config: &Config, changes: &[ConfigChange], replace: bool) -> Result<Config, Failure> {
    let mut new = if replace { Config::new() } else { config.clone() };
    let mut seen = HashSet::new();
    for change in changes {
        // Each costs as much as the list is long, so that a million of them would take for ever.
        if !replace && !seen.insert(&*change.name) {
            let text = format!("Error due to duplicate config keys : {}", change.name);
            return Err(Failure::LogBecause { failure: LogFailure::InvalidRequest, text: text.into() });
        }
        let Some(setting) = find(&change.name) else {
            return Err(refuse(format!("Unknown topic config name: {}", change.name)));
        };
        let listed = |new: &Config| -> Vec<String> {
            let now = new.get(&change.name).map_or(setting.default, String::as_str);
            now.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let needs_list = |value: &str| match setting.kind {
            List => check_length(setting, value),
            _ => Err(refuse(format!("Config value append/subtract is not allowed for config key: {}", setting.name))),
        };
        let value = match &change.operation {
            ConfigOperation::Set(value) => value.clone(),
            ConfigOperation::Delete => {
                new.remove(&change.name);
                continue;
            }
            ConfigOperation::Append(value) => {
                needs_list(value)?;
                let mut list = listed(&new);
                for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                    if !list.iter().any(|other| other == part) {
                        list.push(part.into());
                    }
                }
                list.join(",")
            }
            ConfigOperation::Subtract(value) => {
                needs_list(value)?;
                let mut list = listed(&new);
                list.retain(|part| !value.split(',').any(|gone| gone.trim() == part));
                list.join(",")
            }
        };
        check(setting, &value)?;
        new.insert(change.name.clone(), value);
    }
    check_together(&new)?;
    Ok(new)
}

/// After how many messages there is a sync, as `flush.messages` says it.
fn flush_messages(synced: bool) -> &'static str {
    if synced { "1" } else { FOREVER }
}

/// Every setting of a topic as it stands.
pub(crate) fn describe(config: &Config, defaults: &Defaults) -> Vec<ConfigEntry> {
    let entry = |setting: &Setting| {
        let set = config.get(setting.name);
        let (default, source) = defaults.of(setting);
        ConfigEntry {
            name: setting.name,
            value: Some(set.cloned().unwrap_or_else(|| default.clone())),
            default: Some(default),
            source: if set.is_some() { ConfigSource::Topic } else { source },
            kind: setting.kind,
            read_only: false,
            documentation: setting.documentation,
        }
    };
    SETTINGS.iter().map(entry).collect()
}

/// What the broker itself is set to, as far as Kafka's tools ask. Read only.
pub(crate) fn describe_broker(options: &super::Options, groups: &crate::group::Options, synced: bool) -> Vec<ConfigEntry> {
    let fixed = |name: &'static str, kind: ConfigKind, value: String, documentation: &'static str| ConfigEntry {
        name,
        default: Some(value.clone()),
        value: Some(value),
        source: ConfigSource::Broker,
        kind,
        read_only: true,
        documentation,
    };
    let default = |name: &str| find(name).map_or("", |setting| setting.default).to_owned();
    vec![
        fixed("auto.create.topics.enable", Boolean, options.auto_create.to_string(), "A topic that is used is made."),
        fixed("broker.id", Int, "1".into(), "This broker's number."),
        fixed("compression.type", Text, default("compression.type"), "Default of the topics' compression.type."),
        fixed("default.replication.factor", Int, "1".into(), "One node keeps one copy."),
        fixed("delete.topic.enable", Boolean, "true".into(), "Topics can be deleted."),
        fixed(
            "group.initial.rebalance.delay.ms",
            Int,
            groups.initial_rebalance_delay_ms.to_string(),
            "How long a new group waits for more members.",
        ),
        fixed(
            "group.max.session.timeout.ms",
            Int,
            groups.session_timeout_max_ms.to_string(),
            "The longest session time-out of a member.",
        ),
        fixed("group.max.size", Int, groups.members_max.to_string(), "Members that one group may have."),
        fixed(
            "group.min.session.timeout.ms",
            Int,
            groups.session_timeout_min_ms.to_string(),
            "The shortest session time-out of a member.",
        ),
        fixed("log.cleaner.delete.retention.ms", Long, default("delete.retention.ms"), "Default of delete.retention.ms."),
        fixed("log.cleaner.enable", Boolean, "true".into(), "Compacted topics are compacted."),
        fixed(
            "log.cleaner.min.cleanable.ratio",
            Double,
            default("min.cleanable.dirty.ratio"),
            "Default of min.cleanable.dirty.ratio.",
        ),
        fixed("log.cleaner.max.compaction.lag.ms", Long, default("max.compaction.lag.ms"), "Default of max.compaction.lag.ms."),
        fixed("log.cleaner.min.compaction.lag.ms", Long, default("min.compaction.lag.ms"), "Default of min.compaction.lag.ms."),
        fixed("log.cleanup.policy", List, default("cleanup.policy"), "Default of cleanup.policy."),
        fixed("log.flush.interval.messages", Long, flush_messages(synced).into(), "Default of flush.messages."),
        fixed("log.index.interval.bytes", Int, default("index.interval.bytes"), "Every batch is indexed."),
        fixed("log.message.timestamp.type", Text, default("message.timestamp.type"), "Default of message.timestamp.type."),
        fixed("log.retention.bytes", Long, default("retention.bytes"), "Default of retention.bytes."),
        fixed(
            "log.retention.check.interval.ms",
            Long,
            options.retention_check_ms.to_string(),
            "How often old records are looked for.",
        ),
        fixed("log.retention.hours", Int, "168".into(), "Default of retention.ms, in hours."),
        fixed("log.retention.ms", Long, default("retention.ms"), "Default of retention.ms."),
        fixed("log.roll.hours", Int, "168".into(), "Default of segment.ms, in hours."),
        fixed("log.segment.bytes", Int, default("segment.bytes"), "Default of segment.bytes."),
        fixed("message.max.bytes", Int, options.batch_bytes_max.to_string(), "Default of max.message.bytes."),
        fixed("min.insync.replicas", Int, "1".into(), "The one copy is always in sync."),
        fixed("node.id", Int, "1".into(), "This broker's number."),
        fixed("num.partitions", Int, options.partitions.to_string(), "Partitions of a topic that does not say how many."),
        fixed(
            "offset.metadata.max.bytes",
            Int,
            groups.metadata_bytes_max.to_string(),
            "The largest text that is kept with a committed offset.",
        ),
        fixed(
            "offsets.retention.check.interval.ms",
            Long,
            groups.retention_check_ms.to_string(),
            "How often offsets that expired are looked for.",
        ),
        fixed(
            "offsets.retention.minutes",
            Int,
            (groups.retention_ms / 60_000).to_string(),
            "How long offsets of an empty group are kept.",
        ),
        fixed("offsets.topic.replication.factor", Int, "1".into(), "One node keeps one copy."),
        fixed(
            "producer.id.expiration.ms",
            Int,
            super::retention::PRODUCER_MS.to_string(),
            "How long a producer that does not write is remembered.",
        ),
        fixed("process.roles", List, "broker,controller".into(), "One node is both."),
        fixed("socket.request.max.bytes", Int, "104857600".into(), "The largest produce request; any other: 4 MiB."),
        fixed(
            "transaction.max.timeout.ms",
            Int,
            options.transaction_timeout_ms_max.to_string(),
            "The longest a transaction may be open.",
        ),
        fixed("transaction.state.log.min.isr", Int, "1".into(), "One node keeps one copy."),
        fixed("transaction.state.log.replication.factor", Int, "1".into(), "One node keeps one copy."),
        fixed(
            "transactional.id.expiration.ms",
            Int,
            crate::transaction::FORGOTTEN_AFTER_MS.to_string(),
            "How long an unused transactional id is remembered.",
        ),
        fixed("unclean.leader.election.enable", Boolean, "false".into(), "Nothing that was confirmed is ever given up."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults = Defaults { synced: true, batch_bytes_max: 1_048_588 };

    #[test]
    fn what_is_listed_is_accepted_back() {
        let all: Vec<_> =
            describe(&Config::new(), &DEFAULTS).into_iter().map(|entry| (entry.name.to_owned(), entry.value)).collect();
        let config = of_creation(&all).unwrap();
        assert_eq!(Settings::new(&config, &DEFAULTS), Settings::new(&Config::new(), &DEFAULTS));
        let again: Vec<_> = describe(&config, &DEFAULTS).into_iter().map(|entry| entry.value).collect();
        assert_eq!(again, all.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
        assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    }

    #[test]
    fn values_are_checked_and_lists_grow_and_shrink() {
        let set = |name: &str, operation: ConfigOperation| ConfigChange { name: name.into(), operation };
        let long = "x".repeat(limits::CONFIG_VALUE_BYTES_MAX + 1);
        for (name, value) in [
            ("retention.ms", "x"),
            ("retention.ms", "-2"),
            ("cleanup.policy", "both"),
            ("no.such", "1"),
            ("leader.replication.throttled.replicas", &long),
        ] {
            let refused = changed(&Config::new(), &[set(name, ConfigOperation::Set(value.into()))], false);
            assert!(matches!(refused, Err(Failure::LogBecause { failure: LogFailure::InvalidConfig, .. })), "{name}={value}");
        }
        let both = changed(&Config::new(), &[set("cleanup.policy", ConfigOperation::Append("compact".into()))], false).unwrap();
        assert_eq!(both["cleanup.policy"], "delete,compact");
        assert!(Settings::new(&both, &DEFAULTS).compact && Settings::new(&both, &DEFAULTS).delete);
        let one = changed(&both, &[set("cleanup.policy", ConfigOperation::Subtract("delete".into()))], false).unwrap();
        assert_eq!(one["cleanup.policy"], "compact");
        // Nothing may have to wait for longer than it can.
        let lag = |name: &str, value: &str| set(name, ConfigOperation::Set(value.into()));
        let waits = changed(&both, &[lag("min.compaction.lag.ms", "5"), lag("max.compaction.lag.ms", "5")], false).unwrap();
        assert!(changed(&waits, &[lag("max.compaction.lag.ms", "4")], false).is_err());
        assert!(changed(&waits, &[lag("min.compaction.lag.ms", "6")], false).is_err());
        // A list that is compared with another may not be longer than what is kept, and comes once.
        let throttled = "leader.replication.throttled.replicas";
        for operation in [ConfigOperation::Append(long.clone()), ConfigOperation::Subtract(long.clone())] {
            assert!(changed(&both, &[set(throttled, operation)], false).is_err());
        }
        let twice = ["1", "2"].map(|value| set(throttled, ConfigOperation::Append(value.into())));
        let refused = changed(&both, &twice, false);
        assert!(matches!(refused, Err(Failure::LogBecause { failure: LogFailure::InvalidRequest, .. })));
        let number = changed(&both, &[set("retention.ms", ConfigOperation::Append("1".into()))], false);
        assert!(number.is_err());
        let replaced = changed(&both, &[set("retention.ms", ConfigOperation::Set("5".into()))], true).unwrap();
        assert_eq!(replaced.into_iter().collect::<Vec<_>>(), [("retention.ms".to_owned(), "5".to_owned())]);
    }

    /// Kafka refuses it, and a default that nobody chose is no answer to it.
    #[test]
    fn no_value_at_creation_is_refused() {
        let refused = of_creation(&[("retention.ms".to_owned(), None)]);
        let Err(Failure::LogBecause { failure: LogFailure::InvalidConfig, text }) = refused else { panic!("{refused:?}") };
        assert_eq!(&*text, "Null value not supported for topic configs: retention.ms");
    }

    /// `cleanup.policy=` was refused, which Kafka takes: nothing happens to old records.
    #[test]
    fn an_empty_cleanup_policy_keeps_everything() {
        let config = of_creation(&[("cleanup.policy".to_owned(), Some(String::new()))]).unwrap();
        let settings = Settings::new(&config, &DEFAULTS);
        assert!(!settings.delete && !settings.compact);
        let subtract = ConfigChange { name: "cleanup.policy".into(), operation: ConfigOperation::Subtract("delete".into()) };
        assert_eq!(changed(&Config::new(), &[subtract], false).unwrap()["cleanup.policy"], "");
    }

    #[test]
    fn a_default_of_the_brokers_configuration_is_the_topics_until_it_has_its_own() {
        let defaults = Defaults { batch_bytes_max: 5_000, ..DEFAULTS };
        let told = |config: &Config| {
            let entry = describe(config, &defaults).into_iter().find(|entry| entry.name == BATCH_BYTES).unwrap();
            (entry.value.unwrap(), entry.source, Settings::new(config, &defaults).batch_bytes_max)
        };
        assert_eq!(told(&Config::new()), ("5000".to_owned(), ConfigSource::Broker, 5_000));
        let own = of_creation(&[(BATCH_BYTES.to_owned(), Some("7".to_owned()))]).unwrap();
        assert_eq!(told(&own), ("7".to_owned(), ConfigSource::Topic, 7));
    }
}
