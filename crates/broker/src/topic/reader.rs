//! Consumers of streams: each reads on from its own place, as far as it has credit, and takes nothing.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use foldhash::fast::FixedState;
use model::record::{BatchHead, Records, StoredRecord, attribute};
use model::request::Subscribe;
use model::topic::OffsetAt;
use model::{Event, Failure, LogFailure, Now, Offset, Reply, SessionId, Subject, SubscriptionId};
use storage::{Batch, LogId, Sought, Wanted};

use super::arguments::{self, Begin};
use super::fetch::{Listed, WaitingList};
use super::records::decompress;
use crate::broker::{Broker, Sink};
use crate::declare::Declared;
use crate::queue::Consumer;
use crate::scope::Unacked;

/// Bytes of decompressed batches that all readers together keep from one round to the next; what is beyond is decompressed
/// again.
const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that all readers together ask of the disk at a time, so that none pushes out of memory what another has yet to come to.
const READ_BYTES_MAX: usize = 8 * 1024 * 1024;
/// As many readers as have read ahead for them.
const READERS_AHEAD_MAX: usize = 4;
/// To unpack so many bytes counts as much as to hand out a record.
const UNPACKED_BYTES_PER_RECORD: usize = 64 * 1024;
/// Batches looked at in search of the last that has something to show.
const LAST_BATCHES_MAX: u32 = 256;

/// All consumers of streams.
#[derive(Default)]
pub(crate) struct Readers {
    all: HashMap<SubscriptionId, Reader, FixedState>,
    /// By what they read.
    of: HashMap<LogId, Vec<SubscriptionId>, FixedState>,
    /// Those that may have something to do.
    active: VecDeque<SubscriptionId>,
    /// The last place given out in the lists of those with something to do, this one and that of queues: whoever has the
    /// lowest has waited longest.
    places: u64,
    /// Bytes of decompressed batches that are kept.
    unpacked_bytes: usize,
    /// Where a record of a batch of several is put, to be handed out by itself.
    alone: Vec<u8>,
}

struct Reader {
    log: LogId,
    consumer: Consumer,
    /// How its place is found; `None`: it is.
    seeking: Option<Seeking>,
    /// The offset of the next record.
    next: u64,
    /// The entry to look for it at; `None`: it must be sought.
    entry: Option<Offset>,
    /// The batch it is in the middle of.
    open: Option<Open>,
    /// Stands in the list of those with something to do.
    active: bool,
    /// Its place in that list.
    place: u64,
}

enum Seeking {
    Time(WaitingList),
    Last { entry: Option<Offset>, left: u32 },
}

/// A batch of which some records have been handed out.
struct Open {
    entry: Offset,
    /// What it was when it was opened: compaction may write it anew.
    checksum: [u8; 4],
    /// Bytes and number of the records that are done with.
    at: usize,
    taken: i32,
    unpacked: Option<Vec<u8>>,
}

/// Why a reader goes on no further now.
enum Stop {
    /// It has seen everything, has no credit, or the disk is asked.
    Rest,
    /// There is more, but others want their turn.
    Later,
}

impl Readers {
    /// Consumers of this stream.
    pub fn count(&self, log: LogId) -> u64 {
        self.of.get(&log).map_or(0, |readers| readers.len() as u64)
    }

    pub fn busy(&self) -> bool {
        !self.active.is_empty()
    }

    /// A place behind everybody who has something to do.
    pub fn next_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// The place of the reader whose turn is next.
    pub fn first_place(&self) -> Option<u64> {
        self.active.front().map(|first| self.all.get(first).map_or(0, |reader| reader.place))
    }

    /// What a reader wants of the disk: the less, the more of them there are.
    fn wanted(&self) -> Wanted {
        Wanted { bytes: READ_BYTES_MAX / self.all.len().max(1), more: self.all.len() <= READERS_AHEAD_MAX }
    }

    #[cfg(test)]
    pub fn unpacked_bytes(&self) -> usize {
        self.unpacked_bytes
    }

