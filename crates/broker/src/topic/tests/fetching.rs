//! Reading by offset and by time.

use super::*;

#[test]
fn pitfall_01_a_fetch_inside_a_batch_returns_the_whole_batch() {
    let mut world = World::new(1);
    world.create("t", 1, &[]);
    world.produce("t", &batch(&["a", "b", "c"], T0, None, 0)).unwrap();
    let sent = batch(&["d", "e"], T0, None, 0);
    assert_eq!(world.produce("t", &sent).unwrap().base_offset, 3);
    assert!(world.fetch("t", 0, false).batches.is_empty(), "nothing is shown before it is durable");
    world.settle();
    for offset in [3, 4] {
        let fetched = world.fetch("t", offset, false);
        assert_eq!((fetched.batches.len(), fetched.high_watermark), (1, 5));
        assert_eq!(fetched.batches[0].base_offset, 3);
        assert_eq!(fetched.batches[0].bytes[16..], sent[16..], "as the producer wrote it");
    }
    assert_eq!(world.fetch("t", 5, false).failure, None);
    assert_eq!(world.fetch("t", 6, false).failure, Some(LogFailure::OffsetOutOfRange));
}

#[test]
fn pitfall_02_the_first_batch_is_returned_whatever_its_size() {
    let mut world = World::new(2);
    world.create("t", 2, &[]);
    let long = "x".repeat(50);
    world.produce("t", &batch(&[&long, &long], T0, None, 0)).unwrap();
    world.produce("t", &batch(&[&long], T0, None, 0)).unwrap();
    world.settle();
    for (max_bytes, partition_max) in [(1, 1 << 20), (1 << 20, 1), (1, 0), (0, 1 << 20)] {
        let partitions = [FetchFrom { max_bytes: partition_max, ..from("t", 0, 0) }];
        let fetch = Fetch { min_bytes: 1, max_bytes, ..fetch_of(&partitions) };
        let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!("at once") };
        assert_eq!(fetched[0].batches.len(), 1, "{max_bytes} {partition_max}");
    }
}

#[test]
fn pitfall_03_a_fetch_waits_for_the_sum_of_its_partitions() {
    let mut world = World::new(3);
    world.create("t", 1, &[]);
    world.create("u", 1, &[]);
    let size = batch(&["a"], T0, None, 0).len();
    let partitions = [from("t", 0, 0), from("u", 0, 0)];
    let fetch = || Fetch { min_bytes: 2 * size, max_wait_ms: 500, ..fetch_of(&partitions) };
    assert_eq!(world.ask(Request::Fetch(fetch())).unwrap(), Reply::Pending);
    world.produce("t", &batch(&["a"], T0, None, 0)).unwrap();
    world.settle();
    assert!(world.told.answers.is_empty(), "one of two is not enough");
    world.produce("u", &batch(&["b"], T0, None, 0)).unwrap();
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched.iter().map(|fetched| fetched.batches.len()).collect::<Vec<_>>(), [1, 1]);
    // Time is up: what there is.
    let partitions = [from("t", 0, 1), from("u", 0, 0)];
    let fetch = Fetch { min_bytes: 2 * size, max_wait_ms: 500, ..fetch_of(&partitions) };
    assert_eq!(world.ask(Request::Fetch(fetch)).unwrap(), Reply::Pending);
    world.settle();
    assert!(world.told.answers.is_empty());
    assert!(world.broker.poll_timeout(world.now).is_some_and(|at| at <= world.now.mono_ms + 500));
    world.now.mono_ms += 500;
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched.iter().map(|fetched| fetched.batches.len()).collect::<Vec<_>>(), [0, 1]);
    // An error of one of them is answered at once.
    let partitions = [from("t", 0, 1), from("no", 0, 0)];
    let fetch = Fetch { min_bytes: 9, max_bytes: 9, max_wait_ms: 500, ..fetch_of(&partitions) };
    let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!() };
    assert_eq!(fetched[1].failure, Some(LogFailure::UnknownTopic));
    // A topic that goes while a fetch waits for it answers too.
    let partitions = [from("t", 0, 1)];
    let fetch = Fetch { min_bytes: 9, max_bytes: 9, max_wait_ms: 500, ..fetch_of(&partitions) };
    assert_eq!(world.ask(Request::Fetch(fetch)).unwrap(), Reply::Pending);
    world.ask(Request::DeleteTopic { topic: TopicRef::Name("t") }).unwrap();
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched[0].failure, Some(LogFailure::UnknownTopic));
}

