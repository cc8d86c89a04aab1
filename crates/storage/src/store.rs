//! The heart: logs, appends, reads and settles over one journal.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use foldhash::fast::FixedState;
use journal::{Journal, Poisoned};
use model::planted::{self, Bug};
use model::{Lsn, Now, Offset, RecordParts, limits};
use vfs::{Completion, Job, Lane, Token, Vfs};

use crate::arena::Arena;
use crate::frame::{self, LogId, Tag};
use crate::log::{Entry, Home, Log, Place, SegmentHome};
use crate::paging::Paging;
use crate::reading::Reads;
use crate::segment;
use crate::stream::Streams;

/// Removals handed to the disk at a time: what the journal needs of it, its next file, does not wait behind hundreds.
const REMOVALS_MAX: usize = 2;
/// Entries in memory at which the oldest part of the journal is evacuated; at twice that publishers wait.
pub(crate) const RESIDENT_ENTRIES_HIGH: u64 = 3_000_000;
/// The same for streams alone: their entries stand in every checkpoint.
pub(crate) const RESIDENT_STREAM_ENTRIES_HIGH: u64 = 1_000_000;

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
    /// Written into a checkpoint in one turn, in entries.
    pub checkpoint_entries: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            segment_bytes: 16 * 1024 * 1024,
            page_out_bytes: 256 * 1024,
            carry_bytes: 4 * 1024 * 1024,
            read_bytes: 1024 * 1024,
            chunk_bytes: 256 * 1024,
            checkpoint_entries: 16 * 1024,
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

/// Figures for people and metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub arena_bytes: usize,
    pub journal_bytes: u64,
    pub unsynced_bytes: u64,
    pub window_bytes: usize,
    pub logs: usize,
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
    /// Of logs that are taken from.
    pub queues: Held,
    /// Of logs that are read by record offset. What they keep may stay in the journal.
    pub streams: Held,
}

/// A record counts once for each log it is in.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub entries: u64,
    pub bytes: u64,
}

impl Resident {
    fn of(&mut self, stream: bool) -> &mut Held {
        if stream { &mut self.streams } else { &mut self.queues }
    }

    pub fn enter(&mut self, entry: &Entry, stream: bool) {
        let held = self.of(stream);
        held.entries += 1;
        held.bytes += u64::from(entry.len);
    }

    fn leave(&mut self, entry: &Entry, stream: bool) {
        let held = self.of(stream);
        held.entries -= 1;
        held.bytes -= u64::from(entry.len);
    }

