//! One partition: who has written to it, which transactions are open, and what readers may see.
//!
//! All of it follows from the batches in the log: [`Partition::note`] is the one fold, live and at recovery. A checkpoint
//! holds the [`Snapshot`] in between.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use foldhash::fast::FixedState;
use model::planted::{self, Bug};
use model::record::{BatchHead, attribute};
use model::topic::ProducerState;
use model::{LogFailure, Lsn, SessionId, limits};

use crate::catalog::partition::{Ended, Producer, Sent, Snapshot};

/// Batches of a producer that are remembered, so that their repetition is noticed.
const BATCHES_REMEMBERED: usize = 5;
/// Damaged places that are not logged again.
const DAMAGES_TOLD_MAX: usize = 32;
/// Ended transactions that are kept before it is looked which of them may be forgotten.
const ENDED_MIN: usize = 64;
/// Producers that are forgotten at once where there are too many.
const FORGOTTEN_AT_ONCE: usize = limits::PRODUCERS_PER_PARTITION_MAX / 8;
/// In how many steps a tombstone grows old: it stays for longer than it must by one of them at most.
const CLEANING_STEPS: u64 = 16;
/// When a producer wrote whose batches are read back: the clock was not written down.
pub(super) const BEFORE_THE_START: i64 = i64::MAX;

pub(crate) struct Partition {
    pub topic: std::sync::Arc<str>,
    pub index: u32,
    /// Nothing before is shown.
    pub start: u64,
    /// Records below were compacted.
    pub compacted: u64,
    /// How long the journal was then.
    pub compacted_at: Lsn,
    /// No record that was not compacted is older, in wall ms; 0 after a restart: nobody knows.
    pub uncompacted_ms: u64,
    /// Below which offset it had been compacted, and when, in wall ms; the latest last. Each is true by itself, so that any may be
    /// forgotten: tombstones stay the longer.
    cleanings: Vec<(u64, u64)>,
    /// Compaction met damage: where the partition started then, and when that was, in mono ms.
    pub compaction_failed: Option<(u64, u64)>,
    producers: HashMap<i64, Producer, FixedState>,
    /// Open transactions by their first offset.
    open: BTreeMap<u64, i64>,
    /// Ended transactions: committed ones until their marker is durable, aborted ones while their records are there. In the order
    /// of their markers.
    ended: VecDeque<Ended>,
    /// As many as there may be before some are forgotten.
    ended_max: usize,
    /// How many of them were aborted.
    aborted: usize,
    /// The most offsets from the beginning of one of them to its marker.
    ended_span: u64,
    /// The journal was shorter when some were forgotten that lie behind `start`: a checkpoint from before knows them still.
    pub forgotten_at: Lsn,
    /// Fetches that wait for more.
    pub waiting: BTreeSet<SessionId>,
    /// Records without a time stamp come first and end at this offset, as was first seen at this time, in wall ms.
    unstamped: Option<(u64, u64)>,
    /// Offsets from which on it could not be read, as was logged; the latest ones.
    damage_told: VecDeque<u64>,
}

/// What a checked batch is to its producer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    New,
    /// It was appended before.
    Duplicate {
        base: u64,
        timestamp_ms: i64,
        end: Lsn,
    },
}

