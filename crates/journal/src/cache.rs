//! The journal's bytes that are in memory: the blocks written last, and what cold reads brought.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Largest ordinary chunk.
pub(crate) const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Smallest chunk.
const CHUNK_BYTES_MIN: usize = 64 * 1024;
/// Smallest buffer of a single frame.
const OWN_BYTES_MIN: usize = 32 * 1024;
/// Bytes of cold reads that are kept where there are so many. Who reads on may need what two reads brought at once, and would
/// never get on if each pushed out the other.
const COLD_BYTES_MIN: usize = 4 * 1024 * 1024;
/// Bytes of chunks kept for reuse: memory that is already mapped costs an append less. As many as one block frees at a time.
const SPARE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Bytes of the journal in memory.
#[derive(Clone, Copy, Debug)]
pub struct StoredBytes<'a> {
    pub bytes: &'a [u8],
    /// The buffer that `bytes` is a slice of, where it may be shared; `None` while it still grows.
    pub buffer: Option<&'a Bytes>,
    /// They were read back from the disk: verify them before they are handed out.
    pub cold: bool,
}

struct Chunk {
    start: u64,
    bytes: Bytes,
    /// Memory that it holds on to.
    cost: usize,
}

/// Recent chunks in the order of their positions, and cold ones.
pub(crate) struct Cache {
    recent: VecDeque<Chunk>,
    recent_bytes: usize,
    /// Of everything in here.
    bytes_max: usize,
    spare: Vec<Vec<u8>>,
    /// Invariant: the sum of the spare chunks' capacities.
    spare_bytes: usize,
    cold: Cold,
}

impl Cache {
    /// `bytes_max`: of everything in here; what is not durable yet stays even beyond it. Cold reads get half of it
    /// at most, but never less than they need, buffers for reuse a quarter.
    pub fn new(bytes_max: usize) -> Cache {
        let cold = Cold { bytes_max: (bytes_max / 2).max(COLD_BYTES_MIN), ..Cold::default() };
        Cache { recent: VecDeque::new(), recent_bytes: 0, bytes_max, spare: Vec::new(), spare_bytes: 0, cold }
    }

    /// An empty buffer of at least `room` bytes; `hint`: how much may come.
    pub fn buffer(&mut self, room: usize, hint: usize) -> Vec<u8> {
        let wanted = hint.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).next_power_of_two().max(room);
        self.take_spare(wanted, CHUNK_BYTES_MAX.max(room)).unwrap_or_else(|| Vec::with_capacity(wanted))
    }

    /// An empty buffer for a single frame of `len` bytes.
    pub fn own_buffer(&mut self, len: usize) -> Vec<u8> {
        self.take_spare(len, len + len / 2).unwrap_or_else(|| Vec::with_capacity(len.next_multiple_of(4096)))
    }

    fn take_spare(&mut self, at_least: usize, at_most: usize) -> Option<Vec<u8>> {
        let fits = |spare: &Vec<u8>| (at_least..=at_most).contains(&spare.capacity());
        let index = self.spare.iter().rposition(fits)?;
        let spare = self.spare.swap_remove(index);
        self.spare_bytes -= spare.capacity();
        Some(spare)
    }

    /// Take back a buffer that nobody uses any more.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (OWN_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&bytes) && self.spare_bytes + bytes <= self.spare_bytes_max() {
            buffer.clear();
            self.spare_bytes += bytes;
            self.spare.push(buffer);
        }
    }

    fn spare_bytes_max(&self) -> usize {
        SPARE_BYTES_MAX.min(self.bytes_max / 4)
    }

    /// Keep a chunk, which lies behind all before it.
    pub fn push(&mut self, start: u64, bytes: Bytes, cost: usize) {
        debug_assert!(self.recent.back().is_none_or(|last| last.start + last.bytes.len() as u64 <= start));
        self.recent_bytes += cost;
        self.recent.push_back(Chunk { start, bytes, cost });
    }

    /// Let go of the oldest chunks over the bound; only of what is durable, because the rest is nowhere else.
    pub fn evict(&mut self, durable: u64) {
        while self.recent_bytes + self.spare_bytes + self.cold.bytes > self.bytes_max && self.pop_before(durable) {}
    }

    /// Let go of everything before `lsn`: nobody needs it any more.
    pub fn cut(&mut self, lsn: u64) {
        while self.pop_before(lsn) {}
        self.cold.cut(lsn);
    }

    /// Let go of the oldest chunk if it ends before `lsn`.
    fn pop_before(&mut self, lsn: u64) -> bool {
        let Some(chunk) = self.recent.pop_front_if(|chunk| chunk.start + chunk.bytes.len() as u64 <= lsn) else {
            return false;
        };
        self.recent_bytes -= chunk.cost;
        if chunk.cost >= OWN_BYTES_MIN
            && self.spare_bytes + chunk.cost <= self.spare_bytes_max()
            && let Ok(mut unique) = chunk.bytes.try_into_mut()
        {
            unique.clear();
            self.give_back(Vec::from(unique));
        }
        true
    }

    /// The bytes at `[pos, pos + len)`, if they lie in one chunk.
    pub fn find(&self, pos: u64, len: usize) -> Option<StoredBytes<'_>> {
        let after = self.recent.partition_point(|chunk| chunk.start <= pos);
        let found = after.checked_sub(1).and_then(|index| self.recent.get(index));
        found.and_then(|chunk| slice(chunk.start, &chunk.bytes, pos, len)).or_else(|| self.cold.find(pos, len))
    }

    /// Keep what a cold read brought of whatever lies from `start` on.
    pub fn insert_cold(&mut self, start: u64, bytes: Bytes) {
        self.cold.insert(Kind::Stretch, start, bytes);
    }

    /// Keep one record that a cold read brought by itself.
    pub fn insert_cold_record(&mut self, start: u64, bytes: Bytes) {
        self.cold.insert(Kind::Record, start, bytes);
    }
}

