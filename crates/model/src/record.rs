//! The record batch, Yam's unit on disk and in memory: Kafka's message format v2, magic 2.
//!
//! ```text
//!  0  base offset        i64   outside the checksum: patched when a batch is handed out
//!  8  batch length       i32   bytes from 12 on
//! 12  leader epoch       i32   outside the checksum
//! 16  magic              i8    2
//! 17  crc                u32   CRC-32C of everything from 21 on
//! 21  attributes         i16
//! 23  last offset delta  i32
//! 27  base timestamp     i64   ms since the Unix epoch
//! 35  max timestamp      i64
//! 43  producer id        i64   -1: none
//! 51  producer epoch     i16   -1
//! 53  base sequence      i32   -1
//! 57  record count       i32
//! 61  records: length varint, attributes i8, timestamp delta varint, offset delta varint,
//!              key length varint, key, value length varint, value,
//!              header count varint, headers: (key length varint, key, value length varint, value)
//! ```
//! All integers are big-endian; varints are zigzag. A message of a protocol without batches is a
//! batch of one record. Source: Apache Kafka, "Message Format" (docs, section 5.3).

use bytes::Bytes;
use crc_fast::crc32_iscsi;

use crate::Value;

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 21;

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a str,
    pub value: &'a [u8],
}

/// What a message consists of, before it is written as a batch of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordParts<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// The reserved header in which a protocol keeps what it has beyond a record; it comes first.
    /// It stands by itself because a session cannot own a slice of headers that borrow from it.
    pub own: Option<Header<'a>>,
    pub headers: &'a [Header<'a>],
}

/// Name and value of a header that borrows from nobody.
pub type OwnHeader = (String, Vec<u8>);

/// The names of reserved headers begin so.
pub const RESERVED: &str = "yam.";

/// What of a stored record only the protocol that wrote it can read.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The value of a header of the client's, among a record's headers.
    pub header: fn(&[Header<'_>], &str) -> Option<Value>,
    /// Keys it was published with beside its routing key.
    pub more_keys: fn(&[Header<'_>]) -> Vec<String>,
    /// What a record says in its reserved headers, as headers for those who speak other protocols: names and values. None
    /// of the names is reserved.
    pub plain_headers: fn(&[Header<'_>]) -> Vec<OwnHeader>,
}

/// Records without anything of the kind.
impl Default for Dialect {
    fn default() -> Dialect {
        Dialect { header: |_, _| None, more_keys: |_| Vec::new(), plain_headers: |_| Vec::new() }
    }
}

/// A batch that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("record batch is cut short")]
    Short,
    #[error("record batch has magic {0}, not 2")]
    Magic(u8),
    #[error("record batch fails its checksum")]
    Checksum,
    #[error("record batch is malformed")]
    Malformed,
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn varint_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<i64, RecordError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(RecordError::Short)?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(RecordError::Malformed)
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], RecordError> {
    let (taken, rest) = input.split_at_checked(len).ok_or(RecordError::Short)?;
    *input = rest;
    Ok(taken)
}

fn take_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    match take_varint(input)? {
        -1 => Ok(None),
        len => take(input, usize::try_from(len).map_err(|_| RecordError::Malformed)?).map(Some),
    }
}

fn take_sized<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    Ok(take_nullable(input)?.unwrap_or_default())
}

impl RecordParts<'_> {
    fn record_len(&self) -> usize {
        let sized = |bytes: &[u8]| varint_len(bytes.len() as i64) + bytes.len();
        let headers: usize = self.all_headers().map(|h| sized(h.name.as_bytes()) + sized(h.value)).sum();
        3 + sized(self.key) + sized(self.value) + varint_len(self.header_count() as i64) + headers
    }

    fn header_count(&self) -> usize {
        usize::from(self.own.is_some()) + self.headers.len()
    }

    fn all_headers(&self) -> impl Iterator<Item = &Header<'_>> {
        self.own.iter().chain(self.headers)
    }

    /// Length of the batch that [`RecordParts::encode`] writes, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let record = self.record_len();
        HEADER_BYTES + varint_len(record as i64) + record
    }

    /// Append the batch of one record to `out`. The base offset is 0 and patched when handed out.
    pub fn encode(&self, timestamp_ms: u64, out: &mut Vec<u8>) {
        let start = put_head(self.record_len(), timestamp_ms, out);
        for bytes in [self.key, self.value] {
            put_varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        put_varint(out, self.header_count() as i64);
        for header in self.all_headers() {
            put_varint(out, header.name.len() as i64);
            out.extend_from_slice(header.name.as_bytes());
            put_varint(out, header.value.len() as i64);
            out.extend_from_slice(header.value);
        }
        debug_assert_eq!(out.len() - start, self.encoded_len());
        seal(&mut out[start..]);
    }
}

