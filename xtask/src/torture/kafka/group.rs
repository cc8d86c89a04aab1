//! Members of a group, in the classic protocol: they share the partitions of a topic by ranges, and commit how far they are.

use kafka::codec::consumer_protocol::{self, Assignment, Subscription, TopicPartitions};
use kafka::codec::{Request, error_code, heartbeat, join_group, leave_group, offset_commit, sync_group};

use super::link::{Link, check};
use super::record::{Spot, Topic, read};
use super::{GROUP, Shared};
use crate::torture::fault::LinkError;
use crate::torture::random::Random;

const TOPIC: Topic = Topic::Idempotent;
/// The shortest that a broker allows by default, in milliseconds.
const SESSION_TIMEOUT_MS: i32 = 6_000;
/// How long a rebalance waits for members, in milliseconds: less than most runs of the broker.
const REBALANCE_TIMEOUT_MS: i32 = 400;
/// Fetches before a member may leave.
const FETCHES: u64 = 150;
const RANGE: &str = "range";
const CONSUMER: &str = "consumer";

/// What of a member outlives the broker: its id, or nothing.
pub type MemberId = String;

/// Part of a generation.
struct Place {
    generation: i32,
    positions: Vec<(Spot, u64)>,
}

/// Whether an answer says that the group goes on without this member, or in another generation.
fn is_over(code: i16) -> bool {
    matches!(code, error_code::REBALANCE_IN_PROGRESS | error_code::ILLEGAL_GENERATION | error_code::UNKNOWN_MEMBER_ID)
}

pub fn run(shared: &Shared, id: &mut MemberId, seed: u64) -> Result<(), LinkError> {
    let mut random = Random::new(seed);
    let mut link = Link::open(shared.address)?;
    while !shared.is_consuming_over() {
        let Some(mut place) = join(shared, &mut link, id)? else { continue };
        while consume(shared, &mut link, id, &mut place, &mut random)? {
            if shared.is_consuming_over() || random.one_in(FETCHES) {
                leave(&mut link, id)?;
                break;
            }
        }
    }
    Ok(())
}

/// Become part of a generation, and learn where its partitions go on; `None`: it is over already.
fn join(shared: &Shared, link: &mut Link, id: &mut MemberId) -> Result<Option<Place>, LinkError> {
    let metadata = consumer_protocol::encode(&Subscription { topics: vec![TOPIC.name()], ..Default::default() }, 0);
    let request = join_group::Request {
        group_id: GROUP,
        session_timeout_ms: SESSION_TIMEOUT_MS,
        rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
        member_id: id,
        protocol_type: CONSUMER,
        protocols: vec![join_group::Protocol { name: RANGE, metadata: &metadata }],
        ..Default::default()
    };
    let joined: join_group::Response<'_> = link.ask(&Request::JoinGroup(request))?;
    match joined.error_code {
        error_code::MEMBER_ID_REQUIRED => {
            *id = joined.member_id.to_owned();
            return Ok(None);
        }
        error_code::UNKNOWN_MEMBER_ID => {
            id.clear();
            return Ok(None);
        }
        code if is_over(code) => return Ok(None),
        code => check(code, "JoinGroup")?,
    }
    *id = joined.member_id.to_owned();
    let generation = joined.generation_id;
    let assigned = if joined.leader == joined.member_id { assign(&joined) } else { Vec::new() };
    let assignments = assigned.iter().map(|(member_id, assignment)| sync_group::Assignment { member_id, assignment });
    let request = sync_group::Request {
        group_id: GROUP,
        generation_id: generation,
        member_id: id,
        protocol_type: Some(CONSUMER),
        protocol_name: Some(RANGE),
        assignments: assignments.collect(),
        ..Default::default()
    };
    let synced: sync_group::Response<'_> = link.ask(&Request::SyncGroup(request))?;
    if is_over(synced.error_code) {
        return Ok(None);
    }
    check(synced.error_code, "SyncGroup")?;
    let assignment: Result<Assignment<'_>, _> = consumer_protocol::decode(synced.assignment);
    let assignment = assignment.map_err(|error| LinkError::Fault(format!("SyncGroup: an assignment nobody made: {error}")))?;
    let mine: Vec<i32> = assignment.assigned_partitions.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
    let mut positions = Vec::new();
    for (spot, offset) in link.committed(GROUP, TOPIC)? {
        // What is another member's may move at any moment.
        if mine.contains(&spot.partition) {
            shared.checker().committed(GROUP, spot, offset);
            positions.push((spot, offset.unwrap_or(0)));
        }
    }
    Ok(Some(Place { generation, positions }))
}

