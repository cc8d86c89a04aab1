//! Reading partitions: at once, or when there is more; and finding offsets by time.

use std::ops::Range;

use model::planted::{self, Bug};
use model::record::BatchHead;
use model::topic::{Fetch, FetchFrom, Fetched, FetchedBatch, ListedOffset, OffsetAt, TopicRef};
use model::{Event, Failure, LogFailure, Now, Offset, Reply, SessionId};
use storage::{Batch, LogId, Sought, Wanted};

use crate::broker::{Broker, Sink};

/// The leader epoch of every record: one node never loses what it confirmed, so that no epoch ever ends.
pub(crate) const LEADER_EPOCH: i32 = 0;
/// How long a read of the disk may keep a fetch waiting beyond its own time, in milliseconds.
const DISK_PATIENCE_MS: u64 = 30_000;
/// Who waits for the disk hears of nothing else; after so many milliseconds it looks at everything again.
const DISK_RETRY_MS: u64 = 20;
/// Partitions of one request that the disk is asked for at a time. More would push each other out of memory before they are
/// answered; their turn comes with the next request.
const READS_MAX: usize = 4;
/// Batches looked at in one go while an offset is sought by time. Few in tests, so that a search goes on later.
const SCAN_BATCHES_MAX: usize = if cfg!(test) { 64 } else { 4096 };
/// Bytes of their records, decompressed, after which it goes on later.
const SCAN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request that is answered later.
pub(crate) enum Waiting {
    Fetch(WaitingFetch),
    List(WaitingList),
}

pub(crate) struct WaitingFetch {
    question: Question,
    found: Found,
    /// Partitions that wake it: those that the disk was asked for, or all.
    heard: Vec<LogId>,
    hears_all: bool,
    /// When it is answered with whatever there is, in [`Now::mono_ms`].
    until_ms: u64,
    /// Its key in `Topics::due`.
    due_ms: u64,
}

/// What was asked; how long it waits stands beside it.
struct Question {
    partitions: Box<[FetchFrom]>,
    min_bytes: usize,
    max_bytes: usize,
    committed_only: bool,
    incremental: bool,
}

impl Question {
    fn of(fetch: &Fetch<'_>) -> Question {
        let Fetch { partitions, min_bytes, max_bytes, max_wait_ms: _, committed_only, incremental } = *fetch;
        Question { partitions: partitions.into(), min_bytes, max_bytes, committed_only, incremental }
    }

    fn asked(&self) -> Fetch<'_> {
        let Question { ref partitions, min_bytes, max_bytes, committed_only, incremental } = *self;
        Fetch { partitions, min_bytes, max_bytes, max_wait_ms: 0, committed_only, incremental }
    }
}

/// What a fetch has found so far.
#[derive(Default)]
struct Found {
    /// Where each partition lies.
    logs: Vec<Result<LogId, LogFailure>>,
    /// Of the first partitions, what was read. Those from `next` on were only looked at: there was enough before them, or
    /// as much as the disk is asked for at a time.
    fetched: Vec<Fetched>,
    next: usize,
    /// Of these the disk is asked for more.
    soon: Vec<usize>,
    /// Bytes of all batches.
    bytes: usize,
    /// Of the bytes that may be read at most, so many are taken: what was aborted counts too, for a client may name one
    /// partition very often.
    taken: usize,
    failed: bool,
}

impl Found {
    fn awaits_disk(&self) -> bool {
        !self.soon.is_empty()
    }

    fn is_enough(&self, fetch: &Fetch<'_>) -> bool {
        let least = usize::from(self.awaits_disk());
        self.failed || self.has_no_room(fetch) || self.bytes >= fetch.min_bytes.min(fetch.max_bytes).max(least)
    }

    fn has_no_room(&self, fetch: &Fetch<'_>) -> bool {
        self.bytes > 0 && self.taken >= fetch.max_bytes
    }

