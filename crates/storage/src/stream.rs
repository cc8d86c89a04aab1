//! Streams: logs that are read by record offset and not taken from.
//!
//! A stream is a [`Log`] whose entries are batches of one or more records. Entries are numbered without gaps, as in
//! every log; the tag of an entry tells the offset of its first record, so that everything else (the journal, paging,
//! carrying, checkpoints) treats both alike. Dropping the oldest records settles their entries.
//!
//! Nothing of a stream is shown before it is durable: [`Store::stream_end`] is the high watermark.

use std::collections::VecDeque;

use bytes::Bytes;
use model::{Lsn, Offset};

use crate::frame::{self, LogId, Tag};
use crate::log::{Entry, Home, Log, Place};
use crate::reading::{Available, Wanted};
use crate::store::Store;

/// Bytes of segments of streams in memory, beyond which the one touched longest ago is forgotten.
pub(crate) const STREAM_WINDOW_BYTES: usize = 32 * 1024 * 1024;
/// Indexes of segments of streams in memory.
const STREAM_INDEXES_MAX: usize = 512;

/// What all streams of a store share.
#[derive(Default)]
pub(crate) struct Streams {
    /// Ends of batches that are not durable yet, in order.
    unsynced: VecDeque<(Lsn, LogId, u64)>,
    /// Streams of which more is durable, each once.
    grown: VecDeque<LogId>,
    /// Segments of which something is in memory or on its way, the latest touched last: (log, first entry).
    pub touched: VecDeque<(LogId, u64)>,
}

impl Streams {
    /// A batch that ends at this position was appended.
    pub fn grew(&mut self, end: Lsn, id: LogId, log: &Log) {
        let next = log.stream.as_ref().map_or(0, |stream| stream.next);
        self.unsynced.push_back((end, id, next));
    }

    /// A segment is read, or something of it has come: it is forgotten last.
    pub fn touch(&mut self, segment: (LogId, u64)) {
        self.touched.retain(|other| *other != segment);
        self.touched.push_back(segment);
    }
}

/// What a batch's header says: its number of offsets, and its latest time stamp in ms since the Unix epoch.
pub(crate) fn extent(batch: &[u8]) -> (u32, u64) {
    let Some(head) = batch.first_chunk::<{ model::record::HEADER_BYTES }>() else { return (1, 0) };
    let last = i32::from_be_bytes([head[23], head[24], head[25], head[26]]);
    let newest = i64::from_be_bytes([head[35], head[36], head[37], head[38], head[39], head[40], head[41], head[42]]);
    (u32::try_from(last).unwrap_or(0) + 1, u64::try_from(newest).unwrap_or(0))
}

/// A batch was appended.
#[derive(Clone, Copy, Debug)]
pub struct BatchAppended {
    /// The offset of its first record.
    pub base: u64,
    /// It is safe from here on.
    pub end: Lsn,
}

/// Where reading can begin.
#[derive(Debug)]
pub enum Sought {
    /// The entry that holds the offset, or the first after it.
    At(Offset),
    /// There is nothing at or after the offset.
    End,
    /// As [`Available::Soon`].
    Soon,
    Damaged(String),
}

/// A batch that was asked for.
#[derive(Debug)]
pub enum Batch {
    Here {
        /// Its entry: the next is asked for with the one after it.
        entry: Offset,
        /// The offset of its first record.
        base: u64,
        /// As it lies in the log: the base offset in its first eight bytes may be another.
        bytes: Bytes,
    },
    /// There are no more.
    End,
    /// As [`Available::Soon`].
    Soon,
    Damaged(String),
}

/// A stretch of a stream that is dropped as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Its first entry.
    pub entry: Offset,
    /// The entry after its last.
    pub entry_end: Offset,
    /// The offset of its first record.
    pub base: u64,
    /// The offset after its last record.
    pub end: u64,
    /// Its latest time stamp, in ms since the Unix epoch.
    pub newest_ms: u64,
    pub bytes: u64,
    /// It takes more.
    pub open: bool,
}

impl Store {
    /// Create a stream. As with `create_log`, a catalog entry must follow.
    pub fn create_stream(&mut self) -> LogId {
        let id = LogId(self.next_log);
        self.next_log += 1;
        self.journal.append(frame::CREATE_STREAM, true, 4, |out| out.extend_from_slice(&id.0.to_le_bytes()));
        self.logs.insert(id, Log::new_stream());
        id
    }

