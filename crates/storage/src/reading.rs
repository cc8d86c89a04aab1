//! Reading: where a record is, and what is asked of the disk where it is not in memory.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;

use bytes::Bytes;
use foldhash::fast::FixedState;
use model::record::{self, StoredRecord};
use model::{Lsn, Offset};
use vfs::{Completion, Done, Extent, Job, Lane, Token, Vfs};

use crate::frame::{LogId, Tag};
use crate::log::{Block, Entry, Home, Place, Run};
use crate::segment;
use crate::store::Store;

/// Bytes fetched by one cold read at least, and no more when many logs are read at once.
const READ_BYTES_MIN: usize = 64 * 1024;
/// Bytes of read segments in memory at which reads become short.
const WINDOW_BYTES_CROWDED: usize = 64 * 1024 * 1024;
/// Reads handed to the disk at a time; the others wait here.
const READS_MAX: usize = 128;
/// Reads under way at which nothing is read ahead: it would be forgotten before somebody comes to it.
const READS_AHEAD_MAX: usize = 4;
/// Blocks of one segment in memory.
const WINDOW_BLOCKS_MAX: usize = 3;

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

/// What a reader will want behind the record that it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Bytes that it takes now, with that record: what is read from the disk in one go.
    pub bytes: usize,
    /// It comes back soon for what follows, which is read meanwhile.
    pub more: bool,
}

impl Wanted {
    /// It reads on and on.
    pub const ALL: Wanted = Wanted { bytes: usize::MAX, more: true };
}

/// Stretches of the journal, from where to where, in order.
type Parts = Vec<(u64, u64)>;

enum Reading {
    Journal(Parts),
    Index(Segment),
    Block { of: Segment, start: u64, len: usize },
}

/// A segment's file, and the run it is home to: when it is written anew the file is another, and what is on its way from
/// the old one is of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Segment {
    log: LogId,
    first: u64,
    file: u64,
}

struct PendingRead {
    what: Reading,
    waiting: Vec<LogId>,
}

/// What is being read, and what came of it.
#[derive(Default)]
pub(crate) struct Reads {
    pending: HashMap<Token, PendingRead, FixedState>,
    /// Not handed to the disk yet.
    jobs: VecDeque<(Token, Job)>,
    /// Stretches of the journal that the disk would not read: (from, to, why).
    unreadable: Vec<(u64, u64, String)>,
    /// Logs of which something has come.
    arrived: Vec<LogId>,
    /// Bytes of segments in memory or on their way.
    pub window_bytes: usize,
    /// Bytes of segments on their way.
    coming_bytes: usize,
}

impl Store {
    /// What is kept of a record beside its bytes, where its entry is in memory.
    #[must_use]
    pub fn tag(&self, id: LogId, offset: Offset) -> Option<Tag> {
        let log = self.logs.get(&id)?;
        log.runs.get(log.run_index(offset.0)?)?.entry(offset.0).map(|entry| entry.tag)
    }

    /// Length of a record's value in bytes, where its entry is in memory. A little more where the record has more than
    /// 2 KiB beside it.
    #[must_use]
    pub fn value_len(&self, id: LogId, offset: Offset) -> Option<u32> {
        let log = self.logs.get(&id)?;
        let entry = log.runs.get(log.run_index(offset.0)?)?.entry(offset.0)?;
        Some(entry.len.saturating_sub(entry.tag.overhead()))
    }

