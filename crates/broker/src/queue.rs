//! One queue: what is ready, in which order, and who is served next.

use std::collections::{BTreeSet, HashMap, VecDeque};

use foldhash::fast::FixedState;
use model::planted::{self, Bug};
use model::{Offset, Scope as ScopeId, SessionId, SubscriptionId, Table};
use storage::{LogId, Store};
use vfs::Vfs;

use crate::declare::{Overflow, Settings};
use crate::topology::Sources;

/// A subscriber's place in its queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consumer {
    pub subscription: SubscriptionId,
    pub session: SessionId,
    pub scope: ScopeId,
    pub auto_settle: bool,
    pub priority: i64,
    /// Most unsettled deliveries; 0: no limit.
    pub prefetch: u32,
    pub in_flight: u32,
}

impl Consumer {
    /// How many more deliveries it takes by its own prefetch.
    pub fn room(&self) -> u64 {
        if self.auto_settle || self.prefetch == 0 { u64::MAX } else { self.prefetch.saturating_sub(self.in_flight).into() }
    }
}

/// A `get` that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Getter {
    pub session: SessionId,
    pub scope: ScopeId,
    pub auto_settle: bool,
}

/// Messages and bytes that queues have been promised and do not hold yet.
pub(crate) type Promised = HashMap<LogId, (u64, u64), FixedState>;

pub(crate) struct Queue {
    pub name: String,
    pub host: usize,
    pub log: LogId,
    /// Outlives a restart.
    pub durable: bool,
    /// As its declaration said; an exclusive queue does not outlive a restart all the same.
    pub durable_as_declared: bool,
    pub exclusive: Option<SessionId>,
    pub auto_delete: bool,
    pub arguments: Table,
    pub settings: Settings,

    /// Everything ready at or after this offset has never been handed out since the start.
    cursor: Offset,
    /// Ready again, below the cursor.
    returned: BTreeSet<u64>,
    /// In place of cursor and `returned` where the queue has priorities: ready offsets by priority.
    levels: Option<Vec<BTreeSet<u64>>>,
    pub ready: u64,
    pub unacked: u64,
    /// Body lengths of everything in a queue that is bounded by bytes.
    sizes: HashMap<u64, u32, FixedState>,
    ready_bytes: u64,
    /// How often each came back, where that is counted and it did. In memory only: a restart begins anew.
    returns: HashMap<u64, u32, FixedState>,
    /// A message with an expiry of its own was put in.
    pub any_expires: bool,
    /// When its head is looked at next for expiry, in wall ms.
    pub expires_at: Option<u64>,
    /// It held nothing at the last look, and nobody has been unable to take what came since: a consumer that waits has
    /// that at once, whatever its time to live.
    pub flows: bool,
    /// Done with, to be sent on to the dead-letter exchange: offset and reason.
    pub dying: VecDeque<(Offset, &'static str)>,
    /// Offsets below may have been handed out before the last restart.
    redelivered_below: Offset,

    /// By falling priority, in order of arrival within one.
    pub consumers: Vec<Consumer>,
    /// Where the round goes on.
    turn: usize,
    pub exclusive_consumer: bool,
    pub had_consumer: bool,
    /// The one that is served, where only one is.
    active_consumer: Option<SubscriptionId>,
    pub getters: VecDeque<Getter>,
    /// It is to be removed once its last letters are sent on; who waits for that, and how many messages went with it.
    pub doomed: Option<Vec<(SessionId, u64)>>,

    /// Exchanges with a binding to this queue.
    pub bound: Sources,
    /// Stands in the list of queues with something to do.
    pub active: bool,
    /// Its place in that list.
    pub place: u64,
    /// No consumer could take anything at the last look; whatever may change that clears it.
    pub blocked: bool,
    /// A record is being read from disk.
    pub waiting: bool,
    /// Its next record cannot be read: nothing is served any more.
    pub damaged: bool,
    /// When it was last used, in mono ms; as long as nobody uses it.
    pub unused_since_ms: u64,
    /// When it is looked at next for want of use, in mono ms, if that ends it.
    pub looked_at_ms: u64,
}

impl Queue {
    pub fn new(name: String, host: usize, log: LogId, arguments: Table, settings: Settings) -> Queue {
        let levels = settings.max_priority.map(|max| vec![BTreeSet::new(); usize::from(max) + 1]);
        Queue {
            name,
            host,
            log,
            durable: false,
            durable_as_declared: false,
            exclusive: None,
            auto_delete: false,
            arguments,
            settings,
            cursor: Offset(0),
            returned: BTreeSet::new(),
            levels,
            ready: 0,
            unacked: 0,
            sizes: HashMap::default(),
            ready_bytes: 0,
            returns: HashMap::default(),
            any_expires: false,
            expires_at: None,
            flows: true,
            dying: VecDeque::new(),
            redelivered_below: Offset(0),
            consumers: Vec::new(),
            turn: 0,
            exclusive_consumer: false,
            had_consumer: false,
            active_consumer: None,
            getters: VecDeque::new(),
            doomed: None,
            bound: Sources::default(),
            active: false,
            place: 0,
            blocked: false,
            waiting: false,
            damaged: false,
            unused_since_ms: 0,
            looked_at_ms: 0,
        }
    }

