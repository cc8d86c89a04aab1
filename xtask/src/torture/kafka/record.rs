//! What is produced. Everything about a record follows from who wrote it and its number, so that whoever reads one knows what
//! it must look like and where it belongs.
//!
//! ```text
//! header "id"   producer u16 | number u64
//! key           on the compacted topic one of a few, elsewhere none
//! value         filling, length and bytes from the id; none for tombstones
//! ```

use std::fmt;

use model::record::{BatchHead, HEADER_BYTES, Records, attribute, parse_marker, seal, verify};

use crate::torture::random::mix;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Written by producers that number nothing and repeat nothing.
    Plain,
    /// Written by idempotent producers, who repeat what was not answered.
    Idempotent,
    Transactional,
    /// What was made, in transactions, of the records of `Idempotent`.
    Output,
    Compacted,
}

impl Topic {
    pub const ALL: [Topic; 5] = [Topic::Plain, Topic::Idempotent, Topic::Transactional, Topic::Output, Topic::Compacted];

    pub fn name(self) -> &'static str {
        match self {
            Topic::Plain => "torture-plain",
            Topic::Idempotent => "torture-idempotent",
            Topic::Transactional => "torture-transactional",
            Topic::Output => "torture-output",
            Topic::Compacted => "torture-compacted",
        }
    }

    pub fn of(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.name() == name)
    }

    pub fn partitions(self) -> i32 {
        match self {
            Topic::Plain | Topic::Idempotent | Topic::Transactional => 3,
            Topic::Output | Topic::Compacted => 2,
        }
    }

    pub fn spots(self) -> impl Iterator<Item = Spot> {
        (0..self.partitions()).map(move |partition| Spot { topic: self, partition })
    }
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    pub topic: Topic,
    pub partition: i32,
}

impl Spot {
    pub fn all() -> impl Iterator<Item = Spot> {
        Topic::ALL.into_iter().flat_map(Topic::spots)
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic.name(), self.partition)
    }
}

/// Names one record. Numbers count from 1 per producer, across restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub producer: u16,
    pub number: u64,
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of producer {}", self.number, self.producer)
    }
}

/// Keys of the compacted topic.
const KEYS: u64 = 50;
const ID: &str = "id";

impl Id {
    fn hash(self) -> u64 {
        mix(self.number ^ (u64::from(self.producer) << 48))
    }

    /// Where it belongs.
    pub fn spot(self, topic: Topic) -> Spot {
        let hash = self.key(topic).unwrap_or(self.hash() >> 8);
        let partition = i32::try_from(mix(hash) % topic.partitions().unsigned_abs() as u64).unwrap_or(0);
        Spot { topic, partition }
    }

    /// What is compacted by.
    pub fn key(self, topic: Topic) -> Option<u64> {
        (topic == Topic::Compacted).then(|| (self.hash() >> 20) % KEYS)
    }

    pub fn is_tombstone(self, topic: Topic) -> bool {
        topic == Topic::Compacted && (self.hash() >> 40).is_multiple_of(5)
    }

    fn value(self, topic: Topic) -> Option<Vec<u8>> {
        let hash = self.hash();
        // Mostly small, now and then large.
        let words = if (hash >> 32).is_multiple_of(3_000) { 10_000 } else { (hash >> 44) % 12 };
        (!self.is_tombstone(topic)).then(|| (0..words).flat_map(|word| mix(hash ^ word).to_le_bytes()).collect())
    }

    fn bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&self.producer.to_le_bytes());
        bytes[2..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Id> {
        let (producer, number) = bytes.split_first_chunk()?;
        Some(Id { producer: u16::from_le_bytes(*producer), number: u64::from_le_bytes(number.try_into().ok()?) })
    }
}

/// Who writes a batch: producer id, epoch, and the number of the batch's first record.
#[derive(Clone, Copy, Debug)]
pub struct Sequenced {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub transactional: bool,
}

/// A batch of these records.
pub fn batch(ids: &[Id], topic: Topic, by: Option<Sequenced>, now_ms: u64) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    for (delta, id) in ids.iter().enumerate() {
        // No attributes, the batch's time.
        let mut record = vec![0, 0];
        put_varint(&mut record, delta as i64);
        put_bytes(&mut record, id.key(topic).map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        put_bytes(&mut record, id.value(topic).as_deref());
        put_varint(&mut record, 1);
        put_bytes(&mut record, Some(ID.as_bytes()));
        put_bytes(&mut record, Some(&id.bytes()));
        put_varint(&mut out, record.len() as i64);
        out.extend_from_slice(&record);
    }
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let length = u32::try_from(out.len() - 12).unwrap_or(u32::MAX);
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &length.to_be_bytes());
    put(12, &(-1i32).to_be_bytes());
    put(16, &[2]);
    put(21, &if by.is_some_and(|by| by.transactional) { attribute::TRANSACTIONAL } else { 0 }.to_be_bytes());
    put(23, &(count - 1).to_be_bytes());
    put(27, &now_ms.to_be_bytes());
    put(35, &now_ms.to_be_bytes());
    put(43, &by.map_or(-1, |by| by.producer_id).to_be_bytes());
    put(51, &by.map_or(-1, |by| by.epoch).to_be_bytes());
    put(53, &by.map_or(-1, |by| by.sequence).to_be_bytes());
    put(57, &count.to_be_bytes());
    seal(&mut out);
    out
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What an answer to a fetch holds of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// In their order, from the offset asked for on.
    pub records: Vec<(u64, Id)>,
    /// Where to go on.
    pub next: u64,
}

