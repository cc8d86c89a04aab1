//! How long the core is busy at a stretch, and with what.
//!
//! One thread serves everybody, so that what takes long makes everybody wait. Each turn and each request is measured with the
//! disk's stopwatch ([`vfs::Vfs::stopwatch_ns`]); what publishes and settles by the thousand is measured as one stretch.
//! Nothing goes by these figures but people.

use std::collections::BTreeMap;

/// A stretch at least this long is said in the log.
const LONG_NS: u64 = 50_000_000;
/// At most one such line in this time, in milliseconds.
const LINE_MS: u64 = 1_000;
/// A stretch at least this long is remembered by what it was.
const NOTED_NS: u64 = 100_000;
const BUCKETS: usize = 32;

/// How many stretches were how long: the one at `index` counts those of less than 2^index microseconds, and not less than
/// half of that. The last counts all longer ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub [u64; BUCKETS]);

impl Histogram {
    fn note(&mut self, ns: u64) {
        let bits = (u64::BITS - (ns / 1_000).leading_zeros()) as usize;
        self.0[bits.min(BUCKETS - 1)] += 1;
    }

    /// Microseconds that at least `part` of all stretches were shorter than; 0 where there were none.
    #[must_use]
    pub fn quantile_us(&self, part: f64) -> u64 {
        let total: u64 = self.0.iter().sum();
        let wanted = (total as f64 * part).ceil() as u64;
        let mut seen = 0;
        let found = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        if total == 0 { 0 } else { found.map_or(0, |index| 1 << index) }
    }
}

/// The longest stretch of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Longest {
    pub what: &'static str,
    pub us: u64,
}

impl Longest {
    fn note(&mut self, what: &'static str, ns: u64) {
        if ns / 1_000 > self.us {
            *self = Longest { what, us: ns / 1_000 };
        }
    }
}

/// Figures of the core's stretches of work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub turns: Histogram,
    /// With the part of the turn that took the most of it.
    pub longest_turn: Longest,
    /// Of those that publish and settle, as many as were asked at once.
    pub requests: Histogram,
    pub longest_request: Longest,
}

/// A stretch that is being measured, part by part.
pub(crate) struct Stretch {
    started_ns: u64,
    since_ns: u64,
    longest: (&'static str, u64),
}

impl Stretch {
    pub fn start(at_ns: u64) -> Stretch {
        Stretch { started_ns: at_ns, since_ns: at_ns, longest: ("", 0) }
    }

    /// What was done since the last call was this; returns how long it took.
    pub fn part(&mut self, what: &'static str, at_ns: u64) -> u64 {
        let ns = at_ns.saturating_sub(self.since_ns);
        self.since_ns = at_ns;
        if ns >= self.longest.1 {
            self.longest = (what, ns);
        }
        ns
    }
}

/// What was measured since the start.
#[derive(Default)]
pub(crate) struct Lengths {
    pub statistics: Statistics,
    /// In nanoseconds.
    longest: BTreeMap<&'static str, u64>,
    /// No line is written before this.
    quiet_until_ms: u64,
    /// Long stretches that had no line.
    unsaid: u64,
}

impl Lengths {
    /// A turn is over with its last part.
    pub fn turned(&mut self, turn: &Stretch, mono_ms: u64) {
        let ns = turn.since_ns.saturating_sub(turn.started_ns);
        let (what, part_ns) = turn.longest;
        self.statistics.turns.note(ns);
        self.statistics.longest_turn.note(what, ns);
        self.note(what, part_ns);
        self.say(what, ns, mono_ms);
    }

    pub fn requested(&mut self, what: &'static str, ns: u64, mono_ms: u64) {
        self.statistics.requests.note(ns);
        self.statistics.longest_request.note(what, ns);
        self.note(what, ns);
        self.say(what, ns, mono_ms);
    }

    fn note(&mut self, what: &'static str, ns: u64) {
        if ns >= NOTED_NS {
            let longest = self.longest.entry(what).or_default();
            *longest = ns.max(*longest);
        }
    }

    fn say(&mut self, what: &'static str, ns: u64, mono_ms: u64) {
        if ns < LONG_NS {
            return;
        }
        if mono_ms < self.quiet_until_ms {
            self.unsaid += 1;
            return;
        }
        self.quiet_until_ms = mono_ms + LINE_MS;
        let unsaid = std::mem::take(&mut self.unsaid);
        tracing::warn!(what, ms = ns / 1_000_000, unsaid, "everybody waited for one piece of work");
    }

    /// The longest of each kind of work that was ever long enough to be of interest, the longest first.
    pub fn longest(&self) -> Vec<Longest> {
        let mut all: Vec<_> = self.longest.iter().map(|(what, ns)| Longest { what, us: ns / 1_000 }).collect();
        all.sort_by_key(|longest| std::cmp::Reverse(longest.us));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_counted_by_its_length_and_remembered_by_what_it_was() {
        let mut lengths = Lengths::default();
        let mut turn = Stretch::start(5_000);
        turn.part("deliver", 7_000);
        turn.part("checkpoint", 3_007_000);
        lengths.turned(&turn, 0);
        lengths.requested("publish", 900, 0);
        let found = lengths.statistics;
        assert_eq!((found.turns.0[12], found.requests.0[0]), (1, 1), "3,002 us are less than 4,096, 0.9 us less than 1");
        assert_eq!(found.turns.quantile_us(1.0), 4_096);
        assert_eq!(found.longest_turn, Longest { what: "checkpoint", us: 3_002 });
        assert_eq!(lengths.longest(), [Longest { what: "checkpoint", us: 3_000 }]);
    }

    #[test]
    fn long_stretches_are_said_once_a_second_and_the_others_counted() {
        let mut lengths = Lengths::default();
        lengths.requested("bind", LONG_NS, 10);
        lengths.requested("bind", LONG_NS, 500);
        assert_eq!((lengths.quiet_until_ms, lengths.unsaid), (10 + LINE_MS, 1));
        lengths.requested("bind", LONG_NS, 2_000);
        assert_eq!(lengths.unsaid, 0);
    }
}
