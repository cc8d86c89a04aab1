//! The simulated disk as the node sees it, watched: which jobs went by, and whether a failure reached the journal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use vfs::simulated::SimulatedDisk;
use vfs::{Completion, Done, Job, Lane, Token, Vfs};

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

/// What a failure of a job under way would mean.
struct Pending {
    token: Token,
    journal: bool,
}

pub struct WatchedDisk {
    disk: SimulatedDisk,
    watch: Arc<Watch>,
    pending: Vec<Pending>,
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
            Job::Allocate { .. } => {}
        }
    }
}

impl Vfs for WatchedDisk {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        self.count(&job);
        if matches!(job, Job::Write { .. }) {
            self.pending.push(Pending { token, journal: true });
        }
        self.disk.submit(lane, token, job);
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.disk.poll()?;
        if let Some(at) = self.pending.iter().position(|pending| pending.token == completion.token) {
            let pending = self.pending.remove(at);
            if pending.journal && completion.result.is_err() {
                self.watch.poisoned.store(true, Ordering::Relaxed);
            }
        }
        Some(completion)
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        match self.watch.run_budget.load(Ordering::Relaxed) {
            0 => {}
            1 => return Err(io::Error::other("the power failed during recovery")),
            left => self.watch.run_budget.store(left - 1, Ordering::Relaxed),
        }
        self.disk.run(job)
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(directory)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn random(&mut self) -> u64 {
        self.disk.random()
    }
}
