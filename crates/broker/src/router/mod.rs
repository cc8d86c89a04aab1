//! From exchange and routing key to queues.
//!
//! An exchange owns its bindings twice: as they were made (for the catalog and for unbinding) and as an
//! index for its kind. Exchanges bound to exchanges may form circles; each is visited once.

mod headers;
mod topic;

use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::{Headers, Table};
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

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BindingKey {
    pub routing_key: String,
    pub arguments: Table,
}

enum Index {
    Direct(HashMap<String, Vec<Target>, FixedState>),
    Fanout,
    Topic(Trie),
    Headers(Vec<(HeaderMatch, Target)>),
}

pub(crate) struct Bindings {
    index: Index,
    by_target: HashMap<Target, Vec<BindingKey>, FixedState>,
    count: usize,
    /// How many of them lead to exchanges.
    onward: usize,
}

impl Bindings {
    pub fn new(kind: Kind) -> Bindings {
        let index = match kind {
            Kind::Direct => Index::Direct(HashMap::default()),
            Kind::Fanout => Index::Fanout,
            Kind::Topic => Index::Topic(Trie::default()),
            Kind::Headers => Index::Headers(Vec::new()),
        };
        Bindings { index, by_target: HashMap::default(), count: 0, onward: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Every binding: target, key.
    pub fn iter(&self) -> impl Iterator<Item = (Target, &BindingKey)> {
        self.by_target.iter().flat_map(|(target, keys)| keys.iter().map(|key| (*target, key)))
    }

    /// Whether such a binding can be made for this kind of exchange; the reason where it cannot.
    pub fn check(&self, key: &BindingKey) -> Result<(), String> {
        match self.index {
            Index::Headers(_) => HeaderMatch::new(&key.arguments).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// False where the same binding is there already.
    pub fn add(&mut self, target: Target, key: BindingKey) -> bool {
        let keys = self.by_target.entry(target).or_default();
        if keys.contains(&key) {
            return false;
        }
        match &mut self.index {
            // One entry per target and key, however many bindings with other arguments there are.
            Index::Direct(map) if keys.iter().all(|other| other.routing_key != key.routing_key) => {
                map.entry(key.routing_key.clone()).or_default().push(target);
            }
            Index::Topic(trie) if keys.iter().all(|other| other.routing_key != key.routing_key) => {
                trie.insert(&key.routing_key, target);
            }
            Index::Headers(list) => {
                if let Ok(matcher) = HeaderMatch::new(&key.arguments) {
                    list.push((matcher, target));
                }
            }
            _ => {}
        }
        keys.push(key);
        self.count += 1;
        self.onward += usize::from(matches!(target, Target::Exchange(_)));
        true
    }

    /// False where there is no such binding.
    pub fn remove(&mut self, target: Target, key: &BindingKey) -> bool {
        let Some(keys) = self.by_target.get_mut(&target) else { return false };
        let Some(at) = keys.iter().position(|other| other == key) else { return false };
        keys.remove(at);
        self.count -= 1;
        self.onward -= usize::from(matches!(target, Target::Exchange(_)));
        let last_of_key = keys.iter().all(|other| other.routing_key != key.routing_key);
        match &mut self.index {
            Index::Direct(map) if last_of_key => {
                if let Some(targets) = map.get_mut(&key.routing_key) {
                    targets.retain(|other| *other != target);
                    if targets.is_empty() {
                        map.remove(&key.routing_key);
                    }
                }
            }
            Index::Topic(trie) if last_of_key => trie.remove(&key.routing_key, target),
            Index::Headers(list) => {
                if let Ok(matcher) = HeaderMatch::new(&key.arguments)
                    && let Some(at) = list.iter().position(|(other, to)| *to == target && *other == matcher)
                {
                    list.remove(at);
                }
            }
            _ => {}
        }
        if keys.is_empty() {
            self.by_target.remove(&target);
        }
        true
    }

    /// Remove every binding to `target`; returns how many there were.
    pub fn remove_target(&mut self, target: Target) -> usize {
        let keys = self.by_target.get(&target).cloned().unwrap_or_default();
        for key in &keys {
            self.remove(target, key);
        }
        keys.len()
    }

    /// Append what a message with that key and those headers goes to. The same target may come twice.
    pub fn route(&self, key: &str, headers: &dyn Headers, out: &mut Vec<Target>) {
        match &self.index {
            Index::Direct(map) => out.extend(map.get(key).into_iter().flatten()),
            Index::Fanout => out.extend(self.by_target.keys()),
            Index::Topic(trie) => trie.matches(key, out),
            Index::Headers(list) => out.extend(list.iter().filter(|(matcher, _)| matcher.matches(headers)).map(|(_, to)| to)),
        }
    }

    /// Whether the outcome depends on the routing key alone, and on no other exchange.
    pub fn by_key_alone(&self) -> bool {
        self.onward == 0 && !matches!(self.index, Index::Headers(_))
    }
}
