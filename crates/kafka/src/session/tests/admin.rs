//! Topics made, changed and removed; settings; where partitions lie.

use super::*;
use crate::codec::error_code::*;
use crate::codec::{
    alter_configs, alter_partition_reassignments, alter_replica_log_dirs, create_partitions, create_topics, delete_records,
    delete_topics, describe_client_quotas, describe_cluster, describe_configs, describe_log_dirs, describe_quorum,
    describe_topic_partitions, elect_leaders, incremental_alter_configs, list_config_resources, list_partition_reassignments,
    update_features,
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
            let assignment = |broker| create_partitions::Assignment { broker_ids: vec![broker] };
            let assignments = broker.map(|broker| vec![assignment(broker), assignment(broker)]);
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
        let asked = ["grow t to 4", "describe topic u", "grow u to 4", "grow few to 2", "grow negative to 0"];
        assert_eq!(harness.broker.take_log(), asked);
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
        let rows = [(0, 2), (0, 1), (UNKNOWN_TOPIC_OR_PARTITION, 0), (0, 5), (0, 0), (INVALID_REQUEST, 0), (INVALID_REQUEST, 0)];
        assert_eq!(row, rows);
        let config = &told.resources[0].configs[0];
        assert_eq!((config.name, config.value, config.config_source), ("retention.ms", Some("9"), 1));
        let synonyms: Vec<_> = config.synonyms.iter().map(|synonym| (synonym.value, synonym.source)).collect();
        assert_eq!(synonyms, [(Some("9"), 1)]);
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
    let texts = [&told.resources[0], &told.resources[2], &told.resources[200_000]].map(|told| told.error_message.unwrap());
    assert!(texts[0].contains("at most once") && texts[1].contains("Unexpected broker id") && texts[2].contains("at most once"));
}

/// Java's AdminClient, kafka-metadata-quorum and exporters ask; the connection of whoever did was closed.
#[test]
fn the_quorum_is_this_broker_alone() {
    let mut harness = Harness::running();
    let topic = |topic_name, index| describe_quorum::RequestTopic {
        topic_name,
        partitions: vec![describe_quorum::RequestPartition { partition_index: index }],
    };
    for version in 0..=2 {
        let topics = vec![topic("__cluster_metadata", 0), topic("__cluster_metadata", 1), topic("t", 0)];
        let request = Request::DescribeQuorum(describe_quorum::Request { topics });
        let Response::DescribeQuorum(told) = harness.ask(version, &request) else { panic!() };
        let codes: Vec<_> = told.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
        assert_eq!((told.error_code, codes), (0, vec![0, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_OR_PARTITION]));
        let quorum = &told.topics[0].partitions[0];
        let voters: Vec<_> = quorum.current_voters.iter().map(|voter| voter.replica_id).collect();
        assert_eq!((quorum.leader_id, voters, quorum.observers.len()), (1, vec![1], 0));
        let nodes: Vec<_> =
            told.nodes.iter().map(|node| (node.node_id, node.listeners[0].host, node.listeners[0].port)).collect();
        assert_eq!(nodes, if version < 2 { vec![] } else { vec![(1, "broker.example", 19092)] });
    }
}

