//! What the store writes into the journal (drawn in docs/formats/storage.md). All integers are little-endian.
//!
//! ```text
//! 1 PUBLISH     tag u64 | n u32 | n x (log u32, offset u64) | record batch
//! 2 CARRY       as PUBLISH: the records exist already; they now lie here
//! 3 SETTLE      log u32 | n u32 | n x (first offset u64, count u32)
//! 4 CREATE LOG  log u32
//! 5 DELETE LOG  log u32
//! 6 CATALOG     bytes of the layer above
//! 7 DELIVERED   log u32 | offset u64    every offset below may have been handed out
//! 8 CREATE STREAM log u32               a log that is read by record offset (see `stream`)
//! ```
//! `tag`: bits 0-7 priority, bit 8 persistent, bits 9-19 bytes of the record batch that are not its value (2047: at least
//! so many), bits 20-63 expiry in ms since the Unix epoch (0: never).

pub const PUBLISH: u8 = 1;
pub const CARRY: u8 = 2;
pub const SETTLE: u8 = 3;
pub const CREATE_LOG: u8 = 4;
pub const DELETE_LOG: u8 = 5;
pub const CATALOG: u8 = 6;
pub const DELIVERED: u8 = 7;
pub const CREATE_STREAM: u8 = 8;

/// Names a log. That of a durable one is never reused; recovery passes over frames that name others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

const OVERHEAD_SHIFT: u32 = 9;
const OVERHEAD_BYTES_MAX: u64 = (1 << 11) - 1;
const EXPIRY_SHIFT: u32 = 20;
const EXPIRY_MS_MAX: u64 = (1 << 44) - 1;

/// What the store keeps of a record beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// `expires_ms`: wall clock at which the record expires; 0: never.
    #[must_use]
    pub fn new(persistent: bool, priority: u8, expires_ms: u64) -> Tag {
        Tag(u64::from(priority) | u64::from(persistent) << 8 | expires_ms.min(EXPIRY_MS_MAX) << EXPIRY_SHIFT)
    }

    /// The same of a record batch with so many bytes beside its value.
    pub(crate) fn with_overhead(self, bytes: usize) -> Tag {
        Tag(self.0 & !(OVERHEAD_BYTES_MAX << OVERHEAD_SHIFT) | (bytes as u64).min(OVERHEAD_BYTES_MAX) << OVERHEAD_SHIFT)
    }

    pub(crate) fn overhead(self) -> u32 {
        (self.0 >> OVERHEAD_SHIFT & OVERHEAD_BYTES_MAX) as u32
    }

    /// The tag of a stream's entry: it tells the offset of the batch's first record.
    pub(crate) fn of_stream(base: u64) -> Tag {
        Tag(0x100 | base << 16)
    }

    /// The offset of the first record of a stream's entry.
    pub(crate) fn base(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn made_persistent(self) -> Tag {
        Tag(self.0 | 0x100)
    }

    #[must_use]
    pub fn persistent(self) -> bool {
        self.0 & 0x100 != 0
    }

    #[must_use]
    pub fn priority(self) -> u8 {
        self.0 as u8
    }

    #[must_use]
    pub fn expires_ms(self) -> Option<u64> {
        Some(self.0 >> EXPIRY_SHIFT).filter(|&at| at != 0)
    }
}

/// Length of a PUBLISH or CARRY payload before its batch.
pub(crate) fn publish_head_len(targets: usize) -> usize {
    12 + 12 * targets
}

pub(crate) fn put_publish_head(out: &mut Vec<u8>, tag: Tag, targets: impl ExactSizeIterator<Item = (LogId, u64)>) {
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&(targets.len() as u32).to_le_bytes());
    for (log, offset) in targets {
        out.extend_from_slice(&log.0.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
}

/// A reader of little-endian fields that fails at the end instead of panicking.
pub(crate) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }
}

/// A PUBLISH or CARRY frame as read back.
pub(crate) struct PublishFrame<'a> {
    pub tag: Tag,
    targets: &'a [u8],
    pub batch: &'a [u8],
}

impl<'a> PublishFrame<'a> {
    pub fn parse(payload: &'a [u8]) -> Option<PublishFrame<'a>> {
        let mut fields = Fields(payload);
        let tag = Tag(fields.u64()?);
        let count = fields.u32()? as usize;
        let targets = fields.take(count.checked_mul(12)?)?;
        Some(PublishFrame { tag, targets, batch: fields.0 })
    }

    pub fn targets(&self) -> impl Iterator<Item = (LogId, u64)> + use<'a> {
        self.targets.chunks_exact(12).filter_map(|bytes| {
            let mut fields = Fields(bytes);
            Some((LogId(fields.u32()?), fields.u64()?))
        })
    }
}
