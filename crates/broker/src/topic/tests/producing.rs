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
