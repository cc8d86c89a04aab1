//! Writing histories: what clients send and are told, in a few words.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::checker::model::{Delivery, Outcome};
use crate::checker::topology::Change;
use crate::checker::{ChanId, ConnId, Model, Violation};
use crate::message::{self, Message, MsgId};
use crate::plan::{ExchangeIx, ExchangePlan, Kind, Plan, QueueIx, QueuePlan};

/// Durable; one channel takes from it.
pub const SINGLE: QueueIx = 0;
/// Durable; several channels take from it.
pub const SHARED: QueueIx = 1;
/// Gone after a restart.
pub const FLEETING: QueueIx = 2;

pub const DEFAULT: ExchangeIx = 0;
/// Durable.
pub const FANOUT: ExchangeIx = 1;
pub const HEADERS: ExchangeIx = 2;
pub const TOPIC: ExchangeIx = 3;
/// Gone after a restart.
pub const BRIEF: ExchangeIx = 4;

/// Three clients on one channel each, and three queues that exist.
pub struct History {
    pub model: Model,
    /// Their channels in this life of the broker.
    pub publisher: ChanId,
    pub taker: ChanId,
    pub other: ChanId,
    /// What each channel has sent, counted.
    ops: BTreeMap<ChanId, u32>,
    published: BTreeMap<MsgId, (ChanId, u32)>,
    tags: BTreeMap<(ChanId, MsgId), u64>,
    tag: u64,
}

pub fn plan() -> Plan {
    let queue = |name: &str, durable, single| QueuePlan {
        name: name.into(),
        durable,
        owner: None,
        auto_delete: false,
        single,
        no_ack: false,
    };
    let exchange =
        |name: &str, kind, durable| ExchangePlan { name: name.into(), kind, durable, predeclared: kind == Kind::Default };
    Plan {
        seed: 0,
        queues: vec![queue("single", true, true), queue("shared", true, false), queue("fleeting", false, false)],
        exchanges: vec![
            exchange("", Kind::Default, true),
            exchange("fanout", Kind::Fanout, true),
            exchange("headers", Kind::Headers, true),
            exchange("topic", Kind::Topic, true),
            exchange("brief", Kind::Fanout, false),
        ],
        clients: 3,
        steps: 0,
        node: node::Options::default(),
        fault_odds: 0,
        rare_odds: 0,
        body_bytes_max: 100,
        exchange_percent: 0,
        thirst: 0,
        transaction_percent: 0,
        expiring_odds: 0,
        amqp: true,
        kafka: false,
    }
}

impl History {
    pub fn new() -> History {
        let mut history = History {
            model: Model::new(Rc::new(plan())),
            publisher: ChanId(0),
            taker: ChanId(0),
            other: ChanId(0),
            ops: BTreeMap::new(),
            published: BTreeMap::new(),
            tags: BTreeMap::new(),
            tag: 0,
        };
        for queue in [SINGLE, SHARED, FLEETING] {
            history.change(Change::DeclareQueue(queue));
        }
        history.connect(0);
        history
    }

    /// Everybody connects, for the `life`th time, and the takers take.
    fn connect(&mut self, life: u32) {
        [self.publisher, self.taker, self.other] = [1, 2, 3].map(|client| ChanId(life * 3 + client));
        for chan in [self.publisher, self.taker, self.other] {
            self.model.open_channel(ConnId(chan.0), chan);
        }
        for queue in [SINGLE, SHARED, FLEETING] {
            self.model.takes(self.taker, queue, false);
        }
        self.model.takes(self.other, SHARED, false);
    }

    /// The number of the next thing that the channel sends.
    pub fn op(&mut self, chan: ChanId) -> u32 {
        let op = self.ops.entry(chan).or_default();
        *op += 1;
        *op
    }

    /// A change is asked for and answered.
    pub fn change(&mut self, change: Change) {
        let pending = self.model.topology.sent(change);
        self.model.topology_changed();
        self.model.topology.done(&pending);
        self.model.topology_changed();
    }

    /// The next message, persistent and straight to a queue.
    pub fn message(&self, publisher: ChanId, queue: QueueIx) -> Message {
        Message {
            id: self.model.next_message(),
            publisher,
            exchange: DEFAULT,
            key: self.model.queue_name(queue).to_owned(),
            persistent: true,
            body_len: 20,
            expiration: None,
            mandatory: false,
            sent_at: 0,
        }
    }

