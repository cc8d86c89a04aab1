//! A reader: it goes through partitions, seeks, and sometimes has records deleted.

use std::collections::{BTreeMap, BTreeSet};

use kafka::codec::error_code::{FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, NONE, OFFSET_OUT_OF_RANGE};
use rand::Rng;

use super::ask::{Answer, Ask, Fetched, Terms};
use super::checker::log::{Read, Sight};
use super::client::Hands;
use super::committer::positions;
use super::fetch_session::{FetchSession, InSession, Told};
use super::plan::{PartitionIx, Policy};
use crate::checker::Violation;

/// Requests on their way at a time, where there is no session whose epochs must come in order.
const AWAITING_MAX: usize = 2;

pub struct Reader {
    pub committed: bool,
    pub in_sessions: bool,
    /// That of the connection.
    session: Option<FetchSession>,
    /// Where each partition is read on.
    pub next: BTreeMap<PartitionIx, u64>,
    /// Up to where it goes, as was told last.
    pub ends: BTreeMap<PartitionIx, u64>,
}

impl Reader {
    pub fn new(committed: bool, in_sessions: bool) -> Reader {
        Reader { committed, in_sessions, session: None, next: BTreeMap::new(), ends: BTreeMap::new() }
    }

    /// Read these partitions; a session forgets the others.
    pub fn fetch(&self, partitions: &[PartitionIx], terms: Terms, hands: &Hands<'_>) -> Ask {
        let from = partitions.iter().map(|at| (*at, self.next.get(at).copied().unwrap_or(0), hands.model.logs[*at].sight));
        let from: Vec<_> = from.collect();
        let session = self.in_sessions.then(|| match &self.session {
            Some(session) => session.go_on(&from),
            None => InSession::begin(0, &from),
        });
        Ask::Fetch { committed: self.committed, from, session, terms }
    }

    pub fn next(&mut self, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        if awaiting.len() >= if self.in_sessions { 1 } else { AWAITING_MAX } {
            return None;
        }
        let plan = hands.model.plan.clone();
        let at = hands.rng.random_range(0..plan.partitions.len());
        if plan.topic(at).trims && hands.one_in(plan.rare_odds) {
            let log = &mut hands.model.logs[at];
            let before = hands.rng.random_range(0..=log.sight.high);
            log.trim_asked = log.trim_asked.max(before);
            return Some(Ask::Trim { partition: at, before });
        }
        if hands.one_in(15) {
            let high = hands.model.logs[at].sight.high;
            self.next.insert(at, hands.rng.random_range(0..=high));
        }
        let terms = Terms {
            bytes_min: [1, 1, 5_000][hands.rng.random_range(0..3)],
            bytes_max: [1, 500, 20_000, 1 << 20][hands.rng.random_range(0..4)],
            wait_ms: [0, 10, 200][hands.rng.random_range(0..3)],
        };
        if let Some(session) = &self.session {
            let mut some: BTreeSet<PartitionIx> = session.partitions().collect();
            if hands.one_in(8) && !(some.len() > 1 && some.remove(&at)) {
                some.insert(at);
            }
            let some: Vec<PartitionIx> = some.into_iter().collect();
            let mut ask = self.fetch(&some, terms, hands);
            if let Ask::Fetch { from, session: Some(asked), .. } = &mut ask
                && hands.one_in(20)
            {
                *asked = match hands.rng.random_range(0..4) {
                    0 => asked.wrong(1, 0, FETCH_SESSION_ID_NOT_FOUND),
                    1 => asked.wrong(0, 1, INVALID_FETCH_SESSION_EPOCH),
                    2 => InSession::begin(0, from),
                    _ => InSession::begin(asked.id, from),
                };
            }
            return Some(ask);
        }
        // One request for each partition at a time, so that nothing is read twice for no reason.
        let busy = |at: &PartitionIx| {
            let reads = |ask: &&Ask| matches!(ask, Ask::Fetch { from, .. } if from.iter().any(|(other, ..)| other == at));
            awaiting.iter().any(reads)
        };
        let free = (0..plan.partitions.len()).filter(|at| !busy(at));
        let some: Vec<PartitionIx> = free.filter(|_| hands.rng.random_ratio(1, 2)).collect();
        (!some.is_empty()).then(|| self.fetch(&some, terms, hands))
    }

    /// Whether that may be answered so.
    pub fn heard(&mut self, ask: Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        match (&ask, answer) {
            (Ask::Fetch { committed, from, .. }, Answer::Fetched(all)) => {
                for ((partition, offset, sight), fetched) in from.iter().zip(all) {
                    if !self.read((*partition, *offset, *sight), *committed, fetched, hands)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Ask::Fetch { committed, from, session: Some(asked), .. }, Answer::InSession(told)) => {
                self.heard_in_session(asked, from, *committed, told, hands)
            }
            (Ask::Trim { partition, before }, Answer::Trimmed(Ok(low))) => {
                let sight = &mut hands.model.logs[*partition].sight;
                sight.trimmed = sight.trimmed.max(*before);
                Ok(u64::try_from(*low).is_ok_and(|low| low >= *before))
            }
            _ => positions(&ask, answer, hands),
        }
    }

    fn heard_in_session(
        &mut self,
        asked: &InSession,
        from: &[(PartitionIx, u64, Sight)],
        committed: bool,
        told: &Told,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Violation> {
        let before = self.session.take();
        if let Some(code) = asked.refused {
            return Ok(told.code == code);
        }
        self.session = asked.heard(before, from, told, hands)?;
        if self.session.is_none() {
            return Ok(false);
        }
        hands.model.counts.incremental += u64::from(asked.epoch > 0);
        for asked in from {
            if let Some(fetched) = told.partitions.get(&asked.0)
                && !self.read(*asked, committed, fetched, hands)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The connection is gone, and its session with it.
    pub fn lose(&mut self) {
        self.session = None;
    }

    fn read(
        &mut self,
        (partition, offset, sight): (PartitionIx, u64, Sight),
        committed: bool,
        fetched: &Fetched,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Violation> {
        let model = &mut *hands.model;
        let current = self.next.get(&partition).copied().unwrap_or(0) == offset;
        let read = Read {
            partition,
            committed,
            offset,
            sight,
            high: fetched.high,
            stable: fetched.stable,
            start: fetched.start,
            aborted: fetched.aborted.clone(),
            records: &fetched.records,
        };
        let next = match fetched.code {
            NONE => model.read(&read)?,
            OFFSET_OUT_OF_RANGE => {
                model.read(&Read { records: &[], ..read })?;
                let retains = matches!(model.plan.policy(partition), Policy::Retain { .. });
                let gone = offset < model.logs[partition].trim_asked || retains;
                if !gone || fetched.high < offset as i64 {
                    return Ok(false);
                }
                u64::try_from(fetched.start).unwrap_or(offset + 1)
            }
            _ => return Ok(false),
        };
        if current {
            self.next.insert(partition, next);
            self.ends.insert(partition, if committed { fetched.stable } else { fetched.high } as u64);
        }
        Ok(true)
    }
}