#[test]
fn pitfall_05_the_epoch_of_an_offset() {
    let mut world = World::new(5);
    world.create("t", 1, &[]);
    assert_eq!(world.list("t", OffsetAt::Latest, false), (0, -1, -1), "an empty partition has no epoch");
    world.produce("t", &batch(&["a", "b", "c"], T0, None, 0)).unwrap();
    world.settle();
    assert_eq!(world.list("t", OffsetAt::Latest, false), (3, -1, 0));
    assert_eq!(world.list("t", OffsetAt::Earliest, false), (0, -1, 0));
    let end = world.ask(Request::EpochEnd { topic: "t", partition: 0, epoch: 0, current_epoch: Some(0) }).unwrap();
    assert_eq!(end, Reply::EpochEnd { epoch: 0, end: 3 });
    // Made anew, a topic has another identity.
    let id = |world: &mut World| match world.ask(Request::DescribeTopics { topic: Some(TopicRef::Name("t")) }).unwrap() {
        Reply::Topics(topics) => topics[0].id,
        other => panic!("{other:?}"),
    };
    let old = id(&mut world);
    world.ask(Request::DeleteTopic { topic: TopicRef::Id(old) }).unwrap();
    world.create("t", 1, &[]);
    assert_ne!(id(&mut world), old);
    let stale = Produce {
        topic: TopicRef::Id(old),
        partition: 0,
        records: &batch(&["a"], T0, None, 0),
        transactional_id: None,
        implicit: false,
    };
    assert_eq!(refused(world.ask(Request::Produce(stale))), LogFailure::UnknownTopicId);
    assert_eq!(world.list("t", OffsetAt::Latest, false), (0, -1, -1));
}

#[test]
fn pitfall_06_a_newer_epoch_is_not_known() {
    let mut world = World::new(6);
    world.create("t", 1, &[]);
    for (epoch, expected) in [(None, None), (Some(0), None), (Some(1), Some(LogFailure::UnknownLeaderEpoch))] {
        let partitions = [FetchFrom { current_epoch: epoch, ..from("t", 0, 0) }];
        let fetch = Fetch { max_bytes: 9, ..fetch_of(&partitions) };
        let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!() };
        assert_eq!(fetched[0].failure, expected);
    }
}

#[test]
fn offsets_are_found_by_time_inside_batches_and_in_segments() {
    let mut world = World::new(7);
    world.create("t", 1, &[]);
    let value = "v".repeat(50);
    for round in 0..2_000 {
        world.produce("t", &batch(&[&value, &value], T0 + round * 10, None, 0)).unwrap();
        world.turn();
    }
    world.settle();
    assert!(!world.disk.list("segments").unwrap().is_empty());
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 - 5), false), (0, T0, 0));
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 + 1), false), (1, T0 + 1, 0));
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 + 12_341), false), (2_469, T0 + 12_341, 0));
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 + 12_342), false), (2_470, T0 + 12_350, 0));
    assert_eq!(world.list("t", OffsetAt::MaxTimestamp, false), (3_999, T0 + 19_991, 0));
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 + 20_000), false), (-1, -1, -1));
    // All of it is read back, from wherever it lies.
    let mut offset = 0;
    while offset < 4_000 {
        let fetched = world.fetch("t", offset, false);
        assert_eq!(fetched.failure, None);
        for batch in &fetched.batches {
            assert_eq!(batch.base_offset, offset);
            offset += 2;
        }
    }
}

