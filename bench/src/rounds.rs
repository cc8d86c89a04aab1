//! The rounds of one case: all brokers are up, one at a time is under load, and they take turns, on a machine that others
//! use too.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::Options;
use crate::broker::{Broker, Kind, Programs};
use crate::machine::{self, Busy, Fdatasync};
use crate::report::median;

/// A disturbed load is made again so many times; the least disturbed counts.
const REPEATS_MAX: usize = 2;

/// One case: a load that is put on each broker in turn.
pub trait Contest {
    /// What came of the load, once.
    type Outcome;

    fn name(&self) -> &str;

    /// Whether a round that does not count is made first, in which a JVM comes to know its work.
    fn warms_up(&self) -> bool;

    /// What must be there before the loads.
    ///
    /// # Errors
    /// Why the broker is left out.
    fn prepare(&self, broker: &Broker) -> Result<()>;

    /// # Errors
    /// Why the broker's further rounds are left out.
    fn load(&self, broker: &Broker) -> Result<Self::Outcome>;

    /// The figures, for people who watch.
    fn figures(&self, outcome: &Self::Outcome) -> String;
}

/// One round of one broker.
#[derive(Debug, Clone, Serialize)]
pub struct Round<T> {
    #[serde(flatten)]
    pub outcome: T,
    /// Part of one core that other programs used meanwhile: what this is worth.
    pub others_cpu: f64,
}

/// What came of a case for one broker.
#[derive(Debug, Clone, Serialize)]
pub struct Side<T> {
    #[serde(skip)]
    pub kind: Kind,
    pub rounds: Vec<Round<T>>,
    /// Why rounds are missing.
    pub failure: Option<String>,
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Compared<T> {
    pub sides: Vec<Side<T>>,
    /// The disk, timed between the rounds.
    pub fdatasync: Fdatasync,
}

/// Runs all rounds of a case.
pub fn compare<C: Contest>(contest: &C, kinds: &[Kind], programs: &Programs, options: &Options) -> Result<Compared<C::Outcome>> {
    let brokers = kinds.iter().map(|&kind| Broker::start(kind, programs, &options.dir)).collect::<Result<Vec<_>>>()?;
    let mut sides: Vec<_> = kinds.iter().map(|&kind| Side { kind, rounds: Vec::new(), failure: None }).collect();
    for (broker, side) in brokers.iter().zip(&mut sides) {
        if let Err(error) = contest.prepare(broker) {
            side.give_up(contest.name(), &error);
        }
    }
    let mut syncs = Vec::new();
    let first = usize::from(!contest.warms_up() || options.quick);
    for number in first..=options.rounds {
        for (broker, side) in brokers.iter().zip(&mut sides).filter(|(_, side)| side.failure.is_none()) {
            let load = || {
                settle();
                contest.load(broker)
            };
            let calm_wait = if number == 0 { Duration::ZERO } else { options.calm_wait() };
            match calmest(&broker.pids(), calm_wait, load) {
                Ok(round) => {
                    let disturbed = if round.others_cpu < machine::DISTURBED { "" } else { ", disturbed" };
                    let (name, kind, figures) = (contest.name(), side.kind, contest.figures(&round.outcome));
                    eprintln!("{name}: {kind} round {number}: {figures} (others {:.2} cores{disturbed})", round.others_cpu);
                    if number > 0 {
                        side.rounds.push(round);
                    }
                }
                Err(error) => side.give_up(contest.name(), &error),
            }
        }
        syncs.push(machine::time_fdatasync(&options.dir)?);
    }
    let fdatasync = Fdatasync {
        p50_us: median(syncs.iter().map(|sync| sync.p50_us).collect()),
        p99_us: median(syncs.iter().map(|sync| sync.p99_us).collect()),
    };
    Ok(Compared { sides, fdatasync })
}

impl<T> Side<T> {
    /// One broker's failure is a line in the report, not the end of the run.
    fn give_up(&mut self, case: &str, error: &anyhow::Error) {
        eprintln!("{case}: {}: {error:#}", self.kind);
        self.failure = Some(format!("{error:#}"));
    }
}

/// What one broker has left in the page cache, or puts off until it is idle, is not the next one's burden.
fn settle() {
    machine::pause(Duration::from_secs(2));
    rustix::fs::sync();
}

/// Makes a load when others leave the machine alone, and again if they did not while it was made. `brokers` are the processes
/// that belong to it; with no `calm_wait` it is made once, as it comes.
fn calmest<T>(brokers: &[u32], calm_wait: Duration, mut load: impl FnMut() -> Result<T>) -> Result<Round<T>> {
    let repeats = if calm_wait.is_zero() { 0 } else { REPEATS_MAX };
    let mut best: Option<Round<T>> = None;
    for _ in 0..=repeats {
        machine::wait_for_calm(brokers, calm_wait);
        let before = Busy::now(brokers);
        let outcome = load()?;
        let others_cpu = Busy::now(brokers).others_since(&before);
        if best.as_ref().is_none_or(|best| others_cpu < best.others_cpu) {
            best = Some(Round { outcome, others_cpu });
        }
        if others_cpu < machine::DISTURBED {
            break;
        }
    }
    best.context("no round was made")
}
