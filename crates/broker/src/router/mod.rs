//! From exchange and routing key to queues.
//!
//! An exchange owns its bindings twice: by target, as they were made (for the catalog, unbinding and headers), and as an
//! index by routing key. What leads to a target that is gone leaves the first at once, however many bindings it is
//! ([`Bindings::sever`]), and the second piece by piece ([`Bindings::tidy`]). Exchanges bound to exchanges may form
//! circles; each is visited once.

mod headers;
mod topic;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use foldhash::fast::{FixedState, RandomState};
use model::{Headers, Table, Value};
use storage::LogId;

use headers::HeaderMatch;
use topic::Trie;

/// Names an exchange within a node for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ExchangeId(pub u32);

/// What a binding leads to. Queues and streams are named by their logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Target {
    Queue(LogId),
    Stream(LogId),
    Exchange(ExchangeId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Kind> {
        Some(match name {
            "direct" => Kind::Direct,
            "fanout" => Kind::Fanout,
            "topic" => Kind::Topic,
            "headers" => Kind::Headers,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Direct => "direct",
            Kind::Fanout => "fanout",
            Kind::Topic => "topic",
            Kind::Headers => "headers",
        }
    }
}

/// What a binding asks for. Two that differ only in the order of their arguments are the same.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BindingKey {
    pub routing_key: String,
    /// In order of names, at every depth.
    pub arguments: Table,
}

impl BindingKey {
    pub fn new(routing_key: &str, mut arguments: Table) -> BindingKey {
        sort(&mut arguments);
        BindingKey { routing_key: routing_key.into(), arguments }
    }
}

// A number that is none never comes twice: whoever binds by it cannot unbind by it either.
impl Eq for BindingKey {}

impl Hash for BindingKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.routing_key.hash(state);
        for (name, value) in &self.arguments.0 {
            name.hash(state);
            value.to_plain().hash(state);
        }
    }
}

fn sort(table: &mut Table) {
    table.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    table.0.iter_mut().for_each(|(_, value)| sort_within(value));
}

fn sort_within(value: &mut Value) {
    match value {
        Value::Table(table) => sort(table),
        Value::List(items) => items.iter_mut().for_each(sort_within),
        _ => {}
    }
}

/// The bindings to one target, each with what it asks of headers. Keys come from clients, so the hash is seeded.
type Keys = HashMap<BindingKey, Option<Box<HeaderMatch>>, RandomState>;

/// Targets by how many bindings of one routing key lead to them, which differ in their arguments.
type Targets = HashMap<Target, u32, FixedState>;

enum Index {
    Direct(HashMap<String, Targets, RandomState>),
    /// All targets, whatever the key.
    Fanout,
    Topic(Trie),
    /// All that match.
    Headers,
}

pub(crate) struct Bindings {
    index: Index,
    by_target: HashMap<Target, Keys, FixedState>,
    count: usize,
    /// How many of them lead to exchanges.
    onward: usize,
    /// Entries of the index that lead to severed targets.
    stale: usize,
}

/// Bindings to a target that is gone, which the index still has.
pub(crate) struct Severed {
    target: Target,
    keys: std::collections::hash_map::IntoIter<BindingKey, Option<Box<HeaderMatch>>>,
}

impl Severed {
    /// How many bindings are left.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Drop the next, of an exchange that is gone itself. False: that was all.
    pub fn drop_one(&mut self) -> bool {
        self.keys.next().is_some()
    }
}

/// What is left of the bindings of an exchange that is gone.
pub(crate) struct Remains {
    by_target: std::collections::hash_map::IntoIter<Target, Keys>,
    severed: Option<Severed>,
    by_key: std::collections::hash_map::IntoIter<String, Targets>,
    trie: topic::Remains,
}

impl Remains {
    /// Drop the next piece; the target, where that is the next one. `None`: that was all.
    pub fn drop_one(&mut self) -> Option<Option<Target>> {
        if self.severed.as_mut().is_some_and(Severed::drop_one) {
            return Some(None);
        }
        self.severed = None;
        if let Some((target, keys)) = self.by_target.next() {
            self.severed = Some(Severed { target, keys: keys.into_iter() });
            return Some(Some(target));
        }
        (self.by_key.next().is_some() || self.trie.drop_one()).then_some(None)
    }
}

impl Bindings {
    /// For those that must go piece by piece, because they may be many.
    pub fn give_up(self) -> Remains {
        let (by_key, trie) = match self.index {
            Index::Direct(map) => (map, Trie::default()),
            Index::Topic(trie) => (HashMap::default(), trie),
            Index::Fanout | Index::Headers => Default::default(),
        };
        Remains { by_target: self.by_target.into_iter(), severed: None, by_key: by_key.into_iter(), trie: trie.give_up() }
    }

