//! Evacuation: what stays unsettled moves out of the oldest part of the journal, so that it can be cut.
//!
//! What streams keep stays in the journal, whose files are theirs as well: nobody takes it, so it would only be written
//! twice. It moves when too much that is settled lies beside it, or when there are too many entries for a checkpoint.
//!
//! One thing is under way at a time. A log with much in the part to be cut is *paged out*: its oldest runs
//! become one segment file. What little other logs have there is *carried forward*: appended to the
//! journal once more, each record once for all its logs. Then a checkpoint is written and the journal cut.
//! Transient records are paged out the same way when the arena is full.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use model::planted::{self, Bug};
use model::{Lsn, Offset, record};
use vfs::{Completion, Done, Extent, Job, Token};

use crate::frame::{self, LogId, Tag};
use crate::log::{Entry, Home, Log, Place, Run};
use crate::store::{RESIDENT_ENTRIES_HIGH, RESIDENT_STREAM_ENTRIES_HIGH, Stopped, Store};
use crate::stream::Stretch;
use crate::{checkpoint, segment};

/// A segment's offsets: its index must fit into memory while it is read.
const SEGMENT_ENTRIES_MAX: u64 = 16 * 1024;

/// What is under way.
#[derive(Default)]
pub(crate) struct Paging {
    /// The journal bucket being evacuated: everything up to this number must go.
    target: Option<u64>,
    logs: VecDeque<LogId>,
    carry: VecDeque<Carried>,
    work: Option<Work>,
    /// The last target in which something could not be moved.
    pub(crate) stuck: Option<u64>,
    /// A checkpoint is wanted: the node must hand in its catalog.
    wants_checkpoint: bool,
    /// A checkpoint that is being taken.
    pub(crate) checkpoint: Option<Taking>,
    /// The disk had no room for the last checkpoint: not again before somebody has looked at it.
    pub(crate) refused: bool,
    /// Checkpoints taken since the start.
    taken: u64,
    /// Segments that were written anew: (checkpoints taken before, path). The old files go with the next checkpoint.
    retired: Vec<(u64, String)>,
    /// The position of the newest checkpoint on disk.
    pub(crate) newest_checkpoint: Option<Lsn>,
}

/// A checkpoint on its way to the disk.
pub(crate) enum Taking {
    /// Logs are still to be written.
    Writing(Taken, Box<checkpoint::Writer>),
    /// It waits for the journal to be durable up to this position.
    Written(Taken, Lsn, Vec<Bytes>),
}

/// A checkpoint as it was begun: another may be taken while it is being written.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    at: Lsn,
    /// So many were taken before it.
    number: u64,
    /// Nothing that the checkpoint knows lies in the journal before this bucket. What is settled later it still knows, and
    /// a crash may bring it back.
    first_bucket: u64,
}

enum Work {
    /// Bytes for a segment are being gathered.
    Gather(Token, PageOut),
    /// A segment is being written.
    Write(Token, PageOut),
    /// Bytes to be carried forward are being gathered.
    Carry(Token, Vec<Carried>),
    Checkpoint(Token, Taken),
}

struct PageOut {
    log: LogId,
    first: u64,
    end: u64,
    file: u64,
    entries: Vec<Entry>,
    data_len: u64,
    /// Where the records come from, in order: memory, or the next that was gathered.
    sources: Vec<Source>,
}

enum Source {
    Memory(Bytes),
    Gathered,
}

struct Carried {
    position: u64,
    len: u32,
    tag: Tag,
    users: Vec<(LogId, u64)>,
}

impl Store {
    /// The node must call [`Store::checkpoint`] now.
    #[must_use]
    pub fn wants_checkpoint(&self) -> bool {
        self.paging.wants_checkpoint && self.paging.checkpoint.is_none()
    }

    /// No crash may undo what was written anew: a checkpoint is wanted soon.
    pub fn want_checkpoint(&mut self) {
        self.paging.wants_checkpoint = true;
    }

