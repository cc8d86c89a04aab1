//! The cursor over borrowed bytes, and how the elementary types of AMQP lie on the wire.
//!
//! Integers are big-endian. A short string is one length octet and at most 255 bytes; a long string
//! is four length octets and bytes; consecutive bits share octets, lowest bit first.
//! Source: AMQP 0-9-1 specification, section 4.2.

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the data ends too early")]
    Short,
    #[error("there is more data than the format has room for")]
    Trailing,
    #[error("malformed UTF-8 in shortstr")]
    Utf8,
    #[error("unknown field type {0}")]
    FieldType(u8),
    #[error("tables are nested too deeply")]
    Deep,
    #[error("unknown property flags")]
    Flags,
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

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A short string as bytes.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// A short string.
    #[inline]
    pub fn short(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.short_bytes()?).map_err(|_| WireError::Utf8)
    }

    /// A long string.
    #[inline]
    pub fn long(&mut self) -> Result<&'a [u8], WireError> {
        let len = self.u32()?;
        self.take(len as usize)
    }
}

/// Append a short string. What goes beyond 255 bytes is cut off at a character's border.
pub fn put_short(out: &mut Vec<u8>, text: &str) {
    let mut len = text.len().min(255);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    put_short_bytes(out, text.as_bytes().get(..len).unwrap_or_default());
}

/// Append a short string of bytes. What goes beyond 255 bytes is cut off.
pub fn put_short_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..255).unwrap_or(bytes);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// Append a long string.
pub fn put_long(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A type that methods consist of.
pub trait Argument<'a>: Sized {
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError>;
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! integer_argument {
    ($($kind:ident)*) => {$(
        impl<'a> Argument<'a> for $kind {
            #[inline]
            fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
                reader.$kind()
            }
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
integer_argument!(u8 u16 u32 u64);

/// Short string.
impl<'a> Argument<'a> for &'a str {
    #[inline]
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.short()
    }
    fn put(&self, out: &mut Vec<u8>) {
        put_short(out, self);
    }
}

/// Long string.
impl<'a> Argument<'a> for &'a [u8] {
    #[inline]
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.long()
    }
    fn put(&self, out: &mut Vec<u8>) {
        put_long(out, self);
    }
}

/// The arguments of one method: what stands between its two numbers and the frame's end.
pub trait MethodArguments<'a>: Sized {
    const CLASS: u16;
    const METHOD: u16;
    /// `queue.declare`, for transcripts and logs.
    const NAME: &'static str;

    fn decode(reader: &mut Reader<'a>) -> Result<Self, WireError>;
    fn encode(&self, out: &mut Vec<u8>);
}

/// Define a method: fields, then the bits that share octets, then more fields. Every method of
/// AMQP 0-9-1 has this shape.
macro_rules! method {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? = $wire_name:literal ($class:literal, $id:literal)
        { $($head:ident: $head_type:ty),* $(,)? }
        $([ $($bit:ident),* $(,)? ])?
        $({ $($tail:ident: $tail_type:ty),* $(,)? })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct $name $(<$life>)? {
            $(pub $head: $head_type,)*
            $($(pub $bit: bool,)*)?
            $($(pub $tail: $tail_type,)*)?
        }

        impl<'a> $crate::codec::wire::MethodArguments<'a> for $name $(<$life>)? {
            const CLASS: u16 = $class;
            const METHOD: u16 = $id;
            const NAME: &'static str = $wire_name;

            #[inline]
            #[allow(unused_variables, unused_mut, unused_assignments)]
            fn decode(reader: &mut $crate::codec::wire::Reader<'a>) -> Result<Self, $crate::codec::wire::WireError> {
                $(let $head = <$head_type as $crate::codec::wire::Argument>::take(reader)?;)*
                $(
                    let mut octet = reader.u8()?;
                    $(let $bit = octet & 1 != 0; octet >>= 1;)*
                )?
                $($(let $tail = <$tail_type as $crate::codec::wire::Argument>::take(reader)?;)*)?
                Ok($name { $($head,)* $($($bit,)*)? $($($tail,)*)? })
            }

            #[allow(unused_variables, unused_mut, unused_assignments)]
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::codec::wire::Argument::put(&self.$head, out);)*
                $(
                    let mut octet = 0u8;
                    let mut mask = 1u8;
                    $(if self.$bit { octet |= mask; } mask = mask.wrapping_shl(1);)*
                    out.push(octet);
                )?
                $($($crate::codec::wire::Argument::put(&self.$tail, out);)*)?
            }
        }
    };
}
pub(crate) use method;