    pub fn new(kind: Kind) -> Bindings {
        let index = match kind {
            Kind::Direct => Index::Direct(HashMap::default()),
            Kind::Fanout => Index::Fanout,
            Kind::Topic => Index::Topic(Trie::default()),
            Kind::Headers => Index::Headers,
        };
        Bindings { index, by_target: HashMap::default(), count: 0, onward: 0, stale: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn leads_to(&self, target: Target) -> bool {
        self.by_target.contains_key(&target)
    }

    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.by_target.keys().copied()
    }

    /// Every binding: target, key.
    pub fn iter(&self) -> impl Iterator<Item = (Target, &BindingKey)> {
        self.by_target.iter().flat_map(|(target, keys)| keys.keys().map(|key| (*target, key)))
    }

    /// Whether such a binding can be made for this kind of exchange; the reason where it cannot.
    pub fn check(&self, key: &BindingKey) -> Result<(), String> {
        match self.index {
            Index::Headers => HeaderMatch::new(&key.arguments).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// False where the same binding is there already.
    pub fn add(&mut self, target: Target, key: BindingKey) -> bool {
        let keys = self.by_target.entry(target).or_default();
        if keys.contains_key(&key) {
            return false;
        }
        let mut matcher = None;
        match &mut self.index {
            Index::Direct(map) => {
                *map.entry(key.routing_key.clone()).or_default().entry(target).or_default() += 1;
            }
            Index::Topic(trie) => trie.insert(&key.routing_key, target),
            Index::Headers => matcher = HeaderMatch::new(&key.arguments).ok().map(Box::new),
            Index::Fanout => {}
        }
        keys.insert(key, matcher);
        self.count += 1;
        self.onward += usize::from(matches!(target, Target::Exchange(_)));
        true
    }

    /// False where there is no such binding.
    pub fn remove(&mut self, target: Target, key: &BindingKey) -> bool {
        let Some(keys) = self.by_target.get_mut(&target) else { return false };
        if keys.remove(key).is_none() {
            return false;
        }
        if keys.is_empty() {
            self.by_target.remove(&target);
        }
        self.count -= 1;
        self.onward -= usize::from(matches!(target, Target::Exchange(_)));
        self.remove_from_index(target, key);
        true
    }

    fn remove_from_index(&mut self, target: Target, key: &BindingKey) {
        match &mut self.index {
            Index::Direct(map) => {
                if let Some(targets) = map.get_mut(&key.routing_key) {
                    remove_one(targets, target);
                    if targets.is_empty() {
                        map.remove(&key.routing_key);
                    }
                }
            }
            Index::Topic(trie) => trie.remove(&key.routing_key, target),
            Index::Fanout | Index::Headers => {}
        }
    }

    /// Remove every binding to `target`, which is gone and never comes again. What is returned is still to be tidied
    /// away; no message goes by it.
    pub fn sever(&mut self, target: Target) -> Option<Severed> {
        let keys = self.by_target.remove(&target)?;
        self.count -= keys.len();
        if matches!(target, Target::Exchange(_)) {
            self.onward -= keys.len();
        }
        self.stale += keys.len();
        Some(Severed { target, keys: keys.into_iter() })
    }

    /// Take the next of what was severed out of the index. False: that was all.
    pub fn tidy(&mut self, severed: &mut Severed) -> bool {
        let Some((key, _)) = severed.keys.next() else { return false };
        self.remove_from_index(severed.target, &key);
        self.stale -= 1;
        true
    }

    /// Append what a message with that key and those headers goes to. The same target may come twice.
    pub fn route(&self, key: &str, headers: &dyn Headers, out: &mut Vec<Target>) {
        let from = out.len();
        match &self.index {
            Index::Direct(map) => out.extend(map.get(key).into_iter().flat_map(Targets::keys)),
            Index::Fanout => out.extend(self.by_target.keys()),
            Index::Topic(trie) => trie.matches(key, out),
            Index::Headers => {
                let wants = |keys: &Keys| keys.values().flatten().any(|matcher| matcher.matches(headers));
                out.extend(self.by_target.iter().filter(|(_, keys)| wants(keys)).map(|(target, _)| target));
            }
        }
        if self.stale > 0 {
            let mut at = 0;
            out.retain(|target| {
                at += 1;
                at <= from || self.by_target.contains_key(target)
            });
        }
    }

    /// Whether the outcome depends on the routing key alone, and on no other exchange.
    pub fn by_key_alone(&self) -> bool {
        self.onward == 0 && !matches!(self.index, Index::Headers)
    }
}

/// One binding fewer leads to `target`.
fn remove_one(targets: &mut Targets, target: Target) {
    if let Some(count) = targets.get_mut(&target) {
        *count -= 1;
        if *count == 0 {
            targets.remove(&target);
        }
    }
}
