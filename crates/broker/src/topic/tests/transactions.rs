//! Transactions, and what readers see of them.

use super::*;

#[test]
fn pitfall_08_committed_readers_see_no_aborted_records() {
    let mut world = World::new(9);
    world.create("t", 1, &[]);
    let me = world.init(None).unwrap();
    world.add(me, "t").unwrap();
    let send = |sequence: i32| batch(&["a", "b"], T0, Some((me.0, me.1, sequence)), attribute::TRANSACTIONAL);
    world.produce("t", &send(0)).unwrap();
    world.produce("t", &batch(&["plain"], T0, None, 0)).unwrap();
    world.settle();
    let open = world.fetch("t", 0, true);
    assert_eq!((open.batches.len(), open.high_watermark, open.last_stable), (0, 3, 0));
    assert_eq!(world.fetch("t", 0, false).batches.len(), 2);
    assert_eq!(world.list("t", OffsetAt::Latest, true).0, 0);
    world.end(me, false, false).unwrap();
    assert!(world.fetch("t", 0, true).batches.is_empty(), "the marker is not durable yet");
    world.settle();
    for _ in 0..2 {
        let aborted = world.fetch("t", 0, true);
        assert_eq!((aborted.batches.len(), aborted.last_stable, &aborted.aborted[..]), (3, 4, &[(me.0, 0)][..]));
        let marker = BatchHead::parse(&aborted.batches[2].bytes).unwrap();
        assert!(marker.is(attribute::CONTROL), "control batches are sent to clients");
        assert_eq!(world.fetch("t", 4, true).aborted, []);
        world.crash();
    }
    // The next one commits.
    world.add(me, "t").unwrap();
    world.produce("t", &send(2)).unwrap();
    world.end(me, true, false).unwrap();
    world.settle();
    let committed = world.fetch("t", 4, true);
    assert_eq!((committed.batches.len(), committed.last_stable, committed.aborted.len()), (2, 7, 0));
}

#[test]
fn what_producers_make_up_is_bounded_and_counted() {
    let mut world = World::new(32);
    world.create("t", 3, &[]);
    let long = "x".repeat(model::limits::CLIENT_NAME_BYTES_MAX + 1);
    let init = |id| Request::InitProducer { transactional_id: Some(id), timeout_ms: 60_000, known: None };
    assert_eq!(refused(world.ask(init(&long))), LogFailure::InvalidRequest);
    let (producer_id, epoch) = world.init(None).unwrap();
    let idle = world.broker.transactions.bytes();
    let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
    let group = |group| Request::AddGroupToTransaction { transaction, group };
    assert_eq!(refused(world.ask(group(&long))), LogFailure::InvalidGroupId);
    for _ in 0..2 {
        world.ask(group("g")).unwrap();
        world.ask(group(&long[1..])).unwrap();
        world.add((producer_id, epoch), "t").unwrap();
    }
    let open = world.broker.transactions.bytes();
    assert!(open > idle + long.len() && open < idle + 2 * long.len(), "each counts once: {idle} {open}");
    world.settle();
    world.crash();
    assert_eq!(world.broker.transactions.bytes(), open);
    let next = world.end((producer_id, epoch), true, true).unwrap();
    assert_eq!(world.broker.transactions.bytes(), idle);
    world.init(Some(next)).unwrap();
    assert_eq!(world.broker.transactions.bytes(), idle);
    // Those that nobody uses for a week are forgotten.
    world.now.wall_ms += 8 * 86_400_000;
    world.now.mono_ms += 3_600_000;
    world.turn();
    assert_eq!(world.broker.transactions.bytes(), 0);
}

