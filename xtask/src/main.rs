//! `cargo xtask`: what the project does to itself. Nothing here is part of the broker.
//!
//! # Layout
//! - [`test`]: everything a change must pass, step by step
//! - [`tidy`]: house rules that no compiler knows: layering, dead files, format ids, README commands
//! - [`torture`]: the real binary under load, killed again and again
//! - [`layers`]: the drawing of who names whom
//! - [`processes`]: running other programs

#![allow(clippy::disallowed_methods, reason = "a tool at the roof: it reads files and clocks")]

mod layers;
mod processes;
mod test;
mod tidy;
mod torture;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// The project's own tools.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything a change must pass; stops at the first step that fails.
    Test(test::Arguments),
    /// Only the house rules: layering, dead files, format ids, README commands, links.
    Tidy,
    /// Draw which crate names which, and the circles between modules inside each crate.
    Layers,
    /// Kill the real binary under load, again and again; 0 confirmed messages may be lost.
    Torture(torture::Arguments),
    /// Measure against peers: starts them beside Yam with the same load, prints tables with ratios.
    Bench {
        /// Handed to the bench program: `amqp`, and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run the cargo-fuzz targets in fuzz/, each for so many minutes (needs cargo-fuzz and a nightly toolchain).
    Fuzz {
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Xtask::parse().command {
        Command::Test(arguments) => return test::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Layers => layers::run(),
        Command::Torture(arguments) => torture::run(&arguments),
        Command::Bench { arguments } => bench(&arguments),
        Command::Fuzz { minutes } => fuzz(minutes),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .components()
        .collect::<PathBuf>()
        .canonicalize()
        .unwrap_or_else(|_| ".".into())
}

fn bench(arguments: &[String]) -> anyhow::Result<()> {
    processes::cargo(&["build", "--release", "-p", "server", "-p", "bench"])?;
    let mut all = vec!["run", "--release", "--quiet", "-p", "bench", "--"];
    all.extend(arguments.iter().map(String::as_str));
    processes::cargo(&all)
}

fn fuzz(minutes: u64) -> anyhow::Result<()> {
    let targets = root().join("fuzz/fuzz_targets");
    let mut names: Vec<String> = std::fs::read_dir(&targets)
        .map_err(|error| anyhow::anyhow!("no fuzz targets in {}: {error}", targets.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    for name in &names {
        println!("fuzz {name}: {minutes} minutes");
        let time = format!("-max_total_time={}", minutes * 60);
        let mut command = std::process::Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", name]).current_dir(root());
        // What a run finds goes into the first folder; the second holds the beginnings that are kept.
        command.args(["corpus", "seeds"].map(|folder| root().join("fuzz").join(folder).join(name)));
        std::fs::create_dir_all(root().join("fuzz/corpus").join(name))?;
        std::fs::create_dir_all(root().join("fuzz/seeds").join(name))?;
        processes::run(command.args(["--", &time, "-max_len=65536"]))?;
    }
    println!("{} targets without a finding", names.len());
    Ok(())
}

/// The commands of this program, for the README's check.
fn commands() -> Vec<String> {
    Xtask::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}