    /// Take over what recovery found in the log: everything unsettled is ready.
    pub fn recover(&mut self, store: &mut Store, vfs: &mut dyn Vfs) {
        self.ready = store.live(self.log);
        self.redelivered_below = store.delivered(self.log);
        self.cursor = store.next_live(self.log, Offset(0)).unwrap_or_else(|| store.next_offset(self.log));
        self.any_expires = self.ready > 0;
        self.flows = false;
        if self.needs_offsets() {
            store.load_index(self.log, vfs);
            self.recover_offsets(store);
        }
    }

    fn recover_offsets(&mut self, store: &Store) {
        let mut next = store.next_live(self.log, Offset(0));
        while let Some(offset) = next {
            if let Some(levels) = &mut self.levels {
                let priority = store.tag(self.log, offset).map_or(0, |tag| tag.priority());
                let level = usize::from(priority).min(levels.len() - 1);
                levels[level].insert(offset.0);
            }
            if self.settings.max_length_bytes.is_some() {
                let size = store.value_len(self.log, offset).unwrap_or(0);
                self.sizes.insert(offset.0, size);
                self.ready_bytes += u64::from(size);
            }
            next = store.next_live(self.log, offset.next());
        }
    }

    /// A record with a body of `size` bytes was appended at `offset`, which matters only to those that
    /// `needs_offsets`.
    pub fn push(&mut self, offset: Offset, priority: u8, size: usize) {
        self.ready += 1;
        if let Some(levels) = &mut self.levels {
            let level = usize::from(priority).min(levels.len() - 1);
            levels[level].insert(offset.0);
        }
        if self.settings.max_length_bytes.is_some() {
            self.sizes.insert(offset.0, size as u32);
            self.ready_bytes += size as u64;
        }
    }

    /// `offset` is done with for ever.
    pub fn forget(&mut self, offset: Offset) {
        if self.settings.max_length_bytes.is_some() {
            self.sizes.remove(&offset.0);
        }
        if !self.returns.is_empty() {
            self.returns.remove(&offset.0);
        }
    }

    pub fn needs_offsets(&self) -> bool {
        self.levels.is_some() || self.settings.max_length_bytes.is_some()
    }

    /// It holds more than it may.
    pub fn overflows(&self) -> bool {
        self.settings.max_length.is_some_and(|max| self.ready > max)
            || self.settings.max_length_bytes.is_some_and(|max| self.ready_bytes > max)
    }

    /// With so many messages and bytes to come, one of `size` bytes would be too much, and is to be refused. Its consumers
    /// are about to take `taken` messages, which do not count.
    pub fn refuses(&self, (messages, bytes): (u64, u64), size: usize, taken: u64) -> bool {
        let messages = (self.ready + messages).saturating_sub(taken);
        let bytes = if messages == 0 { 0 } else { self.ready_bytes + bytes };
        self.settings.overflow != Overflow::DropHead
            && (self.settings.max_length.is_some_and(|max| messages >= max)
                || self.settings.max_length_bytes.is_some_and(|max| bytes + size as u64 > max))
    }