    /// Begin to take the state, with the catalog as it is now. The logs are written in turns ([`Store::poll`]), the file once the
    /// journal is durable as far as they reach.
    pub fn checkpoint(&mut self, catalog: impl Into<Bytes>) {
        self.flush_settles();
        let at = self.journal.appended();
        let here = at.0 / self.bucket_bytes();
        let first = self.buckets.iter().find(|bucket| bucket.live > 0);
        let first_bucket = first.map_or(here, |bucket| bucket.number.min(here));
        let taken = Taken { at, number: self.paging.taken, first_bucket };
        self.paging.wants_checkpoint = false;
        let mut writer = self.begin_checkpoint(catalog.into());
        // What is not synced may be lost again, and then only a picture of one moment fits what is left.
        self.paging.checkpoint = Some(if self.is_synced() {
            Taking::Writing(taken, Box::new(writer))
        } else {
            writer.go_on(&self.logs, usize::MAX);
            Taking::Written(taken, at, writer.finish(at, at))
        });
        self.paging.taken += 1;
    }

    fn begin_checkpoint(&self, catalog: Bytes) -> checkpoint::Writer {
        let next = checkpoint::Next { log: self.next_log, file: self.next_file };
        checkpoint::Writer::begin(next, catalog, self.logs.keys().copied().collect())
    }

    /// A checkpoint is being written, in turns.
    #[must_use]
    pub fn is_taking_checkpoint(&self) -> bool {
        matches!(self.paging.checkpoint, Some(Taking::Writing(..))) && self.paging.work.is_none()
    }

    /// The next turn of the checkpoint that is being taken. What is settled stands in the journal, and nothing is being moved.
    fn go_on_with_checkpoint(&mut self, taking: Taking) {
        let durable = self.journal.durable();
        self.paging.checkpoint = match taking {
            Taking::Writing(mut taken, mut writer) => {
                if writer.go_on(&self.logs, self.options.sizes.checkpoint_entries) {
                    self.flush_settles();
                    let ended = self.journal.appended();
                    if planted::is(Bug::CheckpointMissesChange) {
                        taken.at = ended;
                    }
                    Some(Taking::Written(taken, ended, writer.finish(taken.at, ended)))
                } else {
                    Some(Taking::Writing(taken, writer))
                }
            }
            Taking::Written(taken, ended, parts) if durable >= ended || planted::is(Bug::CheckpointBeforeDurable) => {
                let token = self.token();
                self.jobs.push((token, Job::Replace { path: checkpoint::path(taken.at), parts }));
                self.paging.work = Some(Work::Checkpoint(token, taken));
                None
            }
            waiting @ Taking::Written(..) => Some(waiting),
        };
    }

    /// Write a checkpoint at once, so that the next start has nothing to replay. Only when the store is idle: what is
    /// not durable must not be in it.
    ///
    /// # Errors
    /// Those of the disk; nothing is lost, the next start replays the journal.
    pub fn close(&mut self, catalog: impl Into<Bytes>, vfs: &mut dyn vfs::Vfs) -> std::io::Result<()> {
        let at = self.journal.appended();
        if self.journal.durable() < at {
            return Ok(());
        }
        let mut writer = self.begin_checkpoint(catalog.into());
        writer.go_on(&self.logs, usize::MAX);
        vfs.run(Job::Replace { path: checkpoint::path(at), parts: writer.finish(at, at) })?;
        if let Some(old) = self.paging.newest_checkpoint.filter(|old| *old != at) {
            vfs.run(Job::Remove { path: checkpoint::path(old) })?;
        }
        Ok(())
    }

    pub(crate) fn poll_paging(&mut self) {
        if self.paging.work.is_some() {
            return;
        }
        if let Some(taking) = self.paging.checkpoint.take() {
            return self.go_on_with_checkpoint(taking);
        }
        if self.paging.wants_checkpoint || self.start_carry() || self.start_next_log() {
            return;
        }
        if let Some(target) = self.paging.target {
            self.finish_bucket(target);
        } else if !self.start_bucket() {
            self.start_arena();
        }
    }