/// Append the head of a batch of one record of `record` bytes, and the record up to its key. Returns where the batch begins.
fn put_head(record: usize, timestamp_ms: u64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let total = HEADER_BYTES + varint_len(record as i64) + record;
    let mut head = [0u8; HEADER_BYTES];
    head[8..12].copy_from_slice(&(total as u32 - 12).to_be_bytes());
    head[16] = 2;
    head[27..35].copy_from_slice(&timestamp_ms.to_be_bytes());
    head[35..43].copy_from_slice(&timestamp_ms.to_be_bytes());
    head[43..57].fill(0xff);
    head[57..61].copy_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&head);
    put_varint(out, record as i64);
    out.extend_from_slice(&[0, 0, 0]);
    start
}

/// A record as a reader sees it: slices of the batch it lies in.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub timestamp_ms: u64,
    pub key: &'a [u8],
    /// Empty where there is none.
    pub value: &'a [u8],
    /// It has no value: it says that its key is deleted.
    pub is_tombstone: bool,
    header_count: usize,
    header_bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Read the first record of a batch whose checksum has been verified or that never left memory.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are not a batch.
    pub fn parse(batch: &'a [u8]) -> Result<RecordView<'a>, RecordError> {
        let head = batch.first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
        if head[16] != 2 {
            return Err(RecordError::Magic(head[16]));
        }
        let timestamp_ms = u64::from_be_bytes([head[27], head[28], head[29], head[30], head[31], head[32], head[33], head[34]]);
        let mut input = &batch[HEADER_BYTES..];
        let len = take_varint(&mut input)?;
        let mut input = take(&mut input, usize::try_from(len).map_err(|_| RecordError::Malformed)?)?;
        take(&mut input, 1)?;
        take_varint(&mut input)?;
        take_varint(&mut input)?;
        let key = take_sized(&mut input)?;
        let value = take_nullable(&mut input)?;
        let header_count = usize::try_from(take_varint(&mut input)?).map_err(|_| RecordError::Malformed)?;
        let (value, is_tombstone) = (value.unwrap_or_default(), value.is_none());
        Ok(RecordView { timestamp_ms, key, value, is_tombstone, header_count, header_bytes: input })
    }

    /// The headers in order; ends early where they are malformed.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut input = self.header_bytes;
        (0..self.header_count.min(input.len())).map_while(move |_| {
            let name = std::str::from_utf8(take_sized(&mut input).ok()?).ok()?;
            let value = take_sized(&mut input).ok()?;
            Some(Header { name, value })
        })
    }

    /// The value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|header| header.name == name).map(|header| header.value)
    }
}

/// What the head of a batch says beyond its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Bytes of the whole batch.
    pub len: usize,
    pub attributes: i16,
    /// Offsets it takes: one more than the last record's delta.
    pub offsets: u32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    /// -1: none.
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// -1: none.
    pub base_sequence: i32,
    pub records: i32,
}

/// Bits of [`BatchHead::attributes`]: the codec, the kind of time stamp, and what kind of batch it is.
pub mod attribute {
    pub const COMPRESSION: i16 = 0x07;
    pub const APPEND_TIME: i16 = 0x08;
    pub const TRANSACTIONAL: i16 = 0x10;
    pub const CONTROL: i16 = 0x20;
}

impl BatchHead {
    /// Read the head at the front of `bytes`; nothing behind it is looked at.
    ///
    /// # Errors
    /// [`RecordError`] where there is no head of magic 2 with a sensible length.
    pub fn parse(bytes: &[u8]) -> Result<BatchHead, RecordError> {
        let magic = *bytes.get(16).ok_or(RecordError::Short)?;
        if magic != 2 {
            return Err(RecordError::Magic(magic));
        }
        let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
        let at = |from: usize| i32::from_be_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let long = |from: usize| i64::from(at(from)) << 32 | i64::from(at(from + 4) as u32);
        let short = |from: usize| i16::from_be_bytes([head[from], head[from + 1]]);
        let len = usize::try_from(at(8)).map_err(|_| RecordError::Malformed)? + 12;
        let last = u32::try_from(at(23)).map_err(|_| RecordError::Malformed)?;
        if len < HEADER_BYTES {
            return Err(RecordError::Malformed);
        }
        Ok(BatchHead {
            len,
            attributes: short(21),
            offsets: last + 1,
            base_timestamp_ms: long(27),
            max_timestamp_ms: long(35),
            producer_id: long(43),
            producer_epoch: short(51),
            base_sequence: at(53),
            records: at(57),
        })
    }

    #[must_use]
    pub fn is(&self, attribute: i16) -> bool {
        self.attributes & attribute != 0
    }
}

