//! Field tables and arrays, with the types that RabbitMQ really uses.
//!
//! ```text
//! table  u32 length, then entries: short string name, u8 type, value
//! array  u32 length, then entries: u8 type, value
//! t bool   b i8   B u8   s i16   u u16   I i32   i u32   l L i64   f f32   d f64
//! D decimal (u8 scale, u32)   S long string   x bytes   T timestamp (u64)   A array   F table   V void
//! ```
//! `s` is a 16-bit integer, not a short string, and `L` is signed: the specification's text differs.
//! Source: amqp-0-9-1-errata, section 3; RabbitMQ's rabbit_binary_parser.

use model::limits::VALUE_DEPTH_MAX;
use model::{Headers, Table, Value};

use super::wire::{Argument, Reader, WireError, put_long, put_short, put_short_bytes};

/// A table as it came: the entries' bytes, without the length before them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RawTable<'a>(pub &'a [u8]);

/// Decoded, for transcripts.
impl std::fmt::Debug for RawTable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.decode() {
            Ok(table) => f.debug_map().entries(table.0.iter().map(|(name, value)| (name, value))).finish(),
            Err(error) => write!(f, "RawTable({error})"),
        }
    }
}

/// One value as it came: its type octet, and its bytes (of arrays, tables and strings without the length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawValue<'a> {
    pub kind: u8,
    pub bytes: &'a [u8],
}

impl<'a> RawTable<'a> {
    /// The entries in order, nested values undecoded.
    pub fn entries(self) -> impl Iterator<Item = Result<(&'a [u8], RawValue<'a>), WireError>> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let entry = reader.short_bytes().and_then(|name| Ok((name, RawValue::take(&mut reader)?)));
            if entry.is_err() {
                reader = Reader::new(&[]);
            }
            Some(entry)
        })
    }

    /// The first value of that name, undecoded.
    #[must_use]
    pub fn find(self, name: &str) -> Option<RawValue<'a>> {
        self.entries().map_while(Result::ok).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    /// Walk through everything without keeping it.
    ///
    /// # Errors
    /// [`WireError`] where a reader would stumble.
    pub fn check(self) -> Result<(), WireError> {
        self.check_below(1)
    }

    fn check_below(self, depth: usize) -> Result<(), WireError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(WireError::Deep);
        }
        self.entries().try_for_each(|entry| entry?.1.check_below(depth + 1))
    }

    /// Decode everything.
    ///
    /// # Errors
    /// [`WireError`] for malformed entries and for names that are not UTF-8.
    pub fn decode(self) -> Result<Table, WireError> {
        self.decode_below(1)
    }

    fn decode_below(self, depth: usize) -> Result<Table, WireError> {
        if depth > VALUE_DEPTH_MAX {
            return Err(WireError::Deep);
        }
        let mut table = Table::default();
        for entry in self.entries() {
            let (name, value) = entry?;
            let name = std::str::from_utf8(name).map_err(|_| WireError::Utf8)?;
            table.0.push((name.to_owned(), value.decode_below(depth + 1)?));
        }
        Ok(table)
    }
}

