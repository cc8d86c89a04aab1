//! One file of a simulated disk: what programs see, and what the platter has.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;

/// The unit that a disk writes.
const SECTOR_BYTES: usize = 512;

type Sector = [u8; SECTOR_BYTES];

#[derive(Default)]
pub(super) struct File {
    /// What programs see.
    bytes: Vec<u8>,
    /// The sectors whose platter has something else, and what it has.
    volatile: BTreeMap<usize, Sector>,
    /// Those of them that no sync will write any more: an earlier one failed, and they count as clean.
    /// Invariant: a part of `volatile`.
    lost: BTreeSet<usize>,
    /// The length that the platter knows.
    synced_len: usize,
}

/// How much of what was not synced survives.
enum Fate {
    /// All, or nothing.
    All(bool),
    /// What was written first.
    Until(usize),
    /// Each sector by itself: so many in a hundred.
    Each(u32),
}

impl File {
    /// A file all of which is on the platter.
    pub fn synced(bytes: Vec<u8>) -> File {
        File { synced_len: bytes.len(), bytes, ..File::default() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn write(&mut self, offset: usize, part: &[u8]) {
        let end = offset + part.len();
        if part.is_empty() {
            return;
        }
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let before = self.sector(sector);
            self.volatile.entry(sector).or_insert(before);
            self.lost.remove(&sector);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(part);
    }

    /// What programs see of a sector, with zeros behind the end.
    fn sector(&self, index: usize) -> Sector {
        let mut sector = [0; SECTOR_BYTES];
        let rest = self.bytes.get(index * SECTOR_BYTES..).unwrap_or_default();
        let len = rest.len().min(SECTOR_BYTES);
        sector[..len].copy_from_slice(&rest[..len]);
        sector
    }

    pub fn sync(&mut self) {
        self.volatile.retain(|sector, _| self.lost.contains(sector));
        self.synced_len = self.bytes.len();
    }

    /// The sync failed: some of it is on the platter, the rest never gets there, and nobody will know.
    pub fn fail_sync(&mut self, rng: &mut StdRng) {
        let fate = fate(rng, self.volatile.len());
        let sectors: Vec<usize> = self.volatile.keys().copied().filter(|sector| !self.lost.contains(sector)).collect();
        for (count, sector) in sectors.into_iter().enumerate() {
            if survives(&fate, count, rng) {
                self.volatile.remove(&sector);
            } else {
                self.lost.insert(sector);
            }
        }
        if rng.random() {
            self.synced_len = self.bytes.len();
        }
    }

    pub fn crash(&mut self, rng: &mut StdRng) {
        let fate = fate(rng, self.volatile.len());
        let volatile = std::mem::take(&mut self.volatile);
        let lost = std::mem::take(&mut self.lost);
        let mut len = if rng.random() { self.bytes.len() } else { self.synced_len };
        for (count, (sector, platter)) in volatile.into_iter().enumerate() {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.bytes.len());
            let kept = if lost.contains(&sector) || !survives(&fate, count, rng) {
                0
            } else if rng.random_ratio(1, 50) {
                // Torn: the head moved on before the sector's end.
                rng.random_range(0..=end - start)
            } else {
                end - start
            };
            if kept > 0 {
                len = len.max(end);
            }
            self.bytes[start + kept..end].copy_from_slice(&platter[kept..end - start]);
        }
        self.bytes.truncate(len);
        self.synced_len = self.bytes.len();
    }

    pub fn flip_bit(&mut self, bit: u64) -> bool {
        let byte = usize::try_from(bit / 8).ok().and_then(|at| self.bytes.get_mut(at));
        byte.map(|byte| *byte ^= 1 << (bit % 8)).is_some()
    }
}

fn fate(rng: &mut StdRng, sectors: usize) -> Fate {
    match rng.random_range(0..5) {
        0 => Fate::All(true),
        1 => Fate::All(false),
        2 => Fate::Until(rng.random_range(0..=sectors)),
        _ => Fate::Each(rng.random_range(0..=100)),
    }
}

fn survives(fate: &Fate, count: usize, rng: &mut StdRng) -> bool {
    match *fate {
        Fate::All(all) => all,
        Fate::Until(until) => count < until,
        Fate::Each(percent) => rng.random_ratio(percent, 100),
    }
}