    /// Begin to evacuate the oldest buckets where the journal has grown too long.
    fn start_bucket(&mut self) -> bool {
        let kept = (self.options.journal_bytes / self.bucket_bytes()) as usize;
        if self.paging.refused {
            return false;
        }
        if self.short_of_space {
            return self.start_dead_buckets();
        }
        let resident = &self.resident;
        let many = resident.entries() > RESIDENT_ENTRIES_HIGH || resident.streams.entries > RESIDENT_STREAM_ENTRIES_HIGH;
        let crowded = many && self.buckets.len() > 1;
        let most = (kept as u64 + 1) * self.bucket_bytes();
        if self.needless_bytes() <= most && !crowded {
            // What stays in the journal is not to be read again at every start.
            let newest = self.paging.newest_checkpoint.map_or(0, |at| at.0);
            self.paging.wants_checkpoint = self.journal.appended().0 > newest + most;
            return self.paging.wants_checkpoint;
        }
        // What could not be moved the last time will not move now: the others behind it do.
        let stuck = self.paging.stuck;
        let from = stuck.map_or(0, |stuck| self.buckets.partition_point(|bucket| bucket.number <= stuck));
        // As many at a time as the journal keeps files to use again.
        let oldest = from + (self.buckets.len() - from).saturating_sub(kept + 1).min(kept);
        let Some(bucket) = self.buckets.get(oldest) else { return false };
        let target = bucket.number;
        // It is tried again with them, now and then.
        if stuck.is_some_and(|stuck| target < stuck + kept as u64) {
            return false;
        }
        // A record still unsynced cannot be read back.
        if self.journal.durable().0 < (target + 1) * self.bucket_bytes() {
            return false;
        }
        self.paging.target = Some(target);
        let mut logs: Vec<LogId> = Vec::new();
        for bucket in self.buckets.iter().filter(|bucket| bucket.number <= target && bucket.live > 0) {
            logs.extend(&bucket.logs);
        }
        logs.sort_unstable();
        logs.dedup();
        self.paging.logs = logs.into();
        true
    }

    /// Where space is short, cut what is settled at once: nothing has to be moved for that.
    fn start_dead_buckets(&mut self) -> bool {
        let dead = self.buckets.iter().take_while(|bucket| bucket.live == 0).count();
        // The last bucket still grows.
        let Some(last) = dead.min(self.buckets.len().saturating_sub(1)).checked_sub(1) else { return false };
        self.paging.target = self.buckets.get(last).map(|bucket| bucket.number);
        self.paging.logs.clear();
        true
    }

    /// Page out, or list for carrying, the next log with something in the buckets to be cut.
    fn start_next_log(&mut self) -> bool {
        let Some(target) = self.paging.target else { return false };
        let limit = (target + 1) * self.bucket_bytes();
        while let Some(id) = self.paging.logs.front().copied() {
            let wanted = |entry: &Entry| entry.place.as_journal().is_some_and(|at| at < limit);
            let bytes = self.live_bytes(id, wanted);
            // Where much lives in the journal, carrying it forward would never end; and a stream's batches would lie
            // further and further apart.
            let much = self.resident.queues.bytes > self.options.journal_bytes / 2;
            let stream = self.logs.get(&id).is_some_and(|log| log.stream.is_some());
            let enough = if much || stream { 1 } else { self.options.sizes.page_out_bytes };
            if bytes >= enough && self.start_page_out(id, wanted) {
                return true;
            }
            self.list_carried(id, limit);
            self.paging.logs.pop_front();
        }
        self.start_carry()
    }

    fn live_bytes(&self, id: LogId, wanted: impl Fn(&Entry) -> bool) -> u64 {
        let Some(log) = self.logs.get(&id) else { return 0 };
        let mut bytes = 0;
        for run in log.runs.iter().filter(|run| run.live > 0 && matches!(run.home, Home::Memory)) {
            for (index, entry) in run.entries.iter().enumerate() {
                if wanted(entry) && !run.is_settled(run.first + index as u64) {
                    bytes += u64::from(entry.len);
                }
            }
        }
        bytes
    }

