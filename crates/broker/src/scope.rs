//! Unsettled deliveries of one lane of a session, by tag.

use std::collections::VecDeque;

use model::{DeliveryTag, Header, Offset, Outcome, RecordParts, SubscriptionId, limits};
use storage::LogId;

/// A delivery that its client has not settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unacked {
    pub tag: u64,
    pub queue: LogId,
    pub offset: Offset,
    /// `None`: taken by a get.
    pub subscription: Option<SubscriptionId>,
}

/// Where publishes of a scope went last: most go there again.
#[derive(Default)]
pub(crate) struct RouteCache {
    pub version: u64,
    pub exchange: String,
    pub key: String,
    pub targets: Vec<LogId>,
}

/// A message kept by a transaction until it commits.
pub(crate) struct Stored {
    pub targets: Vec<LogId>,
    pub persistent: bool,
    pub priority: u8,
    /// It lives so long from the commit on.
    pub expiration_ms: Option<u64>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Stored {
    pub fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value }).collect()
    }

    pub fn record<'a>(&'a self, headers: &'a [Header<'a>]) -> RecordParts<'a> {
        RecordParts { key: &self.key, value: &self.value, own: None, headers }
    }
}

#[derive(Default)]
pub(crate) struct Transaction {
    pub publishes: Vec<Stored>,
    pub bytes: usize,
    pub settled: Vec<(Unacked, Outcome)>,
}

#[derive(Default)]
pub(crate) struct Scope {
    last_tag: u64,
    /// In order of tags. Invariant: those of subscriptions that still exist count in their `in_flight`.
    unacked: VecDeque<Unacked>,
    /// Deliveries to its subscriptions that count against `prefetch_all`: not yet settled, or only in a transaction.
    charged: usize,
    /// Prefetch for subscriptions to come; 0: no limit.
    pub prefetch_each: u32,
    /// Prefetch of the scope as a whole; 0: no limit.
    pub prefetch_all: u32,
    /// In the order in which they came.
    pub subscriptions: Vec<SubscriptionId>,
    /// The subscription that had the last of its credit: when there is some again, it has its turn behind the others.
    pub last_served: Option<SubscriptionId>,
    /// The place in the list of active queues from which on its subscriptions were woken last.
    pub woken_at: u64,
    pub transaction: Option<Box<Transaction>>,
    pub routes: Box<RouteCache>,
}

impl Scope {
    pub fn next_tag(&mut self) -> DeliveryTag {
        self.last_tag += 1;
        DeliveryTag(self.last_tag)
    }

    /// Whether the scope as a whole may be handed more. Its prefetch holds back those too who settle nothing, and does
    /// not count them.
    pub fn has_credit(&self, auto_settle: bool) -> bool {
        (self.prefetch_all == 0 || self.charged < self.prefetch_all as usize)
            && (auto_settle || self.unacked.len() < limits::UNACKED_PER_SCOPE_MAX)
    }

    pub fn push(&mut self, unacked: Unacked) {
        self.charged += usize::from(unacked.subscription.is_some());
        self.unacked.push_back(unacked);
        if !self.has_credit(false) {
            self.last_served = unacked.subscription;
        }
    }

    /// What was taken out is settled for good.
    pub fn free(&mut self, taken: &[Unacked]) {
        self.charged -= taken.iter().filter(|unacked| unacked.subscription.is_some()).count();
    }

    /// Put back what a transaction had taken.
    pub fn put_back(&mut self, taken: impl IntoIterator<Item = Unacked>) {
        self.unacked.extend(taken);
        self.unacked.make_contiguous().sort_unstable_by_key(|unacked| unacked.tag);
    }

    /// Take out what a settlement speaks of, into `out`. False: the tag is unknown.
    pub fn take(&mut self, tag: DeliveryTag, multiple: bool, out: &mut Vec<Unacked>) -> bool {
        if !multiple {
            // Most are settled in order.
            if self.unacked.front().is_some_and(|first| first.tag == tag.0) {
                out.extend(self.unacked.pop_front());
                return true;
            }
            let Ok(at) = self.unacked.binary_search_by_key(&tag.0, |unacked| unacked.tag) else { return false };
            out.extend(self.unacked.remove(at));
            return true;
        }
        if tag.0 == 0 {
            out.extend(self.unacked.drain(..));
            return true;
        }
        let count = self.unacked.partition_point(|unacked| unacked.tag <= tag.0);
        // The tag itself must be there: an acknowledgement of it twice is the client's fault.
        if count == 0 || self.unacked[count - 1].tag != tag.0 {
            return false;
        }
        out.extend(self.unacked.drain(..count));
        true
    }

    pub fn take_all(&mut self) -> VecDeque<Unacked> {
        let mut all = std::mem::take(&mut self.unacked);
        if let Some(transaction) = self.transaction.take() {
            all.extend(transaction.settled.into_iter().map(|(unacked, _)| unacked));
        }
        all
    }
}
