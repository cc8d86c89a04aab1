//! What must hold, whatever happens to the broker. A pure machine: it hears what clients did and saw, in the order they did
//! and saw it, and names every broken promise.
//!
//! - *Offsets*: an offset names one record for ever, whether an answer to its producer said so or a reader saw it.
//! - *Lost*: what an answer or a reader told of is seen by everybody who reads past it. Not seen may be what its transaction
//!   aborted, by those who read committed records, and what a later record of its key replaced, on a compacted topic.
//! - *Doubled*: a record lies at one offset, however often its producer has repeated it.
//! - *Invented*: only what was sent, only where it was sent to.
//! - *Transactions*: those who read committed records see all of a committed transaction and nothing of an aborted one; nobody
//!   gets past an open one. One whose end was asked for but not answered may be either, but only one, with its offsets.
//! - *Commits*: a group's committed offset is the last one that was answered, or one that was sent after it.
//! - *Made once*: of each record that was consumed and transformed in a transaction, one committed record comes out.
//! - *Compaction*: the newest record of every key stays; a deleted key does not come back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::record::{Id, Spot, Topic};
use crate::torture::fault::Broken;

/// Names a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Its end was not asked for.
    Open,
    /// Its commit was asked for and not answered.
    Either,
    Committed,
    Aborted,
}

/// A record that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    topic: Topic,
    transaction: Option<Transaction>,
    /// What it was made of.
    of: Option<Id>,
    offset: Option<u64>,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, Default)]
struct Commits {
    /// Answered, or seen.
    last: Option<u64>,
    /// Sent after it.
    pending: Vec<Commit>,
}

#[derive(Clone, Copy, Debug)]
struct Commit {
    offset: u64,
    transaction: Option<Transaction>,
    /// The run of the broker that it was sent to.
    run: u32,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub sent: u64,
    pub acked: u64,
    pub read: u64,
    pub committed: u64,
    pub aborted: u64,
    /// Transactions whose end was not answered.
    pub undecided: u64,
    pub offsets: u64,
    pub transformed: u64,
    pub compacted: u64,
}

#[derive(Default)]
pub struct Checker {
    /// What lies at an offset, as far as anybody was told.
    logs: BTreeMap<Spot, BTreeMap<u64, Id>>,
    /// By producer, in the order of their numbers.
    sent: HashMap<u16, Vec<Sent>>,
    transactions: Vec<Outcome>,
    commits: HashMap<(&'static str, Spot), Commits>,
    /// What was made of a record, and committed.
    made: HashMap<Id, Id>,
    /// The last tombstone that was sent, by key.
    tombstones: HashMap<u64, u64>,
    run: u32,
    figures: Figures,
    broken: Broken,
}

impl Checker {
    pub fn figures(&self) -> Figures {
        self.figures
    }

    pub fn broken(&self) -> &Broken {
        &self.broken
    }

    pub fn violation(&mut self, words: String) {
        self.broken.note(words);
    }

    /// A record is about to be sent for the first time. Returns its name; its spot follows from that.
    pub fn sent(&mut self, producer: u16, topic: Topic, transaction: Option<Transaction>, of: Option<Id>) -> Id {
        let records = self.sent.entry(producer).or_default();
        records.push(Sent { topic, transaction, of, offset: None });
        let id = Id { producer, number: records.len() as u64 };
        if id.is_tombstone(topic)
            && let Some(key) = id.key(topic)
        {
            self.tombstones.insert(key, id.number);
        }
        self.figures.sent += 1;
        id
    }

    /// The broker has answered: these records lie at `base` and behind it.
    pub fn acked(&mut self, spot: Spot, base: u64, ids: &[Id]) {
        self.figures.acked += ids.len() as u64;
        for (offset, id) in (base..).zip(ids) {
            self.place(spot, offset, *id, "an answer says");
        }
    }

    /// A reader asked for `range` and got these, in this order. `committed`: it wants committed records only.
    pub fn read(&mut self, spot: Spot, committed: bool, range: Range<u64>, records: &[(u64, Id)]) {
        self.figures.read += records.len() as u64;
        if !records.is_sorted_by_key(|(offset, _)| *offset) {
            self.violation(format!("order: {spot} was handed out with offsets that do not ascend"));
        }
        let seen = self.see(spot, committed, records);
        let known: Vec<_> = self.logs.entry(spot).or_default().range(range).map(|(offset, id)| (*offset, *id)).collect();
        for (offset, id) in known.into_iter().filter(|(offset, _)| !seen.contains(offset)) {
            if let Some(words) = self.missing(id, committed) {
                self.violation(format!("{words}: {id:?} lies at offset {offset} of {spot}, and a reader got past without it"));
            }
        }
    }

