//! Random lives of a journal: appends, completions, cuts, crashes, bad luck; then the invariants.

use proptest::prelude::{ProptestConfig, any, proptest};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Everything ever appended, and what must or may come back.
struct World {
    rng: StdRng,
    disk: SimulatedDisk,
    /// Of all incarnations, in order, less what a crash took.
    frames: Vec<Written>,
    /// Frames before this index were durable.
    durable: usize,
    /// Files before this position may be gone.
    cut: u64,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let (rng, disk) = (StdRng::seed_from_u64(seed), SimulatedDisk::new(seed));
        World { rng, disk, frames: Vec::new(), durable: 0, cut: 0, seed }
    }

    /// One incarnation, from recovery to its end. Returns what it confirmed last.
    fn live(&mut self) {
        let from = (self.cut > 0).then_some(Lsn(self.cut));
        let (recovered, found) = match read_all(&mut self.disk, from) {
            Ok(read) => read,
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        self.check(&found);
        self.durable = self.frames.len();
        let mut journal = Journal::create(options(), recovered, &mut self.disk).unwrap();
        for _ in 0..self.rng.random_range(0..80) {
            if !self.act(&mut journal) {
                break;
            }
        }
        self.note_durable(&journal);
        if self.rng.random_ratio(1, 4) {
            self.disk.kill();
        } else {
            self.disk.crash();
        }
    }

    fn note_durable(&mut self, journal: &Journal) {
        let durable = journal.durable().0;
        let count = self.frames.partition_point(|frame| frame.end <= durable);
        assert!(count >= self.durable, "the durable mark climbs");
        self.durable = count;
    }

    fn act(&mut self, journal: &mut Journal) -> bool {
        assert!(journal.durable() <= journal.appended());
        match self.rng.random_range(0..100) {
            0..45 => {
                let group = if self.rng.random_ratio(1, 4) { self.rng.random_range(2..6) } else { 1 };
                for left in (0..group).rev() {
                    let len = match self.rng.random_range(0..20) {
                        0 => self.rng.random_range(0..50_000),
                        1..5 => self.rng.random_range(0..9_000),
                        _ => self.rng.random_range(0..400),
                    };
                    let payload: Vec<u8> = (0..len).map(|_| self.rng.random()).collect();
                    let kind = self.rng.random_range(1..=254);
                    self.frames.push(append(journal, kind, left > 0, &payload));
                }
            }
            45..70 => journal.poll(&mut self.disk),
            70..95 => {
                self.disk.step();
            }
            95 => {
                let durable = journal.durable().0;
                // Only where no group is cut in two, as the layer above does it.
                let ends = self.frames.iter().filter(|frame| !frame.more && frame.end <= durable && frame.end > self.cut);
                let ends: Vec<u64> = ends.map(|frame| frame.end).collect();
                if !ends.is_empty() {
                    self.cut = ends[self.rng.random_range(0..ends.len())];
                    journal.cut(Lsn(self.cut));
                }
            }
            96 => self.disk.set_slow([None, Some(vfs::Lane::Journal), Some(vfs::Lane::Background)][self.rng.random_range(0..3)]),
            97 => {
                let used: u64 = self.disk.files().iter().map(|(_, size)| size).sum();
                self.disk.set_capacity(if self.rng.random() { used + 1000 } else { 1 << 30 });
                journal.retry_allocation();
            }
            98 if self.rng.random_ratio(1, 6) => self.disk.fail_next_sync(),
            _ => {
                let frame = self.frames.len().checked_sub(1).map(|last| self.rng.random_range(0..=last));
                if let Some(frame) = frame.and_then(|index| self.frames.get(index)).filter(|frame| frame.start > self.cut) {
                    self.read_back(journal, &frame.clone());
                }
            }
        }
        let alive = take(journal, &mut self.disk).is_ok();
        self.note_durable(journal);
        alive
    }

    fn read_back(&mut self, journal: &Journal, frame: &Written) {
        let len = frame.payload.len();
        let bytes = match journal.cached(Lsn(frame.start), len) {
            Some(stored) => Bytes::copy_from_slice(stored.bytes),
            None => read_at(&mut self.disk, journal, frame.start, len).unwrap(),
        };
        assert_eq!(bytes, frame.payload, "seed {}", self.seed);
    }

    /// Everything durable is there, in order, identical; groups are whole; nothing is invented.
    fn check(&mut self, found: &[Written]) {
        let seed = self.seed;
        self.disk.set_capacity(1 << 30);
        let first = self.frames.partition_point(|frame| frame.start - 12 < self.cut);
        let expected = &self.frames[first..];
        assert!(expected.starts_with(found), "seed {seed}: something else was recovered");
        assert!(found.last().is_none_or(|last| !last.more), "seed {seed}: a group was cut in two");
        let mut promised = self.durable.saturating_sub(first);
        while promised > 0 && expected[promised - 1].more {
            promised -= 1;
        }
        assert!(found.len() >= promised, "seed {seed}: {} of {promised} durable frames came back", found.len());
        self.frames.truncate(first + found.len());
    }
}

/// Every seed is a world of its own: 150 here, more by `JOURNAL_SEEDS`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's length is asked of its surroundings")]
fn whatever_happens_what_was_durable_comes_back() {
    let seeds = std::env::var("JOURNAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..8 {
            world.live();
        }
    }
}

/// Removals once waited while a younger file was used again, and what was left had a hole.
#[test]
fn worlds_that_once_failed() {
    for seed in [13179065724588318974] {
        let mut world = World::new(seed);
        for _ in 0..8 {
            world.live();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    /// And some that nobody has seen before; the seed is named when one fails.
    #[test]
    fn whatever_happens_in_worlds_never_seen(seed in any::<u64>()) {
        let mut world = World::new(seed);
        for _ in 0..8 {
            world.live();
        }
    }
}