fn slice(start: u64, bytes: &Bytes, pos: u64, len: usize) -> Option<StoredBytes<'_>> {
    let offset = usize::try_from(pos.checked_sub(start)?).ok()?;
    Some(StoredBytes { bytes: bytes.get(offset..offset.checked_add(len)?)?, buffer: Some(bytes), cold: false })
}

/// What cold reads brought; the oldest goes first.
#[derive(Default)]
struct Cold {
    /// Whatever lies there.
    stretches: BTreeMap<u64, Bytes>,
    /// Single records. Apart from the stretches, because there may be thousands within one.
    records: BTreeMap<u64, Bytes>,
    order: VecDeque<(Kind, u64)>,
    /// Invariant: the sum of the parts' lengths.
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stretch,
    Record,
}

impl Cold {
    fn parts(&mut self, kind: Kind) -> &mut BTreeMap<u64, Bytes> {
        match kind {
            Kind::Stretch => &mut self.stretches,
            Kind::Record => &mut self.records,
        }
    }

    fn insert(&mut self, kind: Kind, start: u64, bytes: Bytes) {
        match self.parts(kind).get(&start).map(Bytes::len) {
            Some(known) if known >= bytes.len() => return,
            Some(known) => self.bytes -= known,
            None => self.order.push_back((kind, start)),
        }
        self.bytes += bytes.len();
        self.parts(kind).insert(start, bytes);
        // The newest stays even where it is larger than the bound: somebody waits for it.
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            if oldest == (kind, start) {
                self.order.push_back(oldest);
                continue;
            }
            self.remove(oldest);
        }
    }

    fn remove(&mut self, (kind, start): (Kind, u64)) {
        if let Some(bytes) = self.parts(kind).remove(&start) {
            self.bytes -= bytes.len();
        }
    }

    fn cut(&mut self, lsn: u64) {
        let end = |(&start, bytes): (&u64, &Bytes)| start + bytes.len() as u64;
        let firsts = [self.stretches.first_key_value(), self.records.first_key_value()];
        if firsts.into_iter().flatten().any(|first| end(first) <= lsn) {
            self.stretches.retain(|start, bytes| end((start, bytes)) > lsn);
            self.records.retain(|start, bytes| end((start, bytes)) > lsn);
            let Cold { stretches, records, order, .. } = self;
            order.retain(|(kind, start)| match kind {
                Kind::Stretch => stretches.contains_key(start),
                Kind::Record => records.contains_key(start),
            });
            self.bytes = self.stretches.values().chain(self.records.values()).map(Bytes::len).sum();
        }
    }

    /// Stretches may overlap where read-ahead met an older read, so a few before `pos` are tried.
    fn find(&self, pos: u64, len: usize) -> Option<StoredBytes<'_>> {
        let record = self.records.get(&pos).and_then(|bytes| slice(pos, bytes, pos, len));
        let stretches = || self.stretches.range(..=pos).rev().take(4);
        let found = record.or_else(|| stretches().find_map(|(&start, bytes)| slice(start, bytes, pos, len)));
        found.map(|found| StoredBytes { cold: true, ..found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_found_and_the_oldest_durable_ones_go_first() {
        let mut cache = Cache::new(3000);
        for index in 0..4u8 {
            cache.push(u64::from(index) * 1000 + 24, Bytes::from(vec![index; 900]), 1000);
        }
        assert_eq!(cache.find(1024, 900).unwrap().bytes, [1; 900]);
        assert_eq!(cache.find(1923, 1).unwrap().bytes, [1]);
        assert!(cache.find(1924, 1).is_none());
        assert!(cache.find(1023, 1).is_none());
        assert!(cache.find(1023, 2).is_none());
        cache.evict(900);
        assert!(cache.find(24, 1).is_some(), "what is not durable stays");
        cache.evict(3000);
        assert!(cache.find(24, 1).is_none());
        assert!(cache.find(1024, 1).is_some());
        cache.cut(4000);
        assert!(cache.find(3024, 1).is_none());
    }

    #[test]
    fn cold_reads_are_bounded_and_overlap() {
        let mut cache = Cache::new(0);
        cache.insert_cold(100, Bytes::from(vec![1; 1000]));
        cache.insert_cold(200, Bytes::from(vec![1; 10]));
        assert!(cache.find(500, 100).is_some());
        cache.insert_cold(1 << 40, Bytes::from(vec![2; COLD_BYTES_MIN + 1]));
        assert!(cache.find(500, 100).is_none());
        assert!(cache.find(1 << 40, COLD_BYTES_MIN).is_some(), "the newest is never dropped");
        cache.insert_cold(5, Bytes::from_static(b"x"));
        assert!(cache.find(1 << 40, 1).is_none());
        cache.cut(6);
        assert!(cache.find(5, 1).is_none());
        assert_eq!(cache.cold.bytes, 0);
        assert!(cache.cold.order.is_empty());
    }

    /// Five records within a stretch hid what of it lay behind them, which was then read again.
    #[test]
    fn records_that_were_read_alone_hide_nothing_of_a_stretch() {
        let mut cache = Cache::new(0);
        cache.insert_cold(0, Bytes::from(vec![1; 1000]));
        for start in 10..50 {
            cache.insert_cold_record(start * 10, Bytes::from(vec![2; 10]));
        }
        assert_eq!(cache.find(600, 100).unwrap().bytes, [1; 100]);
        assert_eq!(cache.find(300, 10).unwrap().bytes, [2; 10]);
        assert_eq!(cache.find(300, 11).unwrap().bytes, [1; 11]);
        assert_eq!(cache.cold.bytes, 1400);
        cache.cut(401);
        assert_eq!(cache.cold.bytes, 1100, "ten records are left");
        assert!(cache.find(400, 10).is_some() && cache.find(600, 100).is_some());
        cache.insert_cold(1 << 40, Bytes::from(vec![3; COLD_BYTES_MIN]));
        assert_eq!((cache.cold.bytes, cache.cold.order.len()), (COLD_BYTES_MIN, 1));
    }

    /// Each large frame took fresh memory, which the system had to clear first.
    #[test]
    fn buffers_of_single_frames_are_used_again_as_many_as_a_block_frees() {
        let mut cache = Cache::new(64 * 1024 * 1024);
        let addresses = |cache: &mut Cache, start: u64| -> Vec<usize> {
            let fill = |index: u64| {
                let mut own = cache.own_buffer(65_700);
                own.resize(65_700, 1);
                let (address, cost) = (own.as_ptr() as usize, own.capacity());
                cache.push(start + index * 65_700, Bytes::from(own), cost);
                address
            };
            let mut found: Vec<usize> = (0..120).map(fill).collect();
            found.sort_unstable();
            found
        };
        let first = addresses(&mut cache, 0);
        cache.cut(u64::MAX);
        assert_eq!(addresses(&mut cache, 120 * 65_700), first);
        cache.cut(u64::MAX);
        assert!(cache.own_buffer(33_000).capacity() < 65_700, "a much smaller frame does not hold a large buffer");
        assert!(cache.spare_bytes <= SPARE_BYTES_MAX);
    }

    #[test]
    fn a_chunk_is_used_again_once_nobody_shares_it() {
        let mut cache = Cache::new(4 * CHUNK_BYTES_MAX);
        let mut chunk = cache.buffer(10, CHUNK_BYTES_MAX);
        chunk.extend_from_slice(b"hello");
        let address = chunk.as_ptr();
        cache.push(0, Bytes::from(chunk), CHUNK_BYTES_MAX);
        cache.cut(5);
        let again = cache.buffer(10, CHUNK_BYTES_MAX);
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (address, 0, CHUNK_BYTES_MAX));
    }
}
