//! What clients do next, as chance has it.

use amqp::client::PublishTemplate;
use amqp::codec::field::encode_entries;
use amqp::codec::{Properties, RawTable, basic, channel, exchange, queue, tx};
use model::{Table, Value};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::checker::model::Outcome;
use crate::checker::topology::{Arrow, Change, To};
use crate::checker::{ChanId, Model};
use crate::connection::{Ask, Connection, Consumer, Mode};
use crate::message::{self, Message};
use crate::plan::{HEADER_MATCHES, KEYS, Kind, PATTERNS, Plan, QueueIx};
use crate::trace::Trace;

/// Publishes of one channel that may be unconfirmed at once.
const UNCONFIRMED_MAX: usize = 200;
/// Bytes that may be on their way from a client before it waits.
const UP_BYTES_MAX: usize = 200_000;

/// Everything an action needs.
pub struct Hands<'a> {
    pub rng: &'a mut StdRng,
    pub plan: &'a Plan,
    pub model: &'a mut Model,
    pub trace: &'a mut Trace,
    /// Requests under way that name each queue; and each exchange.
    pub queue_users: &'a [u32],
    pub exchange_users: &'a [u32],
    pub next_chan: &'a mut u32,
    pub wall_ms: u64,
}

impl Hands<'_> {
    fn one_in(&mut self, odds: u32) -> bool {
        odds > 0 && self.rng.random_ratio(1, odds)
    }

    /// One action of one client.
    pub fn act(&mut self, conn: &mut Connection) {
        if !conn.opened || conn.closing || conn.wire.up.len() > UP_BYTES_MAX {
            return;
        }
        if conn.channels.is_empty() || (conn.channels.len() < 4 && self.one_in(30)) {
            self.open_channel(conn);
            return;
        }
        let at = self.rng.random_range(0..conn.channels.len());
        let channel = &conn.channels[at];
        if !channel.open || channel.ending {
            return;
        }
        let deciding = channel.awaiting.iter().any(|(_, ask)| matches!(ask, Ask::Commit | Ask::Rollback | Ask::Recover));
        if deciding {
            return;
        }
        if self.one_in(self.plan.rare_odds) {
            return self.rare(conn, at);
        }
        match self.rng.random_range(0..20 + self.plan.thirst) {
            0..=2 => self.arrange(conn, at),
            3..=9 => self.publish(conn, at),
            10..=11 => self.consume(conn, at),
            12 => self.get(conn, at),
            13 => self.end_something(conn, at),
            _ => self.settle(conn, at),
        }
    }

    fn open_channel(&mut self, conn: &mut Connection) {
        let mode = match self.rng.random_range(0..100) {
            percent if percent < self.plan.transaction_percent => Mode::Transaction,
            90.. => Mode::Plain,
            _ => Mode::Confirm,
        };
        *self.next_chan += 1;
        let at = conn.open_channel(ChanId(*self.next_chan), mode, self.model);
        self.trace.event(format_args!("connection {} opens channel {} {mode:?}", conn.id.0, *self.next_chan));
        let count = [0, 1, 3, 20, 100][self.rng.random_range(0..5)];
        if count > 0 {
            let global = self.one_in(4);
            let ask = conn.ask(at, &basic::Qos { prefetch_size: 0, prefetch_count: count, global }, Some(Ask::Qos));
            debug_assert!(ask > 0);
        }
    }

    fn usable(&self, queue: QueueIx, conn: &Connection) -> bool {
        self.plan.queues[queue].owner.is_none_or(|owner| owner == conn.owner)
    }

    /// A queue that is certainly there and that this client may use.
    fn queue(&mut self, conn: &Connection) -> Option<QueueIx> {
        let there: Vec<QueueIx> = (0..self.plan.queues.len())
            .filter(|queue| self.model.topology.queues[*queue].certain() && self.usable(*queue, conn))
            .filter(|queue| !self.plan.queues[*queue].auto_delete)
            .collect();
        there.choose(self.rng).copied()
    }

    /// Declare what is missing, bind what is there.
    fn arrange(&mut self, conn: &mut Connection, at: usize) {
        let chan = conn.channels[at].id;
        let queue = self.rng.random_range(0..self.plan.queues.len());
        let plan = &self.plan.queues[queue];
        if self.usable(queue, conn) && (!self.model.topology.queues[queue].certain() || self.one_in(10)) {
            let declare = queue::Declare {
                queue: &plan.name,
                durable: plan.durable,
                exclusive: plan.owner.is_some(),
                auto_delete: plan.auto_delete,
                ..queue::Declare::default()
            };
            self.trace.event(format_args!("channel {} declares queue {}", chan.0, plan.name));
            return self.change(conn, at, &declare, Change::DeclareQueue(queue));
        }
        let exchange = self.rng.random_range(0..self.plan.exchanges.len());
        let plan = &self.plan.exchanges[exchange];
        if plan.kind == Kind::Default {
            return;
        }
        if !plan.predeclared && (!self.model.topology.exchanges[exchange].certain() || self.one_in(10)) {
            let declare =
                exchange::Declare { exchange: &plan.name, kind: plan.kind.name(), durable: plan.durable, ..Default::default() };
            self.trace.event(format_args!("channel {} declares exchange {}", chan.0, plan.name));
            return self.change(conn, at, &declare, Change::DeclareExchange(exchange));
        }
        let patterns = match plan.kind {
            Kind::Default | Kind::Fanout => 1,
            Kind::Direct => KEYS.len(),
            Kind::Topic => PATTERNS.len(),
            Kind::Headers => HEADER_MATCHES.len(),
        };
        let pattern = self.rng.random_range(0..patterns);
        let other = self.rng.random_range(0..self.plan.exchanges.len());
        let onward = self.one_in(4) && other != exchange && self.plan.exchanges[other].kind != Kind::Default;
        let to = if onward && self.model.topology.exchanges[other].certain() {
            To::Exchange(other)
        } else if self.model.topology.queues[queue].certain() && self.usable(queue, conn) && !self.plan.queues[queue].auto_delete
        {
            To::Queue(queue)
        } else {
            return;
        };
        self.bind(conn, at, Arrow { source: exchange, to, pattern }, true);
    }

    fn bind(&mut self, conn: &mut Connection, at: usize, arrow: Arrow, make: bool) {
        let source = &self.plan.exchanges[arrow.source];
        let routing_key = match source.kind {
            Kind::Direct => KEYS[arrow.pattern],
            Kind::Topic => PATTERNS[arrow.pattern],
            _ => "",
        };
        let mut table = Table::default();
        if source.kind == Kind::Headers {
            let (mode, h, g) = HEADER_MATCHES[arrow.pattern];
            table.0.push(("x-match".into(), Value::Text(mode.into())));
            table.0.extend(h.map(|h| ("h".into(), Value::I32(h))));
            table.0.extend(g.map(|g| ("g".into(), Value::I32(g))));
        }
        let entries = encode_entries(&table);
        let arguments = RawTable(&entries);
        let chan = conn.channels[at].id;
        let verb = if make { "binds" } else { "unbinds" };
        match arrow.to {
            To::Queue(queue) => {
                let name = &self.plan.queues[queue].name;
                self.trace.event(format_args!(
                    "channel {} {verb} {name} to {} by {routing_key:?} {}",
                    chan.0, source.name, arrow.pattern
                ));
                if make {
                    let bind = queue::Bind { queue: name, exchange: &source.name, routing_key, arguments, ..Default::default() };
                    self.change(conn, at, &bind, Change::Bind(arrow));
                } else {
                    let unbind =
                        queue::Unbind { queue: name, exchange: &source.name, routing_key, arguments, ..Default::default() };
                    self.change(conn, at, &unbind, Change::Unbind(arrow));
                }
            }
            To::Exchange(to) => {
                let name = &self.plan.exchanges[to].name;
                self.trace.event(format_args!(
                    "channel {} {verb} {name} to {} by {routing_key:?} {}",
                    chan.0, source.name, arrow.pattern
                ));
                if make {
                    let bind =
                        exchange::Bind { destination: name, source: &source.name, routing_key, arguments, ..Default::default() };
                    self.change(conn, at, &bind, Change::Bind(arrow));
                } else {
                    let unbind = exchange::Unbind {
                        destination: name,
                        source: &source.name,
                        routing_key,
                        arguments,
                        ..Default::default()
                    };
                    self.change(conn, at, &unbind, Change::Unbind(arrow));
                }
            }
        }
    }

    fn change<'m, M: amqp::codec::MethodArguments<'m>>(&mut self, conn: &mut Connection, at: usize, method: &M, change: Change) {
        let pending = self.model.topology.sent(change.clone());
        self.model.topology_changed();
        conn.ask(at, method, Some(Ask::Change(change, pending)));
    }

    fn body_len(&mut self) -> usize {
        let max = self.plan.body_bytes_max;
        let len = match self.rng.random_range(0..20) {
            0 => 0,
            1..=11 => self.rng.random_range(0..200),
            12..=17 => self.rng.random_range(200..2_000),
            18 => self.rng.random_range(2_000..9_000),
            _ => self.rng.random_range(9_000..30_000),
        };
        len.min(max)
    }

    fn publish(&mut self, conn: &mut Connection, at: usize) {
        let count = [1, 1, 2, 5, 20, 40][self.rng.random_range(0..6)];
        if conn.channels[at].unconfirmed.len() > UNCONFIRMED_MAX {
            return;
        }
        let direct = !self.rng.random_ratio(self.plan.exchange_percent, 100);
        let mut target = self.rng.random_range(0..self.plan.exchanges.len());
        if direct || (!self.model.topology.exchanges[target].certain()) {
            target = 0;
        }
        let queue = self.rng.random_range(0..self.plan.queues.len());
        let persistent = self.rng.random_ratio(4, 5);
        let first = self.model.next_message();
        for _ in 0..count {
            let key = match target {
                0 => self.plan.queues[queue].name.clone(),
                _ => message::key(self.rng.random_range(0..KEYS.len())),
            };
            let expiration = self.one_in(self.plan.expiring_odds).then(|| {
                let after = [1, 100, 5_000][self.rng.random_range(0..3)];
                (after.to_string(), self.wall_ms + after)
            });
            let message = Message {
                id: self.model.next_message(),
                publisher: conn.channels[at].id,
                exchange: target,
                key,
                persistent,
                body_len: self.body_len(),
                expiration,
                mandatory: self.one_in(8),
                sent_at: 0,
            };
            self.send(conn, at, message);
        }
        let chan = conn.channels[at].id;
        let to = if target == 0 { &self.plan.queues[queue].name } else { &self.plan.exchanges[target].name };
        let kind = if persistent { "persistent" } else { "transient" };
        self.trace.event(format_args!("channel {} publishes {first}..{} to {to}, {kind}", chan.0, first + count));
    }

    fn send(&mut self, conn: &mut Connection, at: usize, message: Message) {
        let raw = message::properties(&message);
        let properties = Properties::decode(&raw).unwrap_or_default();
        let publish = basic::Publish {
            exchange: &self.plan.exchanges[message.exchange].name,
            routing_key: &message.key,
            mandatory: message.mandatory,
            ..basic::Publish::default()
        };
        let channel = &mut conn.channels[at];
        let template = PublishTemplate::new(channel.number, publish, &properties);
        message::body(message.id, message.body_len, &mut self.model.scratch);
        template.put(&mut conn.wire.up, conn.amqp.frame_max(), &self.model.scratch);
        channel.ops += 1;
        if channel.mode == Mode::Confirm {
            channel.published += 1;
            channel.unconfirmed.push_back((channel.published, channel.ops, message.id));
        }
        self.model.published(message, channel.ops);
    }

    /// Whether the channel may take from the queue: of some only one may.
    fn may_take(&self, queue: QueueIx, chan: ChanId) -> bool {
        !self.plan.queues[queue].single || self.model.queues[queue].takers.iter().all(|taker| taker.chan == chan)
    }

    fn consume(&mut self, conn: &mut Connection, at: usize) {
        let Some(queue) = self.queue(conn) else { return };
        let chan = conn.channels[at].id;
        if conn.channels[at].consumers.len() >= 4 || !self.may_take(queue, chan) {
            return;
        }
        let plan = &self.plan.queues[queue];
        let no_ack = plan.no_ack && self.one_in(2);
        let tag = format!("{}-{}", plan.name, conn.channels[at].ops);
        let deletes = self.model.topology.queues[queue].deletes();
        conn.channels[at].consumers.push(Consumer { tag: tag.clone(), queue, no_ack, cancelling: false, deletes });
        self.model.takes(chan, queue, no_ack);
        self.trace.event(format_args!("channel {} consumes {} as {tag}, no ack: {no_ack}", chan.0, plan.name));
        let consume = basic::Consume { queue: &plan.name, consumer_tag: &tag, no_ack, ..basic::Consume::default() };
        conn.ask(at, &consume, Some(Ask::Consume(tag.clone())));
    }

    fn get(&mut self, conn: &mut Connection, at: usize) {
        let Some(queue) = self.queue(conn) else { return };
        let chan = conn.channels[at].id;
        if !self.may_take(queue, chan) {
            return;
        }
        let plan = &self.plan.queues[queue];
        let no_ack = plan.no_ack && self.one_in(2);
        self.model.takes(chan, queue, no_ack);
        self.trace.event(format_args!("channel {} gets from {}", chan.0, plan.name));
        conn.ask(at, &basic::Get { ticket: 0, queue: &plan.name, no_ack }, Some(Ask::Get { queue, no_ack }));
    }

    /// Say what became of some deliveries.
    fn settle(&mut self, conn: &mut Connection, at: usize) {
        let channel = &mut conn.channels[at];
        let chan = channel.id;
        let tags = self.model.unsettled(chan);
        if channel.mode == Mode::Transaction && self.one_in(4) {
            return self.decide(conn, at);
        }
        if tags.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..tags.len());
        let (tag, multiple) = match self.rng.random_range(0..4) {
            0 => (tags[0], false),
            1 => (tags[index], false),
            2 => (tags[index], true),
            _ => (tags[tags.len() - 1], true),
        };
        let upto = if multiple { tags.partition_point(|other| *other <= tag) } else { index + 1 };
        let settled = if multiple { tags[..upto].to_vec() } else { vec![tag] };
        let outcome = match self.rng.random_range(0..10) {
            0..=6 => {
                conn.ask(at, &basic::Ack { delivery_tag: tag, multiple }, None);
                Outcome::Settled
            }
            7 => {
                conn.ask(at, &basic::Nack { delivery_tag: tag, multiple, requeue: false }, None);
                Outcome::Settled
            }
            8 if !multiple => {
                let requeue = self.one_in(2);
                conn.ask(at, &basic::Reject { delivery_tag: tag, requeue }, None);
                if requeue { Outcome::Requeued } else { Outcome::Settled }
            }
            _ => {
                conn.ask(at, &basic::Nack { delivery_tag: tag, multiple, requeue: true }, None);
                Outcome::Requeued
            }
        };
        self.trace.event(format_args!("channel {} says {outcome:?} of {settled:?}", chan.0));
        let op = conn.channels[at].ops;
        self.model.settle(chan, op, &settled, outcome);
    }

    fn decide(&mut self, conn: &mut Connection, at: usize) {
        let chan = conn.channels[at].id;
        if self.one_in(4) {
            self.trace.event(format_args!("channel {} rolls back", chan.0));
            conn.ask(at, &tx::Rollback {}, Some(Ask::Rollback));
        } else {
            self.trace.event(format_args!("channel {} commits", chan.0));
            conn.ask(at, &tx::Commit {}, Some(Ask::Commit));
            self.model.commit_sent(chan);
        }
    }

    /// Cancel, recover, or close a channel.
    fn end_something(&mut self, conn: &mut Connection, at: usize) {
        let chan = conn.channels[at].id;
        match self.rng.random_range(0..10) {
            0..=3 => {
                let Some(consumer) = conn.channels[at].consumers.iter_mut().find(|consumer| !consumer.cancelling) else { return };
                consumer.cancelling = true;
                let tag = consumer.tag.clone();
                self.trace.event(format_args!("channel {} cancels {tag}", chan.0));
                conn.ask(at, &basic::Cancel { consumer_tag: &tag, no_wait: false }, Some(Ask::Cancel(tag.clone())));
            }
            4 if conn.channels[at].mode != Mode::Transaction => {
                self.trace.event(format_args!("channel {} recovers", chan.0));
                self.model.doom(chan);
                conn.ask(at, &basic::Recover { requeue: true }, Some(Ask::Recover));
            }
            5 => self.close_channel(conn, at),
            _ => {}
        }
    }

    pub fn close_channel(&mut self, conn: &mut Connection, at: usize) {
        let chan = conn.channels[at].id;
        self.trace.event(format_args!("channel {} closes", chan.0));
        self.model.doom(chan);
        conn.channels[at].ending = true;
        let close = channel::Close { reply_code: 200, reply_text: "bye", class_id: 0, method_id: 0 };
        conn.ask(at, &close, Some(Ask::Close));
    }

    /// What seldom happens: deletions, purges, errors.
    fn rare(&mut self, conn: &mut Connection, at: usize) {
        let chan = conn.channels[at].id;
        let queue = self.rng.random_range(0..self.plan.queues.len());
        let exchange = self.rng.random_range(0..self.plan.exchanges.len());
        let certain = self.model.topology.queues[queue].certain() && self.usable(queue, conn);
        match self.rng.random_range(0..6) {
            0 if certain && self.queue_users[queue] == 0 => {
                let name = &self.plan.queues[queue].name;
                self.trace.event(format_args!("channel {} deletes queue {name}", chan.0));
                self.model.clearing(queue);
                let delete = queue::Delete { queue: name, ..queue::Delete::default() };
                self.change(conn, at, &delete, Change::DeleteQueue(queue));
            }
            1 if certain && !self.plan.queues[queue].auto_delete => {
                let name = &self.plan.queues[queue].name;
                self.trace.event(format_args!("channel {} purges queue {name}", chan.0));
                self.model.clearing(queue);
                conn.ask(at, &queue::Purge { queue: name, ..queue::Purge::default() }, Some(Ask::Purge(queue)));
            }
            2 if !self.plan.exchanges[exchange].predeclared
                && self.model.topology.exchanges[exchange].certain()
                && self.exchange_users[exchange] == 0 =>
            {
                let name = &self.plan.exchanges[exchange].name;
                self.trace.event(format_args!("channel {} deletes exchange {name}", chan.0));
                let delete = exchange::Delete { exchange: name, ..exchange::Delete::default() };
                self.change(conn, at, &delete, Change::DeleteExchange(exchange));
            }
            3 => {
                let arrows: Vec<Arrow> =
                    self.model.topology.arrows.iter().filter(|(_, there)| there.certain()).map(|(arrow, _)| *arrow).collect();
                let Some(arrow) = arrows.choose(self.rng).copied() else { return };
                if let To::Queue(queue) = arrow.to
                    && !self.usable(queue, conn)
                {
                    return;
                }
                self.bind(conn, at, arrow, false);
            }
            4 => {
                conn.channels[at].ending = true;
                self.model.doom(chan);
                self.fail(conn, at);
            }
            _ => {}
        }
    }

    /// Something that must be refused.
    fn fail(&mut self, conn: &mut Connection, at: usize) {
        let code = match self.rng.random_range(0..3) {
            0 => {
                conn.ask(at, &queue::Declare { queue: "nowhere", passive: true, ..Default::default() }, Some(Ask::Refused(404)));
                404
            }
            1 => {
                conn.ask(at, &basic::Ack { delivery_tag: 1 << 40, multiple: false }, Some(Ask::Refused(406)));
                406
            }
            _ => {
                let declare = exchange::Declare { exchange: "amq.topic", kind: "direct", durable: true, ..Default::default() };
                conn.ask(at, &declare, Some(Ask::Refused(406)));
                406
            }
        };
        self.trace.event(format_args!("channel {} asks what must be refused with {code}", conn.channels[at].id.0));
    }
}