impl<'a> RawValue<'a> {
    #[inline]
    fn take(reader: &mut Reader<'a>) -> Result<RawValue<'a>, WireError> {
        let kind = reader.u8()?;
        let bytes = match kind {
            b'S' | b'x' | b'A' | b'F' => reader.long()?,
            b't' | b'b' | b'B' => reader.take(1)?,
            b's' | b'u' => reader.take(2)?,
            b'I' | b'i' | b'f' => reader.take(4)?,
            b'D' => reader.take(5)?,
            b'l' | b'L' | b'd' | b'T' => reader.take(8)?,
            b'V' => &[],
            other => return Err(WireError::FieldType(other)),
        };
        Ok(RawValue { kind, bytes })
    }

    fn items(self) -> impl Iterator<Item = Result<RawValue<'a>, WireError>> {
        let mut reader = Reader::new(self.bytes);
        std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let item = RawValue::take(&mut reader);
            if item.is_err() {
                reader = Reader::new(&[]);
            }
            Some(item)
        })
    }

    /// The value as a table, undecoded.
    #[must_use]
    pub fn as_table(self) -> Option<RawTable<'a>> {
        (self.kind == b'F').then_some(RawTable(self.bytes))
    }

    /// The items of an array, undecoded.
    #[must_use]
    pub fn as_array(self) -> Option<impl Iterator<Item = Result<RawValue<'a>, WireError>>> {
        (self.kind == b'A').then(|| self.items())
    }

    /// Whether it is the boolean `true`.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.kind == b't' && self.bytes != [0]
    }

    fn check_below(self, depth: usize) -> Result<(), WireError> {
        match self.kind {
            b'F' => RawTable(self.bytes).check_below(depth),
            b'A' if depth > VALUE_DEPTH_MAX => Err(WireError::Deep),
            b'A' => self.items().try_for_each(|item| item?.check_below(depth + 1)),
            _ => Ok(()),
        }
    }

    /// Decode this value and what is in it.
    ///
    /// # Errors
    /// [`WireError`] where it is malformed.
    pub fn decode(self) -> Result<Value, WireError> {
        self.decode_below(1)
    }

    fn decode_below(self, depth: usize) -> Result<Value, WireError> {
        let mut reader = Reader::new(self.bytes);
        Ok(match self.kind {
            b'S' => match std::str::from_utf8(self.bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::RawText(self.bytes.to_vec()),
            },
            b'x' => Value::Bytes(self.bytes.to_vec()),
            b'F' => Value::Table(RawTable(self.bytes).decode_below(depth)?),
            b'A' if depth > VALUE_DEPTH_MAX => return Err(WireError::Deep),
            b'A' => Value::List(self.items().map(|item| item?.decode_below(depth + 1)).collect::<Result<_, _>>()?),
            b't' => Value::Bool(reader.u8()? != 0),
            b'b' => Value::I8(reader.u8()?.cast_signed()),
            b'B' => Value::U8(reader.u8()?),
            b's' => Value::I16(reader.u16()?.cast_signed()),
            b'u' => Value::U16(reader.u16()?),
            b'I' => Value::I32(reader.u32()?.cast_signed()),
            b'i' => Value::U32(reader.u32()?),
            b'f' => Value::F32(f32::from_bits(reader.u32()?)),
            b'D' => Value::Decimal { scale: reader.u8()?, value: reader.u32()? },
            b'l' | b'L' => Value::I64(reader.u64()?.cast_signed()),
            b'd' => Value::F64(f64::from_bits(reader.u64()?)),
            b'T' => Value::Timestamp(reader.u64()?),
            b'V' => Value::Void,
            other => return Err(WireError::FieldType(other)),
        })
    }
}

impl Headers for RawTable<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        self.find(name)?.decode().ok()
    }
}

impl<'a> Argument<'a> for RawTable<'a> {
    #[inline]
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.long().map(RawTable)
    }
    fn put(&self, out: &mut Vec<u8>) {
        put_long(out, self.0);
    }
}

/// Append the entries of a table, without the length before them (see [`RawTable`]).
pub fn put_entries(out: &mut Vec<u8>, table: &Table) {
    for (name, value) in &table.0 {
        put_short(out, name);
        put_value(out, value);
    }
}

/// Append one entry as it came.
pub fn put_raw_entry(out: &mut Vec<u8>, name: &[u8], value: RawValue<'_>) {
    put_short_bytes(out, name);
    out.push(value.kind);
    if matches!(value.kind, b'S' | b'x' | b'A' | b'F') {
        put_long(out, value.bytes);
    } else {
        out.extend_from_slice(value.bytes);
    }
}

/// A table's entries as bytes, to be borrowed as a [`RawTable`].
#[must_use]
pub fn encode_entries(table: &Table) -> Vec<u8> {
    let mut out = Vec::new();
    put_entries(&mut out, table);
    out
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    let mut fixed = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(bytes);
    };
    match value {
        Value::Void => fixed(b'V', &[]),
        Value::Bool(v) => fixed(b't', &[u8::from(*v)]),
        Value::I8(v) => fixed(b'b', &v.to_be_bytes()),
        Value::U8(v) => fixed(b'B', &v.to_be_bytes()),
        Value::I16(v) => fixed(b's', &v.to_be_bytes()),
        Value::U16(v) => fixed(b'u', &v.to_be_bytes()),
        Value::I32(v) => fixed(b'I', &v.to_be_bytes()),
        Value::U32(v) => fixed(b'i', &v.to_be_bytes()),
        Value::I64(v) => fixed(b'l', &v.to_be_bytes()),
        Value::F32(v) => fixed(b'f', &v.to_be_bytes()),
        Value::F64(v) => fixed(b'd', &v.to_be_bytes()),
        Value::Decimal { scale, value } => {
            fixed(b'D', &[*scale]);
            out.extend_from_slice(&value.to_be_bytes());
        }
        Value::Timestamp(v) => fixed(b'T', &v.to_be_bytes()),
        Value::Text(v) => sized(out, b'S', |out| out.extend_from_slice(v.as_bytes())),
        Value::RawText(v) => sized(out, b'S', |out| out.extend_from_slice(v)),
        Value::Bytes(v) => sized(out, b'x', |out| out.extend_from_slice(v)),
        Value::List(v) => sized(out, b'A', |out| v.iter().for_each(|item| put_value(out, item))),
        Value::Table(v) => sized(out, b'F', |out| put_entries(out, v)),
    }
}

/// Append a type octet, and what `write` appends with its length before it.
fn sized(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = out.len().saturating_sub(at + 4) as u32;
    if let Some(slot) = out.get_mut(at..at + 4) {
        slot.copy_from_slice(&len.to_be_bytes());
    }
}