    pub fn wake(&mut self, subscription: SubscriptionId) {
        if let Some(reader) = self.all.get_mut(&subscription)
            && !reader.active
        {
            reader.active = true;
            self.places += 1;
            reader.place = self.places;
            self.active.push_back(subscription);
        }
    }

    pub fn wake_all(&mut self, log: LogId) {
        for at in 0..self.of.get(&log).map_or(0, Vec::len) {
            self.wake(self.of[&log][at]);
        }
    }

    /// One delivery less is under way. Does nothing for those that read no stream.
    pub fn free_credit(&mut self, subscription: SubscriptionId) {
        if let Some(reader) = self.all.get_mut(&subscription) {
            reader.consumer.in_flight -= 1;
            self.wake(subscription);
        }
    }

    fn add(&mut self, reader: Reader) {
        let subscription = reader.consumer.subscription;
        self.of.entry(reader.log).or_default().push(subscription);
        self.all.insert(subscription, reader);
        self.wake(subscription);
    }

    /// Forget one; `None`: it reads no stream.
    pub fn remove(&mut self, subscription: SubscriptionId) -> Option<Consumer> {
        let mut reader = self.all.remove(&subscription)?;
        self.close(&mut reader);
        self.forget(reader.log, subscription);
        Some(reader.consumer)
    }

    fn forget(&mut self, log: LogId, subscription: SubscriptionId) {
        if let Some(readers) = self.of.get_mut(&log) {
            readers.retain(|other| *other != subscription);
            if readers.is_empty() {
                self.of.remove(&log);
            }
        }
    }

    /// The batch a reader was in the middle of is done with.
    fn close(&mut self, reader: &mut Reader) {
        if let Some(unpacked) = reader.open.take().and_then(|open| open.unpacked) {
            self.unpacked_bytes -= unpacked.len();
        }
    }

    /// A reader is in the middle of a batch. What was decompressed is kept where there is room.
    fn keep(&mut self, reader: &mut Reader, mut open: Open) {
        let kept = self.unpacked_bytes;
        // One may be larger than all may be together: it would be unpacked for every round.
        drop(open.unpacked.take_if(|unpacked| kept > 0 && kept + unpacked.len() > UNPACKED_BYTES_MAX));
        self.unpacked_bytes += open.unpacked.as_ref().map_or(0, Vec::len);
        reader.open = Some(open);
    }
}

impl Reader {
    /// Nothing before `start` is there any more.
    fn skip_to(&mut self, start: u64) {
        if self.next < start {
            self.next = start;
            self.entry = None;
        }
    }

    /// The batch of this entry, up to the offset `after`, is done with.
    fn pass(&mut self, entry: Offset, after: u64) {
        self.next = self.next.max(after);
        self.entry = Some(entry.next());
    }
}

/// A batch of one uncompressed record of the time its head says can be handed out as it lies.
fn is_alone(head: &BatchHead, batch: &[u8]) -> bool {
    let plain = head.attributes & (attribute::COMPRESSION | attribute::APPEND_TIME) == 0;
    let mut records = Records::new(batch.get(model::record::HEADER_BYTES..).unwrap_or_default(), head.records);
    plain && head.records == 1 && records.next().is_some_and(|record| record.is_ok_and(|record| record.timestamp_delta == 0))
}

impl Broker {
    pub(crate) fn subscribe_stream(
        &mut self,
        id: SessionId,
        log: LogId,
        subscribe: &Subscribe<'_>,
        now: Now,
    ) -> Result<Reply, Failure> {
        let host = self.topology.host_name(self.host_of(id));
        let declared = Declared { subject: Subject::Queue, name: subscribe.queue, host };
        let begin = arguments::begin(&declared, &subscribe.arguments, now)?;
        if self.prefetch_each(id, subscribe.scope) == 0 {
            return Err(self.no_prefetch(subscribe.queue));
        }
        if subscribe.auto_settle {
            return Err(self.not_for_streams(log, "automatic acknowledgement"));
        }
        let Some(consumer) = self.new_consumer(id, log, subscribe)? else { return Ok(Reply::Ok) };
        let list = |at| Some(Seeking::Time(WaitingList::new(log, OffsetAt::Timestamp(at))));
        let (next, seeking) = match begin {
            Begin::First => (0, None),
            Begin::Offset(offset) => (offset, None),
            Begin::Next => (self.visible_end(log).unwrap_or(0), None),
            Begin::Last => (0, Some(Seeking::Last { entry: None, left: LAST_BATCHES_MAX })),
            Begin::Time(at) => (0, list(at)),
        };
        let subscription = consumer.subscription;
        self.topics.readers.add(Reader { log, consumer, seeking, next, entry: None, open: None, active: false, place: 0 });
        Ok(Reply::Subscribed { subscription })
    }

