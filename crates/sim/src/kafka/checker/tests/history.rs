//! Writing histories: what producers send and are told, and what readers are shown, in a few words.

use std::rc::Rc;

use model::record;

use crate::checker::Violation;
use crate::kafka::Model;
use crate::kafka::batch::{Codec, Record, Stamp};
use crate::kafka::checker::log::Read;
use crate::kafka::checker::transactions::State;
use crate::kafka::checker::{BatchIx, TxIx};
use crate::kafka::plan::{PartitionIx, Plan, Policy, TopicPlan};

/// Nothing of it ever goes.
pub const KEPT: PartitionIx = 0;
/// Another of the same topic.
pub const OTHER: PartitionIx = 1;
/// Tombstones and markers may go at once.
pub const COMPACTED: PartitionIx = 2;
/// What is older than [`RETENTION_MS`] goes.
pub const RETAINED: PartitionIx = 3;
/// Tombstones are kept for [`LASTING_MS`].
pub const LASTING: PartitionIx = 4;
pub const LASTING_MS: u64 = 86_400_000;
pub const RETENTION_MS: u64 = 1_000;
/// The wall clock.
pub const NOW_MS: u64 = 100_000;

/// One producer, which writes under one identity.
pub struct History {
    pub model: Model,
    sequences: [i32; 5],
}

/// What is shown of a partition. Batches stand where they are said to stand.
pub struct Shown<'h> {
    history: &'h mut History,
    read: Read<'static>,
    bytes: Vec<u8>,
}

pub const STAMP: Stamp = Stamp { producer_id: 7, epoch: 0, sequence: 0, transactional: false };

impl History {
    pub fn new() -> History {
        let topic = |name: &str, partitions, policy| TopicPlan {
            name: name.into(),
            partitions,
            policy,
            trims: false,
            config: Vec::new(),
        };
        let topics = vec![
            topic("kept", 2, Policy::Keep),
            topic("compacted", 1, Policy::Compact { tombstone_ms: 0 }),
            topic("retained", 1, Policy::Retain { retention_ms: RETENTION_MS }),
            topic("lasting", 1, Policy::Compact { tombstone_ms: LASTING_MS }),
        ];
        let plan = Plan { topics, partitions: vec![(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)], ..Plan::nothing() };
        let mut model = Model::new(Rc::new(plan));
        model.at_wall(NOW_MS);
        History { model, sequences: [0; 5] }
    }

    /// A batch of so many records is sent, of a transaction or not.
    pub fn send(&mut self, partition: PartitionIx, count: u32, tx: Option<TxIx>) -> BatchIx {
        self.send_keyed(partition, count, tx, None, Some(20))
    }

    /// The same with a key; `len` `None`: tombstones.
    pub fn send_keyed(
        &mut self,
        partition: PartitionIx,
        count: u32,
        tx: Option<TxIx>,
        key: Option<u32>,
        len: Option<usize>,
    ) -> BatchIx {
        let first = self.model.next_record();
        let record = |nth| Record { id: first + nth, partition, key, len, timestamp_ms: NOW_MS - 10 };
        let stamp = Stamp { sequence: self.sequences[partition], transactional: tx.is_some(), ..STAMP };
        self.sequences[partition] += count as i32;
        let batch = self.model.make_batch(0, (0..count).map(record).collect(), stamp, Codec::None, tx);
        self.model.batches[batch].attempts = 1;
        batch
    }

    pub fn begin(&mut self) -> TxIx {
        self.model.begin_transaction(u64::MAX)
    }

    /// The producer asks for the end of a transaction.
    pub fn end(&mut self, tx: TxIx, commit: bool) {
        self.model.transactions[tx].state = State::Ending { commit };
    }

    /// Begin to show a partition that goes to `high`, all of it stable.
    pub fn show(&mut self, partition: PartitionIx, committed: bool, high: i64) -> Shown<'_> {
        let sight = self.model.logs[partition].sight;
        let read =
            Read { partition, committed, offset: 0, sight, high, stable: high, start: 0, aborted: Vec::new(), records: &[] };
        Shown { history: self, read, bytes: Vec::new() }
    }
}

impl Shown<'_> {
    fn put(mut self, base: u64, batch: &[u8]) -> Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(batch);
        self.bytes[at..at + 8].copy_from_slice(&base.to_be_bytes());
        self
    }

    /// A batch as it was sent.
    pub fn batch(self, base: u64, batch: BatchIx) -> Self {
        let bytes = self.history.model.batches[batch].bytes.clone();
        self.put(base, &bytes)
    }

    /// A batch with one byte of the last record another than it was sent with.
    pub fn spoilt(self, base: u64, batch: BatchIx) -> Self {
        let mut bytes = self.history.model.batches[batch].bytes.clone();
        let at = bytes.len() - 12;
        bytes[at] ^= 1;
        record::seal(&mut bytes);
        self.put(base, &bytes)
    }

    pub fn marker(self, base: u64, commit: bool) -> Self {
        self.put(base, &record::marker(STAMP.producer_id, STAMP.epoch, commit, NOW_MS))
    }

    pub fn aborted(mut self, first: i64) -> Self {
        self.read.aborted.push((STAMP.producer_id, first));
        self
    }

    pub fn stable(mut self, stable: i64) -> Self {
        self.read.stable = stable;
        self
    }

    pub fn start(mut self, start: i64) -> Self {
        self.read.start = start;
        self
    }

    pub fn from(mut self, offset: u64) -> Self {
        self.read.offset = offset;
        self
    }

    /// What the checkers say; where to read on.
    pub fn read(self) -> Result<u64, Violation> {
        self.history.model.read(&Read { records: &self.bytes, ..self.read })
    }
}
