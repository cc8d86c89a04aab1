//! The rounds of one case: all brokers are up, one at a time is under load, and they take turns.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::broker::{Broker, Kind, Programs};
use crate::cases::Case;
use crate::generator::{Generator, Summary};
use crate::machine::{self, Busy, Fdatasync};
use crate::report::median;

/// One round of one broker.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    pub summary: Summary,
    /// Part of one core that other programs used meanwhile: what this is worth.
    pub others_cpu: f64,
}

/// What came of a case for one broker.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    #[serde(skip)]
    pub kind: Kind,
    pub rounds: Vec<Round>,
    /// Why rounds are missing.
    pub failure: Option<String>,
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub sides: Vec<Side>,
    /// The disk, timed between the rounds.
    pub fdatasync: Fdatasync,
}

/// How rounds are made.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    /// How long to wait for a calm machine before each load, and whether to repeat a disturbed one.
    pub calm_wait: Duration,
}

/// A disturbed round is made again so many times; the least disturbed counts.
const REPEATS_MAX: usize = 2;

/// Runs all rounds of a case.
pub fn run(case: &Case, kinds: &[Kind], programs: &Programs, generator: &Generator, dir: &Path, pace: Pace) -> Result<Outcome> {
    let mut sides: Vec<Side> = kinds.iter().map(|&kind| Side { kind, rounds: Vec::new(), failure: None }).collect();
    let brokers = kinds.iter().map(|&kind| Broker::start(kind, programs, dir)).collect::<Result<Vec<_>>>()?;
    let mut syncs = Vec::new();
    for number in 1..=pace.rounds {
        for (broker, side) in brokers.iter().zip(&mut sides).filter(|(_, side)| side.failure.is_none()) {
            match round(case, broker, generator, pace) {
                Ok(round) => {
                    say(case, side.kind, number, &round);
                    side.rounds.push(round);
                }
                Err(error) => {
                    eprintln!("{}: {} round {number}: {error:#}", case.name, side.kind);
                    side.failure = Some(format!("{error:#}"));
                }
            }
            // What a broker puts off until it is idle (deleting, collecting) is not the next one's burden.
            machine::pause(Duration::from_secs(1));
        }
        syncs.push(machine::time_fdatasync(dir)?);
    }
    let fdatasync = Fdatasync {
        p50_us: median(syncs.iter().map(|sync| sync.p50_us).collect()),
        p99_us: median(syncs.iter().map(|sync| sync.p99_us).collect()),
    };
    Ok(Outcome { sides, fdatasync })
}

fn round(case: &Case, broker: &Broker, generator: &Generator, pace: Pace) -> Result<Round> {
    let repeats = if pace.calm_wait.is_zero() { 0 } else { REPEATS_MAX };
    let mut best: Option<Round> = None;
    for _ in 0..=repeats {
        let pids = broker.pids();
        machine::wait_for_calm(&pids, pace.calm_wait);
        let before = Busy::now(&pids);
        let summary = generator.run::<Summary>(broker, &case.arguments)?;
        let others_cpu = Busy::now(&pids).others_since(&before);
        if best.as_ref().is_none_or(|best| others_cpu < best.others_cpu) {
            best = Some(Round { summary, others_cpu });
        }
        if others_cpu < machine::DISTURBED {
            break;
        }
    }
    best.context("no round was made")
}

fn say(case: &Case, kind: Kind, number: usize, round: &Round) {
    let Round { summary, others_cpu } = round;
    let rate = summary.delivered_per_second.max(summary.published_per_second);
    let cpu = summary.broker_cpu_us_per_message.unwrap_or(0.0);
    let disturbed = if *others_cpu < machine::DISTURBED { "" } else { ", disturbed" };
    eprintln!(
        "{}: {kind} round {number}: {rate:.0}/s, {cpu:.2} us per message (others {others_cpu:.2} cores{disturbed})",
        case.name
    );
}
