//! `cargo xtask bench kafka`: beside Apache Kafka, by `yam bench kafka`, Kafka's own performance tools and librdkafka's.
//!
//! # Layout
//! - [`cases`]: what is measured and what the targets are
//! - [`load`]: runs the programs that make load and reads what they say
//! - [`report`]: table, Markdown and JSON

mod cases;
mod load;
mod report;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::broker::{Broker, Kind, Programs};
use crate::machine;
use crate::rounds::{self, compare};
use cases::{Case, Client};
use load::{Clients, Outcome};

/// What to measure and how long.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    common: crate::Options,

    /// Apache Kafka's jars [default: brought by Maven into the folder of --dir, as bench/kafka/pom.xml names them]
    #[arg(long, value_name = "FOLDER")]
    kafka_jars: Option<PathBuf>,

    /// librdkafka's performance program, built from the examples in its source
    #[arg(long, value_name = "PATH", default_value = "rdkafka_performance")]
    rdkafka_performance: PathBuf,
}

/// Measures and reports.
pub fn run(mut options: Options) -> Result<()> {
    let cases = cases::all();
    if options.common.list {
        cases.iter().for_each(|case| println!("{:<20} {}", case.name, case.title));
        return Ok(());
    }
    options.common.prepare(&cases.iter().map(|case| case.name).collect::<Vec<_>>())?;
    let common = &options.common;
    let kinds: Vec<Kind> =
        [Kind::Yam, Kind::Kafka, Kind::KafkaSynced].into_iter().filter(|kind| common.wants_broker(*kind)).collect();
    let (yam, generator) = common.binaries()?;
    let wanted = || cases.iter().filter(|case| common.wants(case.name));
    let java = kinds != [Kind::Yam] || wanted().any(|case| case.client == Client::Java);
    let kafka_jars = match &options.kafka_jars {
        Some(folder) => folder.clone(),
        None if java => bring_jars(&common.dir)?,
        None => PathBuf::new(),
    };
    let programs = Programs { yam, rabbitmq_server: PathBuf::new(), kafka_jars };
    let clients = Clients { generator, rdkafka_performance: find(&options.rdkafka_performance) };
    let mut report = report::Report::new(machine::describe(&common.dir)?, common.rounds, common.seconds);
    for case in wanted() {
        if case.client == Client::Librdkafka && clients.rdkafka_performance.is_none() {
            eprintln!("{}: left out: --rdkafka-performance names librdkafka's program", case.name);
            continue;
        }
        let kinds: Vec<Kind> = case.kinds.iter().copied().filter(|kind| kinds.contains(kind)).collect();
        let contest = Contest { case, clients: &clients, programs: &programs, seconds: common.seconds };
        report.add(case, compare(&contest, &kinds, &programs, common)?);
    }
    report.finish();
    report.write(&common.dir)?;
    println!("{}", report.markdown());
    println!("written to {0}/kafka.json and {0}/kafka.md", common.dir.display());
    Ok(())
}

/// Has Maven bring the jars, unless an earlier run did.
fn bring_jars(dir: &Path) -> Result<PathBuf> {
    let folder = dir.join("kafka-jars");
    let is_there = || std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some());
    if !is_there() {
        eprintln!("bringing Apache Kafka's jars to {}", folder.display());
        std::fs::create_dir_all(&folder)?;
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
        let mut output = std::ffi::OsString::from("-DoutputDirectory=");
        output.push(folder.canonicalize()?);
        let status =
            Command::new("mvn").args(["-q", "-B", "-f"]).arg(pom).arg("dependency:copy-dependencies").arg(output).status();
        if !status.context("cannot start mvn; --kafka-jars names a folder that has the jars")?.success() || !is_there() {
            bail!("Maven did not bring the jars; --kafka-jars names a folder that has them");
        }
    }
    Ok(folder.canonicalize()?)
}

/// A program by its path, or by its name in PATH.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

struct Contest<'a> {
    case: &'a Case,
    clients: &'a Clients,
    programs: &'a Programs,
    seconds: f64,
}

impl rounds::Contest for Contest<'_> {
    type Outcome = Outcome;

    fn name(&self) -> &str {
        self.case.name
    }

    fn warms_up(&self) -> bool {
        true
    }

    fn prepare(&self, broker: &Broker) -> Result<()> {
        self.clients.prepare(self.case, broker, self.seconds)
    }

    fn load(&self, broker: &Broker) -> Result<Outcome> {
        self.clients.run(self.case, broker, self.programs, self.seconds)
    }

    fn figures(&self, outcome: &Outcome) -> String {
        let Outcome { records_per_second, mb_per_second, broker_cpu_ms_per_mb, latency, rss_bytes, .. } = outcome;
        let latency = latency.map(|latency| format!(", p50 {:.2} ms, p99 {:.2} ms", latency.p50_ms, latency.p99_ms));
        format!(
            "{records_per_second:.0} records/s, {mb_per_second:.1} MB/s, {broker_cpu_ms_per_mb:.2} ms of CPU per MB, RSS {:.0} MiB{}",
            *rss_bytes as f64 / f64::from(1 << 20),
            latency.unwrap_or_default(),
        )
    }
}
