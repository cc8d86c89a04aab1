//! The broker's topics over a simulated disk. Tests named `pitfall_NN` show one of the places where brokers that speak
//! Kafka's protocol went wrong.

use std::sync::Arc;

use model::group::TransactionRef;
use model::record::{BatchHead, RecordParts, attribute};
use model::topic::{
    ConfigChange, ConfigOf, ConfigOperation, CreateTopic, Fetch, FetchFrom, Fetched, OffsetAt, Produce, Produced, TopicKey,
    TopicRef,
};
use model::{Event, Failure, LogFailure, Now, Offset, Reply, Request, SessionId, SubscriptionId};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::broker::{Broker, Options, Sink};

mod streams;

/// What sessions are told.
#[derive(Default)]
struct Told {
    answers: Vec<(SessionId, Result<Reply, Failure>)>,
    delivered: Vec<streams::Delivered>,
    cancelled: Vec<SubscriptionId>,
}

impl Sink for Told {
    fn send(&mut self, session: SessionId, event: Event<'_>) -> usize {
        match event {
            Event::Reply(reply) => self.answers.push((session, Ok(reply))),
            Event::Failed(failure) => self.answers.push((session, Err(failure))),
            Event::Cancelled { subscription, .. } => self.cancelled.push(subscription),
            Event::Deliver { .. } => self.delivered.push(streams::Delivered::of(session, &event)),
            _ => {}
        }
        0
    }
}

struct World {
    disk: SimulatedDisk,
    broker: Broker,
    told: Told,
    now: Now,
}

const ME: SessionId = SessionId(1);

fn options() -> Options {
    // Whatever a protocol keeps in its header, others may read.
    let plain_headers = |headers: &[model::Header<'_>]| {
        headers.iter().map(|header| (format!("plain {}", header.name), header.value.to_vec())).collect()
    };
    Options { dialect: model::Dialect { plain_headers, ..model::Dialect::default() }, ..Options::default() }
}

fn storage_options() -> storage::Options {
    let sizes = storage::Sizes { read_bytes: 4_000, page_out_bytes: 1_000, ..storage::Sizes::default() };
    let mut options =
        storage::Options { arena_bytes: 64 * 1024, journal_bytes: 128 * 1024, sizes, ..storage::Options::default() };
    (options.journal.segment_bytes, options.journal.cache_bytes) = (64 * 1024, 32 * 1024);
    options
}

impl World {
    fn new(seed: u64) -> World {
        let mut disk = SimulatedDisk::new(seed);
        let broker = Broker::open(options(), storage_options(), &mut disk).unwrap();
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let mut world = World { disk, broker, told: Told::default(), now };
        world.broker.open_session(ME, true);
        world
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Reply, Failure> {
        self.broker.request(ME, request, self.now)
    }

    fn turn(&mut self) {
        while let Some(completion) = self.disk.poll() {
            self.broker.store_mut().completed(completion).unwrap();
        }
        self.broker.deliver(&mut self.told, self.now);
        self.broker.tick(self.now);
        if self.broker.store().wants_checkpoint() {
            self.broker.checkpoint();
        }
        self.broker.store_mut().poll(&mut self.disk);
        self.disk.step();
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.turn();
            if self.broker.store().idle() && !self.broker.busy() {
                return;
            }
        }
        panic!("the broker never came to rest");
    }

    /// The answer to what was pending.
    fn answer(&mut self) -> Result<Reply, Failure> {
        for _ in 0..10_000 {
            if let Some((_, answer)) = self.told.answers.pop() {
                return answer;
            }
            self.turn();
        }
        panic!("never answered");
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.broker = Broker::open(options(), storage_options(), &mut self.disk).unwrap();
        self.broker.open_session(ME, true);
        self.told = Told::default();
    }

    fn create(&mut self, name: &str, partitions: u32, config: &[(&str, &str)]) {
        let config: Vec<_> = config.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let create = CreateTopic { name, partitions: Some(partitions), config: &config, validate_only: false, automatic: false };
        self.ask(Request::CreateTopic(create)).unwrap();
        self.settle();
    }

