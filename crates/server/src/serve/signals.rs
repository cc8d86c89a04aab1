//! SIGTERM and SIGINT: stop in order. A second one: stop without waiting for clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Counts the signals that came.
pub struct Signals {
    seen: Arc<AtomicUsize>,
}

impl Signals {
    /// Catches signals from here on, and calls `wake` after each.
    ///
    /// # Errors
    /// The system refuses the handler or the thread.
    pub fn catch(wake: Arc<dyn Fn() + Send + Sync>) -> io::Result<Signals> {
        let seen = Arc::new(AtomicUsize::new(0));
        let mut incoming = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
        let counter = Arc::clone(&seen);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in incoming.forever() {
                counter.fetch_add(1, Ordering::SeqCst);
                wake();
            }
        })?;
        Ok(Signals { seen })
    }

    /// How many came so far.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}
