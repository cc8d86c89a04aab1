//! `yam`: the roof over one node. Sockets, clock, signals, configuration and the command line.
//!
//! It never looks inside a message and holds no state of the broker: it moves bytes between sockets and
//! `node`, and tells it the time.
//!
//! # Layout
//! - [`cli`]: the commands
//! - [`config`]: every option, defined once
//! - [`serve`]: the serve loop, its connections and listeners
//! - [`clock`], [`logging`]: what their names say

mod cli;
mod clock;
mod config;
mod logging;
mod serve;

use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            // The one line that says what went wrong and what to do.
            cli::say(&format!("yam: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