    /// Make a segment of the log's oldest runs in memory, as far as one of them holds something `wanted`.
    fn start_page_out(&mut self, id: LogId, wanted: impl Fn(&Entry) -> bool) -> bool {
        let Some(log) = self.logs.get_mut(&id) else { return false };
        log.drop_dead_runs();
        let holds = |run: &Run| {
            let live = |index: usize| !run.is_settled(run.first + index as u64);
            matches!(run.home, Home::Memory) && run.entries.iter().enumerate().any(|(index, entry)| wanted(entry) && live(index))
        };
        let Some(from) = log.runs.iter().position(holds) else { return false };
        let first = log.runs[from].first;
        let mut to = from;
        let mut data_len = 0;
        while let Some(run) = log.runs.get_mut(to)
            && (to == from
                || (data_len < self.options.sizes.segment_bytes && run.end() - first <= SEGMENT_ENTRIES_MAX && holds(run)))
        {
            run.sealed = true;
            data_len += run.entries.iter().map(|entry| u64::from(entry.len)).sum::<u64>();
            to += 1;
        }
        let end = log.runs[to - 1].end();
        log.paging = true;
        let mut out = PageOut {
            log: id,
            first,
            end,
            file: self.next_file,
            entries: Vec::with_capacity((end - first) as usize),
            data_len: 0,
            sources: Vec::new(),
        };
        self.next_file += 1;
        let mut extents: Vec<Extent> = Vec::new();
        let log = &self.logs[&id];
        for run in log.runs.range(from..to) {
            // What lies between two runs is settled.
            let gap = (run.first - first) as usize;
            // Positions ascend all the same: readers search by them.
            let tag = if log.stream.is_some() { Tag::of_stream(run.base) } else { Tag::default() };
            let nothing = Entry { place: Place::segment(segment::HEADER_BYTES + out.data_len), tag, len: 0 };
            out.entries.resize(gap, nothing);
            for (index, entry) in run.entries.iter().enumerate() {
                let dead = run.is_settled(run.first + index as u64);
                let len = if dead { 0 } else { entry.len };
                out.entries.push(Entry { place: Place::segment(segment::HEADER_BYTES + out.data_len), tag: entry.tag, len });
                out.data_len += u64::from(len);
                if dead {
                    continue;
                }
                if let Some(position) = entry.place.as_arena() {
                    let (bytes, buffer) = self.arena.read(position, len as usize).unwrap_or_default();
                    out.sources
                        .push(Source::Memory(buffer.map_or_else(|| Bytes::copy_from_slice(bytes), |b| b.slice_ref(bytes))));
                } else if let Some(position) = entry.place.as_journal() {
                    // Cold bytes were durable before this began; what is younger is in memory still.
                    match self.journal.cached(Lsn(position), len as usize) {
                        Some(found) => {
                            let shared = found.buffer.map(|buffer| buffer.slice_ref(found.bytes));
                            out.sources.push(Source::Memory(shared.unwrap_or_else(|| Bytes::copy_from_slice(found.bytes))));
                        }
                        None => match self.journal.extent(Lsn(position), len as usize, 0) {
                            Some((extent, _)) => {
                                self.journal.read_back(Lsn(position));
                                extents.push(extent);
                                out.sources.push(Source::Gathered);
                            }
                            None => {
                                self.stop_moving(id);
                                return false;
                            }
                        },
                    }
                }
            }
        }
        let token = self.token();
        if extents.is_empty() {
            self.write_segment(token, out, Vec::new());
        } else {
            self.jobs.push((token, Job::Gather(extents)));
            self.paging.work = Some(Work::Gather(token, out));
        }
        true
    }

    /// Write a stretch of a stream anew as one segment: the batches of all its entries that are left, in their order, each
    /// with its entry and the offset of its first record.
    ///
    /// `false`: something else is under way, or the stretch is not what it was; nothing was changed.
    pub fn rewrite(&mut self, id: LogId, stretch: &Stretch, batches: &[(Offset, u64, Bytes)]) -> bool {
        if self.paging.work.is_some() || self.is_taking_checkpoint() || self.short_of_space {
            return false;
        }
        let Some(log) = self.logs.get_mut(&id) else { return false };
        let (first, end) = (stretch.entry.0, stretch.entry_end.0);
        let is_it = |run: &&Run| run.first == first && run.end() == end && run.sealed && run.live as usize == batches.len();
        let Some(run) = log.run_index(first).and_then(|index| log.runs.get(index)).filter(is_it) else { return false };
        if log.paging || batches.iter().any(|(entry, ..)| run.is_settled(entry.0)) {
            return false;
        }
        let mut entries = Vec::with_capacity((end - first) as usize);
        let (mut data_len, mut sources) = (0, Vec::with_capacity(batches.len()));
        let mut rest = batches;
        for entry in first..end {
            let place = Place::segment(segment::HEADER_BYTES + data_len);
            // What is gone takes the offset of what follows it: a search must find that, and not what is gone.
            let base = rest.first().map_or(stretch.end, |(_, base, _)| *base);
            let mut len = 0;
            if let Some(((at, _, bytes), behind)) = rest.split_first()
                && at.0 == entry
            {
                len = bytes.len() as u32;
                sources.push(Source::Memory(bytes.clone()));
                rest = behind;
            }
            entries.push(Entry { place, tag: Tag::of_stream(base), len });
            data_len += u64::from(len);
        }
        log.paging = true;
        let out = PageOut { log: id, first, end, file: self.next_file, entries, data_len, sources };
        self.next_file += 1;
        let token = self.token();
        self.write_segment(token, out, Vec::new());
        true
    }

