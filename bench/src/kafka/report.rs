//! The figures side by side, with what they were to be: as Markdown for people, as JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::cases::{self, Case, Client, Figure};
use super::load::{Latency, Outcome};
use crate::broker::Kind;
use crate::machine::Machine;
use crate::report::{cell, mark, median, write_both};
use crate::rounds::{Compared, Round};

/// All figures of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    rounds: usize,
    seconds: f64,
    cases: Vec<CaseReport>,
    passed: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    name: &'static str,
    title: &'static str,
    #[serde(skip)]
    figure: Figure,
    record_bytes: usize,
    partitions: u32,
    brokers: Vec<BrokerReport>,
    targets: Vec<Target>,
    compared: Compared<Outcome>,
}

#[derive(Debug, Serialize)]
struct BrokerReport {
    broker: String,
    fsync_state: &'static str,
    load: String,
    medians: Medians,
}

/// The medians over the rounds of one broker.
#[derive(Debug, Clone, Copy, Serialize)]
struct Medians {
    records_per_second: f64,
    mb_per_second: f64,
    broker_cpu_ms_per_mb: f64,
    rss_mib: f64,
    rss_peak_mib: f64,
    latency: Option<Latency>,
    others_cpu: f64,
}

/// A figure of Yam's beside the same of a peer.
#[derive(Debug, Serialize)]
struct Target {
    what: &'static str,
    peer: String,
    ratio: f64,
    /// `>= 1`, for people.
    wanted: String,
    passed: bool,
}

impl Medians {
    fn of(rounds: &[Round<Outcome>]) -> Medians {
        let over = |field: &dyn Fn(&Round<Outcome>) -> f64| median(rounds.iter().map(field).collect());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let all_timed = rounds.iter().all(|round| round.outcome.latency.is_some());
        let part = |part: fn(Latency) -> f64| over(&|round| round.outcome.latency.map_or(f64::NAN, part));
        Medians {
            records_per_second: over(&|round| round.outcome.records_per_second),
            mb_per_second: over(&|round| round.outcome.mb_per_second),
            broker_cpu_ms_per_mb: over(&|round| round.outcome.broker_cpu_ms_per_mb),
            rss_mib: over(&|round| mib(round.outcome.rss_bytes)),
            rss_peak_mib: over(&|round| mib(round.outcome.rss_peak_bytes)),
            latency: all_timed.then(|| Latency { p50_ms: part(|l| l.p50_ms), p99_ms: part(|l| l.p99_ms) }),
            others_cpu: over(&|round| round.others_cpu),
        }
    }
}

impl Report {
    pub fn new(machine: Machine, rounds: usize, seconds: f64) -> Report {
        Report { machine, rounds, seconds, cases: Vec::new(), passed: 0, failed: 0 }
    }

    pub fn add(&mut self, case: &Case, compared: Compared<Outcome>) {
        let sides = || compared.sides.iter().filter(|side| !side.rounds.is_empty());
        let medians = |kind: Kind| sides().find(|side| side.kind == kind).map(|side| Medians::of(&side.rounds));
        let brokers = sides().map(|side| BrokerReport {
            broker: side.kind.to_string(),
            fsync_state: side.kind.fsync_state(),
            load: side.rounds[0].outcome.load.clone(),
            medians: Medians::of(&side.rounds),
        });
        let targets = match medians(Kind::Yam) {
            Some(yam) => targets(case, &yam, &medians),
            None => Vec::new(),
        };
        self.cases.push(CaseReport {
            name: case.name,
            title: case.title,
            figure: case.figure,
            record_bytes: case.record_bytes,
            partitions: case.partitions,
            brokers: brokers.collect(),
            targets,
            compared,
        });
    }

    /// Counts the targets that were met.
    pub fn finish(&mut self) {
        let all = || self.cases.iter().flat_map(|case| &case.targets);
        let broken = self.cases.iter().flat_map(|case| &case.compared.sides);
        let broken = broken.filter(|side| side.kind == Kind::Yam && side.failure.is_some()).count();
        (self.passed, self.failed) =
            (all().filter(|target| target.passed).count(), all().filter(|target| !target.passed).count() + broken);
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        write_both(dir, "kafka", self, &self.markdown())
    }

