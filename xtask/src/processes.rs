//! Running other programs.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT};

/// Whoever starts this in the background of a script, or under nohup, makes it ignore SIGINT or SIGHUP, and all that it
/// starts would too: tests that press Ctrl-C would wait for ever. What has a handler here has the default in a child.
pub fn give_children_the_usual_signals() -> std::io::Result<()> {
    for signal in [SIGINT, SIGQUIT, SIGHUP] {
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(true)))?;
    }
    Ok(())
}

/// Run cargo in the repository, its output to the terminal.
pub fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new(cargo_path()).args(arguments).current_dir(super::root()))
}

/// The cargo that runs us.
pub fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Run a program, its output to the terminal.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", describe(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Run a program and look at each line of its standard output.
pub fn run_lines(command: &mut Command, mut line: impl FnMut(&str)) -> anyhow::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", describe(command)))?;
    if let Some(out) = child.stdout.take() {
        for text in BufReader::new(out).split(b'\n') {
            line(&String::from_utf8_lossy(&text?));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Run a program and hand back its standard output.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let mut text = String::new();
    run_lines(command, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok(text)
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Where cargo puts what it builds: `profile` is `debug` or `release`.
pub fn built(profile: &str, program: &str) -> std::path::PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| super::root().join("target"), Into::into);
    target.join(profile).join(program)
}