    fn count(&mut self, fetched: &Fetched) {
        let bytes = fetched.bytes();
        self.bytes += bytes;
        self.taken += bytes + size_of_val(&fetched.aborted[..]);
    }

    fn forget(&mut self, fetched: &Fetched) {
        let bytes = fetched.bytes();
        self.bytes -= bytes;
        self.taken -= bytes + size_of_val(&fetched.aborted[..]);
    }
}

pub(crate) struct WaitingList {
    log: LogId,
    at: OffsetAt,
    committed_only: bool,
    scan: Option<Scan>,
}

impl WaitingList {
    /// Of what committed readers see.
    pub fn new(log: LogId, at: OffsetAt) -> WaitingList {
        WaitingList { log, at, committed_only: true, scan: None }
    }
}

/// Where a search by time stands.
#[derive(Clone, Copy)]
struct Scan {
    /// Where it began.
    first: Offset,
    next: Offset,
    /// Look no further.
    end: u64,
    /// The time that is sought, in ms since the Unix epoch.
    wanted_ms: i64,
    /// The latest time of a batch that was passed over; -1: there was none.
    latest_ms: i64,
}

/// What came of a search for an offset.
pub(super) enum Listed {
    Found(ListedOffset),
    /// The disk is asked.
    Soon,
    /// Many batches were looked at; it goes on when it is called again.
    Later,
}

/// What came of reading.
enum Read {
    Done,
    /// The disk is asked.
    Soon,
}

/// How much is read of a partition.
#[derive(Clone, Copy)]
struct Asked {
    /// Batches as far as they fit into so many bytes ...
    most: usize,
    /// ... and the first one whatever its size.
    first: bool,
    read_ahead: bool,
}

fn check_epoch(current: Option<i32>) -> Result<(), LogFailure> {
    match current {
        Some(epoch) if epoch > LEADER_EPOCH => Err(LogFailure::UnknownLeaderEpoch),
        // There is no older one to be fenced; below 0 it is not known.
        _ => Ok(()),
    }
}

impl Broker {
    pub(crate) fn fetch(&mut self, id: SessionId, fetch: &Fetch<'_>, now: Now) -> Reply {
        let until_ms = now.mono_ms.saturating_add(fetch.max_wait_ms);
        let mut found = Found { logs: self.topics.partition_logs(fetch.partitions), ..Found::default() };
        if let Some(fetched) = self.try_fetch(fetch, &mut found, until_ms, now, true) {
            return Reply::Fetched(fetched);
        }
        let mut waiting = WaitingFetch {
            question: Question::of(fetch),
            found,
            heard: Vec::new(),
            hears_all: false,
            until_ms,
            due_ms: until_ms,
        };
        self.wait_on(id, &mut waiting, now);
        self.topics.waiting.insert(id, Waiting::Fetch(waiting));
        Reply::Pending
    }

    /// Have a fetch woken by what it waits for, or when its time comes.
    fn wait_on(&mut self, id: SessionId, fetch: &mut WaitingFetch, now: Now) {
        let disk = fetch.found.awaits_disk();
        if !fetch.hears_all {
            fetch.hears_all = !disk;
            let Found { logs, soon, .. } = &fetch.found;
            let mut hear = |log: &Result<LogId, LogFailure>| {
                if let Ok(log) = *log
                    && let Some(partition) = self.topics.partitions.get_mut(&log)
                    && partition.waiting.insert(id)
                {
                    fetch.heard.push(log);
                }
            };
            if disk { soon.iter().for_each(|at| hear(&logs[*at])) } else { logs.iter().for_each(hear) }
        }
        self.topics.due.remove(&(fetch.due_ms, id));
        // Its time may be over while the disk is still reading.
        let later = [fetch.due_ms, fetch.until_ms].into_iter().filter(|at| *at > now.mono_ms);
        let retry_ms = disk.then_some(now.mono_ms + DISK_RETRY_MS);
        fetch.due_ms = later.chain(retry_ms).min().unwrap_or(u64::MAX);
        self.topics.due.insert((fetch.due_ms, id));
    }

