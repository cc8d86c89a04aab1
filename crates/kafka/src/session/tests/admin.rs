//! Topics made, changed and removed; settings; where partitions lie.

use super::*;
use crate::codec::error_code::*;
use crate::codec::{
    alter_configs, alter_partition_reassignments, create_partitions, create_topics, delete_records, delete_topics,
    describe_cluster, describe_configs, describe_log_dirs, describe_topic_partitions, elect_leaders, incremental_alter_configs,
    list_partition_reassignments,
};

fn new(name: &'static str, num_partitions: i32, replication_factor: i16) -> create_topics::RequestTopic<'static> {
    create_topics::RequestTopic { name, num_partitions, replication_factor, ..Default::default() }
}

fn assigned(name: &'static str, assignments: &[(i32, i32)]) -> create_topics::RequestTopic<'static> {
    let assignment = |&(partition_index, broker)| create_topics::Assignment { partition_index, broker_ids: vec![broker] };
    create_topics::RequestTopic { assignments: assignments.iter().map(assignment).collect(), ..new(name, -1, -1) }
}

#[test]
fn topics_are_created() {
    for version in 2..=7 {
        let mut harness = Harness::running();
        let configs = vec![create_topics::RequestConfig { name: "retention.ms", value: Some("9") }];
        let topics = vec![
            create_topics::RequestTopic { configs, ..new("t", 3, 1) },
            new("default", -1, -1),
            new("taken", 1, 1),
            assigned("assigned", &[(1, 1), (0, 1)]),
        ];
        harness.send(version, &Request::CreateTopics(create_topics::Request { topics, ..Default::default() }));
        assert_eq!(
            harness.broker.take_log(),
            [
                "create topic t of 3 partitions [(\"retention.ms\", Some(\"9\"))]",
                "create topic default of some partitions []",
                "create topic taken of 1 partitions []",
                "create topic assigned of 2 partitions []",
            ]
        );
        assert_eq!(harness.heard(), None, "not before they are durable");
        harness.durable(30);
        let Some(Response::CreateTopics(told)) = harness.heard() else { panic!() };
        let codes: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.error_code)).collect();
        assert_eq!(codes, [("t", 0), ("default", 0), ("taken", TOPIC_ALREADY_EXISTS), ("assigned", 0)]);
        let made = &told.topics[0];
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (2, 1));
            let configs: Vec<_> =
                made.configs.iter().flatten().map(|config| (config.name, config.value, config.config_source)).collect();
            assert_eq!(configs, [("retention.ms", Some("9"), 1), ("segment.ms", Some("7"), 5)]);
        }
        assert_eq!(made.topic_id, if version >= 7 { 7u128.to_be_bytes() } else { Default::default() });
    }
}

/// Reference, section 2, item 17.
#[test]
fn pitfall_17_what_cannot_be_created() {
    let mut harness = Harness::running();
    let topics = vec![
        new("twice", 1, 1),
        new("twice", 2, 1),
        new("none", 0, 1),
        new("negative", -2, 1),
        new("copies", 1, 3),
        new("no-copy", 1, 0),
        assigned("elsewhere", &[(0, 2)]),
        assigned("gap", &[(0, 1), (2, 1)]),
        create_topics::RequestTopic { num_partitions: 1, ..assigned("both", &[(0, 1)]) },
        new("fine", 1, 1),
    ];
    let request = create_topics::Request { topics, validate_only: true, ..Default::default() };
    let Response::CreateTopics(told) = harness.ask(7, &Request::CreateTopics(request)) else { panic!() };
    // What was only asked for has no id, and nothing to wait for.
    assert_eq!(harness.broker.take_log(), ["create topic fine of 1 partitions only asking []"]);
    assert_eq!(told.topics[9].topic_id, [0; 16]);
    let codes: Vec<_> = told.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(
        codes,
        [
            INVALID_REQUEST,
            INVALID_REQUEST,
            INVALID_PARTITIONS,
            INVALID_PARTITIONS,
            INVALID_REPLICATION_FACTOR,
            INVALID_REPLICATION_FACTOR,
            INVALID_REPLICA_ASSIGNMENT,
            INVALID_REPLICA_ASSIGNMENT,
            INVALID_REQUEST,
            0,
        ]
    );
    assert!(told.topics[..9].iter().all(|topic| topic.error_message.is_some()));
}

