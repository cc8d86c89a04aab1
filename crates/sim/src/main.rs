//! `sim`: run seeds of the simulator.

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// Run the real broker over a false disk, network and clock, and see that it keeps every promise.
#[derive(Parser)]
struct Arguments {
    /// Run this seed and print what happens.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run the seeds A..B (B is not run).
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: std::ops::Range<u64>,
    /// Threads.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Stop after so many failing seeds.
    #[arg(long, default_value_t = 5)]
    failures: u64,
    /// With `--seed`: print only the end.
    #[arg(long)]
    quiet: bool,
    /// Plant this bug (or `all`, one after the other): some seed must fail. Needs a build with `--features planted`.
    #[arg(long)]
    planted: Option<String>,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    sim::run::name_seeds_in_panics();
    match arguments.planted.as_deref() {
        Some("all") => return planted::all(&arguments),
        Some(name) => {
            if let Err(code) = planted::plant(name) {
                return code;
            }
        }
        None => {}
    }
    if let Some(seed) = arguments.seed {
        if !arguments.quiet {
            // What the node logs stands between the events.
            tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false).init();
        }
        let report = sim::run::seed(seed, !arguments.quiet);
        println!("{}", report.story());
        println!("{}\ntrace       {:016x}", report.figures, report.hash);
        return if report.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let style = "{bar:40} {pos}/{len} seeds  {per_sec}  {eta} left  {msg}";
    let bar = ProgressBar::new(arguments.seeds.end.saturating_sub(arguments.seeds.start));
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let figures = sim::run::seeds(arguments.seeds, arguments.threads, arguments.failures, &|report| {
        bar.inc(1);
        if report.violation.is_some() {
            bar.suspend(|| println!("{}", report.story()));
        }
    });
    bar.finish_and_clear();
    println!("{figures}");
    if figures.failed > 0 {
        println!("{} seeds FAILED", figures.failed);
        return ExitCode::FAILURE;
    }
    println!("lost        0; every promise was kept");
    ExitCode::SUCCESS
}

#[cfg(not(feature = "planted"))]
mod planted {
    use std::process::ExitCode;

    pub fn plant(name: &str) -> Result<(), ExitCode> {
        eprintln!("cannot plant {name:?}: this build has no bugs to plant; build with --features planted");
        Err(ExitCode::FAILURE)
    }

    pub fn all(_arguments: &super::Arguments) -> ExitCode {
        plant("all").err().unwrap_or(ExitCode::FAILURE)
    }
}

#[cfg(feature = "planted")]
mod planted {
    use std::process::{Command, ExitCode};

    use model::planted::{self, Bug};

    pub fn plant(name: &str) -> Result<(), ExitCode> {
        let Some(bug) = Bug::parse(name) else {
            let names = Bug::ALL.map(Bug::name).join(", ");
            eprintln!("no bug is called {name:?}; there are: {names}");
            return Err(ExitCode::FAILURE);
        };
        planted::plant(Some(bug));
        Ok(())
    }

    /// Each bug in a process of its own, because some end in a panic.
    pub fn all(arguments: &super::Arguments) -> ExitCode {
        let Ok(program) = std::env::current_exe() else { return ExitCode::FAILURE };
        let seeds = format!("{}..{}", arguments.seeds.start, arguments.seeds.end);
        let mut missed = 0;
        for bug in Bug::ALL {
            let output = Command::new(&program).args(["--seeds", &seeds, "--failures", "1", "--planted", bug.name()]).output();
            let Ok(output) = output else { return ExitCode::FAILURE };
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let found = said.lines().find(|line| line.starts_with("seed ") && line.contains("FAILED"));
            match found {
                Some(line) => println!("{:<28} found: {}", bug.name(), line.chars().take(160).collect::<String>()),
                None => {
                    missed += 1;
                    println!("{:<28} NOT FOUND in seeds {seeds}", bug.name());
                }
            }
        }
        if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