#[test]
fn transactions_that_are_open_for_too_long_are_aborted_some_a_turn() {
    let mut world = World::new(34);
    world.create("t", 1, &[]);
    for number in 0..10 {
        let id = format!("tx-{number}");
        let init = Request::InitProducer { transactional_id: Some(&id), timeout_ms: 60_000, known: None };
        let Reply::Producer { id: producer_id, epoch, .. } = world.ask(init).unwrap() else { panic!() };
        let transaction = TransactionRef { transactional_id: &id, producer_id, epoch };
        world.ask(Request::AddToTransaction { transaction, topic: "t", partition: 0 }).unwrap();
    }
    world.settle();
    world.now.wall_ms += 60_000;
    let open = |world: &mut World| {
        let Reply::Transactions(all) = world.ask(Request::DescribeTransactions { transactional_id: None }).unwrap() else {
            panic!()
        };
        all.iter().filter(|found| found.state == model::group::TransactionState::Ongoing).count()
    };
    let mut left = Vec::new();
    for _ in 0..3 {
        assert!(world.broker.poll_timeout(world.now).unwrap() <= world.now.mono_ms);
        world.turn();
        left.push(open(&mut world));
    }
    assert_eq!(left, [6, 2, 0]);
}

#[test]
fn pitfall_09_transactions() {
    let mut world = World::new(10);
    world.create("t", 1, &[]);
    let timeout = Request::InitProducer { transactional_id: Some("tx"), timeout_ms: 900_001, known: None };
    assert_eq!(refused(world.ask(timeout)), LogFailure::InvalidTransactionTimeout);
    let me = world.init(None).unwrap();
    let send = |me: (i64, i16), sequence: i32| batch(&["a"], T0, Some((me.0, me.1, sequence)), attribute::TRANSACTIONAL);
    assert_eq!(refused(world.produce("t", &send(me, 0))), LogFailure::InvalidTransactionState, "not announced");
    assert_eq!(refused(world.end(me, true, false)), LogFailure::InvalidTransactionState, "nothing is open");
    world.add(me, "t").unwrap();
    world.add(me, "t").unwrap();
    world.produce("t", &send(me, 0)).unwrap();
    // A second instance takes over: what was open is aborted, and the first is shut out.
    let next = world.init(None).unwrap();
    assert_eq!(next, (me.0, me.1 + 1));
    assert_eq!(refused(world.produce("t", &send(me, 1))), LogFailure::InvalidProducerEpoch);
    assert_eq!(refused(world.add(me, "t")), LogFailure::ProducerFenced);
    assert_eq!(refused(world.end(me, true, false)), LogFailure::ProducerFenced);
    assert_eq!(
        refused(world.init(Some(me)).map(|found| assert_ne!(found, me)).and(world.init(Some((9, 9))))),
        LogFailure::ProducerFenced
    );
    world.settle();
    assert_eq!(world.fetch("t", 0, true).aborted, [(me.0, 0)]);
    // The outcome asked for twice.
    let next = world.init(None).unwrap();
    world.add(next, "t").unwrap();
    world.produce("t", &send(next, 0)).unwrap();
    assert_eq!(world.end(next, true, false).unwrap(), next);
    assert_eq!(world.end(next, true, false).unwrap(), next);
    assert_eq!(refused(world.end(next, false, false)), LogFailure::InvalidTransactionState);
    // TV2: every transaction has an epoch of its own, and is announced by being written to.
    let implicit = |world: &mut World, me: (i64, i16)| {
        let records = send(me, 0);
        let produce =
            Produce { topic: TopicRef::Name("t"), partition: 0, records: &records, transactional_id: Some("tx"), implicit: true };
        world.ask(Request::Produce(produce)).unwrap();
    };
    implicit(&mut world, next);
    let bumped = world.end(next, true, true).unwrap();
    assert_eq!(bumped, (next.0, next.1 + 1));
    assert_eq!(world.end(next, true, true).unwrap(), bumped, "the answer was lost");
    assert_eq!(refused(world.end(next, false, true)), LogFailure::InvalidTransactionState);
    // One that is open for too long is aborted.
    implicit(&mut world, bumped);
    world.now.wall_ms += 60_000;
    world.settle();
    assert_eq!(refused(world.end(bumped, true, true)), LogFailure::InvalidTransactionState);
    let all = world.list("t", OffsetAt::Latest, false).0;
    assert_eq!(world.list("t", OffsetAt::Latest, true).0, all, "nothing is open any more");
}

