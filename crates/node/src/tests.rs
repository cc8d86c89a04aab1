//! A node over a simulated disk, and one client by its own account.

use amqp::client::{Client, ClientEvent, ConnectOptions, Message, PublishTemplate};
use amqp::codec::{Method, Properties, RawTable, basic, field, queue, tx};
use model::{Now, SessionId, SessionState, Table, Value};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use crate::{Node, Options, Peer, Protocol};

mod damage;
mod dead_letters;
mod expiry;
mod fairness;
mod full_disk;
mod held;
mod kafka;
mod queues;
mod streams;
mod transactions;

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

struct World {
    options: Options,
    node: Node,
    disk: SimulatedDisk,
    now: Now,
    client: Client,
    session: SessionId,
    /// What the client has said and the node has not used.
    said: Vec<u8>,
    /// What the node has answered and the client has not read.
    heard: Vec<u8>,
    /// Messages that came, by delivery or as the answer to a get.
    taken: Vec<Taken>,
}

/// A message that came.
#[derive(Clone, Debug, PartialEq)]
struct Taken {
    tag: u64,
    body: String,
    exchange: String,
    key: String,
    headers: Table,
}

impl Taken {
    fn new(tag: u64, message: &Message<'_>) -> Taken {
        let headers = message.properties().unwrap().headers;
        Taken {
            tag,
            body: String::from_utf8_lossy(message.body).into_owned(),
            exchange: message.exchange.into(),
            key: message.routing_key.into(),
            headers: headers.map(|table| table.decode().unwrap()).unwrap_or_default(),
        }
    }

    /// Queue, reason and count of each death, newest first.
    fn deaths(&self) -> Vec<(String, String, i64)> {
        let Some(Value::List(deaths)) = self.headers.get("x-death") else { return Vec::new() };
        let deaths = deaths.iter().map(|death| match death {
            Value::Table(death) => death,
            other => panic!("not a table: {other:?}"),
        });
        let text = |death: &Table, name: &str| death.get(name).and_then(Value::as_text).unwrap().to_owned();
        deaths
            .map(|death| (text(death, "queue"), text(death, "reason"), death.get("count").unwrap().as_integer().unwrap()))
            .collect()
    }
}

impl World {
    /// Logged in, with channel 1 open.
    fn new() -> World {
        World::over(SimulatedDisk::new(1), Options::default())
    }

    fn over(disk: SimulatedDisk, options: Options) -> World {
        World::with(disk, options, ConnectOptions::default())
    }

    fn with(disk: SimulatedDisk, options: Options, connect: ConnectOptions<'_>) -> World {
        let mut node = Node::open(options.clone(), Box::new(disk.clone()), NOW).unwrap();
        let peer = Peer { address: "here".into(), loopback: true };
        let session = node.connect(Protocol::Amqp, peer, NOW);
        let mut said = Vec::new();
        let client = Client::connect(&connect, &mut said);
        let mut world = World { options, node, disk, now: NOW, client, session, said, heard: Vec::new(), taken: Vec::new() };
        world.talk();
        world.client.open_channel(&mut world.said, 1);
        world.talk();
        world
    }

    /// The power fails, and the node is started again.
    fn restart(mut self) -> World {
        self.disk.crash();
        World::over(self.disk, self.options)
    }

    /// So much later.
    fn wait(&mut self, ms: u64) -> Vec<String> {
        let mut events = self.talk();
        self.now = Now { mono_ms: self.now.mono_ms + ms, wall_ms: self.now.wall_ms + ms };
        events.extend(self.talk());
        events
    }

    /// Offer what the client has said, once. True: some of it was used.
    fn offer(&mut self) -> bool {
        let used = self.node.receive(self.session, &self.said, self.now);
        self.said.drain(..used);
        used > 0
    }

    /// Read what waits, as a socket that takes everything would.
    fn read(&mut self) {
        let output = self.node.output(self.session).unwrap();
        self.heard.extend(output.take());
        self.node.sent(self.session);
    }

