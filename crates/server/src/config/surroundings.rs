//! Environment variables that look as if somebody meant Yam, and that nothing reads.
//!
//! A name that is a few letters beside a right one is a mistake, and refused as a wrong key of the file is. Any other is
//! said to have no effect. What container platforms set for a service that is called `yam` is nobody's mistake.

use std::ffi::OsString;

use super::FILE_VARIABLE;
use super::file::distance;
use super::settings::{SETTINGS, Setting};

/// What all names begin with.
const PREFIX: &str = "YAM_";
/// Names the planted bug in builds that can have one.
const PLANTED: &str = "YAM_PLANTED";
/// At most so many letters beside a right name, a name is that one misspelt, unless hardly any letter is the same.
const LETTERS: usize = 3;

/// Look at all names. `command`: the whole command line, whose options say which variables they read.
///
/// # Errors
/// The first name that is a right one misspelt.
pub fn look(
    command: &clap::Command,
    names: impl IntoIterator<Item = OsString>,
    warn: &mut dyn FnMut(&str),
) -> Result<(), Misspelt> {
    let known = known(command);
    for name in names {
        let Some(name) = name.to_str().filter(|name| name.len() > PREFIX.len() && name.starts_with(PREFIX)) else { continue };
        if known.iter().any(|known| known == name) || is_of_a_platform(name) {
            continue;
        }
        let upper = name.to_uppercase();
        let nearest = known.iter().min_by_key(|known| distance(known, &upper)).cloned().unwrap_or_default();
        if distance(&nearest, &upper) <= LETTERS.min(name.len() - PREFIX.len() - 1) {
            return Err(Misspelt { name: name.to_owned(), nearest });
        }
        warn(&format!("yam: warning: nothing reads the environment variable {name}; the nearest name that is read is {nearest}"));
    }
    Ok(())
}

/// A variable that was meant to be another.
#[derive(Debug, thiserror::Error)]
#[error("environment variable {name}: nothing reads it: did you mean {nearest}?")]
pub struct Misspelt {
    name: String,
    nearest: String,
}

/// All names that some command reads.
fn known(command: &clap::Command) -> Vec<String> {
    let mut known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    known.extend([FILE_VARIABLE, PLANTED].map(str::to_owned));
    let mut open = vec![command];
    while let Some(command) = open.pop() {
        known.extend(command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned)));
        open.extend(command.get_subcommands());
    }
    known
}

/// What Kubernetes and Docker set for a service `yam`, or `yam-something`.
fn is_of_a_platform(name: &str) -> bool {
    let of_port = |rest: &str| {
        let mut words = rest.split('_');
        words.next().is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
            && words.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.ends_with("_NAME")
        || name.contains("_ENV_")
        || name.match_indices("_PORT_").any(|(at, word)| name.get(at + word.len()..).is_some_and(of_port))
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::super::flags::Flags;
    use super::*;

    fn look_at(names: &[&str]) -> (Result<(), String>, Vec<String>) {
        let command = Flags::augment_args(clap::Command::new("serve"));
        let command = clap::Command::new("yam")
            .subcommand(command)
            .subcommand(clap::Command::new("publish").arg(clap::Arg::new("url").env("YAM_URL")));
        let mut warned = Vec::new();
        let outcome = look(&command, names.iter().map(OsString::from), &mut |words| warned.push(words.to_owned()));
        (outcome.map_err(|error| error.to_string()), warned)
    }

    /// It was ignored, and the default was used.
    #[test]
    fn a_misspelt_variable_is_refused_with_the_right_name() {
        for (wrong, right) in [
            ("YAM_DATADIR", "YAM_DATA_DIR"),
            ("YAM_AMQP_LISTN", "YAM_AMQP_LISTEN"),
            ("YAM_KAFKA_LISTENER", "YAM_KAFKA_LISTEN"),
            ("YAM_ULR", "YAM_URL"),
            ("YAM_CONFG", "YAM_CONFIG"),
            ("YAM_durability", "YAM_DURABILITY"),
        ] {
            let (outcome, _) = look_at(&[wrong]);
            let expected = format!("environment variable {wrong}: nothing reads it: did you mean {right}?");
            assert_eq!(outcome.unwrap_err(), expected);
        }
    }

    #[test]
    fn what_is_read_and_what_platforms_set_is_no_mistake() {
        let of_kubernetes = [
            "YAM_SERVICE_HOST",
            "YAM_SERVICE_PORT",
            "YAM_SERVICE_PORT_AMQP",
            "YAM_PORT",
            "YAM_PORT_5672_TCP",
            "YAM_PORT_5672_TCP_ADDR",
            "YAM_AMQP_PORT_5672_TCP_PROTO",
            "YAM_NAME",
        ];
        let right = ["YAM_DATA_DIR", "YAM_CONFIG", "YAM_URL", "PATH", "YAMS_X", "YAM_PLANTED"];
        assert_eq!(look_at(&[&of_kubernetes[..], &right[..]].concat()), (Ok(()), Vec::new()));
        // As long as YAM_URL, and not a letter the same.
        let (outcome, warned) = look_at(&["YAM_BIN"]);
        assert_eq!((outcome, warned.len()), (Ok(()), 1));
        let (outcome, warned) = look_at(&["YAM_HOME_OF_THE_TEAM"]);
        assert_eq!((outcome, warned.len()), (Ok(()), 1));
        assert!(warned[0].contains("nothing reads the environment variable YAM_HOME_OF_THE_TEAM"), "{warned:?}");
    }
}
