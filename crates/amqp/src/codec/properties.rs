//! The content header of class basic: what is known of a message beside its body.
//!
//! ```text
//!  0  class     u16   60
//!  2  weight    u16   0
//!  4  body size u64
//! 12  flags     u16   bit 15 is the first property; bit 0 would announce another word of flags
//! 14  list            the values of the properties whose flag is set, in order
//! ```
//! Source: AMQP 0-9-1 specification, section 4.2.6.1.

use super::field::RawTable;
use super::wire::{Argument, Reader, WireError};

/// Flag and list bytes of a message without properties.
pub const NONE: [u8; 2] = [0, 0];
/// `delivery-mode` of a persistent message.
pub const PERSISTENT: u8 = 2;
/// The flags of some properties, as bit numbers.
const HEADERS: u32 = 13;
const DELIVERY_MODE: u32 = 12;
const PRIORITY: u32 = 11;
const REPLY_TO: u32 = 9;
const EXPIRATION: u32 = 8;
const TIMESTAMP: u32 = 6;
/// Bits that no property of class basic has.
const UNKNOWN_FLAGS: u16 = 0b11;

/// The head of a content header frame, before the property flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    pub class: u16,
    pub body_len: u64,
    /// Flags and list, undecoded.
    pub properties: &'a [u8],
}

impl<'a> ContentHeader<'a> {
    /// Read the payload of a content header frame.
    ///
    /// # Errors
    /// [`WireError::Short`] where it ends before the flags, [`WireError::Flags`] where the weight is not 0.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<ContentHeader<'a>, WireError> {
        let mut reader = Reader::new(payload);
        let class = reader.u16()?;
        if reader.u16()? != 0 {
            return Err(WireError::Flags);
        }
        let body_len = reader.u64()?;
        let properties = reader.rest();
        if properties.len() < NONE.len() {
            return Err(WireError::Short);
        }
        Ok(ContentHeader { class, body_len, properties })
    }
}

