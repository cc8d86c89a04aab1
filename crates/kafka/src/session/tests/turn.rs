//! The order of things: what is answered when, and when a connection ends.

use model::topic::{ListedOffset, ProducerState};
use model::{Event, Reply};

use super::*;
use crate::codec::error_code::*;
use crate::codec::{describe_producers, find_coordinator, list_offsets, offset_for_leader_epoch, produce};

#[test]
fn api_versions_needs_no_login_and_tells_what_is_served() {
    let mut harness = Harness::new();
    let Response::ApiVersions(told) = harness.ask(3, &api_versions()) else { panic!() };
    assert!(harness.broker.take_log().is_empty());
    assert_eq!(told.error_code, 0);
    let range = |key: ApiKey| {
        let told = told.api_keys.iter().find(|told| told.api_key == key.number()).unwrap();
        told.min_version..=told.max_version
    };
    // KAFKA-18659: older librdkafka compresses only where Produce 0 is there.
    assert_eq!(range(ApiKey::Produce), 0..=12);
    assert_eq!(range(ApiKey::Fetch), ApiKey::Fetch.versions());
    let [feature] = &told.finalized_features[..] else { panic!() };
    assert_eq!((feature.name, feature.max_version_level), ("transaction.version", 2));
    // KAFKA-17011
    assert_eq!(told.supported_features[0].min_version, 1);
    let Response::ApiVersions(told) = harness.ask(4, &api_versions()) else { panic!() };
    assert_eq!(told.supported_features[0].min_version, 0);
    let odd = api_versions::Request { client_software_name: "-no-", client_software_version: "1.0" };
    let Response::ApiVersions(told) = harness.ask(3, &Request::ApiVersions(odd)) else { panic!() };
    assert_eq!(told.error_code, INVALID_REQUEST);
}

/// Reference, section 1: an unknown version is answered in version 0, with the range that is known.
#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut harness = Harness::new();
    harness.receive(&[0, 0, 0, 14, 0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0xff, 1, 2, 3]);
    harness.asked.push_back((ApiKey::ApiVersions, 0, 5));
    let Some(Response::ApiVersions(told)) = harness.heard() else { panic!() };
    assert_eq!(told.error_code, UNSUPPORTED_VERSION);
    assert_eq!(told.api_keys.len(), 1);
    assert_eq!((told.api_keys[0].api_key, told.api_keys[0].min_version, told.api_keys[0].max_version), (18, 0, 4));
    assert!(!harness.is_closing());
}

/// Reference, section 2, item 21: half of the new protocol of groups would be worse than none. A client told to use it finds
/// out from what is offered, before it asks.
#[test]
fn pitfall_21_groups_of_another_protocol_are_not_offered() {
    let (consumer_groups, share_groups, streams_groups) = (68..=69, 76..=79, 88..=89);
    for key in consumer_groups.chain(share_groups).chain(streams_groups) {
        let mut harness = Harness::running();
        let Response::ApiVersions(told) = harness.ask(4, &api_versions()) else { panic!() };
        assert!(told.api_keys.iter().all(|told| told.api_key != key), "{key}");
        harness.receive(&[&[0, 0, 0, 10][..], &key.to_be_bytes(), &[0, 1, 0, 0, 0, 5, 0xff, 0xff]].concat());
        assert_eq!(harness.closed(), format!("API key {key} is not supported"));
    }
}

#[test]
fn other_unknown_versions_and_keys_end_the_connection() {
    let mut harness = Harness::running();
    harness.receive(&[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 5, 0xff, 0xff]);
    assert_eq!(harness.closed(), "Metadata version 99 is not supported");
    let mut harness = Harness::running();
    harness.receive(&[0, 0, 0, 10, 0, 7, 0, 0, 0, 0, 0, 5, 0xff, 0xff]);
    assert_eq!(harness.closed(), "API key 7 is not supported");
    let mut harness = Harness::running();
    harness.receive(&[0, 0, 0, 3, 0, 7, 0]);
    assert_eq!(harness.closed(), "a request of 3 bytes");
    let mut harness = Harness::running();
    harness.receive(&[0xff; 12]);
    assert_eq!(harness.closed(), "negative frame size -1");
    // Half a request: an array of which nothing follows.
    let mut harness = Harness::running();
    harness.receive(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 5, 0xff, 0xff, 0, 0, 0, 9]);
    assert!(harness.closed().starts_with("malformed Metadata version 1"));
}