    /// Read what is there; `None`: wait. `all`: look at everything again, unless something is in hand.
    fn try_fetch(&mut self, fetch: &Fetch<'_>, found: &mut Found, until_ms: u64, now: Now, all: bool) -> Option<Vec<Fetched>> {
        if found.awaits_disk() {
            self.look_again(fetch, found);
        }
        if (!found.awaits_disk() && !found.is_enough(fetch)) || (all && found.bytes == 0) {
            self.look_at_all(fetch, found);
        }
        let until_ms = if found.awaits_disk() && found.bytes == 0 { until_ms.saturating_add(DISK_PATIENCE_MS) } else { until_ms };
        let done = found.is_enough(fetch) || now.mono_ms >= until_ms;
        // Who waits for growth, which may be anywhere, will look at everything again.
        let fetched = if done || !found.awaits_disk() { std::mem::take(&mut found.fetched) } else { Vec::new() };
        done.then_some(fetched)
    }

    fn look_at_all(&mut self, fetch: &Fetch<'_>, found: &mut Found) {
        *found = Found { logs: std::mem::take(&mut found.logs), ..Found::default() };
        self.look_on(fetch, found);
        if !fetch.incremental {
            for at in found.next..fetch.partitions.len() {
                self.look_at(at, fetch, found);
            }
        }
    }

    /// Look at what the disk was asked for, and at what follows.
    fn look_again(&mut self, fetch: &Fetch<'_>, found: &mut Found) {
        let soon = std::mem::take(&mut found.soon);
        for at in &soon {
            let before = std::mem::take(&mut found.fetched[*at]);
            found.forget(&before);
        }
        for at in soon {
            self.look_at(at, fetch, found);
        }
        self.look_on(fetch, found);
    }

    /// Look at partitions that were not read yet while there is room.
    fn look_on(&mut self, fetch: &Fetch<'_>, found: &mut Found) {
        while found.next < fetch.partitions.len() && found.soon.len() < READS_MAX && !found.has_no_room(fetch) {
            self.look_at(found.next, fetch, found);
            found.next += 1;
        }
    }

    fn look_at(&mut self, at: usize, fetch: &Fetch<'_>, found: &mut Found) {
        let from = &fetch.partitions[at];
        let may_read = found.soon.len() < READS_MAX;
        // Of many partitions each has its turn long after what was read ahead for it is forgotten.
        let asked = Asked {
            most: if may_read { from.max_bytes.min(fetch.max_bytes.saturating_sub(found.taken)) } else { 0 },
            first: may_read && found.bytes == 0,
            read_ahead: fetch.partitions.len() <= READS_MAX,
        };
        let mut fetched = Fetched { high_watermark: -1, last_stable: -1, log_start: -1, ..Fetched::default() };
        match found.logs[at].and_then(|log| self.read_partition(log, from, fetch.committed_only, asked, &mut fetched)) {
            Ok(Read::Done) => {}
            Ok(Read::Soon) => found.soon.push(at),
            Err(failure) => {
                fetched.failure = Some(failure);
                found.failed = true;
            }
        }
        found.count(&fetched);
        match found.fetched.get_mut(at) {
            Some(before) => *before = fetched,
            None => found.fetched.push(fetched),
        }
    }