/// Stamp a batch with the broker's time, as `message.timestamp.type=LogAppendTime` has it.
pub fn stamp(batch: &mut [u8], now_ms: u64) {
    if batch.len() >= HEADER_BYTES {
        batch[22] |= attribute::APPEND_TIME as u8;
        batch[35..43].copy_from_slice(&now_ms.to_be_bytes());
        seal(batch);
    }
}

/// Have the head of a batch say that its latest record is of this time, and each of its own.
pub fn set_newest(batch: &mut [u8], newest_ms: i64) {
    if batch.len() >= HEADER_BYTES {
        batch[22] &= !attribute::APPEND_TIME as u8;
        batch[35..43].copy_from_slice(&newest_ms.to_be_bytes());
        seal(batch);
    }
}

/// A batch with other records in the place of its own, at the same offsets: `packed` is `count` records as the batch's
/// attributes say.
#[must_use]
pub fn rebuild(batch: &[u8], count: u32, packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + packed.len());
    out.extend_from_slice(batch.get(..HEADER_BYTES).unwrap_or_default());
    out.resize(HEADER_BYTES, 0);
    out.extend_from_slice(packed);
    let len = (out.len() - 12) as u32;
    out[8..12].copy_from_slice(&len.to_be_bytes());
    out[57..61].copy_from_slice(&count.to_be_bytes());
    seal(&mut out);
    out
}

/// The end of a transaction, as a batch: Kafka's control record, version 0.
#[must_use]
pub fn marker(producer_id: i64, producer_epoch: i16, commit: bool, now_ms: u64) -> Vec<u8> {
    let key = [0, 0, 0, u8::from(commit)];
    let mut batch = Vec::new();
    RecordParts { key: &key, value: &[0; 6], ..RecordParts::default() }.encode(now_ms, &mut batch);
    batch[21..23].copy_from_slice(&(attribute::TRANSACTIONAL | attribute::CONTROL).to_be_bytes());
    batch[43..51].copy_from_slice(&producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer_epoch.to_be_bytes());
    seal(&mut batch);
    batch
}

/// Whether a control batch commits (`true`) or aborts; `None`: it is no such marker.
#[must_use]
pub fn parse_marker(batch: &[u8]) -> Option<bool> {
    match RecordView::parse(batch).ok()?.key {
        [_, _, 0, 0] => Some(false),
        [_, _, 0, 1] => Some(true),
        _ => None,
    }
}

/// Write the checksum of a whole batch anew.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32_iscsi(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The records of a batch, one after another: [`HEADER_BYTES`] behind its beginning, decompressed.
pub struct Records<'a> {
    input: &'a [u8],
    left: i32,
}

/// One record of a batch of several.
#[derive(Clone, Copy, Debug)]
pub struct BatchRecord<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i64,
    /// `None`: it has no key.
    pub key: Option<&'a [u8]>,
    /// `None`: its key is deleted.
    pub value: Option<&'a [u8]>,
    header_count: usize,
    header_bytes: &'a [u8],
    /// Key, value and headers as they lie.
    content: &'a [u8],
    /// All of it, with the length before it.
    pub bytes: &'a [u8],
}

impl<'a> Records<'a> {
    /// `count`: as the batch's head says.
    #[must_use]
    pub fn new(input: &'a [u8], count: i32) -> Records<'a> {
        Records { input, left: count }
    }

    /// Nothing follows the records that were read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.input.is_empty()
    }

    fn take_record(&mut self) -> Result<BatchRecord<'a>, RecordError> {
        let whole = self.input;
        let len = usize::try_from(take_varint(&mut self.input)?).map_err(|_| RecordError::Malformed)?;
        let mut input = take(&mut self.input, len)?;
        let bytes = &whole[..whole.len() - self.input.len()];
        take(&mut input, 1)?;
        let timestamp_delta = take_varint(&mut input)?;
        let offset_delta = take_varint(&mut input)?;
        let content = input;
        let key = take_nullable(&mut input)?;
        let value = take_nullable(&mut input)?;
        let header_count = usize::try_from(take_varint(&mut input)?).map_err(|_| RecordError::Malformed)?;
        Ok(BatchRecord { timestamp_delta, offset_delta, key, value, header_count, header_bytes: input, content, bytes })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<BatchRecord<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let record = self.take_record();
        if record.is_err() {
            self.left = 0;
        }
        Some(record)
    }
}

impl<'a> BatchRecord<'a> {
    /// Append a batch of this record alone, of that time, to `out`. Key, value and headers are those it has, to the byte.
    pub fn encode_alone(&self, timestamp_ms: u64, out: &mut Vec<u8>) {
        let record = 3 + self.content.len();
        let start = put_head(record, timestamp_ms, out);
        out.extend_from_slice(self.content);
        seal(&mut out[start..]);
    }

