//! What declarations and consumers of stream queues say in their arguments, and what it means to a topic (RabbitMQ
//! documentation, "Streams and Super Streams").

use model::{Failure, Now, Table, Value, age};

use super::config::Config;
use crate::declare::{Declared, type_name};

/// The type of a queue that is a stream.
pub(crate) const STREAM: &str = "stream";
/// Arguments that are compared when a stream is declared again, beside those of every queue.
pub(super) const COMPARED: &[&str] = &["x-max-age"];
/// Arguments that only other types of queues have.
const OF_OTHERS: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-mode",
    "x-queue-version",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-quorum-initial-group-size",
];
/// The largest segment that may be asked for, in bytes.
const SEGMENT_BYTES_MAX: u64 = 3_000_000_000;

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    First,
    /// With the last batch there is.
    Last,
    /// With what becomes visible from now on.
    Next,
    Offset(u64),
    /// With the first record at or after this time, in ms since the Unix epoch.
    Time(i64),
}

fn max_age_ms(of: &Declared<'_>, arguments: &Table) -> Result<Option<u64>, Failure> {
    match arguments.get("x-max-age") {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(age::ms(text).ok_or_else(|| of.invalid("x-max-age", "invalid_max_age"))?)),
        Some(other) => Err(of.invalid("x-max-age", format!("{{unacceptable_type,{}}}", type_name(other)))),
    }
}

/// The settings of a topic that is declared as a stream queue.
///
/// # Errors
/// The first argument that cannot be.
pub(super) fn to_config(of: &Declared<'_>, arguments: &Table) -> Result<Config, Failure> {
    if let Some(argument) = OF_OTHERS.iter().find(|name| arguments.get(name).is_some()) {
        return Err(of.unsupported(argument, STREAM));
    }
    let mut config = Config::new();
    // Kafka's default is a week, RabbitMQ's is for ever.
    let age = max_age_ms(of, arguments)?.map_or("-1".to_owned(), |ms| ms.to_string());
    config.insert("retention.ms".into(), age);
    if let Some(bytes) = of.integer(arguments, "x-max-length-bytes", 0)? {
        config.insert("retention.bytes".into(), bytes.to_string());
    }
    if let Some(bytes) = of.integer(arguments, "x-stream-max-segment-size-bytes", 0)? {
        if bytes > SEGMENT_BYTES_MAX {
            return Err(of.invalid("x-stream-max-segment-size-bytes", format!("{{max_value_exceeded,{bytes}}}")));
        }
        config.insert("segment.bytes".into(), bytes.clamp(14, i32::MAX as u64).to_string());
    }
    // There is one node: where its streams are led, and by how many followed, is settled.
    of.integer(arguments, "x-initial-cluster-size", 1)?;
    match arguments.get("x-queue-leader-locator") {
        None => {}
        Some(Value::Text(text)) if ["client-local", "balanced", "least-leaders", "random"].contains(&&**text) => {}
        Some(_) => return Err(of.invalid("x-queue-leader-locator", "invalid_queue_locator_arg")),
    }
    Ok(config)
}

/// The arguments with which a stream stands that has these settings.
pub(super) fn of_config(config: &Config) -> Table {
    let number = |name: &str| config.get(name).and_then(|text| text.parse::<u64>().ok());
    let mut arguments = vec![("x-queue-type".to_owned(), Value::Text(STREAM.into()))];
    if let Some(bytes) = number("retention.bytes") {
        arguments.push(("x-max-length-bytes".into(), Value::I64(bytes as i64)));
    }
    if let Some(ms) = number("retention.ms") {
        arguments.push(("x-max-age".into(), Value::Text(age::text(ms))));
    }
    Table(arguments)
}

/// The same arguments, spelled as [`of_config`] spells them.
pub(super) fn respelled(arguments: &Table) -> Table {
    let respell = |(name, value): &(String, Value)| {
        let ms = value.as_text().filter(|_| name == "x-max-age").and_then(age::ms);
        (name.clone(), ms.map_or_else(|| value.clone(), |ms| Value::Text(age::text(ms))))
    };
    Table(arguments.0.iter().map(respell).collect())
}

