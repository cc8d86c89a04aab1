//! Cutting the byte stream into frames, and the headers of requests and responses.
//!
//! ```text
//! request                                      response
//! 0  size            i32  of what follows      0  size            i32
//! 4  api key         i16                       4  correlation id  i32
//! 6  api version     i16                       8  tags            if flexible, but never for ApiVersions
//! 8  correlation id  i32                          body
//! 12 client id       nullable string, i16
//!    tags            if flexible
//!    body
//! ```
//! The client id is a plain string even where everything else is compact.
//! Source: Apache Kafka protocol guide, "Protocol Messages"; KIP-482; KIP-511 for ApiVersions.

use super::api::ApiKey;
use super::wire::{self, DecodeError, Reader, Version, Wire};

/// Bytes of the size in front of a frame.
pub const SIZE_BYTES: usize = 4;
/// How a request's header begins, whatever its version.
const PLAIN: Version = Version { number: 0, flexible: false };

/// The front of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole frame, without its size.
    Frame(&'a [u8]),
    /// A frame has begun, or nothing has; so many bytes are needed before asking again makes sense.
    Need(usize),
}

/// The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("negative frame size {0}")]
    Negative(i32),
    #[error("a frame of {size} bytes, above the limit of {max}")]
    TooLarge { size: usize, max: usize },
}

/// Look at the front of `input`. The size is judged as soon as it is there, so that nobody waits for a frame that would be
/// refused.
///
/// # Errors
/// [`FrameError`] where the size is negative or above `frame_max` bytes.
#[inline]
pub fn split(input: &[u8], frame_max: usize) -> Result<Split<'_>, FrameError> {
    let Some((size, rest)) = input.split_first_chunk::<SIZE_BYTES>() else {
        return Ok(Split::Need(SIZE_BYTES));
    };
    let size = i32::from_be_bytes(*size);
    let size = usize::try_from(size).map_err(|_| FrameError::Negative(size))?;
    if size > frame_max {
        return Err(FrameError::TooLarge { size, max: frame_max });
    }
    Ok(rest.get(..size).map_or(Split::Need(SIZE_BYTES + size), Split::Frame))
}

/// Append what `write` appends, behind its size.
pub fn put_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    put_size(out, 0);
    write(out);
    let size = (out.len() - begin - SIZE_BYTES) as i32;
    if let Some(place) = out.get_mut(begin..begin + SIZE_BYTES) {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

/// Append the size of a frame whose parts are put together elsewhere.
pub fn put_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(&(size as i32).to_be_bytes());
}

/// What stands before a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The number of the API, which may be none of [`ApiKey`].
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Read it from the front of a frame; the body follows in the reader. Of an API that is not known only the fixed part
    /// and the client id can be read.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are malformed.
    pub fn decode(reader: &mut Reader<'a>) -> Result<RequestHeader<'a>, DecodeError> {
        let header = RequestHeader {
            api_key: i16::read(reader, PLAIN)?,
            api_version: i16::read(reader, PLAIN)?,
            correlation_id: i32::read(reader, PLAIN)?,
            client_id: Option::read(reader, PLAIN)?,
        };
        reader.skip_tags(header.version())?;
        Ok(header)
    }

    /// Append it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.api_key.put(out, PLAIN);
        self.api_version.put(out, PLAIN);
        self.correlation_id.put(out, PLAIN);
        self.client_id.put(out, PLAIN);
        wire::put_no_tags(out, self.version());
    }

    fn version(&self) -> Version {
        let flexible = ApiKey::of(self.api_key).is_some_and(|key| key.is_flexible(self.api_version));
        Version { number: 0, flexible }
    }
}

/// Append a response's header.
pub fn put_response_header(out: &mut Vec<u8>, key: ApiKey, version: i16, correlation_id: i32) {
    correlation_id.put(out, PLAIN);
    wire::put_no_tags(out, response_version(key, version));
}

/// Read a response's header, of which only the correlation id is of use; the body follows in the reader.
///
/// # Errors
/// [`DecodeError`] where the bytes are malformed.
pub fn read_response_header(reader: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = i32::read(reader, PLAIN)?;
    reader.skip_tags(response_version(key, version))?;
    Ok(correlation_id)
}

/// A client must be able to read the answer to ApiVersions before it knows what the broker speaks.
fn response_version(key: ApiKey, version: i16) -> Version {
    Version { number: 0, flexible: key != ApiKey::ApiVersions && key.is_flexible(version) }
}