    /// Go on until nobody has anything to say; what the client heard, in short.
    fn talk(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            let used = self.offer();
            while self.disk.step() {}
            self.node.turn(self.now).unwrap();
            self.read();
            let heard = std::mem::take(&mut self.heard);
            let mut rest = &heard[..];
            while let Some(event) = self.client.receive(&mut rest, &mut self.said).unwrap() {
                events.push(match event {
                    ClientEvent::Got { message, tag, .. } | ClientEvent::Delivered { message, tag, .. } => {
                        self.taken.push(Taken::new(tag, &message));
                        String::from_utf8_lossy(message.body).into_owned()
                    }
                    ClientEvent::ChannelClosed { code, text, .. } | ClientEvent::Closed { code, text } => {
                        format!("{code} {text}")
                    }
                    ClientEvent::Method { method: Method::QueueDeclareOk(ok), .. } => format!("{} ready", ok.message_count),
                    ClientEvent::Method { method: Method::QueuePurgeOk(ok), .. } => format!("{} purged", ok.message_count),
                    other => format!("{other:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned(),
                });
            }
            self.heard = rest.to_vec();
            if !used && heard.is_empty() && !self.node.busy() && self.disk.pending() == 0 {
                return events;
            }
        }
    }

    fn declare(&mut self, name: &str, arguments: &[(&str, Value)]) {
        self.declare_as(queue::Declare { queue: name, ..Default::default() }, arguments);
    }

    fn declare_as(&mut self, declare: queue::Declare<'_>, arguments: &[(&str, Value)]) {
        self.client.declare_queue(&mut self.said, 1, declare, &table(arguments));
        assert_eq!(self.talk(), ["0 ready"]);
    }

    fn bind(&mut self, name: &str, exchange: &str, arguments: &[(&str, Value)]) {
        let arguments = field::encode_entries(&table(arguments));
        let bind = queue::Bind { queue: name, exchange, arguments: RawTable(&arguments), ..Default::default() };
        self.client.send(&mut self.said, 1, &bind);
        assert_eq!(self.talk(), ["Method"]);
    }

    fn publish_durably(&mut self, queue: &str, priority: u8, body: &str) {
        let properties = Properties { delivery_mode: Some(2), priority: Some(priority), ..Properties::default() };
        self.client.publish(&mut self.said, 1, "", queue, &properties, body.as_bytes());
    }

    fn publish(&mut self, queue: &str, body: &str) {
        self.client.publish(&mut self.said, 1, "", queue, &Properties::default(), body.as_bytes());
    }

    fn publish_for(&mut self, queue: &str, expiration: &str, priority: u8, body: &str) {
        let properties = Properties { expiration: Some(expiration), priority: Some(priority), ..Properties::default() };
        self.client.publish(&mut self.said, 1, "", queue, &properties, body.as_bytes());
    }

    fn publish_with(&mut self, queue: &str, headers: &[(&str, Value)], body: &str) {
        let headers = field::encode_entries(&table(headers));
        let properties = Properties { headers: Some(RawTable(&headers)), ..Properties::default() };
        self.client.publish(&mut self.said, 1, "", queue, &properties, body.as_bytes());
    }

    /// Take one message, to be settled.
    fn get(&mut self, queue: &str) -> Option<Taken> {
        self.client.get(&mut self.said, 1, queue, false);
        self.talk();
        self.taken.pop()
    }

    fn cancel(&mut self, channel: u16, tag: &str) {
        self.client.send(&mut self.said, channel, &basic::Cancel { consumer_tag: tag, no_wait: false });
    }

    fn reject(&mut self, tag: u64, requeue: bool) {
        self.client.send(&mut self.said, 1, &basic::Reject { delivery_tag: tag, requeue });
        self.talk();
    }

    /// Commit a transaction of which something does not fit; channel 1 is new then.
    fn commit_in_part(&mut self) {
        self.client.send(&mut self.said, 1, &tx::Commit {});
        assert_eq!(self.talk().last().map(String::as_str), Some("406 PRECONDITION_FAILED - partial tx completion"));
        self.client.open_channel(&mut self.said, 1);
        self.talk();
    }

    /// Everything in a queue, oldest first.
    fn drain(&mut self, queue: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            self.client.get(&mut self.said, 1, queue, true);
            let events = self.talk();
            match &events[..] {
                [event] if event == "Empty" => return bodies,
                _ => {
                    self.taken.clear();
                    bodies.extend(events);
                }
            }
        }
    }
}

