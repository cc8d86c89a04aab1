//! The rounds of one case: all brokers are up, one at a time is under load, and they take turns.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::cases::Case;
use super::generator::{Generator, Summary};
use crate::Options;
use crate::broker::{Broker, Kind, Programs};
use crate::machine::{self, Fdatasync};
use crate::report::median;
use crate::rounds::{Made, calmest};

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

/// Runs all rounds of a case.
pub fn run(case: &Case, kinds: &[Kind], programs: &Programs, generator: &Generator, options: &Options) -> Result<Outcome> {
    let mut sides: Vec<Side> = kinds.iter().map(|&kind| Side { kind, rounds: Vec::new(), failure: None }).collect();
    let brokers = kinds.iter().map(|&kind| Broker::start(kind, programs, &options.dir)).collect::<Result<Vec<_>>>()?;
    let mut syncs = Vec::new();
    for number in 1..=options.rounds {
        for (broker, side) in brokers.iter().zip(&mut sides).filter(|(_, side)| side.failure.is_none()) {
            let load = || generator.run::<Summary>(broker, &case.arguments);
            match calmest(&broker.pids(), options.calm_wait(), load) {
                Ok(made) => {
                    say(case, side.kind, number, &made);
                    side.rounds.push(Round { others_cpu: made.others_cpu, summary: made.outcome });
                }
                Err(error) => {
                    eprintln!("{}: {} round {number}: {error:#}", case.name, side.kind);
                    side.failure = Some(format!("{error:#}"));
                }
            }
            // What a broker puts off until it is idle (deleting, collecting) is not the next one's burden.
            machine::pause(Duration::from_secs(1));
        }
        syncs.push(machine::time_fdatasync(&options.dir)?);
    }
    let fdatasync = Fdatasync {
        p50_us: median(syncs.iter().map(|sync| sync.p50_us).collect()),
        p99_us: median(syncs.iter().map(|sync| sync.p99_us).collect()),
    };
    Ok(Outcome { sides, fdatasync })
}

fn say(case: &Case, kind: Kind, number: usize, made: &Made<Summary>) {
    let summary = &made.outcome;
    let rate = summary.delivered_per_second.max(summary.published_per_second);
    let cpu = summary.broker_cpu_us_per_message.unwrap_or(0.0);
    eprintln!("{}: {kind} round {number}: {rate:.0}/s, {cpu:.2} us per message ({})", case.name, made.remark());
}
