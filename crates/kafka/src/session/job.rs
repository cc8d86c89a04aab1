//! Requests that are carried out by asking the broker: once, or once for each thing that they name.

use model::{Failure, Now, Reply, Request};

use super::answers::Frame;
use super::{Ends, SessionOptions};

/// What the broker said.
pub(super) type Answer = Result<Reply, Failure>;

/// Where and when a request is answered.
pub(super) struct Here<'a> {
    pub options: &'a SessionOptions,
    pub ends: &'a Ends,
    /// The version of the request, and so of its response.
    pub version: i16,
    pub now: Now,
}

/// A request that is being carried out. It owns what it needs of its frame.
pub(super) trait Job {
    /// Everything has been asked and answered.
    fn is_done(&self) -> bool;
    /// What to ask next. Only called while the job is not done.
    fn ask(&self) -> Request<'_>;
    /// The answer to what was asked last.
    fn answered(&mut self, answer: Answer);
    /// Append the response's body. Only called when the job is done.
    fn respond(&mut self, here: &Here<'_>, frame: &mut Frame);
}

/// One of the things that a request names.
pub(super) trait Item {
    /// There is something left to ask about it.
    fn asks(&self) -> bool;
    /// What that is; `topic` as its [`Each`] has it.
    fn ask<'a>(&'a self, topic: &'a str) -> Request<'a>;
    /// The answer to what was asked last.
    fn answered(&mut self, answer: Answer);
}

/// A job that asks about one thing after the other. `S`: what else its response needs.
pub(super) struct Each<T, S = ()> {
    /// Topics, and where the items of each end.
    topics: Vec<(Box<str>, usize)>,
    items: Vec<T>,
    /// The item to ask about, and its topic.
    next: usize,
    topic: usize,
    pub state: S,
    respond: Respond<T, S>,
}

type Respond<T, S> = fn(&Each<T, S>, &Here<'_>, &mut Vec<u8>);

impl<T: Item> Each<T> {
    /// Things that belong to topics.
    pub fn by_topic<'a, I: IntoIterator<Item = T>>(
        topics: impl IntoIterator<Item = (&'a str, I)>,
        respond: Respond<T, ()>,
    ) -> Each<T> {
        let mut each = Each { topics: Vec::new(), items: Vec::new(), next: 0, topic: 0, state: (), respond };
        for (name, items) in topics {
            each.items.extend(items);
            each.topics.push((name.into(), each.items.len()));
        }
        each.find_next();
        each
    }

    /// Things that stand by themselves.
    pub fn of(items: impl IntoIterator<Item = T>, respond: Respond<T, ()>) -> Each<T> {
        Each::with((), items, respond)
    }
}

impl<T: Item, S> Each<T, S> {
    /// Things that stand by themselves.
    pub fn with(state: S, items: impl IntoIterator<Item = T>, respond: Respond<T, S>) -> Each<T, S> {
        let items: Vec<T> = items.into_iter().collect();
        let mut each = Each { topics: vec![("".into(), items.len())], items, next: 0, topic: 0, state, respond };
        each.find_next();
        each
    }

    fn find_next(&mut self) {
        while self.items.get(self.next).is_some_and(|item| !item.asks()) {
            self.next += 1;
        }
        while self.topics.get(self.topic).is_some_and(|(_, end)| *end <= self.next) {
            self.topic += 1;
        }
    }

    pub fn items(&self) -> &[T] {
        &self.items
    }

    pub fn topics(&self) -> impl Iterator<Item = (&str, &[T])> {
        let mut from = 0;
        self.topics.iter().map(move |(name, end)| {
            let items = self.items.get(from..*end).unwrap_or_default();
            from = *end;
            (&**name, items)
        })
    }
}

impl<T: Item, S> Job for Each<T, S> {
    fn is_done(&self) -> bool {
        self.next >= self.items.len()
    }

    fn ask(&self) -> Request<'_> {
        let topic = self.topics.get(self.topic).map_or("", |(name, _)| name);
        match self.items.get(self.next) {
            Some(item) => item.ask(topic),
            None => unreachable!("a job that is done asks nothing"),
        }
    }

    fn answered(&mut self, answer: Answer) {
        if let Some(item) = self.items.get_mut(self.next) {
            item.answered(answer);
        }
        self.find_next();
    }

    fn respond(&mut self, here: &Here<'_>, frame: &mut Frame) {
        (self.respond)(self, here, &mut frame.bytes);
    }
}

/// Each of these once: asking for one thing a million times in one request is answered once.
pub(super) fn distinct<T: Copy + Eq + std::hash::Hash>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let mut seen = std::collections::HashSet::new();
    all.into_iter().filter(move |one| seen.insert(*one))
}

/// Those that are there more than once.
pub(super) fn repeated<T: Copy + Eq + std::hash::Hash>(all: impl IntoIterator<Item = T>) -> std::collections::HashSet<T> {
    let mut seen = std::collections::HashSet::new();
    all.into_iter().filter(|one| !seen.insert(*one)).collect()
}

/// A partition's number from the wire. One that cannot be is none that exists.
pub(super) fn partition(index: i32) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