    /// Append a batch that has been checked, as it is but for its base offset and leader epoch, which lie outside of its
    /// checksum. `group`: more frames of the same atomic group follow.
    pub fn append_batch(&mut self, id: LogId, batch: &[u8], leader_epoch: i32, group: bool) -> Option<BatchAppended> {
        let log = self.logs.get(&id)?;
        let (base, entry) = (log.stream.as_ref()?.next, log.next);
        let (count, newest_ms) = extent(batch);
        let tag = Tag::of_stream(base);
        let head = frame::publish_head_len(1);
        let appended = self.journal.append(frame::PUBLISH, group, head + batch.len(), |out| {
            frame::put_publish_head(out, tag, std::iter::once((id, entry)));
            let start = out.len();
            out.extend_from_slice(batch);
            if let Some(out) = out.get_mut(start..start + 16) {
                out[..8].copy_from_slice(&base.to_be_bytes());
                out[12..].copy_from_slice(&leader_epoch.to_be_bytes());
            }
        });
        let at = appended.start.0 + head as u64;
        let bucket = self.bucket_of(at);
        let entry = Entry { place: Place::journal(at), tag, len: batch.len() as u32 };
        self.resident.enter(&entry, true);
        let log = self.logs.get_mut(&id)?;
        log.push_batch(entry, count, newest_ms);
        self.streams.grew(appended.end, id, log);
        if let Some(last) = self.buckets.back_mut() {
            last.live += 1;
            if log.entered_file != bucket {
                log.entered_file = bucket;
                last.logs.push(id);
            }
        }
        Some(BatchAppended { base, end: appended.end })
    }

    /// The offset of the next record, durable or not.
    #[must_use]
    pub fn stream_next(&self, id: LogId) -> u64 {
        self.stream_ends(id).1
    }

    /// The high watermark: every record below is durable, and may be shown.
    #[must_use]
    pub fn stream_end(&self, id: LogId) -> u64 {
        self.stream_ends(id).0
    }

    /// Both: [`Store::stream_end`] and [`Store::stream_next`].
    #[must_use]
    pub fn stream_ends(&self, id: LogId) -> (u64, u64) {
        self.logs.get(&id).and_then(|log| log.stream.as_ref()).map_or((0, 0), |stream| (stream.durable, stream.next))
    }

    /// The offset of the first record that there may still be.
    #[must_use]
    pub fn stream_start(&self, id: LogId) -> u64 {
        let Some(log) = self.logs.get(&id) else { return 0 };
        let Some(entry) = log.next_live(0) else { return self.stream_next(id) };
        let run = log.run_index(entry).and_then(|index| log.runs.get(index));
        run.map_or(0, |run| run.entry(entry).map_or(run.base, |entry| entry.tag.base()))
    }

    /// A stream of which more is durable than when it was last named.
    pub fn poll_grown(&mut self) -> Option<LogId> {
        let durable = self.journal.durable();
        while let Some(&(end, id, next)) = self.streams.unsynced.front()
            && end <= durable
        {
            self.streams.unsynced.pop_front();
            if let Some(stream) = self.logs.get_mut(&id).and_then(|log| log.stream.as_mut()) {
                stream.durable = next;
                if !std::mem::replace(&mut stream.grown, true) {
                    self.streams.grown.push_back(id);
                }
            }
        }
        let id = self.streams.grown.pop_front()?;
        if let Some(stream) = self.logs.get_mut(&id).and_then(|log| log.stream.as_mut()) {
            stream.grown = false;
        }
        Some(id)
    }

    /// Find the entry that holds the record at `offset`, or the first after it.
    pub fn seek(&mut self, id: LogId, offset: u64) -> Sought {
        let Some(log) = self.logs.get(&id) else { return Sought::End };
        // A run without entries of the stream's offsets cannot be: the first one of each tells its base.
        let index = log.runs.partition_point(|run| run.base <= offset).saturating_sub(1);
        let Some(run) = log.runs.get(index) else { return Sought::End };
        if run.entries.is_empty() && matches!(run.home, Home::Segment(_)) {
            let first = Offset(run.first);
            // The index comes with any of its records.
            return match self.locate(id, log_first_live(log, first)) {
                Available::Damaged(damage) => Sought::Damaged(damage),
                Available::Soon => Sought::Soon,
                // Its index is in memory, or there is nothing left in it.
                Available::Now(_) | Available::Gone => Sought::At(first),
            };
        }
        let at = run.entries.partition_point(|entry| entry.tag.base() <= offset).saturating_sub(1);
        match log.next_live(run.first + at as u64) {
            Some(entry) => Sought::At(Offset(entry)),
            None => Sought::End,
        }
    }

