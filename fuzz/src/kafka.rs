//! A whole broker and its Kafka clients: a node over a disk that is simulated, and connections that say any bytes in any
//! pieces, or any request in any version with contents that mean something, so that it gets deep.
//!
//! ```text
//! input: turns: op u8, len u8, bytes
//! op % 4    which of four connections
//! op / 4    0..12   the bytes arrive, cut anywhere
//!           12..56  a request: which API and version, and its contents, from the bytes
//!           from 56 time passes, a connection goes, the power fails, a broker stops and starts
//! ```

use std::collections::VecDeque;

use kafka::client::decode;
use kafka::codec::frame::{self, SIZE_BYTES, Split};
use kafka::codec::sample::{SampleApi as _, Source};
use kafka::codec::{ApiKey, Reader, Request, RequestHeader, Response, consumer_protocol, create_topics};
use model::record::{RecordParts, attribute, seal};
use model::{Now, SessionId, SessionState};
use node::{Node, Options, Peer, Protocol};
use vfs::simulated::SimulatedDisk;

/// What texts are likely to be: topics, groups, transactional ids, members, settings and their values.
const WORDS: &[&str] = &[
    "",
    "a",
    "b",
    "group",
    "tx",
    "consumer",
    "range",
    "cleanup.policy",
    "compact",
    "retention.bytes",
    "100",
    "segment.ms",
    "message.timestamp.type",
    "LogAppendTime",
    "max.message.bytes",
    MEMBER,
    "PLAIN",
    "1",
];
/// Stands for the member id that was told last.
const MEMBER: &str = "member";
/// Stands, as a generation, for the one that was told last.
const GENERATION: i32 = 1;
/// Topics that are there from the beginning; the second one is compacted.
const TOPICS: [&str; 2] = ["a", "b"];
const CLIENTS: usize = 4;
/// Rounds without rest that are more than anything can need.
const ROUNDS_MAX: usize = 20_000;
/// The largest answer that is looked at.
const FRAME_BYTES_MAX: usize = 1 << 28;

/// A connection.
struct Client {
    session: SessionId,
    /// Said and not used.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// Questions without an answer so far; `None`: it has said what may be anything.
    asked: Option<VecDeque<(ApiKey, i16)>>,
}

struct World {
    node: Node,
    disk: SimulatedDisk,
    now: Now,
    clients: Vec<Client>,
    /// What was told last.
    member: String,
    generation: i32,
    producer: (i64, i16),
    sequence: i32,
}

fn open(disk: &SimulatedDisk, now: Now) -> Node {
    let mut options = Options { cache_bytes: 256 * 1024, transient_bytes: 64 * 1024, ..Options::default() };
    options.groups.initial_rebalance_delay_ms = 0;
    options.storage.journal.segment_bytes = 64 * 1024;
    options.storage.journal.spare_files = 0;
    options.storage.journal_bytes = 64 * 1024;
    Node::open(options, Box::new(disk.clone()), now).expect("what it wrote it can read")
}

impl World {
    fn new() -> World {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let disk = SimulatedDisk::new(1);
        let node = open(&disk, now);
        let mut world = World {
            node,
            disk,
            now,
            clients: Vec::new(),
            member: String::new(),
            generation: 1,
            producer: (1000, 0),
            sequence: 0,
        };
        world.clients = (0..CLIENTS).map(|_| world.connect()).collect();
        let [plain, compacted] = TOPICS.map(|name| create_topics::RequestTopic {
            name,
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        });
        let settings = [("cleanup.policy", "compact"), ("segment.ms", "1"), ("delete.retention.ms", "0")];
        let configs = settings.map(|(name, value)| create_topics::RequestConfig { name, value: Some(value) }).to_vec();
        let topics = vec![plain, create_topics::RequestTopic { configs, ..compacted }];
        let request = create_topics::Request { topics, ..Default::default() };
        world.ask(0, 7, &Request::CreateTopics(request));
        world.turn();
        world
    }

    fn connect(&mut self) -> Client {
        let protocol = Protocol::Kafka { host: "here".into(), port: 9092 };
        let peer = Peer { address: "127.0.0.1:40000".into(), loopback: true };
        let session = self.node.connect(protocol, peer, self.now);
        Client { session, said: Vec::new(), heard: Vec::new(), asked: Some(VecDeque::new()) }
    }