#[test]
fn topics_are_deleted() {
    let mut harness = Harness::running();
    harness.send(5, &Request::DeleteTopics(delete_topics::Request { topic_names: vec!["t", "missing"], ..Default::default() }));
    harness.durable(10);
    let Some(Response::DeleteTopics(told)) = harness.heard() else { panic!() };
    let codes: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.error_code)).collect();
    assert_eq!(codes, [(Some("t"), 0), (Some("missing"), UNKNOWN_TOPIC_OR_PARTITION)]);

    let topic = |name, id: u128| delete_topics::RequestTopic { name, topic_id: id.to_be_bytes() };
    let topics = vec![topic(None, 7), topic(None, 404), topic(Some("t"), 7), topic(None, 0), topic(Some("u"), 0)];
    harness.broker.take_log();
    harness.send(6, &Request::DeleteTopics(delete_topics::Request { topics, ..Default::default() }));
    assert_eq!(harness.broker.take_log(), ["describe topic #7", "delete topic #7", "describe topic #404", "delete topic u"]);
    harness.durable(30);
    let Some(Response::DeleteTopics(told)) = harness.heard() else { panic!() };
    let codes: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.error_code)).collect();
    assert_eq!(
        codes,
        [(Some("by-id"), 0), (None, UNKNOWN_TOPIC_ID), (Some("t"), INVALID_REQUEST), (None, INVALID_REQUEST), (Some("u"), 0)]
    );
    assert_eq!(told.topics[1].topic_id, 404u128.to_be_bytes());
}

/// Reference, section 2, item 20: one entry for each topic asked for.
#[test]
fn pitfall_20_partitions_are_created() {
    for version in 0..=3 {
        let mut harness = Harness::running();
        let topic = |name, count, broker: Option<i32>| {
            let assignments = broker.map(|broker| vec![create_partitions::Assignment { broker_ids: vec![broker] }]);
            create_partitions::RequestTopic { name, count, assignments }
        };
        let topics = vec![
            topic("t", 4, None),
            topic("u", 4, Some(1)),
            topic("elsewhere", 4, Some(2)),
            topic("few", 2, None),
            topic("negative", -1, None),
            topic("twice", 4, None),
            topic("twice", 5, None),
        ];
        harness.send(version, &Request::CreatePartitions(create_partitions::Request { topics, ..Default::default() }));
        assert_eq!(harness.broker.take_log(), ["grow t to 4", "grow u to 4", "grow few to 2", "grow negative to 0"]);
        assert_eq!(harness.heard(), None);
        harness.durable(20);
        let Some(Response::CreatePartitions(told)) = harness.heard() else { panic!() };
        let codes: Vec<_> = told.topics.iter().map(|topic| topic.error_code).collect();
        let refused = [INVALID_REPLICA_ASSIGNMENT, INVALID_PARTITIONS, INVALID_PARTITIONS, INVALID_REQUEST, INVALID_REQUEST];
        assert_eq!((&codes[..2], &codes[2..]), (&[0, 0][..], &refused[..]));
        assert_eq!(told.topics[3].error_message, Some("too few"));
    }
}