#[test]
fn features_stay_as_they_are() {
    let mut harness = Harness::running();
    let mut ask = |version, updates: &[(&'static str, i16)]| {
        let update = |&(feature, level)| update_features::Update { feature, max_version_level: level, ..Default::default() };
        let request = update_features::Request { feature_updates: updates.iter().map(update).collect(), ..Default::default() };
        let Response::UpdateFeatures(told) = harness.ask(version, &Request::UpdateFeatures(request)) else { panic!() };
        (
            told.error_code,
            told.results.iter().map(|told| told.error_code).collect::<Vec<_>>(),
            told.error_message.map(str::to_owned),
        )
    };
    assert_eq!(ask(1, &[("transaction.version", 2)]), (0, vec![0], None));
    assert_eq!(ask(2, &[("transaction.version", 2)]), (0, vec![], None));
    for (feature, level, why) in [
        ("transaction.version", 1, "stays at level 2"),
        ("transaction.version", 9, "only supports versions 0-2"),
        ("no.such", 1, "does not support this feature"),
    ] {
        let (code, results, text) = ask(1, &[("transaction.version", 2), (feature, level)]);
        assert_eq!((code, results), (INVALID_UPDATE_VERSION, vec![INVALID_UPDATE_VERSION; 2]));
        assert!(text.unwrap().contains(why));
    }
}

#[test]
fn what_has_settings_is_listed() {
    let mut harness = Harness::running();
    let mut list = |version, types: &[i8]| {
        let request = Request::ListConfigResources(list_config_resources::Request { resource_types: types.to_vec() });
        let Response::ListConfigResources(told) = harness.ask(version, &request) else { panic!() };
        let names = told.config_resources.iter().map(|told| (told.resource_type, told.resource_name.to_owned()));
        (told.error_code, names.collect::<Vec<_>>())
    };
    let row = |kind, name: &str| (kind, name.to_owned());
    assert_eq!(list(0, &[]), (0, vec![]));
    assert_eq!(list(1, &[]), (0, vec![row(2, "a"), row(2, "b"), row(4, "1")]));
    assert_eq!(list(1, &[4, 8, 16, 32]), (0, vec![row(4, "1")]));
    assert_eq!(list(1, &[2]), (0, vec![row(2, "a"), row(2, "b")]));
    assert_eq!(list(1, &[2, 3]), (UNSUPPORTED_VERSION, vec![]));
}

#[test]
fn replicas_lie_in_the_one_directory() {
    let mut harness = Harness::running();
    let directory = |path, name| alter_replica_log_dirs::Directory {
        path,
        topics: vec![alter_replica_log_dirs::RequestTopic { name, partitions: vec![0, 2] }],
    };
    let Response::DescribeLogDirs(told) = harness.ask(4, &Request::DescribeLogDirs(describe_log_dirs::Request { topics: None }))
    else {
        panic!()
    };
    let here = told.log_dirs[0].log_dir.to_owned().leak();
    let dirs = vec![directory(here, "t"), directory("/elsewhere", "t"), directory(here, "missing")];
    let request = Request::AlterReplicaLogDirs(alter_replica_log_dirs::Request { dirs });
    let Response::AlterReplicaLogDirs(told) = harness.ask(2, &request) else { panic!() };
    let codes: Vec<_> = told
        .results
        .iter()
        .map(|told| (told.topic_name, [told.partitions[0].error_code, told.partitions[1].error_code]))
        .collect();
    let unknown = UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(codes, [("t", [0, unknown]), ("t", [LOG_DIR_NOT_FOUND; 2]), ("missing", [unknown; 2])]);
}

#[test]
fn nobody_has_a_quota() {
    let mut harness = Harness::running();
    let mut ask = |components: &[(&'static str, i8)]| {
        let component = |&(entity_type, match_type)| describe_client_quotas::Component { entity_type, match_type, name: None };
        let components = components.iter().map(component).collect();
        let request = Request::DescribeClientQuotas(describe_client_quotas::Request { components, strict: false });
        let Response::DescribeClientQuotas(told) = harness.ask(1, &request) else { panic!() };
        (told.error_code, told.entries.map(|entries| entries.len()))
    };
    assert_eq!(ask(&[]), (0, Some(0)));
    assert_eq!(ask(&[("user", 1), ("client-id", 2), ("ip", 0)]), (0, Some(0)));
    assert_eq!(ask(&[("user", 3)]), (INVALID_REQUEST, None));
    assert_eq!(ask(&[("user", 1), ("user", 2)]), (INVALID_REQUEST, None));
    assert_eq!(ask(&[("odd", 0)]), (UNSUPPORTED_VERSION, None));
}

/// A number of assignments that is not the number of new partitions was taken.
#[test]
fn new_partitions_and_their_assignments_must_be_as_many() {
    let mut harness = Harness::running();
    let mut grow = |count, assigned: Option<usize>| {
        let assignment = || create_partitions::Assignment { broker_ids: vec![1] };
        let assignments = assigned.map(|assigned| std::iter::repeat_with(assignment).take(assigned).collect());
        let topics = vec![create_partitions::RequestTopic { name: "t", count, assignments }];
        let request = Request::CreatePartitions(create_partitions::Request { topics, ..Default::default() });
        harness.send(1, &request);
        harness.durable(u64::MAX);
        let Some(Response::CreatePartitions(told)) = harness.heard() else { panic!() };
        (told.topics[0].error_code, told.topics[0].error_message.map(str::to_owned))
    };
    assert_eq!(grow(5, None).0, 0);
    assert_eq!(grow(5, Some(3)).0, 0);
    for assigned in [0, 1, 4] {
        let text = format!("Attempted to add 3 additional partition(s), but only {assigned} assignment(s) were specified.");
        assert_eq!(grow(5, Some(assigned)), (INVALID_REPLICA_ASSIGNMENT, Some(text)));
    }
}

/// Tools reset a broker's dynamic settings by deleting them, and were refused.
#[test]
fn a_brokers_setting_that_is_at_its_default_can_be_reset() {
    let mut harness = Harness::running();
    let mut alter = |resource_name, config_operation, value| {
        let configs = vec![incremental_alter_configs::Config { name: "log.retention.ms", config_operation, value }];
        let resources = vec![incremental_alter_configs::RequestResource { resource_type: 4, resource_name, configs }];
        let request = Request::IncrementalAlterConfigs(incremental_alter_configs::Request { resources, validate_only: false });
        let Response::IncrementalAlterConfigs(told) = harness.ask(1, &request) else { panic!() };
        told.resources[0].error_code
    };
    assert_eq!([alter("1", 1, None), alter("", 1, None)], [0, 0]);
    assert_eq!([alter("1", 0, Some("5")), alter("2", 1, None)], [INVALID_REQUEST; 2]);
}

#[test]
fn settings_name_what_the_brokers_default_is_called() {
    let mut harness = Harness::running();
    let entry = |name, set: Option<&str>, source| model::topic::ConfigEntry {
        name,
        value: Some(set.unwrap_or("7").to_owned()),
        default: Some("7".to_owned()),
        source,
        kind: model::topic::ConfigKind::Long,
        read_only: false,
        documentation: "",
    };
    use model::topic::ConfigSource;
    let entries = vec![
        entry("max.message.bytes", Some("9"), ConfigSource::Topic),
        entry("retention.ms", None, ConfigSource::Default),
        entry("segment.bytes", None, ConfigSource::Broker),
    ];
    harness.broker.next.push_back(Ok(model::Reply::Config(entries)));
    let resource = describe_configs::RequestResource { resource_type: 2, resource_name: "t", configuration_keys: None };
    let request = describe_configs::Request { resources: vec![resource], include_synonyms: true, include_documentation: false };
    let Response::DescribeConfigs(told) = harness.ask(4, &Request::DescribeConfigs(request)) else { panic!() };
    let synonyms: Vec<Vec<_>> = told.resources[0]
        .configs
        .iter()
        .map(|config| config.synonyms.iter().map(|synonym| (synonym.name, synonym.value.unwrap(), synonym.source)).collect())
        .collect();
    assert_eq!(
        synonyms,
        [vec![("max.message.bytes", "9", 1), ("message.max.bytes", "7", 5)], vec![], vec![("log.segment.bytes", "7", 4)]]
    );
}

#[test]
fn the_broker_says_where_it_is_reached_and_groups_have_no_settings() {
    let mut harness = Harness::running();
    let resource = |resource_type, resource_name| describe_configs::RequestResource {
        resource_type,
        resource_name,
        configuration_keys: None,
    };
    let resources = vec![resource(4, "1"), resource(32, "g"), resource(32, "")];
    let request = describe_configs::Request { resources, include_synonyms: false, include_documentation: true };
    let Response::DescribeConfigs(told) = harness.ask(4, &Request::DescribeConfigs(request)) else { panic!() };
    let value = |name: &str| told.resources[0].configs.iter().find(|config| config.name == name).and_then(|config| config.value);
    let door = Some("PLAINTEXT://broker.example:19092");
    assert_eq!((value("advertised.listeners"), value("listeners"), value("log.dirs")), (door, door, Some("/yam")));
    assert_eq!((told.resources[1].error_code, told.resources[1].configs.len()), (0, 0));
    assert_eq!(told.resources[2].error_code, INVALID_REQUEST);
}