/// Begin a transaction without announcing it, as clients that know KIP-890 do.
fn write_in_transaction(world: &mut World, me: (i64, i16)) -> Result<Reply, Failure> {
    let records = batch(&["a"], T0, Some((me.0, me.1, 0)), attribute::TRANSACTIONAL);
    let produce =
        Produce { topic: TopicRef::Name("t"), partition: 0, records: &records, transactional_id: Some("tx"), implicit: true };
    world.ask(Request::Produce(produce))
}

/// Crash, now and then with all of the journal in a checkpoint.
fn restart(world: &mut World, checkpoint: bool) {
    if checkpoint {
        world.broker.checkpoint();
    }
    world.settle();
    world.crash();
}

/// Its epoch was taken from it for good, as if another had taken over, which was said too. What Apache Kafka 4.3.1 answers
/// was tried out: KIP-588, KIP-890.
#[test]
fn who_had_a_transaction_open_for_too_long_aborts_it_and_goes_on() {
    for checkpoint in [false, true] {
        let mut world = World::new(37);
        world.create("t", 1, &[]);
        let me = world.init(None).unwrap();
        write_in_transaction(&mut world, me).unwrap();
        world.now.wall_ms += 60_000;
        world.settle();
        let next = (me.0, me.1 + 1);
        for _ in 0..3 {
            let Err(Failure::LogBecause { failure: LogFailure::InvalidProducerEpoch, text }) =
                write_in_transaction(&mut world, me)
            else {
                panic!("what comes late is refused, with words of its own")
            };
            assert!(text.contains("open for too long"), "{text}");
            assert_eq!(refused(world.add(me, "t")), LogFailure::ProducerFenced);
            assert_eq!(refused(world.end(me, true, true)), LogFailure::InvalidTransactionState, "nothing is left to commit");
            assert_eq!(world.end(me, false, true).unwrap(), next, "it aborts");
            assert_eq!(world.init(Some(me)).unwrap(), next, "or asks for an epoch, where it knows no other way");
            restart(&mut world, checkpoint);
        }
        write_in_transaction(&mut world, next).unwrap();
        // The next epoch is its own.
        assert_eq!(refused(world.end(me, false, true)), LogFailure::ProducerFenced);
        assert_eq!(refused(world.init(Some(me))), LogFailure::ProducerFenced);
        world.end(next, true, true).unwrap();
        world.settle();
        assert_eq!(world.fetch("t", 0, true).aborted, [(me.0, 0)]);
    }
}

/// Whoever had been shut out asked with its old epoch, and was taken for the heir who had not heard the answer: both had one
/// epoch then, and each could end what the other had begun.
#[test]
fn whoever_was_shut_out_is_not_handed_its_heirs_epoch() {
    for (checkpoint, open) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new(38);
        world.create("t", 1, &[]);
        let old = world.init(None).unwrap();
        if open {
            write_in_transaction(&mut world, old).unwrap();
        }
        let heir = world.init(None).unwrap();
        for _ in 0..3 {
            assert_eq!(refused(world.init(Some(old))), LogFailure::ProducerFenced);
            assert_eq!(refused(world.end(old, false, true)), LogFailure::ProducerFenced);
            restart(&mut world, checkpoint);
        }
        // The heir's own question may be repeated.
        let next = world.init(Some(heir)).unwrap();
        for _ in 0..3 {
            assert_eq!(world.init(Some(heir)).unwrap(), next);
            assert_eq!(refused(world.init(Some(old))), LogFailure::ProducerFenced);
            restart(&mut world, checkpoint);
        }
        write_in_transaction(&mut world, next).unwrap();
        let after = world.end(next, true, true).unwrap();
        for _ in 0..3 {
            assert_eq!(world.end(next, true, true).unwrap(), after, "so may the end of a transaction");
            assert_eq!(world.init(Some(next)).unwrap(), after);
            restart(&mut world, checkpoint);
        }
        let other = world.init(None).unwrap();
        for shut_out in [old, heir, next, after] {
            assert_eq!(refused(world.init(Some(shut_out))), LogFailure::ProducerFenced);
        }
        assert_eq!(world.init(Some(other)).unwrap(), (other.0, other.1 + 1));
    }
}

