//! `cargo xtask`: what the project does to itself. Nothing here is part of the broker.
//!
//! # Layout
//! - [`test`]: everything a change must pass, step by step
//! - [`tidy`]: house rules that no compiler knows: layering, dead files, format ids, README commands
//! - [`torture`]: the real binary under load, killed again and again
//! - [`fuzz`]: the decoders, readers and sessions on any bytes
//! - [`layers`]: the drawing of who names whom
//! - [`processes`]: running other programs

#![expect(clippy::disallowed_methods, reason = "a tool at the roof: it reads files and clocks")]

mod fuzz;
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
    /// Run the fuzz targets in fuzz/, one after the other (needs a nightly toolchain).
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    if let Err(error) = processes::give_children_the_usual_signals() {
        eprintln!("cargo xtask: cannot catch signals: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = match Xtask::parse().command {
        Command::Test(arguments) => return test::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Layers => layers::run(),
        Command::Torture(arguments) => torture::run(&arguments),
        Command::Bench { arguments } => bench(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
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

/// The commands of this program, for the README's check.
fn commands() -> Vec<String> {
    Xtask::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}
