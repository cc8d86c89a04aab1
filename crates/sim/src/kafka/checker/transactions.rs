//! Transactions: readers of committed records see all of a committed transaction, in all its partitions and groups, and
//! nothing of any other.

use std::collections::BTreeSet;

use super::log::Known;
use super::{BatchIx, Model, TxIx};
use crate::checker::Violation;
use crate::kafka::batch::RecordId;
use crate::kafka::plan::PartitionIx;

const NAME: &str = "transactions";

/// How a transaction stands, as far as its producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// Its end was asked for, and not answered.
    Ending {
        commit: bool,
    },
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
pub struct Transaction {
    pub state: State,
    /// From here on, by the wall clock, the broker may abort it.
    pub expires_ms: u64,
}

impl Model {
    pub fn begin_transaction(&mut self, expires_ms: u64) -> TxIx {
        self.transactions.push(Transaction { state: State::Open, expires_ms });
        self.transactions.len() - 1
    }

    /// Its producer was told how it ended.
    ///
    /// # Errors
    /// It has been seen to have ended otherwise.
    pub fn transaction_ended(&mut self, tx: TxIx, committed: bool) -> Result<(), Violation> {
        let state = self.transactions[tx].state;
        let contrary = if committed { State::Aborted } else { State::Committed };
        if state == contrary {
            return Err(Violation::new(
                NAME,
                format!("transaction {tx} is said to be committed ({committed}), but was {state:?}"),
            ));
        }
        self.transactions[tx].state = if committed { State::Committed } else { State::Aborted };
        *(if committed { &mut self.counts.committed } else { &mut self.counts.aborted }) += 1;
        Ok(())
    }

    /// The broker may have aborted it because it took too long.
    pub fn has_expired(&self, tx: TxIx) -> bool {
        self.wall_max_ms >= self.transactions[tx].expires_ms
    }

    /// The same of a batch's transaction.
    pub fn expired_of(&self, batch: BatchIx) -> bool {
        self.batches[batch].transaction.is_some_and(|tx| self.has_expired(tx))
    }

    pub(super) fn may_be_aborted(&self, tx: TxIx) -> bool {
        let state = self.transactions[tx].state;
        matches!(state, State::Ending { .. } | State::Aborted) || (state == State::Open && self.has_expired(tx))
    }

    pub(super) fn may_be_committed(&self, tx: TxIx) -> bool {
        matches!(self.transactions[tx].state, State::Ending { commit: true } | State::Committed)
    }

    /// A record of a transaction that is certainly open, where one is known below `stable`.
    pub(super) fn open_from(&self, partition: PartitionIx, stable: u64) -> Option<(u64, RecordId)> {
        // Old ones were looked at when they were new, and what was deleted stands in nobody's way.
        let from = stable.saturating_sub(200).max(self.logs[partition].trim_asked).min(stable);
        self.logs[partition].known.range(from..stable).find_map(|(offset, known)| {
            let Known::Record(id) = known else { return None };
            let tx = self.transaction_of(*id)?;
            let open = !self.may_be_aborted(tx) && !self.may_be_committed(tx);
            open.then_some((*offset, *id))
        })
    }

    /// A record was read by a reader of committed ones, who is to hide it or not.
    pub(super) fn judged(&mut self, id: RecordId, hidden: bool) -> Result<(), Violation> {
        let wrong = |text: String| Err(Violation::new(NAME, text));
        let Some(tx) = self.transaction_of(id) else {
            return if hidden { wrong(format!("record {id} is hidden, but is of no transaction")) } else { Ok(()) };
        };
        let state = self.transactions[tx].state;
        match hidden {
            true if !self.may_be_aborted(tx) => wrong(format!("record {id} is hidden, but transaction {tx} is {state:?}")),
            false if !self.may_be_committed(tx) => wrong(format!("record {id} is shown, but transaction {tx} is {state:?}")),
            true => {
                self.transactions[tx].state = State::Aborted;
                Ok(())
            }
            false => {
                self.transactions[tx].state = State::Committed;
                Ok(())
            }
        }
    }
}

/// What a reader of committed records hides, going through an answer: each producer's batches from the first offset of
/// an aborted transaction up to its marker.
pub struct Hidden {
    /// (first offset, producer id), the last first.
    to_come: Vec<(i64, i64)>,
    active: BTreeSet<i64>,
}

impl Hidden {
    pub fn new(aborted: &[(i64, i64)]) -> Hidden {
        let mut to_come: Vec<(i64, i64)> = aborted.iter().map(|(producer, first)| (*first, *producer)).collect();
        to_come.sort_unstable_by(|a, b| b.cmp(a));
        Hidden { to_come, active: BTreeSet::new() }
    }

    /// The next batch ends before this offset.
    pub fn up_to(&mut self, end: u64) {
        while let Some((first, producer)) = self.to_come.last().copied()
            && first < end as i64
        {
            self.active.insert(producer);
            self.to_come.pop();
        }
    }

    pub fn hides(&self, producer: i64) -> bool {
        self.active.contains(&producer)
    }

    /// A marker.
    pub fn ended(&mut self, producer: i64, commit: bool) {
        if !commit {
            self.active.remove(&producer);
        }
    }
}
