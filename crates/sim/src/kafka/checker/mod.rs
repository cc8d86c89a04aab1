//! What must hold for topics and groups: a model of what clients know, and one file for each promise.
//!
//! As with AMQP the model hears only what clients sent and were told. Where a client cannot know, both are allowed; what
//! is seen once is known from then on.
//!
//! # Layout
//! - this file: what was sent, and what is known of it
//! - [`log`]: an offset names one record for ever, what was confirmed is there, nothing is there twice, and what is shown
//!   once is not taken back
//! - [`transactions`]: readers of committed records see all of a committed transaction and nothing of any other
//! - [`compaction`]: what may be gone: by compaction, retention or because somebody asked
//! - [`offsets`]: what a group has committed does not go back
//! - [`groups`]: no generation of a group has one partition at two members
//! - [`lives`]: a topic that was deleted is gone, and begins anew when it is made again

pub mod compaction;
pub mod groups;
pub mod lives;
pub mod log;
pub mod offsets;
#[cfg(test)]
mod tests;
pub mod transactions;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::ask::Identity;
use super::batch::{self, Codec, Record, RecordId, Stamp};
use super::plan::{PartitionIx, Plan, Policy};
use crate::checker::Violation;
use log::Log;
use offsets::Attempt;
use transactions::Transaction;

/// Names a batch for the whole run.
pub type BatchIx = usize;
/// Names a transaction for the whole run.
pub type TxIx = usize;

/// Where a record is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was sent, and may be there.
    Perhaps,
    At(u64),
    /// It was refused, or is known to have been lost before it was confirmed.
    Never,
}

/// A record as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub record: Record,
    pub batch: BatchIx,
    /// The client that sent it.
    pub writer: usize,
    /// When it was made, whatever its own time stamp says, by a clock that is as [`Model::unset_wall_ms`].
    pub made_ms: u64,
    pub place: Place,
}

/// A batch as it was sent, perhaps several times.
#[derive(Clone, Debug)]
pub struct Batch {
    pub partition: PartitionIx,
    pub first: RecordId,
    pub count: u32,
    pub stamp: Stamp,
    pub transaction: Option<TxIx>,
    pub bytes: Vec<u8>,
    /// How often it was sent.
    pub attempts: u32,
    /// It was confirmed at this offset.
    pub confirmed: Option<u64>,
}

/// For people who want to know whether anything happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub produced: u64,
    pub confirmed: u64,
    /// Answered once more, with the offset they had.
    pub repeated: u64,
    pub read: u64,
    /// Answers of fetch sessions that named only what had news.
    pub incremental: u64,
    pub committed: u64,
    pub aborted: u64,
    pub fenced: u64,
    pub offsets: u64,
    /// How often a member was handed its part.
    pub joined: u64,
    /// How often a record was found to be gone because something newer has its key, or because it was aborted or old.
    pub compacted: u64,
    /// Records known that are before the beginning of their partition now.
    pub dropped: u64,
    /// Topics that were deleted, or had been.
    pub deleted: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.produced += other.produced;
        self.confirmed += other.confirmed;
        self.repeated += other.repeated;
        self.read += other.read;
        self.incremental += other.incremental;
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.fenced += other.fenced;
        self.offsets += other.offsets;
        self.joined += other.joined;
        self.compacted += other.compacted;
        self.dropped += other.dropped;
        self.deleted += other.deleted;
    }
}

pub struct Model {
    pub plan: Rc<Plan>,
    /// The latest that the wall clock has ever shown.
    pub wall_max_ms: u64,
    wall_ms: u64,
    /// By how much it has been set back, all in all.
    set_back_ms: u64,
    pub records: Vec<Sent>,
    pub batches: Vec<Batch>,
    pub transactions: Vec<Transaction>,
    pub logs: Vec<Log>,
    /// By group and partition, in the order in which they were tried.
    pub positions: BTreeMap<(usize, PartitionIx), Vec<Attempt>>,
    by_key: HashMap<(PartitionIx, u32), Vec<RecordId>>,
    /// Who was given which producer id and epoch.
    identities: BTreeMap<Identity, usize>,
    /// Of the group that members share.
    pub generations: groups::Generations,
    /// Ends of transactions that were asked for.
    pub ends: usize,
    /// How often a reader was shown what its producer had not been told of.
    pub glimpses: usize,
    pub counts: Counts,
}