/// Where a consumer wants to begin.
///
/// # Errors
/// An offset that is none.
pub(super) fn begin(of: &Declared<'_>, arguments: &Table, now: Now) -> Result<Begin, Failure> {
    if arguments.get("x-priority").is_some() {
        return Err(of.unsupported("x-priority", STREAM));
    }
    let Some(value) = arguments.get("x-stream-offset") else { return Ok(Begin::Next) };
    let invalid = |what: &str| {
        let reason = format!("{{invalid_stream_offset_arg,{{{},{what}}}}}", type_name(value));
        of.invalid("x-stream-offset", reason)
    };
    let text = match value {
        Value::Timestamp(seconds) => return Ok(Begin::Time(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))),
        Value::Text(text) => text.as_str(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
        other => {
            let offset = other.as_integer().ok_or_else(|| invalid("..."))?;
            return Ok(Begin::Offset(u64::try_from(offset).unwrap_or(0)));
        }
    };
    match text {
        "first" => Ok(Begin::First),
        "last" => Ok(Begin::Last),
        "next" => Ok(Begin::Next),
        _ => {
            let ago = age::ms(text).ok_or_else(|| invalid(&format!("<<\"{text}\">>")))?;
            Ok(Begin::Time(i64::try_from(now.wall_ms.saturating_sub(ago)).unwrap_or(0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Subject;

    use super::*;

    fn of() -> Declared<'static> {
        Declared { subject: Subject::Queue, name: "s", host: "/" }
    }

    fn table(arguments: &[(&str, Value)]) -> Table {
        Table(arguments.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn arguments_are_settings_and_settings_are_arguments() {
        let declared = table(&[
            ("x-queue-type", text(STREAM)),
            ("x-max-age", text("60m")),
            ("x-max-length-bytes", Value::I32(5_000)),
            ("x-stream-max-segment-size-bytes", Value::I64(2_999_999_999)),
            ("x-initial-cluster-size", Value::I32(3)),
            ("x-queue-leader-locator", text("balanced")),
            ("x-unknown", Value::I32(1)),
        ]);
        let config = to_config(&of(), &declared).unwrap();
        let set: Vec<_> = config.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(set, [("retention.bytes", "5000"), ("retention.ms", "3600000"), ("segment.bytes", "2147483647")]);
        let expected = [("x-queue-type", text(STREAM)), ("x-max-length-bytes", Value::I64(5_000)), ("x-max-age", text("1h"))];
        assert_eq!(of_config(&config), table(&expected));
        assert_eq!(respelled(&declared).get("x-max-age"), Some(&text("1h")));
        // For ever, where nothing is said.
        let plain = to_config(&of(), &Table::default()).unwrap();
        assert_eq!(plain["retention.ms"], "-1");
        assert_eq!(of_config(&plain), of_config(&Config::new()));
    }

    #[test]
    fn arguments_that_cannot_be() {
        let cases = [
            ("x-max-length", Value::I32(1), "of queue type stream"),
            ("x-dead-letter-exchange", text("x"), "of queue type stream"),
            ("x-max-age", text("5x"), "invalid_max_age"),
            ("x-max-age", Value::I32(5), "{unacceptable_type,signedint}"),
            ("x-max-length-bytes", Value::I32(-1), "{value_negative,-1}"),
            ("x-stream-max-segment-size-bytes", Value::I64(3_000_000_001), "{max_value_exceeded,3000000001}"),
            ("x-initial-cluster-size", Value::I32(0), "{value_zero,0}"),
            ("x-queue-leader-locator", text("here"), "invalid_queue_locator_arg"),
        ];
        for (name, value, why) in cases {
            let failure = to_config(&of(), &table(&[(name, value)])).unwrap_err().to_string();
            assert!(failure.contains(name) && failure.ends_with(why), "{failure}");
        }
    }

    #[test]
    fn where_a_consumer_begins() {
        let now = Now { mono_ms: 0, wall_ms: 10_000_000 };
        let cases = [
            (text("first"), Begin::First),
            (text("last"), Begin::Last),
            (text("next"), Begin::Next),
            (Value::Bytes(b"first".to_vec()), Begin::First),
            (Value::I32(7), Begin::Offset(7)),
            (Value::I64(-1), Begin::Offset(0)),
            (Value::Timestamp(9), Begin::Time(9_000)),
            (text("1h"), Begin::Time(6_400_000)),
            (text("1Y"), Begin::Time(0)),
        ];
        for (value, expected) in cases {
            assert_eq!(begin(&of(), &table(&[("x-stream-offset", value)]), now).unwrap(), expected);
        }
        assert_eq!(begin(&of(), &Table::default(), now).unwrap(), Begin::Next);
        for value in [text("5x"), text(""), Value::Bool(true), Value::F64(1.0), Value::Bytes(vec![0xff])] {
            assert!(begin(&of(), &table(&[("x-stream-offset", value)]), now).is_err());
        }
        assert!(begin(&of(), &table(&[("x-priority", Value::I32(1))]), now).is_err());
    }
}
