//! What was rejected, expired or did not fit: dropped, or sent on to the dead-letter exchange.

use model::death::{self, DeadLetter, Death};
use model::{Dialect, Header, Headers, Now, Offset, RecordParts, RecordView, Value};
use storage::{Available, LogId, RecordRef, Tag};

use crate::broker::Broker;
use crate::declare::Overflow;
use crate::queue::{Promised, Queue};

/// Dead letters sent on at once when their queue is removed. It stays until all the others are, in rounds.
const LAST_LETTERS: usize = 512;

/// What there is to say of the next message of a queue.
pub(crate) enum Head {
    Lives,
    Expired,
    /// It must be read from disk first.
    Unread,
}

/// What a client gave a message that is stored.
struct StoredHeaders<'a> {
    dialect: Dialect,
    headers: &'a [Header<'a>],
}

impl Headers for StoredHeaders<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        (self.dialect.header)(self.headers, name)
    }
}

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
                Available::Now(record) => self.send_on_stored(id, record, reason, now),
                Available::Soon => {
                    queue.waiting = true;
                    return false;
                }
                Available::Gone => {}
                Available::Damaged(damage) => {
                    tracing::error!("a dead letter of queue {:?} cannot be read and is dropped: {damage}", queue.name);
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

    /// Send a stored message on; it stays where it is.
    fn send_on_stored(&mut self, id: LogId, record: RecordRef, reason: &'static str, now: Now) {
        let Some(stored) = self.store.record(&record) else { return };
        // Appending may move what the record lies in.
        let batch = stored.batch.to_vec();
        let Ok(view) = RecordView::parse(&batch) else { return };
        self.send_on(id, view.key, view.value, &view.headers().collect::<Vec<_>>(), record.tag, reason, now);
    }

    #[expect(clippy::too_many_arguments, reason = "a message has that many parts")]
    fn send_on(
        &mut self,
        id: LogId,
        old_key: &[u8],
        value: &[u8],
        headers: &[Header<'_>],
        tag: Tag,
        reason: &'static str,
        now: Now,
    ) {
        let Some(queue) = self.topology.queues.get(&id) else { return };
        let Some(exchange) = queue.settings.dead_letter_exchange.clone() else { return };
        let old_key = String::from_utf8_lossy(old_key).into_owned();
        let before = headers.iter().find(|header| header.name == death::HEADER);
        let mut letter = before.and_then(|header| DeadLetter::from_bytes(header.value)).unwrap_or_default();
        let mut keys = vec![old_key];
        if !letter.rekeyed {
            keys.extend((self.options.dialect.more_keys)(headers));
        }
        letter.add(Death {
            queue: queue.name.clone(),
            reason: reason.into(),
            count: 1,
            time_ms: now.wall_ms,
            exchange: (!letter.deaths.is_empty()).then(|| letter.exchange.clone()),
            routing_keys: keys.clone(),
        });
        letter.exchange.clone_from(&exchange);
        if let Some(key) = &queue.settings.dead_letter_routing_key {
            keys = vec![key.clone()];
            letter.rekeyed = true;
        }
        let host = queue.host;
        let history = letter.to_bytes();
        let mut headers: Vec<Header<'_>> = headers.iter().filter(|header| header.name != death::HEADER).copied().collect();
        headers.push(Header { name: death::HEADER, value: &history });
        let mut route = Vec::new();
        if let Ok(start) = self.topology.exchange_id(host, &exchange) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let headers = StoredHeaders { dialect: self.options.dialect, headers: &headers };
            self.route(host, start, &keys, &headers, &mut route);
        }
        // Where it would go round in a circle by itself, it ends.
        let goes_on = |to: &LogId| match self.topology.queues.get(to) {
            Some(queue) => !letter.circles(&queue.name),
            None => self.topics.is_stream(*to),
        };
        route.retain(goes_on);
        if route.is_empty() {
            return;
        }
        let parts = RecordParts { key: keys[0].as_bytes(), value, own: None, headers: &headers };
        let tag = Tag::new(tag.persistent(), tag.priority(), 0);
        // A damaged queue takes letters in all the same: nobody would be told that they are lost.
        let full = |to: &LogId| self.topology.queues.get(to).is_some_and(|queue| self.is_full(queue, (0, 0), value.len()));
        let refused: Vec<LogId> = route.iter().copied().filter(full).collect();
        route.retain(|to| !refused.contains(to));
        if !route.is_empty() {
            self.enqueue(&route, &parts, tag, false, now);
        }
        // This ends, because each of them is in the letter's history by then.
        for to in refused {
            self.send_on_refused(to, &parts, tag, now);
        }
    }

    /// Whether the next message of the queue, at `offset`, still lives. One whose time is up is buried; otherwise the queue
    /// is looked at again when it will be.
    pub(crate) fn look_at_head(&mut self, id: LogId, offset: Offset, now: Now) -> Head {
        let expires = match self.expiry(id, offset) {
            Ok(expires) => expires,
            Err(head) => {
                if let (Head::Unread, Some(queue)) = (&head, self.topology.queues.get_mut(&id)) {
                    (queue.waiting, queue.flows) = (true, false);
                }
                return head;
            }
        };
        let Some(queue) = self.topology.queues.get_mut(&id) else { return Head::Lives };
        match expires {
            Some(at) if at <= now.wall_ms => {
                queue.take(offset);
                self.bury(id, offset, "expired");
                return Head::Expired;
            }
            Some(at) if queue.expires_at.is_none_or(|scheduled| at < scheduled) => {
                if let Some(scheduled) = queue.expires_at.replace(at) {
                    self.expiries.remove(&(scheduled, id));
                }
                self.expiries.insert((at, id));
            }
            _ => {}
        }
        Head::Lives
    }

    /// When a message expires, in wall ms. An error is what else is to be said of it.
    fn expiry(&mut self, id: LogId, offset: Offset) -> Result<Option<u64>, Head> {
        let Some(tag) = self.store.tag(id, offset) else {
            // A segment's index must be read first.
            let soon = matches!(self.store.locate(id, offset), Available::Soon);
            return Err(if soon { Head::Unread } else { Head::Lives });
        };
        let own = tag.expires_ms();
        let Some(ttl) = self.topology.queues.get(&id).and_then(|queue| queue.settings.message_ttl_ms) else { return Ok(own) };
        let record = match self.store.locate(id, offset) {
            Available::Now(record) => record,
            Available::Soon => return Err(Head::Unread),
            Available::Gone | Available::Damaged(_) => return Err(Head::Lives),
        };
        let born = self.store.record(&record).and_then(|stored| RecordView::parse(stored.batch).ok());
        let by_queue = born.map_or(u64::MAX, |view| view.timestamp_ms).saturating_add(ttl);
        Ok(Some(own.map_or(by_queue, |own| own.min(by_queue))))
    }

    /// Those queues of a route that take no message of this size: they are full and refuse what does not fit, or damaged.
    pub(crate) fn refused(&self, route: &[LogId], promised: &Promised, size: usize) -> Vec<LogId> {
        let refuses = |id: &&LogId| {
            let promised = promised.get(id).copied().unwrap_or_default();
            self.topology.queues.get(id).is_some_and(|queue| queue.damaged || self.is_full(queue, promised, size))
        };
        route.iter().filter(refuses).copied().collect()
    }

    /// Whether a queue that refuses what does not fit refuses this. What consumers wait for does not lie in it: it only has
    /// not been handed to them yet.
    fn is_full(&self, queue: &Queue, promised: (u64, u64), size: usize) -> bool {
        queue.refuses(promised, size, 0) && queue.refuses(promised, size, self.about_to_be_taken(queue, promised.0))
    }

    /// A message was refused: send it on where the queue says so.
    pub(crate) fn send_on_refused(&mut self, id: LogId, record: &RecordParts<'_>, tag: Tag, now: Now) {
        let says_so = |queue: &Queue| queue.settings.overflow == Overflow::RejectAndDeadLetter && !queue.damaged;
        if self.topology.queues.get(&id).is_some_and(says_so) {
            let headers: Vec<Header<'_>> = record.own.iter().chain(record.headers).copied().collect();
            self.send_on(id, record.key, record.value, &headers, tag, "maxlen", now);
        }
    }

    /// Drop what is too much for a queue, unless a consumer may take it first; at most `left` messages.
    pub(crate) fn drop_untaken(&mut self, id: LogId, left: &mut usize) {
        let untaken = |queue: &Queue| queue.consumers.is_empty() || queue.blocked;
        if self.topology.queues.get(&id).is_some_and(untaken) {
            self.drop_overflow(id, left);
        }
    }

    /// Drop the oldest messages of a queue that holds too many, at most `left`. True: there were some.
    pub(crate) fn drop_overflow(&mut self, id: LogId, left: &mut usize) -> bool {
        let before = *left;
        while *left > 0
            && let Some(queue) = self.topology.queues.get_mut(&id)
            && queue.settings.overflow == Overflow::DropHead
            && queue.overflows()
            && let Some(offset) = queue.next(&self.store)
        {
            *left -= 1;
            queue.take(offset);
            self.bury(id, offset, "maxlen");
        }
        *left < before
    }

    /// What is too much for a queue, has waited too long at its head, or was rejected goes on before the queue is removed.
    /// False: that is too much for one turn, or a record must be read first.
    pub(crate) fn sends_last_letters(&mut self, id: LogId, now: Now) -> bool {
        let Some(queue) = self.topology.queues.get(&id) else { return true };
        if queue.settings.dead_letter_exchange.is_none() {
            return true;
        }
        let mut left = LAST_LETTERS;
        self.drop_overflow(id, &mut left);
        while left > 0
            && let Some(queue) = self.topology.queues.get_mut(&id)
            && queue.may_expire()
            && !queue.waiting
            && let Some(offset) = queue.next(&self.store)
            && let Head::Expired = self.look_at_head(id, offset, now)
        {
            left -= 1;
        }
        self.send_on_dying(id, &mut left, now);
        self.topology.queues.get(&id).is_none_or(|queue| queue.dying.is_empty())
    }

    /// See that the queue is deleted when nobody uses it for long enough.
    pub(crate) fn schedule_expiry(&mut self, id: LogId, now: Now) {
        if let Some(queue) = self.topology.queues.get_mut(&id)
            && let Some(after) = queue.settings.expires_ms
        {
            queue.looked_at_ms = now.mono_ms + after;
            self.unused.insert((queue.looked_at_ms, id));
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
        self.topics.start(now);
        self.groups.start(now);
    }

    /// When [`Broker::tick`] wants to be called: in mono ms, for `now`.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<u64> {
        let message = self.expiries.first().map(|(at, _)| now.mono_ms + at.saturating_sub(now.wall_ms));
        let queue = self.unused.first().map(|(at, _)| *at);
        let transaction = self.transactions.next_due_ms().map(|at| now.mono_ms + at.saturating_sub(now.wall_ms));
        let asked =
            [message, queue, transaction, self.topics.poll_timeout(), self.next_compaction_ms(now), self.groups.poll_timeout()];
        asked.into_iter().flatten().min()
    }

    /// Time has passed: messages and queues may have expired.
    pub fn tick(&mut self, now: Now) {
        self.retain(now);
        self.sweep_transactions(now);
        self.tick_groups(now);
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now.wall_ms
        {
            self.expiries.pop_first();
            if let Some(queue) = self.topology.queues.get_mut(&id) {
                queue.expires_at = None;
            }
            self.wake_queue(id);
        }
        while let Some(&(at, id)) = self.unused.first()
            && at <= now.mono_ms
        {
            self.unused.pop_first();
            let Some(queue) = self.topology.queues.get_mut(&id) else { continue };
            let Some(after) = queue.settings.expires_ms else { continue };
            let due = if queue.consumers.is_empty() { queue.unused_since_ms + after } else { now.mono_ms + after };
            if due <= now.mono_ms {
                self.remove_queue(id, now);
            } else {
                queue.looked_at_ms = due;
                self.unused.insert((due, id));
            }
        }
    }
}
