//! The commands of `yam`, one file each.

mod bench;
mod check;
mod completions;
mod consume;
mod dial;
mod group;
mod kafka;
mod link;
mod moment;
mod publish;
mod secret;
mod serve;
mod topic;
mod url;
mod version;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Flags, surroundings};
use crate::logging;

const EXAMPLES: &str = "\
Examples:
  yam serve
      Start a broker: data in ./yam-data, AMQP on 127.0.0.1:5672, Kafka on 127.0.0.1:9092,
      user guest, password guest.
  yam serve --data-dir /var/lib/yam --kafka-listen none
      Data elsewhere, and AMQP only.
  yam publish --declare --persistent --confirm --routing-key tasks 'hello'
  yam consume --queue tasks --ack --count 1
      A message in, and out again.
  yam topic create orders --partitions 3
      A topic for Kafka's clients.
  yam check --data-dir /var/lib/yam
      Verify everything a stopped broker has on disk.

Options of `serve` can also be set by the environment (YAM_DATA_DIR=...) or in a TOML file (--config).
Documentation: docs/ in the repository, and `yam COMMAND --help`.";

/// A message broker: programs for RabbitMQ and Kafka connect to it unchanged, and what it has confirmed it does not lose.
#[derive(Parser)]
#[command(name = "yam", version, after_help = EXAMPLES, max_term_width = 110, subcommand_required = true, arg_required_else_help = true)]
struct Yam {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker until SIGTERM or SIGINT.
    #[command(after_help = serve::EXAMPLES)]
    Serve(Flags),
    /// Publish messages, from the command line or standard input.
    Publish(publish::Arguments),
    /// Print the messages of a queue, and take them off it with --ack.
    Consume(consume::Arguments),
    /// List, show, make, change and delete topics.
    Topic(topic::Arguments),
    /// Show consumer groups and their lag, set their offsets, delete them.
    Group(group::Arguments),
    /// Verify a data directory that no broker is using, and name what is damaged.
    Check(check::Arguments),
    /// Load a broker and report rates, latencies and what the broker spent on it.
    Bench(bench::Arguments),
    /// Print a completion script for a shell.
    Completions(completions::Arguments),
    /// Print the version and how it was built.
    Version,
}

/// Do what the command line says.
///
/// # Errors
/// What went wrong, and what to do about it, as one line.
pub fn run() -> anyhow::Result<ExitCode> {
    let command = Yam::parse().command;
    surroundings::look(&Yam::command(), std::env::vars_os().map(|(name, _)| name), &mut say)?;
    let outcome = carry_out(command);
    logging::flush();
    match outcome {
        Err(error) if error.is::<ReaderGone>() => Ok(ExitCode::SUCCESS),
        other => other,
    }
}

fn carry_out(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(flags) => serve::run(&flags).map(|()| ExitCode::SUCCESS),
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Topic(arguments) => topic::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Group(arguments) => group::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Completions(arguments) => completions::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Version => version::run().map(|()| ExitCode::SUCCESS),
    }
}

/// Whoever read standard output has seen enough, as `head` does: the command ends, and that is no error.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
struct ReaderGone;

/// Write to standard output.
///
/// # Errors
/// [`ReaderGone`], or what keeps the words from being written.
fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        other => other.context("cannot write to standard output"),
    }
}

/// A word on standard error. It may quote others, who may have written anything; nobody has to read it.
pub fn say(words: &str) {
    logging::say(&logging::printable(words));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_option_has_a_word_of_help() {
        fn look(command: &clap::Command) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        look(&super::Yam::command());
    }

    /// Clap's own consistency checks over the whole command line.
    #[test]
    fn the_command_line_is_consistent() {
        super::Yam::command().debug_assert();
    }
}
