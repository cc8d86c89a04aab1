//! The figures side by side, with what they were to be: as Markdown for people, as JSON for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::cases::{CPU_RATIO_MAX, Case, Figure, THROUGHPUT_RATIO_MIN};
use super::generator::{Latency, Summary};
use super::memory::{Line, Target};
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
    memory: Vec<MemoryReport>,
    passed: usize,
    failed: usize,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    name: &'static str,
    title: &'static str,
    durable: bool,
    arguments: Vec<String>,
    #[serde(skip)]
    figure: Figure,
    yam: Option<Medians>,
    rabbitmq: Option<Medians>,
    throughput_ratio: Option<f64>,
    cpu_ratio: Option<f64>,
    compared: Compared<Summary>,
}

#[derive(Debug, Serialize)]
struct MemoryReport {
    name: &'static str,
    broker: String,
    lines: Vec<Line>,
}

/// The medians over the rounds of one broker.
#[derive(Debug, Clone, Copy, Serialize)]
struct Medians {
    per_second: f64,
    cpu_us: f64,
    generator_cpu_us: f64,
    rss_peak_mib: f64,
    confirm: Option<Latency>,
    end_to_end: Option<Latency>,
    others_cpu: f64,
}

impl Medians {
    fn of(figure: Figure, rounds: &[Round<Summary>]) -> Option<Medians> {
        if rounds.is_empty() {
            return None;
        }
        let over = |field: &dyn Fn(&Round<Summary>) -> f64| median(rounds.iter().map(field).collect());
        let latency = |field: fn(&Summary) -> Option<Latency>| {
            rounds.iter().all(|round| field(&round.outcome).is_some()).then(|| {
                let part = |part: fn(&Latency) -> f64| over(&|round| field(&round.outcome).as_ref().map_or(0.0, part));
                Latency { p50_us: part(|l| l.p50_us), p99_us: part(|l| l.p99_us), max_us: part(|l| l.max_us) }
            })
        };
        let rate = |summary: &Summary| match figure {
            Figure::Delivered => summary.delivered_per_second,
            Figure::Published | Figure::Latency => summary.published_per_second,
        };
        let peak =
            |round: &Round<Summary>| round.outcome.broker_usage.map_or(0.0, |usage| usage.rss_peak_bytes as f64 / 1_048_576.0);
        Some(Medians {
            per_second: over(&|round| rate(&round.outcome)),
            cpu_us: over(&|round| round.outcome.broker_cpu_us_per_message.unwrap_or(0.0)),
            generator_cpu_us: over(&|round| round.outcome.generator_cpu_us_per_message),
            rss_peak_mib: over(&peak),
            confirm: latency(|summary| summary.confirm_latency),
            end_to_end: latency(|summary| summary.end_to_end_latency),
            others_cpu: over(&|round| round.others_cpu),
        })
    }
}

impl Report {
    pub fn new(machine: Machine, rounds: usize, seconds: f64) -> Report {
        Report { machine, rounds, seconds, cases: Vec::new(), memory: Vec::new(), passed: 0, failed: 0 }
    }

    pub fn add_case(&mut self, case: &Case, compared: Compared<Summary>) {
        let side = |kind: Kind| compared.sides.iter().find(|side| side.kind == kind);
        let medians = |kind| side(kind).and_then(|side| Medians::of(case.figure, &side.rounds));
        let (yam, rabbitmq) = (medians(Kind::Yam), medians(Kind::Rabbitmq));
        let ratio = |field: fn(&Medians) -> f64| Some(field(yam.as_ref()?) / field(rabbitmq.as_ref()?));
        self.cases.push(CaseReport {
            name: case.name,
            title: case.title,
            durable: case.durable,
            arguments: case.arguments.clone(),
            figure: case.figure,
            yam,
            rabbitmq,
            throughput_ratio: ratio(|medians| medians.per_second),
            cpu_ratio: ratio(|medians| medians.cpu_us),
            compared,
        });
    }

    pub fn add_memory(&mut self, name: &'static str, kind: Kind, lines: Vec<Line>) {
        self.memory.push(MemoryReport { name, broker: kind.to_string(), lines });
    }

    /// Counts the targets that were met.
    pub fn finish(&mut self) {
        let verdicts = self.cases.iter().flat_map(CaseReport::verdicts);
        let memory = self.memory.iter().filter(|memory| memory.broker == Kind::Yam.to_string());
        let all: Vec<bool> = verdicts.chain(memory.flat_map(|memory| memory.lines.iter().filter_map(Line::passes))).collect();
        self.passed = all.iter().filter(|&&passed| passed).count();
        self.failed = all.len() - self.passed;
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        write_both(dir, "amqp", self, &self.markdown())
    }