/// A producer that was told that its partition is in the transaction wrote to it after a crash, and was refused: the broker
/// knew of no transaction.
#[test]
fn who_takes_part_in_a_transaction_is_told_once_a_crash_cannot_undo_it() {
    let mut world = World::new(1);
    world.create("t", 1, &[]);
    let producer = world.init(None).unwrap();
    world.settle();
    let before = world.broker.store().durable();
    for again in [false, true] {
        let Reply::DurableAt(at) = world.add(producer, "t").unwrap() else { panic!("told at once") };
        assert!(at > before, "again: {again}");
    }
    world.settle();
    world.crash();
    let records = batch(&["a"], T0, Some((producer.0, producer.1, 0)), attribute::TRANSACTIONAL);
    assert_eq!(world.produce("t", &records).unwrap().base_offset, 0);
}

#[test]
fn an_open_transaction_survives_a_crash_and_can_be_ended() {
    for clean in [false, true] {
        let mut world = World::new(11);
        world.create("t", 1, &[]);
        let me = world.init(None).unwrap();
        world.add(me, "t").unwrap();
        let records = batch(&["a"], T0, Some((me.0, me.1, 0)), attribute::TRANSACTIONAL);
        world.produce("t", &records).unwrap();
        world.settle();
        if clean {
            world.broker.close(&mut world.disk).unwrap();
        }
        world.crash();
        assert_eq!(world.fetch("t", 0, true).last_stable, 0);
        let Reply::Transactions(open) = world.ask(Request::DescribeTransactions { transactional_id: Some("tx") }).unwrap() else {
            panic!()
        };
        assert_eq!(open[0].partitions, [(Arc::from("t"), 0)]);
        world.end(me, true, false).unwrap();
        world.settle();
        assert_eq!(world.fetch("t", 0, true).batches.len(), 2);
        // Ids are never given twice.
        let Reply::Producer { id, .. } =
            world.ask(Request::InitProducer { transactional_id: None, timeout_ms: 1, known: None }).unwrap()
        else {
            panic!()
        };
        assert_ne!(id, me.0);
    }
}

/// A marker that compaction removed was missed after a crash that brought back what readers were told of its transaction: they
/// hid the producer's next records.
#[test]
fn no_crash_brings_back_an_aborted_transaction_without_its_marker() {
    let mut forgotten = 0;
    for turns in 0..60 {
        let mut world = World::new(100 + turns);
        world.create("t", 1, &COMPACTED_AT_ONCE);
        let me = world.init(None).unwrap();
        let transactional = |key: u8, sequence: i32| {
            let mut records = keyed(&[(key, Some("x"))], T0, 0);
            let producer = batch(&["x"], T0, Some((me.0, me.1, sequence)), attribute::TRANSACTIONAL);
            records[21..23].copy_from_slice(&producer[21..23]);
            records[43..57].copy_from_slice(&producer[43..57]);
            model::record::seal(&mut records);
            records
        };
        world.add(me, "t").unwrap();
        world.produce("t", &transactional(1, 0)).unwrap();
        world.end(me, false, false).unwrap();
        world.settle();
        let pass = |world: &mut World, turns: u64| {
            (world.now.wall_ms, world.now.mono_ms) = (world.now.wall_ms + 500, world.now.mono_ms + 15_000);
            for _ in 0..turns {
                world.turn();
                world.now.mono_ms += 1;
            }
        };
        pass(&mut world, 40);
        world.broker.checkpoint();
        world.settle();
        world.now.mono_ms += 300_000;
        world.turn();
        assert_eq!(world.broker.topics.aborted, 0);
        // Something must be new, or nothing is compacted.
        world.produce("t", &keyed(&[(2, Some("x"))], world.now.wall_ms as i64, 0)).unwrap();
        world.settle();
        pass(&mut world, turns);
        if turns >= 40 {
            world.broker.checkpoint();
            world.settle();
            world.produce("t", &keyed(&[(2, Some("y"))], world.now.wall_ms as i64, 0)).unwrap();
            world.settle();
            pass(&mut world, turns);
        }
        world.crash();
        world.add(me, "t").unwrap();
        world.produce("t", &transactional(3, 1)).unwrap();
        world.end(me, true, false).unwrap();
        world.settle();
        let read = world.fetch("t", 0, true);
        let markers =
            read.batches.iter().map(|batch| BatchHead::parse(&batch.bytes).unwrap().is(attribute::CONTROL)).filter(|is| *is);
        assert_eq!(markers.count(), read.aborted.len() + 1, "after {turns} turns: {:?}", read.aborted);
        forgotten += usize::from(read.aborted.is_empty());
    }
    assert!(forgotten > 10, "markers stay for ever: {forgotten}");
}

