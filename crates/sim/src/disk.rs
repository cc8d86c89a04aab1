//! The simulated disk as the node sees it, watched: which jobs went by, and whether a failure reached the journal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use vfs::simulated::SimulatedDisk;
use vfs::{Around, Completion, Done, Job, Lane, Token, Vfs};

/// Counts of what the node had the disk do. Shared by all incarnations of a world.
#[derive(Default)]
pub struct Watch {
    pub checkpoints: AtomicU64,
    pub page_outs: AtomicU64,
    pub carried: AtomicU64,
    pub cold_reads: AtomicU64,
    pub journal_writes: AtomicU64,
    /// Files that were removed because nothing needs them any more.
    pub removals: AtomicU64,
    /// A failed write or sync of the journal has been told to the node.
    pub poisoned: AtomicBool,
    /// Blocking jobs until one fails; 0: none will. For crashes in the middle of a recovery.
    pub run_budget: AtomicU32,
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub struct WatchedDisk {
    disk: SimulatedDisk,
    watch: Arc<Watch>,
    /// Writes of the journal under way.
    pending: Vec<Token>,
}

impl WatchedDisk {
    pub fn new(disk: SimulatedDisk, watch: Arc<Watch>) -> WatchedDisk {
        WatchedDisk { disk, watch, pending: Vec::new() }
    }

    fn count(&self, job: &Job) {
        let watch = &self.watch;
        match job {
            Job::Replace { path, .. } if path.starts_with("checkpoint/") => bump(&watch.checkpoints),
            Job::Replace { .. } => bump(&watch.page_outs),
            Job::Gather(_) => bump(&watch.carried),
            Job::Read(_) => bump(&watch.cold_reads),
            Job::Write { .. } => bump(&watch.journal_writes),
            Job::Remove { path } if path.starts_with("segments/") => bump(&watch.removals),
            Job::Remove { .. } => {}
            Job::Allocate { .. } | Job::Compute(_) => {}
        }
    }
}

impl Around for WatchedDisk {
    type Disk = SimulatedDisk;

    fn disk(&mut self) -> &mut SimulatedDisk {
        &mut self.disk
    }

    fn submitting(&mut self, _lane: Lane, token: Token, job: &Job) {
        self.count(job);
        if matches!(job, Job::Write { .. }) {
            self.pending.push(token);
        }
    }

    fn completing(&mut self, completion: Completion) -> Completion {
        if let Some(at) = self.pending.iter().position(|token| *token == completion.token) {
            self.pending.remove(at);
            if completion.result.is_err() {
                self.watch.poisoned.store(true, Ordering::Relaxed);
            }
        }
        completion
    }

    fn running(&mut self, job: Job) -> io::Result<Done> {
        match self.watch.run_budget.load(Ordering::Relaxed) {
            0 => {}
            1 => return Err(io::Error::other("the power failed during recovery")),
            left => self.watch.run_budget.store(left - 1, Ordering::Relaxed),
        }
        self.disk.run(job)
    }
}