    fn write_segment(&mut self, token: Token, mut out: PageOut, gathered: Vec<Bytes>) {
        let mut parts = Vec::with_capacity(out.sources.len() + 2);
        // Without syncs the journal may well end before what it takes for durable.
        let durable = if self.options.journal.sync { self.journal.durable() } else { Lsn(0) };
        parts.push(segment::header(out.log, out.first, out.entries.len() as u32, out.data_len, durable));
        let mut gathered = gathered.into_iter();
        for source in out.sources.drain(..) {
            match source {
                Source::Memory(bytes) => parts.push(bytes),
                Source::Gathered => parts.extend(gathered.next()),
            }
        }
        parts.push(segment::index(&out.entries));
        self.jobs.push((token, Job::Replace { path: segment::path(out.log, out.file), parts }));
        self.paging.work = Some(Work::Write(token, out));
    }

    /// The segment is on disk: it takes the place of the runs it was made of.
    fn segment_written(&mut self, out: PageOut) {
        let path = segment::path(out.log, out.file);
        let Some(log) = self.logs.get_mut(&out.log) else {
            self.removals.push_back((self.journal.appended(), path));
            return;
        };
        log.paging = false;
        let stream = log.stream.is_some();
        let from = log.runs.partition_point(|run| run.end() <= out.first);
        let to = log.runs.partition_point(|run| run.first < out.end);
        let count = out.entries.len();
        let mut settled = vec![u64::MAX; count.div_ceil(64)];
        let mut transient = vec![0u64; count.div_ceil(64)];
        let mut any_transient = false;
        let mut freed = Vec::new();
        let base = log.runs.get(from).map_or(0, |run| run.base);
        let mut newest_ms = 0;
        for run in log.runs.drain(from..to) {
            newest_ms = newest_ms.max(run.newest_ms);
            if let Home::Segment(home) = &run.home {
                self.reads.window_bytes -= home.window_bytes();
                self.paging.retired.push((self.paging.taken, segment::path(out.log, home.file)));
                self.paging.wants_checkpoint = true;
            }
            let mut offset = run.first;
            while let Some(live) = run.next_live(offset) {
                let bit = (live - out.first) as usize;
                settled[bit / 64] &= !(1 << (bit % 64));
                if let Some(entry) = run.entry(live) {
                    freed.push(*entry);
                    if !entry.tag.persistent() {
                        transient[bit / 64] |= 1 << (bit % 64);
                        any_transient = true;
                    }
                }
                offset = live + 1;
            }
        }
        // Bits beyond the last entry are not entries.
        if !count.is_multiple_of(64)
            && let Some(last) = settled.last_mut()
        {
            *last &= (1 << (count % 64)) - 1;
        }
        let mut run = Run::paged(out.first, count as u32, settled, out.file, out.data_len);
        (run.base, run.newest_ms) = (base, newest_ms);
        if run.live == 0 {
            self.removals.push_back((self.journal.appended(), path));
        } else {
            if let Home::Segment(home) = &mut run.home {
                home.index_requested = log.indexed;
                if any_transient {
                    home.transient = transient;
                }
            }
            if log.indexed {
                run.entries = out.entries;
            }
            log.runs.insert(from, run);
        }
        for entry in freed {
            self.release(entry, stream);
        }
    }