#[test]
fn records_are_deleted() {
    let mut harness = Harness::running();
    let partition = |partition_index, offset| delete_records::RequestPartition { partition_index, offset };
    let topics =
        vec![delete_records::RequestTopic { name: "t", partitions: vec![partition(0, 4), partition(1, -1), partition(2, -2)] }];
    harness.send(2, &Request::DeleteRecords(delete_records::Request { topics, timeout_ms: 1_000 }));
    assert_eq!(harness.broker.take_log(), ["delete from t-0 before Some(4)", "delete from t-1 before None"]);
    assert_eq!(harness.heard(), None);
    harness.durable(20);
    let Some(Response::DeleteRecords(told)) = harness.heard() else { panic!() };
    let told: Vec<_> = told.topics[0].partitions.iter().map(|told| (told.error_code, told.low_watermark)).collect();
    assert_eq!(told, [(0, 4), (0, 9), (OFFSET_OUT_OF_RANGE, -1)]);
}

/// Reference, section 2, item 16.
#[test]
fn pitfall_16_settings_are_described() {
    for version in 1..=4 {
        let mut harness = Harness::running();
        let resource = |resource_type, resource_name, configuration_keys| describe_configs::RequestResource {
            resource_type,
            resource_name,
            configuration_keys,
        };
        let resources = vec![
            resource(2, "t", None),
            resource(2, "t", Some(vec!["segment.ms", "unheard.of"])),
            resource(2, "missing", None),
            resource(4, "1", None),
            resource(4, "", None),
            resource(4, "2", None),
            resource(8, "1", None),
        ];
        let request = describe_configs::Request { resources, include_synonyms: true, include_documentation: version >= 3 };
        let Response::DescribeConfigs(told) = harness.ask(version, &Request::DescribeConfigs(request)) else { panic!() };
        let asked =
            ["settings of Topic(\"t\")", "settings of Topic(\"t\")", "settings of Topic(\"missing\")", "settings of Broker"];
        assert_eq!(harness.broker.take_log(), asked);
        let row: Vec<_> = told.resources.iter().map(|told| (told.error_code, told.configs.len())).collect();
        let rows = [(0, 2), (0, 1), (UNKNOWN_TOPIC_OR_PARTITION, 0), (0, 2), (0, 0), (INVALID_REQUEST, 0), (INVALID_REQUEST, 0)];
        assert_eq!(row, rows);
        let config = &told.resources[0].configs[0];
        assert_eq!((config.name, config.value, config.config_source), ("retention.ms", Some("9"), 1));
        let synonyms: Vec<_> = config.synonyms.iter().map(|synonym| (synonym.value, synonym.source)).collect();
        assert_eq!(synonyms, [(Some("9"), 1), (Some("7"), 5)]);
        assert_eq!(config.config_type, if version >= 3 { 5 } else { 0 });
        assert_eq!(config.documentation, (version >= 3).then_some("Says what it does."));
    }
}

#[test]
fn settings_are_changed() {
    let mut harness = Harness::running();
    let resource = |resource_type, resource_name, value| alter_configs::RequestResource {
        resource_type,
        resource_name,
        configs: vec![alter_configs::Config { name: "retention.ms", value }],
    };
    let resources = vec![
        resource(2, "t", Some("5")),
        resource(2, "missing", Some("5")),
        resource(2, "null", None),
        resource(4, "1", Some("5")),
        resource(2, "twice", Some("5")),
        resource(2, "twice", Some("6")),
    ];
    harness.send(1, &Request::AlterConfigs(alter_configs::Request { resources, validate_only: true }));
    harness.durable(10);
    let Some(Response::AlterConfigs(told)) = harness.heard() else { panic!() };
    assert_eq!(
        harness.broker.take_log(),
        ["change t replace only asking: retention.ms Set(\"5\")", "change missing replace only asking: retention.ms Set(\"5\")"]
    );
    let codes: Vec<_> = told.resources.iter().map(|told| told.error_code).collect();
    assert_eq!((codes[0], codes[1], &codes[2..]), (0, UNKNOWN_TOPIC_OR_PARTITION, &[INVALID_REQUEST; 4][..]));

    let config = |config_operation, value| incremental_alter_configs::Config { name: "x", config_operation, value };
    let resource =
        |resource_name, configs| incremental_alter_configs::RequestResource { resource_type: 2, resource_name, configs };
    let all = vec![config(0, Some("1")), config(1, None), config(2, Some("2")), config(3, Some("3"))];
    let resources = vec![resource("t", all), resource("null", vec![config(2, None)]), resource("odd", vec![config(7, Some(""))])];
    let request = incremental_alter_configs::Request { resources, validate_only: false };
    harness.send(1, &Request::IncrementalAlterConfigs(request));
    assert_eq!(harness.heard(), None, "not before it is durable");
    harness.durable(20);
    let Some(Response::IncrementalAlterConfigs(told)) = harness.heard() else { panic!() };
    let changed = "change t: x Set(\"1\"), x Delete, x Append(\"2\"), x Subtract(\"3\")";
    assert_eq!(harness.broker.take_log(), [changed]);
    let codes: Vec<_> = told.resources.iter().map(|told| told.error_code).collect();
    assert_eq!(codes, [0, INVALID_REQUEST, INVALID_REQUEST]);
}

