//! Handing messages out: round by round, to whoever's turn it is.

use std::cell::Cell;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use model::{Event, Now, Offset, SessionId};
use storage::{Available, LogId, RecordRef};

use crate::broker::{Broker, Session, Sink, damaged};
use crate::dead_letter::Head;
use crate::queue::{Consumer, Getter, Queue};
use crate::scope::Unacked;

/// Messages of one queue handed out before the next queue is looked at.
const QUEUE_BATCH: usize = 256;
/// Messages handed out in one round, after which sockets are looked at again. While there is more to hand out, as
/// many may be put into queues meanwhile: publishers do not run away from consumers that keep up.
pub const ROUND_BATCH: usize = 4096;

/// What stopped a queue from being served.
enum Stop {
    /// Nothing is ready, or nobody can take it.
    Rest,
    /// It has more, but others want their turn.
    Later,
}

impl Broker {
    /// Hand out what is ready, up to one round. Call again while [`Broker::busy`].
    pub fn deliver(&mut self, sink: &mut impl Sink, now: Now) {
        while let Some(id) = self.store.poll_arrived() {
            if let Some(queue) = self.topology.queues.get_mut(&id) {
                queue.waiting = false;
            }
            self.wake_queue(id);
            self.wake_readers(id);
        }
        self.do_chores();
        self.answer_fetches(sink, now);
        self.answer_examined(sink);
        self.answer_groups(sink);
        for (session, scope, subscription) in std::mem::take(&mut self.cancelled) {
            sink.send(session, Event::Cancelled { scope, subscription });
        }
        for (session, scope, failure) in std::mem::take(&mut self.unanswered) {
            sink.send(session, failure.map_or(Event::Empty { scope }, Event::Failed));
        }
        let mut budget = ROUND_BATCH;
        while budget > 0 && (!self.active.is_empty() || self.topics.readers.busy()) {
            let most = QUEUE_BATCH.min(budget);
            budget -= if self.is_queues_turn() { self.serve_queue(most, sink, now) } else { self.serve_reader(most, sink) };
        }
    }

    /// Queues and readers of streams take turns by how long they have waited: the clients of either may have room for one.
    fn is_queues_turn(&self) -> bool {
        let queue = self.active.front().map(|id| self.topology.queues.get(id).map_or(0, |queue| queue.place));
        match (queue, self.topics.readers.first_place()) {
            (Some(queue), Some(reader)) => queue <= reader,
            (queue, _) => queue.is_some(),
        }
    }

    /// Serve the queue whose turn it is, at most `most` messages. Returns how many it was.
    fn serve_queue(&mut self, most: usize, sink: &mut impl Sink, now: Now) -> usize {
        let Some(id) = self.active.pop_front() else { return 0 };
        let mut left = most;
        let stop = self.serve(id, &mut left, sink, now);
        if let Some(queue) = self.topology.queues.get_mut(&id) {
            match stop {
                Stop::Later => {
                    queue.place = self.topics.readers.next_place();
                    self.active.push_back(id);
                }
                Stop::Rest => queue.active = false,
            }
        }
        most - left
    }

    /// Whether there may be more to hand out at once.
    #[must_use]
    pub fn busy(&self) -> bool {
        !self.active.is_empty()
            || self.topics.busy()
            || self.groups.busy()
            || self.has_chores()
            || !self.cancelled.is_empty()
            || !self.unanswered.is_empty()
    }

    fn serve(&mut self, id: LogId, left: &mut usize, sink: &mut impl Sink, now: Now) -> Stop {
        self.drop_untaken(id, left);
        let stop = self.hand_out(id, left, sink, now);
        if self.removes_doomed(id, sink, now) {
            return Stop::Rest;
        }
        // What nobody took must fit; and the letters of what did not are sent on in the next round.
        if matches!(stop, Stop::Rest) {
            let dropped = self.drop_overflow(id, left);
            let more = |queue: &Queue| (dropped || !queue.dying.is_empty()) && !queue.waiting;
            if self.topology.queues.get(&id).is_some_and(more) {
                return Stop::Later;
            }
        }
        stop
    }

    fn hand_out(&mut self, id: LogId, left: &mut usize, sink: &mut impl Sink, now: Now) -> Stop {
        if !self.send_on_dying(id, left, now) {
            return Stop::Rest;
        }
        loop {
            if *left == 0 {
                return Stop::Later;
            }
            let Some(queue) = self.topology.queues.get_mut(&id) else { return Stop::Rest };
            if queue.waiting || queue.damaged {
                return Stop::Rest;
            }
            let getter = queue.getters.front().copied();
            let Some(offset) = queue.next(&self.store) else {
                if let Some(getter) = getter {
                    queue.getters.pop_front();
                    sink.send(getter.session, Event::Empty { scope: getter.scope });
                    continue;
                }
                queue.flows = true;
                return Stop::Rest;
            };
            // A consumer that waits has what comes at once; everything else must still be alive.
            if queue.may_expire() && (!queue.flows || queue.came_back(offset)) {
                match self.look_at_head(id, offset, now) {
                    Head::Lives => {}
                    Head::Expired => {
                        *left -= 1;
                        continue;
                    }
                    Head::Unread => return Stop::Rest,
                }
            }
            let (consumer, has_turn_later) = self.pick(id);
            let Some(queue) = self.topology.queues.get_mut(&id) else { return Stop::Rest };
            if consumer.is_none() {
                if has_turn_later {
                    return Stop::Later;
                }
                // Nobody waits for it: its time counts, and it must fit.
                if std::mem::take(&mut queue.flows) {
                    continue;
                }
                if getter.is_none() {
                    queue.blocked = true;
                    return Stop::Rest;
                }
                if queue.overflows() && self.drop_overflow(id, left) {
                    continue;
                }
            }
            let Some(queue) = self.topology.queues.get_mut(&id) else { return Stop::Rest };
            let record = match self.store.locate(id, offset) {
                Available::Now(record) => record,
                Available::Soon => {
                    (queue.waiting, queue.flows) = (true, false);
                    return Stop::Rest;
                }
                Available::Gone => {
                    queue.take(offset);
                    continue;
                }
                Available::Damaged(damage) => {
                    let name = &queue.name;
                    tracing::error!(
                        "queue {name:?} cannot be served at offset {offset}: {damage}; restore it from a copy or delete the queue"
                    );
                    self.condemn(id);
                    return Stop::Rest;
                }
            };
            *left -= 1;
            match (consumer, getter) {
                (Some(at), _) => self.hand_to_consumer(id, at, offset, record, sink),
                (None, Some(getter)) => self.hand_to_getter(id, getter, offset, record, sink),
                (None, None) => return Stop::Rest,
            }
        }
    }

