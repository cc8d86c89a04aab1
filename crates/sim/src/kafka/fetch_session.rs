//! A fetch session (KIP-227) as a consumer keeps one: it names what has changed since its last request, and is told of what
//! has news.

use std::collections::BTreeMap;

use kafka::codec::error_code::NONE;

use super::ask::Fetched;
use super::checker::log::Sight;
use super::client::Hands;
use super::plan::PartitionIx;
use crate::checker::Violation;
use crate::checker::answers::unexpected;

/// What a request says of its session.
#[derive(Clone, Debug, Default)]
pub struct InSession {
    /// 0: there is none.
    pub id: i32,
    /// 0: it begins anew, and names everything.
    pub epoch: i32,
    /// Of what is read, the partitions that are named.
    pub named: Vec<PartitionIx>,
    pub forgotten: Vec<PartitionIx>,
    /// It is wrong on purpose, and must be answered with this.
    pub refused: Option<i16>,
}

/// An answer to such a request.
#[derive(Clone, Debug)]
pub struct Told {
    pub code: i16,
    pub id: i32,
    pub partitions: BTreeMap<PartitionIx, Fetched>,
}

/// What both sides know of a session; nothing is under way.
#[derive(Debug)]
pub struct FetchSession {
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// Where each partition is read on, and its end as it was told last.
    partitions: BTreeMap<PartitionIx, (u64, Option<i64>)>,
}

impl InSession {
    /// Begin a session, in the place of that one; 0: of none.
    pub fn begin(id: i32, from: &[(PartitionIx, u64, Sight)]) -> InSession {
        InSession { id, named: from.iter().map(|(at, ..)| *at).collect(), ..InSession::default() }
    }

    /// The same with another id or epoch, which the broker must refuse.
    pub fn wrong(&self, id_by: i32, epoch_by: i32, code: i16) -> InSession {
        InSession { id: self.id + id_by, epoch: self.epoch + epoch_by, refused: Some(code), ..self.clone() }
    }

    /// Take in an answer; `None`: it may not be answered so.
    ///
    /// # Errors
    /// Something was kept back.
    pub fn heard(
        &self,
        before: Option<FetchSession>,
        from: &[(PartitionIx, u64, Sight)],
        told: &Told,
        hands: &Hands<'_>,
    ) -> Result<Option<FetchSession>, Violation> {
        let whole = self.epoch == 0;
        let known = |at: &PartitionIx| from.iter().any(|(other, ..)| other == at);
        let id_is_right = if whole { told.id != 0 } else { told.id == self.id };
        let all_told = !whole || told.partitions.len() == from.len();
        if told.code != NONE || !id_is_right || !all_told || !told.partitions.keys().all(known) {
            return Ok(None);
        }
        // Where there are records, what was not reached is left out too.
        let quiet = told.partitions.values().all(|told| told.code == NONE && told.records.is_empty());
        let before = before.filter(|_| !whole).map(|before| before.partitions).unwrap_or_default();
        let mut partitions = BTreeMap::new();
        for &(at, offset, sight) in from {
            let end = match told.partitions.get(&at) {
                Some(told) => Some(told.high),
                None => before.get(&at).and_then(|(_, end)| *end),
            };
            let least = sight.high.max(sight.confirmed) as i64;
            if quiet && end.is_none_or(|end| end < least) && !told.partitions.contains_key(&at) {
                let name = hands.model.plan.name(at);
                return Err(unexpected(format!("there is said to be no news of {name}: it ended at {end:?}, now {sight:?}")));
            }
            partitions.insert(at, (offset, end));
        }
        Ok(Some(FetchSession { id: told.id, epoch: self.epoch + 1, partitions }))
    }
}

impl FetchSession {
    pub fn partitions(&self) -> impl Iterator<Item = PartitionIx> {
        self.partitions.keys().copied()
    }

    /// Read these from now on.
    pub fn go_on(&self, from: &[(PartitionIx, u64, Sight)]) -> InSession {
        let heard = |at: &PartitionIx| self.partitions.get(at).map(|(offset, _)| *offset);
        let changed = from.iter().filter(|(at, offset, _)| heard(at) != Some(*offset));
        let gone = self.partitions().filter(|at| !from.iter().any(|(other, ..)| other == at));
        InSession {
            id: self.id,
            epoch: self.epoch,
            named: changed.map(|(at, ..)| *at).collect(),
            forgotten: gone.collect(),
            refused: None,
        }
    }
}
