//! SIGTERM and SIGINT: stop in order. A second one: stop without waiting for clients.
//!
//! What other daemons read their configuration or rotate their logs by must not end this one: SIGHUP (a terminal that was
//! closed, too), SIGUSR1 and SIGUSR2 are noted in the log, and nothing else. A file that may not grow further (SIGXFSZ) is an
//! error of its write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::low_level::signal_name;

/// Counts the signals that ask for an end.
pub struct Signals {
    stops: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches signals from here on, and calls `wake` after each that asks for an end.
    ///
    /// # Errors
    /// The system refuses the handler or the thread.
    pub fn catch(wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Signals> {
        let stops = Arc::new(AtomicUsize::new(0));
        let mut incoming = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ])?;
        let counter = Arc::clone(&stops);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in incoming.forever() {
                let name = signal_name(signal).unwrap_or("?");
                match signal {
                    SIGTERM | SIGINT => {
                        tracing::info!(signal = name, "a signal asks for the end");
                        counter.fetch_add(1, Ordering::SeqCst);
                        wake();
                    }
                    SIGXFSZ => tracing::error!(signal = name, "a file has reached the limit on the size of files (ulimit -f)"),
                    _ => tracing::info!(signal = name, "a signal that changes nothing: options are read at the start"),
                }
            }
        })?;
        Ok(Signals { stops })
    }

    /// How many asked for an end so far.
    #[must_use]
    pub fn stops(&self) -> usize {
        self.stops.load(Ordering::SeqCst)
    }
}
