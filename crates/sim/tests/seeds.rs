//! Seeds as tests: the same seed is the same story, none fails, and with a planted bug some does.

use std::sync::Mutex;

/// Planted bugs are in the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn one_seed_is_one_story() {
    let _alone = alone();
    for seed in [0, 7, 4711] {
        let (first, second) = (sim::run::seed(seed, false), sim::run::seed(seed, false));
        assert_eq!(first.hash, second.hash, "seed {seed} was not the same twice");
    }
    assert_ne!(sim::run::seed(1, false).hash, sim::run::seed(2, false).hash);
}

#[test]
fn no_seed_fails() {
    let _alone = alone();
    let figures = sim::run::seeds(0..40, 2, 1, &|report| {
        assert!(report.violation.is_none(), "{}", report.story());
    });
    assert_eq!(figures.seeds, 40);
    // Everything that the seeds are for did happen.
    for (what, count) in [
        ("crashes", figures.crashes),
        ("failed syncs", figures.failed_syncs),
        ("stops", figures.stops),
        ("checkpoints", figures.checkpoints),
        ("page-outs", figures.page_outs),
        ("cold reads", figures.cold_reads),
        ("redeliveries", figures.redelivered),
        ("records read", figures.kafka.read),
        ("incremental answers", figures.kafka.incremental),
        ("repeated batches", figures.kafka.repeated),
        ("committed transactions", figures.kafka.committed),
        ("aborted transactions", figures.kafka.aborted),
        ("producers shut out", figures.kafka.fenced),
        ("committed offsets", figures.kafka.offsets),
        ("members", figures.kafka.joined),
        ("compacted records", figures.kafka.compacted),
        ("deleted records", figures.kafka.dropped),
        ("deleted topics", figures.kafka.deleted),
    ] {
        assert!(count > 0, "no {what} in 40 seeds");
    }
}

/// Each planted bug makes a seed fail: in a promise broken, or in a panic.
#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_is_found() {
    use model::planted::{Bug, plant};

    let _alone = alone();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        let fails = |seed: u64| {
            let report = std::panic::catch_unwind(|| sim::run::seed(seed, false));
            report.map_or(true, |report| report.violation.is_some())
        };
        if !(0..1000).any(fails) {
            missed.push(bug.name());
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found in 1000 seeds: {missed:?}");
}
