//! `yam group`

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use kafka::codec::{ApiKey, Request, delete_groups, describe_groups, list_groups, offset_commit, offset_fetch};

use super::kafka::{At, EARLIEST, LATEST, Link, odd, refused, table};

const EXAMPLES: &str = "\
Examples:
  yam group describe billing
      Members, and how far behind the group is in every partition.
  yam group reset billing --topic orders --to earliest
      Let a group without members read a topic again from its beginning.";

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
    /// Name every group and its state.
    List,
    /// Show a group's members, offsets and lag.
    Describe {
        /// The group.
        name: String,
    },
    /// Delete a group without members, and its offsets.
    Delete {
        /// The group.
        name: String,
    },
    /// Set where a group without members goes on reading.
    Reset {
        /// The group.
        name: String,
        /// The topic.
        #[arg(long)]
        topic: String,
        /// `earliest`, `latest`, or an offset.
        #[arg(long)]
        to: String,
    },
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut link = Link::open(&arguments.at.kafka, Duration::ZERO)?;
    match &arguments.action {
        Action::List => list(&mut link),
        Action::Describe { name } => describe(&mut link, name),
        Action::Delete { name } => delete(&mut link, name),
        Action::Reset { name, topic, to } => reset(&mut link, name, topic, to),
    }
}

fn list(link: &mut Link) -> anyhow::Result<()> {
    let found: list_groups::Response<'_> = link.ask(&Request::ListGroups(list_groups::Request::default()))?;
    refused(found.error_code, None)?;
    let row = |group: &list_groups::Group<'_>| {
        vec![group.group_id.to_owned(), group.group_state.to_owned(), group.protocol_type.to_owned()]
    };
    let mut rows: Vec<_> = found.groups.iter().map(row).collect();
    rows.sort();
    super::print(table(&["GROUP", "STATE", "PROTOCOL"], &rows).as_bytes())
}

fn describe(link: &mut Link, name: &str) -> anyhow::Result<()> {
    let request = describe_groups::Request { groups: vec![name], ..describe_groups::Request::default() };
    let found: describe_groups::Response<'_> = link.ask(&Request::DescribeGroups(request))?;
    let group = found.groups.first().ok_or_else(|| odd(ApiKey::DescribeGroups))?;
    refused(group.error_code, group.error_message).with_context(|| format!("group '{name}'"))?;
    let mut text = format!("group '{name}' is {}\n", group.group_state);
    let member = |member: &describe_groups::Member<'_>| {
        let instance = member.group_instance_id.unwrap_or_default().to_owned();
        vec![member.member_id.to_owned(), instance, member.client_id.to_owned(), member.client_host.to_owned()]
    };
    let members: Vec<_> = group.members.iter().map(member).collect();
    if !members.is_empty() {
        text.push('\n');
        text.push_str(&table(&["MEMBER", "INSTANCE", "CLIENT", "FROM"], &members));
    }
    let committed = committed(link, name)?;
    let mut rows = Vec::new();
    for (topic, offsets) in committed {
        let partitions: Vec<i32> = offsets.keys().copied().collect();
        let ends = link.offsets(&topic, &partitions, LATEST).unwrap_or_else(|_| vec![-1; partitions.len()]);
        for ((partition, offset), end) in offsets.iter().zip(ends) {
            let lag = if end < 0 { "-".into() } else { (end - offset).to_string() };
            rows.push(vec![topic.clone(), partition.to_string(), offset.to_string(), end.to_string(), lag]);
        }
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG"], &rows));
    }
    super::print(text.as_bytes())
}

/// Committed offsets by topic and partition.
fn committed(link: &mut Link, group: &str) -> anyhow::Result<BTreeMap<String, BTreeMap<i32, i64>>> {
    let wanted = offset_fetch::RequestGroup { group_id: group, ..offset_fetch::RequestGroup::default() };
    let request = offset_fetch::Request { groups: vec![wanted], ..offset_fetch::Request::default() };
    let found: offset_fetch::Response<'_> = link.ask(&Request::OffsetFetch(request))?;
    let found = found.groups.first().ok_or_else(|| odd(ApiKey::OffsetFetch))?;
    refused(found.error_code, None)?;
    let mut all: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    for topic in &found.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
            all.entry(topic.name.into()).or_default().insert(partition.partition_index, partition.committed_offset);
        }
    }
    Ok(all)
}

fn delete(link: &mut Link, name: &str) -> anyhow::Result<()> {
    let request = delete_groups::Request { groups: vec![name] };
    let gone: delete_groups::Response<'_> = link.ask(&Request::DeleteGroups(request))?;
    let gone = gone.groups.first().ok_or_else(|| odd(ApiKey::DeleteGroups))?;
    refused(gone.error_code, None).with_context(|| format!("cannot delete group '{name}'"))?;
    super::print(format!("deleted group '{name}'\n").as_bytes())
}

fn reset(link: &mut Link, name: &str, topic: &str, to: &str) -> anyhow::Result<()> {
    let partitions = link.partitions(topic)?;
    let offsets = match to {
        "earliest" => link.offsets(topic, &partitions, EARLIEST)?,
        "latest" => link.offsets(topic, &partitions, LATEST)?,
        number => match number.parse::<i64>() {
            Ok(offset) if offset >= 0 => vec![offset; partitions.len()],
            _ => bail!("'{number}' is no offset; say earliest, latest or a number"),
        },
    };
    let partition = |(index, offset): (&i32, &i64)| offset_commit::RequestPartition {
        partition_index: *index,
        committed_offset: *offset,
        ..offset_commit::RequestPartition::default()
    };
    let all = partitions.iter().zip(&offsets).map(partition).collect();
    let request = offset_commit::Request {
        group_id: name,
        topics: vec![offset_commit::RequestTopic { name: topic, partitions: all }],
        ..offset_commit::Request::default()
    };
    let done: offset_commit::Response<'_> = link.ask(&Request::OffsetCommit(request))?;
    for partition in done.topics.iter().flat_map(|topic| &topic.partitions) {
        refused(partition.error_code, None)
            .with_context(|| format!("cannot set the offset of partition {} for group '{name}'", partition.partition_index))?;
    }
    let row = |(index, offset): (&i32, &i64)| vec![topic.to_owned(), index.to_string(), offset.to_string()];
    let rows: Vec<_> = partitions.iter().zip(&offsets).map(row).collect();
    super::print(table(&["TOPIC", "PARTITION", "OFFSET"], &rows).as_bytes())
}
