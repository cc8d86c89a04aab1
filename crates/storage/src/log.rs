//! One log as a sequence of runs of entries: where each record lies and whether it is settled.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::frame::Tag;

/// Entries of one run before the next is begun.
pub(crate) const RUN_ENTRIES: u32 = 4096;
/// No log ever grows this long.
pub(crate) const OFFSET_MAX: u64 = 1 << 62;
/// Bytes of one run of a stream: what a segment of it holds, and what retention drops at a time.
const STREAM_RUN_BYTES: u64 = 16 * 1024 * 1024;
/// A gap of at most this many offsets is bridged with settled entries, a larger one begins a new run.
const GAP_BRIDGED: u64 = 64;

/// Where a record's batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

const ARENA: u64 = 1 << 63;
const SEGMENT: u64 = 1 << 62;

impl Place {
    pub const NONE: Place = Place(u64::MAX);

    pub fn journal(lsn: u64) -> Place {
        Place(lsn)
    }

    pub fn arena(position: u64) -> Place {
        Place(ARENA | position)
    }

    pub fn segment(position: u64) -> Place {
        Place(SEGMENT | position)
    }

    pub fn as_journal(self) -> Option<u64> {
        (self.0 & (ARENA | SEGMENT) == 0).then_some(self.0)
    }

    pub fn as_arena(self) -> Option<u64> {
        (self.0 & ARENA != 0 && self != Place::NONE).then_some(self.0 & !ARENA)
    }

    pub fn as_segment(self) -> Option<u64> {
        (self.0 & (ARENA | SEGMENT) == SEGMENT).then_some(self.0 & !SEGMENT)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub place: Place,
    pub tag: Tag,
    pub len: u32,
}

/// Where a run's records are.
#[derive(Debug)]
pub(crate) enum Home {
    /// In the journal or the arena, each entry by itself.
    Memory,
    Segment(Box<SegmentHome>),
}

/// A run that lies in a segment file.
#[derive(Debug)]
pub(crate) struct SegmentHome {
    pub file: u64,
    /// Bytes of records in the file, which the index follows.
    pub data_len: u64,
    pub index_requested: bool,
    /// Bits of the transient records in it, which a restart must forget. Empty: none.
    pub transient: Vec<u64>,
    /// Blocks of the file in memory, and those on their way (without bytes).
    pub window: VecDeque<Block>,
    pub damaged: Option<String>,
}

/// Part of a segment file.
#[derive(Debug)]
pub(crate) struct Block {
    pub start: u64,
    pub len: usize,
    /// `None` while it is being read.
    pub bytes: Option<Bytes>,
}

impl Block {
    /// Whether the byte of the file at `position` lies in it.
    pub fn holds(&self, position: u64) -> bool {
        self.start <= position && position < self.start + self.len as u64
    }
}

#[derive(Debug)]
pub(crate) struct Run {
    pub first: u64,
    pub count: u32,
    /// Entries not settled. Invariant: count - (bits set in `settled`).
    pub live: u32,
    settled: Vec<u64>,
    /// Empty while a segment's index is not loaded.
    pub entries: Vec<Entry>,
    pub home: Home,
    /// Takes no more entries.
    pub sealed: bool,
    /// In a stream: the offset of the first record. Otherwise 0.
    pub base: u64,
    /// In a stream: the latest time stamp, in ms since the Unix epoch. Otherwise 0.
    pub newest_ms: u64,
    /// Of its entries, those that are settled too; of a segment whose index is not loaded: unknown.
    pub bytes: u64,
}

/// What a log has that is read by record offset.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The offset of the next record.
    pub next: u64,
    /// Every record below is durable.
    pub durable: u64,
    /// Stands in the store's list of streams that have grown.
    pub grown: bool,
}

impl SegmentHome {
    /// Bytes of its blocks, in memory or on their way.
    pub fn window_bytes(&self) -> usize {
        self.window.iter().map(|block| block.len).sum()
    }
}

