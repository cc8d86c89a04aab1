//! What is taken from producers, and how it is kept.

use super::*;

#[test]
fn pitfall_07_producer_state_survives_a_restart() {
    let mut world = World::new(8);
    world.create("t", 1, &[]);
    let send = |sequence: i32| batch(&["a", "b"], T0, Some((77, 0, sequence)), 0);
    for sequence in 0..3 {
        assert_eq!(world.produce("t", &send(sequence * 2)).unwrap().base_offset, i64::from(sequence) * 2);
    }
    world.settle();
    for _ in 0..2 {
        world.crash();
        assert_eq!(world.produce("t", &send(2)).unwrap().base_offset, 2, "a duplicate has the offset it had");
        assert_eq!(refused(world.produce("t", &send(8))), LogFailure::OutOfOrderSequence);
        assert_eq!(world.list("t", OffsetAt::Latest, false).0, 6);
        // The second time from a checkpoint.
        world.broker.checkpoint();
        world.settle();
    }
    assert_eq!(world.produce("t", &send(6)).unwrap().base_offset, 6);
}

#[test]
fn pitfall_15_what_is_refused_and_with_what() {
    let mut world = World::new(12);
    world.create("t", 1, &[("max.message.bytes", "100")]);
    let good = batch(&["a"], T0, None, 0);
    let long = "x".repeat(60);
    assert_eq!(refused(world.produce("t", &batch(&[&long], T0, None, 0))), LogFailure::BatchTooLarge);
    assert_eq!(refused(world.produce("t", &[&good[..], &good[..]].concat())), LogFailure::InvalidRecord);
    assert_eq!(refused(world.produce("t", &good[..60])), LogFailure::CorruptBatch);
    assert_eq!(refused(world.produce("t", &[])), LogFailure::CorruptBatch);
    let mut flipped = good.clone();
    flipped[62] ^= 1;
    assert_eq!(refused(world.produce("t", &flipped)), LogFailure::CorruptBatch);
    let mut old = good.clone();
    old[16] = 1;
    assert_eq!(refused(world.produce("t", &old)), LogFailure::UnsupportedFormat);
    assert_eq!(refused(world.produce("t", &batch(&["a"], T0, None, 5))), LogFailure::UnsupportedCompression);
    assert_eq!(refused(world.produce("t", &batch(&["a"], T0, None, attribute::CONTROL))), LogFailure::InvalidRecord);
    assert_eq!(refused(world.produce("t", &batch(&["a"], T0 + 3_700_000, None, 0))), LogFailure::InvalidTimestamp);
    assert_eq!(refused(world.produce("bad/name", &good)), LogFailure::InvalidTopicName);
    assert_eq!(world.list("t", OffsetAt::Latest, false).0, 0);
}

/// Reference, section 2, item 23.
#[test]
fn pitfall_23_batches_stay_as_they_came() {
    let mut world = World::new(36);
    world.create("t", 1, &[]);
    let records: Vec<_> = (0..40).map(|key| (key, Some("the same value"))).collect();
    let sent: Vec<_> = (0..=4).map(|codec| keyed(&records, T0, codec)).collect();
    let offsets: Vec<_> = sent.iter().map(|batch| world.produce("t", batch).unwrap().base_offset).collect();
    world.settle();
    world.crash();
    for (sent, offset) in sent.iter().zip(offsets) {
        let kept = world.fetch("t", offset, false).batches.remove(0);
        assert_eq!((kept.base_offset, &kept.bytes[16..]), (offset, &sent[16..]));
    }
}

#[test]
fn log_append_time_stamps_the_batch() {
    let mut world = World::new(13);
    world.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let produced = world.produce("t", &batch(&["a", "b"], 5, None, 0)).unwrap();
    assert_eq!(produced.append_time_ms, world.now.wall_ms as i64);
    world.settle();
    let fetched = world.fetch("t", 0, false);
    let bytes = &fetched.batches[0].bytes;
    assert_eq!(model::record::verify(bytes), Ok(bytes.len()));
    let head = BatchHead::parse(bytes).unwrap();
    assert!(head.is(attribute::APPEND_TIME));
    assert_eq!(head.max_timestamp_ms, produced.append_time_ms);
    assert_eq!(world.list("t", OffsetAt::Timestamp(produced.append_time_ms), false).0, 0);
}

