//! The front of the broker: sessions, scopes, and one method per request.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::request::Subscribe;
use model::{
    Dialect, Event, Failure, Lsn, Now, Outcome, Publish, Random, RecordParts, Reply, Request, Scope as ScopeId, SessionId,
    Subject, SubscriptionId, limits,
};
use storage::{LogId, Store, Tag};

use crate::authorization::{User, login};
use crate::declare::{Declared, Overflow, type_name};
use crate::group::Groups;
use crate::queue::{Consumer, Getter, Promised, Queue};
use crate::scope::{Scope, Stored, Transaction, Unacked};
use crate::topic::Topics;
use crate::topology::Topology;
use crate::transaction::Transactions;

/// How the broker behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub users: Vec<User>,
    /// How to read what is stored.
    pub dialect: Dialect,
    pub topics: crate::topic::Options,
    pub groups: crate::group::Options,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            users: vec![User::guest()],
            topics: crate::topic::Options::default(),
            groups: crate::group::Options::default(),
            dialect: Dialect::default(),
        }
    }
}

/// Whoever carries events to sessions.
pub trait Sink {
    /// Hand an event to a session; returns how many bytes wait in its output now.
    fn send(&mut self, session: SessionId, event: Event<'_>) -> usize;
}

pub(crate) struct Session {
    pub user: String,
    pub host: usize,
    loopback: bool,
    /// Queues that are its own; some may be gone.
    pub exclusive: Vec<LogId>,
    pub scopes: HashMap<ScopeId, Scope, FixedState>,
    /// Its client does not read fast enough: nothing is handed to it.
    pub paused: bool,
    /// The subscription that filled its output: when there is room again, it has its turn behind the others.
    last_served: Option<SubscriptionId>,
    /// The place in the lists of those with something to do from which on its subscriptions were woken last.
    pub woken_at: u64,
    /// The group whose answer it waits for.
    pub group: Option<Arc<str>>,
    /// The store's count of flushes when this session last settled something.
    settled_at: u64,
}

impl Session {
    /// `waiting` bytes wait in its output, the last of them for this subscription.
    pub fn pause_if_full(&mut self, waiting: usize, subscription: SubscriptionId) {
        if waiting >= limits::OUTPUT_BYTES_HIGH {
            self.paused = true;
            self.last_served = Some(subscription);
        }
    }
}

/// Figures for people and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub queues: usize,
    pub exchanges: usize,
    pub sessions: usize,
    pub subscriptions: usize,
    pub published: u64,
    /// Copies put into queues: a message counts once for each.
    pub enqueued: u64,
    pub delivered: u64,
    pub settled: u64,
}

/// The broker of one node.
pub struct Broker {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) topology: Topology,
    pub(crate) topics: Topics,
    pub(crate) transactions: Transactions,
    pub(crate) groups: Groups,
    pub(crate) sessions: HashMap<SessionId, Session, FixedState>,
    pub(crate) subscriptions: HashMap<SubscriptionId, LogId, FixedState>,
    /// Queues with something to do.
    pub(crate) active: VecDeque<LogId>,
    /// Subscriptions that ended without their clients' doing.
    pub(crate) cancelled: Vec<(SessionId, ScopeId, SubscriptionId)>,
    /// When the heads of queues expire: (wall ms, queue).
    pub(crate) expiries: BTreeSet<(u64, LogId)>,
    /// When queues that nobody uses expire: (mono ms, queue).
    pub(crate) unused: BTreeSet<(u64, LogId)>,
    /// Gets whose queue is gone, or cannot be served.
    pub(crate) unanswered: Vec<(SessionId, ScopeId, Option<Failure>)>,
    next_subscription: u64,
    /// Position after the last entry of the catalog.
    pub(crate) catalog_end: Lsn,
    pub(crate) names: Random,
    pub(crate) statistics: Statistics,
    taken: Vec<Unacked>,
    route: Vec<LogId>,
}