/// Read the batches of an answer to a fetch from `from` on. `aborted`: producer ids and first offsets, of what is to be left out,
/// as Kafka's consumers do it.
///
/// # Errors
/// Bytes that nobody wrote, in words.
pub fn read(bytes: &[u8], topic: Topic, from: u64, aborted: &[(i64, i64)]) -> Result<Fetched, String> {
    let mut fetched = Fetched { records: Vec::new(), next: from };
    let mut aborted = aborted.to_vec();
    aborted.sort_unstable_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut skipped: Vec<i64> = Vec::new();
    let mut rest = bytes;
    while let (Some(base), Ok(head)) = (rest.first_chunk(), BatchHead::parse(rest)) {
        // The last one may be cut short, and comes again.
        let Some((batch, behind)) = rest.split_at_checked(head.len) else { break };
        rest = behind;
        let base = i64::from_be_bytes(*base);
        let Ok(first) = u64::try_from(base) else { return Err(format!("a batch at offset {base}")) };
        verify(batch).map_err(|error| format!("offset {base}: {error}"))?;
        while let Some((producer, _)) = aborted.pop_if(|(_, first)| *first <= base) {
            skipped.push(producer);
        }
        if head.is(attribute::CONTROL) {
            if parse_marker(batch) == Some(false) {
                skipped.retain(|producer| *producer != head.producer_id);
            }
        } else if !(head.is(attribute::TRANSACTIONAL) && skipped.contains(&head.producer_id)) {
            for record in Records::new(&batch[HEADER_BYTES..], head.records) {
                let record = record.map_err(|error| format!("offset {base}: {error}"))?;
                let offset = first.saturating_add_signed(record.offset_delta);
                let id = record.view(0).header(ID).and_then(Id::parse);
                let same = |id: &Id| {
                    let key = id.key(topic).map(u64::to_le_bytes);
                    record.key == key.as_ref().map(<[u8; 8]>::as_slice) && record.value == id.value(topic).as_deref()
                };
                let Some(id) = id.filter(same) else {
                    return Err(format!("invented: at offset {offset} lies what nobody has written"));
                };
                if offset >= from {
                    fetched.records.push((offset, id));
                }
            }
        }
        fetched.next = fetched.next.max(first + u64::from(head.offsets));
    }
    Ok(fetched)
}

#[cfg(test)]
mod tests {
    use model::record::marker;

    use super::*;

    fn ids(numbers: std::ops::Range<u64>) -> Vec<Id> {
        numbers.map(|number| Id { producer: 7, number }).collect()
    }

    /// A batch as it lies at an offset.
    fn at(base: u64, mut batch: Vec<u8>) -> Vec<u8> {
        batch[..8].copy_from_slice(&base.to_be_bytes());
        batch
    }

    #[test]
    fn what_is_written_is_read_back_and_what_was_changed_is_not() {
        for topic in Topic::ALL {
            let ids = ids(1..4_000);
            let bytes = at(10, batch(&ids, topic, None, 5));
            let fetched = read(&bytes, topic, 20, &[]).unwrap();
            assert_eq!(fetched.next, 10 + 3_999);
            assert_eq!(fetched.records, (20..10 + 3_999).zip(ids[10..].iter().copied()).collect::<Vec<_>>());
            let mut changed = bytes.clone();
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert!(read(&changed, topic, 20, &[]).unwrap_err().contains("checksum"));
            seal(&mut changed);
            assert!(read(&changed, topic, 20, &[]).unwrap_err().contains("nobody has written"));
            assert_eq!(read(&bytes[..last], topic, 20, &[]), Ok(Fetched { records: vec![], next: 20 }));
        }
    }

    #[test]
    fn aborted_batches_are_left_out_up_to_their_marker() {
        let by = |producer_id| Some(Sequenced { producer_id, epoch: 0, sequence: 0, transactional: true });
        let one = |producer, number| batch(&ids(number..number + 1), Topic::Transactional, by(producer), 5);
        let bytes = [
            at(0, one(3, 1)),
            at(1, one(4, 2)),
            at(2, marker(3, 0, false, 5)),
            at(3, one(3, 3)),
            at(4, marker(4, 0, true, 5)),
            at(5, marker(3, 0, true, 5)),
        ];
        let fetched = read(&bytes.concat(), Topic::Transactional, 0, &[(3, 0)]).unwrap();
        assert_eq!(fetched.next, 6);
        assert_eq!(fetched.records.iter().map(|(offset, id)| (*offset, id.number)).collect::<Vec<_>>(), [(1, 2), (3, 3)]);
    }

    #[test]
    fn all_partitions_and_keys_get_some() {
        for spot in Spot::all() {
            assert!(ids(1..500).iter().any(|id| id.spot(spot.topic) == spot), "{spot}");
        }
        let keys: std::collections::BTreeSet<_> = ids(1..1_000).iter().filter_map(|id| id.key(Topic::Compacted)).collect();
        assert_eq!(keys.len() as u64, KEYS);
        assert!(ids(1..100).iter().any(|id| id.is_tombstone(Topic::Compacted)));
    }
}
