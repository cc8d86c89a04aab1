//! A disk in memory that forgets, tears and fails, all from one seed.
//!
//! What is written stays volatile until its sync. Jobs wait until [`SimulatedDisk::step`] does one of them,
//! of a lane that chance picks; [`SimulatedDisk::crash`] takes the power away: jobs under way vanish or are
//! half done, and of what was not synced every sector is kept, lost or torn. The same disk then serves the next
//! incarnation: a clone is another handle of it. Two runs of one seed with the same calls are the same.
//!
//! # Layout
//! - [`file`]: one file: what programs see, and what the platter has

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Completion, Done, Extent, Job, Lane, Path, Token, Vfs};

use file::File;

/// One chance in so many that a slow lane is picked when another could be.
const SLOW_LANE_ODDS: u32 = 32;
/// Zeros that are written behind a write, now and then.
const FILLED_AHEAD_BYTES_MAX: u64 = 8 * 1024;

/// A handle of a simulated disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    rng: StdRng,
    files: BTreeMap<Path, File>,
    /// Files that were allocated since the process began, and the end of what was written to each.
    allocated: BTreeMap<Path, u64>,
    pending: BTreeMap<Lane, VecDeque<(Token, Job)>>,
    completions: VecDeque<Completion>,
    capacity_bytes: u64,
    syncs_to_fail: u32,
    slow: Option<Lane>,
}

impl SimulatedDisk {
    /// An empty disk without faults, with room for a tebibyte.
    #[must_use]
    pub fn new(seed: u64) -> SimulatedDisk {
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            files: BTreeMap::new(),
            allocated: BTreeMap::new(),
            pending: BTreeMap::new(),
            completions: VecDeque::new(),
            capacity_bytes: 1 << 40,
            syncs_to_fail: 0,
            slow: None,
        };
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Do one waiting job, of a lane that chance picks. `false`: none waits.
    pub fn step(&mut self) -> bool {
        self.state().step()
    }

    /// Jobs that wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.state().pending.values().map(VecDeque::len).sum()
    }

    /// The power fails: the first job of each lane may be half done, the others vanish; of what was not synced,
    /// every sector is kept, lost or torn.
    pub fn crash(&mut self) {
        let mut state = self.state();
        state.kill();
        let State { rng, files, .. } = &mut *state;
        files.values_mut().for_each(|file| file.crash(rng));
    }

    /// The process dies and the machine goes on: the first job of each lane may be half done, the others
    /// vanish; what was written is still seen.
    pub fn kill(&mut self) {
        self.state().kill();
    }

    /// Files take at most so many bytes; what would need more fails as on a full disk.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// The next sync fails with EIO. What it should have synced may be on the platter or never get there,
    /// though programs still see it, and the sync after it succeeds (as Linux does it).
    pub fn fail_next_sync(&mut self) {
        self.state().syncs_to_fail += 1;
    }

    /// Jobs of this lane are seldom done while others wait.
    pub fn set_slow(&mut self, lane: Option<Lane>) {
        self.state().slow = lane;
    }

    /// Flip a bit of a file at rest. `false`: the file does not reach that far.
    pub fn flip_bit(&mut self, path: &str, bit: u64) -> bool {
        self.state().files.get_mut(path).is_some_and(|file| file.flip_bit(bit))
    }

    /// Every file and its size.
    #[must_use]
    pub fn files(&self) -> Vec<(Path, u64)> {
        self.state().files.iter().map(|(path, file)| (path.clone(), file.bytes().len() as u64)).collect()
    }

    /// What programs see in a file.
    #[must_use]
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).map(|file| file.bytes().to_vec())
    }
}

impl Vfs for SimulatedDisk {
    fn submit(&mut self, lane: Lane, token: Token, job: Job) {
        self.state().pending.entry(lane).or_default().push_back((token, job));
    }

    fn poll(&mut self) -> Option<Completion> {
        self.state().completions.pop_front()
    }

    fn run(&mut self, job: Job) -> io::Result<Done> {
        self.state().perform(job)
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<(String, u64)>> {
        let prefix = format!("{directory}/");
        let state = self.state();
        let below = state.files.iter().filter_map(|(path, file)| {
            let name = path.strip_prefix(&prefix).filter(|name| !name.contains('/'))?;
            Some((name.to_owned(), file.bytes().len() as u64))
        });
        Ok(below.collect())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity_bytes.saturating_sub(state.used_bytes()))
    }

    fn random(&mut self) -> u64 {
        self.state().rng.random()
    }
}