#[test]
fn partitions_stay_where_they_are() {
    let mut harness = Harness::running();
    let topic = |topic| elect_leaders::RequestTopic { topic, partitions: vec![1, 2] };
    let request = elect_leaders::Request { topics: Some(vec![topic("t"), topic("missing")]), ..Default::default() };
    let Response::ElectLeaders(told) = harness.ask(2, &Request::ElectLeaders(request)) else { panic!() };
    let codes: Vec<_> = told.topics.iter().flat_map(|topic| topic.partitions.iter().map(|told| told.error_code)).collect();
    assert_eq!(codes, [ELECTION_NOT_NEEDED, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION]);
    let all = elect_leaders::Request { topics: None, ..Default::default() };
    let Response::ElectLeaders(told) = harness.ask(2, &Request::ElectLeaders(all)) else { panic!() };
    assert!(told.topics.is_empty());

    let partition = |partition_index, replicas| alter_partition_reassignments::RequestPartition { partition_index, replicas };
    let partitions = vec![partition(0, None), partition(0, Some(vec![1])), partition(0, Some(vec![1, 2])), partition(5, None)];
    let topics = vec![alter_partition_reassignments::RequestTopic { name: "t", partitions }];
    let request = alter_partition_reassignments::Request { topics, ..Default::default() };
    let Response::AlterPartitionReassignments(told) = harness.ask(1, &Request::AlterPartitionReassignments(request)) else {
        panic!()
    };
    let codes: Vec<_> = told.topics[0].partitions.iter().map(|told| told.error_code).collect();
    assert_eq!(codes, [NO_REASSIGNMENT_IN_PROGRESS, 0, INVALID_REPLICA_ASSIGNMENT, UNKNOWN_TOPIC_OR_PARTITION]);
    let request = Request::ListPartitionReassignments(list_partition_reassignments::Request::default());
    let Response::ListPartitionReassignments(told) = harness.ask(0, &request) else { panic!() };
    assert_eq!((told.error_code, told.topics.len()), (0, 0));
}

#[test]
fn partitions_have_sizes() {
    let mut harness = Harness::running();
    let sizes = |told: &describe_log_dirs::Response<'_>| -> Vec<(String, i32, i64)> {
        let [dir] = &told.log_dirs[..] else { panic!() };
        let topics = dir.topics.iter();
        topics
            .flat_map(|topic| {
                topic.partitions.iter().map(|told| (topic.name.to_owned(), told.partition_index, told.partition_size))
            })
            .collect()
    };
    let all = describe_log_dirs::Request { topics: None };
    let Response::DescribeLogDirs(told) = harness.ask(4, &Request::DescribeLogDirs(all)) else { panic!() };
    let row = |topic: &str, index, size| (topic.to_owned(), index, size);
    assert_eq!(sizes(&told), [row("a", 0, 100), row("a", 1, 101), row("b", 0, 100), row("b", 1, 101)]);
    let topic = |topic, partitions| describe_log_dirs::RequestTopic { topic, partitions };
    let some = describe_log_dirs::Request { topics: Some(vec![topic("t", vec![1]), topic("missing", vec![0])]) };
    let Response::DescribeLogDirs(told) = harness.ask(1, &Request::DescribeLogDirs(some)) else { panic!() };
    assert_eq!(sizes(&told), [row("t", 1, 101)]);
}

