//! `cargo xtask bench kafka`: beside Apache Kafka, by `yam bench kafka`, Kafka's own performance tools and librdkafka's.
//!
//! # Layout
//! - [`cases`]: what is measured and what the targets are
//! - [`load`]: runs the programs that make load and reads what they say
//! - [`compare`]: the rounds of a case
//! - [`report`]: table, Markdown and JSON

mod cases;
mod compare;
mod load;
mod report;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::broker::{Kind, Programs};
use crate::machine;
use cases::Client;
use load::Clients;

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
        report.add(case, compare::run(case, &kinds, &programs, &clients, common)?);
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