    fn list_carried(&mut self, id: LogId, limit: u64) {
        let Some(log) = self.logs.get(&id) else { return };
        for run in log.runs.iter().filter(|run| run.live > 0 && matches!(run.home, Home::Memory)) {
            for (index, entry) in run.entries.iter().enumerate() {
                let offset = run.first + index as u64;
                if let Some(position) = entry.place.as_journal()
                    && position < limit
                    && !run.is_settled(offset)
                {
                    let users = vec![(id, offset)];
                    self.paging.carry.push_back(Carried { position, len: entry.len, tag: entry.tag, users });
                }
            }
        }
    }

    /// Read the next few records that are to be carried forward.
    fn start_carry(&mut self) -> bool {
        if self.paging.carry.is_empty() || !self.paging.logs.is_empty() {
            return false;
        }
        // One record of many logs is carried once for all of them.
        self.paging.carry.make_contiguous().sort_by_key(|carried| carried.position);
        let mut batch: Vec<Carried> = Vec::new();
        let mut extents = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.paging.carry.pop_front() {
            if let Some(last) = batch.last_mut()
                && last.position == next.position
            {
                last.users.extend(next.users);
                continue;
            }
            if bytes > self.options.sizes.carry_bytes {
                self.paging.carry.push_front(next);
                break;
            }
            if let Some((extent, _)) = self.journal.extent(Lsn(next.position), next.len as usize, 0) {
                bytes += u64::from(next.len);
                extents.push(extent);
                batch.push(next);
            }
        }
        let token = self.token();
        self.jobs.push((token, Job::Gather(extents)));
        self.paging.work = Some(Work::Carry(token, batch));
        true
    }

    fn carry(&mut self, batch: Vec<Carried>, records: &[Bytes]) {
        for (mut carried, record) in batch.into_iter().zip(records) {
            let len = carried.len as usize;
            let place = Place::journal(carried.position);
            // Settled or paged out meanwhile: nothing to carry.
            carried.users.retain(|(id, offset)| {
                let Some(log) = self.logs.get(id) else { return false };
                let Some(run) = log.run_index(*offset).and_then(|index| log.runs.get(index)) else { return false };
                !run.is_settled(*offset) && run.entry(*offset).is_some_and(|entry| entry.place == place)
            });
            if carried.users.is_empty() {
                continue;
            }
            if record::verify(record) != Ok(len) {
                tracing::error!(
                    position = carried.position,
                    "a record in the journal fails its checksum; its part of the journal is kept"
                );
                continue;
            }
            if planted::is(Bug::CarryLosesTarget) && carried.users.len() > 1 {
                let (id, offset) = carried.users.swap_remove(0);
                self.settle(id, model::Offset(offset));
            }
            let head = frame::publish_head_len(carried.users.len());
            let appended = self.journal.append(frame::CARRY, false, head + len, |out| {
                frame::put_publish_head(out, carried.tag, carried.users.iter().copied());
                out.extend_from_slice(record);
            });
            let to = appended.start.0 + head as u64;
            self.bucket_of(to);
            for (id, offset) in carried.users {
                self.move_entry(id, offset, Place::journal(to));
            }
        }
    }

    /// A record now lies at another journal position.
    pub(crate) fn move_entry(&mut self, id: LogId, offset: u64, to: Place) {
        let bucket = to.as_journal().map(|position| self.bucket_of(position));
        let Some(log) = self.logs.get_mut(&id) else { return };
        let Some(run) = log.run_index(offset).and_then(|index| log.runs.get_mut(index)) else { return };
        if run.is_settled(offset) {
            return;
        }
        let first = run.first;
        let Some(entry) = run.entries.get_mut((offset - first) as usize) else { return };
        let from = *entry;
        entry.place = to;
        let stream = log.stream.is_some();
        self.resident.enter(&from, stream);
        if let (Some(number), Some(last)) = (bucket, self.buckets.back_mut()) {
            last.live += 1;
            if log.entered_file != number {
                log.entered_file = number;
                last.logs.push(id);
            }
        }
        self.release(from, stream);
    }

    /// Everything that could be moved has been: cut, after a checkpoint.
    fn finish_bucket(&mut self, target: u64) {
        let stuck = self.buckets.iter().filter(|bucket| bucket.number <= target && bucket.live > 0).count();
        if stuck > 0 {
            // A damaged record stays where it is, and so does its part of the journal.
            tracing::warn!(stuck, "parts of the journal hold records that cannot be moved, and cannot be cut");
        }
        self.paging.stuck = (stuck > 0).then_some(target);
        self.paging.target = None;
        self.paging.wants_checkpoint = true;
    }

