//! A producer: plain, idempotent or transactional. Its sequence numbers, what it sends again after a loss, and how it
//! ends its transactions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka::codec::error_code::{INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, KAFKA_STORAGE_ERROR, NONE, PRODUCER_FENCED};
use rand::Rng;

use super::ask::{Answer, Ask, Identity, Sending};
use super::batch::{Codec, Record, Stamp};
use super::checker::transactions::State;
use super::checker::{BatchIx, Place, TxIx};
use super::client::Hands;
use super::plan::{PartitionIx, Role};
use crate::checker::Violation;

/// Requests on their way at a time: as many batches of a producer as a partition remembers.
const AWAITING_MAX: usize = 5;
/// So much earlier than it says a transaction may be aborted: the wall clock may have been set back meanwhile.
const CLOCK_MARGIN_MS: u64 = 4_500;

/// How long ago that happened of which some producers write: longer than any tombstone is kept.
const COPIED_MS: u64 = 2 * 86_400_000;

pub struct Producer {
    role: Role,
    id: Option<Identity>,
    /// The identity before, which is shut out.
    old: Option<Identity>,
    /// The next sequence number of each partition.
    sequences: BTreeMap<PartitionIx, i32>,
    /// The last batches of each partition, newest last.
    recent: BTreeMap<PartitionIx, VecDeque<BatchIx>>,
    open: Option<Open>,
}

/// A transaction under way.
struct Open {
    tx: TxIx,
    added: BTreeSet<PartitionIx>,
    group_added: bool,
    /// Something was answered that is to be decided.
    used: bool,
    /// It is to be ended once everything is answered.
    full: bool,
}

fn is_fenced(code: i16) -> bool {
    matches!(code, INVALID_PRODUCER_EPOCH | PRODUCER_FENCED)
}

impl Producer {
    pub fn new(role: Role) -> Producer {
        Producer { role, id: None, old: None, sequences: BTreeMap::new(), recent: BTreeMap::new(), open: None }
    }

    fn implicit(&self) -> bool {
        self.role == Role::Transactional { implicit: true }
    }

    /// Give up what is open and ask for a new epoch; for the end, where nothing may stay open.
    pub fn begin_anew(&mut self, hands: &mut Hands<'_>) -> Option<Ask> {
        if !matches!(self.role, Role::Transactional { .. }) {
            return None;
        }
        self.give_up(hands);
        Some(Ask::Init)
    }

    pub fn next(&mut self, client: usize, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        if awaiting.len() >= AWAITING_MAX || awaiting.iter().any(|ask| matches!(ask, Ask::Init | Ask::End { .. })) {
            return None;
        }
        if self.role == Role::Producer {
            return self.produce(client, None, hands);
        }
        let Some(id) = self.id else { return Some(Ask::Init) };
        if hands.one_in(hands.model.plan.rare_odds)
            && let Some(ask) = self.rarely(client, hands)
        {
            return Some(ask);
        }
        if self.role == Role::Idempotent {
            return self.produce(client, Some(id), hands);
        }
        self.in_transaction(client, id, awaiting, hands)
    }

    fn in_transaction(&mut self, client: usize, id: Identity, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        let implicit = self.implicit();
        if self.open.is_none() {
            let timeout_ms = hands.model.plan.transaction_timeout_ms as u64;
            let tx = hands.model.begin_transaction((hands.wall_ms + timeout_ms).saturating_sub(CLOCK_MARGIN_MS));
            self.open = Some(Open { tx, added: BTreeSet::new(), group_added: false, used: false, full: false });
        }
        let open = self.open.as_mut()?;
        open.full |= open.used && hands.one_in(4);
        if open.full && !awaiting.is_empty() {
            return None;
        }
        if open.full {
            let commit = hands.rng.random_ratio(2, 3);
            hands.model.transactions[open.tx].state = State::Ending { commit };
            hands.model.ends += 1;
            return Some(Ask::End { id, tx: Some(open.tx), commit });
        }
        if hands.one_in(5) {
            if !open.group_added && !implicit {
                let asked = awaiting.iter().any(|ask| matches!(ask, Ask::AddGroup { .. }));
                return (!asked).then_some(Ask::AddGroup { id });
            }
            let at = hands.rng.random_range(0..hands.model.plan.partitions.len());
            let attempts = vec![hands.model.tries(client, at, Some(open.tx))];
            return Some(Ask::TxnCommit { id, attempts });
        }
        if !implicit && (open.added.is_empty() || hands.one_in(10)) {
            let all = 0..hands.model.plan.partitions.len();
            let partitions: Vec<PartitionIx> = all.filter(|_| hands.rng.random_ratio(1, 2)).collect();
            return (!partitions.is_empty()).then_some(Ask::AddPartitions { id, partitions });
        }
        self.produce(client, Some(id), hands)
    }

