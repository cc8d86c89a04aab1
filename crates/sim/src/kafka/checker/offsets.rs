//! What a group has committed does not go back, and offsets that are committed in a transaction count exactly if it is.

use super::{Model, TxIx};
use crate::checker::Violation;
use crate::kafka::plan::PartitionIx;

const NAME: &str = "offsets";

/// A commit of one partition's offset. Each of a group's is larger than those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub offset: i64,
    pub transaction: Option<TxIx>,
    pub state: Tried,
    /// How often it was sent.
    pub sent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    Perhaps,
    /// It was answered, or seen.
    Done,
    Never,
}

/// A commit, by its group, its partition, and its place among the attempts.
pub type AttemptIx = (usize, PartitionIx, usize);

/// What a group is told of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// -1: nothing.
    Offset(i64, &'a str),
    /// A transaction may change it.
    Unstable,
}

/// What is kept beside an offset.
pub fn metadata(offset: i64) -> String {
    if offset % 3 == 0 { String::new() } else { format!("meta-{offset}") }
}

impl Model {
    /// An offset is about to be committed.
    pub fn tries(&mut self, group: usize, partition: PartitionIx, transaction: Option<TxIx>) -> AttemptIx {
        let attempts = self.positions.entry((group, partition)).or_default();
        let offset = attempts.last().map_or(1, |last| last.offset + 1);
        attempts.push(Attempt { offset, transaction, state: Tried::Perhaps, sent: 0 });
        (group, partition, attempts.len() - 1)
    }

    pub fn attempt(&self, (group, partition, at): AttemptIx) -> Option<&Attempt> {
        self.positions.get(&(group, partition))?.get(at)
    }

    pub fn sent(&mut self, at: AttemptIx) {
        self.attempt_mut(at).into_iter().for_each(|attempt| attempt.sent += 1);
    }

    /// It was answered. If it was refused, and sent just once, it never counts.
    pub fn tried(&mut self, at: AttemptIx, done: bool) {
        if let Some(attempt) = self.attempt_mut(at) {
            attempt.state = match (done, attempt.sent) {
                (true, _) => Tried::Done,
                (false, ..=1) => Tried::Never,
                (false, _) => attempt.state,
            };
        }
        self.counts.offsets += u64::from(done);
    }

    fn attempt_mut(&mut self, (group, partition, at): AttemptIx) -> Option<&mut Attempt> {
        self.positions.get_mut(&(group, partition))?.get_mut(at)
    }

    /// How many attempts there are.
    pub fn attempts(&self, group: usize, partition: PartitionIx) -> usize {
        self.positions.get(&(group, partition)).map_or(0, Vec::len)
    }

    fn counts_surely(&self, attempt: &Attempt) -> bool {
        match attempt.transaction {
            None => attempt.state == Tried::Done,
            // Nobody commits a transaction before all its offsets were answered.
            Some(tx) => attempt.state == Tried::Done && !self.may_be_aborted(tx) && self.may_be_committed(tx),
        }
    }

    fn may_count(&self, attempt: &Attempt) -> bool {
        attempt.state != Tried::Never && attempt.transaction.is_none_or(|tx| self.may_be_committed(tx))
    }

    /// A group's offset was told; `upto`: so many attempts had been made when it was asked for.
    ///
    /// # Errors
    /// It is one that it cannot be.
    pub fn position(
        &mut self,
        group: usize,
        partition: PartitionIx,
        upto: usize,
        stable: bool,
        told: &Told<'_>,
    ) -> Result<(), Violation> {
        let attempts = self.positions.get(&(group, partition)).map_or(&[][..], |all| all.get(..upto).unwrap_or(all));
        let name = format!("group {group} of {}", self.plan.name(partition));
        let wrong = |text: String| Err(Violation::new(NAME, format!("{name}: {text}")));
        let pending = |attempt: &Attempt| {
            let tx = attempt.transaction?;
            (attempt.state != Tried::Never).then_some(tx)
        };
        let Told::Offset(offset, kept) = told else {
            // It may have ended since.
            return match stable && attempts.iter().any(|attempt| pending(attempt).is_some()) {
                true => Ok(()),
                false => wrong("it is said that a transaction may change it, and there is none".into()),
            };
        };
        let surely_open = |tx: TxIx| !self.may_be_aborted(tx) && !self.may_be_committed(tx);
        let open = |attempt: &&Attempt| attempt.state == Tried::Done && attempt.transaction.is_some_and(surely_open);
        if let Some(attempt) = attempts.iter().find(open).filter(|_| stable) {
            return wrong(format!("{offset} is said to be stable, but {attempt:?} is pending"));
        }
        let last = attempts.iter().rposition(|attempt| self.counts_surely(attempt));
        let from = last.unwrap_or(0);
        let found = attempts[from.min(attempts.len())..].iter().position(|attempt| attempt.offset == *offset).map(|at| at + from);
        let Some(at) = found else {
            return match last {
                None if *offset == -1 => Ok(()),
                _ => wrong(format!("it is told {offset}; of its {upto} commits {:?} counts", last.map(|at| &attempts[at]))),
            };
        };
        if !self.may_count(&attempts[at]) {
            return wrong(format!("it is told {offset}, which does not count: {:?}", attempts[at]));
        }
        if *kept != metadata(*offset) {
            return wrong(format!("{offset} was committed with other metadata than {kept:?}"));
        }
        let transaction = attempts[at].transaction;
        if let Some(attempt) = self.positions.get_mut(&(group, partition)).and_then(|all| all.get_mut(at)) {
            attempt.state = Tried::Done;
        }
        if let Some(tx) = transaction {
            self.transactions[tx].state = super::transactions::State::Committed;
        }
        Ok(())
    }
}
