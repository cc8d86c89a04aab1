//! Compaction: of every key only the latest record is kept.
//!
//! One partition at a time, some bytes a turn. First the latest offset of every key is found in what has been written since
//! the last time, as far as it is closed and stable, and as far as the keys fit into memory. Then each stretch from the
//! beginning loses what is superseded: whole batches are settled, others are written anew without the records that go, at
//! their old offsets. Markers go when they are old enough. Tombstones go when it is long enough ago that they were first looked
//! at, whatever their producer says of the time, and once no crash brings back what they cover.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use model::planted::{self, Bug};
use model::record::{self, BatchHead, Records, attribute};
use model::{Lsn, Now, Offset};
use storage::{Batch, LogId, Sought, Stretch, Wanted};

use super::records::{self, Packing};
use super::retention::PARTITIONS_PER_TURN;
use crate::broker::Broker;
use crate::catalog::Entry;

/// What a batch counts at least in a turn, in bytes.
const BATCH_BYTES_MIN: usize = 1024;
/// How long a partition that cannot be read is left alone, unless what it starts with is dropped, in milliseconds.
const DAMAGE_RETRY_MS: u64 = 3_600_000;
/// How often a stretch is tried that cannot be written because the disk is full, in milliseconds.
const SPACE_RETRY_MS: u64 = 1_000;
/// What a key costs beyond its bytes.
const KEY_OVERHEAD: usize = 48;

/// What compaction is at.
#[derive(Default)]
pub(super) enum Cleaning {
    #[default]
    Nothing,
    Search(Search),
    Compact(Box<Compaction>),
}

impl Cleaning {
    /// Whether a stretch waits to be written anew.
    #[cfg(test)]
    pub fn waits_to_write(&self) -> bool {
        matches!(self, Cleaning::Compact(compaction) if compaction.waits_to_write())
    }

    /// Whether the stretch that begins there is being looked through.
    #[cfg(test)]
    pub fn looks_through(&self, entry: Offset) -> bool {
        let Cleaning::Compact(compaction) = self else { return false };
        matches!(&compaction.phase, Phase::Filter(filter) if filter.stretch.entry == entry)
    }
}

/// The partition is looked for with something overdue, or else with the largest part that is not compacted.
pub(super) struct Search {
    /// Those still to be looked at.
    left: Vec<LogId>,
    best: Option<(Uncompacted, LogId)>,
}

/// What is not compacted of a partition, and can be.
struct Uncompacted {
    /// Something of it must not wait for longer.
    overdue: bool,
    /// What part of the partition it is.
    ratio: f64,
    /// Where it ends.
    end: u64,
    /// Its latest time stamp: wall ms.
    newest_ms: u64,
}

/// A partition that is being compacted.
pub(super) struct Compaction {
    log: LogId,
    /// Where the partition starts. When that moves, all begins anew.
    start: u64,
    /// Records from here on have not been compacted.
    dirty: u64,
    /// Tombstones below this may go: what was compacted before stays so, whatever happens, and did so for long enough.
    forget: u64,
    /// There are some that may go some other time.
    tombstones: bool,
    /// Records below this are looked at.
    end: u64,
    /// That is all that was to be compacted: none of it is younger than this, in wall ms.
    newest_ms: Option<u64>,
    /// The next batch.
    next: Offset,
    /// The latest offset of every key between `dirty` and `end`.
    latest: HashMap<Box<[u8]>, u64, RandomState>,
    key_bytes: usize,
    phase: Phase,
}

impl Compaction {
    fn waits_to_write(&self) -> bool {
        matches!(self.phase, Phase::Rewrite(_))
    }
}

enum Phase {
    /// Find where the records begin that have not been compacted.
    Seek,
    /// Find the latest record of every key.
    Map,
    /// Look through a stretch; `left`: what stays of it so far.
    Filter(Filter),
    /// The stretch waits for the store to write it anew.
    Rewrite(Filter),
    /// It is being written, and will have so many bytes.
    Rewriting(Stretch, u64),
}

struct Filter {
    stretch: Stretch,
    left: Vec<(Offset, u64, Bytes)>,
    gone: Vec<Offset>,
    gone_bytes: u64,
    changed: bool,
}

impl Filter {
    fn new(stretch: Stretch) -> Filter {
        Filter { stretch, left: Vec::new(), gone: Vec::new(), gone_bytes: 0, changed: false }
    }
}

