//! `cargo xtask test`: the steps, cheap ones first; the first failure ends it.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use model::planted::Bug;

use crate::{processes, root, tidy};

#[derive(clap::Args)]
#[command(after_help = format!("Steps: {}", names()))]
pub struct Arguments {
    /// Only the steps whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Not the steps whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
}

/// What the steps counted.
#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
}

struct Step {
    name: &'static str,
    run: fn(&mut Count) -> anyhow::Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "format", run: |count| one(count, processes::cargo(&["fmt", "--all", "--check"])) },
    Step { name: "house rules", run: |count| one(count, tidy::run()) },
    Step {
        name: "clippy",
        run: |count| one(count, processes::cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    },
    Step { name: "tests", run: |count| cargo_test(count, &["test", "--workspace", "--no-fail-fast"], None) },
    Step { name: "release build", run: |count| one(count, release_build()) },
    Step { name: "mutated input", run: mutated_input },
    Step {
        name: "simulation",
        run: |count| one(count, processes::run(Command::new(processes::built("release", "sim")).args(["--seeds", "0..2000"]))),
    },
    Step { name: "planted bugs", run: planted_bugs },
    Step { name: "torture", run: |count| one(count, processes::cargo(&["xtask", "torture", "--seconds", "60"])) },
    Step {
        name: "clients",
        run: |count| one(count, processes::run(Command::new(root().join("compat/run")).current_dir(root()))),
    },
];

/// Their names, in order.
fn names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

/// The steps that were asked for.
///
/// # Errors
/// A name that no step has: whoever mistypes it is not told that all is well.
fn chosen(arguments: &Arguments) -> Result<Vec<&'static Step>, String> {
    let named = |step: &Step, part: &String| step.name.contains(part.as_str());
    let mut parts = arguments.only.iter().chain(&arguments.skip);
    if let Some(unknown) = parts.find(|part| part.is_empty() || !STEPS.iter().any(|step| named(step, part))) {
        return Err(format!("no such step as '{unknown}'; there are: {}", names()));
    }
    let of = |step: &Step, list: &[String]| list.iter().any(|part| named(step, part));
    let wanted = |step: &&Step| (arguments.only.is_empty() || of(step, &arguments.only)) && !of(step, &arguments.skip);
    let chosen: Vec<_> = STEPS.iter().filter(wanted).collect();
    if chosen.is_empty() { Err(format!("no step is left; there are: {}", names())) } else { Ok(chosen) }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let mut count = Count::default();
    let start = Instant::now();
    let steps = match chosen(arguments) {
        Ok(steps) => steps,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            return ExitCode::FAILURE;
        }
    };
    for step in steps {
        println!("==> {}", step.name);
        let begin = Instant::now();
        let outcome = (step.run)(&mut count);
        let seconds = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("    {}: ok, {seconds:.1} s", step.name),
            Err(error) => {
                println!("    {}: FAILED after {seconds:.1} s: {error:#}", step.name);
                println!("{} passed, {} failed", count.passed, count.failed.max(1));
                return ExitCode::FAILURE;
            }
        }
    }
    println!("    all steps: {:.1} s", start.elapsed().as_secs_f64());
    println!("{} passed, {} failed", count.passed, count.failed);
    ExitCode::SUCCESS
}

/// A step that counts as one.
fn one(count: &mut Count, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Ok(()) => count.passed += 1,
        Err(_) => count.failed += 1,
    }
    outcome
}

fn release_build() -> anyhow::Result<()> {
    processes::cargo(&["build", "--release", "--quiet", "-p", "server", "-p", "sim"])
}

/// Bugs that `cargo xtask torture` can see; the others need a disk that forgets, and only the simulator has one.
const TORTURED: [Bug; 8] = [
    Bug::AckNotJournalled,
    Bug::DeliveryNotNoted,
    Bug::BindingNotRecorded,
    Bug::BatchRepeated,
    Bug::OffsetsNotRecorded,
    Bug::AbortShown,
    Bug::OpenShown,
    Bug::NewestDropped,
];

