//! Transactions of producers: who may write under a transactional id, and how what they wrote is decided, all at once.
//!
//! The coordinator and every partition share one journal, so that the markers of all partitions, the offsets of all groups
//! and the outcome are one atomic group: a transaction is never half decided, and nothing has to be completed later.
//! What is called the AMQP transaction (`tx`) is another thing; it lives in [`crate::scope`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::group::{TransactionInfo, TransactionRef, TransactionState};
use model::planted::{self, Bug};
use model::record::{self, BatchHead};
use model::topic::{Produce, TopicRef};
use model::{Failure, LogFailure, Lsn, Now, Reply, limits};
use storage::LogId;

use crate::broker::Broker;
use crate::catalog::Entry;
use crate::group::requests::check_length;

/// Producer ids that one entry of the catalog reserves.
const RESERVED_IDS: i64 = 1000;
/// A transactional id that was not used for so long is forgotten (`transactional.id.expiration.ms`).
pub(crate) const FORGOTTEN_AFTER_MS: u64 = 7 * 86_400_000;
/// Transactions that are aborted in one turn because they are open for too long. Few in tests, so that there are turns.
const ABORTED_PER_TURN: usize = if cfg!(test) { 4 } else { 256 };
/// Aborted transactions that all partitions remember, beyond which no more records are written in transactions. Few in tests.
const ABORTED_MAX: usize = if cfg!(test) { 100 } else { limits::ABORTED_TRANSACTIONS_MAX };
/// What a transactional id takes in memory beside its name, about, in bytes; and each partition and group of its transaction.
const ID_BYTES: usize = 256;
const PARTITION_BYTES: usize = 16;
const GROUP_BYTES: usize = 64;

/// A transactional id.
#[derive(Clone, Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    timeout_ms: i32,
    state: TransactionState,
    /// Wall clock.
    started_ms: u64,
    /// Wall clock.
    used_ms: u64,
    partitions: BTreeSet<LogId>,
    groups: BTreeSet<String>,
    /// What its producer had before, where it was given the present id and epoch in exchange: when it asked for them, or when
    /// its transaction ended. Who still has that has not heard the answer. `None`: somebody began anew, and shut out whoever
    /// was there.
    last: Option<(i64, i16)>,
    /// Its last change is safe from here on.
    end: Lsn,
}

impl Transaction {
    /// When it is aborted, if it is open: wall ms.
    fn due_ms(&self) -> u64 {
        self.started_ms.saturating_add(u64::try_from(self.timeout_ms).unwrap_or(0))
    }

    /// What it takes in memory, about.
    fn bytes(&self, name: &str) -> usize {
        let groups: usize = self.groups.iter().map(|group| GROUP_BYTES + group.len()).sum();
        ID_BYTES + name.len() + self.partitions.len() * PARTITION_BYTES + groups
    }
}

/// How a transaction ends.
#[derive(Clone, Copy)]
struct Ending {
    commit: bool,
    /// Who may write from here on.
    next: (i64, i16),
    /// That is nobody yet: its producer is shut out, and is not told of `next`.
    fenced: bool,
}

/// All transactional ids.
#[derive(Default)]
pub(crate) struct Transactions {
    ids: HashMap<Arc<str>, Transaction, RandomState>,
    /// When open ones are aborted: (wall ms, transactional id).
    due: BTreeSet<(u64, Arc<str>)>,
    /// What all take in memory, about.
    bytes: usize,
    next_producer: i64,
    /// Producer ids below may have been given out.
    reserved: i64,
    next_sweep_ms: u64,
}

impl Transactions {
    /// Take in an entry of the catalog; one that is not about transactions is handed back.
    pub fn apply(&mut self, entry: Entry) -> Option<Entry> {
        match entry {
            Entry::ProducerIds { below } => {
                self.reserved = self.reserved.max(below);
                self.next_producer = self.reserved;
            }
            Entry::Producer { transactional_id, producer_id, epoch, timeout_ms, at_ms, last } => {
                self.put(&transactional_id, (producer_id, epoch), last, timeout_ms, at_ms);
            }
            Entry::TransactionAdd { transactional_id, started_ms, partitions, groups } => {
                self.add(&transactional_id, started_ms, partitions.into_iter().map(LogId), groups);
            }
            Entry::EndTransaction { transactional_id, epoch, producer_id, commit, at_ms, fenced } => {
                self.end(&transactional_id, Ending { commit, next: (producer_id, epoch), fenced }, at_ms, Lsn(0));
            }
            other => return Some(other),
        }
        None
    }