    /// A compacted partition that ended at `end` or later was read from its beginning to that end.
    pub fn scanned(&mut self, spot: Spot, end: u64, records: &[(u64, Id)]) {
        self.figures.read += records.len() as u64;
        let seen = self.see(spot, false, records);
        let mut newest: HashMap<Option<u64>, Id> = HashMap::new();
        for (_, id) in records {
            newest.insert(id.key(spot.topic), *id);
        }
        let known: Vec<_> = self.logs.entry(spot).or_default().range(..end).map(|(offset, id)| (*offset, *id)).collect();
        for (offset, id) in known.into_iter().filter(|(offset, _)| !seen.contains(offset)) {
            let key = id.key(spot.topic);
            let replaced = newest.get(&key).is_some_and(|newer| newer.number > id.number);
            let deleted = key.and_then(|key| self.tombstones.get(&key)).is_some_and(|number| *number >= id.number);
            let older = newest.get(&key).is_some_and(|older| older.number < id.number);
            if replaced || (deleted && !older) {
                self.figures.compacted += 1;
            } else if deleted {
                self.violation(format!(
                    "back from the dead: {spot} has an older record than {id:?} at {offset}, and not that one"
                ));
            } else {
                self.violation(format!("lost: {id:?} at offset {offset} of {spot} was the newest of its key, and is gone"));
            }
        }
    }

    /// Where a partition ends, while nobody writes.
    pub fn ended(&mut self, spot: Spot, end: u64) {
        let last = self.logs.get(&spot).and_then(|log| log.last_key_value()).map(|(offset, id)| (*offset, *id));
        if let Some((offset, id)) = last.filter(|(offset, _)| *offset >= end) {
            self.violation(format!("lost: {spot} ends at {end}, and {id:?} lay at offset {offset}"));
        }
    }

    pub fn begin(&mut self) -> Transaction {
        self.transactions.push(Outcome::Open);
        Transaction(self.transactions.len() - 1)
    }

    /// The end of a transaction is about to be asked for.
    pub fn ending(&mut self, transaction: Transaction, commit: bool) {
        self.transactions[transaction.0] = if commit { Outcome::Either } else { Outcome::Aborted };
        *(if commit { &mut self.figures.undecided } else { &mut self.figures.aborted }) += 1;
    }

    /// The answer came.
    pub fn end(&mut self, transaction: Transaction, commit: bool) {
        self.decide(transaction, commit, "an answer");
        for commits in self.commits.values_mut() {
            let answered = commits.pending.iter().rposition(|commit| commit.transaction == Some(transaction));
            if let Some(at) = answered.filter(|_| commit) {
                commits.last = Some(commits.pending[at].offset);
                commits.pending.drain(..=at);
            }
        }
    }

    /// An offset is about to be committed.
    pub fn committing(&mut self, group: &'static str, spot: Spot, offset: u64, transaction: Option<Transaction>) {
        let commit = Commit { offset, transaction, run: self.run };
        self.commits.entry((group, spot)).or_default().pending.push(commit);
    }

    /// The broker has answered to it: accepted or refused.
    pub fn commit_answered(&mut self, group: &'static str, spot: Spot, offset: u64, accepted: bool) {
        self.figures.offsets += u64::from(accepted);
        let commits = self.commits.entry((group, spot)).or_default();
        let Some(at) = commits.pending.iter().position(|commit| commit.offset == offset && commit.transaction.is_none()) else {
            // A reader has seen it before.
            return;
        };
        if accepted {
            commits.last = Some(offset);
            commits.pending.drain(..=at);
        } else {
            commits.pending.remove(at);
        }
    }

    /// What a group has committed, as the broker says; `None`: nothing.
    pub fn committed(&mut self, group: &'static str, spot: Spot, offset: Option<u64>) {
        let (run, outcomes) = (self.run, &self.transactions);
        let commits = self.commits.entry((group, spot)).or_default();
        let may_be = |commit: &Commit| {
            let outcome = commit.transaction.map(|transaction| outcomes[transaction.0]);
            Some(commit.offset) == offset && !matches!(outcome, Some(Outcome::Open | Outcome::Aborted))
        };
        let found = commits.pending.iter().rposition(may_be);
        if found.is_none() && commits.last != offset {
            let (last, pending) = (commits.last, commits.pending.clone());
            self.violation(format!("committed offset: {group} has {offset:?} of {spot}, after {last:?} and then {pending:?}"));
            return;
        }
        commits.last = offset;
        // What an earlier run of the broker has not kept, none will.
        let mut decided = Vec::new();
        let mut at = 0;
        commits.pending.retain(|commit| {
            let (kept, before) = (found == Some(at), found.is_some_and(|found| at <= found));
            at += 1;
            let over = before || commit.run < run;
            decided.extend(commit.transaction.filter(|_| over && (kept || !before)).map(|transaction| (transaction, kept)));
            !over
        });
        for (transaction, commit) in decided {
            self.decide(transaction, commit, "its offsets");
        }
    }

