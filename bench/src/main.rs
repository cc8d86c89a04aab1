//! `cargo xtask bench amqp`: Yam beside its peers, under the same load, on the same machine, in the same run.
//!
//! The load comes from `yam bench`, against every broker alike; this program starts the brokers, one set of options per
//! case, alternates between them, and sets the figures side by side. README.md in this folder says how to read them.
//!
//! # Layout
//! - [`cases`]: what is measured and what the targets are
//! - [`broker`]: starts, stops and kills a broker on a port of its own
//! - [`generator`]: runs `yam bench` and reads its summary
//! - [`compare`]: the rounds of the load cases
//! - [`memory`]: idle queues and connections, and a large backlog
//! - [`machine`]: the machine, its disk's fdatasync, and what else was running on it
//! - [`report`]: table, Markdown and JSON

#![expect(clippy::disallowed_methods, reason = "a measuring tool reads clocks and writes files")]

mod broker;
mod cases;
mod compare;
mod generator;
mod machine;
mod memory;
mod report;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use broker::Kind;
use generator::Generator;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Yam beside its peers", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// AMQP 0-9-1, beside RabbitMQ
    Amqp(Options),
}

/// What to measure and how long.
#[derive(Debug, Parser)]
struct Options {
    /// Only these cases, separated by commas (`--list` names them)
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,

    /// Name the cases and stop
    #[arg(long)]
    list: bool,

    /// Only one broker
    #[arg(long, value_enum)]
    only: Option<Kind>,

    /// Rounds per case; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Seconds of load per round
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,

    /// One short round per case, and a smaller backlog: to see that all works, not to publish figures
    #[arg(long)]
    quick: bool,

    /// Seconds to wait before each load for other programs to leave the machine alone; disturbed loads are made again
    /// (0 = take it as it is)
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    calm_wait: u64,

    /// Messages of the backlog case
    #[arg(long, default_value_t = 2_000_000)]
    backlog: u64,

    /// The backlog case for the peer too (it takes minutes)
    #[arg(long)]
    peer_backlog: bool,

    /// Where the brokers keep their data: a fresh folder in here, on the disk that is to be measured
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,

    /// The binary under test, which is the load generator too [default: `yam` beside this program]
    #[arg(long)]
    yam: Option<PathBuf>,

    /// The load generator, if it is to be another build than the one under test
    #[arg(long)]
    generator: Option<PathBuf>,

    /// RabbitMQ's start script
    #[arg(long, default_value = "/usr/lib/rabbitmq/bin/rabbitmq-server")]
    rabbitmq_server: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let Protocol::Amqp(options) = Cli::parse().protocol;
    if options.list {
        cases::all(1.0).iter().for_each(|case| println!("{:<20} {}", case.name, case.title));
        memory::NAMES.iter().for_each(|(name, title)| println!("{name:<20} {title}"));
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            broker::end_all();
            std::process::exit(130);
        }
    });
    amqp(options)
}

fn amqp(mut options: Options) -> Result<()> {
    if options.quick {
        (options.rounds, options.seconds, options.calm_wait) = (1, 3.0, 0);
        options.backlog = options.backlog.min(300_000);
    }
    options.rounds = options.rounds.max(1);
    let pace = compare::Pace { rounds: options.rounds, calm_wait: Duration::from_secs(options.calm_wait) };
    let cases = cases::all(options.seconds);
    for name in &options.cases {
        if !cases.iter().any(|case| case.name == name) && !memory::NAMES.iter().any(|(known, _)| known == name) {
            bail!("no case is called {name}; --list names them");
        }
    }
    let yam = match &options.yam {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("yam"),
    };
    let there = |program: PathBuf| {
        program.canonicalize().with_context(|| {
            format!("{}: build it with `cargo build --release -p server`, or name another with --yam", program.display())
        })
    };
    let yam = there(yam)?;
    std::fs::create_dir_all(&options.dir).with_context(|| format!("cannot create {}", options.dir.display()))?;
    let mut kinds = vec![Kind::Yam, Kind::Rabbitmq];
    kinds.retain(|kind| options.only.is_none_or(|only| only == *kind));
    if kinds.contains(&Kind::Rabbitmq) && !options.rabbitmq_server.exists() {
        eprintln!(
            "{}: not there, so Yam is measured alone; `apt-get install rabbitmq-server` brings the peer, \
             --rabbitmq-server names it",
            options.rabbitmq_server.display()
        );
        kinds.retain(|kind| *kind != Kind::Rabbitmq);
    }
    let programs = broker::Programs { yam: yam.clone(), rabbitmq_server: options.rabbitmq_server.clone() };
    let generator = Generator { program: options.generator.clone().map_or(Ok(yam), there)? };
    let mut report = report::Report::new(machine::describe(&options.dir)?, options.rounds, options.seconds);
    let wanted = |name: &str| options.cases.is_empty() || options.cases.iter().any(|case| case == name);
    for case in cases.iter().filter(|case| wanted(case.name)) {
        let outcome = compare::run(case, &kinds, &programs, &generator, &options.dir, pace)?;
        report.add_case(case, outcome);
    }
    for (name, _) in memory::NAMES.iter().filter(|(name, _)| wanted(name)) {
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
    report.write(&options.dir)?;
    println!("{}", report.markdown());
    println!("written to {0}/amqp.json and {0}/amqp.md", options.dir.display());
    Ok(())
}
