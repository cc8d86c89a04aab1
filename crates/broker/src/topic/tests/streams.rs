//! Topics as stream queues, in both directions.

use model::request::{Binding, DeclareExchange, DeclareQueue, Destination, Subscribe};
use model::{DeliveryTag, Header, NoHeaders, Outcome, Publish, RecordView, Scope, Table, Value};

use super::*;

const LANE: Scope = Scope(1);

/// A message that a consumer got.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    pub session: SessionId,
    pub subscription: SubscriptionId,
    pub tag: DeliveryTag,
    pub offset: Option<u64>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub is_tombstone: bool,
    pub timestamp_ms: u64,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Delivered {
    pub fn of(session: SessionId, event: &Event<'_>) -> Delivered {
        let Event::Deliver { subscription, tag, redelivered, offset, record, .. } = event else { panic!("not a delivery") };
        assert!(!redelivered);
        assert_eq!(model::record::verify(record.batch), Ok(record.batch.len()));
        let view = RecordView::parse(record.batch).unwrap();
        Delivered {
            session,
            subscription: *subscription,
            tag: *tag,
            offset: *offset,
            key: view.key.to_vec(),
            value: view.value.to_vec(),
            is_tombstone: view.is_tombstone,
            timestamp_ms: view.timestamp_ms,
            headers: view.headers().map(|header| (header.name.to_owned(), header.value.to_vec())).collect(),
        }
    }
}

fn table(arguments: &[(&str, Value)]) -> Table {
    Table(arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn declare<'a>(name: &'a str, arguments: &[(&str, Value)]) -> DeclareQueue<'a> {
    let arguments = table(arguments);
    DeclareQueue { name, passive: false, durable: true, exclusive: false, auto_delete: false, arguments }
}

fn stream(name: &str) -> DeclareQueue<'_> {
    declare(name, &[("x-queue-type", text("stream"))])
}

fn passive(name: &str) -> DeclareQueue<'_> {
    DeclareQueue { passive: true, ..declare(name, &[]) }
}

fn to_stream<'a>(source: &'a str, stream: &'a str, routing_key: &'a str) -> Binding<'a> {
    Binding { source, destination: Destination::Queue(stream), routing_key, arguments: Table::default() }
}

/// A message of AMQP's.
fn message<'a>(exchange: &'a str, routing_key: &'a str, value: &'a [u8]) -> Publish<'a> {
    let own = Some(Header { name: "yam.test", value: b"own" });
    Publish {
        scope: LANE,
        exchange,
        routing_key,
        more_keys: &[],
        mandatory: true,
        persistent: false,
        expiration_ms: None,
        priority: 0,
        user_id: None,
        headers: &NoHeaders,
        record: RecordParts { key: routing_key.as_bytes(), value, own, headers: &[] },
    }
}

impl World {
    /// A world in which a consumer may have so many deliveries at a time.
    fn consuming(seed: u64, prefetch: u16) -> World {
        let mut world = World::new(seed);
        world.open_lane(prefetch);
        world
    }

    fn open_lane(&mut self, prefetch: u16) {
        self.ask(Request::OpenScope { scope: LANE }).unwrap();
        self.ask(Request::Prefetch { scope: LANE, count: prefetch, each: true }).unwrap();
    }

    /// The name and the number of messages of a queue that is there.
    fn look(&mut self, name: &str) -> Option<(String, u64, u64)> {
        match self.ask(Request::DeclareQueue(passive(name))) {
            Ok(Reply::QueueDeclared { name, messages, subscriptions, .. }) => Some((name, messages, subscriptions)),
            Err(Failure::NotFound { .. }) => None,
            other => panic!("{other:?}"),
        }
    }

    /// Whether it was routed, and what its confirm waits for.
    fn publish(&mut self, message: Publish<'_>) -> (bool, Option<model::Lsn>) {
        match self.ask(Request::Publish(message)).unwrap() {
            Reply::Published { durable_at, routed } => (routed, durable_at),
            other => panic!("{other:?}"),
        }
    }

    fn subscribe(&mut self, queue: &str, offset: Option<Value>) -> Result<SubscriptionId, Failure> {
        let arguments = offset.map_or_else(Table::default, |offset| table(&[("x-stream-offset", offset)]));
        self.subscribe_with(Subscribe { scope: LANE, queue, tag: "c", auto_settle: false, exclusive: false, arguments })
    }

