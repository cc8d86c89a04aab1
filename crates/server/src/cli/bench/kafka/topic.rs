//! The topic of a run.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kafka::codec::describe_configs::RequestResource;
use kafka::codec::{Request, create_topics, delete_records, delete_topics, describe_configs, error_code, metadata, produce};
use model::RecordParts;

use super::options::Options;
use crate::cli::dial::{now, pause};
use crate::cli::kafka::{EARLIEST, LATEST, Link, refused};
use crate::clock::Clock;

/// How long a broker may take to make or delete a topic, or to be ready after its start.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Partitions that are opened with one request.
const OPENED_AT_ONCE: usize = 20;
/// As much as Kafka writes to a partition before it begins an index (index.interval.bytes).
const INDEXED_BYTES: usize = 4096;

/// Makes the topic, or sees that it is there with --reuse, and waits until all partitions can be used.
pub fn make(link: &mut Link, options: &Options) -> Result<()> {
    if options.replace {
        delete(link, options)?;
    }
    let deadline = now() + PATIENCE;
    if options.load.reuse {
        let found = link.partitions(&options.topic)?.len();
        if found != options.partitions as usize {
            bail!("topic '{}' has {found} partitions: say so with --partitions", options.topic);
        }
    } else {
        while let Some(code) = create(link, options)? {
            // A topic that was just deleted may still be in the way.
            if code != error_code::TOPIC_ALREADY_EXISTS || !options.replace || now() > deadline {
                let advice = "--replace deletes it first, --reuse takes it as it is, --topic names another";
                return refused(code, None).with_context(|| format!("making topic '{}' ({advice})", options.topic));
            }
            pause(BETWEEN_LOOKS);
        }
    }
    loop {
        match offsets(link, options, LATEST) {
            Ok(_) => break,
            Err(error) if now() > deadline => return Err(error),
            Err(_) => pause(BETWEEN_LOOKS),
        }
    }
    let compacted = options.topic_config.iter().any(|setting| setting.starts_with("cleanup.policy=compact"));
    // Of a compacted topic nothing can be deleted by its offset.
    if !options.load.reuse && !compacted {
        open(link, options).with_context(|| format!("opening the partitions of topic '{}'", options.topic))?;
    }
    Ok(())
}

/// Writes two records to each partition and deletes them again. A broker may take long for the first ones of each (Apache
/// Kafka makes its files then, and with the first record beyond [`INDEXED_BYTES`] the pages of its indexes: a minute for 2,000
/// partitions), and that is not what is to be measured.
fn open(link: &mut Link, options: &Options) -> Result<()> {
    let mut batch = Vec::new();
    let value = vec![b'o'; INDEXED_BYTES];
    RecordParts { value: &value, ..RecordParts::default() }.encode(Clock::start().now().wall_ms, &mut batch);
    let partitions: Vec<i32> = (0..options.partitions).collect();
    for partitions in partitions.chunks(OPENED_AT_ONCE) {
        for _ in 0..2 {
            let write = |&index: &i32| produce::RequestPartition { index, records: Some(&batch) };
            let written = produce::RequestTopic {
                name: &options.topic,
                partitions: partitions.iter().map(write).collect(),
                ..produce::RequestTopic::default()
            };
            let request = produce::Request { acks: -1, timeout_ms: 60_000, topics: vec![written], ..Default::default() };
            let answer: produce::Response<'_> = link.ask(&Request::Produce(request))?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                refused(partition.error_code, partition.error_message)?;
            }
        }
        let delete = |&partition_index: &i32| delete_records::RequestPartition { partition_index, offset: -1 };
        let deleted = delete_records::RequestTopic { name: &options.topic, partitions: partitions.iter().map(delete).collect() };
        let request = delete_records::Request { topics: vec![deleted], timeout_ms: 60_000 };
        let answer: delete_records::Response<'_> = link.ask(&Request::DeleteRecords(request))?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            refused(partition.error_code, None)?;
        }
    }
    Ok(())
}

/// Returns the error code, if there is one.
fn create(link: &mut Link, options: &Options) -> Result<Option<i16>> {
    let setting = |setting| str::split_once(setting, '=').unwrap_or((setting, ""));
    let configs = options.topic_config.iter().map(|text| {
        let (name, value) = setting(text);
        create_topics::RequestConfig { name, value: Some(value) }
    });
    let topic = create_topics::RequestTopic {
        name: &options.topic,
        num_partitions: options.partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.collect(),
    };
    let request = create_topics::Request { topics: vec![topic], ..create_topics::Request::default() };
    let answer: create_topics::Response<'_> = link.ask(&Request::CreateTopics(request))?;
    Ok(answer.topics.first().map(|topic| topic.error_code).filter(|&code| code != 0))
}

/// Deletes the topic, if it is there.
pub fn delete(link: &mut Link, options: &Options) -> Result<()> {
    let request = delete_topics::Request { topic_names: vec![&options.topic], timeout_ms: 60_000, ..Default::default() };
    let answer: delete_topics::Response<'_> = link.ask(&Request::DeleteTopics(request))?;
    match answer.topics.first().map_or(0, |topic| topic.error_code) {
        error_code::UNKNOWN_TOPIC_OR_PARTITION => Ok(()),
        code => refused(code, None).with_context(|| format!("deleting topic '{}'", options.topic)),
    }
}

/// The offset of each partition at a time.
pub fn offsets(link: &mut Link, options: &Options, timestamp: i64) -> Result<Vec<i64>> {
    let partitions: Vec<i32> = (0..options.partitions).collect();
    link.offsets(&options.topic, &partitions, timestamp)
}

/// Messages in all partitions.
pub fn count_held(link: &mut Link, options: &Options) -> Result<u64> {
    let sum = |offsets: Vec<i64>| offsets.iter().sum::<i64>();
    Ok((sum(offsets(link, options, LATEST)?) - sum(offsets(link, options, EARLIEST)?)).max(0) as u64)
}

/// What names the cluster.
pub fn cluster_id(link: &mut Link) -> Result<String> {
    let request = metadata::Request { topics: Some(Vec::new()), ..metadata::Request::default() };
    let answer: metadata::Response<'_> = link.ask(&Request::Metadata(request))?;
    Ok(answer.cluster_id.unwrap_or("unknown").to_owned())
}

/// After how many records a broker syncs a partition, as the topic's flush.messages says; `None`: it says nothing.
pub fn flush_messages(link: &mut Link, options: &Options) -> Result<Option<u64>> {
    let topic =
        RequestResource { resource_type: 2, resource_name: &options.topic, configuration_keys: Some(vec!["flush.messages"]) };
    let request = describe_configs::Request { resources: vec![topic], ..describe_configs::Request::default() };
    let answer: describe_configs::Response<'_> = link.ask(&Request::DescribeConfigs(request))?;
    let value = answer.resources.iter().flat_map(|resource| &resource.configs).next().and_then(|config| config.value);
    Ok(value.and_then(|value| value.parse().ok()))
}