/// What becomes of a batch.
enum Kept {
    All,
    None,
    Some(Bytes),
}

impl Broker {
    /// A turn of compaction, where something is to be compacted.
    pub(super) fn compact(&mut self, now: Now) {
        self.topics.cleaning = match std::mem::take(&mut self.topics.cleaning) {
            Cleaning::Nothing if now.mono_ms < self.topics.next_compaction_ms => Cleaning::Nothing,
            Cleaning::Nothing => {
                self.topics.next_compaction_ms = now.mono_ms + self.options.topics.compaction_check_ms;
                self.search_some(Search { left: self.topics.partitions.keys().copied().collect(), best: None }, now)
            }
            Cleaning::Search(search) => self.search_some(search, now),
            Cleaning::Compact(mut compaction) => {
                if self.compact_some(&mut compaction, now) {
                    Cleaning::Compact(compaction)
                } else {
                    Cleaning::Nothing
                }
            }
        };
    }

    /// Look at some partitions; of all, one with something overdue comes next, or else the one with the largest part that is
    /// not compacted, where that is large enough.
    fn search_some(&mut self, mut search: Search, now: Now) -> Cleaning {
        for log in search.left.split_off(search.left.len().saturating_sub(PARTITIONS_PER_TURN)) {
            if let Some(found) = self.uncompacted(log, now)
                && search.best.as_ref().is_none_or(|(best, _)| (found.overdue, found.ratio) > (best.overdue, best.ratio))
            {
                search.best = Some((found, log));
            }
        }
        if !search.left.is_empty() {
            return Cleaning::Search(search);
        }
        let found = search.best.and_then(|(found, log)| Some((log, found, self.topics.partitions.get(&log)?)));
        found.map_or(Cleaning::Nothing, |(log, Uncompacted { end, newest_ms, .. }, partition)| {
            Cleaning::Compact(Box::new(Compaction {
                log,
                start: partition.start,
                dirty: partition.compacted,
                tombstones: false,
                forget: self.cleaned(log).min(partition.cleaned_before(now.wall_ms, self.tombstone_ms(log))),
                end,
                newest_ms: Some(newest_ms),
                next: Offset(0),
                latest: HashMap::default(),
                key_bytes: 0,
                phase: Phase::Seek,
            }))
        })
    }

    /// What of a partition is not compacted and can be, if that is enough.
    fn uncompacted(&mut self, log: LogId, now: Now) -> Option<Uncompacted> {
        let settings = self.topics.settings_of(log).filter(|settings| settings.compact)?;
        let partition = self.topics.partitions.get(&log)?;
        let damaged = |&(start, at_ms): &(u64, u64)| start == partition.start && now.mono_ms < at_ms + DAMAGE_RETRY_MS;
        if partition.compaction_failed.as_ref().is_some_and(damaged) {
            return None;
        }
        let (ratio_min, lag_ms) = (settings.dirty_ratio, settings.min_compaction_lag_ms);
        let (segment_bytes, segment_ms) = (settings.segment_bytes, settings.segment_ms);
        let waited_ms = now.wall_ms.saturating_sub(partition.uncompacted_ms);
        let overdue = u64::try_from(settings.max_compaction_lag_ms).is_ok_and(|lag_ms| waited_ms > lag_ms);
        let full =
            |stretch: &Stretch| stretch.bytes >= segment_bytes || now.wall_ms.saturating_sub(stretch.newest_ms) >= segment_ms;
        // What is overdue lies in the first.
        let first = self.store.stretches(log).find(|stretch| stretch.end > partition.compacted);
        let late = overdue && first.is_some_and(|first| first.open);
        if late || self.store.stretches(log).any(|stretch| stretch.open && full(&stretch)) {
            self.store.close_stretch(log);
        }
        let partition = self.topics.partitions.get(&log)?;
        let stable = partition.last_stable(self.store.stream_end(log));
        let youngest_ms = now.wall_ms.saturating_sub(u64::try_from(lag_ms).unwrap_or(0));
        let fit = |stretch: &Stretch| !stretch.open && stretch.end <= stable && stretch.newest_ms <= youngest_ms;
        let (mut clean, mut dirty, mut end, mut newest_ms) = (0u64, 0u64, None, 0);
        for stretch in self.store.stretches(log).take_while(fit) {
            *(if stretch.end <= partition.compacted { &mut clean } else { &mut dirty }) += stretch.bytes;
            end = Some(stretch.end);
            newest_ms = stretch.newest_ms.max(newest_ms);
        }
        let end = end.filter(|_| dirty > 0)?;
        let ratio = dirty as f64 / (clean + dirty) as f64;
        (overdue || ratio >= ratio_min).then_some(Uncompacted { overdue, ratio, end, newest_ms })
    }

