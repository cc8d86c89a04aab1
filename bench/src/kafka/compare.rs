//! The rounds of one case: all brokers are up, one at a time is under load, and they take turns.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::cases::Case;
use super::load::{Clients, Outcome};
use crate::Options;
use crate::broker::{Broker, Kind, Programs};
use crate::machine::{self, Fdatasync};
use crate::report::median;
use crate::rounds::{Made, calmest};

/// One round of one broker.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    #[serde(flatten)]
    pub outcome: Outcome,
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
pub struct Compared {
    pub sides: Vec<Side>,
    /// The disk, timed between the rounds.
    pub fdatasync: Fdatasync,
}

/// Runs all rounds of a case, and before them one that does not count, in which a JVM comes to know its work.
pub fn run(case: &Case, kinds: &[Kind], programs: &Programs, clients: &Clients, options: &Options) -> Result<Compared> {
    let kinds: Vec<Kind> = case.kinds.iter().copied().filter(|kind| kinds.contains(kind)).collect();
    let mut sides: Vec<Side> = kinds.iter().map(|&kind| Side { kind, rounds: Vec::new(), failure: None }).collect();
    let brokers = kinds.iter().map(|&kind| Broker::start(kind, programs, &options.dir)).collect::<Result<Vec<_>>>()?;
    let mut syncs = Vec::new();
    prepare(case, &brokers, &mut sides, clients, options);
    for number in usize::from(options.quick)..=options.rounds {
        for (broker, side) in brokers.iter().zip(&mut sides).filter(|(_, side)| side.failure.is_none()) {
            let load = || {
                settle();
                clients.run(case, broker, programs, options.seconds)
            };
            let calm_wait = if number == 0 { Duration::ZERO } else { options.calm_wait() };
            match calmest(&broker.pids(), calm_wait, load) {
                Ok(made) => {
                    say(case, side.kind, number, &made);
                    if number > 0 {
                        side.rounds.push(Round { others_cpu: made.others_cpu, outcome: made.outcome });
                    }
                }
                Err(error) => give_up(case, side, &error),
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

fn prepare(case: &Case, brokers: &[Broker], sides: &mut [Side], clients: &Clients, options: &Options) {
    for (broker, side) in brokers.iter().zip(sides) {
        if let Err(error) = clients.prepare(case, broker, options.seconds) {
            give_up(case, side, &error);
        }
    }
}

/// One broker's failure is a line in the report, not the end of the run.
fn give_up(case: &Case, side: &mut Side, error: &anyhow::Error) {
    eprintln!("{}: {}: {error:#}", case.name, side.kind);
    side.failure = Some(format!("{error:#}"));
}

/// What one broker has left in the page cache, or puts off until it is idle, is not the next one's burden.
fn settle() {
    machine::pause(Duration::from_secs(2));
    rustix::fs::sync();
}

fn say(case: &Case, kind: Kind, number: usize, made: &Made<Outcome>) {
    let Outcome { records_per_second, mb_per_second, broker_cpu_ms_per_mb, latency, rss_bytes, .. } = &made.outcome;
    let latency = latency.map(|latency| format!(", p50 {:.2} ms, p99 {:.2} ms", latency.p50_ms, latency.p99_ms));
    eprintln!(
        "{}: {kind} round {number}: {records_per_second:.0} records/s, {mb_per_second:.1} MB/s, {broker_cpu_ms_per_mb:.2} ms of \
         CPU per MB, RSS {:.0} MiB{} ({})",
        case.name,
        *rss_bytes as f64 / f64::from(1 << 20),
        latency.unwrap_or_default(),
        made.remark()
    );
}
