//! What a broker holds in memory: idle queues, idle connections, a backlog larger than it should keep in memory.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::Options;
use super::generator::{Generator, Idle, Summary};
use crate::broker::{Broker, Kind, Programs};
use crate::machine::{pause, wait_for_calm};

/// The cases of this file.
pub const NAMES: [(&str, &str); 3] = [
    ("idle-queues", "memory of an idle durable queue, of 10,000"),
    ("idle-connections", "memory of an idle connection with a channel, of 5,000"),
    ("backlog", "2 million 1 KiB messages: memory, draining, restart"),
];

/// One figure, and for Yam what it is to be.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub label: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<Target>,
}

/// A bound on a figure.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Line {
    fn new(label: &str, value: f64, unit: &'static str, target: Option<Target>) -> Line {
        Line { label: label.to_owned(), value, unit, target }
    }

    pub fn passes(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(bound) => self.value <= bound,
            Target::AtLeast(bound) => self.value >= bound,
        })
    }
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// "A few KiB each".
const IDLE_KIB_MAX: f64 = 8.0;
const BACKLOG_MIB_MAX: f64 = 400.0;
/// Part of the live rate at which a backlog must drain.
const DRAIN_PART_MIN: f64 = 0.6;
const RESTART_SECONDS_MAX: f64 = 3.0;

/// Runs one of `NAMES` for one broker.
pub fn run(name: &str, kind: Kind, programs: &Programs, generator: &Generator, options: &Options) -> Result<Vec<Line>> {
    let outcome = match name {
        "idle-queues" => {
            idle(kind, programs, generator, options, "--idle-queues", if options.common.quick { 2_000 } else { 10_000 })
        }
        "idle-connections" => {
            idle(kind, programs, generator, options, "--idle-connections", if options.common.quick { 1_000 } else { 5_000 })
        }
        _ => backlog(kind, programs, generator, options),
    };
    // One broker's failure is a line in the report, not the end of the run.
    Ok(outcome.unwrap_or_else(|error| {
        eprintln!("{name}: {kind}: {error:#}");
        vec![Line::new(&format!("failed: {error:#}"), f64::NAN, "", Some(Target::AtMost(0.0)))]
    }))
}

fn idle(kind: Kind, programs: &Programs, generator: &Generator, options: &Options, flag: &str, count: u64) -> Result<Vec<Line>> {
    let broker = Broker::start(kind, programs, &options.common.dir)?;
    let idle: Idle = generator.run(&broker, &[flag.to_owned(), count.to_string()])?;
    let what = flag.trim_start_matches("--idle-").trim_end_matches('s');
    let each = idle.bytes_each / KIB;
    eprintln!("{flag} {count}: {kind}: {each:.1} KiB each, made in {:.1} s", idle.seconds_to_create);
    Ok(vec![
        Line::new(&format!("an idle {what}, of {count}"), each, "KiB", Some(Target::AtMost(IDLE_KIB_MAX))),
        Line::new(&format!("making {count} {what}s"), idle.seconds_to_create, "s", None),
    ])
}

fn backlog(kind: Kind, programs: &Programs, generator: &Generator, options: &Options) -> Result<Vec<Line>> {
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let calm_wait = options.common.calm_wait();
    let live: Summary = {
        let broker = Broker::start(kind, programs, &options.common.dir)?;
        wait_for_calm(&broker.pids(), calm_wait);
        generator.run(&broker, &words(format!("--duration {}", options.common.seconds)))?
    };
    let mut broker = Broker::start(kind, programs, &options.common.dir)?;
    let count = options.backlog;
    let mut lines = Vec::new();
    let mut note = |line: Line| {
        eprintln!("backlog: {kind}: {} {:.2} {}", line.label, line.value, line.unit);
        lines.push(line);
    };
    note(Line::new("live rate", live.delivered_per_second, "messages/s", None));
    let fill: Summary = generator.run(&broker, &words(format!("--count {count} -c 0 --keep --stall-timeout 60")))?;
    note(Line::new(&format!("filling with {count} messages"), fill.published_per_second, "messages/s", None));
    let peak = |summary: &Summary| summary.broker_usage.map_or(f64::NAN, |usage| usage.rss_peak_bytes as f64 / MIB);
    let bound = Some(Target::AtMost(BACKLOG_MIB_MAX));
    note(Line::new("peak RSS while filling", peak(&fill), "MiB", bound));

    let stopped = broker.stop()?;
    note(Line::new("stopping with SIGTERM", stopped.as_secs_f64(), "s", None));
    let restart = Some(Target::AtMost(RESTART_SECONDS_MAX));
    note(Line::new("restart after SIGTERM until the first message", first_message(&mut broker, generator)?, "s", restart));
    broker.kill()?;
    note(Line::new("restart after SIGKILL until the first message", first_message(&mut broker, generator)?, "s", restart));

    wait_for_calm(&broker.pids(), calm_wait);
    // What was taken by the two looks above is gone or comes again: the queue is emptied, however much it holds.
    let drain: Summary = generator.run(&broker, &words("-p 0 --reuse --stall-timeout 60".to_owned()))?;
    let least = live.delivered_per_second * DRAIN_PART_MIN;
    note(Line::new(
        &format!("draining {} messages", drain.delivered),
        drain.delivered_per_second,
        "messages/s",
        Some(Target::AtLeast(least)),
    ));
    note(Line::new("peak RSS since the restart, draining included", peak(&drain), "MiB", bound));
    let missing = count.saturating_sub(drain.delivered);
    note(Line::new(
        "messages missing (the two that were looked at apart)",
        missing.saturating_sub(2) as f64,
        "",
        Some(Target::AtMost(0.0)),
    ));
    Ok(lines)
}

/// Starts the broker and takes one message; returns the seconds from the start of the process to its delivery.
fn first_message(broker: &mut Broker, generator: &Generator) -> Result<f64> {
    let started: Instant = broker.start_again()?;
    let arguments = "-p 0 --count 1 --prefetch 1 --ack-every 1 --reuse --keep --connect-timeout 120";
    let taken: Summary = generator.run(broker, &arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>())?;
    let elapsed = started.elapsed();
    broker.wait_until_ready()?;
    pause(Duration::from_millis(100));
    // The generator ends shortly after it has its message; that it took one at all is its own check.
    debug_assert!(taken.delivered >= 1);
    Ok(elapsed.as_secs_f64())
}
