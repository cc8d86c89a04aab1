//! A directory of the real file system: one thread per lane does the jobs, one after another.
//!
//! A thread blocks in `fdatasync` so that nobody else has to: the caller's loop is woken by the waker it
//! gave, after every completion. One process owns the directory, by a lock on its file `LOCK`.
//!
//! # Layout
//! - [`direct`]: writing around the page cache
//! - [`lock`]: the directory and its lock
//! - [`work`]: how each job is done

#![expect(clippy::disallowed_methods, reason = "this is the door through which files come in")]

mod direct;
mod lock;
mod work;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::{Completion, Done, Job, Lane, Token, Vfs};

pub use lock::OpenError;
use work::Worker;

/// Jobs that may wait in a lane; beyond that, handing in another one waits.
const JOBS_PER_LANE_MAX: usize = 1024;

const LANES: [Lane; 4] = [Lane::Journal, Lane::Read, Lane::Background, Lane::Compute];

/// Called after every completion, from the thread that did the job.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

struct LaneThread {
    jobs: Option<SyncSender<(Token, Job)>>,
    thread: Option<JoinHandle<()>>,
}

/// A data directory, owned by this process while this value lives.
pub struct LocalDisk {
    worker: Arc<Worker>,
    lanes: [LaneThread; 4],
    completions: Receiver<Completion>,
    opened: Instant,
    /// Holds the lock. One that is only read may have none.
    _lock: Option<File>,
}

impl LocalDisk {
    /// Open the directory, created where it is missing, and take its lock. What an earlier process left half made in
    /// one of `directories` is removed; whatever else lies in the directory (`lost+found`, a file of the user's) is
    /// none of the broker's business. `waker` is called after every completion.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing in the directory was touched.
    pub fn open(dir: &Path, directories: &[&str], waker: Waker) -> Result<LocalDisk, OpenError> {
        let lock = lock::acquire(dir)?;
        let failed = |error| OpenError::Io { dir: dir.to_owned(), error };
        let worker = Worker::new(dir);
        for directory in directories {
            worker.sweep(directory).map_err(failed)?;
            if let Err(error) = worker.close_to_others(directory) {
                tracing::warn!(%error, directory, "what lies here may be read by others, and that could not be changed");
            }
        }
        LocalDisk::start(dir, worker, Some(lock), &waker)
    }

    /// Open a directory to read it and nothing else: a copy may lie where nothing can be written. Its lock is taken where
    /// there can be one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_read_only(dir: &Path) -> Result<LocalDisk, OpenError> {
        let lock = lock::acquire_to_read(dir)?;
        let nobody: Waker = Arc::new(|| {});
        LocalDisk::start(dir, Worker::read_only(dir), lock, &nobody)
    }

    fn start(dir: &Path, worker: Worker, lock: Option<File>, waker: &Waker) -> Result<LocalDisk, OpenError> {
        let failed = |error| OpenError::Io { dir: dir.to_owned(), error };
        let worker = Arc::new(worker);
        let (done, completions) = channel();
        let [a, b, c, d] = LANES.map(|lane| spawn(lane, &worker, &done, waker));
        let lanes = [a.map_err(failed)?, b.map_err(failed)?, c.map_err(failed)?, d.map_err(failed)?];
        Ok(LocalDisk { worker, lanes, completions, opened: Instant::now(), _lock: lock })
    }
}

fn spawn(lane: Lane, worker: &Arc<Worker>, done: &Sender<Completion>, waker: &Waker) -> io::Result<LaneThread> {
    let (jobs, queue) = sync_channel::<(Token, Job)>(JOBS_PER_LANE_MAX);
    let (worker, done, waker) = (Arc::clone(worker), done.clone(), Arc::clone(waker));
    let name = match lane {
        Lane::Journal => "yam-journal",
        Lane::Read => "yam-read",
        Lane::Background => "yam-disk",
        Lane::Compute => "yam-compute",
    };
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let mut buffer = direct::Buffer::default();
        for (token, job) in queue {
            let result = worker.run(job, &mut buffer);
            // Nobody listens any more once the disk is being closed; the jobs are done all the same.
            let _ = done.send(Completion { lane, token, result });
            waker();
        }
    })?;
    Ok(LaneThread { jobs: Some(jobs), thread: Some(thread) })
}

impl Vfs for LocalDisk {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        let lane = match lane {
            Lane::Journal => &self.lanes[0],
            Lane::Read => &self.lanes[1],
            Lane::Background => &self.lanes[2],
            Lane::Compute => &self.lanes[3],
        };
        let sent = lane.jobs.as_ref().is_some_and(|jobs| jobs.send((token, job)).is_ok());
        assert!(sent, "the thread of a lane is gone");
    }

    fn poll(&mut self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        self.worker.run(job, &mut direct::Buffer::default())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        self.worker.list(directory)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        self.worker.free_bytes()
    }

    fn random(&mut self) -> u64 {
        OsRng.try_next_u64().expect("the operating system gives random numbers")
    }

    fn stopwatch_ns(&mut self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Drop for LocalDisk {
    /// Finishes what was handed in.
    fn drop(&mut self) {
        for lane in &mut self.lanes {
            lane.jobs = None;
        }
        for lane in &mut self.lanes {
            if let Some(thread) = lane.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests;