#[test]
fn the_cluster_is_this_broker() {
    let mut harness = Harness::running();
    let ask = |endpoint_type| describe_cluster::Request {
        include_cluster_authorized_operations: true,
        endpoint_type,
        ..Default::default()
    };
    let Response::DescribeCluster(told) = harness.ask(1, &Request::DescribeCluster(ask(1))) else { panic!() };
    assert_eq!((told.error_code, told.cluster_id, told.controller_id, told.cluster_authorized_operations), (0, "yam", 1, 0x1fa0));
    assert_eq!((told.brokers[0].broker_id, told.brokers[0].host, told.brokers[0].port), (1, "broker.example", 19092));
    let Response::DescribeCluster(told) = harness.ask(1, &Request::DescribeCluster(ask(2))) else { panic!() };
    assert_eq!((told.error_code, told.brokers.len()), (MISMATCHED_ENDPOINT_TYPE, 0));
}

#[test]
fn topics_come_in_pages() {
    let mut harness = Harness::running();
    let mut page = |names: &[&'static str], cursor: Option<(&'static str, i32)>, response_partition_limit| {
        let topics = names.iter().map(|name| describe_topic_partitions::RequestTopic { name }).collect();
        let cursor =
            cursor.map(|(topic_name, partition_index)| describe_topic_partitions::Cursor { topic_name, partition_index });
        let request = describe_topic_partitions::Request { topics, response_partition_limit, cursor };
        let Response::DescribeTopicPartitions(told) = harness.ask(0, &Request::DescribeTopicPartitions(request)) else {
            panic!()
        };
        let topics: Vec<_> = told
            .topics
            .iter()
            .map(|topic| {
                let indexes: Vec<_> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
                (topic.name.unwrap(), topic.error_code, indexes)
            })
            .collect();
        (topics, told.next_cursor.map(|cursor| (cursor.topic_name, cursor.partition_index)))
    };
    let (all, next) = page(&[], None, 3);
    assert_eq!(all, [("a", 0, vec![0, 1]), ("b", 0, vec![0])]);
    assert_eq!(next, Some(("b", 1)));
    assert_eq!(page(&[], next, 3), (vec![("b", 0, vec![1])], None));
    assert_eq!(page(&[], None, 2), (vec![("a", 0, vec![0, 1])], Some(("b", 0))));
    let missing = ("missing", UNKNOWN_TOPIC_OR_PARTITION, vec![]);
    assert_eq!(page(&["t", "missing"], None, 0), (vec![missing.clone(), ("t", 0, vec![0])], Some(("t", 1))));
    assert_eq!(page(&["t", "missing"], Some(("t", 1)), 10), (vec![("t", 0, vec![1])], None));
}

/// A request of the largest size once compared every resource with every other: billions of steps for one frame.
#[test]
fn very_many_resources_are_looked_through_once() {
    let names: Vec<String> = (0..200_000).map(|number| format!("{number:x}")).collect();
    let mut harness = Harness::running();
    let resource =
        |name| incremental_alter_configs::RequestResource { resource_type: 4, resource_name: name, configs: Vec::new() };
    let resources = names.iter().map(|name| resource(name)).chain([resource("0")]).collect();
    let request = incremental_alter_configs::Request { resources, validate_only: false };
    let Response::IncrementalAlterConfigs(told) = harness.ask(1, &Request::IncrementalAlterConfigs(request)) else { panic!() };
    let texts = [&told.resources[0], &told.resources[1], &told.resources[200_000]].map(|told| told.error_message.unwrap());
    assert!(texts[0].contains("at most once") && texts[1].contains("configuration") && texts[2].contains("at most once"));
}