fn next_sequence(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

/// The last sequence number of a batch: they wrap from 2^31-1 to 0.
fn last_sequence(first: i32, offsets: u32) -> i32 {
    ((i64::from(first) + i64::from(offsets) - 1) & i64::from(i32::MAX)) as i32
}

impl Partition {
    pub fn new(topic: std::sync::Arc<str>, index: u32) -> Partition {
        Partition {
            topic,
            index,
            start: 0,
            compacted: 0,
            compacted_at: Lsn(0),
            uncompacted_ms: 0,
            cleanings: Vec::new(),
            compaction_failed: None,
            producers: HashMap::default(),
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_max: ENDED_MIN,
            aborted: 0,
            ended_span: 0,
            forgotten_at: Lsn(0),
            waiting: BTreeSet::new(),
            unstamped: None,
            damage_told: VecDeque::new(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut producers: Vec<_> = self.producers.iter().map(|(id, producer)| (*id, producer.clone())).collect();
        producers.sort_unstable_by_key(|(id, _)| *id);
        let ended = self.ended.iter().copied().collect();
        Snapshot { start: self.start, producers, ended, cleanings: self.cleanings.clone() }
    }

    pub fn restore(&mut self, snapshot: Snapshot) {
        self.start = snapshot.start;
        self.cleanings = snapshot.cleanings;
        self.open = snapshot.producers.iter().filter_map(|(id, producer)| Some((producer.open?, *id))).collect();
        self.producers = snapshot.producers.into_iter().filter(|_| !planted::is(Bug::ProducerForgotten)).collect();
        self.ended = snapshot.ended.into();
        self.count_ended();
    }

    /// Those that ended have become fewer, or others.
    fn count_ended(&mut self) {
        self.aborted = self.ended.iter().filter(|ended| !ended.committed).count();
        self.ended_span = self.ended.iter().map(Ended::span).max().unwrap_or(0);
        self.ended_max = ENDED_MIN.max(self.ended.len() * 2);
        self.ended.shrink_to(self.ended_max);
    }

    /// Aborted transactions that are remembered.
    pub fn aborted_count(&self) -> usize {
        self.aborted
    }

    /// Whether a producer's batch may be appended (KIP-98, "Idempotent Producer").
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, head: &BatchHead) -> Result<Checked, LogFailure> {
        if head.producer_id < 0 {
            return Ok(Checked::New);
        }
        let Some(producer) = self.producers.get(&head.producer_id) else { return Ok(Checked::New) };
        if head.producer_epoch < producer.epoch {
            return Err(LogFailure::InvalidProducerEpoch);
        }
        // What does not take part in the transaction that its producer has open here.
        if producer.open.is_some() && !head.is(attribute::TRANSACTIONAL) && head.producer_epoch == producer.epoch {
            return Err(LogFailure::InvalidTransactionState);
        }
        if head.base_sequence < 0 {
            return Ok(Checked::New);
        }
        if head.producer_epoch > producer.epoch {
            let known = !producer.sent.is_empty();
            return if head.base_sequence == 0 || !known { Ok(Checked::New) } else { Err(LogFailure::OutOfOrderSequence) };
        }
        let last = last_sequence(head.base_sequence, head.offsets);
        if let Some(sent) = producer.sent.iter().find(|sent| sent.first == head.base_sequence && sent.last == last) {
            if planted::is(Bug::BatchRepeated) {
                return Ok(Checked::New);
            }
            return Ok(Checked::Duplicate { base: sent.base, timestamp_ms: sent.timestamp_ms, end: sent.end });
        }
        match producer.sent.back() {
            Some(sent) if next_sequence(sent.last) != head.base_sequence => Err(LogFailure::OutOfOrderSequence),
            _ => Ok(Checked::New),
        }
    }

    /// A batch is in the log. `marker`: it is the end of a transaction, and commits it or not. `now_ms`: by the wall clock, or
    /// [`BEFORE_THE_START`].
    pub fn note(&mut self, base: u64, head: &BatchHead, marker: Option<bool>, end: Lsn, now_ms: i64) {
        if head.producer_id < 0 {
            return;
        }
        if self.producers.len() >= limits::PRODUCERS_PER_PARTITION_MAX && !self.producers.contains_key(&head.producer_id) {
            self.forget_oldest_producers();
        }
        let new = Producer { epoch: head.producer_epoch, sent: VecDeque::new(), open: None, last_ms: 0 };
        let producer = self.producers.entry(head.producer_id).or_insert(new);
        if head.producer_epoch > producer.epoch {
            producer.epoch = head.producer_epoch;
            producer.sent.clear();
        }
        producer.last_ms = now_ms;
        if let Some(committed) = marker {
            if let Some(first) = producer.open.take() {
                let committed = committed || planted::is(Bug::AbortShown);
                self.open.remove(&first);
                let ended = Ended { producer_id: head.producer_id, first, marker: base, committed };
                self.aborted += usize::from(!committed);
                self.ended_span = self.ended_span.max(ended.span());
                self.ended.push_back(ended);
            }
            return;
        }
        if head.base_sequence >= 0 {
            let last = last_sequence(head.base_sequence, head.offsets);
            if producer.sent.len() == BATCHES_REMEMBERED {
                producer.sent.pop_front();
            }
            let timestamp_ms = if head.is(attribute::APPEND_TIME) { head.max_timestamp_ms } else { -1 };
            producer.sent.push_back(Sent { first: head.base_sequence, last, base, timestamp_ms, end });
        }
        if head.is(attribute::TRANSACTIONAL) && producer.open.is_none() {
            producer.open = Some(base);
            self.open.insert(base, head.producer_id);
        }
    }

    /// Readers of committed records see nothing at or above this, given the high watermark: below it every transaction
    /// has ended, durably.
    pub fn last_stable(&self, high_watermark: u64) -> u64 {
        let open = self.open.keys().next().copied().filter(|_| !planted::is(Bug::OpenShown)).unwrap_or(u64::MAX);
        // A marker that is not durable may be taken back by a crash.
        let late = self.ended.iter().rev().take_while(|ended| ended.marker >= high_watermark);
        let pending = late.map(|ended| ended.first).min();
        high_watermark.min(open).min(pending.unwrap_or(u64::MAX)).max(self.start)
    }

    /// Aborted transactions that touch the offsets from `from` to `to` (exclusive): (producer id, first offset).
    pub fn aborted(&self, from: u64, to: u64) -> Vec<(i64, i64)> {
        let behind = self.ended.partition_point(|ended| ended.marker < from);
        let touches = |ended: &&Ended| !ended.committed && ended.first < to;
        let near = self.ended_from(behind, to);
        near.filter(touches).map(|ended| (ended.producer_id, ended.first as i64)).collect()
    }

    /// Whether what this producer wrote at `base` was aborted.
    pub fn is_aborted(&self, producer_id: i64, base: u64) -> bool {
        // A producer has one transaction at a time: of those that ended behind `base` its first is the one.
        let behind = self.ended.partition_point(|ended| ended.marker <= base);
        let found = self.ended_from(behind, base).find(|ended| ended.producer_id == producer_id);
        found.is_some_and(|ended| !ended.committed && ended.first <= base)
    }

    /// Ended transactions from that place on, as far as they may begin at or before `offset`: there may be millions behind.
    fn ended_from(&self, index: usize, offset: u64) -> impl Iterator<Item = &Ended> {
        let last = offset.saturating_add(self.ended_span);
        self.ended.range(index..).take_while(move |ended| ended.marker <= last)
    }

    /// Whether the marker at `base` ends a transaction that readers are told was aborted.
    pub fn needs_marker(&self, base: u64) -> bool {
        self.ended
            .binary_search_by_key(&base, |ended| ended.marker)
            .is_ok_and(|index| self.ended.get(index).is_some_and(|ended| !ended.committed))
    }

    /// As [`Partition::forget_ended`], where there are twice as many as the last time.
    pub fn forget_some_ended(&mut self, high_watermark: u64, cleaned: u64, appended: Lsn) {
        if self.ended.len() >= self.ended_max {
            self.forget_ended(high_watermark, cleaned, appended);
        }
    }

    /// Forget ended transactions that nobody needs to hear of any more. `cleaned`: nothing that was aborted is left below.
    /// `appended`: how long the journal is.
    pub fn forget_ended(&mut self, high_watermark: u64, cleaned: u64, appended: Lsn) {
        let cleaned = cleaned.min(high_watermark);
        if self.ended.iter().any(|ended| !ended.committed && (self.start..cleaned).contains(&ended.marker)) {
            self.forgotten_at = Lsn(appended.0 + 1);
        }
        let start = self.start.max(cleaned);
        self.ended.retain(|ended| ended.marker >= high_watermark || (!ended.committed && ended.marker >= start));
        self.count_ended();
    }

    /// It cannot be read from this offset on. Returns whether that is news.
    pub fn is_damage_news(&mut self, offset: u64) -> bool {
        if self.damage_told.contains(&offset) {
            return false;
        }
        if self.damage_told.len() == DAMAGES_TOLD_MAX {
            self.damage_told.pop_front();
        }
        self.damage_told.push_back(offset);
        true
    }

    /// Since when it is known that the first records have no time stamp and end at `end`, in wall ms.
    pub fn unstamped_since(&mut self, end: u64, now_ms: u64) -> u64 {
        match self.unstamped {
            Some((known, since)) if known == end => since,
            _ => {
                self.unstamped = Some((end, now_ms));
                now_ms
            }
        }
    }

    /// Everything below `end` has been compacted, and there are tombstones, which are kept for `tombstone_ms`.
    pub fn note_cleaning(&mut self, end: u64, now_ms: u64, tombstone_ms: u64) {
        // By a clock that was set back they would grow old too late.
        self.cleanings.retain(|(_, at_ms)| *at_ms <= now_ms);
        if self.cleanings.last().is_some_and(|(before, _)| *before >= end) {
            return;
        }
        // The last of the old ones says all that they say.
        let old = self.cleanings.partition_point(|(_, at_ms)| now_ms - at_ms >= tombstone_ms);
        self.cleanings.drain(..old.saturating_sub(1));
        if let [.., (_, at_ms), _] = self.cleanings[..]
            && now_ms - at_ms < tombstone_ms / CLEANING_STEPS
        {
            self.cleanings.pop();
        }
        self.cleanings.push((end, now_ms));
    }

    /// Whatever is below this offset was compacted for the first time at least so long ago: who reads has had that long to see
    /// the tombstones of what went then.
    pub fn cleaned_before(&self, now_ms: u64, tombstone_ms: u64) -> u64 {
        let old = self.cleanings.iter().filter(|(_, at_ms)| now_ms.saturating_sub(*at_ms) >= tombstone_ms);
        old.map(|(end, _)| *end).max().unwrap_or(0)
    }

    /// Forget producers that have not written for long and have nothing open.
    pub fn forget_producers(&mut self, before_ms: i64) {
        self.producers.retain(|_, producer| producer.open.is_some() || producer.last_ms >= before_ms);
    }

    /// Forget those that wrote before all others and have nothing open.
    fn forget_oldest_producers(&mut self) {
        let wrote = |(id, producer): (&i64, &Producer)| (producer.sent.back().map_or(0, |sent| sent.base), *id);
        let idle = self.producers.iter().filter(|(_, producer)| producer.open.is_none());
        let mut idle: Vec<(u64, i64)> = idle.map(wrote).collect();
        if idle.len() > FORGOTTEN_AT_ONCE {
            idle.select_nth_unstable(FORGOTTEN_AT_ONCE);
        }
        for (_, id) in idle.into_iter().take(FORGOTTEN_AT_ONCE) {
            self.producers.remove(&id);
        }
    }

    /// The clock is known again: nobody has written later than now.
    pub fn start(&mut self, now_ms: i64) {
        for producer in self.producers.values_mut() {
            producer.last_ms = producer.last_ms.min(now_ms);
        }
    }

    /// Whether this producer has a transaction open here.
    pub fn is_open(&self, producer_id: i64) -> bool {
        self.producers.get(&producer_id).is_some_and(|producer| producer.open.is_some())
    }

    pub fn describe(&self) -> Vec<ProducerState> {
        let state = |(id, producer): (&i64, &Producer)| ProducerState {
            producer_id: *id,
            epoch: producer.epoch,
            last_sequence: producer.sent.back().map_or(-1, |sent| sent.last),
            last_timestamp_ms: producer.last_ms,
            transaction_start: producer.open.map_or(-1, |first| first as i64),
        };
        let mut all: Vec<_> = self.producers.iter().map(state).collect();
        all.sort_unstable_by_key(|state| state.producer_id);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(producer_id: i64, producer_epoch: i16, base_sequence: i32, offsets: u32) -> BatchHead {
        BatchHead {
            len: 100,
            attributes: 0,
            offsets,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer_id,
            producer_epoch,
            base_sequence,
            records: offsets as i32,
        }
    }

    fn partition() -> Partition {
        Partition::new("t".into(), 0)
    }

    fn append(partition: &mut Partition, next: &mut u64, head: &BatchHead) -> Result<Checked, LogFailure> {
        let checked = partition.check(head)?;
        if checked == Checked::New {
            partition.note(*next, head, None, Lsn(*next), 0);
            *next += u64::from(head.offsets);
        }
        Ok(checked)
    }

    /// Reference, section 2, item 7.
    #[test]
    fn pitfall_07_idempotence() {
        let (mut partition, mut next) = (partition(), 0);
        for round in 0..7 {
            assert_eq!(append(&mut partition, &mut next, &head(1, 0, round * 10, 10)), Ok(Checked::New));
        }
        // One of the last five: success, with the offset it had.
        let again = append(&mut partition, &mut next, &head(1, 0, 20, 10));
        assert_eq!(again, Ok(Checked::Duplicate { base: 20, timestamp_ms: -1, end: Lsn(20) }));
        // Older than that, or a gap.
        assert_eq!(append(&mut partition, &mut next, &head(1, 0, 0, 10)), Err(LogFailure::OutOfOrderSequence));
        assert_eq!(append(&mut partition, &mut next, &head(1, 0, 80, 10)), Err(LogFailure::OutOfOrderSequence));
        // An unknown producer may begin anywhere, a new epoch only at 0.
        assert_eq!(append(&mut partition, &mut next, &head(2, 0, 7, 1)), Ok(Checked::New));
        assert_eq!(append(&mut partition, &mut next, &head(1, 1, 70, 1)), Err(LogFailure::OutOfOrderSequence));
        assert_eq!(append(&mut partition, &mut next, &head(1, 1, 0, 1)), Ok(Checked::New));
        assert_eq!(append(&mut partition, &mut next, &head(1, 0, 70, 1)), Err(LogFailure::InvalidProducerEpoch));
        // The numbers wrap.
        assert_eq!(append(&mut partition, &mut next, &head(3, 0, i32::MAX - 1, 4)), Ok(Checked::New));
        assert_eq!(append(&mut partition, &mut next, &head(3, 0, 2, 1)), Ok(Checked::New));
    }

    #[test]
    fn producers_survive_a_checkpoint_and_a_replay() {
        let (mut before, mut next) = (partition(), 0);
        append(&mut before, &mut next, &head(1, 0, 0, 3)).unwrap();
        let transactional = BatchHead { attributes: attribute::TRANSACTIONAL, ..head(2, 5, 0, 2) };
        append(&mut before, &mut next, &transactional).unwrap();
        let text = serde_json::to_string(&before.snapshot()).unwrap();
        let mut after = partition();
        after.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(serde_json::to_string(&after.snapshot()).unwrap(), text);
        assert!(after.is_open(2) && !after.is_open(1));
        assert!(matches!(after.check(&head(1, 0, 0, 3)), Ok(Checked::Duplicate { base: 0, .. })));
        assert_eq!(after.last_stable(9), 3);
    }

    /// Reference, section 2, item 8.
    #[test]
    fn pitfall_08_last_stable_offset() {
        let mut partition = partition();
        let transactional =
            |id: i64, sequence: i32| BatchHead { attributes: attribute::TRANSACTIONAL, ..head(id, 0, sequence, 1) };
        partition.note(0, &transactional(1, 0), None, Lsn(0), 0);
        partition.note(1, &transactional(2, 0), None, Lsn(0), 0);
        assert_eq!((partition.last_stable(1), partition.last_stable(2)), (0, 0));
        partition.note(2, &transactional(1, -1), Some(false), Lsn(0), 0);
        // The marker at 2 is durable once the high watermark is above it.
        assert_eq!((partition.last_stable(2), partition.last_stable(3)), (0, 1));
        assert_eq!(partition.aborted(0, 3), [(1, 0)]);
        assert!(partition.is_aborted(1, 0) && !partition.is_aborted(2, 1) && !partition.is_aborted(1, 2));
        assert_eq!(partition.aborted(3, 9), []);
        partition.note(3, &transactional(2, -1), Some(true), Lsn(0), 0);
        assert_eq!(partition.last_stable(4), 4);
        assert_eq!(partition.aborted(0, 4), [(1, 0)]);
        partition.forget_ended(4, 2, Lsn(0));
        assert_eq!(partition.aborted(0, 4), [(1, 0)], "aborted records are still there");
        partition.start = 4;
        partition.forget_ended(4, 0, Lsn(0));
        assert_eq!(partition.aborted(0, 4), []);
    }

    #[test]
    fn producers_are_forgotten_by_the_brokers_clock_and_the_oldest_first() {
        let (mut partition, max) = (partition(), limits::PRODUCERS_PER_PARTITION_MAX as i64);
        let open = BatchHead { attributes: attribute::TRANSACTIONAL, ..head(0, 0, 0, 1) };
        partition.note(0, &open, None, Lsn(0), 5_000);
        for id in 1..3 * max {
            // What the batch says of the time is of no interest.
            partition.note(id as u64, &BatchHead { max_timestamp_ms: 1, ..head(id, 0, 0, 1) }, None, Lsn(0), 5_000);
            assert!(partition.producers.len() as i64 <= max);
        }
        assert!(partition.is_open(0), "one with an open transaction stays");
        let kept: BTreeSet<i64> = partition.producers.keys().copied().filter(|id| *id > 0).collect();
        let first = *kept.first().unwrap();
        assert!(kept.len() as i64 > max / 2 && kept == (first..3 * max).collect(), "not the latest from {first}");
        partition.forget_producers(5_000);
        assert_eq!(partition.producers.len(), kept.len() + 1);
        // One whose batches were read back counts as one that has just written.
        partition.note(9, &head(1, 0, 0, 1), None, Lsn(0), BEFORE_THE_START);
        partition.start(6_000);
        partition.forget_producers(5_001);
        let left: BTreeSet<i64> = partition.producers.keys().copied().collect();
        assert_eq!(left, BTreeSet::from([0, 1]));
        partition.forget_producers(6_001);
        assert_eq!(partition.producers.len(), 1);
    }

    #[test]
    fn what_was_committed_is_forgotten_before_there_is_much_of_it() {
        let mut partition = partition();
        let transactional = BatchHead { attributes: attribute::TRANSACTIONAL, ..head(1, 0, -1, 1) };
        for round in 0..1_000 {
            partition.note(2 * round, &transactional, None, Lsn(0), 0);
            partition.note(2 * round + 1, &transactional, Some(round % 10 > 0), Lsn(0), 0);
            // The last ten markers are not durable yet.
            partition.forget_some_ended((2 * round).saturating_sub(20), 0, Lsn(0));
        }
        assert_eq!(partition.aborted(0, 2_000).len(), 100, "aborted records are all there");
        assert!(partition.ended.len() < 300, "{}", partition.ended.len());
    }

    #[test]
    fn tombstones_grow_old_from_the_first_cleaning_on_and_little_is_kept_of_it() {
        let (mut partition, kept_ms, step_ms) = (partition(), 16_000, 1_000);
        for round in 0..10_000u64 {
            let now_ms = 5_000 + round * 10;
            partition.note_cleaning(round + 1, now_ms, kept_ms);
            partition.note_cleaning(round, now_ms, kept_ms);
            assert!(partition.cleanings.len() <= 35, "{}", partition.cleanings.len());
            // What was cleaned in one round is gone in those that are later by that time, and perhaps a step.
            let gone = partition.cleaned_before(now_ms, kept_ms);
            assert!(gone <= (round + 1).saturating_sub(kept_ms / 10), "{gone} of {round}");
            assert!(gone >= (round + 1).saturating_sub((kept_ms + step_ms) / 10), "{gone} of {round}");
        }
        let mut later = Partition::new("t".into(), 0);
        later.restore(partition.snapshot());
        assert_eq!(later.cleanings, partition.cleanings);
        // The clock is set back: nothing goes before its time, and something does.
        partition.note_cleaning(20_000, 1_000, kept_ms);
        assert_eq!((partition.cleaned_before(16_999, kept_ms), partition.cleaned_before(17_000, kept_ms)), (0, 20_000));
        // One that is not kept for any time.
        for round in 0..100 {
            partition.note_cleaning(20_001 + round, 20_000 + round / 2, 0);
            assert_eq!(partition.cleaned_before(20_000 + round / 2, 0), 20_001 + round);
            assert!(partition.cleanings.len() <= 2);
        }
    }

    #[test]
    fn a_snapshot_that_says_nothing_of_cleanings_is_read() {
        let old = r#"{"start":3,"producers":[],"ended":[]}"#;
        let snapshot: Snapshot = serde_json::from_str(old).unwrap();
        assert_eq!(snapshot, Snapshot { start: 3, ..Snapshot::default() });
        assert_eq!(serde_json::to_string(&snapshot).unwrap(), old);
    }

    #[test]
    fn an_aborted_transaction_takes_tens_of_bytes_and_gives_them_back() {
        let mut partition = partition();
        let transactional = BatchHead { attributes: attribute::TRANSACTIONAL, ..head(1, 0, -1, 1) };
        let all = 100_000;
        for round in 0..all {
            partition.note(2 * round, &transactional, None, Lsn(0), 0);
            partition.note(2 * round + 1, &transactional, Some(false), Lsn(0), 0);
            partition.forget_some_ended(2 * round, 0, Lsn(0));
        }
        let bytes = |partition: &Partition| partition.ended.capacity() * size_of::<Ended>();
        assert_eq!(partition.aborted_count() as u64, all);
        assert!(bytes(&partition) as u64 <= 2 * 32 * all, "{} of {all}", bytes(&partition));
        let kept = serde_json::to_string(&partition.snapshot()).unwrap().len();
        assert!(kept as u64 <= 32 * all, "in a checkpoint {kept} of {all}");
        // Those that a fetch is told of are found wherever they are.
        assert_eq!(partition.aborted(100_000, 100_004), [(1, 100_000), (1, 100_002)]);
        assert!(partition.is_aborted(1, 100_000) && !partition.is_aborted(1, 100_001));
        partition.start = 2 * all - 10;
        partition.forget_ended(2 * all, 0, Lsn(0));
        assert_eq!((partition.aborted_count(), partition.aborted(0, 2 * all).len()), (5, 5));
        assert!(bytes(&partition) <= 4 * 1024, "{}", bytes(&partition));
        assert_eq!(partition.forgotten_at, Lsn(0), "what lies before the start needs no marker");
        partition.forget_ended(2 * all, 2 * all - 4, Lsn(7));
        assert_eq!(partition.aborted_count(), 2, "compaction has taken away the others");
        assert_eq!(partition.forgotten_at, Lsn(8), "a checkpoint at 7 may know them still");
    }
}