impl Run {
    pub fn new(first: u64, capacity: usize) -> Run {
        Run {
            first,
            count: 0,
            live: 0,
            settled: Vec::new(),
            entries: Vec::with_capacity(capacity),
            home: Home::Memory,
            sealed: false,
            base: 0,
            newest_ms: 0,
            bytes: 0,
        }
    }

    /// A run in a segment file whose index is not loaded.
    pub fn paged(first: u64, count: u32, settled: Vec<u64>, file: u64, data_len: u64) -> Run {
        let dead: u32 = settled.iter().map(|word| word.count_ones()).sum();
        let home =
            SegmentHome { file, data_len, index_requested: false, transient: Vec::new(), window: VecDeque::new(), damaged: None };
        let mut run = Run::new(first, 0);
        (run.count, run.live, run.settled) = (count, count - dead, settled);
        (run.home, run.sealed) = (Home::Segment(Box::new(home)), true);
        run
    }

    /// A run in memory as a checkpoint had it.
    pub fn loaded(first: u64, entries: Vec<Entry>, settled: Vec<u64>) -> Run {
        let dead: u32 = settled.iter().map(|word| word.count_ones()).sum();
        let count = entries.len() as u32;
        let mut run = Run::new(first, 0);
        run.bytes = entries.iter().map(|entry| u64::from(entry.len)).sum();
        (run.count, run.live, run.settled) = (count, count - dead.min(count), settled);
        (run.entries, run.sealed) = (entries, true);
        run
    }

    /// The record of an unsettled entry lies elsewhere now. Its tag stays: each log has its own.
    pub fn replace(&mut self, offset: u64, entry: Entry) {
        if self.is_settled(offset) || !matches!(self.home, Home::Memory) {
            return;
        }
        let index = (offset - self.first) as usize;
        if let Some(slot) = self.entries.get_mut(index) {
            self.bytes = self.bytes - u64::from(slot.len) + u64::from(entry.len);
            (slot.place, slot.len) = (entry.place, entry.len);
        }
    }

    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    pub fn is_settled(&self, offset: u64) -> bool {
        let index = (offset - self.first) as usize;
        self.settled.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn mark_settled(&mut self, offset: u64) -> bool {
        let index = (offset - self.first) as usize;
        if self.settled.len() <= index / 64 {
            self.settled.resize(index / 64 + 1, 0);
        }
        let word = &mut self.settled[index / 64];
        let fresh = *word >> (index % 64) & 1 == 0;
        *word |= 1 << (index % 64);
        self.live -= u32::from(fresh);
        fresh
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.len);
        self.entries.push(entry);
        self.count += 1;
        self.live += 1;
    }

    /// The first unsettled offset at or after `from`.
    pub fn next_live(&self, from: u64) -> Option<u64> {
        let mut offset = from.max(self.first);
        let end = self.end();
        while offset < end {
            let index = (offset - self.first) as usize;
            let word = self.settled.get(index / 64).copied().unwrap_or(0);
            let free = !word >> (index % 64);
            if free != 0 {
                let found = offset + u64::from(free.trailing_zeros());
                return (found < end).then_some(found);
            }
            offset += 64 - (index % 64) as u64;
        }
        None
    }

    pub fn entry(&self, offset: u64) -> Option<&Entry> {
        self.entries.get((offset - self.first) as usize)
    }

    pub fn settled_words(&self) -> &[u64] {
        &self.settled
    }
}

#[derive(Debug)]
pub(crate) struct Log {
    pub durable: bool,
    /// In order of offsets; what lies between two runs is settled.
    pub runs: VecDeque<Run>,
    pub next: u64,
    /// Entries not settled.
    pub live: u64,
    /// Every offset below may have been handed out.
    pub delivered: u64,
    /// `delivered` as the journal knows it.
    pub marked: u64,
    /// Settled ranges that the journal does not know of yet: (first, count).
    pub unwritten: Vec<(u64, u32)>,
    /// Stands in the store's list of logs with something unwritten.
    pub dirty: bool,
    /// The journal file (its first lsn) that this log was last entered at.
    pub entered_file: u64,
    /// The arena chunk that this log was last entered at.
    pub entered_chunk: u64,
    /// A page-out of this log is under way.
    pub paging: bool,
    /// It is a stream.
    pub stream: Option<Box<Stream>>,
    /// Every entry stays in memory, those of segments too: the layer above goes by them.
    pub indexed: bool,
}

