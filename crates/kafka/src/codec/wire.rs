//! The cursor over borrowed bytes, and how the elementary types of Kafka lie on the wire.
//!
//! Integers are big-endian. Strings, bytes and arrays stand behind their length:
//!
//! | | string | bytes, records | array |
//! |---|---|---|---|
//! | plain | i16, null -1 | i32, null -1 | i32, null -1 |
//! | flexible version | uvarint of length + 1, null 0 | the same | the same |
//!
//! A flexible version also ends every structure with its tagged fields: uvarint count, then for each uvarint tag, uvarint
//! length, value. What has an unknown tag is skipped.
//! Source: Apache Kafka protocol guide, "Protocol Primitive Types"; KIP-482.

use std::ops::RangeBounds;

/// Longest string, in bytes; longer ones are refused when read, and cut when written.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// What an array may reserve before its first element is read; beyond that it grows with what was really there.
const RESERVE_BYTES_MAX: usize = 64 * 1024;

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the data ends too early")]
    Short,
    #[error("a length is negative, too large or not that of its value")]
    Length,
    #[error("a varint is longer than its type")]
    Varint,
    #[error("null where a value must stand")]
    Null,
    #[error("malformed UTF-8 in a string")]
    Utf8,
    #[error("version {0} is not known")]
    Version(i16),
}

/// A topic's id, as its sixteen bytes.
pub type Uuid = [u8; 16];

/// The version a message is read or written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: i16,
    /// Compact lengths and tagged fields.
    pub flexible: bool,
}

impl Version {
    #[inline]
    pub(crate) fn within(self, versions: &impl RangeBounds<i16>) -> bool {
        versions.contains(&self.number)
    }
}

/// A cursor over bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An unsigned varint: seven bits in each byte, the lowest first, of at most 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        let [byte] = self.array()?;
        if byte > 0x0f {
            return Err(DecodeError::Varint);
        }
        Ok(value | u32::from(byte) << 28)
    }

    /// The length of an array or of bytes; nothing for null.
    #[inline]
    pub fn length(&mut self, at: Version) -> Result<Option<usize>, DecodeError> {
        if at.flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|len| len as usize));
        }
        length(i32::read(self, at)?)
    }

    /// The length of a string; nothing for null.
    #[inline]
    fn string_length(&mut self, at: Version) -> Result<Option<usize>, DecodeError> {
        let len = if at.flexible { self.length(at)? } else { length(i16::read(self, at)?.into())? };
        if len.is_some_and(|len| len > STRING_BYTES_MAX) {
            return Err(DecodeError::Length);
        }
        Ok(len)
    }

    /// The length of an array whose elements take at least `smallest` bytes each; nothing for null. A length that the
    /// remaining bytes cannot hold is refused.
    #[inline]
    pub fn array_length(&mut self, at: Version, smallest: usize) -> Result<Option<usize>, DecodeError> {
        let len = self.length(at)?;
        if len.is_some_and(|len| len > self.rest.len() / smallest.max(1)) {
            return Err(DecodeError::Short);
        }
        Ok(len)
    }

    /// A tagged field: its tag, and a reader over its value.
    pub fn tagged(&mut self) -> Result<(u32, Reader<'a>), DecodeError> {
        let tag = self.uvarint()?;
        let len = self.uvarint()?;
        Ok((tag, Reader::new(self.take(len as usize)?)))
    }

    /// The value that fills all that is left.
    pub(crate) fn whole<T: Wire<'a>>(mut self, at: Version) -> Result<T, DecodeError> {
        let value = T::read(&mut self, at)?;
        if self.rest.is_empty() { Ok(value) } else { Err(DecodeError::Length) }
    }

    /// Step over the tagged fields of a structure that has none of interest.
    pub fn skip_tags(&mut self, at: Version) -> Result<(), DecodeError> {
        if at.flexible {
            // Each takes at least two bytes, so the count needs no bound.
            for _ in 0..self.uvarint()? {
                self.tagged()?;
            }
        }
        Ok(())
    }
}

fn length(len: i32) -> Result<Option<usize>, DecodeError> {
    match usize::try_from(len) {
        Ok(len) => Ok(Some(len)),
        Err(_) if len == -1 => Ok(None),
        Err(_) => Err(DecodeError::Length),
    }
}

/// Append an unsigned varint.
pub fn put_uvarint(out: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Append the length of an array or of bytes; nothing for null.
pub fn put_length(out: &mut Vec<u8>, at: Version, len: Option<usize>) {
    if at.flexible {
        put_uvarint(out, len.map_or(0, |len| len as u32 + 1));
    } else {
        out.extend_from_slice(&len.map_or(-1, |len| len as i32).to_be_bytes());
    }
}

/// Append no tagged fields.
pub fn put_no_tags(out: &mut Vec<u8>, at: Version) {
    if at.flexible {
        out.push(0);
    }
}

/// Append a tagged field.
pub(crate) fn put_tagged<'a>(out: &mut Vec<u8>, at: Version, tag: u32, value: &impl Wire<'a>) {
    put_uvarint(out, tag);
    let begin = out.len();
    value.put(out, at);
    // The length comes first and is known last. Tagged fields are rare and short, so moving them is cheap.
    let mut len = Vec::with_capacity(5);
    put_uvarint(&mut len, (out.len() - begin) as u32);
    out.splice(begin..begin, len);
}

/// A type that messages consist of.
pub trait Wire<'a>: Sized {
    /// The least bytes a value takes.
    fn smallest(at: Version) -> usize;
    fn read(reader: &mut Reader<'a>, at: Version) -> Result<Self, DecodeError>;
    fn put(&self, out: &mut Vec<u8>, at: Version);
}

