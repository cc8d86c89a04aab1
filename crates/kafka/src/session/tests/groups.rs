//! Groups: their members, their offsets, and how people see them.

use model::{Event, LogFailure};

use super::broker::{joined, synced};
use super::*;
use crate::codec::error_code::*;
use crate::codec::{
    delete_groups, describe_groups, heartbeat, join_group, leave_group, list_groups, offset_commit, offset_delete, offset_fetch,
    sync_group, txn_offset_commit,
};

fn join(member_id: &'static str) -> join_group::Request<'static> {
    join_group::Request {
        group_id: "g",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id,
        group_instance_id: Some("i"),
        protocol_type: "consumer",
        protocols: vec![join_group::Protocol { name: "range", metadata: b"x" }],
        ..Default::default()
    }
}

#[test]
fn members_join_and_sync() {
    for version in 0..=9 {
        let mut harness = Harness::running();
        harness.send(version, &Request::JoinGroup(join("m-1")));
        let instance = if version >= 5 { "Some(\"i\")" } else { "None" };
        let rebalance = if version >= 1 { 60_000 } else { 10_000 };
        let flags = match version {
            0..4 => "",
            4..9 => " id first",
            _ => " id first may skip",
        };
        assert_eq!(
            harness.broker.take_log(),
            [format!(
                "join g as 'm-1' {instance} from tester at /10.0.0.7 for 10000 and {rebalance} ms by consumer \
                 [(\"range\", [120])]{flags}"
            )]
        );
        assert_eq!(harness.heard(), None, "not before all have joined");
        harness.event(Event::Reply(joined()));
        let Some(Response::JoinGroup(told)) = harness.heard() else { panic!() };
        assert_eq!((told.error_code, told.generation_id, told.member_id, told.leader), (0, 3, "m-1", "m-1"));
        assert_eq!(told.protocol_name, Some("range"));
        assert_eq!(told.skip_assignment, version >= 9);
        let members: Vec<_> = told.members.iter().map(|member| (member.member_id, member.metadata)).collect();
        assert_eq!(members, [("m-1", &b"meta"[..]), ("m-2", &b"meta"[..])]);
    }
    for version in 0..=5 {
        let mut harness = Harness::running();
        let request = sync_group::Request {
            group_id: "g",
            generation_id: 3,
            member_id: "m-1",
            protocol_type: Some("consumer"),
            protocol_name: Some("range"),
            assignments: vec![sync_group::Assignment { member_id: "m-2", assignment: b"y" }],
            ..Default::default()
        };
        harness.send(version, &Request::SyncGroup(request));
        let protocol = if version >= 5 { "Some(\"consumer\") Some(\"range\")" } else { "None None" };
        assert_eq!(harness.broker.take_log(), [format!("sync 'm-1' None of g in 3 {protocol} [(\"m-2\", [121])]")]);
        harness.event(Event::Reply(synced()));
        let Some(Response::SyncGroup(told)) = harness.heard() else { panic!() };
        assert_eq!((told.error_code, told.assignment), (0, &b"assigned"[..]));
    }
}

/// Reference, section 2, item 10.
#[test]
fn pitfall_10_a_new_member_is_told_its_id() {
    let mut harness = Harness::running();
    let Response::JoinGroup(told) = harness.ask(5, &Request::JoinGroup(join(""))) else { panic!() };
    assert_eq!((told.error_code, told.member_id, told.generation_id), (MEMBER_ID_REQUIRED, "made-up", -1));
    // Those that are older are not told, and wait for the others.
    harness.send(3, &Request::JoinGroup(join("")));
    assert_eq!(harness.heard(), None);
    harness.event(Event::Failed(LogFailure::InconsistentProtocol.into()));
    let Some(Response::JoinGroup(told)) = harness.heard() else { panic!() };
    assert_eq!((told.error_code, told.protocol_name), (INCONSISTENT_GROUP_PROTOCOL, Some("")));
    for (failure, code) in
        [(LogFailure::IllegalGeneration, 22), (LogFailure::UnknownMember, 25), (LogFailure::RebalanceInProgress, 27)]
    {
        harness.send(4, &Request::SyncGroup(sync_group::Request::default()));
        harness.event(Event::Failed(failure.into()));
        let Some(Response::SyncGroup(told)) = harness.heard() else { panic!() };
        assert_eq!(told.error_code, code);
    }
}

#[test]
fn members_live_and_leave() {
    let mut harness = Harness::running();
    let alive = |group_id| heartbeat::Request { group_id, generation_id: 4, member_id: "m", ..Default::default() };
    let Response::Heartbeat(told) = harness.ask(3, &Request::Heartbeat(alive("g"))) else { panic!() };
    assert_eq!(told.error_code, 0);
    let Response::Heartbeat(told) = harness.ask(4, &Request::Heartbeat(alive("missing"))) else { panic!() };
    assert_eq!(told.error_code, UNKNOWN_MEMBER_ID);

    let one = leave_group::Request { group_id: "g", member_id: "stranger", ..Default::default() };
    let Response::LeaveGroup(told) = harness.ask(1, &Request::LeaveGroup(one)) else { panic!() };
    assert_eq!(told.error_code, UNKNOWN_MEMBER_ID);
    let member = |member_id, group_instance_id| leave_group::RequestMember { member_id, group_instance_id, ..Default::default() };
    let members = vec![member("m", None), member("stranger", Some("i")), member("", Some("j"))];
    let several = leave_group::Request { group_id: "g", members, ..Default::default() };
    let Response::LeaveGroup(told) = harness.ask(3, &Request::LeaveGroup(several)) else { panic!() };
    assert_eq!(told.error_code, 0);
    let told: Vec<_> = told.members.iter().map(|told| (told.member_id, told.group_instance_id, told.error_code)).collect();
    assert_eq!(told, [("m", None, 0), ("stranger", Some("i"), UNKNOWN_MEMBER_ID), ("", Some("j"), 0)]);
    assert_eq!(
        harness.broker.take_log(),
        [
            "heartbeat 'm' None of g in 4",
            "heartbeat 'm' None of missing in 4",
            "leave 'stranger' None of g in -1",
            "leave 'm' None of g in -1",
            "leave 'stranger' Some(\"i\") of g in -1",
            "leave '' Some(\"j\") of g in -1",
        ]
    );
}

fn commit(generation: i32) -> offset_commit::Request<'static> {
    let partition = |partition_index, committed_metadata| offset_commit::RequestPartition {
        partition_index,
        committed_offset: 7,
        committed_leader_epoch: 2,
        committed_metadata,
    };
    offset_commit::Request {
        group_id: "g",
        generation_id_or_member_epoch: generation,
        member_id: "m",
        topics: vec![
            offset_commit::RequestTopic { name: "t", partitions: vec![partition(0, Some("note")), partition(-1, None)] },
            offset_commit::RequestTopic { name: "none", partitions: vec![] },
            offset_commit::RequestTopic { name: "missing", partitions: vec![partition(0, None)] },
        ],
        ..Default::default()
    }
}

