//! What may be declared, and when two declarations are the same.

use model::{Failure, Subject, Table, Value};

/// The type of a value in the words of RabbitMQ's error texts.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Void => "void",
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal { .. } => "decimal",
        Value::Text(_) | Value::RawText(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::List(_) => "array",
        Value::Table(_) => "table",
    }
}

fn words(value: Option<&Value>) -> String {
    let Some(value) = value else { return "none".into() };
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        other => other.as_integer().map_or_else(|| format!("{other:?}"), |value| value.to_string()),
    };
    format!("the value '{text}' of type '{}'", type_name(value))
}

/// What a declaration speaks of, for its errors.
pub(crate) struct Declared<'a> {
    pub subject: Subject,
    pub name: &'a str,
    pub host: &'a str,
}

impl Declared<'_> {
    /// # Errors
    /// Where a property that was received is not the one that stands.
    pub fn same_flag(&self, argument: &str, received: bool, current: bool) -> Result<(), Failure> {
        self.same_word(argument, &received.to_string(), &current.to_string())
    }

    /// # Errors
    /// As `same_flag`.
    pub fn same_word(&self, argument: &str, received: &str, current: &str) -> Result<(), Failure> {
        if received == current {
            return Ok(());
        }
        Err(self.inequivalent(argument, format!("'{received}'"), format!("'{current}'")))
    }

    /// # Errors
    /// Where one of the arguments `known` differs. Unknown ones are not compared.
    pub fn same_arguments(&self, known: &[&str], received: &Table, current: &Table) -> Result<(), Failure> {
        for name in known {
            let (a, b) = (received.get(name), current.get(name));
            let same = match (a, b) {
                (Some(a), Some(b)) => a.same(b),
                (None, None) => true,
                // The default type, spelled out or not.
                (Some(Value::Text(kind)), None) | (None, Some(Value::Text(kind))) => *name == "x-queue-type" && kind == "classic",
                _ => false,
            };
            if !same {
                return Err(self.inequivalent(name, words(a), words(b)));
            }
        }
        Ok(())
    }

    fn inequivalent(&self, argument: &str, received: String, current: String) -> Failure {
        Failure::Inequivalent {
            subject: self.subject,
            name: self.name.into(),
            host: self.host.into(),
            argument: argument.into(),
            received: received.into(),
            current: current.into(),
        }
    }

    pub fn invalid(&self, argument: &str, reason: impl Into<String>) -> Failure {
        Failure::InvalidArgument {
            subject: self.subject,
            name: self.name.into(),
            host: self.host.into(),
            argument: argument.into(),
            reason: reason.into(),
        }
    }

    pub fn unsupported(&self, argument: &'static str, kind: &'static str) -> Failure {
        Failure::UnsupportedArgument { argument, name: self.name.into(), host: self.host.into(), kind }
    }

    /// # Errors
    /// Where the argument is no integer, or less than `min`.
    pub fn integer(&self, arguments: &Table, name: &str, min: i64) -> Result<Option<u64>, Failure> {
        let Some(value) = arguments.get(name) else { return Ok(None) };
        let Some(number) = value.as_integer() else {
            return Err(self.invalid(name, format!("expected integer, got {}", type_name(value))));
        };
        if number < 0 {
            return Err(self.invalid(name, format!("{{value_negative,{number}}}")));
        }
        if number < min {
            return Err(self.invalid(name, "{value_zero,0}"));
        }
        Ok(Some(number as u64))
    }

    fn text(&self, arguments: &Table, name: &str) -> Result<Option<String>, Failure> {
        match arguments.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.invalid(name, format!("expected a string, got {}", type_name(other)))),
        }
    }

    /// The exchange that gets what this one cannot route.
    ///
    /// # Errors
    /// Where the argument is no text.
    pub fn alternate_exchange(&self, arguments: &Table) -> Result<Option<String>, Failure> {
        self.text(arguments, "alternate-exchange")
    }
}

/// What happens to a message that does not fit into a bounded queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overflow {
    #[default]
    DropHead,
    Reject,
    RejectAndDeadLetter,
}

/// A queue's arguments, understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub message_ttl_ms: Option<u64>,
    pub expires_ms: Option<u64>,
    pub max_length: Option<u64>,
    pub max_length_bytes: Option<u64>,
    pub overflow: Overflow,
    pub dead_letter_exchange: Option<String>,
    pub dead_letter_routing_key: Option<String>,
    pub max_priority: Option<u8>,
    pub single_active: bool,
    /// Declared as of the type `quorum`.
    pub quorum: bool,
    /// How often a message may come back before it is taken out.
    pub delivery_limit: Option<u64>,
    /// It is counted how often messages come back.
    pub counts_returns: bool,
}

/// Arguments of a queue that are compared when it is declared again.
pub(crate) const QUEUE_ARGUMENTS: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-type",
];

impl Settings {
    /// # Errors
    /// The first argument that cannot be.
    pub fn parse(of: &Declared<'_>, arguments: &Table) -> Result<Settings, Failure> {
        let overflow = match of.text(arguments, "x-overflow")?.as_deref() {
            None | Some("drop-head") => Overflow::DropHead,
            Some("reject-publish") => Overflow::Reject,
            Some("reject-publish-dlx") => Overflow::RejectAndDeadLetter,
            Some(_) => return Err(of.invalid("x-overflow", "invalid_overflow")),
        };
        let max_priority = match of.integer(arguments, "x-max-priority", 0)? {
            Some(value) if value > 255 => return Err(of.invalid("x-max-priority", format!("{{max_value_exceeded,{value}}}"))),
            value => value.map(|value| value as u8),
        };
        let quorum = match of.text(arguments, "x-queue-type")?.as_deref() {
            None | Some("classic") => false,
            // A quorum queue is durable and replicated: here every durable queue is as safe as its journal.
            Some("quorum") => true,
            Some(other) => return Err(of.invalid("x-queue-type", format!("unsupported queue type '{other}'"))),
        };
        let delivery_limit = match arguments.get("x-delivery-limit").and_then(Value::as_integer) {
            // RabbitMQ 4's way to say that there is none.
            Some(-1) => None,
            _ => of.integer(arguments, "x-delivery-limit", 0)?,
        };
        let single_active = match arguments.get("x-single-active-consumer") {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(other) => {
                return Err(of.invalid("x-single-active-consumer", format!("expected boolean, got {}", type_name(other))));
            }
        };
        let settings = Settings {
            message_ttl_ms: of.integer(arguments, "x-message-ttl", 0)?,
            expires_ms: of.integer(arguments, "x-expires", 1)?,
            max_length: of.integer(arguments, "x-max-length", 0)?,
            max_length_bytes: of.integer(arguments, "x-max-length-bytes", 0)?,
            overflow,
            dead_letter_exchange: of.text(arguments, "x-dead-letter-exchange")?,
            dead_letter_routing_key: of.text(arguments, "x-dead-letter-routing-key")?,
            max_priority,
            single_active,
            quorum,
            delivery_limit,
            counts_returns: quorum || delivery_limit.is_some(),
        };
        if settings.dead_letter_routing_key.is_some() && settings.dead_letter_exchange.is_none() {
            return Err(of.invalid("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"));
        }
        Ok(settings)
    }
}