impl State {
    fn step(&mut self) -> bool {
        let waiting: Vec<Lane> = self.pending.iter().filter(|(_, jobs)| !jobs.is_empty()).map(|(&lane, _)| lane).collect();
        let Some(&(mut lane)) = waiting.get(self.rng.random_range(0..waiting.len().max(1))) else { return false };
        if self.slow == Some(lane) && !self.rng.random_ratio(1, SLOW_LANE_ODDS) {
            lane = waiting.iter().copied().find(|&other| other != lane).unwrap_or(lane);
        }
        let Some((token, job)) = self.pending.get_mut(&lane).and_then(VecDeque::pop_front) else { return false };
        let result = self.perform(job);
        self.completions.push_back(Completion { lane, token, result });
        true
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes().len() as u64).sum()
    }

    fn claim(&self, bytes: u64) -> io::Result<()> {
        let fits = self.used_bytes().saturating_add(bytes) <= self.capacity_bytes;
        if fits { Ok(()) } else { Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on simulated disk")) }
    }

    /// Whether the sync that is due fails.
    fn sync_fails(&mut self) -> bool {
        let fails = self.syncs_to_fail > 0;
        self.syncs_to_fail -= u32::from(fails);
        fails
    }

    fn perform(&mut self, job: Job) -> io::Result<Done> {
        match job {
            Job::Allocate { path, size, recycle } => self.allocate(path, size, recycle),
            Job::Write { path, offset, parts, sync, .. } => {
                self.write(&path, offset, &parts)?;
                let fails = sync && self.sync_fails();
                let State { rng, files, .. } = self;
                match files.get_mut(&path) {
                    Some(file) if fails => file.fail_sync(rng),
                    Some(file) if sync => file.sync(),
                    _ => {}
                }
                if fails { Err(input_output()) } else { Ok(Done::Ok) }
            }
            Job::Read(extent) => self.read(&extent).map(Done::Bytes),
            Job::Gather(extents) => {
                let whole = |extent: &Extent| {
                    let part = self.read(extent)?;
                    if part.len() == extent.len { Ok(part) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
                };
                extents.iter().map(whole).collect::<io::Result<_>>().map(Done::Parts)
            }
            Job::Replace { path, parts } => {
                let bytes = parts.concat();
                self.claim(bytes.len() as u64)?;
                self.place(path, File::synced(bytes))
            }
            Job::Remove { path } => {
                self.allocated.remove(&path);
                self.files.remove(&path);
                Ok(Done::Ok)
            }
            Job::Compute(work) => Ok(Done::Computed(work.run())),
        }
    }

    fn allocate(&mut self, path: Path, size: u64, recycle: Option<Path>) -> io::Result<Done> {
        let old = recycle.filter(|old| self.files.get(old).is_some_and(|file| file.bytes().len() as u64 == size));
        if let Some(old) = old
            && let Some(file) = self.files.remove(&old)
        {
            self.allocated.remove(&old);
            self.files.insert(path.clone(), file);
        } else {
            self.claim(size)?;
            self.place(path.clone(), File::synced(vec![0; size as usize]))?;
        }
        self.allocated.insert(path, 0);
        Ok(Done::Ok)
    }

    /// What lies behind the end of all writes may be overwritten with zeros, as [`Job::Write`] says.
    fn fill_ahead(&mut self, path: &str, end: u64) {
        let Some(written) = self.allocated.get_mut(path).filter(|written| **written < end) else { return };
        *written = end;
        if let Some(file) = self.files.get_mut(path)
            && self.rng.random_ratio(1, 4)
        {
            let rest = (file.bytes().len() as u64).saturating_sub(end);
            let zeros = self.rng.random_range(0..=FILLED_AHEAD_BYTES_MAX).min(rest);
            file.write(end as usize, &vec![0; zeros as usize]);
        }
    }

    /// Sync a new file and give it its name.
    fn place(&mut self, path: Path, file: File) -> io::Result<Done> {
        if self.sync_fails() {
            return Err(input_output());
        }
        self.files.insert(path, file);
        Ok(Done::Ok)
    }

    fn write(&mut self, path: &str, offset: u64, parts: &[Bytes]) -> io::Result<()> {
        let len: usize = parts.iter().map(Bytes::len).sum();
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let growth = (offset + len as u64).saturating_sub(file.bytes().len() as u64);
        if growth > 0 {
            self.claim(growth)?;
        }
        self.fill_ahead(path, offset + len as u64);
        let file = self.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        let mut offset = offset as usize;
        for part in parts {
            file.write(offset, part);
            offset += part.len();
        }
        Ok(())
    }

    fn read(&self, extent: &Extent) -> io::Result<Bytes> {
        let bytes = self.files.get(&extent.path).ok_or(io::ErrorKind::NotFound)?.bytes();
        let start = usize::try_from(extent.offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(extent.len).min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[start..end]))
    }

    fn kill(&mut self) {
        for (_, mut jobs) in std::mem::take(&mut self.pending) {
            if let Some((_, job)) = jobs.pop_front() {
                self.interrupt(job);
            }
        }
        self.completions.clear();
        self.allocated.clear();
        self.syncs_to_fail = 0;
    }

    /// Do a job as far as chance lets it come. What is made under a temporary name is there or not.
    fn interrupt(&mut self, job: Job) {
        if self.rng.random_ratio(1, 3) {
            // It was done, only nobody has heard of it.
            let _ = self.perform(job);
        } else if let Job::Write { path, offset, parts, .. } = job {
            let mut bytes = parts.concat();
            bytes.truncate(self.rng.random_range(0..=bytes.len()));
            let _ = self.write(&path, offset, &[Bytes::from(bytes)]);
        }
    }
}

fn input_output() -> io::Error {
    io::Error::other("simulated input/output error")
}

#[cfg(test)]
mod tests;
