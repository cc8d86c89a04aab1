//! A group of one that commits offsets, and asks for them.

use kafka::codec::error_code::{KAFKA_STORAGE_ERROR, NONE};
use rand::Rng;

use super::ask::{Answer, Ask};
use super::checker::offsets::Told;
use super::client::Hands;
use crate::checker::Violation;

/// Requests on their way at a time.
const AWAITING_MAX: usize = 5;

pub struct Committer;

impl Committer {
    pub fn next(&mut self, client: usize, awaiting: &[&Ask], hands: &mut Hands<'_>) -> Option<Ask> {
        if awaiting.len() >= AWAITING_MAX {
            return None;
        }
        let some: Vec<usize> = (0..hands.model.plan.partitions.len()).filter(|_| hands.rng.random_ratio(1, 2)).collect();
        if some.is_empty() {
            return None;
        }
        if hands.one_in(4) {
            let of = some.into_iter().map(|at| (at, hands.model.attempts(client, at))).collect();
            return Some(Ask::Positions { group: client, of, stable: hands.one_in(2) });
        }
        let attempts = some.into_iter().map(|at| hands.model.tries(client, at, None)).collect();
        Some(Ask::Commit { attempts })
    }

    /// Whether that may be answered so.
    pub fn heard(&mut self, ask: Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
        match (&ask, answer) {
            (Ask::Commit { attempts }, Answer::Codes(codes)) => {
                for (attempt, code) in attempts.iter().zip(codes) {
                    hands.model.tried(*attempt, *code == NONE);
                }
                // Commits are refused while the disk is full.
                Ok(codes.iter().all(|code| matches!(*code, NONE | KAFKA_STORAGE_ERROR)))
            }
            (Ask::Positions { .. }, Answer::Positions(_)) => positions(&ask, answer, hands),
            _ => Ok(false),
        }
    }
}

/// A group's offsets were told.
pub fn positions(ask: &Ask, answer: &Answer, hands: &mut Hands<'_>) -> Result<bool, Violation> {
    use kafka::codec::error_code::UNSTABLE_OFFSET_COMMIT;
    let (Ask::Positions { group, of, stable }, Answer::Positions(told)) = (ask, answer) else { return Ok(false) };
    for ((partition, upto), told) in of.iter().zip(told) {
        let told = match told {
            Ok((offset, metadata)) => Told::Offset(*offset, metadata),
            Err(UNSTABLE_OFFSET_COMMIT) => Told::Unstable,
            Err(_) => return Ok(false),
        };
        hands.model.position(*group, *partition, *upto, *stable, &told)?;
    }
    Ok(true)
}
