//! `cargo xtask fuzz`: libFuzzer over each target in fuzz/. It needs a nightly toolchain, and no other tool.
//!
//! What a run finds worth keeping goes into `fuzz/corpus`, findings into `fuzz/artifacts`; `fuzz/seeds` holds the
//! beginnings that are in the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::{processes, root};

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these targets.
    targets: Vec<String>,
    /// How long each is run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
}

/// What libFuzzer needs to see where an input leads, and the address sanitizer.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address -Cforce-frame-pointers";

/// Memory at which an input is a finding.
const RSS_MB_MAX: u32 = 2048;
/// A single allocation that is a finding.
const ALLOCATION_MB_MAX: u32 = 256;
/// A single input that takes so long is a finding.
const SECONDS_MAX: u32 = 10;

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = root().join("fuzz");
    let mut names = targets(&folder)?;
    if let Some(unknown) = arguments.targets.iter().find(|name| !names.contains(name)) {
        bail!("no fuzz target is called {unknown}; there are: {}", names.join(", "));
    }
    if !arguments.targets.is_empty() {
        names.clone_from(&arguments.targets);
    }
    let binaries = build(&folder)?;
    for name in &names {
        println!("fuzz {name}: {} minutes", arguments.minutes);
        let place = |kind: &str| folder.join(kind).join(name);
        for kind in ["corpus", "seeds", "artifacts"] {
            std::fs::create_dir_all(place(kind))?;
        }
        let mut command = Command::new(binaries.join(name));
        command.args([place("corpus"), place("seeds")]);
        command.arg(format!("-artifact_prefix={}/", place("artifacts").display()));
        command.arg(format!("-max_total_time={}", arguments.minutes * 60));
        command.args([format!("-rss_limit_mb={RSS_MB_MAX}"), format!("-malloc_limit_mb={ALLOCATION_MB_MAX}")]);
        command.arg(format!("-timeout={SECONDS_MAX}"));
        processes::run(command.args(["-max_len=65536", "-print_final_stats=1"]))?;
    }
    println!("{} targets without a finding", names.len());
    Ok(())
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let sources = folder.join("fuzz_targets");
    let entries = std::fs::read_dir(&sources).with_context(|| format!("no fuzz targets in {}", sources.display()))?;
    let mut names: Vec<String> = entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    ensure!(!names.is_empty(), "no fuzz targets in {}", sources.display());
    Ok(names)
}

/// Build them all. Returns the folder of the binaries.
fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    // A target of its own keeps the flags away from build scripts.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| folder.join("target"), PathBuf::from);
    let mut command = Command::new("cargo");
    command.args(["+nightly", "build", "--release", "--bins", "--target", &triple]).current_dir(folder);
    command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", RUSTFLAGS);
    processes::run(&mut command)?;
    Ok(target.join(triple).join("release"))
}
