//! What the user may set. One table, [`settings::SETTINGS`], defines every option; flags, environment
//! variables, the TOML file, `--help` and docs/configuration.md are all read off it.
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Every source is
//! checked, also where a stronger one overrides it: a wrong line in a file does not lie there until the day
//! the flag is dropped.
//!
//! # Layout
//! - [`settings`]: the table, and [`Config`], which it fills
//! - [`file`]: the TOML file
//! - [`flags`]: the command line
//! - [`surroundings`]: variables that nothing reads
//! - `reference`: docs/configuration.md

pub mod file;
pub mod flags;
#[cfg(test)]
mod reference;
pub mod settings;
pub mod surroundings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub use flags::Flags;
pub use settings::{Config, Setting};

/// Names the configuration file in the environment; the flag is `--config`.
pub const FILE_VARIABLE: &str = "YAM_CONFIG";

/// Where a value came from, worded so that the user finds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File { path: PathBuf, line: usize },
    Environment { variable: String },
    Flag { flag: String },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Environment { variable } => write!(f, "environment variable {variable}"),
            Source::Flag { flag } => f.write_str(flag),
        }
    }
}

/// A value that cannot be used. Its text is one line that names the place and says what to write there.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {problem}")]
    Invalid { origin: Source, problem: String },
    #[error("cannot read configuration file {}: {error}; name an existing file with --config or {FILE_VARIABLE}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
}

/// Put together what the command line, the environment and the file say.
///
/// `variable` looks up an environment variable. Those that nothing reads are [`surroundings`]' business.
///
/// # Errors
/// The first value that cannot be used.
pub fn load(flags: &Flags, variable: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let path = flags.config.clone().or_else(|| variable(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from));
    if let Some(path) = &path {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
        apply_file(&mut config, path, &text)?;
    }
    for setting in settings::SETTINGS {
        if let Some(value) = variable(&setting.variable()) {
            let values = if setting.repeatable { split_list(&value) } else { vec![value] };
            apply(&mut config, setting, &values, || Source::Environment { variable: setting.variable() })?;
        }
        if let Some(values) = flags.values(setting) {
            apply(&mut config, setting, values, || Source::Flag { flag: setting.flag() })?;
        }
    }
    Ok(config)
}

fn apply_file(config: &mut Config, path: &Path, text: &str) -> Result<(), ConfigError> {
    let entries = file::parse(text).map_err(|problem| ConfigError::Invalid {
        origin: Source::File { path: path.to_owned(), line: problem.line },
        problem: problem.text,
    })?;
    for entry in entries {
        apply(config, entry.setting, &entry.values, || Source::File { path: path.to_owned(), line: entry.line })?;
    }
    Ok(())
}

fn apply(config: &mut Config, setting: &Setting, values: &[String], origin: impl FnOnce() -> Source) -> Result<(), ConfigError> {
    (setting.apply)(config, values).map_err(|problem| {
        let origin = origin();
        let named = match &origin {
            Source::File { .. } => format!("{}: {problem}", setting.key()),
            _ => problem,
        };
        ConfigError::Invalid { origin, problem: named }
    })
}

/// A list in one environment variable is separated by commas.
fn split_list(value: &str) -> Vec<String> {
    value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}
