//! What must hold, whatever happens: a model of what clients know, and one file for each promise.
//!
//! The model hears only what clients sent and were told, and when the broker died. Where a client cannot know,
//! the model does not either: then both are allowed.
//!
//! # Layout
//! - [`model`]: what clients know of every message; the checkers are called from here
//! - [`existence`], [`topology`]: what exists, and where messages go
//! - [`kept`]: what was confirmed is delivered or still there
//! - [`order`]: each publisher's messages come in order, and requeued ones at their place
//! - [`invented`]: nothing comes that was not sent there, and nothing twice
//! - [`settled`]: what was settled does not come back
//! - [`payload`]: bodies and properties come as they were sent
//! - [`restart`]: after a restart everything is as it was confirmed
//! - [`answers`]: every request is answered in time, and as the protocol says

pub mod answers;
pub mod existence;
pub mod invented;
pub mod kept;
pub mod model;
pub mod order;
pub mod payload;
pub mod restart;
pub mod settled;
#[cfg(test)]
mod tests;
pub mod topology;

pub use model::Model;

/// Names one channel of one connection for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChanId(pub u32);

/// Names one connection for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The checker that says so.
    pub checker: &'static str,
    pub text: String,
}

impl Violation {
    pub fn new(checker: &'static str, text: String) -> Violation {
        Violation { checker, text }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.checker, self.text)
    }
}