    fn subscribe_with(&mut self, subscribe: Subscribe<'_>) -> Result<SubscriptionId, Failure> {
        match self.ask(Request::Subscribe(subscribe))? {
            Reply::Subscribed { subscription } => Ok(subscription),
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self, tag: DeliveryTag) {
        self.ask(Request::Settle { scope: LANE, tag, multiple: true, outcome: Outcome::Accepted }).unwrap();
    }

    /// Take all there is, accepting it as it comes: offsets and values in their order.
    fn drain(&mut self) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        loop {
            self.settle();
            let got = std::mem::take(&mut self.told.delivered);
            let Some(last) = got.last() else { return all };
            self.accept(last.tag);
            all.extend(got.into_iter().map(|got| (got.offset.unwrap(), String::from_utf8(got.value).unwrap())));
        }
    }

    /// All that a consumer reads from there on.
    fn read_from(&mut self, queue: &str, offset: Value) -> Vec<(u64, String)> {
        let subscription = self.subscribe(queue, Some(offset)).unwrap();
        let all = self.drain();
        self.ask(Request::Unsubscribe { scope: LANE, subscription }).unwrap();
        all
    }
}

fn values(all: &[(u64, String)]) -> Vec<&str> {
    all.iter().map(|(_, value)| &**value).collect()
}

#[test]
fn a_topic_is_a_stream_queue_by_its_name() {
    let mut world = World::new(1);
    world.create("one", 1, &[]);
    world.create("many", 12, &[]);
    world.produce("one", &batch(&["a", "b"], T0, None, 0)).unwrap();
    assert_eq!(world.look("one"), Some(("one".into(), 0, 0)), "nothing is shown before it is durable");
    world.settle();
    assert_eq!(world.look("one"), Some(("one".into(), 2, 0)));
    assert_eq!(world.look("many-0"), Some(("many-0".into(), 0, 0)));
    assert!(world.look("many-11").is_some());
    for name in ["many", "one-0", "many-12", "many-", "many-01", "many-+1", "many--1", "", "-"] {
        assert_eq!(world.look(name), None, "{name}");
    }
    world.ask(Request::DeleteRecords { topic: "one", partition: 0, before: Some(1) }).unwrap();
    assert_eq!(world.look("one"), Some(("one".into(), 1, 0)));
    // A second partition makes it one of several.
    world.ask(Request::AddPartitions { topic: "one", total: 2, validate_only: false }).unwrap();
    assert_eq!(world.look("one"), None);
    assert_eq!(world.look("one-0"), Some(("one-0".into(), 1, 0)));
    world.settle();
    world.crash();
    assert_eq!(world.look("one-0"), Some(("one-0".into(), 1, 0)));
}

#[test]
fn a_queue_of_that_name_comes_before() {
    let mut world = World::consuming(2, 10);
    world.ask(Request::DeclareQueue(declare("t-1", &[]))).unwrap();
    world.create("t", 2, &[]);
    assert!(world.publish(message("", "t-1", b"to the queue")).0);
    assert!(world.publish(message("", "t-0", b"to the stream")).0);
    world.settle();
    assert_eq!(world.store_end("t", 0), 1);
    assert_eq!(world.store_end("t", 1), 0);
    // And no topic takes a queue's name.
    world.ask(Request::DeclareQueue(declare("q", &[]))).unwrap();
    let create = CreateTopic { name: "q", partitions: Some(1), config: &[], validate_only: false, automatic: false };
    assert_eq!(refused(world.ask(Request::CreateTopic(create))), LogFailure::TopicExists);
    world.ask(Request::DeleteQueue { name: "t-1", if_unused: false, if_empty: false }).unwrap();
    assert!(world.publish(message("", "t-1", b"to the stream")).0);
    world.settle();
    assert_eq!(world.store_end("t", 1), 1);
}

impl World {
    fn store_end(&self, topic: &str, partition: u32) -> u64 {
        let log = self.broker.topics.partition_log(TopicRef::Name(topic), partition).unwrap();
        self.broker.store().stream_end(log)
    }
}