    pub fn entries(&self) -> u64 {
        self.queues.entries + self.streams.entries
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
    pub(crate) reads: Reads,
    dirty: Vec<LogId>,
    marks: Vec<LogId>,
    pub(crate) resident: Resident,
    /// The disk has little room: give back what can be given back.
    pub(crate) short_of_space: bool,
    /// Files were made or removed since somebody asked.
    disk_changed: bool,
    /// Settles are flushed although room is running out.
    settles_due: bool,
    /// Grows with every flush of settles, so that a publisher can tell whether its own are flushed.
    flushes: u64,
    in_flight: usize,
    /// Removals under way.
    removing: HashSet<Token, FixedState>,
    pub(crate) streams: Streams,
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
            reads: Reads::default(),
            dirty: Vec::new(),
            marks: Vec::new(),
            resident: Resident::default(),
            short_of_space: false,
            disk_changed: false,
            settles_due: false,
            flushes: 0,
            in_flight: 0,
            removing: HashSet::default(),
            streams: Streams::default(),
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
        let stream = log.stream.is_some();
        for run in log.runs {
            let mut offset = run.first;
            while let Some(live) = run.next_live(offset) {
                if let (Home::Memory, Some(entry)) = (&run.home, run.entry(live)) {
                    self.release(*entry, stream);
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
        // What a stream holds is durable, and so is the same message everywhere else.
        let streams = targets.iter().any(|id| self.logs.get(id).is_some_and(|log| log.stream.is_some()));
        let tag = if streams { tag.made_persistent() } else { tag };
        let tag = tag.with_overhead(len - parts.value.len());
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
                    self.resident.enter(&entry, false);
                    self.release(entry, false);
                }
                continue;
            };
            let stream = log.stream.is_some();
            if let Some(end) = end
                && stream
            {
                log.push_batch(entry, 1, now.wall_ms);
                self.streams.grew(end, *id, log);
            } else {
                log.push(entry);
            }
            self.resident.enter(&entry, stream);
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

    /// Bytes of the journal that can go, at the latest when what lives in them has moved. What streams keep lies well where
    /// it is: nobody takes it, so that it would be written twice for nothing; and besides it they may keep half as much
    /// that is none of theirs.
    pub(crate) fn needless_bytes(&self) -> u64 {
        let kept = self.resident.streams.bytes;
        (self.buckets.len() as u64 * self.bucket_bytes()).saturating_sub(kept + kept / 2)
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
    pub(crate) fn release(&mut self, entry: Entry, stream: bool) {
        let place = entry.place;
        if place == Place::NONE || place.as_segment().is_some() {
            return;
        }
        self.resident.leave(&entry, stream);
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
        let stream = log.stream.is_some();
        let Some(freed) = log.settle(offset.0) else { return };
        if log.durable && freed.entry.tag.persistent() {
            log.note_unwritten(offset.0, 1);
            if !log.dirty {
                log.dirty = true;
                self.dirty.push(id);
            }
        }
        self.release(freed.entry, stream);
        if let Some(home) = freed.segment {
            // Its settles must be safe before the file may go.
            self.flush_settles();
            self.remove_segment(id, &home);
        }
    }

    /// Settle every record of the log from `from` to before `to`. Runs that lie within go as a whole.
    pub fn settle_range(&mut self, id: LogId, from: Offset, to: Offset) {
        let mut needless = Vec::new();
        let mut at = from.0;
        while let Some(log) = self.logs.get_mut(&id)
            && let Some(offset) = log.next_live(at).filter(|offset| *offset < to.0)
        {
            let Some(run) = log.take_run(offset, from.0, to.0) else {
                self.settle(id, Offset(offset));
                at = offset + 1;
                continue;
            };
            at = run.end();
            let stream = log.stream.is_some();
            if let Home::Segment(home) = run.home {
                // Transient records among them are not in the journal, and not missed there.
                if log.durable {
                    log.note_unwritten(run.first, run.count);
                }
                needless.push(home);
                continue;
            }
            let live = || std::iter::successors(run.next_live(run.first), |offset| run.next_live(offset + 1));
            if log.durable {
                let persistent = |offset: &u64| run.entry(*offset).is_some_and(|entry| entry.tag.persistent());
                live().filter(persistent).for_each(|offset| log.note_unwritten(offset, 1));
            }
            live().filter_map(|offset| run.entry(offset)).for_each(|entry| self.release(*entry, stream));
        }
        if let Some(log) = self.logs.get_mut(&id)
            && !log.unwritten.is_empty()
            && !std::mem::replace(&mut log.dirty, true)
        {
            self.dirty.push(id);
        }
        // Its settles must be safe before a file may go.
        self.flush_settles();
        for home in needless {
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
        assert!(!self.journal.in_group(), "settlements would end a group that is not complete");
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

    pub(crate) fn token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token
    }

    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.journal.appended()
    }

    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.journal.durable()
    }

    /// What counts as durable was synced; in the relaxed mode a power loss may take it.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.options.journal.sync
    }

    /// Publishers must wait: the disk is full, or cannot keep up.
    #[must_use]
    pub fn must_hold(&self) -> bool {
        self.journal.unsynced_bytes() > limits::UNSYNCED_BYTES_HIGH
            || self.journal.is_short_of_room()
            || self.arena.bytes() > self.options.arena_bytes * 2
            || self.resident.entries() > 2 * RESIDENT_ENTRIES_HIGH
            || (self.paging.stuck.is_none() && self.needless_bytes() > self.options.journal_bytes * 4)
    }

    /// The unsettled records outside of segments take up half of what is kept in memory of the journal. Those of streams
    /// are not taken, so that they tell nothing of consumers that lag.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.resident.queues.bytes > self.options.journal.cache_bytes as u64 / 2
    }

    #[must_use]
    pub fn disk_full(&self) -> bool {
        self.journal.disk_full()
    }