    /// A batch once more, or one under an identity that is shut out.
    fn rarely(&mut self, client: usize, hands: &mut Hands<'_>) -> Option<Ask> {
        if let (Role::Transactional { implicit }, Some(old)) = (self.role, self.old) {
            if !implicit && hands.one_in(3) {
                return Some(Ask::End { id: old, tx: None, commit: hands.one_in(2) });
            }
            let at = hands.rng.random_range(0..hands.model.plan.partitions.len());
            let stamp = Stamp { producer_id: old.0, epoch: old.1, sequence: 0, transactional: true };
            let batch = self.make(client, at, stamp, None, hands);
            let ids = hands.model.batches[batch].first..hands.model.next_record();
            ids.for_each(|id| hands.model.records[id as usize].place = Place::Never);
            return Some(Ask::Produce { batches: vec![batch], acks: -1, sending: Sending::Zombie });
        }
        if self.role != Role::Idempotent {
            return None;
        }
        let at = *self.recent.keys().nth(hands.rng.random_range(0..self.recent.len().max(1)))?;
        let recent = self.recent.get(&at)?;
        let batch = *recent.get(hands.rng.random_range(0..recent.len()))?;
        let confirmed = hands.model.batches[batch].confirmed.is_some();
        confirmed.then_some(Ask::Produce { batches: vec![batch], acks: -1, sending: Sending::Repeated })
    }

    /// Write to a few partitions.
    fn produce(&mut self, client: usize, id: Option<Identity>, hands: &mut Hands<'_>) -> Option<Ask> {
        let allowed: Vec<PartitionIx> = match &self.open {
            Some(open) if !self.implicit() => open.added.iter().copied().collect(),
            _ => (0..hands.model.plan.partitions.len()).collect(),
        };
        let mut chosen = BTreeSet::new();
        for _ in 0..hands.rng.random_range(1..=3) {
            chosen.insert(*allowed.get(hands.rng.random_range(0..allowed.len().max(1)))?);
        }
        let tx = self.open.as_ref().map(|open| open.tx);
        let mut batches = Vec::new();
        for at in chosen {
            let stamp = match id {
                None => Stamp::NONE,
                Some((producer_id, epoch)) => {
                    let sequence = self.sequences.get(&at).copied().unwrap_or(0);
                    Stamp { producer_id, epoch, sequence, transactional: tx.is_some() }
                }
            };
            let batch = self.make(client, at, stamp, tx, hands);
            if id.is_some() {
                *self.sequences.entry(at).or_default() += hands.model.batches[batch].count as i32;
                let recent = self.recent.entry(at).or_default();
                recent.push_back(batch);
                if recent.len() > AWAITING_MAX {
                    recent.pop_front();
                }
            }
            batches.push(batch);
        }
        let acks = if self.role == Role::Producer { [-1, -1, 1, 0][hands.rng.random_range(0..4)] } else { -1 };
        Some(Ask::Produce { batches, acks, sending: Sending::New })
    }

    fn make(&self, client: usize, at: PartitionIx, stamp: Stamp, tx: Option<TxIx>, hands: &mut Hands<'_>) -> BatchIx {
        let plan = hands.model.plan.clone();
        let first = hands.model.next_record();
        let compacts = matches!(plan.policy(at), super::plan::Policy::Compact { .. });
        let keyed = compacts || hands.one_in(3);
        // Some copy what happened long ago: the time in a record tells nothing of when it was compacted.
        let happened_ms = if compacts && hands.one_in(4) { hands.wall_ms - COPIED_MS } else { hands.wall_ms };
        let records = (0..hands.rng.random_range(1..=4)).map(|nth| Record {
            id: first + nth,
            partition: at,
            key: keyed.then(|| hands.rng.random_range(0..plan.keys)),
            len: (!(keyed && hands.one_in(plan.tombstone_odds))).then(|| hands.rng.random_range(0..=plan.value_bytes_max)),
            timestamp_ms: happened_ms + u64::from(nth),
        });
        let records = records.collect();
        let codec = if hands.one_in(plan.compressed_odds) {
            [Codec::Gzip, Codec::Lz4][usize::from(hands.one_in(2))]
        } else {
            Codec::None
        };
        hands.model.make_batch(client, records, stamp, codec, tx)
    }

