//! The heart: logs, appends, reads and settles over one journal.

use std::collections::{HashMap, VecDeque};
use std::io;

use bytes::Bytes;
use foldhash::fast::FixedState;
use journal::{Journal, Poisoned};
use model::planted::{self, Bug};
use model::record::{self, StoredRecord};
use model::{Lsn, Now, Offset, RecordParts, limits};
use vfs::{Completion, Done, Extent, Job, Lane, Token, Vfs};

use crate::arena::Arena;
use crate::frame::{self, LogId, Tag};
use crate::log::{Block, Entry, Home, Log, Place, SegmentHome};
use crate::paging::Paging;
use crate::segment;

/// Bytes fetched by one cold read when many logs are read at once.
const READ_BYTES_CROWDED: usize = 64 * 1024;
/// Bytes of read segments in memory at which reads become short.
const WINDOW_BYTES_CROWDED: usize = 64 * 1024 * 1024;
/// Jobs handed to the disk at a time; removals wait here.
const JOBS_MAX: usize = 256;
/// Reads handed to the disk at a time; the others wait here.
const READS_MAX: usize = 128;
/// Entries in memory at which the oldest part of the journal is evacuated; at twice that publishers wait.
pub(crate) const RESIDENT_ENTRIES_HIGH: u64 = 3_000_000;
/// Blocks of one segment in memory.
const WINDOW_BLOCKS_MAX: usize = 3;

/// How the store behaves.
#[derive(Clone, Debug)]
pub struct Options {
    pub journal: journal::Options,
    /// Bytes of transient records in memory at which the oldest are paged out.
    pub arena_bytes: usize,
    /// Journal kept before the oldest part is evacuated and cut, in bytes.
    pub journal_bytes: u64,
    pub sizes: Sizes,
}

/// In which portions work is done. A simulation makes them small, so that everything happens often.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// A segment's records, in bytes.
    pub segment_bytes: u64,
    /// A log with at least this much in the part to be cut gets a segment, others are carried.
    pub page_out_bytes: u64,
    /// Carried forward in one go, in bytes.
    pub carry_bytes: u64,
    /// Fetched by one cold read, in bytes, so that a backlog is read in long strides.
    pub read_bytes: usize,
    /// Transient records are kept in chunks of so many bytes.
    pub chunk_bytes: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            segment_bytes: 16 * 1024 * 1024,
            page_out_bytes: 256 * 1024,
            carry_bytes: 4 * 1024 * 1024,
            read_bytes: 1024 * 1024,
            chunk_bytes: 256 * 1024,
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            journal: journal::Options::default(),
            arena_bytes: 64 * 1024 * 1024,
            journal_bytes: 4 * limits::JOURNAL_SEGMENT_BYTES,
            sizes: Sizes::default(),
        }
    }
}

/// The store can go on no more: the journal or a file it needs failed. Exit and recover from what is on disk.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    #[error(transparent)]
    Journal(#[from] Poisoned),
    #[error("cannot write {what}: {error}")]
    Write { what: &'static str, error: io::Error },
}

/// A record that is in memory right now. Valid until the store is changed.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef {
    log: LogId,
    offset: Offset,
    place: Place,
    len: u32,
    pub tag: Tag,
}

/// Whether a record can be handed out.
#[derive(Debug)]
pub enum Available {
    Now(RecordRef),
    /// It is being read; the log will be named by [`Store::poll_arrived`].
    Soon,
    /// It is already settled or was never there.
    Gone,
    /// It cannot be read; the text says what and where.
    Damaged(String),
}

/// Figures for people and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub arena_bytes: usize,
    pub journal_bytes: u64,
    pub unsynced_bytes: u64,
    pub window_bytes: usize,
    pub logs: usize,
}

enum Reading {
    Journal { start: Lsn, end: u64 },
    Index { log: LogId, first: u64 },
    Block { log: LogId, first: u64, start: u64 },
}

struct PendingRead {
    what: Reading,
    waiting: Vec<LogId>,
}

/// A stretch of the journal, with what still lives in it.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub number: u64,
    pub live: u64,
    pub logs: Vec<LogId>,
}

