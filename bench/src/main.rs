//! `cargo xtask bench`: Yam beside its peers, under the same load, on the same machine, in the same run.
//!
//! The load comes from the same clients against every broker alike; this program starts the brokers, one set of options per
//! case, alternates between them, and sets the figures side by side. README.md in this folder says how to read them.
//!
//! # Layout
//! - [`amqp`]: beside RabbitMQ
//! - [`kafka`]: beside Apache Kafka
//! - [`broker`]: starts, stops and kills a broker on ports of its own
//! - [`rounds`]: the rounds of a case, on a machine that others use too
//! - [`machine`]: the machine, its disk's fdatasync, and what else was running on it
//! - [`report`]: what the tables have in common

#![expect(clippy::disallowed_methods, reason = "a measuring tool reads clocks and writes files")]

mod amqp;
mod broker;
mod kafka;
mod machine;
mod report;
mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use broker::Kind;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures Yam beside its peers", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// AMQP 0-9-1, beside RabbitMQ
    Amqp(amqp::Options),
    /// Kafka, beside Apache Kafka
    Kafka(kafka::Options),
}

/// What to measure and how long, whatever the protocol.
#[derive(Debug, Args)]
struct Options {
    /// Only these cases, separated by commas (`--list` names them)
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,

    /// Name the cases and stop
    #[arg(long)]
    list: bool,

    /// Only these brokers, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,

    /// Rounds per case; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Seconds of load per round
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,

    /// One short round per case: to see that all works, not to publish figures
    #[arg(long)]
    quick: bool,

    /// Seconds to wait before each load for other programs to leave the machine alone; disturbed loads are made again
    /// (0 = take it as it is)
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    calm_wait: u64,

    /// Where the brokers keep their data: a fresh folder in here, on the disk that is to be measured
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,

    /// The binary under test, which is the load generator too [default: `yam` beside this program]
    #[arg(long)]
    yam: Option<PathBuf>,

    /// The load generator, if it is to be another build than the one under test
    #[arg(long)]
    generator: Option<PathBuf>,
}

impl Options {
    /// Takes a quick run's values, refuses unknown cases, makes the folder.
    fn prepare(&mut self, known: &[&str]) -> Result<()> {
        if self.quick {
            (self.rounds, self.seconds, self.calm_wait) = (1, 3.0, 0);
        }
        self.rounds = self.rounds.max(1);
        if let Some(name) = self.cases.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("no case is called {name}; --list names them");
        }
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))
    }

    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| wanted == case)
    }

    fn wants_broker(&self, kind: Kind) -> bool {
        self.only.is_empty() || self.only.contains(&kind)
    }

    fn calm_wait(&self) -> Duration {
        Duration::from_secs(self.calm_wait)
    }

    /// The binary under test, and the one that makes the load.
    fn binaries(&self) -> Result<(PathBuf, PathBuf)> {
        let there = |program: PathBuf| {
            program.canonicalize().with_context(|| {
                format!("{}: build it with `cargo build --release -p server`, or name another with --yam", program.display())
            })
        };
        let yam = match &self.yam {
            Some(path) => path.clone(),
            None => std::env::current_exe()?.with_file_name("yam"),
        };
        let yam = there(yam)?;
        let generator = self.generator.clone().map_or(Ok(yam.clone()), there)?;
        Ok((yam, generator))
    }
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
    let protocol = Cli::parse().protocol;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            broker::end_all();
            std::process::exit(130);
        }
    });
    match protocol {
        Protocol::Amqp(options) => amqp::run(options),
        Protocol::Kafka(options) => kafka::run(options),
    }
}
