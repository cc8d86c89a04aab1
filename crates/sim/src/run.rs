//! Running one seed, or many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::checker::Violation;
use crate::figures::Figures;
use crate::world::World;

/// What came of one seed.
pub struct Report {
    pub seed: u64,
    pub figures: Figures,
    /// Two runs of one seed have the same.
    pub hash: u64,
    pub violation: Option<Violation>,
    /// The last events.
    pub tail: String,
}

impl Report {
    /// A failure in words.
    pub fn story(&self) -> String {
        let Some(violation) = &self.violation else { return String::new() };
        format!(
            "{}\nseed {} FAILED: {violation}\nagain: cargo run --release -p sim -- --seed {}\n",
            self.tail, self.seed, self.seed
        )
    }
}

/// Run one seed from beginning to end.
pub fn seed(seed: u64, verbose: bool) -> Report {
    SEED.set(Some(seed));
    let mut world = World::new(seed, verbose);
    let violation = world.live().err();
    SEED.set(None);
    let counts = world.model.counts;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let figures = Figures {
        seeds: 1,
        failed: u64::from(violation.is_some()),
        simulated_ms: world.now().mono_ms,
        published: counts.published,
        confirmed: counts.confirmed,
        delivered: counts.delivered,
        redelivered: counts.redelivered,
        settled: counts.settled,
        checkpoints: count(&world.watch.checkpoints),
        page_outs: count(&world.watch.page_outs),
        carried: count(&world.watch.carried),
        cold_reads: count(&world.watch.cold_reads),
        journal_writes: count(&world.watch.journal_writes),
        kafka: world.kafka_model.counts,
        ..world.figures
    };
    Report { seed, figures, hash: world.trace.hash(), violation, tail: world.trace.tail() }
}

thread_local! {
    static SEED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// A panic names the seed in which it happened.
pub fn name_seeds_in_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if let Some(seed) = SEED.get() {
            eprintln!("seed {seed} FAILED: panic\nagain: cargo run --release -p sim -- --seed {seed}");
        }
    }));
}

/// Run seeds on `threads` threads; `done` hears of each. Ends early after `failures_max` failures.
pub fn seeds(range: std::ops::Range<u64>, threads: usize, failures_max: u64, done: &(dyn Fn(&Report) + Sync)) -> Figures {
    let next = AtomicU64::new(range.start);
    let enough = AtomicBool::new(false);
    let total = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= range.end {
                        break;
                    }
                    let report = seed(number, false);
                    done(&report);
                    if let Ok(mut total) = total.lock() {
                        total.add(&report.figures);
                        if total.failed >= failures_max {
                            enough.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    total.into_inner().unwrap_or_default()
}