    /// The tables.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}; median of {} rounds of {} s. Yam syncs every batch before its answer. Kafka as it comes writes to the page \
             cache and waits for no sync; Kafka synced has log.flush.interval.messages=1.\n",
            self.machine, self.rounds, self.seconds
        );
        for (figure, heading) in [
            (Figure::Produced, "Produced, acks=all (latency: until a request is answered)"),
            (Figure::Consumed, "Consumed, of a topic that was filled before"),
            (Figure::Latency, "End to end (latency: until a record is read)"),
        ] {
            self.table(&mut out, figure, heading);
        }
        for (case, side) in self.cases.iter().flat_map(|case| case.compared.sides.iter().map(move |side| (case, side))) {
            if let Some(failure) = &side.failure {
                let _ = writeln!(out, "{}: {} failed: {}\n", case.name, side.kind, failure.replace(['|', '\n'], " "));
            }
        }
        let _ = writeln!(out, "Targets: {} met, {} missed.", self.passed, self.failed);
        out
    }

    fn table(&self, out: &mut String, figure: Figure, heading: &str) {
        let cases: Vec<&CaseReport> = self.cases.iter().filter(|case| case.figure == figure).collect();
        if cases.is_empty() {
            return;
        }
        let _ = writeln!(
            out,
            "### {heading}\n\n\
             | load | broker | records/s | MB/s | p50 ms | p99 ms | CPU ms/MB | RSS MiB | peak | others' CPU |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        for case in &cases {
            for broker in &case.brokers {
                let medians = &broker.medians;
                let latency = |part: fn(Latency) -> f64| cell(medians.latency.map(part), 2);
                let _ = writeln!(
                    out,
                    "| {}, {} B | {} | {:.0} | {:.1} | {} | {} | {:.2} | {:.0} | {:.0} | {:.1} |",
                    case.title,
                    case.record_bytes,
                    broker.broker,
                    medians.records_per_second,
                    medians.mb_per_second,
                    latency(|l| l.p50_ms),
                    latency(|l| l.p99_ms),
                    medians.broker_cpu_ms_per_mb,
                    medians.rss_mib,
                    medians.rss_peak_mib,
                    medians.others_cpu
                );
            }
        }
        let _ = writeln!(out, "\n| load | Yam beside | figure | ratio | target | |\n|---|---|---|--:|---|---|");
        for (case, target) in cases.iter().flat_map(|case| case.targets.iter().map(move |target| (case, target))) {
            let Target { what, peer, ratio, wanted, passed } = target;
            let _ = writeln!(
                out,
                "| {}, {} B | {peer} | {what} | {} | {wanted} | {} |",
                case.title,
                case.record_bytes,
                cell(Some(*ratio), 2),
                mark(Some(*passed))
            );
        }
        for case in &cases {
            if let Some(broker) = case.brokers.first() {
                let _ = writeln!(out, "\n{}: {}", case.title, broker.load);
            }
        }
        let _ = writeln!(out);
    }
}

/// What a case is to show.
fn targets(case: &Case, yam: &Medians, medians: &dyn Fn(Kind) -> Option<Medians>) -> Vec<Target> {
    let target = |what, kind, of: &dyn Fn(&Medians) -> f64, bound: f64, at_least: bool| {
        let peer = medians(kind)?;
        let ratio = of(yam) / of(&peer);
        let passed = if at_least { ratio >= bound } else { ratio <= bound };
        let wanted = format!("{} {bound}", if at_least { ">=" } else { "<=" });
        Some(Target { what, peer: kind.to_string(), ratio, wanted, passed })
    };
    let rate: &dyn Fn(&Medians) -> f64 = &|medians| medians.records_per_second;
    let cpu: &dyn Fn(&Medians) -> f64 = &|medians| medians.broker_cpu_ms_per_mb;
    let memory: &dyn Fn(&Medians) -> f64 = &|medians| medians.rss_peak_mib;
    let p99: &dyn Fn(&Medians) -> f64 = &|medians| medians.latency.map_or(f64::NAN, |latency| latency.p99_ms);
    let mut all = match case.figure {
        Figure::Produced => vec![
            target("records/s", Kind::Kafka, rate, cases::PRODUCED_RATIO_MIN, true),
            target("records/s", Kind::KafkaSynced, rate, cases::PRODUCED_RATIO_SYNCED_MIN, true),
        ],
        Figure::Consumed => vec![target("records/s", Kind::Kafka, rate, cases::CONSUMED_RATIO_MIN, true)],
        Figure::Latency => vec![target("p99", Kind::Kafka, p99, cases::LATENCY_RATIO_MAX, false)],
    };
    // One record after another says what one costs, not what a megabyte does.
    if (case.figure, case.client) != (Figure::Latency, Client::Java) {
        all.push(target("CPU per MB", Kind::Kafka, cpu, cases::CPU_RATIO_MAX, false));
    }
    all.push(target("peak RSS", Kind::Kafka, memory, cases::MEMORY_RATIO_MAX, false));
    all.into_iter().flatten().collect()
}
