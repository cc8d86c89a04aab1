//! Topics come and go, and have settings.

use super::*;

/// Reference, section 2, items 19 and 5: a topic of the same name is another topic.
#[test]
fn pitfall_19_a_topic_that_is_gone_takes_nothing_and_its_id_is_nobodys() {
    let mut world = World::new(35);
    let id = |world: &mut World| {
        let Reply::Topics(found) = world.ask(Request::DescribeTopics { topic: Some(TopicRef::Name("t")) }).unwrap() else {
            panic!()
        };
        found[0].id
    };
    let by_id = |world: &mut World, id| {
        let partitions = [FetchFrom { topic: TopicKey::Id(id), ..from("", 0, 0) }];
        let fetch = Fetch { min_bytes: 1, max_wait_ms: 500, ..fetch_of(&partitions) };
        let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!("told at once") };
        fetched[0].failure
    };
    let good = batch(&["a"], T0, None, 0);
    world.create("t", 1, &[]);
    let old = id(&mut world);
    world.produce("t", &good).unwrap();
    world.settle();
    assert_eq!(by_id(&mut world, old), None);
    world.ask(Request::DeleteTopic { topic: TopicRef::Id(old) }).unwrap();
    assert_eq!(refused(world.produce("t", &good)), LogFailure::UnknownTopic);
    assert_eq!(by_id(&mut world, old), Some(LogFailure::UnknownTopicId));
    world.create("t", 1, &[]);
    assert_ne!(id(&mut world), old);
    assert_eq!(by_id(&mut world, old), Some(LogFailure::UnknownTopicId));
    assert_eq!(world.produce("t", &good).unwrap().base_offset, 0);
}

#[test]
fn pitfall_16_every_setting_is_listed() {
    let mut world = World::new(15);
    world.create("t", 1, &[("retention.ms", "5")]);
    let Reply::Config(topic) = world.ask(Request::DescribeConfig { of: ConfigOf::Topic("t") }).unwrap() else { panic!() };
    assert!(topic.len() >= 30);
    let retention = topic.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.source), (Some("5"), model::topic::ConfigSource::Topic));
    let Reply::Config(broker) = world.ask(Request::DescribeConfig { of: ConfigOf::Broker }).unwrap() else { panic!() };
    for name in ["num.partitions", "default.replication.factor", "auto.create.topics.enable", "log.retention.ms"] {
        assert!(broker.iter().any(|entry| entry.name == name), "{name}");
    }
    // Tools read from it what an answer promises: a broker that does not wait for the disk may not say that it does.
    for synced in [true, false] {
        let mut storage = storage_options();
        storage.journal.sync = synced;
        let mut disk = SimulatedDisk::new(15);
        let broker = Broker::open(options(), storage, &mut disk).unwrap();
        let Reply::Config(broker) = broker.describe_config(ConfigOf::Broker).unwrap() else { panic!() };
        let flush = broker.iter().find(|entry| entry.name == "log.flush.interval.messages").unwrap();
        assert_eq!(flush.value.as_deref() == Some("1"), synced);
    }
}

#[test]
fn pitfall_17_creation_is_checked() {
    let mut world = World::new(16);
    let create =
        |world: &mut World, name: &str, partitions: Option<u32>, config: &[(String, Option<String>)], validate_only: bool| {
            world.ask(Request::CreateTopic(CreateTopic { name, partitions, config, validate_only, automatic: false }))
        };
    assert_eq!(refused(create(&mut world, "a/b", None, &[], false)), LogFailure::InvalidTopicName);
    assert_eq!(refused(create(&mut world, "a", Some(0), &[], false)), LogFailure::InvalidPartitions);
    let bad = [("no.such".to_owned(), Some("1".to_owned()))];
    assert_eq!(refused(create(&mut world, "a", None, &bad, false)), LogFailure::InvalidConfig);
    let Reply::TopicCreated { durable_at: None, config, .. } = create(&mut world, "a", None, &[], true).unwrap() else {
        panic!()
    };
    assert!(config.len() >= 30);
    assert_eq!(refused(world.ask(Request::DescribeTopics { topic: Some(TopicRef::Name("a")) })), LogFailure::UnknownTopic);
    create(&mut world, "a", None, &[], false).unwrap();
    assert_eq!(refused(create(&mut world, "a", None, &[], true)), LogFailure::TopicExists);
    world.ask(Request::AddPartitions { topic: "a", total: 3, validate_only: false }).unwrap();
    assert_eq!(
        refused(world.ask(Request::AddPartitions { topic: "a", total: 3, validate_only: false })),
        LogFailure::InvalidPartitions
    );
    world.settle();
    world.crash();
    let Reply::Topics(topics) = world.ask(Request::DescribeTopics { topic: None }).unwrap() else { panic!() };
    assert_eq!((topics.len(), topics[0].partitions), (1, 3));
}

/// Kafka's metrics make one name of both: its tools count on there being only one.
#[test]
fn names_that_differ_by_dots_for_underscores_only_collide() {
    let mut world = World::new(33);
    let create = |world: &mut World, name: &str| {
        let create = CreateTopic { name, partitions: None, config: &[], validate_only: false, automatic: false };
        world.ask(Request::CreateTopic(create))
    };
    create(&mut world, "a.b").unwrap();
    for _ in 0..2 {
        let Err(Failure::LogBecause { failure: LogFailure::InvalidTopicName, text }) = create(&mut world, "a_b") else {
            panic!()
        };
        assert_eq!(&*text, "Topic 'a_b' collides with existing topic: a.b");
        for other in ["a-b", "ab", "a", "a.b.", "a_"] {
            if world.ask(Request::DescribeTopics { topic: Some(TopicRef::Name(other)) }).is_err() {
                create(&mut world, other).unwrap();
            }
        }
        world.settle();
        world.crash();
    }
    world.ask(Request::DeleteTopic { topic: TopicRef::Name("a.b") }).unwrap();
    create(&mut world, "a_b").unwrap();
}
