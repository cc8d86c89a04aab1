//! A journal file: its name and its header (see docs/formats/journal.md). Integers are little-endian.
//!
//! ```text
//!    0  magic          "YAMJRNL1"
//!    8  version        u32    2
//!   12  flags          u32    bit 0: written in relaxed mode (no sync before confirming)
//!                             bit 1: a checkpoint lay beside the journal before anything was written here
//!   16  incarnation    u128   random, one per start of the process
//!   32  first_lsn      u64    position of the byte at offset 4096
//!   40  previous_end   u64    what lies before this file is valid up to here, and ends here
//!   48  segment_bytes  u64    positions in this file
//!   56  crc            u32    CRC-32C of the bytes before
//!   60  zero bytes
//!   64  writer         24 bytes of text: the version of yam that wrote it, for those who cannot read the rest
//!   88  zero bytes
//! 2048  the first 88 bytes once more
//! 2136  zero bytes
//! 4096  blocks
//! ```
//!
//! The header is written and synced before the first block. A file is known by its name,
//! `journal/<first_lsn, 16 hex digits>.jnl`; a header of another position is left over from an earlier
//! life of the file, which then holds nothing.

use crc_fast::crc32_iscsi;
use model::Lsn;

/// Bytes of a file before its first position.
pub const FILE_HEADER_BYTES: u64 = 4096;
/// Where the files lie.
pub const DIRECTORY: &str = "journal";

const MAGIC: [u8; 8] = *b"YAMJRNL1";
/// That of the whole data directory: it changes with any of its formats.
pub(crate) const VERSION: u32 = 2;
const FIELDS_BYTES: usize = 60;
const COPY_AT: usize = 2048;
const RELAXED: u32 = 1;
const CHECKPOINTED: u32 = 2;
const WRITER_AT: usize = 64;
const WRITER_BYTES: usize = 24;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub incarnation: u128,
    pub first_lsn: u64,
    pub previous_end: u64,
    pub segment_bytes: u64,
    pub relaxed: bool,
    pub checkpointed: bool,
}

/// What was found where a header should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Header(FileHeader),
    /// No header of this file: never used, or left over from an earlier life.
    Blank,
    /// Both copies are damaged. The incarnations that they may have named.
    Damaged([u128; 2]),
    /// Written by another version of the program, in this format; which one it was, where it says so.
    Version(u32, Option<String>),
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The seed of the checksums of an incarnation's frames: its low 64 bits.
pub(crate) fn seed(incarnation: u128) -> u64 {
    incarnation as u64
}

impl FileHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::with_capacity(FIELDS_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&VERSION.to_le_bytes());
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.relaxed, RELAXED) | flag(self.checkpointed, CHECKPOINTED);
        fields.extend_from_slice(&flags.to_le_bytes());
        fields.extend_from_slice(&self.incarnation.to_le_bytes());
        fields.extend_from_slice(&self.first_lsn.to_le_bytes());
        fields.extend_from_slice(&self.previous_end.to_le_bytes());
        fields.extend_from_slice(&self.segment_bytes.to_le_bytes());
        let crc = crc32_iscsi(&fields);
        fields.extend_from_slice(&crc.to_le_bytes());
        let mut header = vec![0; FILE_HEADER_BYTES as usize];
        let writer = env!("CARGO_PKG_VERSION").as_bytes();
        let writer = &writer[..writer.len().min(WRITER_BYTES)];
        for at in [0, COPY_AT] {
            header[at..at + FIELDS_BYTES].copy_from_slice(&fields);
            header[at + WRITER_AT..at + WRITER_AT + writer.len()].copy_from_slice(writer);
        }
        header
    }

    /// Read the header of the file that is named after `first_lsn`.
    pub fn decode(bytes: &[u8], first_lsn: u64) -> Found {
        let copies = [Self::decode_copy(bytes, 0), Self::decode_copy(bytes, COPY_AT)];
        let mut foreign = false;
        for copy in copies {
            match copy {
                Some(Found::Header(header)) if header.first_lsn != first_lsn => foreign = true,
                Some(found) => return found,
                None => {}
            }
        }
        let zero = |at: usize| bytes.get(at..at + FIELDS_BYTES).is_some_and(|copy| copy.iter().all(|&byte| byte == 0));
        if foreign || (zero(0) && zero(COPY_AT)) {
            return Found::Blank;
        }
        Found::Damaged([0, COPY_AT].map(|at| field(bytes, at + 16).map_or(0, u128::from_le_bytes)))
    }

    /// `None`: damaged or absent.
    fn decode_copy(bytes: &[u8], at: usize) -> Option<Found> {
        let copy: [u8; FIELDS_BYTES] = field(bytes, at)?;
        let u64_at = |at| field(&copy, at).map(u64::from_le_bytes);
        let u32_at = |at| field(&copy, at).map(u32::from_le_bytes);
        if !copy.starts_with(&MAGIC) || u32_at(56)? != crc32_iscsi(&copy[..56]) {
            return None;
        }
        if u32_at(8)? != VERSION {
            return Some(Found::Version(u32_at(8)?, writer(bytes, at)));
        }
        let header = FileHeader {
            incarnation: u128::from_le_bytes(field(&copy, 16)?),
            first_lsn: u64_at(32)?,
            previous_end: u64_at(40)?,
            segment_bytes: u64_at(48)?,
            relaxed: u32_at(12)? & RELAXED != 0,
            checkpointed: u32_at(12)? & CHECKPOINTED != 0,
        };
        let sane = header.segment_bytes.is_multiple_of(crate::frame::ALIGN_BYTES)
            && header.first_lsn.is_multiple_of(crate::frame::ALIGN_BYTES)
            && header.first_lsn.checked_add(header.segment_bytes).is_some()
            && header.previous_end <= header.first_lsn;
        sane.then_some(Found::Header(header))
    }
}

