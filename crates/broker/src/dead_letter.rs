//! What was rejected, expired or did not fit: dropped, or sent on to the dead-letter exchange.

use model::death::{self, DeadLetter, Death};
use model::{Header, NoHeaders, Now, Offset, RecordParts, RecordView};
use storage::{Available, LogId, RecordRef, Tag};

use crate::broker::Broker;
use crate::declare::Overflow;

impl Broker {
    /// A message that was handed out or dropped is done with: settle it, after it was sent on where its queue has a
    /// dead-letter exchange.
    pub(crate) fn bury(&mut self, id: LogId, offset: Offset, reason: &'static str) {
        let Some(queue) = self.topology.queues.get_mut(&id) else { return };
        queue.forget(offset);
        if queue.settings.dead_letter_exchange.is_none() {
            self.store.settle(id, offset);
            return;
        }
        queue.dying.push_back((offset, reason));
        self.wake_queue(id);
    }

    /// Send on what waits to be, at most `left` messages; false: a record must be read first.
    pub(crate) fn send_on_dying(&mut self, id: LogId, left: &mut usize, now: Now) -> bool {
        while *left > 0 {
            let Some(queue) = self.topology.queues.get_mut(&id) else { return true };
            let Some((offset, reason)) = queue.dying.front().copied() else { return true };
            match self.store.locate(id, offset) {
                Available::Now(record) => self.send_on(id, record, reason, now),
                Available::Soon => {
                    queue.waiting = true;
                    return false;
                }
                Available::Gone => {}
                Available::Damaged(damage) => {
                    tracing::error!("a dead letter of queue '{}' cannot be read and is dropped: {damage}", queue.name);
                }
            }
            *left -= 1;
            self.store.settle(id, offset);
            if let Some(queue) = self.topology.queues.get_mut(&id) {
                queue.dying.pop_front();
            }
        }
        true
    }

