//! Content routing: which header values a binding asks for.

use model::{Headers, Table, Value};

/// A headers binding, ready to match. Semantics are RabbitMQ's: `x-match` is `all` (default), `any`,
/// `all-with-x` or `any-with-x`; without `-with-x` arguments that begin with `x-` are ignored; a void
/// value asks for presence only; types must agree, all integer types being one.
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
        let holds =
            |(name, value): &(String, Value)| headers.get(name).is_some_and(|found| *value == Value::Void || value.same(&found));
        if self.all { self.wanted.iter().all(holds) } else { self.wanted.iter().any(holds) }
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
}