/// Reference, section 2, item 13: the metadata goes through.
#[test]
fn pitfall_13_offsets_are_committed() {
    for version in 2..=9 {
        let mut harness = Harness::running();
        harness.send(version, &Request::OffsetCommit(commit(3)));
        let epoch = if version >= 6 { 2 } else { -1 };
        assert_eq!(
            harness.broker.take_log(),
            [format!("commit 'm' None of g in 3: t-0@7/{epoch} 'note', t-4294967295@7/{epoch} '', missing-0@7/{epoch} ''")]
        );
        assert_eq!(harness.heard(), None, "not before it is durable");
        harness.durable(10);
        let Some(Response::OffsetCommit(told)) = harness.heard() else { panic!() };
        let told: Vec<Vec<_>> = told
            .topics
            .iter()
            .map(|topic| topic.partitions.iter().map(|told| (told.partition_index, told.error_code)).collect())
            .collect();
        assert_eq!(told, [vec![(0, 0), (-1, 0)], vec![], vec![(0, UNKNOWN_TOPIC_OR_PARTITION)]]);
    }
    let mut harness = Harness::running();
    let Response::OffsetCommit(told) = harness.ask(8, &Request::OffsetCommit(commit(99))) else { panic!() };
    assert!(told.topics.iter().flat_map(|topic| &topic.partitions).all(|told| told.error_code == ILLEGAL_GENERATION));
}