    /// The record by itself, at its time.
    #[must_use]
    pub fn view(&self, base_timestamp_ms: i64) -> RecordView<'a> {
        RecordView {
            timestamp_ms: u64::try_from(base_timestamp_ms.saturating_add(self.timestamp_delta)).unwrap_or(0),
            key: self.key.unwrap_or_default(),
            value: self.value.unwrap_or_default(),
            is_tombstone: self.value.is_none(),
            header_count: self.header_count,
            header_bytes: self.header_bytes,
        }
    }
}

/// The length of the batch at the front of `bytes`, and whether its checksum holds.
///
/// # Errors
/// [`RecordError`] where the bytes are not one whole, undamaged batch.
pub fn verify(bytes: &[u8]) -> Result<usize, RecordError> {
    let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
    if head[16] != 2 {
        return Err(RecordError::Magic(head[16]));
    }
    let total = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize + 12;
    let checked = bytes.get(CHECKED_FROM..total).ok_or(RecordError::Short)?;
    if crc32_iscsi(checked) != u32::from_be_bytes([head[17], head[18], head[19], head[20]]) {
        return Err(RecordError::Checksum);
    }
    Ok(total)
}

/// A record as it lies in the log, ready to be handed out.
#[derive(Clone, Copy)]
pub struct StoredRecord<'a> {
    /// The whole batch.
    pub batch: &'a [u8],
    /// The buffer that `batch` is a slice of, where it may be shared.
    pub buffer: Option<&'a Bytes>,
}

impl<'a> StoredRecord<'a> {
    /// A slice of this record without a copy, where its buffer may be shared.
    #[must_use]
    pub fn share(&self, part: &'a [u8]) -> Option<Bytes> {
        self.buffer.map(|buffer| buffer.slice_ref(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            key in proptest::collection::vec(any::<u8>(), 0..300),
            value in proptest::collection::vec(any::<u8>(), 0..3000),
            header in proptest::collection::vec(any::<u8>(), 0..200),
            timestamp in any::<u64>(),
        ) {
            let headers = [Header { name: "a", value: &header }, Header { name: "bb", value: b"" }];
            let parts = RecordParts { key: &key, value: &value, own: None, headers: &headers };
            let mut out = vec![7; 5];
            parts.encode(timestamp, &mut out);
            let batch = &out[5..];
            prop_assert_eq!(batch.len(), parts.encoded_len());
            prop_assert_eq!(verify(batch), Ok(batch.len()));
            let view = RecordView::parse(batch).unwrap();
            prop_assert_eq!(view.timestamp_ms, timestamp);
            prop_assert_eq!(view.key, &key[..]);
            prop_assert_eq!(view.value, &value[..]);
            prop_assert_eq!(view.headers().collect::<Vec<_>>(), headers);
            let alone = Records::new(&batch[HEADER_BYTES..], 1).next().unwrap().unwrap();
            let mut again = Vec::new();
            alone.encode_alone(timestamp, &mut again);
            prop_assert_eq!(&again[..], batch);
            let own = RecordParts { own: Some(headers[0]), headers: &headers[1..], ..parts };
            let mut same = Vec::new();
            own.encode(timestamp, &mut same);
            prop_assert_eq!(own.encoded_len(), same.len());
            prop_assert_eq!(&same[..], batch);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = verify(&bytes);
            if let Ok(view) = RecordView::parse(&bytes) {
                let _ = view.headers().count();
            }
        }

        #[test]
        fn a_marker_is_a_batch_that_says_what_it_is(producer in any::<i64>(), epoch in any::<i16>(), commit in any::<bool>()) {
            let batch = marker(producer, epoch, commit, 5);
            prop_assert_eq!(verify(&batch), Ok(batch.len()));
            let head = BatchHead::parse(&batch).unwrap();
            prop_assert_eq!((head.len, head.producer_id, head.producer_epoch), (batch.len(), producer, epoch));
            prop_assert!(head.is(attribute::CONTROL) && head.is(attribute::TRANSACTIONAL));
            prop_assert_eq!((head.offsets, head.base_sequence, head.max_timestamp_ms), (1, -1, 5));
            prop_assert_eq!(parse_marker(&batch), Some(commit));
        }

        #[test]
        fn a_flipped_bit_is_noticed(at in 12usize..100, bit in 0u8..8) {
            let mut batch = Vec::new();
            RecordParts { key: b"key", value: &[5; 64], ..RecordParts::default() }.encode(1, &mut batch);
            let at = at.min(batch.len() - 1);
            // The leader epoch lies outside the checksum by design.
            prop_assume!(!(12..16).contains(&at));
            batch[at] ^= 1 << bit;
            prop_assert!(verify(&batch).is_err());
        }
    }
}