/// Unsettled entries that lie in the journal or the arena, not in segments.
#[derive(Debug, Default)]
pub(crate) struct Resident {
    pub entries: u64,
    /// A record counts once for each log it is in.
    pub bytes: u64,
}

impl Resident {
    pub fn enter(&mut self, entry: &Entry) {
        self.entries += 1;
        self.bytes += u64::from(entry.len);
    }
}

/// All logs of a node, over its journal.
pub struct Store {
    pub(crate) options: Options,
    pub(crate) journal: Journal,
    pub(crate) logs: HashMap<LogId, Log, FixedState>,
    pub(crate) arena: Arena,
    pub(crate) buckets: VecDeque<Bucket>,
    pub(crate) next_log: u32,
    pub(crate) next_file: u64,
    pub(crate) next_token: Token,
    pub(crate) jobs: Vec<(Token, Job)>,
    pub(crate) paging: Paging,
    /// Files to remove once the journal is durable up to that position.
    pub(crate) removals: VecDeque<(Lsn, String)>,
    reads: HashMap<Token, PendingRead, FixedState>,
    /// Stretches of the journal that the disk would not read: (from, to, why).
    unreadable: Vec<(u64, u64, String)>,
    arrived: Vec<LogId>,
    dirty: Vec<LogId>,
    marks: Vec<LogId>,
    window_bytes: usize,
    pub(crate) resident: Resident,
    /// The disk has little room: give back what can be given back.
    pub(crate) short_of_space: bool,
    read_jobs: VecDeque<(Token, Job)>,
    /// Grows with every flush of settles, so that a publisher can tell whether its own are flushed.
    flushes: u64,
    in_flight: usize,
}

impl Store {
    pub(crate) fn new(options: Options, journal: Journal) -> Store {
        Store {
            journal,
            logs: HashMap::default(),
            arena: Arena::new(options.sizes.chunk_bytes),
            buckets: VecDeque::new(),
            next_log: 1,
            next_file: 1,
            next_token: 1,
            jobs: Vec::new(),
            paging: Paging::default(),
            removals: VecDeque::new(),
            reads: HashMap::default(),
            unreadable: Vec::new(),
            arrived: Vec::new(),
            dirty: Vec::new(),
            marks: Vec::new(),
            window_bytes: 0,
            resident: Resident::default(),
            short_of_space: false,
            read_jobs: VecDeque::new(),
            flushes: 0,
            in_flight: 0,
            options,
        }
    }

    /// Create a log. A durable one exists again after a restart once `more` frames of the same group, the last
    /// of which must be a catalog entry, are durable.
    pub fn create_log(&mut self, durable: bool) -> LogId {
        let id = LogId(self.next_log);
        self.next_log += 1;
        if durable {
            self.journal.append(frame::CREATE_LOG, true, 4, |out| out.extend_from_slice(&id.0.to_le_bytes()));
        }
        self.logs.insert(id, Log::new(durable));
        id
    }

    /// Delete a log and all its records. As with `create_log`, a catalog entry must follow for a durable one.
    pub fn delete_log(&mut self, id: LogId) {
        if self.logs.get(&id).is_some_and(|log| log.durable) {
            self.journal.append(frame::DELETE_LOG, true, 4, |out| out.extend_from_slice(&id.0.to_le_bytes()));
        }
        self.forget_log(id);
    }

    pub(crate) fn forget_log(&mut self, id: LogId) {
        let Some(log) = self.logs.remove(&id) else { return };
        for run in log.runs {
            let mut offset = run.first;
            while let Some(live) = run.next_live(offset) {
                if let (Home::Memory, Some(entry)) = (&run.home, run.entry(live)) {
                    self.release(*entry);
                }
                offset = live + 1;
            }
            if let Home::Segment(home) = run.home {
                self.remove_segment(id, &home);
            }
        }
    }

    /// Append an entry of the catalog; it ends the group begun by `create_log` and `delete_log`.
    pub fn append_catalog(&mut self, entry: &[u8]) -> Lsn {
        self.journal.append(frame::CATALOG, false, entry.len(), |out| out.extend_from_slice(entry)).end
    }