    /// The broker was killed; everything that its clients had still received has been told.
    pub fn restarted(&mut self) {
        self.run += 1;
        for outcome in self.transactions.iter_mut().filter(|outcome| **outcome == Outcome::Open) {
            *outcome = Outcome::Aborted;
            self.figures.aborted += 1;
        }
    }

    /// Everything was consumed and transformed up to the end: has something come out of all of it?
    pub fn finish(&mut self) {
        let mut lost = Vec::new();
        for (spot, log) in self.logs.iter().filter(|(spot, _)| spot.topic == Topic::Idempotent) {
            lost.extend(log.values().filter(|id| !self.made.contains_key(id)).map(|id| (*spot, *id)));
        }
        for (spot, id) in lost {
            self.violation(format!("made once: nothing was made of {id:?} of {spot}, and its group is past it"));
        }
    }

    /// Records that a reader got. Returns their offsets.
    fn see(&mut self, spot: Spot, committed: bool, records: &[(u64, Id)]) -> BTreeSet<u64> {
        for (offset, id) in records {
            if self.place(spot, *offset, *id, "a reader saw") && committed {
                self.seen_committed(*id);
            }
        }
        records.iter().map(|(offset, _)| *offset).collect()
    }

    /// A record lies at an offset. False: that cannot be.
    fn place(&mut self, spot: Spot, offset: u64, id: Id, who: &str) -> bool {
        let number = usize::try_from(id.number).unwrap_or(0);
        let sent = self.sent.get_mut(&id.producer).and_then(|all| all.get_mut(number.checked_sub(1)?));
        let Some(sent) = sent.filter(|sent| id.spot(sent.topic) == spot) else {
            self.violation(format!("invented: {who} {id:?} at offset {offset} of {spot}, where nobody had sent it"));
            return false;
        };
        let before = sent.offset.replace(offset).filter(|before| *before != offset);
        let there = self.logs.entry(spot).or_default().insert(offset, id).filter(|there| *there != id);
        if let Some(before) = before {
            self.violation(format!("doubled: {who} {id:?} at offset {offset} of {spot}, and it was at {before} before"));
        }
        if let Some(there) = there {
            self.violation(format!("offsets: {who} {id:?} at offset {offset} of {spot}, and {there:?} was there before"));
        }
        true
    }

    fn sent_as(&self, id: Id) -> Option<Sent> {
        let number = usize::try_from(id.number).ok()?;
        self.sent.get(&id.producer)?.get(number.checked_sub(1)?).copied()
    }

    /// Somebody who reads committed records saw it.
    fn seen_committed(&mut self, id: Id) {
        let Some(sent) = self.sent_as(id) else { return };
        if let Some(transaction) = sent.transaction {
            self.decide(transaction, true, "a reader of committed records");
        }
        if let Some(of) = sent.of {
            let other = self.made.insert(of, id);
            self.figures.transformed += u64::from(other.is_none());
            if let Some(other) = other.filter(|other| *other != id) {
                self.violation(format!("made once: of {of:?} both {other:?} and {id:?} were made and committed"));
            }
        }
    }

    /// Somebody got past it without seeing it. What that breaks, if anything.
    fn missing(&mut self, id: Id, committed: bool) -> Option<&'static str> {
        let transaction = self.sent_as(id)?.transaction.filter(|_| committed);
        let Some(transaction) = transaction else { return Some("lost") };
        match self.transactions[transaction.0] {
            Outcome::Aborted => None,
            Outcome::Either => {
                self.decide(transaction, false, "a reader of committed records");
                None
            }
            Outcome::Committed => Some("lost of a committed transaction"),
            Outcome::Open => Some("got past an open transaction"),
        }
    }

    /// It turns out what became of a transaction.
    fn decide(&mut self, transaction: Transaction, commit: bool, by: &str) {
        let outcome = &mut self.transactions[transaction.0];
        match (*outcome, commit) {
            (Outcome::Either, _) => {
                *outcome = if commit { Outcome::Committed } else { Outcome::Aborted };
                self.figures.undecided -= 1;
                *(if commit { &mut self.figures.committed } else { &mut self.figures.aborted }) += 1;
            }
            (Outcome::Committed, true) | (Outcome::Aborted, false) => {}
            (was, _) => {
                let now = if commit { "committed" } else { "aborted" };
                self.violation(format!("transaction {} was {was:?}, and by {by} it was {now}", transaction.0));
            }
        }
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
