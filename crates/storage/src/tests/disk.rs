//! A disk that tells what is read of it while serving and how it is written, and that fails to read one place.

use std::collections::HashSet;
use std::io;

use vfs::simulated::SimulatedDisk;
use vfs::{Completion, Done, Extent, Job, Lane, Token, Vfs};

pub struct WatchedDisk {
    pub disk: SimulatedDisk,
    /// Bytes that were asked for.
    pub bytes_read: usize,
    /// What was written last is to stay in the page cache.
    pub cached: bool,
    /// What reads this byte of this file fails.
    pub bad: Option<(String, u64)>,
    failing: HashSet<Token>,
}

impl WatchedDisk {
    pub fn new(seed: u64) -> WatchedDisk {
        WatchedDisk { disk: SimulatedDisk::new(seed), bytes_read: 0, cached: false, bad: None, failing: HashSet::new() }
    }
}

impl Vfs for WatchedDisk {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        if let (Lane::Journal, Job::Write { cached, .. }) = (lane, &job) {
            self.cached = *cached;
        }
        let extents = match &job {
            Job::Read(extent) => std::slice::from_ref(extent),
            Job::Gather(extents) => extents,
            _ => &[],
        };
        self.bytes_read += extents.iter().map(|extent| extent.len).sum::<usize>();
        let is_bad = |extent: &Extent| {
            let range = extent.offset..extent.offset + extent.len as u64;
            self.bad.as_ref().is_some_and(|(path, byte)| extent.path == *path && range.contains(byte))
        };
        if extents.iter().any(is_bad) {
            self.failing.insert(token);
        }
        self.disk.submit(lane, token, job);
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.disk.poll()?;
        let fails = self.failing.remove(&completion.token);
        let result = if fails { Err(io::Error::other("input/output error")) } else { completion.result };
        Some(Completion { result, ..completion })
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
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
