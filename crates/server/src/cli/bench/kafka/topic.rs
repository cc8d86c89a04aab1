//! The topic of a run.

use std::time::Duration;

use anyhow::{Result, bail};
use kafka::codec::describe_configs::RequestResource;
use kafka::codec::list_offsets::{RequestPartition, RequestTopic};
use kafka::codec::{Request, Response, create_topics, delete_topics, describe_configs, error_code, list_offsets, metadata};

use super::link::{Link, check};
use super::options::Options;
use crate::cli::bench::dial::{now, pause};

/// How long a broker may take to make or delete a topic, or to be ready after its start.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Special times of ListOffsets.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;

/// Makes the topic, or sees that it is there with --reuse, and waits until all partitions can be used.
pub fn make(link: &mut Link, options: &Options) -> Result<()> {
    if options.replace {
        delete(link, options)?;
    }
    let deadline = now() + PATIENCE;
    if options.load.reuse {
        let found = partitions(link, options)?;
        if found != options.partitions {
            bail!("topic '{}' has {found} partitions: say so with --partitions", options.topic);
        }
    } else {
        while let Some(code) = create(link, options)? {
            // A topic that was just deleted may still be in the way.
            if code != error_code::TOPIC_ALREADY_EXISTS || !options.replace || now() > deadline {
                let advice = "--replace deletes it first, --reuse takes it as it is, --topic names another";
                return check(code, &format!("making topic '{}' ({advice})", options.topic));
            }
            pause(BETWEEN_LOOKS);
        }
    }
    loop {
        match offsets(link, options, LATEST) {
            Ok(_) => return Ok(()),
            Err(error) if now() > deadline => return Err(error),
            Err(_) => pause(BETWEEN_LOOKS),
        }
    }
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
    link.call(&Request::CreateTopics(request), |answer| match answer {
        Response::CreateTopics(answer) => Ok(answer.topics.first().map(|topic| topic.error_code).filter(|&code| code != 0)),
        _ => bail!("an answer to another request"),
    })
}

/// Deletes the topic, if it is there.
pub fn delete(link: &mut Link, options: &Options) -> Result<()> {
    let request = delete_topics::Request { topic_names: vec![&options.topic], timeout_ms: 60_000, ..Default::default() };
    link.call(&Request::DeleteTopics(request), |answer| match answer {
        Response::DeleteTopics(answer) => match answer.topics.first().map_or(0, |topic| topic.error_code) {
            error_code::UNKNOWN_TOPIC_OR_PARTITION => Ok(()),
            code => check(code, &format!("deleting topic '{}'", options.topic)),
        },
        _ => bail!("an answer to another request"),
    })
}

/// How many partitions the topic has.
fn partitions(link: &mut Link, options: &Options) -> Result<i32> {
    let topic = metadata::RequestTopic { name: Some(&options.topic), ..metadata::RequestTopic::default() };
    let request = metadata::Request { topics: Some(vec![topic]), ..metadata::Request::default() };
    link.call(&Request::Metadata(request), |answer| match answer {
        Response::Metadata(answer) => {
            let topic = answer.topics.first();
            check(topic.map_or(0, |topic| topic.error_code), &format!("looking for topic '{}'", options.topic))?;
            Ok(topic.map_or(0, |topic| topic.partitions.len() as i32))
        }
        _ => bail!("an answer to another request"),
    })
}

/// The offset of each partition at a time.
pub fn offsets(link: &mut Link, options: &Options, timestamp: i64) -> Result<Vec<i64>> {
    let partition = |partition_index| RequestPartition { partition_index, timestamp, ..RequestPartition::default() };
    let topic = RequestTopic { name: &options.topic, partitions: (0..options.partitions).map(partition).collect() };
    let request = list_offsets::Request { replica_id: -1, topics: vec![topic], ..list_offsets::Request::default() };
    link.call(&Request::ListOffsets(request), |answer| match answer {
        Response::ListOffsets(answer) => {
            let mut offsets = vec![0; options.partitions as usize];
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                check(partition.error_code, &format!("partition {}", partition.partition_index))?;
                if let Some(place) = offsets.get_mut(partition.partition_index as usize) {
                    *place = partition.offset;
                }
            }
            Ok(offsets)
        }
        _ => bail!("an answer to another request"),
    })
}

/// Messages in all partitions.
pub fn count_held(link: &mut Link, options: &Options) -> Result<u64> {
    let sum = |offsets: Vec<i64>| offsets.iter().sum::<i64>();
    Ok((sum(offsets(link, options, LATEST)?) - sum(offsets(link, options, EARLIEST)?)).max(0) as u64)
}

/// The number that names the cluster: Yam's is its own name.
pub fn cluster_id(link: &mut Link) -> Result<String> {
    let request = metadata::Request { topics: Some(Vec::new()), ..metadata::Request::default() };
    link.call(&Request::Metadata(request), |answer| match answer {
        Response::Metadata(answer) => Ok(answer.cluster_id.unwrap_or("unknown").to_owned()),
        _ => bail!("an answer to another request"),
    })
}

/// After how many records a broker syncs a partition, as the topic's flush.messages says; `None`: it says nothing.
pub fn flush_messages(link: &mut Link, options: &Options) -> Result<Option<u64>> {
    let topic =
        RequestResource { resource_type: 2, resource_name: &options.topic, configuration_keys: Some(vec!["flush.messages"]) };
    let request = describe_configs::Request { resources: vec![topic], ..describe_configs::Request::default() };
    link.call(&Request::DescribeConfigs(request), |answer| match answer {
        Response::DescribeConfigs(answer) => {
            let value = answer.resources.iter().flat_map(|resource| &resource.configs).next().and_then(|config| config.value);
            Ok(value.and_then(|value| value.parse().ok()))
        }
        _ => bail!("an answer to another request"),
    })
}