    /// The entries that would make all of it afresh.
    pub fn snapshot(&self, entries: &mut Vec<Entry>) {
        if self.reserved > 0 {
            entries.push(Entry::ProducerIds { below: self.reserved });
        }
        let sorted: BTreeMap<_, _> = self.ids.iter().collect();
        for (id, transaction) in sorted {
            let (transactional_id, producer_id) = (id.to_string(), transaction.producer_id);
            let (epoch, at_ms) = (transaction.epoch, transaction.used_ms);
            entries.push(Entry::Producer {
                transactional_id: transactional_id.clone(),
                producer_id,
                epoch,
                timeout_ms: transaction.timeout_ms,
                at_ms,
                last: transaction.last,
            });
            match transaction.state {
                TransactionState::Empty => {}
                TransactionState::Ongoing => entries.push(Entry::TransactionAdd {
                    transactional_id,
                    started_ms: transaction.started_ms,
                    partitions: transaction.partitions.iter().map(|log| log.0).collect(),
                    groups: transaction.groups.iter().cloned().collect(),
                }),
                TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                    let commit = transaction.state == TransactionState::CompleteCommit;
                    let fenced = false;
                    entries.push(Entry::EndTransaction { transactional_id, producer_id, epoch, commit, at_ms, fenced });
                }
            }
        }
    }

    /// The groups whose offsets are part of its open transaction, and the producer that committed them.
    pub fn groups_of(&self, id: &str) -> impl Iterator<Item = (&str, i64)> {
        let found = self.ids.get(id).into_iter();
        found.flat_map(|found| found.groups.iter().map(|group| (group.as_str(), found.producer_id)))
    }

    fn put(&mut self, id: &str, (producer_id, epoch): (i64, i16), last: Option<(i64, i16)>, timeout_ms: i32, at_ms: u64) {
        let transaction = Transaction {
            producer_id,
            epoch,
            timeout_ms,
            state: TransactionState::Empty,
            started_ms: 0,
            used_ms: at_ms,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            last,
            end: Lsn(0),
        };
        self.bytes += transaction.bytes(id);
        let before = self.ids.insert(id.into(), transaction);
        self.bytes -= before.map_or(0, |before| before.bytes(id));
    }

    fn add(&mut self, id: &str, started_ms: u64, partitions: impl IntoIterator<Item = LogId>, groups: Vec<String>) {
        let Some((name, _)) = self.ids.get_key_value(id) else { return };
        let name = name.clone();
        let Some(transaction) = self.ids.get_mut(id) else { return };
        if transaction.state != TransactionState::Ongoing {
            transaction.state = TransactionState::Ongoing;
            transaction.started_ms = started_ms;
            self.due.insert((transaction.due_ms(), name));
        }
        for log in partitions {
            self.bytes += if transaction.partitions.insert(log) { PARTITION_BYTES } else { 0 };
        }
        for group in groups {
            let bytes = GROUP_BYTES + group.len();
            self.bytes += if transaction.groups.insert(group) { bytes } else { 0 };
        }
    }

    fn end(&mut self, id: &str, ending: Ending, at_ms: u64, end: Lsn) {
        let Some(transaction) = self.ids.get_mut(id) else { return };
        self.bytes -= transaction.bytes(id);
        transaction.state = if ending.commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
        let before = (transaction.producer_id, transaction.epoch);
        transaction.last = match ending.fenced {
            true => None,
            false if ending.next != before => Some(before),
            false => transaction.last,
        };
        (transaction.producer_id, transaction.epoch) = ending.next;
        (transaction.used_ms, transaction.end) = (at_ms, end);
        transaction.partitions.clear();
        transaction.groups.clear();
        self.bytes += transaction.bytes(id);
        let due_ms = transaction.due_ms();
        if let Some((name, _)) = self.ids.get_key_value(id) {
            self.due.remove(&(due_ms, name.clone()));
        }
    }

    /// The transaction that a producer means.
    fn check(&self, named: &TransactionRef<'_>) -> Result<&Transaction, Failure> {
        let found = self.ids.get(named.transactional_id).ok_or(LogFailure::InvalidProducerIdMapping)?;
        let named = (named.producer_id, named.epoch);
        if named == (found.producer_id, found.epoch) {
            return Ok(found);
        }
        if found.last == Some(named) {
            return Err(Failure::LogBecause { failure: LogFailure::ProducerFenced, text: ENDED.into() });
        }
        let mapped = found.producer_id == named.0;
        Err(if mapped { LogFailure::ProducerFenced } else { LogFailure::InvalidProducerIdMapping }.into())
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for more.
    ///
    /// # Errors
    /// `LimitReached`.
    fn check_room(&self) -> Result<(), Failure> {
        let max = limits::TRANSACTIONS_BYTES_MAX;
        if self.bytes < max { Ok(()) } else { Err(Failure::LimitReached(format!("transactions take {max} bytes, the limit"))) }
    }

    /// Forget ids that have not been used since then.
    fn forget_before(&mut self, oldest_ms: u64) {
        let bytes = &mut self.bytes;
        self.ids.retain(|name, found| {
            let kept = found.state == TransactionState::Ongoing || found.used_ms >= oldest_ms;
            *bytes -= if kept { 0 } else { found.bytes(name) };
            kept
        });
    }

    /// When the next open transaction is aborted, in ms of the wall clock.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }
}

