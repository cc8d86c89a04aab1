//! How a load is made on a machine that others use too.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::machine::{self, Busy};

/// A disturbed load is made again so many times; the least disturbed counts.
const REPEATS_MAX: usize = 2;

/// What came of a load, and the part of one core that other programs used meanwhile: what it is worth.
pub struct Made<T> {
    pub outcome: T,
    pub others_cpu: f64,
}

impl<T> Made<T> {
    /// A remark for the line about it.
    pub fn remark(&self) -> String {
        let disturbed = if self.others_cpu < machine::DISTURBED { "" } else { ", disturbed" };
        format!("others {:.2} cores{disturbed}", self.others_cpu)
    }
}

/// Makes a load when others leave the machine alone, and again if they did not while it was made. `brokers` are the processes
/// that belong to it; with no `calm_wait` it is made once, as it comes.
pub fn calmest<T>(brokers: &[u32], calm_wait: Duration, mut load: impl FnMut() -> Result<T>) -> Result<Made<T>> {
    let repeats = if calm_wait.is_zero() { 0 } else { REPEATS_MAX };
    let mut best: Option<Made<T>> = None;
    for _ in 0..=repeats {
        machine::wait_for_calm(brokers, calm_wait);
        let before = Busy::now(brokers);
        let outcome = load()?;
        let others_cpu = Busy::now(brokers).others_since(&before);
        if best.as_ref().is_none_or(|best| others_cpu < best.others_cpu) {
            best = Some(Made { outcome, others_cpu });
        }
        if others_cpu < machine::DISTURBED {
            break;
        }
    }
    best.context("no round was made")
}