    /// The stream is gone, or cannot be read: those who read it are told.
    pub(crate) fn end_readers(&mut self, log: LogId) {
        let readers = self.topics.readers.of.get(&log).cloned().unwrap_or_default();
        let consumers: Vec<Consumer> = readers.into_iter().filter_map(|id| self.topics.readers.remove(id)).collect();
        self.end_subscriptions(&consumers);
    }

    /// Consumers see what is below: it is durable, and of no transaction that is open.
    fn visible_end(&self, log: LogId) -> Option<u64> {
        Some(self.topics.partitions.get(&log)?.last_stable(self.store.stream_end(log)))
    }

    fn can_take(&self, consumer: &Consumer) -> bool {
        self.sessions.get(&consumer.session).is_some_and(|session| {
            let credit = session.scopes.get(&consumer.scope).is_some_and(|scope| scope.has_credit(false));
            !session.paused && credit && consumer.in_flight < consumer.prefetch
        })
    }

    /// Let the reader whose turn it is read on, at most `most` records. Returns how many it was.
    pub(crate) fn serve_reader(&mut self, most: usize, sink: &mut impl Sink) -> usize {
        let Some(id) = self.topics.readers.active.pop_front() else { return 0 };
        let Some(mut reader) = self.topics.readers.all.remove(&id) else { return 0 };
        if self.was_passed_over(&reader.consumer, reader.place) {
            reader.place = self.topics.readers.next_place();
            self.topics.readers.active.push_back(id);
            self.topics.readers.all.insert(id, reader);
            return 0;
        }
        let mut left = most;
        match self.read_on(&mut reader, &mut left, sink) {
            Ok(Stop::Rest) => reader.active = false,
            Ok(Stop::Later) => {
                reader.place = self.topics.readers.next_place();
                self.topics.readers.active.push_back(id);
            }
            Err(damage) => {
                let name = self.topics.partitions.get(&reader.log).map(|partition| (&partition.topic, partition.index));
                if let Some((topic, index)) = name {
                    tracing::error!("partition {index} of topic {topic:?} cannot be read at offset {}: {damage}", reader.next);
                }
                self.topics.readers.close(&mut reader);
                self.topics.readers.forget(reader.log, id);
                self.end_subscriptions(&[reader.consumer]);
                return most - left;
            }
        }
        self.topics.readers.all.insert(id, reader);
        most - left
    }

    fn read_on(&mut self, reader: &mut Reader, left: &mut usize, sink: &mut impl Sink) -> Result<Stop, String> {
        if let Some(stop) = self.find_place(reader)? {
            return Ok(stop);
        }
        let log = reader.log;
        while *left > 0 {
            let Some(partition) = self.topics.partitions.get(&log) else { return Ok(Stop::Rest) };
            reader.skip_to(partition.start);
            let end = partition.last_stable(self.store.stream_end(log));
            if reader.next >= end || !self.can_take(&reader.consumer) {
                return Ok(Stop::Rest);
            }
            let at = match reader.entry {
                Some(entry) => entry,
                None => match self.store.seek(log, reader.next) {
                    Sought::At(entry) => entry,
                    Sought::End | Sought::Soon => return Ok(Stop::Rest),
                    Sought::Damaged(damage) => return Err(damage),
                },
            };
            let (entry, base, batch) = match self.store.batch_at(log, at, self.topics.readers.wanted()) {
                Batch::Here { entry, base, bytes } => (entry, base, bytes),
                Batch::End | Batch::Soon => return Ok(Stop::Rest),
                Batch::Damaged(damage) => return Err(damage),
            };
            if base >= end {
                return Ok(Stop::Rest);
            }
            reader.entry = Some(entry);
            match self.shown(log, base, &batch) {
                Some(head) if base + u64::from(head.offsets) > reader.next => {
                    self.hand_out_batch(reader, (entry, base), &head, &batch, left, sink);
                }
                _ => {
                    *left -= 1;
                    let after = BatchHead::parse(&batch).map_or(base + 1, |head| base + u64::from(head.offsets));
                    reader.pass(entry, after);
                }
            }
        }
        Ok(Stop::Later)
    }