/// The epoch that follows; `None`: a new producer id is needed.
fn next_epoch(epoch: i16) -> Option<i16> {
    // The last one is kept for fencing.
    (epoch < i16::MAX - 1).then(|| epoch + 1)
}

/// What a producer hears that goes on with a transaction that has ended, without having heard of it.
const ENDED: &str = "the transaction of this epoch has ended, perhaps because it was open for too long: abort it and go on";

/// A failure that concerns what a producer writes, as those who write hear it: it may abort its transaction, and go on
/// unless another has taken over (KIP-588).
fn as_written(failure: Failure) -> Failure {
    match failure {
        Failure::Log(LogFailure::ProducerFenced) => LogFailure::InvalidProducerEpoch.into(),
        Failure::LogBecause { failure: LogFailure::ProducerFenced, text } => {
            Failure::LogBecause { failure: LogFailure::InvalidProducerEpoch, text }
        }
        other => other,
    }
}

impl Broker {
    fn new_producer_id(&mut self) -> i64 {
        if self.transactions.next_producer >= self.transactions.reserved {
            self.transactions.reserved += RESERVED_IDS;
            self.record(&Entry::ProducerIds { below: self.transactions.reserved });
        }
        let id = self.transactions.next_producer;
        self.transactions.next_producer += 1;
        id
    }

    pub(crate) fn init_producer(
        &mut self,
        transactional_id: Option<&str>,
        timeout_ms: i32,
        known: Option<(i64, i16)>,
        now: Now,
    ) -> Result<Reply, Failure> {
        let Some(name) = transactional_id else {
            let id = self.new_producer_id();
            return Ok(Reply::Producer { id, epoch: 0, durable_at: self.catalog_end });
        };
        if name.is_empty() || name.len() > limits::CLIENT_NAME_BYTES_MAX {
            return Err(LogFailure::InvalidRequest.into());
        }
        if timeout_ms <= 0 || timeout_ms > self.options.topics.transaction_timeout_ms_max {
            return Err(LogFailure::InvalidTransactionTimeout.into());
        }
        let found = self.transactions.ids.get(name).cloned();
        let (producer_id, epoch) = match (&found, known) {
            (None, _) => {
                if self.transactions.ids.len() >= limits::TRANSACTIONAL_IDS_MAX {
                    return Err(Failure::LimitReached("too many transactional ids".into()));
                }
                self.transactions.check_room()?;
                (self.new_producer_id(), 0)
            }
            // The answer to the same question was lost, or the transaction has ended without its producer.
            (Some(found), Some(_)) if found.last == known && found.state != TransactionState::Ongoing => {
                let (id, epoch) = (found.producer_id, found.epoch);
                return Ok(Reply::Producer { id, epoch, durable_at: self.catalog_end });
            }
            (Some(found), Some(known)) if known != (found.producer_id, found.epoch) => {
                return Err(LogFailure::ProducerFenced.into());
            }
            (Some(found), _) => match next_epoch(found.epoch) {
                Some(epoch) => (found.producer_id, epoch),
                None => (self.new_producer_id(), 0),
            },
        };
        let was_known = found.is_some();
        if let Some(found) = found
            && found.state == TransactionState::Ongoing
        {
            // The abort carries an epoch that shuts out whoever had it open.
            let fence = found.epoch.saturating_add(1);
            let ending = Ending { commit: false, next: (found.producer_id, fence), fenced: true };
            self.finish_transaction(name, ending, fence, now);
        }
        let (transactional_id, at_ms) = (name.into(), now.wall_ms);
        // One that was not known before exchanges nothing.
        let last = known.filter(|_| was_known);
        let entry = Entry::Producer { transactional_id, producer_id, epoch, timeout_ms, at_ms, last };
        let forgotten = planted::is(Bug::EpochNotRecorded) && epoch > 0;
        let durable_at = if forgotten { self.catalog_end } else { self.record(&entry) };
        self.transactions.put(name, (producer_id, epoch), last, timeout_ms, now.wall_ms);
        Ok(Reply::Producer { id: producer_id, epoch, durable_at })
    }