#[test]
fn declaring_a_stream_makes_a_topic() {
    let mut world = World::new(3);
    let arguments = [("x-queue-type", text("stream")), ("x-max-age", text("60m")), ("x-max-length-bytes", Value::I32(5_000))];
    let reply = world.ask(Request::DeclareQueue(declare("s", &arguments))).unwrap();
    assert!(matches!(reply, Reply::QueueDeclared { durable_at: Some(_), messages: 0, .. }), "{reply:?}");
    for _ in 0..2 {
        let Reply::Topics(topics) = world.ask(Request::DescribeTopics { topic: None }).unwrap() else { panic!("no topics") };
        assert_eq!((&*topics[0].name, topics[0].partitions, topics.len()), ("s", 1, 1));
        let Reply::Config(config) = world.ask(Request::DescribeConfig { of: ConfigOf::Topic("s") }).unwrap() else {
            panic!("no settings")
        };
        let value = |name: &str| config.iter().find(|entry| entry.name == name).unwrap().value.clone().unwrap();
        assert_eq!((value("retention.ms"), value("retention.bytes")), ("3600000".into(), "5000".into()));
        // The same again, in other words.
        let same = [("x-queue-type", text("stream")), ("x-max-age", text("1h")), ("x-max-length-bytes", Value::I64(5_000))];
        world.ask(Request::DeclareQueue(declare("s", &same))).unwrap();
        let others: [&[(&str, Value)]; 5] = [
            &[],
            &[("x-queue-type", text("classic"))],
            &[("x-queue-type", text("stream"))],
            &[("x-queue-type", text("stream")), ("x-max-age", text("2h")), ("x-max-length-bytes", Value::I64(5_000))],
            &[("x-queue-type", text("stream")), ("x-max-age", text("1h")), ("x-max-length-bytes", Value::I64(5_001))],
        ];
        for other in others {
            let failure = world.ask(Request::DeclareQueue(declare("s", other))).unwrap_err();
            assert!(matches!(failure, Failure::Inequivalent { .. }), "{other:?}: {failure}");
        }
        world.settle();
        world.crash();
    }
    for (flags, expected) in [((false, false, false), "durable"), ((true, false, true), "auto_delete")] {
        let (durable, exclusive, auto_delete) = flags;
        let again = DeclareQueue { durable, exclusive, auto_delete, ..declare("s", &arguments) };
        let failure = world.ask(Request::DeclareQueue(again)).unwrap_err();
        assert!(matches!(&failure, Failure::Inequivalent { argument, .. } if &**argument == expected), "{failure}");
        let new = DeclareQueue { durable, exclusive, auto_delete, ..stream("new") };
        let failure = world.ask(Request::DeclareQueue(new)).unwrap_err();
        assert!(matches!(failure, Failure::InvalidProperty { .. }), "{failure}");
    }
    let exclusive = |name| DeclareQueue { exclusive: true, ..stream(name) };
    assert!(matches!(world.ask(Request::DeclareQueue(exclusive("s"))), Err(Failure::Locked { .. })));
    assert!(matches!(world.ask(Request::DeclareQueue(exclusive("new"))), Err(Failure::InvalidProperty { .. })));
    assert!(matches!(world.ask(Request::DeclareQueue(stream(""))), Err(Failure::InvalidArgument { .. })));
    assert!(matches!(world.ask(Request::DeclareQueue(stream("amq.s"))), Err(Failure::ReservedName { .. })));
    // Where a topic was made for Kafka, its settings count.
    world.create("plain", 1, &[("retention.bytes", "-1")]);
    world.ask(Request::DeclareQueue(stream("plain"))).unwrap();
    world.create("bounded", 1, &[("retention.ms", "7200000")]);
    assert!(matches!(world.ask(Request::DeclareQueue(stream("bounded"))), Err(Failure::Inequivalent { .. })));
    let two_hours = [("x-queue-type", text("stream")), ("x-max-age", text("2h"))];
    world.ask(Request::DeclareQueue(declare("bounded", &two_hours))).unwrap();
    // A topic of several partitions is none of them.
    world.create("many", 2, &[]);
    assert_eq!(refused(world.ask(Request::DeclareQueue(stream("many")))), LogFailure::TopicExists);
}

#[test]
fn a_name_that_kafka_could_not_say_is_not_told_to_it() {
    let mut world = World::consuming(4, 10);
    world.ask(Request::DeclareQueue(stream("orders/2026 é"))).unwrap();
    world.ask(Request::DeclareQueue(stream("orders"))).unwrap();
    world.publish(message("", "orders/2026 é", b"x"));
    assert_eq!(values(&world.read_from("orders/2026 é", text("first"))), ["x"]);
    let Reply::Topics(topics) = world.ask(Request::DescribeTopics { topic: None }).unwrap() else { panic!("no topics") };
    assert_eq!(topics.iter().map(|topic| &*topic.name).collect::<Vec<_>>(), ["orders"]);
}

