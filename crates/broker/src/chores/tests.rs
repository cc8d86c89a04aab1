//! What is long is done in turns, nobody sees half of it, and the others are served between.

use model::request::{Binding, DeclareExchange, DeclareQueue, Destination};
use model::{Event, NoHeaders, Now, Publish, RecordParts, Reply, Request, Scope as ScopeId, SessionId, Table, Value};
use vfs::Vfs;
use vfs::simulated::SimulatedDisk;

use super::*;
use crate::broker::{Options, Sink};

use crate::definitions::CASCADE_AT_ONCE;
use crate::topology::SOURCES_AT_ONCE;

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
const SCOPE: ScopeId = ScopeId(1);
/// More than is done at once, and than one turn has time for.
const MANY: usize = 5_000;

/// Nobody listens.
struct Deaf;

impl Sink for Deaf {
    fn send(&mut self, _: SessionId, _: Event<'_>) -> usize {
        0
    }
}

fn binding<'a>(source: &'a str, queue: &'a str, routing_key: &'a str, arguments: &[(&str, Value)]) -> Binding<'a> {
    Binding { source, destination: Destination::Queue(queue), routing_key, arguments: table(arguments) }
}

fn table(entries: &[(&str, Value)]) -> Table {
    Table(entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

struct World {
    broker: Broker,
    disk: SimulatedDisk,
}

impl World {
    fn new() -> World {
        World::over(SimulatedDisk::new(1))
    }

    fn over(mut disk: SimulatedDisk) -> World {
        let mut broker = Broker::open(Options::default(), storage::Options::default(), &mut disk).unwrap();
        broker.start(NOW);
        let mut world = World { broker, disk };
        world.open(1);
        world
    }

    fn open(&mut self, id: u64) -> SessionId {
        self.broker.open_session(SessionId(id), true);
        self.ask(id, Request::OpenScope { scope: SCOPE });
        SessionId(id)
    }

    fn ask(&mut self, id: u64, request: Request<'_>) -> Reply {
        self.broker.request(SessionId(id), request, NOW).unwrap()
    }

    fn declare(&mut self, name: &str, durable: bool, arguments: &[(&str, Value)]) {
        let arguments = table(arguments);
        let declare = DeclareQueue { name, passive: false, durable, exclusive: false, auto_delete: false, arguments };
        self.ask(1, Request::DeclareQueue(declare));
    }

    fn declare_exchange(&mut self, name: &str, kind: &str, auto_delete: bool) {
        let arguments = Table::default();
        let declare = DeclareExchange { name, kind, passive: false, durable: true, auto_delete, internal: false, arguments };
        self.ask(1, Request::DeclareExchange(declare));
    }

    fn bind(&mut self, source: &str, queue: &str, routing_key: &str) {
        self.ask(1, Request::Bind(binding(source, queue, routing_key, &[])));
    }

    fn publish(&mut self, exchange: &str, routing_key: &str, body: &str) -> Reply {
        let record = RecordParts { key: routing_key.as_bytes(), value: body.as_bytes(), own: None, headers: &[] };
        let publish = Publish {
            scope: SCOPE,
            exchange,
            routing_key,
            more_keys: &[],
            mandatory: false,
            persistent: true,
            expiration_ms: None,
            priority: 0,
            user_id: None,
            headers: &NoHeaders,
            record,
        };
        self.ask(1, Request::Publish(publish))
    }

    fn turn(&mut self) {
        self.broker.deliver(&mut Deaf, NOW);
    }

    /// Turns until nothing is left to do; how many it took.
    fn rest(&mut self) -> usize {
        let mut turns = 0;
        while self.broker.busy() {
            self.turn();
            turns += 1;
        }
        turns
    }

    fn sync(&mut self) {
        self.broker.store_mut().poll(&mut self.disk);
        while !self.broker.store().idle() {
            while self.disk.step() {}
            while let Some(completion) = self.disk.poll() {
                self.broker.store_mut().completed(completion).unwrap();
            }
            self.broker.store_mut().poll(&mut self.disk);
        }
    }

    fn restart(mut self) -> World {
        self.disk.crash();
        World::over(self.disk)
    }

    fn ready(&self, queue: &str) -> u64 {
        let id = self.broker.topology.queue_id(0, queue).unwrap();
        self.broker.topology.queues[&id].ready
    }
}

/// It went through all bindings of the queue for each of them: 25 s for 50,000, in which nobody was served.
#[test]
fn a_queue_with_many_bindings_is_gone_at_once_and_they_follow_in_turns() {
    for kind in ["direct", "topic", "fanout"] {
        let mut world = World::new();
        world.declare_exchange("x", kind, false);
        world.declare("q", true, &[]);
        world.declare("other", true, &[]);
        for number in 0..MANY {
            world.bind("x", "q", &number.to_string());
        }
        world.bind("x", "other", "7");
        world.ask(1, Request::DeleteQueue { name: "q", if_unused: false, if_empty: false });
        assert_eq!(world.broker.topology.bindings(), 1);
        world.publish("x", "7", "");
        assert_eq!(world.ready("other"), 1, "{kind}: the route leads to nothing that is gone");
        world.declare("q", true, &[]);
        assert!(world.rest() >= MANY / STEPS, "{kind}: it was not done in one go");
        world.publish("x", "7", "");
        assert_eq!((world.ready("other"), world.ready("q")), (2, 0));
        world.bind("x", "q", "7");
        world.publish("x", "7", "");
        assert_eq!((world.ready("other"), world.ready("q")), (3, 1), "{kind}: nothing new was taken for old");
    }
}

#[test]
fn an_exchange_with_many_bindings_is_gone_at_once_and_they_follow_in_turns() {
    let mut world = World::new();
    world.declare_exchange("x", "topic", false);
    world.declare("q", true, &[]);
    for number in 0..MANY {
        world.bind("x", "q", &number.to_string());
    }
    world.ask(1, Request::DeleteExchange { name: "x", if_unused: false });
    assert_eq!(world.broker.topology.bindings(), 0);
    assert!(world.rest() >= MANY / STEPS);
    assert!(world.broker.topology.queues.values().all(|queue| queue.bound.is_empty()), "the queue remembers nothing of it");
}

/// The deletion of the queue was one entry, that of each exchange another: a crash between them left exchanges behind that
/// nothing was bound to and nobody would delete.
#[test]
fn auto_delete_exchanges_go_with_their_last_binding_even_over_a_crash() {
    let many = CASCADE_AT_ONCE + 3 * DELETIONS;
    for with_checkpoint in [false, true] {
        let mut world = World::new();
        world.declare("q", true, &[]);
        world.declare("other", true, &[]);
        let before = world.broker.topology.exchanges.len();
        for number in 0..many {
            let name = number.to_string();
            world.declare_exchange(&name, "direct", true);
            world.bind(&name, "q", "");
        }
        world.ask(1, Request::DeleteQueue { name: "q", if_unused: false, if_empty: false });
        let left = world.broker.topology.exchanges.len() - before;
        assert_eq!(left, many - CASCADE_AT_ONCE);
        world.turn();
        if with_checkpoint {
            world.broker.checkpoint();
        }
        // One of them is used again before its turn comes.
        let spared = world.broker.topology.orphans.back().copied().unwrap();
        let spared = world.broker.topology.exchanges[&spared].name.clone();
        world.bind(&spared, "other", "");
        world.sync();
        let mut world = world.restart();
        world.rest();
        assert_eq!(world.broker.topology.exchanges.len(), before + 1, "checkpoint: {with_checkpoint}");
        assert!(world.broker.topology.exchange_id(0, &spared).is_ok());
    }
}

/// Clients write tables in no particular order: unbinding did nothing, and binding again made a second binding.
#[test]
fn a_binding_is_found_by_its_arguments_in_any_order_at_every_depth() {
    let inner = [("a", Value::I32(1)), ("b", Value::Bool(true))];
    let inner_turned = [inner[1].clone(), inner[0].clone()];
    let listed = |inner: &[(&str, Value)]| Value::List(vec![Value::Table(table(inner)), Value::Void]);
    let order = [("x-match", Value::Text("any".into())), ("k", Value::Text("v".into())), ("t", listed(&inner))];
    let other = [("t", listed(&inner_turned)), ("k", Value::Text("v".into())), ("x-match", Value::Text("any".into()))];
    for kind in ["direct", "topic", "fanout", "headers"] {
        let mut world = World::new();
        world.declare_exchange("x", kind, false);
        world.declare("q", true, &[]);
        world.ask(1, Request::Bind(binding("x", "q", "k", &order)));
        world.ask(1, Request::Bind(binding("x", "q", "k", &other)));
        assert_eq!(world.broker.topology.bindings(), 1, "{kind}");
        world.ask(1, Request::Bind(binding("x", "q", "k", &other[1..])));
        assert_eq!(world.broker.topology.bindings(), 2, "{kind}: fewer arguments are another binding");
        world.ask(1, Request::Unbind(binding("x", "q", "k", &order)));
        assert_eq!(world.broker.topology.bindings(), 1, "{kind}");
        world.sync();
        let mut world = world.restart();
        assert_eq!(world.broker.topology.bindings(), 1, "{kind}");
        let rest = [order[0].clone(), order[1].clone()];
        world.ask(1, Request::Unbind(binding("x", "q", "k", &rest)));
        assert_eq!(world.broker.topology.bindings(), 0, "{kind}");
    }
}

/// A checkpoint between the deletion of a stream and the moment when all exchanges know wrote bindings to nothing.
#[test]
fn no_binding_to_a_stream_that_is_gone_outlives_it() {
    let many = SOURCES_AT_ONCE + 10;
    let mut world = World::new();
    world.declare("s", true, &[("x-queue-type", Value::Text("stream".into()))]);
    for number in 0..many {
        let name = number.to_string();
        world.declare_exchange(&name, "direct", false);
        world.bind(&name, "s", "");
    }
    world.ask(1, Request::DeleteQueue { name: "s", if_unused: false, if_empty: false });
    for number in 0..many {
        let reply = world.publish(&number.to_string(), "", "");
        assert!(matches!(reply, Reply::Published { routed: false, .. }), "{reply:?}");
    }
    world.broker.checkpoint();
    world.sync();
    let world = world.restart();
    assert_eq!(world.broker.topology.bindings(), 0);
}