/// A checker that finds nothing must be one that could: every planted bug is found. And what is released has none.
fn planted_bugs(count: &mut Count) -> anyhow::Result<()> {
    let features = ["--features", "sim/planted,server/planted"];
    processes::cargo(&[&["build", "--profile", "planted", "--quiet", "-p", "sim", "-p", "server"], &features[..]].concat())?;
    one(count, processes::run(Command::new(processes::built("planted", "sim")).args(["--planted", "all"])))?;
    for bug in TORTURED {
        one(count, processes::cargo(&["xtask", "torture", "--cycles", "20", "--plant", bug.name()]))?;
    }
    one(count, only_in("planted", "release"))
}

/// The names of the bugs are in one build of the broker and not in the other.
fn only_in(with: &str, without: &str) -> anyhow::Result<()> {
    for (profile, expected) in [(with, true), (without, false)] {
        let binary = processes::built(profile, "yam");
        let bytes = std::fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
        let name = Bug::AckNotJournalled.name().as_bytes();
        let found = bytes.windows(name.len()).any(|part| part == name);
        ensure!(found == expected, "{}: bugs to plant: {found}, expected: {expected}", binary.display());
    }
    Ok(())
}

/// The codecs' and readers' property tests once more, with many more cases than in `tests`.
fn mutated_input(count: &mut Count) -> anyhow::Result<()> {
    // Of the whole workspace, as in `tests`: for a part of it, much would be built once more.
    cargo_test(count, &["test", "--workspace", "--lib", "--", "mutation", "bytes", "panic", "cut"], Some("4000"))
}

/// Run cargo's test command; add up what its test binaries count, and show their output only where one fails.
fn cargo_test(count: &mut Count, arguments: &[&str], cases: Option<&str>) -> anyhow::Result<()> {
    let mut command = Command::new(processes::cargo_path());
    command.args(arguments).current_dir(root());
    if let Some(cases) = cases {
        command.env("PROPTEST_CASES", cases);
    }
    let mut output = Vec::new();
    // Cargo's own progress is for people who wait for a build.
    command.stderr(std::process::Stdio::inherit());
    let outcome = processes::run_lines(&mut command, |line| {
        let (passed, failed) = counted(line);
        count.passed += passed;
        count.failed += failed;
        output.push(line.to_owned());
    });
    if outcome.is_err() {
        for line in output.iter().filter(|line| !line.starts_with("test result: ok")) {
            println!("{line}");
        }
    }
    outcome
}

/// `test result: ok. 12 passed; 0 failed; ...` -> (12, 0)
fn counted(line: &str) -> (u64, u64) {
    let Some(rest) = line.strip_prefix("test result: ") else { return (0, 0) };
    let number_before = |word: &str| {
        rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    (number_before("passed"), number_before("failed"))
}

#[cfg(test)]
mod tests {
    use super::{Arguments, STEPS, chosen, counted};

    /// `--only zork` ran nothing, and passed.
    #[test]
    fn steps_that_do_not_exist_are_refused() {
        let list = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect();
        let names = |only: &[&str], skip: &[&str]| {
            let steps = chosen(&Arguments { only: list(only), skip: list(skip) })?;
            Ok::<_, String>(steps.iter().map(|step| step.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[], &[]).unwrap().len(), STEPS.len());
        assert_eq!(names(&["house", "clippy"], &["clippy"]).unwrap(), ["house rules"]);
        for (only, skip) in [(&["zork"][..], &[][..]), (&["clippy", "zork"], &[]), (&[], &["zork"]), (&[""], &[])] {
            let error = names(only, skip).unwrap_err();
            assert!(error.contains("no such step") && error.ends_with("torture, clients"), "{error}");
        }
        assert!(names(&["clippy"], &["clippy"]).unwrap_err().contains("no step is left"));
    }

    #[test]
    fn results_of_test_binaries_are_added_up() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(counted(line), (12, 0));
        let line = "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counted(line), (7, 2));
        assert_eq!(counted("running 3 tests"), (0, 0));
    }
}