fn table(entries: &[(&str, Value)]) -> Table {
    Table(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// Answers fill the output too, not only deliveries: a client that had not read its returned messages for a while was
/// never listened to again.
#[test]
fn one_whose_answers_filled_the_output_is_heard_again_once_it_has_read() {
    let mut world = World::new();
    let publish = basic::Publish { exchange: "", routing_key: "nobody", mandatory: true, ..Default::default() };
    let template = PublishTemplate::new(1, publish, &Properties::default());
    for _ in 0..64 {
        template.put(&mut world.said, world.client.frame_max(), &[7; 64 * 1024]);
    }
    while world.offer() {}
    assert!(!world.node.may_read(world.session) && !world.said.is_empty(), "the output is not full");
    while world.node.poll_changed().is_some() {}
    world.read();
    assert_eq!(world.node.poll_changed(), Some(world.session));
    // Asked as often as it is named, it uses everything.
    while !world.said.is_empty() {
        world.offer();
        world.read();
        assert!(world.said.is_empty() || world.node.poll_changed().is_some(), "{} bytes are never used", world.said.len());
    }
}

/// It dropped its oldest message to make room for one that it should have refused.
#[test]
fn a_dead_letter_does_not_push_older_messages_out_of_a_queue_that_refuses() {
    let mut world = World::new();
    world.declare("full", &[("x-max-length", Value::I32(1)), ("x-overflow", text("reject-publish"))]);
    let onward = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("full"))];
    world.declare("before", &[("x-max-length", Value::I32(0)), onward[0].clone(), onward[1].clone()]);
    world.publish("full", "first");
    world.publish("full", "refused");
    world.publish("before", "dead letter");
    world.talk();
    assert_eq!(world.drain("full"), ["first"]);
}

/// What does not fit is noticed after the queue was served; its letter must not lie there until somebody comes by.
#[test]
fn what_a_busy_consumer_leaves_over_is_dead_lettered_at_once() {
    let mut world = World::new();
    let onward = [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("after"))];
    world.declare("short", &[("x-max-length", Value::I32(1)), onward[0].clone(), onward[1].clone()]);
    world.declare("after", &[]);
    world.client.prefetch(&mut world.said, 1, 1);
    world.client.consume(&mut world.said, 1, "short", "busy", false);
    world.talk();
    for body in ["taken", "left over", "kept"] {
        world.publish("short", body);
        world.talk();
    }
    assert_eq!(world.drain("after"), ["left over"]);
}

/// Bounds so small that what nobody takes goes to segments.
fn small() -> Options {
    let mut storage = storage::Options::default();
    storage.journal.segment_bytes = 64 * 1024;
    storage.journal_bytes = 128 * 1024;
    storage.sizes.page_out_bytes = 1;
    Options { storage, cache_bytes: 32 * 1024, ..Options::default() }
}

fn durable() -> queue::Declare<'static> {
    queue::Declare { queue: "q", durable: true, ..Default::default() }
}

/// What lay in segments counted as priority 0 after a restart, and so did what was paged out before it came back.
#[test]
fn priorities_outlive_page_out_and_restart() {
    let mut world = World::over(SimulatedDisk::new(1), small());
    world.declare_as(durable(), &[("x-max-priority", Value::I32(9))]);
    let body = |number: usize| format!("{:04}{}", number, "x".repeat(2_000));
    for number in 0..400 {
        world.publish_durably("q", (number * 7 % 10) as u8, &body(number));
        world.talk();
    }
    assert!(!world.disk.list("segments").unwrap().is_empty(), "nothing was paged out");
    let mut expected: Vec<usize> = (0..400).collect();
    expected.sort_by_key(|number| (9 - number * 7 % 10, *number));
    // One is handed out and not settled: it comes back to its place.
    world.client.get(&mut world.said, 1, "q", false);
    assert_eq!(world.talk(), [body(expected[0])]);
    let mut world = world.restart();
    let drained = world.drain("q");
    assert_eq!(drained.len(), 400);
    for (got, number) in drained.iter().zip(expected) {
        assert_eq!(got[..4], body(number)[..4]);
    }
}

/// What lay in segments counted as nothing against the bound until it was read.
#[test]
fn a_bound_in_bytes_holds_to_the_byte_after_a_restart() {
    let mut world = World::over(SimulatedDisk::new(1), small());
    world.declare_as(durable(), &[("x-max-length-bytes", Value::I32(400_000))]);
    let body = |number: usize| format!("{number:04}{}", "x".repeat(996));
    for number in 0..400 {
        world.publish_durably("q", 0, &body(number));
        world.talk();
    }
    assert!(!world.disk.list("segments").unwrap().is_empty(), "nothing was paged out");
    let mut world = world.restart();
    world.publish_durably("q", 0, &body(400));
    world.talk();
    let drained = world.drain("q");
    assert_eq!((drained.len(), &drained[0][..4]), (400, "0001"));
}