macro_rules! properties {
    ($($(#[$doc:meta])* $bit:literal $name:ident: $kind:ty),* $(,)?) => {
        /// The properties of a message; `None` where the flag is not set.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Properties<'a> {
            $($(#[$doc])* pub $name: Option<$kind>,)*
        }

        impl<'a> Properties<'a> {
            /// Read flags and list to the end. The header table is not looked into.
            ///
            /// # Errors
            /// [`WireError`] where the list is malformed, or too short or too long for its flags.
            pub fn decode(raw: &'a [u8]) -> Result<Properties<'a>, WireError> {
                let mut reader = Reader::new(raw);
                let flags = reader.u16()?;
                if flags & UNKNOWN_FLAGS != 0 {
                    return Err(WireError::Flags);
                }
                let mut properties = Properties::default();
                if flags != 0 {
                    $(if flags & 1 << $bit != 0 {
                        properties.$name = Some(<$kind as Argument>::take(&mut reader)?);
                    })*
                }
                if reader.is_empty() { Ok(properties) } else { Err(WireError::Trailing) }
            }

            /// Append flags and list.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let flags = 0u16 $(| u16::from(self.$name.is_some()) << $bit)*;
                out.extend_from_slice(&flags.to_be_bytes());
                $(if let Some(value) = &self.$name {
                    Argument::put(value, out);
                })*
            }
        }
    };
}

properties! {
    15 content_type: &'a str,
    14 content_encoding: &'a str,
    13 headers: RawTable<'a>,
    /// 2: persistent; anything else: not.
    12 delivery_mode: u8,
    11 priority: u8,
    10 correlation_id: &'a str,
    9 reply_to: &'a str,
    /// Milliseconds as decimal digits.
    8 expiration: &'a str,
    7 message_id: &'a str,
    /// Seconds since the Unix epoch.
    6 timestamp: u64,
    5 kind: &'a str,
    4 user_id: &'a str,
    3 app_id: &'a str,
    2 cluster_id: &'a str,
}

impl<'a> Properties<'a> {
    /// No properties but `delivery-mode` 2.
    #[must_use]
    pub fn persistent() -> Properties<'a> {
        Properties { delivery_mode: Some(PERSISTENT), ..Properties::default() }
    }
}

/// The properties that a broker looks at, read without judging the texts: whatever bytes a client
/// puts into a correlation id, say, it gets back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline<'a> {
    pub headers: Option<RawTable<'a>>,
    /// Where in flags and list the entries of `headers` begin.
    pub headers_at: usize,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub reply_to: Option<&'a [u8]>,
    pub expiration: Option<&'a [u8]>,
    pub user_id: Option<&'a [u8]>,
}

impl<'a> Outline<'a> {
    /// Read flags and list to the end. The header table is not looked into.
    ///
    /// # Errors
    /// [`WireError`] where the list is malformed, or too short or too long for its flags.
    #[inline]
    pub fn read(raw: &'a [u8]) -> Result<Outline<'a>, WireError> {
        let mut reader = Reader::new(raw);
        let mut flags = reader.u16()?;
        if flags & UNKNOWN_FLAGS != 0 {
            return Err(WireError::Flags);
        }
        let mut outline = Outline::default();
        while flags != 0 {
            let bit = 15 - flags.leading_zeros();
            flags &= !(1 << bit);
            match bit {
                HEADERS => {
                    outline.headers_at = raw.len() - reader.rest().len() + 4;
                    outline.headers = Some(RawTable(reader.long()?));
                }
                DELIVERY_MODE => outline.delivery_mode = Some(reader.u8()?),
                PRIORITY => outline.priority = Some(reader.u8()?),
                REPLY_TO => outline.reply_to = Some(reader.short_bytes()?),
                EXPIRATION => outline.expiration = Some(reader.short_bytes()?),
                TIMESTAMP => {
                    reader.u64()?;
                }
                4 => outline.user_id = Some(reader.short_bytes()?),
                _ => {
                    reader.short_bytes()?;
                }
            }
        }
        if reader.is_empty() { Ok(outline) } else { Err(WireError::Trailing) }
    }
}

/// What is to be different in [`rewrite`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes<'a> {
    pub headers: Option<RawTable<'a>>,
    pub reply_to: Option<&'a str>,
    pub without_expiration: bool,
}

/// Flags and list with some properties changed; all else as it came.
///
/// # Errors
/// [`WireError`] where the list is malformed.
pub fn rewrite(raw: &[u8], changes: &Changes<'_>) -> Result<Vec<u8>, WireError> {
    let mut out = Vec::with_capacity(raw.len() + 64 + changes.headers.map_or(0, |table| table.0.len()));
    rewrite_into(raw, changes, &mut out)?;
    Ok(out)
}

/// As [`rewrite`], appended to `out`.
///
/// # Errors
/// As [`rewrite`]; part of it may have been appended.
pub fn rewrite_into(raw: &[u8], changes: &Changes<'_>, out: &mut Vec<u8>) -> Result<(), WireError> {
    let mut reader = Reader::new(raw);
    let flags = reader.u16()?;
    let added = u16::from(changes.headers.is_some()) << HEADERS | u16::from(changes.reply_to.is_some()) << REPLY_TO;
    let removed = u16::from(changes.without_expiration) << EXPIRATION;
    out.extend_from_slice(&((flags | added) & !removed).to_be_bytes());
    for bit in (2..16).rev() {
        let value = reader.rest();
        if flags & 1 << bit != 0 {
            match bit {
                HEADERS => drop(reader.long()?),
                DELIVERY_MODE | PRIORITY => drop(reader.u8()?),
                TIMESTAMP => drop(reader.u64()?),
                _ => drop(reader.short_bytes()?),
            }
        }
        match (bit, changes.headers, changes.reply_to) {
            (HEADERS, Some(headers), _) => headers.put(out),
            (REPLY_TO, _, Some(reply_to)) => reply_to.put(out),
            (EXPIRATION, ..) if changes.without_expiration => {}
            _ => out.extend_from_slice(value.get(..value.len() - reader.rest().len()).unwrap_or_default()),
        }
    }
    if reader.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
}

/// The properties by the names that the specification gives them, but for the headers: texts as they are, numbers in
/// decimal. Ends early where the list is malformed.
#[must_use]
pub fn texts(raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    const NAMES: [&str; 14] = [
        "content-type",
        "content-encoding",
        "headers",
        "delivery-mode",
        "priority",
        "correlation-id",
        "reply-to",
        "expiration",
        "message-id",
        "timestamp",
        "type",
        "user-id",
        "app-id",
        "cluster-id",
    ];
    let mut reader = Reader::new(raw);
    let flags = reader.u16().unwrap_or(0);
    let mut texts = Vec::new();
    for (bit, name) in (2..16).rev().zip(NAMES).filter(|(bit, _)| flags & 1 << bit != 0) {
        let text = match bit {
            HEADERS => reader.long().map(|_| None),
            DELIVERY_MODE | PRIORITY => reader.u8().map(|number| Some(number.to_string().into_bytes())),
            TIMESTAMP => reader.u64().map(|number| Some(number.to_string().into_bytes())),
            _ => reader.short_bytes().map(|text| Some(text.to_vec())),
        };
        match text {
            Ok(text) => texts.extend(text.map(|text| (name, text))),
            Err(_) => break,
        }
    }
    texts
}
