//! Exchanges, queues and bindings: what a virtual host holds, and the fold of its catalog entries.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::{FixedState, RandomState};
use model::{Failure, Headers, Subject, Table};
use storage::LogId;

use crate::catalog::{Arrow, Entry};
use crate::declare::{Declared, Settings};
use crate::queue::Queue;
use crate::router::{BindingKey, Bindings, ExchangeId, Kind, Remains, Severed, Target};

/// Exchanges every virtual host has: name, kind, and whether they are internal.
const PREDECLARED: &[(&str, Kind, bool)] = &[
    ("", Kind::Direct, false),
    ("amq.direct", Kind::Direct, false),
    ("amq.fanout", Kind::Fanout, false),
    ("amq.topic", Kind::Topic, false),
    ("amq.headers", Kind::Headers, false),
    ("amq.match", Kind::Headers, false),
    // Programs may bind to it; nothing is ever traced.
    ("amq.rabbitmq.trace", Kind::Topic, true),
];

/// Exchanges that are told at once that a queue is gone; if it was bound to more, they follow in later turns.
pub(crate) const SOURCES_AT_ONCE: usize = 256;

pub(crate) struct Exchange {
    pub name: String,
    pub host: usize,
    pub kind: Kind,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub arguments: Table,
    pub alternate: Option<String>,
    pub bindings: Bindings,
    /// Exchanges with a binding to this one.
    pub bound: Sources,
}

/// Exchanges with a binding to one target. Some may be gone, for a moment.
pub(crate) type Sources = HashSet<ExchangeId, FixedState>;

/// Ends that are so already for everybody, and are still to be tidied up.
enum Leftover {
    /// Bindings in the index of an exchange.
    Bindings(ExchangeId, Severed),
    /// A target is gone; these exchanges do not know yet.
    Target(Target, std::vec::IntoIter<ExchangeId>),
    /// An exchange is gone; its targets do not know yet.
    Exchange(ExchangeId, Box<Remains>),
}

#[derive(Default)]
pub(crate) struct Host {
    pub name: String,
    pub exchanges: HashMap<String, ExchangeId, RandomState>,
    pub queues: HashMap<String, LogId, RandomState>,
}

/// Everything that is declared.
pub(crate) struct Topology {
    pub hosts: Vec<Host>,
    pub exchanges: HashMap<ExchangeId, Exchange, FixedState>,
    pub queues: HashMap<LogId, Queue, FixedState>,
    /// Exchanges with a binding to a stream.
    streams: HashMap<LogId, Sources, FixedState>,
    /// Grows with every change that may change a route.
    pub version: u64,
    next_exchange: u32,
    bindings: usize,
    leftovers: VecDeque<Leftover>,
    /// Auto-delete exchanges that lost their last binding: those that still have none are to be deleted.
    pub orphans: VecDeque<ExchangeId>,
}

impl Topology {
    pub fn new() -> Topology {
        let mut topology = Topology {
            hosts: vec![Host { name: "/".into(), ..Host::default() }],
            exchanges: HashMap::default(),
            queues: HashMap::default(),
            streams: HashMap::default(),
            version: 1,
            next_exchange: 0,
            bindings: 0,
            leftovers: VecDeque::new(),
            orphans: VecDeque::new(),
        };
        for (name, kind, internal) in PREDECLARED {
            topology.add_exchange(0, name, *kind, true, false, *internal, Table::default(), None);
        }
        topology
    }