    /// Append one record to every target, written once. Returns when it is safe, if it is to be.
    ///
    /// `group`: more frames of the same atomic group follow.
    pub fn append(&mut self, targets: &[LogId], parts: &RecordParts<'_>, tag: Tag, group: bool, now: Now) -> Option<Lsn> {
        let len = parts.encoded_len();
        let durable = tag.persistent() && targets.iter().any(|id| self.logs.get(id).is_some_and(|log| log.durable));
        let (place, end, bucket) = if durable {
            let head = frame::publish_head_len(targets.len());
            let logs = &self.logs;
            let appended = self.journal.append(frame::PUBLISH, group && !planted::is(Bug::TransactionTorn), head + len, |out| {
                let offsets = targets.iter().map(|id| (*id, logs.get(id).map_or(u64::MAX, |log| log.next)));
                frame::put_publish_head(out, tag, offsets);
                parts.encode(now.wall_ms, out);
            });
            let at = appended.start.0 + head as u64;
            (Place::journal(at), Some(appended.end), self.bucket_of(at))
        } else {
            let users = targets.len() as u32;
            let at = self.arena.append(len, users, |out| parts.encode(now.wall_ms, out));
            (Place::arena(at), None, 0)
        };
        let chunk = self.arena.current();
        let entry = Entry { place, tag, len: len as u32 };
        for id in targets {
            let Some(log) = self.logs.get_mut(id) else {
                if !durable {
                    self.resident.enter(&entry);
                    self.release(entry);
                }
                continue;
            };
            log.push(entry);
            self.resident.enter(&entry);
            if durable {
                if log.entered_file != bucket {
                    log.entered_file = bucket;
                    if let Some(last) = self.buckets.back_mut() {
                        last.logs.push(*id);
                    }
                }
                if let Some(last) = self.buckets.back_mut() {
                    last.live += 1;
                }
            } else if log.entered_chunk != chunk {
                log.entered_chunk = chunk;
                self.arena.enter(*id);
            }
        }
        end
    }

    pub(crate) fn bucket_bytes(&self) -> u64 {
        self.options.journal.segment_bytes
    }

    /// The number of the bucket of a journal position, which becomes the last one where it is new.
    pub(crate) fn bucket_of(&mut self, position: u64) -> u64 {
        let number = position / self.bucket_bytes();
        if self.buckets.back().is_none_or(|bucket| bucket.number < number) {
            self.buckets.push_back(Bucket { number, ..Bucket::default() });
        }
        number
    }

    pub(crate) fn bucket_mut(&mut self, position: u64) -> Option<&mut Bucket> {
        let number = position / self.bucket_bytes();
        if self.buckets.back().is_some_and(|bucket| bucket.number == number) {
            return self.buckets.back_mut();
        }
        let index = self.buckets.partition_point(|bucket| bucket.number < number);
        self.buckets.get_mut(index).filter(|bucket| bucket.number == number)
    }

    /// One entry no longer lies where it did, if that was the journal or the arena.
    pub(crate) fn release(&mut self, entry: Entry) {
        let place = entry.place;
        if place == Place::NONE || place.as_segment().is_some() {
            return;
        }
        self.resident.entries -= 1;
        self.resident.bytes -= u64::from(entry.len);
        if let Some(position) = place.as_journal() {
            if let Some(bucket) = self.bucket_mut(position) {
                bucket.live -= 1;
            }
        } else if let Some(position) = place.as_arena() {
            self.arena.release(position);
        }
    }

