//! The records inside a batch, whatever it is compressed with.

use std::borrow::Cow;
use std::io::{Read, Write};

use model::record::{BatchHead, HEADER_BYTES, RecordError, Records, attribute};

/// A batch never holds more than this, decompressed, in bytes: what is larger is not looked into.
const DECOMPRESSED_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The records of a batch, decompressed.
///
/// # Errors
/// [`RecordError::Malformed`] where they cannot be.
pub(crate) fn decompress(batch: &[u8]) -> Result<Cow<'_, [u8]>, RecordError> {
    let head = BatchHead::parse(batch)?;
    let packed = batch.get(HEADER_BYTES..head.len).ok_or(RecordError::Short)?;
    let read = |reader: &mut dyn Read| {
        let mut out = Vec::new();
        reader.take(DECOMPRESSED_BYTES_MAX).read_to_end(&mut out).map_err(|_| RecordError::Malformed)?;
        Ok(Cow::Owned(out))
    };
    match head.attributes & attribute::COMPRESSION {
        0 => Ok(Cow::Borrowed(packed)),
        1 => read(&mut flate2::read::MultiGzDecoder::new(packed)),
        2 => snappy(packed).map(Cow::Owned),
        3 => read(&mut lz4_flex::frame::FrameDecoder::new(packed)),
        4 => read(&mut zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| RecordError::Malformed)?),
        _ => Err(RecordError::Malformed),
    }
}

/// What the Java library's frames begin with.
const MAGIC: &[u8] = b"\x82SNAPPY\0";

/// Snappy comes raw, or in the frames of the Java library: a magic of 8 bytes, two versions of 4, then blocks with their
/// lengths before them.
fn snappy(packed: &[u8]) -> Result<Vec<u8>, RecordError> {
    let block = |packed: &[u8]| {
        let len = snap::raw::decompress_len(packed).map_err(|_| RecordError::Malformed)?;
        if len as u64 > DECOMPRESSED_BYTES_MAX {
            return Err(RecordError::Malformed);
        }
        snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| RecordError::Malformed)
    };
    if !packed.starts_with(MAGIC) {
        return block(packed);
    }
    let mut rest = packed.get(16..).ok_or(RecordError::Short)?;
    let mut out = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(RecordError::Short)?;
        out.extend_from_slice(&block(bytes)?);
        if out.len() as u64 > DECOMPRESSED_BYTES_MAX {
            return Err(RecordError::Malformed);
        }
        rest = behind;
    }
    Ok(out)
}

/// Records packed as a batch with these attributes has them; `None` where that cannot be done.
pub(crate) fn compress(records: &[u8], attributes: i16) -> Option<Vec<u8>> {
    match attributes & attribute::COMPRESSION {
        0 => Some(records.to_vec()),
        1 => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
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
        4 => zstd::stream::encode_all(records, 0).ok(),
        _ => None,
    }
}

/// The first record at or after `from` whose time is at least `wanted_ms`: its offset and its time.
pub(crate) fn first_at(batch: &[u8], base: u64, from: u64, wanted_ms: i64) -> Option<(u64, i64)> {
    let head = BatchHead::parse(batch).ok()?;
    let bytes = decompress(batch).ok()?;
    let time = |delta: i64| {
        if head.is(attribute::APPEND_TIME) { head.max_timestamp_ms } else { head.base_timestamp_ms.saturating_add(delta) }
    };
    let mut records = Records::new(&bytes, head.records);
    records.find_map(|record| {
        let record = record.ok()?;
        let offset = base.checked_add_signed(record.offset_delta)?;
        (offset >= from && time(record.timestamp_delta) >= wanted_ms).then(|| (offset, time(record.timestamp_delta)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_is_undone() {
        let records: Vec<u8> = (0..20_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for codec in 0..5 {
            let packed = compress(&records, codec).unwrap();
            let mut batch = Vec::new();
            model::RecordParts::default().encode(0, &mut batch);
            batch[22] = codec as u8;
            let batch = model::record::rebuild(&batch, 1, &packed);
            assert_eq!(decompress(&batch).unwrap()[..], records[..], "codec {codec}");
        }
        let raw = snap::raw::Encoder::new().compress_vec(&records).unwrap();
        assert_eq!(snappy(&raw).unwrap(), records);
    }
}