impl Broker {
    /// A broker over a store whose catalog recovery has read.
    pub(crate) fn with(
        options: Options,
        store: Store,
        topology: Topology,
        topics: Topics,
        transactions: Transactions,
        groups: Groups,
        names: Random,
    ) -> Broker {
        Broker {
            options,
            store,
            topology,
            topics,
            transactions,
            groups,
            sessions: HashMap::default(),
            subscriptions: HashMap::default(),
            active: VecDeque::new(),
            cancelled: Vec::new(),
            expiries: BTreeSet::new(),
            unused: BTreeSet::new(),
            unanswered: Vec::new(),
            next_subscription: 0,
            catalog_end: Lsn(0),
            names,
            statistics: Statistics::default(),
            taken: Vec::new(),
            route: Vec::new(),
        }
    }

    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            queues: self.topology.queues.len(),
            exchanges: self.topology.exchanges.len(),
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.len(),
            ..self.statistics
        }
    }

    /// Copies of messages put into queues since the start.
    #[must_use]
    pub fn enqueued(&self) -> u64 {
        self.statistics.enqueued
    }

    /// A connection was made. `loopback`: from this machine.
    pub fn open_session(&mut self, id: SessionId, loopback: bool) {
        let session = Session {
            user: String::new(),
            host: 0,
            loopback,
            exclusive: Vec::new(),
            scopes: HashMap::default(),
            paused: false,
            last_served: None,
            woken_at: 0,
            group: None,
            settled_at: u64::MAX,
        };
        self.sessions.insert(id, session);
    }

    /// A connection is gone: what it had unsettled returns, its exclusive queues vanish.
    pub fn close_session(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.sessions.get(&id) else { return };
        let scopes: Vec<ScopeId> = session.scopes.keys().copied().collect();
        for scope in scopes {
            self.close_scope(id, scope, now);
        }
        let Some(session) = self.sessions.remove(&id) else { return };
        for queue in session.exclusive {
            self.remove_queue(queue, now);
        }
        if let Some(group) = session.group {
            self.forget_waiting(id, &group, now);
        }
        self.forget_fetch(id);
        self.topics.examinations.forget(id);
    }

    /// The session's client reads again, or does not.
    pub fn set_paused(&mut self, id: SessionId, paused: bool) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.paused == paused {
            return;
        }
        session.paused = paused;
        if !paused {
            self.wake_session(id);
        }
    }

    /// What kept the session's subscriptions from being served may be gone.
    fn wake_session(&mut self, id: SessionId) {
        let place = self.topics.readers.next_place();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.woken_at = place;
        let subscriptions = session.scopes.values().flat_map(|scope| &scope.subscriptions);
        let subscriptions = in_turn(subscriptions.copied().collect(), session.last_served);
        self.wake_subscriptions(&subscriptions);
    }

    /// What kept the scope's subscriptions from being served may be gone.
    fn wake_scope(&mut self, id: SessionId, scope: ScopeId) {
        let place = self.topics.readers.next_place();
        let Some(scope) = self.sessions.get_mut(&id).and_then(|session| session.scopes.get_mut(&scope)) else { return };
        scope.woken_at = place;
        let subscriptions = in_turn(scope.subscriptions.clone(), scope.last_served);
        self.wake_subscriptions(&subscriptions);
    }

    fn wake_subscriptions(&mut self, subscriptions: &[SubscriptionId]) {
        for subscription in subscriptions {
            self.topics.readers.wake(*subscription);
            if let Some(queue) = self.subscriptions.get(subscription) {
                self.wake_queue(*queue);
            }
        }
    }

    /// Whether the consumer's session or scope was woken after its queue took this place. Others were woken with it, and
    /// have waited longer: it has its turn behind them, in the next round of the queue. (Otherwise a queue that others keep
    /// busy took all the room there was each time, before those had their turn that had none.)
    pub(crate) fn was_passed_over(&self, consumer: &Consumer, place: u64) -> bool {
        let Some(session) = self.sessions.get(&consumer.session) else { return false };
        let by_scope = session.scopes.get(&consumer.scope).is_some_and(|scope| place < scope.woken_at);
        place < session.woken_at || by_scope
    }

    /// Look at a queue again in the next round of deliveries.
    pub(crate) fn wake_queue(&mut self, id: LogId) {
        if let Some(queue) = self.topology.queues.get_mut(&id) {
            queue.blocked = false;
            if !queue.active {
                queue.active = true;
                queue.place = self.topics.readers.next_place();
                self.active.push_back(id);
            }
        }
    }

    /// Do what a session asks.
    ///
    /// # Errors
    /// The [`Failure`], with nothing changed.
    pub fn request(&mut self, id: SessionId, request: Request<'_>, now: Now) -> Result<Reply, Failure> {
        match request {
            Request::Publish(publish) => self.publish(id, &publish, now),
            Request::Settle { scope, tag, multiple, outcome } => self.settle(id, scope, tag, multiple, outcome),
            Request::Authenticate { user, password } => self.authenticate(id, user, password),
            Request::OpenHost { host } => self.open_host(id, host),
            Request::OpenScope { scope } => {
                self.session_mut(id).scopes.insert(scope, Scope::default());
                Ok(Reply::Ok)
            }
            Request::CloseScope { scope } => {
                self.close_scope(id, scope, now);
                Ok(Reply::Ok)
            }
            Request::DeclareExchange(declare) => self.declare_exchange(id, declare),
            Request::DeleteExchange { name, if_unused } => self.delete_exchange(id, name, if_unused),
            Request::DeclareQueue(declare) => self.declare_queue(id, declare, now),
            Request::DeleteQueue { name, if_unused, if_empty } => self.delete_queue(id, name, if_unused, if_empty, now),
            Request::PurgeQueue { name } => self.purge_queue(id, name),
            Request::Bind(binding) => self.bind(id, binding, true),
            Request::Unbind(binding) => self.bind(id, binding, false),
            Request::Subscribe(subscribe) => self.subscribe(id, &subscribe, now),
            Request::Unsubscribe { scope, subscription } => {
                self.unsubscribe(id, scope, subscription, now);
                Ok(Reply::Ok)
            }
            Request::Prefetch { scope, count, each } => {
                if let Some(scope) = self.session_mut(id).scopes.get_mut(&scope) {
                    *(if each { &mut scope.prefetch_each } else { &mut scope.prefetch_all }) = count.into();
                }
                self.wake_scope(id, scope);
                Ok(Reply::Ok)
            }
            Request::Get { scope, queue, auto_settle } => self.get(id, scope, queue, auto_settle, now),
            Request::Recover { scope } => self.recover(id, scope),
            Request::Begin { scope } => {
                if let Some(scope) = self.session_mut(id).scopes.get_mut(&scope) {
                    scope.transaction.get_or_insert_default();
                }
                Ok(Reply::Ok)
            }
            Request::Commit { scope } => Ok(self.commit(id, scope, now)),
            Request::Rollback { scope } => {
                if let Some(scope) = self.session_mut(id).scopes.get_mut(&scope)
                    && let Some(transaction) = &mut scope.transaction
                {
                    let dropped = std::mem::take(&mut **transaction);
                    scope.put_back(dropped.settled.into_iter().map(|(unacked, _)| unacked));
                }
                Ok(Reply::Ok)
            }
            Request::Produce(produce) => self.produce(id, &produce, now),
            Request::Fetch(fetch) => Ok(self.fetch(id, &fetch, now)),
            Request::CreateTopic(create) => self.create_topic(&create),
            Request::DeleteTopic { topic } => self.delete_topic(topic),
            Request::AddPartitions { topic, total, validate_only } => self.add_partitions(topic, total, validate_only),
            Request::DescribeTopics { topic } => self.describe_topics(topic),
            Request::DescribeConfig { of } => self.describe_config(of),
            Request::AlterConfig { topic, changes, replace, validate_only } => {
                self.alter_config(topic, changes, replace, validate_only)
            }
            Request::ListOffset { topic, partition, at, committed_only, current_epoch } => {
                self.list_offset(id, (topic, partition), at, committed_only, current_epoch)
            }
            Request::EpochEnd { topic, partition, epoch, current_epoch } => {
                self.epoch_end(topic, partition, epoch, current_epoch)
            }
            Request::DeleteRecords { topic, partition, before } => self.delete_records(topic, partition, before),
            Request::DescribeProducers { topic, partition } => self.describe_producers(topic, partition),
            Request::DescribeSize { topic, partition } => self.describe_size(topic, partition),
            Request::InitProducer { transactional_id, timeout_ms, known } => {
                self.init_producer(transactional_id, timeout_ms, known, now)
            }
            Request::AddToTransaction { transaction, topic, partition } => {
                self.add_to_transaction(&transaction, topic, partition, now)
            }
            Request::AddGroupToTransaction { transaction, group } => self.add_group_to_transaction(&transaction, group, now),
            Request::EndTransaction { transaction, commit, bump } => self.end_transaction(&transaction, commit, bump, now),
            Request::DescribeTransactions { transactional_id } => self.describe_transactions(transactional_id),
            Request::JoinGroup(join) => self.join_group(id, &join, now),
            Request::SyncGroup(sync) => self.sync_group(id, &sync, now),
            Request::HeartbeatGroup(member) => self.heartbeat_group(&member, now),
            Request::LeaveGroup(member) => self.leave_group(&member, now),
            Request::CommitOffsets(commit) => self.commit_offsets(&commit, now),
            Request::FetchOffsets { group, partitions, stable } => self.fetch_offsets(id, group, partitions.as_deref(), stable),
            Request::DeleteOffsets { group, partitions } => self.delete_offsets(group, &partitions),
            Request::DescribeGroups { group } => Ok(self.describe_groups(group)),
            Request::DeleteGroup { group } => self.delete_group(group),
        }
    }

    pub(crate) fn session_mut(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).unwrap_or_else(|| unreachable!("requests come from open sessions"))
    }

    pub(crate) fn host_of(&self, id: SessionId) -> usize {
        self.sessions.get(&id).map_or(0, |session| session.host)
    }

    fn authenticate(&mut self, id: SessionId, user: &str, password: &[u8]) -> Result<Reply, Failure> {
        let loopback = self.session_mut(id).loopback;
        if !login(&self.options.users, user, password, loopback) {
            return Err(Failure::LoginRefused { user: user.into() });
        }
        self.session_mut(id).user = user.into();
        Ok(Reply::Ok)
    }

    fn open_host(&mut self, id: SessionId, host: &str) -> Result<Reply, Failure> {
        let found = self.topology.host(host).ok_or_else(|| Failure::NoSuchHost { host: host.into() })?;
        self.session_mut(id).host = found;
        Ok(Reply::Ok)
    }

    fn close_scope(&mut self, id: SessionId, scope: ScopeId, now: Now) {
        let Some(mut closed) = self.session_mut(id).scopes.remove(&scope) else { return };
        for subscription in std::mem::take(&mut closed.subscriptions) {
            self.drop_subscription(subscription, now);
        }
        for unacked in closed.take_all() {
            self.requeue(unacked);
        }
    }

    fn publish(&mut self, id: SessionId, publish: &Publish<'_>, now: Now) -> Result<Reply, Failure> {
        let Some(session) = self.sessions.get_mut(&id) else { return Ok(Reply::Ok) };
        if let Some(claimed) = publish.user_id
            && claimed != session.user
        {
            return Err(Failure::UserMismatch { claimed: claimed.into(), user: session.user.clone() });
        }
        let host = session.host;
        let Some(scope) = session.scopes.get_mut(&publish.scope) else { return Ok(Reply::Ok) };
        let mut route = std::mem::take(&mut self.route);
        let cache = &mut scope.routes;
        let cached = cache.version == self.topology.version
            && publish.more_keys.is_empty()
            && cache.key == publish.routing_key
            && cache.exchange == publish.exchange;
        if cached {
            route.clone_from(&cache.targets);
        } else {
            let by_key = match self.find_route(host, publish, &mut route) {
                Ok(by_key) => by_key,
                Err(failure) => {
                    self.route = route;
                    return Err(failure);
                }
            };
            let version = self.topology.version;
            let scope = self.session_mut(id).scopes.get_mut(&publish.scope);
            if by_key && let Some(scope) = scope {
                let cache = &mut scope.routes;
                publish.exchange.clone_into(&mut cache.exchange);
                publish.routing_key.clone_into(&mut cache.key);
                cache.targets.clone_from(&route);
                cache.version = version;
            }
        }
        let reply = self.accept(id, publish, &route, now);
        self.route = route;
        reply
    }

    /// Find the queues; true: whenever exchange and key are the same, the route is.
    fn find_route(&self, host: usize, publish: &Publish<'_>, route: &mut Vec<LogId>) -> Result<bool, Failure> {
        let start = self.topology.exchange_id(host, publish.exchange)?;
        if self.topology.exchanges.get(&start).is_some_and(|exchange| exchange.internal) {
            let host = self.topology.host_name(host).into();
            return Err(Failure::InternalExchange { name: publish.exchange.into(), host });
        }
        if publish.more_keys.is_empty() {
            self.route(host, start, &[publish.routing_key], publish.headers, route);
            return Ok(self.topology.by_key_alone(start));
        }
        let mut keys = vec![publish.routing_key];
        keys.extend(publish.more_keys.iter().map(String::as_str));
        self.route(host, start, &keys, publish.headers, route);
        Ok(false)
    }

    /// Take in a message whose route is known.
    fn accept(&mut self, id: SessionId, publish: &Publish<'_>, route: &[LogId], now: Now) -> Result<Reply, Failure> {
        self.statistics.published += 1;
        let routed = !route.is_empty();
        let tag = tag(publish.persistent, publish.priority, publish.expiration_ms, now);
        let session = self.session_mut(id);
        if let Some(scope) = session.scopes.get_mut(&publish.scope)
            && let Some(transaction) = &mut scope.transaction
        {
            // One that will only be returned is kept as well, by its session.
            if routed || publish.mandatory {
                transaction.bytes += publish.record.encoded_len() + std::mem::size_of_val(route);
                if transaction.bytes > limits::TRANSACTION_BYTES_MAX {
                    return Err(transaction_too_large());
                }
            }
            if routed {
                let own = publish.record.own.iter().chain(publish.record.headers);
                let stored = Stored {
                    targets: route.to_vec(),
                    persistent: publish.persistent,
                    priority: publish.priority,
                    expiration_ms: publish.expiration_ms,
                    key: publish.record.key.into(),
                    value: publish.record.value.into(),
                    headers: own.map(|header| (header.name.into(), header.value.into())).collect(),
                };
                transaction.publishes.push(stored);
            }
            return Ok(Reply::Published { durable_at: None, routed });
        }
        if !routed {
            return Ok(Reply::Published { durable_at: None, routed: false });
        }
        let refused = self.refused(route, &Promised::default(), publish.record.value.len());
        if !refused.is_empty() {
            let open: Vec<LogId> = route.iter().copied().filter(|id| !refused.contains(id)).collect();
            self.enqueue(&open, &publish.record, tag, false, now);
            for id in refused {
                self.send_on_refused(id, &publish.record, tag, now);
            }
            return Ok(Reply::Refused);
        }
        // What this session settled before must be durable no later than this publish.
        let flushes = self.store.flushes();
        if self.session_mut(id).settled_at == flushes {
            self.store.flush_settles();
        }
        let durable_at = self.enqueue(route, &publish.record, tag, false, now);
        Ok(Reply::Published { durable_at, routed: true })
    }

    /// Append a record to its queues and see that they are looked at.
    pub(crate) fn enqueue(&mut self, route: &[LogId], record: &RecordParts<'_>, tag: Tag, group: bool, now: Now) -> Option<Lsn> {
        self.statistics.enqueued += route.len() as u64;
        let durable_at = if self.topics.are_on(route) {
            self.append_plainly(route, record, tag, group, now)
        } else {
            self.store.append(route, record, tag, group, now)
        };
        for id in route {
            let Some(queue) = self.topology.queues.get_mut(id) else { continue };
            // Only some queues need to know which offset it is.
            let offset = if queue.needs_offsets() { model::Offset(self.store.next_offset(*id).0 - 1) } else { model::Offset(0) };
            queue.push(offset, tag.priority(), record.value.len());
            queue.any_expires |= tag.expires_ms().is_some();
            // Whoever can take a message has it before the limits are looked at.
            let has_takers = !queue.active && !queue.blocked && !queue.consumers.is_empty();
            if has_takers || queue.overflows() || queue.must_watch(offset) {
                self.wake_queue(*id);
            }
        }
        durable_at
    }

    fn commit(&mut self, id: SessionId, scope: ScopeId, now: Now) -> Reply {
        let Some(transaction) = self.session_mut(id).scopes.get_mut(&scope).and_then(|scope| scope.transaction.as_mut()) else {
            return Reply::Ok;
        };
        let Transaction { publishes, settled, .. } = std::mem::take(&mut **transaction);
        let mut promised = Promised::default();
        let mut messages = Vec::with_capacity(publishes.len());
        for mut stored in publishes {
            let refused = self.refused(&stored.targets, &promised, stored.value.len());
            let exists = |id: &LogId| self.topology.queues.contains_key(id) || self.topics.is_stream(*id);
            stored.targets.retain(|id| exists(id) && !refused.contains(id));
            let streams = self.topics.are_on(&stored.targets);
            let mut durable = false;
            for id in &stored.targets {
                let Some(queue) = self.topology.queues.get(id) else { continue };
                durable |= queue.durable;
                if queue.settings.overflow != Overflow::DropHead {
                    let (messages, bytes) = promised.entry(*id).or_default();
                    *messages += 1;
                    *bytes += stored.value.len() as u64;
                }
            }
            messages.push((streams || durable && stored.persistent, stored, refused));
        }
        // Those that touch the journal form one group, the last of which ends it.
        let last = messages.iter().rposition(|(journalled, ..)| *journalled);
        for (index, (_, stored, _)) in messages.iter().enumerate() {
            let headers = stored.headers();
            let tag = tag(stored.persistent, stored.priority, stored.expiration_ms, now);
            self.enqueue(&stored.targets, &stored.record(&headers), tag, last.is_some_and(|last| index < last), now);
        }
        for (_, stored, refused) in &messages {
            let headers = stored.headers();
            for id in refused {
                let tag = tag(stored.persistent, stored.priority, stored.expiration_ms, now);
                self.send_on_refused(*id, &stored.record(&headers), tag, now);
            }
        }
        let taken: Vec<Unacked> = settled.iter().map(|(unacked, _)| *unacked).collect();
        let full = self.session_mut(id).scopes.get(&scope).is_some_and(|scope| !scope.has_credit(false));
        self.free_scope(id, scope, &taken, full);
        for (unacked, outcome) in settled {
            self.finish(unacked, outcome);
        }
        self.store.flush_settles();
        if messages.iter().any(|(.., refused)| !refused.is_empty()) {
            return Reply::Refused;
        }
        Reply::DurableAt(self.store.appended())
    }

    fn settle(
        &mut self,
        id: SessionId,
        scope_id: ScopeId,
        tag: model::DeliveryTag,
        multiple: bool,
        outcome: Outcome,
    ) -> Result<Reply, Failure> {
        let mut taken = std::mem::take(&mut self.taken);
        taken.clear();
        let Some(scope) = self.session_mut(id).scopes.get_mut(&scope_id) else { return Ok(Reply::Ok) };
        let full = !scope.has_credit(false);
        if !scope.take(tag, multiple, &mut taken) {
            self.taken = taken;
            return Err(Failure::UnknownDeliveryTag(tag.0));
        }
        if outcome != Outcome::Accepted {
            self.check_outcome(id, scope_id, &mut taken, "reject")?;
        }
        let Some(scope) = self.session_mut(id).scopes.get_mut(&scope_id) else { return Ok(Reply::Ok) };
        if let Some(transaction) = &mut scope.transaction {
            transaction.bytes += taken.len() * std::mem::size_of::<(Unacked, Outcome)>();
            if transaction.bytes > limits::TRANSACTION_BYTES_MAX {
                scope.put_back(taken.drain(..));
                self.taken = taken;
                return Err(transaction_too_large());
            }
            transaction.settled.extend(taken.drain(..).map(|unacked| (unacked, outcome)));
        }
        self.free_scope(id, scope_id, &taken, full);
        for unacked in &taken {
            self.finish(*unacked, outcome);
        }
        self.taken = taken;
        // Read last: a segment that one of them emptied flushes those before it, and not those after it. (Once it was read
        // first, and the next publish took the later ones for flushed; a crash between their blocks brought them back.)
        self.session_mut(id).settled_at = self.store.flushes();
        Ok(Reply::Ok)
    }

    /// Give back all that the scope has not settled.
    fn recover(&mut self, id: SessionId, scope_id: ScopeId) -> Result<Reply, Failure> {
        let Some(scope) = self.session_mut(id).scopes.get_mut(&scope_id) else { return Ok(Reply::Ok) };
        let full = !scope.has_credit(false);
        let mut taken = Vec::new();
        scope.take(model::DeliveryTag(0), true, &mut taken);
        self.check_outcome(id, scope_id, &mut taken, "recover")?;
        self.free_scope(id, scope_id, &taken, full);
        for unacked in taken {
            self.requeue(unacked);
        }
        Ok(Reply::Ok)
    }

    /// What was taken out of a scope is settled for good: one that was `full` may have credit again.
    fn free_scope(&mut self, id: SessionId, scope_id: ScopeId, taken: &[Unacked], full: bool) {
        let Some(scope) = self.session_mut(id).scopes.get_mut(&scope_id) else { return };
        scope.free(taken);
        if full && scope.has_credit(false) {
            self.wake_scope(id, scope_id);
        }
    }

    /// What a stream handed out can only be accepted: there is nothing it could return to. Otherwise all that was taken is
    /// put back.
    fn check_outcome(
        &mut self,
        id: SessionId,
        scope: ScopeId,
        taken: &mut Vec<Unacked>,
        what: &'static str,
    ) -> Result<(), Failure> {
        let Some(unacked) = taken.iter().find(|unacked| self.topics.is_stream(unacked.queue)) else { return Ok(()) };
        let failure = self.not_for_streams(unacked.queue, what);
        if let Some(scope) = self.session_mut(id).scopes.get_mut(&scope) {
            scope.put_back(taken.drain(..));
        }
        Err(failure)
    }

    /// An unsettled delivery has its outcome.
    pub(crate) fn finish(&mut self, unacked: Unacked, outcome: Outcome) {
        self.statistics.settled += 1;
        match outcome {
            Outcome::Requeued => self.requeue(unacked),
            Outcome::Accepted => self.settle_one(unacked),
            Outcome::Rejected => {
                if let Some(queue) = self.topology.queues.get_mut(&unacked.queue) {
                    queue.unacked -= 1;
                    self.bury(unacked.queue, unacked.offset, "rejected");
                }
                self.free_credit(unacked);
            }
        }
    }

    fn settle_one(&mut self, unacked: Unacked) {
        if let Some(queue) = self.topology.queues.get_mut(&unacked.queue) {
            queue.unacked -= 1;
            queue.forget(unacked.offset);
            self.store.settle(unacked.queue, unacked.offset);
        }
        self.free_credit(unacked);
    }

    fn requeue(&mut self, unacked: Unacked) {
        if let Some(queue) = self.topology.queues.get_mut(&unacked.queue) {
            if queue.came_back_too_often(unacked.offset) {
                queue.unacked -= 1;
                self.bury(unacked.queue, unacked.offset, "delivery_limit");
            } else {
                queue.put_back(unacked.offset, &self.store);
            }
        }
        self.free_credit(unacked);
        self.wake_queue(unacked.queue);
    }

    fn free_credit(&mut self, unacked: Unacked) {
        let Some(queue) = self.topology.queues.get_mut(&unacked.queue) else {
            if let Some(subscription) = unacked.subscription {
                self.topics.readers.free_credit(subscription);
            }
            return;
        };
        if let Some(subscription) = unacked.subscription
            && let Some(consumer) = queue.consumer_mut(subscription)
        {
            consumer.in_flight -= 1;
        }
        if queue.blocked && queue.ready > 0 {
            self.wake_queue(unacked.queue);
        }
    }

    fn subscribe(&mut self, id: SessionId, subscribe: &Subscribe<'_>, now: Now) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        let queue_id = self.accessible_queue(id, subscribe.queue)?;
        if self.topics.is_stream(queue_id) {
            return self.subscribe_stream(id, queue_id, subscribe, now);
        }
        let host_name = self.topology.host_name(host).to_owned();
        let Some(queue) = self.topology.queues.get_mut(&queue_id) else {
            return Err(Failure::NotFound { subject: Subject::Queue, name: subscribe.queue.into(), host: host_name });
        };
        if queue.damaged {
            return Err(damaged(queue));
        }
        if let Some(priority) = subscribe.arguments.get("x-priority").filter(|priority| priority.as_integer().is_none()) {
            let declared = Declared { subject: Subject::Queue, name: subscribe.queue, host: &host_name };
            let reason = format!("\"expected integer, got {}\"", type_name(priority));
            return Err(declared.invalid("x-priority", reason));
        }
        let alone = queue.consumers.is_empty() && !queue.settings.single_active;
        if queue.exclusive_consumer || (subscribe.exclusive && !alone) {
            return Err(Failure::ExclusiveUse { name: queue.name.clone(), host: host_name });
        }
        let Some(consumer) = self.new_consumer(id, queue_id, subscribe)? else { return Ok(Reply::Ok) };
        if let Some(queue) = self.topology.queues.get_mut(&queue_id) {
            queue.add_consumer(consumer);
            queue.exclusive_consumer = subscribe.exclusive;
        }
        self.wake_queue(queue_id);
        Ok(Reply::Subscribed { subscription: consumer.subscription })
    }

    /// A consumer, which its scope knows of. `None`: the scope is gone.
    pub(crate) fn new_consumer(
        &mut self,
        id: SessionId,
        queue: LogId,
        subscribe: &Subscribe<'_>,
    ) -> Result<Option<Consumer>, Failure> {
        let Some(scope) = self.session_mut(id).scopes.get_mut(&subscribe.scope) else { return Ok(None) };
        if scope.subscriptions.len() >= limits::SUBSCRIPTIONS_PER_SCOPE_MAX {
            let max = limits::SUBSCRIPTIONS_PER_SCOPE_MAX;
            return Err(Failure::LimitReached(format!("reached maximum ({max}) of consumers per channel")));
        }
        let prefetch = scope.prefetch_each;
        self.next_subscription += 1;
        let subscription = SubscriptionId(self.next_subscription);
        self.session_mut(id).scopes.entry(subscribe.scope).or_default().subscriptions.push(subscription);
        self.subscriptions.insert(subscription, queue);
        Ok(Some(Consumer {
            subscription,
            session: id,
            scope: subscribe.scope,
            auto_settle: subscribe.auto_settle,
            priority: subscribe.arguments.get("x-priority").and_then(model::Value::as_integer).unwrap_or(0),
            prefetch,
            in_flight: 0,
        }))
    }

    /// How many unsettled deliveries a new consumer of the scope may have; 0: no limit.
    pub(crate) fn prefetch_each(&self, id: SessionId, scope: ScopeId) -> u32 {
        let scope = self.sessions.get(&id).and_then(|session| session.scopes.get(&scope));
        scope.map_or(0, |scope| scope.prefetch_each)
    }

    fn unsubscribe(&mut self, id: SessionId, scope: ScopeId, subscription: SubscriptionId, now: Now) {
        if let Some(scope) = self.session_mut(id).scopes.get_mut(&scope) {
            scope.subscriptions.retain(|other| *other != subscription);
        }
        self.drop_subscription(subscription, now);
    }

    fn drop_subscription(&mut self, subscription: SubscriptionId, now: Now) {
        let Some(queue_id) = self.subscriptions.remove(&subscription) else { return };
        self.topics.readers.remove(subscription);
        let Some(queue) = self.topology.queues.get_mut(&queue_id) else { return };
        queue.remove_consumer(subscription);
        queue.unused_since_ms = now.mono_ms;
        if queue.consumers.is_empty() && queue.auto_delete && queue.had_consumer {
            self.remove_queue(queue_id, now);
        } else {
            self.wake_queue(queue_id);
        }
    }

    fn get(&mut self, id: SessionId, scope: ScopeId, name: &str, auto_settle: bool, now: Now) -> Result<Reply, Failure> {
        let queue_id = self.accessible_queue(id, name)?;
        if self.topics.is_stream(queue_id) {
            return Err(self.not_for_streams(queue_id, "get"));
        }
        if let Some(queue) = self.topology.queues.get_mut(&queue_id) {
            if queue.damaged {
                return Err(damaged(queue));
            }
            queue.unused_since_ms = now.mono_ms;
            queue.getters.push_back(Getter { session: id, scope, auto_settle });
        }
        self.wake_queue(queue_id);
        Ok(Reply::Pending)
    }

    /// A number nobody can guess.
    pub(crate) fn random(&mut self) -> u64 {
        self.names.number()
    }
}

/// Subscriptions in the order in which they are to be served: from the one behind `last` on.
fn in_turn(mut subscriptions: Vec<SubscriptionId>, last: Option<SubscriptionId>) -> Vec<SubscriptionId> {
    subscriptions.sort_unstable();
    let first = subscriptions.partition_point(|subscription| last.is_some_and(|last| *subscription <= last));
    subscriptions.rotate_left(first);
    subscriptions
}

/// The tag of a message that lives for so long from now on.
fn tag(persistent: bool, priority: u8, expiration_ms: Option<u64>, now: Now) -> Tag {
    let expires = expiration_ms.map_or(0, |after| now.wall_ms.saturating_add(after).max(1));
    Tag::new(persistent, priority, expires)
}

pub(crate) fn damaged(queue: &Queue) -> Failure {
    Failure::Damaged(format!("queue '{}' holds a record that cannot be read; the broker's log says where", queue.name))
}

fn transaction_too_large() -> Failure {
    let max = limits::TRANSACTION_BYTES_MAX;
    Failure::LimitReached(format!("a transaction may hold {max} bytes; commit more often"))
}