/// The marker of a transaction is later than its records, and what compaction has taken away may have been the latest: nothing
/// was found then.
#[test]
fn the_latest_time_is_found_where_it_is_a_markers_or_its_record_is_gone() {
    let mut world = World::new(41);
    world.create("t", 1, &[]);
    world.now.wall_ms = T0 as u64 + 1_000;
    let me = world.init(None).unwrap();
    world.add(me, "t").unwrap();
    world.produce("t", &batch(&["a"], T0, Some((me.0, me.1, 0)), attribute::TRANSACTIONAL)).unwrap();
    world.end(me, true, false).unwrap();
    world.settle();
    assert_eq!(world.list("t", OffsetAt::MaxTimestamp, false), (1, T0 + 1_000, 0));
    assert_eq!(world.list("t", OffsetAt::Timestamp(T0 + 1), false), (-1, -1, -1), "a marker is no record");

    world.create("u", 1, &[]);
    for time in [T0, T0 + 5, T0 + 9] {
        world.produce("u", &batch(&["a"], time, None, 0)).unwrap();
    }
    world.settle();
    let log = world.broker.topics.partition_log(TopicRef::Name("u"), 0).unwrap();
    world.broker.store.settle(log, Offset(2));
    assert_eq!(world.list("u", OffsetAt::MaxTimestamp, false), (1, T0 + 5, 0));
}

/// Of each partition the number of its batches.
fn batches(fetched: &[Fetched]) -> Vec<usize> {
    fetched.iter().map(|fetched| fetched.batches.len()).collect()
}

fn large_batch() -> Vec<u8> {
    batch(&["x".repeat(50).as_str(); 20], T0, None, 0)
}

/// A topic of so many partitions of one batch each, all of which only the disk holds, and the size of a batch.
fn on_disk(world: &mut World, partitions: u32) -> (Vec<FetchFrom>, usize) {
    let sent = large_batch();
    world.create("t", partitions, &[]);
    for partition in 0..partitions {
        world.produce_to("t", partition, &sent).unwrap();
    }
    world.create("u", 1, &[]);
    for _ in 0..60 {
        world.produce("u", &sent).unwrap();
        world.settle();
    }
    ((0..partitions).map(|partition| from("t", partition, 0)).collect(), sent.len())
}

#[test]
fn an_incremental_fetch_ends_where_there_is_enough() {
    let mut world = World::new(51);
    world.create("t", 6, &[]);
    let sent = batch(&["a"], T0, None, 0);
    for partition in [1, 2, 4] {
        world.produce_to("t", partition, &sent).unwrap();
    }
    world.settle();
    let partitions: Vec<FetchFrom> = (0..6).map(|partition| from("t", partition, 0)).collect();
    let mut ask = |max_bytes, incremental| {
        let fetch = Fetch { min_bytes: 1, max_bytes, incremental, ..fetch_of(&partitions) };
        let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!("at once") };
        assert!(fetched.iter().enumerate().all(|(at, fetched)| fetched.high_watermark == i64::from([1, 2, 4].contains(&at))));
        batches(&fetched)
    };
    assert_eq!(ask(2 * sent.len(), false), [0, 1, 1, 0, 0, 0]);
    assert_eq!(ask(2 * sent.len(), true), [0, 1, 1]);
    assert_eq!(ask(0, true), [0, 1], "the first batch whatever its size");
    assert_eq!(ask(1 << 20, true), [0, 1, 1, 0, 1, 0]);
}

