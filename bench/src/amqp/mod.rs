//! `cargo xtask bench amqp`: beside RabbitMQ, by `yam bench amqp`.
//!
//! # Layout
//! - [`cases`]: what is measured and what the targets are
//! - [`generator`]: runs `yam bench` and reads its summary
//! - [`memory`]: idle queues and connections, and a large backlog
//! - [`report`]: table, Markdown and JSON

mod cases;
mod generator;
mod memory;
mod report;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::broker::{Broker, Kind, Programs};
use crate::machine;
use crate::rounds::{self, compare};
use cases::Case;
use generator::{Generator, Summary};

/// What to measure and how long.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    common: crate::Options,

    /// Messages of the backlog case
    #[arg(long, default_value_t = 2_000_000)]
    backlog: u64,

    /// The backlog case for the peer too (it takes minutes)
    #[arg(long)]
    peer_backlog: bool,

    /// RabbitMQ's start script
    #[arg(long, default_value = "/usr/lib/rabbitmq/bin/rabbitmq-server")]
    rabbitmq_server: PathBuf,
}

/// Measures and reports.
pub fn run(mut options: Options) -> Result<()> {
    let cases = cases::all(options.common.seconds);
    if options.common.list {
        cases.iter().for_each(|case| println!("{:<20} {}", case.name, case.title));
        memory::NAMES.iter().for_each(|(name, title)| println!("{name:<20} {title}"));
        return Ok(());
    }
    let known: Vec<&str> = cases.iter().map(|case| case.name).chain(memory::NAMES.iter().map(|(name, _)| *name)).collect();
    options.common.prepare(&known)?;
    if options.common.quick {
        options.backlog = options.backlog.min(300_000);
    }
    let common = &options.common;
    let cases = cases::all(common.seconds);
    let mut kinds = vec![Kind::Yam, Kind::Rabbitmq];
    kinds.retain(|kind| common.wants_broker(*kind));
    if kinds.contains(&Kind::Rabbitmq) && !options.rabbitmq_server.exists() {
        eprintln!(
            "{}: not there, so Yam is measured alone; `apt-get install rabbitmq-server` brings the peer, \
             --rabbitmq-server names it",
            options.rabbitmq_server.display()
        );
        kinds.retain(|kind| *kind != Kind::Rabbitmq);
    }
    let (yam, program) = common.binaries()?;
    let programs = Programs { yam, rabbitmq_server: options.rabbitmq_server.clone(), kafka_jars: PathBuf::new() };
    let generator = Generator { program };
    let mut report = report::Report::new(machine::describe(&common.dir)?, common.rounds, common.seconds);
    for case in cases.iter().filter(|case| common.wants(case.name)) {
        let compared = compare(&Contest { case, generator: &generator }, &kinds, &programs, common)?;
        report.add_case(case, compared);
    }
    for (name, _) in memory::NAMES.iter().filter(|(name, _)| common.wants(name)) {
        for &kind in &kinds {
            if *name == "backlog" && kind == Kind::Rabbitmq && !options.peer_backlog {
                continue;
            }
            eprintln!("{name}: {kind}");
            let lines = memory::run(name, kind, &programs, &generator, &options)?;
            report.add_memory(name, kind, lines);
        }
    }
    report.finish();
    report.write(&common.dir)?;
    println!("{}", report.markdown());
    println!("written to {0}/amqp.json and {0}/amqp.md", common.dir.display());
    Ok(())
}

struct Contest<'a> {
    case: &'a Case,
    generator: &'a Generator,
}

impl rounds::Contest for Contest<'_> {
    type Outcome = Summary;

    fn name(&self) -> &str {
        self.case.name
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn prepare(&self, _: &Broker) -> Result<()> {
        Ok(())
    }

    fn load(&self, broker: &Broker) -> Result<Summary> {
        self.generator.run(broker, &self.case.arguments)
    }

    fn figures(&self, summary: &Summary) -> String {
        let rate = summary.delivered_per_second.max(summary.published_per_second);
        format!("{rate:.0}/s, {:.2} us per message", summary.broker_cpu_us_per_message.unwrap_or(0.0))
    }
}