#[test]
fn what_amqp_publishes_is_fetched_and_safe_when_confirmed() {
    let mut world = World::new(5);
    world.open_lane(10);
    world.create("t", 1, &[]);
    world.ask(Request::DeclareQueue(declare("q", &[]))).unwrap();
    for name in ["q", "t"] {
        world.ask(Request::Bind(to_stream("amq.topic", name, "a.#"))).unwrap();
    }
    let (routed, durable_at) = world.publish(message("amq.topic", "a.b", b"body"));
    assert!(routed && durable_at.is_some(), "what is not persistent for queues is for streams");
    assert_eq!(world.fetch("t", 0, false).high_watermark, 0);
    assert!(durable_at.unwrap() > world.broker.store().durable());
    world.settle();
    for _ in 0..2 {
        let fetched = world.fetch("t", 0, true);
        assert_eq!((fetched.high_watermark, fetched.batches.len()), (1, 1));
        let bytes = &fetched.batches[0].bytes;
        assert_eq!(model::record::verify(bytes), Ok(bytes.len()));
        let head = BatchHead::parse(bytes).unwrap();
        assert_eq!((head.attributes, head.producer_id, head.offsets), (0, -1, 1));
        assert_eq!((head.base_timestamp_ms, head.max_timestamp_ms), (T0, T0));
        let view = RecordView::parse(bytes).unwrap();
        assert_eq!((view.key, view.value), (&b"a.b"[..], &b"body"[..]));
        let headers: Vec<_> = view.headers().map(|header| (header.name, header.value)).collect();
        assert_eq!(headers, [("yam.test", &b"own"[..]), ("plain yam.test", b"own")]);
        world.crash();
    }
    // The queue has it too, and taking it from there takes nothing from the stream.
    assert_eq!(world.look("q").unwrap().1, 1);
    world.ask(Request::OpenScope { scope: LANE }).unwrap();
    world.ask(Request::PurgeQueue { name: "q" }).unwrap();
    world.settle();
    assert_eq!((world.look("q").unwrap().1, world.look("t").unwrap().1), (0, 1));
    // What only goes to queues has no such headers.
    world.publish(message("", "q", b"other"));
    world.subscribe("q", None).unwrap();
    world.settle();
    assert_eq!(world.told.delivered[0].headers, [("yam.test".to_owned(), b"own".to_vec())]);
    assert_eq!(world.told.delivered[0].offset, None);
}

#[test]
fn bindings_to_streams_survive_and_go_with_the_topic() {
    let mut world = World::new(6);
    let exchange = DeclareExchange {
        name: "x",
        kind: "direct",
        passive: false,
        durable: true,
        auto_delete: true,
        internal: false,
        arguments: Table::default(),
    };
    world.ask(Request::DeclareExchange(exchange)).unwrap();
    world.create("t", 1, &[]);
    world.ask(Request::Bind(to_stream("x", "t", "k"))).unwrap();
    // The name comes to mean another; the binding does not.
    world.ask(Request::AddPartitions { topic: "t", total: 2, validate_only: false }).unwrap();
    world.create("t-0", 1, &[]);
    world.ask(Request::Bind(to_stream("x", "t-0", "other"))).unwrap();
    world.settle();
    for round in 1..=3 {
        world.ask(Request::OpenScope { scope: LANE }).unwrap();
        assert!(world.publish(message("x", "k", b"1")).0 && world.publish(message("x", "other", b"2")).0);
        world.settle();
        assert_eq!((world.store_end("t", 0), world.store_end("t", 1), world.store_end("t-0", 0)), (round, 0, round));
        world.broker.checkpoint();
        world.settle();
        world.crash();
    }
    world.ask(Request::OpenScope { scope: LANE }).unwrap();
    world.ask(Request::DeleteTopic { topic: TopicRef::Name("t") }).unwrap();
    assert!(!world.publish(message("x", "k", b"nowhere")).0);
    world.ask(Request::Unbind(to_stream("x", "t-0", "other"))).unwrap();
    // The exchange lost its last binding.
    let gone = world.ask(Request::Publish(message("x", "k", b"")));
    assert!(matches!(gone, Err(Failure::NotFound { .. })), "{gone:?}");
    world.settle();
    world.crash();
    world.ask(Request::OpenScope { scope: LANE }).unwrap();
    assert!(matches!(world.ask(Request::Publish(message("x", "k", b""))), Err(Failure::NotFound { .. })));
    assert!(world.publish(message("", "t-0", b"still there")).0);
}

