//! Declaring, deleting and binding: each change of something durable is an entry of the catalog.

use model::planted::{self, Bug};
use model::request::{Binding, DeclareExchange, DeclareQueue, Destination};
use model::{Event, Failure, Lsn, Now, Random, Reply, SessionId, Subject, limits};
use storage::{LogId, OpenError, Store, Verified};
use vfs::Vfs;

use crate::broker::{Broker, Options, Sink};
use crate::catalog::{self, Entry, Step};
use crate::declare::{Declared, QUEUE_ARGUMENTS, Settings};
use crate::group::Groups;
use crate::queue::{Consumer, Queue};
use crate::router::{BindingKey, ExchangeId, Kind, Target};
use crate::topic::{self, Topics};
use crate::topology::{Topology, is_predeclared};
use crate::transaction::Transactions;

/// Auto-delete exchanges that go at once with what they were bound to; if there are more, they follow in later turns.
pub(crate) const CASCADE_AT_ONCE: usize = 256;

/// What became of the wish to remove a queue.
pub(crate) enum Removal {
    Done {
        durable_at: Option<Lsn>,
    },
    /// It has letters to send on first.
    Later,
}

impl Broker {
    /// Recover everything durable from the disk.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub fn open(options: Options, store: storage::Options, vfs: &mut dyn Vfs) -> Result<Broker, OpenError> {
        let mut recovered = catalog::Recovered::default();
        let mut store = Store::open(store, vfs, &mut recovered)?;
        if let Some(damage) = recovered.damage {
            return Err(OpenError::Catalog(damage));
        }
        let mut topics = Topics::new(&options.topics, store.is_synced());
        let (mut topology, mut transactions) = (Topology::new(), Transactions::default());
        let mut groups = Groups::default();
        for step in recovered.steps {
            match step {
                Step::Batch { log, base, head, marker } => topics.note(log, base, &head, marker),
                Step::Entry(entry) => {
                    match &entry {
                        Entry::DeleteTopic { name } => {
                            groups.topic_deleted(name);
                            for log in topics.names.get(name.as_str()).map_or(&[][..], |topic| &topic.partitions) {
                                topology.remove_stream(*log);
                            }
                        }
                        Entry::EndTransaction { transactional_id, commit, .. } => {
                            for (group, producer_id) in transactions.groups_of(transactional_id) {
                                groups.end_transaction(group, producer_id, *commit, Lsn(0));
                            }
                        }
                        _ => {}
                    }
                    let other = topics.apply(entry).and_then(|entry| transactions.apply(entry));
                    let other = other.and_then(|entry| groups.apply(entry));
                    if let Some(entry) = other {
                        topology.apply(entry);
                    }
                    topology.tidy(usize::MAX);
                }
            }
        }
        for queue in topology.queues.values_mut() {
            queue.recover(&mut store, vfs);
        }
        Ok(Broker::with(options, store, topology, topics, transactions, groups, Random(vfs.random())))
    }

    /// Read and verify a data directory offline; see [`storage::verify`].
    ///
    /// # Errors
    /// [`OpenError::Io`] where a directory cannot be listed.
    pub fn verify(vfs: &mut dyn Vfs, report: &mut dyn FnMut(storage::Finding)) -> Result<Verified, OpenError> {
        storage::verify(vfs, &mut catalog::Recovered::default(), report)
    }

    /// Hand the store the catalog it wants for its checkpoint.
    pub fn checkpoint(&mut self) {
        let catalog = catalog::encode_all(&self.snapshot());
        self.store.checkpoint(catalog);
    }

    /// The entries that would make everything durable afresh.
    fn snapshot(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        // Topics first: what is bound to them must find them.
        self.topics.snapshot(&mut entries);
        self.transactions.snapshot(&mut entries);
        self.groups.snapshot(&mut entries);
        entries.extend(self.topology.snapshot());
        entries
    }

    /// Write a last checkpoint; see [`Store::close`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn close(&mut self, vfs: &mut dyn Vfs) -> std::io::Result<()> {
        let catalog = catalog::encode_all(&self.snapshot());
        self.store.close(catalog, vfs)
    }

    pub(crate) fn record(&mut self, entry: &Entry) -> Lsn {
        self.catalog_end = self.store.append_catalog(&catalog::encode(entry));
        self.catalog_end
    }

    /// What was asked for is so already. Whoever made it so may still be waiting for the disk; then this answer must wait
    /// too, because a crash could undo what it says.
    fn unchanged(&self) -> Reply {
        Reply::DurableAt(self.catalog_end)
    }

    pub(crate) fn declare_exchange(&mut self, id: SessionId, declare: DeclareExchange<'_>) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        let host_name = self.topology.host_name(host).to_owned();
        let name = declare.name;
        if name.is_empty() {
            return Err(Failure::DefaultExchange);
        }
        if declare.passive {
            self.topology.exchange_id(host, name)?;
            return Ok(Reply::Ok);
        }
        let kind = Kind::parse(declare.kind).ok_or_else(|| Failure::UnknownExchangeType { kind: declare.kind.into() })?;
        let declared = Declared { subject: Subject::Exchange, name, host: &host_name };
        let alternate = declared.alternate_exchange(&declare.arguments)?;
        if let Ok(existing) = self.topology.exchange_id(host, name) {
            let Some(exchange) = self.topology.exchanges.get(&existing) else { return Ok(Reply::Ok) };
            declared.same_word("type", kind.name(), exchange.kind.name())?;
            declared.same_flag("durable", declare.durable, exchange.durable)?;
            declared.same_flag("auto_delete", declare.auto_delete, exchange.auto_delete)?;
            declared.same_flag("internal", declare.internal, exchange.internal)?;
            declared.same_arguments(&["alternate-exchange"], &declare.arguments, &exchange.arguments)?;
            return Ok(self.unchanged());
        }
        if name.starts_with("amq.") {
            return Err(Failure::ReservedName { subject: Subject::Exchange, name: name.into() });
        }
        if self.topology.exchanges.len() >= limits::EXCHANGES_MAX {
            return Err(Failure::LimitReached(format!("this broker holds {} exchanges, its limit", limits::EXCHANGES_MAX)));
        }
        let entry = Entry::DeclareExchange {
            host: host_name,
            name: name.into(),
            kind: kind.name().into(),
            auto_delete: declare.auto_delete,
            internal: declare.internal,
            arguments: declare.arguments.clone(),
            orphan: false,
        };
        let arguments = declare.arguments;
        self.topology.add_exchange(
            host,
            name,
            kind,
            declare.durable,
            declare.auto_delete,
            declare.internal,
            arguments,
            alternate,
        );
        if declare.durable {
            return Ok(Reply::DurableAt(self.record(&entry)));
        }
        Ok(Reply::Ok)
    }

    pub(crate) fn delete_exchange(&mut self, id: SessionId, name: &str, if_unused: bool) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        if name.is_empty() {
            return Err(Failure::DefaultExchange);
        }
        if is_predeclared(name) {
            return Err(Failure::SystemExchange { name: name.into(), host: self.topology.host_name(host).into() });
        }
        // Deleting what is not there succeeds.
        let Ok(exchange_id) = self.topology.exchange_id(host, name) else { return Ok(self.unchanged()) };
        let in_use = self.topology.exchanges.get(&exchange_id).is_some_and(|exchange| !exchange.bindings.is_empty());
        if if_unused && in_use {
            let host = self.topology.host_name(host).into();
            return Err(Failure::InUse { subject: Subject::Exchange, name: name.into(), host });
        }
        Ok(self.remove_exchange(exchange_id).map_or(Reply::Ok, Reply::DurableAt))
    }

    pub(crate) fn remove_exchange(&mut self, id: ExchangeId) -> Option<Lsn> {
        let durable_at = self.remove_one_exchange(id);
        self.remove_orphans(CASCADE_AT_ONCE).or(durable_at)
    }

    fn remove_one_exchange(&mut self, id: ExchangeId) -> Option<Lsn> {
        let exchange = self.topology.remove_exchange(id)?;
        let host = self.topology.host_name(exchange.host).into();
        exchange.durable.then(|| self.record(&Entry::DeleteExchange { host, name: exchange.name }))
    }

    /// Delete auto-delete exchanges that have lost their last binding, at most `most`; the others follow in later turns,
    /// after a crash too: whoever replays the loss finds them again.
    pub(crate) fn remove_orphans(&mut self, most: usize) -> Option<Lsn> {
        let mut durable_at = None;
        for _ in 0..most {
            let Some(id) = self.topology.orphans.pop_front() else { break };
            // Somebody may have bound something to it since.
            if self.topology.exchanges.get(&id).is_some_and(|exchange| exchange.bindings.is_empty()) {
                durable_at = self.remove_one_exchange(id).or(durable_at);
            }
        }
        durable_at
    }

    /// The queue or stream of that name, unless it is another session's own.
    pub(crate) fn accessible_queue(&self, id: SessionId, name: &str) -> Result<LogId, Failure> {
        let host = self.host_of(id);
        let queue_id = self.queue_id(host, name)?;
        let owner = self.topology.queues.get(&queue_id).and_then(|queue| queue.exclusive);
        if owner.is_some_and(|owner| owner != id) {
            return Err(Failure::Locked { name: name.into(), host: self.topology.host_name(host).into() });
        }
        Ok(queue_id)
    }

    fn declared(&mut self, queue_id: LogId, durable_at: Option<Lsn>) -> Reply {
        if self.topics.is_stream(queue_id) {
            return self.stream_declared(queue_id, durable_at);
        }
        self.drop_untaken(queue_id, &mut { usize::MAX });
        let queue = self.topology.queues.get(&queue_id);
        Reply::QueueDeclared {
            name: queue.map(|queue| queue.name.clone()).unwrap_or_default(),
            // What is too much is about to be taken or dropped.
            messages: queue.map_or(0, |queue| queue.ready.min(queue.settings.max_length.unwrap_or(u64::MAX))),
            subscriptions: queue.map_or(0, |queue| queue.consumers.len() as u64),
            durable_at,
        }
    }

    pub(crate) fn declare_queue(&mut self, id: SessionId, declare: DeclareQueue<'_>, now: Now) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        let host_name = self.topology.host_name(host).to_owned();
        if declare.passive {
            let queue_id = self.accessible_queue(id, declare.name)?;
            self.touch(queue_id, now);
            return Ok(self.declared(queue_id, None));
        }
        if declare.name.starts_with("amq.") {
            return Err(Failure::ReservedName { subject: Subject::Queue, name: declare.name.into() });
        }
        if !declare.name.is_empty() && self.queue_id(host, declare.name).is_ok() {
            let queue_id = self.accessible_queue(id, declare.name)?;
            if self.topics.is_stream(queue_id) {
                return self.redeclare_stream(queue_id, &declare);
            }
            let declared = Declared { subject: Subject::Queue, name: declare.name, host: &host_name };
            if let Some(queue) = self.topology.queues.get(&queue_id) {
                // Whose queue it is comes before everything else.
                if declare.exclusive != queue.exclusive.is_some() {
                    return Err(Failure::Locked { name: declare.name.into(), host: host_name });
                }
                declared.same_flag("durable", declare.durable, queue.durable_as_declared)?;
                declared.same_flag("auto_delete", declare.auto_delete, queue.auto_delete)?;
                declared.same_arguments(QUEUE_ARGUMENTS, &declare.arguments, &queue.arguments)?;
            }
            self.touch(queue_id, now);
            let durable = self.topology.queues.get(&queue_id).is_some_and(|queue| queue.durable);
            return Ok(self.declared(queue_id, durable.then_some(self.catalog_end)));
        }
        if topic::stream::is_asked_for(&declare) {
            return self.declare_stream(&declare);
        }
        let name = if declare.name.is_empty() { self.names.name("amq.gen-") } else { declare.name.to_owned() };
        let declared = Declared { subject: Subject::Queue, name: &name, host: &host_name };
        let settings = Settings::parse(&declared, &declare.arguments)?;
        let quorum = declare.arguments.get("x-queue-type").and_then(model::Value::as_text) == Some("quorum");
        if quorum && (!declare.durable || declare.exclusive) {
            return Err(declared.invalid("x-queue-type", "a quorum queue is durable and not exclusive"));
        }
        if self.topology.queues.len() >= limits::QUEUES_MAX {
            return Err(Failure::LimitReached(format!("this broker holds {} queues, its limit", limits::QUEUES_MAX)));
        }
        // A queue that dies with its connection has nothing to outlive a restart for.
        let durable = declare.durable && !declare.exclusive;
        let log = self.store.create_log(durable);
        let mut queue = Queue::new(name.clone(), host, log, declare.arguments.clone(), settings);
        queue.durable = durable;
        queue.durable_as_declared = declare.durable;
        queue.auto_delete = declare.auto_delete;
        queue.exclusive = declare.exclusive.then_some(id);
        queue.unused_since_ms = now.mono_ms;
        if queue.needs_offsets() {
            self.store.keep_index(log);
        }
        self.topology.add_queue(queue);
        if declare.exclusive {
            self.session_mut(id).exclusive.push(log);
        }
        let durable_at = durable.then(|| {
            let arguments = declare.arguments;
            self.record(&Entry::DeclareQueue { host: host_name, name, log: log.0, auto_delete: declare.auto_delete, arguments })
        });
        self.schedule_expiry(log, now);
        Ok(self.declared(log, durable_at))
    }

    fn touch(&mut self, id: LogId, now: Now) {
        if let Some(queue) = self.topology.queues.get_mut(&id) {
            queue.unused_since_ms = now.mono_ms;
        }
    }

    pub(crate) fn delete_queue(
        &mut self,
        id: SessionId,
        name: &str,
        if_unused: bool,
        if_empty: bool,
        now: Now,
    ) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        // Deleting what is not there succeeds.
        if self.queue_id(host, name).is_err() {
            return Ok(Reply::Removed { messages: 0, durable_at: Some(self.catalog_end) });
        }
        let queue_id = self.accessible_queue(id, name)?;
        if self.topics.is_stream(queue_id) {
            return self.delete_stream(queue_id, name, if_unused, if_empty);
        }
        let Some(queue) = self.topology.queues.get(&queue_id) else { return Ok(Reply::Ok) };
        let host = || self.topology.host_name(host).to_owned();
        if if_unused && !queue.consumers.is_empty() {
            return Err(Failure::InUse { subject: Subject::Queue, name: name.into(), host: host() });
        }
        if if_empty && queue.ready > 0 {
            return Err(Failure::NotEmpty { name: name.into(), host: host() });
        }
        let messages = queue.ready;
        match self.remove_queue(queue_id, now) {
            Removal::Done { durable_at } => Ok(Reply::Removed { messages, durable_at }),
            Removal::Later => {
                if let Some(doomed) = self.topology.queues.get_mut(&queue_id).and_then(|queue| queue.doomed.as_mut()) {
                    doomed.push((id, messages));
                }
                Ok(Reply::Pending)
            }
        }
    }

    /// Take a queue away, whoever uses it. Its subscribers are told. Its last letters go first: where that takes longer
    /// than this turn, it serves nobody until then.
    pub(crate) fn remove_queue(&mut self, id: LogId, now: Now) -> Removal {
        if self.sends_last_letters(id, now) {
            return Removal::Done { durable_at: self.take_queue_away(id) };
        }
        if let Some(queue) = self.topology.queues.get_mut(&id) {
            queue.doomed.get_or_insert_default();
            let consumers = queue.take_consumers();
            self.end_subscriptions(&consumers);
        }
        self.wake_queue(id);
        Removal::Later
    }

    /// Take a queue away that waited for its last letters, if they are gone. False: they are not.
    pub(crate) fn removes_doomed(&mut self, id: LogId, sink: &mut impl Sink, now: Now) -> bool {
        if self.topology.queues.get(&id).is_none_or(|queue| queue.doomed.is_none()) || !self.sends_last_letters(id, now) {
            return false;
        }
        let askers = self.topology.queues.get_mut(&id).and_then(|queue| queue.doomed.take()).unwrap_or_default();
        let durable_at = self.take_queue_away(id);
        for (session, messages) in askers {
            sink.send(session, Event::Reply(Reply::Removed { messages, durable_at }));
        }
        true
    }

    fn take_queue_away(&mut self, id: LogId) -> Option<Lsn> {
        let queue = self.topology.remove_queue(id)?;
        if let Some(owner) = queue.exclusive.and_then(|owner| self.sessions.get_mut(&owner)) {
            owner.exclusive.retain(|other| *other != id);
        }
        self.end_subscriptions(&queue.consumers);
        self.unanswered.extend(queue.getters.iter().map(|getter| (getter.session, getter.scope, None)));
        if let Some(at) = queue.expires_at {
            self.expiries.remove(&(at, id));
        }
        self.unused.remove(&(queue.looked_at_ms, id));
        self.store.delete_log(id);
        let mut durable_at = None;
        if queue.durable {
            let host = self.topology.host_name(queue.host).into();
            durable_at = Some(self.record(&Entry::DeleteQueue { host, name: queue.name }));
        }
        self.remove_orphans(CASCADE_AT_ONCE).or(durable_at)
    }

    /// Subscriptions end without their clients' doing: they are told in the next round.
    pub(crate) fn end_subscriptions(&mut self, consumers: &[Consumer]) {
        for consumer in consumers {
            self.subscriptions.remove(&consumer.subscription);
            if let Some(scope) =
                self.sessions.get_mut(&consumer.session).and_then(|session| session.scopes.get_mut(&consumer.scope))
            {
                scope.subscriptions.retain(|other| *other != consumer.subscription);
            }
            self.cancelled.push((consumer.session, consumer.scope, consumer.subscription));
        }
    }

    pub(crate) fn purge_queue(&mut self, id: SessionId, name: &str) -> Result<Reply, Failure> {
        let queue_id = self.accessible_queue(id, name)?;
        if self.topics.is_stream(queue_id) {
            return Err(self.not_for_streams(queue_id, "purge"));
        }
        // What was too much is not there any more, and has its letters.
        self.drop_untaken(queue_id, &mut { usize::MAX });
        let Some(queue) = self.topology.queues.get_mut(&queue_id) else { return Ok(Reply::Ok) };
        let messages = queue.ready;
        for (from, to) in queue.purge(self.store.next_offset(queue_id)) {
            self.store.settle_range(queue_id, from, to);
        }
        // What could not be read is gone too.
        queue.damaged = false;
        let durable_at = queue.durable.then(|| self.store.appended());
        Ok(Reply::Removed { messages, durable_at })
    }

    /// Make a binding, or take one away.
    pub(crate) fn bind(&mut self, id: SessionId, binding: Binding<'_>, make: bool) -> Result<Reply, Failure> {
        let host = self.host_of(id);
        let target = match binding.destination {
            Destination::Queue(name) => match self.accessible_queue(id, name) {
                Ok(queue) => self.target(queue),
                // Unbinding what is not there succeeds.
                Err(Failure::NotFound { .. }) if !make => return Ok(self.unchanged()),
                Err(failure) => return Err(failure),
            },
            Destination::Exchange("") => return Err(Failure::DefaultExchange),
            Destination::Exchange(name) => match self.topology.exchange_id(host, name) {
                Ok(exchange) => Target::Exchange(exchange),
                Err(_) if !make => return Ok(self.unchanged()),
                Err(failure) => return Err(failure),
            },
        };
        if binding.source.is_empty() {
            return Err(Failure::DefaultExchange);
        }
        let source = match self.topology.exchange_id(host, binding.source) {
            Ok(source) => source,
            Err(_) if !make => return Ok(self.unchanged()),
            Err(failure) => return Err(failure),
        };
        let key = BindingKey::new(binding.routing_key, binding.arguments);
        let durable = self.topology.is_durable(source, target);
        let recorded = durable && !(make && planted::is(Bug::BindingNotRecorded));
        let arrow = if recorded { self.topology.arrow(source, target, &key) } else { None };
        let changed = if make {
            if let Some(exchange) = self.topology.exchanges.get(&source) {
                exchange.bindings.check(&key).map_err(Failure::InvalidBinding)?;
            }
            if self.topology.bindings() >= limits::BINDINGS_MAX {
                return Err(Failure::LimitReached(format!("this broker holds {} bindings, its limit", limits::BINDINGS_MAX)));
            }
            self.topology.bind(source, target, key)
        } else {
            self.topology.unbind(source, target, &key)
        };
        if !changed {
            return Ok(self.unchanged());
        }
        let mut durable_at = arrow.map(|arrow| self.record(&if make { Entry::Bind(arrow) } else { Entry::Unbind(arrow) }));
        durable_at = self.remove_orphans(CASCADE_AT_ONCE).or(durable_at);
        Ok(durable_at.map_or(Reply::Ok, Reply::DurableAt))
    }
}
