//! Compaction: of every key only the latest record is kept.
//!
//! One partition at a time, a few batches a turn. First the latest offset of every key is found, in the stretches that are
//! closed and stable; then each stretch loses what is superseded: whole batches are settled, others are written anew
//! without the records that go, at their old offsets. Tombstones and markers go when they are old enough.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;
use model::record::{self, BatchHead, Records, attribute};
use model::{Now, Offset};
use storage::{Batch, LogId, Stretch};

use super::records;
use crate::broker::Broker;

/// How often partitions are looked at (Kafka's `log.cleaner.backoff.ms`), in milliseconds.
const CHECK_MS: u64 = 15_000;
/// Batches looked at in one turn.
const BATCHES_PER_TURN: usize = 64;
/// Keys in memory at a time, in bytes: what does not fit is compacted the next time.
const KEY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a key costs beyond its bytes.
const KEY_OVERHEAD: usize = 48;

/// A partition that is being compacted.
pub(super) struct Compaction {
    log: LogId,
    /// Records below this are looked at.
    end: u64,
    /// The next batch.
    next: Offset,
    latest: HashMap<Box<[u8]>, u64, RandomState>,
    key_bytes: usize,
    phase: Phase,
}

enum Phase {
    /// Find the latest record of every key.
    Map,
    /// Look through a stretch; `left`: what stays of it so far.
    Filter(Filter),
    /// The stretch waits for the store to write it anew.
    Rewrite(Filter),
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
        if self.topics.compaction.is_none() {
            if now.mono_ms < self.topics.next_compaction_ms {
                return;
            }
            self.topics.next_compaction_ms = now.mono_ms + CHECK_MS;
            self.topics.compaction = self.find_compaction(now);
        }
        let Some(mut compaction) = self.topics.compaction.take() else { return };
        let goes_on = self.compact_some(&mut compaction, now);
        if goes_on {
            self.topics.compaction = Some(compaction);
        }
    }

    /// The partition with the largest part that is not compacted, where that is large enough.
    fn find_compaction(&mut self, now: Now) -> Option<Compaction> {
        let logs: Vec<LogId> = self.topics.partitions.keys().copied().collect();
        let mut best: Option<(f64, Compaction)> = None;
        for log in logs {
            let Some(settings) = self.topics.settings_of(log).filter(|settings| settings.compact) else { continue };
            let (ratio_min, lag_ms) = (settings.dirty_ratio, settings.min_compaction_lag_ms);
            let (segment_bytes, segment_ms) = (settings.segment_bytes, settings.segment_ms);
            let full = |stretch: &Stretch| {
                stretch.open && (stretch.bytes >= segment_bytes || now.wall_ms.saturating_sub(stretch.newest_ms) >= segment_ms)
            };
            if self.store.stretches(log).any(|stretch| full(&stretch)) {
                self.store.close_stretch(log);
            }
            let Some(partition) = self.topics.partitions.get(&log) else { continue };
            let stable = partition.last_stable(self.store.stream_end(log));
            let youngest_ms = now.wall_ms.saturating_sub(u64::try_from(lag_ms).unwrap_or(0));
            let fit = |stretch: &Stretch| !stretch.open && stretch.end <= stable && stretch.newest_ms <= youngest_ms;
            let (mut clean, mut dirty, mut end) = (0u64, 0u64, None);
            for stretch in self.store.stretches(log).take_while(fit) {
                *(if stretch.end <= partition.compacted { &mut clean } else { &mut dirty }) += stretch.bytes;
                end = Some(stretch.end);
            }
            let Some(end) = end.filter(|_| dirty > 0) else { continue };
            let ratio = dirty as f64 / (clean + dirty) as f64;
            if ratio < ratio_min || best.as_ref().is_some_and(|(other, _)| *other >= ratio) {
                continue;
            }
            let compaction =
                Compaction { log, end, next: Offset(0), latest: HashMap::default(), key_bytes: 0, phase: Phase::Map };
            best = Some((ratio, compaction));
        }
        best.map(|(_, compaction)| compaction)
    }

    /// Whether there is more to do.
    fn compact_some(&mut self, compaction: &mut Compaction, now: Now) -> bool {
        let log = compaction.log;
        if !self.topics.partitions.contains_key(&log) {
            return false;
        }
        for _ in 0..BATCHES_PER_TURN {
            match std::mem::replace(&mut compaction.phase, Phase::Map) {
                Phase::Map => match self.store.batch_at(log, compaction.next) {
                    Batch::Here { entry, base, bytes } if base < compaction.end => {
                        compaction.next = entry.next();
                        if !self.map_batch(compaction, base, &bytes) {
                            compaction.end = base;
                        }
                    }
                    Batch::Soon => return true,
                    Batch::Damaged(_) => return false,
                    Batch::Here { .. } | Batch::End => match self.next_stretch(log, Offset(0), compaction.end) {
                        Some(stretch) => {
                            compaction.next = stretch.entry;
                            compaction.phase = Phase::Filter(Filter::new(stretch));
                        }
                        None => return false,
                    },
                },
                Phase::Filter(mut filter) => match self.store.batch_at(log, compaction.next) {
                    Batch::Here { entry, base, bytes } if entry < filter.stretch.entry_end => {
                        compaction.next = entry.next();
                        match self.filter_batch(compaction, base, &bytes, now) {
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
                    Batch::Damaged(_) => return false,
                    Batch::Here { .. } | Batch::End => {
                        for entry in std::mem::take(&mut filter.gone) {
                            self.store.settle(log, entry);
                        }
                        let worth = filter.changed || filter.gone_bytes * 2 >= filter.stretch.bytes;
                        if worth && !filter.left.is_empty() {
                            compaction.phase = Phase::Rewrite(filter);
                        } else if !self.filter_next(compaction, &filter.stretch) {
                            return false;
                        }
                    }
                },
                Phase::Rewrite(filter) => {
                    let (first, end) = (filter.stretch.entry, filter.stretch.entry_end);
                    let same = |now: &Stretch| now.entry == first && now.entry_end == end;
                    let there = self.store.stretches(log).any(|now| same(&now));
                    // Paging may have made another stretch of it: that one is looked through the next time.
                    if there && !self.store.rewrite(log, &filter.stretch, &filter.left) {
                        compaction.phase = Phase::Rewrite(filter);
                        return true;
                    }
                    if !self.filter_next(compaction, &filter.stretch) {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn next_stretch(&self, log: LogId, from: Offset, end: u64) -> Option<Stretch> {
        self.store.stretches(log).find(|stretch| stretch.entry >= from && !stretch.open).filter(|stretch| stretch.base < end)
    }

    /// Go on behind a stretch; `false`: all is done.
    fn filter_next(&mut self, compaction: &mut Compaction, done: &Stretch) -> bool {
        if let Some(stretch) = self.next_stretch(compaction.log, done.entry_end, compaction.end) {
            compaction.next = stretch.entry;
            compaction.phase = Phase::Filter(Filter::new(stretch));
            return true;
        }
        if let Some(partition) = self.topics.partitions.get_mut(&compaction.log) {
            partition.compacted = compaction.end;
        }
        false
    }

    /// Note the latest offset of every key; `false`: no more fit.
    fn map_batch(&self, compaction: &mut Compaction, base: u64, batch: &[u8]) -> bool {
        let Ok(head) = BatchHead::parse(batch) else { return true };
        if head.is(attribute::CONTROL) || self.is_aborted(compaction.log, &head, base) {
            return true;
        }
        let Ok(bytes) = records::decompress(batch) else { return true };
        for record in Records::new(&bytes, head.records).map_while(Result::ok) {
            let (Some(key), Some(offset)) = (record.key, base.checked_add_signed(record.offset_delta)) else { continue };
            if let Some(latest) = compaction.latest.get_mut(key) {
                *latest = offset;
                continue;
            }
            compaction.key_bytes += key.len() + KEY_OVERHEAD;
            if compaction.key_bytes > KEY_BYTES_MAX && !compaction.latest.is_empty() {
                return false;
            }
            compaction.latest.insert(key.into(), offset);
        }
        true
    }

    fn is_aborted(&self, log: LogId, head: &BatchHead, base: u64) -> bool {
        head.is(attribute::TRANSACTIONAL)
            && self.topics.partitions.get(&log).is_some_and(|partition| partition.is_aborted(head.producer_id, base))
    }

    fn filter_batch(&self, compaction: &Compaction, base: u64, batch: &[u8], now: Now) -> Kept {
        let Ok(head) = BatchHead::parse(batch) else { return Kept::All };
        let tombstone_ms = self.topics.settings_of(compaction.log).map_or(0, |settings| settings.tombstone_ms);
        let old = (now.wall_ms as i64).saturating_sub(head.max_timestamp_ms) > tombstone_ms;
        if base >= compaction.end {
            return Kept::All;
        }
        if head.is(attribute::CONTROL) {
            // Readers that are told of an aborted transaction need its marker to know where it ends.
            let needed = self.topics.partitions.get(&compaction.log).is_some_and(|partition| partition.needs_marker(base));
            return if old && !needed { Kept::None } else { Kept::All };
        }
        if self.is_aborted(compaction.log, &head, base) {
            return Kept::None;
        }
        // What cannot be read is left as it is.
        let Ok(bytes) = records::decompress(batch) else { return Kept::All };
        let mut kept = Vec::new();
        for record in Records::new(&bytes, head.records) {
            let Ok(record) = record else { return Kept::All };
            let offset = base.checked_add_signed(record.offset_delta);
            let latest = record.key.and_then(|key| compaction.latest.get(key).copied());
            let superseded = latest.zip(offset).is_none_or(|(latest, offset)| offset < latest);
            let forgotten = record.value.is_none() && old;
            if !(superseded || forgotten) {
                kept.push(record.bytes);
            }
        }
        match kept.len() {
            0 => Kept::None,
            all if all as i64 == i64::from(head.records) => Kept::All,
            _ => match records::compress(&kept.concat(), head.attributes) {
                Some(packed) => Kept::Some(record::rebuild(batch, kept.len() as u32, &packed).into()),
                None => Kept::All,
            },
        }
    }

    /// When compaction is to be looked at again, in [`Now::mono_ms`].
    pub(crate) fn next_compaction_ms(&self, now: Now) -> Option<u64> {
        if self.topics.compaction.is_some() {
            return Some(now.mono_ms + 1);
        }
        (!self.topics.partitions.is_empty()).then_some(self.topics.next_compaction_ms)
    }
}
