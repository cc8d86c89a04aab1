//! Typed values of declare arguments and message headers.

use serde::{Deserialize, Serialize};

/// A typed value. Protocols translate their own encodings to and from it without loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Present without a value.
    Void,
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    /// `value / 10^scale`.
    Decimal {
        scale: u8,
        value: u32,
    },
    Text(String),
    Bytes(Vec<u8>),
    /// Text that is not UTF-8, kept byte for byte.
    RawText(Vec<u8>),
    /// Seconds since the Unix epoch.
    Timestamp(u64),
    List(Vec<Value>),
    Table(Table),
}

impl Value {
    /// The value as an integer, whichever integer type it has.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        Some(match *self {
            Value::I8(v) => v.into(),
            Value::U8(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I64(v) => v,
            _ => return None,
        })
    }

    /// The value as text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a truth value.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// Equality in which all integer types are one class, and so are both float types.
    #[must_use]
    pub fn same(&self, other: &Value) -> bool {
        match (self.as_integer(), other.as_integer()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => match (self, other) {
                (Value::F32(a), Value::F64(b)) | (Value::F64(b), Value::F32(a)) => f64::from(*a) == *b,
                _ => self == other,
            },
            _ => false,
        }
    }
}

/// Named values in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Table(pub Vec<(String, Value)>);

impl Table {
    /// The first value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Headers of a message in flight, decoded only when somebody asks (a headers exchange, say).
pub trait Headers {
    /// The value of the header `name`, if the message has one.
    fn get(&self, name: &str) -> Option<Value>;
}

/// A message without headers.
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn get(&self, _name: &str) -> Option<Value> {
        None
    }
}

impl Headers for Table {
    fn get(&self, name: &str) -> Option<Value> {
        Table::get(self, name).cloned()
    }
}