    fn read_partition(
        &mut self,
        log: LogId,
        from: &FetchFrom,
        committed_only: bool,
        asked: Asked,
        fetched: &mut Fetched,
    ) -> Result<Read, LogFailure> {
        let Some(partition) = self.topics.partitions.get(&log) else {
            // It was deleted meanwhile.
            self.topics.partition_log(from.topic.as_ref(), from.partition)?;
            return Err(LogFailure::UnknownTopic);
        };
        check_epoch(from.current_epoch)?;
        let (durable, next) = self.store.stream_ends(log);
        let high = if planted::is(Bug::UnsyncedShown) { next } else { durable };
        let stable = partition.last_stable(high);
        fetched.high_watermark = high as i64;
        fetched.last_stable = stable as i64;
        fetched.log_start = partition.start as i64;
        // What was appended and is not durable yet exists, but is not shown.
        let offset = u64::try_from(from.offset).map_err(|_| LogFailure::OffsetOutOfRange)?;
        if offset < partition.start || offset > next {
            return Err(LogFailure::OffsetOutOfRange);
        }
        let end = if committed_only { stable } else { high };
        if offset >= end || (asked.most == 0 && !asked.first) {
            return Ok(Read::Done);
        }
        let (read, to) = match read_batches(&mut self.store, log, offset..end, asked, &mut fetched.batches) {
            Ok(read) => read,
            Err(damage) => {
                self.tell_damage(log, offset, &damage);
                return Err(LogFailure::Damaged);
            }
        };
        if committed_only && !fetched.batches.is_empty() {
            let Some(partition) = self.topics.partitions.get(&log) else { return Ok(read) };
            fetched.aborted = partition.aborted(offset, to);
        }
        Ok(read)
    }

    /// Log that a partition cannot be read: once for each place, for its clients try again and again.
    fn tell_damage(&mut self, log: LogId, offset: u64, damage: &str) {
        let Some(partition) = self.topics.partitions.get_mut(&log) else { return };
        if partition.is_damage_news(offset) {
            let (topic, index) = (&partition.topic, partition.index);
            tracing::error!("partition {index} of topic {topic:?} cannot be read from offset {offset} on: {damage}");
        }
    }