    pub(crate) fn add_to_transaction(
        &mut self,
        transaction: &TransactionRef<'_>,
        topic: &str,
        partition: u32,
        now: Now,
    ) -> Result<Reply, Failure> {
        let log = self.topics.partition_log(TopicRef::Name(topic), partition)?;
        let found = self.transactions.check(transaction)?;
        if !found.partitions.contains(&log) {
            self.extend_transaction(transaction.transactional_id, Some(log), None, now)?;
        }
        Ok(Reply::DurableAt(self.catalog_end))
    }

    pub(crate) fn add_group_to_transaction(
        &mut self,
        transaction: &TransactionRef<'_>,
        group: &str,
        now: Now,
    ) -> Result<Reply, Failure> {
        check_length(group)?;
        let found = self.transactions.check(transaction)?;
        if !found.groups.contains(group) {
            self.extend_transaction(transaction.transactional_id, None, Some(group), now)?;
        }
        Ok(Reply::DurableAt(self.catalog_end))
    }

    /// Whether a producer may commit offsets of a group as part of its transaction; as `check_transaction`.
    pub(crate) fn check_group_transaction(
        &mut self,
        named: &TransactionRef<'_>,
        group: &str,
        implicit: bool,
        now: Now,
    ) -> Result<(), Failure> {
        let found = self.transactions.check(named).map_err(as_written)?;
        if found.state == TransactionState::Ongoing && found.groups.contains(group) {
            return Ok(());
        }
        if !implicit {
            return Err(LogFailure::InvalidTransactionState.into());
        }
        self.extend_transaction(named.transactional_id, None, Some(group), now)
    }

    /// Who is told of only this must wait for it: after a crash there would be no transaction for what comes next. What
    /// follows in the journal need not, since it is of no use without this before it.
    ///
    /// # Errors
    /// `LimitReached`.
    fn extend_transaction(&mut self, id: &str, partition: Option<LogId>, group: Option<&str>, now: Now) -> Result<(), Failure> {
        self.transactions.check_room()?;
        if partition.is_some() && self.topics.aborted >= ABORTED_MAX {
            return Err(Failure::LimitReached(format!("{ABORTED_MAX} aborted transactions lie in the partitions, the limit")));
        }
        let groups: Vec<String> = group.into_iter().map(str::to_owned).collect();
        self.record(&Entry::TransactionAdd {
            transactional_id: id.into(),
            started_ms: now.wall_ms,
            partitions: partition.into_iter().map(|log| log.0).collect(),
            groups: groups.clone(),
        });
        self.transactions.add(id, now.wall_ms, partition, groups);
        Ok(())
    }

    /// Whether a producer may write this batch of a transaction; `implicit` ones become part of it by being written.
    pub(crate) fn check_transaction(
        &mut self,
        produce: &Produce<'_>,
        head: &BatchHead,
        log: LogId,
        now: Now,
    ) -> Result<(), Failure> {
        let transactional_id = produce.transactional_id.ok_or(LogFailure::InvalidRequest)?;
        let named = TransactionRef { transactional_id, producer_id: head.producer_id, epoch: head.producer_epoch };
        let found = self.transactions.check(&named).map_err(as_written)?;
        if found.state == TransactionState::Ongoing && found.partitions.contains(&log) {
            return Ok(());
        }
        if !produce.implicit {
            return Err(LogFailure::InvalidTransactionState.into());
        }
        self.extend_transaction(transactional_id, Some(log), None, now)
    }

    pub(crate) fn end_transaction(
        &mut self,
        transaction: &TransactionRef<'_>,
        commit: bool,
        bump: bool,
        now: Now,
    ) -> Result<Reply, Failure> {
        let id = transaction.transactional_id;
        let wanted = if commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
        let found = self.transactions.ids.get(id).ok_or(LogFailure::InvalidProducerIdMapping)?;
        let answer = |found: &Transaction| {
            let (id, epoch) = (found.producer_id, found.epoch);
            Ok(Reply::Producer { id, epoch, durable_at: found.end })
        };
        // The answer to the same question was lost, and the epoch has moved on. Or it was open for too long: who aborts it
        // then goes on as if that had not been (KIP-890).
        if bump && found.last == Some((transaction.producer_id, transaction.epoch)) && found.state != TransactionState::Ongoing {
            return if found.state == wanted { answer(found) } else { Err(LogFailure::InvalidTransactionState.into()) };
        }
        let found = self.transactions.check(transaction)?;
        match found.state {
            TransactionState::Ongoing => {}
            state if state == wanted && !bump => return answer(found),
            // TV2: whoever has written nothing may still abort.
            _ if bump && !commit => {}
            _ => return Err(LogFailure::InvalidTransactionState.into()),
        }
        let (producer_id, epoch) = (found.producer_id, found.epoch);
        // The markers carry the new epoch, so that nothing written late becomes part of the next transaction (KIP-890).
        let (next, marker) = match (bump, next_epoch(epoch)) {
            (false, _) => ((producer_id, epoch), epoch),
            (true, Some(next)) => ((producer_id, next), next),
            (true, None) => ((self.new_producer_id(), 0), i16::MAX),
        };
        let durable_at = self.finish_transaction(id, Ending { commit, next, fenced: false }, marker, now);
        Ok(Reply::Producer { id: next.0, epoch: next.1, durable_at })
    }