/// A type that may be null.
pub trait Nullable<'a>: Wire<'a> + Default {
    /// Bytes that null takes.
    fn null_len(at: Version) -> usize;
    fn read_nullable(reader: &mut Reader<'a>, at: Version) -> Result<Option<Self>, DecodeError>;
    fn put_nullable(value: Option<&Self>, out: &mut Vec<u8>, at: Version);
}

/// Read a value that may be null in some versions only.
pub(crate) fn read_option<'a, T: Nullable<'a>>(
    reader: &mut Reader<'a>,
    at: Version,
    nullable: bool,
) -> Result<Option<T>, DecodeError> {
    if nullable { T::read_nullable(reader, at) } else { T::read(reader, at).map(Some) }
}

/// Append a value that may be null in some versions only; in the others null becomes the empty value.
pub(crate) fn put_option<'a, T: Nullable<'a>>(value: Option<&T>, out: &mut Vec<u8>, at: Version, nullable: bool) {
    match value {
        None if !nullable => T::default().put(out, at),
        _ => T::put_nullable(value, out, at),
    }
}

impl<'a, T: Nullable<'a>> Wire<'a> for Option<T> {
    #[inline]
    fn smallest(at: Version) -> usize {
        T::null_len(at)
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, at: Version) -> Result<Self, DecodeError> {
        T::read_nullable(reader, at)
    }
    fn put(&self, out: &mut Vec<u8>, at: Version) {
        T::put_nullable(self.as_ref(), out, at);
    }
}

macro_rules! integers {
    ($($kind:ident)*) => {$(
        impl<'a> Wire<'a> for $kind {
            #[inline]
            fn smallest(_: Version) -> usize {
                size_of::<$kind>()
            }
            #[inline]
            fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
                reader.array().map($kind::from_be_bytes)
            }
            #[inline]
            fn put(&self, out: &mut Vec<u8>, _: Version) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
integers!(i8 i16 u16 i32 i64);

impl<'a> Wire<'a> for bool {
    #[inline]
    fn smallest(_: Version) -> usize {
        1
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
        reader.array().map(|[byte]| byte != 0)
    }
    #[inline]
    fn put(&self, out: &mut Vec<u8>, _: Version) {
        out.push((*self).into());
    }
}

impl<'a> Wire<'a> for Uuid {
    #[inline]
    fn smallest(_: Version) -> usize {
        16
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Version) -> Result<Self, DecodeError> {
        reader.array()
    }
    #[inline]
    fn put(&self, out: &mut Vec<u8>, _: Version) {
        out.extend_from_slice(self);
    }
}

/// Strings, bytes and arrays are read and written through their nullable form.
macro_rules! through_nullable {
    () => {
        #[inline]
        fn smallest(at: Version) -> usize {
            Self::null_len(at)
        }
        #[inline]
        fn read(reader: &mut Reader<'a>, at: Version) -> Result<Self, DecodeError> {
            Self::read_nullable(reader, at)?.ok_or(DecodeError::Null)
        }
        #[inline]
        fn put(&self, out: &mut Vec<u8>, at: Version) {
            Self::put_nullable(Some(self), out, at);
        }
    };
}

impl<'a> Wire<'a> for &'a str {
    through_nullable!();
}

impl<'a> Nullable<'a> for &'a str {
    #[inline]
    fn null_len(at: Version) -> usize {
        if at.flexible { 1 } else { 2 }
    }
    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, at: Version) -> Result<Option<Self>, DecodeError> {
        let Some(len) = reader.string_length(at)? else { return Ok(None) };
        std::str::from_utf8(reader.take(len)?).map(Some).map_err(|_| DecodeError::Utf8)
    }
    /// What goes beyond [`STRING_BYTES_MAX`] is cut off at a character's border.
    fn put_nullable(value: Option<&Self>, out: &mut Vec<u8>, at: Version) {
        let value = value.map(|text| text.get(..text.floor_char_boundary(STRING_BYTES_MAX)).unwrap_or_default().as_bytes());
        if at.flexible {
            put_length(out, at, value.map(<[u8]>::len));
        } else {
            out.extend_from_slice(&value.map_or(-1, |text| text.len() as i16).to_be_bytes());
        }
        out.extend_from_slice(value.unwrap_or_default());
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    through_nullable!();
}

impl<'a> Nullable<'a> for &'a [u8] {
    #[inline]
    fn null_len(at: Version) -> usize {
        if at.flexible { 1 } else { 4 }
    }
    #[inline]
    fn read_nullable(reader: &mut Reader<'a>, at: Version) -> Result<Option<Self>, DecodeError> {
        reader.length(at)?.map(|len| reader.take(len)).transpose()
    }
    fn put_nullable(value: Option<&Self>, out: &mut Vec<u8>, at: Version) {
        put_length(out, at, value.map(|bytes| bytes.len()));
        out.extend_from_slice(value.copied().unwrap_or_default());
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    through_nullable!();
}

impl<'a, T: Wire<'a>> Nullable<'a> for Vec<T> {
    #[inline]
    fn null_len(at: Version) -> usize {
        if at.flexible { 1 } else { 4 }
    }
    fn read_nullable(reader: &mut Reader<'a>, at: Version) -> Result<Option<Self>, DecodeError> {
        let Some(len) = reader.array_length(at, T::smallest(at))? else { return Ok(None) };
        let mut elements = Vec::with_capacity(len.min(RESERVE_BYTES_MAX / size_of::<T>().max(1)));
        for _ in 0..len {
            elements.push(T::read(reader, at)?);
        }
        Ok(Some(elements))
    }
    fn put_nullable(value: Option<&Self>, out: &mut Vec<u8>, at: Version) {
        put_length(out, at, value.map(Vec::len));
        for element in value.into_iter().flatten() {
            element.put(out, at);
        }
    }
}
