//! The records inside a batch, whatever it is compressed with.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use model::record::{self, BatchHead, HEADER_BYTES, RecordError, Records, attribute};

/// A batch never holds more than this, decompressed, in bytes: what is larger is not looked into.
pub(super) const DECOMPRESSED_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// No byte of Snappy makes more than so many: three are a copy of 64.
const SNAPPY_RATIO_MAX: usize = 22;

/// The records of a batch, decompressed.
///
/// # Errors
/// [`RecordError::Malformed`] where they cannot be.
pub(crate) fn decompress(batch: &[u8]) -> Result<Cow<'_, [u8]>, RecordError> {
    let head = BatchHead::parse(batch)?;
    let packed = batch.get(HEADER_BYTES..head.len).ok_or(RecordError::Short)?;
    if head.attributes & attribute::COMPRESSION == 0 {
        return Ok(Cow::Borrowed(packed));
    }
    let mut out = Vec::new();
    let read = unpack(packed, head.attributes).and_then(|reader| reader.take(DECOMPRESSED_BYTES_MAX + 1).read_to_end(&mut out));
    match read {
        Ok(len) if len as u64 <= DECOMPRESSED_BYTES_MAX => Ok(Cow::Owned(out)),
        _ => Err(RecordError::Malformed),
    }
}

/// What was packed with the codec of these attributes.
pub(super) fn unpack(packed: &[u8], attributes: i16) -> io::Result<Box<dyn Read + '_>> {
    Ok(match attributes & attribute::COMPRESSION {
        0 => Box::new(packed),
        1 => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        2 => Box::new(Snappy::new(packed)?),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        4 => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// What the Java library's frames begin with.
const MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Snappy comes raw, or in the frames of the Java library: a magic of 8 bytes, two versions of 4, then blocks with their
/// lengths before them.
struct Snappy<'a> {
    /// Blocks that are still to be unpacked.
    rest: &'a [u8],
    block: io::Cursor<Vec<u8>>,
}

impl<'a> Snappy<'a> {
    fn new(packed: &'a [u8]) -> io::Result<Snappy<'a>> {
        if packed.starts_with(MAGIC) {
            return Ok(Snappy { rest: packed.get(16..).ok_or(io::ErrorKind::UnexpectedEof)?, block: io::Cursor::default() });
        }
        Ok(Snappy { rest: &[], block: io::Cursor::new(unpack_block(packed)?) })
    }
}

fn unpack_block(packed: &[u8]) -> io::Result<Vec<u8>> {
    let len = snap::raw::decompress_len(packed)?;
    if len as u64 > DECOMPRESSED_BYTES_MAX || len > packed.len() * SNAPPY_RATIO_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(snap::raw::Decoder::new().decompress_vec(packed)?)
}

impl Read for Snappy<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(out)?;
            if read > 0 || self.rest.is_empty() || out.is_empty() {
                return Ok(read);
            }
            let (len, behind) = self.rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
            let block = behind.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(io::ErrorKind::UnexpectedEof)?;
            (self.block, self.rest) = (io::Cursor::new(unpack_block(block.0)?), block.1);
        }
    }
}

/// How batches are to be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    /// As the attributes of a batch have it.
    pub codec: i16,
    /// Where the codec has such; `None`: its own default.
    pub level: Option<i32>,
}

impl Packing {
    /// That of a batch with these attributes.
    pub fn of(attributes: i16) -> Packing {
        Packing { codec: attributes & attribute::COMPRESSION, level: None }
    }
}

/// A batch packed in another way.
///
/// # Errors
/// [`RecordError::Malformed`] where its records cannot be read, or are not what its head says.
pub(crate) fn repack(batch: &[u8], head: &BatchHead, packing: Packing) -> Result<Vec<u8>, RecordError> {
    let records = decompress(batch)?;
    let mut walk = Records::new(&records, head.records);
    if walk.by_ref().any(|record| record.is_err()) || !walk.is_at_end() {
        return Err(RecordError::Malformed);
    }
    let packed = compress(&records, packing).ok_or(RecordError::Malformed)?;
    let mut own = *batch.first_chunk::<HEADER_BYTES>().ok_or(RecordError::Short)?;
    own[21..23].copy_from_slice(&(head.attributes & !attribute::COMPRESSION | packing.codec).to_be_bytes());
    Ok(record::rebuild(&own, head.records.unsigned_abs(), &packed))
}

/// Records packed; `None` where that cannot be done.
pub(crate) fn compress(records: &[u8], packing: Packing) -> Option<Vec<u8>> {
    match packing.codec {
        0 => Some(records.to_vec()),
        1 => {
            let level = packing.level.and_then(|level| u32::try_from(level).ok()).map(flate2::Compression::new);
            let mut out = flate2::write::GzEncoder::new(Vec::new(), level.unwrap_or_default());
            out.write_all(records).ok()?;
            out.finish().ok()
        }
        2 => {
            let block = snap::raw::Encoder::new().compress_vec(records).ok()?;
            let head = [MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1], &(block.len() as u32).to_be_bytes()].concat();
            Some([head, block].concat())
        }
        3 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(records).ok()?;
            out.finish().ok()
        }
        4 => zstd::stream::encode_all(records, packing.level.unwrap_or(0)).ok(),
        _ => None,
    }
}

/// The first record at or after `from` whose time is at least `wanted_ms`: its offset and its time; and what was unpacked
/// to see that, in bytes.
pub(crate) fn first_at(batch: &[u8], base: u64, from: u64, wanted_ms: i64) -> (Option<(u64, i64)>, usize) {
    let Ok(head) = BatchHead::parse(batch) else { return (None, 0) };
    // What cannot be unpacked may have cost the most.
    let Ok(bytes) = decompress(batch) else { return (None, DECOMPRESSED_BYTES_MAX as usize) };
    let time = |delta: i64| {
        if head.is(attribute::APPEND_TIME) { head.max_timestamp_ms } else { head.base_timestamp_ms.saturating_add(delta) }
    };
    let mut records = Records::new(&bytes, head.records);
    let found = records.find_map(|record| {
        let record = record.ok()?;
        let offset = base.checked_add_signed(record.offset_delta)?;
        (offset >= from && time(record.timestamp_delta) >= wanted_ms).then(|| (offset, time(record.timestamp_delta)))
    });
    (found, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_undone() {
        let records: Vec<u8> = (0..20_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for codec in 0..5 {
            let packed = compress(&records, Packing::of(codec)).unwrap();
            let mut batch = Vec::new();
            model::RecordParts::default().encode(0, &mut batch);
            batch[22] = codec as u8;
            let batch = model::record::rebuild(&batch, 1, &packed);
            assert_eq!(decompress(&batch).unwrap()[..], records[..], "codec {codec}");
        }
        let raw = snap::raw::Encoder::new().compress_vec(&records).unwrap();
        let mut unpacked = Vec::new();
        unpack(&raw, 2).unwrap().read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, records);
    }

    #[test]
    fn snappy_unpacks_to_no_more_than_it_can() {
        // A copy of 64 bytes takes three.
        let most = snap::raw::Encoder::new().compress_vec(&vec![7; 1 << 20]).unwrap();
        assert!(unpack(&most, 2).is_ok());
        // It says 64 MiB.
        assert!(unpack(&[0x80, 0x80, 0x80, 0x20, 0, 7], 2).is_err());
    }
}