#[test]
fn what_only_the_disk_holds_is_fetched_a_few_partitions_at_a_time() {
    const PARTITIONS: u32 = 20;
    let mut world = World::new(52);
    let (mut partitions, size) = on_disk(&mut world, PARTITIONS);
    // As a session does: what was served last is asked for last.
    let mut requests = 0;
    while partitions.iter().any(|from| from.offset == 0) {
        requests += 1;
        let fetched = world.fetched(Fetch { min_bytes: 1, max_wait_ms: 500, incremental: true, ..fetch_of(&partitions) });
        assert!(requests > 1 || fetched.len() < 10, "{:?}", batches(&fetched));
        let served = fetched.iter().rposition(|fetched| !fetched.batches.is_empty()).expect("something each time");
        for (from, fetched) in partitions.iter_mut().zip(&fetched) {
            from.offset += fetched.batches.len() as i64 * 20;
        }
        partitions.rotate_left(served + 1);
    }
    assert!(requests <= PARTITIONS, "{requests} requests");
    assert!(partitions.iter().all(|from| from.offset == 20), "each once: {partitions:?}");

    // Who waits for more than is asked of the disk at a time gets it too, and so does who names all.
    for incremental in [true, false] {
        partitions.iter_mut().for_each(|from| from.offset = 0);
        let min_bytes = 3 * PARTITIONS as usize / 4 * size;
        let fetched = world.fetched(Fetch { min_bytes, max_wait_ms: 500, incremental, ..fetch_of(&partitions) });
        assert!(batches(&fetched).iter().sum::<usize>() * size >= min_bytes, "{:?}", batches(&fetched));
        assert!(incremental || fetched.len() == PARTITIONS as usize);
        assert!(fetched.iter().all(|fetched| fetched.high_watermark == 20));
    }
}

#[test]
fn a_fetch_that_the_disk_could_not_satisfy_hears_of_every_partition() {
    let mut world = World::new(53);
    let (partitions, size) = on_disk(&mut world, 6);
    let fetch = Fetch { min_bytes: 7 * size, max_wait_ms: 500, incremental: true, ..fetch_of(&partitions) };
    assert_eq!(world.ask(Request::Fetch(fetch)).unwrap(), Reply::Pending);
    world.settle();
    assert!(world.told.answers.is_empty(), "there are six batches, and seven are wanted");
    world.produce_to("t", 5, &large_batch()).unwrap();
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(batches(&fetched), [1, 1, 1, 1, 1, 2]);
}

/// The disk brings a few batches at a time, and each time all of them are looked at.
#[test]
fn what_is_looked_at_again_counts_once() {
    let mut world = World::new(54);
    let (partitions, size) = on_disk(&mut world, 1);
    let stream = [from("u", 0, 0), partitions[0].clone()];
    for incremental in [true, false] {
        for batches_wanted in [9, 20, 33] {
            let (min_bytes, max_bytes) = (batches_wanted * size, batches_wanted * size + size / 2);
            let fetch = Fetch { min_bytes, max_bytes, max_wait_ms: 500, incremental, ..fetch_of(&stream) };
            assert_eq!(batches(&world.fetched(fetch)).iter().sum::<usize>(), batches_wanted);
        }
    }
}

#[test]
fn partitions_that_grow_while_the_disk_is_read_are_found() {
    let mut world = World::new(55);
    let (_, size) = on_disk(&mut world, 4);
    world.create("v", 8, &[]);
    let partitions: Vec<FetchFrom> =
        (0..8).map(|partition| from("v", partition, 0)).chain((0..4).map(|partition| from("t", partition, 0))).collect();
    let wanted = 6 * size;
    let fetch = Fetch { min_bytes: wanted, max_bytes: wanted, max_wait_ms: 500, incremental: true, ..fetch_of(&partitions) };
    assert_eq!(world.ask(Request::Fetch(fetch)).unwrap(), Reply::Pending);
    for partition in [0, 0, 1, 1, 2, 2] {
        world.produce_to("v", partition, &large_batch()).unwrap();
    }
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched.iter().map(Fetched::bytes).sum::<usize>(), wanted, "{:?}", batches(&fetched));
    world.nobody_waits();
}
