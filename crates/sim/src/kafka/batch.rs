//! Record batches whose every byte follows from the numbers of their records, so that what comes back can be compared
//! with what was sent. A record bears its number in a header, because a tombstone has no value to bear it.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};

use model::record::{BatchHead, BatchRecord, HEADER_BYTES, Records, attribute, seal};

use super::plan::PartitionIx;

/// No batch holds more, decompressed, in bytes.
const UNPACKED_BYTES_MAX: u64 = 1024 * 1024;

/// Names a record for the whole run, in the order in which they were sent.
pub type RecordId = u32;

/// What the records of a batch are compressed with, as its attributes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Lz4 = 3,
}

/// Of which key, and how long; `len` `None`: a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: RecordId,
    pub partition: PartitionIx,
    pub key: Option<u32>,
    pub len: Option<usize>,
    pub timestamp_ms: u64,
}

/// Who writes a batch; all -1: nobody in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
    pub transactional: bool,
}

impl Stamp {
    pub const NONE: Stamp = Stamp { producer_id: -1, epoch: -1, sequence: -1, transactional: false };
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}

impl Record {
    /// Everything behind the length.
    fn encode(&self, base_ms: u64, delta: usize) -> Vec<u8> {
        let mut out = vec![0];
        put_varint(&mut out, self.timestamp_ms as i64 - base_ms as i64);
        put_varint(&mut out, delta as i64);
        let key = self.key.map(|key| format!("key-{key}"));
        put_nullable(&mut out, key.as_ref().map(String::as_bytes));
        let mut value = Vec::new();
        crate::message::body(self.id, self.len.unwrap_or(0), &mut value);
        put_nullable(&mut out, self.len.map(|_| &value[..]));
        put_varint(&mut out, 1);
        put_nullable(&mut out, Some(b"id"));
        put_nullable(&mut out, Some(&self.id.to_be_bytes()));
        out
    }
}

fn compress(records: &[u8], codec: Codec) -> std::io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(records.to_vec()),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(records)?;
            out.finish()
        }
        Codec::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(records)?;
            Ok(out.finish()?)
        }
    }
}

/// What is in a batch, decompressed; `None` where it cannot be, or is compressed as nobody does it here.
pub fn unpacked<'a>(batch: &'a [u8], head: &BatchHead) -> Option<Cow<'a, [u8]>> {
    let packed = batch.get(HEADER_BYTES..head.len)?;
    let mut out = Vec::new();
    match head.attributes & attribute::COMPRESSION {
        0 => return Some(Cow::Borrowed(packed)),
        1 => flate2::read::GzDecoder::new(packed).take(UNPACKED_BYTES_MAX).read_to_end(&mut out).ok()?,
        3 => lz4_flex::frame::FrameDecoder::new(packed).take(UNPACKED_BYTES_MAX).read_to_end(&mut out).ok()?,
        _ => return None,
    };
    Some(Cow::Owned(out))
}

/// A batch of these records, of which there is at least one.
pub fn encode(records: &[Record], stamp: Stamp, codec: Codec) -> Vec<u8> {
    let base_ms = records[0].timestamp_ms;
    let newest_ms = records.iter().map(|record| record.timestamp_ms).max().unwrap_or(base_ms);
    let mut plain = Vec::new();
    for (delta, record) in records.iter().enumerate() {
        let bytes = record.encode(base_ms, delta);
        put_varint(&mut plain, bytes.len() as i64);
        plain.extend_from_slice(&bytes);
    }
    let mut out = vec![0; HEADER_BYTES];
    out.extend(compress(&plain, codec).unwrap_or_else(|error| unreachable!("it is written to memory: {error}")));
    let len = out.len() as u32 - 12;
    out[8..12].copy_from_slice(&len.to_be_bytes());
    out[16] = 2;
    out[22] = codec as u8 | if stamp.transactional { attribute::TRANSACTIONAL as u8 } else { 0 };
    out[23..27].copy_from_slice(&(records.len() as i32 - 1).to_be_bytes());
    out[27..35].copy_from_slice(&base_ms.to_be_bytes());
    out[35..43].copy_from_slice(&newest_ms.to_be_bytes());
    out[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
    out[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    out[53..57].copy_from_slice(&stamp.sequence.to_be_bytes());
    out[57..61].copy_from_slice(&(records.len() as i32).to_be_bytes());
    seal(&mut out);
    out
}

/// The number that a record bears.
pub fn id_of(record: &BatchRecord<'_>, base_timestamp_ms: i64) -> Option<RecordId> {
    let id = record.view(base_timestamp_ms).header("id")?;
    Some(RecordId::from_be_bytes(id.try_into().ok()?))
}

/// Whether this is the record that was sent, to the byte.
pub fn is_same(found: &BatchRecord<'_>, head: &BatchHead, sent: &Record) -> bool {
    let Ok(base_ms) = u64::try_from(head.base_timestamp_ms) else { return false };
    let Ok(delta) = usize::try_from(found.offset_delta) else { return false };
    let expected = sent.encode(base_ms, delta);
    let mut whole = Vec::with_capacity(expected.len() + 5);
    put_varint(&mut whole, expected.len() as i64);
    whole.extend_from_slice(&expected);
    found.bytes == whole
}

/// The records of a batch, of what is [`unpacked`]; `None` where they cannot be read, or something else is there.
pub fn records<'a>(unpacked: &'a [u8], head: &BatchHead) -> Option<Vec<BatchRecord<'a>>> {
    let mut records = Records::new(unpacked, head.records);
    let all = records.by_ref().collect::<Result<_, _>>().ok()?;
    records.is_at_end().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_known_again() {
        let record = |id, key, len| Record { id, partition: 0, key, len, timestamp_ms: 1_000 + u64::from(id) };
        let sent = [record(7, Some(3), Some(100)), record(8, None, None)];
        let stamp = Stamp { producer_id: 5, epoch: 1, sequence: 9, transactional: true };
        for codec in [Codec::None, Codec::Gzip, Codec::Lz4] {
            let bytes = encode(&sent, stamp, codec);
            assert_eq!(model::record::verify(&bytes), Ok(bytes.len()));
            let head = BatchHead::parse(&bytes).unwrap();
            assert_eq!((head.producer_id, head.producer_epoch, head.base_sequence, head.offsets), (5, 1, 9, 2));
            assert!(head.is(attribute::TRANSACTIONAL));
            let plain = unpacked(&bytes, &head).unwrap();
            let found = records(&plain, &head).unwrap();
            for (found, sent) in found.iter().zip(&sent) {
                assert_eq!(id_of(found, head.base_timestamp_ms), Some(sent.id));
                assert!(is_same(found, &head, sent));
            }
            assert!(!is_same(&found[0], &head, &sent[1]));
            assert!(!is_same(&found[0], &head, &Record { len: Some(99), ..sent[0].clone() }));
            // What says that it is compressed otherwise than it is cannot be read.
            let head = BatchHead { attributes: head.attributes ^ 1, ..head };
            assert!(unpacked(&bytes, &head).is_none_or(|plain| records(&plain, &head).is_none()));
        }
    }
}