    pub(crate) fn list_offset(
        &mut self,
        id: SessionId,
        (topic, partition): (&str, u32),
        at: OffsetAt,
        committed_only: bool,
        current_epoch: Option<i32>,
    ) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        check_epoch(current_epoch)?;
        let mut waiting = WaitingList { log, at, committed_only, scan: None };
        match self.try_list(&mut waiting)? {
            Listed::Found(found) => return Ok(Reply::Offset(found)),
            Listed::Soon => {}
            Listed::Later => {
                self.topics.woken.insert(id);
            }
        }
        if let Some(partition) = self.topics.partitions.get_mut(&log) {
            partition.waiting.insert(id);
        }
        self.topics.waiting.insert(id, Waiting::List(waiting));
        Ok(Reply::Pending)
    }

    pub(super) fn try_list(&mut self, list: &mut WaitingList) -> Result<Listed, LogFailure> {
        let log = list.log;
        let Some(partition) = self.topics.partitions.get(&log) else { return Err(LogFailure::UnknownTopic) };
        let high = self.store.stream_end(log);
        let end = if list.committed_only { partition.last_stable(high) } else { high };
        let start = partition.start;
        // An empty partition has no record whose epoch could be told.
        let leader_epoch = if self.store.stream_next(log) > 0 { LEADER_EPOCH } else { -1 };
        let plain = |offset: u64| ListedOffset { offset: offset as i64, timestamp_ms: -1, leader_epoch };
        let none = ListedOffset { offset: -1, timestamp_ms: -1, leader_epoch: -1 };
        let of_latest = matches!(list.at, OffsetAt::MaxTimestamp);
        let wanted_ms = match list.at {
            OffsetAt::Earliest => return Ok(Listed::Found(plain(start))),
            OffsetAt::Latest => return Ok(Listed::Found(plain(end))),
            OffsetAt::Timestamp(at) => at,
            OffsetAt::MaxTimestamp => {
                let newest =
                    self.store.stretches(log).filter(|stretch| stretch.base < end).map(|stretch| stretch.newest_ms).max();
                let Some(newest) = newest else { return Ok(Listed::Found(none)) };
                newest as i64
            }
        };
        let mut scan = match list.scan {
            Some(scan) => scan,
            None => {
                let holds = |stretch: &storage::Stretch| stretch.end > start && stretch.newest_ms as i64 >= wanted_ms;
                let Some(stretch) = self.store.stretches(log).find(holds) else { return Ok(Listed::Found(none)) };
                let first = match self.store.seek(log, start.max(stretch.base)) {
                    Sought::At(entry) => entry,
                    Sought::End => return Ok(Listed::Found(none)),
                    Sought::Soon => return Ok(Listed::Soon),
                    Sought::Damaged(damage) => {
                        self.tell_damage(log, start.max(stretch.base), &damage);
                        return Err(LogFailure::Damaged);
                    }
                };
                Scan { first, next: first, end, wanted_ms, latest_ms: -1 }
            }
        };
        let mut bytes_seen = 0;
        for _ in 0..SCAN_BATCHES_MAX {
            let batch = match self.store.batch_at(log, scan.next, Wanted::ALL) {
                Batch::Here { entry, base, bytes } if base < scan.end => Some((entry, base, bytes)),
                Batch::Here { .. } | Batch::End => None,
                Batch::Soon => {
                    list.scan = Some(scan);
                    return Ok(Listed::Soon);
                }
                Batch::Damaged(damage) => {
                    self.tell_damage(log, start, &damage);
                    return Err(LogFailure::Damaged);
                }
            };
            let Some((entry, base, bytes)) = batch else {
                // The record that was the latest may have been compacted away; then the latest of the others is.
                if !of_latest || scan.latest_ms < 0 {
                    return Ok(Listed::Found(none));
                }
                scan = Scan { next: scan.first, wanted_ms: scan.latest_ms, latest_ms: -1, ..scan };
                continue;
            };
            scan.next = entry.next();
            let Ok(head) = BatchHead::parse(&bytes) else { continue };
            // A marker has a time, but is no record that could be read from.
            if head.is(model::record::attribute::CONTROL) && !of_latest {
                continue;
            }
            if head.max_timestamp_ms < scan.wanted_ms {
                scan.latest_ms = scan.latest_ms.max(head.max_timestamp_ms);
                continue;
            }
            let (found, unpacked) = super::records::first_at(&bytes, base, start, scan.wanted_ms);
            if let Some((offset, timestamp_ms)) = found {
                let (offset, leader_epoch) = (offset as i64, LEADER_EPOCH);
                return Ok(Listed::Found(ListedOffset { offset, timestamp_ms, leader_epoch }));
            }
            bytes_seen += unpacked;
            if bytes_seen >= SCAN_BYTES_MAX {
                break;
            }
        }
        list.scan = Some(scan);
        Ok(Listed::Later)
    }

    pub(crate) fn epoch_end(
        &self,
        topic: &str,
        partition: u32,
        epoch: i32,
        current_epoch: Option<i32>,
    ) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        check_epoch(current_epoch)?;
        if epoch == LEADER_EPOCH {
            return Ok(Reply::EpochEnd { epoch, end: self.store.stream_next(log) as i64 });
        }
        Ok(Reply::EpochEnd { epoch: -1, end: -1 })
    }

    /// Answer what waited for more, for the disk, or for its time.
    pub(crate) fn answer_fetches(&mut self, sink: &mut impl Sink, now: Now) {
        while let Some(log) = self.store.poll_grown() {
            self.wake_readers(log);
        }
        while let Some(&(until_ms, id)) = self.topics.due.first()
            && until_ms <= now.mono_ms
        {
            self.topics.due.pop_first();
            self.topics.woken.insert(id);
        }
        let woken = std::mem::take(&mut self.topics.woken);
        for id in woken {
            let Some(mut waiting) = self.topics.waiting.remove(&id) else { continue };
            let answer = match &mut waiting {
                Waiting::Fetch(fetch) => {
                    let due = fetch.due_ms <= now.mono_ms;
                    let fetched = self.try_fetch(&fetch.question.asked(), &mut fetch.found, fetch.until_ms, now, due);
                    fetched.map(|fetched| Ok(Reply::Fetched(fetched)))
                }
                Waiting::List(list) => match self.try_list(list) {
                    Ok(Listed::Found(found)) => Some(Ok(Reply::Offset(found))),
                    Ok(Listed::Soon) => None,
                    Ok(Listed::Later) => {
                        self.topics.woken.insert(id);
                        None
                    }
                    Err(failure) => Some(Err(failure)),
                },
            };
            let Some(answer) = answer else {
                if let Waiting::Fetch(fetch) = &mut waiting {
                    self.wait_on(id, fetch, now);
                }
                self.topics.waiting.insert(id, waiting);
                continue;
            };
            self.stop_waiting(id, &waiting);
            let event = match answer {
                Ok(reply) => Event::Reply(reply),
                Err(failure) => Event::Failed(failure.into()),
            };
            sink.send(id, event);
        }
    }

    /// Look again at what waits for this partition.
    pub(crate) fn wake_readers(&mut self, log: LogId) {
        self.topics.readers.wake_all(log);
        let Some(partition) = self.topics.partitions.get(&log) else { return };
        self.topics.woken.extend(&partition.waiting);
    }

    fn stop_waiting(&mut self, id: SessionId, waiting: &Waiting) {
        let mut forget = |log: LogId| {
            if let Some(partition) = self.topics.partitions.get_mut(&log) {
                partition.waiting.remove(&id);
            }
        };
        match waiting {
            Waiting::List(list) => forget(list.log),
            Waiting::Fetch(fetch) => {
                self.topics.due.remove(&(fetch.due_ms, id));
                fetch.heard.iter().copied().for_each(forget);
            }
        }
    }

    /// The session is gone.
    pub(crate) fn forget_fetch(&mut self, id: SessionId) {
        if let Some(waiting) = self.topics.waiting.remove(&id) {
            self.stop_waiting(id, &waiting);
        }
    }
}

