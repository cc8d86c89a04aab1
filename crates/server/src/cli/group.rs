//! `yam group`

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use kafka::codec::{
    ApiKey, Request, consumer_protocol, delete_groups, describe_groups, error_code, list_groups, offset_commit, offset_fetch,
};

use super::kafka::{At, EARLIEST, LATEST, Link, odd, refused, table};
use super::moment;
use crate::clock::Clock;
use crate::logging::printable;

const EXAMPLES: &str = "\
Examples:
  yam group describe billing
      Members, and how far behind the group is in every partition.
  yam group reset billing --topic orders --to earliest
      Let a group without members read a topic again from its beginning.
  yam group reset billing --all-topics --to 2h
      ... and everything it reads from two hours ago on.
  yam group reset billing --topic orders --partition 2 --to 1235
      Let it pass over what it cannot read at offset 1234.";

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
    /// Set where a group without members goes on reading; a group that is not there is made.
    Reset {
        /// The group.
        name: String,
        /// The topic. May be given several times.
        #[arg(long, required_unless_present = "all_topics")]
        topic: Vec<String>,
        /// Every topic that the group has read.
        #[arg(long, conflicts_with = "topic")]
        all_topics: bool,
        /// Only this partition of each topic. May be given several times.
        #[arg(long)]
        partition: Vec<i32>,
        /// `earliest`, `latest`, an offset, how long ago (7D, 1h), or a time stamp (2026-01-31T12:00:00Z).
        #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = to)]
        to: To,
    },
}

/// Where a group is to go on.
#[derive(Clone, Copy)]
enum To {
    Earliest,
    Latest,
    Offset(i64),
    /// With the first message from then on, in milliseconds since 1970.
    Time(i64),
}

fn to(text: &str) -> Result<To, String> {
    if let Ok(offset) = text.parse::<u64>() {
        return Ok(To::Offset(i64::try_from(offset).unwrap_or(i64::MAX)));
    }
    let ago = |span: u64| Clock::start().now().wall_ms.saturating_sub(span);
    match text {
        "earliest" => Ok(To::Earliest),
        "latest" => Ok(To::Latest),
        _ => moment::time_stamp_ms(text)
            .or_else(|| model::age::ms(text).map(ago))
            .map(|ms| To::Time(i64::try_from(ms).unwrap_or(i64::MAX)))
            .ok_or_else(|| format!("write earliest, latest, an offset, {}", moment::EXAMPLES)),
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut link = Link::open(&arguments.at.kafka, Duration::ZERO)?;
    match &arguments.action {
        Action::List => list(&mut link),
        Action::Describe { name } => describe(&mut link, name),
        Action::Delete { name } => delete(&mut link, name),
        Action::Reset { name, topic, partition, to, .. } => reset(&mut link, name, topic, partition, *to),
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
    let mut text = format!("group '{}' is {}\n", printable(name), group.group_state);
    let member = |member: &describe_groups::Member<'_>| {
        let instance = member.group_instance_id.unwrap_or_default().to_owned();
        vec![member.member_id.to_owned(), instance, member.client_id.to_owned(), member.client_host.to_owned()]
    };
    let members: Vec<_> = group.members.iter().map(member).collect();
    let owners = owners(group);
    if !members.is_empty() {
        text.push('\n');
        text.push_str(&table(&["MEMBER", "INSTANCE", "CLIENT", "FROM"], &members));
    }
    let committed = committed(link, name)?;
    // What a member has and nobody has committed yet, too.
    let mut topics: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
    let of_offsets = committed.iter().flat_map(|(topic, offsets)| offsets.keys().map(move |index| (topic, *index)));
    for (topic, index) in of_offsets.chain(owners.keys().map(|(topic, index)| (topic, *index))) {
        topics.entry(topic).or_default().insert(index);
    }
    let mut rows = Vec::new();
    for (topic, partitions) in topics {
        let partitions: Vec<i32> = partitions.into_iter().collect();
        let ends = link.offsets(topic, &partitions, LATEST).ok();
        for (nth, partition) in partitions.into_iter().enumerate() {
            let offset = committed.get(topic).and_then(|offsets| offsets.get(&partition)).copied();
            let end = ends.as_ref().and_then(|ends| ends.get(nth)).copied();
            let lag = end.zip(offset).map(|(end, offset)| end - offset);
            let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let member = owners.get(&(topic.to_owned(), partition)).cloned().unwrap_or_else(|| "-".to_owned());
            rows.push(vec![topic.to_owned(), partition.to_string(), number(offset), number(end), number(lag), member]);
        }
    }
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"], &rows));
    }
    super::print(text.as_bytes())
}