    fn start_arena(&mut self) {
        if self.short_of_space || self.arena.bytes() <= self.options.arena_bytes {
            return;
        }
        let Some((chunk, logs)) = self.arena.oldest_logs() else { return };
        let logs = logs.to_vec();
        let wanted = |entry: &Entry| entry.place.as_arena().is_some_and(|at| at >> 32 <= chunk);
        for id in logs {
            if self.start_page_out(id, wanted) {
                return;
            }
        }
    }

    pub(crate) fn paging_completed(&mut self, completion: Completion) -> Result<(), Stopped> {
        let token = completion.token;
        match self.paging.work.take() {
            Some(Work::Gather(at, out)) if at == token => match completion.result {
                Ok(Done::Parts(gathered)) => {
                    let token = self.token();
                    self.write_segment(token, out, gathered);
                }
                Ok(_) => self.page_out_unread(&out, &io::ErrorKind::InvalidData.into()),
                Err(error) => self.page_out_unread(&out, &error),
            },
            Some(Work::Write(at, out)) if at == token => match completion.result {
                Ok(_) => self.segment_written(out),
                Err(error) => {
                    tracing::warn!(%error, "a segment could not be written; it is tried again later");
                    self.page_out_failed(&out);
                }
            },
            Some(Work::Carry(at, batch)) if at == token => match completion.result {
                Ok(Done::Parts(records)) => self.carry(batch, &records),
                Ok(_) => {}
                Err(error) => {
                    let from = batch.first().map(|carried| self.place_in_journal(carried.position)).unwrap_or_default();
                    tracing::error!(%error, from, records = batch.len(), "cannot read records in the journal; their part of it is kept");
                }
            },
            Some(Work::Checkpoint(at, taken)) if at == token => match completion.result {
                Ok(_) => self.checkpoint_written(taken),
                Err(error) => {
                    tracing::warn!(%error, "a checkpoint could not be written; it is tried again later");
                    // Without one nothing can be cut.
                    self.journal.give_back_spares();
                    self.paging.refused = true;
                }
            },
            other => {
                // A removal: what it could not remove, the next start does.
                self.paging.work = other;
            }
        }
        Ok(())
    }

    fn page_out_failed(&mut self, out: &PageOut) {
        // Until the node has looked at the disk again.
        self.short_of_space = true;
        self.stop_moving(out.log);
        self.paging.logs.clear();
        self.paging.target = None;
    }

    /// The disk would not read what was to be moved: it stays where it is, and the other logs go on.
    fn page_out_unread(&mut self, out: &PageOut, error: &io::Error) {
        let entry = |log: &Log| log.runs.get(log.run_index(out.first)?)?.entry(out.first).copied();
        let first = self.logs.get(&out.log).and_then(entry).and_then(|entry| entry.place.as_journal());
        let from = first.map(|position| self.place_in_journal(position)).unwrap_or_default();
        tracing::error!(
            %error, log = out.log.0, first = out.first, end = out.end, from,
            "cannot read records of a log in the journal; their part of it is kept"
        );
        if self.paging.target.is_none() {
            // The arena would ask for the same again at once.
            return self.page_out_failed(out);
        }
        self.stop_moving(out.log);
        self.paging.logs.pop_front_if(|log| *log == out.log);
    }

    fn stop_moving(&mut self, id: LogId) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.paging = false;
        }
    }

    fn checkpoint_written(&mut self, Taken { at, number, first_bucket }: Taken) {
        if let Some(old) = self.paging.newest_checkpoint.replace(at).filter(|old| *old != at) {
            self.removals.push_back((Lsn(0), checkpoint::path(old)));
        }
        for (_, path) in self.paging.retired.extract_if(.., |(before, _)| *before <= number) {
            self.removals.push_back((Lsn(0), path));
        }
        while self.buckets.front().is_some_and(|bucket| bucket.live == 0 && bucket.number < first_bucket) {
            self.buckets.pop_front();
        }
        let first = if planted::is(Bug::CutTooFar) { at.0 / self.bucket_bytes() } else { first_bucket };
        self.journal.cut(Lsn(first * self.bucket_bytes()));
    }
}
