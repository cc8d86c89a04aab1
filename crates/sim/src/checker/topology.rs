//! Exchanges, queues and bindings as clients know them, and where a message goes: for certain, and perhaps.

use std::collections::BTreeMap;

use super::existence::{Existence, Ticket};
use crate::message::{Message, header_values};
use crate::plan::{ExchangeIx, HEADER_MATCHES, KEYS, Kind, PATTERNS, Plan, QueueIx};

/// Queues, one bit each.
pub type Queues = u64;

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    Queue(QueueIx),
    Exchange(ExchangeIx),
}

/// A binding. What `pattern` stands for depends on the kind of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub source: ExchangeIx,
    pub to: To,
    pub pattern: usize,
}

/// A change that was asked for.
#[derive(Clone, Debug)]
pub enum Change {
    DeclareQueue(QueueIx),
    DeleteQueue(QueueIx),
    DeclareExchange(ExchangeIx),
    DeleteExchange(ExchangeIx),
    Bind(Arrow),
    Unbind(Arrow),
}

/// A change under way.
#[derive(Clone, Debug)]
pub struct Pending {
    change: Change,
    ticket: Ticket,
    /// Bindings that go with what is deleted.
    with: Vec<(Arrow, Ticket)>,
    /// Of a new binding: how often its two ends had been deleted; `None`: one was just being deleted.
    ends: Option<u32>,
}

pub struct Topology {
    pub queues: Vec<Existence>,
    pub exchanges: Vec<Existence>,
    pub arrows: BTreeMap<Arrow, Existence>,
}

impl Topology {
    pub fn new(plan: &Plan) -> Topology {
        let exists = |predeclared| if predeclared { Existence::present() } else { Existence::default() };
        Topology {
            queues: vec![Existence::default(); plan.queues.len()],
            exchanges: plan.exchanges.iter().map(|exchange| exists(exchange.predeclared)).collect(),
            arrows: BTreeMap::new(),
        }
    }

    fn thing(&mut self, change: &Change) -> &mut Existence {
        match *change {
            Change::DeclareQueue(at) | Change::DeleteQueue(at) => &mut self.queues[at],
            Change::DeclareExchange(at) | Change::DeleteExchange(at) => &mut self.exchanges[at],
            Change::Bind(arrow) | Change::Unbind(arrow) => self.arrows.entry(arrow).or_default(),
        }
    }

    fn touches(change: &Change, arrow: &Arrow) -> bool {
        match *change {
            Change::DeleteQueue(queue) => arrow.to == To::Queue(queue),
            Change::DeleteExchange(exchange) => arrow.source == exchange || arrow.to == To::Exchange(exchange),
            _ => false,
        }
    }

    /// How often the ends of a binding were deleted, where none is just being deleted.
    fn ends(&self, change: &Change) -> Option<u32> {
        let Change::Bind(arrow) = *change else { return None };
        let source = &self.exchanges[arrow.source];
        let to = match arrow.to {
            To::Queue(queue) => &self.queues[queue],
            To::Exchange(exchange) => &self.exchanges[exchange],
        };
        (!source.deleting() && !to.deleting()).then(|| source.deletes() + to.deletes())
    }

    /// A change was asked for.
    pub fn sent(&mut self, change: Change) -> Pending {
        let ends = self.ends(&change);
        let ticket = match change {
            Change::DeclareQueue(_) | Change::DeclareExchange(_) | Change::Bind(_) => self.thing(&change).create(),
            _ => self.thing(&change).delete(),
        };
        let with = self.arrows.iter_mut().filter(|(arrow, _)| Self::touches(&change, arrow));
        let with = with.map(|(arrow, existence)| (*arrow, existence.delete())).collect();
        Pending { change, ticket, with, ends }
    }

    /// It was done.
    pub fn done(&mut self, pending: &Pending) {
        let ends = self.ends(&pending.change);
        let thing = self.thing(&pending.change);
        match pending.change {
            Change::DeclareQueue(_) | Change::DeclareExchange(_) => thing.created(pending.ticket),
            Change::Bind(_) => {
                thing.created(pending.ticket);
                // An end that was deleted about the same time may have taken the binding with it.
                if ends.is_none() || ends != pending.ends {
                    thing.doubtful();
                }
            }
            _ => thing.deleted(pending.ticket),
        }
        for (arrow, ticket) in &pending.with {
            if let Some(existence) = self.arrows.get_mut(arrow) {
                existence.deleted(*ticket);
            }
        }
    }

