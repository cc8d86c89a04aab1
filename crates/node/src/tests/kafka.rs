//! Kafka's clients at a node: what is answered at once, what later, and what outlives a restart.

use ::kafka::codec::frame::{self, SIZE_BYTES, Split};
use ::kafka::codec::{
    ApiKey, Reader, Request, RequestHeader, Response, create_topics, describe_cluster, describe_groups, fetch, join_group,
    list_offsets, metadata, produce,
};
use model::{Now, RecordParts, SessionId, SessionState};
use vfs::simulated::SimulatedDisk;

use super::NOW;
use crate::{Node, Options, Peer, Protocol};

/// A node and some connections.
struct World {
    node: Node,
    disk: SimulatedDisk,
    now: Now,
}

/// One connection.
struct Client {
    session: SessionId,
    said: Vec<u8>,
    heard: Vec<u8>,
    asked: std::collections::VecDeque<(ApiKey, i16)>,
}

impl World {
    fn over(disk: SimulatedDisk) -> World {
        let mut options = Options::default();
        options.groups.initial_rebalance_delay_ms = 0;
        let node = Node::open(options, Box::new(disk.clone()), NOW).unwrap();
        World { node, disk, now: NOW }
    }

    fn new() -> World {
        World::over(SimulatedDisk::new(1))
    }

    /// The power fails, and the node is started again.
    fn restart(mut self) -> World {
        self.disk.crash();
        World::over(self.disk)
    }

    fn connect(&mut self) -> Client {
        let protocol = Protocol::Kafka { host: "here".into(), port: 9092 };
        let peer = Peer { address: "127.0.0.1:40000".into(), loopback: true };
        let session = self.node.connect(protocol, peer, self.now);
        Client { session, said: Vec::new(), heard: Vec::new(), asked: Default::default() }
    }

    /// Go on until nobody has anything to do.
    fn turn(&mut self, clients: &mut [&mut Client]) {
        loop {
            let mut moved = false;
            // As the server does: nobody is asked again who has nothing to say.
            for client in clients.iter_mut().filter(|client| !client.said.is_empty()) {
                let used = self.node.receive(client.session, &client.said, self.now);
                client.said.drain(..used);
                moved |= used > 0;
            }
            while self.disk.step() {}
            self.node.turn(self.now).unwrap();
            for client in &mut *clients {
                let said = self.node.output(client.session).unwrap().take();
                self.node.sent(client.session);
                moved |= !said.is_empty();
                client.heard.extend(said);
            }
            if !moved && !self.node.busy() && self.disk.pending() == 0 {
                return;
            }
        }
    }

    /// One request, and its answer.
    fn ask(&mut self, client: &mut Client, version: i16, request: &Request<'_>) -> Response<'static> {
        client.say(version, request);
        self.turn(&mut [client]);
        client.answer().expect("an answer")
    }

    fn produce(&mut self, client: &mut Client, topic: &'static str, timestamp_ms: u64, value: &[u8]) -> i64 {
        let mut batch = Vec::new();
        RecordParts { value, ..RecordParts::default() }.encode(timestamp_ms, &mut batch);
        let partitions = vec![produce::RequestPartition { index: 0, records: Some(&batch) }];
        let topics = vec![produce::RequestTopic { name: topic, partitions, ..Default::default() }];
        let request = Request::Produce(produce::Request { acks: -1, topics, ..Default::default() });
        let Response::Produce(told) = self.ask(client, 9, &request) else { panic!() };
        assert_eq!(told.topics[0].partitions[0].error_code, 0);
        told.topics[0].partitions[0].base_offset
    }

    fn create(&mut self, client: &mut Client, topic: &'static str) {
        let topics = Some(vec![metadata::RequestTopic { name: Some(topic), ..Default::default() }]);
        let Response::Metadata(told) =
            self.ask(client, 9, &Request::Metadata(metadata::Request { topics, ..Default::default() }))
        else {
            panic!()
        };
        assert_eq!((told.topics[0].error_code, told.topics[0].partitions.len()), (0, 1));
    }
}

impl Client {
    fn say(&mut self, version: i16, request: &Request<'_>) {
        let header =
            RequestHeader { api_key: request.key().number(), api_version: version, correlation_id: 7, client_id: Some("test") };
        frame::put_frame(&mut self.said, |out| {
            header.encode(out);
            request.encode(out, version);
        });
        self.asked.push_back((request.key(), version));
    }