    /// Decide a transaction in all its partitions and groups, as one atomic group of the journal. `marker`: the epoch that
    /// the markers carry.
    fn finish_transaction(&mut self, id: &str, ending: Ending, marker: i16, now: Now) -> Lsn {
        let Ending { commit, next: (next_id, epoch), fenced } = ending;
        let Some(found) = self.transactions.ids.get(id) else { return self.catalog_end };
        let (producer_id, partitions, groups) = (found.producer_id, found.partitions.clone(), found.groups.clone());
        let batch = record::marker(producer_id, marker, commit, now.wall_ms);
        let head = BatchHead::parse(&batch).unwrap_or_else(|error| unreachable!("a marker is a batch: {error}"));
        for log in partitions {
            if self.topics.partitions.get(&log).is_some_and(|partition| partition.is_open(producer_id)) {
                self.append_batch(log, &batch, &head, Some(commit), !planted::is(Bug::HalfDecided), now);
            }
        }
        let (transactional_id, at_ms) = (id.into(), now.wall_ms);
        let entry = Entry::EndTransaction { transactional_id, producer_id: next_id, epoch, commit, at_ms, fenced };
        let durable_at = if planted::is(Bug::HalfDecided) { self.store.appended() } else { self.record(&entry) };
        for group in groups {
            self.groups.end_transaction(&group, producer_id, commit, durable_at);
        }
        self.transactions.end(id, ending, now.wall_ms, durable_at);
        durable_at
    }

    pub(crate) fn describe_transactions(&self, id: Option<&str>) -> Result<Reply, Failure> {
        let info = |(name, found): (&Arc<str>, &Transaction)| {
            let partition = |log: &LogId| self.topics.partitions.get(log).map(|found| (found.topic.clone(), found.index));
            TransactionInfo {
                transactional_id: name.clone(),
                producer_id: found.producer_id,
                epoch: found.epoch,
                state: found.state,
                timeout_ms: found.timeout_ms,
                started_ms: if found.state == TransactionState::Ongoing { found.started_ms as i64 } else { -1 },
                // A list of all does not go into them.
                partitions: found.partitions.iter().filter(|_| id.is_some()).filter_map(partition).collect(),
            }
        };
        let mut all: Vec<_> = match id {
            Some(id) => vec![info(self.transactions.ids.get_key_value(id).ok_or(LogFailure::UnknownTransactionalId)?)],
            None => self.transactions.ids.iter().map(info).collect(),
        };
        all.sort_unstable_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        Ok(Reply::Transactions(all))
    }

    /// Time has passed: transactions that are open for too long are aborted. Their producers may go on once they know.
    pub(crate) fn sweep_transactions(&mut self, now: Now) {
        for _ in 0..ABORTED_PER_TURN {
            let Some((_, id)) = self.transactions.due.first().filter(|(at, _)| *at <= now.wall_ms).cloned() else { break };
            self.transactions.due.pop_first();
            let Some(found) = self.transactions.ids.get(&id) else { continue };
            tracing::info!(
                transactional_id = model::limits::for_the_log(&id),
                "a transaction was open for too long, and is aborted"
            );
            let fence = found.epoch.saturating_add(1);
            let next = match next_epoch(found.epoch) {
                Some(epoch) => (found.producer_id, epoch),
                None => (self.new_producer_id(), 0),
            };
            self.finish_transaction(&id, Ending { commit: false, next, fenced: false }, fence, now);
        }
        if now.mono_ms >= self.transactions.next_sweep_ms {
            self.transactions.next_sweep_ms = now.mono_ms + 3_600_000;
            let oldest_ms = now.wall_ms.saturating_sub(FORGOTTEN_AFTER_MS);
            self.transactions.forget_before(oldest_ms);
        }
    }
}
