//! What clients know of every message: sent, perhaps arrived, out, settled, gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::topology::{Queues, Topology};
use super::{ChanId, ConnId, Violation, invented, order, payload, restart, settled};
use crate::message::{Message, MsgId};
use crate::plan::{Plan, QueueIx};

/// A copy's place in its queue's map: so a publisher's messages lie side by side.
pub type Key = (ChanId, MsgId);

/// Where one copy of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its queue, if it got there.
    Ready,
    /// With a client.
    Out(ChanId),
    /// A client said that it wants it no more; whether the broker has heard it is not known.
    Returning { by: ChanId, op: u32 },
    /// A client settled it; whether the broker has heard it is not known.
    Settling { by: ChanId },
    /// The broker knows that it is settled: so much is certain since `at`.
    Done { at: u64 },
    /// Settled or ready; nobody can know.
    Uncertain,
}

/// Whether a copy was seen by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Never,
    /// In this life of the broker.
    Now {
        at: u64,
    },
    /// In an earlier one, and the disk knew.
    Before,
}

/// One message in one queue.
#[derive(Clone, Copy, Debug)]
pub struct Copy {
    /// It was routed there for certain.
    pub must: bool,
    pub confirmed: bool,
    /// It may have been purged, or deleted with its queue.
    pub excused: bool,
    /// Unconfirmed when its publisher or the broker died: there only if a later one is.
    pub shaky: bool,
    pub place: Place,
    pub seen: Seen,
}

impl Copy {
    fn new(must: bool, excused: bool) -> Copy {
        Copy { must, confirmed: false, excused, shaky: false, place: Place::Ready, seen: Seen::Never }
    }

    /// It is in its queue, whatever has happened that clients cannot know.
    pub fn certainly_ready(&self) -> bool {
        self.must && !self.excused && !self.shaky && self.place == Place::Ready
    }

    /// It may have been handed out to somebody who never got it.
    pub fn perhaps_seen(&self, model: &Model, queue: QueueIx, message: &Message) -> bool {
        let queue = &model.queues[queue];
        queue.unseen_at >= message.sent_at || queue.takers.iter().any(|taker| model.is_doomed(taker.chan))
    }
}

/// A channel that consumes from a queue or gets from it.
#[derive(Clone, Copy, Debug)]
pub struct Taker {
    pub chan: ChanId,
    pub no_ack: bool,
}

#[derive(Default)]
pub struct Queue {
    pub copies: BTreeMap<Key, Copy>,
    /// Nothing more is to come of these, and why.
    pub finished: BTreeMap<MsgId, &'static str>,
    /// What was sent before may have been handed out to somebody who never got it.
    pub unseen_at: u64,
    pub takers: Vec<Taker>,
    /// Purges and deletions under way.
    clearing: u32,
    /// What was ready when the last of them was sent, and how often somebody had begun to take.
    cleared: Vec<Key>,
    cleared_turns: u64,
    turns: u64,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Settled,
    Requeued,
}

struct Settle {
    op: u32,
    tag: u64,
    queue: QueueIx,
    key: Key,
    outcome: Outcome,
}

/// A transaction under way.
#[derive(Default)]
struct Transaction {
    publishes: Vec<MsgId>,
    settles: Vec<Settle>,
    /// When commit was sent.
    commit: Option<u64>,
}

pub struct Channel {
    pub conn: ConnId,
    /// It may be closed, or closing, without our knowing: what it holds may be with others.
    doomed: bool,
    /// Deliveries not settled, by tag.
    outs: BTreeMap<u64, (QueueIx, Key)>,
    publishes: VecDeque<(u32, MsgId)>,
    settles: VecDeque<Settle>,
    /// The broker knows of these settlements; the disk perhaps not.
    undurable: VecDeque<(u32, QueueIx, Key)>,
    transaction: Option<Transaction>,
}

/// A message as it came.
pub struct Delivery<'a> {
    pub chan: ChanId,
    pub queue: QueueIx,
    pub tag: u64,
    pub redelivered: bool,
    pub no_ack: bool,
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub raw_properties: &'a [u8],
    pub body: &'a [u8],
}

/// Counts for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub published: u64,
    pub confirmed: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub settled: u64,
}

