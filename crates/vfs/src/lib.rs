//! The outside world: everything that touches a disk, or would hold its caller up, goes through here as data.
//!
//! A caller hands in a [`Job`] and later takes out its [`Completion`]; the jobs of one [`Lane`] are
//! done in order, lanes run beside each other. So the code above never blocks and never knows
//! whether the disk is real ([`local`]) or one that forgets, tears and fails ([`simulated`]).
//!
//! # Layout
//! - [`around`]: disks around another one, which watch it or break it
//! - [`local`]: a directory of the real file system, one thread per lane
//! - [`simulated`]: a disk in memory with faults from a seed

mod around;
pub mod local;
pub mod simulated;

use std::any::Any;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub use around::Around;

/// A file's path below the data directory, with `/` between parts: `journal/00000000000a0000.jnl`.
pub type Path = String;

/// Jobs of one lane are done one after another, in the order they were submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// The journal's writes and syncs.
    Journal,
    /// Cold reads: somebody waits for them, so they do not queue behind the background's long writes.
    Read,
    /// Everything else: segments, checkpoints, allocations, removals.
    Background,
    /// Work without a disk in it.
    Compute,
}

/// Names a job in its completion. Chosen by the caller.
pub type Token = u64;

/// Part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub path: Path,
    pub offset: u64,
    pub len: usize,
}

/// One piece of work for a disk.
#[derive(Clone, Debug)]
pub enum Job {
    /// Make a file of `size` zero bytes that later writes will not have to grow, and sync it and its
    /// directory. `recycle`: an old file to be renamed and used instead where it exists and has that size
    /// (its old content stays). Fails without a trace where the disk is full.
    Allocate { path: Path, size: u64, recycle: Option<Path> },
    /// Write the parts one after another from `offset` on; then `fdatasync` where `sync` is set. `cached`: they will be
    /// read soon, so that the system's page cache should have them. Otherwise they may go around it. A file that was
    /// allocated is written from its beginning on: what lies behind all that was written may be overwritten with zeros.
    Write { path: Path, offset: u64, parts: Vec<Bytes>, sync: bool, cached: bool },
    /// Read a part of a file. Fewer bytes come back only where the file ends.
    Read(Extent),
    /// Read many extents, each whole, in order.
    Gather(Vec<Extent>),
    /// Write a whole new file so that it is there complete or not at all: to a temporary name, sync,
    /// rename, sync the directory.
    Replace { path: Path, parts: Vec<Bytes> },
    /// Remove a file. One that is not there is no error.
    Remove { path: Path },
    /// Work something out, from what the job holds alone.
    Compute(Compute),
}

/// Something to be worked out.
#[derive(Clone)]
pub struct Compute(Arc<dyn Fn() -> Computed + Send + Sync>);

/// What came of it: of a type that its caller knows.
pub type Computed = Box<dyn Any + Send>;

impl Compute {
    pub fn new<T: Send + 'static>(work: impl Fn() -> T + Send + Sync + 'static) -> Compute {
        Compute(Arc::new(move || Box::new(work())))
    }

    #[must_use]
    pub fn run(&self) -> Computed {
        (self.0)()
    }
}

impl std::fmt::Debug for Compute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compute")
    }
}

/// What came of a job.
#[derive(Debug)]
pub enum Done {
    /// `Allocate`, `Write`, `Replace`, `Remove`.
    Ok,
    /// `Read`.
    Bytes(Bytes),
    /// `Gather`: as many as there are extents.
    Parts(Vec<Bytes>),
    /// `Compute`.
    Computed(Computed),
}

impl Done {
    /// What a `Read` brought; nothing of other jobs.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Done::Bytes(bytes) => bytes,
            Done::Ok | Done::Parts(_) | Done::Computed(_) => Bytes::new(),
        }
    }
}

/// A finished job.
#[derive(Debug)]
pub struct Completion {
    pub lane: Lane,
    pub token: Token,
    pub result: io::Result<Done>,
}

/// A disk, and who does work beside the caller.
pub trait Vfs: Send {
    /// Hand in a job. Bounded by its callers; a disk may block where thousands wait.
    fn submit(&mut self, lane: Lane, token: Token, job: Job);

    /// Take out a finished job, if there is one. Never blocks.
    fn poll(&mut self) -> Option<Completion>;

    /// Do a job at once and wait for it. Only before serving and after (recovery, `check`, shutdown),
    /// with no submitted job under way.
    ///
    /// # Errors
    /// Those of the job.
    fn run(&mut self, job: Job) -> io::Result<Done>;

    /// The names (not paths) of the files in a directory and their sizes, sorted by name. A directory that
    /// is not there is empty.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>>;

    /// Bytes free for more files.
    ///
    /// # Errors
    /// Those of the file system.
    fn free_bytes(&mut self) -> io::Result<u64>;

    /// A random number that nobody can guess; from the seed in a simulation.
    fn random(&mut self) -> u64;

    /// Nanoseconds since some moment, to measure how long work takes. Nothing may depend on it but figures for people: a
    /// disk without a clock, as in a simulation, always says 0.
    fn stopwatch_ns(&mut self) -> u64 {
        0
    }
}
