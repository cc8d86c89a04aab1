//! Log lines, to standard error: standard output is for what was asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::settings::{Config, LogFormat};

/// Starts logging for the rest of the process.
pub fn start(config: &Config) {
    let filter = EnvFilter::new(&config.log_level);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