pub struct Model {
    pub plan: Rc<Plan>,
    pub topology: Topology,
    pub messages: Vec<Message>,
    pub queues: Vec<Queue>,
    pub channels: BTreeMap<ChanId, Channel>,
    /// Everything sent before this moment that touched the journal is on disk.
    pub durable_since: u64,
    /// The last first delivery of each publisher, by connection and queue.
    pub first_deliveries: BTreeMap<(ConnId, QueueIx, ChanId), MsgId>,
    pub scratch: Vec<u8>,
    pub counts: Counts,
    /// The highest the wall clock ever showed.
    wall_ms: u64,
    /// Counts what happens.
    clock: u64,
    /// Sent, and perhaps not arrived.
    publishing: BTreeSet<MsgId>,
    /// In transactions that were not committed.
    uncommitted: BTreeSet<MsgId>,
    /// Messages of one transaction: all are there or none.
    together: Vec<Vec<MsgId>>,
    together_of: BTreeMap<MsgId, usize>,
    /// Settlements that the disk perhaps does not know, by the moment at which the broker knew.
    volatile: VecDeque<(u64, QueueIx, Key)>,
}

impl Model {
    pub fn new(plan: Rc<Plan>) -> Model {
        Model {
            topology: Topology::new(&plan),
            messages: Vec::new(),
            queues: plan.queues.iter().map(|_| Queue::default()).collect(),
            channels: BTreeMap::new(),
            durable_since: 0,
            first_deliveries: BTreeMap::new(),
            scratch: Vec::new(),
            counts: Counts::default(),
            wall_ms: 0,
            clock: 1,
            publishing: BTreeSet::new(),
            uncommitted: BTreeSet::new(),
            together: Vec::new(),
            together_of: BTreeMap::new(),
            volatile: VecDeque::new(),
            plan,
        }
    }