#[test]
fn frames_that_are_too_large_are_refused_when_they_begin() {
    let begin = |key: u8, size: u32| {
        let mut harness = Harness::running();
        let mut bytes = size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, key, 0, 9, 0, 0, 0, 1]);
        harness.receive(&bytes);
        harness
    };
    assert!(begin(3, 5 << 20).closed().contains("above the limit"));
    assert!(begin(0, 101 << 20).closed().contains("above the limit"));
    // The length is known as soon as it is there, and so is what to wait for.
    assert_eq!(begin(0, 100 << 20).session.input_needed(), (100 << 20) + 4);
    assert_eq!(begin(3, 4 << 20).session.input_needed(), (4 << 20) + 4);
}

/// Whatever the cuts, the answers are the same.
#[test]
fn bytes_may_come_one_by_one() {
    let mut harness = Harness::new();
    let asked = metadata::Request { topics: Some(vec![]), ..Default::default() };
    let mut bytes = bytes_of(3, &api_versions(), 1);
    bytes.extend(bytes_of(9, &Request::Metadata(asked), 2));
    harness.asked.extend([(ApiKey::ApiVersions, 3, 1), (ApiKey::Metadata, 9, 2)]);
    for byte in bytes {
        harness.receive(&[byte]);
    }
    assert!(matches!(harness.heard(), Some(Response::ApiVersions(_))));
    assert!(matches!(harness.heard(), Some(Response::Metadata(_))));
}

