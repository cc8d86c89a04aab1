//! Hand-made histories: a good one passes, and one with a single wrong thing in it is named by the checker that is for it.

mod compaction;
mod groups;
mod history;
mod lives;
mod log;
mod offsets;
mod transactions;

use crate::checker::Violation;

/// The checker that complained.
fn named<T: std::fmt::Debug>(outcome: Result<T, Violation>) -> &'static str {
    outcome.expect_err("nobody complained").checker
}
