//! Hand-made conversations: what the broker may say passes, and what it may not is named.

use std::rc::Rc;

use amqp::codec::frame::{put_body, put_content_header, put_method};
use amqp::codec::{MethodArguments, basic, channel, confirm, connection, queue};
use model::SessionId;

use super::{Ask, Connection, Consumer, Mode};
use crate::checker::topology::Change;
use crate::checker::{ChanId, ConnId, Model, Violation};
use crate::message::{self, Message, MsgId};
use crate::plan::{ExchangePlan, Kind, Plan, QueueIx, QueuePlan};
use crate::trace::Trace;

const CHAN: ChanId = ChanId(1);
/// Its number on the wire.
const NUMBER: u16 = 1;
const QUEUE: QueueIx = 0;
const TAG: &str = "tag";

/// One client with one channel in confirm mode, which consumes from a queue.
struct Conversation {
    conn: Connection,
    model: Model,
    trace: Trace,
}

fn plan() -> Plan {
    let queue = QueuePlan { name: "q".into(), durable: true, owner: None, auto_delete: false, single: true, no_ack: false };
    let exchange = ExchangePlan { name: String::new(), kind: Kind::Default, durable: true, predeclared: true };
    Plan {
        seed: 0,
        queues: vec![queue],
        exchanges: vec![exchange],
        clients: 1,
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

impl Conversation {
    fn new() -> Conversation {
        let mut model = Model::new(Rc::new(plan()));
        let declared = model.topology.sent(Change::DeclareQueue(QUEUE));
        model.topology.done(&declared);
        let mut conn = Connection::new(ConnId(1), SessionId(1), 0, 4096);
        conn.open_channel(CHAN, Mode::Confirm, &mut model);
        let consumer = Consumer { tag: TAG.into(), queue: QUEUE, no_ack: false, cancelling: false, deletes: 0 };
        conn.channels[0].consumers.push(consumer);
        model.takes(CHAN, QUEUE, false);
        let mut conversation = Conversation { conn, model, trace: Trace::new(false) };
        put_method(&mut conversation.conn.wire.input, 0, &connection::OpenOk::default());
        conversation.told(&channel::OpenOk::default()).unwrap();
        conversation.told(&confirm::SelectOk {}).unwrap();
        conversation
    }

    fn hear(&mut self) -> Result<(), Violation> {
        self.conn.hear(&mut self.model, &mut self.trace)
    }

    /// The broker says this on the channel.
    fn told<'m>(&mut self, method: &impl MethodArguments<'m>) -> Result<(), Violation> {
        put_method(&mut self.conn.wire.input, NUMBER, method);
        self.hear()
    }

    /// The same, with this message behind it.
    fn told_with<'m>(&mut self, method: &impl MethodArguments<'m>, id: MsgId) -> Result<(), Violation> {
        put_method(&mut self.conn.wire.input, NUMBER, method);
        let sent = &self.model.messages[id as usize];
        let (properties, mut body) = (message::properties(sent), Vec::new());
        message::body(id, sent.body_len, &mut body);
        put_content_header(&mut self.conn.wire.input, NUMBER, body.len(), &properties);
        put_body(&mut self.conn.wire.input, NUMBER, 4096, &body);
        self.hear()
    }

    fn asks<'m>(&mut self, method: &impl MethodArguments<'m>, ask: Ask) {
        self.conn.ask(0, method, Some(ask));
    }

    /// A mandatory message to the queue of that name.
    fn publishes(&mut self, key: &str) -> MsgId {
        let channel = &mut self.conn.channels[0];
        let id = self.model.next_message();
        channel.ops += 1;
        channel.published += 1;
        channel.unconfirmed.push_back((channel.published, channel.ops, id));
        let message = Message {
            id,
            publisher: CHAN,
            exchange: 0,
            key: key.into(),
            persistent: true,
            body_len: 20,
            expiration: None,
            mandatory: true,
            sent_at: 0,
        };
        self.model.published(message, channel.ops);
        id
    }

    fn delivers(&mut self, consumer_tag: &str, id: MsgId) -> Result<(), Violation> {
        let deliver = basic::Deliver { consumer_tag, delivery_tag: 1, redelivered: false, exchange: "", routing_key: "q" };
        self.told_with(&deliver, id)
    }

    fn returns(&mut self, reply_code: u16, id: MsgId) -> Result<(), Violation> {
        let key = self.model.messages[id as usize].key.clone();
        self.told_with(&basic::Return { reply_code, reply_text: "NO_ROUTE", exchange: "", routing_key: &key }, id)
    }
}

fn ack(delivery_tag: u64, multiple: bool) -> basic::Ack {
    basic::Ack { delivery_tag, multiple }
}

fn close(reply_code: u16) -> channel::Close<'static> {
    channel::Close { reply_code, reply_text: "because", class_id: 0, method_id: 0 }
}

/// The checker `answers` complained, and of this.
fn wrong(outcome: Result<(), Violation>, of: &str) {
    let violation = outcome.expect_err("nobody complained");
    assert_eq!(violation.checker, "answers");
    assert!(violation.text.contains(of), "{violation}");
}

#[test]
fn confirms_may_come_one_by_one_or_many_at_once() {
    let mut conversation = Conversation::new();
    for _ in 0..3 {
        conversation.publishes("q");
    }
    conversation.told(&ack(1, false)).unwrap();
    conversation.told(&ack(3, true)).unwrap();
    assert_eq!(conversation.model.counts.confirmed, 3);
}

