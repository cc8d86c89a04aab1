//! The rounds of one case: all brokers are up, one at a time is under load, and they take turns.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::broker::{Broker, Kind, Programs};
use crate::cases::Case;
use crate::generator::{Generator, Summary};
use crate::machine::{self, Busy, Fdatasync};

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
pub fn run(
    case: &Case,
    kinds: &[Kind],
    programs: &Programs,
    generator: &Generator,
    dir: &Path,
    rounds: usize,
) -> Result<Outcome> {
    let mut sides: Vec<Side> = kinds.iter().map(|&kind| Side { kind, rounds: Vec::new(), failure: None }).collect();
    let mut brokers = kinds.iter().map(|&kind| Broker::start(kind, programs, dir)).collect::<Result<Vec<_>>>()?;
    for round in 1..=rounds {
        for (broker, side) in brokers.iter_mut().zip(&mut sides) {
            if side.failure.is_some() {
                continue;
            }
            let before = Busy::now(&broker.pids());
            match generator.run::<Summary>(broker, &case.arguments) {
                Ok(summary) => {
                    let others_cpu = Busy::now(&broker.pids()).others_since(&before);
                    let rate = summary.delivered_per_second.max(summary.published_per_second);
                    let cpu = summary.broker_cpu_us_per_message.unwrap_or(0.0);
                    eprintln!(
                        "{}: {} round {round}: {rate:.0}/s, {cpu:.2} us per message{}",
                        case.name,
                        side.kind,
                        if others_cpu > 0.2 { format!(" (others used {others_cpu:.1} cores)") } else { String::new() }
                    );
                    side.rounds.push(Round { summary, others_cpu });
                }
                Err(error) => {
                    eprintln!("{}: {} round {round}: {error:#}", case.name, side.kind);
                    side.failure = Some(format!("{error:#}"));
                }
            }
            // What a broker puts off until it is idle (deleting, collecting) is not the next one's burden.
            machine::pause(Duration::from_secs(1));
        }
    }
    drop(brokers);
    Ok(Outcome { sides, fdatasync: machine::time_fdatasync(dir)? })
}