#[test]
fn offsets_are_committed_in_transactions() {
    for version in 0..=5 {
        let mut harness = Harness::running();
        let partitions =
            vec![txn_offset_commit::RequestPartition { committed_offset: 7, committed_leader_epoch: 4, ..Default::default() }];
        let request = txn_offset_commit::Request {
            transactional_id: "tx",
            group_id: "g",
            producer_id: 8,
            producer_epoch: 2,
            generation_id: 3,
            member_id: "m",
            topics: vec![txn_offset_commit::RequestTopic { name: "t", partitions }],
            ..Default::default()
        };
        harness.send(version, &Request::TxnOffsetCommit(request));
        harness.durable(10);
        let Some(Response::TxnOffsetCommit(told)) = harness.heard() else { panic!() };
        assert_eq!(told.topics[0].partitions[0].error_code, 0);
        let member = if version >= 3 { "'m' None of g in 3" } else { "'' None of g in -1" };
        let implicit = if version >= 5 { " implicitly" } else { "" };
        let epoch = if version >= 2 { 4 } else { -1 };
        assert_eq!(harness.broker.take_log(), [format!("commit {member} in tx 8 2{implicit}: t-0@7/{epoch} ''")]);
    }
}

#[test]
fn offsets_are_fetched() {
    let topics = vec![
        offset_fetch::RequestTopic { name: "t", partition_indexes: vec![0, 1] },
        offset_fetch::RequestTopic { name: "unstable", partition_indexes: vec![0] },
    ];
    let told = |topics: &[offset_fetch::Topic<'_>]| -> Vec<(String, i32, i64, i32, String, i16)> {
        let partition = |topic: &str, told: &offset_fetch::Partition<'_>| {
            let metadata = told.metadata.unwrap().to_owned();
            (
                topic.to_owned(),
                told.partition_index,
                told.committed_offset,
                told.committed_leader_epoch,
                metadata,
                told.error_code,
            )
        };
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|told| partition(topic.name, told))).collect()
    };
    let row = |topic: &str, index, offset, epoch, metadata: &str, code| {
        (topic.to_owned(), index, offset, epoch, metadata.to_owned(), code)
    };
    for version in 1..=7 {
        let mut harness = Harness::running();
        let request =
            offset_fetch::Request { group_id: "g", topics: Some(topics.clone()), require_stable: true, ..Default::default() };
        let Response::OffsetFetch(response) = harness.ask(version, &Request::OffsetFetch(request)) else { panic!() };
        let stable = if version >= 7 { " stable" } else { "" };
        let asked = "fetch offsets of g Some([(\"t\", 0), (\"t\", 1), (\"unstable\", 0)])";
        assert_eq!(harness.broker.take_log(), [format!("{asked}{stable}")]);
        let epoch = if version >= 5 { 3 } else { -1 };
        let rows = [
            row("t", 0, 42, epoch, "kept", 0),
            row("t", 1, -1, -1, "", 0),
            row("unstable", 0, -1, -1, "", UNSTABLE_OFFSET_COMMIT),
        ];
        assert_eq!(told(&response.topics), rows);
    }
    for version in 8..=9 {
        let mut harness = Harness::running();
        let group = |group_id, topics| offset_fetch::RequestGroup { group_id, topics, ..Default::default() };
        let groups = vec![group("g", None), group("h", Some(topics.clone()))];
        let request = offset_fetch::Request { groups, ..Default::default() };
        let Response::OffsetFetch(response) = harness.ask(version, &Request::OffsetFetch(request)) else { panic!() };
        assert_eq!((response.groups[0].group_id, response.groups[1].group_id), ("g", "h"));
        let rows = [row("a", 0, 42, 3, "kept", 0), row("a", 1, -1, -1, "", 0), row("b", 0, 42, 3, "kept", 0)];
        assert_eq!(told(&response.groups[0].topics), rows);
        assert_eq!(response.groups[0].topics.len(), 2);
        assert_eq!(told(&response.groups[1].topics).len(), 3);
    }
    // Before there was an error for the group each partition has it.
    let mut harness = Harness::running();
    let request = |version| offset_fetch::Request {
        group_id: "g",
        topics: Some(topics.clone()),
        require_stable: version >= 7,
        ..Default::default()
    };
    for version in [1, 2] {
        harness.broker.next.push_back(Err(LogFailure::InvalidGroupId.into()));
        let Response::OffsetFetch(response) = harness.ask(version, &Request::OffsetFetch(request(version))) else { panic!() };
        let codes: Vec<_> = told(&response.topics).into_iter().map(|row| row.5).collect();
        let (of_group, of_each) = if version == 1 { (0, vec![INVALID_GROUP_ID; 3]) } else { (INVALID_GROUP_ID, vec![]) };
        assert_eq!((response.error_code, codes), (of_group, of_each));
    }
}