    fn answer(&mut self) -> Option<Response<'static>> {
        let Ok(Split::Frame(payload)) = frame::split(&self.heard, 1 << 30) else { return None };
        let payload: &'static [u8] = payload.to_vec().leak();
        self.heard.drain(..SIZE_BYTES + payload.len());
        let (key, version) = self.asked.pop_front().unwrap();
        let mut reader = Reader::new(payload);
        frame::read_response_header(&mut reader, key, version).unwrap();
        Some(Response::decode(key, &mut reader, version).unwrap())
    }
}

fn poll(topic: &'static str, fetch_offset: i64) -> Request<'static> {
    let partitions = vec![fetch::RequestPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() }];
    let topics = vec![fetch::RequestTopic { topic, partitions, ..Default::default() }];
    Request::Fetch(fetch::Request { max_wait_ms: 500, min_bytes: 1, topics, ..Default::default() })
}

#[test]
fn a_poll_is_answered_when_there_is_something_or_when_its_time_is_over() {
    let mut world = World::new();
    let (mut writer, mut reader) = (world.connect(), world.connect());
    world.create(&mut writer, "t");
    reader.say(12, &poll("t", 0));
    // What is asked behind the poll waits for its turn, and comes to it though nothing further is heard.
    let cluster = Request::DescribeCluster(describe_cluster::Request::default());
    reader.say(0, &cluster);
    world.turn(&mut [&mut reader]);
    assert_eq!(reader.answer(), None);
    assert_eq!(world.produce(&mut writer, "t", NOW.wall_ms, b"hello"), 0);
    world.turn(&mut [&mut reader]);
    let Some(Response::Fetch(told)) = reader.answer() else { panic!() };
    let records = told.topics[0].partitions[0].records.unwrap();
    assert!(records.windows(5).any(|window| window == b"hello"));
    assert!(matches!(reader.answer(), Some(Response::DescribeCluster(_))));

    reader.say(12, &poll("t", 1));
    world.turn(&mut [&mut reader]);
    assert_eq!(reader.answer(), None);
    world.now.mono_ms += 500;
    world.turn(&mut [&mut reader]);
    let Some(Response::Fetch(told)) = reader.answer() else { panic!() };
    assert_eq!((told.topics[0].partitions[0].high_watermark, told.topics[0].partitions[0].records), (1, Some(&[][..])));
}

/// A batch of one record that is so large as a whole.
fn batch_of(bytes: usize) -> Vec<u8> {
    let encode = |key: &[u8], value: &[u8]| {
        let mut batch = Vec::new();
        RecordParts { key, value, ..RecordParts::default() }.encode(NOW.wall_ms, &mut batch);
        batch
    };
    let value = vec![7; bytes];
    let value = &value[..2 * bytes - encode(b"", &value).len()];
    // Its length may be shorter to write than that of all bytes.
    let missing = bytes - encode(b"", value).len();
    let batch = encode(&b"keykey"[..missing], value);
    assert_eq!(batch.len(), bytes);
    batch
}

fn produce_to(topic: &'static str, batches: &[&'static [u8]]) -> Request<'static> {
    let partition =
        |(index, batch): (usize, &&'static [u8])| produce::RequestPartition { index: index as i32, records: Some(batch) };
    let partitions = batches.iter().enumerate().map(partition).collect();
    let topics = vec![produce::RequestTopic { name: topic, partitions, ..Default::default() }];
    Request::Produce(produce::Request { acks: -1, topics, ..Default::default() })
}

impl World {
    /// Let a client say all that it has to say, and the disk do one thing a turn. Returns the most that was unsynced.
    fn outrun(&mut self, client: &mut Client) -> u64 {
        let mut most = 0;
        for _ in 0..100_000 {
            let used = self.node.receive(client.session, &client.said, self.now);
            client.said.drain(..used);
            most = most.max(self.node.statistics().storage.unsynced_bytes);
            self.node.turn(self.now).unwrap();
            let idle = !self.disk.step();
            client.heard.extend(self.node.output(client.session).unwrap().take());
            self.node.sent(client.session);
            if client.said.is_empty() && idle && self.node.idle() {
                return most;
            }
        }
        panic!("{} bytes are never used", client.said.len());
    }
}

const UNSYNCED_MAX: u64 = model::limits::UNSYNCED_BYTES_HIGH + model::limits::RECORD_BYTES_MAX as u64 + 1024 * 1024;