#[test]
fn aborted_transactions_are_bounded_and_forgotten_with_their_records() {
    for way in ["DeleteRecords", "retention", "compaction", "deletion"] {
        let mut world = World::new(39);
        let compacted = [("cleanup.policy", "compact"), ("segment.ms", "100"), ("delete.retention.ms", "0")];
        let deleted = [("retention.ms", "1000"), ("message.timestamp.before.max.ms", "1000"), ("segment.ms", "100")];
        world.create("t", 1, if way == "compaction" { &compacted } else { &deleted });
        let me = world.init(None).unwrap();
        for sequence in 0..100 {
            world.add(me, "t").unwrap();
            let mut records = keyed(&[(sequence as u8, Some("x"))], T0, 0);
            let producer = batch(&["x"], T0, Some((me.0, me.1, sequence)), attribute::TRANSACTIONAL);
            records[21..23].copy_from_slice(&producer[21..23]);
            records[43..57].copy_from_slice(&producer[43..57]);
            model::record::seal(&mut records);
            world.produce("t", &records).unwrap();
            world.end(me, false, false).unwrap();
        }
        assert!(matches!(world.add(me, "t"), Err(Failure::LimitReached(_))));
        world.settle();
        for restart in [false, true] {
            assert_eq!(world.broker.topics.aborted, 100, "restarted: {restart}");
            world.broker.checkpoint();
            world.settle();
            world.crash();
        }
        match way {
            "DeleteRecords" => {
                world.ask(Request::DeleteRecords { topic: "t", partition: 0, before: Some(190) }).unwrap();
                assert_eq!(world.broker.topics.aborted, 5);
                world.ask(Request::DeleteRecords { topic: "t", partition: 0, before: None }).unwrap();
            }
            "deletion" => {
                world.ask(Request::DeleteTopic { topic: TopicRef::Name("t") }).unwrap();
                world.create("t", 1, &[]);
            }
            _ => {
                world.now.wall_ms += 10_000;
                world.now.mono_ms += 300_000;
                for _ in 0..200 {
                    world.turn();
                }
                assert!(way == "retention" || world.broker.topics.aborted == 100, "a crash would bring the records back");
                world.broker.checkpoint();
                world.settle();
                world.now.mono_ms += 300_000;
                world.settle();
            }
        }
        assert_eq!(world.broker.topics.aborted, 0, "{way}");
        world.add(me, "t").unwrap();
        world.broker.checkpoint();
        world.settle();
        world.crash();
        world.settle();
        assert_eq!(world.broker.topics.aborted, 0, "{way}");
        let start = world.list("t", OffsetAt::Earliest, false).0;
        let left = world.fetch("t", start, false);
        let data = |batch: &&model::topic::FetchedBatch| !BatchHead::parse(&batch.bytes).unwrap().is(attribute::CONTROL);
        assert_eq!(left.batches.iter().filter(data).count(), 0, "{way}");
    }
}