    pub fn host(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| host.name == name)
    }

    pub fn host_name(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    pub fn bindings(&self) -> usize {
        self.bindings
    }

    fn not_found(&self, subject: Subject, host: usize, name: &str) -> Failure {
        Failure::NotFound { subject, name: name.into(), host: self.host_name(host).into() }
    }

    pub fn exchange_id(&self, host: usize, name: &str) -> Result<ExchangeId, Failure> {
        self.hosts[host].exchanges.get(name).copied().ok_or_else(|| self.not_found(Subject::Exchange, host, name))
    }

    pub fn queue_id(&self, host: usize, name: &str) -> Result<LogId, Failure> {
        self.hosts[host].queues.get(name).copied().ok_or_else(|| self.not_found(Subject::Queue, host, name))
    }

    #[expect(clippy::too_many_arguments, reason = "an exchange has that many properties")]
    pub fn add_exchange(
        &mut self,
        host: usize,
        name: &str,
        kind: Kind,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Table,
        alternate: Option<String>,
    ) -> ExchangeId {
        let id = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        self.version += 1;
        self.hosts[host].exchanges.insert(name.into(), id);
        let exchange = Exchange {
            name: name.into(),
            host,
            kind,
            durable,
            auto_delete,
            internal,
            arguments,
            alternate,
            bindings: Bindings::new(kind),
            bound: Sources::default(),
        };
        self.exchanges.insert(id, exchange);
        id
    }

    pub fn add_queue(&mut self, queue: Queue) {
        self.version += 1;
        self.hosts[queue.host].queues.insert(queue.name.clone(), queue.log);
        self.queues.insert(queue.log, queue);
    }

    /// Where a target's exchanges are noted.
    fn bound_mut(&mut self, target: Target) -> Option<&mut Sources> {
        match target {
            Target::Queue(id) => self.queues.get_mut(&id).map(|queue| &mut queue.bound),
            Target::Stream(id) => self.streams.get_mut(&id),
            Target::Exchange(id) => self.exchanges.get_mut(&id).map(|exchange| &mut exchange.bound),
        }
    }

    /// False where the binding was there already.
    pub fn bind(&mut self, source: ExchangeId, target: Target, key: BindingKey) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&source) else { return false };
        if !exchange.bindings.add(target, key) {
            return false;
        }
        self.version += 1;
        self.bindings += 1;
        if let Target::Stream(id) = target {
            self.streams.entry(id).or_default();
        }
        if let Some(bound) = self.bound_mut(target) {
            bound.insert(source);
        }
        true
    }

    /// False where there was no such binding.
    pub fn unbind(&mut self, source: ExchangeId, target: Target, key: &BindingKey) -> bool {
        let Some(exchange) = self.exchanges.get_mut(&source) else { return false };
        if !exchange.bindings.remove(target, key) {
            return false;
        }
        self.version += 1;
        self.bindings -= 1;
        let still = exchange.bindings.leads_to(target);
        if exchange.auto_delete && exchange.bindings.is_empty() {
            self.orphans.push_back(source);
        }
        if !still && let Some(bound) = self.bound_mut(target) {
            bound.remove(&source);
        }
        true
    }

    /// Take a queue out, with its bindings.
    pub fn remove_queue(&mut self, id: LogId) -> Option<Queue> {
        let mut queue = self.queues.remove(&id)?;
        self.version += 1;
        self.hosts[queue.host].queues.remove(&queue.name);
        self.remove_target(Target::Queue(id), std::mem::take(&mut queue.bound));
        Some(queue)
    }

    /// Take out the bindings to a stream.
    pub fn remove_stream(&mut self, id: LogId) {
        self.version += 1;
        let bound = self.streams.remove(&id).unwrap_or_default();
        self.remove_target(Target::Stream(id), bound);
    }

    fn remove_target(&mut self, target: Target, sources: Sources) {
        let mut sources = Vec::from_iter(sources).into_iter();
        for source in sources.by_ref().take(SOURCES_AT_ONCE) {
            self.sever(source, target);
        }
        if sources.len() > 0 {
            self.leftovers.push_back(Leftover::Target(target, sources));
        }
    }

    fn sever(&mut self, source: ExchangeId, target: Target) {
        let Some(exchange) = self.exchanges.get_mut(&source) else { return };
        let Some(severed) = exchange.bindings.sever(target) else { return };
        self.bindings -= severed.len();
        if exchange.auto_delete && exchange.bindings.is_empty() {
            self.orphans.push_back(source);
        }
        self.leftovers.push_back(Leftover::Bindings(source, severed));
    }

    /// Take an exchange out, with the bindings from and to it.
    pub fn remove_exchange(&mut self, id: ExchangeId) -> Option<Exchange> {
        let mut exchange = self.exchanges.remove(&id)?;
        self.version += 1;
        self.bindings -= exchange.bindings.len();
        self.hosts[exchange.host].exchanges.remove(&exchange.name);
        let bindings = std::mem::replace(&mut exchange.bindings, Bindings::new(exchange.kind));
        self.leftovers.push_back(Leftover::Exchange(id, Box::new(bindings.give_up())));
        self.remove_target(Target::Exchange(id), std::mem::take(&mut exchange.bound));
        Some(exchange)
    }

    /// Something is left to be tidied up.
    pub fn is_untidy(&self) -> bool {
        !self.leftovers.is_empty()
    }

    /// Tidy up after what was removed, in at most `steps` steps; each takes a few lookups. Returns how many are left.
    pub fn tidy(&mut self, mut steps: usize) -> usize {
        while steps > 0
            && let Some(leftover) = self.leftovers.pop_front()
        {
            steps -= 1;
            if let Some(rest) = self.tidy_one(leftover) {
                self.leftovers.push_front(rest);
            }
        }
        steps
    }

    /// One step; returns what is left of it.
    fn tidy_one(&mut self, leftover: Leftover) -> Option<Leftover> {
        match leftover {
            Leftover::Bindings(source, mut severed) => {
                let more = match self.exchanges.get_mut(&source) {
                    Some(exchange) => exchange.bindings.tidy(&mut severed),
                    None => severed.drop_one(),
                };
                more.then_some(Leftover::Bindings(source, severed))
            }
            Leftover::Target(target, mut sources) => {
                self.sever(sources.next()?, target);
                Some(Leftover::Target(target, sources))
            }
            Leftover::Exchange(id, mut remains) => {
                if let Some(target) = remains.drop_one()?
                    && let Some(bound) = self.bound_mut(target)
                {
                    bound.remove(&id);
                }
                Some(Leftover::Exchange(id, remains))
            }
        }
    }

    /// Whether a binding outlives a restart.
    pub fn is_durable(&self, source: ExchangeId, target: Target) -> bool {
        let target = match target {
            Target::Queue(id) => self.queues.get(&id).is_some_and(|queue| queue.durable),
            Target::Stream(_) => true,
            Target::Exchange(id) => self.exchanges.get(&id).is_some_and(|exchange| exchange.durable),
        };
        target && self.exchanges.get(&source).is_some_and(|exchange| exchange.durable)
    }

    pub fn arrow(&self, source: ExchangeId, target: Target, key: &BindingKey) -> Option<Arrow> {
        let exchange = self.exchanges.get(&source)?;
        let mut arrow = Arrow {
            host: self.host_name(exchange.host).into(),
            source: exchange.name.clone(),
            queue: None,
            exchange: None,
            stream: None,
            routing_key: key.routing_key.clone(),
            arguments: key.arguments.clone(),
        };
        match target {
            Target::Queue(id) => arrow.queue = Some(self.queues.get(&id)?.name.clone()),
            Target::Exchange(id) => arrow.exchange = Some(self.exchanges.get(&id)?.name.clone()),
            Target::Stream(id) => arrow.stream = Some(id.0),
        }
        Some(arrow)
    }

    /// The queues and streams that a message reaches by bindings, each once, into `out`.
    pub fn route(&self, host: usize, start: ExchangeId, keys: &[&str], headers: &dyn Headers, out: &mut Vec<LogId>) {
        out.clear();
        let mut targets = Vec::new();
        let (mut open, mut seen) = (vec![start], Sources::default());
        while let Some(id) = open.pop() {
            let Some(exchange) = self.exchanges.get(&id) else { continue };
            targets.clear();
            for key in keys {
                exchange.bindings.route(key, headers, &mut targets);
            }
            if targets.is_empty()
                && let Some(alternate) = exchange.alternate.as_ref().and_then(|name| self.hosts[host].exchanges.get(name))
            {
                targets.push(Target::Exchange(*alternate));
            }
            for target in &targets {
                match target {
                    Target::Queue(id) | Target::Stream(id) => out.push(*id),
                    Target::Exchange(id) if *id != start && seen.insert(*id) => open.push(*id),
                    Target::Exchange(_) => {}
                }
            }
        }
        // A queue that is gone may not be known as gone everywhere yet.
        if !self.leftovers.is_empty() {
            out.retain(|id| self.queues.contains_key(id) || self.streams.contains_key(id));
        }
        dedup(out);
    }

    /// Whether a route from here may be remembered by exchange and key.
    pub fn by_key_alone(&self, start: ExchangeId) -> bool {
        self.exchanges.get(&start).is_some_and(|exchange| exchange.bindings.by_key_alone() && exchange.alternate.is_none())
    }

    /// Auto-delete exchanges that have no binding any more, those included that do not know it yet.
    fn orphans_to_be(&self) -> Sources {
        let mut orphans: Sources = self.orphans.iter().copied().collect();
        for leftover in &self.leftovers {
            let Leftover::Target(_, sources) = leftover else { continue };
            orphans.extend(sources.as_slice().iter().filter(|id| {
                let exchange = self.exchanges.get(id);
                exchange.is_some_and(|exchange| exchange.auto_delete && !exchange.bindings.targets().any(|to| self.exists(to)))
            }));
        }
        orphans
    }

    fn exists(&self, target: Target) -> bool {
        match target {
            Target::Queue(id) => self.queues.contains_key(&id),
            Target::Stream(id) => self.streams.contains_key(&id),
            Target::Exchange(id) => self.exchanges.contains_key(&id),
        }
    }

    /// The entries that make the durable part of this state afresh.
    pub fn snapshot(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let orphans = self.orphans_to_be();
        let mut exchanges: Vec<_> = self.exchanges.iter().filter(|(_, exchange)| exchange.durable).collect();
        exchanges.sort_unstable_by_key(|(id, _)| **id);
        for (id, exchange) in exchanges.iter().filter(|(_, exchange)| !is_predeclared(&exchange.name)) {
            entries.push(Entry::DeclareExchange {
                host: self.host_name(exchange.host).into(),
                name: exchange.name.clone(),
                kind: exchange.kind.name().into(),
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
                arguments: exchange.arguments.clone(),
                orphan: orphans.contains(id),
            });
        }
        let mut queues: Vec<_> = self.queues.values().filter(|queue| queue.durable).collect();
        queues.sort_unstable_by_key(|queue| queue.log);
        for queue in queues {
            entries.push(Entry::DeclareQueue {
                host: self.host_name(queue.host).into(),
                name: queue.name.clone(),
                log: queue.log.0,
                auto_delete: queue.auto_delete,
                arguments: queue.arguments.clone(),
            });
        }
        for (id, exchange) in exchanges {
            let lasting = |target| self.exists(target) && self.is_durable(*id, target);
            let mut arrows: Vec<_> = exchange.bindings.iter().filter(|(target, _)| lasting(*target)).collect();
            arrows.sort_by_key(|(target, _)| *target);
            entries.extend(arrows.into_iter().filter_map(|(target, key)| self.arrow(*id, target, key)).map(Entry::Bind));
        }
        entries
    }

    /// Apply one entry read at recovery. Entries that no longer make sense are passed over.
    pub fn apply(&mut self, entry: Entry) -> Option<()> {
        match entry {
            Entry::DeclareExchange { host, name, kind, auto_delete, internal, arguments, orphan } => {
                let host = self.host(&host)?;
                let alternate = arguments.get("alternate-exchange").and_then(|value| value.as_text()).map(str::to_owned);
                let id = self.add_exchange(host, &name, Kind::parse(&kind)?, true, auto_delete, internal, arguments, alternate);
                if orphan {
                    self.orphans.push_back(id);
                }
            }
            Entry::DeleteExchange { host, name } => {
                let id = self.exchange_id(self.host(&host)?, &name).ok()?;
                self.remove_exchange(id);
            }
            Entry::DeclareQueue { host, name, log, auto_delete, arguments } => {
                let declared = Declared { subject: Subject::Queue, name: &name, host: &host };
                let settings = Settings::parse(&declared, &arguments).ok()?;
                let host = self.host(&host)?;
                let mut queue = Queue::new(name, host, LogId(log), arguments, settings);
                queue.durable = true;
                queue.durable_as_declared = true;
                queue.auto_delete = auto_delete;
                self.add_queue(queue);
            }
            Entry::DeleteQueue { host, name } => {
                let id = self.queue_id(self.host(&host)?, &name).ok()?;
                self.remove_queue(id);
            }
            Entry::Bind(arrow) => {
                let (source, target, key) = self.find(arrow)?;
                self.bind(source, target, key);
            }
            Entry::Unbind(arrow) => {
                let (source, target, key) = self.find(arrow)?;
                self.unbind(source, target, &key);
            }
            _ => return None,
        }
        Some(())
    }

    fn find(&self, arrow: Arrow) -> Option<(ExchangeId, Target, BindingKey)> {
        let host = self.host(&arrow.host)?;
        let source = self.exchange_id(host, &arrow.source).ok()?;
        let target = match (&arrow.queue, &arrow.exchange, arrow.stream) {
            (Some(name), ..) => Target::Queue(self.queue_id(host, name).ok()?),
            (None, Some(name), _) => Target::Exchange(self.exchange_id(host, name).ok()?),
            (None, None, Some(log)) => Target::Stream(LogId(log)),
            (None, None, None) => return None,
        };
        Some((source, target, BindingKey::new(&arrow.routing_key, arrow.arguments)))
    }
}

pub(crate) fn is_predeclared(name: &str) -> bool {
    PREDECLARED.iter().any(|(other, ..)| *other == name)
}

pub(crate) fn dedup(ids: &mut Vec<LogId>) {
    if ids.len() > 1 {
        ids.sort_unstable();
        ids.dedup();
    }
}