    pub fn send(&mut self, message: Message) -> MsgId {
        let (id, chan) = (message.id, message.publisher);
        let op = self.op(chan);
        self.published.insert(id, (chan, op));
        self.model.published(message, op);
        id
    }

    pub fn publish(&mut self, queue: QueueIx) -> MsgId {
        self.send(self.message(self.publisher, queue))
    }

    pub fn publish_to(&mut self, exchange: ExchangeIx, key: &str) -> MsgId {
        let message = Message { exchange, key: key.into(), ..self.message(self.publisher, SINGLE) };
        self.send(message)
    }

    pub fn confirm(&mut self, id: MsgId) {
        let (chan, op) = self.published[&id];
        self.model.confirmed(chan, op, id);
    }

    /// Publish and confirm so many, all to one queue.
    pub fn safe<const N: usize>(&mut self, queue: QueueIx) -> [MsgId; N] {
        let ids = [(); N].map(|()| self.publish(queue));
        ids.iter().for_each(|id| self.confirm(*id));
        ids
    }

    /// Hand over a message as it was sent, but for what `change` does to it.
    pub fn hand_over(
        &mut self,
        chan: ChanId,
        queue: QueueIx,
        sent: &Message,
        redelivered: bool,
        change: impl FnOnce(&mut Delivery<'_>),
    ) -> Result<MsgId, Violation> {
        let (raw_properties, mut body) = (message::properties(sent), Vec::new());
        message::body(sent.id, sent.body_len, &mut body);
        let exchange = self.model.plan.exchanges[sent.exchange].name.clone();
        self.tag += 1;
        self.tags.insert((chan, sent.id), self.tag);
        let mut delivery = Delivery {
            chan,
            queue,
            tag: self.tag,
            redelivered,
            no_ack: false,
            exchange: &exchange,
            routing_key: &sent.key,
            raw_properties: &raw_properties,
            body: &body,
        };
        change(&mut delivery);
        self.model.delivered(&delivery)
    }

    fn deliver(&mut self, chan: ChanId, queue: QueueIx, id: MsgId, redelivered: bool) -> Result<MsgId, Violation> {
        let sent = self.model.messages[id as usize].clone();
        self.hand_over(chan, queue, &sent, redelivered, |_| {})
    }

    /// A message comes for the first time.
    pub fn comes(&mut self, chan: ChanId, queue: QueueIx, id: MsgId) -> Result<MsgId, Violation> {
        self.deliver(chan, queue, id, false)
    }

    /// A message comes, marked as redelivered.
    pub fn comes_again(&mut self, chan: ChanId, queue: QueueIx, id: MsgId) -> Result<MsgId, Violation> {
        self.deliver(chan, queue, id, true)
    }

    /// A client says what becomes of a delivery. Returns the number of that.
    pub fn say(&mut self, chan: ChanId, id: MsgId, outcome: Outcome) -> u32 {
        let op = self.op(chan);
        self.model.settle(chan, op, &[self.tags[&(chan, id)]], outcome);
        op
    }

    /// The same, and the broker has heard it.
    pub fn settle(&mut self, chan: ChanId, id: MsgId, outcome: Outcome) {
        let op = self.say(chan, id, outcome);
        self.model.processed(chan, op);
    }

    pub fn ack(&mut self, chan: ChanId, id: MsgId) {
        self.settle(chan, id, Outcome::Settled);
    }

    /// The channel publishes once more and hears that it is safe, and with it what it had sent before.
    pub fn prove(&mut self, chan: ChanId) {
        let id = self.send(self.message(chan, SHARED));
        self.confirm(id);
    }

    /// The power fails; everybody comes back.
    pub fn crash(&mut self) {
        self.restart(false);
    }

    /// The broker is stopped in good order; everybody comes back.
    pub fn stop(&mut self) {
        self.restart(true);
    }

    fn restart(&mut self, clean: bool) {
        for chan in [self.publisher, self.taker, self.other] {
            self.model.connection_ended(ConnId(chan.0), usize::MAX);
        }
        self.model.restarted(clean);
        self.connect(self.other.0 / 3);
    }
}
