//! `yam topic`

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use kafka::codec::{
    ApiKey, Request, create_partitions, create_topics, delete_records, delete_topics, describe_configs,
    incremental_alter_configs, metadata,
};

use super::kafka::{At, EARLIEST, LATEST, Link, odd, refused, table};

const EXAMPLES: &str = "\
Examples:
  yam topic create orders --partitions 4 --config retention.ms=86400000
      A topic of four partitions that keeps a day.
  yam topic describe orders
      Its partitions with their offsets, and what was set for it.
  yam topic alter orders --set cleanup.policy=compact --unset retention.ms
      Change what is set.
  yam topic trim orders --partition 2 --before 1235
      Give up what a partition holds up to offset 1234.";

/// Numbers of DescribeConfigs: a topic, a value that was set for it, set and delete.
const TOPIC: i8 = 2;
const SET_FOR_TOPIC: i8 = 1;
const SET: i8 = 0;
const DELETE: i8 = 1;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Name every topic, with its partitions and how many offsets they hold.
    ///
    /// An offset is a message or the marker of a transaction; those that compaction has taken away are counted too.
    List,
    /// Show a topic's partitions and settings.
    ///
    /// OFFSETS is END - FIRST: messages and markers of transactions, and those that compaction has taken away.
    Describe {
        /// The topic.
        name: String,
        /// Show the settings that are at their defaults too.
        #[arg(long)]
        all: bool,
    },
    /// Make a topic.
    Create {
        /// The topic.
        name: String,
        /// How many partitions; where it is not said, as many as the broker gives.
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        partitions: i32,
        /// A setting: retention.ms=86400000. May be given several times.
        #[arg(long = "config", value_name = "NAME=VALUE")]
        config: Vec<String>,
    },
    /// Delete a topic and all its messages.
    Delete {
        /// The topic.
        name: String,
    },
    /// Give up the oldest records of a partition.
    Trim {
        /// The topic.
        name: String,
        /// The partition.
        #[arg(long)]
        partition: i32,
        /// The first offset that stays.
        #[arg(long, value_name = "OFFSET")]
        before: u64,
    },
    /// Change a topic's settings, or give it more partitions.
    Alter {
        /// The topic.
        name: String,
        /// A setting: retention.ms=86400000. May be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// A setting that goes back to its default. May be given several times.
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        /// How many partitions it shall have; more than now.
        #[arg(long)]
        partitions: Option<i32>,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut link = Link::open(&arguments.at.kafka, Duration::ZERO)?;
    match &arguments.action {
        Action::List => list(&mut link),
        Action::Describe { name, all } => describe(&mut link, name, *all),
        Action::Create { name, partitions, config } => create(&mut link, name, *partitions, config),
        Action::Delete { name } => delete(&mut link, name),
        Action::Trim { name, partition, before } => trim(&mut link, name, *partition, *before),
        Action::Alter { name, set, unset, partitions } => alter(&mut link, name, set, unset, *partitions),
    }
}

fn list(link: &mut Link) -> anyhow::Result<()> {
    let request = metadata::Request { topics: None, allow_auto_topic_creation: false, ..metadata::Request::default() };
    let found: metadata::Response<'_> = link.ask(&Request::Metadata(request))?;
    let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
    for topic in &found.topics {
        let Some(name) = topic.name else { continue };
        topics.push((name.into(), topic.partitions.iter().map(|partition| partition.partition_index).collect()));
    }
    topics.sort();
    let mut rows = Vec::new();
    for (name, partitions) in topics {
        let ends = link.offsets(&name, &partitions, LATEST)?;
        let starts = link.offsets(&name, &partitions, EARLIEST)?;
        let offsets: i64 = ends.iter().zip(&starts).map(|(end, start)| end - start).sum();
        rows.push(vec![name, partitions.len().to_string(), offsets.to_string()]);
    }
    super::print(table(&["TOPIC", "PARTITIONS", "OFFSETS"], &rows).as_bytes())
}

fn describe(link: &mut Link, name: &str, all: bool) -> anyhow::Result<()> {
    let partitions = link.partitions(name)?;
    let starts = link.offsets(name, &partitions, EARLIEST)?;
    let ends = link.offsets(name, &partitions, LATEST)?;
    let row = |((partition, start), end): ((&i32, &i64), &i64)| {
        vec![partition.to_string(), start.to_string(), end.to_string(), (end - start).to_string()]
    };
    let rows: Vec<_> = partitions.iter().zip(&starts).zip(&ends).map(row).collect();
    let mut text = table(&["PARTITION", "FIRST", "END", "OFFSETS"], &rows);
    let resource = describe_configs::RequestResource { resource_type: TOPIC, resource_name: name, configuration_keys: None };
    let request = describe_configs::Request { resources: vec![resource], ..describe_configs::Request::default() };
    let found: describe_configs::Response<'_> = link.ask(&Request::DescribeConfigs(request))?;
    let found = found.resources.first().ok_or_else(|| odd(ApiKey::DescribeConfigs))?;
    refused(found.error_code, found.error_message)?;
    let shown = found.configs.iter().filter(|config| all || config.config_source == SET_FOR_TOPIC);
    let rows: Vec<_> = shown
        .map(|config| {
            let origin = if config.config_source == SET_FOR_TOPIC { "topic" } else { "default" };
            vec![config.name.to_owned(), config.value.unwrap_or_default().to_owned(), origin.to_owned()]
        })
        .collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["SETTING", "VALUE", "SET FOR"], &rows));
    }
    super::print(text.as_bytes())
}

