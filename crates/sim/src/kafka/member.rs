//! A member of the group that all members share: it joins, takes what the leader hands out, says that it is there, commits
//! for what it has, and sometimes leaves.

use kafka::codec::error_code::{
    ILLEGAL_GENERATION, KAFKA_STORAGE_ERROR, MEMBER_ID_REQUIRED, NONE, REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID,
};
use rand::Rng;

use super::ask::{Answer, Ask, Joined};
use super::client::Hands;
use super::plan::PartitionIx;
use crate::checker::Violation;

/// Where a member stands.
#[derive(Default)]
enum Stage {
    #[default]
    Out,
    /// It has been let in, and as a leader has been told who else.
    Joined(Joined),
    /// Generation, and what it was handed.
    In(i32, Vec<PartitionIx>),
}

#[derive(Default)]
pub struct Member {
    /// Empty: it has none.
    id: String,
    stage: Stage,
}

/// Who leads hands out the partitions in turn.
fn hand_out(members: &[String], partitions: usize) -> Vec<(String, Vec<u8>)> {
    let of = |nth| (0..partitions).filter(move |at| at % members.len() == nth).map(|at| at as u8).collect();
    members.iter().enumerate().map(|(nth, member)| (member.clone(), of(nth))).collect()
}

impl Member {
    pub fn next(&mut self, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        if !awaiting.is_empty() {
            return None;
        }
        let id = self.id.clone();
        match &self.stage {
            Stage::Out => Some(Ask::Join { id, known: hands.model.generations.newest() }),
            Stage::Joined(joined) => {
                let assignments = match joined.members.as_slice() {
                    [] => Vec::new(),
                    members => hand_out(members, hands.model.plan.partitions.len()),
                };
                Some(Ask::Sync { id, generation: joined.generation, assignments })
            }
            Stage::In(generation, partitions) => {
                let generation = *generation;
                let stale = hands.model.generations.newest() > generation;
                match hands.rng.random_range(0..20) {
                    0 => Some(Ask::Leave { id }),
                    1..=8 if !partitions.is_empty() => {
                        let partition = partitions[hands.rng.random_range(0..partitions.len())];
                        Some(Ask::MemberCommit { id, generation, partition, stale })
                    }
                    _ => Some(Ask::Heartbeat { id, generation, stale }),
                }
            }
        }
    }

    /// Whether that may be answered so.
    pub fn heard(&mut self, ask: Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        let is_commit = matches!(ask, Ask::MemberCommit { .. });
        match (ask, answer) {
            (Ask::Join { known, .. }, Answer::Joined(Ok(joined))) => {
                hands.model.generations.joined(known, joined)?;
                self.id.clone_from(&joined.id);
                self.stage = Stage::Joined(joined.clone());
                Ok(true)
            }
            (Ask::Join { .. }, Answer::Joined(Err((MEMBER_ID_REQUIRED, id)))) => {
                self.id.clone_from(id);
                Ok(!id.is_empty())
            }
            (Ask::Join { .. }, Answer::Joined(Err((code, _)))) => Ok(self.is_out(*code)),
            (Ask::Sync { id, generation, .. }, Answer::Synced(Ok(assignment))) => {
                let partitions: Vec<PartitionIx> = assignment.iter().map(|at| usize::from(*at)).collect();
                hands.model.generations.handed(generation, &id, &partitions)?;
                hands.model.counts.joined += 1;
                self.stage = Stage::In(generation, partitions);
                Ok(true)
            }
            (Ask::Sync { .. }, Answer::Synced(Err(code))) => Ok(self.is_out(*code)),
            (Ask::Heartbeat { stale, .. } | Ask::MemberCommit { stale, .. }, Answer::Codes(codes)) => match codes[..] {
                // It had been told that there is a newer one.
                [NONE] => {
                    if is_commit {
                        hands.model.generations.kept();
                    }
                    Ok(!stale)
                }
                [KAFKA_STORAGE_ERROR] => Ok(true),
                [code] => Ok(self.is_out(code)),
                _ => Ok(false),
            },
            (Ask::Leave { .. }, Answer::Codes(codes)) => {
                (self.id, self.stage) = (String::new(), Stage::Out);
                Ok(matches!(codes[..], [NONE | UNKNOWN_MEMBER_ID]))
            }
            _ => Ok(false),
        }
    }

    /// Whether this code sends a member back to the door; it goes.
    fn is_out(&mut self, code: i16) -> bool {
        if code == UNKNOWN_MEMBER_ID {
            self.id.clear();
        }
        self.stage = Stage::Out;
        matches!(code, UNKNOWN_MEMBER_ID | REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION)
    }

    /// The connection is gone, and with it what was asked.
    pub fn lose(&mut self, hands: &mut Hands<'_>) {
        if !matches!(self.stage, Stage::In(..)) || hands.one_in(3) {
            self.stage = Stage::Out;
        }
        if hands.one_in(3) {
            // Another program in its place.
            (self.id, self.stage) = (String::new(), Stage::Out);
        }
    }
}