    /// The tables.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            out,
            "{machine}; median of {} rounds of {} s.\n\
             Yam confirms a persistent message after fdatasync; RabbitMQ's classic queue may confirm before it.\n",
            self.rounds, self.seconds,
        );
        self.throughput(&mut out);
        self.latency(&mut out);
        self.memory(&mut out);
        let _ = writeln!(out, "Targets: {} met, {} missed.", self.passed, self.failed);
        out
    }

    fn throughput(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "| load | Yam /s | RabbitMQ /s | ratio (>= {THROUGHPUT_RATIO_MIN}) | Yam CPU us | RabbitMQ CPU us | ratio (<= {CPU_RATIO_MAX}) \
             | Yam peak MiB | RabbitMQ peak MiB | generator us | others' CPU |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        for case in self.cases.iter().filter(|case| case.figure != Figure::Latency) {
            let yam = |field: fn(&Medians) -> f64, digits| cell(case.yam.as_ref().map(field), digits);
            let peer = |field: fn(&Medians) -> f64, digits| cell(case.rabbitmq.as_ref().map(field), digits);
            let others = [&case.yam, &case.rabbitmq].into_iter().flatten().map(|m| m.others_cpu).fold(0.0, f64::max);
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} {} | {} | {} | {} {} | {} | {} | {} | {:.1} |",
                case.title,
                yam(|m| m.per_second, 0),
                peer(|m| m.per_second, 0),
                cell(case.throughput_ratio, 1),
                mark(case.throughput_passes()),
                yam(|m| m.cpu_us, 2),
                peer(|m| m.cpu_us, 2),
                cell(case.cpu_ratio, 3),
                mark(case.cpu_passes()),
                yam(|m| m.rss_peak_mib, 0),
                peer(|m| m.rss_peak_mib, 0),
                yam(|m| m.generator_cpu_us, 2),
                others,
            );
        }
        let _ = writeln!(out);
    }

    fn latency(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "| load | broker | confirm p50 ms | p99 | end to end p50 ms | p99 | fdatasync p50 ms | p99 | within peer + fdatasync |\n\
             |---|---|--:|--:|--:|--:|--:|--:|---|"
        );
        for case in &self.cases {
            for (name, medians) in [("Yam", &case.yam), ("RabbitMQ", &case.rabbitmq)] {
                let Some(medians) = medians else { continue };
                let of = |latency: Option<Latency>, part: fn(Latency) -> f64| cell(latency.map(|l| part(l) / 1000.0), 3);
                let verdict = if name == "Yam" { mark(case.latency_passes()) } else { "" };
                let _ = writeln!(
                    out,
                    "| {} | {name} | {} | {} | {} | {} | {:.3} | {:.3} | {verdict} |",
                    case.title,
                    of(medians.confirm, |l| l.p50_us),
                    of(medians.confirm, |l| l.p99_us),
                    of(medians.end_to_end, |l| l.p50_us),
                    of(medians.end_to_end, |l| l.p99_us),
                    case.compared.fdatasync.p50_us / 1000.0,
                    case.compared.fdatasync.p99_us / 1000.0,
                );
            }
        }
        let _ = writeln!(out);
    }

    fn memory(&self, out: &mut String) {
        if self.memory.is_empty() {
            return;
        }
        let _ = writeln!(out, "| memory | broker | figure | | Yam's target | |\n|---|---|---|--:|--:|---|");
        for memory in &self.memory {
            for line in &memory.lines {
                let ours = memory.broker == Kind::Yam.to_string();
                let target = match line.target.filter(|_| ours) {
                    Some(Target::AtMost(bound)) => format!("<= {bound:.0}"),
                    Some(Target::AtLeast(bound)) => format!(">= {bound:.0}"),
                    None => String::new(),
                };
                let digits = if line.value.abs() < 100.0 { 2 } else { 0 };
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} {} | {target} | {} |",
                    memory.name,
                    memory.broker,
                    line.label.replace(['|', '\n'], " "),
                    cell(Some(line.value), digits),
                    line.unit,
                    mark(line.passes().filter(|_| ours))
                );
            }
        }
        let _ = writeln!(out);
    }
}

impl CaseReport {
    fn throughput_passes(&self) -> Option<bool> {
        self.throughput_ratio.filter(|_| self.figure != Figure::Latency).map(|ratio| ratio >= THROUGHPUT_RATIO_MIN)
    }

    fn cpu_passes(&self) -> Option<bool> {
        self.cpu_ratio.filter(|_| self.figure != Figure::Latency).map(|ratio| ratio <= CPU_RATIO_MAX)
    }

    /// One message in flight: at most the peer's confirm latency and one fdatasync, at p50 and at p99.
    fn latency_passes(&self) -> Option<bool> {
        let (yam, peer) = (self.yam.as_ref()?.confirm?, self.rabbitmq.as_ref()?.confirm?);
        let sync = self.compared.fdatasync;
        (self.figure == Figure::Latency)
            .then_some(yam.p50_us <= peer.p50_us + sync.p50_us && yam.p99_us <= peer.p99_us + sync.p99_us)
    }

    fn verdicts(&self) -> Vec<bool> {
        let failed = self.compared.sides.iter().any(|side| side.kind == Kind::Yam && side.failure.is_some());
        let own = [self.throughput_passes(), self.cpu_passes(), self.latency_passes()].into_iter().flatten();
        own.chain(failed.then_some(false)).collect()
    }
}