    /// Settle a record for ever. Does nothing where it already is.
    pub fn settle(&mut self, id: LogId, offset: Offset) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        let Some(freed) = log.settle(offset.0) else { return };
        if log.durable && freed.entry.tag.persistent() {
            log.note_unwritten(offset.0);
            if !log.dirty {
                log.dirty = true;
                self.dirty.push(id);
            }
        }
        self.release(freed.entry);
        if let Some(home) = freed.segment {
            // Its settles must be safe before the file may go.
            self.flush_settles();
            self.remove_segment(id, &home);
        }
    }

    /// Every offset below `below` may have been handed out: after a restart they are marked redelivered.
    pub fn mark_delivered(&mut self, id: LogId, below: Offset) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        if log.durable && below.0 > log.delivered {
            if log.delivered == log.marked {
                self.marks.push(id);
            }
            log.delivered = below.0;
        }
    }

    /// A number that grows whenever settles reach the journal.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Append what was settled since the last call to the journal.
    pub fn flush_settles(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        self.flushes += 1;
        for id in self.dirty.drain(..) {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            log.dirty = false;
            if planted::is(Bug::AckNotJournalled) {
                log.unwritten.clear();
            }
            for ranges in log.unwritten.chunks(4096) {
                self.journal.append(frame::SETTLE, false, 8 + 12 * ranges.len(), |out| {
                    out.extend_from_slice(&id.0.to_le_bytes());
                    out.extend_from_slice(&(ranges.len() as u32).to_le_bytes());
                    for (first, count) in ranges {
                        out.extend_from_slice(&first.to_le_bytes());
                        out.extend_from_slice(&count.to_le_bytes());
                    }
                });
            }
            log.unwritten.clear();
        }
    }

    fn flush_marks(&mut self) {
        for id in self.marks.drain(..) {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            log.marked = log.delivered;
            if planted::is(Bug::DeliveryNotNoted) {
                continue;
            }
            let delivered = log.delivered;
            self.journal.append(frame::DELIVERED, false, 12, |out| {
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&delivered.to_le_bytes());
            });
        }
    }

    /// The first unsettled offset at or after `from`.
    #[must_use]
    pub fn next_live(&self, id: LogId, from: Offset) -> Option<Offset> {
        self.logs.get(&id)?.next_live(from.0).map(Offset)
    }

    /// The offset that the next record of the log will have.
    #[must_use]
    pub fn next_offset(&self, id: LogId) -> Offset {
        Offset(self.logs.get(&id).map_or(0, |log| log.next))
    }

    /// Unsettled records of the log.
    #[must_use]
    pub fn live(&self, id: LogId) -> u64 {
        self.logs.get(&id).map_or(0, |log| log.live)
    }

    /// Every offset below may have been handed out, as far as the journal knew at recovery or was told since.
    #[must_use]
    pub fn delivered(&self, id: LogId) -> Offset {
        Offset(self.logs.get(&id).map_or(0, |log| log.delivered))
    }

    /// What is kept of a record beside its bytes, where its entry is in memory.
    #[must_use]
    pub fn tag(&self, id: LogId, offset: Offset) -> Option<Tag> {
        let log = self.logs.get(&id)?;
        log.runs.get(log.run_index(offset.0)?)?.entry(offset.0).map(|entry| entry.tag)
    }

    /// Length of a record's batch in bytes, where its entry is in memory.
    #[must_use]
    pub fn record_len(&self, id: LogId, offset: Offset) -> Option<u32> {
        let log = self.logs.get(&id)?;
        log.runs.get(log.run_index(offset.0)?)?.entry(offset.0).map(|entry| entry.len)
    }

    /// See that a record is in memory, or have it read.
    pub fn locate(&mut self, id: LogId, offset: Offset) -> Available {
        let Some(log) = self.logs.get_mut(&id) else { return Available::Gone };
        let Some(index) = log.run_index(offset.0) else { return Available::Gone };
        let run = &log.runs[index];
        if run.is_settled(offset.0) {
            return Available::Gone;
        }
        if let Home::Segment(_) = run.home {
            return self.locate_in_segment(id, index, offset);
        }
        let Some(&Entry { place, tag, len }) = run.entry(offset.0) else { return Available::Gone };
        let found = Available::Now(RecordRef { log: id, offset, place, len, tag });
        let Some(position) = place.as_journal() else { return found };
        let Some(bytes) = self.journal.cached(Lsn(position), len as usize) else {
            return self.read_journal(id, position, len);
        };
        if bytes.cold && record::verify(bytes.bytes) != Ok(len as usize) {
            return Available::Damaged(format!("the record at journal position {position:#x} fails its checksum"));
        }
        found
    }

    fn read_journal(&mut self, id: LogId, position: u64, len: u32) -> Available {
        let end = position + u64::from(len);
        for read in self.reads.values_mut() {
            if let Reading::Journal { start, end: read_end } = read.what
                && start.0 <= position
                && end <= read_end
            {
                read.waiting.push(id);
                return Available::Soon;
            }
        }
        if let Some((.., error)) = self.unreadable.iter().find(|(start, end, _)| *start <= position && position < *end) {
            return Available::Damaged(format!("cannot read the journal at position {position:#x}: {error}"));
        }
        let ahead = self.read_bytes();
        let Some((extent, start)) = self.journal.extent(Lsn(position), len as usize, ahead) else {
            return Available::Damaged(format!("the journal no longer holds position {position:#x}"));
        };
        let end = start.0 + extent.len as u64;
        self.submit_read(Reading::Journal { start, end }, Job::Read(extent), Some(id));
        Available::Soon
    }

    fn read_bytes(&self) -> usize {
        let most = self.options.sizes.read_bytes;
        if self.window_bytes > WINDOW_BYTES_CROWDED { READ_BYTES_CROWDED.min(most) } else { most }
    }

    fn submit_read(&mut self, what: Reading, job: Job, waiting: Option<LogId>) {
        let token = self.token();
        self.reads.insert(token, PendingRead { what, waiting: waiting.into_iter().collect() });
        self.read_jobs.push_back((token, job));
    }

    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token
    }

    fn locate_in_segment(&mut self, id: LogId, index: usize, offset: Offset) -> Available {
        self.want_index(id, index);
        // A log that is read through will want the next segment's index soon.
        self.want_index(id, index + 1);
        let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.get_mut(index)) else { return Available::Gone };
        let first = run.first;
        let Home::Segment(home) = &mut run.home else { return Available::Gone };
        if let Some(damage) = &home.damaged {
            return Available::Damaged(damage.clone());
        }
        let Some(&Entry { place, tag, len }) = run.entries.get((offset.0 - first) as usize) else {
            self.wait_for(id, |what| matches!(what, Reading::Index { log, first: at } if *log == id && *at == first));
            return Available::Soon;
        };
        let Some(position) = place.as_segment() else { return Available::Gone };
        let end = position + u64::from(len);
        let holds = |block: &&Block| block.bytes.is_some() && block.start <= position && end <= block.start + block.len as u64;
        let found = home.window.iter().find(holds).and_then(|block| {
            let from = (position - block.start) as usize;
            let record = block.bytes.as_ref()?.get(from..from + len as usize)?;
            Some((block.start + block.len as u64, record::verify(record) == Ok(len as usize)))
        });
        match found {
            Some((_, false)) => {
                let path = segment::path(id, home.file);
                Available::Damaged(format!("the record at byte {position} of {path} fails its checksum"))
            }
            Some((block_end, true)) => {
                self.read_ahead(id, index, block_end, position);
                Available::Now(RecordRef { log: id, offset, place, len, tag })
            }
            None => {
                self.want_block(id, index, position, len, position);
                self.wait_for(id, |what| matches!(what, Reading::Block { log, first: at, .. } if *log == id && *at == first));
                Available::Soon
            }
        }
    }

    fn wait_for(&mut self, id: LogId, is: impl Fn(&Reading) -> bool) {
        for read in self.reads.values_mut().filter(|read| is(&read.what)) {
            if !read.waiting.contains(&id) {
                read.waiting.push(id);
            }
        }
    }

    fn want_index(&mut self, id: LogId, index: usize) {
        let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.get_mut(index)) else { return };
        let (first, count) = (run.first, run.count);
        let Home::Segment(home) = &mut run.home else { return };
        if home.index_requested {
            return;
        }
        home.index_requested = true;
        let extent = Extent {
            path: segment::path(id, home.file),
            offset: segment::HEADER_BYTES + home.data_len,
            len: segment::index_len(count),
        };
        self.submit_read(Reading::Index { log: id, first }, Job::Read(extent), None);
    }

    /// Ask for the block that begins at `position`, where it is not in memory or asked for. What holds the byte at `kept`
    /// stays in memory.
    fn want_block(&mut self, id: LogId, index: usize, position: u64, len: u32, kept: u64) {
        let ahead = self.read_bytes();
        let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.get_mut(index)) else { return };
        let first = run.first;
        let Home::Segment(home) = &mut run.home else { return };
        if home.window.iter().any(|block| block.start == position) {
            return;
        }
        let end = segment::HEADER_BYTES + home.data_len;
        let len = ahead.max(len as usize).min(end.saturating_sub(position) as usize);
        if home.window.len() >= WINDOW_BLOCKS_MAX
            && let Some(at) = home.window.iter().position(|block| block.bytes.is_some() && !block.holds(kept))
            && let Some(block) = home.window.remove(at)
        {
            self.window_bytes -= block.len;
        }
        // Counted from here on, so that many logs read at once notice each other.
        self.window_bytes += len;
        home.window.push_back(Block { start: position, len, bytes: None });
        let extent = Extent { path: segment::path(id, home.file), offset: position, len };
        self.submit_read(Reading::Block { log: id, first, start: position }, Job::Read(extent), None);
    }

    /// Ask for what follows a block that is being read, up to one block ahead. The block being read holds the byte at `kept`.
    fn read_ahead(&mut self, id: LogId, index: usize, block_end: u64, kept: u64) {
        let Some(run) = self.logs.get(&id).and_then(|log| log.runs.get(index)) else { return };
        let Home::Segment(home) = &run.home else { return };
        if home.window.back().is_none_or(|block| block.start >= block_end) || block_end >= segment::HEADER_BYTES + home.data_len {
            return;
        }
        let ends_within = |entry: &Entry| entry.place.as_segment().unwrap_or(0) + u64::from(entry.len) <= block_end;
        let next = run.entries.partition_point(ends_within);
        // What was settled when the file was written has no length, and shares its position with what follows it.
        let Some(entry) = run.entries[next..].iter().find(|entry| entry.len > 0).copied() else { return };
        if let Some(position) = entry.place.as_segment()
            && home.window.iter().all(|block| block.start != position)
        {
            self.want_block(id, index, position, entry.len, kept);
        }
    }

    /// The record itself. The reference must come from the last change of the store.
    #[must_use]
    pub fn record(&self, at: &RecordRef) -> Option<StoredRecord<'_>> {
        let len = at.len as usize;
        if let Some(position) = at.place.as_journal() {
            let found = self.journal.cached(Lsn(position), len)?;
            return Some(StoredRecord { batch: found.bytes, buffer: found.buffer });
        }
        if let Some(position) = at.place.as_arena() {
            let (batch, buffer) = self.arena.read(position, len)?;
            return Some(StoredRecord { batch, buffer });
        }
        let position = at.place.as_segment()?;
        let log = self.logs.get(&at.log)?;
        let Home::Segment(home) = &log.runs.get(log.run_index(at.offset.0)?)?.home else { return None };
        home.window.iter().find_map(|block| {
            let bytes = block.bytes.as_ref()?;
            let from = position.checked_sub(block.start)? as usize;
            Some(StoredRecord { batch: bytes.get(from..from + len)?, buffer: Some(bytes) })
        })
    }

    /// A log of which something that was awaited has come.
    pub fn poll_arrived(&mut self) -> Option<LogId> {
        self.arrived.pop()
    }

    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.journal.appended()
    }

    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.journal.durable()
    }

    /// Publishers must wait: the disk is full, or cannot keep up.
    #[must_use]
    pub fn must_hold(&self) -> bool {
        self.journal.unsynced_bytes() > limits::UNSYNCED_BYTES_HIGH
            || self.arena.bytes() > self.options.arena_bytes * 2
            || self.resident.entries > 2 * RESIDENT_ENTRIES_HIGH
            || (self.paging.stuck.is_none() && self.buckets.len() as u64 * self.bucket_bytes() > self.options.journal_bytes * 4)
    }

    #[must_use]
    pub fn disk_full(&self) -> bool {
        self.journal.disk_full()
    }

    /// The disk has little room, or has room again.
    pub fn set_short_of_space(&mut self, short: bool) {
        self.short_of_space = short;
    }

    /// Ask the disk for the next file once more.
    pub fn retry_disk(&mut self) {
        self.journal.retry_allocation();
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            arena_bytes: self.arena.bytes(),
            journal_bytes: self.buckets.len() as u64 * self.bucket_bytes(),
            unsynced_bytes: self.journal.unsynced_bytes(),
            window_bytes: self.window_bytes,
            logs: self.logs.len(),
        }
    }

    /// Everything is durable and no I/O is under way.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.dirty.is_empty()
            && self.marks.is_empty()
            && self.journal.durable() == self.journal.appended()
            && self.jobs.is_empty()
            && self.removals.front().is_none_or(|(lsn, _)| *lsn > self.journal.durable())
            && self.read_jobs.is_empty()
            && self.in_flight == 0
    }

    /// Hand the disk what is to be done.
    pub fn poll(&mut self, vfs: &mut dyn Vfs) {
        self.flush_settles();
        self.flush_marks();
        self.poll_paging();
        let durable = self.journal.durable();
        while self.in_flight + self.jobs.len() < JOBS_MAX && self.removals.front().is_some_and(|(lsn, _)| *lsn <= durable) {
            if let Some((_, path)) = self.removals.pop_front() {
                let token = self.token();
                self.jobs.push((token, Job::Remove { path }));
            }
        }
        for (token, job) in self.jobs.drain(..) {
            self.in_flight += 1;
            vfs.submit(Lane::Background, token, job);
        }
        while self.reads.len() - self.read_jobs.len() < READS_MAX
            && let Some((token, job)) = self.read_jobs.pop_front()
        {
            self.in_flight += 1;
            vfs.submit(Lane::Read, token, job);
        }
        self.journal.poll(vfs);
    }

    /// Take in what came of a job.
    ///
    /// # Errors
    /// [`Stopped`] where the node must exit.
    pub fn completed(&mut self, completion: Completion) -> Result<(), Stopped> {
        if Journal::owns(completion.token) {
            return Ok(self.journal.completed(completion)?);
        }
        self.in_flight -= 1;
        let Some(read) = self.reads.remove(&completion.token) else {
            return self.paging_completed(completion);
        };
        let bytes = match completion.result {
            Ok(Done::Bytes(bytes)) => Ok(bytes),
            Ok(Done::Ok) => Ok(Bytes::new()),
            Err(error) => Err(error),
        };
        match read.what {
            Reading::Journal { start, end } => match bytes {
                Ok(bytes) => self.journal.insert_cached(start, bytes),
                Err(error) => self.unreadable.push((start.0, end, error.to_string())),
            },
            Reading::Index { log, first } => self.index_arrived(log, first, bytes),
            Reading::Block { log, first, start } => self.block_arrived(log, first, start, bytes),
        }
        self.arrived.extend(read.waiting);
        Ok(())
    }

    fn run_mut(&mut self, id: LogId, first: u64) -> Option<&mut crate::log::Run> {
        let log = self.logs.get_mut(&id)?;
        let index = log.run_index(first)?;
        log.runs.get_mut(index).filter(|run| run.first == first)
    }

    fn index_arrived(&mut self, id: LogId, first: u64, bytes: io::Result<Bytes>) {
        let Some(run) = self.run_mut(id, first) else { return };
        let count = run.count;
        let Home::Segment(home) = &mut run.home else { return };
        let path = segment::path(id, home.file);
        match bytes.map(|bytes| segment::parse_index(&bytes, count)) {
            Ok(Some(entries)) => run.entries = entries,
            Ok(None) => home.damaged = Some(format!("the index of {path} fails its checksum")),
            Err(error) => home.damaged = Some(format!("cannot read {path}: {error}")),
        }
    }

    fn block_arrived(&mut self, id: LogId, first: u64, start: u64, bytes: io::Result<Bytes>) {
        let Some(run) = self.run_mut(id, first) else { return };
        let Home::Segment(home) = &mut run.home else { return };
        match bytes {
            Ok(bytes) => {
                if let Some(block) = home.window.iter_mut().find(|block| block.start == start) {
                    block.bytes = Some(bytes);
                }
            }
            Err(error) => home.damaged = Some(format!("cannot read {}: {error}", segment::path(id, home.file))),
        }
    }

    /// Nothing needs a segment any more once what was appended so far is durable.
    pub(crate) fn remove_segment(&mut self, id: LogId, home: &SegmentHome) {
        self.window_bytes -= home.window_bytes();
        let safe_at = if planted::is(Bug::SegmentRemovedEarly) { Lsn(0) } else { self.journal.appended() };
        self.removals.push_back((safe_at, segment::path(id, home.file)));
    }
}