    /// Keep every entry of the log in memory from now on, so that [`Store::tag`] and [`Store::value_len`] always answer.
    pub fn keep_index(&mut self, id: LogId) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.indexed = true;
        }
    }

    /// As [`Store::keep_index`], with the indexes of the log's segments read at once. Only before serving. What cannot be
    /// read is damaged for whoever comes to it.
    pub fn load_index(&mut self, id: LogId, vfs: &mut dyn Vfs) {
        self.keep_index(id);
        for index in 0..self.logs.get(&id).map_or(0, |log| log.runs.len()) {
            let Some((of, extent)) = self.request_index(id, index) else { continue };
            let read = vfs.run(Job::Read(extent));
            self.index_arrived(of, read.map(Done::into_bytes));
        }
    }

    /// See that a record is in memory, or have it read.
    pub fn locate(&mut self, id: LogId, offset: Offset) -> Available {
        self.locate_for(id, offset, Wanted::ALL)
    }

    /// As [`Store::locate`], for a reader that says what it will want.
    pub(crate) fn locate_for(&mut self, id: LogId, offset: Offset, wanted: Wanted) -> Available {
        let Some(log) = self.logs.get_mut(&id) else { return Available::Gone };
        let Some(index) = log.run_index(offset.0) else { return Available::Gone };
        let run = &log.runs[index];
        if run.is_settled(offset.0) {
            return Available::Gone;
        }
        if let Home::Segment(_) = run.home {
            return self.locate_in_segment(id, index, offset, wanted);
        }
        let Some(&Entry { place, tag, len }) = run.entry(offset.0) else { return Available::Gone };
        let found = Available::Now(RecordRef { log: id, offset, place, len, tag });
        let Some(position) = place.as_journal() else { return found };
        let Some(bytes) = self.journal.cached(Lsn(position), len as usize) else {
            return self.read_journal(Some(id), (id, index, offset), position, len, wanted);
        };
        if bytes.cold {
            if record::verify(bytes.bytes) != Ok(len as usize) {
                return Available::Damaged(format!("the record at {} fails its checksum", self.place_in_journal(position)));
            }
            // The first one of what a read brought.
            if wanted.more
                && log.stream.is_some()
                && let Some(part) = bytes.buffer.filter(|part| part.as_ptr() == bytes.bytes.as_ptr())
            {
                let part = position..position + part.len() as u64;
                self.read_ahead_in_journal(id, offset, &part, wanted);
            }
        }
        found
    }

    /// Where a position of the journal is, for people.
    pub(crate) fn place_in_journal(&self, position: u64) -> String {
        match self.journal.extent(Lsn(position), 0, 0) {
            Some((Extent { path, offset, .. }, _)) => format!("byte {offset} of {path}"),
            None => format!("position {position} of the journal"),
        }
    }

    /// Have read what follows `offset` in the log behind this part of the journal, if not much else is being read.
    fn read_ahead_in_journal(&mut self, id: LogId, offset: Offset, part: &Range<u64>, wanted: Wanted) {
        if self.reads.pending.len() >= READS_AHEAD_MAX {
            return;
        }
        let Some(log) = self.logs.get(&id) else { return };
        let mut next = log.next_live(offset.0 + 1);
        while let Some(at) = next
            && let Some(index) = log.run_index(at)
            && let Some(entry) = log.runs.get(index).and_then(|run| run.entry(at))
            && let Some(position) = entry.place.as_journal().filter(|position| *position >= part.start)
        {
            if position + u64::from(entry.len) > part.end {
                let len = entry.len;
                if self.journal.cached(Lsn(position), len as usize).is_none() {
                    self.read_journal(None, (id, index, Offset(at)), position, len, wanted);
                }
                return;
            }
            next = log.next_live(at + 1);
        }
    }

    /// Read one record (of a log's run) and what lies behind it, for `waiting`.
    fn read_journal(
        &mut self,
        waiting: Option<LogId>,
        (id, run, offset): (LogId, usize, Offset),
        position: u64,
        len: u32,
        wanted: Wanted,
    ) -> Available {
        let end = position + u64::from(len);
        for read in self.reads.pending.values_mut() {
            if let Reading::Journal(parts) = &read.what
                && let Some(before) = parts.partition_point(|(start, _)| *start <= position).checked_sub(1)
                && end <= parts[before].1
            {
                read.waiting.extend(waiting);
                return Available::Soon;
            }
        }
        if let Some((.., error)) = self.reads.unreadable.iter().find(|(start, end, _)| *start <= position && position < *end) {
            return Available::Damaged(format!("cannot read {}: {error}", self.place_in_journal(position)));
        }
        let bytes = self.read_bytes(wanted);
        let Some((extent, start)) = self.journal.extent(Lsn(position), len as usize, bytes) else {
            return Available::Damaged(format!("the journal no longer holds position {position:#x}"));
        };
        self.journal.read_back(Lsn(position));
        let plain = || (vec![(start.0, start.0 + extent.len as u64)], Job::Read(extent));
        let (parts, job) = self.scattered(id, run, offset, bytes).unwrap_or_else(plain);
        self.submit_read(Reading::Journal(parts), job, waiting);
        Available::Soon
    }

    /// Of a stream, the batches from `offset` on that `most` bytes hold, one at least, where they lie so far apart in the
    /// journal that most of a plain read would be of others.
    fn scattered(&self, id: LogId, run: usize, offset: Offset, most: usize) -> Option<(Parts, Job)> {
        let log = self.logs.get(&id).filter(|log| log.stream.is_some())?;
        let run = log.runs.get(run)?;
        let (mut parts, mut extents, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(offset.0);
        while let Some(at) = next {
            let Some(entry) = run.entry(at) else { break };
            let (Some(position), len) = (entry.place.as_journal(), entry.len as usize) else { break };
            // What is in memory need not be read.
            if (bytes + len > most && bytes > 0) || self.journal.cached(Lsn(position), len).is_some() {
                break;
            }
            extents.push(self.journal.extent(Lsn(position), len, 0)?.0);
            parts.push((position, position + len as u64));
            bytes += len;
            next = run.next_live(at + 1);
        }
        // Positions descend where something was carried forward.
        let ascend = parts.is_sorted();
        let span = parts.last()?.1.saturating_sub(parts.first()?.0);
        (ascend && span > 2 * bytes as u64).then_some((parts, Job::Gather(extents)))
    }

    fn read_bytes(&self, wanted: Wanted) -> usize {
        let most = self.options.sizes.read_bytes;
        let crowded = self.reads.window_bytes > WINDOW_BYTES_CROWDED;
        most.min(if crowded { READ_BYTES_MIN } else { wanted.bytes.max(READ_BYTES_MIN) })
    }

    fn submit_read(&mut self, what: Reading, job: Job, waiting: Option<LogId>) {
        let token = self.token();
        self.reads.pending.insert(token, PendingRead { what, waiting: waiting.into_iter().collect() });
        self.reads.jobs.push_back((token, job));
    }

    fn locate_in_segment(&mut self, id: LogId, index: usize, offset: Offset, wanted: Wanted) -> Available {
        self.want_index(id, index);
        // A log that is read through will want the next segment's index soon.
        self.want_index(id, index + 1);
        let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.get_mut(index)) else { return Available::Gone };
        let first = run.first;
        let Home::Segment(home) = &mut run.home else { return Available::Gone };
        if let Some(damage) = &home.damaged {
            return Available::Damaged(damage.clone());
        }
        let segment = Segment { log: id, first, file: home.file };
        let Some(&Entry { place, tag, len }) = run.entries.get((offset.0 - first) as usize) else {
            self.wait_for(id, |what| matches!(what, Reading::Index(of) if *of == segment));
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
                if wanted.more {
                    self.read_ahead(id, index, block_end, position, wanted);
                }
                Available::Now(RecordRef { log: id, offset, place, len, tag })
            }
            None => {
                self.want_block(id, index, position, len, position, wanted);
                self.wait_for(id, |what| matches!(what, Reading::Block { of, .. } if *of == segment));
                Available::Soon
            }
        }
    }

    fn wait_for(&mut self, id: LogId, is: impl Fn(&Reading) -> bool) {
        for read in self.reads.pending.values_mut().filter(|read| is(&read.what)) {
            if !read.waiting.contains(&id) {
                read.waiting.push(id);
            }
        }
    }

    fn want_index(&mut self, id: LogId, index: usize) {
        if let Some((of, extent)) = self.request_index(id, index) {
            self.submit_read(Reading::Index(of), Job::Read(extent), None);
        }
    }

    /// A run's segment and where its index lies, where it was not asked for before.
    fn request_index(&mut self, id: LogId, index: usize) -> Option<(Segment, Extent)> {
        let run = self.logs.get_mut(&id)?.runs.get_mut(index)?;
        let Home::Segment(home) = &mut run.home else { return None };
        if home.index_requested {
            return None;
        }
        home.index_requested = true;
        let path = segment::path(id, home.file);
        let (offset, len) = (segment::HEADER_BYTES + home.data_len, segment::index_len(run.count));
        Some((Segment { log: id, first: run.first, file: home.file }, Extent { path, offset, len }))
    }

    /// Ask for the block that begins at `position`, where it is not in memory or asked for. What holds the byte at `kept`
    /// stays in memory.
    fn want_block(&mut self, id: LogId, index: usize, position: u64, len: u32, kept: u64, wanted: Wanted) {
        let bytes = self.read_bytes(wanted);
        let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.get_mut(index)) else { return };
        let first = run.first;
        let Home::Segment(home) = &mut run.home else { return };
        if home.window.iter().any(|block| block.start == position) {
            return;
        }
        let end = segment::HEADER_BYTES + home.data_len;
        let len = bytes.max(len as usize).min(end.saturating_sub(position) as usize);
        if home.window.len() >= WINDOW_BLOCKS_MAX
            && let Some(at) = home.window.iter().position(|block| block.bytes.is_some() && !block.holds(kept))
            && let Some(block) = home.window.remove(at)
        {
            self.reads.window_bytes -= block.len;
        }
        // Counted from here on, so that many logs read at once notice each other.
        self.reads.window_bytes += len;
        self.reads.coming_bytes += len;
        home.window.push_back(Block { start: position, len, bytes: None });
        let extent = Extent { path: segment::path(id, home.file), offset: position, len };
        let of = Segment { log: id, first, file: home.file };
        self.submit_read(Reading::Block { of, start: position, len }, Job::Read(extent), None);
    }

    /// Ask for what follows a block that is being read, up to one block ahead. The block being read holds the byte at `kept`.
    fn read_ahead(&mut self, id: LogId, index: usize, block_end: u64, kept: u64, wanted: Wanted) {
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
            self.want_block(id, index, position, entry.len, kept, wanted);
        }
    }

    /// Whether blocks of a segment are in memory or on their way.
    pub(crate) fn has_window(&mut self, id: LogId, first: u64) -> bool {
        self.run_mut(id, first).is_some_and(|run| matches!(&run.home, Home::Segment(home) if !home.window.is_empty()))
    }

    /// Give back what is in memory of a segment. `false`: something of it is on its way.
    pub(crate) fn forget_window(&mut self, id: LogId, first: u64) -> bool {
        let Some(run) = self.run_mut(id, first) else { return true };
        let Home::Segment(home) = &mut run.home else { return true };
        let no_index = run.entries.is_empty();
        let index_comes = no_index && home.index_requested && home.damaged.is_none();
        if index_comes || home.window.iter().any(|block| block.bytes.is_none()) {
            return false;
        }
        let bytes = home.window_bytes();
        home.window.clear();
        home.index_requested &= no_index;
        run.entries = Vec::new();
        self.reads.window_bytes -= bytes;
        true
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
        self.reads.arrived.pop()
    }

    /// Hand the disk the next reads. Returns how many.
    pub(crate) fn poll_reads(&mut self, vfs: &mut dyn Vfs) -> usize {
        let mut submitted = 0;
        while self.reads.pending.len() - self.reads.jobs.len() < READS_MAX
            && let Some((token, job)) = self.reads.jobs.pop_front()
        {
            submitted += 1;
            vfs.submit(Lane::Read, token, job);
        }
        submitted
    }

    /// Take in what a read brought. Gives the completion back where it is not of a read.
    pub(crate) fn read_completed(&mut self, completion: Completion) -> Option<Completion> {
        let Some(read) = self.reads.pending.remove(&completion.token) else { return Some(completion) };
        match read.what {
            Reading::Journal(parts) => match completion.result {
                Ok(Done::Parts(bytes)) => {
                    // The first is awaited, and the one that comes last stays in memory whatever the bound.
                    for ((start, _), bytes) in parts.into_iter().zip(bytes).rev() {
                        self.journal.insert_cached_record(Lsn(start), bytes);
                    }
                }
                Ok(done) => {
                    let start = parts.first().map_or(0, |(start, _)| *start);
                    self.journal.insert_cached(Lsn(start), done.into_bytes());
                }
                Err(error) => {
                    let error = error.to_string();
                    self.reads.unreadable.extend(parts.into_iter().map(|(start, end)| (start, end, error.clone())));
                }
            },
            Reading::Index(of) => self.index_arrived(of, completion.result.map(Done::into_bytes)),
            Reading::Block { of, start, len } => {
                self.reads.coming_bytes -= len;
                self.block_arrived(of, start, completion.result.map(Done::into_bytes));
            }
        }
        self.reads.arrived.extend(read.waiting);
        None
    }

    fn run_mut(&mut self, id: LogId, first: u64) -> Option<&mut Run> {
        let log = self.logs.get_mut(&id)?;
        let index = log.run_index(first)?;
        log.runs.get_mut(index).filter(|run| run.first == first)
    }

    fn index_arrived(&mut self, of: Segment, bytes: io::Result<Bytes>) {
        let Some(run) = self.run_mut(of.log, of.first) else { return };
        let count = run.count;
        let Home::Segment(home) = &mut run.home else { return };
        if home.file != of.file {
            return;
        }
        let path = segment::path(of.log, of.file);
        match bytes.map(|bytes| segment::parse_index(&bytes, count)) {
            Ok(Some(entries)) => run.entries = entries,
            Ok(None) => home.damaged = Some(format!("the index of {path} fails its checksum")),
            Err(error) => home.damaged = Some(format!("cannot read {path}: {error}")),
        }
        self.touch_segment(of);
    }

    /// What comes last is forgotten last: somebody waits for it.
    fn touch_segment(&mut self, of: Segment) {
        if self.logs.get(&of.log).is_some_and(|log| log.stream.is_some()) {
            self.streams.touch((of.log, of.first));
            self.forget_oldest();
        }
    }

    fn block_arrived(&mut self, of: Segment, start: u64, bytes: io::Result<Bytes>) {
        let Some(run) = self.run_mut(of.log, of.first) else { return };
        let Home::Segment(home) = &mut run.home else { return };
        if home.file != of.file {
            return;
        }
        match bytes {
            Ok(bytes) => {
                if let Some(block) = home.window.iter_mut().find(|block| block.start == start) {
                    block.bytes = Some(bytes);
                }
            }
            Err(error) => {
                home.damaged = Some(format!("cannot read {}: {error}", segment::path(of.log, of.file)));
                if let Some(at) = home.window.iter().position(|block| block.start == start)
                    && let Some(block) = home.window.remove(at)
                {
                    self.reads.window_bytes -= block.len;
                }
            }
        }
        self.touch_segment(of);
    }
}

impl Reads {
    /// Nothing waits to be handed to the disk.
    pub fn submitted(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Bytes of segments in memory. Less while what is on its way is of a segment that is gone.
    pub fn arrived_bytes(&self) -> usize {
        self.window_bytes.saturating_sub(self.coming_bytes)
    }
}
