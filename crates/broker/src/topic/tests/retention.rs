//! Dropping what is old.

use super::*;

#[test]
fn records_are_deleted_by_offset_by_age_and_by_size() {
    let mut world = World::new(14);
    world.create("t", 1, &[("retention.ms", "-1")]);
    for round in 0..1_000 {
        world.produce("t", &batch(&["aaaaaaaaaaaaaaaaaaaaaaa", "b"], T0 + round, None, 0)).unwrap();
        world.turn();
    }
    world.settle();
    let delete = |world: &mut World, before| world.ask(Request::DeleteRecords { topic: "t", partition: 0, before });
    assert_eq!(refused(delete(&mut world, Some(2_001))), LogFailure::OffsetOutOfRange);
    let Reply::LogStart { offset, .. } = delete(&mut world, Some(501)).unwrap() else { panic!() };
    assert_eq!(offset, 501);
    world.settle();
    for _ in 0..2 {
        assert_eq!(world.fetch("t", 500, false).failure, Some(LogFailure::OffsetOutOfRange));
        assert_eq!(world.fetch("t", 501, false).batches[0].base_offset, 500, "the batch that holds it, whole");
        assert_eq!(world.list("t", OffsetAt::Earliest, false).0, 501);
        assert_eq!(world.list("t", OffsetAt::Timestamp(0), false).0, 501);
        world.crash();
    }
    let set = |name: &str, value: &str| [ConfigChange { name: name.into(), operation: ConfigOperation::Set(value.into()) }];
    let alter = |world: &mut World, changes: &[ConfigChange]| {
        world.ask(Request::AlterConfig { topic: "t", changes, replace: false, validate_only: false }).unwrap();
        world.now.mono_ms += 300_000;
        world.settle();
    };
    let before = world.broker.store().stream_bytes(world.broker.topics.partition_log(TopicRef::Name("t"), 0).unwrap());
    alter(&mut world, &set("retention.bytes", &(before / 2).to_string()));
    let start = world.list("t", OffsetAt::Earliest, false).0;
    assert!(start > 501 && start < 2_000, "{start}");
    world.now.wall_ms += 10_000;
    alter(&mut world, &set("retention.ms", "1000"));
    assert_eq!(world.list("t", OffsetAt::Earliest, false).0, 2_000);
    world.crash();
    assert_eq!(world.list("t", OffsetAt::Earliest, false).0, 2_000);
    assert_eq!(world.produce("t", &batch(&["z"], world.now.wall_ms as i64, None, 0)).unwrap().base_offset, 2_000);
}

/// They were taken for records of 1970, and deleted as soon as somebody looked.
#[test]
fn records_without_a_time_stamp_are_kept_as_long_as_others() {
    let mut world = World::new(32);
    world.create("t", 1, &[("retention.ms", "600000")]);
    let unstamped = batch(&["a"], -1, None, 0);
    assert_eq!(BatchHead::parse(&unstamped).unwrap().max_timestamp_ms, -1);
    world.produce("t", &unstamped).unwrap();
    world.settle();
    let mut earliest_after = |ms: u64| {
        world.now.wall_ms += ms;
        world.now.mono_ms += ms;
        world.settle();
        world.list("t", OffsetAt::Earliest, false).0
    };
    assert_eq!([300_000, 300_000, 300_000, 300_000].map(&mut earliest_after), [0, 0, 0, 1]);
}

#[test]
fn old_records_are_looked_for_in_every_partition_some_of_them_a_turn() {
    let mut world = World::new(31);
    world.create("t", 10, &[("retention.ms", "1000")]);
    let records = batch(&["a"], T0, None, 0);
    for partition in 0..10 {
        let produce =
            Produce { topic: TopicRef::Name("t"), partition, records: &records, transactional_id: None, implicit: false };
        world.ask(Request::Produce(produce)).unwrap();
    }
    world.settle();
    world.now.wall_ms += 10_000;
    world.now.mono_ms += 300_000;
    let started = |world: &World| world.broker.topics.partitions.values().filter(|partition| partition.start == 1).count();
    let mut seen = Vec::new();
    for _ in 0..4 {
        world.turn();
        seen.push(started(&world));
        assert!(seen.len() > 2 || world.broker.poll_timeout(world.now).unwrap() <= world.now.mono_ms, "it does not wait");
    }
    assert_eq!(seen, [4, 8, 10, 10]);
}

/// Kafka refuses it: what is compacted only keeps the latest record of each key, whoever asks.
#[test]
fn records_of_what_is_only_compacted_are_not_deleted() {
    let mut world = World::new(34);
    for (name, policy, refusal) in
        [("c", "compact", Some(LogFailure::CompactedOnly)), ("cd", "compact,delete", None), ("none", "", None)]
    {
        world.create(name, 1, &[("cleanup.policy", policy)]);
        let told = world.ask(Request::DeleteRecords { topic: name, partition: 0, before: Some(0) });
        assert_eq!(told.err().map(|failure| refused(Err::<Reply, _>(failure))), refusal, "{name}");
    }
}

/// Three hundred segments that were too old went in one turn, for which everybody waited.
#[test]
fn a_partition_of_many_old_stretches_loses_some_of_them_a_turn() {
    let mut world = World::new(33);
    world.create("t", 1, &[("retention.ms", "1000")]);
    let log = world.broker.topics.partition_log(TopicRef::Name("t"), 0).unwrap();
    for _ in 0..12 {
        world.produce("t", &batch(&["a"], T0, None, 0)).unwrap();
        world.broker.store_mut().close_stretch(log);
    }
    world.settle();
    world.now.wall_ms += 10_000;
    world.now.mono_ms += 300_000;
    let turned = |world: &mut World| {
        world.turn();
        (world.list("t", OffsetAt::Earliest, false).0, world.broker.store().stretches(log).count())
    };
    assert_eq!([(); 4].map(|()| turned(&mut world)), [(5, 7), (10, 2), (12, 0), (12, 0)]);
}