    /// Whether there is more to do.
    fn compact_some(&mut self, compaction: &mut Compaction, now: Now) -> bool {
        let log = compaction.log;
        if self.topics.partitions.get(&log).is_none_or(|partition| partition.start != compaction.start) {
            return false;
        }
        let mut bytes_seen = 0;
        while bytes_seen < self.options.topics.compaction_turn_bytes {
            bytes_seen += BATCH_BYTES_MIN;
            match std::mem::replace(&mut compaction.phase, Phase::Seek) {
                Phase::Seek => match self.store.seek(log, compaction.dirty) {
                    Sought::At(entry) => {
                        compaction.next = entry;
                        compaction.phase = Phase::Map;
                    }
                    Sought::Soon => return true,
                    Sought::Damaged(damage) => return self.give_up(log, &damage, now),
                    // All of it is gone already.
                    Sought::End => {
                        self.finish_compaction(compaction, now);
                        return false;
                    }
                },
                Phase::Map => match self.store.batch_at(log, compaction.next, Wanted::ALL) {
                    Batch::Here { entry, base, bytes } if base < compaction.end => {
                        compaction.next = entry.next();
                        compaction.phase = Phase::Map;
                        bytes_seen += self.map_batch(compaction, base, &bytes);
                    }
                    Batch::Soon => {
                        compaction.phase = Phase::Map;
                        return true;
                    }
                    Batch::Damaged(damage) => return self.give_up(log, &damage, now),
                    Batch::Here { .. } | Batch::End => match self.next_stretch(log, Offset(0), compaction.end) {
                        Some(stretch) => {
                            compaction.next = stretch.entry;
                            compaction.phase = Phase::Filter(Filter::new(stretch));
                        }
                        None => return false,
                    },
                },
                Phase::Filter(mut filter) => match self.store.batch_at(log, compaction.next, Wanted::ALL) {
                    Batch::Here { entry, base, bytes } if entry < filter.stretch.entry_end => {
                        compaction.next = entry.next();
                        let (kept, seen) = self.filter_batch(compaction, base, &bytes, now);
                        bytes_seen += seen;
                        match kept {
                            Kept::All => filter.left.push((entry, base, bytes)),
                            Kept::None => {
                                filter.gone.push(entry);
                                filter.gone_bytes += bytes.len() as u64;
                            }
                            Kept::Some(smaller) => {
                                filter.changed = true;
                                filter.left.push((entry, base, smaller));
                            }
                        }
                        compaction.phase = Phase::Filter(filter);
                    }
                    Batch::Soon => {
                        compaction.phase = Phase::Filter(filter);
                        return true;
                    }
                    Batch::Damaged(damage) => return self.give_up(log, &damage, now),
                    Batch::Here { .. } | Batch::End => {
                        for entry in std::mem::take(&mut filter.gone) {
                            self.store.settle(log, entry);
                        }
                        let worth = filter.changed || filter.gone_bytes * 2 >= filter.stretch.bytes;
                        if worth && !filter.left.is_empty() {
                            compaction.phase = Phase::Rewrite(filter);
                        } else if !self.filter_next(compaction, &filter.stretch, now) {
                            return false;
                        }
                    }
                },
                Phase::Rewrite(filter) => {
                    // Paging may have made another stretch of it. No tombstone behind it may go before what it covers.
                    if self.stretch_now(log, &filter.stretch).is_none() {
                        return false;
                    }
                    if !self.store.rewrite(log, &filter.stretch, &filter.left) {
                        compaction.phase = Phase::Rewrite(filter);
                        return true;
                    }
                    let bytes = filter.left.iter().map(|(.., bytes)| bytes.len() as u64).sum();
                    compaction.phase = Phase::Rewriting(filter.stretch, bytes);
                }
                // Whoever looked at it before would see, and write, what has just gone.
                Phase::Rewriting(stretch, bytes) if self.store.is_moving(log) => {
                    compaction.phase = Phase::Rewriting(stretch, bytes);
                    return true;
                }
                Phase::Rewriting(stretch, bytes) => {
                    let written = self.stretch_now(log, &stretch).is_some_and(|now| now.bytes == bytes);
                    if !written || !self.filter_next(compaction, &stretch, now) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Leave a partition alone that cannot be read, so that others have their turn. Returns `false`: there is no more to do.
    fn give_up(&mut self, log: LogId, damage: &str, now: Now) -> bool {
        if let Some(partition) = self.topics.partitions.get_mut(&log) {
            partition.compaction_failed = Some((partition.start, now.mono_ms));
            let (topic, index) = (&partition.topic, partition.index);
            tracing::error!("partition {index} of topic {topic:?} cannot be compacted: {damage}");
        }
        self.topics.next_compaction_ms = 0;
        false
    }

    /// The stretch as it is now, if it is still one.
    fn stretch_now(&self, log: LogId, was: &Stretch) -> Option<Stretch> {
        self.store.stretches(log).find(|now| now.entry == was.entry && now.entry_end == was.entry_end)
    }

    /// The first with something at or behind `from`. Paging may have put what comes before into the same stretch: that is looked
    /// through once more.
    fn next_stretch(&self, log: LogId, from: Offset, end: u64) -> Option<Stretch> {
        self.store.stretches(log).find(|stretch| stretch.entry_end > from && !stretch.open).filter(|stretch| stretch.base < end)
    }

    /// Go on behind a stretch; `false`: all is done.
    fn filter_next(&mut self, compaction: &mut Compaction, done: &Stretch, now: Now) -> bool {
        if let Some(stretch) = self.next_stretch(compaction.log, done.entry_end, compaction.end) {
            compaction.next = stretch.entry;
            compaction.phase = Phase::Filter(Filter::new(stretch));
            return true;
        }
        self.finish_compaction(compaction, now);
        false
    }

    fn finish_compaction(&mut self, compaction: &Compaction, now: Now) {
        let at = self.mark(compaction.log);
        let tombstone_ms = self.tombstone_ms(compaction.log);
        if let Some(partition) = self.topics.partitions.get_mut(&compaction.log) {
            partition.compacted = compaction.end;
            partition.compacted_at = at;
            // What came later is hardly older; and one that follows at once says it itself.
            partition.uncompacted_ms = compaction.newest_ms.unwrap_or(partition.uncompacted_ms);
            if compaction.tombstones {
                partition.note_cleaning(compaction.end, now.wall_ms, tombstone_ms);
            }
        }
        if compaction.tombstones {
            self.store.want_checkpoint();
        }
        // There may be more: what did not fit, or another partition.
        self.topics.next_compaction_ms = 0;
    }

    /// A position in the journal that only checkpoints reach which are taken from now on: one may just have been taken where
    /// the journal ends. What is written there says nothing new.
    fn mark(&mut self, log: LogId) -> Lsn {
        let offset = self.topics.partitions.get(&log).map_or(0, |partition| partition.start);
        self.record(&Entry::LogStart { log: log.0, offset })
    }

    /// How long tombstones of a partition are kept.
    fn tombstone_ms(&self, log: LogId) -> u64 {
        self.topics.settings_of(log).and_then(|settings| u64::try_from(settings.tombstone_ms).ok()).unwrap_or(0)
    }

    /// What lies below this offset was compacted, and no crash brings back what went: no aborted record is left.
    pub(super) fn cleaned(&self, log: LogId) -> u64 {
        let compacted = self.topics.partitions.get(&log).filter(|found| self.store.is_checkpointed(found.compacted_at));
        compacted.map_or(0, |partition| partition.compacted)
    }

    /// Note the latest offset of every key, up to the first that does not fit: there the compaction ends. Returns how many
    /// bytes were looked at.
    fn map_batch(&self, compaction: &mut Compaction, base: u64, batch: &[u8]) -> usize {
        let Ok(head) = BatchHead::parse(batch) else { return 0 };
        if head.is(attribute::CONTROL) || self.is_aborted(compaction.log, &head, base) {
            return 0;
        }
        let Ok(bytes) = records::decompress(batch) else { return 0 };
        for record in Records::new(&bytes, head.records).map_while(Result::ok) {
            let (Some(key), Some(offset)) = (record.key, base.checked_add_signed(record.offset_delta)) else { continue };
            if offset < compaction.dirty {
                continue;
            }
            if let Some(latest) = compaction.latest.get_mut(key) {
                *latest = offset;
                continue;
            }
            let key_bytes = compaction.key_bytes + key.len() + KEY_OVERHEAD;
            // One always fits, so that each time some more is compacted.
            if key_bytes > self.options.topics.compaction_key_bytes && !compaction.latest.is_empty() {
                (compaction.end, compaction.newest_ms) = (offset, None);
                break;
            }
            compaction.key_bytes = key_bytes;
            compaction.latest.insert(key.into(), offset);
        }
        bytes.len()
    }

    fn is_aborted(&self, log: LogId, head: &BatchHead, base: u64) -> bool {
        head.is(attribute::TRANSACTIONAL)
            && self.topics.partitions.get(&log).is_some_and(|partition| partition.is_aborted(head.producer_id, base))
    }

    /// What is left of a batch; and how many bytes were looked at.
    fn filter_batch(&self, compaction: &mut Compaction, base: u64, batch: &[u8], now: Now) -> (Kept, usize) {
        let Ok(head) = BatchHead::parse(batch) else { return (Kept::All, 0) };
        if base >= compaction.end {
            return (Kept::All, 0);
        }
        if head.is(attribute::CONTROL) {
            let tombstone_ms = i64::try_from(self.tombstone_ms(compaction.log)).unwrap_or(i64::MAX);
            let old = (now.wall_ms as i64).saturating_sub(head.max_timestamp_ms) > tombstone_ms;
            // Readers that are told of an aborted transaction need its marker to know where it ends; a crash may bring back
            // what they are told.
            let needed = self
                .topics
                .partitions
                .get(&compaction.log)
                .is_some_and(|partition| partition.needs_marker(base) || !self.store.is_checkpointed(partition.forgotten_at));
            return (if old && !needed { Kept::None } else { Kept::All }, 0);
        }
        if self.is_aborted(compaction.log, &head, base) {
            return (Kept::None, 0);
        }
        // What cannot be read is left as it is.
        let Ok(bytes) = records::decompress(batch) else { return (Kept::All, 0) };
        let mut kept = Vec::new();
        for record in Records::new(&bytes, head.records) {
            let Ok(record) = record else { return (Kept::All, bytes.len()) };
            let Some(offset) = base.checked_add_signed(record.offset_delta) else { return (Kept::All, bytes.len()) };
            if offset >= compaction.end {
                kept.push(record.bytes);
                continue;
            }
            // What was compacted before and is not known is still the latest.
            let newest = u64::from(planted::is(Bug::NewestDropped));
            let superseded = |latest: &u64| offset < *latest + newest;
            let superseded = record.key.is_none_or(|key| compaction.latest.get(key).is_some_and(superseded));
            let forgotten = record.value.is_none() && offset < compaction.forget;
            if !(superseded || forgotten) {
                compaction.tombstones |= record.value.is_none();
                kept.push(record.bytes);
            }
        }
        let packing = Packing::of(if planted::is(Bug::PackedOtherwise) { 0 } else { head.attributes });
        let left = match kept.len() {
            0 => Kept::None,
            all if all as i64 == i64::from(head.records) => Kept::All,
            _ => match records::compress(&kept.concat(), packing) {
                Some(packed) => Kept::Some(record::rebuild(batch, kept.len() as u32, &packed).into()),
                None => Kept::All,
            },
        };
        (left, bytes.len())
    }

    /// When compaction is to be looked at again, in [`Now::mono_ms`].
    pub(crate) fn next_compaction_ms(&self, now: Now) -> Option<u64> {
        match &self.topics.cleaning {
            Cleaning::Nothing => {}
            Cleaning::Compact(compaction) if compaction.waits_to_write() && self.store.is_short_of_space() => {
                return Some(now.mono_ms + SPACE_RETRY_MS);
            }
            Cleaning::Search(_) | Cleaning::Compact(_) => return Some(now.mono_ms + 1),
        }
        (!self.topics.partitions.is_empty()).then_some(self.topics.next_compaction_ms)
    }
}
