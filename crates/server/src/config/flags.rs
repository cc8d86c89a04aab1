//! The command line's share of the configuration, made from the table by hand where clap's derive would
//! repeat it.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::settings::{SETTINGS, Setting};

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    given: Vec<(&'static str, Vec<String>)>,
}

impl Flags {
    /// The values given for this option, if there were any.
    #[must_use]
    pub fn values(&self, setting: &Setting) -> Option<&[String]> {
        self.given.iter().find(|(name, _)| *name == setting.name).map(|(_, values)| values.as_slice())
    }

    #[cfg(test)]
    pub(super) fn of(given: &[(&'static str, &[&str])], config: Option<PathBuf>) -> Flags {
        let given = given.iter().map(|(name, values)| (*name, values.iter().map(|v| (*v).to_owned()).collect())).collect();
        Flags { config, given }
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Flags { config: matches.get_one::<PathBuf>("config").cloned(), given: Vec::new() };
        for setting in SETTINGS {
            if let Some(values) = matches.get_many::<String>(setting.name) {
                flags.given.push((setting.name, values.cloned().collect()));
            }
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("TOML file with the options below [env: {}]", super::FILE_VARIABLE));
        SETTINGS.iter().fold(command.arg(config), |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(setting: &Setting) -> Arg {
    let facts = format!("[default: {}] [env: {}]", setting.default, setting.variable());
    let first = setting.doc.split_once(". ").map_or(setting.doc, |(first, _)| first);
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        .allow_hyphen_values(true)
        .action(if setting.repeatable { ArgAction::Append } else { ArgAction::Set })
        .help(format!("{first} {facts}"))
        .long_help(format!("{}\n{facts}", setting.doc))
}
