//! What may be gone: what has a newer record of its key, what was aborted, tombstones and markers that are old; what
//! somebody deleted, and what is older than its topic keeps.

use std::collections::BTreeMap;

use super::log::Known;
use super::transactions::State;
use super::{Model, Place, Sent};
use crate::checker::Violation;
use crate::kafka::batch::RecordId;
use crate::kafka::plan::{PartitionIx, Policy};

const COMPACTION: &str = "compaction";
const RETENTION: &str = "retention";

impl Model {
    /// Something known was not there, behind the beginning of its partition.
    pub(super) fn is_gone(&mut self, partition: PartitionIx, offset: u64) -> Result<(), Violation> {
        let place = format!("{} offset {offset}", self.plan.name(partition));
        let Some(known) = self.logs[partition].known.get(&offset).copied() else { return Ok(()) };
        let Policy::Compact { tombstone_ms } = self.plan.policy(partition) else {
            return Err(Violation::new(COMPACTION, format!("{place} named {known:?} and is gone")));
        };
        let may = match known {
            // When it was written nobody was told; it is as old as the youngest day is long, or it must be there.
            Known::Marker { .. } => tombstone_ms < 1_000,
            Known::Record(id) => self.may_be_compacted(id, offset, tombstone_ms),
        };
        if !may {
            let text = format!("{place} named {} and is gone, and nothing has its place", self.describe(known));
            return Err(Violation::new(COMPACTION, text));
        }
        self.counts.compacted += 1;
        Ok(())
    }

    /// These records were shown of a partition, all at once, up to its end. Whoever keeps the last of each key may not be set
    /// back: where a newer one is gone, by compaction, so is what it had superseded.
    ///
    /// # Errors
    /// Something superseded is the last of its key again.
    pub(super) fn nothing_is_back(&self, partition: PartitionIx, shown: &[(u64, RecordId)], end: u64) -> Result<(), Violation> {
        let counts = |id: RecordId| self.transaction_of(id).is_none_or(|tx| self.transactions[tx].state == State::Committed);
        let keyed = shown.iter().filter_map(|(offset, id)| Some((self.records[*id as usize].record.key?, (*offset, *id))));
        // One that may have been committed may be what took away the others.
        let may_count = |id: RecordId| self.transaction_of(id).is_none_or(|tx| self.may_be_committed(tx));
        let last: BTreeMap<u32, (u64, RecordId)> = keyed.filter(|(_, (_, id))| may_count(*id)).collect();
        for (key, (offset, id)) in last.into_iter().filter(|(_, (_, id))| counts(*id)) {
            let all = self.by_key.get(&(partition, key)).into_iter().flatten();
            let newer = all.copied().find(|other| {
                matches!(self.records[*other as usize].place, Place::At(at) if at > offset && at < end) && counts(*other)
            });
            if let Some(newer) = newer {
                let (place, known) = (self.plan.name(partition), self.describe(Known::Record(newer)));
                let text = format!("{place}: record {id} at {offset} is the last of its key again, although this was: {known}");
                return Err(Violation::new(COMPACTION, text));
            }
        }
        Ok(())
    }

    /// What is known of it, for people.
    fn describe(&self, known: Known) -> String {
        let Known::Record(id) = known else { return format!("{known:?}") };
        let Sent { record, batch, .. } = &self.records[id as usize];
        let kind = if record.len.is_none() { "tombstone" } else { "record" };
        let state = self.batches[*batch].transaction.map(|tx| self.transactions[tx].state);
        let others = record.key.and_then(|key| self.by_key.get(&(record.partition, key)));
        let others = others.into_iter().flatten().rev().take(4).map(|other| {
            let state = self.transaction_of(*other).map(|tx| self.transactions[tx].state);
            format!("{other} {:?} {state:?}", self.records[*other as usize].place)
        });
        let others: Vec<String> = others.collect();
        format!("{kind} {id} (key {:?}, {state:?}; the last of its key: {others:?})", record.key)
    }

    fn may_be_compacted(&self, id: RecordId, offset: u64, tombstone_ms: u64) -> bool {
        let sent = &self.records[id as usize];
        let aborted = self.transaction_of(id).is_some_and(|tx| self.may_be_aborted(tx));
        // It is kept for so long after it was first cleaned, and that was not before it was made: the wall clock may have been
        // set back first, and forward later.
        let old = sent.made_ms + tombstone_ms <= self.wall_max_ms + self.set_back_ms;
        if aborted || (sent.record.len.is_none() && old) {
            return true;
        }
        let Some(key) = sent.record.key else { return false };
        let partition = sent.record.partition;
        self.by_key.get(&(partition, key)).is_some_and(|ids| ids.iter().any(|other| self.is_newer(*other, offset)))
    }

    /// Whether this record may stand, committed, behind that offset.
    fn is_newer(&self, id: RecordId, offset: u64) -> bool {
        let stands = match self.records[id as usize].place {
            Place::At(other) => other > offset,
            Place::Perhaps => true,
            Place::Never => false,
        };
        stands && self.transaction_of(id).is_none_or(|tx| self.may_be_committed(tx))
    }

    /// A partition is said to begin here.
    pub(super) fn begins_at(&mut self, partition: PartitionIx, start: u64) -> Result<(), Violation> {
        let log = &self.logs[partition];
        let before: Vec<u64> = log.known.range(log.trim_asked..start.max(log.trim_asked)).map(|(offset, _)| *offset).collect();
        for offset in before {
            let Some(Known::Record(id)) = self.logs[partition].known.get(&offset).copied() else { continue };
            let written_ms = self.records[id as usize].record.timestamp_ms;
            let old = match self.plan.policy(partition) {
                Policy::Retain { retention_ms } => written_ms.saturating_add(retention_ms) < self.wall_max_ms,
                Policy::Keep | Policy::Compact { .. } => false,
            };
            if !old {
                let name = self.plan.name(partition);
                return Err(Violation::new(RETENTION, format!("{name} begins at {start}, and record {id} at {offset} is lost")));
            }
        }
        Ok(())
    }
}