    fn send_on(&mut self, id: LogId, record: RecordRef, reason: &'static str, now: Now) {
        let Some(queue) = self.topology.queues.get(&id) else { return };
        let Some(exchange) = queue.settings.dead_letter_exchange.clone() else { return };
        let Some(stored) = self.store.record(&record) else { return };
        let Ok(view) = RecordView::parse(stored.batch) else { return };
        let key = match &queue.settings.dead_letter_routing_key {
            Some(key) => key.clone(),
            None => String::from_utf8_lossy(view.key).into_owned(),
        };
        let mut letter = view.header(death::HEADER).and_then(DeadLetter::from_bytes).unwrap_or_default();
        letter.add(Death {
            queue: queue.name.clone(),
            reason: reason.into(),
            count: 1,
            time_ms: now.wall_ms,
            exchange: (!letter.deaths.is_empty()).then(|| letter.exchange.clone()),
            routing_keys: vec![String::from_utf8_lossy(view.key).into_owned()],
        });
        letter.exchange.clone_from(&exchange);
        let host = queue.host;
        let mut route = Vec::new();
        if let Ok(start) = self.topology.exchange_id(host, &exchange) {
            self.topology.route(host, start, &[&key], &NoHeaders, &mut route);
        }
        // Where it would go round in a circle by itself, it ends.
        route.retain(|to| self.topology.queues.get(to).is_some_and(|queue| !letter.circles(&queue.name)));
        if route.is_empty() {
            return;
        }
        let value = view.value.to_vec();
        let mut headers: Vec<(String, Vec<u8>)> = view
            .headers()
            .filter(|header| header.name != death::HEADER)
            .map(|header| (header.name.into(), header.value.into()))
            .collect();
        headers.push((death::HEADER.into(), letter.to_bytes()));
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| Header { name, value }).collect();
        let parts = RecordParts { key: key.as_bytes(), value: &value, own: None, headers: &headers };
        let tag = Tag::new(record.tag.persistent(), record.tag.priority(), 0);
        self.enqueue(&route, &parts, tag, false, now);
    }

    /// Drop what has waited too long at the head of the queue, at most `left` messages; false: a record must be read
    /// first.
    pub(crate) fn drop_expired(&mut self, id: LogId, left: &mut usize, now: Now) -> bool {
        while *left > 0 {
            let Some(queue) = self.topology.queues.get_mut(&id) else { return true };
            if queue.settings.message_ttl_ms.is_none() && !queue.any_expires {
                return true;
            }
            let Some(offset) = queue.next(&self.store) else { return true };
            let mut expires = self.store.tag(id, offset).and_then(Tag::expires_ms);
            if let Some(ttl) = queue.settings.message_ttl_ms {
                let record = match self.store.locate(id, offset) {
                    Available::Now(record) => record,
                    Available::Soon => {
                        queue.waiting = true;
                        return false;
                    }
                    Available::Gone | Available::Damaged(_) => return true,
                };
                let born = self.store.record(&record).and_then(|stored| RecordView::parse(stored.batch).ok());
                let by_queue = born.map_or(u64::MAX, |view| view.timestamp_ms).saturating_add(ttl);
                expires = Some(expires.map_or(by_queue, |own| own.min(by_queue)));
            }
            match expires {
                Some(at) if at <= now.wall_ms => {
                    *left -= 1;
                    queue.take(offset);
                    self.bury(id, offset, "expired");
                }
                Some(at) => {
                    self.expiries.insert((at, id));
                    return true;
                }
                None => return true,
            }
        }
        true
    }

    /// Whether a bounded queue that refuses what does not fit has no room.
    pub(crate) fn refuses(&self, route: &[LogId]) -> bool {
        route.iter().any(|id| {
            self.topology.queues.get(id).is_some_and(|queue| queue.settings.overflow != Overflow::DropHead && queue.is_full())
        })
    }

    /// Drop the oldest messages of a queue that holds too many.
    pub(crate) fn drop_overflow(&mut self, id: LogId) {
        while let Some(queue) = self.topology.queues.get_mut(&id)
            && queue.overflows()
            && let Some(offset) = queue.next(&self.store)
        {
            queue.take(offset);
            self.bury(id, offset, "maxlen");
        }
    }

    /// See that the queue is deleted when nobody uses it for long enough.
    pub(crate) fn schedule_expiry(&mut self, id: LogId, now: Now) {
        if let Some(after) = self.topology.queues.get(&id).and_then(|queue| queue.settings.expires_ms) {
            self.unused.insert((now.mono_ms + after, id));
        }
    }

    /// Look at every queue once after a start, and begin to count how long each is unused.
    pub fn start(&mut self, now: Now) {
        let ids: Vec<LogId> = self.topology.queues.keys().copied().collect();
        for id in ids {
            if let Some(queue) = self.topology.queues.get_mut(&id) {
                queue.unused_since_ms = now.mono_ms;
            }
            self.schedule_expiry(id, now);
            self.wake_queue(id);
        }
    }

    /// When [`Broker::tick`] wants to be called: in mono ms, for `now`.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        let message = self.expiries.first().map(|(at, _)| now.mono_ms + at.saturating_sub(now.wall_ms));
        let queue = self.unused.first().map(|(at, _)| *at);
        message.into_iter().chain(queue).min()
    }

    /// Time has passed: messages and queues may have expired.
    pub fn tick(&mut self, now: Now) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now.wall_ms
        {
            self.expiries.pop_first();
            self.wake_queue(id);
        }
        while let Some(&(at, id)) = self.unused.first()
            && at <= now.mono_ms
        {
            self.unused.pop_first();
            let Some(queue) = self.topology.queues.get(&id) else { continue };
            let Some(after) = queue.settings.expires_ms else { continue };
            let due = if queue.consumers.is_empty() { queue.unused_since_ms + after } else { now.mono_ms + after };
            if due <= now.mono_ms {
                self.remove_queue(id);
            } else {
                self.unused.insert((due, id));
            }
        }
    }
}