/// The leader shares the partitions out.
fn assign(joined: &join_group::Response<'_>) -> Vec<(String, Vec<u8>)> {
    let mut members: Vec<&str> = joined.members.iter().map(|member| member.member_id).collect();
    members.sort_unstable();
    let share = |(index, member): (usize, &&str)| {
        let partitions = (0..TOPIC.partitions()).filter(|partition| partition.unsigned_abs() as usize % members.len() == index);
        let topic = TopicPartitions { topic: TOPIC.name(), partitions: partitions.collect() };
        let assignment = Assignment { assigned_partitions: vec![topic], user_data: None };
        ((*member).to_owned(), consumer_protocol::encode(&assignment, 0))
    };
    members.iter().enumerate().map(share).collect()
}

/// One fetch, a commit of what it brought, and a heartbeat. False: this generation is over.
fn consume(shared: &Shared, link: &mut Link, id: &MemberId, place: &mut Place, random: &mut Random) -> Result<bool, LinkError> {
    let from = place.positions.clone();
    let mut moved = Vec::new();
    link.fetch(&from, false, |spot, bytes, aborted| {
        let start = from.iter().find(|(known, _)| *known == spot).map_or(0, |(_, offset)| *offset);
        let fetched = read(bytes, spot.topic, start, aborted).map_err(LinkError::Fault)?;
        shared.checker().read(spot, false, start..fetched.next, &fetched.records);
        if fetched.next > start {
            moved.push((spot, fetched.next));
        }
        Ok(())
    })?;
    for (spot, next) in &moved {
        place.positions.iter_mut().filter(|(known, _)| known == spot).for_each(|(_, position)| *position = *next);
    }
    if !moved.is_empty() && !commit(shared, link, id, place.generation, &moved)? {
        return Ok(false);
    }
    if place.positions.is_empty() || random.one_in(3) {
        super::pause(random);
    }
    let request = heartbeat::Request { group_id: GROUP, generation_id: place.generation, member_id: id, ..Default::default() };
    let answer: heartbeat::Response = link.ask(&Request::Heartbeat(request))?;
    if is_over(answer.error_code) {
        return Ok(false);
    }
    check(answer.error_code, "Heartbeat").map(|()| true)
}

/// Commit offsets. False: this generation is over.
fn commit(shared: &Shared, link: &mut Link, id: &MemberId, generation: i32, offsets: &[(Spot, u64)]) -> Result<bool, LinkError> {
    for (spot, offset) in offsets {
        shared.checker().committing(GROUP, *spot, *offset, None);
    }
    let partition = |(spot, offset): &(Spot, u64)| offset_commit::RequestPartition {
        partition_index: spot.partition,
        committed_offset: i64::try_from(*offset).unwrap_or(i64::MAX),
        ..Default::default()
    };
    let topic = offset_commit::RequestTopic { name: TOPIC.name(), partitions: offsets.iter().map(partition).collect() };
    let request = offset_commit::Request {
        group_id: GROUP,
        generation_id_or_member_epoch: generation,
        member_id: id,
        topics: vec![topic],
        ..Default::default()
    };
    let answer: offset_commit::Response<'_> = link.ask(&Request::OffsetCommit(request))?;
    let mut goes_on = true;
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        let spot = Spot { topic: TOPIC, partition: partition.partition_index };
        let Some((_, offset)) = offsets.iter().find(|(sent, _)| *sent == spot) else {
            return Err(LinkError::Fault(format!("OffsetCommit: an answer about {spot}")));
        };
        let accepted = partition.error_code == error_code::NONE;
        shared.checker().commit_answered(GROUP, spot, *offset, accepted);
        if is_over(partition.error_code) {
            goes_on = false;
        } else {
            check(partition.error_code, "OffsetCommit")?;
        }
    }
    Ok(goes_on)
}

/// Leave; whoever comes back is new.
fn leave(link: &mut Link, id: &mut MemberId) -> Result<(), LinkError> {
    let member = leave_group::RequestMember { member_id: id, ..Default::default() };
    let request = leave_group::Request { group_id: GROUP, member_id: id, members: vec![member] };
    let answer: leave_group::Response<'_> = link.ask(&Request::LeaveGroup(request))?;
    check(answer.error_code, "LeaveGroup")?;
    id.clear();
    Ok(())
}
