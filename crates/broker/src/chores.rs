//! What takes too long for one turn, done piece by piece: between two pieces everybody else is served.

use crate::broker::Broker;

#[cfg(test)]
mod tests;

/// Steps of one turn; each takes about as long as handing out a message.
const STEPS: usize = 2048;
/// Deletions of one turn; each writes to the journal.
const DELETIONS: usize = 64;

impl Broker {
    pub(crate) fn has_chores(&self) -> bool {
        self.topology.is_untidy() || !self.topology.orphans.is_empty()
    }

    /// Do the next piece of everything that was begun.
    pub(crate) fn do_chores(&mut self) {
        self.topology.tidy(STEPS);
        self.remove_orphans(DELETIONS);
    }
}