#[test]
fn a_remembered_route_ends_with_what_it_led_to() {
    let mut world = World::new(7);
    world.open_lane(10);
    assert!(!world.publish(message("", "t", b"1")).0);
    world.create("t", 1, &[]);
    assert!(world.publish(message("", "t", b"2")).0);
    world.ask(Request::AddPartitions { topic: "t", total: 2, validate_only: false }).unwrap();
    assert!(!world.publish(message("", "t", b"3")).0);
    assert!(world.publish(message("", "t-1", b"4")).0);
    world.ask(Request::DeleteTopic { topic: TopicRef::Name("t") }).unwrap();
    assert!(!world.publish(message("", "t-1", b"5")).0);
}

#[test]
fn records_of_batches_are_handed_out_one_by_one_as_far_as_there_is_credit() {
    for codec in 0..5 {
        let mut world = World::consuming(8, 2);
        world.create("t", 1, &[]);
        world.produce("t", &keyed(&[(b'a', Some("0")), (b'b', Some("1")), (b'c', None), (b'd', Some("3"))], T0, codec)).unwrap();
        world.publish(message("", "t", b"4"));
        world.subscribe("t", Some(text("first"))).unwrap();
        let mut seen = Vec::new();
        for _ in 0..3 {
            world.settle();
            let got = std::mem::take(&mut world.told.delivered);
            assert!(got.len() <= 2, "no more than was asked for");
            for got in got {
                world.accept(got.tag);
                seen.push((got.offset.unwrap(), got.key, got.value, got.is_tombstone, got.timestamp_ms as i64 - T0));
            }
        }
        let record =
            |offset, key: &[u8], value: &[u8], is_tombstone, time| (offset, key.to_vec(), value.to_vec(), is_tombstone, time);
        let expected = [
            record(0, b"a", b"0", false, 0),
            record(1, b"b", b"1", false, 1),
            record(2, b"c", b"", true, 2),
            record(3, b"d", b"3", false, 3),
            record(4, b"t", b"4", false, 0),
        ];
        assert_eq!(seen, expected, "codec {codec}");
        assert_eq!(world.broker.topics.readers.unpacked_bytes(), 0);
        assert_eq!(world.look("t"), Some(("t".into(), 5, 1)), "nothing was taken");
    }
}

#[test]
fn consumers_read_independently_and_hear_of_what_comes() {
    let mut world = World::consuming(9, 100);
    world.create("t", 1, &[]);
    world.produce("t", &batch(&["0", "1"], T0, None, 0)).unwrap();
    world.settle();
    let all = world.subscribe("t", Some(text("first"))).unwrap();
    let new = world.subscribe("t", None).unwrap();
    world.settle();
    world.produce("t", &batch(&["2"], T0, None, 0)).unwrap();
    world.broker.deliver(&mut world.told, world.now);
    assert_eq!(world.told.delivered.len(), 2, "what is not durable is not handed out");
    world.settle();
    world.publish(message("", "t", b"3"));
    world.settle();
    let seen = |world: &World, id| -> Vec<_> {
        let of = world.told.delivered.iter().filter(|got| got.subscription == id);
        of.map(|got| (got.offset.unwrap(), got.value.clone())).collect()
    };
    let expected = [(0, b"0".to_vec()), (1, b"1".to_vec()), (2, b"2".to_vec()), (3, b"3".to_vec())];
    assert_eq!(seen(&world, all), expected);
    assert_eq!(seen(&world, new), expected[2..]);
    assert!(world.told.delivered.iter().all(|got| got.session == ME));
    assert_eq!(world.look("t"), Some(("t".into(), 4, 2)));
    // One goes, the other goes on.
    world.ask(Request::Unsubscribe { scope: LANE, subscription: all }).unwrap();
    world.told.delivered.clear();
    world.publish(message("", "t", b"4"));
    world.settle();
    assert_eq!(world.told.delivered.iter().map(|got| got.subscription).collect::<Vec<_>>(), [new]);
    world.ask(Request::CloseScope { scope: LANE }).unwrap();
    assert_eq!(world.look("t"), Some(("t".into(), 5, 0)));
}