    /// The consumer that takes the next message. And whether one could that has its turn in the next round.
    fn pick(&mut self, id: LogId) -> (Option<usize>, bool) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return (None, false) };
        let (sessions, place) = (&self.sessions, queue.place);
        let passed = Cell::new(false);
        let at = queue.pick(|consumer| {
            let Some(woken_at) = takes_since(sessions, consumer) else { return false };
            let waits = place < woken_at;
            passed.set(passed.get() || waits);
            !waits
        });
        (at, passed.get())
    }

    /// How many messages those who wait at the queue take in the next round, of those that lie in it and `more`.
    pub(crate) fn about_to_be_taken(&self, queue: &Queue, more: u64) -> u64 {
        if queue.blocked || queue.waiting {
            return 0;
        }
        let (mut taken, most) = (0u64, queue.ready + more);
        for consumer in queue.takers().filter(|consumer| can_take(&self.sessions, consumer)) {
            taken = taken.saturating_add(consumer.room());
            if taken >= most {
                break;
            }
        }
        taken.min(most)
    }

    /// A queue cannot be served any more: tell those who wait for its messages.
    fn condemn(&mut self, id: LogId) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return };
        queue.damaged = true;
        let failure = damaged(queue);
        let getters = std::mem::take(&mut queue.getters);
        self.unanswered.extend(getters.into_iter().map(|getter| (getter.session, getter.scope, Some(failure.clone()))));
        let consumers = queue.take_consumers();
        self.end_subscriptions(&consumers);
    }

    fn hand_to_consumer(&mut self, id: LogId, at: usize, offset: Offset, record: RecordRef, sink: &mut impl Sink) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return };
        let (redelivered, returns) = (queue.is_redelivered(offset), queue.returns(offset));
        let consumer = &mut queue.consumers[at];
        let Some(session) = self.sessions.get_mut(&consumer.session) else { return };
        let Some(scope) = session.scopes.get_mut(&consumer.scope) else { return };
        let Some(stored) = self.store.record(&record) else { return };
        let tag = scope.next_tag();
        let (scope_id, subscription) = (consumer.scope, consumer.subscription);
        let event = Event::Deliver { scope: scope_id, subscription, tag, redelivered, returns, offset: None, record: stored };
        let waiting = sink.send(consumer.session, event);
        self.statistics.delivered += 1;
        let auto_settle = consumer.auto_settle;
        if !auto_settle {
            consumer.in_flight += 1;
            scope.push(Unacked { tag: tag.0, queue: id, offset, subscription: Some(subscription) });
        }
        session.pause_if_full(waiting, subscription);
        self.handed_out(id, offset, record, auto_settle);
    }

    fn hand_to_getter(&mut self, id: LogId, getter: Getter, offset: Offset, record: RecordRef, sink: &mut impl Sink) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return };
        let (redelivered, returns) = (queue.is_redelivered(offset), queue.returns(offset));
        // A getter whose session or scope is gone leaves the message where it is.
        let Some(scope) = self.sessions.get_mut(&getter.session).and_then(|session| session.scopes.get_mut(&getter.scope)) else {
            queue.getters.pop_front();
            return;
        };
        let Some(stored) = self.store.record(&record) else { return };
        queue.getters.pop_front();
        let tag = scope.next_tag();
        let remaining = queue.ready - 1;
        sink.send(getter.session, Event::Got { scope: getter.scope, tag, redelivered, returns, remaining, record: stored });
        if !getter.auto_settle {
            scope.push(Unacked { tag: tag.0, queue: id, offset, subscription: None });
        }
        self.handed_out(id, offset, record, getter.auto_settle);
    }

    fn handed_out(&mut self, id: LogId, offset: Offset, record: RecordRef, settled: bool) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return };
        queue.take(offset);
        if settled {
            queue.forget(offset);
            self.store.settle(id, offset);
            return;
        }
        queue.unacked += 1;
        if queue.durable && record.tag.persistent() {
            self.store.mark_delivered(id, queue.handed_out());
        }
    }
}

/// Whether a consumer's client takes more, its own prefetch apart.
fn can_take(sessions: &HashMap<SessionId, Session, FixedState>, consumer: &Consumer) -> bool {
    takes_since(sessions, consumer).is_some()
}

/// As [`can_take`]: the place in the lists of those with something to do from which on it was woken last.
fn takes_since(sessions: &HashMap<SessionId, Session, FixedState>, consumer: &Consumer) -> Option<u64> {
    let session = sessions.get(&consumer.session).filter(|session| !session.paused)?;
    let scope = session.scopes.get(&consumer.scope).filter(|scope| scope.has_credit(consumer.auto_settle))?;
    Some(session.woken_at.max(scope.woken_at))
}