/// It was read on until the end of the turn, whatever it said in one round.
#[test]
fn a_producer_that_outruns_the_disk_is_held_and_loses_nothing() {
    let mut world = World::new();
    let mut client = world.connect();
    world.create(&mut client, "t");
    let batch: &[u8] = batch_of(1024 * 1024).leak();
    for _ in 0..80 {
        client.say(9, &produce_to("t", &[batch]));
    }
    let most = world.outrun(&mut client);
    assert!((model::limits::UNSYNCED_BYTES_HIGH..UNSYNCED_MAX).contains(&most), "{most}");
    for offset in 0..80 {
        let Some(Response::Produce(told)) = client.answer() else { panic!("{offset} was not answered") };
        let partition = &told.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, offset));
    }
}

/// It was carried out in one go, and nobody else was heard for as long as that took.
#[test]
fn a_request_that_names_very_much_takes_turns_with_others() {
    let mut world = World::new();
    let (mut greedy, mut other) = (world.connect(), world.connect());
    let names: Vec<String> = (0..50_000).map(|number| format!("g{number}")).collect();
    let groups = names.iter().map(String::as_str).collect();
    greedy.say(4, &Request::DescribeGroups(describe_groups::Request { groups, ..Default::default() }));
    let used = world.node.receive(greedy.session, &greedy.said, world.now);
    assert_eq!(used, greedy.said.len());
    greedy.said.clear();
    assert!(world.node.busy());
    let cluster = Request::DescribeCluster(describe_cluster::Request::default());
    other.say(0, &cluster);
    world.node.receive(other.session, &other.said, world.now);
    other.heard.extend(world.node.output(other.session).unwrap().take());
    assert!(matches!(other.answer(), Some(Response::DescribeCluster(_))));
    let mut turns = 0;
    while world.node.busy() {
        assert_eq!(world.node.output(greedy.session).unwrap().len(), 0);
        world.node.turn(world.now).unwrap();
        turns += 1;
    }
    greedy.heard.extend(world.node.output(greedy.session).unwrap().take());
    let Some(Response::DescribeGroups(told)) = greedy.answer() else { panic!() };
    assert_eq!((told.groups.len(), turns), (50_000, 3));
    // What stands behind it in the input is looked at again.
    assert!(std::iter::from_fn(|| world.node.poll_changed()).any(|id| id == greedy.session));
}

/// `max.message.bytes` bounds the batch, `socket.request.max.bytes` the request; both are what Kafka says to the byte.
#[test]
fn the_largest_batch_and_the_largest_request() {
    const BATCH_MAX: usize = 16 * 1024 * 1024 + 61;
    const REQUEST_MAX: usize = 100 * 1024 * 1024;
    let mut world = World::new();
    let mut client = world.connect();
    let config = |value| vec![create_topics::RequestConfig { name: "max.message.bytes", value: Some(value) }];
    let topic = |name, configs| create_topics::RequestTopic {
        name,
        num_partitions: 8,
        replication_factor: 1,
        configs,
        ..Default::default()
    };
    let topics = vec![topic("large", config("16777277")), topic("usual", Vec::new())];
    let create = create_topics::Request { topics, timeout_ms: 1_000, ..Default::default() };
    let Response::CreateTopics(told) = world.ask(&mut client, 5, &Request::CreateTopics(create)) else { panic!() };
    assert!(told.topics.iter().all(|topic| topic.error_code == 0));

    let codes = |client: &mut Client| -> Vec<i16> {
        let Some(Response::Produce(told)) = client.answer() else { panic!("no answer") };
        told.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
    };
    let (usual, largest) = (&*batch_of(1_048_588).leak(), &*batch_of(BATCH_MAX).leak());
    client.say(9, &produce_to("usual", &[usual, batch_of(1_048_589).leak(), largest, usual]));
    client.say(9, &produce_to("large", &[largest, batch_of(BATCH_MAX + 1).leak(), usual]));
    world.outrun(&mut client);
    let too_large = ::kafka::codec::error_code::MESSAGE_TOO_LARGE;
    assert_eq!(codes(&mut client), [0, too_large, too_large, 0]);
    assert_eq!(codes(&mut client), [0, too_large, 0]);

    // The largest request, which is held in its middle until the disk has come after.
    let framed = |last: usize| {
        let mut batches = vec![largest; 6];
        batches.push(batch_of(last).leak());
        let mut client = Client { session: SessionId(0), said: Vec::new(), heard: Vec::new(), asked: Default::default() };
        client.say(9, &produce_to("large", &batches));
        client.said
    };
    let over = framed(1_000).len() - 6 * BATCH_MAX - 1_000;
    // A longer varint before its length changes nothing here.
    let last = SIZE_BYTES + REQUEST_MAX - over - 6 * BATCH_MAX;
    client.said = framed(last);
    let excess = client.said.len() - SIZE_BYTES - REQUEST_MAX;
    client.said = framed(last - excess);
    assert_eq!(client.said.len(), SIZE_BYTES + REQUEST_MAX);
    client.asked.push_back((ApiKey::Produce, 9));
    let most = world.outrun(&mut client);
    assert!(most < UNSYNCED_MAX, "{most}");
    assert_eq!(codes(&mut client), [0; 7]);

    // One byte more ends the connection as soon as its size is heard.
    client.said = framed(last - excess + 1);
    client.said.truncate(64);
    let used = world.node.receive(client.session, &client.said, world.now);
    client.said.drain(..used);
    assert_eq!(world.node.state(client.session), SessionState::Closing);
}