#[test]
fn where_consumers_begin() {
    let mut world = World::consuming(10, 100);
    world.create("t", 1, &[]);
    assert_eq!(world.read_from("t", text("last")), []);
    for (at, values) in [(T0, &["0", "1"][..]), (T0 + 5_000, &["2", "3", "4"]), (T0 + 9_000, &["5", "6"])] {
        world.produce("t", &batch(values, at, None, 0)).unwrap();
    }
    world.settle();
    world.now.wall_ms = T0 as u64 + 3_610_000;
    let from = |seconds: i64| Value::Timestamp((T0 / 1000 + seconds) as u64);
    let cases = [
        (text("first"), 0),
        (text("next"), 7),
        (text("last"), 5),
        (Value::I64(0), 0),
        (Value::I32(3), 3),
        (Value::I64(7), 7),
        (from(-5), 0),
        (from(1), 2),
        (from(5), 2),
        (from(6), 5),
        (from(10), 7),
        // 3,610 s after the first.
        (text("1h"), 7),
        (text("2h"), 0),
    ];
    for (offset, first) in cases {
        let got = world.read_from("t", offset.clone());
        assert_eq!(got.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (first..7).collect::<Vec<_>>(), "{offset:?}");
        assert!(got.iter().all(|(at, value)| at.to_string() == *value));
    }
    // What lies ahead is waited for.
    world.subscribe("t", Some(Value::I64(8))).unwrap();
    world.produce("t", &batch(&["7", "8", "9"], T0, None, 0)).unwrap();
    assert_eq!(values(&world.drain()), ["8", "9"]);
    world.ask(Request::CloseScope { scope: LANE }).unwrap();
    // What is deleted is not shown.
    world.open_lane(100);
    world.ask(Request::DeleteRecords { topic: "t", partition: 0, before: Some(3) }).unwrap();
    world.settle();
    assert_eq!(values(&world.read_from("t", text("first"))), ["3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(values(&world.read_from("t", Value::I64(1))), ["3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn only_what_is_committed_is_shown() {
    let mut world = World::consuming(11, 100);
    world.create("t", 1, &[]);
    let me = world.init(None).unwrap();
    let mut sequence = 0;
    let mut send = |world: &mut World, values: &[&str]| {
        world.add(me, "t").unwrap();
        let sent = batch(values, T0, Some((me.0, me.1, sequence)), attribute::TRANSACTIONAL);
        sequence += values.len() as i32;
        world.produce("t", &sent).unwrap();
    };
    world.subscribe("t", Some(text("first"))).unwrap();
    send(&mut world, &["aborted", "aborted"]);
    world.publish(message("", "t", b"2"));
    assert_eq!(world.drain(), [], "nothing behind an open transaction");
    world.end(me, false, false).unwrap();
    assert_eq!(world.drain(), [(2, "2".to_owned())]);
    send(&mut world, &["4", "5"]);
    assert_eq!(world.drain(), []);
    // One that begins now is told nothing of before, though it is decided later.
    let next = world.subscribe("t", None).unwrap();
    world.end(me, true, false).unwrap();
    world.settle();
    let of_next = world.told.delivered.iter().filter(|got| got.subscription == next).count();
    assert_eq!(of_next, 2, "what becomes visible from now on");
    world.told.delivered.retain(|got| got.subscription != next);
    assert_eq!(world.drain(), [(4, "4".to_owned()), (5, "5".to_owned())]);
    send(&mut world, &["aborted"]);
    world.end(me, false, false).unwrap();
    world.settle();
    // Behind the last batch lie an aborted one and two markers.
    let last = world.subscribe("t", Some(text("last"))).unwrap();
    world.settle();
    let got: Vec<_> = world.told.delivered.iter().filter(|got| got.subscription == last).map(|got| got.offset).collect();
    assert_eq!(got, [Some(4), Some(5)]);
}

#[test]
fn a_stream_gives_nothing_away() {
    let mut world = World::consuming(12, 0);
    world.create("t", 1, &[]);
    world.publish(message("", "t", b"0"));
    world.settle();
    assert!(matches!(world.subscribe("t", Some(text("first"))), Err(Failure::NoPrefetch { .. })));
    world.ask(Request::Prefetch { scope: LANE, count: 5, each: false }).unwrap();
    assert!(matches!(world.subscribe("t", Some(text("first"))), Err(Failure::NoPrefetch { .. })));
    world.ask(Request::Prefetch { scope: LANE, count: 5, each: true }).unwrap();
    let with = |arguments: &[(&str, Value)], auto_settle| {
        let arguments = table(arguments);
        Subscribe { scope: LANE, queue: "t", tag: "c", auto_settle, exclusive: false, arguments }
    };
    assert!(matches!(world.subscribe_with(with(&[], true)), Err(Failure::NotForStreams { .. })));
    let priority = world.subscribe_with(with(&[("x-priority", Value::I32(1))], false));
    assert!(matches!(priority, Err(Failure::UnsupportedArgument { .. })));
    let get = world.ask(Request::Get { scope: LANE, queue: "t", auto_settle: true });
    assert!(matches!(get, Err(Failure::NotForStreams { what: "get", .. })));
    let purge = world.ask(Request::PurgeQueue { name: "t" });
    assert!(matches!(purge, Err(Failure::NotForStreams { what: "purge", .. })));
    world.subscribe("t", Some(text("first"))).unwrap();
    world.settle();
    for outcome in [Outcome::Requeued, Outcome::Rejected] {
        let settled = world.ask(Request::Settle { scope: LANE, tag: DeliveryTag(1), multiple: false, outcome });
        assert!(matches!(settled, Err(Failure::NotForStreams { what: "reject", .. })));
    }
    let recovered = world.ask(Request::Recover { scope: LANE });
    assert!(matches!(recovered, Err(Failure::NotForStreams { what: "recover", .. })));
    world.accept(DeliveryTag(1));
    world.ask(Request::Recover { scope: LANE }).unwrap();
    world.settle();
    assert_eq!(world.told.delivered.len(), 1);
    assert_eq!(world.look("t").unwrap().1, 1);
    // Neither does a session that ends.
    world.broker.close_session(ME, world.now);
    world.broker.open_session(ME, true);
    world.open_lane(5);
    world.told.delivered.clear();
    assert_eq!(values(&world.read_from("t", text("first"))), ["0"]);
}

#[test]
fn a_client_that_does_not_read_is_waited_for() {
    let mut world = World::consuming(13, 100);
    world.create("t", 1, &[]);
    world.subscribe("t", Some(text("first"))).unwrap();
    world.broker.set_paused(ME, true);
    world.produce("t", &batch(&["0", "1"], T0, None, 0)).unwrap();
    assert_eq!(world.drain(), []);
    world.broker.set_paused(ME, false);
    assert_eq!(values(&world.drain()), ["0", "1"]);
    // The same where the scope as a whole has no credit.
    world.ask(Request::Prefetch { scope: LANE, count: 1, each: false }).unwrap();
    world.produce("t", &batch(&["2", "3"], T0, None, 0)).unwrap();
    world.settle();
    assert_eq!(world.told.delivered.len(), 1);
    assert_eq!(values(&world.drain()), ["2", "3"]);
}

#[test]
fn a_stream_that_is_deleted_ends_its_consumers() {
    let mut world = World::consuming(14, 10);
    world.create("many", 2, &[]);
    let part = world.ask(Request::DeleteQueue { name: "many-1", if_unused: false, if_empty: false });
    assert_eq!(refused(part), LogFailure::InvalidPartitions);
    world.ask(Request::DeclareQueue(stream("s"))).unwrap();
    world.publish(message("", "s", b"0"));
    world.settle();
    let subscription = world.subscribe("s", None).unwrap();
    let used = world.ask(Request::DeleteQueue { name: "s", if_unused: true, if_empty: false });
    assert!(matches!(used, Err(Failure::InUse { .. })));
    let full = world.ask(Request::DeleteQueue { name: "s", if_unused: false, if_empty: true });
    assert!(matches!(full, Err(Failure::NotEmpty { .. })));
    let deleted = world.ask(Request::DeleteQueue { name: "s", if_unused: false, if_empty: false }).unwrap();
    assert!(matches!(deleted, Reply::Removed { messages: 1, durable_at: Some(_) }), "{deleted:?}");
    world.settle();
    assert_eq!(world.told.cancelled, [subscription]);
    world.crash();
    assert_eq!(world.look("s"), None);
    assert_eq!(refused(world.ask(Request::DescribeTopics { topic: Some(TopicRef::Name("s")) })), LogFailure::UnknownTopic);
}

#[test]
fn transactions_and_dead_letters_reach_streams() {
    let mut world = World::consuming(15, 10);
    world.create("t", 1, &[]);
    let arguments = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("t"))];
    world.ask(Request::DeclareQueue(declare("q", &arguments))).unwrap();
    world.ask(Request::Begin { scope: LANE }).unwrap();
    for (key, value) in [("t", b"0"), ("q", b"1"), ("t", b"2")] {
        world.publish(message("", key, value));
    }
    world.settle();
    assert_eq!(world.store_end("t", 0), 0);
    world.ask(Request::Commit { scope: LANE }).unwrap();
    world.settle();
    assert_eq!((world.store_end("t", 0), world.look("q").unwrap().1), (2, 1));
    world.crash();
    world.open_lane(10);
    assert_eq!(values(&world.read_from("t", text("first"))), ["0", "2"]);
    world.publish(message("", "q", b"dead"));
    world.subscribe("q", None).unwrap();
    world.settle();
    let tag = world.told.delivered.last().unwrap().tag;
    world.ask(Request::Settle { scope: LANE, tag, multiple: false, outcome: Outcome::Rejected }).unwrap();
    world.settle();
    world.told.delivered.clear();
    world.subscribe("t", Some(text("last"))).unwrap();
    world.settle();
    let letter = world.told.delivered.last().unwrap();
    assert_eq!((&*letter.key, &*letter.value, letter.offset), (&b"t"[..], &b"dead"[..], Some(2)));
    let names: Vec<_> = letter.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["yam.test", "yam.dead-letter", "plain yam.test", "plain yam.dead-letter"]);
}