#[test]
fn batches_are_kept_with_the_codec_that_the_topic_asks_for() {
    let codecs = [("uncompressed", 0i16), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
    let mut world = World::new(33);
    let values: Vec<Option<String>> = (0..40).map(|value| Some(format!("value {value}"))).collect();
    let records: Vec<_> = values.iter().enumerate().map(|(key, value)| (key as u8, value.as_deref())).collect();
    let times = [("CreateTime", 0), ("LogAppendTime", attribute::APPEND_TIME)];
    for ((name, target), (time, stamped)) in codecs.into_iter().flat_map(|codec| times.map(|time| (codec, time))) {
        let topic = format!("{name}-{time}");
        world.create(&topic, 1, &[("compression.type", name), ("message.timestamp.type", time)]);
        for (_, codec) in codecs {
            let sent = keyed(&records, T0, codec);
            let base = world.produce(&topic, &sent).unwrap().base_offset;
            world.settle();
            let kept = world.fetch(&topic, base, false).batches.remove(0).bytes;
            let head = BatchHead::parse(&kept).unwrap();
            assert_eq!(head.attributes, target | stamped, "{codec} to {topic}");
            assert_eq!((head.records, head.offsets), (40, 40));
            assert_eq!(model::record::verify(&kept), Ok(kept.len()));
            if codec == target && stamped == 0 {
                assert_eq!(kept[16..], sent[16..], "nothing is to be done");
            }
            let unpacked = |batch: &[u8]| crate::topic::records::decompress(batch).unwrap().into_owned();
            assert_eq!(unpacked(&kept), unpacked(&sent));
        }
    }
    // What is larger than it may be then is refused, and so is what cannot be unpacked.
    let packed = keyed(&[(1, Some(&*"x".repeat(50))); 20], T0, 4);
    let small = [("compression.type", "uncompressed"), ("max.message.bytes", "1000")];
    world.create("small", 1, &small);
    assert!(packed.len() < 300);
    assert_eq!(refused(world.produce("small", &packed)), LogFailure::BatchTooLarge);
    let mut broken = packed.clone();
    broken[70] ^= 0xff;
    model::record::seal(&mut broken);
    assert_eq!(refused(world.produce("small", &broken)), LogFailure::InvalidRecord);
    // A repetition is one, whatever has become of the first.
    world.create("again", 1, &[("compression.type", "gzip")]);
    let sent = batch(&["a"], T0, Some((9, 0, 0)), 0);
    let first = world.produce("again", &sent).unwrap();
    assert_eq!(world.produce("again", &sent).unwrap().base_offset, first.base_offset);
}

/// The batch, with other words in its head.
fn with_head(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    model::record::seal(&mut batch);
    batch
}

/// A batch as a client with a broken codec, or an evil one, would send it: `packed` is what stands behind the head.
fn packed_batch(packed: &[u8], count: u32, codec: i16) -> Vec<u8> {
    model::record::rebuild(&batch(&vec![""; count as usize], T0, None, codec), count, packed)
}

/// They were kept unread, and every reader stopped there for ever.
#[test]
fn a_packed_batch_that_nobody_can_read_is_refused() {
    let mut world = World::new(41);
    world.create("t", 1, &[]);
    world.create("packed-anew", 1, &[("compression.type", "uncompressed")]);
    let three = keyed(&[(1, Some("a")), (2, Some("b")), (3, Some("c"))], T0, 0);
    let plain = &three[model::record::HEADER_BYTES..];
    // Its offsets are 0, 1, 1.
    let mut twice = plain.to_vec();
    let last = twice.len() - plain.len() / 3;
    twice[last + 3] = 2;
    for topic in ["t", "packed-anew"] {
        for codec in 1..=4 {
            let packing = crate::topic::records::Packing::of(codec);
            let packed = |records: &[u8]| crate::topic::records::compress(records, packing).unwrap();
            let mut refuse = |what: &str, batch: &[u8]| {
                assert_eq!(refused(world.produce(topic, batch)), LogFailure::InvalidRecord, "{what}, codec {codec}");
            };
            refuse("not packed", &packed_batch(plain, 3, codec));
            refuse("nothing", &packed_batch(&[], 3, codec));
            refuse("fewer records", &packed_batch(&packed(plain), 4, codec));
            refuse("more records", &packed_batch(&packed(plain), 2, codec));
            refuse("an offset twice", &packed_batch(&packed(&twice), 3, codec));
            refuse("no record", &packed_batch(&packed(b"\x06garbage"), 1, codec));
            refuse("a piece", &packed_batch(&packed(&plain[..plain.len() - 1]), 3, codec));
            // Too large to be looked into at once.
            let large: Vec<u8> = packed(&(0..40_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
            refuse("much that is no record", &packed_batch(&large, 3, codec));
        }
        assert_eq!(world.list(topic, OffsetAt::Latest, false).0, 0, "nothing was kept");
    }
    assert_eq!(refused(world.produce("t", &packed_batch(&twice, 3, 0))), LogFailure::InvalidRecord, "nor where it is not packed");
    assert!(world.broker.topics.examinations.is_empty());
}

/// What holds the core up is worked out beside it; a session that has gone meanwhile takes nothing with it.
#[test]
fn a_batch_that_takes_long_to_look_into_waits_and_others_go_on() {
    let mut world = World::new(42);
    world.create("t", 1, &[("max.message.bytes", "16000000")]);
    // Little that unpacks to much.
    let bomb = {
        let value = vec![0; 4 * 1024 * 1024];
        let mut large = Vec::new();
        model::RecordParts { value: &value, ..model::RecordParts::default() }.encode(T0 as u64, &mut large);
        let head = BatchHead::parse(&large).unwrap();
        let packed =
            crate::topic::records::compress(&large[model::record::HEADER_BYTES..head.len], crate::topic::records::Packing::of(4));
        let packed = model::record::rebuild(&with_head(&large, 21, &[0, 4]), 1, &packed.unwrap());
        assert!(packed.len() < 1_000);
        packed
    };
    let ask = |world: &mut World, id: u64| {
        let (topic, records) = (TopicRef::Name("t"), &bomb[..]);
        let produce = Produce { topic, partition: 0, records, transactional_id: None, implicit: false };
        world.broker.request(SessionId(id), Request::Produce(produce), world.now)
    };
    for id in 2..400 {
        world.broker.open_session(SessionId(id), true);
        assert_eq!(ask(&mut world, id), Ok(Reply::Pending), "session {id}");
    }
    assert_eq!(world.produce("t", &batch(&["a"], T0, None, 0)).unwrap().base_offset, 0, "another is served meanwhile");
    for id in (2..400).filter(|id| id % 3 > 0) {
        world.broker.close_session(SessionId(id), world.now);
    }
    let mut kept = 0;
    for _ in 0..10_000 {
        for (SessionId(id), answer) in std::mem::take(&mut world.told.answers) {
            assert_eq!((id % 3, answer), (0, Ok(Reply::Again)), "only those that are there are told");
            kept += i32::from(matches!(ask(&mut world, id), Ok(Reply::Produced(_))));
        }
        world.turn();
    }
    assert_eq!(kept, 133, "every one that stayed, each once");
    assert!(world.broker.topics.examinations.is_empty(), "nothing is left");
}

/// Retention deleted records of today whose head said that they were old, and searches by time missed them.
#[test]
fn the_latest_time_of_a_batch_is_that_of_its_records() {
    let mut world = World::new(43);
    let records = [(1, Some("a")), (2, Some("b")), (3, Some("c"))];
    for codec in 0..=4 {
        for said in [1, T0 + 500, -1] {
            let topic = format!("t-{codec}-{said}");
            world.create(&topic, 1, &[]);
            let honest = keyed(&records, T0, codec);
            let lies = with_head(&honest, 35, &i64::to_be_bytes(said));
            world.produce(&topic, &lies).unwrap();
            world.produce(&topic, &keyed(&records, T0 + 100, codec)).unwrap();
            world.settle();
            assert_eq!(world.list(&topic, OffsetAt::Timestamp(T0 + 1), false).0, 1, "{topic}");
            assert_eq!(world.list(&topic, OffsetAt::Timestamp(T0 + 50), false).0, 3, "{topic}");
            assert_eq!(world.list(&topic, OffsetAt::MaxTimestamp, false).1, T0 + 102, "{topic}");
            let kept = world.fetch(&topic, 0, false).batches.remove(0).bytes;
            assert_eq!((&kept[16..], model::record::verify(&kept)), (&honest[16..], Ok(kept.len())), "as if it had been honest");
        }
        // A head that says when the broker appended it, which only the broker knows.
        let topic = format!("append-{codec}");
        world.create(&topic, 1, &[]);
        world.produce(&topic, &keyed(&records, T0, codec | attribute::APPEND_TIME)).unwrap();
        world.settle();
        let kept = world.fetch(&topic, 0, false).batches.remove(0).bytes;
        assert!(!BatchHead::parse(&kept).unwrap().is(attribute::APPEND_TIME));
        // The limits go by the records too: the oldest, and the newest.
        world.create(&format!("limits-{codec}"), 1, &[("message.timestamp.before.max.ms", "1000")]);
        let far = |delta: i64| with_head(&keyed(&records, T0 + delta, codec), 35, &i64::to_be_bytes(T0));
        for delta in [3_700_000, -1_001] {
            let refusal = refused(world.produce(&format!("limits-{codec}"), &far(delta)));
            assert_eq!(refusal, LogFailure::InvalidTimestamp, "{delta}");
        }
        world.produce(&format!("limits-{codec}"), &far(-900)).unwrap();
    }
}

#[test]
fn where_it_is_asked_for_packed_batches_are_kept_as_they_come() {
    let mut world = World::new(44);
    world.broker.options.topics.believe_compressed = true;
    world.create("t", 1, &[]);
    world.create("compact", 1, &[("cleanup.policy", "compact")]);
    let lies = packed_batch(b"no gzip", 1, 1);
    assert_eq!(world.produce("t", &lies).unwrap().base_offset, 0);
    assert_eq!(refused(world.produce("compact", &lies)), LogFailure::InvalidRecord, "there is a key to be looked for");
    assert_eq!(refused(world.produce("t", &packed_batch(b"no record", 1, 0))), LogFailure::InvalidRecord, "nothing is packed");
}
