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

    /// The value for those who know no types: text and bytes as they are, numbers in decimal, lists and tables as JSON.
    #[must_use]
    pub fn to_plain(&self) -> Vec<u8> {
        match self {
            Value::Text(text) => text.clone().into_bytes(),
            Value::Bytes(bytes) | Value::RawText(bytes) => bytes.clone(),
            Value::Void => Vec::new(),
            Value::F32(value) => value.to_string().into_bytes(),
            Value::F64(value) => value.to_string().into_bytes(),
            Value::Decimal { scale, value } => decimal(*scale, *value).into_bytes(),
            other => other.to_json().to_string().into_bytes(),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Void => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::F32(value) => (*value).into(),
            Value::F64(value) => (*value).into(),
            Value::Decimal { scale, value } => decimal(*scale, *value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Bytes(bytes) | Value::RawText(bytes) => String::from_utf8_lossy(bytes).into(),
            Value::Timestamp(seconds) => (*seconds).into(),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            Value::Table(table) => table.0.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
            integer => integer.as_integer().into(),
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

/// `value / 10^scale` in digits.
fn decimal(scale: u8, value: u32) -> String {
    let digits = format!("{value:0>width$}", width = usize::from(scale) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_plain_text() {
        let table = Table(vec![
            ("n".into(), Value::I64(-5)),
            ("l".into(), Value::List(vec![Value::Bool(true), Value::Void, Value::Text("x".into()), Value::F64(0.5)])),
        ]);
        let cases = [
            (Value::Text("héllo".into()), "héllo"),
            (Value::U8(7), "7"),
            (Value::I64(i64::MIN), "-9223372036854775808"),
            (Value::Bool(false), "false"),
            (Value::Void, ""),
            (Value::F64(1.5), "1.5"),
            (Value::Decimal { scale: 2, value: 5 }, "0.05"),
            (Value::Decimal { scale: 0, value: 50 }, "50"),
            (Value::Timestamp(9), "9"),
            (Value::Table(table), r#"{"l":[true,null,"x",0.5],"n":-5}"#),
        ];
        for (value, plain) in cases {
            assert_eq!(String::from_utf8(value.to_plain()).unwrap(), plain, "{value:?}");
        }
        assert_eq!(Value::RawText(vec![0xff]).to_plain(), [0xff]);
    }
}