    /// Whether messages in it may have a time to live.
    pub fn may_expire(&self) -> bool {
        self.any_expires || self.settings.message_ttl_ms.is_some()
    }

    /// What was just put in at `offset` is the next to go, and its time must be watched.
    pub fn must_watch(&self, offset: Offset) -> bool {
        let urgent = |levels: &[BTreeSet<u64>]| {
            levels.iter().rev().find_map(|level| level.first()).is_some_and(|first| *first == offset.0)
        };
        self.may_expire() && (self.ready == 1 || self.levels.as_deref().is_some_and(urgent))
    }

    /// The next ready offset.
    pub fn next(&mut self, store: &Store) -> Option<Offset> {
        if self.ready == 0 {
            return None;
        }
        if let Some(levels) = &self.levels {
            return levels.iter().rev().find_map(|level| level.first()).copied().map(Offset);
        }
        let first = if planted::is(Bug::RequeueOrderBroken) { self.returned.last() } else { self.returned.first() };
        if let Some(&first) = first {
            return Some(Offset(first));
        }
        self.cursor = store.next_live(self.log, self.cursor)?;
        Some(self.cursor)
    }

    /// Whether `offset`, just named by `next`, may have been handed out before.
    pub fn is_redelivered(&self, offset: Offset) -> bool {
        offset < self.redelivered_below || self.returned.contains(&offset.0)
    }

    /// Whether `offset`, just named by `next`, was handed out and came back.
    pub fn came_back(&self, offset: Offset) -> bool {
        self.returned.contains(&offset.0)
    }

    /// `offset`, just named by `next`, is handed out or dropped.
    pub fn take(&mut self, offset: Offset) {
        self.ready -= 1;
        if self.settings.max_length_bytes.is_some() {
            self.ready_bytes -= u64::from(self.sizes.get(&offset.0).copied().unwrap_or(0));
        }
        if let Some(levels) = &mut self.levels {
            for level in levels {
                if level.remove(&offset.0) {
                    break;
                }
            }
            self.returned.remove(&offset.0);
            self.cursor = self.cursor.max(offset.next());
        } else if !self.returned.remove(&offset.0) {
            self.cursor = offset.next();
        }
    }

    /// `offset` was handed out and comes back to its place.
    pub fn put_back(&mut self, offset: Offset, store: &Store) {
        self.ready += 1;
        self.unacked -= 1;
        self.ready_bytes += u64::from(self.sizes.get(&offset.0).copied().unwrap_or(0));
        if let Some(levels) = &mut self.levels {
            let priority = store.tag(self.log, offset).map_or(0, |tag| tag.priority());
            let level = usize::from(priority).min(levels.len() - 1);
            levels[level].insert(offset.0);
        }
        self.returned.insert(offset.0);
    }

    /// `offset` was handed out and comes back. True: that has happened too often.
    pub fn came_back_too_often(&mut self, offset: Offset) -> bool {
        if !self.settings.counts_returns {
            return false;
        }
        let returns = self.returns.entry(offset.0).or_default();
        *returns = returns.saturating_add(1);
        self.settings.delivery_limit.is_some_and(|limit| u64::from(*returns) > limit)
    }

    /// How often `offset` came back, where that is counted.
    pub fn returns(&self, offset: Offset) -> u32 {
        if self.returns.is_empty() { 0 } else { self.returns.get(&offset.0).copied().unwrap_or(0) }
    }

    /// Everything ready is dropped; `end`: behind the last record. Which offsets that are, in order, as ranges without
    /// their ends.
    pub fn purge(&mut self, end: Offset) -> Vec<(Offset, Offset)> {
        let mut ranges: Vec<(Offset, Offset)> = Vec::new();
        let by_offset = match &mut self.levels {
            Some(levels) => levels.iter_mut().flat_map(std::mem::take).collect(),
            None => std::mem::take(&mut self.returned),
        };
        for offset in by_offset.into_iter().map(Offset) {
            match ranges.last_mut() {
                Some((_, end)) if *end == offset => *end = offset.next(),
                _ => ranges.push((offset, offset.next())),
            }
        }
        if self.levels.is_none() {
            ranges.push((self.cursor, end));
        }
        let dropped = |offset: u64| {
            let next = ranges.partition_point(|(_, end)| end.0 <= offset);
            ranges.get(next).is_some_and(|(first, _)| first.0 <= offset)
        };
        self.sizes.retain(|offset, _| !dropped(*offset));
        self.returns.retain(|offset, _| !dropped(*offset));
        self.returned.clear();
        self.cursor = end;
        (self.ready, self.ready_bytes) = (0, 0);
        ranges
    }