    /// Whether that may be answered so.
    pub fn heard(&mut self, client: usize, ask: Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        // The broker may have shut it out because its transaction took too long: the first answer that says so ends it.
        let expired = self.open.as_ref().is_some_and(|open| hands.model.has_expired(open.tx));
        let current = self.id;
        let fenced = |code: i16, asked_by: Identity| is_fenced(code) && (expired || current != Some(asked_by));
        match (ask, answer) {
            (Ask::Init, Answer::Producer(Ok(id))) => {
                hands.model.identified(client, *id)?;
                self.give_up(hands);
                (self.old, self.id) = (self.old.filter(|old| old.0 == id.0), Some(*id));
                Ok(true)
            }
            (Ask::Produce { sending: Sending::Zombie, .. }, Answer::Produced(told)) => {
                hands.model.counts.fenced += 1;
                Ok(told.iter().all(|told| told.is_err_and(is_fenced)))
            }
            (Ask::End { tx: None, .. }, Answer::Producer(told)) => {
                hands.model.counts.fenced += 1;
                Ok(told.is_err_and(is_fenced))
            }
            (Ask::Produce { batches, .. }, Answer::Produced(told)) => {
                for (batch, told) in batches.into_iter().zip(told) {
                    match *told {
                        Ok(base) => {
                            hands.model.confirmed(batch, base)?;
                            self.open.iter_mut().for_each(|open| open.used = true);
                        }
                        Err(code) if is_fenced(code) && hands.model.expired_of(batch) => {
                            hands.model.refused(batch)?;
                            self.give_up(hands);
                        }
                        Err(_) => return Ok(false),
                    }
                }
                Ok(true)
            }
            (Ask::AddPartitions { id, partitions }, Answer::Codes(codes)) => match codes.iter().find(|code| **code != NONE) {
                None => {
                    let open = self.open.iter_mut();
                    open.for_each(|open| open.added.extend(&partitions));
                    Ok(true)
                }
                Some(_) => self.is_over(codes.iter().any(|code| fenced(*code, id)), hands),
            },
            (Ask::AddGroup { id }, Answer::Codes(codes)) => match codes[..] {
                [NONE] => {
                    self.open.iter_mut().for_each(|open| open.group_added = true);
                    Ok(true)
                }
                _ => self.is_over(codes.iter().any(|code| fenced(*code, id)), hands),
            },
            (Ask::TxnCommit { id, attempts }, Answer::Codes(codes)) => {
                let done = codes.iter().all(|code| *code == NONE);
                attempts.iter().for_each(|attempt| hands.model.tried(*attempt, done));
                self.open.iter_mut().for_each(|open| open.used |= done);
                // Commits are refused while the disk is full.
                if done || codes.contains(&KAFKA_STORAGE_ERROR) {
                    Ok(true)
                } else {
                    self.is_over(codes.iter().any(|code| fenced(*code, id)), hands)
                }
            }
            (Ask::End { id, tx: Some(tx), commit }, Answer::Producer(told)) => match *told {
                Ok(next) => {
                    hands.model.transaction_ended(tx, commit)?;
                    self.open = None;
                    if next != id {
                        hands.model.identified(client, next)?;
                        self.become_another(Some(next));
                    }
                    Ok(true)
                }
                Err(code) if is_fenced(code) || code == INVALID_TXN_STATE => {
                    let expired = hands.model.has_expired(tx);
                    if expired {
                        hands.model.transaction_ended(tx, false)?;
                        self.give_up(hands);
                    }
                    Ok(expired)
                }
                Err(_) => Ok(false),
            },
            _ => Ok(false),
        }
    }

    /// Its transaction was ended by the broker, if that may be.
    fn is_over(&mut self, fenced: bool, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        if fenced {
            self.give_up(hands);
        }
        Ok(fenced)
    }

    fn become_another(&mut self, id: Option<Identity>) {
        self.old = self.id;
        self.id = id;
        self.sequences.clear();
        self.recent.clear();
    }

    /// Nothing more comes of what is open, and a new epoch is needed. One whose end was asked for may be committed yet.
    fn give_up(&mut self, hands: &mut Hands<'_>) {
        if let Some(open) = self.open.take() {
            let state = &mut hands.model.transactions[open.tx].state;
            if *state == State::Open {
                *state = State::Ending { commit: false };
            }
        }
        if let Some(id) = self.id {
            self.become_another(None);
            self.old = Some(id);
        }
    }

    /// What to ask again of what was asked on a connection that is gone.
    pub fn lose(&mut self, left: VecDeque<Ask>, hands: &mut Hands<'_>) -> VecDeque<Ask> {
        let again = |ask: &Ask| match ask {
            Ask::Produce { sending, .. } => *sending == Sending::New,
            Ask::End { tx, .. } => tx.is_some(),
            // It is asked for anyhow.
            Ask::Init => false,
            _ => true,
        };
        match self.role {
            Role::Producer => VecDeque::new(),
            Role::Transactional { .. } if hands.one_in(2) => {
                self.give_up(hands);
                VecDeque::new()
            }
            _ => left.into_iter().filter(again).collect(),
        }
    }
}