/// What settling an entry set free.
pub(crate) struct Freed {
    /// As far as it is known: a segment's entries may not be loaded.
    pub entry: Entry,
    /// A segment file that nothing needs any more.
    pub segment: Option<Box<SegmentHome>>,
}

impl Log {
    pub fn new(durable: bool) -> Log {
        Log {
            durable,
            runs: VecDeque::new(),
            next: 0,
            live: 0,
            delivered: 0,
            marked: 0,
            unwritten: Vec::new(),
            dirty: false,
            entered_file: u64::MAX,
            entered_chunk: u64::MAX,
            paging: false,
            stream: None,
            indexed: false,
        }
    }

    pub fn new_stream() -> Log {
        Log { stream: Some(Box::default()), ..Log::new(true) }
    }

    /// Append a batch of `count` records to a stream; returns the offset of its first record.
    pub fn push_batch(&mut self, mut entry: Entry, count: u32, newest_ms: u64) -> u64 {
        let Some(stream) = &mut self.stream else { return 0 };
        let base = stream.next;
        stream.next += u64::from(count.max(1));
        entry.tag = Tag::of_stream(base);
        self.push(entry);
        if let Some(run) = self.runs.back_mut() {
            if run.count == 1 {
                run.base = base;
            }
            run.newest_ms = run.newest_ms.max(newest_ms);
            run.sealed = run.bytes >= STREAM_RUN_BYTES;
        }
        base
    }

    /// Append an entry at `next`; returns its offset.
    pub fn push(&mut self, entry: Entry) -> u64 {
        let offset = self.next;
        let capacity = match self.runs.back_mut() {
            Some(run) if !run.sealed && run.end() == offset && run.count < RUN_ENTRIES => {
                run.push(entry);
                self.next += 1;
                self.live += 1;
                return offset;
            }
            // A log that filled a run will likely fill the next.
            Some(run) if run.count == RUN_ENTRIES => RUN_ENTRIES as usize,
            _ => 0,
        };
        if let Some(run) = self.runs.back_mut() {
            run.sealed = true;
        }
        self.drop_dead_runs();
        let mut run = Run::new(offset, capacity);
        run.push(entry);
        self.runs.push_back(run);
        self.next += 1;
        self.live += 1;
        offset
    }

    /// Put an entry at a given offset at or after `next`, as recovery reads it.
    pub fn push_at(&mut self, offset: u64, entry: Entry) {
        if offset < self.next {
            return;
        }
        let gap = offset - self.next;
        let bridge = gap > 0 && gap <= GAP_BRIDGED && self.runs.back().is_some_and(|run| !run.sealed);
        if bridge {
            for _ in 0..gap {
                let at = self.push(Entry { place: Place::NONE, tag: Tag::default(), len: 0 });
                self.settle(at);
            }
        }
        self.next = offset;
        self.push(entry);
    }

    pub fn run_index(&self, offset: u64) -> Option<usize> {
        let runs = &self.runs;
        let holds = |index: usize| runs.get(index).is_some_and(|run| run.first <= offset && offset < run.end());
        if holds(0) {
            return Some(0);
        }
        let last = runs.len().checked_sub(1)?;
        if holds(last) {
            return Some(last);
        }
        let index = runs.partition_point(|run| run.end() <= offset);
        holds(index).then_some(index)
    }

    /// The first unsettled offset at or after `from`.
    pub fn next_live(&self, from: u64) -> Option<u64> {
        if self.live == 0 {
            return None;
        }
        // A drained log is asked at its end far more often than anywhere else.
        if from >= self.next {
            return None;
        }
        let start = self.run_index(from).unwrap_or_else(|| self.runs.partition_point(|run| run.end() <= from));
        self.runs.iter().skip(start).filter(|run| run.live > 0).find_map(|run| run.next_live(from))
    }

