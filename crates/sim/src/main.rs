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
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    sim::run::name_seeds_in_panics();
    if let Some(seed) = arguments.seed {
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
