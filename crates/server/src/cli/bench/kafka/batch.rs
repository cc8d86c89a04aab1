//! Record batches, encoded once: only numbers, times and the checksum are patched for each.
//!
//! ```text
//! head    61 bytes, as model::record has them
//! record  length | attributes u8 | time delta | offset delta | key length -1 | value length | value | header count 0
//! ```
//! Lengths and deltas of records are zigzag varints. A batch of fewer records is the front of a full one.

use model::record::{HEADER_BYTES, seal};

use crate::cli::bench::ledger::BODY_HEAD_BYTES;

/// What distinguishes one batch from the next.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub records: usize,
    pub now_ms: u64,
    /// Producer id and epoch, and the number of the first record.
    pub sequence: Option<(i64, i16, i32)>,
}

/// A full batch.
#[derive(Debug)]
pub struct Template {
    bytes: Vec<u8>,
    /// Of each record: where its value begins, and where it ends.
    spans: Vec<(usize, usize)>,
}

impl Template {
    /// A batch of at most `batch_bytes` (but one record at least) with values of `size` bytes.
    pub fn new(size: usize, batch_bytes: usize) -> Template {
        let value: Vec<u8> = (0..size).map(|i| b'a' + (i % 23) as u8).collect();
        let (mut bytes, mut spans) = (vec![0; HEADER_BYTES], Vec::new());
        let mut record = Vec::new();
        loop {
            record.clear();
            // Attributes, no time after the batch's, offset, no key, value.
            record.extend_from_slice(&[0, 0]);
            put_varint(&mut record, spans.len() as i64);
            put_varint(&mut record, -1);
            put_varint(&mut record, size as i64);
            let value_at = record.len();
            record.extend_from_slice(&value);
            record.push(0);
            let mut length = Vec::new();
            put_varint(&mut length, record.len() as i64);
            let end = bytes.len() + length.len() + record.len();
            if !spans.is_empty() && end > batch_bytes {
                return Template { bytes, spans };
            }
            spans.push((bytes.len() + length.len() + value_at, end));
            bytes.extend_from_slice(&length);
            bytes.extend_from_slice(&record);
        }
    }

    /// Records of a full batch.
    pub fn records(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of a full batch.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a batch of `stamp.records`, of which there are as many as in a full one at most; `head` makes the front of
    /// each value.
    pub fn put(&self, out: &mut Vec<u8>, stamp: Stamp, mut head: impl FnMut() -> [u8; BODY_HEAD_BYTES]) {
        let spans = &self.spans[..stamp.records];
        let end = spans.last().map_or(HEADER_BYTES, |&(_, end)| end);
        let begin = out.len();
        out.extend_from_slice(&self.bytes[..end]);
        let batch = &mut out[begin..];
        let (id, epoch, sequence) = stamp.sequence.unwrap_or((-1, -1, -1));
        let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
        put(8, &(end as u32 - 12).to_be_bytes());
        put(12, &(-1_i32).to_be_bytes());
        put(16, &[2]);
        put(23, &(stamp.records as u32 - 1).to_be_bytes());
        put(27, &stamp.now_ms.to_be_bytes());
        put(35, &stamp.now_ms.to_be_bytes());
        put(43, &id.to_be_bytes());
        put(51, &epoch.to_be_bytes());
        put(53, &sequence.to_be_bytes());
        put(57, &(stamp.records as u32).to_be_bytes());
        for &(value_at, _) in spans {
            put(value_at, &head());
        }
        seal(batch);
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
