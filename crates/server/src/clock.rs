//! The clock. Everybody below is handed `now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use model::Now;

/// Reads the machine's clocks.
pub struct Clock {
    start: Instant,
}

impl Clock {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the roof reads the clock")]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the roof reads the clock")]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