/// Read batches of these offsets. Also returns the offset after the last one. An error says what cannot be read.
fn read_batches(
    store: &mut storage::Store,
    log: LogId,
    Range { start: offset, end }: Range<u64>,
    asked: Asked,
    batches: &mut Vec<FetchedBatch>,
) -> Result<(Read, u64), String> {
    let mut to = offset;
    let mut at = match store.seek(log, offset) {
        Sought::At(entry) => entry,
        Sought::End => return Ok((Read::Done, to)),
        Sought::Soon => return Ok((Read::Soon, to)),
        Sought::Damaged(damage) => return Err(damage),
    };
    let mut bytes_read = 0;
    loop {
        let wanted = Wanted { bytes: asked.most - bytes_read, more: asked.read_ahead };
        match store.batch_at(log, at, wanted) {
            Batch::Here { entry, base, bytes } => {
                if base >= end {
                    return Ok((Read::Done, to));
                }
                at = entry.next();
                let after = base + BatchHead::parse(&bytes).map_or(1, |head| u64::from(head.offsets));
                // Compaction leaves holes: what was sought may be behind this batch.
                if after <= offset {
                    continue;
                }
                if bytes_read + bytes.len() > asked.most && !(asked.first && batches.is_empty()) {
                    return Ok((Read::Done, to));
                }
                bytes_read += bytes.len();
                to = after;
                batches.push(FetchedBatch { base_offset: base as i64, bytes });
                if bytes_read >= asked.most {
                    return Ok((Read::Done, to));
                }
            }
            Batch::End => return Ok((Read::Done, to)),
            Batch::Soon => return Ok((Read::Soon, to)),
            Batch::Damaged(_) if !batches.is_empty() => return Ok((Read::Done, to)),
            Batch::Damaged(damage) => return Err(damage),
        }
    }
}