    /// One past the highest offset ever handed out.
    pub fn handed_out(&self) -> Offset {
        self.cursor
    }

    pub fn add_consumer(&mut self, consumer: Consumer) {
        let at = self.consumers.partition_point(|other| other.priority >= consumer.priority);
        // What lies here while nobody is there has waited.
        self.flows &= self.ready == 0 || !self.consumers.is_empty();
        self.consumers.insert(at, consumer);
        if at <= self.turn && self.consumers.len() > 1 {
            self.turn += 1;
        }
        self.had_consumer = true;
        self.blocked = false;
    }

    pub fn remove_consumer(&mut self, subscription: SubscriptionId) -> Option<Consumer> {
        let at = self.consumers.iter().position(|consumer| consumer.subscription == subscription)?;
        if at < self.turn {
            self.turn -= 1;
        }
        self.exclusive_consumer = false;
        self.blocked = false;
        Some(self.consumers.remove(at))
    }

    pub fn take_consumers(&mut self) -> Vec<Consumer> {
        self.turn = 0;
        self.exclusive_consumer = false;
        std::mem::take(&mut self.consumers)
    }

    pub fn consumer_mut(&mut self, subscription: SubscriptionId) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|consumer| consumer.subscription == subscription)
    }

    /// The one consumer that is served, where only one is: of the highest priority when it was chosen, and until it goes.
    /// In a queue of the kind `quorum`, as in RabbitMQ 4, one of higher priority follows it as soon as it holds nothing;
    /// until then nobody is served.
    fn active_consumer(&mut self) -> Option<usize> {
        let active = self.active_consumer;
        let at = self.consumers.iter().position(|consumer| Some(consumer.subscription) == active);
        let first = self.consumers.first()?;
        let at = match at {
            Some(at) if self.settings.quorum && first.priority > self.consumers[at].priority => {
                if self.consumers[at].in_flight > 0 {
                    return None;
                }
                0
            }
            at => at.unwrap_or(0),
        };
        self.active_consumer = Some(self.consumers[at].subscription);
        Some(at)
    }

    /// Those who may be served.
    pub fn takers(&self) -> impl Iterator<Item = &Consumer> {
        let single = self.settings.single_active;
        let active = |consumer: &&Consumer| self.active_consumer.is_none_or(|active| active == consumer.subscription);
        self.consumers.iter().filter(move |consumer| !single || active(consumer)).take(if single { 1 } else { usize::MAX })
    }

    /// Whose turn it is among those of the highest priority that can take one. The next call begins behind it.
    pub fn pick(&mut self, can_take: impl Fn(&Consumer) -> bool) -> Option<usize> {
        let count = self.consumers.len();
        let ready = |consumer: &Consumer| consumer.room() > 0 && can_take(consumer);
        if self.settings.single_active {
            return self.active_consumer().filter(|&at| ready(&self.consumers[at]));
        }
        let mut from = 0;
        while from < count {
            let priority = self.consumers[from].priority;
            let to = from + self.consumers[from..].partition_point(|consumer| consumer.priority >= priority);
            let size = to - from;
            let start = if (from..to).contains(&self.turn) { self.turn - from } else { 0 };
            let found = (0..size).map(|step| from + (start + step) % size).find(|&at| ready(&self.consumers[at]));
            if let Some(at) = found {
                self.turn = if at + 1 < to { at + 1 } else { from };
                return Some(at);
            }
            from = to;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use model::request::DeclareQueue;
    use model::{Event, NoHeaders, Now, Publish, RecordParts, Request, Value};

    use super::*;
    use crate::broker::{Broker, Options, Sink};

    struct Nobody;

    impl Sink for Nobody {
        fn send(&mut self, _session: SessionId, _event: Event<'_>) -> usize {
            0
        }
    }

    fn broker() -> (Broker, SessionId) {
        let mut disk = vfs::simulated::SimulatedDisk::new(1);
        let mut broker = Broker::open(Options::default(), storage::Options::default(), &mut disk).unwrap();
        let session = SessionId(1);
        broker.open_session(session, true);
        broker.request(session, Request::OpenScope { scope: ScopeId(1) }, Now::default()).unwrap();
        (broker, session)
    }

    fn declare(broker: &mut Broker, session: SessionId, arguments: &[(&str, Value)]) {
        let arguments = Table(arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect());
        let declare = DeclareQueue { name: "q", passive: false, durable: true, exclusive: false, auto_delete: false, arguments };
        broker.request(session, Request::DeclareQueue(declare), Now::default()).unwrap();
    }

    fn publish() -> Publish<'static> {
        Publish {
            scope: ScopeId(1),
            exchange: "",
            routing_key: "q",
            more_keys: &[],
            mandatory: false,
            persistent: true,
            expiration_ms: None,
            priority: 0,
            user_id: None,
            headers: &NoHeaders,
            record: RecordParts { key: b"q", value: b"body", ..RecordParts::default() },
        }
    }

    fn consumer(id: u64, priority: i64, prefetch: u32) -> Consumer {
        Consumer {
            subscription: SubscriptionId(id),
            session: SessionId(1),
            scope: ScopeId(1),
            auto_settle: false,
            priority,
            prefetch,
            in_flight: 0,
        }
    }

    fn rounds(queue: &mut Queue, count: usize) -> Vec<u64> {
        let mut picked = Vec::new();
        for _ in 0..count {
            if let Some(at) = queue.pick(|_| true) {
                queue.consumers[at].in_flight += 1;
                picked.push(queue.consumers[at].subscription.0);
            }
        }
        picked
    }

    fn queue() -> Queue {
        Queue::new("q".into(), 0, LogId(1), Table::default(), Settings::default())
    }

    #[test]
    fn equals_are_served_in_turn() {
        let mut queue = queue();
        for id in 1..=3 {
            queue.add_consumer(consumer(id, 0, 0));
        }
        let picked = rounds(&mut queue, 6);
        let mut sorted = picked[..3].to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 2, 3]);
        assert_eq!(picked[..3], picked[3..]);
    }

    #[test]
    fn higher_priority_is_served_while_it_has_credit() {
        let mut queue = queue();
        queue.add_consumer(consumer(1, 0, 0));
        queue.add_consumer(consumer(2, 10, 2));
        queue.add_consumer(consumer(3, 10, 1));
        let picked = rounds(&mut queue, 5);
        assert_eq!(picked[3..], [1, 1]);
        assert_eq!(picked[..3].iter().filter(|&&id| id == 2).count(), 2);
    }

    /// When its messages and it itself would have expired was remembered until then, one entry for each time that it
    /// had been declared and deleted.
    #[test]
    fn a_deleted_queue_is_forgotten() {
        let (mut broker, session) = broker();
        let arguments = [("x-expires", Value::I32(1_000_000)), ("x-message-ttl", Value::I32(500_000))];
        declare(&mut broker, session, &arguments);
        broker.request(session, Request::Publish(publish()), Now::default()).unwrap();
        let mut nobody = Nobody;
        broker.deliver(&mut nobody, Now::default());
        assert_eq!((broker.unused.len(), broker.expiries.len()), (1, 1));
        broker.request(session, Request::DeleteQueue { name: "q", if_unused: false, if_empty: false }, Now::default()).unwrap();
        assert_eq!((broker.unused.len(), broker.expiries.len()), (0, 0));
    }

    /// Whatever became of its messages, a queue that is bounded by bytes remembers no lengths of those that are gone.
    #[test]
    fn a_purged_queue_remembers_nothing() {
        let (mut broker, session) = broker();
        declare(&mut broker, session, &[("x-max-length-bytes", Value::I32(1_000))]);
        for request in [Request::Publish(publish()), Request::PurgeQueue { name: "q" }] {
            broker.request(session, request, Now::default()).unwrap();
        }
        let queue = broker.topology.queues.values().next().unwrap();
        assert_eq!((queue.ready, queue.ready_bytes, queue.sizes.len()), (0, 0, 0));
    }
}