#[test]
fn metadata_finds_makes_and_misses_topics() {
    let mut harness = Harness::running();
    let topic = |name| metadata::RequestTopic { name: Some(name), ..Default::default() };
    let some = metadata::Request { topics: Some(vec![topic("t"), topic("new"), topic("missing")]), ..Default::default() };
    harness.send(9, &Request::Metadata(some.clone()));
    // What was made must be durable before it is told of.
    assert_eq!(harness.heard(), None);
    harness.durable(10);
    let Some(Response::Metadata(told)) = harness.heard() else { panic!() };
    assert_eq!(
        harness.broker.take_log(),
        [
            "describe topic t",
            "describe topic new",
            "create topic new of some partitions automatically []",
            "describe topic missing",
            "create topic missing of some partitions automatically []"
        ]
    );
    let names: Vec<_> = told.topics.iter().map(|topic| (topic.name.unwrap(), topic.error_code)).collect();
    assert_eq!(names, [("t", 0), ("new", 0), ("missing", UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!((told.brokers[0].node_id, told.brokers[0].host, told.brokers[0].port), (1, "broker.example", 19092));
    assert_eq!((told.controller_id, told.cluster_id), (1, Some("yam")));
    let partition = &told.topics[0].partitions[1];
    assert_eq!((partition.partition_index, partition.leader_id, partition.leader_epoch), (1, 1, 0));
    assert_eq!((&partition.replica_nodes[..], &partition.isr_nodes[..]), (&[1][..], &[1][..]));

    let forbidden = metadata::Request { allow_auto_topic_creation: false, ..some };
    let Response::Metadata(told) = harness.ask(9, &Request::Metadata(forbidden)) else { panic!() };
    assert_eq!(told.topics[1].error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(told.topics[0].topic_authorized_operations, i32::MIN);
}

/// Reference, section 2, item 18.
#[test]
fn pitfall_18_metadata_all_and_none() {
    let mut harness = Harness::running();
    let mut count = |version: i16, topics: Option<Vec<metadata::RequestTopic<'static>>>| {
        let request = metadata::Request { topics, include_topic_authorized_operations: true, ..Default::default() };
        let Response::Metadata(told) = harness.ask(version, &Request::Metadata(request)) else { panic!() };
        (told.topics.len(), told.topics.first().map(|topic| topic.topic_authorized_operations))
    };
    assert_eq!(count(0, Some(vec![])), (2, Some(i32::MIN)));
    assert_eq!(count(1, Some(vec![])), (0, None));
    assert_eq!(count(1, None), (2, Some(i32::MIN)));
    assert_eq!(count(9, None), (2, Some(0xdf8)));
    assert_eq!(count(13, Some(vec![])), (0, None));
}

#[test]
fn topics_are_found_by_id() {
    let mut harness = Harness::running();
    let by_id = |id: u128, name| metadata::RequestTopic { topic_id: id.to_be_bytes(), name };
    let topics = vec![by_id(7, None), by_id(404, Some("")), by_id(0, None)];
    let request = metadata::Request { topics: Some(topics), ..Default::default() };
    let Response::Metadata(told) = harness.ask(12, &Request::Metadata(request)) else { panic!() };
    let told: Vec<_> = told.topics.iter().map(|topic| (topic.error_code, topic.name)).collect();
    assert_eq!(told, [(0, Some("by-id")), (UNKNOWN_TOPIC_ID, None), (INVALID_REQUEST, None)]);
}

/// Reference, section 2, item 22.
#[test]
fn pitfall_22_answers_are_in_order() {
    let mut harness = Harness::running();
    let batch = |acks: i16| {
        let partitions = vec![produce::RequestPartition { index: 0, records: Some(&[1; 70]) }];
        let topics = vec![produce::RequestTopic { name: "t", partitions, ..Default::default() }];
        Request::Produce(produce::Request { acks, topics, ..Default::default() })
    };
    let coordinator = find_coordinator::Request { key: "g", ..Default::default() };
    // A produce that waits for the disk does not keep what follows from being asked ...
    harness.send(9, &batch(-1));
    harness.send(2, &Request::FindCoordinator(coordinator.clone()));
    harness.send_silently(9, &batch(0));
    harness.send(9, &batch(1));
    let produced = |harness: &mut Harness| harness.broker.take_log().iter().filter(|line| line.starts_with("produce")).count();
    assert_eq!(produced(&mut harness), 3);
    // ... but answers go out in order,
    assert_eq!(harness.heard(), None);
    harness.durable(10);
    assert!(matches!(harness.heard(), Some(Response::Produce(_))));
    assert!(matches!(harness.heard(), Some(Response::FindCoordinator(_))));
    assert_eq!(harness.heard(), None);
    harness.durable(30);
    assert!(matches!(harness.heard(), Some(Response::Produce(_))));
    // and a long poll keeps what follows waiting.
    let poll = fetching::fetch_of(&[("t", 0, 0)]);
    harness.send(11, &Request::Fetch(poll));
    harness.send(2, &Request::FindCoordinator(coordinator));
    assert_eq!(harness.heard(), None);
    harness.event(Event::Reply(Reply::Fetched(vec![model::topic::Fetched::default()])));
    assert!(matches!(harness.heard(), Some(Response::Fetch(_))));
    assert!(matches!(harness.heard(), Some(Response::FindCoordinator(_))));
}

/// A client that asks and asks is not read for ever.
#[test]
fn what_waits_is_bounded() {
    let mut harness = Harness::running();
    let partitions = vec![produce::RequestPartition { index: 0, records: Some(&[1; 70]) }];
    let topics = vec![produce::RequestTopic { name: "t", partitions, ..Default::default() }];
    let batch = Request::Produce(produce::Request { acks: 1, topics, ..Default::default() });
    for _ in 0..5_000 {
        harness.send(9, &batch);
    }
    assert_eq!(harness.broker.take_log().len(), 4096);
    assert!(!harness.input.is_empty());
    harness.durable(50_000);
    assert_eq!(harness.broker.take_log().len(), 5_000 - 4096);
    harness.durable(100_000);
    for _ in 0..5_000 {
        assert!(harness.heard().is_some());
    }
}

#[test]
fn offsets_are_listed_one_after_the_other() {
    let mut harness = Harness::running();
    let partition =
        |partition_index, timestamp| list_offsets::RequestPartition { partition_index, timestamp, current_leader_epoch: 3 };
    let topics = vec![
        list_offsets::RequestTopic { name: "t", partitions: vec![partition(0, -1), partition(1, 1234), partition(2, -9)] },
        list_offsets::RequestTopic { name: "empty", partitions: vec![] },
        list_offsets::RequestTopic { name: "missing", partitions: vec![partition(0, -2), partition(-1, -5)] },
    ];
    harness.send(9, &Request::ListOffsets(list_offsets::Request { isolation_level: 1, topics, ..Default::default() }));
    // Found by reading the disk.
    assert_eq!(harness.heard(), None);
    harness.event(Event::Reply(Reply::Offset(ListedOffset { offset: 3, timestamp_ms: 1240, leader_epoch: 0 })));
    let Some(Response::ListOffsets(told)) = harness.heard() else { panic!() };
    assert_eq!(
        harness.broker.take_log(),
        [
            "offset of t-0 Latest committed=true epoch=Some(3)",
            "offset of t-1 Timestamp(1234) committed=true epoch=Some(3)",
            "offset of missing-0 Earliest committed=true epoch=Some(3)",
        ]
    );
    let told: Vec<Vec<_>> = told
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|told| (told.error_code, told.offset, told.timestamp)).collect())
        .collect();
    assert_eq!(
        told,
        [
            vec![(0, 5, -1), (0, 3, 1240), (UNSUPPORTED_VERSION, -1, -1)],
            vec![],
            vec![(UNKNOWN_TOPIC_OR_PARTITION, -1, -1), (0, -1, -1)],
        ]
    );
}

#[test]
fn ends_of_epochs() {
    let mut harness = Harness::running();
    let partition =
        |leader_epoch| offset_for_leader_epoch::RequestPartition { partition: 0, current_leader_epoch: -1, leader_epoch };
    let topics = vec![offset_for_leader_epoch::RequestTopic { topic: "t", partitions: vec![partition(0), partition(4)] }];
    let request = offset_for_leader_epoch::Request { replica_id: -1, topics };
    let Response::OffsetForLeaderEpoch(told) = harness.ask(4, &Request::OffsetForLeaderEpoch(request)) else { panic!() };
    let told: Vec<_> =
        told.topics[0].partitions.iter().map(|told| (told.error_code, told.leader_epoch, told.end_offset)).collect();
    assert_eq!(told, [(0, 0, 9), (0, -1, -1)]);
}

#[test]
fn coordinators_are_here() {
    let mut harness = Harness::running();
    let several = find_coordinator::Request { key_type: 1, coordinator_keys: vec!["x", "y"], ..Default::default() };
    let Response::FindCoordinator(told) = harness.ask(4, &Request::FindCoordinator(several)) else { panic!() };
    let told: Vec<_> =
        told.coordinators.iter().map(|told| (told.key, told.error_code, told.node_id, told.host, told.port)).collect();
    assert_eq!(told, [("x", 0, 1, "broker.example", 19092), ("y", 0, 1, "broker.example", 19092)]);
    let shared = find_coordinator::Request { key_type: 2, coordinator_keys: vec!["x"], ..Default::default() };
    let Response::FindCoordinator(told) = harness.ask(6, &Request::FindCoordinator(shared)) else { panic!() };
    assert_eq!((told.coordinators[0].error_code, told.coordinators[0].node_id), (INVALID_REQUEST, -1));
}

#[test]
fn an_idle_connection_ends_and_a_polling_one_does_not() {
    let mut harness = Harness::running();
    harness.wait(599_000);
    assert!(!harness.is_closing());
    harness.ask(3, &api_versions());
    harness.wait(599_000);
    assert!(!harness.is_closing());
    harness.send(11, &Request::Fetch(fetching::fetch_of(&[("t", 0, 0)])));
    harness.wait(700_000);
    assert!(!harness.is_closing());
    harness.event(Event::Reply(Reply::Fetched(vec![model::topic::Fetched::default()])));
    assert!(harness.heard().is_some());
    harness.wait(1);
    assert!(harness.is_closing());
}

#[test]
fn a_shutdown_lets_go_out_what_was_promised() {
    let mut harness = Harness::running();
    let partitions = vec![produce::RequestPartition { index: 0, records: Some(&[1; 70]) }];
    let topics = vec![produce::RequestTopic { name: "t", partitions, ..Default::default() }];
    harness.send(9, &Request::Produce(produce::Request { acks: 1, topics, ..Default::default() }));
    harness.event(Event::Shutdown("stopping"));
    harness.broker.take_log();
    harness.send_silently(3, &api_versions());
    assert!(!harness.is_closing());
    harness.durable(10);
    assert!(harness.heard().is_some());
    assert!(harness.is_closing());
    assert_eq!(harness.heard(), None);
}

/// Whoever asks for everything about everything in one request is told nothing, and costs no more than a large answer.
#[test]
fn an_answer_that_would_be_too_large_ends_the_connection() {
    let state = ProducerState { producer_id: 1, epoch: 0, last_sequence: 0, last_timestamp_ms: 0, transaction_start: -1 };
    let producers = |count: usize| Ok(Reply::Producers(vec![state; count]));
    let request = |partitions: i32| {
        let topics = vec![describe_producers::RequestTopic { name: "t", partition_indexes: (0..partitions).collect() }];
        Request::DescribeProducers(describe_producers::Request { topics })
    };
    let mut harness = Harness::running();
    harness.broker.next.extend((0..100).map(|_| producers(10_000)));
    let Response::DescribeProducers(told) = harness.ask(0, &request(100)) else { panic!() };
    assert_eq!(told.topics[0].partitions.len(), 100);
    harness.broker.next.extend((0..200).map(|_| producers(10_000)));
    harness.broker.take_log();
    harness.send_silently(0, &request(200));
    assert_eq!(harness.closed(), "the answer to DescribeProducers would be larger than 67108864 bytes: ask for less at once");
    assert_eq!(harness.broker.take_log().len(), 140, "nothing further is asked");
}