/// `NAME=VALUE`
fn setting(text: &str) -> anyhow::Result<(&str, &str)> {
    text.split_once('=').with_context(|| format!("'{text}' is no setting; write it as NAME=VALUE"))
}

fn create(link: &mut Link, name: &str, partitions: i32, config: &[String]) -> anyhow::Result<()> {
    let mut configs = Vec::new();
    for text in config {
        let (name, value) = setting(text)?;
        configs.push(create_topics::RequestConfig { name, value: Some(value) });
    }
    let topic = create_topics::RequestTopic {
        name,
        num_partitions: partitions,
        replication_factor: -1,
        configs,
        ..create_topics::RequestTopic::default()
    };
    let request = create_topics::Request { topics: vec![topic], ..create_topics::Request::default() };
    let made: create_topics::Response<'_> = link.ask(&Request::CreateTopics(request))?;
    let made = made.topics.first().ok_or_else(|| odd(ApiKey::CreateTopics))?;
    refused(made.error_code, made.error_message).with_context(|| format!("cannot create topic '{name}'"))?;
    let partitions = match made.num_partitions {
        1 => "1 partition".to_owned(),
        count => format!("{count} partitions"),
    };
    super::print(format!("created topic '{name}' with {partitions}\n").as_bytes())
}

fn delete(link: &mut Link, name: &str) -> anyhow::Result<()> {
    let request = delete_topics::Request { topic_names: vec![name], timeout_ms: 10_000, ..Default::default() };
    let gone: delete_topics::Response<'_> = link.ask(&Request::DeleteTopics(request))?;
    let gone = gone.topics.first().ok_or_else(|| odd(ApiKey::DeleteTopics))?;
    refused(gone.error_code, gone.error_message).with_context(|| format!("cannot delete topic '{name}'"))?;
    super::print(format!("deleted topic '{name}'\n").as_bytes())
}

fn trim(link: &mut Link, name: &str, partition_index: i32, before: u64) -> anyhow::Result<()> {
    let offset = i64::try_from(before).unwrap_or(i64::MAX);
    let partitions = vec![delete_records::RequestPartition { partition_index, offset }];
    let topics = vec![delete_records::RequestTopic { name, partitions }];
    let request = delete_records::Request { topics, timeout_ms: 10_000 };
    let done: delete_records::Response<'_> = link.ask(&Request::DeleteRecords(request))?;
    let done = done.topics.first().and_then(|topic| topic.partitions.first()).ok_or_else(|| odd(ApiKey::DeleteRecords))?;
    let first = done.low_watermark;
    refused(done.error_code, None).with_context(|| format!("cannot trim partition {partition_index} of topic '{name}'"))?;
    super::print(format!("partition {partition_index} of topic '{name}' begins at offset {first}\n").as_bytes())
}

fn alter(link: &mut Link, name: &str, set: &[String], unset: &[String], partitions: Option<i32>) -> anyhow::Result<()> {
    if set.is_empty() && unset.is_empty() && partitions.is_none() {
        bail!("nothing to change; say --set NAME=VALUE, --unset NAME or --partitions N");
    }
    let mut configs = Vec::new();
    for text in set {
        let (name, value) = setting(text)?;
        configs.push(incremental_alter_configs::Config { name, config_operation: SET, value: Some(value) });
    }
    for name in unset {
        configs.push(incremental_alter_configs::Config { name, config_operation: DELETE, value: None });
    }
    // All of it or nothing: nothing is changed before the broker has accepted both.
    for validate_only in [true, false] {
        if let Some(count) = partitions {
            let topic = create_partitions::RequestTopic { name, count, assignments: None };
            let request = create_partitions::Request { topics: vec![topic], timeout_ms: 10_000, validate_only };
            let done: create_partitions::Response<'_> = link.ask(&Request::CreatePartitions(request))?;
            let done = done.topics.first().ok_or_else(|| odd(ApiKey::CreatePartitions))?;
            refused(done.error_code, done.error_message)
                .with_context(|| format!("cannot give topic '{name}' more partitions"))?;
        }
        if !configs.is_empty() {
            let configs = configs.clone();
            let resource = incremental_alter_configs::RequestResource { resource_type: TOPIC, resource_name: name, configs };
            let request = incremental_alter_configs::Request { resources: vec![resource], validate_only };
            let done: incremental_alter_configs::Response<'_> = link.ask(&Request::IncrementalAlterConfigs(request))?;
            let done = done.resources.first().ok_or_else(|| odd(ApiKey::IncrementalAlterConfigs))?;
            refused(done.error_code, done.error_message).with_context(|| format!("cannot change topic '{name}'"))?;
        }
    }
    super::print(format!("changed topic '{name}'\n").as_bytes())
}