    fn reconnect(&mut self, index: usize) {
        self.node.disconnect(self.clients[index].session, self.now);
        self.clients[index] = self.connect();
    }

    /// Say a request.
    fn ask(&mut self, index: usize, version: i16, request: &Request<'_>) {
        let client = &mut self.clients[index];
        let header =
            RequestHeader { api_key: request.key().number(), api_version: version, correlation_id: 7, client_id: Some("f") };
        frame::put_frame(&mut client.said, |out| {
            header.encode(out);
            request.encode(out, version);
        });
        let silent = matches!(request, Request::Produce(request) if request.acks == 0);
        if let Some(asked) = client.asked.as_mut().filter(|_| !silent) {
            asked.push_back((request.key(), version));
        }
    }

    /// Go on until nobody has anything to do.
    fn turn(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for client in self.clients.iter_mut().filter(|client| !client.said.is_empty()) {
                let used = self.node.receive(client.session, &client.said, self.now);
                client.said.drain(..used);
                moved |= used > 0;
            }
            while self.disk.step() {}
            assert!(self.node.turn(self.now).is_ok(), "the disk is sound");
            while self.node.poll_changed().is_some() {
                moved = true;
            }
            for client in &mut self.clients {
                let Some(output) = self.node.output(client.session) else { continue };
                let said = output.take();
                self.node.sent(client.session);
                moved |= !said.is_empty();
                client.heard.extend(said);
            }
            if !moved && !self.node.busy() && self.disk.pending() == 0 {
                self.listen();
                return;
            }
        }
        panic!("the broker never comes to rest");
    }

    /// What is said are whole frames, and the answers to what was asked.
    fn listen(&mut self) {
        for index in 0..self.clients.len() {
            let heard = std::mem::take(&mut self.clients[index].heard);
            let mut rest = &heard[..];
            while !rest.is_empty() {
                let Ok(Split::Frame(body)) = frame::split(rest, FRAME_BYTES_MAX) else { panic!("half a frame") };
                rest = &rest[SIZE_BYTES + body.len()..];
                let Some(asked) = &mut self.clients[index].asked else { continue };
                let (key, version) = asked.pop_front().expect("an answer that nobody asked for");
                let (_, response) = decode(body, key, version).expect("an answer that can be read");
                match response {
                    Response::JoinGroup(told) => {
                        self.member = told.member_id.to_owned();
                        self.generation = told.generation_id;
                    }
                    Response::InitProducerId(told) => {
                        self.producer = (told.producer_id, told.producer_epoch);
                        self.sequence = 0;
                    }
                    Response::EndTxn(told) if told.producer_id >= 0 => {
                        self.producer = (told.producer_id, told.producer_epoch);
                        self.sequence = 0;
                    }
                    _ => {}
                }
            }
            if self.node.state(self.clients[index].session) == SessionState::Closing {
                self.reconnect(index);
            }
        }
    }

    /// Time passes, and what is due is done.
    fn wait(&mut self, ms: u64) {
        let until = self.now.mono_ms + ms;
        for _ in 0..100 {
            let Some(due) = self.node.poll_timeout().filter(|due| *due < until) else { break };
            let due = due.max(self.now.mono_ms + 1);
            self.now.wall_ms += due - self.now.mono_ms;
            self.now.mono_ms = due;
            self.turn();
        }
        self.now.wall_ms += until.saturating_sub(self.now.mono_ms);
        self.now.mono_ms = until.max(self.now.mono_ms);
        self.turn();
    }

    /// Another broker over what this one has left behind.
    fn restart(&mut self, power_fails: bool) {
        if power_fails {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        self.node = open(&self.disk, self.now);
        self.clients = (0..CLIENTS).map(|_| self.connect()).collect();
    }

    /// A request of one of these kinds, with contents from the bytes.
    fn request(&mut self, index: usize, keys: &[ApiKey], bytes: &[u8]) {
        let [which, version, bytes @ ..] = bytes else { return };
        let key = keys[usize::from(*which) % keys.len()];
        let versions = key.versions();
        let count = i16::from(*version) % (versions.end() - versions.start() + 1);
        let version = versions.end() - count;
        let member = self.member.clone();
        let words: Vec<&str> = WORDS.iter().map(|word| if *word == MEMBER { &member } else { *word }).collect();
        let source = &mut Source::likely(bytes, &words);
        let mut request = Request::sample(key, source, version);
        let rest = source.rest();
        let (batch, metadata, assignment);
        let generation = |said: &mut i32| *said = if *said == GENERATION { self.generation } else { *said };
        match &mut request {
            Request::Produce(request) => {
                batch = self.batch(rest, request.transactional_id.is_some());
                for partition in request.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    // Some records of any bytes are left.
                    if partition.records.is_none_or(|records| records.len() != 3) {
                        partition.records = Some(&batch);
                    }
                }
            }
            Request::JoinGroup(request) if rest.len() % 4 != 3 => {
                let subscription = consumer_protocol::Subscription { topics: TOPICS.to_vec(), ..Default::default() };
                metadata = consumer_protocol::encode(&subscription, 1);
                request.session_timeout_ms = request.session_timeout_ms.max(6_000);
                for protocol in &mut request.protocols {
                    protocol.metadata = &metadata;
                }
            }
            Request::Heartbeat(request) => generation(&mut request.generation_id),
            Request::OffsetCommit(request) => generation(&mut request.generation_id_or_member_epoch),
            Request::SyncGroup(request) => {
                generation(&mut request.generation_id);
                assignment = rest.to_vec();
                for assigned in &mut request.assignments {
                    assigned.assignment = &assignment;
                }
            }
            Request::EndTxn(request) => (request.producer_id, request.producer_epoch) = self.producer,
            Request::AddPartitionsToTxn(request) => (request.producer_id, request.producer_epoch) = self.producer,
            Request::AddOffsetsToTxn(request) => (request.producer_id, request.producer_epoch) = self.producer,
            Request::TxnOffsetCommit(request) => (request.producer_id, request.producer_epoch) = self.producer,
            _ => {}
        }
        // What is written is read back the same.
        let mut body = Vec::new();
        request.encode(&mut body, version);
        let mut reader = Reader::new(&body);
        assert_eq!(Request::decode(key, &mut reader, version).as_ref(), Ok(&request));
        assert!(reader.rest().is_empty());
        self.ask(index, version, &request);
        if key == ApiKey::SaslHandshake && version == 0 {
            // What comes next is no request.
            self.clients[index].asked = None;
        }
    }

    /// A sound batch of one record, or one whose head the bytes have changed.
    fn batch(&mut self, bytes: &[u8], transactional: bool) -> Vec<u8> {
        let [kind, bytes @ ..] = bytes else { return Vec::new() };
        let mut batch = Vec::new();
        let key = bytes.get(..1).unwrap_or_default();
        let value = bytes.repeat(if kind & 64 == 64 { 100 } else { 1 });
        RecordParts { key, value: &value, ..RecordParts::default() }.encode(self.now.wall_ms, &mut batch);
        if transactional || kind & 1 == 1 {
            batch[43..51].copy_from_slice(&self.producer.0.to_be_bytes());
            batch[51..53].copy_from_slice(&self.producer.1.to_be_bytes());
            batch[53..57].copy_from_slice(&self.sequence.to_be_bytes());
            self.sequence = self.sequence.wrapping_add(i32::from(kind & 2 == 0));
        }
        if transactional {
            batch[21..23].copy_from_slice(&attribute::TRANSACTIONAL.to_be_bytes());
        }
        if kind & 32 == 32 {
            // Compressed, it says.
            batch[22] |= key.first().map_or(0, |codec| codec & 7);
        }
        if kind & 12 == 12 {
            for pair in bytes.chunks_exact(2) {
                let at = usize::from(pair[0]) % batch.len();
                batch[at] = pair[1];
            }
        }
        if kind & 16 == 0 {
            seal(&mut batch);
        }
        batch
    }
}

/// Play the input's turns against requests of these kinds.
pub fn play(data: &[u8], keys: &[ApiKey]) {
    let mut world = World::new();
    let mut turns = data;
    while let Some((&[op, len], rest)) = turns.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
        turns = rest;
        let index = usize::from(op) % CLIENTS;
        match op / 4 {
            0..12 => {
                world.clients[index].said.extend_from_slice(bytes);
                world.clients[index].asked = None;
            }
            12..56 => world.request(index, keys, bytes),
            56 => world.restart(true),
            57 => world.restart(false),
            58 => world.reconnect(index),
            59 => world.wait(u64::from(len) * 1_000),
            60 => {
                world.turn();
                world.node.shutdown(world.now);
                world.turn();
                world.restart(false);
            }
            _ => world.wait(u64::from(len) * 10),
        }
        world.turn();
    }
}
