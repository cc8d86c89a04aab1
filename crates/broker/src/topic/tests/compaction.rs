//! Of every key only the latest record.

use super::*;

#[test]
fn pitfall_14_compaction_keeps_the_latest_of_every_key_at_its_offset() {
    for codec in 0..5 {
        let mut world = World::new(20 + codec as u64);
        let config = [
            ("cleanup.policy", "compact"),
            ("delete.retention.ms", "1000"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        world.create("t", 1, &config);
        assert_eq!(refused(world.produce("t", &batch(&["no key"], T0, None, 0))), LogFailure::InvalidRecord);
        let mut latest = std::collections::BTreeMap::new();
        for round in 0..400i64 {
            let now = world.now.wall_ms as i64;
            let text = format!("value {round}");
            let (a, b) = (world.now.mono_ms as u8 ^ round as u8, (round % 17) as u8);
            let base =
                world.produce("t", &keyed(&[(a, Some(&text)), (b, Some(&text)), (200, None)], now, codec)).unwrap().base_offset;
            latest.insert(a, (base, Some(text.clone().into_bytes())));
            latest.insert(b, (base + 1, Some(text.into_bytes())));
            latest.insert(200, (base + 2, None));
            world.turn();
        }
        world.settle();
        let stored =
            |world: &World| world.broker.store().stream_bytes(world.broker.topics.partition_log(TopicRef::Name("t"), 0).unwrap());
        let (before, end) = (stored(&world), world.list("t", OffsetAt::Latest, false));
        let expected = |latest: &std::collections::BTreeMap<u8, (i64, Option<Vec<u8>>)>| {
            let mut all: Vec<_> = latest.iter().map(|(key, (offset, value))| (*offset, *key, value.clone())).collect();
            all.sort_unstable();
            all
        };
        let run = |world: &mut World| {
            for _ in 0..4 {
                world.now.mono_ms += 15_000;
                for _ in 0..200 {
                    world.now.mono_ms += 1;
                    world.turn();
                }
                world.settle();
            }
        };
        world.now.wall_ms += 500;
        run(&mut world);
        assert_eq!(all_records(&mut world, "t"), expected(&latest), "codec {codec}");
        assert!(stored(&world) < before * 2 / 3, "{} of {before}", stored(&world));
        assert_eq!(world.list("t", OffsetAt::Latest, false), end);
        // A tombstone goes when it is old enough, and all of it survives a crash.
        world.now.wall_ms += 1_000;
        let last = world.produce("t", &keyed(&[(201, Some("x"))], world.now.wall_ms as i64, codec)).unwrap().base_offset;
        latest.insert(201, (last, Some(b"x".to_vec())));
        world.settle();
        world.now.wall_ms += 500;
        latest.remove(&200);
        run(&mut world);
        assert_eq!(all_records(&mut world, "t"), expected(&latest), "codec {codec}");
        world.crash();
        assert_eq!(all_records(&mut world, "t"), expected(&latest), "codec {codec}");
    }
}

/// Where the first batch alone had more keys than memory is spent on, nothing was ever compacted; and where all keys of the
/// topic were more, nothing behind the first of them.
#[test]
fn compaction_goes_on_where_it_stopped_and_takes_turns() {
    let mut world = World::new(30);
    let config = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0")];
    world.create("t", 1, &config);
    let log = world.broker.topics.partition_log(TopicRef::Name("t"), 0).unwrap();
    let mut latest = std::collections::BTreeMap::new();
    let value = "x".repeat(20);
    for round in 0..40u8 {
        let keys: Vec<u8> = (0..60).map(|key| if round < 20 { key } else { 100 + key }).collect();
        let records: Vec<_> = keys.iter().map(|key| (*key, Some(&*value))).collect();
        let base = world.produce("t", &keyed(&records, world.now.wall_ms as i64, 0)).unwrap().base_offset;
        latest.extend(keys.iter().enumerate().map(|(at, key)| (*key, base + at as i64)));
        world.turn();
    }
    world.settle();
    world.now.wall_ms += 500;
    let mut turns = 0;
    // Paging may come between, so that it is looked at once more.
    for _ in 0..3 {
        world.now.mono_ms += 15_000;
        while world.broker.poll_timeout(world.now).is_some_and(|at| at <= world.now.mono_ms + 1) {
            world.turn();
            turns += 1;
        }
        world.settle();
    }
    let mut expected: Vec<i64> = latest.into_values().collect();
    expected.sort_unstable();
    let offsets: Vec<i64> = all_records(&mut world, "t").into_iter().map(|(offset, ..)| offset).collect();
    assert_eq!(offsets, expected);
    assert_eq!(world.broker.topics.partitions[&log].compacted, 40 * 60);
    assert!(turns >= 2 * 40 * 60 * 28 / (16 * 1024), "all records are looked at twice or more, 16 KiB a turn: {turns}");
}

#[test]
fn no_record_waits_for_longer_than_max_compaction_lag_ms() {
    let mut world = World::new(42);
    let lag = [("cleanup.policy", "compact"), ("max.compaction.lag.ms", "60000"), ("min.cleanable.dirty.ratio", "0.9")];
    world.create("t", 1, &lag);
    let pass = |world: &mut World, ms: u64| {
        world.now.wall_ms += ms;
        world.now.mono_ms += ms;
        for _ in 0..50 {
            world.turn();
        }
    };
    let write = |world: &mut World, key: u8| {
        world.produce("t", &keyed(&[(key, Some("x"))], world.now.wall_ms as i64, 0)).unwrap().base_offset
    };
    let count = |world: &mut World| all_records(world, "t").len();
    let keys = || 0..100;
    for key in keys().chain([0]) {
        write(&mut world, key);
    }
    pass(&mut world, 60_000);
    assert_eq!(count(&mut world), 101, "it may wait for so long");
    pass(&mut world, 15_000);
    assert_eq!(count(&mut world), 100);
    // What comes later is little beside the rest, and waits until it is as old.
    pass(&mut world, 300_000);
    write(&mut world, 0);
    pass(&mut world, 59_000);
    assert_eq!(count(&mut world), 101);
    pass(&mut world, 16_000);
    assert_eq!(count(&mut world), 100);
    // One that is written again and again leaves nothing older than that and the time between a few looks, and is not
    // compacted all the time.
    let (mut written, mut before, mut compacted) = (Vec::new(), 0, 0);
    for round in 0..200u64 {
        written.push((write(&mut world, 0), round));
        pass(&mut world, 1_000);
        let all = all_records(&mut world, "t");
        let old = |(offset, round_of): &&(i64, u64)| round > round_of + 91 && all.iter().any(|(found, ..)| found == offset);
        assert_eq!(written.iter().find(old), None, "in round {round}");
        compacted += usize::from(all.len() < before);
        before = all.len();
    }
    assert!((2..=5).contains(&compacted), "{compacted} times");
    world.settle();
    world.crash();
    for ms in [15_000, 60_000, 15_000] {
        pass(&mut world, ms);
    }
    assert_eq!(count(&mut world), 100);
}

/// Paging makes one stretch of several. Where it did so while the first of them was looked through, the others counted as
/// compacted without having been looked at: what they held of a key came back when its tombstone went.
#[test]
fn paging_in_the_middle_of_a_compaction_leaves_nothing_out() {
    let mut world = World::new(38);
    let config = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0")];
    world.create("t", 1, &config);
    world.create("u", 1, &[]);
    let log = world.broker.topics.partition_log(TopicRef::Name("t"), 0).unwrap();
    for _ in 0..4 {
        for key in 0..40 {
            world.produce("t", &keyed(&[(key, Some("x"))], T0, 0)).unwrap();
        }
        world.broker.store_mut().close_stretch(log);
    }
    world.settle();
    world.now.wall_ms += 500;
    world.now.mono_ms += 15_000;
    while !world.broker.topics.cleaning.looks_through(Offset(0)) {
        world.turn();
    }
    let page = "x".repeat(50);
    for _ in 0..10_000 {
        if world.broker.store().stretches(log).count() == 1 {
            break;
        }
        world.produce("u", &batch(&[&*page; 16], T0, None, 0)).unwrap();
        while let Some(completion) = world.disk.poll() {
            world.broker.store_mut().completed(completion).unwrap();
        }
        if world.broker.store().wants_checkpoint() {
            world.broker.checkpoint();
        }
        world.broker.store_mut().poll(&mut world.disk);
        world.disk.step();
    }
    assert_eq!(world.broker.store().stretches(log).count(), 1);
    assert!(world.broker.topics.cleaning.looks_through(Offset(0)));
    for _ in 0..1_000 {
        world.turn();
    }
    let offsets: Vec<i64> = all_records(&mut world, "t").into_iter().map(|(offset, ..)| offset).collect();
    assert_eq!(offsets, (120..160).collect::<Vec<_>>());
}

/// What was written anew comes back as it was if a crash comes before the next checkpoint, and what was settled does not.
#[test]
fn no_crash_brings_back_what_a_tombstone_covered() {
    let mut gone = 0;
    for turns in 0..60 {
        let mut world = World::new(40 + turns);
        world.create("t", 1, &COMPACTED_AT_ONCE);
        let pass = |world: &mut World, records: &[(u8, Option<&str>)]| {
            world.produce("t", &keyed(records, world.now.wall_ms as i64, 0)).unwrap();
            world.settle();
            world.now.wall_ms += 500;
            world.now.mono_ms += 15_000;
        };
        pass(&mut world, &[(1, Some("a")), (2, Some("b"))]);
        pass(&mut world, &[(1, None)]);
        for round in 0..turns {
            world.turn();
            world.now.mono_ms += 1;
            // Something must be new, or nothing is compacted.
            if round == 20 {
                pass(&mut world, &[(3, Some("c"))]);
            }
        }
        world.crash();
        let left = all_records(&mut world, "t");
        let has = |tombstone: bool| left.iter().any(|(_, key, value)| *key == 1 && value.is_none() == tombstone);
        assert!(has(true) || !has(false), "after {turns} turns the key is back: {left:?}");
        gone += usize::from(!has(true));
    }
    assert!(gone > 10, "tombstones stay for ever: {gone}");
}

/// Whatever comes first comes first again: a partition that cannot be read was tried every time, and no other one ever.
#[test]
fn a_damaged_partition_does_not_keep_others_from_their_turn() {
    let mut world = World::new(44);
    let config = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0")];
    world.create("t", 1, &[&config[..], &[("max.compaction.lag.ms", "1")]].concat());
    world.create("u", 1, &config);
    let write = |world: &mut World, topic: &str| {
        let records: Vec<_> = (0..60).map(|key| (key, Some("twenty bytes or less"))).collect();
        world.produce(topic, &keyed(&records, world.now.wall_ms as i64, 0)).unwrap();
        world.settle();
    };
    let segments = |world: &World| world.disk.files().into_iter().find(|(path, _)| path.starts_with("segments"));
    write(&mut world, "t");
    while segments(&world).is_none() {
        write(&mut world, "t");
    }
    world.broker.store_mut().want_checkpoint();
    world.settle();
    let (path, _) = segments(&world).unwrap();
    assert!(world.disk.flip_bit(&path, 8 * (64 + 70)));
    world.crash();
    for _ in 0..2 {
        write(&mut world, "u");
    }
    let pass = |world: &mut World| {
        world.now.wall_ms += 500;
        for _ in 0..4 {
            world.now.mono_ms += 15_000;
            for _ in 0..300 {
                world.turn();
            }
        }
    };
    pass(&mut world);
    assert_eq!(world.fetch("t", 0, false).failure, Some(LogFailure::Damaged));
    assert_eq!(all_records(&mut world, "u").len(), 60);
    // Once what is damaged has gone, its turn comes again.
    let start = world.list("t", OffsetAt::Latest, false).0;
    let set = |name: &str, value: &str| ConfigChange { name: name.into(), operation: ConfigOperation::Set(value.into()) };
    let changes = [set("cleanup.policy", "compact,delete"), set("retention.ms", "-1")];
    world.ask(Request::AlterConfig { topic: "t", changes: &changes, replace: false, validate_only: false }).unwrap();
    world.ask(Request::DeleteRecords { topic: "t", partition: 0, before: None }).unwrap();
    for _ in 0..2 {
        write(&mut world, "t");
    }
    pass(&mut world);
    let offsets: Vec<i64> = all_records(&mut world, "t").into_iter().map(|(offset, ..)| offset).collect();
    assert_eq!(offsets, (start + 60..start + 120).collect::<Vec<_>>());
}

/// A broker whose disk was full woke a thousand times a second to try once more.
#[test]
fn what_is_to_be_written_waits_for_room_on_the_disk() {
    let mut world = World::new(45);
    world.create("t", 1, &[("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0")]);
    for _ in 0..2 {
        world.produce("t", &keyed(&[(1, Some("x")), (2, Some("y"))], T0, 0)).unwrap();
    }
    world.produce("t", &keyed(&[(1, Some("z"))], T0, 0)).unwrap();
    world.settle();
    world.now.wall_ms += 500;
    world.now.mono_ms += 15_000;
    world.broker.store_mut().set_short_of_space(true);
    for _ in 0..100 {
        world.turn();
    }
    assert!(world.broker.topics.cleaning.waits_to_write());
    assert!(world.broker.poll_timeout(world.now).is_some_and(|at| at >= world.now.mono_ms + 500));
    world.broker.store_mut().set_short_of_space(false);
    for _ in 0..100 {
        world.turn();
    }
    let offsets: Vec<i64> = all_records(&mut world, "t").into_iter().map(|(offset, ..)| offset).collect();
    assert_eq!(offsets, [3, 4]);
}

/// A tombstone with the time of an old event went 15 s after what it covers: who had read that never saw it deleted.
#[test]
fn a_tombstone_stays_for_its_time_after_the_first_cleaning_whatever_its_producers_clock_said() {
    for crash in [false, true] {
        let mut world = World::new(46);
        let config = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "60000"),
        ];
        world.create("t", 1, &config);
        let write = |world: &mut World, key: u8, value: Option<&str>, at_ms: i64| {
            world.produce("t", &keyed(&[(key, value)], at_ms, 0)).unwrap();
            world.settle();
        };
        // Something new each time, or nothing is compacted.
        let compact = |world: &mut World, ms: u64| {
            world.now.wall_ms += ms;
            for key in 2..5 {
                write(world, key, Some("x"), world.now.wall_ms as i64);
                world.now.wall_ms += 200;
                world.now.mono_ms += 15_000;
                for _ in 0..100 {
                    world.turn();
                }
                world.settle();
            }
        };
        let has = |world: &mut World| {
            let of_key: Vec<_> = all_records(world, "t").into_iter().filter(|(_, key, _)| *key == 1).collect();
            assert!(of_key.iter().all(|(_, _, value)| value.is_none()), "{of_key:?}");
            !of_key.is_empty()
        };
        write(&mut world, 1, Some("v"), T0);
        write(&mut world, 1, None, T0 - 2 * 86_400_000);
        compact(&mut world, 0);
        compact(&mut world, 0);
        assert!(has(&mut world));
        compact(&mut world, 57_000);
        assert!(has(&mut world));
        if crash {
            world.crash();
        }
        compact(&mut world, 3_000);
        assert!(!has(&mut world), "after a crash: {crash}");
    }
}
