//! Content routing: which header values a binding asks for.

use model::{Headers, Table, Value};

/// A headers binding, ready to match. Semantics are RabbitMQ's: `x-match` is `all` (default), `any`,
/// `all-with-x` or `any-with-x`; without `-with-x` arguments that begin with `x-` are ignored; a void
/// value asks for presence only; other values are equal as [`equal`] says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderMatch {
    all: bool,
    wanted: Vec<(String, Value)>,
}

impl HeaderMatch {
    pub fn new(arguments: &Table) -> Result<HeaderMatch, String> {
        let mode = match arguments.get("x-match") {
            None => "all",
            Some(Value::Text(mode)) => mode,
            Some(other) => {
                return Err(format!("Invalid x-match field type {}; expected longstr", crate::declare::type_name(other)));
            }
        };
        let (all, with_x) = match mode {
            "all" => (true, false),
            "any" => (false, false),
            "all-with-x" => (true, true),
            "any-with-x" => (false, true),
            other => {
                return Err(format!("Invalid x-match field value {other:?}; expected all, any, all-with-x, or any-with-x"));
            }
        };
        let counts = |name: &str| name != "x-match" && (with_x || !name.starts_with("x-"));
        let wanted = arguments.0.iter().filter(|(name, _)| counts(name)).cloned().collect();
        Ok(HeaderMatch { all, wanted })
    }

    pub fn matches(&self, headers: &dyn Headers) -> bool {
        let holds = |(name, value): &(String, Value)| {
            headers.get(name).is_some_and(|found| *value == Value::Void || equal(value, &found))
        };
        if self.all { self.wanted.iter().all(holds) } else { self.wanted.iter().any(holds) }
    }
}

/// Whether a header has the value that is asked for. As RabbitMQ 3.10.8 compares them: numbers and time stamps by what they
/// are worth, text and bytes by what they hold, all else by type and value.
fn equal(wanted: &Value, found: &Value) -> bool {
    match (Number::of(wanted), Number::of(found)) {
        (Some(wanted), Some(found)) => wanted == found,
        (None, None) => match (bytes(wanted), bytes(found)) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => wanted == found,
        },
        _ => false,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) | Value::RawText(bytes) => Some(bytes),
        _ => None,
    }
}

enum Number {
    Whole(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        Some(match *value {
            Value::F32(value) => Number::Float(value.into()),
            Value::F64(value) => Number::Float(value),
            Value::Timestamp(seconds) => Number::Whole(seconds.into()),
            _ => Number::Whole(value.as_integer()?.into()),
        })
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Whole(a), Number::Whole(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a == b,
            // Whole numbers from the wire have 64 bits: none is near the ends of 128, to which huge floats are cut.
            (Number::Whole(whole), Number::Float(float)) | (Number::Float(float), Number::Whole(whole)) => {
                float.fract() == 0.0 && *float as i128 == *whole
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, Value)]) -> Table {
        Table(entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
    }

    fn matches(arguments: &[(&str, Value)], headers: &[(&str, Value)]) -> bool {
        HeaderMatch::new(&table(arguments)).unwrap().matches(&table(headers))
    }

    #[test]
    fn x_match_says_how_many_must_hold() {
        let text = |text: &str| Value::Text(text.into());
        let message = [("format", text("pdf")), ("pages", Value::I32(3)), ("x-origin", text("here"))];
        assert!(matches(&[("format", text("pdf")), ("pages", Value::I64(3))], &message));
        assert!(!matches(&[("format", text("pdf")), ("pages", Value::I64(4))], &message));
        assert!(matches(&[("x-match", text("any")), ("format", text("zip")), ("pages", Value::U8(3))], &message));
        assert!(!matches(&[("x-match", text("any")), ("pages", text("3"))], &message));
        assert!(matches(&[("x-origin", text("elsewhere")), ("format", text("pdf"))], &message));
        assert!(!matches(&[("x-match", text("all-with-x")), ("x-origin", text("elsewhere"))], &message));
        assert!(matches(&[("pages", Value::Void)], &message));
        assert!(matches(&[], &message));
        assert!(!matches(&[("x-match", text("any"))], &message));
        assert!(HeaderMatch::new(&table(&[("x-match", text("some"))])).is_err());
    }

    /// They were compared by type: 5 was not 5.0, and text was not the same bytes.
    #[test]
    fn numbers_are_compared_by_worth_and_text_by_what_it_holds() {
        let (text, list) = (|text: &str| Value::Text(text.into()), |value| Value::List(vec![value]));
        let alike = [
            vec![Value::I32(5), Value::U8(5), Value::F32(5.0), Value::F64(5.0), Value::Timestamp(5)],
            vec![text("5"), Value::Bytes(b"5".to_vec()), Value::RawText(b"5".to_vec())],
            vec![Value::Bool(true)],
            vec![Value::I32(1), Value::F64(1.0)],
            vec![Value::F64(5.5), Value::F32(5.5)],
            vec![Value::Decimal { scale: 0, value: 5 }],
            vec![list(Value::I32(1))],
            vec![list(Value::F64(1.0))],
            vec![Value::I64(i64::MAX)],
            vec![Value::F64(i64::MAX as f64)],
            vec![Value::Void],
        ];
        for (a, group) in alike.iter().enumerate() {
            for (b, others) in alike.iter().enumerate() {
                for (wanted, found) in group.iter().flat_map(|wanted| others.iter().map(move |found| (wanted, found))) {
                    assert_eq!(equal(wanted, found), a == b, "{wanted:?} {found:?}");
                }
            }
        }
        assert!(
            !equal(&Value::F64(f64::NAN), &Value::F64(f64::NAN)) && !equal(&Value::F64(f64::INFINITY), &Value::I64(i64::MAX))
        );
    }
}
