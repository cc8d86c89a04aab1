//! A frame, the unit of the journal (see docs/formats/journal.md). All integers are little-endian.
//!
//! ```text
//!  0  len       u32   bytes of the whole frame
//!  4  crc       u32   CRC-32C of (lsn u64, low 64 bits of the incarnation u64, frame[8..len])
//!  8  kind      u8    0 BLOCK | 1..=254 of the layer above | 255 PAD
//!  9  flags     u8    bit 0 MORE: the next frame belongs to the same atomic group
//!                     bit 1 NEXT_FILE (PAD only): nothing more in this file, go on in the next
//! 10  reserved  u16   0
//! 12  payload
//! ```
//!
//! A group commit (block) starts and ends at multiples of 4096:
//!
//! ```text
//! BLOCK: seq u64 | block_len u32 (bytes of the block, this frame and the padding included)
//! frames
//! PAD: zero bytes up to the end of the block; fewer than 12 bytes are left as plain zero bytes
//! ```
//!
//! The checksum holds position and incarnation, so bytes that an earlier life of a recycled file left
//! behind never parse.

use crc_fast::{CrcAlgorithm, Digest};
use model::planted::{self, Bug};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 12;
/// Blocks start and end at multiples of this.
pub const ALIGN_BYTES: u64 = 4096;

pub(crate) const KIND_BLOCK: u8 = 0;
pub(crate) const KIND_PAD: u8 = 255;
pub(crate) const FLAG_MORE: u8 = 1;
pub(crate) const FLAG_NEXT_FILE: u8 = 2;
/// The next file is on disk already: if it is not found, it was lost.
pub(crate) const FLAG_NEXT_ON_DISK: u8 = 4;

/// Bytes of a BLOCK frame.
pub const BLOCK_FRAME_BYTES: usize = FRAME_HEADER_BYTES + 12;

/// The position at or after `lsn` where a block may start.
pub(crate) fn align_up(lsn: u64) -> u64 {
    lsn.next_multiple_of(ALIGN_BYTES)
}

/// The checksum of a frame at `lsn` whose bytes from its kind on are `rest`.
pub(crate) fn checksum(lsn: u64, seed: u64, rest: &[u8]) -> u32 {
    let mut prefix = [0; 16];
    prefix[..8].copy_from_slice(&lsn.to_le_bytes());
    prefix[8..].copy_from_slice(&seed.to_le_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&prefix);
    digest.update(rest);
    digest.finalize() as u32
}

/// Fill in the header of `frame`, whose payload is complete.
pub(crate) fn seal(frame: &mut [u8], lsn: u64, seed: u64, kind: u8, flags: u8) {
    let len = frame.len() as u32;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[8..12].copy_from_slice(&[kind, flags, 0, 0]);
    let crc = checksum(lsn, seed, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// The BLOCK frame of a block of `block_len` bytes.
pub(crate) fn block_frame(lsn: u64, seed: u64, seq: u64, block_len: u32) -> [u8; BLOCK_FRAME_BYTES] {
    let mut frame = [0; BLOCK_FRAME_BYTES];
    frame[12..20].copy_from_slice(&seq.to_le_bytes());
    frame[20..24].copy_from_slice(&block_len.to_le_bytes());
    seal(&mut frame, lsn, seed, KIND_BLOCK, 0);
    frame
}

/// A frame whose checksum holds.
pub(crate) struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub payload: &'a [u8],
}

/// The length that a frame's header claims; `None` where it can be none.
pub(crate) fn claimed_len(header: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*header.first_chunk()?) as usize;
    (len >= FRAME_HEADER_BYTES).then_some(len)
}

/// Check a whole frame.
pub(crate) fn parse(frame: &[u8], lsn: u64, seed: u64) -> Option<Frame<'_>> {
    let (header, payload) = frame.split_first_chunk::<FRAME_HEADER_BYTES>()?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind, flags, r0, r1] = *header;
    let intact = u32::from_le_bytes([l0, l1, l2, l3]) as usize == frame.len()
        && [r0, r1] == [0, 0]
        && (u32::from_le_bytes([c0, c1, c2, c3]) == checksum(lsn, seed, frame.get(8..)?)
            || (planted::is(Bug::TornTailAccepted) && kind != KIND_BLOCK));
    intact.then_some(Frame { kind, flags, payload })
}

/// What a BLOCK frame says: sequence number and length.
pub(crate) fn parse_block(frame: &[u8], lsn: u64, seed: u64) -> Option<(u64, u64)> {
    let frame = parse(frame.get(..BLOCK_FRAME_BYTES)?, lsn, seed)?;
    if frame.kind != KIND_BLOCK {
        return None;
    }
    let (seq, rest) = frame.payload.split_first_chunk()?;
    let len = u64::from(u32::from_le_bytes(*rest.first_chunk()?));
    (len != 0 && len.is_multiple_of(ALIGN_BYTES)).then_some((u64::from_le_bytes(*seq), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        let mut whole = Vec::new();
        whole.extend_from_slice(&7u64.to_le_bytes());
        whole.extend_from_slice(&9u64.to_le_bytes());
        whole.extend_from_slice(b"123456789");
        assert_eq!(checksum(7, 9, b"123456789"), crc_fast::crc32_iscsi(&whole));
    }

    #[test]
    fn a_frame_parses_only_at_its_position_and_in_its_incarnation() {
        let frame = block_frame(8192, 77, 5, 4096);
        assert_eq!(parse_block(&frame, 8192, 77), Some((5, 4096)));
        assert_eq!(parse_block(&frame, 4096, 77), None);
        assert_eq!(parse_block(&frame, 8192, 78), None);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_block(&flipped, 8192, 77), None, "bit {bit}");
        }
    }
}