    /// The batch of the entry `at`, or of the first after it that there still is. `wanted`: what of the stream is asked of the
    /// disk with it.
    pub fn batch_at(&mut self, id: LogId, at: Offset, wanted: Wanted) -> Batch {
        let Some(entry) = self.logs.get(&id).and_then(|log| log.next_live(at.0)).map(Offset) else { return Batch::End };
        self.touch(id, entry.0);
        match self.locate_for(id, entry, wanted) {
            Available::Now(found) => {
                let Some(stored) = self.record(&found) else { return Batch::Soon };
                let bytes = stored.share(stored.batch).unwrap_or_else(|| Bytes::copy_from_slice(stored.batch));
                Batch::Here { entry, base: found.tag.base(), bytes }
            }
            Available::Soon => Batch::Soon,
            Available::Gone => Batch::End,
            Available::Damaged(damage) => Batch::Damaged(damage),
        }
    }

    /// A segment is read: forget those that were read long ago, where many are in memory.
    fn touch(&mut self, id: LogId, entry: u64) {
        let Some(run) = self.logs.get(&id).and_then(|log| log.runs.get(log.run_index(entry)?)) else { return };
        if !matches!(run.home, Home::Segment(_)) {
            return;
        }
        let key = (id, run.first);
        if self.streams.touched.back() != Some(&key) {
            self.streams.touch(key);
            self.forget_oldest();
        }
    }

    /// Forget the segments touched longest ago where too much is in memory. What is on its way stays, as does an index
    /// alone unless there are many: it gives back little.
    pub(crate) fn forget_oldest(&mut self) {
        let mut at = 0;
        while at + 1 < self.streams.touched.len() {
            let many = self.streams.touched.len() > STREAM_INDEXES_MAX;
            if !many && self.reads.arrived_bytes() <= STREAM_WINDOW_BYTES {
                break;
            }
            let (id, first) = self.streams.touched[at];
            if (many || self.has_window(id, first)) && self.forget_window(id, first) {
                self.streams.touched.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// The stretches of a stream from its beginning, each of which can be dropped by itself.
    pub fn stretches(&self, id: LogId) -> impl Iterator<Item = Stretch> + '_ {
        let log = self.logs.get(&id);
        let runs = log.into_iter().flat_map(|log| log.runs.iter().enumerate()).filter(|(_, run)| run.live > 0);
        runs.map(move |(index, run)| {
            let next = log.and_then(|log| log.runs.get(index + 1)).map(|run| run.base);
            let bytes = match &run.home {
                Home::Segment(home) => home.data_len,
                Home::Memory => run.bytes,
            };
            Stretch {
                entry: Offset(run.first),
                entry_end: Offset(run.end()),
                base: run.base,
                end: next.unwrap_or_else(|| self.stream_next(id)),
                newest_ms: run.newest_ms,
                bytes,
                open: !run.sealed,
            }
        })
    }

    /// The newest stretch takes no more.
    pub fn close_stretch(&mut self, id: LogId) {
        if let Some(run) = self.logs.get_mut(&id).and_then(|log| log.runs.back_mut()) {
            run.sealed = true;
        }
    }

    /// Bytes of a stream's records.
    #[must_use]
    pub fn stream_bytes(&self, id: LogId) -> u64 {
        self.stretches(id).map(|stretch| stretch.bytes).sum()
    }

    /// Whether part of a stream is being moved into a segment, or written anew.
    #[must_use]
    pub fn is_moving(&self, id: LogId) -> bool {
        self.logs.get(&id).is_some_and(|log| log.paging)
    }

    /// Whether no crash undoes what was written anew before the journal was as long as this.
    #[must_use]
    pub fn is_checkpointed(&self, at: Lsn) -> bool {
        self.paging.newest_checkpoint.is_some_and(|newest| newest >= at)
    }

    /// Drop every batch that ends at or before `offset`, as far as is known without reading: of a segment that holds the
    /// offset nothing is dropped.
    pub fn drop_before(&mut self, id: LogId, offset: u64) {
        let Some(log) = self.logs.get(&id) else { return };
        let next = self.stream_next(id);
        let mut end = None;
        'runs: for (index, run) in log.runs.iter().enumerate() {
            if run.base >= offset {
                break;
            }
            let run_end = log.runs.get(index + 1).map_or(next, |run| run.base);
            if run_end <= offset {
                end = Some(run.end());
                continue;
            }
            let mut entry = run.next_live(run.first);
            while let Some(live) = entry {
                // Without its index nobody knows where its batches begin.
                let batch_end = run.entry(live + 1).map_or(run_end, |entry| entry.tag.base());
                if batch_end > offset {
                    break 'runs;
                }
                end = Some(live + 1);
                entry = run.next_live(live + 1);
            }
        }
        // Runs go as a whole.
        if let Some(end) = end {
            self.settle_range(id, Offset(0), Offset(end));
        }
    }
}

fn log_first_live(log: &Log, from: Offset) -> Offset {
    Offset(log.next_live(from.0).unwrap_or(from.0))
}
