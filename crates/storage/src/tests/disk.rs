//! A disk that tells what is read of it while serving and how it is written, and that fails to read one place.

use std::collections::HashSet;
use std::io;

use vfs::simulated::SimulatedDisk;
use vfs::{Around, Completion, Extent, Job, Lane, Token};

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

impl Around for WatchedDisk {
    type Disk = SimulatedDisk;

    fn disk(&mut self) -> &mut SimulatedDisk {
        &mut self.disk
    }

    fn submitting(&mut self, lane: Lane, token: Token, job: &Job) {
        if let (Lane::Journal, Job::Write { cached, .. }) = (lane, job) {
            self.cached = *cached;
        }
        let extents = match job {
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
    }

    fn completing(&mut self, completion: Completion) -> Completion {
        let fails = self.failing.remove(&completion.token);
        let result = if fails { Err(io::Error::other("input/output error")) } else { completion.result };
        Completion { result, ..completion }
    }
}