    pub fn queue_name(&self, queue: QueueIx) -> &str {
        &self.plan.queues[queue].name
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    pub fn at_wall(&mut self, wall_ms: u64) {
        self.wall_ms = self.wall_ms.max(wall_ms);
    }

    /// The message may have expired by now.
    pub fn may_expire(&self, id: MsgId) -> bool {
        self.messages[id as usize].expiration.as_ref().is_some_and(|(_, at)| *at <= self.wall_ms)
    }

    /// The queue and what is in it outlive a restart.
    fn outlives(&self, queue: QueueIx) -> bool {
        self.plan.queues[queue].durable && self.plan.queues[queue].owner.is_none()
    }

    pub fn is_doomed(&self, chan: ChanId) -> bool {
        self.channels.get(&chan).is_none_or(|channel| channel.doomed)
    }

    pub fn open_channel(&mut self, conn: ConnId, chan: ChanId) {
        let channel = Channel {
            conn,
            doomed: false,
            outs: BTreeMap::new(),
            publishes: VecDeque::new(),
            settles: VecDeque::new(),
            undurable: VecDeque::new(),
            transaction: None,
        };
        self.channels.insert(chan, channel);
    }

    /// From now on publishes and settlements of the channel wait for commit.
    pub fn begin(&mut self, chan: ChanId) {
        if let Some(channel) = self.channels.get_mut(&chan) {
            channel.transaction = Some(Transaction::default());
        }
    }

    /// The number that the next message will have.
    pub fn next_message(&self) -> MsgId {
        self.messages.len() as MsgId
    }

    /// A message was sent, as number `op` of what its channel sent.
    pub fn published(&mut self, mut message: Message, op: u32) {
        let chan = message.publisher;
        message.sent_at = self.tick();
        self.counts.published += 1;
        let id = message.id;
        let certain = self.topology.route(&self.plan, &message, true);
        let possible = self.topology.route(&self.plan, &message, false);
        self.messages.push(message);
        self.publishing.insert(id);
        let Some(channel) = self.channels.get_mut(&chan) else { return };
        match &mut channel.transaction {
            Some(transaction) => {
                transaction.publishes.push(id);
                self.uncommitted.insert(id);
            }
            None => channel.publishes.push_back((op, id)),
        }
        self.spread(id, certain, possible);
    }

    /// Note where a message that is under way may go.
    fn spread(&mut self, id: MsgId, certain: Queues, possible: Queues) {
        let key = (self.messages[id as usize].publisher, id);
        for (index, queue) in self.queues.iter_mut().enumerate() {
            let bit = 1 << index;
            // Whoever consumes a queue that deletes itself may end it at any moment.
            let must = certain & bit != 0 && !self.plan.queues[index].auto_delete;
            match queue.copies.get_mut(&key) {
                Some(copy) => copy.must &= must,
                None if possible & bit != 0 => {
                    queue.copies.insert(key, Copy::new(must, queue.clearing > 0));
                }
                None => {}
            }
        }
    }

    /// A message to that exchange is under way.
    pub fn publishes_to(&self, exchange: crate::plan::ExchangeIx) -> bool {
        self.publishing.iter().any(|id| self.messages[*id as usize].exchange == exchange)
    }

    /// What exists has changed: messages under way may go elsewhere.
    pub fn topology_changed(&mut self) {
        for id in self.publishing.clone() {
            let message = &self.messages[id as usize];
            let certain = self.topology.route(&self.plan, message, true);
            let possible = self.topology.route(&self.plan, message, false);
            // What it could have got before it can have got still.
            let key = (message.publisher, id);
            for (index, queue) in self.queues.iter_mut().enumerate() {
                let bit = 1 << index;
                match queue.copies.get_mut(&key) {
                    Some(copy) => copy.must &= certain & bit != 0,
                    None if possible & bit != 0 && !queue.finished.contains_key(&id) => {
                        queue.copies.insert(key, Copy::new(false, queue.clearing > 0));
                    }
                    None => {}
                }
            }
        }
    }

    /// Deliveries of the channel got their outcome, as number `op` of what it sent.
    pub fn settle(&mut self, chan: ChanId, op: u32, tags: &[u64], outcome: Outcome) {
        self.tick();
        let Some(channel) = self.channels.get_mut(&chan) else { return };
        for tag in tags {
            let Some((queue, key)) = channel.outs.remove(tag) else { continue };
            let settle = Settle { op, tag: *tag, queue, key, outcome };
            match &mut channel.transaction {
                Some(transaction) => transaction.settles.push(settle),
                None => channel.settles.push_back(settle),
            }
            if let Some(copy) = self.queues[queue].copies.get_mut(&key)
                && copy.place == Place::Out(chan)
            {
                copy.place = match outcome {
                    Outcome::Settled => Place::Settling { by: chan },
                    Outcome::Requeued if channel.transaction.is_some() => Place::Settling { by: chan },
                    Outcome::Requeued => Place::Returning { by: chan, op },
                };
            }
        }
    }

    /// Everything of the channel up to its number `op` has been dealt with by the broker.
    pub fn processed(&mut self, chan: ChanId, op: u32) {
        let at = self.tick();
        let Some(channel) = self.channels.get_mut(&chan) else { return };
        while let Some((_, id)) = channel.publishes.pop_front_if(|(number, _)| *number <= op) {
            self.publishing.remove(&id);
        }
        while let Some(settle) = channel.settles.pop_front_if(|settle| settle.op <= op) {
            let Some(copy) = self.queues[settle.queue].copies.get_mut(&settle.key) else { continue };
            match settle.outcome {
                Outcome::Requeued if copy.place == (Place::Returning { by: chan, op: settle.op }) => copy.place = Place::Ready,
                Outcome::Settled if copy.place == (Place::Settling { by: chan }) => {
                    copy.place = Place::Done { at };
                    self.counts.settled += 1;
                    channel.undurable.push_back((settle.op, settle.queue, settle.key));
                    self.volatile.push_back((at, settle.queue, settle.key));
                }
                _ => {}
            }
        }
    }

    fn finish(&mut self, queue: QueueIx, key: Key, why: &'static str) {
        let queue = &mut self.queues[queue];
        if queue.copies.remove(&key).is_some() {
            queue.finished.insert(key.1, why);
        }
    }

    /// Whether the message is persistent, in a queue that outlives a restart, for certain.
    fn surely_journalled(&self, id: MsgId) -> bool {
        let message = &self.messages[id as usize];
        let key = (message.publisher, id);
        let in_queue = |index: usize| match self.queues[index].copies.get(&key) {
            Some(copy) => copy.must,
            // It has been delivered and settled for good.
            None => self.queues[index].finished.get(&id) == Some(&SETTLED),
        };
        message.persistent && (0..self.queues.len()).any(|index| self.outlives(index) && in_queue(index))
    }

    /// The publish that was number `op` of what its channel sent is confirmed.
    pub fn confirmed(&mut self, chan: ChanId, op: u32, id: MsgId) {
        self.processed(chan, op);
        self.counts.confirmed += 1;
        self.confirm(id);
        if !self.surely_journalled(id) {
            return;
        }
        let sent_at = self.messages[id as usize].sent_at;
        if let Some(channel) = self.channels.get_mut(&chan) {
            while let Some((_, queue, key)) = channel.undurable.pop_front_if(|(number, ..)| *number < op) {
                let queue = &mut self.queues[queue];
                if let Some(Copy { place: Place::Done { .. }, .. }) = queue.copies.get(&key) {
                    queue.copies.remove(&key);
                    queue.finished.insert(key.1, SETTLED);
                }
            }
        }
        self.durable(sent_at);
    }

    fn confirm(&mut self, id: MsgId) {
        let key = (self.messages[id as usize].publisher, id);
        for queue in &mut self.queues {
            if let Some(copy) = queue.copies.get_mut(&key) {
                copy.confirmed = true;
            }
        }
    }

    /// Everything that was known to the broker at that moment is on disk.
    fn durable(&mut self, since: u64) {
        self.durable_since = self.durable_since.max(since);
        while let Some((_, queue, key)) = self.volatile.pop_front_if(|(at, ..)| *at < self.durable_since) {
            if let Some(Copy { place: Place::Done { .. }, .. }) = self.queues[queue].copies.get(&key) {
                self.finish(queue, key, SETTLED);
            }
        }
    }

    pub fn commit_sent(&mut self, chan: ChanId) {
        let at = self.tick();
        let Some(transaction) = self.channels.get_mut(&chan).and_then(|channel| channel.transaction.as_mut()) else { return };
        transaction.commit = Some(at);
        for settle in transaction.settles.iter().filter(|settle| settle.outcome == Outcome::Requeued) {
            let copy = self.queues[settle.queue].copies.get_mut(&settle.key);
            if let Some(copy) = copy.filter(|copy| copy.place == Place::Settling { by: chan }) {
                copy.place = Place::Returning { by: chan, op: settle.op };
            }
        }
        for id in &transaction.publishes {
            self.uncommitted.remove(id);
            self.together_of.insert(*id, self.together.len());
        }
        self.together.push(transaction.publishes.clone());
    }

    /// How many commits were sent.
    pub fn commits(&self) -> usize {
        self.together.len()
    }

    pub fn committed(&mut self, chan: ChanId, op: u32) {
        self.processed(chan, op);
        let at = self.tick();
        let Some(transaction) = self.channels.get_mut(&chan).and_then(|channel| channel.transaction.as_mut()) else { return };
        let done = std::mem::take(transaction);
        let mut journalled = false;
        for id in done.publishes {
            self.publishing.remove(&id);
            self.counts.confirmed += 1;
            self.confirm(id);
            journalled |= self.surely_journalled(id);
        }
        for settle in done.settles {
            let Some(copy) = self.queues[settle.queue].copies.get_mut(&settle.key) else { continue };
            match settle.outcome {
                Outcome::Requeued if copy.place == (Place::Returning { by: chan, op: settle.op }) => copy.place = Place::Ready,
                Outcome::Settled if copy.place == (Place::Settling { by: chan }) => {
                    self.counts.settled += 1;
                    copy.place = Place::Done { at };
                    self.finish(settle.queue, settle.key, SETTLED);
                }
                _ => {}
            }
        }
        if let Some(sent_at) = done.commit.filter(|_| journalled) {
            self.durable(sent_at);
        }
    }

    /// Rollback is answered. (It was sent before; nothing else may have come of the transaction.)
    pub fn rolled_back(&mut self, chan: ChanId, op: u32) {
        self.processed(chan, op);
        let Some(channel) = self.channels.get_mut(&chan) else { return };
        let Some(transaction) = channel.transaction.as_mut() else { return };
        let undone = std::mem::take(transaction);
        for settle in undone.settles {
            let copy = self.queues[settle.queue].copies.get_mut(&settle.key);
            if let Some(copy) = copy
                && copy.place == (Place::Settling { by: chan })
            {
                copy.place = Place::Out(chan);
                channel.outs.insert(settle.tag, (settle.queue, settle.key));
            }
        }
        self.never(&undone.publishes);
    }

    /// These will never come.
    fn never(&mut self, messages: &[MsgId]) {
        for id in messages {
            self.publishing.remove(id);
            let key = (self.messages[*id as usize].publisher, *id);
            for queue in 0..self.queues.len() {
                self.finish(queue, key, "it was never committed");
            }
        }
    }

    /// The tags that the channel has not settled.
    pub fn unsettled(&self, chan: ChanId) -> Vec<u64> {
        self.channels.get(&chan).map_or_else(Vec::new, |channel| channel.outs.keys().copied().collect())
    }

    /// The channel takes from the queue.
    pub fn takes(&mut self, chan: ChanId, queue: QueueIx, no_ack: bool) {
        self.queues[queue].turns += 1;
        let takers = &mut self.queues[queue].takers;
        match takers.iter_mut().find(|taker| taker.chan == chan) {
            Some(taker) => taker.no_ack |= no_ack,
            None => takers.push(Taker { chan, no_ack }),
        }
    }

    /// From now on the broker may at any moment end the channel, or take back what it holds.
    pub fn doom(&mut self, chan: ChanId) {
        if let Some(channel) = self.channels.get_mut(&chan) {
            channel.doomed = true;
        }
    }

    /// The channel is not in danger any more; everything that it held has returned (`basic.recover`).
    pub fn recovered(&mut self, chan: ChanId, op: u32) {
        self.processed(chan, op);
        let at = self.tick();
        let Some(channel) = self.channels.get_mut(&chan) else { return };
        channel.doomed = false;
        for (_, (queue, key)) in std::mem::take(&mut channel.outs) {
            if let Some(copy) = self.queues[queue].copies.get_mut(&key)
                && copy.place == Place::Out(chan)
            {
                copy.place = Place::Ready;
            }
        }
        self.forget_sight(chan, at);
    }

    /// What the queues of this channel hold may have been handed out without being seen.
    fn forget_sight(&mut self, chan: ChanId, at: u64) {
        for queue in &mut self.queues {
            if queue.takers.iter().any(|taker| taker.chan == chan) {
                queue.unseen_at = at;
            }
        }
    }

    /// The request that put the channel in danger was answered after all.
    pub fn spared(&mut self, chan: ChanId) {
        if let Some(channel) = self.channels.get_mut(&chan) {
            channel.doomed = false;
        }
    }

    /// The channel is over. What it sent and was not answered may have been done or not.
    pub fn channel_ended(&mut self, chan: ChanId) {
        let at = self.tick();
        self.forget_sight(chan, at);
        let Some(channel) = self.channels.remove(&chan) else { return };
        for queue in &mut self.queues {
            queue.takers.retain(|taker| taker.chan != chan);
        }
        let mut place = |queue: QueueIx, key: Key, from: Place, to: Place| {
            if let Some(copy) = self.queues[queue].copies.get_mut(&key)
                && copy.place == from
            {
                copy.place = to;
            }
        };
        for (queue, key) in channel.outs.into_values() {
            place(queue, key, Place::Out(chan), Place::Ready);
        }
        for settle in channel.settles {
            match settle.outcome {
                Outcome::Requeued => place(settle.queue, settle.key, Place::Returning { by: chan, op: settle.op }, Place::Ready),
                Outcome::Settled => place(settle.queue, settle.key, Place::Settling { by: chan }, Place::Uncertain),
            }
        }
        let mut unsure: Vec<MsgId> = channel.publishes.into_iter().map(|(_, id)| id).collect();
        if let Some(transaction) = channel.transaction {
            for settle in transaction.settles {
                let settled = settle.outcome == Outcome::Settled && transaction.commit.is_some();
                let to = if settled { Place::Uncertain } else { Place::Ready };
                place(settle.queue, settle.key, Place::Settling { by: chan }, to);
                place(settle.queue, settle.key, Place::Returning { by: chan, op: settle.op }, Place::Ready);
            }
            if transaction.commit.is_some() {
                unsure.extend(transaction.publishes);
            } else {
                self.never(&transaction.publishes);
            }
        }
        for id in unsure {
            self.publishing.remove(&id);
            let key = (self.messages[id as usize].publisher, id);
            for queue in &mut self.queues {
                // What was seen did arrive.
                if let Some(copy) = queue.copies.get_mut(&key).filter(|copy| copy.seen == Seen::Never) {
                    copy.shaky = true;
                }
            }
        }
    }

    /// The connection is gone, and perhaps bytes with it. `owner`: the client whose own queues go with it.
    pub fn connection_ended(&mut self, conn: ConnId, owner: usize) {
        let channels: Vec<ChanId> =
            self.channels.iter().filter(|(_, channel)| channel.conn == conn).map(|(chan, _)| *chan).collect();
        let doomed = |chan: ChanId| self.channels.get(&chan).is_none_or(|channel| channel.doomed);
        for queue in &mut self.queues {
            if queue.takers.iter().any(|taker| taker.no_ack && channels.contains(&taker.chan)) {
                // What was handed out without asking for an acknowledgement was settled with that.
                for copy in queue.copies.values_mut() {
                    match copy.place {
                        Place::Ready | Place::Returning { .. } => copy.place = Place::Uncertain,
                        Place::Out(by) | Place::Settling { by } if doomed(by) => copy.place = Place::Uncertain,
                        _ => {}
                    }
                }
            }
        }
        for chan in channels {
            self.channel_ended(chan);
        }
        self.first_deliveries.retain(|(other, ..), _| *other != conn);
        for queue in 0..self.queues.len() {
            if self.plan.queues[queue].owner == Some(owner) {
                self.topology.queue_gone(queue, true);
                self.finish_all(queue, "its queue went with its connection");
            }
        }
        self.topology_changed();
    }

    fn finish_all(&mut self, queue: QueueIx, why: &'static str) {
        let keys: Vec<Key> = self.queues[queue].copies.keys().copied().filter(|(_, id)| !self.publishing.contains(id)).collect();
        for key in keys {
            self.finish(queue, key, why);
        }
    }

    /// A purge or deletion was sent.
    pub fn clearing(&mut self, queue: QueueIx) {
        self.tick();
        let queue = &mut self.queues[queue];
        queue.clearing += 1;
        queue.cleared_turns = if queue.takers.is_empty() { queue.turns } else { u64::MAX };
        let ready = queue.copies.iter().filter(|((_, id), copy)| copy.place == Place::Ready && !self.publishing.contains(id));
        queue.cleared = ready.map(|(key, _)| *key).collect();
        queue.copies.values_mut().for_each(|copy| copy.excused = true);
    }

    /// It was answered, or never will be.
    pub fn cleared(&mut self, queue: QueueIx) {
        let queue = &mut self.queues[queue];
        queue.clearing -= 1;
    }

    /// The broker says that the queue does not exist, with nobody else there.
    pub fn queue_is_absent(&mut self, queue: QueueIx) {
        self.topology.queue_refuted(queue);
        self.finish_all(queue, "its queue was gone");
    }

    /// A purge is answered: what was ready is gone, unless it went to somebody just before.
    pub fn purged(&mut self, queue: QueueIx) {
        self.cleared(queue);
        let cleared = std::mem::take(&mut self.queues[queue].cleared);
        if self.queues[queue].clearing == 0 && self.queues[queue].cleared_turns == self.queues[queue].turns {
            for key in cleared {
                self.finish(queue, key, "it was purged");
            }
        }
    }

    /// The message was mandatory, and perhaps reached no queue.
    pub fn may_be_returned(&self, id: MsgId) -> bool {
        let Some(message) = self.messages.get(id as usize) else { return false };
        let key = (message.publisher, id);
        message.mandatory && self.queues.iter().all(|queue| queue.copies.get(&key).is_none_or(|copy| !copy.must))
    }

    /// What is wrong with the message having come back, or not, before its confirm.
    pub fn wrongly_returned(&self, id: MsgId, back: bool) -> Option<String> {
        let message = &self.messages[id as usize];
        let key = (message.publisher, id);
        let reached = self.queues.iter().any(|queue| queue.copies.contains_key(&key) || queue.finished.contains_key(&id));
        (message.mandatory && !back && !reached).then(|| format!("message {id} reached no queue and did not come back"))
    }

    /// The queue was deleted for certain, and nobody can have anything of it in transit.
    pub fn deleted(&mut self, queue: QueueIx) {
        if self.topology.queues[queue].absent() && self.queues[queue].takers.is_empty() {
            self.finish_all(queue, "its queue was deleted");
        }
    }

    /// A message came.
    ///
    /// # Errors
    /// It should not have, or not so.
    pub fn delivered(&mut self, delivery: &Delivery<'_>) -> Result<MsgId, Violation> {
        let at = self.tick();
        self.counts.delivered += 1;
        self.counts.redelivered += u64::from(delivery.redelivered);
        let message = invented::message(self, delivery)?.clone();
        let key = (message.publisher, message.id);
        payload::check(self, delivery, &message)?;
        if self.uncommitted.contains(&message.id) {
            return Err(settled::uncommitted(&message));
        }
        let Some(copy) = self.queues[delivery.queue].copies.get(&key).copied() else {
            return Err(match self.queues[delivery.queue].finished.get(&message.id) {
                // It was handed out long ago, before the channel gave it back; others have settled it since.
                Some(_) if self.is_doomed(delivery.chan) => return Ok(message.id),
                Some(why) => settled::finished(&message, why),
                None => invented::wrong_queue(self, delivery, &message),
            });
        };
        if !self.is_doomed(delivery.chan) {
            invented::twice(self, &message, &copy, delivery.chan)?;
            settled::check(self, &message, &copy)?;
            restart::mark(self, delivery, &message, &copy)?;
            order::ascending(self, delivery, &message)?;
            self.firm(delivery.queue, &message, &copy);
            order::first(self, delivery, &message)?;
        }
        self.take(delivery, key, at);
        Ok(message.id)
    }

    /// A message whose fate was unknown came: so did all that its publisher had sent before, and what was committed with it.
    fn firm(&mut self, queue: QueueIx, message: &Message, copy: &Copy) {
        if !copy.shaky {
            return;
        }
        for (_, earlier) in self.queues[queue].copies.range_mut((message.publisher, 0)..=(message.publisher, message.id)) {
            earlier.shaky = false;
        }
        if let Some(group) = self.together_of.get(&message.id) {
            for id in &self.together[*group] {
                for queue in &mut self.queues {
                    if let Some(copy) = queue.copies.get_mut(&(message.publisher, *id)) {
                        copy.shaky = false;
                    }
                }
            }
        }
    }

    fn take(&mut self, delivery: &Delivery<'_>, key: Key, at: u64) {
        let doomed = self.is_doomed(delivery.chan);
        let Some(copy) = self.queues[delivery.queue].copies.get_mut(&key) else { return };
        copy.shaky = false;
        copy.seen = Seen::Now { at };
        if doomed && !delivery.no_ack && !matches!(copy.place, Place::Ready | Place::Uncertain | Place::Returning { .. }) {
            // It was handed out long ago; others have had it since.
            return;
        }
        if delivery.no_ack {
            copy.place = Place::Done { at };
            self.counts.settled += 1;
            self.volatile.push_back((at, delivery.queue, key));
        } else {
            copy.place = Place::Out(delivery.chan);
            if let Some(channel) = self.channels.get_mut(&delivery.chan) {
                channel.outs.insert(delivery.tag, (delivery.queue, key));
            }
        }
    }

    /// The broker died, or was stopped in good order (`clean`). All connections have been ended before.
    pub fn restarted(&mut self, clean: bool) {
        let at = self.tick();
        let durable_since = if clean { at } else { self.durable_since };
        self.publishing.clear();
        for index in 0..self.queues.len() {
            let outlives = self.outlives(index);
            let queue = &mut self.queues[index];
            queue.unseen_at = at;
            queue.takers.clear();
            let mut over = Vec::new();
            for (key, copy) in &mut queue.copies {
                if !outlives || !self.messages[key.1 as usize].persistent {
                    over.push((*key, "it does not outlive a restart"));
                    continue;
                }
                copy.shaky |= !copy.confirmed && !clean;
                copy.seen = match copy.seen {
                    Seen::Now { at } if at < durable_since => Seen::Before,
                    Seen::Before => Seen::Before,
                    _ => Seen::Never,
                };
                match copy.place {
                    Place::Done { at } if at < durable_since => over.push((*key, SETTLED)),
                    Place::Done { .. } => copy.place = Place::Uncertain,
                    _ => {}
                }
            }
            for (key, why) in over {
                self.finish(index, key, why);
            }
        }
        self.volatile.clear();
        self.topology.restarted(&self.plan);
        self.durable_since = at;
    }
}

const SETTLED: &str = "it was settled, and the disk knew";
