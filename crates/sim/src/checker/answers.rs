//! Every request is answered, in time, and as the protocol says.

use super::Violation;

const NAME: &str = "answers";
const POISON: &str = "poison";

/// Simulated milliseconds in which everything must be answered once faults have ended.
const PATIENCE_MS: u64 = 30_000;
/// Rounds of the same.
const PATIENCE_ROUNDS: u32 = 20_000;

/// The broker answered something else than was asked, or closed what it had no reason to close.
pub fn unexpected(text: String) -> Violation {
    Violation::new(NAME, text)
}

/// Nothing fails any more, and yet something is unanswered after a long time.
pub fn late(what: &[String]) -> Violation {
    let shown = &what[..what.len().min(5)];
    Violation::new(NAME, format!("{} things are unanswered long after the last fault: {}", what.len(), shown.join("; ")))
}

/// How long one may wait for an answer when nothing fails any more.
pub struct Patience {
    since_ms: u64,
    rounds: u32,
}

impl Patience {
    pub fn new(now_ms: u64) -> Patience {
        Patience { since_ms: now_ms, rounds: 0 }
    }

    /// Another round went by; true: it was one too many.
    pub fn ends(&mut self, now_ms: u64) -> bool {
        self.rounds += 1;
        self.rounds > PATIENCE_ROUNDS || now_ms.saturating_sub(self.since_ms) > PATIENCE_MS
    }
}

/// A node stops when a write of its journal failed (`poisoned`), and only then. Returns whether it goes on.
///
/// # Errors
/// It goes on although it failed, or stopped although it had not.
pub fn turned(outcome: Result<(), impl std::fmt::Display>, poisoned: bool) -> Result<bool, Violation> {
    match outcome {
        Ok(()) if poisoned => Err(Violation::new(POISON, "the node goes on although a write of its journal failed".into())),
        Err(error) if !poisoned => Err(Violation::new(POISON, format!("the node stopped for no reason: {error}"))),
        outcome => Ok(outcome.is_ok()),
    }
}