    /// Settle an offset; `None` where it already is.
    pub fn settle(&mut self, offset: u64) -> Option<Freed> {
        let index = self.run_index(offset)?;
        let run = &mut self.runs[index];
        if !run.mark_settled(offset) {
            return None;
        }
        self.live -= 1;
        // A segment's record is persistent unless its index proves otherwise.
        let unknown = Entry { place: Place::NONE, tag: Tag::new(true, 0, 0), len: 0 };
        let entry = run.entry(offset).copied().unwrap_or(unknown);
        let mut segment = None;
        let over = run.live == 0 && run.sealed && !self.paging;
        let dropped = if over { self.runs.remove(index) } else { None };
        if let Some(Run { home: Home::Segment(home), .. }) = dropped {
            segment = Some(home);
        }
        Some(Freed { entry, segment })
    }

    /// Settle what is live from `from` to before `to`. Gaps between runs cost nothing, however wide.
    pub fn settle_live(&mut self, mut from: u64, to: u64) {
        while let Some(offset) = self.next_live(from).filter(|offset| *offset < to) {
            self.settle(offset);
            from = offset + 1;
        }
    }

    /// Take out the run that holds `offset`, if all of it lies from `from` to before `to`: whatever is live in it is
    /// settled by that.
    pub fn take_run(&mut self, offset: u64, from: u64, to: u64) -> Option<Run> {
        let index = self.run_index(offset)?;
        let run = &self.runs[index];
        if run.first < from || run.end() > to || !run.sealed || self.paging {
            return None;
        }
        self.live -= u64::from(run.live);
        self.runs.remove(index)
    }

    /// Drop sealed runs at the front in memory of which nothing is left.
    pub fn drop_dead_runs(&mut self) {
        if self.paging {
            return;
        }
        while self.runs.front().is_some_and(|run| run.live == 0 && run.sealed && matches!(run.home, Home::Memory)) {
            self.runs.pop_front();
        }
    }

    /// Note settled offsets for the journal. Neighbours melt into one range.
    pub fn note_unwritten(&mut self, offset: u64, more: u32) {
        match self.unwritten.last_mut() {
            Some((first, count)) if *first + u64::from(*count) == offset && *count <= u32::MAX - more => *count += more,
            _ => self.unwritten.push((offset, more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn entry() -> Entry {
        Entry { place: Place::journal(0), tag: Tag::new(true, 0, 0), len: 1 }
    }

    /// Found by fuzzing: recovery went through such a range offset by offset.
    #[test]
    fn a_range_over_a_wide_gap_is_settled_by_what_lives_in_it() {
        let mut log = Log::new(true);
        let after = 1 << 50;
        for offset in [0, 1, after, after + 1] {
            log.push_at(offset, entry());
        }
        log.settle_live(1, after + 1);
        assert_eq!(log.live, 2);
        assert_eq!([log.next_live(0), log.next_live(1)], [Some(0), Some(after + 1)]);
    }

    proptest! {
        #[test]
        fn next_live_is_the_first_that_was_not_settled(
            count in 1u64..10_000,
            settled in proptest::collection::vec(0u64..10_000, 0..500),
            whole in 0u64..5_000,
            from in 0u64..10_000,
        ) {
            let mut log = Log::new(true);
            let mut model: BTreeSet<u64> = (0..count).collect();
            for _ in 0..count {
                log.push(entry());
            }
            for offset in settled.into_iter().chain(0..whole) {
                prop_assert_eq!(log.settle(offset).is_some(), model.remove(&offset));
            }
            prop_assert_eq!(log.live, model.len() as u64);
            prop_assert_eq!(log.next_live(from), model.range(from..).next().copied());
        }

        #[test]
        fn gaps_are_settled(steps in proptest::collection::vec(0u64..200, 1..100)) {
            let mut log = Log::new(true);
            let mut model = BTreeSet::new();
            let mut offset = 0;
            for step in steps {
                offset += step;
                log.push_at(offset, entry());
                model.insert(offset);
                offset += 1;
            }
            let mut got = BTreeSet::new();
            let mut from = 0;
            while let Some(found) = log.next_live(from) {
                got.insert(found);
                from = found + 1;
            }
            prop_assert_eq!(got, model);
        }
    }
}