#[test]
fn offsets_and_groups_are_deleted() {
    let mut harness = Harness::running();
    let topic =
        |name| offset_delete::RequestTopic { name, partitions: vec![offset_delete::RequestPartition { partition_index: 4 }] };
    let request = |group_id| offset_delete::Request { group_id, topics: vec![topic("t"), topic("missing")] };
    let Response::OffsetDelete(told) = harness.ask(0, &Request::OffsetDelete(request("g"))) else { panic!() };
    let codes: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.partitions[0].error_code)).collect();
    assert_eq!((told.error_code, codes), (0, vec![("t", 0), ("missing", UNKNOWN_TOPIC_OR_PARTITION)]));
    let Response::OffsetDelete(told) = harness.ask(0, &Request::OffsetDelete(request("missing"))) else { panic!() };
    assert_eq!((told.error_code, told.topics.len()), (GROUP_ID_NOT_FOUND, 0));

    harness.send(2, &Request::DeleteGroups(delete_groups::Request { groups: vec!["g", "missing"] }));
    assert_eq!(harness.heard(), None);
    harness.durable(10);
    let Some(Response::DeleteGroups(told)) = harness.heard() else { panic!() };
    let told: Vec<_> = told.groups.iter().map(|group| (group.group_id, group.error_code)).collect();
    assert_eq!(told, [("g", 0), ("missing", GROUP_ID_NOT_FOUND)]);
}

#[test]
fn groups_are_described_and_listed() {
    for version in 0..=6 {
        let mut harness = Harness::running();
        let request = describe_groups::Request { groups: vec!["g", "missing"], include_authorized_operations: true };
        let Response::DescribeGroups(told) = harness.ask(version, &Request::DescribeGroups(request)) else { panic!() };
        let (there, missing) = (&told.groups[0], &told.groups[1]);
        assert_eq!((there.group_state, there.protocol_type, there.protocol_data), ("Stable", "consumer", "range"));
        assert_eq!((there.members[0].member_id, there.members[0].member_assignment), ("m-1", &b"assigned"[..]));
        assert_eq!(there.authorized_operations, if version >= 3 { 0x148 } else { i32::MIN });
        let code = if version >= 6 { GROUP_ID_NOT_FOUND } else { 0 };
        assert_eq!((missing.group_id, missing.group_state, missing.error_code), ("missing", "Dead", code));
    }
    let mut harness = Harness::running();
    let mut listed = |states_filter, types_filter| {
        let request = list_groups::Request { states_filter, types_filter };
        let Response::ListGroups(told) = harness.ask(5, &Request::ListGroups(request)) else { panic!() };
        told.groups.iter().map(|group| (group.group_id, group.group_state)).collect::<Vec<_>>()
    };
    assert_eq!(listed(vec![], vec![]), [("g", "Stable"), ("empty", "Empty")]);
    assert_eq!(listed(vec!["empty"], vec!["Classic"]), [("empty", "Empty")]);
    assert_eq!(listed(vec![], vec!["consumer"]), []);
}