    fn produce(&mut self, topic: &str, records: &[u8]) -> Result<Produced, Failure> {
        let produce =
            Produce { topic: TopicRef::Name(topic), partition: 0, records, transactional_id: Some("tx"), implicit: false };
        match self.ask(Request::Produce(produce))? {
            Reply::Produced(produced) => Ok(produced),
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, topic: &str, offset: i64, committed_only: bool) -> Fetched {
        let partitions = [from(topic, 0, offset)];
        let fetch = Fetch { partitions: &partitions, min_bytes: 0, max_bytes: 1 << 20, max_wait_ms: 0, committed_only };
        let reply = match self.ask(Request::Fetch(fetch)).unwrap() {
            Reply::Pending => self.answer().unwrap(),
            reply => reply,
        };
        let Reply::Fetched(mut fetched) = reply else { panic!("{reply:?}") };
        fetched.remove(0)
    }

    fn list(&mut self, topic: &str, at: OffsetAt, committed_only: bool) -> (i64, i64, i32) {
        let request = Request::ListOffset { topic, partition: 0, at, committed_only, current_epoch: None };
        let reply = match self.ask(request).unwrap() {
            Reply::Pending => self.answer().unwrap(),
            reply => reply,
        };
        let Reply::Offset(found) = reply else { panic!("{reply:?}") };
        (found.offset, found.timestamp_ms, found.leader_epoch)
    }

    fn init(&mut self, known: Option<(i64, i16)>) -> Result<(i64, i16), Failure> {
        let request = Request::InitProducer { transactional_id: Some("tx"), timeout_ms: 60_000, known };
        match self.ask(request)? {
            Reply::Producer { id, epoch, .. } => Ok((id, epoch)),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, (producer_id, epoch): (i64, i16), commit: bool, bump: bool) -> Result<(i64, i16), Failure> {
        let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
        match self.ask(Request::EndTransaction { transaction, commit, bump })? {
            Reply::Producer { id, epoch, .. } => Ok((id, epoch)),
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, (producer_id, epoch): (i64, i16), topic: &str) -> Result<Reply, Failure> {
        let transaction = TransactionRef { transactional_id: "tx", producer_id, epoch };
        self.ask(Request::AddToTransaction { transaction, topic, partition: 0 })
    }
}

fn from(topic: &str, partition: u32, offset: i64) -> FetchFrom {
    FetchFrom { topic: TopicKey::Name(Arc::from(topic)), partition, offset, max_bytes: 1 << 20, current_epoch: None }
}

/// A batch of so many records, each of which says its place in the batch, one ms apart.
fn batch(values: &[&str], at_ms: i64, producer: Option<(i64, i16, i32)>, attributes: i16) -> Vec<u8> {
    let mut out = Vec::new();
    RecordParts::default().encode(at_ms as u64, &mut out);
    out.truncate(model::record::HEADER_BYTES);
    for (index, value) in values.iter().enumerate() {
        // Small numbers only: one byte each, zigzag.
        let small = |value: usize| (value as u8) << 1;
        let body = [&[0, small(index), small(index), 1, small(value.len())][..], value.as_bytes(), &[0]].concat();
        out.push(small(body.len()));
        out.extend_from_slice(&body);
    }
    let count = values.len() as u32;
    let len = out.len() as u32;
    out[8..12].copy_from_slice(&(len - 12).to_be_bytes());
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    out[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    out[35..43].copy_from_slice(&(at_ms + i64::from(count) - 1).to_be_bytes());
    if let Some((id, epoch, sequence)) = producer {
        out[43..51].copy_from_slice(&id.to_be_bytes());
        out[51..53].copy_from_slice(&epoch.to_be_bytes());
        out[53..57].copy_from_slice(&sequence.to_be_bytes());
    }
    out[57..61].copy_from_slice(&count.to_be_bytes());
    model::record::seal(&mut out);
    out
}

const T0: i64 = 1_700_000_000_000;

fn refused(result: Result<impl std::fmt::Debug, Failure>) -> LogFailure {
    match result {
        Err(Failure::Log(failure) | Failure::LogBecause { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

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
        let fetch = Fetch { partitions: &partitions, min_bytes: 1, max_bytes, max_wait_ms: 0, committed_only: false };
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
    let fetch =
        || Fetch { partitions: &partitions, min_bytes: 2 * size, max_bytes: 1 << 20, max_wait_ms: 500, committed_only: false };
    assert_eq!(world.ask(Request::Fetch(fetch())).unwrap(), Reply::Pending);
    world.produce("t", &batch(&["a"], T0, None, 0)).unwrap();
    world.settle();
    assert!(world.told.answers.is_empty(), "one of two is not enough");
    world.produce("u", &batch(&["b"], T0, None, 0)).unwrap();
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched.iter().map(|fetched| fetched.batches.len()).collect::<Vec<_>>(), [1, 1]);
    // Time is up: what there is.
    let partitions = [from("t", 0, 1), from("u", 0, 0)];
    let fetch =
        Fetch { partitions: &partitions, min_bytes: 2 * size, max_bytes: 1 << 20, max_wait_ms: 500, committed_only: false };
    assert_eq!(world.ask(Request::Fetch(fetch)).unwrap(), Reply::Pending);
    world.settle();
    assert!(world.told.answers.is_empty());
    assert!(world.broker.poll_timeout(world.now).is_some_and(|at| at <= world.now.mono_ms + 500));
    world.now.mono_ms += 500;
    let Reply::Fetched(fetched) = world.answer().unwrap() else { panic!() };
    assert_eq!(fetched.iter().map(|fetched| fetched.batches.len()).collect::<Vec<_>>(), [0, 1]);
    // An error of one of them is answered at once.
    let partitions = [from("t", 0, 1), from("no", 0, 0)];
    let fetch = Fetch { partitions: &partitions, min_bytes: 9, max_bytes: 9, max_wait_ms: 500, committed_only: false };
    let Reply::Fetched(fetched) = world.ask(Request::Fetch(fetch)).unwrap() else { panic!() };
    assert_eq!(fetched[1].failure, Some(LogFailure::UnknownTopic));
    // A topic that goes while a fetch waits for it answers too.
    let partitions = [from("t", 0, 1)];
    let fetch = Fetch { partitions: &partitions, min_bytes: 9, max_bytes: 9, max_wait_ms: 500, committed_only: false };
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
        let fetch = Fetch { partitions: &partitions, min_bytes: 0, max_bytes: 9, max_wait_ms: 0, committed_only: false };
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
    assert_eq!(refused(world.end(next, false, true)), LogFailure::ProducerFenced);
    // One that is open for too long is aborted, and its producer shut out.
    implicit(&mut world, bumped);
    world.now.wall_ms += 60_000;
    world.settle();
    assert_eq!(refused(world.end(bumped, true, true)), LogFailure::ProducerFenced);
    let all = world.list("t", OffsetAt::Latest, false).0;
    assert_eq!(world.list("t", OffsetAt::Latest, true).0, all, "nothing is open any more");
}

/// KIP-890: whoever repeats the end of its transaction is told of the next epoch. One that was shut out because its
/// transaction was open for too long must not be let in again that way, and was after a restart.
#[test]
fn whoever_was_shut_out_of_a_transaction_stays_out_after_a_restart() {
    for checkpoint in [false, true] {
        let mut world = World::new(37);
        world.create("t", 1, &[]);
        let me = world.init(None).unwrap();
        let records = batch(&["a"], T0, Some((me.0, me.1, 0)), attribute::TRANSACTIONAL);
        let produce =
            Produce { topic: TopicRef::Name("t"), partition: 0, records: &records, transactional_id: Some("tx"), implicit: true };
        world.ask(Request::Produce(produce)).unwrap();
        world.now.wall_ms += 60_000;
        world.settle();
        for restart in 0..3 {
            assert_eq!(refused(world.end(me, false, true)), LogFailure::ProducerFenced, "after {restart} restarts");
            assert_eq!(refused(world.end(me, true, true)), LogFailure::ProducerFenced, "after {restart} restarts");
            if checkpoint {
                world.broker.checkpoint();
                world.settle();
            }
            world.crash();
        }
        // Whoever begins anew is not.
        let next = world.init(None).unwrap();
        let bumped = world.end(next, false, true).unwrap();
        world.settle();
        world.crash();
        assert_eq!(world.end(next, false, true).unwrap(), bumped, "the answer was lost");
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
        let fetch = Fetch { partitions: &partitions, min_bytes: 1, max_bytes: 1 << 20, max_wait_ms: 500, committed_only: false };
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

/// A batch of records with keys of one byte; no value: a tombstone.
fn keyed(records: &[(u8, Option<&str>)], at_ms: i64, codec: i16) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (key, value)) in records.iter().enumerate() {
        let small = |value: usize| (value as u8) << 1;
        let value = value.map_or(vec![1], |value| [&[small(value.len())], value.as_bytes()].concat());
        let record = [&[0, small(index), small(index), 2, *key][..], &value, &[0]].concat();
        body.push(small(record.len()));
        body.extend_from_slice(&record);
    }
    let mut head = batch(&vec![""; records.len()], at_ms, None, codec);
    head.truncate(model::record::HEADER_BYTES);
    model::record::rebuild(
        &head,
        records.len() as u32,
        &super::records::compress(&body, super::records::Packing::of(codec)).unwrap(),
    )
}

/// Every record of the topic: (offset, key, value).
fn all_records(world: &mut World, topic: &str) -> Vec<(i64, u8, Option<Vec<u8>>)> {
    let (mut offset, mut all) = (world.list(topic, OffsetAt::Earliest, false).0, Vec::new());
    loop {
        let fetched = world.fetch(topic, offset, false);
        assert_eq!(fetched.failure, None);
        let Some(last) = fetched.batches.last() else { return all };
        offset = last.base_offset + i64::from(BatchHead::parse(&last.bytes).unwrap().offsets);
        for found in &fetched.batches {
            let head = BatchHead::parse(&found.bytes).unwrap();
            let bytes = super::records::decompress(&found.bytes).unwrap();
            for record in model::record::Records::new(&bytes, head.records) {
                let record = record.unwrap();
                let value = record.value.map(<[u8]>::to_vec);
                all.push((found.base_offset + record.offset_delta, record.key.unwrap()[0], value));
            }
        }
    }
}

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
            let unpacked = |batch: &[u8]| super::records::decompress(batch).unwrap().into_owned();
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
        let config = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "0"),
        ];
        world.create("t", 1, &config);
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