    /// The head of a batch that has something to show: it is no marker, and of no transaction that was aborted.
    fn shown(&self, log: LogId, base: u64, batch: &[u8]) -> Option<BatchHead> {
        let head = BatchHead::parse(batch).ok()?;
        let aborted = head.is(attribute::TRANSACTIONAL) && self.topics.partitions.get(&log)?.is_aborted(head.producer_id, base);
        (!head.is(attribute::CONTROL) && !aborted).then_some(head)
    }

    /// Find where the reader begins; `None`: it is found.
    fn find_place(&mut self, reader: &mut Reader) -> Result<Option<Stop>, String> {
        let Some(end) = self.visible_end(reader.log) else { return Ok(Some(Stop::Rest)) };
        match &mut reader.seeking {
            None => return Ok(None),
            Some(Seeking::Time(list)) => match self.try_list(list) {
                Ok(Listed::Found(found)) => reader.next = u64::try_from(found.offset).unwrap_or(end),
                Ok(Listed::Soon) => return Ok(Some(Stop::Rest)),
                Ok(Listed::Later) => return Ok(Some(Stop::Later)),
                Err(LogFailure::Damaged) => return Err("a record that was sought by its time is damaged".into()),
                Err(_) => return Ok(Some(Stop::Rest)),
            },
            Some(Seeking::Last { entry, left }) => {
                let (mut entry, mut left) = (*entry, *left);
                let found = self.find_last(reader.log, end, &mut entry, &mut left)?;
                let Some(next) = found else {
                    reader.seeking = Some(Seeking::Last { entry, left });
                    return Ok(Some(Stop::Rest));
                };
                reader.next = next;
            }
        }
        reader.seeking = None;
        Ok(None)
    }

    /// The first offset of the last batch before `end` that has something to show; `end` where there is none near. `None`:
    /// the disk is asked.
    fn find_last(&mut self, log: LogId, end: u64, at: &mut Option<Offset>, left: &mut u32) -> Result<Option<u64>, String> {
        let start = self.topics.partitions.get(&log).map_or(0, |partition| partition.start);
        if end <= start {
            return Ok(Some(end));
        }
        loop {
            let entry = match *at {
                Some(entry) => entry,
                None => match self.store.seek(log, end - 1) {
                    Sought::At(entry) => entry,
                    Sought::End => return Ok(Some(end)),
                    Sought::Soon => return Ok(None),
                    Sought::Damaged(damage) => return Err(damage),
                },
            };
            *at = Some(entry);
            let base = match self.store.batch_at(log, entry, Wanted::ALL) {
                Batch::Here { base, bytes, .. } if base < end && self.shown(log, base, &bytes).is_some() => {
                    return Ok(Some(base.max(start)));
                }
                Batch::Here { base, .. } => base,
                Batch::End => end,
                Batch::Soon => return Ok(None),
                Batch::Damaged(damage) => return Err(damage),
            };
            if base <= start || entry.0 == 0 || *left == 0 {
                return Ok(Some(end));
            }
            *left -= 1;
            *at = Some(Offset(entry.0 - 1));
        }
    }

