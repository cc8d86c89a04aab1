//! A log's older records as a file of their own, written whole, never changed (docs/formats/storage.md).
//!
//! ```text
//!   0  magic "YAMSEG1\0" | log u32 | count u32 | first offset u64 | data length u64 | durable u64 | zero to 60 | crc u32
//!  64  record batches, one after another
//!      index: count x (position in the file u64, tag u64, length u32)   length 0: was settled when written
//!      crc u32 of the index
//! ```
//! All integers are little-endian, checksums CRC-32C. Each batch carries its own checksum. `durable`: how far the journal
//! surely reached when the file was written; 0: not said.

use bytes::Bytes;
use crc_fast::crc32_iscsi;
use model::Lsn;

use crate::frame::{Fields, LogId, Tag};
use crate::log::{Entry, Place};

pub(crate) const HEADER_BYTES: u64 = 64;
const ENTRY_BYTES: usize = 20;
const MAGIC: &[u8; 8] = b"YAMSEG1\0";

pub(crate) fn path(log: LogId, file: u64) -> String {
    format!("segments/{:08x}-{file:016x}.seg", log.0)
}

/// Log and file number of a file's name.
pub(crate) fn parse_name(name: &str) -> Option<(LogId, u64)> {
    let (log, file) = name.strip_suffix(".seg")?.split_once('-')?;
    let (log, file) = (LogId(u32::from_str_radix(log, 16).ok()?), u64::from_str_radix(file, 16).ok()?);
    path(log, file).ends_with(&format!("/{name}")).then_some((log, file))
}

pub(crate) fn header(log: LogId, first: u64, count: u32, data_len: u64, durable: Lsn) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_BYTES as usize);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&log.0.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&data_len.to_le_bytes());
    out.extend_from_slice(&durable.0.to_le_bytes());
    out.resize(60, 0);
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

/// What a header says.
pub(crate) struct Header {
    pub log: LogId,
    pub count: u32,
    pub data_len: u64,
    /// How far the journal surely reached when the file was written.
    pub durable: Lsn,
}

pub(crate) fn parse_header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..HEADER_BYTES as usize)?;
    if crc32_iscsi(&bytes[..60]) != u32::from_le_bytes(*bytes.last_chunk()?) {
        return None;
    }
    let mut fields = Fields(bytes);
    if &fields.array::<8>()? != MAGIC {
        return None;
    }
    let log = LogId(fields.u32()?);
    let count = fields.u32()?;
    let _first = fields.u64()?;
    Some(Header { log, count, data_len: fields.u64()?, durable: Lsn(fields.u64()?) })
}

pub(crate) fn index_len(count: u32) -> usize {
    count as usize * ENTRY_BYTES + 4
}

pub(crate) fn index(entries: &[Entry]) -> Bytes {
    let mut out = Vec::with_capacity(index_len(entries.len() as u32));
    for entry in entries {
        out.extend_from_slice(&entry.place.as_segment().unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&entry.tag.0.to_le_bytes());
        out.extend_from_slice(&entry.len.to_le_bytes());
    }
    let crc = crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

/// The entries of an index, or `None` where it is damaged.
pub(crate) fn parse_index(bytes: &[u8], count: u32) -> Option<Vec<Entry>> {
    if bytes.len() != index_len(count) {
        return None;
    }
    let (entries, crc) = bytes.split_last_chunk::<4>()?;
    if crc32_iscsi(entries) != u32::from_le_bytes(*crc) {
        return None;
    }
    let read = |bytes: &[u8]| {
        let mut fields = Fields(bytes);
        Some(Entry { place: Place::segment(fields.u64()?), tag: Tag(fields.u64()?), len: fields.u32()? })
    };
    entries.chunks_exact(ENTRY_BYTES).map(read).collect()
}