/// Each partition is sought on the disk, one after the other, though the client says nothing more.
#[test]
fn offsets_by_time_are_sought_on_disk() {
    let mut world = World::new();
    let mut client = world.connect();
    let topics = ["a", "b", "c"];
    for topic in topics {
        world.create(&mut client, topic);
        for at in 0..50 {
            world.produce(&mut client, topic, NOW.wall_ms + at, b"x");
        }
    }
    let mut world = world.restart();
    let mut client = world.connect();
    let partitions = vec![list_offsets::RequestPartition { timestamp: NOW.wall_ms as i64 + 20, ..Default::default() }];
    let topics = topics.map(|name| list_offsets::RequestTopic { name, partitions: partitions.clone() }).to_vec();
    let request = Request::ListOffsets(list_offsets::Request { topics, ..Default::default() });
    let Response::ListOffsets(told) = world.ask(&mut client, 6, &request) else { panic!() };
    let told: Vec<_> = told.topics.iter().map(|topic| (topic.partitions[0].error_code, topic.partitions[0].offset)).collect();
    assert_eq!(told, [(0, 20); 3]);
}

#[test]
fn members_are_answered_when_all_have_joined() {
    let mut world = World::new();
    let (mut first, mut second) = (world.connect(), world.connect());
    let join = Request::JoinGroup(join_group::Request {
        group_id: "g",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer",
        protocols: vec![join_group::Protocol { name: "range", metadata: b"" }],
        ..Default::default()
    });
    first.say(3, &join);
    second.say(3, &join);
    world.turn(&mut [&mut first, &mut second]);
    world.now.mono_ms += 1;
    world.turn(&mut [&mut first, &mut second]);
    let answers = [first.answer(), second.answer()].map(|answer| match answer {
        Some(Response::JoinGroup(told)) => (told.error_code, told.generation_id, told.members.len()),
        other => panic!("{other:?}"),
    });
    assert_eq!(answers.map(|answer| (answer.0, answer.1)), [(0, 1); 2]);
    let mut members = answers.map(|answer| answer.2);
    members.sort_unstable();
    assert_eq!(members, [0, 2], "one leads");
}

#[test]
fn the_cluster_keeps_its_name() {
    let mut world = World::new();
    let cluster = Request::DescribeCluster(describe_cluster::Request::default());
    let id = |world: &mut World| {
        let mut client = world.connect();
        let Response::DescribeCluster(told) = world.ask(&mut client, 0, &cluster) else { panic!() };
        told.cluster_id
    };
    let before = id(&mut world);
    assert_eq!(before.len(), 22);
    assert_eq!(id(&mut world), before);
    let mut world = world.restart();
    assert_eq!(id(&mut world), before);
    assert_ne!(id(&mut World::over(SimulatedDisk::new(2))), before);
}

#[test]
fn a_guest_from_elsewhere_is_sent_away() {
    let mut world = World::new();
    let protocol = Protocol::Kafka { host: "here".into(), port: 9092 };
    let session = world.node.connect(protocol, Peer { address: "10.0.0.1:1".into(), loopback: false }, NOW);
    let mut client = Client { session, said: Vec::new(), heard: Vec::new(), asked: Default::default() };
    client.say(9, &Request::Metadata(metadata::Request::default()));
    world.turn(&mut [&mut client]);
    assert_eq!(client.answer(), None);
    assert_eq!(world.node.state(session), SessionState::Closing);
}