/// A search looked at so many batches, and then said that there is no such record.
#[test]
fn a_time_far_inside_a_stretch_of_small_batches_is_found() {
    let mut world = World::consuming(16, 10);
    world.create("t", 1, &[]);
    let start = world.now.wall_ms;
    for number in 0..12_000 {
        world.now.wall_ms = start + number;
        world.publish(message("", "t", number.to_string().as_bytes()));
        if number % 500 == 100 {
            world.settle();
        }
        if number == 100 {
            // All of it is in memory.
            assert_eq!(world.list("t", OffsetAt::Timestamp((start + number) as i64), true).0, 100);
        }
    }
    world.settle();
    for wanted in [10_000, 4_000, 11_999, 0] {
        let at = (start + wanted) as i64;
        assert_eq!(world.list("t", OffsetAt::Timestamp(at), true).0, wanted as i64);
        // Whole seconds; the next one may be before the last.
        let seconds = (start + wanted).div_ceil(1000);
        world.subscribe("t", Some(Value::Timestamp(seconds))).unwrap();
        world.settle();
        let first = world.told.delivered.first().map(|got| got.offset.unwrap());
        assert_eq!(first, Some(seconds * 1000 - start).filter(|offset| *offset < 12_000));
        world.ask(Request::CloseScope { scope: LANE }).unwrap();
        world.told.delivered.clear();
        world.open_lane(10);
    }
}