    /// Nobody will say whether it was done.
    pub fn abandoned(&mut self, pending: &Pending) {
        let thing = self.thing(&pending.change);
        match pending.change {
            Change::DeclareQueue(_) | Change::DeclareExchange(_) | Change::Bind(_) => thing.create_abandoned(),
            _ => thing.delete_abandoned(),
        }
        for (arrow, _) in &pending.with {
            if let Some(existence) = self.arrows.get_mut(arrow) {
                existence.delete_abandoned();
            }
        }
    }

    /// The queue went away with its connection (`certain`), or may have gone with its last consumer.
    pub fn queue_gone(&mut self, queue: QueueIx, certain: bool) {
        let gone = |existence: &mut Existence| if certain { existence.vanished() } else { existence.doubtful() };
        gone(&mut self.queues[queue]);
        self.arrows.iter_mut().filter(|(arrow, _)| arrow.to == To::Queue(queue)).for_each(|(_, existence)| gone(existence));
    }

    /// The broker says that the queue is not there.
    pub fn queue_refuted(&mut self, queue: QueueIx) {
        self.queues[queue].refuted();
        self.arrows.iter_mut().filter(|(arrow, _)| arrow.to == To::Queue(queue)).for_each(|(_, existence)| existence.refuted());
    }

    /// The broker began again from its disk; nothing is under way. What is not durable is gone.
    pub fn restarted(&mut self, plan: &Plan) {
        for (queue, existence) in plan.queues.iter().zip(&mut self.queues) {
            if !queue.durable || queue.owner.is_some() {
                existence.vanished();
            }
        }
        for (exchange, existence) in plan.exchanges.iter().zip(&mut self.exchanges) {
            if !exchange.durable {
                existence.vanished();
            }
        }
        for (arrow, existence) in &mut self.arrows {
            let to = match arrow.to {
                To::Queue(queue) => plan.queues[queue].durable && plan.queues[queue].owner.is_none(),
                To::Exchange(exchange) => plan.exchanges[exchange].durable,
            };
            if !to || !plan.exchanges[arrow.source].durable {
                existence.vanished();
            }
        }
    }

    /// The queues that a message reaches: through what exists for certain, or through what may exist.
    pub fn route(&self, plan: &Plan, message: &Message, certain: bool) -> Queues {
        let there = |existence: &Existence| if certain { existence.certain() } else { existence.possible() };
        let bit = |queue: QueueIx| if there(&self.queues[queue]) { 1 << queue } else { 0 };
        if plan.exchanges[message.exchange].kind == Kind::Default {
            return plan.queues.iter().position(|queue| queue.name == message.key).map_or(0, bit);
        }
        let mut found = 0;
        let mut open = vec![message.exchange];
        let mut at = 0;
        while let Some(&exchange) = open.get(at) {
            at += 1;
            if !there(&self.exchanges[exchange]) {
                continue;
            }
            for (arrow, existence) in &self.arrows {
                if arrow.source != exchange
                    || !there(existence)
                    || !matches(plan.exchanges[exchange].kind, arrow.pattern, message)
                {
                    continue;
                }
                match arrow.to {
                    To::Queue(queue) => found |= bit(queue),
                    To::Exchange(next) if !open.contains(&next) => open.push(next),
                    To::Exchange(_) => {}
                }
            }
        }
        found
    }
}

/// Whether a binding of that pattern lets the message through.
fn matches(kind: Kind, pattern: usize, message: &Message) -> bool {
    match kind {
        Kind::Default => false,
        Kind::Direct => KEYS[pattern % KEYS.len()] == message.key,
        Kind::Fanout => true,
        Kind::Topic => {
            let words: Vec<&str> = message.key.split('.').collect();
            let pattern: Vec<&str> = PATTERNS[pattern % PATTERNS.len()].split('.').collect();
            topic(&pattern, &words)
        }
        Kind::Headers => {
            let (mode, h, g) = HEADER_MATCHES[pattern % HEADER_MATCHES.len()];
            let (has_h, has_g) = header_values(message.id);
            let met = [h.map(|h| h == has_h), g.map(|g| g == has_g)];
            let mut met = met.into_iter().flatten();
            if mode == "all" { met.all(|met| met) } else { met.any(|met| met) }
        }
    }
}

fn topic(pattern: &[&str], words: &[&str]) -> bool {
    match (pattern, words) {
        ([], []) => true,
        (["#", rest @ ..], _) => topic(rest, words) || (!words.is_empty() && topic(pattern, &words[1..])),
        (["*", rest @ ..], [_, words @ ..]) => topic(rest, words),
        ([word, rest @ ..], [first, words @ ..]) => word == first && topic(rest, words),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_match_as_the_specification_says() {
        let matches =
            |pattern: &str, key: &str| topic(&pattern.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>());
        for (pattern, key, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "anything.at.all", true),
            ("*.b", "a.b", true),
            ("*.b", "a.b.c", false),
            ("#.d", "a.c.d", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
