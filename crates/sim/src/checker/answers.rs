//! Every request is answered, in time, and as the protocol says.

use super::Violation;

const NAME: &str = "answers";

/// The broker answered something else than was asked, or closed what it had no reason to close.
pub fn unexpected(text: String) -> Violation {
    Violation::new(NAME, text)
}

/// Nothing fails any more, and yet something is unanswered after a long time.
pub fn late(what: &[String]) -> Violation {
    let shown = &what[..what.len().min(5)];
    Violation::new(NAME, format!("{} things are unanswered long after the last fault: {}", what.len(), shown.join("; ")))
}

/// A node whose journal failed goes on.
pub fn goes_on() -> Violation {
    Violation::new("poison", "the node goes on although a write of its journal failed".into())
}

/// A node stopped although its journal had not failed.
pub fn stopped(error: &dyn std::fmt::Display) -> Violation {
    Violation::new("poison", format!("the node stopped for no reason: {error}"))
}
