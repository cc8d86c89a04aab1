//! Log lines, to standard error: standard output is for what was asked for.
//!
//! Whoever logs neither waits for the reader of standard error nor hears of it when that is gone: lines go into a buffer
//! that has its bound, a thread writes them, and what had to be dropped is counted. What clients cause is limited per
//! address, and nothing that came from outside reaches the reader as anything but text.
//!
//! # Layout
//! - this file: what is put together at the start
//! - [`lines`]: the buffer and the thread
//! - [`limit`]: how often one address may cause a line
//! - [`text`]: values as they are written for people

mod limit;
mod lines;
mod text;

use std::backtrace::Backtrace;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::config::settings::{Config, LogFormat};
use limit::Limit;
use lines::Lines;
pub use text::{printable, printable_lines};

/// What a process that ends waits for its last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

static LOG: OnceLock<(Lines, Arc<Limit>)> = OnceLock::new();

/// Starts logging for the rest of the process.
///
/// # Errors
/// The system has no thread to give.
pub fn start(config: &Config) -> std::io::Result<()> {
    let json = config.log_format == LogFormat::Json;
    let limit = Arc::new(Limit::start());
    let lines = Lines::start(std::io::stderr(), json, Arc::clone(&limit))?;
    let layer = fmt::layer().with_writer(lines.clone()).log_internal_errors(false);
    let layer = match config.log_format {
        LogFormat::Text => {
            layer.with_ansi(std::io::stderr().is_terminal()).fmt_fields(fmt::format::debug_fn(text::put).delimited(" ")).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let filter = EnvFilter::new(&config.log_level);
    tracing_subscriber::registry().with(layer).with(limit::Gate::new(Arc::clone(&limit), lines.clone())).with(filter).init();
    let _ = LOG.set((lines, limit));
    std::panic::set_hook(Box::new(|panic| say(&format!("{panic}\n{}", Backtrace::capture()))));
    Ok(())
}

/// A last word on standard error: it is waited for, but not for ever, and a reader that is gone is no error.
pub fn say(words: &str) {
    match LOG.get() {
        Some((lines, _)) => {
            lines.push_last(format!("{words}\n").as_bytes());
            lines.flush(PATIENCE);
        }
        None => drop(writeln!(std::io::stderr(), "{words}")),
    }
}

/// Say what was left out, and wait until everything is written, but not for ever.
pub fn flush() {
    if let Some((lines, limit)) = LOG.get() {
        limit.report(true);
        lines.flush(PATIENCE);
    }
}