/// The version of yam that a header says it was written by.
fn writer(bytes: &[u8], at: usize) -> Option<String> {
    let text: [u8; WRITER_BYTES] = field(bytes, at + WRITER_AT)?;
    let text = std::str::from_utf8(&text).ok()?.trim_end_matches('\0');
    let is_version = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-".contains(&byte));
    is_version.then(|| text.to_owned())
}

/// The name of the file that begins at `first_lsn`.
pub(crate) fn name(first_lsn: u64) -> String {
    format!("{first_lsn:016x}.jnl")
}

/// The path of the file that begins at `first_lsn`.
pub(crate) fn path(first_lsn: u64) -> vfs::Path {
    format!("{DIRECTORY}/{}", name(first_lsn))
}

/// Which position a file of that name begins at; `None`: it is no journal file.
pub(crate) fn parse_name(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".jnl")?;
    let first_lsn = u64::from_str_radix(digits, 16).ok()?;
    (name(first_lsn) == file_name && first_lsn.is_multiple_of(crate::frame::ALIGN_BYTES)).then_some(first_lsn)
}

/// One file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFile {
    /// Position of its first byte.
    pub first_lsn: Lsn,
    /// Position after its last byte that belongs to the journal.
    pub end: Lsn,
}

impl JournalFile {
    /// Its path below the data directory.
    #[must_use]
    pub fn path(&self) -> vfs::Path {
        path(self.first_lsn.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: FileHeader = FileHeader {
        incarnation: 0x1234_5678_9abc_def0_1111_2222_3333_4444,
        first_lsn: 8192,
        previous_end: 5000,
        segment_bytes: 1 << 20,
        relaxed: true,
        checkpointed: true,
    };

    #[test]
    fn a_header_survives_any_flipped_bit() {
        let bytes = HEADER.encode();
        assert_eq!(FileHeader::decode(&bytes, 8192), Found::Header(HEADER));
        for bit in (0..FIELDS_BYTES * 8).chain(COPY_AT * 8..(COPY_AT + FIELDS_BYTES) * 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&flipped, 8192), Found::Header(HEADER), "bit {bit}");
        }
    }

    #[test]
    fn old_and_zero_headers_are_blank_and_damaged_ones_are_told() {
        assert_eq!(FileHeader::decode(&HEADER.encode(), 4096), Found::Blank);
        assert_eq!(FileHeader::decode(&[0; 4096], 8192), Found::Blank);
        let mut bytes = HEADER.encode();
        bytes[0] ^= 1;
        bytes[COPY_AT] ^= 1;
        assert_eq!(FileHeader::decode(&bytes, 8192), Found::Damaged([HEADER.incarnation; 2]));
        assert!(matches!(FileHeader::decode(&[], 8192), Found::Damaged(_)));
    }

    #[test]
    fn names_are_exact() {
        assert_eq!(name(0xa0000), "00000000000a0000.jnl");
        assert_eq!(parse_name("00000000000a0000.jnl"), Some(0xa0000));
        for other in ["a0000.jnl", "00000000000A0000.jnl", "+0000000000a0000.jnl", "00000000000a0001.jnl", "x", ".jnl"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
