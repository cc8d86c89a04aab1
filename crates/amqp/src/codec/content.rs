//! A method's content, where all of it lies at the front of the input.

use super::basic;
use super::frame::{self, BODY, HEADER, Split};
use super::properties::ContentHeader;

/// What lies behind a method with content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole<'a> {
    /// All of it: the header, the body as one piece, and what comes after.
    Here { header: ContentHeader<'a>, body: &'a [u8], rest: &'a [u8] },
    /// It looks well so far; this many bytes are needed to see more.
    More(usize),
    /// A body of several frames, other channels' frames between, or something malformed: to be
    /// taken frame by frame.
    InPieces,
}

/// Look for the content of a method of `channel` at the front of `input`, just behind its frame.
#[inline]
#[must_use]
pub fn whole(input: &[u8], channel: u16, frame_max: usize) -> Whole<'_> {
    let first = match frame::split(input, frame_max) {
        Ok(Split::Frame(first)) if first.kind == HEADER && first.channel == channel => first,
        // Frames of other channels may stand between, and only the head tells: do not wait for their end.
        Ok(Split::Need(more)) if starts_frame(input, HEADER, channel) => return Whole::More(more),
        _ => return Whole::InPieces,
    };
    let header = match ContentHeader::decode(first.payload) {
        Ok(header) if header.class == basic::CLASS => header,
        _ => return Whole::InPieces,
    };
    let rest = input.get(first.wire_len()..).unwrap_or_default();
    if header.body_len == 0 {
        return Whole::Here { header, body: &[], rest };
    }
    if header.body_len > frame_max.saturating_sub(frame::OVERHEAD) as u64 {
        return Whole::InPieces;
    }
    match frame::split(rest, frame_max) {
        Ok(Split::Frame(part))
            if part.kind == BODY && part.channel == channel && part.payload.len() as u64 == header.body_len =>
        {
            Whole::Here { header, body: part.payload, rest: rest.get(part.wire_len()..).unwrap_or_default() }
        }
        Ok(Split::Need(more)) if starts_frame(rest, BODY, channel) => Whole::More(first.wire_len() + more),
        _ => Whole::InPieces,
    }
}

/// Whether what is there of `input` may become a frame of this kind and channel.
fn starts_frame(input: &[u8], kind: u8, channel: u16) -> bool {
    let [c0, c1] = channel.to_be_bytes();
    input.iter().zip([kind, c0, c1]).all(|(is, expected)| *is == expected)
}