    /// Hand out the records of a batch from the reader's offset on, as far as it can take them.
    fn hand_out_batch(
        &mut self,
        reader: &mut Reader,
        (entry, base): (Offset, u64),
        head: &BatchHead,
        batch: &Bytes,
        left: &mut usize,
        sink: &mut impl Sink,
    ) {
        let after = base + u64::from(head.offsets);
        if is_alone(head, batch) {
            *left -= 1;
            self.hand_to_reader(reader, base, StoredRecord { batch, buffer: Some(batch) }, sink);
            return reader.pass(entry, after);
        }
        let checksum = batch.get(17..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        let mut open = reader.open.take_if(|open| open.entry == entry && open.checksum == checksum);
        self.topics.readers.close(reader);
        if let Some(unpacked) = open.as_ref().and_then(|open| open.unpacked.as_ref()) {
            self.topics.readers.unpacked_bytes -= unpacked.len();
        }
        let (mut at, mut taken) = open.as_ref().map_or((0, 0), |open| (open.at, open.taken));
        let unpacked = match open.as_mut().and_then(|open| open.unpacked.take()) {
            Some(unpacked) => Cow::Owned(unpacked),
            None => match decompress(batch) {
                Ok(unpacked) => unpacked,
                Err(error) => {
                    if let Some(partition) = self.topics.partitions.get(&reader.log) {
                        let (topic, index) = (&partition.topic, partition.index);
                        tracing::warn!(
                            "a batch at offset {base} of partition {index} of topic {topic:?} is passed over: its records cannot \
                             be unpacked: {error}"
                        );
                    }
                    // It may have cost as much as the largest.
                    *left = 0;
                    return reader.pass(entry, after);
                }
            },
        };
        if let (Cow::Owned(unpacked), 0) = (&unpacked, at) {
            *left = left.saturating_sub(unpacked.len() / UNPACKED_BYTES_PER_RECORD).max(1);
        }
        let before = *left;
        let mut alone = std::mem::take(&mut self.topics.readers.alone);
        let mut records = Records::new(unpacked.get(at..).unwrap_or_default(), head.records.saturating_sub(taken));
        let done = loop {
            if *left == 0 || !self.can_take(&reader.consumer) {
                break false;
            }
            let Some(Ok(record)) = records.next() else { break true };
            (at, taken) = (at + record.bytes.len(), taken + 1);
            let Some(offset) = base.checked_add_signed(record.offset_delta).filter(|at| (reader.next..after).contains(at)) else {
                continue;
            };
            let own = head.base_timestamp_ms.saturating_add(record.timestamp_delta);
            let time = if head.is(attribute::APPEND_TIME) { head.max_timestamp_ms } else { own };
            alone.clear();
            record.encode_alone(u64::try_from(time).unwrap_or(0), &mut alone);
            *left -= 1;
            self.hand_to_reader(reader, offset, StoredRecord { batch: &alone, buffer: None }, sink);
            reader.next = offset + 1;
        };
        alone.shrink_to(64 * 1024);
        self.topics.readers.alone = alone;
        if done || reader.next >= after {
            *left -= usize::from(*left == before);
            return reader.pass(entry, after);
        }
        let unpacked = match unpacked {
            Cow::Owned(unpacked) => Some(unpacked),
            Cow::Borrowed(_) => None,
        };
        self.topics.readers.keep(reader, Open { entry, checksum, at, taken, unpacked });
    }

    fn hand_to_reader(&mut self, reader: &mut Reader, offset: u64, record: StoredRecord<'_>, sink: &mut impl Sink) {
        let consumer = &mut reader.consumer;
        let Some(session) = self.sessions.get_mut(&consumer.session) else { return };
        let Some(scope) = session.scopes.get_mut(&consumer.scope) else { return };
        let tag = scope.next_tag();
        let waiting = sink.send(
            consumer.session,
            Event::Deliver {
                scope: consumer.scope,
                subscription: consumer.subscription,
                tag,
                redelivered: false,
                returns: 0,
                offset: Some(offset),
                record,
            },
        );
        self.statistics.delivered += 1;
        consumer.in_flight += 1;
        scope.push(Unacked { tag: tag.0, queue: reader.log, offset: Offset(offset), subscription: Some(consumer.subscription) });
        session.pause_if_full(waiting, consumer.subscription);
    }
}