/// Which member has which partition. What other programs than consumers share out, only they can read.
fn owners(group: &describe_groups::Group<'_>) -> BTreeMap<(String, i32), String> {
    let mut owners = BTreeMap::new();
    for member in group.members.iter().filter(|_| group.protocol_type == "consumer") {
        let Ok(assigned) = consumer_protocol::decode::<consumer_protocol::Assignment<'_>>(member.member_assignment) else {
            continue;
        };
        for topic in &assigned.assigned_partitions {
            for partition in &topic.partitions {
                owners.insert((topic.topic.to_owned(), *partition), member.member_id.to_owned());
            }
        }
    }
    owners
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

fn reset(link: &mut Link, name: &str, topics: &[String], only: &[i32], to: To) -> anyhow::Result<()> {
    let is_new = !exists(link, name)?;
    let topics = if topics.is_empty() { committed(link, name)?.into_keys().collect() } else { topics.to_vec() };
    if topics.is_empty() {
        bail!("group '{name}' has read nothing so far; say which with --topic");
    }
    let mut all = Vec::new();
    for topic in &topics {
        let mut partitions = link.partitions(topic)?;
        if let Some(missing) = only.iter().find(|index| !partitions.contains(index)) {
            bail!("topic '{topic}' has no partition {missing}");
        }
        partitions.retain(|index| only.is_empty() || only.contains(index));
        let offsets = offsets(link, topic, &partitions, to)?;
        all.push((topic, partitions.into_iter().zip(offsets).collect::<Vec<_>>()));
    }
    let partition = |(index, offset): &(i32, i64)| offset_commit::RequestPartition {
        partition_index: *index,
        committed_offset: *offset,
        ..offset_commit::RequestPartition::default()
    };
    let mut request = offset_commit::Request { group_id: name, ..offset_commit::Request::default() };
    for (topic, offsets) in &all {
        let partitions = offsets.iter().map(partition).collect();
        request.topics.push(offset_commit::RequestTopic { name: topic, partitions });
    }
    let done: offset_commit::Response<'_> = link.ask(&Request::OffsetCommit(request))?;
    for topic in &done.topics {
        for partition in &topic.partitions {
            let index = partition.partition_index;
            refused(partition.error_code, None)
                .with_context(|| format!("cannot set the offset of partition {index} of '{}' for group '{name}'", topic.name))?;
        }
    }
    let mut text = if is_new { format!("made group '{name}'\n") } else { String::new() };
    let row = |topic: &str, (index, offset): &(i32, i64)| vec![topic.to_owned(), index.to_string(), offset.to_string()];
    let rows: Vec<_> = all.iter().flat_map(|(topic, offsets)| offsets.iter().map(|offset| row(topic, offset))).collect();
    text.push_str(&table(&["TOPIC", "PARTITION", "OFFSET"], &rows));
    super::print(text.as_bytes())
}

/// Whether the broker knows the group.
fn exists(link: &mut Link, name: &str) -> anyhow::Result<bool> {
    let request = describe_groups::Request { groups: vec![name], ..describe_groups::Request::default() };
    let found: describe_groups::Response<'_> = link.ask(&Request::DescribeGroups(request))?;
    let group = found.groups.first().ok_or_else(|| odd(ApiKey::DescribeGroups))?;
    if group.error_code != error_code::GROUP_ID_NOT_FOUND {
        refused(group.error_code, group.error_message).with_context(|| format!("group '{name}'"))?;
    }
    Ok(group.error_code == 0 && group.group_state != "Dead")
}

/// Where each partition is to be read on from. An offset that does not exist is brought to the nearest that does, which is
/// said.
fn offsets(link: &mut Link, topic: &str, partitions: &[i32], to: To) -> anyhow::Result<Vec<i64>> {
    let wanted = match to {
        To::Earliest => return link.offsets(topic, partitions, EARLIEST),
        To::Latest => return link.offsets(topic, partitions, LATEST),
        To::Offset(offset) => vec![offset; partitions.len()],
        To::Time(ms) => link.offsets(topic, partitions, ms)?,
    };
    let firsts = link.offsets(topic, partitions, EARLIEST)?;
    let ends = link.offsets(topic, partitions, LATEST)?;
    let mut offsets = Vec::new();
    for (((partition, wanted), first), end) in partitions.iter().zip(wanted).zip(firsts).zip(ends) {
        // No message is as young as that: the group goes on with the next one.
        let wanted = if wanted < 0 { end } else { wanted };
        let offset = wanted.max(first).min(end);
        if offset != wanted {
            let place = if offset == end { "end" } else { "beginning" };
            super::say(&format!(
                "yam: partition {partition} of topic '{topic}' has no offset {wanted}: set to its {place}, {offset}"
            ));
        }
        offsets.push(offset);
    }
    Ok(offsets)
}