impl Model {
    pub fn new(plan: Rc<Plan>) -> Model {
        Model {
            logs: plan.partitions.iter().map(|_| Log::default()).collect(),
            plan,
            wall_max_ms: 0,
            wall_ms: 0,
            set_back_ms: 0,
            records: Vec::new(),
            batches: Vec::new(),
            transactions: Vec::new(),
            positions: BTreeMap::new(),
            by_key: HashMap::new(),
            identities: BTreeMap::new(),
            generations: groups::Generations::default(),
            ends: 0,
            glimpses: 0,
            counts: Counts::default(),
        }
    }

    pub fn at_wall(&mut self, wall_ms: u64) {
        self.set_back_ms += self.wall_ms.saturating_sub(wall_ms);
        self.wall_ms = wall_ms;
        self.wall_max_ms = self.wall_max_ms.max(wall_ms);
    }

    /// The wall clock if nobody had ever set it back.
    fn unset_wall_ms(&self) -> u64 {
        self.wall_ms + self.set_back_ms
    }

    /// A producer was given an id and an epoch.
    ///
    /// # Errors
    /// They had been given before.
    pub fn identified(&mut self, client: usize, id: Identity) -> Result<(), Violation> {
        match self.identities.insert(id, client) {
            None => Ok(()),
            Some(other) => {
                let text = format!("client {client} was given the producer id and epoch {id:?}, which client {other} has");
                Err(Violation::new(log::NAME, text))
            }
        }
    }

    /// The number of the next record.
    pub fn next_record(&self) -> RecordId {
        self.records.len() as RecordId
    }

    /// A batch is made, to be sent. Its records have the next numbers.
    pub fn make_batch(
        &mut self,
        writer: usize,
        records: Vec<Record>,
        stamp: Stamp,
        codec: Codec,
        transaction: Option<TxIx>,
    ) -> BatchIx {
        let at = self.batches.len();
        let bytes = batch::encode(&records, stamp, codec);
        let made_ms = self.unset_wall_ms();
        let (partition, first, count) = (records[0].partition, records[0].id, records.len() as u32);
        for record in records {
            if let Some(key) = record.key {
                self.by_key.entry((partition, key)).or_default().push(record.id);
            }
            self.records.push(Sent { record, batch: at, writer, made_ms, place: Place::Perhaps });
        }
        self.counts.produced += u64::from(count);
        self.batches.push(Batch { partition, first, count, stamp, transaction, bytes, attempts: 0, confirmed: None });
        at
    }

    /// A batch was refused. If it was sent just once it can never be there.
    ///
    /// # Errors
    /// It has been seen already.
    pub fn refused(&mut self, batch: BatchIx) -> Result<(), Violation> {
        let Batch { first, count, attempts, .. } = self.batches[batch];
        if attempts > 1 {
            return Ok(());
        }
        for id in first..first + count {
            self.never(id)?;
        }
        Ok(())
    }

    fn never(&mut self, id: RecordId) -> Result<(), Violation> {
        let sent = &mut self.records[id as usize];
        if let Place::At(offset) = sent.place {
            return Err(log::invented(format!("record {id} was refused and yet stands at offset {offset}")));
        }
        sent.place = Place::Never;
        Ok(())
    }

    /// Everything was read with nobody else there. What is not there by now, and that nobody will send again, never
    /// will be. `live`: batches that will. What is compacted may have been there, and have gone.
    pub fn everything_was_read(&mut self, live: &dyn Fn(BatchIx) -> bool) {
        self.counts.dropped = self.logs.iter().map(|log| log.known.range(..log.start).count() as u64).sum();
        for sent in &mut self.records {
            let compacts = matches!(self.plan.policy(sent.record.partition), Policy::Compact { .. });
            if sent.place == Place::Perhaps && !compacts && !live(sent.batch) {
                sent.place = Place::Never;
            }
        }
    }

    pub(super) fn transaction_of(&self, id: RecordId) -> Option<TxIx> {
        self.batches[self.records[id as usize].batch].transaction
    }
}