#[test]
fn a_confirm_speaks_of_what_was_published_and_not_confirmed() {
    let mut conversation = Conversation::new();
    wrong(conversation.told(&ack(1, false)), "speaks of 0");
    let mut conversation = Conversation::new();
    conversation.publishes("q");
    conversation.told(&ack(1, false)).unwrap();
    wrong(conversation.told(&ack(1, false)), "speaks of 0");
    let mut conversation = Conversation::new();
    conversation.publishes("q");
    conversation.publishes("q");
    wrong(conversation.told(&ack(2, false)), "speaks of 2");
}

#[test]
fn a_publish_is_not_refused() {
    let mut conversation = Conversation::new();
    conversation.publishes("q");
    wrong(conversation.told(&basic::Nack { delivery_tag: 1, ..Default::default() }), "was refused");
}

#[test]
fn a_mandatory_message_comes_back_if_it_reached_no_queue() {
    let mut conversation = Conversation::new();
    let nowhere = conversation.publishes("nowhere");
    conversation.returns(312, nowhere).unwrap();
    conversation.told(&ack(1, false)).unwrap();

    let mut conversation = Conversation::new();
    conversation.publishes("nowhere");
    wrong(conversation.told(&ack(1, false)), "did not come back");
}

#[test]
fn a_message_that_reached_a_queue_does_not_come_back() {
    let mut conversation = Conversation::new();
    let arrived = conversation.publishes("q");
    wrong(conversation.returns(312, arrived), "was returned");
}

#[test]
fn a_message_comes_back_with_the_code_for_no_route() {
    let mut conversation = Conversation::new();
    let nowhere = conversation.publishes("nowhere");
    wrong(conversation.returns(313, nowhere), "with 313");
}

#[test]
fn deliveries_are_for_consumers_that_there_are() {
    let mut conversation = Conversation::new();
    let id = conversation.publishes("q");
    conversation.delivers(TAG, id).unwrap();
    let mut conversation = Conversation::new();
    let id = conversation.publishes("q");
    wrong(conversation.delivers("somebody", id), "a delivery for consumer");
}

#[test]
fn a_request_is_answered_with_its_answer() {
    let purge = queue::Purge { queue: "q", ..Default::default() };
    let mut conversation = Conversation::new();
    conversation.model.clearing(QUEUE);
    conversation.asks(&purge, Ask::Purge(QUEUE));
    conversation.told(&queue::PurgeOk::default()).unwrap();
    // And once only.
    wrong(conversation.told(&queue::PurgeOk::default()), "asked None");

    let mut conversation = Conversation::new();
    conversation.model.clearing(QUEUE);
    conversation.asks(&purge, Ask::Purge(QUEUE));
    wrong(conversation.told(&basic::QosOk {}), "asked Some(Purge");
}

#[test]
fn a_declaration_is_answered_with_the_name_that_was_asked_for() {
    let declared_as = |name| {
        let mut conversation = Conversation::new();
        let change = Change::DeclareQueue(QUEUE);
        let pending = conversation.model.topology.sent(change.clone());
        conversation.asks(&queue::Declare { queue: "q", ..Default::default() }, Ask::Change(change, pending));
        conversation.told(&queue::DeclareOk { queue: name, ..Default::default() })
    };
    declared_as("q").unwrap();
    wrong(declared_as("p"), "DeclareQueue");
}

#[test]
fn answers_come_in_the_order_of_the_requests() {
    let mut conversation = Conversation::new();
    conversation.asks(&basic::Qos::default(), Ask::Qos);
    conversation.asks(&basic::Cancel { consumer_tag: TAG, no_wait: false }, Ask::Cancel(TAG.into()));
    wrong(conversation.told(&basic::CancelOk { consumer_tag: TAG }), "asked Some(Qos)");
}

#[test]
fn a_channel_is_closed_for_what_must_be_refused_and_with_its_code() {
    let nowhere = queue::Declare { queue: "nowhere", passive: true, ..Default::default() };
    let mut conversation = Conversation::new();
    conversation.asks(&nowhere, Ask::Refused(404));
    conversation.told(&close(404)).unwrap();
    assert!(conversation.conn.channels.is_empty());

    let mut conversation = Conversation::new();
    conversation.asks(&nowhere, Ask::Refused(404));
    wrong(conversation.told(&close(406)), "closed with 406");

    let mut conversation = Conversation::new();
    conversation.asks(&nowhere, Ask::Refused(404));
    wrong(conversation.told(&queue::DeclareOk { queue: "nowhere", ..Default::default() }), "asked Some(Refused(404))");

    wrong(Conversation::new().told(&close(404)), "for no reason");
}

#[test]
fn a_consumer_is_cancelled_only_when_its_queue_has_gone() {
    let cancel = basic::Cancel { consumer_tag: TAG, no_wait: true };
    wrong(Conversation::new().told(&cancel), "although the queue exists");
    let mut conversation = Conversation::new();
    let deleted = conversation.model.topology.sent(Change::DeleteQueue(QUEUE));
    conversation.model.topology.done(&deleted);
    conversation.told(&cancel).unwrap();
    wrong(conversation.told(&cancel), "does not exist");
}

#[test]
fn nothing_comes_on_a_channel_that_is_not_open() {
    let mut conversation = Conversation::new();
    put_method(&mut conversation.conn.wire.input, 9, &basic::QosOk {});
    wrong(conversation.hear(), "channel 9, which is not open");
}

#[test]
fn bytes_that_are_no_frames_are_named() {
    let mut conversation = Conversation::new();
    conversation.conn.wire.input.extend_from_slice(&[1, 0, 1, 0, 0, 0, 0, 7]);
    wrong(conversation.hear(), "cannot be understood");
}