/// Both protocols write, in batches of any size and codec, and consumers read from anywhere, while batches move to segments,
/// are deleted and the broker crashes: everybody reads what was written, in its order.
#[test]
fn whatever_is_written_is_read_in_order_from_anywhere() {
    for seed in 0..6 {
        let mut world = World::consuming(100 + seed, 1 + (seed as u16) * 13);
        let mut random = model::Random(seed);
        world.create("t", 1, &[]);
        let (mut written, mut start): (Vec<String>, usize) = (Vec::new(), 0);
        for round in 0..60 {
            for _ in 0..random.number() % 20 {
                let count = 1 + random.number() as usize % 20;
                // Enough that most of it does not stay in memory.
                let value = |at: usize| format!("{at} {}", "x".repeat(50));
                if random.number().is_multiple_of(3) {
                    world.publish(message("", "t", value(written.len()).as_bytes()));
                    written.push(value(written.len()));
                } else {
                    let new: Vec<String> = (written.len()..written.len() + count).map(value).collect();
                    let records: Vec<_> = new.iter().map(|value| (b'k', Some(&**value))).collect();
                    let codec = (random.number() % 5) as i16;
                    world.produce("t", &keyed(&records, T0, codec)).unwrap();
                    written.extend(new);
                }
            }
            world.settle();
            if round % 10 == 9 {
                start += (written.len() - start) / 3;
                world.ask(Request::DeleteRecords { topic: "t", partition: 0, before: Some(start as i64) }).unwrap();
                world.settle();
            }
            if round % 15 == 14 {
                world.crash();
                world.open_lane(1 + (random.number() % 300) as u16);
            }
            if random.number().is_multiple_of(4) {
                let from = start + random.number() as usize % (written.len() - start + 1);
                let got = world.read_from("t", Value::I64(from as i64));
                let expected: Vec<_> = (from..written.len()).map(|at| (at as u64, written[at].clone())).collect();
                assert_eq!(got, expected, "seed {seed}, round {round}, from {from}");
            }
        }
        assert!(written.len() > 2_000);
        assert_eq!(world.look("t").unwrap().1, (written.len() - start) as u64);
    }
}