    /// Who frees nothing must come again later: what room the journal has is kept for those who settle and delete.
    #[must_use]
    pub fn out_of_room(&self) -> bool {
        self.journal.is_out_of_room()
    }

    /// Bytes on disk that are nobody's: files kept to be used again, given back where they are needed.
    #[must_use]
    pub fn spare_bytes(&self) -> u64 {
        self.journal.spare_bytes()
    }

    /// Whether files were made or removed since this was asked last.
    pub fn take_disk_changed(&mut self) -> bool {
        std::mem::take(&mut self.disk_changed)
    }

    /// Everything that was settled, deleted, committed or promised survives a power cut from now on.
    #[must_use]
    pub fn all_durable(&self) -> bool {
        self.dirty.is_empty() && self.journal.durable() == self.journal.appended()
    }

    /// The disk has little room, or has room again.
    pub fn set_short_of_space(&mut self, short: bool) {
        self.short_of_space = short;
        self.paging.refused = false;
        self.journal.set_short_of_space(short);
    }

    /// Whether the disk has little room: nothing is moved or written anew meanwhile.
    #[must_use]
    pub fn is_short_of_space(&self) -> bool {
        self.short_of_space
    }

    /// Ask the disk for the next file once more, and let what was settled meanwhile take its place. Call this now and
    /// then while the disk is full.
    pub fn retry_disk(&mut self) {
        self.settles_due = true;
        self.journal.retry_allocation();
    }

    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            arena_bytes: self.arena.bytes(),
            journal_bytes: self.buckets.len() as u64 * self.bucket_bytes(),
            unsynced_bytes: self.journal.unsynced_bytes(),
            window_bytes: self.reads.window_bytes,
            logs: self.logs.len(),
        }
    }

    /// Everything is durable, no I/O is under way, and no checkpoint is being taken.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.dirty.is_empty()
            && self.marks.is_empty()
            && self.journal.durable() == self.journal.appended()
            && self.jobs.is_empty()
            && self.removals.front().is_none_or(|(lsn, _)| *lsn > self.journal.durable())
            && self.reads.submitted()
            && self.in_flight == 0
            && self.paging.checkpoint.is_none()
    }

    /// Hand the disk what is to be done.
    pub fn poll(&mut self, vfs: &mut dyn Vfs) {
        // Each flush takes a block of its own. With the room running out they come seldom, and hold much.
        let gather = self.journal.disk_full() && self.journal.is_short_of_room();
        if !gather || std::mem::take(&mut self.settles_due) {
            self.flush_settles();
            self.flush_marks();
        }
        self.poll_paging();
        let durable = self.journal.durable();
        while self.removing.len() < REMOVALS_MAX && self.removals.front().is_some_and(|(lsn, _)| *lsn <= durable) {
            if let Some((_, path)) = self.removals.pop_front() {
                let token = self.token();
                self.removing.insert(token);
                self.jobs.push((token, Job::Remove { path }));
            }
        }
        for (token, job) in self.jobs.drain(..) {
            self.in_flight += 1;
            vfs.submit(Lane::Background, token, job);
        }
        self.in_flight += self.poll_reads(vfs);
        // A backlog, which will not be in memory when it is asked for.
        if self.resident.queues.bytes > self.options.journal.cache_bytes as u64 {
            self.journal.expect_reads();
        }
        self.journal.poll(vfs);
    }

    /// Take in what came of a job.
    ///
    /// # Errors
    /// [`Stopped`] where the node must exit.
    pub fn completed(&mut self, completion: Completion) -> Result<(), Stopped> {
        self.disk_changed |= completion.lane == Lane::Background;
        if Journal::owns(completion.token) {
            return Ok(self.journal.completed(completion)?);
        }
        self.in_flight -= 1;
        self.removing.remove(&completion.token);
        match self.read_completed(completion) {
            Some(other) => self.paging_completed(other),
            None => Ok(()),
        }
    }

    /// Nothing needs a segment any more once what was appended so far is durable.
    pub(crate) fn remove_segment(&mut self, id: LogId, home: &SegmentHome) {
        self.reads.window_bytes -= home.window_bytes();
        let safe_at = if planted::is(Bug::SegmentRemovedEarly) { Lsn(0) } else { self.journal.appended() };
        self.removals.push_back((safe_at, segment::path(id, home.file)));
    }
}
